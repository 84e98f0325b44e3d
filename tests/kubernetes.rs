//! The Kubernetes side against an API server that comes, goes and misbehaves: what is known of the Nodes, what
//! removing one does, and what simulated agents do (`agents`).

// clippy.toml allows it in tests, but clippy does not see that the functions beside them are part of the tests.
#![allow(clippy::unwrap_used)]

#[path = "kubernetes/agents.rs"]
mod agents;
#[path = "kubernetes/fake_api.rs"]
mod fake_api;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_api::{FakeApi, Fault, TOKEN};
use slicer_cloud_provider::domain::ids::NodeName;
use slicer_cloud_provider::domain::node::NodeRecord;
use slicer_cloud_provider::kubernetes::{ClientConfig, KubeconfigSource, KubernetesCluster, LOG_FILTER, Timings};
use slicer_cloud_provider::provider::ports::{Cluster, ClusterStatus, Notice, Subject};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const WHY: &str = "its VM is gone";
const SECRET: &str = "/api/v1/namespaces/kube-system/secrets/a.node-password.k3s";

/// Quick where a test waits for it to happen, generous where a slow machine could make it happen by accident.
fn quick() -> Timings {
    Timings {
        stale_after: Duration::from_millis(300),
        silent_after: Duration::from_secs(4),
        watch_for: Duration::from_secs(1),
        list_within: Duration::from_secs(5),
        request_within: Duration::from_secs(5),
        page_size: 500,
        publish_every: Duration::from_millis(20),
        version_every: Duration::from_millis(50),
        retry_from: Duration::from_millis(20),
        retry_up_to: Duration::from_millis(100),
    }
}

async fn config_of(api: &FakeApi) -> ClientConfig {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, api.kubeconfig()).unwrap();
    ClientConfig::load(&KubeconfigSource::File(path)).await.unwrap()
}

struct Watched {
    cluster: KubernetesCluster,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Watched {
    async fn of(api: &FakeApi, timings: Timings) -> Self {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let config = config_of(api).await;
        let cluster = KubernetesCluster::start_with(&config, timings, &tracker, shutdown.clone()).unwrap();
        Self {
            cluster,
            tracker,
            shutdown,
        }
    }

    fn names(&self) -> Vec<String> {
        let nodes = self.cluster.nodes().nodes;
        nodes.keys().map(NodeName::to_string).collect()
    }

    fn node(&self, name: &str) -> Option<Arc<NodeRecord>> {
        self.cluster.nodes().nodes.get(&NodeName::from(name)).cloned()
    }

    async fn is(&self, status: ClusterStatus) {
        eventually(&format!("{status:?}"), || self.cluster.nodes().status == status).await;
    }

    async fn shows(&self, names: &[&str]) {
        eventually(&format!("{names:?}"), || self.names() == names).await;
    }

    async fn remove(&self, name: &str, uid: &str) -> Result<(), String> {
        let removed = self.cluster.remove_node(&NodeName::from(name), uid).await;
        removed.map_err(|error| error.to_string())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !happened() {
        assert!(Instant::now() < deadline, "did not happen in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nodes_appear_change_and_go_as_the_cluster_says() {
    let api = FakeApi::started();
    api.put_node("a", "1", false);
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    assert_eq!(watched.names(), ["a"]);

    api.put_node("b", "2", true);
    watched.shows(&["a", "b"]).await;
    assert_eq!(watched.node("b").unwrap().provider_id, "slicer://g/b");
    api.put_node("a", "1", true);
    eventually("a is ready", || watched.node("a").unwrap().ready).await;
    api.delete_node("a");
    watched.shows(&["b"]).await;
    assert_eq!(watched.cluster.nodes().status, ClusterStatus::Live);
    assert_eq!(api.requests("limit=500").len(), 1, "changes come by watch, not by list");
}

#[tokio::test]
async fn a_large_cluster_is_listed_in_pages() {
    let api = FakeApi::started();
    for n in 0..25 {
        api.put_node(&format!("n{n:02}"), "1", true);
    }
    let timings = Timings {
        page_size: 10,
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    watched.is(ClusterStatus::Live).await;
    assert_eq!(watched.names().len(), 25);
    assert_eq!(api.requests("limit=10").len(), 3);
}

#[tokio::test]
async fn nodes_are_seen_through_tls_that_the_kubeconfig_trusts() {
    let api = FakeApi::encrypted();
    api.put_node("a", "uid-a", true);
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    watched.shows(&["a"]).await;
}

#[tokio::test]
async fn an_empty_cluster_is_live_too() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    assert!(watched.names().is_empty());
}

#[tokio::test]
async fn an_api_that_is_down_at_the_start_is_unknown_until_it_comes() {
    let mut api = FakeApi::stopped();
    api.put_node("a", "1", true);
    let watched = Watched::of(&api, quick()).await;
    watched.cluster.missing_rights().await.unwrap_err();
    assert_eq!(watched.cluster.nodes().status, ClusterStatus::Unknown);
    assert_eq!(watched.cluster.server_version(), None);
    api.start();
    watched.is(ClusterStatus::Live).await;
    assert_eq!(watched.names(), ["a"]);
}

#[tokio::test]
async fn half_a_list_is_never_shown() {
    let api = FakeApi::started();
    for n in 0..20 {
        api.put_node(&format!("n{n:02}"), "1", true);
    }
    api.fail(
        "GET /api/v1/nodes?&limit=10&continue",
        Fault::Refuse(500, "InternalError"),
    );
    let timings = Timings {
        page_size: 10,
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    eventually("three attempts", || api.requests("continue").len() >= 3).await;
    assert_eq!(watched.cluster.nodes().status, ClusterStatus::Unknown);
    assert!(watched.names().is_empty());
    api.mend();
    watched.is(ClusterStatus::Live).await;
    assert_eq!(watched.names().len(), 20);
}

#[tokio::test]
async fn a_lost_api_is_stale_with_its_nodes_and_live_again_without_any_event() {
    let mut api = FakeApi::started();
    api.put_node("a", "1", true);
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    api.stop();
    watched.is(ClusterStatus::Stale).await;
    assert_eq!(watched.names(), ["a"]);
    api.start();
    watched.is(ClusterStatus::Live).await;
    assert_eq!(watched.names(), ["a"]);
    assert_eq!(api.requests("limit=500").len(), 1, "nothing was missed: no new list");
}

#[tokio::test]
async fn a_watch_that_is_cut_off_once_stays_live() {
    let mut api = FakeApi::started();
    let timings = Timings {
        stale_after: Duration::from_secs(10),
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    watched.is(ClusterStatus::Live).await;
    api.stop();
    api.put_node("a", "1", true);
    api.start();
    eventually("a is seen", || {
        assert_eq!(watched.cluster.nodes().status, ClusterStatus::Live);
        watched.node("a").is_some()
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_followed_by_a_new_list() {
    let mut api = FakeApi::started();
    api.put_node("gone", "1", true);
    api.put_node("stays", "2", true);
    let watched = Watched::of(&api, quick()).await;
    watched.shows(&["gone", "stays"]).await;
    let before = watched.node("stays").unwrap();
    api.stop();
    api.delete_node("gone");
    api.put_node("new", "3", true);
    api.compact();
    api.start();
    watched.shows(&["new", "stays"]).await;
    watched.is(ClusterStatus::Live).await;
    assert!(Arc::ptr_eq(&before, &watched.node("stays").unwrap()));
}

#[tokio::test]
async fn a_new_list_that_never_gets_complete_is_stale_although_its_first_page_comes() {
    let mut api = FakeApi::started();
    for n in 0..20 {
        api.put_node(&format!("n{n:02}"), "1", true);
    }
    let timings = Timings {
        page_size: 10,
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    watched.is(ClusterStatus::Live).await;
    api.stop();
    api.delete_node("n00");
    api.put_node("n99", "1", true);
    api.compact();
    api.fail(
        "GET /api/v1/nodes?&limit=10&continue",
        Fault::Refuse(500, "InternalError"),
    );
    api.start();
    watched.is(ClusterStatus::Stale).await;
    let attempts = api.requests("continue").len();
    eventually("more attempts", || api.requests("continue").len() >= attempts + 3).await;
    assert_eq!(watched.cluster.nodes().status, ClusterStatus::Stale);
    assert!(watched.node("n00").is_some(), "the last complete list stays");
    api.mend();
    watched.is(ClusterStatus::Live).await;
    assert!(watched.node("n00").is_none());
}

#[tokio::test]
async fn an_api_server_restored_from_a_backup_is_listed_anew() {
    let mut api = FakeApi::started();
    api.put_node("a", "1", true);
    let timings = Timings {
        silent_after: Duration::from_secs(3600),
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    watched.shows(&["a"]).await;
    api.stop();
    api.restore_from_backup();
    api.put_node("b", "2", true);
    api.start();
    watched.shows(&["a", "b"]).await;
    watched.is(ClusterStatus::Live).await;
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_given_up_and_started_again() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    api.fail("GET /api/v1/nodes", Fault::Silence);
    watched.is(ClusterStatus::Stale).await;
    api.mend();
    watched.is(ClusterStatus::Live).await;
    assert!(api.requests("limit=500").len() >= 2, "started again, not waited for");
}

#[tokio::test]
async fn a_quiet_cluster_stays_live_because_watches_are_renewed() {
    let api = FakeApi::started();
    let timings = Timings {
        silent_after: Duration::from_millis(2500),
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    watched.is(ClusterStatus::Live).await;
    eventually("five watches", || {
        assert_eq!(watched.cluster.nodes().status, ClusterStatus::Live);
        api.requests("watch=true").len() >= 5
    })
    .await;
}

#[tokio::test]
async fn heartbeats_make_no_new_snapshot() {
    let api = FakeApi::started();
    api.put_node("a", "1", true);
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    let (snapshot, record) = (watched.cluster.nodes().nodes, watched.node("a").unwrap());
    for _ in 0..10 {
        api.heartbeat("a");
    }
    let renewed = api.requests("watch=true").len() + 2;
    eventually("watches renewed", || api.requests("watch=true").len() >= renewed).await;
    assert!(Arc::ptr_eq(&snapshot, &watched.cluster.nodes().nodes));
    api.put_node("b", "2", true);
    watched.shows(&["a", "b"]).await;
    assert!(Arc::ptr_eq(&record, &watched.node("a").unwrap()));
}

#[tokio::test]
async fn after_the_shutdown_nothing_runs_and_nothing_is_called_live() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    watched.is(ClusterStatus::Live).await;
    watched.shutdown.cancel();
    watched.tracker.close();
    tokio::time::timeout(Duration::from_secs(10), watched.tracker.wait())
        .await
        .unwrap();
    assert_eq!(watched.cluster.nodes().status, ClusterStatus::Stale);
}

#[tokio::test]
async fn removing_a_node_deletes_it_and_its_secret() {
    let api = FakeApi::started();
    api.put_node("a", "1", true);
    api.put_secret(SECRET);
    let watched = Watched::of(&api, quick()).await;
    watched.remove("a", "1").await.unwrap();
    assert!(!api.has_node("a"));
    assert!(!api.has_secret(SECRET));
    watched.remove("a", "1").await.unwrap();
}

fn notice(node: &str) -> Notice {
    Notice {
        subject: Subject::Node {
            name: NodeName::from(node),
            uid: "1".to_owned(),
        },
        is_warning: true,
        reason: "StaleNodeRemoved",
        note: WHY.to_owned(),
    }
}

#[tokio::test]
async fn a_notice_about_a_node_becomes_an_event_that_says_why() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    watched.cluster.announce(notice("a"));
    eventually("an event", || !api.bodies(&format!("POST {EVENTS}")).is_empty()).await;
    let event = api.bodies(&format!("POST {EVENTS}")).remove(0);
    assert_eq!(
        (&event["reason"], &event["note"], &event["type"]),
        (&"StaleNodeRemoved".into(), &WHY.into(), &"Warning".into())
    );
    let of = &event["regarding"];
    assert_eq!(
        (&of["kind"], &of["name"], &of["uid"]),
        (&"Node".into(), &"a".into(), &"1".into())
    );
}

#[tokio::test]
async fn what_happens_twice_becomes_two_events_so_that_the_second_reason_is_seen() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    for why in ["the host is full", "the host refuses the token"] {
        watched.cluster.announce(Notice {
            note: why.to_owned(),
            ..notice("a")
        });
    }
    eventually("two events", || api.bodies(&format!("POST {EVENTS}")).len() == 2).await;
    let events = api.bodies(&format!("POST {EVENTS}"));
    assert_eq!(events[0]["note"], "the host is full");
    assert_eq!(events[1]["note"], "the host refuses the token");
    assert!(api.bodies("PATCH").is_empty());
}

#[tokio::test]
async fn what_is_said_when_the_server_stops_is_written_before_it_ends() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    watched.shutdown.cancel();
    for number in 0..5 {
        watched.cluster.announce(notice(&format!("n{number}")));
    }
    watched.tracker.close();
    tokio::time::timeout(Duration::from_secs(10), watched.tracker.wait())
        .await
        .unwrap();
    assert_eq!(api.bodies(&format!("POST {EVENTS}")).len(), 5);
}

#[tokio::test]
async fn events_that_cannot_be_written_hold_up_nobody_and_take_no_memory() {
    let api = FakeApi::started();
    api.fail(&format!("POST {EVENTS}"), Fault::Silence);
    let watched = Watched::of(&api, quick()).await;
    for number in 0..5000 {
        watched.cluster.announce(notice(&format!("n{number}")));
    }
    api.put_node("a", "1", true);
    watched.remove("a", "1").await.unwrap();
    assert!(!api.has_node("a"));
    api.mend();
    eventually("events again", || api.bodies(&format!("POST {EVENTS}")).len() > 100).await;
    assert!(api.bodies(&format!("POST {EVENTS}")).len() < 1000, "most were dropped");
}

#[tokio::test]
async fn removing_a_node_that_is_already_gone_still_deletes_its_secret() {
    let api = FakeApi::started();
    api.put_secret(SECRET);
    let watched = Watched::of(&api, quick()).await;
    watched.remove("a", "1").await.unwrap();
    assert!(!api.has_secret(SECRET));
}

#[tokio::test]
async fn a_newer_node_of_the_same_name_keeps_its_life_and_its_secret() {
    let api = FakeApi::started();
    api.put_node("a", "2", true);
    api.put_secret(SECRET);
    let watched = Watched::of(&api, quick()).await;
    watched.remove("a", "1").await.unwrap();
    assert!(api.has_node("a"));
    assert!(api.has_secret(SECRET));
}

#[tokio::test]
async fn a_node_held_by_a_finalizer_counts_as_removed() {
    let api = FakeApi::started();
    api.put_node("a", "1", true);
    api.hold_by_finalizer("a");
    api.put_secret(SECRET);
    let watched = Watched::of(&api, quick()).await;
    watched.remove("a", "1").await.unwrap();
    assert!(!api.has_secret(SECRET));
}

#[tokio::test]
async fn the_heartbeat_of_a_node_changes_when_its_kubelet_renews_the_lease() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    let node = NodeName::from("a");
    assert_eq!(
        watched.cluster.last_heartbeat(&node).await.unwrap(),
        None,
        "no kubelet ever spoke"
    );
    api.renew_lease("a", "2026-11-23T10:00:00.000001Z");
    let first = watched.cluster.last_heartbeat(&node).await.unwrap();
    assert!(first.is_some());
    assert_eq!(
        watched.cluster.last_heartbeat(&node).await.unwrap(),
        first,
        "silence changes nothing"
    );
    api.renew_lease("a", "2026-11-23T10:00:00.000002Z");
    assert_ne!(watched.cluster.last_heartbeat(&node).await.unwrap(), first);
}

#[tokio::test]
async fn a_lease_that_may_not_be_read_is_an_error_and_no_silence() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    api.fail("GET /apis/coordination", Fault::Refuse(403, "Forbidden"));
    let error = watched.cluster.last_heartbeat(&NodeName::from("a")).await.unwrap_err();
    assert!(error.to_string().contains("lease of Node a"), "{error}");
}

#[tokio::test]
async fn a_node_is_never_deleted_without_its_uid() {
    let api = FakeApi::started();
    api.put_node("a", "", true);
    let watched = Watched::of(&api, quick()).await;
    let error = watched.remove("a", "").await.unwrap_err();
    assert!(error.contains("uid"), "{error}");
    assert_eq!(api.requests("DELETE"), [""; 0]);
}

#[tokio::test]
async fn the_secret_stays_while_the_node_could_not_be_deleted() {
    let api = FakeApi::started();
    api.put_node("a", "1", true);
    api.put_secret(SECRET);
    let watched = Watched::of(&api, quick()).await;
    for fault in [
        Fault::Refuse(403, "Forbidden"),
        Fault::Refuse(500, "InternalError"),
        Fault::Page(404, "404 page not found"),
        Fault::Page(409, "conflict with the proxy"),
    ] {
        api.fail("DELETE /api/v1/nodes", fault.clone());
        let error = watched.remove("a", "1").await.unwrap_err();
        assert!(error.starts_with("cannot delete Node a: "), "{fault:?}: {error}");
        assert!(api.has_secret(SECRET), "{fault:?}");
        api.mend();
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_deleted_is_an_error_and_repeating_mends_it() {
    let api = FakeApi::started();
    api.put_node("a", "1", true);
    api.put_secret(SECRET);
    let watched = Watched::of(&api, quick()).await;
    api.fail("DELETE /api/v1/namespaces", Fault::Refuse(403, "Forbidden"));
    let error = watched.remove("a", "1").await.unwrap_err();
    assert!(error.contains("kube-system/a.node-password.k3s"), "{error}");
    assert!(error.contains("403"), "{error}");
    api.mend();
    watched.remove("a", "1").await.unwrap();
    assert!(!api.has_secret(SECRET));
}

#[tokio::test]
async fn a_secret_that_cannot_be_deleted_for_a_moment_is_not_left_behind() {
    let api = FakeApi::started();
    api.put_node("a", "1", true);
    api.put_secret(SECRET);
    let mut timings = quick();
    (timings.retry_from, timings.retry_up_to) = (Duration::from_millis(200), Duration::from_secs(5));
    let watched = Watched::of(&api, timings).await;
    api.fail("DELETE /api/v1/namespaces", Fault::Refuse(500, "InternalError"));
    let mend = async {
        eventually("the first attempt", || {
            !api.requests("DELETE /api/v1/namespaces").is_empty()
        })
        .await;
        api.mend();
    };
    let (removed, ()) = tokio::join!(watched.remove("a", "1"), mend);
    removed.unwrap();
    assert!(!api.has_secret(SECRET));
}

#[tokio::test]
async fn a_removal_that_gets_no_answer_ends_in_time() {
    let api = FakeApi::started();
    let timings = Timings {
        request_within: Duration::from_millis(300),
        ..quick()
    };
    let watched = Watched::of(&api, timings).await;
    api.fail("DELETE /api/v1/nodes", Fault::Silence);
    let started = Instant::now();
    let error = watched.remove("a", "1").await.unwrap_err();
    assert!(error.contains("no answer within"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn many_removals_at_once_are_a_few_requests_at_a_time() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    api.fail("DELETE /api/v1/nodes", Fault::Silence);
    let names: Vec<String> = (0..50).map(|number| format!("node-{number}")).collect();
    let removals = futures::future::join_all(names.iter().map(|name| watched.remove(name, "1")));
    let looking = async {
        eventually("the first are asked for", || {
            api.requests("DELETE /api/v1/nodes").len() >= 8
        })
        .await;
        api.put_node("a", "1", true);
        watched.shows(&["a"]).await;
        api.requests("DELETE /api/v1/nodes").len()
    };
    tokio::select! {
        _ = removals => unreachable!("a silent server answered"),
        asked = looking => assert_eq!(asked, 8),
    }
}

#[tokio::test]
async fn the_version_is_read_again_and_the_last_known_one_stays() {
    let mut api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    let is = |version: &str| watched.cluster.server_version().as_deref() == Some(version);
    eventually("the first version", || is("v1.33.6+k3s1")).await;
    api.set_version("v1.34.2+k3s1");
    eventually("the upgrade", || is("v1.34.2+k3s1")).await;
    api.stop();
    watched.is(ClusterStatus::Stale).await;
    assert!(is("v1.34.2+k3s1"));
}

#[tokio::test]
async fn exactly_the_missing_rights_are_named() {
    let api = FakeApi::started();
    let watched = Watched::of(&api, quick()).await;
    assert_eq!(watched.cluster.missing_rights().await, Ok(Vec::new()));
    api.deny("delete nodes");
    api.deny("delete secrets in kube-system");
    api.deny("create events in default");
    let missing = watched.cluster.missing_rights().await.unwrap();
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        missing,
        [
            "delete nodes",
            "delete secrets in kube-system",
            "create events in default"
        ]
    );
    let questions = api.bodies("POST /apis/authorization.k8s.io");
    let groups: Vec<_> = questions
        .iter()
        .map(|question| &question["spec"]["resourceAttributes"])
        .filter(|asked| asked["resource"] == "leases")
        .map(|asked| &asked["group"])
        .collect();
    assert!(
        groups.iter().all(|group| **group == "coordination.k8s.io"),
        "{groups:?}"
    );
}

#[tokio::test]
async fn rights_that_cannot_be_asked_for_are_an_error() {
    let api = FakeApi::stopped();
    let watched = Watched::of(&api, quick()).await;
    let error = watched.cluster.missing_rights().await.unwrap_err();
    assert!(error.message.contains("Connection refused"), "{error}");
}

/// A log that a test can read. It is the log of the whole process, so it holds the lines of other tests, too.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn of_process() -> Self {
        let log = Self::default();
        let written = log.clone();
        let filter: Targets = format!("info,{LOG_FILTER}").parse().unwrap();
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || written.clone());
        tracing_subscriber::registry().with(filter).with(lines).init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_change_of_state_is_one_log_line_however_many_attempts_fail() {
    let log = Log::of_process();
    let mut api = FakeApi::started();
    api.fail("GET /api/v1/nodes", Fault::Refuse(403, "Forbidden"));
    let watched = Watched::of(&api, quick()).await;
    eventually("five refusals", || api.requests("limit=500").len() >= 5).await;
    api.mend();
    watched.is(ClusterStatus::Live).await;
    api.stop();
    watched.is(ClusterStatus::Stale).await;
    api.start();
    watched.is(ClusterStatus::Live).await;

    let text = log.text();
    let about_nodes: Vec<_> = text.lines().filter(|line| line.contains(&api.url())).collect();
    let expected = [
        "cannot read the Nodes",
        "watching the Nodes",
        "no news of the Nodes",
        "watching the Nodes",
    ];
    assert_eq!(about_nodes.len(), expected.len(), "{text}");
    for (line, part) in about_nodes.iter().zip(expected) {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(about_nodes[0].contains("403"), "{text}");
    assert!(about_nodes[2].contains("Connection refused"), "{text}");
    assert!(!text.contains(TOKEN), "{text}");
    assert!(!text.contains("kube_"), "kube logs by itself: {text}");
}

#[tokio::test]
async fn no_error_and_no_debug_text_shows_the_token() {
    let api = FakeApi::started();
    api.fail("DELETE", Fault::Refuse(401, "Unauthorized"));
    let watched = Watched::of(&api, quick()).await;
    let error = watched.remove("a", "1").await.unwrap_err();
    let config = config_of(&api).await;
    let shown = format!("{error} {:?} {config:?}", watched.cluster);
    assert!(shown.contains("401") && shown.contains(&api.url()), "{shown}");
    assert!(!shown.contains(TOKEN), "{shown}");
}
