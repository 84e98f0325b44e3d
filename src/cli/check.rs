//! `check`: reads the configuration, tries every host, the K3s server and the Kubernetes API, and prints one line for
//! each finding, with what to do about it.

use std::process::ExitCode;
use std::time::Duration;

use super::CliError;
use super::args::{CheckArgs, CheckOutput, KubernetesArgs};
use crate::config::{self, Config, GroupConfig};
use crate::domain::spec::K3sVersion;
use crate::domain::vm::{HostGroup, VmTags};
use crate::k3s::{self, Trust};
use crate::kubernetes::{ClientConfig, KubeconfigSource, KubernetesCluster};
use crate::provider::ports::{Cluster as _, SlicerHost as _};
use crate::slicer;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many minor versions a kubelet may be older than the API server.
const OLDEST_SKEW: u32 = 3;
/// How long the version of the API server is waited for.
const VERSION_WITHIN: Duration = Duration::from_secs(10);

/// Prints what is found, and remembers how bad it is.
struct Report {
    output: CheckOutput,
    failed: bool,
}

impl Report {
    fn ok(&self, text: impl AsRef<str>) {
        self.print("ok", text.as_ref());
    }

    fn warn(&self, text: impl AsRef<str>) {
        self.print("warn", text.as_ref());
    }

    fn fail(&mut self, text: impl AsRef<str>) {
        self.failed = true;
        self.print("fail", text.as_ref());
    }

    fn print(&self, verdict: &str, text: &str) {
        match self.output {
            CheckOutput::Text => println!("{verdict:<5} {text}"),
            CheckOutput::Json => println!("{}", serde_json::json!({ "verdict": verdict, "text": text })),
        }
    }
}

pub(super) async fn run(args: CheckArgs) -> Result<ExitCode, CliError> {
    let path = args.config.cloud_config;
    let config = config::load(&path).map_err(|error| CliError::Usage(error.to_string()))?;
    let mut report = Report {
        output: args.output,
        failed: false,
    };
    report.ok(format!(
        "{}: node groups: {}; VMs are tagged for cluster {}",
        path.display(),
        config.groups.len(),
        config.global.cluster
    ));
    for group in &config.groups {
        check_group(&mut report, &config, group).await;
    }
    check_k3s(&mut report, &config).await;
    check_kubernetes(&mut report, &config, args.kubernetes).await;
    name_flags(&report, &config);
    Ok(if report.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn check_group(report: &mut Report, config: &Config, group: &GroupConfig) {
    let name = format!("node group {}", group.spec.id);
    let bundle = config.global.ca_bundle.as_deref();
    let client = slicer::Client::new(
        &group.endpoint,
        group.slicer_token.clone(),
        bundle,
        slicer::Timeouts::default(),
    );
    let client = match client {
        Ok(client) => client.hiding(config.global.k3s_token.clone()),
        Err(error) => return report.fail(format!("{name}: {error}")),
    };
    let groups = match client.host_groups().await {
        Ok(groups) => groups,
        Err(error) => {
            return report.fail(format!(
                "{name}: {error} ({}); check slicer-url, slicer-token, and that the daemon runs",
                error.kind.as_str()
            ));
        }
    };
    let Some(found) = groups.iter().find(|found| found.name == group.spec.host_group) else {
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        return report.fail(format!(
            "{name}: {} has no host group {:?}, only: {}; set host-group",
            group.endpoint,
            group.spec.host_group,
            names.join(", ")
        ));
    };
    report.ok(format!(
        "{name}: {} answers and has host group {}",
        group.endpoint, found.name
    ));
    check_size(report, &name, group, found);
    match client.list_vms(&group.spec.host_group, None).await {
        Ok(vms) => {
            let ours = |tags: &VmTags| tags.cluster == config.global.cluster && tags.node_group == group.spec.id;
            let count = vms
                .iter()
                .filter(|vm| VmTags::read(&vm.tags).as_ref().is_some_and(ours))
                .count();
            report.ok(format!(
                "{name}: {count} of the host group's {} VMs are ours",
                vms.len()
            ));
        }
        Err(error) => report.fail(format!("{name}: {error}")),
    }
}

fn check_size(report: &mut Report, name: &str, group: &GroupConfig, found: &HostGroup) {
    if found.cpus.is_none() || found.ram_bytes.is_none() {
        let known = group.spec.cpus.is_some() && group.spec.ram_bytes.is_some();
        if !known {
            report.fail(format!(
                "{name}: the host does not tell the size of its VMs; set cpus and ram"
            ));
        }
    }
    if let (Some(wanted), Some(most)) = (group.spec.cpus, found.cpus)
        && wanted > most
    {
        report.fail(format!("{name}: cpus = {wanted}, but the host group allows {most}"));
    }
    if let (Some(wanted), Some(most)) = (group.spec.ram_bytes, found.ram_bytes)
        && wanted > most
    {
        report.fail(format!(
            "{name}: ram is {wanted} bytes, but the host group allows {most}"
        ));
    }
    match (group.spec.arch, found.arch) {
        (None, None) => report.warn(format!(
            "{name}: the host does not tell its architecture, amd64 is assumed; set arch"
        )),
        (Some(wanted), Some(real)) if wanted != real => {
            report.warn(format!("{name}: arch = {wanted}, but the host says {real}"));
        }
        _ => {}
    }
}

async fn check_k3s(report: &mut Report, config: &Config) {
    let (join, token) = (&config.global.join, config.global.k3s_token.current());
    match k3s::try_to_join(&join.k3s_url, &token).await {
        Ok(Trust::CaProved) => report.ok(format!("{} is the cluster of k3s-token and accepts it", join.k3s_url)),
        Ok(Trust::Unproved) => report.warn(format!(
            "{} accepts k3s-token, but the token names no CA: agents would trust any server; use the long form from \
             /var/lib/rancher/k3s/server/agent-token",
            join.k3s_url
        )),
        Err(error) => report.fail(error.to_string()),
    }
}

async fn check_kubernetes(report: &mut Report, config: &Config, args: KubernetesArgs) {
    if args.without_kubernetes {
        let pinned = matches!(config.global.join.version, K3sVersion::Exact(_));
        let version = if pinned {
            ""
        } else {
            "; set k3s-version, or agents may be newer than the server"
        };
        return report.warn(format!("without Kubernetes, Nodes of removed VMs stay{version}"));
    }
    let source = args
        .kubeconfig
        .map_or(KubeconfigSource::Inferred, KubeconfigSource::File);
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let started = match ClientConfig::load(&source).await {
        Ok(config) => KubernetesCluster::start(&config, &tracker, shutdown.clone()),
        Err(error) => Err(error),
    };
    let cluster = match started {
        Ok(cluster) => cluster,
        Err(error) => return report.fail(error.to_string()),
    };
    match cluster.missing_rights().await {
        Ok(missing) if missing.is_empty() => report.ok("the Kubernetes API answers and grants what is needed"),
        Ok(missing) => report.fail(format!("the Kubernetes API does not allow: {}", missing.join(", "))),
        Err(error) => report.fail(format!("Kubernetes: {error}")),
    }
    let version = tokio::time::timeout(VERSION_WITHIN, version_of(&cluster)).await;
    check_version(report, config, version.ok().as_deref());
    shutdown.cancel();
}

async fn version_of(cluster: &KubernetesCluster) -> String {
    loop {
        if let Some(version) = cluster.server_version() {
            return version;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Agents may be as old as three minor versions behind the server, and never newer.
fn check_version(report: &mut Report, config: &Config, server: Option<&str>) {
    let Some(server) = server else {
        return report.warn("the API server does not tell its version; agents install from k3s-channel until it does");
    };
    match &config.global.join.version {
        K3sVersion::Server if server.contains("+k3s") => {
            report.ok(format!("agents get the version of the server, {server}"));
        }
        K3sVersion::Server => report.warn(format!(
            "the API server has version {server}, which is none of K3s: agents install from k3s-channel {}; set k3s-version",
            config.global.join.channel
        )),
        K3sVersion::Exact(agents) => match (minor(agents), minor(server)) {
            (Some(agent), Some(of_server)) if agent > of_server => report.fail(format!(
                "k3s-version = {agents} is newer than the server's {server}: such agents are not supported; say server"
            )),
            (Some(agent), Some(of_server)) if of_server - agent > OLDEST_SKEW => report.fail(format!(
                "k3s-version = {agents} is more than {OLDEST_SKEW} minor versions older than the server's {server}; say server"
            )),
            _ => report.ok(format!("agents get {agents}, the server has {server}")),
        },
    }
}

/// The minor version of `v1.33.6+k3s1`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').nth(1)?.parse().ok()
}

/// Which flags of the cluster-autoscaler go with this configuration.
fn name_flags(report: &Report, config: &Config) {
    let mut flags = vec!["--cloud-provider=externalgrpc", "--cloud-config=FILE"];
    if config.groups.iter().any(|group| group.spec.limits.min > 0) {
        flags.push("--enforce-node-group-min-size (without it min-size is not seen to)");
    }
    if config.groups.iter().any(|group| group.spec.price_per_hour.is_some()) {
        flags.push("--expander=price (prices are configured)");
    }
    if config.groups.len() > 1 {
        flags.push("--balance-similar-node-groups --balancing-label=node.kubernetes.io/instance-type --balancing-label=kubernetes.io/arch (to spread over hosts)");
    }
    report.ok(format!(
        "flags of the cluster-autoscaler that go with this: {}",
        flags.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_versions_are_read_from_k3s_tags_and_nothing_else() {
        assert_eq!(minor("v1.33.6+k3s1"), Some(33));
        assert_eq!(minor("v1.35.4"), Some(35));
        assert_eq!(minor("1.33"), None);
        assert_eq!(minor("stable"), None);
    }
}
