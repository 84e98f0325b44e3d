//! A cluster that refuses to let go of Nodes whose VMs are gone. What removing one does is tested with the Kubernetes
//! client; that only those with proof are removed, in the model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use slicer_cloud_provider::domain::ids::NodeName;
use slicer_cloud_provider::domain::node::{NodeRecord, Resources};
use slicer_cloud_provider::provider::ports::{Cluster, ClusterError, ClusterStatus, NodeSnapshot};

use crate::log;
use crate::support::*;

/// Has one Node, of a VM that no host knows, and removes none.
#[derive(Debug)]
struct Unwilling {
    nodes: Arc<BTreeMap<NodeName, Arc<NodeRecord>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Cluster for Unwilling {
    fn nodes(&self) -> NodeSnapshot {
        NodeSnapshot {
            status: ClusterStatus::Live,
            nodes: Arc::clone(&self.nodes),
        }
    }

    async fn remove_node(&self, _: &NodeName, _: &str) -> Result<(), ClusterError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let message = "nodes is forbidden".to_owned();
        Err(ClusterError { message })
    }

    async fn last_heartbeat(&self, _: &NodeName) -> Result<Option<String>, ClusterError> {
        Ok(None)
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn a_node_that_cannot_be_removed_is_tried_again_and_logged_once() {
    log::collect();
    let name = NodeName::from("left-behind-1");
    let node = NodeRecord {
        name: name.clone(),
        uid: "uid".to_owned(),
        provider_id: "slicer://left-behind/abcd1234".to_owned(),
        labels: BTreeMap::new(),
        capacity: Resources::new(),
        allocatable: Resources::new(),
        ready: false,
        created_at: None,
    };
    let cluster = Arc::new(Unwilling {
        nodes: Arc::new(BTreeMap::from([(name, Arc::new(node))])),
        asked: AtomicUsize::new(0),
    });
    let host = host("left-behind").await;
    let config = global("") + &nodegroup("left-behind", &host.running.url, "");
    let shown: Arc<dyn Cluster> = Arc::<Unwilling>::clone(&cluster);
    let _server = start_with(&config, shown, None).await;
    eventually("it is tried again and again", async || {
        (cluster.asked.load(Ordering::SeqCst) >= 4).then_some(())
    })
    .await;
    let told = log::messages("left-behind", &["Node could not be removed", "Node could still"]);
    assert_eq!(told.len(), 1, "{told:?}");
}
