//! What becomes of VMs that boot: how far their userdata is, whether their Nodes register in time, and the failures of
//! those that will not join, each with the end of its serial log. How they came to be is `launch`'s business.

use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::managed::{Connection, ManagedGroup};
use super::ports::ClusterStatus;
use super::{Shared, keeper};
use crate::domain::group::Phase;
use crate::domain::ids::{Hostname, InstanceId};
use crate::domain::moment::Moment;
use crate::domain::vm::UserdataState;

/// Requests at once for the booting VMs of a group.
const CONCURRENCY: usize = 8;
/// Lines of serial log that a failure quotes.
const LOG_LINES: u32 = 20;

/// Asks the VMs that were known to boot before `round` began how far their userdata is. Those that it showed first are
/// asked in the next one: after a start these are all there are, and most have Nodes, which are known by then.
pub(super) async fn check_userdata(shared: &Shared, managed: &ManagedGroup, connection: &Connection, round: Moment) {
    let round_ends = Instant::now() + shared.timings.health_round;
    let checks = futures::stream::iter(booting(managed, round)).map(|(id, hostname)| async move {
        managed.state().health_asked_last = Some(id.clone());
        let userdata = connection.host.userdata_state(&hostname).await.ok()?;
        Some((id, hostname, userdata))
    });
    let mut checks = std::pin::pin!(checks.buffer_unordered(CONCURRENCY));
    let mut failed = Vec::new();
    // What was not reached in this round is reached in the next.
    while let Ok(Some(check)) = timeout_at(round_ends, checks.next()).await {
        match check {
            Some((id, hostname, userdata @ UserdataState::Exited(code))) if code != 0 => {
                failed.push(((id, userdata), hostname));
            }
            Some((id, _, userdata)) => apply(shared, managed, &id, userdata, ""),
            None => {}
        }
    }
    let tell = |(id, userdata): (InstanceId, UserdataState), log: &str| apply(shared, managed, &id, userdata, log);
    with_logs(shared, connection, failed, tell).await;
}

/// The booting VMs, beginning behind the one that was asked last: agents that hang may use a round up, but not the next
/// one.
fn booting(managed: &ManagedGroup, round: Moment) -> Vec<(InstanceId, Hostname)> {
    let state = managed.state();
    let slots = state.group.slots();
    let mut booting: Vec<(InstanceId, Hostname)> = slots
        .filter_map(|(id, slot)| match &slot.phase {
            Phase::Booting(vm) if slot.since < round && !vm.halted && vm.userdata_done.is_none() => {
                Some((id.clone(), vm.hostname.clone()))
            }
            _ => None,
        })
        .collect();
    let asked_last = state.health_asked_last.as_ref();
    let next = booting.partition_point(|(id, _)| Some(id) <= asked_last);
    booting.rotate_left(next);
    booting
}

fn apply(shared: &Shared, managed: &ManagedGroup, id: &InstanceId, userdata: UserdataState, log: &str) {
    let nodes_are_known = shared.node_index().status != ClusterStatus::Absent;
    let now = shared.clock.now();
    let event = managed
        .state()
        .group
        .apply_userdata(id, userdata, log, nodes_are_known, now);
    shared.record(managed, event.as_slice());
}

/// Gives the VMs up whose Node did not register in time. A host that does not answer is not asked for their logs.
pub(super) async fn fail_overdue_joins(
    shared: &Shared,
    managed: &ManagedGroup,
    host_answers: bool,
    live_since: Option<Moment>,
) {
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
    let fail = |id: InstanceId, log: &str| {
        // Its Node may have registered while the logs were read.
        keeper::take_over_node_of(shared, managed, &id);
        let event = managed.state().group.fail_overdue_join(&id, log, patience, now);
        shared.record(managed, event.as_slice());
    };
    if host_answers {
        with_logs(shared, &connection, overdue, fail).await;
    } else {
        overdue.into_iter().for_each(|(id, _)| fail(id, ""));
    }
}

/// Hands out the ends of the VMs' serial logs, as they come. All together may take one round, so that a host that hangs
/// on logs holds up nothing for long: what did not come by then is said to be missing, because why a VM failed must be
/// told all the same.
async fn with_logs<T>(
    shared: &Shared,
    connection: &Connection,
    vms: Vec<(T, Hostname)>,
    mut tell: impl FnMut(T, &str),
) {
    let round_ends = Instant::now() + shared.timings.health_round;
    let logs = futures::stream::iter(vms).map(|(vm, hostname)| async move {
        let asked = connection.host.serial_log_tail(&hostname, LOG_LINES);
        let log = match timeout_at(round_ends, asked).await {
            Ok(Ok(log)) => log,
            Ok(Err(error)) => format!("(not to be had: {error})"),
            Err(_) => "(not to be had: no answer in time)".to_owned(),
        };
        (vm, log)
    });
    let mut logs = std::pin::pin!(logs.buffer_unordered(CONCURRENCY));
    while let Some((vm, log)) = logs.next().await {
        tell(vm, &log);
    }
}
