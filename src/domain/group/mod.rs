//! The state of one node group, and every rule by which it changes.
//!
//! The target size is never stored: it is the number of slots that are not being deleted, so it cannot disagree with
//! the list of instances. Slots are born in [`Group::request_launches`], follow what the host lists
//! ([`Group::apply_listing`]) and what the cluster knows ([`Group::apply_nodes`]), and go in [`Group::delete`] and
//! [`Group::decrease`]. What happened comes back as [`Event`]s; what has to be done is read from the slots' phases.

mod listing;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

pub use listing::{Observed, StaleNode};
pub use slot::{Phase, Slot, SlotVm};

use super::failure::{Failure, FailureCode};
use super::ids::{ClusterId, Hostname, InstanceId, LaunchId, NodeGroupId};
use super::moment::Moment;
use super::node::NodeRecord;
use super::template::Learned;
use super::vm::UserdataState;
use listing::Absence;

/// How many removed launches are remembered, so that a VM that appears after its removal is removed again.
const MAX_REMEMBERED_REMOVALS: usize = 4096;

/// How many instances there may be for one that nobody knows to be noted as being deleted: twice the largest size of a
/// group. They go with the next listings, but a host that is down lists nothing, and clients may name what they like.
const MOST_INSTANCES: usize = 20_000;

/// How long a VM may take, and how sure the proof must be that one is gone.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the request for a VM (after a restart: from its first sight) to its Node; only while the cluster is seen
    /// live.
    pub join: Duration,
    /// From userdata that succeeded to its Node.
    pub join_after_userdata: Duration,
    /// Between the first and the last of the listings that prove that a VM vanished which nobody deleted.
    pub vanish: Duration,
}

/// What the cluster-autoscaler is told of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// No Node yet.
    Creating,
    /// Its Node registered.
    Running,
    /// Being removed.
    Deleting,
}

/// An instance as the cluster-autoscaler is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id: equal to the provider ID of its Node.
    pub id: InstanceId,
    /// Where it stands.
    pub state: InstanceState,
    /// Why it will not become a Node; only with [`InstanceState::Creating`], as the cluster-autoscaler demands.
    pub failure: Option<Failure>,
}

/// A request to grow that is refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The delta is zero or negative.
    NotAnIncrease {
        /// What was asked.
        delta: i32,
    },
    /// The group would exceed its maximum.
    AboveMaximum {
        /// The target size now.
        target: u32,
        /// What was asked.
        delta: u32,
        /// The maximum.
        max: u32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnIncrease { delta } => write!(f, "delta must be positive, not {delta}"),
            Self::AboveMaximum { target, delta, max } => write!(
                f,
                "target size {target} plus {delta} exceeds the maximum of {max}; raise max-size to allow more"
            ),
        }
    }
}

/// Something that happened to an instance: worth a line of log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The instance.
    pub instance: InstanceId,
    /// Its VM, as far as known.
    pub vm: Option<Hostname>,
    /// When what this is about was asked for, see [`Slot::asked`].
    pub asked: Option<Moment>,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The VM of a launch was seen for the first time.
    Launched,
    /// A VM of this group that this process did not launch was taken over (after a restart, or made by the fork).
    Adopted,
    /// Its Node registered.
    Joined,
    /// It will not become a Node.
    Failed(Failure),
    /// The VM disappeared although nobody deleted it.
    Vanished,
    /// The VM that was to be removed is gone.
    Removed,
    /// A VM that was removed before is there again, and is removed again.
    CameBack,
    /// Somebody paused, suspended or stopped the VM. It stays an instance: that was meant.
    Halted,
    /// A halted VM goes on.
    Resumed,
    /// A second VM of the same launch; it is removed. The event's VM is that one.
    Surplus,
}

/// What became of a launch when its VM was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// It is an instance of the group.
    Kept,
    /// It was given up in the meantime and has to be removed.
    Unwanted,
}

/// The Nodes that concern one group.
#[derive(Clone, Debug, Default)]
pub struct GroupNodes<'a> {
    /// Nodes whose provider ID is one of this group.
    pub own: Vec<&'a NodeRecord>,
    /// Nodes that the fork made for this group: its labels, somebody else's provider ID.
    pub forked: Vec<&'a NodeRecord>,
}

/// The state of one node group.
#[derive(Clone, Debug)]
pub struct Group {
    id: NodeGroupId,
    cluster: ClusterId,
    slots: BTreeMap<InstanceId, Slot>,
    /// The launches that were removed lately, the oldest first, and the same as a set.
    removals: VecDeque<LaunchId>,
    removed: BTreeSet<LaunchId>,
    absences: BTreeMap<InstanceId, Absence>,
    listings_begun: u64,
    listed: bool,
    learned: Option<Learned>,
}

impl Group {
    /// A group of which nothing is known yet.
    #[must_use]
    pub fn new(id: NodeGroupId, cluster: ClusterId) -> Self {
        Self {
            id,
            cluster,
            slots: BTreeMap::new(),
            removals: VecDeque::new(),
            removed: BTreeSet::new(),
            absences: BTreeMap::new(),
            listings_begun: 0,
            listed: false,
            learned: None,
        }
    }

    /// All instances with where they stand.
    pub fn slots(&self) -> impl Iterator<Item = (&InstanceId, &Slot)> {
        self.slots.iter()
    }

    /// One instance.
    #[must_use]
    pub fn slot(&self, id: &InstanceId) -> Option<&Slot> {
        self.slots.get(id)
    }

    /// What a real Node of the group reported last.
    #[must_use]
    pub fn learned(&self) -> Option<&Learned> {
        self.learned.as_ref()
    }

    /// The target size: the instances that are listed and not being deleted.
    #[must_use]
    pub fn target_size(&self) -> u32 {
        let live = self.slots.values().filter(|slot| !is_deleting(&slot.phase)).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// How many VMs there are, or may be once all launches are done: the target size without the launches that failed.
    #[must_use]
    pub fn vms_to_expect(&self) -> u32 {
        let has_none = |phase: &Phase| is_deleting(phase) || matches!(phase, Phase::Failed(_, None));
        let with_vm = self.slots.values().filter(|slot| !has_none(&slot.phase)).count();
        u32::try_from(with_vm).unwrap_or(u32::MAX)
    }

    /// The instances as the cluster-autoscaler is told, in the order of their ids.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.slots
            .iter()
            .map(|(id, slot)| {
                let (state, failure) = match &slot.phase {
                    Phase::Queued | Phase::Requested | Phase::Booting(_) => (InstanceState::Creating, None),
                    Phase::Running(_) => (InstanceState::Running, None),
                    Phase::Failed(failure, _) => (InstanceState::Creating, Some(failure.clone())),
                    Phase::Deleting { .. } => (InstanceState::Deleting, None),
                };
                Instance {
                    id: id.clone(),
                    state,
                    failure,
                }
            })
            .collect()
    }

    /// Asks for `delta` more instances: they are part of the target from now on. `entropy` gives random numbers, from
    /// which the launch ids come; an id is never used twice.
    ///
    /// # Errors
    /// `delta` is not positive, or the target would exceed `max`. Then nothing changed.
    pub fn request_launches(
        &mut self,
        delta: i32,
        max: u32,
        now: Moment,
        mut entropy: impl FnMut() -> u64,
    ) -> Result<Vec<LaunchId>, Refusal> {
        let count = u32::try_from(delta).ok().filter(|count| *count > 0);
        let Some(count) = count else {
            return Err(Refusal::NotAnIncrease { delta });
        };
        let target = self.target_size();
        if target.checked_add(count).is_none_or(|sum| sum > max) {
            return Err(Refusal::AboveMaximum {
                target,
                delta: count,
                max,
            });
        }
        let mut launches = Vec::new();
        for _ in 0..count {
            let launch = self.draw_launch(&mut entropy);
            self.insert(InstanceId::of_launch(&self.id, &launch), Phase::Queued, now);
            launches.push(launch);
        }
        Ok(launches)
    }

    fn draw_launch(&self, entropy: &mut impl FnMut() -> u64) -> LaunchId {
        loop {
            let launch = LaunchId::from_entropy(entropy());
            let used =
                self.slots.contains_key(&InstanceId::of_launch(&self.id, &launch)) || self.removed.contains(&launch);
            if !used {
                return launch;
            }
        }
    }

    /// The launch is about to be sent to the host; `false` if it was given up in the meantime.
    pub fn begin_launch(&mut self, launch: &LaunchId) -> bool {
        match self.phase_mut(launch) {
            Some(phase @ Phase::Queued) => {
                *phase = Phase::Requested;
                true
            }
            _ => false,
        }
    }

    /// The host created the VM of a launch (or it was found by its tag).
    ///
    /// The event is that of its VM, if this is the first that is heard of it.
    pub fn launch_succeeded(
        &mut self,
        launch: &LaunchId,
        hostname: Hostname,
        now: Moment,
    ) -> (LaunchOutcome, Option<Event>) {
        let id = InstanceId::of_launch(&self.id, launch);
        let proof_after = self.listings_begun;
        let vm = SlotVm {
            hostname,
            created_at: None,
            halted: false,
            userdata_done: None,
        };
        let was_removed = self.was_removed(&id);
        let Some(slot) = self.slots.get_mut(&id) else {
            if !was_removed {
                // Its Node showed it first, then two listings missed it; here it is after all.
                self.insert(id, Phase::Booting(vm), now);
                return (LaunchOutcome::Kept, None);
            }
            // Given up and forgotten: whatever came of it has to go.
            let phase = Phase::Deleting {
                vm: Some(vm),
                launch_in_flight: false,
            };
            self.insert(id, phase, now);
            return (LaunchOutcome::Unwanted, None);
        };
        let mut event = None;
        match &mut slot.phase {
            Phase::Queued | Phase::Requested => {
                slot.phase = Phase::Booting(vm);
                event = Some(slot.event(&id, EventKind::Launched));
            }
            Phase::Failed(_, of) => {
                of.get_or_insert(vm);
            }
            Phase::Deleting {
                vm: of,
                launch_in_flight,
            } => {
                of.get_or_insert(vm);
                *launch_in_flight = false;
                slot.proof_after = proof_after;
                return (LaunchOutcome::Unwanted, None);
            }
            // A listing was quicker.
            Phase::Booting(_) | Phase::Running(_) => return (LaunchOutcome::Kept, None),
        }
        slot.proof_after = proof_after;
        (LaunchOutcome::Kept, event)
    }

    /// The launch will not be tried again. It stays listed with its failure; one that was given up meanwhile stays
    /// until listings prove that no VM came of it.
    pub fn launch_failed(&mut self, launch: &LaunchId, failure: Failure) -> Option<Event> {
        let id = InstanceId::of_launch(&self.id, launch);
        let proof_after = self.listings_begun;
        let slot = self.slots.get_mut(&id)?;
        match &mut slot.phase {
            Phase::Queued | Phase::Requested => {
                slot.phase = Phase::Failed(failure.clone(), None);
                Some(slot.event(&id, EventKind::Failed(failure)))
            }
            Phase::Deleting { launch_in_flight, .. } => {
                *launch_in_flight = false;
                slot.proof_after = proof_after;
                None
            }
            Phase::Booting(_) | Phase::Running(_) | Phase::Failed(..) => None,
        }
    }

    /// Starts to remove instances, known or not; returns those whose removal is to be worked on. Instances that never
    /// had a VM are gone at once. Repeating it changes nothing.
    pub fn delete(&mut self, ids: &BTreeSet<InstanceId>, now: Moment) -> Vec<InstanceId> {
        ids.iter().filter(|id| self.delete_one(id, now)).cloned().collect()
    }

    fn delete_one(&mut self, id: &InstanceId, now: Moment) -> bool {
        let phase = match self.slots.get(id).map(|slot| &slot.phase) {
            Some(Phase::Deleting { .. }) => return false,
            Some(Phase::Queued | Phase::Failed(_, None)) => {
                self.slots.remove(id);
                self.remember_removal(id);
                return false;
            }
            Some(Phase::Requested) => Phase::Deleting {
                vm: None,
                launch_in_flight: true,
            },
            Some(Phase::Booting(vm) | Phase::Running(vm) | Phase::Failed(_, Some(vm))) => Phase::Deleting {
                vm: Some(vm.clone()),
                launch_in_flight: false,
            },
            None if self.slots.len() >= MOST_INSTANCES => return false,
            // Not known: gone already, or this process has not seen it yet. The listings will tell.
            None => Phase::Deleting {
                vm: None,
                launch_in_flight: false,
            },
        };
        self.remember_removal(id);
        self.absences.remove(id);
        self.insert(id.clone(), phase, now);
        true
    }

    /// Gives up to `count` launches up that have no VM yet: first those that failed, then those that the host was not
    /// asked for, the newest first, then those that it is being asked for. Returns how many.
    ///
    /// cluster-autoscaler >= 1.36 calls this on a scale-up time-out with the whole increase, whatever part of it has
    /// joined since: a VM is never touched here.
    pub fn decrease(&mut self, count: u32, now: Moment) -> u32 {
        let mut unfulfilled: Vec<(u8, std::cmp::Reverse<Moment>, InstanceId)> = self
            .slots
            .iter()
            .filter_map(|(id, slot)| {
                let rank = match slot.phase {
                    Phase::Failed(_, None) => 0,
                    Phase::Queued => 1,
                    Phase::Requested => 2,
                    _ => return None,
                };
                Some((rank, std::cmp::Reverse(slot.since), id.clone()))
            })
            .collect();
        unfulfilled.sort();
        unfulfilled.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        for (_, _, id) in &unfulfilled {
            self.delete_one(id, now);
        }
        u32::try_from(unfulfilled.len()).unwrap_or(u32::MAX)
    }

    /// Takes note of how far the userdata of a booting VM is. `log` tells the end of its serial log.
    pub fn apply_userdata(
        &mut self,
        id: &InstanceId,
        state: UserdataState,
        log: &str,
        nodes_are_known: bool,
        now: Moment,
    ) -> Option<Event> {
        let slot = self.slots.get_mut(id)?;
        let Phase::Booting(vm) = &mut slot.phase else {
            return None;
        };
        match state {
            UserdataState::Pending => None,
            UserdataState::Exited(code) if code != 0 => {
                let story = format!("the userdata of VM {} ended with exit code {code}", vm.hostname);
                let failure = Failure::with_log(FailureCode::UserdataFailed, &story, log);
                slot.phase = Phase::Failed(failure.clone(), Some(vm.clone()));
                Some(slot.event(id, EventKind::Failed(failure)))
            }
            UserdataState::Exited(_) | UserdataState::Finished if nodes_are_known => {
                vm.userdata_done.get_or_insert(now);
                None
            }
            // Nobody will ever tell more.
            UserdataState::Exited(_) | UserdataState::Finished => {
                slot.phase = Phase::Running(vm.clone());
                Some(slot.event(id, EventKind::Joined))
            }
        }
    }

    /// The VMs whose Node did not register in time, by instance. To be asked only while the list of Nodes is complete
    /// and fresh. Halted VMs are somebody's deliberate act: they get all the time they want.
    #[must_use]
    pub fn overdue_joins(&self, patience: Patience, now: Moment) -> Vec<(InstanceId, Hostname)> {
        self.slots
            .iter()
            .filter_map(|(id, slot)| match &slot.phase {
                Phase::Booting(vm) if !vm.halted => {
                    overdue_join(slot.since, vm, patience, now).map(|_| (id.clone(), vm.hostname.clone()))
                }
                _ => None,
            })
            .collect()
    }

    /// Turns one of [`Self::overdue_joins`] into a failure, unless its Node has registered meanwhile. `log` tells the
    /// end of its serial log.
    pub fn fail_overdue_join(&mut self, id: &InstanceId, log: &str, patience: Patience, now: Moment) -> Option<Event> {
        let slot = self.slots.get_mut(id)?;
        let Phase::Booting(vm) = &slot.phase else { return None };
        let waited = overdue_join(slot.since, vm, patience, now).filter(|_| !vm.halted)?;
        let story = match waited {
            OverdueJoin::AfterUserdata => format!(
                "the userdata of VM {} succeeded, but no Node with provider ID {id} registered within {} s: did it join \
                 another cluster?",
                vm.hostname,
                patience.join_after_userdata.as_secs()
            ),
            OverdueJoin::SinceLaunch => format!(
                "VM {} runs, but no Node with provider ID {id} registered within {} s",
                vm.hostname,
                patience.join.as_secs()
            ),
        };
        let failure = Failure::with_log(FailureCode::JoinTimeout, &story, log);
        slot.phase = Phase::Failed(failure.clone(), Some(vm.clone()));
        Some(slot.event(id, EventKind::Failed(failure)))
    }

    fn insert(&mut self, id: InstanceId, phase: Phase, now: Moment) -> &Slot {
        let before = self.slots.get(&id);
        let is_asked_for = matches!(phase, Phase::Queued | Phase::Deleting { .. });
        let slot = Slot {
            phase,
            since: before.map_or(now, |slot| slot.since),
            asked: is_asked_for.then_some(now),
            proof_after: self.listings_begun,
            was_listed: before.is_some_and(|slot| slot.was_listed),
        };
        match self.slots.entry(id) {
            Entry::Vacant(place) => place.insert(slot),
            Entry::Occupied(mut place) => {
                place.insert(slot);
                place.into_mut()
            }
        }
    }

    fn phase_mut(&mut self, launch: &LaunchId) -> Option<&mut Phase> {
        let id = InstanceId::of_launch(&self.id, launch);
        self.slots.get_mut(&id).map(|slot| &mut slot.phase)
    }

    fn remember_removal(&mut self, id: &InstanceId) {
        let Some(launch) = id.launch_of(&self.id) else { return };
        if !self.removed.insert(launch.clone()) {
            return;
        }
        if self.removals.len() == MAX_REMEMBERED_REMOVALS
            && let Some(oldest) = self.removals.pop_front()
        {
            self.removed.remove(&oldest);
        }
        self.removals.push_back(launch);
    }
}

/// What a VM waited for too long.
enum OverdueJoin {
    AfterUserdata,
    SinceLaunch,
}

fn overdue_join(since: Moment, vm: &SlotVm, patience: Patience, now: Moment) -> Option<OverdueJoin> {
    match vm.userdata_done {
        Some(done) if now.since(done) > patience.join_after_userdata => Some(OverdueJoin::AfterUserdata),
        _ if now.since(since) > patience.join => Some(OverdueJoin::SinceLaunch),
        _ => None,
    }
}

fn is_deleting(phase: &Phase) -> bool {
    matches!(phase, Phase::Deleting { .. })
}
