//! From IncreaseSize to running instances.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::{InstanceCreating, InstanceRunning};
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn an_increase_answers_at_once_and_lists_creating_instances_however_slow_the_host_is() {
    let host = host("agents").await;
    host.simulator
        .switch_on(Fault::every(RouteClass::Create, FaultKind::DelayBefore { ms: 3000 }))
        .unwrap();
    let server = start(&(global("") + &nodegroup("agents", &host.running.url, ""))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;

    let asked = Instant::now();
    increase(&mut client, "agents", 3).await.unwrap();
    let listed = instances(&mut client, "agents").await;
    let elapsed = asked.elapsed();
    assert!(elapsed < Duration::from_secs(1), "it waited for the host: {elapsed:?}");
    assert_eq!(target(&mut client, "agents").await, 3);
    assert!(listed.len() == 3 && listed.iter().all(|instance| state(instance) == InstanceCreating));

    let running = wait_for(&mut client, "agents", 3, InstanceRunning).await;
    assert_eq!(
        ids(&running),
        ids(&listed),
        "an instance keeps its id from request to running"
    );
}

#[tokio::test]
async fn a_vm_is_created_ephemeral_with_our_tags_our_secret_and_the_size_that_was_asked_for() {
    let host = host("agents").await;
    let config = global("cluster-name = home")
        + &nodegroup("agents", &host.running.url, "cpus = 1\nram = 2Gi\nnode-label = team=a");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 1).await.unwrap();
    let id = wait_for(&mut client, "agents", 1, InstanceRunning).await.remove(0).id;
    let launch = id.strip_prefix("slicer://agents/").unwrap();

    let vm = host.simulator.vms().remove(0);
    assert!(vm.tags.contains(&"slicer-cloud-provider/cluster=home".to_owned()));
    assert!(vm.tags.contains(&format!("slicer-cloud-provider/launch={launch}")));
    assert!(vm.tags.contains(&"slicer-cloud-provider/nodegroup=agents".to_owned()));
    assert_eq!((vm.cpus, vm.ram_bytes, vm.persistent), (1, 2 << 30, false));
    assert!(vm.userdata.contains(&format!("provider-id={id}")) && vm.userdata.contains("team=a"));
    assert!(!vm.userdata.contains(K3S_TOKEN), "the token is not in the userdata");

    let secrets = host.simulator.secrets();
    assert_eq!(secrets.len(), 1);
    assert_eq!(vm.secrets.as_ref(), Some(&secrets), "the VM may see this secret only");
    assert!(secrets[0].starts_with("k3s-token-") && secrets[0].len() == "k3s-token-".len() + 12);
    assert_eq!(
        host.simulator.secret_value(&secrets[0]).unwrap().expose_secret(),
        K3S_TOKEN
    );
}

#[tokio::test]
async fn a_rotated_join_token_gets_a_secret_of_its_own_and_the_old_one_stays() {
    let host = host("agents").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first-token\n").unwrap();
    let config = format!(
        "[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token-file = {}\n{}",
        file.display(),
        nodegroup("agents", &host.running.url, "")
    );
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 1).await.unwrap();
    wait_for(&mut client, "agents", 1, InstanceRunning).await;
    std::fs::write(&file, "second-token\n").unwrap();
    increase(&mut client, "agents", 1).await.unwrap();
    wait_for(&mut client, "agents", 2, InstanceRunning).await;

    let simulator = &host.simulator;
    let mut values: Vec<String> = simulator
        .secrets()
        .iter()
        .map(|name| simulator.secret_value(name).unwrap().expose_secret().to_owned())
        .collect();
    values.sort();
    assert_eq!(values, ["first-token", "second-token"]);
    let vms = simulator.vms();
    assert_ne!(vms[0].secrets, vms[1].secrets);
}

#[tokio::test]
async fn an_increase_of_nothing_or_beyond_the_maximum_is_refused_whole() {
    let host = host("agents").await;
    let server = start(&(global("") + &nodegroup("agents", &host.running.url, "max-size = 3"))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    increase(&mut client, "agents", 2).await.unwrap();
    for delta in [0, -1] {
        assert_eq!(
            increase(&mut client, "agents", delta).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let status = increase(&mut client, "agents", 2).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(status.message().contains("max-size"), "{}", status.message());
    assert_eq!(target(&mut client, "agents").await, 2);
    wait_for(&mut client, "agents", 2, InstanceRunning).await;
    assert_eq!(host.simulator.created_total(), 2);
}

#[tokio::test]
async fn many_launches_share_one_look_at_the_secret_and_never_exceed_the_concurrency() {
    let host = host("agents").await;
    let server =
        start(&(global("") + &nodegroup("agents", &host.running.url, "max-size = 30\ncreate-concurrency = 4"))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    let slow = Fault::every(RouteClass::Create, FaultKind::DelayBefore { ms: 100 });
    host.simulator.switch_on(slow).unwrap();
    let begun = Instant::now();
    increase(&mut client, "agents", 30).await.unwrap();
    wait_for(&mut client, "agents", 30, InstanceRunning).await;
    // 30 creates of 100 ms, 4 at a time, cannot be done sooner.
    assert!(begun.elapsed() >= Duration::from_millis(800), "more than 4 at a time");
    let requests = host.simulator.requests();
    assert_eq!(requests.count("POST /hostgroup/{name}/nodes"), 30);
    assert_eq!(requests.count("POST /secrets"), 1);
    assert_eq!(requests.count("GET /secrets"), 1);
}

#[tokio::test]
async fn groups_of_one_host_group_on_one_host_are_told_apart_by_their_tags() {
    let host = host("agents").await;
    let url = &host.running.url;
    let config =
        global("") + &nodegroup("batch", url, "host-group = agents") + &nodegroup("web", url, "host-group = agents");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "batch").await;
    wait_for_group(&mut client, "web").await;
    increase(&mut client, "batch", 2).await.unwrap();
    increase(&mut client, "web", 1).await.unwrap();
    wait_for(&mut client, "batch", 2, InstanceRunning).await;
    wait_for(&mut client, "web", 1, InstanceRunning).await;
    assert_eq!(host.simulator.vms().len(), 3);
}

#[tokio::test]
async fn a_second_cluster_on_the_same_host_sees_nothing_of_the_first() {
    let host = host("agents").await;
    let of = |name: &str| global(&format!("cluster-name = {name}")) + &nodegroup("agents", &host.running.url, "");
    let (home, office) = (start(&of("home")).await, start(&of("office")).await);
    let (mut home, mut office) = (client(&home).await, client(&office).await);
    wait_for_group(&mut home, "agents").await;
    wait_for_group(&mut office, "agents").await;
    increase(&mut home, "agents", 2).await.unwrap();
    increase(&mut office, "agents", 1).await.unwrap();
    wait_for(&mut home, "agents", 2, InstanceRunning).await;
    let theirs = wait_for(&mut office, "agents", 1, InstanceRunning).await;
    delete(&mut office, "agents", &ids(&theirs)).await.unwrap();
    eventually("the other cluster's VM is gone", async || {
        (host.simulator.vms().len() == 2).then_some(())
    })
    .await;
    assert_eq!(target(&mut home, "agents").await, 2);
}
