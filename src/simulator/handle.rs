//! The handle on a simulator: what tests and the command line see and switch.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::DropGuard;

use super::config::{Capacity, SimulatorConfig};
use super::faults::{Fault, FaultReport, InvalidFault};
use super::guest::{GuestAgent, UserdataOrder};
use super::journal::RequestLog;
use super::shared::{Shared, State};
use super::vm::{TagFilter, Vm, VmView};

/// There is no VM of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no VM {hostname}")]
pub struct NoSuchVm {
    /// The name.
    pub hostname: String,
}

/// A simulated Slicer daemon. Clones are handles on the same one; when the last is gone, its VMs end.
#[derive(Clone, Debug)]
pub struct Simulator {
    pub(super) shared: Arc<Shared>,
    _end: Arc<DropGuard>,
}

impl Simulator {
    /// A daemon that has just started, with a guest agent for its VMs. VMs that exist from the start boot at once in a
    /// tokio runtime, and else with [`router`](Self::router).
    #[must_use]
    pub fn new(config: SimulatorConfig, agent: Arc<dyn GuestAgent>) -> Self {
        let shared = Shared::new(config, agent);
        let end = Arc::new(shared.end.clone().drop_guard());
        shared.change(|_| ());
        Self { shared, _end: end }
    }

    /// All VMs, by hostname.
    #[must_use]
    pub fn vms(&self) -> Vec<VmView> {
        let list = |state: &mut State| {
            let vms = state.daemon.list(None, &TagFilter::All).unwrap_or_default();
            vms.into_iter().map(Vm::view).collect()
        };
        self.shared.with(list)
    }

    /// The VM of this name.
    #[must_use]
    pub fn vm(&self, hostname: &str) -> Option<VmView> {
        self.shared.with(|state| state.daemon.vm(hostname).ok().map(Vm::view))
    }

    /// Waits until the VMs are as `wanted` says, but not longer than `limit`. Returns whether they are.
    pub async fn wait_for_vms(&self, limit: Duration, mut wanted: impl FnMut(&[VmView]) -> bool) -> bool {
        let look = |state: &mut State| {
            let vms = state.daemon.list(None, &TagFilter::All).unwrap_or_default();
            let views: Vec<VmView> = vms.into_iter().map(Vm::view).collect();
            wanted(&views).then_some(())
        };
        tokio::time::timeout(limit, self.shared.wait_for(look)).await.is_ok()
    }

    /// What was requested so far.
    #[must_use]
    pub fn requests(&self) -> RequestLog {
        self.shared.with(|state| state.requests.clone())
    }

    /// How many VMs were ever created by a request.
    #[must_use]
    pub fn created_total(&self) -> u64 {
        self.shared.with(|state| state.daemon.created())
    }

    /// How many VMs were ever deleted by a request.
    #[must_use]
    pub fn deleted_total(&self) -> u64 {
        self.shared.with(|state| state.daemon.deleted())
    }

    /// The names of all secrets.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.shared
            .with(|state| state.secrets.iter().map(|(name, _)| name.clone()).collect())
    }

    /// The content of a secret; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn secret_value(&self, name: &str) -> Option<SecretString> {
        let text = |bytes: &[u8]| SecretString::from(String::from_utf8_lossy(bytes).into_owned());
        self.shared.with(|state| {
            state
                .secrets
                .get(name)
                .map(|secret| text(secret.content.expose_secret()))
        })
    }

    /// Switches a fault on.
    ///
    /// # Errors
    /// It makes no sense, or there are too many already.
    pub fn switch_on(&self, fault: Fault) -> Result<(), InvalidFault> {
        self.shared.with(|state| state.faults.switch_on(fault))
    }

    /// All faults that are switched on.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultReport> {
        self.shared.with(|state| state.faults.reports())
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.shared.with(|state| state.faults.clear());
    }

    /// The daemon restarts: requests under way are neither finished nor answered, ephemeral VMs are lost, persistent
    /// ones stop, hostnames are given anew from 1.
    pub fn restart(&self) {
        let end = &self.shared.end;
        self.shared.change(|state| state.restart(Timestamp::now(), end));
    }

    /// From now on the daemon wants this token.
    pub fn rotate_token(&self, token: SecretString) {
        self.shared.token.store(Some(Arc::new(token)));
    }

    /// Nobody reaches the daemon, for a time or until [`up`](Self::up): requests under way are finished but not
    /// answered, later ones are neither.
    pub fn down(&self, length: Option<Duration>) {
        let end = &self.shared.end;
        self.shared.change(|state| state.down(length, end));
    }

    /// The daemon is reached again.
    pub fn up(&self) {
        self.shared.change(State::up);
    }

    /// Changes how much room the host has. VMs that are already there stay.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.shared.with(|state| state.daemon.set_capacity(capacity));
    }

    /// The guest of a VM exits: an ephemeral VM is gone, a persistent one is stopped.
    ///
    /// # Errors
    /// There is no such VM.
    pub fn kill(&self, hostname: &str) -> Result<(), NoSuchVm> {
        let killed = self.shared.change(|state| state.daemon.exit(hostname));
        killed.map_err(|_| NoSuchVm {
            hostname: hostname.to_owned(),
        })
    }

    /// Decides how the userdata of a VM ends, unless it has ended.
    ///
    /// # Errors
    /// There is no such VM.
    pub fn order_userdata(&self, hostname: &str, order: UserdataOrder) -> Result<(), NoSuchVm> {
        let ordered = self.shared.change(|state| state.daemon.order_userdata(hostname, order));
        ordered.map_err(|_| NoSuchVm {
            hostname: hostname.to_owned(),
        })
    }

    /// Decides how the userdata of the VMs to come ends.
    pub fn order_userdata_to_come(&self, order: UserdataOrder) {
        self.shared.with(|state| state.daemon.order_userdata_to_come(order));
    }

    /// Ends all VMs and waits until their guest agents have cleaned up, but not longer than `limit`.
    pub async fn shut_down(&self, limit: Duration) {
        self.shared.end.cancel();
        self.shared.tasks.close();
        // What is not finished by then is left to the runtime.
        let _ = tokio::time::timeout(limit, self.shared.tasks.wait()).await;
    }

    /// The serial log of a VM.
    #[must_use]
    pub fn console(&self, hostname: &str) -> Option<String> {
        self.shared
            .with(|state| state.daemon.vm(hostname).ok().map(|vm| vm.console.tail(0)))
    }
}
