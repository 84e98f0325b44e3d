//! No cluster at all: what `--without-kubernetes` runs with.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::ids::NodeName;
use crate::provider::ports::{Cluster, ClusterError, ClusterStatus, NodeSnapshot};

/// The cluster of a server that was told to do without one. Knows nothing and can remove nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCluster;

#[async_trait]
impl Cluster for NoCluster {
    fn nodes(&self) -> NodeSnapshot {
        NodeSnapshot {
            status: ClusterStatus::Absent,
            nodes: Arc::new(BTreeMap::new()),
        }
    }

    async fn remove_node(&self, name: &NodeName, _uid: &str) -> Result<(), ClusterError> {
        Err(ClusterError {
            message: format!("cannot remove Node {name}: this server runs without Kubernetes"),
        })
    }

    async fn last_heartbeat(&self, _: &NodeName) -> Result<Option<String>, ClusterError> {
        Ok(None)
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_kubernetes_nothing_is_known_and_nothing_can_be_removed() {
        assert_eq!(NoCluster.nodes().status, ClusterStatus::Absent);
        assert!(NoCluster.nodes().nodes.is_empty());
        assert_eq!(NoCluster.server_version(), None);
        let refusal = NoCluster.remove_node(&NodeName::from("n1"), "uid").await.unwrap_err();
        assert!(refusal.message.contains("without Kubernetes"), "{refusal}");
    }
}
