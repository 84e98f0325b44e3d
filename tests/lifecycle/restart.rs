//! The server ends and starts again: it knows what it knew.

use std::time::{Duration, Instant};

use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::InstanceRunning;
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};

use crate::support::*;

#[tokio::test]
async fn after_a_restart_target_and_instances_are_as_before() {
    let host = host("agents").await;
    let config = global("") + &nodegroup("agents", &host.running.url, "");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 3).await.unwrap();
    let before = wait_for(&mut client, "agents", 3, InstanceRunning).await;
    server.stop().await;

    let server = start(&config).await;
    let mut client = support_client(&server).await;
    wait_for_group(&mut client, "agents").await;
    let after = wait_for(&mut client, "agents", 3, InstanceRunning).await;
    assert_eq!(after, before);
    assert_eq!(
        (target(&mut client, "agents").await, host.simulator.created_total()),
        (3, 3)
    );
}

#[tokio::test]
async fn a_vm_whose_creation_was_under_way_at_the_end_is_taken_over() {
    let host = host("agents").await;
    let config = global("") + &nodegroup("agents", &host.running.url, "");
    // A runtime of its own: shutting it down ends every task wherever it stands, as SIGKILL would.
    let first_life = tokio::runtime::Runtime::new().unwrap();
    let server = first_life.spawn({
        let config = config.clone();
        async move { start(&config).await }
    });
    let server = server.await.unwrap();
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    let slow = Fault::every(RouteClass::Create, FaultKind::DelayAfter { ms: 60_000 });
    host.simulator.switch_on(slow).unwrap();
    increase(&mut client, "agents", 1).await.unwrap();
    let id = ids(&instances(&mut client, "agents").await);
    eventually("the host has created it", async || {
        (host.simulator.created_total() == 1).then_some(())
    })
    .await;
    first_life.shutdown_background();
    host.simulator.clear_faults();

    let server = start(&config).await;
    let mut client = support_client(&server).await;
    let after = wait_for(&mut client, "agents", 1, InstanceRunning).await;
    assert_eq!(ids(&after), id, "under the id that it had before");
    assert_eq!(host.simulator.created_total(), 1);
}

#[tokio::test]
async fn the_first_answer_after_a_restart_counts_vms_that_have_no_node() {
    let host = host("agents").await;
    let config = global("") + &nodegroup("agents", &host.running.url, "cpus = 2\nram = 4Gi");
    let server = start(&config).await;
    let mut client = client(&server).await;
    increase(&mut client, "agents", 3).await.unwrap();
    let before = ids(&wait_for(&mut client, "agents", 3, InstanceRunning).await);
    server.stop().await;

    let slow = Fault::every(RouteClass::List, FaultKind::DelayBefore { ms: 400 });
    host.simulator.switch_on(slow).unwrap();
    let server = start(&config).await;
    let mut client = support_client(&server).await;
    assert_eq!(target(&mut client, "agents").await, 3);
    assert_eq!(ids(&instances(&mut client, "agents").await), before);
}

#[tokio::test]
async fn a_host_that_hangs_holds_neither_the_start_nor_the_end_for_long() {
    let host = host("agents").await;
    let hang = Fault::every(RouteClass::All, FaultKind::DelayBefore { ms: 60_000 });
    host.simulator.switch_on(hang).unwrap();
    let config = global("") + &nodegroup("agents", &host.running.url, "cpus = 2\nram = 4Gi");
    let begun = Instant::now();
    let server = start(&config).await;
    let mut client = support_client(&server).await;
    assert_eq!(target(&mut client, "agents").await, 0);
    let elapsed = begun.elapsed();
    // The cluster-autoscaler's deadline for a call.
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");

    let begun = Instant::now();
    server.stop().await;
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

async fn support_client(server: &slicer_cloud_provider::server::Server) -> Client {
    client(server).await
}
