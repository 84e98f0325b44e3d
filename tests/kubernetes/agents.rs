//! Simulated VMs as agents of a cluster: what the API server sees of them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use slicer_cloud_provider::kubernetes::SimulatedAgent;
use slicer_cloud_provider::simulator::{RunningSimulator, SimulatedGroup, Simulator, SimulatorConfig, Timing};

use crate::fake_api::{FakeApi, Fault, LEASES};
use crate::{config_of, eventually};

const NODE: &str = "/api/v1/nodes/g-1-l1";
const PASSWORD: &str = "/api/v1/namespaces/kube-system/secrets/g-1-l1.node-password.k3s";
const PODS: &str = "/api/v1/namespaces/default/pods";
/// As much of this project's userdata as an agent reads.
const USERDATA: &str = "#!/bin/sh\nlaunch='l1'\nconfig='node-label:\n  - \"team=a\"\nnode-taint:\n  \
    - \"dedicated=batch:NoSchedule\"\nkubelet-arg:\n  - \"provider-id=slicer://g/l1\"\n'\n";

/// A Slicer host whose VMs join the cluster of a fake API server.
struct Host {
    simulator: Simulator,
    running: RunningSimulator,
}

impl Host {
    async fn of(api: &FakeApi, group: SimulatedGroup) -> Self {
        let agent = SimulatedAgent::new(&config_of(api).await, Duration::ZERO)
            .unwrap()
            .retrying_every(Duration::from_millis(100));
        let config = SimulatorConfig {
            groups: vec![group],
            timing: Timing::instant(),
            ..SimulatorConfig::default()
        };
        let simulator = Simulator::new(config, Arc::new(agent));
        let running = simulator.spawn_on_loopback().await.unwrap();
        Self { simulator, running }
    }

    /// A host with the VM g-1, which is to be the Node g-1-l1.
    async fn with_vm(api: &FakeApi) -> Self {
        let host = Self::of(api, SimulatedGroup::new("g", 2, 4 << 30)).await;
        host.create(false).await;
        host
    }

    async fn create(&self, persistent: bool) {
        let body = json!({"userdata": USERDATA, "persistent": persistent});
        self.post("/hostgroup/g/nodes", &body).await;
    }

    async fn post(&self, path: &str, body: &Value) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().tls_certs_only([]).no_proxy();
        let request = client.build().unwrap().post(format!("{}{path}", self.running.url));
        let answer = request.json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    fn console(&self) -> String {
        self.simulator.console("g-1").unwrap_or_default()
    }

    async fn says(&self, text: &str, times: usize) {
        let what = format!("{text:?} on the console");
        eventually(&what, || self.console().matches(text).count() >= times).await;
    }

    async fn has_joined(&self) {
        self.says("joined as Node g-1-l1", 1).await;
    }
}

fn node(api: &FakeApi) -> Value {
    api.object(NODE).unwrap()
}

/// A condition of a Node or a pod.
fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == type_);
    found.unwrap_or_default()
}

fn pod(name: &str, node: &str, phase: &str) -> Value {
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}")},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "nginx"}, {"name": "d", "image": "redis"}]},
        "status": {"phase": phase, "conditions": [scheduled]},
    })
}

fn put_pod(api: &FakeApi, pod: Value) {
    let path = format!("{PODS}/{}", pod["metadata"]["name"].as_str().unwrap());
    api.put_object(&path, pod);
}

fn pod_of(api: &FakeApi, name: &str) -> Option<Value> {
    api.object(&format!("{PODS}/{name}"))
}

fn phase_of(api: &FakeApi, name: &str) -> Value {
    pod_of(api, name).unwrap()["status"]["phase"].clone()
}

/// Waits until an agent that saw everything up to now has had time to act on it.
async fn two_more_rounds(api: &FakeApi) {
    let rounds = api.requests("GET /api/v1/pods").len() + 2;
    eventually("rounds", || api.requests("GET /api/v1/pods").len() >= rounds).await;
}

#[tokio::test]
async fn a_simulated_agent_hands_in_its_password_and_registers_its_node() {
    let api = FakeApi::started();
    let mut group = SimulatedGroup::new("g", 2, 4 << 30);
    (group.gpu_count, group.disk_bytes) = (1, 50_000_000_000);
    let host = Host::of(&api, group).await;
    host.create(false).await;
    host.has_joined().await;

    let node = node(&api);
    assert_eq!(node["spec"]["providerID"], "slicer://g/l1");
    let taint = json!([{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}]);
    assert_eq!(node["spec"]["taints"], taint);
    assert_eq!(node["metadata"]["labels"]["team"], "a");
    assert_eq!(node["metadata"]["labels"]["slicer/hostname"], "g-1");
    let (capacity, allocatable) = (&node["status"]["capacity"], &node["status"]["allocatable"]);
    assert_eq!(capacity["cpu"], "2");
    assert_eq!(capacity["ephemeral-storage"], "50000000000");
    assert_eq!(allocatable["ephemeral-storage"], "47500000000");
    assert_eq!(
        (&capacity["nvidia.com/gpu"], &allocatable["nvidia.com/gpu"]),
        (&json!("1"), &json!("1"))
    );
    assert_eq!(condition(&node, "Ready")["status"], "True");
    assert_eq!(condition(&node, "DiskPressure")["status"], "False");

    let secret = api.object(PASSWORD).unwrap();
    assert_eq!(
        (&secret["type"], &secret["immutable"]),
        (&json!("k3s.cattle.io/node-password"), &json!(true))
    );
    assert!(secret["data"]["hash"].as_str().unwrap().len() > 20);
    let posts = api.requests("POST");
    assert!(
        posts[0].contains("/secrets") && posts[1].contains("/nodes"),
        "{posts:?}"
    );
}

#[tokio::test]
async fn a_node_without_gpus_has_none() {
    let api = FakeApi::started();
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    assert_eq!(node(&api)["status"]["capacity"].get("nvidia.com/gpu"), None);
}

#[tokio::test]
async fn a_simulated_agent_renews_its_lease() {
    let api = FakeApi::started();
    let _host = Host::with_vm(&api).await;
    let lease = || api.object(&format!("{LEASES}/g-1-l1")).unwrap_or_default();
    eventually("a lease", || !lease().is_null()).await;
    let first = lease();
    assert_eq!(first["spec"]["holderIdentity"], "g-1-l1");
    assert_eq!(first["spec"]["leaseDurationSeconds"], 40);
    assert_eq!(
        first["metadata"]["ownerReferences"][0]["uid"],
        node(&api)["metadata"]["uid"]
    );
    let time = |lease: &Value| lease["spec"]["renewTime"].as_str().unwrap().to_owned();
    assert_eq!(time(&first).len(), "2026-01-02T03:04:05.000000Z".len());
    eventually("a renewal", || time(&lease()) > time(&first)).await;
}

#[tokio::test]
async fn the_ready_condition_keeps_its_transition_time() {
    let api = FakeApi::started();
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    let at_first = condition(&node(&api), "Ready");
    // Whoever could not renew the lease posts the status at once.
    api.fail("PATCH /apis/coordination", Fault::Refuse(500, "InternalError"));
    let now = || condition(&node(&api), "Ready");
    eventually("a heartbeat", || {
        now()["lastHeartbeatTime"] != at_first["lastHeartbeatTime"]
    })
    .await;
    assert_eq!(now()["lastTransitionTime"], at_first["lastTransitionTime"]);
    assert!(host.console().contains("cannot renew the lease"), "{}", host.console());
}

#[tokio::test]
async fn a_node_that_was_given_up_and_comes_back_is_ready_since_then() {
    let api = FakeApi::started();
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    let mut given_up = node(&api);
    let unknown = json!({"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let foreign = json!({"type": "NetworkUnavailable", "status": "False"});
    given_up["status"]["conditions"] = json!([unknown, foreign]);
    api.put(given_up);
    api.fail("PATCH /apis/coordination", Fault::Refuse(500, "InternalError"));
    eventually("ready again", || condition(&node(&api), "Ready")["status"] == "True").await;
    let ready = condition(&node(&api), "Ready");
    assert_eq!(ready["lastTransitionTime"], ready["lastHeartbeatTime"]);
    assert_eq!(
        condition(&node(&api), "NetworkUnavailable"),
        foreign,
        "conditions of others stay"
    );
}

#[tokio::test]
async fn a_node_that_is_gone_is_not_made_anew() {
    let api = FakeApi::started();
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    eventually("a lease", || api.object(&format!("{LEASES}/g-1-l1")).is_some()).await;
    api.delete_node("g-1-l1");
    api.remove_object(&format!("{LEASES}/g-1-l1"));
    host.says("cannot post the status", 2).await;
    assert!(!api.has_node("g-1-l1"));
    assert_eq!(api.object(&format!("{LEASES}/g-1-l1")), None);
}

#[tokio::test]
async fn a_simulated_agent_runs_the_pods_bound_to_its_node() {
    let api = FakeApi::started();
    // More than one page of them.
    for n in 0..120 {
        put_pod(&api, pod(&format!("p{n}"), "g-1-l1", "Pending"));
    }
    put_pod(&api, pod("done", "g-1-l1", "Succeeded"));
    put_pod(&api, pod("broken", "g-1-l1", "Failed"));
    put_pod(&api, pod("elsewhere", "other", "Pending"));
    let _host = Host::with_vm(&api).await;
    eventually("all run", || {
        (0..120).all(|n| phase_of(&api, &format!("p{n}")) == "Running")
    })
    .await;

    let running = pod_of(&api, "p0").unwrap();
    for type_ in ["PodScheduled", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&running, type_)["status"], "True", "{type_}");
    }
    let scheduled = condition(&running, "PodScheduled");
    assert_eq!(
        scheduled["lastTransitionTime"], "2026-01-02T03:04:05Z",
        "the scheduler's"
    );
    assert!(running["status"]["startTime"].is_string());
    let containers = running["status"]["containerStatuses"].as_array().unwrap();
    let seen: Vec<_> = containers
        .iter()
        .map(|c| (&c["name"], &c["image"], &c["ready"], &c["started"]))
        .collect();
    let yes = json!(true);
    assert_eq!(
        seen,
        [
            (&json!("c"), &json!("nginx"), &yes, &yes),
            (&json!("d"), &json!("redis"), &yes, &yes)
        ]
    );
    assert!(containers[0]["state"]["running"]["startedAt"].is_string());
    let phases = ["done", "broken", "elsewhere"].map(|name| phase_of(&api, name));
    assert_eq!(phases, ["Succeeded", "Failed", "Pending"]);

    two_more_rounds(&api).await;
    assert_eq!(api.requests("/pods/p0/status").len(), 1, "what runs is left alone");
}

#[tokio::test]
async fn a_simulated_agent_deletes_pods_that_are_to_go() {
    let api = FakeApi::started();
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    for (name, phase) in [("run", "Running"), ("done", "Succeeded"), ("new", "Pending")] {
        let mut leaving = pod(name, "g-1-l1", phase);
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
        leaving["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        put_pod(&api, leaving);
    }
    put_pod(&api, pod("stays", "g-1-l1", "Running"));
    let there = |name| pod_of(&api, name).is_some();
    eventually("all are gone", || !["run", "done", "new"].into_iter().any(there)).await;
    let deletions = api.bodies(&format!("DELETE {PODS}/run"));
    assert_eq!(deletions[0]["gracePeriodSeconds"], 0);
    assert_eq!(deletions[0]["preconditions"]["uid"], "uid-of-run");
    two_more_rounds(&api).await;
    assert!(there("stays"));
}

#[tokio::test]
async fn one_pod_that_cannot_be_started_keeps_no_other_from_running() {
    let api = FakeApi::started();
    put_pod(&api, pod("a", "g-1-l1", "Pending"));
    put_pod(&api, pod("b", "g-1-l1", "Pending"));
    api.fail(&format!("PATCH {PODS}/a/"), Fault::Refuse(500, "InternalError"));
    let host = Host::with_vm(&api).await;
    eventually("b runs", || phase_of(&api, "b") == "Running").await;
    host.says("cannot start the pod a", 2).await;
    api.mend();
    eventually("a runs", || phase_of(&api, "a") == "Running").await;
}

#[tokio::test]
async fn pods_that_cannot_be_listed_make_no_lease_late() {
    let api = FakeApi::started();
    api.fail("GET /api/v1/pods", Fault::Silence);
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    // A renewal every three seconds, but a list is given up after five. If one waited for the other, they were as many.
    eventually("renewals", || api.requests("PATCH /apis/coordination").len() >= 5).await;
    let lists = api.requests("GET /api/v1/pods").len();
    assert!(lists <= 3, "{lists} lists: the lease waits for no pods");
    host.says("cannot list the pods: no answer within", 1).await;
    api.mend();
    put_pod(&api, pod("a", "g-1-l1", "Pending"));
    eventually("a runs", || phase_of(&api, "a") == "Running").await;
}

#[tokio::test]
async fn a_node_password_of_an_earlier_vm_is_refused() {
    let api = FakeApi::started();
    let host = Host::with_vm(&api).await;
    host.has_joined().await;
    host.simulator.restart();
    eventually("the VM is lost", || host.simulator.vms().is_empty()).await;
    assert!(api.has_node("g-1-l1"), "a dead kubelet removes nothing");
    assert!(api.has_secret(PASSWORD), "a dead kubelet removes nothing");
    api.delete_node("g-1-l1");

    host.create(false).await;
    host.says("node password was rejected", 2).await;
    assert!(!api.has_node("g-1-l1"));
    assert_eq!(api.requests("POST /api/v1/nodes").len(), 1, "the first VM's");
    api.remove_object(PASSWORD);
    host.has_joined().await;
}

#[tokio::test]
async fn userdata_ends_with_an_error_when_the_node_password_was_always_rejected() {
    let api = FakeApi::started();
    api.put_secret(PASSWORD);
    let host = Host::with_vm(&api).await;
    let limit = Duration::from_secs(120);
    let ended = host
        .simulator
        .wait_for_vms(limit, |vms| vms.iter().any(|vm| vm.userdata_outcome.is_some()));
    assert!(ended.await, "{}", host.console());
    let outcome = host.simulator.vm("g-1").unwrap().userdata_outcome;
    assert_eq!(outcome.unwrap().exit_code, Some(14));
    assert!(!api.has_node("g-1-l1"));
}

#[tokio::test]
async fn an_agent_that_failed_after_its_password_was_stored_is_not_locked_out() {
    let api = FakeApi::started();
    api.fail("POST /api/v1/nodes", Fault::Refuse(500, "InternalError"));
    let host = Host::with_vm(&api).await;
    host.says("cannot join: registering", 1).await;
    assert!(api.has_secret(PASSWORD));
    api.mend();
    host.has_joined().await;
    assert!(!host.console().contains("rejected"), "{}", host.console());
}

#[tokio::test]
async fn a_disk_that_starts_again_joins_with_its_own_password() {
    let api = FakeApi::started();
    let host = Host::of(&api, SimulatedGroup::new("g", 2, 4 << 30)).await;
    host.create(true).await;
    host.has_joined().await;
    host.simulator.restart();
    host.post("/vm/g-1/relaunch", &json!({})).await;
    host.says("joined as Node g-1-l1", 2).await;
    assert!(!host.console().contains("rejected"), "{}", host.console());
}
