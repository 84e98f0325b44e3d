//! SIGHUP: the configuration changes while the server runs.

use std::path::Path;
use std::time::{Duration, Instant};

use slicer_cloud_provider::config::{self, Config, ConfigError};
use slicer_cloud_provider::grpc::pb;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::InstanceRunning;
use slicer_cloud_provider::server::Server;
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};
use tonic::Code;

use crate::support::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    config::parse(text, Path::new("cloud-config"))
}

async fn listed(client: &mut Client) -> Vec<String> {
    let answer = client.node_groups(pb::NodeGroupsRequest {}).await.unwrap();
    answer
        .into_inner()
        .node_groups
        .into_iter()
        .map(|group| group.id)
        .collect()
}

/// Reloads a configuration and waits until the group is listed with this maximum.
async fn reload_until_max(server: &Server, client: &mut Client, text: &str, max: i32) {
    server.reload(read(text));
    eventually("the new maximum", async || {
        (wait_for_group(client, "agents").await.max_size == max).then_some(())
    })
    .await;
}

#[tokio::test]
async fn limits_change_without_a_restart() {
    let host = host("agents").await;
    let of = |lines: &str| global("") + &nodegroup("agents", &host.running.url, lines);
    let server = start(&of("max-size = 2")).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 2).await.unwrap();
    reload_until_max(&server, &mut client, &of("max-size = 3"), 3).await;
    increase(&mut client, "agents", 1).await.unwrap();
    reload_until_max(&server, &mut client, &of("max-size = 1"), 1).await;
    assert_eq!(
        increase(&mut client, "agents", 1).await.unwrap_err().code(),
        Code::OutOfRange
    );
    assert_eq!(target(&mut client, "agents").await, 3, "what is there stays");
}

#[tokio::test]
async fn a_configuration_of_another_cluster_is_refused_because_its_vms_would_be_strangers() {
    let host = host("agents").await;
    let of = |lines: &str| global(lines) + &nodegroup("agents", &host.running.url, "");
    let server = start(&of("cluster-name = home")).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    server.reload(read(&of("cluster-name = office")));
    increase(&mut client, "agents", 1).await.unwrap();
    let running = wait_for(&mut client, "agents", 1, InstanceRunning).await;
    assert!(
        host.simulator.vms()[0]
            .tags
            .contains(&"slicer-cloud-provider/cluster=home".to_owned())
    );
    delete(&mut client, "agents", &ids(&running)).await.unwrap();
    eventually("its VM is gone", async || host.simulator.vms().is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_group_that_is_no_longer_configured_goes_with_its_last_vm_and_leaves_nothing_running() {
    let (other, host) = (host("others").await, host("agents").await);
    let others = nodegroup("others", &other.running.url, "");
    let both = global("") + &nodegroup("agents", &host.running.url, "") + &others;
    let server = start(&both).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    wait_for_group(&mut client, "others").await;
    increase(&mut client, "agents", 1).await.unwrap();
    let running = wait_for(&mut client, "agents", 1, InstanceRunning).await;

    server.reload(read(&(global("") + &others)));
    client.refresh(pb::RefreshRequest {}).await.unwrap();
    let group = wait_for_group(&mut client, "agents").await;
    assert_eq!((group.min_size, group.max_size), (0, 1), "it shrinks only");
    assert_eq!(
        increase(&mut client, "agents", 1).await.unwrap_err().code(),
        Code::OutOfRange
    );

    delete(&mut client, "agents", &ids(&running)).await.unwrap();
    eventually("the group is gone", async || {
        client.refresh(pb::RefreshRequest {}).await.unwrap();
        (listed(&mut client).await == ["others"]).then_some(())
    })
    .await;
    assert!(host.simulator.vms().is_empty());
    let asked = || host.simulator.requests().count("GET /hostgroup/{name}/nodes");
    eventually("nobody lists it any more", async || {
        let before = asked();
        // Several times the pause between two listings of an idle group.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        (asked() == before).then_some(())
    })
    .await;

    server.reload(read(&both));
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 1).await.unwrap();
    wait_for(&mut client, "agents", 1, InstanceRunning).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_changes_nothing() {
    let host = host("agents").await;
    let text = global("") + &nodegroup("agents", &host.running.url, "");
    let server = start(&text).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    server.reload(read("[nodegroup"));
    assert_eq!(listed(&mut client).await, ["agents"]);
    increase(&mut client, "agents", 1).await.unwrap();
    wait_for(&mut client, "agents", 1, InstanceRunning).await;
}

#[tokio::test]
async fn reloads_in_the_middle_of_a_scale_up_ask_no_more_of_the_host_at_once() {
    let host = host("agents").await;
    let of = |max: i32| {
        let lines = format!("max-size = {max}\ncreate-concurrency = 2");
        global("") + &nodegroup("agents", &host.running.url, &lines)
    };
    let server = start(&of(20)).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    let slow = Fault::every(RouteClass::Create, FaultKind::DelayBefore { ms: 200 });
    host.simulator.switch_on(slow).unwrap();
    let begun = Instant::now();
    increase(&mut client, "agents", 10).await.unwrap();
    for max in 21..25 {
        reload_until_max(&server, &mut client, &of(max), max).await;
    }
    wait_for(&mut client, "agents", 10, InstanceRunning).await;
    // 10 creates of 200 ms, 2 at a time, cannot be done sooner.
    assert!(begun.elapsed() >= Duration::from_secs(1), "more than 2 at a time");
}
