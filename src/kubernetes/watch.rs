//! The task that watches all Nodes: list, then changes, for ever. Feeds the cache, judges the freshness, publishes
//! snapshots, and says in the log when the state changes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use backon::ExponentialBackoff;
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cache::NodeCache;
use super::client::WatchClient;
use super::failure::explain_watch;
use super::freshness::{Condition, Freshness};
use super::record::{ReadNode, node_record};
use super::timings::Timings;
use crate::domain::ids::NodeName;
use crate::provider::ports::{ClusterStatus, NodeSnapshot};

type Events = BoxStream<'static, watcher::Result<Event<ReadNode>>>;

/// What the watcher is at.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Reads all Nodes, page by page, since then.
    Listing(Instant),
    /// Has all Nodes and waits for changes.
    Watching,
}

/// The watch of all Nodes.
pub(super) struct NodeWatch {
    api: WatchClient,
    api_url: String,
    timings: Timings,
    cache: NodeCache,
    freshness: Freshness,
    reported: Condition,
    last_failure: String,
    phase: Phase,
    pauses: ExponentialBackoff,
    resume_at: Instant,
    publish_at: Instant,
    snapshot: Arc<ArcSwap<NodeSnapshot>>,
}

impl NodeWatch {
    pub(super) fn new(
        api: WatchClient,
        api_url: String,
        timings: Timings,
        snapshot: Arc<ArcSwap<NodeSnapshot>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            api,
            api_url,
            timings,
            cache: NodeCache::default(),
            freshness: Freshness::starting(now),
            reported: Condition::Starting,
            last_failure: String::new(),
            phase: Phase::Listing(now),
            pauses: timings.pauses(),
            resume_at: now,
            publish_at: now,
            snapshot,
        }
    }

    /// Watches until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let accepted = Arc::clone(&self.api.accepted);
        let mut events = self.events();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                event = next_event(&mut events, self.resume_at) => match event {
                    Some(Ok(event)) => self.on_event(event),
                    Some(Err(error)) => {
                        self.on_failure(explain_watch(&error));
                        if lost_its_place(&error) {
                            events = self.events();
                        }
                    }
                    None => events = self.events(),
                },
                () = accepted.notified() => self.on_accepted(),
                () = sleep_until(self.publish_at) => {
                    if let Some(failure) = self.hang() {
                        self.on_failure(failure);
                        events = self.events();
                    }
                    self.publish();
                }
            }
        }
    }

    /// A new watcher, which begins with a list.
    fn events(&mut self) -> Events {
        self.phase = Phase::Listing(Instant::now());
        let config = watcher::Config::default()
            .timeout(self.timings.watch_seconds())
            .page_size(self.timings.page_size);
        watcher::watcher(Api::<ReadNode>::all(self.api.client.clone()), config).boxed()
    }

    fn on_event(&mut self, event: Event<ReadNode>) {
        let now = Instant::now();
        match event {
            Event::Init => {
                self.phase = Phase::Listing(now);
                self.cache.begin_list();
            }
            Event::InitApply(node) => {
                if let Some(record) = node_record(node) {
                    self.cache.list_item(record);
                }
            }
            Event::InitDone => {
                self.phase = Phase::Watching;
                self.cache.finish_list();
                self.freshness.list_complete(now);
                self.pauses = self.timings.pauses();
                self.publish();
            }
            Event::Apply(node) => {
                self.freshness.sign_of_life(now);
                if let Some(record) = node_record(node) {
                    self.cache.apply(record);
                }
                self.publish_soon(now);
            }
            Event::Delete(node) => {
                self.freshness.sign_of_life(now);
                self.cache.remove(&NodeName::from(node.name_any().as_str()));
                self.publish_soon(now);
            }
        }
    }

    /// The API server answered a request of the watcher. A page of a list is not news before the list is complete; a
    /// watch that goes on from where the last one ended means that nothing was missed.
    fn on_accepted(&mut self) {
        if matches!(self.phase, Phase::Watching) {
            self.freshness.sign_of_life(Instant::now());
            self.pauses = self.timings.pauses();
        }
    }

    fn on_failure(&mut self, failure: String) {
        let now = Instant::now();
        self.freshness.failure(now);
        self.last_failure = failure;
        self.resume_at = now + self.pauses.next().unwrap_or(self.timings.retry_up_to);
    }

    /// What is waited for in vain, if anything is: a dead connection may report no error for a long time.
    fn hang(&self) -> Option<String> {
        let Timings {
            list_within,
            silent_after,
            ..
        } = self.timings;
        match self.phase {
            Phase::Listing(since) if since.elapsed() >= list_within => {
                Some(format!("list of Nodes: not complete within {list_within:?}"))
            }
            Phase::Watching if self.freshness.silent_for(Instant::now()) >= silent_after => {
                Some(format!("watch of Nodes: no sign of life for {silent_after:?}"))
            }
            _ => None,
        }
    }

    /// Changes that come together are published together.
    fn publish_soon(&mut self, now: Instant) {
        if self.cache.has_changes() {
            self.publish_at = self.publish_at.min(now + self.timings.publish_every);
        }
    }

    /// Replaces the snapshot if the Nodes or their status have changed, and plans the next look.
    fn publish(&mut self) {
        let now = Instant::now();
        // Time alone can make the Nodes stale, so it is looked at ten times before it does.
        self.publish_at = now + self.timings.stale_after / 10;
        let condition = self.freshness.condition(now, &self.timings);
        let status = condition.status();
        let current = self.snapshot.load_full();
        match self.cache.take_changes() {
            Some(nodes) => self.snapshot.store(Arc::new(NodeSnapshot { status, nodes })),
            None if status != current.status => self.snapshot.store(Arc::new(NodeSnapshot {
                status,
                nodes: Arc::clone(&current.nodes),
            })),
            None => {}
        }
        self.report(condition);
    }

    fn report(&mut self, condition: Condition) {
        if condition == self.reported {
            return;
        }
        self.reported = condition;
        let api = self.api_url.as_str();
        match condition {
            Condition::Starting => {}
            Condition::Live => {
                let nodes = self.snapshot.load().nodes.len();
                tracing::info!(api, nodes, "watching the Nodes of the cluster");
            }
            Condition::NeverReached => {
                let error = self.last_failure.as_str();
                tracing::warn!(
                    api,
                    error,
                    "cannot read the Nodes of the cluster; trying again until it works"
                );
            }
            Condition::Stale => {
                let error = self.last_failure.as_str();
                tracing::warn!(
                    api,
                    error,
                    "no news of the Nodes of the cluster; using what was last read"
                );
            }
        }
    }
}

impl Drop for NodeWatch {
    /// However the task ended: nobody watches any more.
    fn drop(&mut self) {
        let last = self.snapshot.load_full();
        if last.status == ClusterStatus::Live {
            self.snapshot.store(Arc::new(NodeSnapshot {
                status: ClusterStatus::Stale,
                nodes: Arc::clone(&last.nodes),
            }));
        }
    }
}

/// The next event, not before `resume_at`. Dropped while it waits, it loses none.
async fn next_event(events: &mut Events, resume_at: Instant) -> Option<watcher::Result<Event<ReadNode>>> {
    sleep_until(resume_at).await;
    events.next().await
}

/// Whether the API server does not know the place in the history from which the watch wanted to go on: too old (410),
/// from before it was restored from a backup (504 "too large resource version"), or otherwise refused (400, 500).
/// kube's watcher would ask for the same place for ever. Answers about rights and load (401, 403, 429, 503) are not
/// about the place.
fn lost_its_place(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 400 | 410 | 500 | 504),
        _ => false,
    }
}
