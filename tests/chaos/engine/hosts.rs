//! The Slicer hosts: simulated daemons on unix sockets, a fifth of whose requests goes wrong, and the agents in their
//! VMs, of which some never join.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fastrand::Rng;
use slicer_cloud_provider::domain::ids::{InstanceId, LaunchId, NodeGroupId};
use slicer_cloud_provider::domain::vm::VmTags;
use slicer_cloud_provider::simulator::{
    AgentPlan, Capacity, Fault, FaultKind, GuestAgent, GuestVm, RouteClass, SimulatedGroup, Simulator, SimulatorConfig,
    Timing, UserdataOutcome, VmView,
};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::cluster::FakeCluster;
use super::{CLUSTER, GROUPS, HOSTS};

/// VMs that somebody else made on each host.
const STRANGERS: u32 = 1;

/// One host.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) simulator: Simulator,
    pub(super) socket: PathBuf,
}

/// A VM of ours.
#[derive(Clone, Debug)]
pub(super) struct OurVm {
    pub(super) hostname: String,
    pub(super) group: NodeGroupId,
    pub(super) launch: LaunchId,
}

impl OurVm {
    fn read(vm: &VmView) -> Option<Self> {
        let tags = VmTags::read(&vm.tags).filter(|tags| tags.cluster.as_str() == CLUSTER)?;
        Some(Self {
            hostname: vm.hostname.clone(),
            group: tags.node_group,
            launch: tags.launch,
        })
    }

    pub(super) fn id(&self) -> InstanceId {
        InstanceId::of_launch(&self.group, &self.launch)
    }
}

/// All hosts, serving in `folder` until the runtime ends.
pub(super) fn start(folder: &Path, cluster: &FakeCluster, dice: &mut Rng) -> io::Result<Vec<Host>> {
    (0..HOSTS)
        .map(|number| Host::start(number, folder, cluster, dice))
        .collect()
}

impl Host {
    fn start(number: usize, folder: &Path, cluster: &FakeCluster, dice: &mut Rng) -> io::Result<Self> {
        let of_host = GROUPS.iter().filter(|(_, host, _)| *host == number);
        let config = SimulatorConfig {
            token: None,
            groups: of_host
                .map(|(_, _, host_group)| SimulatedGroup {
                    protected: STRANGERS,
                    ..SimulatedGroup::new(host_group, 2, 4 << 30)
                })
                .collect(),
            timing: Timing {
                create: Duration::from_millis(1500),
                delete: Duration::from_millis(700),
                boot: Duration::from_secs(2),
                userdata: Duration::from_secs(5),
            },
            seed: dice.u64(..),
            ..SimulatorConfig::default()
        };
        let agent = Agent {
            host: number,
            cluster: cluster.clone(),
            dice: Mutex::new(dice.fork()),
        };
        let simulator = Simulator::new(config, Arc::new(agent));
        let socket = folder.join(format!("host-{number}"));
        let listener = UnixListener::bind(&socket)?;
        tokio::spawn(simulator.clone().serve_unix(listener, CancellationToken::new()));
        Ok(Self { simulator, socket })
    }

    /// From now on requests go wrong, in every way there is: more than a fifth of those that the host sees, so that it
    /// is a fifth of all, those to hosts that are down included.
    pub(super) fn trouble(&self) {
        let status = |code, text: &str| FaultKind::Status {
            code,
            text: text.to_owned(),
        };
        let kinds = [
            (RouteClass::All, status(500, "internal error"), 0.03),
            (RouteClass::All, status(503, "not ready"), 0.02),
            (RouteClass::All, status(429, "slow down"), 0.01),
            (RouteClass::All, status(401, "unauthorized"), 0.01),
            (RouteClass::All, status(404, "not found"), 0.01),
            (RouteClass::Create, status(500, "no memory available"), 0.02),
            (
                RouteClass::Delete,
                FaultKind::ErrorInBody {
                    text: "busy".to_owned(),
                },
                0.06,
            ),
            (RouteClass::All, FaultKind::CloseBefore, 0.02),
            (RouteClass::All, FaultKind::CloseAfter, 0.03),
            (RouteClass::All, FaultKind::Hang, 0.01),
            (RouteClass::All, FaultKind::DelayBefore { ms: 20_000 }, 0.01),
            (RouteClass::All, FaultKind::DelayBefore { ms: 150_000 }, 0.005),
            (RouteClass::All, FaultKind::DelayAfter { ms: 3_000 }, 0.01),
            (RouteClass::All, FaultKind::DelayAfter { ms: 100_000 }, 0.01),
            (RouteClass::All, FaultKind::Nonsense, 0.02),
            (RouteClass::All, FaultKind::CutOff, 0.02),
            (RouteClass::All, FaultKind::Huge { bytes: 2 << 20 }, 0.002),
        ];
        for (route, kind, probability) in kinds {
            let fault = Fault::every(route, kind).with_probability(probability * 1.6);
            // Fewer than are allowed, and each of them makes sense.
            let _ = self.simulator.switch_on(fault);
        }
    }

    /// Everything works.
    pub(super) fn heal(&self) {
        self.simulator.clear_faults();
        self.simulator.up();
        self.simulator.set_capacity(Capacity::default());
    }

    /// How many requests went wrong since the faults were switched on.
    pub(super) fn hits(&self) -> u64 {
        let faults = self.simulator.faults();
        faults.iter().map(|report| u64::from(report.hits)).sum()
    }

    /// Our VMs.
    pub(super) fn ours(&self) -> Vec<OurVm> {
        self.simulator.vms().iter().filter_map(OurVm::read).collect()
    }

    /// The VM that has this name now, if it is ours.
    pub(super) fn our_vm(&self, hostname: &str) -> Option<OurVm> {
        OurVm::read(&self.simulator.vm(hostname)?)
    }

    pub(super) fn strangers_left(&self) -> usize {
        self.simulator.vms().iter().filter(|vm| vm.protected).count()
    }

    /// Launches that have two VMs here.
    pub(super) fn doubles(&self) -> Vec<LaunchId> {
        let mut seen = BTreeSet::new();
        let ours = self.ours().into_iter();
        ours.map(|vm| vm.launch)
            .filter(|launch| !seen.insert(launch.clone()))
            .collect()
    }
}

/// What is inside the VMs of one host.
#[derive(Debug)]
struct Agent {
    host: usize,
    cluster: FakeCluster,
    dice: Mutex<Rng>,
}

#[async_trait]
impl GuestAgent for Agent {
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome {
        let (seconds, fortune) = {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            (dice.u64(3..60), dice.u8(0..100))
        };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        match fortune {
            0..6 => UserdataOutcome { exit_code: Some(14) },
            6..9 => std::future::pending().await,
            // It joined somebody else.
            9..12 => UserdataOutcome::SUCCESS,
            _ => {
                if let Some(plan) = AgentPlan::read(&vm.userdata, &vm.hostname) {
                    self.cluster.register(self.host, &plan);
                }
                UserdataOutcome::SUCCESS
            }
        }
    }

    async fn stop(&self, hostname: &str) {
        self.cluster.silence(self.host, hostname);
    }
}
