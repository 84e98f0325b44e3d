//! What is told of the life of VMs: lines of log with their fields, and notices that become events of the cluster.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use slicer_cloud_provider::domain::ids::NodeName;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::InstanceRunning;
use slicer_cloud_provider::kubernetes::NoCluster;
use slicer_cloud_provider::provider::ports::{Cluster, ClusterError, NodeSnapshot, Notice, Subject};
use slicer_cloud_provider::simulator::Capacity;

use crate::log;
use crate::support::*;

/// A cluster of which nothing is known, and which hears what it is told.
#[derive(Debug, Default)]
struct Hearing(Mutex<Vec<Notice>>);

impl Hearing {
    fn heard(&self, reason: &str) -> Vec<Notice> {
        let notices = self.0.lock().unwrap();
        notices
            .iter()
            .filter(|notice| notice.reason == reason)
            .cloned()
            .collect()
    }
}

#[async_trait]
impl Cluster for Hearing {
    fn nodes(&self) -> NodeSnapshot {
        NoCluster.nodes()
    }

    async fn remove_node(&self, _: &NodeName, _: &str) -> Result<(), ClusterError> {
        Ok(())
    }

    fn announce(&self, notice: Notice) {
        self.0.lock().unwrap().push(notice);
    }

    async fn last_heartbeat(&self, _: &NodeName) -> Result<Option<String>, ClusterError> {
        Ok(None)
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn a_crowd_of_launches_that_fail_for_one_reason_is_told_in_few_lines_and_as_few_events_and_none_is_lost() {
    log::collect();
    let (host, cluster) = (host("crowded").await, Arc::new(Hearing::default()));
    host.simulator.set_capacity(Capacity {
        max_vms: Some(1),
        ram_bytes: None,
    });
    let config = global("") + &nodegroup("crowded", &host.running.url, "max-size = 40");
    let server = start_with(&config, Arc::<Hearing>::clone(&cluster), None).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "crowded").await;
    increase(&mut client, "crowded", 31).await.unwrap();
    let sums = || log::lines("crowded", "more instances failed");
    let counted = || -> u64 { sums().iter().map(|sum| sum["count"].parse::<u64>().unwrap()).sum() };
    eventually("all 30 failures are told, one way or the other", async || {
        let one_by_one = log::lines("crowded", "instance failed").len() as u64;
        (one_by_one + counted() == 30).then_some(())
    })
    .await;
    let lines = log::lines("crowded", "instance failed").len() + sums().len();
    assert!(lines < 8, "{lines} lines");
    let sum = sums().remove(0);
    assert_eq!(sum["code"], "OutOfResources");
    assert!(sum["reason"].contains("no free IP"), "{sum:?}");
    assert!(sum["instances"].starts_with("slicer://crowded/"), "{sum:?}");
    let notices = eventually("as many events as lines", async || {
        let notices = cluster.heard("InstanceFailed");
        (notices.len() == lines).then_some(notices)
    })
    .await;
    for notice in &notices {
        assert!(notice.is_warning && notice.subject == Subject::Server, "{notice:?}");
        assert!(notice.note.contains("no free IP"), "{notice:?}");
    }
    assert!(
        notices
            .iter()
            .any(|notice| notice.note.contains("more failed: OutOfResources"))
    );
}

#[tokio::test]
async fn what_failed_just_before_the_server_stops_is_told_all_the_same() {
    log::collect();
    let host = host("hurried").await;
    host.simulator.set_capacity(Capacity {
        max_vms: Some(0),
        ram_bytes: None,
    });
    let config = global("") + &nodegroup("hurried", &host.running.url, "max-size = 40");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "hurried").await;
    increase(&mut client, "hurried", 5).await.unwrap();
    eventually("5 launches fail", async || {
        let all = instances(&mut client, "hurried").await;
        (all.iter().filter(|instance| error_of(instance).is_some()).count() == 5).then_some(())
    })
    .await;
    server.stop().await;
    let sums = log::lines("hurried", "more instances failed");
    let counted: u64 = sums.iter().map(|sum| sum["count"].parse::<u64>().unwrap()).sum();
    assert_eq!(log::lines("hurried", "instance failed").len() as u64 + counted, 5);
}

#[tokio::test]
async fn each_line_about_a_vm_has_its_group_launch_host_and_duration() {
    log::collect();
    let (host, cluster) = (host("narrated").await, Arc::new(Hearing::default()));
    let config = global("") + &nodegroup("narrated", &host.running.url, "");
    let server = start_with(&config, Arc::<Hearing>::clone(&cluster), None).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "narrated").await;
    increase(&mut client, "narrated", 1).await.unwrap();
    let running = wait_for(&mut client, "narrated", 1, InstanceRunning).await;
    delete(&mut client, "narrated", &ids(&running)).await.unwrap();
    let told = ["VM launched", "instance is running", "VM removed"];
    eventually("the removal is told", async || {
        (!log::lines("narrated", told[2]).is_empty()).then_some(())
    })
    .await;
    for message in told {
        let lines = log::lines("narrated", message);
        assert_eq!(lines.len(), 1, "{message}: {lines:?}");
        let line = &lines[0];
        assert_eq!(
            line["instance"],
            format!("slicer://narrated/{}", line["launch"]),
            "{line:?}"
        );
        assert_eq!((&line["host"], line["vm"].as_str()), (&host.running.url, "narrated-1"));
        let seconds: f64 = line["seconds"].parse().unwrap();
        assert!((0.0..60.0).contains(&seconds), "{line:?}");
    }
    for reason in ["VmLaunched", "VmRemoved"] {
        let notices = cluster.heard(reason);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(
            !notices[0].is_warning && notices[0].note.contains(&running[0].id),
            "{notices:?}"
        );
    }
}

#[tokio::test]
async fn a_host_that_goes_down_and_comes_back_is_told_of_with_how_long_it_took() {
    log::collect();
    let (host, cluster) = (host("flickering").await, Arc::new(Hearing::default()));
    let config = global("") + &nodegroup("flickering", &host.running.url, "");
    let server = start_with(&config, Arc::<Hearing>::clone(&cluster), None).await;
    wait_for_group(&mut client(&server).await, "flickering").await;
    host.simulator.down(None);
    eventually("the cluster hears of it", async || {
        (!cluster.heard("HostDown").is_empty()).then_some(())
    })
    .await;
    host.simulator.up();
    eventually("the cluster hears that it is back", async || {
        (!cluster.heard("HostUp").is_empty()).then_some(())
    })
    .await;
    assert!(cluster.heard("HostDown")[0].is_warning);
    let up = log::lines("flickering", "host is up");
    assert_eq!((up.len(), &up[1]["host"]), (2, &host.running.url));
    assert_eq!(up[0].get("seconds"), None, "it was never down before");
    assert!(up[1]["seconds"].parse::<f64>().unwrap() < 60.0, "{up:?}");
}
