//! What happens inside a VM. The daemon only knows that a guest boots, runs its userdata and goes; a [`GuestAgent`]
//! gives that a meaning: it may do nothing for a while, or register a Node with a Kubernetes API.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

use crate::domain::vm::Architecture;

use super::console::Console;

/// A VM as its own inside sees it.
#[derive(Clone, Debug)]
pub struct GuestVm {
    /// Its name. Another VM may have had it before.
    pub hostname: String,
    /// Its address, without prefix length.
    pub ip: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub ram_bytes: u64,
    /// GPUs.
    pub gpu_count: u32,
    /// Disk in bytes.
    pub disk_bytes: u64,
    /// Architecture.
    pub arch: Architecture,
    /// What its disk holds in `/etc/machine-id`: 32 hexadecimal digits that no other disk has.
    pub machine_id: String,
    /// The script to run, as it was given.
    pub userdata: String,
    /// The secrets that this VM may see, by name, as they were when it booted.
    pub secrets: BTreeMap<String, SecretSlice<u8>>,
    /// Whether userdata runs in this boot. A relaunched disk that has finished it does not run it again.
    pub first_boot: bool,
    /// Its serial console, which the API shows under `/vm/{hostname}/logs`.
    pub console: Console,
}

/// How userdata ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UserdataOutcome {
    /// Its exit code; `None` for a guest that is too old to tell.
    pub exit_code: Option<i32>,
}

impl UserdataOutcome {
    /// It did what it was meant to do.
    pub const SUCCESS: Self = Self { exit_code: Some(0) };

    /// Whether nothing is known to have gone wrong.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self.exit_code, None | Some(0))
    }
}

/// What decides how the userdata of a VM ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserdataOrder {
    /// The guest agent does.
    #[default]
    AsGuest,
    /// It exits with this code and the guest agent is not asked: with 0 too, the VM then never joins anything.
    ExitCode(i32),
    /// It ends, but the guest does not tell how.
    NoExitCode,
    /// It never ends.
    Hang,
}

/// The inside of all VMs of a simulator.
///
/// The futures of one VM run one after another in one task of its own, and are dropped when the VM goes away:
/// deleted, killed, suspended, or lost in a restart of the daemon.
#[async_trait]
pub trait GuestAgent: Send + Sync + Debug {
    /// Runs when the agent of the VM is up, at every boot; the result counts at the first.
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome;

    /// Runs after a successful [`boot`](Self::boot) for as long as the VM lives. Returning early changes nothing.
    async fn live(&self, _vm: &GuestVm) {}

    /// Runs once, within ten seconds, when a VM whose [`boot`](Self::boot) was called is gone.
    async fn stop(&self, _hostname: &str) {}
}

/// A guest whose userdata runs for a while, succeeds, and does nothing else.
#[derive(Clone, Copy, Debug)]
pub struct ScriptedAgent {
    /// How long userdata runs.
    pub userdata_time: Duration,
}

#[async_trait]
impl GuestAgent for ScriptedAgent {
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome {
        vm.console
            .write_line(&format!("userdata: started, {} bytes", vm.userdata.len()));
        tokio::time::sleep(self.userdata_time).await;
        UserdataOutcome::SUCCESS
    }
}
