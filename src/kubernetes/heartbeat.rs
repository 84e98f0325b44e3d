//! Whether a Node's kubelet lives: it renews a lease every ten seconds, whatever else goes wrong.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

use super::failure::bounded;
use crate::domain::ids::NodeName;
use crate::provider::ports::ClusterError;

/// The namespace in which kubelets keep their leases.
pub(super) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// When the Node's lease was renewed last, as the kubelet wrote it; `None` if there is no lease.
pub(super) async fn last(client: &Client, within: Duration, node: &NodeName) -> Result<Option<String>, ClusterError> {
    let leases = Api::<Lease>::namespaced(client.clone(), LEASE_NAMESPACE);
    match bounded(within, leases.get(node.as_str())).await {
        Ok(lease) => Ok(lease.spec.and_then(|spec| spec.renew_time).map(|at| at.0.to_string())),
        Err(failure) if failure.is_answer("NotFound") => Ok(None),
        Err(failure) => Err(ClusterError {
            message: format!("cannot read the lease of Node {node}: {failure}"),
        }),
    }
}
