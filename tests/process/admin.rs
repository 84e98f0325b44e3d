//! `/metrics` and `/api/v1/state`.

use std::time::Duration;

use slicer_cloud_provider::grpc::pb::instance_status::InstanceState;
use slicer_cloud_provider::server::Server;
use slicer_cloud_provider::simulator::Capacity;

use crate::pages::{self, Page};
use crate::support::*;

async fn page(server: &Server, path: &str) -> Page {
    pages::get(&server.admin_address().to_string(), path).await
}

/// One VM that runs and one launch that failed for want of room.
async fn one_up_and_one_failed() -> (Host, Server, Client) {
    let host = host("agents").await;
    let room = Capacity {
        max_vms: Some(1),
        ram_bytes: None,
    };
    host.simulator.set_capacity(room);
    let server = start(&(global("") + &nodegroup("agents", &host.running.url, "max-size = 4"))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 2).await.unwrap();
    wait_for(&mut client, "agents", 1, InstanceState::InstanceRunning).await;
    eventually("a failed launch", async || {
        let all = instances(&mut client, "agents").await;
        all.iter().any(|instance| error_of(instance).is_some()).then_some(())
    })
    .await;
    (host, server, client)
}

#[tokio::test]
async fn metrics_are_openmetrics_and_move_with_what_happens() {
    let (host, server, mut client) = one_up_and_one_failed().await;
    let metrics = page(&server, "/metrics").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(
        metrics.content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(metrics.text.ends_with("# EOF\n"));
    for (series, value) in [
        ("launches_total{nodegroup=\"agents\"}", 1.0),
        ("failures_total{nodegroup=\"agents\",reason=\"OutOfResources\"}", 1.0),
        ("failures_total{nodegroup=\"agents\",reason=\"HostRefused\"}", 0.0),
        ("removals_total{nodegroup=\"agents\"}", 0.0),
        ("target_size{nodegroup=\"agents\"}", 2.0),
        ("max_size{nodegroup=\"agents\"}", 4.0),
        ("host_up{nodegroup=\"agents\"}", 1.0),
        ("nodegroup_listed{nodegroup=\"agents\"}", 1.0),
        ("instances{nodegroup=\"agents\",state=\"running\"}", 1.0),
        ("instances{nodegroup=\"agents\",state=\"failed\"}", 1.0),
        ("rpcs_total{rpc=\"NodeGroupIncreaseSize\",code=\"OK\"}", 1.0),
        ("rpc_duration_seconds_count{rpc=\"NodeGroupIncreaseSize\"}", 1.0),
        (
            "slicer_request_duration_seconds_count{operation=\"create_vm\",outcome=\"ok\"}",
            1.0,
        ),
        (
            "slicer_request_duration_seconds_count{operation=\"create_vm\",outcome=\"out_of_resources\"}",
            1.0,
        ),
    ] {
        assert_eq!(metrics.metric(series), Some(value), "{series} in\n{}", metrics.text);
    }

    let listed_at = metrics.metric("host_last_listing_timestamp_seconds{nodegroup=\"agents\"}");
    assert!(listed_at > Some(1.7e9), "{listed_at:?}");

    let all = ids(&instances(&mut client, "agents").await);
    delete(&mut client, "agents", &all).await.unwrap();
    assert!(
        host.simulator
            .wait_for_vms(Duration::from_secs(10), <[_]>::is_empty)
            .await
    );
    eventually("the removal counted", async || {
        let metrics = page(&server, "/metrics").await;
        let removals = metrics.metric("removals_total{nodegroup=\"agents\"}");
        (removals >= Some(1.0) && metrics.metric("target_size{nodegroup=\"agents\"}") == Some(0.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_state_tells_of_groups_instances_hosts_and_what_happened() {
    let (host, server, _client) = one_up_and_one_failed().await;
    let page_text = page(&server, "/api/v1/state").await;
    assert_eq!(page_text.content_type, "application/json");
    let state = page_text.json();
    assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(state["kubernetes"]["status"], "absent");

    let group = &state["groups"][0];
    assert_eq!(group["id"], "agents");
    assert_eq!((&group["listed"], &group["retired"]), (&true.into(), &false.into()));
    assert_eq!((&group["target_size"], &group["max_size"]), (&2.into(), &4.into()));
    assert_eq!(group["shape"]["cpus"], 2);
    let instances = group["instances"].as_array().unwrap();
    let of_phase = |phase: &str| instances.iter().find(|instance| instance["phase"] == phase).unwrap();
    let (running, failed) = (of_phase("running"), of_phase("failed"));
    assert_eq!(running["vm"], host.simulator.vms()[0].hostname.as_str());
    assert!(running["error"].is_null());
    assert_eq!(failed["error"]["code"], "OutOfResources");
    assert!(!failed["error"]["message"].as_str().unwrap().is_empty());
    assert!(failed["id"].as_str().unwrap().starts_with("slicer://agents/"));

    let operations = state["recent_operations"].as_array().unwrap();
    let happened = |text: &str| {
        operations
            .iter()
            .any(|line| line["what"].as_str().unwrap().contains(text))
    };
    assert!(
        happened("scaling up by 2") && happened("launched") && happened("OutOfResources"),
        "{operations:?}"
    );
    assert!(
        operations
            .iter()
            .all(|line| line["unix_time"].as_u64().unwrap() > 1_700_000_000)
    );

    let listed = &state["hosts"][0];
    assert_eq!(
        listed["slicer_url"].as_str().unwrap().trim_end_matches('/'),
        host.running.url
    );
    assert_eq!((&listed["status"], &listed["error"]), (&"up".into(), &().into()));
    host.simulator.down(None);
    let down = eventually("the outage in the state", async || {
        let state = page(&server, "/api/v1/state").await.json();
        (state["hosts"][0]["status"] == "down").then(|| state["hosts"][0].clone())
    })
    .await;
    assert!(!down["error"].as_str().unwrap().is_empty(), "{down}");
    assert_eq!(down["groups"][0], "agents");
}

#[tokio::test]
async fn unknown_pages_are_not_found_and_nothing_can_be_posted() {
    let host = host("agents").await;
    let server = start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    assert_eq!(page(&server, "/").await.status, 404);
    let url = format!("http://{}/api/v1/state", server.admin_address());
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .build()
        .unwrap();
    assert_eq!(http.post(url).send().await.unwrap().status().as_u16(), 405);
}
