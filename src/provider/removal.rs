//! The removal jobs: VMs first, then Nodes with proof. Each job is one attempt; the keeper starts the next one when it
//! is due, until listings prove that the VM is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use super::journal::Removal;
use super::managed::{Heartbeat, ManagedGroup, RemovalAttempt};
use super::ports::ClusterStatus;
use crate::domain::failure::{HostError, HostErrorKind};
use crate::domain::group::{Phase, SlotVm, StaleNode};
use crate::domain::ids::{Hostname, InstanceId, LaunchId};
use crate::domain::vm::{Vm, VmTags};

/// The kind of failure of a removal that the host accepts in vain.
const STAYS: &str = "stays";

/// After so many deletes that the host accepted, a VM that is still there is told of.
const ACCEPTED_IN_VAIN: u32 = 3;

/// Starts an attempt for every instance that is being removed and has a VM, unless one is running or it is too soon.
pub(super) fn start_due(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>) {
    for (id, vm) in take_due(shared, managed) {
        let (shared, managed) = (Arc::clone(shared), Arc::clone(managed));
        let tracker = shared.tracker.clone();
        tracker.spawn(async move { attempt(&shared, &managed, &id, &vm).await });
    }
}

fn take_due(shared: &Shared, managed: &ManagedGroup) -> Vec<(InstanceId, SlotVm)> {
    let now = shared.clock.now();
    let mut guard = managed.state();
    let state = &mut *guard;
    // Nobody would hear it. The keeper looks for the host, and calls again once it has found it.
    if state.host.unreachable().is_some() {
        return Vec::new();
    }
    let deleting: Vec<(InstanceId, SlotVm)> = state
        .group
        .slots()
        .filter_map(|(id, slot)| match &slot.phase {
            Phase::Deleting { vm: Some(vm), .. } => Some((id.clone(), vm.clone())),
            _ => None,
        })
        .collect();
    let group = &state.group;
    state
        .removal_attempts
        .retain(|id, attempt| attempt.running || group.slot(id).is_some());
    let mut due = deleting;
    due.retain(|(id, _)| {
        let attempt = state.removal_attempts.entry(id.clone()).or_insert(RemovalAttempt {
            count: 0,
            running: false,
            told: false,
            not_before: now,
        });
        let is_due = !attempt.running && now >= attempt.not_before;
        if is_due {
            attempt.running = true;
            attempt.count = attempt.count.saturating_add(1);
        }
        is_due
    });
    due
}

async fn attempt(shared: &Shared, managed: &ManagedGroup, id: &InstanceId, vm: &SlotVm) {
    let turn = turn(managed).await;
    if managed.state().host.unreachable().is_some() {
        // It went down meanwhile: no attempt, and none of those that wait makes one.
        if let Some(attempt) = managed.state().removal_attempts.get_mut(id) {
            attempt.running = false;
            attempt.count = attempt.count.saturating_sub(1);
        }
        return;
    }
    let place = managed.place();
    let outcome = delete(managed, id, vm).await;
    drop(turn);
    if outcome.is_err() {
        shared.journal.metrics().removal_failed(&managed.id);
    }
    let now = shared.clock.now();
    let mut why = None;
    if let Some(attempt) = managed.state().removal_attempts.get_mut(id) {
        let timings = &shared.timings;
        let pause = timings.delete_retry * 2_u32.saturating_pow(attempt.count.min(10));
        attempt.running = false;
        attempt.not_before = now.plus(pause.min(timings.delete_retry_max));
        why = match outcome {
            Err(error) => Some((error.kind.as_str(), error.to_string())),
            Ok(true) => stays(attempt.count).map(|why| (STAYS, why)),
            Ok(false) => None,
        };
        if why.is_some() && std::mem::replace(&mut attempt.told, true) {
            why = None;
        }
    }
    if let Some((kind, why)) = why {
        let removal = Removal {
            id,
            hostname: &vm.hostname,
            kind,
            why: &why,
        };
        shared.journal.removal_failed(&place, now, removal);
    }
    managed.wake.notify_one();
}

/// Deletes that a host accepts, and that change nothing, are worth a word, too. The last of the first few may just be
/// slow.
fn stays(count: u32) -> Option<String> {
    (count >= ACCEPTED_IN_VAIN).then(|| format!("the host has accepted {count} deletes, but the VM is still there"))
}

/// Waits for its turn among the removals of a host. A reload may come meanwhile: what the group is connected to is to be
/// read afterwards.
async fn turn(managed: &ManagedGroup) -> Option<OwnedSemaphorePermit> {
    let deletes = Arc::clone(&managed.connection.load().gates.deletes);
    deletes.acquire_owned().await.ok() // it is never closed
}

/// Deletes the VM of an instance, after one more look that it still is the VM of this instance: Slicer gives
/// hostnames again, and deletes by hostname. Whether there was one, and the host accepted its delete.
async fn delete(managed: &ManagedGroup, id: &InstanceId, vm: &SlotVm) -> Result<bool, HostError> {
    let connection = managed.connection.load_full();
    let host_group = &connection.config.spec.host_group;
    let found = match id.launch_of(&managed.id) {
        Some(launch) => {
            let tag = VmTags::launch_tag(&launch);
            let vms = connection.host.list_vms(host_group, Some(&tag)).await?;
            of_launch(&vms, &launch).map(|vm| vm.hostname.clone())
        }
        None => {
            let vms = connection.host.list_vms(host_group, None).await?;
            let same = |other: &&Vm| {
                other.hostname == vm.hostname
                    && other.created_at == vm.created_at
                    && !VmTags::any_of_this_project(&other.tags)
            };
            vms.iter().find(same).map(|vm| vm.hostname.clone())
        }
    };
    let Some(hostname) = found else { return Ok(false) };
    tracing::debug!(group = %managed.id, instance = %id, vm = %hostname, "deleting VM");
    match connection.host.delete_vm(host_group, &hostname).await {
        Err(error) if error.kind == HostErrorKind::NotFound => Ok(false),
        outcome => outcome.map(|()| true),
    }
}

/// The VM of a launch in a listing; hosts that know no tag filter list all.
pub(super) fn of_launch<'a>(vms: &'a [Vm], launch: &LaunchId) -> Option<&'a Vm> {
    vms.iter()
        .find(|vm| VmTags::read(&vm.tags).is_some_and(|tags| tags.launch == *launch))
}

/// Deletes second VMs of a launch, each by one task at a time. Listings name them until they are gone, so a failure is
/// only counted: that they are being removed was told.
pub(super) fn remove_surplus(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, surplus: Vec<Hostname>) {
    for hostname in surplus {
        if !managed.state().surplus_in_removal.insert(hostname.clone()) {
            continue;
        }
        let (shared, managed) = (Arc::clone(shared), Arc::clone(managed));
        let tracker = shared.tracker.clone();
        tracker.spawn(async move {
            if let Err(error) = delete_surplus(&managed, &hostname).await {
                shared.journal.metrics().removal_failed(&managed.id);
                tracing::debug!(group = %managed.id, vm = %hostname, %error, "surplus VM could not be removed");
            }
            managed.state().surplus_in_removal.remove(&hostname);
        });
    }
}

/// Deletes a second VM, after one more look that it still is one: its name may have been given again.
async fn delete_surplus(managed: &ManagedGroup, hostname: &Hostname) -> Result<(), HostError> {
    let _turn = turn(managed).await;
    let connection = managed.connection.load_full();
    let host_group = &connection.config.spec.host_group;
    let vms = connection.host.list_vms(host_group, None).await?;
    let tags = |vm: &Vm| VmTags::read(&vm.tags);
    let Some(launch) = vms.iter().find(|vm| vm.hostname == *hostname).and_then(tags) else {
        return Ok(());
    };
    let is_second = vms
        .iter()
        .any(|other| other.hostname != *hostname && tags(other).as_ref() == Some(&launch));
    if !is_second {
        return Ok(());
    }
    connection.host.delete_vm(host_group, hostname).await
}

/// Removes Nodes whose VM is proved gone.
pub(super) fn remove_stale_nodes(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, stale: Vec<StaleNode>) {
    if shared.cluster.nodes().status == ClusterStatus::Absent {
        return;
    }
    for node in stale {
        if !managed.state().nodes_in_removal.insert(node.uid.clone()) {
            continue;
        }
        let (shared, managed) = (Arc::clone(shared), Arc::clone(managed));
        let tracker = shared.tracker.clone();
        tracker.spawn(async move {
            if !node.claims_to_live || is_silent(&shared, &managed, &node).await {
                remove_node(&shared, &managed, &node).await;
            }
            managed.state().nodes_in_removal.remove(&node.uid);
        });
    }
    forget_nodes(shared, managed);
}

async fn remove_node(shared: &Shared, managed: &ManagedGroup, node: &StaleNode) {
    let place = managed.place();
    match shared.cluster.remove_node(&node.name, &node.uid).await {
        Ok(()) => {
            shared.journal.node_removed(&place, node);
        }
        // Every listing tries again.
        Err(error) if managed.state().nodes_told.insert(node.uid.clone()) => {
            let now = shared.clock.now();
            shared.journal.node_removal_failed(&place, now, node, &error);
        }
        Err(error) => {
            tracing::debug!(group = %managed.id, node = %node.name, %error, "Node could still not be removed");
        }
    }
}

/// Whether the kubelet of a Node has been silent for long enough. One that goes on living is told of once: most likely
/// the configuration names the wrong host.
async fn is_silent(shared: &Shared, managed: &ManagedGroup, node: &StaleNode) -> bool {
    let text = match shared.cluster.last_heartbeat(&node.name).await {
        Ok(Some(text)) => text,
        Ok(None) => return true, // no kubelet ever spoke for it
        Err(error) => {
            tracing::debug!(node = %node.name, %error, "cannot tell whether the Node lives");
            return false;
        }
    };
    let now = shared.clock.now();
    let mut state = managed.state();
    let first = Heartbeat {
        text: text.clone(),
        since: now,
        told: false,
    };
    let last = state.heartbeats.entry(node.uid.clone()).or_insert(first);
    if last.text == text {
        return now.since(last.since) >= shared.timings.heartbeat;
    }
    let is_news = !std::mem::replace(&mut last.told, true);
    (last.text, last.since) = (text, now);
    drop(state);
    if is_news {
        let host = managed.connection.load().config.endpoint.to_string();
        tracing::warn!(
            group = %managed.id, node = %node.name, host,
            "the Node is alive, but its VM is not on this host: is slicer-url right?"
        );
        shared.journal.note(
            &managed.id,
            format!("Node {} is alive, but its VM is not on {host}", node.name),
        );
    }
    false
}

/// Keeps what is remembered of Nodes as small as the list of Nodes.
fn forget_nodes(shared: &Shared, managed: &ManagedGroup) {
    let index = shared.node_index();
    let nodes = index.of_group(&managed.id);
    let all = nodes.own.iter().chain(&nodes.forked);
    let uids: BTreeSet<&str> = all.map(|node| node.uid.as_str()).collect();
    let mut state = managed.state();
    state.heartbeats.retain(|uid, _| uids.contains(uid.as_str()));
    state.nodes_told.retain(|uid| uids.contains(uid.as_str()));
}
