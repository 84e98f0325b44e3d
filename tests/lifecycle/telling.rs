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
async fn a_crowd_of_launches_that_fail_for_one_reason_is_told_in_two_lines_and_two_events_and_none_is_lost() {
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
    eventually("30 launches fail", async || {
        let all = instances(&mut client, "crowded").await;
        (all.iter().filter(|instance| error_of(instance).is_some()).count() == 30).then_some(())
    })
    .await;
    server.stop().await;

    let told = log::lines("crowded", "instance failed");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["code"], "OutOfResources");
    let sums = log::lines("crowded", "more instances failed");
    assert_eq!(sums.len(), 1, "{sums:?}");
    assert_eq!(
        (sums[0]["count"].as_str(), sums[0]["code"].as_str()),
        ("29", "OutOfResources")
    );
    assert!(sums[0]["reason"].contains("no free IP"), "{sums:?}");
    let notices = cluster.heard("InstanceFailed");
    assert_eq!(notices.len(), 2, "{notices:?}");
    for (notice, says) in notices.iter().zip(["OutOfResources", "29 more failed"]) {
        assert!(notice.is_warning && notice.subject == Subject::Server, "{notice:?}");
        assert!(
            notice.note.contains(says) && notice.note.contains("no free IP"),
            "{notice:?}"
        );
    }
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
