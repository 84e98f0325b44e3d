//! `/healthz`, `/readyz` and gRPC health: alive as long as the process is there, ready from when every host was tried
//! until it stops.

use std::time::Duration;

use slicer_cloud_provider::grpc::pb::RefreshRequest;
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::pages::{self, Page};
use crate::program::Serving;
use crate::support::*;

/// The names that gRPC health answers for: everything, and the service.
const SERVICES: [&str; 2] = ["", "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider"];

/// The line that tells of a host that does not answer.
const DOWN: &str = "host is down; trying on";

/// How long anything here may take, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all the ways to ask say.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    healthz: u16,
    readyz: u16,
    services: [ServingStatus; 2],
}

const NOT_READY: Answers = Answers {
    healthz: 200,
    readyz: 503,
    services: [ServingStatus::NotServing; 2],
};
const READY: Answers = Answers {
    healthz: 200,
    readyz: 200,
    services: [ServingStatus::Serving; 2],
};

fn of(service: &str) -> HealthCheckRequest {
    let service = service.to_owned();
    HealthCheckRequest { service }
}

async fn ask(serving: &Serving, channel: &Channel) -> Answers {
    let mut client = HealthClient::new(channel.clone());
    let mut services = [ServingStatus::Unknown; 2];
    for (status, service) in services.iter_mut().zip(SERVICES) {
        *status = client.check(of(service)).await.unwrap().into_inner().status();
    }
    Answers {
        healthz: serving.page("/healthz").await.status,
        readyz: serving.page("/readyz").await.status,
        services,
    }
}

/// Waits until the server is ready in every way, and returns what the page says.
async fn wait_until_ready(serving: &Serving, channel: &Channel) -> String {
    eventually_within(PATIENCE, "ready in every way", async || {
        (ask(serving, channel).await == READY).then_some(())
    })
    .await;
    serving.page("/readyz").await.text
}

async fn every_host_is_down(serving: &Serving) -> bool {
    let state = serving.page("/api/v1/state").await.json();
    let mut hosts = state["hosts"].as_array().unwrap().iter();
    hosts.all(|host| host["status"] == "down")
}

/// Lists of VMs are not answered.
fn hang(host: &Host) {
    let hang = Fault::every(RouteClass::List, FaultKind::Hang);
    host.simulator.switch_on(hang).unwrap();
}

async fn wait_until_asked(host: &Host) {
    eventually("a request that hangs", async || {
        host.simulator.faults().iter().any(|fault| fault.hits > 0).then_some(())
    })
    .await;
}

fn answer_again(host: &Host) {
    host.simulator.clear_faults();
    host.simulator.restart(); // ends the requests that hang
}

fn on(hosts: &[(&str, &Host)]) -> String {
    let group = |(name, host): &(&str, &Host)| nodegroup(name, &host.running.url, "");
    global("") + &hosts.iter().map(group).collect::<String>()
}

#[tokio::test]
async fn the_server_lives_at_once_is_ready_once_every_host_was_asked_and_stays_so_when_hosts_fail() {
    let (quick, slow) = (host("quick").await, host("slow").await);
    hang(&slow);
    let serving = Serving::start(&on(&[("quick", &quick), ("slow", &slow)])).await;
    wait_until_asked(&slow).await;
    assert_eq!(serving.page("/healthz").await.status, 200);
    let waiting = serving.page("/readyz").await;
    assert_eq!(waiting.status, 503);
    assert!(waiting.text.ends_with(" slow\n"), "{}", waiting.text);
    // Connects when the server no longer lets the first client wait.
    let channel = serving.channel().await;
    let mut client = Client::new(channel.clone());
    wait_for_group(&mut client, "quick").await;
    assert_eq!(ask(&serving, &channel).await, NOT_READY);

    answer_again(&slow);
    assert_eq!(wait_until_ready(&serving, &channel).await, "ready\n");

    quick.simulator.down(None);
    slow.simulator.down(None);
    eventually("both outages noticed", async || {
        client.refresh(RefreshRequest {}).await.unwrap();
        every_host_is_down(&serving).await.then_some(())
    })
    .await;
    assert_eq!(ask(&serving, &channel).await, READY, "an outage of a host is not ours");
}

#[tokio::test]
async fn hosts_that_are_down_from_the_start_are_told_of_and_do_not_keep_the_server_from_being_ready() {
    let (refuses, silent) = ("http://127.0.0.1:1".to_owned(), host("silent").await);
    hang(&silent);
    let config = on(&[("silent", &silent)]) + &nodegroup("refuses", &refuses, "");
    let mut serving = Serving::start(&config).await;
    // An answer may take ten seconds.
    eventually_within(PATIENCE, "both hosts told of", async || {
        (serving.program.count_logged(DOWN) == 2).then_some(())
    })
    .await;
    for (number, group, host) in [(1, "refuses", &refuses), (2, "silent", &silent.running.url)] {
        let line = serving.program.logged(DOWN, number).await;
        assert_eq!(
            (line["group"].as_str(), line["host"].as_str()),
            (Some(group), Some(host.as_str()))
        );
    }

    let channel = serving.channel().await;
    let page = wait_until_ready(&serving, &channel).await;
    assert!(page.contains("node group refuses is not listed"), "{page}");
    assert!(every_host_is_down(&serving).await);
}

#[tokio::test]
async fn a_reload_that_brings_a_host_that_does_not_answer_leaves_the_server_ready() {
    let (garage, attic) = (host("garage").await, host("attic").await);
    let mut serving = Serving::start(&on(&[("garage", &garage)])).await;
    let channel = serving.channel().await;
    wait_until_ready(&serving, &channel).await;

    hang(&attic);
    serving.reload(&on(&[("garage", &garage), ("attic", &attic)])).await;
    serving.program.logged("configuration reloaded", 1).await;
    wait_until_asked(&attic).await;
    assert_eq!(ask(&serving, &channel).await, READY);
}

#[tokio::test]
async fn a_server_that_stops_lives_until_its_last_call_has_ended_but_is_not_ready() {
    let host = host("agents").await;
    let serving = Serving::start(&on(&[("agents", &host)])).await;
    let channel = serving.channel().await;
    wait_until_ready(&serving, &channel).await;
    let mut watch = HealthClient::new(channel.clone())
        .watch(of(""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    // A call that lasts as long as the client likes.
    let (asking, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut call = ServerReflectionClient::new(channel)
        .server_reflection_info(requests)
        .await
        .unwrap();

    serving.program.signal("TERM").await;
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert!(watch.next().await.is_none(), "who watches does not hold the server");
    let Page { status, text, .. } = pages::get(&serving.admin, "/readyz").await;
    assert_eq!((status, text.as_str()), (503, "stopping\n"));
    assert_eq!(serving.page("/healthz").await.status, 200);

    drop(asking);
    assert!(call.get_mut().next().await.is_none());
    let ended = serving.program.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
}
