//! Tells the cluster, as Kubernetes events, what this server did to its Nodes: whoever looks for a Node that is gone
//! finds the reason with `kubectl get events`. An event that cannot be written changes nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::failure::bounded;
use crate::domain::ids::NodeName;

/// The namespace of events about objects without one, such as Nodes.
pub(super) const EVENT_NAMESPACE: &str = "default";

/// The most characters that the API server takes as an event's note.
const MAX_NOTE: usize = 1024;

/// Writes events, each within a limited time.
pub(super) struct Events {
    recorder: Recorder,
    within: Duration,
    /// Whether it was told that events cannot be written. They come in plenty when a host is lost.
    failing: AtomicBool,
}

impl Events {
    pub(super) fn new(client: Client, within: Duration) -> Self {
        let reporter = Reporter {
            controller: env!("CARGO_PKG_NAME").to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(client, reporter),
            within,
            failing: AtomicBool::new(false),
        }
    }

    /// A Node was removed because its VM is gone; `why` says it for a person.
    pub(super) async fn stale_node_removed(&self, name: &NodeName, uid: &str, why: &str) {
        let event = Event {
            type_: EventType::Warning,
            reason: "StaleNodeRemoved".to_owned(),
            note: Some(why.chars().take(MAX_NOTE).collect()),
            action: "RemoveNode".to_owned(),
            secondary: None,
        };
        let node = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(name.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let written = bounded(self.within, self.recorder.publish(&event, &node)).await;
        let was_failing = self.failing.swap(written.is_err(), Ordering::Relaxed);
        if let Err(failure) = written
            && !was_failing
        {
            tracing::warn!(node = %name, %failure, "cannot write events to the Kubernetes API; the log tells the same");
        }
    }
}
