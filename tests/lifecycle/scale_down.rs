//! From DeleteNodes to nothing left.

use std::time::{Duration, Instant};

use slicer_cloud_provider::grpc::pb;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::{InstanceDeleting, InstanceRunning};
use slicer_cloud_provider::server::Server;
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};
use tonic::Code;

use crate::support::*;

async fn scene(count: i32) -> (Host, Server, Client, Vec<String>) {
    let host = host("agents").await;
    let url = &host.running.url;
    let config =
        global("") + &nodegroup("agents", url, "min-size = 1") + &nodegroup("others", url, "host-group = agents");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    wait_for_group(&mut client, "others").await;
    increase(&mut client, "agents", count).await.unwrap();
    let running = wait_for(&mut client, "agents", usize::try_from(count).unwrap(), InstanceRunning).await;
    (host, server, client, ids(&running))
}

async fn wait_until_empty(client: &mut Client) {
    eventually("no instance left", async || {
        instances(client, "agents").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn deleted_nodes_lose_their_vms_also_below_the_minimum() {
    let (host, _server, mut client, all) = scene(3).await;
    delete(&mut client, "agents", &all[..2]).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 1);
    delete(&mut client, "agents", &all[2..]).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 0);
    wait_until_empty(&mut client).await;
    assert_eq!(host.simulator.vms().len(), 0);
}

#[tokio::test]
async fn deleting_the_same_node_ten_times_at_once_deletes_one_vm() {
    let (host, _server, mut client, all) = scene(3).await;
    let calls = (0..10).map(|_| {
        let (mut client, victim) = (client.clone(), vec![all[0].clone()]);
        async move { delete(&mut client, "agents", &victim).await.unwrap() }
    });
    futures::future::join_all(calls).await;
    assert_eq!(target(&mut client, "agents").await, 2);
    eventually("the instance is gone", async || {
        (instances(&mut client, "agents").await.len() == 2).then_some(())
    })
    .await;
    delete(&mut client, "agents", &all[..1]).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 2, "also after it is gone");
    assert_eq!(host.simulator.deleted_total(), 1);
}

#[tokio::test]
async fn a_batch_with_a_foreign_node_changes_nothing() {
    let (host, _server, mut client, all) = scene(2).await;
    for foreign in ["slicer://others/abcd1234", "k3s://control-plane", "aws:///i-1", ""] {
        let batch = [all[0].clone(), foreign.to_owned()];
        let status = delete(&mut client, "agents", &batch).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{foreign}");
    }
    assert_eq!(target(&mut client, "agents").await, 2);
    let running = wait_for(&mut client, "agents", 2, InstanceRunning).await;
    assert_eq!((ids(&running), host.simulator.deleted_total()), (all, 0));
}

#[tokio::test]
async fn a_host_that_hangs_on_delete_does_not_hold_the_call_and_the_vm_goes_later() {
    let (host, _server, mut client, all) = scene(1).await;
    host.simulator
        .switch_on(Fault::every(
            RouteClass::Delete,
            FaultKind::Status {
                code: 500,
                text: "busy".to_owned(),
            },
        ))
        .unwrap();
    let asked = Instant::now();
    delete(&mut client, "agents", &all).await.unwrap();
    let elapsed = asked.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    assert_eq!(target(&mut client, "agents").await, 0);
    let left = instances(&mut client, "agents").await;
    assert!(left.len() == 1 && state(&left[0]) == InstanceDeleting);
    assert_eq!(host.simulator.vms().len(), 1);
    host.simulator.clear_faults();
    wait_until_empty(&mut client).await;
    assert_eq!(host.simulator.vms().len(), 0);
}

#[tokio::test]
async fn a_delete_whose_answer_is_lost_is_one_delete() {
    let (host, _server, mut client, all) = scene(2).await;
    host.simulator
        .switch_on(Fault::next(1, RouteClass::Delete, FaultKind::CloseAfter))
        .unwrap();
    delete(&mut client, "agents", &all[..1]).await.unwrap();
    eventually("the instance is gone", async || {
        (instances(&mut client, "agents").await.len() == 1).then_some(())
    })
    .await;
    assert_eq!((host.simulator.vms().len(), host.simulator.deleted_total()), (1, 1));
}

#[tokio::test]
async fn a_delete_for_an_old_node_never_hits_the_new_vm_of_that_hostname() {
    let (host, _server, mut client, old) = scene(1).await;
    let hostname = host.simulator.vms().remove(0).hostname;
    host.simulator.restart();
    eventually("the lost VM is dropped", async || {
        instances(&mut client, "agents").await.is_empty().then_some(())
    })
    .await;
    increase(&mut client, "agents", 1).await.unwrap();
    wait_for(&mut client, "agents", 1, InstanceRunning).await;
    assert_eq!(
        host.simulator.vms().remove(0).hostname,
        hostname,
        "the name was given again"
    );

    delete(&mut client, "agents", &old).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 1);
    eventually("the deletion is settled", async || {
        (instances(&mut client, "agents").await.len() == 1).then_some(())
    })
    .await;
    assert_eq!((host.simulator.vms().len(), host.simulator.deleted_total()), (1, 0));
}

#[tokio::test]
async fn a_node_without_provider_id_is_deleted_by_the_launch_in_its_name_and_never_by_its_hostname_alone() {
    let (host, _server, mut client, all) = scene(1).await;
    let hostname = host.simulator.vms().remove(0).hostname;
    let launch = all[0].strip_prefix("slicer://agents/").unwrap();
    let node = |name: String| pb::ExternalGrpcNode {
        name,
        labels: [("slicer/hostgroup", "agents"), ("slicer/hostname", hostname.as_str())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..pb::ExternalGrpcNode::default()
    };
    let delete_node = async |client: &mut Client, node| {
        let request = pb::NodeGroupDeleteNodesRequest {
            id: "agents".to_owned(),
            nodes: vec![node],
        };
        client.node_group_delete_nodes(request).await
    };
    // Left over from an earlier VM of that name, which the fork made.
    let refused = delete_node(&mut client, node(hostname.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        (target(&mut client, "agents").await, host.simulator.vms().len()),
        (1, 1)
    );

    delete_node(&mut client, node(format!("{hostname}-{launch}")))
        .await
        .unwrap();
    assert_eq!(target(&mut client, "agents").await, 0);
    wait_until_empty(&mut client).await;
    assert_eq!(host.simulator.vms().len(), 0);
}

#[tokio::test]
async fn a_decrease_gives_up_what_has_no_vm_clamps_and_never_deletes_one() {
    let (host, _server, mut client, running) = scene(2).await;
    host.simulator
        .switch_on(Fault::every(
            RouteClass::Create,
            FaultKind::Status {
                code: 400,
                text: "no".to_owned(),
            },
        ))
        .unwrap();
    increase(&mut client, "agents", 3).await.unwrap();
    eventually("all launches failed", async || {
        let failed = instances(&mut client, "agents")
            .await
            .iter()
            .filter(|i| error_of(i).is_some())
            .count();
        (failed == 3).then_some(())
    })
    .await;
    decrease(&mut client, "agents", -1).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 4);
    decrease(&mut client, "agents", -100).await.unwrap();
    assert_eq!(
        target(&mut client, "agents").await,
        2,
        "clamped to the VMs that there are"
    );
    assert_eq!(ids(&instances(&mut client, "agents").await), running);
    for delta in [0, 1] {
        assert_eq!(
            decrease(&mut client, "agents", delta).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    assert_eq!(host.simulator.deleted_total(), 0);
}

#[tokio::test]
async fn a_launch_that_is_given_up_while_the_host_works_on_it_leaves_no_vm() {
    let (host, _server, mut client, running) = scene(1).await;
    host.simulator
        .switch_on(Fault::every(RouteClass::Create, FaultKind::DelayBefore { ms: 400 }))
        .unwrap();
    increase(&mut client, "agents", 1).await.unwrap();
    eventually("the POST is under way", async || {
        (host.simulator.requests().count("POST /hostgroup/{name}/nodes") == 2).then_some(())
    })
    .await;
    decrease(&mut client, "agents", -1).await.unwrap();
    assert_eq!(target(&mut client, "agents").await, 1);
    eventually("the late VM is removed", async || {
        let left = ids(&instances(&mut client, "agents").await);
        (left == running && host.simulator.created_total() == 2 && host.simulator.vms().len() == 1).then_some(())
    })
    .await;
}
