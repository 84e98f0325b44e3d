//! SIGHUP: the configuration is read again.

use std::path::Path;
use std::time::Duration;

use slicer_cloud_provider::config;
use slicer_cloud_provider::grpc::pb::{NodeGroup, NodeGroupsRequest, RefreshRequest};
use tonic::Code;

use crate::program::Serving;
use crate::support::*;

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "the new configuration is refused; the old one stays";

/// A loop of the cluster-autoscaler begins, and it looks at the groups.
async fn groups(client: &mut Client) -> Vec<NodeGroup> {
    client.refresh(RefreshRequest {}).await.unwrap();
    let answer = client.node_groups(NodeGroupsRequest {}).await.unwrap();
    answer.into_inner().node_groups
}

async fn limits(client: &mut Client, id: &str) -> Option<(i32, i32)> {
    let group = groups(client).await.into_iter().find(|group| group.id == id)?;
    Some((group.min_size, group.max_size))
}

async fn wait_until_gone(client: &mut Client, id: &str) {
    let what = format!("node group {id} gone");
    eventually(&what, async || limits(client, id).await.is_none().then_some(())).await;
}

async fn wait_for_vms(host: &Host, count: usize) {
    let launched = host
        .simulator
        .wait_for_vms(Duration::from_secs(10), |vms| vms.len() == count);
    assert!(launched.await);
}

#[tokio::test]
async fn a_reload_adds_groups_and_changes_limits() {
    let (garage, attic) = (host("garage").await, host("attic").await);
    let old = global("") + &nodegroup("garage", &garage.running.url, "max-size = 3");
    let mut serving = Serving::start(&old).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "garage").await;
    assert_eq!(limits(&mut client, "garage").await, Some((0, 3)));

    let new = global("")
        + &nodegroup("garage", &garage.running.url, "min-size = 1\nmax-size = 5")
        + &nodegroup("attic", &attic.running.url, "");
    serving.reload(&new).await;
    serving.program.logged(RELOADED, 1).await;
    assert_eq!(limits(&mut client, "garage").await, Some((1, 5)));
    wait_for_group(&mut client, "attic").await;
    increase(&mut client, "garage", 5).await.unwrap();
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_its_reason_and_the_old_one_stays() {
    let host = host("garage").await;
    let group = |lines: &str| nodegroup("garage", &host.running.url, lines);
    let mut serving = Serving::start(&(global("") + &group("max-size = 3"))).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "garage").await;

    serving
        .reload(&(global("") + &group("max-size = 7\nmax-sise = 8")))
        .await;
    let refused = serving.program.logged(REFUSED, 1).await;
    let reason = refused["error"].as_str().unwrap();
    assert!(reason.contains("max-sise") && reason.contains("max-size"), "{reason}");
    assert_eq!(limits(&mut client, "garage").await, Some((0, 3)));
    let metrics = serving.page("/metrics").await;
    assert_eq!(metrics.metric("config_reloads_total{result=\"refused\"}"), Some(1.0));
    assert_eq!(metrics.metric("config_refused"), Some(1.0));

    serving.reload(&(global("") + &group("max-size = 7"))).await;
    serving.program.logged(RELOADED, 1).await;
    assert_eq!(limits(&mut client, "garage").await, Some((0, 7)));
}

#[tokio::test]
async fn a_group_that_is_no_longer_configured_shrinks_to_nothing_before_it_goes() {
    let (garage, attic) = (host("garage").await, host("attic").await);
    let garage_only = global("") + &nodegroup("garage", &garage.running.url, "");
    let both = garage_only.clone() + &nodegroup("attic", &attic.running.url, "min-size = 1");
    let mut serving = Serving::start(&both).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "attic").await;
    increase(&mut client, "attic", 2).await.unwrap();
    wait_for_vms(&attic, 2).await;

    serving.reload(&garage_only).await;
    serving.program.logged(RELOADED, 1).await;
    assert_eq!(limits(&mut client, "attic").await, Some((0, 2)));
    assert_eq!(
        increase(&mut client, "attic", 1).await.unwrap_err().code(),
        Code::OutOfRange
    );

    let ids = ids(&instances(&mut client, "attic").await);
    delete(&mut client, "attic", &ids[..1]).await.unwrap();
    assert_eq!(limits(&mut client, "attic").await, Some((0, 1)));
    delete(&mut client, "attic", &ids[1..]).await.unwrap();
    wait_until_gone(&mut client, "attic").await;
    assert!(attic.simulator.vms().is_empty());
    assert!(limits(&mut client, "garage").await.is_some());
    assert_eq!(
        increase(&mut client, "attic", 1).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn the_host_of_a_group_that_is_gone_is_left_alone() {
    let (garage, attic) = (host("garage").await, host("attic").await);
    let garage_only = global("") + &nodegroup("garage", &garage.running.url, "");
    let both = garage_only.clone() + &nodegroup("attic", &attic.running.url, "");
    let server = start(&both).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "attic").await;
    server.reload(config::parse(&garage_only, Path::new("cloud-config")));
    wait_until_gone(&mut client, "attic").await;

    let listings = |host: &Host| host.simulator.requests().count("GET /hostgroup/{name}/nodes");
    let (before, garage_before) = (listings(&attic), listings(&garage));
    // Both hosts would be listed as often.
    eventually("six more listings of the other host", async || {
        (listings(&garage) >= garage_before + 6).then_some(())
    })
    .await;
    // One may have been under way.
    assert!(listings(&attic) <= before + 1, "{} after {before}", listings(&attic));
}

#[tokio::test]
async fn a_group_that_is_gone_for_good_may_come_back() {
    let (garage, attic) = (host("garage").await, host("attic").await);
    let garage_only = global("") + &nodegroup("garage", &garage.running.url, "");
    let both = garage_only.clone() + &nodegroup("attic", &attic.running.url, "");
    let mut serving = Serving::start(&both).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "attic").await;
    serving.reload(&garage_only).await;
    serving.program.logged(RELOADED, 1).await;
    wait_until_gone(&mut client, "attic").await;

    serving.reload(&both).await;
    serving.program.logged(RELOADED, 2).await;
    wait_for_group(&mut client, "attic").await;
    increase(&mut client, "attic", 1).await.unwrap();
    wait_for_vms(&attic, 1).await;
}

#[tokio::test]
async fn a_changed_cluster_name_is_refused_because_vms_would_be_lost_sight_of() {
    let host = host("garage").await;
    let group = |lines: &str| nodegroup("garage", &host.running.url, lines);
    let mut serving = Serving::start(&(global("cluster-name = shed") + &group("max-size = 3"))).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "garage").await;

    serving
        .reload(&(global("cluster-name = barn") + &group("max-size = 5")))
        .await;
    let refused = serving.program.logged(REFUSED, 1).await;
    let reason = refused["error"].as_str().unwrap();
    for part in ["cluster-name", "shed", "barn"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!(
        limits(&mut client, "garage").await,
        Some((0, 3)),
        "nothing of it is taken over"
    );

    // Without the key the name comes from k3s-url: another name again.
    serving.reload(&(global("") + &group(""))).await;
    serving.program.logged(REFUSED, 2).await;
    increase(&mut client, "garage", 1).await.unwrap();
    wait_for_vms(&host, 1).await;
    let tags = &host.simulator.vms()[0].tags;
    assert!(
        tags.contains(&"slicer-cloud-provider/cluster=shed".to_owned()),
        "{tags:?}"
    );
}
