//! The keeper of a node group: one task that lists the group's VMs, follows what changes, and starts the removals
//! that are due. It ends with the server, or with its group, and a host that is down slows down nobody but its own
//! keeper.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use tokio::time::Instant;

use super::managed::{Connection, HostStatus, ManagedGroup};
use super::ports::ClusterStatus;
use super::{Shared, removal};
use crate::domain::failure::HostError;
use crate::domain::group::{Event, Observed, Phase};
use crate::domain::ids::{Hostname, InstanceId};
use crate::domain::moment::Moment;
use crate::domain::vm::{UserdataState, Vm};

/// Health checks at once per group.
const HEALTH_CONCURRENCY: usize = 8;
/// Lines of serial log that a failure quotes.
const LOG_LINES: u32 = 20;

/// Runs until the server stops or the group is no more.
pub(super) async fn run(shared: Arc<Shared>, managed: Arc<ManagedGroup>) {
    let mut failures_in_a_row = 0;
    let mut live_since = None;
    loop {
        let live = shared.node_index().status == ClusterStatus::Live;
        live_since = live.then(|| live_since.unwrap_or_else(|| shared.clock.now()));
        let listed = tokio::select! {
            biased;
            // A host that hangs does not hold the server's end.
            () = managed.ended.cancelled() => return,
            listed = round(&shared, &managed, live_since) => listed,
        };
        managed.changed.notify_waiters();
        failures_in_a_row = if listed { 0 } else { failures_in_a_row + 1 };
        let until = Instant::now() + pause(&shared, &managed, failures_in_a_row);
        let earliest = match failures_in_a_row {
            0 => Instant::now() + shared.timings.poll_gap,
            // A host that is down is not asked more often because somebody is impatient.
            _ => until,
        };
        tokio::select! {
            biased;
            () = managed.ended.cancelled() => return,
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

/// One round; whether the host answered. `live_since`: since when the cluster's list of Nodes is complete and fresh.
async fn round(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, live_since: Option<Moment>) -> bool {
    let connection = managed.connection.load_full();
    read_host_group(shared, managed, &connection).await;
    let answered = list(shared, managed, &connection).await;
    take_over_nodes(shared, managed);
    if answered {
        check_userdata(shared, managed, &connection).await;
    }
    removal::start_due(shared, managed);
    fail_overdue_joins(shared, managed, live_since).await;
    answered
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
    if !std::ptr::eq(connection, &raw const **managed.connection.load()) {
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

async fn list(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, connection: &Connection) -> bool {
    // Read before the listing is asked for: a Node that is in it had its VM before.
    let nodes = shared.node_index();
    let number = managed.state().group.begin_listing();
    let answer = connection.host.list_vms(&connection.config.spec.host_group, None).await;
    match answer {
        Ok(vms) => {
            let observed = apply(shared, managed, number, &vms, &nodes);
            removal::remove_surplus(shared, managed, observed.surplus);
            removal::remove_stale_nodes(shared, managed, observed.stale_nodes);
            true
        }
        Err(error) => {
            managed.state().group.listing_failed();
            note_down(shared, managed, connection, error);
            false
        }
    }
}

fn apply(
    shared: &Shared,
    managed: &ManagedGroup,
    number: u64,
    vms: &[Vm],
    nodes: &super::nodes::NodeIndex,
) -> Observed {
    let now = shared.clock.now();
    let of_group = nodes.of_group(&managed.id);
    let (observed, was) = {
        let mut state = managed.state();
        let mut observed = state
            .group
            .apply_listing(number, vms, &of_group, shared.timings.patience, now);
        // Each listing names them until they are gone; that they are there is news only once.
        let surplus = observed.surplus.iter().cloned().collect();
        let told = std::mem::replace(&mut state.surplus_told, surplus);
        observed
            .events
            .retain(|event| !matches!(event, Event::Surplus(_, hostname) if told.contains(hostname)));
        let was = std::mem::replace(&mut state.host, HostStatus::Up { listed_at: now });
        state.last_listing = Some(SystemTime::now());
        (observed, was)
    };
    managed.listed.send_replace(true);
    if !matches!(was, HostStatus::Up { .. }) {
        let host = managed.connection.load().config.endpoint.to_string();
        let was_down = matches!(was, HostStatus::Down { .. });
        shared.journal.host_up(&managed.id, &host, was_down);
    }
    shared.journal.record(&managed.id, &observed.events);
    observed
}

/// Notes that the host does not answer; the first time with a line of log.
fn note_down(shared: &Shared, managed: &ManagedGroup, connection: &Connection, error: HostError) {
    let now = shared.clock.now();
    let (since, is_news) = match managed.state().host {
        HostStatus::Down { since, .. } => (since, false),
        HostStatus::Unknown | HostStatus::Up { .. } => (now, true),
    };
    if is_news {
        let host = connection.config.endpoint.to_string();
        shared.journal.host_down(&managed.id, &host, &error);
    }
    managed.state().host = HostStatus::Down { since, error };
}

/// Takes over what the cluster knows of the group's Nodes.
pub(super) fn take_over_nodes(shared: &Shared, managed: &ManagedGroup) {
    let index = shared.node_index();
    let events = {
        let nodes = index.of_group(&managed.id);
        managed.state().group.apply_nodes(&nodes, shared.clock.now())
    };
    shared.journal.record(&managed.id, &events);
    managed.find_shape();
}

/// Gives the VMs up whose Node did not register in time, each with the end of its serial log if the host gives it.
async fn fail_overdue_joins(shared: &Shared, managed: &ManagedGroup, live_since: Option<Moment>) {
    let mut patience = shared.timings.patience;
    let now = shared.clock.now();
    // Nothing can join while the API is away; once it is back, agents that waited for it need a moment.
    if live_since.is_none_or(|since| now.since(since) < patience.join_after_userdata) {
        return;
    }
    let connection = managed.connection.load_full();
    if let Some(own) = connection.config.spec.overrides.max_node_provision_time {
        patience.join = own;
    }
    let overdue = managed.state().group.overdue_joins(patience, now);
    let logs = futures::stream::iter(overdue).map(|(id, hostname)| {
        let connection = &connection;
        async move { (id, serial_log(shared, connection, &hostname).await) }
    });
    let logs: Vec<(InstanceId, String)> = logs.buffer_unordered(HEALTH_CONCURRENCY).collect().await;
    // Their Nodes may have registered while the logs were read.
    take_over_nodes(shared, managed);
    for (id, log) in logs {
        let event = managed.state().group.fail_overdue_join(&id, &log, patience, now);
        shared.journal.record(&managed.id, event.as_slice());
    }
}

/// The end of a VM's serial log. Who waits for it waits for a moment only: why a launch failed must not be told late
/// because the host is slow.
async fn serial_log(shared: &Shared, connection: &Connection, hostname: &Hostname) -> String {
    let asked = connection.host.serial_log_tail(hostname, LOG_LINES);
    match tokio::time::timeout(shared.timings.health_round, asked).await {
        Ok(Ok(log)) => log,
        Ok(Err(error)) => format!("(not to be had: {error})"),
        Err(_) => "(not to be had: no answer in time)".to_owned(),
    }
}

/// Asks the booting VMs how far their userdata is, beginning behind the one that was asked last: agents that hang may
/// use a round up, but not the next one.
async fn check_userdata(shared: &Shared, managed: &ManagedGroup, connection: &Connection) {
    let booting = {
        let state = managed.state();
        let mut booting: Vec<(InstanceId, Hostname)> = state
            .group
            .slots()
            .filter_map(|(id, slot)| match &slot.phase {
                Phase::Booting(vm) if !vm.halted && vm.userdata_done.is_none() => {
                    Some((id.clone(), vm.hostname.clone()))
                }
                _ => None,
            })
            .collect();
        let asked_last = state.health_asked_last.as_ref();
        let next = booting.partition_point(|(id, _)| Some(id) <= asked_last);
        booting.rotate_left(next);
        booting
    };
    let round = futures::stream::iter(booting).for_each_concurrent(HEALTH_CONCURRENCY, |(id, hostname)| {
        check_one(shared, managed, connection, id, hostname)
    });
    // What was not reached in this round is reached in the next.
    let _ = tokio::time::timeout(shared.timings.health_round, round).await;
}

async fn check_one(
    shared: &Shared,
    managed: &ManagedGroup,
    connection: &Connection,
    id: InstanceId,
    hostname: Hostname,
) {
    managed.state().health_asked_last = Some(id.clone());
    let Ok(userdata) = connection.host.userdata_state(&hostname).await else {
        return;
    };
    let log = match userdata {
        UserdataState::Exited(code) if code != 0 => serial_log(shared, connection, &hostname).await,
        _ => String::new(),
    };
    let nodes_are_known = shared.node_index().status != ClusterStatus::Absent;
    let event = managed
        .state()
        .group
        .apply_userdata(&id, userdata, &log, nodes_are_known, shared.clock.now());
    shared.journal.record(&managed.id, event.as_slice());
}
