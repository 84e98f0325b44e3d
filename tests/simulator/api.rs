//! The documented API: bodies and status codes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use slicer_cloud_provider::domain::vm::Architecture;
use slicer_cloud_provider::simulator::{Capacity, SimulatedGroup, SimulatorConfig, Timing};

use crate::client::{GIB, error, host, instant, names};

#[tokio::test]
async fn without_the_token_everything_but_healthz_is_401() {
    let config = SimulatorConfig {
        token: Some("secret-token".into()),
        ..instant()
    };
    let host = host(config).await;
    for path in ["/info", "/hostgroup", "/nodes", "/secrets", "/vm/g-1/health"] {
        assert_eq!(host.get(path).await, (401, error("unauthorized")), "{path}");
    }
    let (status, _) = host.try_create(json!({})).await.unwrap();
    assert_eq!((status, host.simulator.created_total()), (401, 0));
    assert_eq!(host.get("/healthz").await.0, 200);
    let host = host.with_token("secret-token-and-more");
    assert_eq!(host.get("/info").await.0, 401);
    let host = host.with_token("secret-token");
    assert_eq!(host.get("/info").await.0, 200);
    assert_eq!(host.get("/info").await.1["version"], "0.1.71");
}

#[tokio::test]
async fn the_daemon_tells_its_version_and_in_gos_words_what_it_runs_on() {
    let host = host(instant()).await;
    let expected = json!({"version": "0.1.71", "git_commit": "simulator", "platform": "linux", "arch": "amd64"});
    assert_eq!(host.get("/info").await, (200, expected));
}

#[tokio::test]
async fn healthz_answers_get_and_head_in_plain_text() {
    let host = host(instant()).await;
    let response = host.request(Method::GET, "/healthz").send().await.unwrap();
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(response.text().await.unwrap(), "OK");
    assert_eq!(host.send(Method::HEAD, "/healthz", None).await.unwrap().0, 200);
}

#[tokio::test]
async fn host_groups_tell_their_shape_and_how_many_vms_they_have() {
    let mut arm = SimulatedGroup::new("gpu", 8, 16 * GIB);
    arm.arch = Architecture::Arm64;
    arm.gpu_count = 2;
    let mut config = instant();
    config.groups.push(arm);
    let host = host(config).await;
    host.create(json!({})).await;
    let expected = json!([
        {"name": "g", "count": 1, "cpus": 2, "ram_bytes": 4 * GIB, "gpu_count": 0, "arch": "x86_64"},
        {"name": "gpu", "count": 0, "cpus": 8, "ram_bytes": 16 * GIB, "gpu_count": 2, "arch": "aarch64"},
    ]);
    assert_eq!(host.get("/hostgroup").await, (200, expected));
}

#[tokio::test]
async fn a_created_vm_is_answered_in_one_form_and_listed_in_the_other() {
    let host = host(instant()).await;
    let body = json!({"tags": ["a=1"], "userdata": "#!/bin/sh\n", "ram_bytes": GIB, "cpus": 1,
        "persistent": false, "ssh_keys": ["k"], "hostname": "mine", "network": {"allow": []}});
    let (status, created) = host.try_create(body).await.unwrap();
    assert_eq!(status, 201);
    let created_at = created["created_at"].clone();
    assert!(created_at.as_str().unwrap().ends_with('Z'), "{created_at}");
    let expected = json!({"hostname": "g-1", "hostgroup": "g", "ip": "192.168.137.2/24",
        "created_at": created_at, "arch": "amd64"});
    assert_eq!(created, expected);
    let listed = json!([{"hostname": "g-1", "hostgroup": "g", "ip": "192.168.137.2", "ram_bytes": GIB, "cpus": 1,
        "created_at": created_at, "tags": ["a=1"], "arch": "x86_64", "status": "Running", "persistent": false}]);
    assert_eq!(host.get("/hostgroup/g/nodes").await, (200, listed.clone()));
    assert_eq!(host.get("/nodes").await, (200, listed.clone()));
    assert_eq!(host.get("/vm/g-1").await, (200, listed[0].clone()));
    assert_eq!(host.simulator.vm("g-1").unwrap().userdata, "#!/bin/sh\n");
}

#[tokio::test]
async fn creations_that_cannot_be_are_refused_with_the_documented_status() {
    let host = host(instant()).await;
    let create = |body| host.try_create(body);
    let (status, body) = create(json!({"cpus": 3})).await.unwrap();
    assert_eq!((status, body), (400, error("cpus 3 exceeds host group limit 2")));
    assert_eq!(create(json!({"ram_bytes": 5 * GIB})).await.unwrap().0, 400);
    assert_eq!(create(json!({"gpu_count": 1})).await.unwrap().0, 400);
    assert_eq!(create(json!({"cpus": -1})).await.unwrap().0, 400);
    assert_eq!(create(json!({"tags": "no list"})).await.unwrap().0, 400);
    let raw = |text: &'static str| {
        let request = host.request(Method::POST, "/hostgroup/g/nodes");
        async move { request.body(text).send().await.unwrap().status().as_u16() }
    };
    assert_eq!(raw("{\"cpus\": 1").await, 400);
    assert_eq!(raw("").await, 400);
    assert_eq!(create(json!({"userdata": "x".repeat(2 << 20)})).await.unwrap().0, 400);
    assert_eq!(
        host.post("/hostgroup/nope/nodes", json!({})).await,
        (404, error("host group nope not found"))
    );
    assert_eq!(host.simulator.vms(), []);
    assert_eq!(raw("{}").await, 201, "a content type is not asked for");
}

#[tokio::test]
async fn a_host_without_room_answers_500_with_a_text_and_goes_on_when_there_is_room() {
    let config = SimulatorConfig {
        capacity: Capacity {
            max_vms: Some(2),
            ram_bytes: Some(6 * GIB),
        },
        ..instant()
    };
    let host = host(config).await;
    host.create(json!({})).await;
    let (status, body) = host.try_create(json!({})).await.unwrap();
    let text = "insufficient memory on host: 4294967296 bytes needed, 2147483648 free";
    assert_eq!((status, body), (500, error(text)));
    host.create(json!({"ram_bytes": GIB})).await;
    let (status, body) = host.try_create(json!({"ram_bytes": GIB})).await.unwrap();
    assert_eq!(
        (status, body),
        (500, error("no free IP address on host: all 2 are in use"))
    );
    host.delete("/hostgroup/g/nodes/g-1").await;
    host.create(json!({})).await;
    assert_eq!(host.post("/simulator/capacity", json!({})).await.0, 204);
    host.create(json!({})).await;
}

#[tokio::test]
async fn a_host_in_trial_mode_answers_403_to_one_vm_too_many() {
    let config = SimulatorConfig {
        trial_limit: Some(1),
        ..instant()
    };
    let host = host(config).await;
    host.create(json!({})).await;
    let (status, body) = host.try_create(json!({})).await.unwrap();
    assert_eq!((status, body), (403, error("trial mode allows 1 VMs")));
}

#[tokio::test]
async fn lists_are_filtered_by_one_tag_or_one_prefix_but_not_by_both() {
    let mut config = instant();
    config.groups.push(SimulatedGroup::new("other", 1, GIB));
    let host = host(config).await;
    host.create(json!({"tags": ["a/launch=1", "x"]})).await;
    host.create(json!({"tags": ["a/launch=12"]})).await;
    host.post("/hostgroup/other/nodes", json!({"tags": ["a/launch=1"]}))
        .await;
    for (path, expected) in [
        ("/nodes", vec!["g-1", "g-2", "other-1"]),
        ("/nodes?tag=a%2Flaunch%3D1", vec!["g-1", "other-1"]),
        ("/nodes?tag_prefix=a/launch=", vec!["g-1", "g-2", "other-1"]),
        ("/nodes?tag=&tag_prefix=", vec!["g-1", "g-2", "other-1"]),
        ("/hostgroup/g/nodes?tag=a/launch=1", vec!["g-1"]),
        ("/hostgroup/g/nodes?tag_prefix=a/launch=12", vec!["g-2"]),
        ("/hostgroup/g/nodes?tag=A/launch=1", vec![]),
    ] {
        let (status, body) = host.get(path).await;
        assert_eq!((status, names(&body)), (200, expected), "{path}");
    }
    let both = error("only one of tag and tag_prefix may be set");
    assert_eq!(host.get("/nodes?tag=a&tag_prefix=a").await, (400, both.clone()));
    assert_eq!(host.get("/hostgroup/g/nodes?tag=a&tag_prefix=a").await, (400, both));
    assert_eq!(host.get("/hostgroup/nope/nodes").await.0, 404);
}

#[tokio::test]
async fn a_vm_is_deleted_once_and_only_under_its_own_group() {
    let mut config = instant();
    config.groups.push(SimulatedGroup::new("other", 1, GIB));
    let host = host(config).await;
    host.create(json!({})).await;
    assert_eq!(
        host.delete("/hostgroup/other/nodes/g-1").await,
        (404, error("node g-1 not found"))
    );
    let deleted = json!({"message": "Node deleted", "disk_removed": "true"});
    assert_eq!(host.delete("/hostgroup/g/nodes/g-1").await, (200, deleted));
    assert_eq!(
        host.delete("/hostgroup/g/nodes/g-1").await,
        (404, error("node g-1 not found"))
    );
    assert_eq!(host.simulator.deleted_total(), 1);
}

#[tokio::test]
async fn protected_vms_exist_from_the_start_and_are_not_deleted() {
    let mut config = instant();
    config.groups[0].protected = 2;
    let host = host(config).await;
    assert_eq!(names(&host.get("/nodes").await.1), ["g-1", "g-2"]);
    let refused = error("node g-1 is protected and cannot be deleted");
    assert_eq!(host.delete("/hostgroup/g/nodes/g-1").await, (403, refused));
    host.wait_for_userdata("g-2").await;
    assert_eq!(host.create(json!({"protected": true})).await, "g-3");
    assert_eq!(host.delete("/hostgroup/g/nodes/g-3").await.0, 403);
    assert_eq!(host.hostnames(), ["g-1", "g-2", "g-3"]);
    assert_eq!((host.simulator.created_total(), host.simulator.deleted_total()), (1, 0));
}

#[tokio::test]
async fn secrets_are_created_changed_listed_without_content_and_deleted() {
    let host = host(instant()).await;
    let data = |text: &str| STANDARD.encode(text);
    let value = |name: &str| host.simulator.secret_value(name).unwrap().expose_secret().to_owned();
    let created = host.post("/secrets", json!({"name": "k3s-token", "data": data("K10a::b:c")}));
    assert_eq!(created.await, (201, Value::Null));
    let again = host.post("/secrets", json!({"name": "k3s-token", "data": data("other")}));
    assert_eq!(again.await, (409, error("secret k3s-token already exists")));
    assert_eq!(value("k3s-token"), "K10a::b:c");

    let (status, list) = host.get("/secrets").await;
    let mod_time = list[0]["mod_time"].clone();
    let expected = json!([{"name": "k3s-token", "size": 9, "permissions": "0600", "uid": 0, "gid": 0,
        "mod_time": mod_time}]);
    assert_eq!((status, list), (200, expected));

    let modes = host.patch(
        "/secrets/k3s-token",
        json!({"permissions": "0640", "uid": 7, "data": ""}),
    );
    assert_eq!(modes.await.0, 200);
    assert_eq!(value("k3s-token"), "K10a::b:c");
    let content = host.patch("/secrets/k3s-token", json!({"data": data("new")}));
    assert_eq!(content.await.0, 200);
    assert_eq!(value("k3s-token"), "new");
    let listed = host.get("/secrets").await.1;
    assert_eq!(
        (&listed[0]["permissions"], &listed[0]["uid"]),
        (&json!("0640"), &json!(7))
    );
    assert_ne!(listed[0]["mod_time"], mod_time);

    assert_eq!(host.delete("/secrets/k3s-token").await.0, 200);
    let missing = (404, error("secret k3s-token not found"));
    assert_eq!(host.delete("/secrets/k3s-token").await, missing);
    assert_eq!(
        host.patch("/secrets/k3s-token", json!({"data": data("x")})).await,
        missing
    );
    assert_eq!(host.simulator.secrets(), Vec::<String>::new());
}

#[tokio::test]
async fn secrets_that_make_no_sense_are_400_and_are_not_repeated_in_the_answer() {
    let host = host(instant()).await;
    for body in [
        json!({"name": "a", "data": "no base64: hush"}),
        json!({"name": "a"}),
        json!({"name": "../a", "data": "aHVzaA=="}),
        json!({"name": "a", "data": "aHVzaA==", "permissions": "rw hush"}),
        json!({"name": "a", "data": "aHVzaA==", "uid": "hush"}),
        json!({"name": "a", "data": STANDARD.encode("hush".repeat(20_000))}),
    ] {
        let (status, answer) = host.post("/secrets", body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(!answer.to_string().contains("hush"), "{answer}");
    }
    assert_eq!(host.simulator.secrets(), Vec::<String>::new());
}

#[tokio::test]
async fn statistics_have_the_shape_of_real_ones() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    let (status, all) = host.get("/nodes/stats").await;
    assert_eq!((status, names(&all)), (200, vec!["g-1"]));
    let (status, one) = host.get("/node/g-1/stats").await;
    assert_eq!(
        (status, &one["hostgroup"], &one["error"]),
        (200, &json!("g"), &json!(""))
    );
    let snapshot = one["snapshot"].as_object().unwrap();
    for key in [
        "totalCpus",
        "totalMemory",
        "loadAvg15",
        "diskIOInflight",
        "diskSpaceUsedPercent",
    ] {
        assert!(snapshot[key].is_number(), "{key}: {snapshot:?}");
    }
    assert!(snapshot["totalMemory"].as_u64().unwrap() < 4 * GIB);
    assert_eq!(host.get("/node/nope/stats").await, (404, error("node nope not found")));
}

#[tokio::test]
async fn what_is_unknown_is_404_and_what_is_not_meant_is_405() {
    let host = host(instant()).await;
    assert_eq!(host.get("/nope").await, (404, error("no such route")));
    assert_eq!(
        host.get("/hostgroup/g/nodes/").await.0,
        404,
        "trailing slashes are not forgiven"
    );
    assert_eq!(host.send(Method::PUT, "/nodes", None).await.unwrap().0, 405);
    for path in ["/vm/nope", "/vm/nope/health", "/vm/nope/logs"] {
        assert_eq!(host.get(path).await, (404, error("node nope not found")), "{path}");
    }
    for action in ["shutdown", "pause", "resume", "suspend", "restore", "relaunch"] {
        let answer = host.post(&format!("/vm/nope/{action}"), json!(null)).await;
        assert_eq!(answer, (404, error("node nope not found")), "{action}");
    }
}

#[tokio::test]
async fn the_admin_routes_need_no_token_and_can_be_left_out() {
    let config = SimulatorConfig {
        token: Some("secret-token".into()),
        ..instant()
    };
    let open = host(config.clone()).await;
    assert_eq!(open.get("/simulator/state").await.0, 200);
    let closed = host(SimulatorConfig {
        admin_routes: false,
        ..config
    });
    let closed = closed.await.with_token("secret-token");
    assert_eq!(closed.get("/simulator/state").await.0, 404);
    assert_eq!(
        closed.send(Method::DELETE, "/simulator/faults", None).await.unwrap().0,
        404
    );
}

#[tokio::test]
async fn the_state_shows_what_happened_but_no_secret() {
    let host = host(instant()).await;
    let body = json!({"name": "token", "data": STANDARD.encode("K10hush")});
    host.post("/secrets", body).await;
    host.create(json!({"userdata": "echo K10hush", "tags": ["t"], "secrets": ["token"]}))
        .await;
    host.get("/nodes?tag=t").await;
    let (_, state) = host.get("/simulator/state").await;
    assert!(!state.to_string().contains("hush"), "{state}");
    assert_eq!(state["secrets"], json!(["token"]));
    assert_eq!(state["vms"][0]["secrets"], json!(["token"]));
    assert_eq!((&state["created_total"], &state["up"]), (&json!(1), &json!(true)));
    assert_eq!(state["requests"]["counts"]["POST /hostgroup/{name}/nodes"], 1);
    let requests = host.simulator.requests();
    assert_eq!(requests.count("GET /nodes"), 1);
    let last = requests.recent.back().unwrap();
    assert_eq!((last.target.as_str(), last.status), ("/nodes?tag=t", Some(200)));
}

#[tokio::test]
async fn a_socket_serves_the_same_api() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slicer.sock");
    let host = host(instant()).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let served = tokio::spawn(host.simulator.clone().serve_unix(listener, shutdown.clone()));
    let client = reqwest::Client::builder()
        .tls_certs_only([])
        .unix_socket(path)
        .build()
        .unwrap();
    let created = client
        .post("http://unix/hostgroup/g/nodes")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    assert_eq!(names(&host.get("/nodes").await.1), ["g-1"], "it is the same daemon");
    shutdown.cancel();
    tokio::time::timeout(crate::client::PATIENCE, served)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn creations_run_side_by_side_and_get_different_names() {
    let config = SimulatorConfig {
        timing: Timing {
            create: std::time::Duration::from_millis(100),
            ..Timing::instant()
        },
        ..instant()
    };
    let host = host(config).await;
    let answers = futures::future::join_all((0..50).map(|_| host.create(json!({})))).await;
    let different: std::collections::BTreeSet<String> = answers.into_iter().collect();
    assert_eq!(different.len(), 50);
}
