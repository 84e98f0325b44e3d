//! The stage of one scenario: hosts, provider and cluster-autoscaler on the lane's control plane, what happens to them,
//! and what is awaited of them. Each change that is seen is printed with its time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use backon::{ConstantBuilder, Retryable as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

use crate::authority::Authority;
use crate::autoscaler::{Autoscaler, ClientTls};
use crate::chart::{Chart, Installed};
use crate::hosts::{self, Group, Host};
use crate::program::write;
use crate::provider::{Provider, Setup, TlsFiles};
use crate::report::Figures;
use crate::sight::Sight;
use crate::workload::Workload;
use crate::{Failure, Lane};

/// How long anything awaited may take. Far longer than it does: a slow machine is no failure.
const PATIENCE: Duration = Duration::from_secs(420);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How a stage is set up.
pub(crate) struct Setting {
    pub(crate) hosts: Vec<(&'static str, Vec<Group>)>,
    /// Further flags of the cluster-autoscaler.
    pub(crate) flags: Vec<&'static str>,
    /// mTLS between cluster-autoscaler and provider.
    pub(crate) mtls: bool,
    /// Hosts that are down when the provider starts.
    pub(crate) down: Vec<&'static str>,
    /// How long a host takes to create a VM.
    pub(crate) create: Duration,
    /// Both run with the accounts and the flags that the Helm chart gives them.
    pub(crate) chart: bool,
}

impl Setting {
    pub(crate) fn new(hosts: Vec<(&'static str, Vec<Group>)>) -> Self {
        Self {
            hosts,
            flags: Vec::new(),
            mtls: false,
            down: Vec::new(),
            create: Duration::from_millis(500),
            chart: false,
        }
    }

    pub(crate) fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags);
        self
    }
}

/// Everything that a scenario acts on.
pub(crate) struct Stage<'a> {
    lane: &'a Lane,
    name: &'static str,
    namespace: String,
    hosts: Vec<Host>,
    pub(crate) provider: Provider,
    pub(crate) autoscaler: Autoscaler,
    begun: Instant,
    last_seen: String,
    figures: Figures,
}

impl<'a> Stage<'a> {
    /// Starts the hosts, the provider and the cluster-autoscaler, in this order.
    pub(crate) async fn set(lane: &'a Lane, name: &'static str, setting: Setting) -> Result<Self, Failure> {
        let namespace = format!("e2e-{name}");
        let folder = lane.places.logs.join(name);
        lane.control_plane.ensure_namespace(&namespace).await?;
        let before = Sight::now(&[], &lane.control_plane.client, &namespace).await?;
        if !before.nothing_left() {
            return Err(format!("an earlier scenario has left something: {before}"));
        }
        let mut hosts = Vec::new();
        for (name, groups) in setting.hosts {
            let host = Host::start(name, groups, setting.create, &lane.control_plane.admin_kubeconfig).await?;
            if setting.down.contains(&name) {
                host.goes_down();
            }
            hosts.push(host);
        }
        let (server_tls, client_tls) = match setting.mtls {
            true => {
                let (server, client) = certificates(&folder)?;
                (Some(server), Some(client))
            }
            false => (None, None),
        };
        let control_plane = &lane.control_plane;
        let installed = match setting.chart {
            true => Chart::new(&lane.places, control_plane).install().await?,
            false => Installed {
                // Where the README's rights for events about Nodes are.
                namespace: "default",
                provider_kubeconfig: control_plane.provider_kubeconfig.clone(),
                autoscaler_kubeconfig: control_plane.admin_kubeconfig.clone(),
                flags: Vec::new(),
            },
        };
        let setup = Setup {
            folder: &folder,
            kubeconfig: &installed.provider_kubeconfig,
            namespace: installed.namespace,
            config: hosts::configuration(&hosts),
            tls: server_tls.as_ref(),
        };
        let provider = Provider::start(&lane.places, &setup).await?;
        let address = provider.address();
        let flags: Vec<&str> = installed
            .flags
            .iter()
            .map(String::as_str)
            .chain(setting.flags)
            .collect();
        let kubeconfig = &installed.autoscaler_kubeconfig;
        let autoscaler = Autoscaler::start(lane, &folder, kubeconfig, &address, &flags, client_tls.as_ref())?;
        Ok(Self {
            lane,
            name,
            namespace,
            hosts,
            provider,
            autoscaler,
            begun: Instant::now(),
            last_seen: String::new(),
            figures: Figures::default(),
        })
    }

    /// The host of this name.
    pub(crate) fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).unwrap()
    }

    /// Creates a deployment; the report counts from the first one.
    pub(crate) async fn deploy(&mut self, workload: &Workload) -> Result<(), Failure> {
        self.say(&format!("deploy {}", workload.name));
        self.figures.deployed.get_or_insert_with(Instant::now);
        let created = self
            .deployments()
            .create(&PostParams::default(), &workload.deployment())
            .await;
        created.map(drop).map_err(|error| format!("cannot deploy: {error}"))
    }

    /// Deletes a deployment.
    pub(crate) async fn delete(&mut self, workload: &str) -> Result<(), Failure> {
        self.say(&format!("delete {workload}"));
        let deleted = self.deployments().delete(workload, &DeleteParams::background()).await;
        deleted.map(drop).map_err(|error| format!("cannot delete: {error}"))
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.lane.control_plane.client.clone(), &self.namespace)
    }

    /// Waits until what is to be seen is as `wanted` says, and returns it.
    pub(crate) async fn wait(&mut self, what: &str, wanted: impl Fn(&Sight) -> bool) -> Result<Sight, Failure> {
        let begun = Instant::now();
        loop {
            let sight = self.look().await?;
            if wanted(&sight) {
                return Ok(sight);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("waited in vain: {what}; at the end: {sight}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until all pods of a workload run.
    pub(crate) async fn wait_until_all_run(&mut self, app: &str, count: usize) -> Result<Sight, Failure> {
        let what = format!("{count} pods of {app} run");
        let sight = self.wait(&what, |now| now.all_run(app, count)).await?;
        self.figures.all_running.get_or_insert_with(Instant::now);
        Ok(sight)
    }

    /// Deletes a workload and waits until VMs, Nodes and node passwords are gone.
    pub(crate) async fn scale_to_zero(&mut self, workloads: &[&str]) -> Result<(), Failure> {
        for workload in workloads {
            self.delete(workload).await?;
        }
        self.wait("no VM, no Node and no node password is left", Sight::nothing_left)
            .await
            .map(drop)
    }

    /// Waits until the cluster-autoscaler has begun so many further loops, and holds `always` against each look.
    pub(crate) async fn for_loops(
        &mut self,
        loops: f64,
        what: &str,
        always: impl Fn(&Self, &Sight) -> bool,
    ) -> Result<(), Failure> {
        let (begun, first) = (Instant::now(), self.provider.loops().await?);
        while self.provider.loops().await? < first + loops {
            let sight = self.look().await?;
            if !always(self, &sight) {
                return Err(format!(
                    "it did not hold for {loops} loops: {what}; at the end: {sight}"
                ));
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("waited in vain for {loops} loops of the cluster-autoscaler"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until a metric of the provider is as `wanted` says.
    pub(crate) async fn wait_for_metric(&mut self, series: &str, wanted: impl Fn(f64) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let value = self.provider.metric(series).await?;
            if wanted(value) {
                return Ok(());
            }
            self.look().await?;
            if begun.elapsed() > PATIENCE {
                return Err(format!("waited in vain for the metric {series}; it is {value}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the event with this reason about a Node says; empty if there is none.
    pub(crate) async fn event_about(&self, node: &str, reason: &str) -> Result<String, Failure> {
        let events: Api<Event> = Api::namespaced(self.lane.control_plane.client.clone(), "default");
        let all = events.list(&ListParams::default()).await;
        let all = all.map_err(|error| format!("cannot read the events: {error}"))?;
        let about = |event: &Event| {
            let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
            regarding == Some(node) && event.reason.as_deref() == Some(reason)
        };
        let found = all.items.into_iter().find(about);
        Ok(found.and_then(|event| event.note).unwrap_or_default())
    }

    /// Prints a line of the story with its time.
    pub(crate) fn say(&self, text: &str) {
        let (version, name) = (&self.lane.version, self.name);
        println!("[{version} {name} {:6.1} s] {text}", self.begun.elapsed().as_secs_f64());
    }

    async fn look(&mut self) -> Result<Sight, Failure> {
        self.provider.program.still_runs()?;
        self.autoscaler.program.still_runs()?;
        self.lane.control_plane.still_runs()?;
        let sight = self.see().await?;
        if sight.vms() > 0 {
            self.figures.first_vm.get_or_insert_with(Instant::now);
        }
        let text = sight.to_string();
        if text != self.last_seen {
            self.say(&text);
            self.last_seen = text;
        }
        Ok(sight)
    }

    /// One request that fails is no failure: control planes have their moments.
    async fn see(&self) -> Result<Sight, Failure> {
        let see = || Sight::now(&self.hosts, &self.lane.control_plane.client, &self.namespace);
        see.retry(ConstantBuilder::default()).await
    }

    /// Ends everything; after a failure, shows the ends of the logs first.
    pub(crate) async fn clear(mut self, failed: bool) -> Figures {
        if failed {
            let tails = [
                self.provider.program.tail(),
                self.autoscaler.program.tail(),
                self.lane.control_plane.tails(),
            ];
            println!("{}", tails.concat());
        }
        self.figures.rpcs = self.provider.rpcs_if_it_answers().await;
        self.autoscaler.program.stop().await;
        self.provider.program.stop().await;
        self.figures.errors = [self.provider.errors(), self.autoscaler.errors()];
        for host in self.hosts {
            host.stop().await;
        }
        if let Err(failure) = self.lane.control_plane.clean_up(&self.namespace).await {
            println!("{failure}");
        }
        self.figures
    }
}

/// Certificates of both sides, each of an authority of its own.
fn certificates(folder: &std::path::Path) -> Result<(TlsFiles, ClientTls), Failure> {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (server, client) = (servers.server("127.0.0.1"), clients.client());
    let file = |name: &str, text: &str| write(&PathBuf::from(folder).join(name), text);
    let server = TlsFiles {
        cert: file("server.crt", &server.cert)?,
        key: file("server.key", &server.key)?,
        client_ca: file("client-ca.crt", &clients.pem)?,
    };
    let client = ClientTls {
        cert: file("client.crt", &client.cert)?,
        key: file("client.key", &client.key)?,
        cacert: file("server-ca.crt", &servers.pem)?,
    };
    Ok((server, client))
}
