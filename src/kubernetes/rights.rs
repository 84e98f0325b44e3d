//! Asks the API server what this server's account may do. For `check`; nothing else depends on it.

use std::fmt;
use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use super::events::EVENT_NAMESPACE;
use super::failure::bounded;
use super::heartbeat::LEASE_NAMESPACE;
use super::removal::SECRET_NAMESPACE;
use crate::provider::ports::ClusterError;

/// One thing that the account must be allowed to do.
struct Right {
    verb: &'static str,
    /// API group; empty for the core.
    group: &'static str,
    resource: &'static str,
    namespace: Option<&'static str>,
}

/// All of them, but for those in the namespace that a pod of this server is in. The secrets have a name for each Node and RBAC knows no patterns, hence all secrets of the namespace.
/// Kubelets show by their leases that they live. Events about Nodes are in the namespace `default`, and repeated ones
/// are counted up.
const NEEDED: [Right; 7] = [
    Right::cluster("list", "nodes"),
    Right::cluster("watch", "nodes"),
    Right::cluster("delete", "nodes"),
    Right::within(SECRET_NAMESPACE, "delete", "", "secrets"),
    Right::within(LEASE_NAMESPACE, "get", "coordination.k8s.io", "leases"),
    Right::within(EVENT_NAMESPACE, "create", "events.k8s.io", "events"),
    Right::within(EVENT_NAMESPACE, "patch", "events.k8s.io", "events"),
];

impl Right {
    const fn cluster(verb: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            group: "",
            resource,
            namespace: None,
        }
    }

    const fn within(namespace: &'static str, verb: &'static str, group: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            group,
            resource,
            namespace: Some(namespace),
        }
    }

    fn question(&self) -> SelfSubjectAccessReview {
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(self.verb.to_owned()),
                    group: Some(self.group.to_owned()),
                    resource: Some(self.resource.to_owned()),
                    namespace: self.namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// Those of [`NEEDED`] that the account does not have.
pub(super) async fn missing(client: &Client, within: Duration) -> Result<Vec<String>, ClusterError> {
    let granted = try_join_all(NEEDED.iter().map(|right| is_granted(client, within, right))).await?;
    let missing = NEEDED.iter().zip(granted).filter(|(_, granted)| !granted);
    Ok(missing.map(|(right, _)| right.to_string()).collect())
}

async fn is_granted(client: &Client, within: Duration, right: &Right) -> Result<bool, ClusterError> {
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    match bounded(within, reviews.create(&PostParams::default(), &right.question())).await {
        Ok(review) => Ok(review.status.is_some_and(|status| status.allowed)),
        Err(failure) => Err(ClusterError {
            message: format!("cannot ask whether this account may {right}: {failure}"),
        }),
    }
}
