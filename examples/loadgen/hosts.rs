//! The simulated Slicer hosts, in a runtime of their own beside the client. They hold the VMs of a fleet, and count what
//! they are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use secrecy::SecretString;
use slicer_cloud_provider::domain::spec::Endpoint;
use slicer_cloud_provider::provider::ports::{SlicerHost as _, VmRequest};
use slicer_cloud_provider::secret::SecretSource;
use slicer_cloud_provider::simulator::{
    Capacity, RunningSimulator, ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig, Timing,
};
use slicer_cloud_provider::slicer::{Client, Timeouts};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::fleet::{Fleet, Group, SLICER_TOKEN};

/// The route of a listing of a host group.
pub(crate) const LISTING: &str = "GET /hostgroup/{name}/nodes";

/// How often each route was requested.
pub(crate) type Requests = BTreeMap<String, u64>;

/// The hosts of a fleet, until this is dropped.
pub(crate) struct Hosts {
    simulators: Vec<(Simulator, RunningSimulator)>,
    // Last, so that the simulators are dropped while it runs.
    runtime: Runtime,
}

impl Hosts {
    /// Starts hosts that take `create` for a VM, without any VM.
    pub(crate) fn start(fleet: &Fleet, create: Duration) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let start = |host| async move {
            let simulator = Simulator::new(config(fleet, host, create), Arc::new(agent()));
            let running = simulator.spawn_on_loopback().await?;
            Ok((simulator, running))
        };
        let simulators = runtime.block_on(try_join_all((0..fleet.hosts).map(start)));
        let simulators = simulators.map_err(|error: std::io::Error| format!("a simulated host: {error}"))?;
        Ok(Self { simulators, runtime })
    }

    /// Creates the VMs of the fleet as the provider creates them, so that it knows them as its own.
    pub(crate) fn fill(&self, fleet: &Fleet) -> Result<(), Failure> {
        let fill = |host: usize| self.fill_one(fleet, host);
        self.runtime
            .block_on(try_join_all((0..fleet.hosts).map(fill)))
            .map(drop)
    }

    async fn fill_one(&self, fleet: &Fleet, host: usize) -> Result<(), Failure> {
        let endpoint = Endpoint::Url(self.simulators[host].1.url.clone());
        let token = SecretSource::value(SecretString::from(SLICER_TOKEN));
        let client = Client::new(&endpoint, Some(token), None, Timeouts::default());
        let client = client.map_err(|error| error.to_string())?;
        let here = fleet
            .machines
            .iter()
            .filter(|machine| fleet.groups[machine.group].host == host);
        for machine in here {
            let request = VmRequest {
                cpus: None,
                ram_bytes: None,
                gpu_count: None,
                userdata: String::new(),
                tags: fleet.tags(machine)?,
                secrets: Vec::new(),
            };
            let group = fleet.groups[machine.group].id.as_str();
            let created = client.create_vm(group, &request).await;
            let hostname = created.map_err(|error| format!("{group}: {error}"))?;
            if hostname.as_str() != machine.hostname {
                return Err(format!("{} was to be called {}", hostname, machine.hostname));
            }
        }
        Ok(())
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.simulators.iter().map(|(_, running)| running.url.clone()).collect()
    }

    /// All requests to all hosts so far.
    pub(crate) fn requests(&self) -> Requests {
        let mut all = Requests::new();
        for (simulator, _) in &self.simulators {
            for (route, count) in simulator.requests().counts {
                *all.entry(route).or_default() += count;
            }
        }
        all
    }

    /// How many VMs were created on all hosts together.
    pub(crate) fn created(&self) -> u64 {
        self.simulators
            .iter()
            .map(|(simulator, _)| simulator.created_total())
            .sum()
    }
}

fn config(fleet: &Fleet, host: usize, create: Duration) -> SimulatorConfig {
    let here = fleet.groups.iter().filter(|group| group.host == host);
    SimulatorConfig {
        token: Some(SLICER_TOKEN.into()),
        groups: here.map(host_group).collect(),
        capacity: Capacity {
            max_vms: None,
            ram_bytes: None,
        },
        timing: Timing {
            create,
            ..Timing::instant()
        },
        ..SimulatorConfig::default()
    }
}

fn host_group(group: &Group) -> SimulatedGroup {
    SimulatedGroup::new(group.id.as_str(), 2, 4 << 30)
}

/// Userdata ends at once, and well.
fn agent() -> ScriptedAgent {
    ScriptedAgent {
        userdata_time: Duration::ZERO,
    }
}
