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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    verb: &'static str,
    /// API group; empty for the core.
    group: &'static str,
    resource: &'static str,
    namespace: Option<String>,
    purpose: &'static str,
}

const EVENTS: &str = "events.k8s.io";

/// All of them. The secrets have a name for each Node and RBAC knows no patterns, hence all secrets of the namespace.
/// `pod_namespace` is where the pod of this server is told of, if it knows that it is one.
fn needed(pod_namespace: Option<String>) -> Vec<Right> {
    let nodes = |verb, purpose| Right {
        verb,
        group: "",
        resource: "nodes",
        namespace: None,
        purpose,
    };
    let within = |namespace: &str, verb, group, resource, purpose| Right {
        verb,
        group,
        resource,
        namespace: Some(namespace.to_owned()),
        purpose,
    };
    let mut needed = vec![
        nodes("list", "VMs that do not join are not noticed"),
        nodes("watch", "VMs that do not join are not noticed"),
        nodes("delete", "Nodes of removed VMs stay"),
        within(
            SECRET_NAMESPACE,
            "delete",
            "",
            "secrets",
            "the node passwords of removed VMs stay",
        ),
        within(
            LEASE_NAMESPACE,
            "get",
            "coordination.k8s.io",
            "leases",
            "whether the kubelet of a lost VM lives is not known, and its Node stays",
        ),
    ];
    // Events about Nodes are in `default`.
    let pod_namespace = pod_namespace.filter(|namespace| namespace != EVENT_NAMESPACE);
    for namespace in [EVENT_NAMESPACE].into_iter().chain(pod_namespace.as_deref()) {
        let purpose = "kubectl get events does not tell what happened";
        needed.push(within(namespace, "create", EVENTS, "events", purpose));
    }
    needed
}

impl Right {
    /// What does not work without it.
    #[must_use]
    pub fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// The rule of RBAC that grants it, and where it belongs.
    #[must_use]
    pub fn rule(&self) -> String {
        let Self {
            verb, group, resource, ..
        } = self;
        let place = match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        format!("{{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [{verb}]}} in {place}")
    }

    fn question(&self) -> SelfSubjectAccessReview {
        SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(self.verb.to_owned()),
                    group: Some(self.group.to_owned()),
                    resource: Some(self.resource.to_owned()),
                    namespace: self.namespace.clone(),
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
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// Those that are needed and not granted.
pub(super) async fn missing(
    client: &Client,
    within: Duration,
    pod_namespace: Option<String>,
) -> Result<Vec<Right>, ClusterError> {
    let needed = needed(pod_namespace);
    let granted = try_join_all(needed.iter().map(|right| is_granted(client, within, right))).await?;
    let missing = needed.into_iter().zip(granted).filter(|(_, granted)| !granted);
    Ok(missing.map(|(right, _)| right).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_another_namespace_needs_the_same_rights_for_events_there() {
        let told = |namespace: Option<&str>| -> Vec<String> {
            let needed = needed(namespace.map(str::to_owned));
            needed.iter().map(ToString::to_string).collect()
        };
        assert_eq!(told(None).len(), 6);
        assert_eq!(told(Some("default")), told(None));
        let in_pod = told(Some("autoscaling"));
        assert_eq!(in_pod[6..], ["create events in autoscaling"]);
    }

    #[test]
    fn a_right_names_the_rule_that_grants_it() {
        let rules: Vec<String> = needed(None).iter().map(Right::rule).collect();
        assert_eq!(
            rules[2],
            "{apiGroups: [\"\"], resources: [nodes], verbs: [delete]} in a ClusterRole"
        );
        assert_eq!(
            rules[5],
            "{apiGroups: [\"events.k8s.io\"], resources: [events], verbs: [create]} in a Role in namespace default"
        );
    }
}
