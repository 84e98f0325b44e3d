//! The keeper of a node group: one task that lists the group's VMs, follows what changes, and starts the removals
//! that are due. It ends with the server, or with its group, and a host that is down slows down nobody but its own
//! keeper.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use tokio::time::Instant;

use super::managed::{Connection, HostStatus, ManagedGroup};
use super::ports::ClusterStatus;
use super::{Shared, boots, removal};
use crate::domain::failure::{HostError, HostErrorKind};
use crate::domain::group::{EventKind, Observed, Phase};
use crate::domain::ids::InstanceId;
use crate::domain::moment::Moment;
use crate::domain::vm::Vm;

/// What came of asking the host for its VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Applied,
    Failed,
    /// A reload came meanwhile: it may be about another host.
    Outdated,
}

/// Runs until the server stops or the group is no more. A panic, which would be a fault of ours, costs one round and
/// not the group.
pub(super) async fn run(shared: Arc<Shared>, managed: Arc<ManagedGroup>) {
    while AssertUnwindSafe(keep(&shared, &managed)).catch_unwind().await.is_err() {
        tracing::error!(group = %managed.id, "the keeper of the group panicked and starts anew; please report this");
        tokio::time::sleep(shared.timings.retry).await;
    }
    shared.journal.sum_up_at_last(&managed.place());
}

async fn keep(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>) {
    let mut failures_in_a_row = 0;
    let mut live_since = None;
    loop {
        let live = shared.node_index().status == ClusterStatus::Live;
        live_since = live.then(|| live_since.unwrap_or_else(|| shared.clock.now()));
        let listing = tokio::select! {
            biased;
            // A host that hangs does not hold the server's end.
            () = managed.ended.cancelled() => return,
            listing = round(shared, managed, live_since) => listing,
        };
        managed.changed.notify_waiters();
        shared.journal.sum_up(&managed.place(), shared.clock.now());
        failures_in_a_row = match listing {
            Listing::Applied | Listing::Outdated => 0,
            Listing::Failed => failures_in_a_row + 1,
        };
        let until = Instant::now() + pause(shared, managed, failures_in_a_row);
        let earliest = match failures_in_a_row {
            0 => Instant::now() + shared.timings.poll_gap,
            // A host that is down is not asked more often because somebody is impatient.
            _ => until,
        };
        tokio::select! {
            biased;
            () = managed.ended.cancelled() => return,
            // What was down may be another host, or the same under its right address.
            () = managed.reconnected.notified() => failures_in_a_row = 0,
            () = tokio::time::sleep_until(until) => {}
            () = async { managed.wake.notified().await; tokio::time::sleep_until(earliest).await } => {}
        }
    }
}

/// How long to wait before the next listing if nobody asks for one.
fn pause(shared: &Shared, managed: &ManagedGroup, failures_in_a_row: u32) -> Duration {
    let timings = &shared.timings;
    if failures_in_a_row > 0 {
        let doubled = timings.poll_busy / 2 * 2_u32.saturating_pow(failures_in_a_row.min(10) - 1);
        return doubled.min(timings.poll_down_max);
    }
    let settled = managed
        .state()
        .group
        .slots()
        .all(|(_, slot)| matches!(slot.phase, Phase::Running(_)));
    if settled { timings.poll_idle } else { timings.poll_busy }
}

/// One round. `live_since`: since when the cluster's list of Nodes is complete and fresh.
async fn round(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, live_since: Option<Moment>) -> Listing {
    let begun = shared.clock.now();
    let connection = managed.connection.load_full();
    read_host_group(shared, managed, &connection).await;
    let listing = list(shared, managed, &connection).await;
    take_over_nodes(shared, managed);
    removal::start_due(shared, managed);
    if listing == Listing::Applied {
        boots::check_userdata(shared, managed, &connection, begun).await;
    }
    let host_answers = listing == Listing::Applied;
    boots::fail_overdue_joins(shared, managed, host_answers, live_since).await;
    listing
}

/// Reads what kind of VMs the host group gives, if that is not known or old.
async fn read_host_group(shared: &Shared, managed: &ManagedGroup, connection: &Connection) {
    let now = shared.clock.now();
    let read_at = managed.state().host_group_read_at;
    if read_at.is_some_and(|at| now.since(at) < shared.timings.host_group_age) {
        return;
    }
    // A host that does not answer this does not answer the listing either, which reports it.
    let Ok(groups) = connection.host.host_groups().await else {
        return;
    };
    if !managed.is_current(connection) {
        return; // a reload came between: it was the wrong host that answered
    }
    let wanted = &connection.config.spec.host_group;
    let found = groups.into_iter().find(|group| group.name == *wanted);
    if found.is_none() && read_at.is_none() {
        tracing::error!(
            group = %managed.id, host = %connection.config.endpoint, host_group = wanted,
            "the host has no such host group: correct the section's name or its host-group key"
        );
    }
    {
        let mut state = managed.state();
        state.host_group_read_at = Some(now);
        if found.is_some() {
            state.host_group = found;
        }
    }
    managed.find_shape();
}

async fn list(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, connection: &Connection) -> Listing {
    // Read before the listing is asked for: a Node that is in it had its VM before.
    let nodes = shared.node_index();
    let number = managed.state().group.begin_listing();
    let answer = connection.host.list_vms(&connection.config.spec.host_group, None).await;
    match answer {
        Ok(vms) => {
            let Some(observed) = apply(shared, managed, connection, number, &vms, &nodes) else {
                return Listing::Outdated;
            };
            removal::remove_surplus(shared, managed, observed.surplus);
            removal::remove_stale_nodes(shared, managed, observed.stale_nodes);
            Listing::Applied
        }
        Err(error) => note_down(shared, managed, connection, &error),
    }
}

/// Applies a listing; `None` if it is of a host that is no longer the group's.
fn apply(
    shared: &Shared,
    managed: &ManagedGroup,
    connection: &Connection,
    number: u64,
    vms: &[Vm],
    nodes: &super::nodes::NodeIndex,
) -> Option<Observed> {
    let now = shared.clock.now();
    let of_group = nodes.of_group(&managed.id);
    let (observed, was) = {
        let mut state = managed.state();
        if !managed.is_current(connection) {
            return None;
        }
        let mut observed = state
            .group
            .apply_listing(number, vms, &of_group, shared.timings.patience, now);
        // Each listing names them until they are gone; that they are there is news only once.
        let surplus = observed.surplus.iter().cloned().collect();
        let told = std::mem::replace(&mut state.surplus_told, surplus);
        observed
            .events
            .retain(|event| event.kind != EventKind::Surplus || event.vm.as_ref().is_none_or(|vm| !told.contains(vm)));
        let was = std::mem::replace(&mut state.host, HostStatus::Up { listed_at: now });
        state.last_listing = Some(SystemTime::now());
        (observed, was)
    };
    managed.listed.send_replace(true);
    if !matches!(was, HostStatus::Up { .. }) {
        let down_for = match was {
            HostStatus::Down { since, .. } => Some(now.since(since)),
            HostStatus::Unknown | HostStatus::Up { .. } => None,
        };
        shared.journal.host_up(&managed.place(), down_for);
    }
    shared.record(managed, &observed.events);
    Some(observed)
}

/// Notes that the host does not answer; the first time with a line of log, and again if it turns out that it does
/// not accept our token: that will not go away by itself.
fn note_down(shared: &Shared, managed: &ManagedGroup, connection: &Connection, error: &HostError) -> Listing {
    let now = shared.clock.now();
    let is_news = {
        let mut state = managed.state();
        if !managed.is_current(connection) {
            return Listing::Outdated;
        }
        state.group.listing_failed();
        let (since, is_news) = match &state.host {
            HostStatus::Down { since, error: known } => {
                let refused = |error: &HostError| error.kind == HostErrorKind::Unauthorized;
                (*since, refused(error) && !refused(known))
            }
            HostStatus::Unknown | HostStatus::Up { .. } => (now, true),
        };
        state.host = HostStatus::Down {
            since,
            error: error.clone(),
        };
        is_news
    };
    if is_news {
        shared.journal.host_down(&managed.place(), error);
    }
    Listing::Failed
}

/// Takes the group's Nodes over if the one of this instance is among them: who asks about one instance does not pay for
/// all of them.
pub(super) fn take_over_node_of(shared: &Shared, managed: &ManagedGroup, id: &InstanceId) {
    if shared.node_index().has_own(&managed.id, id) {
        take_over_nodes(shared, managed);
    }
}

/// Takes over what the cluster knows of the group's Nodes.
pub(super) fn take_over_nodes(shared: &Shared, managed: &ManagedGroup) {
    let index = shared.node_index();
    let events = {
        let nodes = index.of_group(&managed.id);
        managed.state().group.apply_nodes(&nodes, shared.clock.now())
    };
    shared.record(managed, &events);
    managed.find_shape();
}
