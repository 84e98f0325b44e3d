//! Tells the cluster, as Kubernetes events, what happened: on a Node, or on the pod of this server. Whoever looks for a
//! Node that is gone, or for the reason why pods are pending, finds it with `kubectl get events`. Events are written
//! in the background, one after another; one that cannot be written changes nothing else.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::failure::bounded;
use crate::provider::ports::{Notice, Subject};

/// The namespace of events about objects without one, such as Nodes.
pub(super) const EVENT_NAMESPACE: &str = "default";

/// The most characters that the API server takes as an event's note.
const MAX_NOTE: usize = 1024;

/// Notices that wait to be written; further ones are dropped. More than a large scale-up brings at once.
const QUEUE: usize = 512;

/// The pod that this server runs in, as the downward API tells it in the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    name: String,
    namespace: String,
    uid: Option<String>,
}

impl Pod {
    fn of_environment() -> Option<Self> {
        let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Some(Self {
            name: named("POD_NAME")?,
            namespace: named("POD_NAMESPACE")?,
            uid: named("POD_UID"),
        })
    }
}

/// Where events about the pod of this server are written; none if it does not know that it is one.
pub(super) fn pod_namespace() -> Option<String> {
    Some(Pod::of_environment()?.namespace)
}

/// Takes notices at any time and writes them when it can.
pub(super) struct Events {
    notices: mpsc::Sender<Notice>,
}

impl Events {
    /// Writes in a task of `tracker` until `shutdown`.
    pub(super) fn start(client: Client, within: Duration, tracker: &TaskTracker, shutdown: CancellationToken) -> Self {
        let (notices, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            recorder: Recorder::new(client, reporter()),
            within,
            pod: Pod::of_environment(),
            is_failing: false,
        };
        tracker.spawn(shutdown.run_until_cancelled_owned(writer.run(queue)));
        Self { notices }
    }

    /// Never waits. What finds no room is dropped: the log tells the same.
    pub(super) fn announce(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::debug!(%error, "an event was dropped");
        }
    }
}

fn reporter() -> Reporter {
    Reporter {
        controller: env!("CARGO_PKG_NAME").to_owned(),
        instance: None,
    }
}

struct Writer {
    recorder: Recorder,
    within: Duration,
    pod: Option<Pod>,
    /// Whether it was told that events cannot be written. They come in plenty when a host is lost.
    is_failing: bool,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Notice>) {
        while let Some(notice) = queue.recv().await {
            self.write(notice).await;
        }
    }

    async fn write(&mut self, notice: Notice) {
        let Some(subject) = self.reference(&notice.subject) else {
            return; // no pod: nobody looks for events of a server on a laptop
        };
        let event = Event {
            type_: if notice.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: notice.reason.to_owned(),
            note: Some(notice.note.chars().take(MAX_NOTE).collect()),
            action: notice.reason.to_owned(),
            secondary: None,
        };
        let written = bounded(self.within, self.recorder.publish(&event, &subject)).await;
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        if let Err(failure) = written
            && !was_failing
        {
            tracing::warn!(reason = notice.reason, %failure, "cannot write events to the Kubernetes API; the log tells the same");
        }
    }

    fn reference(&self, subject: &Subject) -> Option<ObjectReference> {
        let of = |kind: &str, name: String, uid, namespace| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name),
            uid,
            namespace,
            ..ObjectReference::default()
        };
        match subject {
            Subject::Node { name, uid } => Some(of("Node", name.to_string(), Some(uid.clone()), None)),
            Subject::Server => {
                let pod = self.pod.clone()?;
                Some(of("Pod", pod.name, pod.uid, Some(pod.namespace)))
            }
        }
    }
}
