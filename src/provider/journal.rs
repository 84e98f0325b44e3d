//! What happened lately, for the log, the metrics and the state API: one place that every event goes through.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::ports::{Cluster, Notice, Subject};
use crate::domain::failure::HostError;
use crate::domain::group::{Event, StaleNode};
use crate::domain::ids::NodeGroupId;
use crate::metrics::Metrics;

/// How many operations are remembered.
const CAPACITY: usize = 200;

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
    metrics: Arc<Metrics>,
    cluster: Arc<dyn Cluster>,
}

impl Journal {
    pub(super) fn new(metrics: Arc<Metrics>, cluster: Arc<dyn Cluster>) -> Self {
        Self {
            operations: Mutex::new(VecDeque::new()),
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
    pub(super) fn node_removed(&self, group: &NodeGroupId, node: &StaleNode, host: &str) {
        self.metrics.stale_node_removed(group);
        tracing::info!(%group, node = %node.name, host, "Node removed: its VM is gone");
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

    /// A host does not answer any more.
    pub(super) fn host_down(&self, group: &NodeGroupId, host: &str, error: &HostError) {
        tracing::warn!(%group, host, kind = error.kind.as_str(), %error, "host is down; trying on");
        let what = format!("host {host} is down: {error}");
        self.announce(true, "HostDown", format!("node group {group}: {what}"));
        self.note(group, what);
    }

    /// A host answers again, or for the first time.
    pub(super) fn host_up(&self, group: &NodeGroupId, host: &str, was_down: bool) {
        tracing::info!(%group, host, "host is up");
        if was_down {
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
    pub(super) fn record(&self, group: &NodeGroupId, events: &[Event]) {
        for event in events {
            self.record_one(group, event);
        }
    }

    fn record_one(&self, group: &NodeGroupId, event: &Event) {
        let counters = &self.metrics;
        let what = match event {
            Event::Launched(id, hostname) => {
                counters.launch_succeeded(group);
                tracing::info!(%group, instance = %id, vm = %hostname, "VM launched");
                format!("launched {id} as VM {hostname}")
            }
            Event::Adopted(id, hostname) => {
                tracing::info!(%group, instance = %id, vm = %hostname, "VM taken over");
                format!("took VM {hostname} over as {id}")
            }
            Event::Joined(id) => {
                tracing::info!(%group, instance = %id, "instance is running");
                format!("{id} is running")
            }
            Event::Failed(id, failure) => {
                counters.instance_failed(group, failure.code);
                let code = failure.code.as_str();
                tracing::warn!(%group, instance = %id, code, reason = failure.message, "instance failed");
                format!("{id} failed: {code}: {}", failure.message)
            }
            Event::Vanished(id) => {
                counters.vm_vanished(group);
                tracing::warn!(%group, instance = %id, "VM vanished from its host; the instance is dropped");
                format!("the VM of {id} vanished")
            }
            Event::Removed(id) => {
                counters.vm_removed(group);
                tracing::info!(%group, instance = %id, "VM removed");
                format!("removed {id}")
            }
            Event::CameBack(id, hostname) => {
                tracing::warn!(%group, instance = %id, vm = %hostname, "removed VM is listed again; removing it again");
                format!("VM {hostname} of {id} came back and is removed again")
            }
            Event::Halted(id, hostname) => {
                tracing::warn!(%group, instance = %id, vm = %hostname, "VM is paused, suspended or stopped; it stays an instance and is not replaced");
                format!("VM {hostname} of {id} was halted by somebody; it stays an instance")
            }
            Event::Resumed(id, hostname) => {
                tracing::info!(%group, instance = %id, vm = %hostname, "halted VM goes on");
                format!("VM {hostname} of {id} goes on")
            }
            Event::Surplus(id, hostname) => {
                tracing::warn!(%group, instance = %id, vm = %hostname, "second VM of one launch; removing it");
                format!("VM {hostname} is a second one of {id} and is removed")
            }
        };
        if let Some((is_warning, reason)) = announced(event) {
            self.announce(is_warning, reason, format!("node group {group}: {what}"));
        }
        self.note(group, what);
    }
}

/// Whether an event is one for the cluster, too: a warning or not, and its reason there.
fn announced(event: &Event) -> Option<(bool, &'static str)> {
    Some(match event {
        Event::Launched(..) => (false, "VmLaunched"),
        Event::Failed(..) => (true, "InstanceFailed"),
        Event::Vanished(_) => (true, "VmVanished"),
        Event::Removed(_) => (false, "VmRemoved"),
        Event::Halted(..) => (true, "VmHalted"),
        Event::Resumed(..) => (false, "VmResumed"),
        // Of interest to who reads the log.
        Event::Adopted(..) | Event::Joined(_) | Event::CameBack(..) | Event::Surplus(..) => return None,
    })
}
