//! The simulated Slicer hosts of a scenario, in this process: their VMs run their userdata as K3s agents would and
//! join the control plane.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slicer_cloud_provider::kubernetes::{ClientConfig, KubeconfigSource, SimulatedAgent};
use slicer_cloud_provider::simulator::{
    Capacity, Fault, FaultKind, RouteClass, RunningSimulator, SimulatedGroup, Simulator, SimulatorConfig, Timing,
    UserdataOrder, VmView,
};

use crate::Failure;

/// The API token of every host.
pub(crate) const SLICER_TOKEN: &str = "slicer";

/// A node group with the host group of the same name behind it.
pub(crate) struct Group {
    pub(crate) host_group: SimulatedGroup,
    /// Further lines of its section.
    pub(crate) lines: Vec<String>,
}

impl Group {
    /// A group of VMs with 2 CPUs and 4 GiB, from zero to `max`.
    pub(crate) fn new(name: &str, max: u32) -> Self {
        Self {
            host_group: SimulatedGroup::new(name, 2, 4 << 30),
            lines: vec![format!("max-size = {max}")],
        }
    }

    /// The same with this line in its section.
    pub(crate) fn with(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }
}

/// A host that runs.
pub(crate) struct Host {
    pub(crate) name: &'static str,
    simulator: Simulator,
    running: RunningSimulator,
    groups: Vec<Group>,
}

impl Host {
    /// Starts a host that takes `create` for a VM and whose VMs join the cluster of this kubeconfig.
    pub(crate) async fn start(
        name: &'static str,
        groups: Vec<Group>,
        create: Duration,
        kubeconfig: &Path,
    ) -> Result<Self, Failure> {
        let config = SimulatorConfig {
            token: Some(SLICER_TOKEN.into()),
            groups: groups.iter().map(|group| group.host_group.clone()).collect(),
            timing: Timing {
                create,
                boot: Duration::from_millis(500),
                ..Timing::default()
            },
            ..SimulatorConfig::default()
        };
        let source = KubeconfigSource::File(kubeconfig.to_owned());
        let client = ClientConfig::load(&source).await.map_err(|error| error.to_string())?;
        let agent = SimulatedAgent::new(&client, Duration::from_secs(1)).map_err(|error| error.to_string())?;
        let simulator = Simulator::new(config, Arc::new(agent));
        let running = simulator.spawn_on_loopback().await.map_err(|error| error.to_string())?;
        Ok(Self {
            name,
            simulator,
            running,
            groups,
        })
    }

    /// The sections of its groups for the provider's configuration.
    pub(crate) fn sections(&self) -> String {
        let section = |group: &Group| {
            format!(
                "[nodegroup \"{}\"]\nslicer-url = {}\nslicer-token = {SLICER_TOKEN}\n{}\n",
                group.host_group.name,
                self.running.url,
                group.lines.join("\n")
            )
        };
        self.groups.iter().map(section).collect()
    }

    pub(crate) fn vms(&self) -> Vec<VmView> {
        self.simulator.vms()
    }

    /// How many VMs were ever created.
    pub(crate) fn created(&self) -> u64 {
        self.simulator.created_total()
    }

    /// There is room for so many VMs only.
    pub(crate) fn has_room_for(&self, vms: usize) {
        self.simulator.set_capacity(Capacity {
            max_vms: Some(vms),
            ram_bytes: None,
        });
    }

    /// Nobody reaches its daemon; its VMs live on.
    pub(crate) fn goes_down(&self) {
        self.simulator.down(None);
    }

    pub(crate) fn comes_back(&self) {
        self.simulator.up();
    }

    /// It fails to delete VMs, or does so again.
    pub(crate) fn refuses_deletes(&self, refuses: bool) {
        self.simulator.clear_faults();
        if refuses {
            let kind = FaultKind::Status {
                code: 500,
                text: "device busy".to_owned(),
            };
            // A single fault that makes sense.
            let _ = self.simulator.switch_on(Fault::every(RouteClass::Delete, kind));
        }
    }

    /// It reboots and loses its VMs.
    pub(crate) fn restarts(&self) {
        self.simulator.restart();
    }

    /// How the userdata of its VMs ends from now on.
    pub(crate) fn userdata(&self, order: UserdataOrder) {
        self.simulator.order_userdata_to_come(order);
    }

    /// Its VMs end, and nobody answers any more.
    pub(crate) async fn stop(self) {
        self.simulator.shut_down(Duration::from_secs(10)).await;
        self.running.stop().await;
    }
}

/// The provider's configuration for these hosts.
pub(crate) fn configuration(hosts: &[Host]) -> String {
    let global = "[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token = joins\ndefault-min-size = 0\n\
                  k3s-version = v1.35.4+k3s1\n";
    hosts
        .iter()
        .fold(global.to_owned(), |text, host| text + &host.sections())
}
