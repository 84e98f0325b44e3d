//! Faults: what a client meets, and what the daemon did or did not do meanwhile.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass, SimulatorConfig, Timing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{GIB, Host, PATIENCE, error, host, instant, names};

/// Sends a request by hand and returns every byte that comes back until the server closes the connection.
async fn bytes_until_closed(host: &Host, head: &str, body: &str) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(host.running.addr).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes
}

#[tokio::test]
async fn a_status_fault_hits_as_often_as_it_says_and_nothing_is_done() {
    let host = host(instant()).await;
    let kind = json!({"status": {"code": 503, "text": "busy"}});
    host.fault(json!({"route": "create", "kind": kind, "next": 2})).await;
    for _ in 0..2 {
        assert_eq!(host.get("/nodes").await, (200, json!([])), "other routes are not hit");
        assert_eq!(host.try_create(json!({})).await.unwrap(), (503, error("busy")));
    }
    assert_eq!(host.create(json!({})).await, "g-1");
    let (_, shown) = host.get("/simulator/faults").await;
    assert_eq!(shown[0]["hits"], 2);
    assert_eq!(shown[0]["kind"]["status"]["code"], 503);
}

#[tokio::test]
async fn closing_before_sends_not_one_byte_and_creates_nothing() {
    let host = host(instant()).await;
    host.fault(json!({"route": "create", "kind": "close_before", "next": 1}))
        .await;
    assert_eq!(bytes_until_closed(&host, "POST /hostgroup/g/nodes", "{}").await, b"");
    assert_eq!((host.hostnames().len(), host.simulator.created_total()), (0, 0));
    assert_eq!(host.simulator.requests().count("POST /hostgroup/{name}/nodes"), 1);
    assert_eq!(host.simulator.requests().recent[0].status, None);
}

#[tokio::test]
async fn a_lost_answer_sends_not_one_byte_but_leaves_the_vm_there() {
    let host = host(instant()).await;
    host.fault(json!({"route": "create", "kind": "close_after", "next": 1}))
        .await;
    let body = r#"{"tags": ["launch=1"]}"#;
    assert_eq!(bytes_until_closed(&host, "POST /hostgroup/g/nodes", body).await, b"");
    assert_eq!(names(&host.get("/nodes?tag=launch=1").await.1), ["g-1"]);
}

#[tokio::test]
async fn a_lost_answer_to_a_delete_leaves_no_vm() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    host.fault(json!({"route": "delete", "kind": "close_after", "next": 1}))
        .await;
    let lost = host.send(Method::DELETE, "/hostgroup/g/nodes/g-1", None).await;
    assert!(lost.unwrap_err().is_request());
    assert_eq!(host.delete("/hostgroup/g/nodes/g-1").await.0, 404);
}

#[tokio::test]
async fn a_head_request_is_closed_without_an_answer_too() {
    let host = host(instant()).await;
    host.fault(json!({"kind": "close_before"})).await;
    assert_eq!(bytes_until_closed(&host, "HEAD /healthz", "").await, b"");
}

#[tokio::test]
async fn hanging_answers_nothing_and_does_nothing() {
    let host = host(instant()).await;
    host.fault(json!({"route": "create", "kind": "hang"})).await;
    let request = host.request(Method::POST, "/hostgroup/g/nodes").body("{}");
    let hung = request.timeout(Duration::from_millis(300)).send().await;
    assert!(hung.unwrap_err().is_timeout());
    assert_eq!(host.simulator.vms(), []);
}

#[tokio::test]
async fn a_hanging_request_does_not_hold_the_shutdown() {
    let host = host(instant()).await;
    host.fault(json!({"kind": "hang"})).await;
    let request = host.request(Method::GET, "/nodes").timeout(10 * PATIENCE).send();
    let hung = tokio::spawn(request);
    let begun = async {
        while host.simulator.requests().count("GET /nodes") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.unwrap();
    tokio::time::timeout(PATIENCE, host.running.stop()).await.unwrap();
    assert!(hung.await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_that_is_late_afterwards_is_late_but_the_vm_is_there_at_once() {
    let host = host(instant()).await;
    host.fault(json!({"route": "create", "kind": {"delay_after": {"ms": 60_000}}}))
        .await;
    let request = host.request(Method::POST, "/hostgroup/g/nodes").body("{}").send();
    let there = host.simulator.wait_for_vms(PATIENCE, |vms| vms.len() == 1);
    tokio::select! {
        _ = request => panic!("answered a minute too early"),
        there = there => assert!(there),
    }
}

#[tokio::test]
async fn an_answer_that_is_late_beforehand_creates_the_vm_after_the_client_gave_up() {
    let host = host(instant()).await;
    host.fault(json!({"route": "create", "kind": {"delay_before": {"ms": 1500}}}))
        .await;
    let request = host.request(Method::POST, "/hostgroup/g/nodes").body("{}");
    let late = request.timeout(Duration::from_millis(100)).send().await;
    assert!(late.unwrap_err().is_timeout());
    assert_eq!(host.simulator.vms(), [], "not yet");
    assert!(host.simulator.wait_for_vms(PATIENCE, |vms| vms.len() == 1).await);
}

#[tokio::test]
async fn nonsense_has_the_right_status_and_is_no_json() {
    let host = host(instant()).await;
    host.fault(json!({"kind": "nonsense", "next": 2})).await;
    assert_eq!(host.try_create(json!({})).await.unwrap(), (201, Value::Null));
    assert_eq!(host.get("/nodes").await, (200, Value::Null));
    assert_eq!(names(&host.get("/nodes").await.1), ["g-1"]);
}

#[tokio::test]
async fn a_cut_off_answer_breaks_off_in_its_body() {
    let host = host(instant()).await;
    host.fault(json!({"route": "create", "kind": "cut_off", "next": 1}))
        .await;
    let request = host.request(Method::POST, "/hostgroup/g/nodes").body("{}");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let half = response.chunk().await.unwrap().unwrap();
    assert!(half.starts_with(b"{") && serde_json::from_slice::<Value>(&half).is_err());
    response.chunk().await.unwrap_err();
    assert_eq!(host.hostnames(), ["g-1"]);
}

#[tokio::test]
async fn a_huge_answer_is_as_long_as_it_says() {
    let host = host(instant()).await;
    host.fault(json!({"route": "list", "kind": {"huge": {"bytes": 20_000_000}}}))
        .await;
    let response = host.request(Method::GET, "/nodes").send().await.unwrap();
    let text = response.text().await.unwrap();
    assert_eq!(text.len(), 20_000_000);
    assert!(text.starts_with("\"x") && text.ends_with("x\""));
}

#[tokio::test]
async fn a_delete_can_answer_200_with_an_error_and_delete_nothing() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    host.fault(json!({"route": "delete", "kind": {"error_in_body": {"text": "disk is busy"}}}))
        .await;
    let (status, body) = host.delete("/hostgroup/g/nodes/g-1").await;
    assert_eq!((status, &body["error"]), (200, &json!("disk is busy")));
    assert_eq!(host.hostnames(), ["g-1"]);
}

#[tokio::test]
async fn each_class_of_routes_is_hit_alone() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    host.wait_for_userdata("g-1").await;
    let requests = [
        ("create", Method::POST, "/hostgroup/g/nodes"),
        ("delete", Method::DELETE, "/hostgroup/g/nodes/nope"),
        ("list", Method::GET, "/hostgroup/g/nodes"),
        ("list", Method::GET, "/nodes"),
        ("hostgroup", Method::GET, "/hostgroup"),
        ("secrets", Method::GET, "/secrets"),
        ("secrets", Method::DELETE, "/secrets/nope"),
        ("health", Method::GET, "/vm/g-1/health"),
        ("logs", Method::GET, "/vm/g-1/logs"),
        ("power", Method::POST, "/vm/g-1/resume"),
        ("daemon", Method::GET, "/info"),
    ];
    for hit in [
        "create",
        "delete",
        "list",
        "hostgroup",
        "secrets",
        "health",
        "logs",
        "power",
        "daemon",
        "all",
    ] {
        host.simulator.clear_faults();
        host.fault(json!({"route": hit, "kind": {"status": {"code": 599, "text": ""}}}))
            .await;
        for (class, method, path) in &requests {
            let (status, _) = host.send(method.clone(), path, Some(json!({}))).await.unwrap();
            let expected = hit == "all" || hit == *class;
            assert_eq!(status == 599, expected, "{hit}: {method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn the_same_seed_and_the_same_requests_meet_the_same_faults() {
    async fn run(seed: u64) -> Vec<bool> {
        let host = host(SimulatorConfig { seed, ..instant() }).await;
        let fault = Fault::every(RouteClass::Create, FaultKind::CloseBefore).with_probability(0.5);
        host.simulator.switch_on(fault).unwrap();
        let mut lost = Vec::new();
        for _ in 0..32 {
            lost.push(host.try_create(json!({})).await.is_err());
        }
        assert_eq!(lost.iter().filter(|lost| !**lost).count(), host.hostnames().len());
        lost
    }
    let first = run(11).await;
    assert_eq!(first, run(11).await);
    assert_ne!(first, run(12).await);
    assert!(first.contains(&true) && first.contains(&false));
}

#[tokio::test]
async fn faults_are_cleared_and_bad_ones_are_refused() {
    let host = host(instant()).await;
    for bad in [
        json!({"kind": "explode"}),
        json!({"route": "create"}),
        json!({"kind": "hang", "probability": 2}),
        json!({"kind": "hang", "typo": 1}),
        json!({"kind": {"status": {"code": 99, "text": ""}}}),
    ] {
        assert_eq!(host.post("/simulator/faults", bad.clone()).await.0, 400, "{bad}");
    }
    host.fault(json!({"kind": "close_before"})).await;
    assert!(host.send(Method::GET, "/nodes", None).await.is_err());
    assert_eq!(
        host.send(Method::DELETE, "/simulator/faults", None).await.unwrap().0,
        204
    );
    assert_eq!(host.get("/nodes").await.0, 200);
    assert_eq!(host.get("/simulator/faults").await.1, json!([]));
}

#[tokio::test]
async fn a_daemon_that_is_down_closes_every_connection_until_it_is_up() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    assert_eq!(host.post("/simulator/down", json!({})).await.0, 204);
    assert_eq!(bytes_until_closed(&host, "GET /nodes", "").await, b"");
    assert_eq!(bytes_until_closed(&host, "GET /healthz", "").await, b"");
    assert_eq!(host.get("/simulator/state").await.1["up"], false);
    assert_eq!(host.post("/simulator/up", json!(null)).await.0, 204);
    assert_eq!(names(&host.get("/nodes").await.1), ["g-1"], "its VMs went on");
}

#[tokio::test]
async fn a_daemon_that_is_down_for_a_time_comes_back_by_itself() {
    let host = host(instant()).await;
    host.simulator.down(Some(Duration::from_secs(1)));
    assert!(host.send(Method::GET, "/nodes", None).await.is_err());
    let deadline = Instant::now() + PATIENCE;
    while host.send(Method::GET, "/nodes", None).await.is_err() {
        assert!(Instant::now() < deadline, "it stays down");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn going_down_cuts_answers_under_way_and_restarting_cuts_the_work_too() {
    let timing = Timing {
        create: Duration::from_millis(800),
        ..Timing::instant()
    };
    let host = host(SimulatorConfig { timing, ..instant() }).await;
    let begun = |n| {
        let simulator = &host.simulator;
        async move {
            while simulator.requests().count("POST /hostgroup/{name}/nodes") < n {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let cut = async {
        begun(1).await;
        host.simulator.down(None);
        host.simulator.up();
    };
    let (lost, ()) = tokio::join!(host.try_create(json!({"ram_bytes": GIB})), cut);
    assert!(lost.is_err());
    assert!(host.simulator.wait_for_vms(PATIENCE, |vms| vms.len() == 1).await);

    let restarted = async {
        begun(2).await;
        host.simulator.restart();
    };
    let (lost, ()) = tokio::join!(host.try_create(json!({})), restarted);
    assert!(lost.is_err());
    // A creation that is answered afterwards took as long as the cut one would have.
    assert_eq!(host.create(json!({})).await, "g-1");
    assert_eq!(host.hostnames(), ["g-1"]);
}
