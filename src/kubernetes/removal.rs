//! Removes one Node and K3s's node-password secret of it, and never those of another Node of the same name.
//!
//! K3s deletes no Nodes by itself, and a server from before November 2025 may leave the secret behind; with the secret
//! of an earlier VM still there, a new agent of that name is refused for ever.

use std::time::Duration;

use backon::Retryable as _;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{DeleteParams, PartialObjectMeta, Preconditions};
use kube::{Api, Client};

use super::failure::bounded;
use super::timings::Timings;
use crate::domain::ids::NodeName;
use crate::provider::ports::ClusterError;

/// The namespace in which K3s keeps its secrets.
pub(super) const SECRET_NAMESPACE: &str = "kube-system";

/// How often the deletion of a secret is repeated: for about 15 s.
const SECRET_REPEATS: usize = 5;

/// What became of the Node that was to be removed.
enum NodeFate {
    /// It is gone, or its removal is decided and waits for finalizers only. No Node of that name is left that could
    /// own the secret.
    Gone,
    /// Another Node has its name now; the secret is that one's.
    Replaced,
}

/// Removes the Node `name` that has `uid`, then its secret. May be repeated.
///
/// Once the Node is gone, nothing reminds anybody of its secret: that one is tried several times right here.
pub(super) async fn remove_node(
    client: &Client,
    timings: &Timings,
    name: &NodeName,
    uid: &str,
) -> Result<(), ClusterError> {
    let within = timings.request_within;
    match delete_node(client, within, name, uid).await? {
        NodeFate::Replaced => Ok(()),
        NodeFate::Gone => {
            let pauses = timings.pauses().take(SECRET_REPEATS);
            (|| delete_secret(client, within, name)).retry(pauses).await
        }
    }
}

async fn delete_node(client: &Client, within: Duration, name: &NodeName, uid: &str) -> Result<NodeFate, ClusterError> {
    if uid.is_empty() {
        return Err(ClusterError {
            message: format!("did not delete Node {name}: without its uid another Node of that name could be hit"),
        });
    }
    let only_this_one = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    // The answer may hold the Node, of which nothing is needed.
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    match bounded(within, nodes.delete(name.as_str(), &only_this_one)).await {
        Ok(_) => Ok(NodeFate::Gone),
        Err(failure) if failure.is_answer("NotFound") => Ok(NodeFate::Gone),
        Err(failure) if failure.is_answer("Conflict") => Ok(NodeFate::Replaced),
        Err(failure) => Err(ClusterError {
            message: format!("cannot delete Node {name}: {failure}"),
        }),
    }
}

async fn delete_secret(client: &Client, within: Duration, node: &NodeName) -> Result<(), ClusterError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), SECRET_NAMESPACE);
    let secret = format!("{node}.node-password.k3s");
    match bounded(within, secrets.delete(&secret, &DeleteParams::default())).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.is_answer("NotFound") => Ok(()),
        Err(failure) => Err(ClusterError {
            message: format!("Node {node} is deleted, but its secret {SECRET_NAMESPACE}/{secret} is not: {failure}"),
        }),
    }
}
