//! Nodes that cannot be removed, and Nodes that must not be. What removing one does is tested with the Kubernetes client;
//! that only those with proof are removed, in the model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use slicer_cloud_provider::config;
use slicer_cloud_provider::domain::ids::NodeName;
use slicer_cloud_provider::domain::node::NodeRecord;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState::InstanceRunning;
use slicer_cloud_provider::provider::ports::{Cluster, ClusterError, ClusterStatus, NodeSnapshot};
use slicer_cloud_provider::simulator::{Fault, FaultKind, RouteClass};

use crate::log;
use crate::support::*;

/// Has the Nodes that it is given, all of them alive, and removes none.
#[derive(Debug, Default)]
struct Unwilling {
    nodes: Mutex<Arc<BTreeMap<NodeName, Arc<NodeRecord>>>>,
    asked_to_remove: AtomicUsize,
    asked_for_heartbeats: AtomicUsize,
    heartbeats: bool,
}

impl Unwilling {
    fn has(&self, name: &str, provider_id: &str, hostname: &str, ready: bool) {
        let node = NodeRecord {
            name: NodeName::from(name),
            uid: "uid".to_owned(),
            provider_id: provider_id.to_owned(),
            labels: BTreeMap::from([("slicer/hostname".to_owned(), hostname.to_owned())]).into(),
            capacity: Arc::default(),
            allocatable: Arc::default(),
            ready,
            created_at: None,
        };
        *self.nodes.lock().unwrap() = Arc::new(BTreeMap::from([(node.name.clone(), Arc::new(node))]));
    }

    fn removals(&self) -> usize {
        self.asked_to_remove.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Cluster for Unwilling {
    fn nodes(&self) -> NodeSnapshot {
        NodeSnapshot {
            status: ClusterStatus::Live,
            nodes: Arc::clone(&self.nodes.lock().unwrap()),
        }
    }

    async fn remove_node(&self, _: &NodeName, _: &str) -> Result<(), ClusterError> {
        self.asked_to_remove.fetch_add(1, Ordering::SeqCst);
        let message = "nodes is forbidden".to_owned();
        Err(ClusterError { message })
    }

    async fn last_heartbeat(&self, _: &NodeName) -> Result<Option<String>, ClusterError> {
        let beat = self.asked_for_heartbeats.fetch_add(1, Ordering::SeqCst);
        Ok(self.heartbeats.then(|| beat.to_string()))
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_removed_is_tried_again_and_logged_once() {
    log::collect();
    let cluster = Arc::new(Unwilling::default());
    cluster.has("left-behind-1", "slicer://left-behind/abcd1234", "left-behind-1", false);
    let host = host("left-behind").await;
    let config = global("") + &nodegroup("left-behind", &host.running.url, "");
    let shown: Arc<dyn Cluster> = Arc::<Unwilling>::clone(&cluster);
    let _server = start_with(&config, shown, None).await;
    eventually("it is tried again and again", async || {
        (cluster.removals() >= 4).then_some(())
    })
    .await;
    let told = log::messages("left-behind", &["Node could not be removed", "Node could still"]);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test]
async fn a_listing_of_the_old_host_that_comes_after_a_move_is_no_proof_against_a_living_node() {
    let (old, wrong) = (host("moved").await, host("moved").await);
    let cluster = Arc::new(Unwilling {
        heartbeats: true,
        ..Unwilling::default()
    });
    let text = |host: &Host| global("") + &nodegroup("moved", &host.running.url, "");
    let shown: Arc<dyn Cluster> = Arc::<Unwilling>::clone(&cluster);
    let server = start_with(&text(&old), shown, None).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "moved").await;
    increase(&mut client, "moved", 1).await.unwrap();
    let id = ids(&instances(&mut client, "moved").await).remove(0);
    let hostname = eventually("a VM", async || {
        old.simulator.vms().first().map(|vm| vm.hostname.clone())
    })
    .await;
    cluster.has("n1", &id, &hostname, true);
    wait_for(&mut client, "moved", 1, InstanceRunning).await;

    let slow = Fault::every(RouteClass::List, FaultKind::DelayAfter { ms: 1000 });
    old.simulator.switch_on(slow).unwrap();
    eventually("a listing is under way", async || {
        (old.simulator.faults()[0].hits > 0).then_some(())
    })
    .await;
    server.reload(config::parse(&text(&wrong), Path::new("cloud-config")));
    // The wrong host proves that the VM is not there, and the kubelet that it lives.
    eventually("its heartbeat is asked for", async || {
        (cluster.asked_for_heartbeats.load(Ordering::SeqCst) >= 4).then_some(())
    })
    .await;
    assert_eq!(cluster.removals(), 0);
}
