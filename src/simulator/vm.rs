//! One simulated VM: what was asked for, and how far it is.

use jiff::Timestamp;

use crate::domain::vm::Architecture;

use super::console::Console;
use super::guest::{GuestVm, UserdataOrder, UserdataOutcome};

/// Tells one start of one VM from every other, for ever: hostnames come again, this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BootId(pub(super) u64);

/// Whether a VM runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// Its CPUs are halted; it keeps its memory.
    Paused,
    /// Nothing runs; its disk is kept.
    Stopped,
    /// Nothing runs; its disk and a snapshot of its memory are kept.
    Suspended,
}

impl Power {
    /// The word that the API uses. It has none for a suspended VM.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Stopped | Self::Suspended => "Stopped",
        }
    }

    /// Whether the VM has a process on the host, and so memory and a guest.
    pub(super) fn is_on(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// The size of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) cpus: u32,
    pub(super) ram_bytes: u64,
    pub(super) gpu_count: u32,
}

/// What a VM was created with and keeps for its whole life.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    pub(super) persistent: bool,
    pub(super) protected: bool,
    pub(super) tags: Vec<String>,
    pub(super) userdata: String,
    /// The secrets that it may see; `None` for all.
    pub(super) secrets: Option<Vec<String>>,
}

/// A VM as the daemon keeps it.
#[derive(Clone, Debug)]
pub(super) struct Vm {
    pub(super) hostname: String,
    pub(super) group: String,
    pub(super) arch: Architecture,
    pub(super) size: Size,
    pub(super) disk_bytes: u64,
    pub(super) machine_id: String,
    pub(super) order: Order,
    /// Its place in the pool of addresses, from 0.
    pub(super) address: usize,
    pub(super) created_at: Timestamp,
    pub(super) boot: BootId,
    pub(super) booted_at: Timestamp,
    pub(super) power: Power,
    pub(super) agent_since: Option<Timestamp>,
    /// How its userdata ended; it runs once in the life of a disk.
    pub(super) userdata_outcome: Option<UserdataOutcome>,
    pub(super) userdata_order: UserdataOrder,
    pub(super) console: Console,
}

impl Vm {
    /// The address without its prefix length. The pool starts at 192.168.137.2 and goes on into the next networks
    /// when 253 addresses are used up.
    pub(super) fn ip(&self) -> String {
        format!("192.168.{}.{}", 137 + self.address / 253, 2 + self.address % 253)
    }

    pub(super) fn matches(&self, filter: &TagFilter) -> bool {
        match filter {
            TagFilter::All => true,
            TagFilter::Exactly(tag) => self.order.tags.contains(tag),
            TagFilter::Prefix(prefix) => self.order.tags.iter().any(|tag| tag.starts_with(prefix)),
        }
    }

    /// What the inside of the VM sees of itself. Its secrets are filled in by whoever has them.
    pub(super) fn guest(&self) -> GuestVm {
        GuestVm {
            hostname: self.hostname.clone(),
            ip: self.ip(),
            cpus: self.size.cpus,
            ram_bytes: self.size.ram_bytes,
            gpu_count: self.size.gpu_count,
            disk_bytes: self.disk_bytes,
            arch: self.arch,
            machine_id: self.machine_id.clone(),
            userdata: self.order.userdata.clone(),
            secrets: std::collections::BTreeMap::new(),
            first_boot: self.userdata_outcome.is_none(),
            console: self.console.clone(),
        }
    }

    pub(super) fn view(&self) -> VmView {
        VmView {
            hostname: self.hostname.clone(),
            group: self.group.clone(),
            ip: self.ip(),
            cpus: self.size.cpus,
            ram_bytes: self.size.ram_bytes,
            gpu_count: self.size.gpu_count,
            tags: self.order.tags.clone(),
            userdata: self.order.userdata.clone(),
            secrets: self.order.secrets.clone(),
            persistent: self.order.persistent,
            protected: self.order.protected,
            created_at: self.created_at,
            power: self.power,
            agent_up: self.agent_since.is_some(),
            userdata_outcome: self.userdata_outcome,
        }
    }
}

/// Which VMs a listing is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TagFilter {
    All,
    Exactly(String),
    Prefix(String),
}

/// A VM as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmView {
    /// Its name; another VM may have had it before.
    pub hostname: String,
    /// Its host group.
    pub group: String,
    /// Its address, without prefix length.
    pub ip: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub ram_bytes: u64,
    /// GPUs.
    pub gpu_count: u32,
    /// Tags as they were given.
    pub tags: Vec<String>,
    /// Userdata as it was given.
    pub userdata: String,
    /// Names of the secrets that it may see; `None` for all.
    pub secrets: Option<Vec<String>>,
    /// Whether it survives a restart of the daemon.
    pub persistent: bool,
    /// Whether DELETE is refused.
    pub protected: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether it runs.
    pub power: Power,
    /// Whether its agent answers health.
    pub agent_up: bool,
    /// How its userdata ended; `None` while it runs.
    pub userdata_outcome: Option<UserdataOutcome>,
}
