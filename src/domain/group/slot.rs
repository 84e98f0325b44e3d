//! One slot of a node group: an instance on its way from request to removal.
//!
//! ```text
//!   Queued ──> Requested ──> Booting ──> Running
//!      │           │            │           │
//!      │           └──> Failed <┘           │
//!      │                  │                 │
//!      └── gone           └──> Deleting <───┘ ──> gone
//! ```

use super::{Event, EventKind};
use crate::domain::failure::Failure;
use crate::domain::ids::{Hostname, InstanceId};
use crate::domain::moment::{Moment, UnixSeconds};

/// The VM behind a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotVm {
    /// Its name on the host.
    pub hostname: Hostname,
    /// When the host says it was created; tells it from a later VM of that name.
    pub created_at: Option<UnixSeconds>,
    /// Somebody paused, suspended or stopped it on purpose.
    pub halted: bool,
    /// When its userdata was first seen to have succeeded.
    pub userdata_done: Option<Moment>,
}

/// Where a slot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asked for; nothing was sent to the host yet.
    Queued,
    /// The host was asked, or is being asked; whether there is a VM is not known.
    Requested,
    /// There is a VM; its Node has not registered.
    Booting(SlotVm),
    /// Its Node has registered (without Kubernetes: its userdata succeeded).
    Running(SlotVm),
    /// It will not become a Node. Stays until the cluster-autoscaler deletes it, or its Node does register after all.
    Failed(Failure, Option<SlotVm>),
    /// Being removed. No longer part of the target size.
    Deleting {
        /// The VM, once known.
        vm: Option<SlotVm>,
        /// The request that may still create the VM has not been answered.
        launch_in_flight: bool,
    },
}

impl Phase {
    /// The VM, if there is one as far as known.
    #[must_use]
    pub fn vm(&self) -> Option<&SlotVm> {
        match self {
            Self::Queued | Self::Requested => None,
            Self::Booting(vm) | Self::Running(vm) => Some(vm),
            Self::Failed(_, vm) | Self::Deleting { vm, .. } => vm.as_ref(),
        }
    }

    pub(super) fn vm_mut(&mut self) -> Option<&mut SlotVm> {
        match self {
            Self::Queued | Self::Requested => None,
            Self::Booting(vm) | Self::Running(vm) => Some(vm),
            Self::Failed(_, vm) | Self::Deleting { vm, .. } => vm.as_mut(),
        }
    }

    /// A short stable name, for the state API and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Requested => "requested",
            Self::Booting(_) => "booting",
            Self::Running(_) => "running",
            Self::Failed(..) => "failed",
            Self::Deleting { .. } => "deleting",
        }
    }
}

/// An instance of a node group, with its history as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Where it stands.
    pub phase: Phase,
    /// Since when this server knows of it.
    pub since: Moment,
    /// When what it is on its way to was asked for: its launch, or later its removal. `None` for the launch of a VM that
    /// was taken over: nobody here knows.
    pub asked: Option<Moment>,
    /// Only a listing that began after this one can prove that the VM is gone.
    pub(super) proof_after: u64,
    /// The host has listed its VM, so it is the right host to prove that the VM is gone.
    pub(super) was_listed: bool,
}

impl Slot {
    /// Something that happened to this slot, whose instance is `id`.
    pub(super) fn event(&self, id: &InstanceId, kind: EventKind) -> Event {
        Event {
            instance: id.clone(),
            vm: self.phase.vm().map(|vm| vm.hostname.clone()),
            asked: self.asked,
            kind,
        }
    }
}
