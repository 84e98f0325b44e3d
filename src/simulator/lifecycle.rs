//! The life of one guest, from the start of its VM until the VM is off: one task, one step after another.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::guest::{GuestVm, UserdataOrder, UserdataOutcome};
use super::shared::Shared;
use super::vm::{BootId, Vm};

/// How long a guest agent may take to clean up after a VM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a guest until `stop`, then lets the guest agent clean up.
pub(super) async fn run(shared: Arc<Shared>, boot: BootId, vm: GuestVm, stop: CancellationToken) {
    let hostname = vm.hostname.clone();
    let mut guest = Guest {
        shared: Arc::clone(&shared),
        boot,
        vm,
        agent_was_asked: false,
    };
    stop.run_until_cancelled(guest.live()).await;
    if guest.agent_was_asked {
        // An agent that does not come to an end is left alone.
        let _ = tokio::time::timeout(STOP_TIMEOUT, shared.agent.stop(&hostname)).await;
    }
}

struct Guest {
    shared: Arc<Shared>,
    boot: BootId,
    vm: GuestVm,
    agent_was_asked: bool,
}

impl Guest {
    async fn live(&mut self) {
        self.vm.console.write_line("boot: kernel started");
        tokio::time::sleep(self.shared.timing.boot).await;
        self.vm.console.write_line("boot: slicer-agent started");
        let (hostname, boot) = (self.vm.hostname.clone(), self.boot);
        self.shared
            .change(|state| state.daemon.agent_is_up(&hostname, boot, Timestamp::now()));
        if self.userdata().await == Some(UserdataOrder::AsGuest) {
            self.shared.agent.live(&self.vm).await;
        }
        // The VM idles on until it is stopped.
        std::future::pending::<()>().await;
    }

    /// Runs userdata to its end, however often somebody decides anew how it ends. Returns what decided in the end if
    /// that was a success.
    async fn userdata(&mut self) -> Option<UserdataOrder> {
        let mut order = self.order(None).await;
        loop {
            self.agent_was_asked |= order == UserdataOrder::AsGuest;
            tokio::select! {
                outcome = self.outcome(order) => {
                    let (hostname, boot) = (&self.vm.hostname, self.boot);
                    self.shared.change(|state| state.daemon.userdata_ended(hostname, boot, outcome));
                    return outcome.is_success().then_some(order);
                }
                other = self.order(Some(order)) => order = other,
            }
        }
    }

    /// The order that is in force, as soon as it is another than `known`.
    async fn order(&self, known: Option<UserdataOrder>) -> UserdataOrder {
        let find = |vm: &Vm| Some(vm.userdata_order).filter(|order| Some(*order) != known);
        self.shared
            .wait_for(|state| state.daemon.booted(&self.vm.hostname, self.boot).and_then(find))
            .await
    }

    async fn outcome(&self, order: UserdataOrder) -> UserdataOutcome {
        let exit_code = match order {
            UserdataOrder::AsGuest => return self.shared.agent.boot(&self.vm).await,
            UserdataOrder::Hang => std::future::pending().await,
            UserdataOrder::ExitCode(code) => Some(code),
            UserdataOrder::NoExitCode => None,
        };
        tokio::time::sleep(self.shared.timing.userdata).await;
        UserdataOutcome { exit_code }
    }
}
