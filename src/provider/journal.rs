//! What happened lately, for the log, the metrics and the state API: one place that every event goes through.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::ports::{Cluster, ClusterError, Notice, Subject};
use super::repeats::{Failed, Failing, Repeats, Sum};
use crate::domain::failure::HostError;
use crate::domain::group::{Event, EventKind, StaleNode};
use crate::domain::ids::{Hostname, InstanceId, NodeGroupId};
use crate::domain::moment::Moment;
use crate::domain::spec::Endpoint;
use crate::metrics::Metrics;

/// How many operations are remembered.
const CAPACITY: usize = 200;

/// The reason of the cluster's event for an instance that failed.
const FAILED: &str = "InstanceFailed";

/// Where something happened.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) group: NodeGroupId,
    pub(super) host: Endpoint,
}

/// A VM that could not be removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal<'a> {
    pub(super) id: &'a InstanceId,
    pub(super) hostname: &'a Hostname,
    /// A short stable word for why.
    pub(super) kind: &'static str,
    pub(super) why: &'a str,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Operation {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// In which node group.
    pub group: NodeGroupId,
    /// What, for a person.
    pub what: String,
}

/// The memory of what happened lately. Bounded.
#[derive(Debug)]
pub struct Journal {
    operations: Mutex<VecDeque<Operation>>,
    repeats: Mutex<Repeats>,
    metrics: Arc<Metrics>,
    cluster: Arc<dyn Cluster>,
}

impl Journal {
    /// After a line about a failure, others of its kind are told of after `quiet` only.
    pub(super) fn new(metrics: Arc<Metrics>, cluster: Arc<dyn Cluster>, quiet: Duration) -> Self {
        Self {
            operations: Mutex::new(VecDeque::new()),
            repeats: Mutex::new(Repeats::new(quiet)),
            metrics,
            cluster,
        }
    }

    /// The operations, the latest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Operation> {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.iter().rev().cloned().collect()
    }

    /// The metrics that events are counted in.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Remembers a line; the caller has logged it.
    pub(super) fn note(&self, group: &NodeGroupId, what: String) {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        if operations.len() == CAPACITY {
            operations.pop_front();
        }
        operations.push_back(Operation {
            at: SystemTime::now(),
            group: group.clone(),
            what,
        });
    }

    /// A Node was removed because its VM is gone from its host.
    pub(super) fn node_removed(&self, place: &Place, node: &StaleNode) {
        let Place { group, host } = place;
        self.metrics.stale_node_removed(group);
        tracing::info!(%group, node = %node.name, %host, "Node removed: its VM is gone");
        self.note(group, format!("removed Node {}: its VM is gone from {host}", node.name));
        self.cluster.announce(Notice {
            subject: Subject::Node {
                name: node.name.clone(),
                uid: node.uid.clone(),
            },
            is_warning: true,
            reason: "StaleNodeRemoved",
            note: format!("its VM of node group {group} is no longer on Slicer host {host}"),
        });
    }

    /// A Node whose VM is gone is still there. To be told once for each.
    pub(super) fn node_removal_failed(&self, place: &Place, now: Moment, node: &StaleNode, error: &ClusterError) {
        let Place { group, host } = place;
        let failed = Failed {
            group,
            failing: Failing::NodeRemovals,
            name: node.name.as_str(),
            why: &error.message,
        };
        if self.is_news(failed, now) {
            tracing::warn!(%group, node = %node.name, %host, %error, "Node could not be removed; trying again");
        } else {
            tracing::debug!(%group, node = %node.name, %host, %error, "Node could not be removed; trying again");
        }
    }

    /// A VM that is to be removed is still there. To be told once for each.
    pub(super) fn removal_failed(&self, place: &Place, now: Moment, removal: Removal<'_>) {
        let Place { group, host } = place;
        let Removal {
            id,
            hostname,
            kind,
            why,
        } = removal;
        self.note(group, format!("{id} could not be removed: {why}"));
        let failed = Failed {
            group,
            failing: Failing::Removals(kind),
            name: id.as_str(),
            why,
        };
        let launch = launch_of(group, id);
        if self.is_news(failed, now) {
            tracing::warn!(%group, launch, instance = %id, vm = %hostname, %host, kind, error = why, "VM could not be removed; trying again");
        } else {
            tracing::debug!(%group, launch, instance = %id, vm = %hostname, %host, kind, error = why, "VM could not be removed; trying again");
        }
    }

    /// A host does not answer any more.
    pub(super) fn host_down(&self, place: &Place, error: &HostError) {
        let Place { group, host } = place;
        tracing::warn!(%group, %host, kind = error.kind.as_str(), %error, "host is down; trying on");
        let what = format!("host {host} is down: {error}");
        self.announce(true, "HostDown", format!("node group {group}: {what}"));
        self.note(group, what);
    }

    /// A host answers again after having been down for so long, or for the first time.
    pub(super) fn host_up(&self, place: &Place, down_for: Option<Duration>) {
        let Place { group, host } = place;
        tracing::info!(%group, %host, seconds = down_for.map(seconds), "host is up");
        if down_for.is_some() {
            self.note(group, format!("host {host} is up again"));
            self.announce(false, "HostUp", format!("node group {group}: host {host} is up again"));
        }
    }

    fn announce(&self, is_warning: bool, reason: &'static str, note: String) {
        self.cluster.announce(Notice {
            subject: Subject::Server,
            is_warning,
            reason,
            note,
        });
    }

    /// Logs, counts, remembers and announces what happened to instances.
    pub(super) fn record(&self, place: &Place, now: Moment, events: &[Event]) {
        for event in events {
            let what = what_happened(event);
            self.note(&place.group, what.clone());
            self.count(&place.group, &event.kind);
            if !self.is_told_by_itself(place, now, event) {
                continue;
            }
            log(place, now, event);
            if let Some((is_warning, reason)) = announced(&event.kind) {
                self.announce(is_warning, reason, format!("node group {}: {what}", place.group));
            }
        }
    }

    fn count(&self, group: &NodeGroupId, kind: &EventKind) {
        match kind {
            EventKind::Launched => self.metrics.launch_succeeded(group),
            EventKind::Failed(failure) => self.metrics.instance_failed(group, failure.code),
            EventKind::Vanished => self.metrics.vm_vanished(group),
            EventKind::Removed => self.metrics.vm_removed(group),
            EventKind::Adopted
            | EventKind::Joined
            | EventKind::CameBack
            | EventKind::Halted
            | EventKind::Resumed
            | EventKind::Surplus => {}
        }
    }

    /// Failures of one kind come in crowds, of which only the first is told at once.
    fn is_told_by_itself(&self, place: &Place, now: Moment, event: &Event) -> bool {
        let EventKind::Failed(failure) = &event.kind else {
            return true;
        };
        let (Place { group, host }, instance) = (place, &event.instance);
        let failed = Failed {
            group,
            failing: Failing::Instances(failure.code),
            name: instance.as_str(),
            why: &failure.message,
        };
        let is_news = self.is_news(failed, now);
        if !is_news {
            let launch = launch_of(group, instance);
            tracing::debug!(%group, launch, %instance, %host, reason = failure.message, "instance failed");
        }
        is_news
    }

    fn is_news(&self, failed: Failed<'_>, now: Moment) -> bool {
        self.repeats().is_news(failed, now)
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of the failures that were not told one by one, when it is time to.
    pub(super) fn sum_up(&self, place: &Place, now: Moment) {
        let sums = self.repeats().due(&place.group, now);
        self.tell_sums(place, &sums);
    }

    /// The same when the group ends: then there is no later.
    pub(super) fn sum_up_at_last(&self, place: &Place) {
        let sums = self.repeats().drain(&place.group);
        self.tell_sums(place, &sums);
    }

    fn tell_sums(&self, place: &Place, sums: &[Sum]) {
        for sum in sums {
            self.tell_sum(place, sum);
        }
    }

    fn tell_sum(&self, place: &Place, sum: &Sum) {
        let (Place { group, host }, Sum { count, last, .. }) = (place, sum);
        let names = sum.names.join(" ");
        match sum.failing {
            Failing::Instances(code) => {
                let code = code.as_str();
                tracing::warn!(%group, %host, code, count, instances = names, reason = last, "more instances failed");
                let what = format!("{count} more failed: {code}: {last}");
                self.announce(true, FAILED, format!("node group {group}: {what}"));
            }
            Failing::Removals(kind) => {
                tracing::warn!(%group, %host, kind, count, instances = names, error = last, "more VMs could not be removed; trying again");
            }
            Failing::NodeRemovals => {
                tracing::warn!(%group, %host, count, nodes = names, error = last, "more Nodes could not be removed; trying again");
            }
        }
    }
}

/// One line for what happened to an instance: which, where, and how long after it was asked for.
fn log(place: &Place, now: Moment, event: &Event) {
    let Place { group, host } = place;
    let Event {
        instance, vm, asked, ..
    } = event;
    let (launch, vm) = (launch_of(group, instance), vm.as_ref().map(tracing::field::display));
    let seconds = asked.map(|asked| seconds(now.since(asked)));
    macro_rules! tell {
        ($level:ident, $($what:tt)+) => {
            tracing::$level!(%group, launch, %instance, vm, %host, $($what)+)
        };
    }
    match &event.kind {
        EventKind::Launched => tell!(info, seconds, "VM launched"),
        EventKind::Adopted => tell!(info, "VM taken over"),
        EventKind::Joined => tell!(info, seconds, "instance is running"),
        EventKind::Failed(failure) => {
            let (code, reason) = (failure.code.as_str(), &failure.message);
            tell!(warn, seconds, code, reason, "instance failed");
        }
        EventKind::Vanished => tell!(warn, "VM vanished from its host; the instance is dropped"),
        EventKind::Removed => tell!(info, seconds, "VM removed"),
        EventKind::CameBack => tell!(warn, "removed VM is listed again; removing it again"),
        EventKind::Halted => tell!(
            warn,
            "VM is paused, suspended or stopped; it stays an instance and is not replaced"
        ),
        EventKind::Resumed => tell!(info, "halted VM goes on"),
        EventKind::Surplus => tell!(warn, "second VM of one launch; removing it"),
    }
}

/// The same for the state API and the events of the cluster.
fn what_happened(event: &Event) -> String {
    let id = &event.instance;
    let vm = event.vm.as_ref().map_or("", Hostname::as_str);
    match &event.kind {
        EventKind::Launched => format!("launched {id} as VM {vm}"),
        EventKind::Adopted => format!("took VM {vm} over as {id}"),
        EventKind::Joined => format!("{id} is running"),
        EventKind::Failed(failure) => format!("{id} failed: {}: {}", failure.code.as_str(), failure.message),
        EventKind::Vanished => format!("the VM of {id} vanished"),
        EventKind::Removed => format!("removed {id}"),
        EventKind::CameBack => format!("VM {vm} of {id} came back and is removed again"),
        EventKind::Halted => format!("VM {vm} of {id} was halted by somebody; it stays an instance"),
        EventKind::Resumed => format!("VM {vm} of {id} goes on"),
        EventKind::Surplus => format!("VM {vm} is a second one of {id} and is removed"),
    }
}

/// Whether an event is one for the cluster, too: a warning or not, and its reason there.
fn announced(kind: &EventKind) -> Option<(bool, &'static str)> {
    Some(match kind {
        EventKind::Launched => (false, "VmLaunched"),
        EventKind::Failed(_) => (true, FAILED),
        EventKind::Vanished => (true, "VmVanished"),
        EventKind::Removed => (false, "VmRemoved"),
        EventKind::Halted => (true, "VmHalted"),
        EventKind::Resumed => (false, "VmResumed"),
        // Of interest to who reads the log.
        EventKind::Adopted | EventKind::Joined | EventKind::CameBack | EventKind::Surplus => return None,
    })
}

fn launch_of(group: &NodeGroupId, instance: &InstanceId) -> Option<String> {
    instance.launch_of(group).map(|launch| launch.to_string())
}

/// For a field of a log line: to the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
