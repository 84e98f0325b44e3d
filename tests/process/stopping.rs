//! SIGTERM and SIGINT end the server soon, whatever hangs on to it.

use std::time::Duration;

use slicer_cloud_provider::grpc::pb::NodeGroupsRequest;
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};
use tokio::net::TcpStream;

use crate::check::kubernetes::kubeconfig_with_plugin;
use crate::program::{Ended, Folder, Program, Serving};
use crate::support::*;

/// Kubernetes gives 30 s; an upgrade should not take them.
const SOON: Duration = Duration::from_secs(5);

fn assert_stopped(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.took < SOON, "{:?}", ended.took);
}

#[tokio::test]
async fn both_signals_stop_the_server_although_clients_stay_connected() {
    let host = host("agents").await;
    for signal in ["TERM", "INT"] {
        let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
        let mut client = serving.client().await;
        wait_for_group(&mut client, "agents").await;
        let silent = [
            TcpStream::connect(&serving.grpc).await.unwrap(),
            TcpStream::connect(&serving.admin).await.unwrap(),
        ];
        let address = serving.grpc.clone();
        assert_stopped(&serving.stop(signal).await);
        assert!(client.node_groups(NodeGroupsRequest {}).await.is_err());
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        drop(silent);
    }
}

#[tokio::test]
async fn a_host_that_hangs_does_not_hold_the_server() {
    let host = host("agents").await;
    let hang = Fault::every(RouteClass::All, FaultKind::Hang);
    host.simulator.switch_on(hang).unwrap();
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    eventually("a request that hangs", async || {
        host.simulator.faults().iter().any(|fault| fault.hits > 0).then_some(())
    })
    .await;
    assert_stopped(&serving.stop("TERM").await);
}

#[tokio::test]
async fn pipes_in_place_of_files_hold_neither_the_server_nor_its_end() {
    let host = host("agents").await;
    let group = nodegroup("agents", &host.running.url, "");
    let config = global("") + &group.replace(&format!("slicer-token = {SLICER_TOKEN}"), "slicer-token-file = token");
    let folder = Folder::with_config(&config);
    std::fs::write(folder.path("token"), SLICER_TOKEN).unwrap();
    let mut serving = Serving::start_in(folder, "127.0.0.1:0", &[]).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "agents").await;
    for (count, name) in ["token", "cloud-config"].into_iter().enumerate() {
        serving.folder.make_pipe(name);
        let refused = "the new configuration is refused; the old one stays";
        let line = serving.program.logged(refused, count + 1).await;
        assert!(line["error"].as_str().unwrap().contains("not a regular file"), "{line}");
    }
    // With the token as it was.
    increase(&mut client, "agents", 1).await.unwrap();
    assert!(host.simulator.wait_for_vms(SOON, |vms| vms.len() == 1).await);
    assert_eq!(serving.page("/healthz").await.status, 200);
    assert_stopped(&serving.stop("TERM").await);
}

#[tokio::test]
async fn credentials_that_never_come_end_the_server_with_an_error_and_hold_no_signal() {
    let folder = Folder::with_config(&(global("") + &nodegroup("agents", "http://127.0.0.1:1", "")));
    let path = kubeconfig_with_plugin(&folder, "/bin/sleep", "60");
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--kubeconfig",
        &path,
    ];
    let arguments = [&arguments[..], &["--cloud-config", folder.config()]].concat();
    let program = Program::start(&arguments, &[]);
    let stopped = Program::start(&arguments, &[]);
    // Late enough for the signal to be listened for.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stopped.signal("TERM").await;
    assert_stopped(&stopped.end().await);
    let ended = program.end().await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not end within 10 s"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_call_in_flight_is_answered_before_the_end() {
    let host = host("agents").await;
    let serving = Serving::start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 1).await.unwrap();
    let vm_is_there = host.simulator.wait_for_vms(SOON, |vms| vms.len() == 1).await;
    assert!(vm_is_there);
    let slow = Fault::every(RouteClass::Delete, FaultKind::DelayBefore { ms: 600 });
    host.simulator.switch_on(slow).unwrap();

    let ids = ids(&instances(&mut client, "agents").await);
    let call = tokio::spawn(async move { delete(&mut client, "agents", &ids).await });
    eventually("the DELETE under way", async || {
        host.simulator.faults().iter().any(|fault| fault.hits > 0).then_some(())
    })
    .await;
    assert_stopped(&serving.stop("TERM").await);
    call.await.unwrap().unwrap();
    assert!(host.simulator.wait_for_vms(SOON, <[_]>::is_empty).await);
}
