//! How a group follows what its host lists and what the cluster knows: VMs that appear, join, vanish or come back,
//! and the proof that a Node has outlived its VM.
//!
//! A single listing proves nothing: a VM is gone when two listings in a row miss it, both begun after the VM was
//! known. Where nobody asked for the removal, some time must lie between them too: a daemon that has just started may
//! not list everything yet.

use std::collections::{BTreeMap, BTreeSet};

use super::slot::{Phase, Slot, SlotVm};
use super::{Event, EventKind, Group, GroupNodes, Patience};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{Hostname, InstanceId, NodeName};
use crate::domain::moment::{Moment, UnixSeconds};
use crate::domain::node::NodeRecord;
use crate::domain::template::Learned;
use crate::domain::vm::{Vm, VmStatus, VmTags};

/// How often in a row an instance was missed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    count: u32,
    first: Moment,
    /// The host once listed its VM, or somebody asked for its removal; then listings proved that the VM was gone.
    was_instance: bool,
}

/// A Node whose VM is proved gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleNode {
    /// Its name.
    pub name: NodeName,
    /// Tells it from a later Node of that name.
    pub uid: String,
    /// It says that it is ready, and this host never listed its VM: it may be the wrong host. Only a kubelet that is
    /// silent, too, proves that the Node is stale.
    pub claims_to_live: bool,
}

/// What a listing brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What happened to instances.
    pub events: Vec<Event>,
    /// Nodes to remove. Named again in every listing until they are gone.
    pub stale_nodes: Vec<StaleNode>,
    /// VMs to remove: second copies of a launch. Named again in every listing until they are gone.
    pub surplus: Vec<Hostname>,
}

/// The VMs of a listing that belong to one group.
struct Sorted<'a> {
    present: BTreeMap<InstanceId, &'a Vm>,
    surplus: Vec<(InstanceId, Hostname)>,
    /// The names of VMs without tags that no Node claims for the group.
    unclaimed: BTreeSet<&'a str>,
}

impl Group {
    /// A listing of the host group is about to be asked for; gives its number. Listings are numbered so that one that
    /// was asked for before a VM was created cannot count as proof that the VM is gone.
    pub fn begin_listing(&mut self) -> u64 {
        self.listings_begun += 1;
        self.listings_begun
    }

    /// The host did not answer: the listings before and after are not two in a row.
    pub fn listing_failed(&mut self) {
        self.absences.retain(|_, absence| absence.was_instance);
        for absence in self.absences.values_mut() {
            absence.count = 0;
        }
    }

    /// From now on another host, or another host group, is listed: what the old one listed proves nothing there.
    pub fn host_changed(&mut self) {
        self.absences.clear();
        for slot in self.slots.values_mut() {
            slot.was_listed = false;
        }
    }

    /// Takes over what the host listed. `nodes` must have been read before the listing was asked for.
    pub fn apply_listing(
        &mut self,
        number: u64,
        vms: &[Vm],
        nodes: &GroupNodes<'_>,
        patience: Patience,
        now: Moment,
    ) -> Observed {
        let mut observed = Observed::default();
        let sorted = self.sort(vms, nodes);
        for (id, vm) in &sorted.present {
            self.see(id, vm, now, &mut observed.events);
        }
        for (id, hostname) in &sorted.surplus {
            observed.events.push(Event {
                instance: id.clone(),
                vm: Some(hostname.clone()),
                asked: None,
                kind: EventKind::Surplus,
            });
            observed.surplus.push(hostname.clone());
        }
        observed
            .events
            .extend(self.miss_slots(number, &sorted.present, patience, now));
        observed.stale_nodes = self.stale_nodes(&sorted, nodes, patience, now);
        self.forget_absences(nodes);
        self.listed = true;
        observed
    }

    /// Takes over what the cluster knows: instances whose Node registered are Running, whatever was thought of them
    /// before, and what Nodes report is remembered for the template. A Node proves that its launch has a VM also while
    /// the host cannot say so. Before the host was ever listed, Nodes are all that is known of the group: then each
    /// stands for an instance.
    pub fn apply_nodes(&mut self, nodes: &GroupNodes<'_>, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        for node in nodes.own.iter().chain(&nodes.forked) {
            let id = InstanceId::adopted(&node.provider_id);
            if !self.listed && !self.slots.contains_key(&id) && !self.was_removed(&id) {
                if let Some(hostname) = &node.labels.hostname {
                    let slot = self.insert(id.clone(), Phase::Running(fresh_vm(hostname.as_str().into())), now);
                    events.push(slot.event(&id, EventKind::Adopted));
                }
                continue;
            }
            let listings_begun = self.listings_begun;
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            match &slot.phase {
                Phase::Booting(vm) | Phase::Failed(_, Some(vm)) => slot.phase = Phase::Running(vm.clone()),
                Phase::Requested | Phase::Failed(_, None) => {
                    let Some(hostname) = &node.labels.hostname else {
                        continue;
                    };
                    let was_requested = slot.phase == Phase::Requested;
                    slot.phase = Phase::Running(fresh_vm(hostname.as_str().into()));
                    if was_requested {
                        events.push(slot.event(&id, EventKind::Launched));
                    }
                    slot.proof_after = listings_begun;
                }
                Phase::Queued | Phase::Running(_) | Phase::Deleting { .. } => continue,
            }
            events.push(slot.event(&id, EventKind::Joined));
        }
        self.learn(nodes);
        events
    }

    /// The youngest ready Node of ours tells most truly what the next one will be. Any other is better than nothing:
    /// where a host is down, its Nodes are not ready, but the group has to be listed all the same.
    fn learn(&mut self, nodes: &GroupNodes<'_>) {
        let own = nodes.own.iter().map(|node| (node.ready, node));
        let forked = nodes.forked.iter().map(|node| (false, node));
        let best = own
            .chain(forked)
            .filter(|(_, node)| node.capacity.contains_key("memory") && node.allocatable.contains_key("cpu"))
            .max_by_key(|(is_true_to_life, node)| (*is_true_to_life, node.created_at));
        if let Some((is_true_to_life, node)) = best
            && (is_true_to_life || self.learned.is_none())
        {
            self.learned = Some(Learned::from_node(node));
        }
    }

    /// Which VMs are this group's, by their tags or by the fork's Node; and which are second copies of a launch.
    fn sort<'a>(&self, vms: &'a [Vm], nodes: &GroupNodes<'_>) -> Sorted<'a> {
        let mut sorted = Sorted {
            present: BTreeMap::new(),
            surplus: Vec::new(),
            unclaimed: BTreeSet::new(),
        };
        let adopted = self.adopted_vms();
        for vm in vms {
            let Some(id) = self.identify(vm, nodes, &adopted) else {
                if !VmTags::any_of_this_project(&vm.tags) {
                    sorted.unclaimed.insert(vm.hostname.as_str());
                }
                continue;
            };
            let Some(other) = sorted.present.get(&id) else {
                sorted.present.insert(id, vm);
                continue;
            };
            let known = self.slots.get(&id).and_then(|slot| slot.phase.vm());
            let keep_new = known.is_some_and(|known| known.hostname == vm.hostname);
            let unwanted = if keep_new {
                other.hostname.clone()
            } else {
                vm.hostname.clone()
            };
            if keep_new {
                sorted.present.insert(id.clone(), vm);
            }
            sorted.surplus.push((id, unwanted));
        }
        sorted
    }

    /// The VMs without tags that are instances already: they stay so when their Node goes first.
    fn adopted_vms(&self) -> BTreeMap<Hostname, (InstanceId, Option<UnixSeconds>)> {
        self.slots
            .iter()
            .filter(|(id, _)| id.launch_of(&self.id).is_none())
            .filter_map(|(id, slot)| {
                let vm = slot.phase.vm()?;
                Some((vm.hostname.clone(), (id.clone(), vm.created_at)))
            })
            .collect()
    }

    fn identify(
        &self,
        vm: &Vm,
        nodes: &GroupNodes<'_>,
        adopted: &BTreeMap<Hostname, (InstanceId, Option<UnixSeconds>)>,
    ) -> Option<InstanceId> {
        if let Some(tags) = VmTags::read(&vm.tags) {
            let ours = tags.cluster == self.cluster && tags.node_group == self.id;
            return ours.then(|| InstanceId::of_launch(&self.id, &tags.launch));
        }
        if VmTags::any_of_this_project(&vm.tags) {
            return None;
        }
        if let Some((id, created_at)) = adopted.get(&vm.hostname)
            && created_at.is_some()
            && *created_at == vm.created_at
        {
            return Some(id.clone());
        }
        let of_vm = nodes.forked.iter().filter(|node| is_node_of(node, vm));
        // Others of that hostname are left over from earlier VMs.
        let node = of_vm.max_by_key(|node| node.created_at)?;
        Some(InstanceId::adopted(&node.provider_id))
    }

    fn see(&mut self, id: &InstanceId, vm: &Vm, now: Moment, events: &mut Vec<Event>) {
        self.absences.remove(id);
        let seen = SlotVm {
            created_at: vm.created_at,
            halted: vm.status == VmStatus::Halted,
            ..fresh_vm(vm.hostname.clone())
        };
        if !self.slots.contains_key(id) {
            events.push(self.see_unknown(id, seen.clone(), now));
        }
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.was_listed = true;
        match &mut slot.phase {
            Phase::Queued | Phase::Requested => {
                slot.phase = Phase::Booting(seen);
                events.push(slot.event(id, EventKind::Launched));
            }
            Phase::Failed(_, of @ None) | Phase::Deleting { vm: of @ None, .. } => *of = Some(seen),
            phase => {
                let Some(known) = phase.vm_mut() else { return };
                let news = note_power(known, &seen);
                known.hostname = seen.hostname;
                known.created_at = seen.created_at;
                known.halted = seen.halted;
                events.extend(news.map(|kind| slot.event(id, kind)));
            }
        }
    }

    fn see_unknown(&mut self, id: &InstanceId, seen: SlotVm, now: Moment) -> Event {
        // Whether it is halted is not known yet, so that it is noticed.
        let vm = SlotVm { halted: false, ..seen };
        if self.was_removed(id) {
            let phase = Phase::Deleting {
                vm: Some(vm),
                launch_in_flight: false,
            };
            return self.insert(id.clone(), phase, now).event(id, EventKind::CameBack);
        }
        let slot = self.insert(id.clone(), Phase::Booting(vm), now);
        slot.event(id, EventKind::Adopted)
    }

    fn miss_slots(
        &mut self,
        number: u64,
        present: &BTreeMap<InstanceId, &Vm>,
        patience: Patience,
        now: Moment,
    ) -> Vec<Event> {
        let missed: Vec<InstanceId> = self
            .slots
            .iter()
            .filter(|(id, slot)| !present.contains_key(*id) && number > slot.proof_after && can_be_missed(slot))
            .map(|(id, _)| id.clone())
            .collect();
        missed
            .iter()
            .filter_map(|id| self.miss_slot(id, patience, now))
            .collect()
    }

    fn miss_slot(&mut self, id: &InstanceId, patience: Patience, now: Moment) -> Option<Event> {
        let slot = self.slots.get(id)?;
        let asked_for = matches!(slot.phase, Phase::Deleting { .. });
        let absence = self.count_absence(id, now);
        if !absence.proves(asked_for, patience, now) {
            return None;
        }
        let slot = self.slots.get_mut(id)?;
        match &slot.phase {
            Phase::Booting(vm) => {
                let failure = Failure::new(
                    FailureCode::VmVanished,
                    format!("VM {} vanished from its host before its Node registered", vm.hostname),
                );
                let event = slot.event(id, EventKind::Failed(failure.clone()));
                slot.phase = Phase::Failed(failure, None);
                Some(event)
            }
            Phase::Failed(failure, _) => {
                slot.phase = Phase::Failed(failure.clone(), None);
                None
            }
            phase => {
                let kind = match phase {
                    Phase::Deleting { .. } => EventKind::Removed,
                    _ => EventKind::Vanished,
                };
                let event = slot.event(id, kind);
                let was_instance = asked_for || slot.was_listed;
                self.slots.remove(id);
                if let Some(absence) = self.absences.get_mut(id) {
                    absence.was_instance = was_instance;
                }
                Some(event)
            }
        }
    }

    fn count_absence(&mut self, id: &InstanceId, now: Moment) -> Absence {
        let absence = self.absences.entry(id.clone()).or_insert(Absence {
            count: 0,
            first: now,
            was_instance: false,
        });
        if absence.count == 0 {
            absence.first = now;
        }
        absence.count = absence.count.saturating_add(1);
        *absence
    }

    fn stale_nodes(
        &mut self,
        sorted: &Sorted<'_>,
        nodes: &GroupNodes<'_>,
        patience: Patience,
        now: Moment,
    ) -> Vec<StaleNode> {
        let own = nodes.own.iter().map(|node| (node, true));
        let forked = nodes.forked.iter().map(|node| (node, false));
        let mut stale = Vec::new();
        for (node, is_own) in own.chain(forked) {
            let id = InstanceId::adopted(&node.provider_id);
            if sorted.present.contains_key(&id) {
                continue;
            }
            // Whose VM that is, only clocks say, which may be wrong.
            let hostname = node.labels.hostname.as_deref().unwrap_or_default();
            if !is_own && sorted.unclaimed.contains(hostname) {
                continue;
            }
            // A slot that has, or may yet get, a VM is counted as a slot.
            let settled = matches!(
                self.slots.get(&id).map(|slot| &slot.phase),
                None | Some(Phase::Failed(_, None))
            );
            if !settled {
                continue;
            }
            let absence = match self.absences.get(&id) {
                Some(absence) if absence.count >= 2 => *absence,
                _ => self.count_absence(&id, now),
            };
            // Labels alone are weaker than a provider ID: then the Node must also be dead by its own account.
            let believable = is_own || !node.ready;
            if believable && absence.proves(absence.was_instance, patience, now) {
                stale.push(StaleNode {
                    name: node.name.clone(),
                    uid: node.uid.clone(),
                    claims_to_live: node.ready && !absence.was_instance,
                });
            }
        }
        stale
    }

    /// Keeps the memory of absences as small as the group and its Nodes.
    fn forget_absences(&mut self, nodes: &GroupNodes<'_>) {
        let of_nodes: BTreeSet<&str> = nodes
            .own
            .iter()
            .chain(&nodes.forked)
            .map(|node| node.provider_id.as_str())
            .collect();
        let slots = &self.slots;
        self.absences
            .retain(|id, _| slots.contains_key(id) || of_nodes.contains(id.as_str()));
    }

    pub(super) fn was_removed(&self, id: &InstanceId) -> bool {
        id.launch_of(&self.id)
            .is_some_and(|launch| self.removed.contains(&launch))
    }
}

impl Absence {
    fn proves(self, asked_for: bool, patience: Patience, now: Moment) -> bool {
        self.count >= 2 && (asked_for || now.since(self.first) >= patience.vanish)
    }
}

fn can_be_missed(slot: &Slot) -> bool {
    match &slot.phase {
        Phase::Queued | Phase::Requested | Phase::Failed(_, None) => false,
        Phase::Deleting { launch_in_flight, .. } => !launch_in_flight,
        Phase::Booting(_) | Phase::Running(_) | Phase::Failed(_, Some(_)) => true,
    }
}

/// Whether the fork's Node is the one of this VM, not of an earlier VM that had the same name.
fn is_node_of(node: &NodeRecord, vm: &Vm) -> bool {
    let same_name = node.labels.hostname.as_deref() == Some(vm.hostname.as_str());
    let node_is_older = match (node.created_at, vm.created_at) {
        // The clocks of host and API server may differ a little.
        (Some(node), Some(vm)) => node.0.saturating_add(60) < vm.0,
        _ => false,
    };
    same_name && !node_is_older
}

/// Somebody halted the VM, or let it go on.
fn note_power(known: &SlotVm, seen: &SlotVm) -> Option<EventKind> {
    match (known.halted, seen.halted) {
        (false, true) => Some(EventKind::Halted),
        (true, false) => Some(EventKind::Resumed),
        _ => None,
    }
}

fn fresh_vm(hostname: Hostname) -> SlotVm {
    SlotVm {
        hostname,
        created_at: None,
        halted: false,
        userdata_done: None,
    }
}
