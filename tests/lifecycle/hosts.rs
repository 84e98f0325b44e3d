//! Hosts in trouble, and the others: what is still answered, who is untouched, what recovers by itself, and what the
//! log says of it. What a fault does to a single launch is tested in `faults`.

use std::time::Duration;

use futures::future::join_all;
use slicer_cloud_provider::grpc::pb;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::{InstanceDeleting, InstanceRunning};
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};

use crate::log;
use crate::support::*;

const LIST: &str = "GET /hostgroup/{name}/nodes";
const DELETE: &str = "DELETE /hostgroup/{name}/nodes/{node}";
/// What the log says of a host's state.
const STATES: [&str; 2] = ["host is down; trying on", "host is up"];
/// Less than what hosts that hang or are slow take to answer.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A request to a host that hangs is given up after ten seconds.
const AFTER_A_HANG: Duration = Duration::from_secs(25);

fn status(code: u16) -> FaultKind {
    FaultKind::Status {
        code,
        text: "out of order".to_owned(),
    }
}

/// Everything that the cluster-autoscaler reads of a group in its loop.
async fn read_all(client: &mut Client, group: &str) -> String {
    let id = || group.to_owned();
    client.refresh(pb::RefreshRequest {}).await.unwrap();
    let groups = client.node_groups(pb::NodeGroupsRequest {}).await.unwrap().into_inner();
    let listed = instances(client, group).await;
    let node = listed.first().map(|instance| fake_node(&instance.id));
    let of_node = client.node_group_for_node(pb::NodeGroupForNodeRequest { node }).await;
    let size = target(client, group).await;
    let template = client.node_group_template_node_info(pb::NodeGroupTemplateNodeInfoRequest { id: id() });
    let template = template.await.unwrap().into_inner().node_bytes.len();
    let options = pb::NodeGroupAutoscalingOptionsRequest {
        id: id(),
        defaults: None,
    };
    let options = client
        .node_group_get_options(options)
        .await
        .map(|_| ())
        .map_err(|error| error.code());
    let of_node = of_node.unwrap().into_inner();
    format!("{groups:?} {of_node:?} {size} {listed:?} {template} {options:?}")
}

/// A host with two running instances, which then answers everything in this way, and one that is well.
async fn trouble_touches_nobody_else_and_passes(kind: FaultKind) {
    let (sick, well) = (host("sick").await, host("well").await);
    let config = global("") + &nodegroup("sick", &sick.running.url, "") + &nodegroup("well", &well.running.url, "");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "sick").await;
    wait_for_group(&mut client, "well").await;
    increase(&mut client, "sick", 2).await.unwrap();
    wait_for(&mut client, "sick", 2, InstanceRunning).await;
    let before = read_all(&mut client, "sick").await;

    sick.simulator
        .switch_on(Fault::every(RouteClass::All, kind.clone()))
        .unwrap();
    eventually("the host is asked", async || {
        (sick.simulator.faults()[0].hits > 0).then_some(())
    })
    .await;
    let reads = tokio::time::timeout(AT_ONCE, read_all(&mut client, "sick")).await;
    assert_eq!(reads.ok().as_ref(), Some(&before), "{kind:?}");

    increase(&mut client, "well", 2).await.unwrap();
    let two = wait_for(&mut client, "well", 2, InstanceRunning).await;
    delete(&mut client, "well", &ids(&two)[..1]).await.unwrap();
    eventually("scaled down", async || {
        (well.simulator.vms().len() == 1 && instances(&mut client, "well").await.len() == 1).then_some(())
    })
    .await;
    let reads = tokio::time::timeout(AT_ONCE, read_all(&mut client, "sick")).await;
    assert_eq!(reads.ok().as_ref(), Some(&before), "{kind:?}: none of it is lost");

    sick.simulator.clear_faults();
    increase(&mut client, "sick", 1).await.unwrap();
    eventually_within(AFTER_A_HANG, "the host is used again", async || {
        let running = instances(&mut client, "sick").await;
        let count = running.iter().filter(|one| state(one) == InstanceRunning).count();
        (count == 3).then_some(())
    })
    .await;
    assert_eq!(sick.simulator.created_total(), 3);
}

#[tokio::test]
async fn whatever_a_host_does_reads_are_answered_other_groups_untouched_and_it_is_used_again_when_it_is_well() {
    let kinds = [
        status(500),
        status(401),
        FaultKind::Hang,
        FaultKind::DelayBefore { ms: 3000 },
        FaultKind::CloseBefore,
        FaultKind::CutOff,
        FaultKind::Nonsense,
    ];
    join_all(kinds.map(trouble_touches_nobody_else_and_passes)).await;
}

#[tokio::test]
async fn each_change_of_a_hosts_state_is_logged_once_for_each_of_its_groups() {
    log::collect();
    let host = host("shared").await;
    let url = &host.running.url;
    let (one, two) = ("log-one", "log-two");
    let config = global("") + &nodegroup(one, url, "host-group = shared") + &nodegroup(two, url, "host-group = shared");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, one).await;
    wait_for_group(&mut client, two).await;
    let failing = async |count: u64| {
        let asked = host.simulator.requests().count(LIST);
        eventually("it fails again and again", async || {
            (host.simulator.requests().count(LIST) > asked + count).then_some(())
        })
        .await;
    };
    let mut expected = vec!["host is up".to_owned()];
    for kind in [status(500), FaultKind::CloseBefore, FaultKind::Nonsense] {
        host.simulator.switch_on(Fault::every(RouteClass::All, kind)).unwrap();
        expected.push("host is down; trying on".to_owned());
        failing(20).await;
        host.simulator
            .switch_on(Fault::every(RouteClass::All, status(401)))
            .unwrap(); // still down
        failing(6).await;
        host.simulator.clear_faults();
        expected.push("host is up".to_owned());
        eventually("both are told", async || {
            let told = |group| log::messages(group, &STATES).len();
            (told(one) >= expected.len() && told(two) >= expected.len()).then_some(())
        })
        .await;
    }
    failing(10).await; // which is succeeding now
    for group in [one, two] {
        assert_eq!(log::messages(group, &STATES), expected, "{group}");
    }
}

#[tokio::test]
async fn a_removal_that_fails_again_and_again_is_logged_once_and_done_when_the_host_is_back() {
    log::collect();
    let host = host("stubborn").await;
    let server = start(&(global("") + &nodegroup("stubborn", &host.running.url, ""))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "stubborn").await;
    increase(&mut client, "stubborn", 1).await.unwrap();
    let all = ids(&wait_for(&mut client, "stubborn", 1, InstanceRunning).await);
    host.simulator
        .switch_on(Fault::every(RouteClass::Delete, status(500)))
        .unwrap();
    delete(&mut client, "stubborn", &all).await.unwrap();
    eventually("four attempts", async || {
        (host.simulator.requests().count(DELETE) >= 4).then_some(())
    })
    .await;
    let told = ["could not be removed", "could still not be removed"];
    assert_eq!(log::messages("stubborn", &told).len(), 1);

    host.simulator.clear_faults();
    host.simulator.down(None);
    eventually("it is down", async || {
        (log::messages("stubborn", &STATES).last()? == STATES[0]).then_some(())
    })
    .await;
    let left = instances(&mut client, "stubborn").await;
    assert!(left.len() == 1 && state(&left[0]) == InstanceDeleting);

    host.simulator.up();
    eventually("it is removed at last", async || {
        (host.simulator.vms().is_empty() && instances(&mut client, "stubborn").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_vm_that_stays_although_its_host_accepts_the_deletes_is_told_of_once() {
    log::collect();
    let host = host("patient").await;
    let server = start(&(global("") + &nodegroup("patient", &host.running.url, ""))).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "patient").await;
    increase(&mut client, "patient", 1).await.unwrap();
    let all = ids(&wait_for(&mut client, "patient", 1, InstanceRunning).await);
    host.simulator
        .switch_on(Fault::every(RouteClass::Delete, status(200)))
        .unwrap();
    delete(&mut client, "patient", &all).await.unwrap();
    eventually("six attempts", async || {
        (host.simulator.requests().count(DELETE) >= 6).then_some(())
    })
    .await;
    assert_eq!(log::messages("patient", &["could not be removed"]).len(), 1);
}

#[tokio::test]
async fn a_restarted_host_loses_its_instances_and_no_other_and_takes_new_ones() {
    let (rebooted, other) = (host("rebooted").await, host("other").await);
    let config =
        global("") + &nodegroup("rebooted", &rebooted.running.url, "") + &nodegroup("other", &other.running.url, "");
    let server = start(&config).await;
    let mut client = client(&server).await;
    for group in ["rebooted", "other"] {
        wait_for_group(&mut client, group).await;
        increase(&mut client, group, 2).await.unwrap();
    }
    wait_for(&mut client, "rebooted", 2, InstanceRunning).await;
    let others = wait_for(&mut client, "other", 2, InstanceRunning).await;
    rebooted.simulator.restart();
    eventually("its instances are gone", async || {
        let gone = instances(&mut client, "rebooted").await.is_empty();
        (gone && target(&mut client, "rebooted").await == 0).then_some(())
    })
    .await;
    assert_eq!(instances(&mut client, "other").await, others);
    increase(&mut client, "rebooted", 1).await.unwrap();
    wait_for(&mut client, "rebooted", 1, InstanceRunning).await;
}

/// Rotates the token on the host and in its file, in this order, and the server goes on without a restart.
async fn a_token_is_rotated(host_first: bool) {
    let group = if host_first { "host-first" } else { "file-first" };
    let host = host(group).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, SLICER_TOKEN).unwrap();
    let section = format!(
        "[nodegroup \"{group}\"]\nslicer-url = {}\nslicer-token-file = {}\n",
        host.running.url,
        file.display()
    );
    let server = start(&(global("") + &section)).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, group).await;
    increase(&mut client, group, 1).await.unwrap();
    let before = wait_for(&mut client, group, 1, InstanceRunning).await;
    let rotate_host = || host.simulator.rotate_token("a-new-token".into());
    let rotate_file = || std::fs::write(&file, "a-new-token\n").unwrap();

    if host_first {
        rotate_host();
    } else {
        rotate_file();
    }
    eventually("the token is refused", async || {
        let recent = host.simulator.requests().recent;
        recent.iter().any(|request| request.status == Some(401)).then_some(())
    })
    .await;
    assert_eq!(instances(&mut client, group).await, before);
    if host_first {
        rotate_file();
    } else {
        rotate_host();
    }
    increase(&mut client, group, 1).await.unwrap();
    let after = ids(&wait_for(&mut client, group, 2, InstanceRunning).await);
    assert!(after.contains(&before[0].id));
}

#[tokio::test]
async fn a_slicer_token_is_rotated_without_a_restart_whoever_learns_of_it_first() {
    tokio::join!(a_token_is_rotated(true), a_token_is_rotated(false));
}

#[tokio::test]
async fn a_large_batch_of_deletes_asks_a_host_for_a_few_at_a_time() {
    let host = host("agents").await;
    let url = &host.running.url;
    let of_host = "host-group = agents\nmax-size = 20\ncreate-concurrency = 20";
    let config = global("") + &nodegroup("left", url, of_host) + &nodegroup("right", url, of_host);
    let server = start(&config).await;
    let mut client = client(&server).await;
    let mut all = Vec::new();
    for group in ["left", "right"] {
        wait_for_group(&mut client, group).await;
        increase(&mut client, group, 20).await.unwrap();
        all.push(ids(&wait_for(&mut client, group, 20, InstanceRunning).await));
    }
    host.simulator
        .switch_on(Fault::next(16, RouteClass::Delete, FaultKind::DelayAfter { ms: 1500 }))
        .unwrap();
    for (group, all) in ["left", "right"].into_iter().zip(&all) {
        delete(&mut client, group, all).await.unwrap();
        assert_eq!(target(&mut client, group).await, 0, "all are decided at once");
    }
    let deleted = || host.simulator.requests().count(DELETE);
    eventually("the first are under way", async || (deleted() >= 8).then_some(())).await;
    let asked = host.simulator.requests().count(LIST);
    eventually("the keepers go on", async || {
        (host.simulator.requests().count(LIST) > asked + 4).then_some(())
    })
    .await;
    let count = deleted();
    assert!(count <= 16, "{count} deletes of two rounds of eight");
    eventually("all are gone", async || {
        let left = instances(&mut client, "left").await.len() + instances(&mut client, "right").await.len();
        (left == 0 && host.simulator.vms().is_empty()).then_some(())
    })
    .await;
    assert_eq!(host.simulator.deleted_total(), 40);
}
