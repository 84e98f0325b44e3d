//! Hosts and clients that want too much: the program's memory and sockets stay bounded, and the others are served.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::join_all;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::InstanceRunning;
use slicer_cloud_provider::grpc::pb::{
    ExternalGrpcNode, NodeGroupDeleteNodesRequest, NodeGroupsRequest, NodeGroupsResponse, RefreshRequest,
};
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;

use crate::frames::Frames;
use crate::program::{Folder, Serving};
use crate::support::*;

/// More than there are seats, fewer than this process may open.
const FLOOD: usize = 600;
/// Connections of the gRPC listener.
const SEATS: usize = 256;
/// Those and the connections of the admin listener (64), and some files of other kinds.
const MOST_FILES: usize = SEATS + 64 + 60;
/// Of all RPCs the one with the smallest request.
const NODE_GROUPS: &str = "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/NodeGroups";

fn open_files(serving: &Serving) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", serving.program.id()));
    files.unwrap().count()
}

/// How many files the program may open from now on.
async fn limit_files(serving: &Serving, most: u32) {
    let (pid, limit) = (serving.program.id().to_string(), format!("--nofile={most}:"));
    let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(set.await.unwrap().success());
}

/// The most memory that the program ever had, in MiB.
fn most_memory(serving: &Serving) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serving.program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_sends_a_gibibyte_for_every_answer_costs_little_memory_and_no_other_group_anything() {
    let (flood, calm) = (host("flood").await, host("calm").await);
    let config = global("default-max-size = 40")
        + &nodegroup("flood", &flood.running.url, "create-concurrency = 40")
        + &nodegroup("calm", &calm.running.url, "");
    let serving = Serving::start(&config).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "flood").await;
    wait_for_group(&mut client, "calm").await;
    increase(&mut client, "flood", 1).await.unwrap();
    wait_for(&mut client, "flood", 1, InstanceRunning).await;
    let at_rest = most_memory(&serving);

    let huge = FaultKind::Huge { bytes: 1 << 30 };
    flood
        .simulator
        .switch_on(Fault::every(RouteClass::List, huge.clone()))
        .unwrap();
    flood
        .simulator
        .switch_on(Fault::every(RouteClass::Create, huge))
        .unwrap();
    increase(&mut client, "flood", 39).await.unwrap(); // all of them will look for their VMs at once
    increase(&mut client, "calm", 2).await.unwrap();
    wait_for(&mut client, "calm", 2, InstanceRunning).await;
    eventually_within(Duration::from_secs(30), "enough of it was sent", async || {
        let hits: Vec<u32> = flood.simulator.faults().iter().map(|fault| fault.hits).collect();
        (hits[0] >= 60 && hits[1] >= 39).then_some(())
    })
    .await;
    let mut asked = client.clone();
    assert_eq!(target(&mut asked, "flood").await, 40, "and it is answered");
    assert_eq!(serving.page("/healthz").await.status, 200);
    let most = most_memory(&serving);
    assert!(most < at_rest + 200, "{most} MiB, {at_rest} MiB at rest");
}

#[tokio::test]
async fn a_provider_id_that_is_longer_than_any_is_nobodys_and_remembered_nowhere() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "agents").await;
    let node = |length: usize| ExternalGrpcNode {
        provider_id: format!("k3s://{}", "x".repeat(length)),
        name: "agents-1".to_owned(),
        labels: [("slicer/hostgroup".to_owned(), "agents".to_owned())].into(),
        ..ExternalGrpcNode::default()
    };
    let request = |length| NodeGroupDeleteNodesRequest {
        id: "agents".to_owned(),
        nodes: vec![node(length)],
    };
    client.node_group_delete_nodes(request(1000)).await.unwrap();
    let refused = client.node_group_delete_nodes(request(1 << 20)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().len() <= 1000, "{}", refused.message().len());
}

#[tokio::test]
async fn a_flood_of_connections_is_bounded_and_other_clients_are_served() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut early = serving.client().await;
    wait_for_group(&mut early, "agents").await;
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(TcpStream::connect(&serving.grpc).await.unwrap());
        flood.push(TcpStream::connect(&serving.admin).await.unwrap());
    }
    let mut late = serving.client().await;
    late.refresh(RefreshRequest {}).await.unwrap();
    early.refresh(RefreshRequest {}).await.unwrap();
    assert_eq!(serving.page("/healthz").await.status, 200);
    eventually("those who said nothing are hung up on", async || {
        (open_files(&serving) <= MOST_FILES).then_some(())
    })
    .await;
    drop(flood);
}

#[tokio::test]
async fn a_client_with_thousands_of_calls_or_with_calls_that_never_end_keeps_no_other_from_being_served() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut other = serving.client().await;
    wait_for_group(&mut other, "agents").await;

    let busy = serving.client().await;
    let calls = (0..3000).map(|_| {
        let mut busy = busy.clone();
        async move { busy.node_groups(NodeGroupsRequest {}).await.map(drop) }
    });
    let outcomes = join_all(calls).await;
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed, such as {}", failed.len(), failed[0]);

    let channel = serving.channel().await;
    let endless = (0..200).map(|_| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut grpc = tonic::client::Grpc::new(channel);
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<NodeGroupsRequest, NodeGroupsResponse>::default();
            let request = tonic::Request::new(futures::stream::pending());
            grpc.client_streaming(request, PathAndQuery::from_static(NODE_GROUPS), codec)
                .await
        })
    });
    let endless: Vec<_> = endless.collect();
    // The connection is theirs alone: what it answers to is what they hold.
    for _ in 0..50 {
        let answered = tokio::time::timeout(Duration::from_secs(5), other.refresh(RefreshRequest {}));
        answered.await.expect("served").unwrap();
        tokio::task::yield_now().await;
    }
    // Each is ended after a while, so that the connection is of use again.
    let first = endless.into_iter().next().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(25), first).await;
    assert!(ended.expect("ended").unwrap().is_err());
}

#[tokio::test]
async fn a_client_that_spoke_once_keeps_its_connection_in_a_flood_of_those_that_say_nothing() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut spoke = Frames::connect(&serving.grpc).await;
    spoke.ping().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await; // longer than the flood takes to come
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(TcpStream::connect(&serving.grpc).await.unwrap());
    }
    // The seats are taken, and taken again, once the first of them are hung up on: all but the last, and one seat.
    for silent in &mut flood[..FLOOD - SEATS] {
        let mut greeting = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), silent.read_to_end(&mut greeting));
        let _ = end.await.expect("hung up on");
    }
    spoke.ping().await.expect("still served");
}

#[tokio::test]
async fn connections_whose_clients_take_nothing_in_end_when_their_seats_are_given_to_others() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let stuck = join_all((0..10).map(async |_| {
        let mut client = Frames::connect(&serving.grpc).await;
        client.ping_until_stuck().await;
        client
    }));
    let mut stuck = stuck.await;
    let others_come = async {
        let mut others = VecDeque::new();
        loop {
            let mut other = Frames::connect(&serving.grpc).await;
            other.ping().await.unwrap();
            others.push_back(other);
            if others.len() > SEATS {
                others.pop_front();
            }
        }
    };
    let all_are_hung_up_on = join_all(stuck.iter_mut().map(Frames::is_hung_up_on));
    tokio::select! {
        _ = all_are_hung_up_on => {}
        () = others_come => {}
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("they keep their connections"),
    }
}

#[tokio::test]
async fn several_clients_whose_requests_never_end_keep_no_other_from_being_served() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut other = serving.client().await;
    wait_for_group(&mut other, "agents").await;
    let mut endless = Vec::new();
    for _ in 0..8 {
        let mut client = Frames::connect(&serving.grpc).await;
        client.begin_calls(NODE_GROUPS, 100).await;
        client.ping().await.unwrap(); // it has them now
        endless.push(client);
        let answered = tokio::time::timeout(Duration::from_secs(2), other.refresh(RefreshRequest {}));
        answered.await.expect("served").unwrap();
    }
    for _ in 0..50 {
        let answered = tokio::time::timeout(Duration::from_secs(2), other.refresh(RefreshRequest {}));
        answered.await.expect("served").unwrap();
    }
    drop(endless);
}

#[tokio::test]
async fn connections_that_cannot_be_accepted_for_want_of_files_are_told_of_once_in_a_while() {
    let host = host("agents").await;
    let folder = Folder::with_config(&(global("") + &nodegroup("agents", &host.running.url, "")));
    let log = ["--log-level", "slicer_cloud_provider=debug"];
    let mut serving = Serving::start_in(folder, "127.0.0.1:0", &log).await;
    limit_files(&serving, 16).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        clients.push(TcpStream::connect(&serving.grpc).await.unwrap());
        clients.push(TcpStream::connect(&serving.admin).await.unwrap());
    }
    for message in [
        "accepting a connection failed",
        "accepting a connection of the admin address failed",
    ] {
        for (count, level) in [(1, "WARN"), (2, "DEBUG"), (10, "DEBUG")] {
            let line = serving.program.logged(message, count).await;
            assert_eq!(line["level"], level, "{line}");
        }
    }
    limit_files(&serving, 1024).await;
    let mut client = serving.client().await;
    client.refresh(RefreshRequest {}).await.expect("served again");
}
