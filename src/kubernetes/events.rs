//! Tells the cluster, as Kubernetes events, what happened: on a Node, or on the pod of this server. Whoever looks for a
//! Node that is gone, or for the reason why pods are pending, finds it with `kubectl get events`. Events are written
//! in the background, one after another; one that cannot be written changes nothing else.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::failure::bounded;
use crate::provider::ports::{Notice, Subject};

/// The namespace of events about objects without one, such as Nodes.
pub(super) const EVENT_NAMESPACE: &str = "default";

/// Who writes them.
const CONTROLLER: &str = env!("CARGO_PKG_NAME");
/// The most bytes that the API server takes as an event's note.
const MAX_NOTE: usize = 1024;
/// The same for the instance of who reports it.
const MAX_NAME: usize = 128;

/// Notices that wait to be written; further ones are dropped. More than a large scale-up brings at once.
const QUEUE: usize = 512;

/// How long the server's end waits for events to be written: what failed at last is told when the groups end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// When nothing more was said for so long, nothing more is expected.
const SILENCE: Duration = Duration::from_millis(200);

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
    /// Writes in a task of `tracker` until `shutdown`, and then what is said at last.
    pub(super) fn start(client: Client, within: Duration, tracker: &TaskTracker, shutdown: CancellationToken) -> Self {
        let (notices, queue) = mpsc::channel(QUEUE);
        let pod = Pod::of_environment();
        let writer = Writer {
            author: Author::of(pod.as_ref()),
            client,
            within,
            pod,
            is_failing: false,
        };
        tracker.spawn(writer.run(queue, shutdown));
        Self { notices }
    }

    /// Never waits. What finds no room is dropped: the log tells the same.
    pub(super) fn announce(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::debug!(%error, "an event was dropped");
        }
    }
}

/// Who says so, in every event.
#[derive(Clone, Debug)]
struct Author {
    /// The pod, or the machine, that this server runs on.
    instance: String,
}

impl Author {
    fn of(pod: Option<&Pod>) -> Self {
        let machine = || std::env::var("HOSTNAME").unwrap_or_else(|_| CONTROLLER.to_owned());
        let instance = pod.map_or_else(machine, |pod| pod.name.clone());
        Self {
            instance: cut(&instance, MAX_NAME),
        }
    }

    /// An event of its own for each notice: those that are alike are summed up before they come here, and a count on an
    /// older event would hide what is new in the note.
    fn event(&self, about: ObjectReference, notice: &Notice, now: MicroTime) -> Event {
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{CONTROLLER}-")),
                namespace: Some(about.namespace.clone().unwrap_or_else(|| EVENT_NAMESPACE.to_owned())),
                ..ObjectMeta::default()
            },
            event_time: Some(now),
            type_: Some(if notice.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(notice.reason.to_owned()),
            action: Some(notice.reason.to_owned()),
            note: Some(cut(&notice.note, MAX_NOTE)),
            regarding: Some(about),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}

struct Writer {
    client: Client,
    within: Duration,
    author: Author,
    pod: Option<Pod>,
    /// Whether it was told that events cannot be written. They come in plenty when a host is lost.
    is_failing: bool,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Notice>, shutdown: CancellationToken) {
        let until_then = async {
            while let Some(notice) = queue.recv().await {
                self.write(notice).await;
            }
        };
        shutdown.run_until_cancelled(until_then).await;
        let at_last = async {
            while let Ok(Some(notice)) = tokio::time::timeout(SILENCE, queue.recv()).await {
                self.write(notice).await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, at_last).await;
    }

    async fn write(&mut self, notice: Notice) {
        let Some(about) = self.reference(&notice.subject) else {
            return; // no pod: nobody looks for events of a server on a laptop
        };
        let event = self.author.event(about, &notice, MicroTime(Timestamp::now()));
        let namespace = event.metadata.namespace.as_deref().unwrap_or(EVENT_NAMESPACE);
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let written = bounded(self.within, events.create(&PostParams::default(), &event)).await;
        let was_failing = std::mem::replace(&mut self.is_failing, written.is_err());
        if let Err(failure) = written
            && !was_failing
        {
            tracing::warn!(reason = notice.reason, %failure, "cannot write events to the Kubernetes API; the log tells the same");
        }
    }

    fn reference(&self, subject: &Subject) -> Option<ObjectReference> {
        match subject {
            Subject::Node { name, uid } => Some(object("Node", name.to_string(), Some(uid.clone()), None)),
            Subject::Server => {
                let pod = self.pod.clone()?;
                Some(object("Pod", pod.name, pod.uid, Some(pod.namespace)))
            }
        }
    }
}

fn object(kind: &str, name: String, uid: Option<String>, namespace: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name),
        uid,
        namespace,
        ..ObjectReference::default()
    }
}

/// The beginning of a text, as many bytes as are allowed.
fn cut(text: &str, bytes: usize) -> String {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(note: &str) -> Notice {
        Notice {
            subject: Subject::Server,
            is_warning: true,
            reason: "InstanceFailed",
            note: note.to_owned(),
        }
    }

    fn pod() -> Pod {
        Pod {
            name: "scaler-0".to_owned(),
            namespace: "scaling".to_owned(),
            uid: Some("u".to_owned()),
        }
    }

    fn event(note: &str) -> Event {
        let about = object("Pod", pod().name, pod().uid, Some(pod().namespace));
        Author::of(Some(&pod())).event(about, &notice(note), MicroTime(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn an_event_about_the_pod_is_in_its_namespace_and_says_who_reports_it() {
        let event = event("the host is full");
        assert_eq!(event.metadata.namespace.as_deref(), Some("scaling"));
        assert_eq!(event.reporting_instance.as_deref(), Some("scaler-0"));
        assert_eq!(event.note.as_deref(), Some("the host is full"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert!(event.event_time.is_some() && event.series.is_none());
    }

    #[test]
    fn a_note_is_cut_to_the_bytes_that_the_api_server_takes() {
        let note = event(&"ü".repeat(1000)).note.unwrap();
        assert_eq!(note.len(), MAX_NOTE);
        let note = event(&format!("a{}", "ü".repeat(1000))).note.unwrap();
        assert_eq!(note.len(), MAX_NOTE - 1);
    }
}
