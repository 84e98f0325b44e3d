//! The Slicer hosts, one node group after another: whether the daemon answers and takes the token, has the host group,
//! and makes VMs of the size and architecture that the configuration wants.

use futures::future::join_all;
use secrecy::SecretString;

use super::capacity::{self, Configured, Demand};
use super::finding::Finding;
use super::size::{Memory, Size};
use crate::config::{Config, GroupConfig};
use crate::domain::failure::{HostError, HostErrorKind};
use crate::domain::spec::Endpoint;
use crate::domain::vm::{Architecture, HostGroup, Vm, VmTags};
use crate::provider::ports::SlicerHost as _;
use crate::redact::Redactor;
use crate::slicer::{self, Client, HostInfo};

pub(super) async fn check(config: &Config, secrets: &[SecretString]) -> Vec<Finding> {
    let hiding = Redactor::new(secrets);
    let looks = join_all(config.groups.iter().map(|group| look(config, group, &hiding))).await;
    let (mut findings, mut groups) = (Vec::new(), Vec::new());
    for (group, (of_group, demand)) in config.groups.iter().zip(looks) {
        findings.extend(of_group);
        let host = group.endpoint.to_string();
        groups.push(Configured { host, demand });
    }
    findings.extend(capacity::check(&groups));
    findings
}

async fn look(config: &Config, group: &GroupConfig, hiding: &Redactor) -> (Vec<Finding>, Option<Demand>) {
    let about = About {
        config,
        group,
        hiding,
        subject: format!("node group {}", group.spec.id),
    };
    match about.ask().await {
        Ok(answers) => about.judge(&answers),
        Err(finding) => (vec![finding], None),
    }
}

/// What a host told.
struct Answers {
    info: HostInfo,
    host_group: HostGroup,
    vms: Result<Vec<Vm>, HostError>,
}

/// A node group, and what findings call it.
struct About<'a> {
    config: &'a Config,
    group: &'a GroupConfig,
    /// What a host says of itself goes through here, as errors do.
    hiding: &'a Redactor,
    subject: String,
}

impl About<'_> {
    fn ok(&self, text: impl Into<String>) -> Finding {
        Finding::ok(self.subject.as_str(), text)
    }

    fn fail(&self, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::fail(self.subject.as_str(), text, remedy)
    }

    fn client(&self) -> Result<Client, slicer::ClientError> {
        let global = &self.config.global;
        let client = Client::new(
            &self.group.endpoint,
            self.group.slicer_token.clone(),
            global.ca_bundle.as_deref(),
            slicer::Timeouts::default(),
        )?;
        Ok(client.hiding(global.k3s_token.clone()))
    }

    /// All questions at once: a host that hangs is waited for once.
    async fn ask(&self) -> Result<Answers, Finding> {
        let client = self
            .client()
            .map_err(|error| self.fail(error.to_string(), "correct slicer-url or ca-bundle"))?;
        let wanted = self.group.spec.host_group.as_str();
        let (groups, info, vms) = tokio::join!(client.host_groups(), client.info(), client.list_vms(wanted, None));
        let groups = groups.map_err(|error| self.host_failed(&error))?;
        match groups.iter().find(|found| found.name == wanted) {
            Some(found) => Ok(Answers {
                info: info.unwrap_or_default(),
                host_group: found.clone(),
                vms,
            }),
            None => Err(self.no_host_group(&groups)),
        }
    }

    fn host_failed(&self, error: &HostError) -> Finding {
        let text = format!("{error} ({})", error.kind.as_str());
        self.fail(text, remedy(error.kind, &self.group.endpoint))
    }

    fn no_host_group(&self, groups: &[HostGroup]) -> Finding {
        let names: Vec<String> = groups.iter().map(|group| self.hiding.show(&group.name)).collect();
        let there = match names.as_slice() {
            [] => "none at all".to_owned(),
            names => format!("only: {}", names.join(", ")),
        };
        let (endpoint, wanted) = (&self.group.endpoint, &self.group.spec.host_group);
        self.fail(
            format!("{endpoint} has no host group {wanted:?}, {there}"),
            "set host-group to one of the host's, or add it to the daemon's configuration",
        )
    }

    fn judge(&self, answers: &Answers) -> (Vec<Finding>, Option<Demand>) {
        let mut findings = vec![self.reached(answers)];
        let size = self.size(&answers.host_group);
        findings.extend(match &size {
            Ok(size) => vec![self.ok(format!("a VM has {size}"))],
            Err(wrong) => wrong.clone(),
        });
        findings.push(self.architecture(answers));
        findings.push(self.count(answers));
        let demand = size.ok().map(|size| self.demand(size, answers));
        (findings, demand)
    }

    fn reached(&self, answers: &Answers) -> Finding {
        let version = answers.info.version.as_ref();
        let version = version
            .map(|version| format!(" (Slicer {})", self.hiding.show(version)))
            .unwrap_or_default();
        self.ok(format!(
            "{} answers{version} and has host group {}",
            self.group.endpoint, self.group.spec.host_group
        ))
    }

    /// The size of a VM, or why there can be none of that size.
    fn size(&self, host_group: &HostGroup) -> Result<Size, Vec<Finding>> {
        let spec = &self.group.spec;
        let known = (spec.cpus.or(host_group.cpus), spec.ram_bytes.or(host_group.ram_bytes));
        let (Some(cpus), Some(ram_bytes)) = known else {
            return Err(vec![
                self.fail("the host does not tell the size of its VMs", "set cpus and ram"),
            ]);
        };
        let gpus = spec.gpu_count.or(host_group.gpu_count).unwrap_or_default();
        let too_much = |key: &str, wanted: String, most: String| {
            self.fail(
                format!("{key} = {wanted}, but the host group allows {most}"),
                format!(
                    "lower {key}, or raise the limit of host group {} on the host",
                    spec.host_group
                ),
            )
        };
        let mut wrong = Vec::new();
        if host_group.cpus.is_some_and(|most| cpus > most) {
            wrong.push(too_much("cpus", cpus.to_string(), shown(host_group.cpus)));
        }
        if host_group.ram_bytes.is_some_and(|most| ram_bytes > most) {
            let most = shown(host_group.ram_bytes.map(Memory));
            wrong.push(too_much("ram", Memory(ram_bytes).to_string(), most));
        }
        if host_group.gpu_count.is_some_and(|most| gpus > most) {
            wrong.push(too_much("gpu-count", gpus.to_string(), shown(host_group.gpu_count)));
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Size {
            cpus: cpus.into(),
            ram_bytes,
            gpus: gpus.into(),
        })
    }

    /// What the host group says counts for more than what its daemon says of itself. What nobody says is taken for
    /// amd64.
    fn architecture(&self, answers: &Answers) -> Finding {
        let of_daemon = || answers.info.arch.as_ref().and_then(|arch| arch.parse().ok());
        let told = answers.host_group.arch.or_else(of_daemon);
        match (self.group.spec.arch, told) {
            (Some(wanted), Some(real)) if wanted != real => self.fail(
                format!("arch = {wanted}, but the host says {real}: pods would go to nodes that cannot run them"),
                "remove arch, or correct it",
            ),
            (Some(wanted), Some(_)) => self.ok(format!("arch = {wanted}, and the host says so, too")),
            (Some(wanted), None) => self.ok(format!("arch = {wanted}; the host does not tell")),
            (None, Some(real)) if answers.host_group.arch.is_none() && real != Architecture::Amd64 => self.fail(
                format!("the daemon runs on {real}, but its host group does not say so, and is taken for amd64"),
                format!("set arch = {real}"),
            ),
            (None, Some(real)) => self.ok(format!("architecture {real}, as the host says")),
            (None, None) => Finding::warn(
                self.subject.as_str(),
                "the host does not tell its architecture, amd64 is assumed",
                "set arch",
            ),
        }
    }

    /// How many VMs there are, against `max-size`.
    fn count(&self, answers: &Answers) -> Finding {
        let vms = match &answers.vms {
            Ok(vms) => vms,
            Err(error) => return self.host_failed(error),
        };
        let ours = vms.iter().filter(|vm| self.is_ours(vm)).count();
        let most = self.group.spec.limits.max;
        let text = format!(
            "{ours} of the host group's {} VMs are ours, max-size is {most}",
            vms.len()
        );
        if u32::try_from(ours).is_ok_and(|ours| ours <= most) {
            return self.ok(text);
        }
        Finding::warn(
            self.subject.as_str(),
            text,
            "raise max-size, or expect no new VMs until some are gone",
        )
    }

    fn is_ours(&self, vm: &Vm) -> bool {
        let tags = VmTags::read(&vm.tags);
        tags.is_some_and(|tags| tags.cluster == self.config.global.cluster && tags.node_group == self.group.spec.id)
    }

    /// Whether the VM is of no node group of this configuration.
    fn is_of_others(&self, vm: &Vm) -> bool {
        let groups = &self.config.groups;
        !VmTags::read(&vm.tags).is_some_and(|tags| {
            tags.cluster == self.config.global.cluster && groups.iter().any(|group| group.spec.id == tags.node_group)
        })
    }

    fn demand(&self, size: Size, answers: &Answers) -> Demand {
        let others = |vms: &Vec<Vm>| {
            let vms = vms.iter().filter(|vm| self.is_of_others(vm));
            vms.map(size_of).collect()
        };
        Demand {
            host_group: self.group.spec.host_group.clone(),
            most: self.group.spec.limits.max,
            size,
            others: answers.vms.as_ref().ok().map(others),
        }
    }
}

/// What a VM takes, as far as the host tells.
fn size_of(vm: &Vm) -> Size {
    Size {
        cpus: vm.cpus.unwrap_or_default().into(),
        ram_bytes: vm.ram_bytes.unwrap_or_default(),
        gpus: 0,
    }
}

fn shown(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

const STRANGER: &str = "see that slicer-url is that of a Slicer daemon: something else seems to answer there";

/// What to do when the daemon does not answer as it should.
fn remedy(kind: HostErrorKind, endpoint: &Endpoint) -> &'static str {
    match kind {
        HostErrorKind::Unreachable => unreachable_remedy(endpoint),
        HostErrorKind::Unauthorized => {
            "set slicer-token, or the content of slicer-token-file, to what this prints on that host: \
             sudo cat /var/lib/slicer/auth/token"
        }
        HostErrorKind::Refused => {
            "see that slicer-url leads to the Slicer daemon itself, and that slicer-token is the daemon's"
        }
        HostErrorKind::NotFound => STRANGER,
        HostErrorKind::Nonsense if is_plain(endpoint) => {
            "see that slicer-url is that of a Slicer daemon: something else seems to answer there, or it speaks TLS, and \
             the URL must begin with https"
        }
        HostErrorKind::Nonsense => STRANGER,
        HostErrorKind::OutOfResources | HostErrorKind::Busy | HostErrorKind::Broken => {
            "look into the log of the Slicer daemon"
        }
    }
}

fn is_plain(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Url(url) if url.starts_with("http:"))
}

fn unreachable_remedy(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Unix(_) => {
            "see that the daemon runs, that slicer-url is its socket, and that this user may open it for writing"
        }
        Endpoint::Url(_) if is_plain(endpoint) => {
            "see that the daemon runs and can be reached from here, and that slicer-url has the right host and port, \
             and https if the daemon speaks TLS"
        }
        Endpoint::Url(_) => {
            "see that the daemon runs and can be reached from here, that slicer-url has the right port and a name that \
             the daemon's certificate carries, and that the CA of the certificate is in ca-bundle"
        }
    }
}
