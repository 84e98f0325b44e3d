//! Hosts that refuse, fail, lie or are not there.

use std::time::{Duration, Instant};

use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::{InstanceCreating, InstanceRunning};
use slicer_cloud_provider::grpc::pb::{self, NodeGroupTemplateNodeInfoRequest};
use slicer_cloud_provider::server::Server;
use slicer_cloud_provider::simulator::{Capacity, Fault, FaultKind, RouteClass, UserdataOrder};
use tonic::Code;

use crate::support::*;

async fn scene() -> (Host, Server, Client) {
    let host = host("agents").await;
    let server = start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    (host, server, client)
}

/// Waits for the first failed instance and returns its error.
async fn failure(client: &mut Client, group: &str) -> pb::InstanceErrorInfo {
    eventually("an instance fails", async || {
        let all = instances(client, group).await;
        let failed = all.iter().find(|instance| error_of(instance).is_some())?;
        assert_eq!(
            state(failed),
            InstanceCreating,
            "the client sees errors of creating instances only"
        );
        error_of(failed).cloned()
    })
    .await
}

#[tokio::test]
async fn a_full_host_shows_out_of_resources_until_the_instance_is_deleted() {
    let (host, _server, mut client) = scene().await;
    host.simulator.set_capacity(Capacity {
        max_vms: Some(2),
        ram_bytes: None,
    });
    increase(&mut client, "agents", 3).await.unwrap();
    let error = failure(&mut client, "agents").await;
    assert_eq!(
        (error.error_code.as_str(), error.instance_error_class),
        ("OutOfResources", 1)
    );
    assert!(error.error_message.contains("no free IP"), "{}", error.error_message);
    wait_for(&mut client, "agents", 2, InstanceRunning).await;
    assert_eq!(target(&mut client, "agents").await, 3, "the failed launch still counts");

    let all = instances(&mut client, "agents").await;
    let failed: Vec<String> = all
        .iter()
        .filter(|i| error_of(i).is_some())
        .map(|i| i.id.clone())
        .collect();
    delete(&mut client, "agents", &failed).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 2);
    assert_eq!(instances(&mut client, "agents").await.len(), 2);
    assert_eq!(host.simulator.deleted_total(), 0);
}

#[tokio::test]
async fn every_unclear_answer_to_a_create_ends_in_exactly_one_vm() {
    for kind in [
        FaultKind::CloseAfter,
        FaultKind::CloseBefore,
        FaultKind::Nonsense,
        FaultKind::CutOff,
        FaultKind::Huge { bytes: 4 << 20 },
        FaultKind::Status {
            code: 500,
            text: "out of luck".to_owned(),
        },
        FaultKind::Status {
            code: 503,
            text: String::new(),
        },
        FaultKind::Status {
            code: 429,
            text: "later".to_owned(),
        },
    ] {
        let (host, _server, mut client) = scene().await;
        host.simulator
            .switch_on(Fault::next(1, RouteClass::Create, kind.clone()))
            .unwrap();
        increase(&mut client, "agents", 1).await.unwrap();
        wait_for(&mut client, "agents", 1, InstanceRunning).await;
        assert_eq!(
            (host.simulator.created_total(), host.simulator.vms().len()),
            (1, 1),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn errors_that_will_not_go_away_fail_the_launch_with_their_own_code() {
    for (code, text, expected, class) in [
        (400, "ram exceeds the limit of the host group", "HostRefused", 99),
        (401, "unauthorized", "HostUnauthorized", 99),
        (403, "protected", "HostRefused", 99),
        (404, "no such host group", "HostGroupNotFound", 99),
        (500, "insufficient memory on host", "OutOfResources", 1),
        (500, "disk on fire", "HostError", 99),
    ] {
        let (host, _server, mut client) = scene().await;
        let kind = FaultKind::Status {
            code,
            text: text.to_owned(),
        };
        host.simulator
            .switch_on(Fault::every(RouteClass::Create, kind))
            .unwrap();
        increase(&mut client, "agents", 1).await.unwrap();
        let error = failure(&mut client, "agents").await;
        assert_eq!(
            (error.error_code.as_str(), error.instance_error_class),
            (expected, class),
            "{code} {text}"
        );
        assert!(error.error_message.contains(text), "{}", error.error_message);
        assert_eq!(
            (target(&mut client, "agents").await, host.simulator.created_total()),
            (1, 0)
        );
    }
}

#[tokio::test]
async fn reads_are_answered_at_once_with_the_last_known_state_while_a_host_is_down() {
    let (host, _server, mut client) = scene().await;
    increase(&mut client, "agents", 2).await.unwrap();
    let before = wait_for(&mut client, "agents", 2, InstanceRunning).await;
    host.simulator.down(None);
    eventually("the listing has failed", async || {
        client.refresh(pb::RefreshRequest {}).await.unwrap();
        let asked = host.simulator.requests().count("GET /hostgroup/{name}/nodes");
        (asked > 5).then_some(())
    })
    .await;
    let asked = Instant::now();
    client.refresh(pb::RefreshRequest {}).await.unwrap();
    assert_eq!(
        client
            .node_groups(pb::NodeGroupsRequest {})
            .await
            .unwrap()
            .into_inner()
            .node_groups
            .len(),
        1
    );
    assert_eq!(instances(&mut client, "agents").await, before);
    assert_eq!(target(&mut client, "agents").await, 2);
    let request = NodeGroupTemplateNodeInfoRequest {
        id: "agents".to_owned(),
    };
    client.node_group_template_node_info(request).await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn a_host_that_is_down_at_the_start_hides_its_group_until_it_answers_and_no_other() {
    let (up, down) = (host("up").await, host("down").await);
    down.simulator.down(None);
    let config = global("") + &nodegroup("up", &up.running.url, "") + &nodegroup("down", &down.running.url, "");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "up").await;
    increase(&mut client, "up", 2).await.unwrap();
    wait_for(&mut client, "up", 2, InstanceRunning).await;

    let groups = client
        .node_groups(pb::NodeGroupsRequest {})
        .await
        .unwrap()
        .into_inner()
        .node_groups;
    assert_eq!(
        groups.len(),
        1,
        "a listed group without a template would stop all others"
    );
    let request = NodeGroupTemplateNodeInfoRequest { id: "down".to_owned() };
    let status = client.node_group_template_node_info(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(target(&mut client, "down").await, 0);

    down.simulator.up();
    wait_for_group(&mut client, "down").await;
    increase(&mut client, "down", 1).await.unwrap();
    wait_for(&mut client, "down", 1, InstanceRunning).await;
}

#[tokio::test]
async fn a_group_whose_size_is_configured_is_listed_although_its_host_is_down_and_its_launches_fail_soon() {
    let host = host("agents").await;
    host.simulator.down(None);
    let server = start(&(global("") + &nodegroup("agents", &host.running.url, "cpus = 2\nram = 4Gi"))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 2).await.unwrap();
    let error = failure(&mut client, "agents").await;
    assert_eq!(
        (error.error_code.as_str(), error.instance_error_class),
        ("HostUnreachable", 99)
    );
    assert_eq!(target(&mut client, "agents").await, 2);
}

#[tokio::test]
async fn a_wrong_host_group_name_is_told_and_leaves_the_group_out() {
    let host = host("agents").await;
    let server = start(&(global("") + &nodegroup("agent", &host.running.url, ""))).await;
    let mut client = client(&server).await;
    let text = eventually("ready", async || {
        let answer = reqwest_get(&format!("http://{}/readyz", server.admin_address())).await;
        answer.contains("ready\n").then_some(answer)
    })
    .await;
    assert!(text.contains("agent"), "{text}");
    assert!(
        client
            .node_groups(pb::NodeGroupsRequest {})
            .await
            .unwrap()
            .into_inner()
            .node_groups
            .is_empty()
    );
}

#[tokio::test]
async fn userdata_that_fails_shows_its_exit_code_and_the_end_of_the_serial_log() {
    let (host, _server, mut client) = scene().await;
    host.simulator.order_userdata_to_come(UserdataOrder::ExitCode(12));
    increase(&mut client, "agents", 1).await.unwrap();
    let error = failure(&mut client, "agents").await;
    assert_eq!(
        (error.error_code.as_str(), error.instance_error_class),
        ("UserdataFailed", 99)
    );
    assert!(error.error_message.contains("exit code 12"), "{}", error.error_message);
    let console = host.simulator.console(&host.simulator.vms()[0].hostname).unwrap();
    let last = console.lines().last().unwrap();
    assert!(error.error_message.contains(last), "{}", error.error_message);

    let all = ids(&instances(&mut client, "agents").await);
    delete(&mut client, "agents", &all).await.unwrap();
    eventually("its VM is gone", async || host.simulator.vms().is_empty().then_some(())).await;
}

#[tokio::test]
async fn failed_userdata_is_told_although_the_host_hangs_on_serial_logs() {
    let (host, _server, mut client) = scene().await;
    host.simulator.order_userdata_to_come(UserdataOrder::ExitCode(12));
    let every = |route, kind| host.simulator.switch_on(Fault::every(route, kind)).unwrap();
    every(RouteClass::Logs, FaultKind::Hang);
    every(RouteClass::Health, FaultKind::DelayAfter { ms: 50 });
    increase(&mut client, "agents", 8).await.unwrap();
    let told = eventually("every failure told", async || {
        let all = instances(&mut client, "agents").await;
        let told: Vec<String> = all
            .iter()
            .filter_map(error_of)
            .map(|error| error.error_message.clone())
            .collect();
        (told.len() == 8).then_some(told)
    })
    .await;
    for story in told {
        assert!(
            story.contains("exit code 12") && story.contains("not to be had"),
            "{story}"
        );
    }
}

#[tokio::test]
async fn a_vm_that_vanishes_lowers_the_target() {
    let (host, _server, mut client) = scene().await;
    increase(&mut client, "agents", 2).await.unwrap();
    wait_for(&mut client, "agents", 2, InstanceRunning).await;
    host.simulator.kill(&host.simulator.vms()[0].hostname).unwrap();
    eventually("the target follows", async || {
        (target(&mut client, "agents").await == 1).then_some(())
    })
    .await;
    assert_eq!(instances(&mut client, "agents").await.len(), 1);
}

/// The body of a plain HTTP GET.
async fn reqwest_get(url: &str) -> String {
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy();
    let _ = rustls::crypto::ring::default_provider().install_default();
    client
        .build()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}
