//! The Helm chart on a real API server: whether it takes every object that the chart can make, and whether the accounts
//! of the chart may do what they need and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::combinations::{combinations, least, merge};
use crate::control_plane::{Apply, ControlPlane};
use crate::custom_resources::CustomResources;
use crate::helm::Helm;
use crate::{Failure, Places};

/// The program, as `tests/e2e/run` puts it beside the others.
pub(crate) const HELM: &str = "helm";
/// Where the release is: neither of the namespaces in which it has rights anyway.
const NAMESPACE: &str = "scaling";
const PROVIDER_ACCOUNT: &str = "garage-cluster-autoscaler-slicer-provider";
const AUTOSCALER_ACCOUNT: &str = "garage-cluster-autoscaler-slicer-autoscaler";

/// Verb, API group, resource, and namespace; none: all of them.
type Right = (&'static str, &'static str, &'static str, &'static str);

/// What the provider alone needs.
const PROVIDER_ALONE: &[Right] = &[
    ("delete", "", "nodes", ""),
    ("delete", "", "secrets", "kube-system"),
    ("get", "coordination.k8s.io", "leases", "kube-node-lease"),
    ("create", "events.k8s.io", "events", "default"),
    ("create", "events.k8s.io", "events", NAMESPACE),
];

/// What both need.
const BOTH: &[Right] = &[("list", "", "nodes", ""), ("watch", "", "nodes", "")];

/// Some of what the cluster-autoscaler alone needs. What it needs in all, the scenario shows.
const AUTOSCALER_ALONE: &[Right] = &[
    ("get", "", "nodes", ""),
    ("update", "", "nodes", ""),
    ("create", "", "pods/eviction", ""),
    ("create", "", "events", ""),
    ("list", "", "pods", ""),
    ("create", "coordination.k8s.io", "leases", NAMESPACE),
    ("create", "", "configmaps", NAMESPACE),
];

/// What neither may.
const NOBODY: &[Right] = &[
    ("get", "", "secrets", "kube-system"),
    ("list", "", "secrets", ""),
    ("get", "", "secrets", NAMESPACE),
    ("delete", "", "secrets", "default"),
    ("create", "", "secrets", "kube-system"),
    ("create", "", "nodes", ""),
    ("create", "", "pods", NAMESPACE),
    ("delete", "", "pods", "default"),
    ("create", "", "pods/exec", "default"),
    ("get", "", "configmaps", "kube-system"),
    ("update", "coordination.k8s.io", "leases", "kube-node-lease"),
    ("create", "coordination.k8s.io", "leases", "kube-system"),
    ("delete", "apps", "deployments", "default"),
    ("create", "", "serviceaccounts/token", "kube-system"),
    ("impersonate", "", "users", ""),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings", ""),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles", ""),
];

/// What a release with two pods gives to the two.
pub(crate) struct Installed {
    pub(crate) namespace: &'static str,
    pub(crate) provider_kubeconfig: PathBuf,
    pub(crate) autoscaler_kubeconfig: PathBuf,
    /// The cluster-autoscaler's.
    pub(crate) flags: Vec<String>,
}

/// The chart, and the API server that it is held against.
pub(crate) struct Chart<'a> {
    helm: Helm,
    control_plane: &'a ControlPlane,
}

impl<'a> Chart<'a> {
    pub(crate) fn new(places: &Places, control_plane: &'a ControlPlane) -> Self {
        Self {
            helm: Helm::new(&places.programs.join(HELM)),
            control_plane,
        }
    }

    /// Asks the API server about every different object that the chart makes; returns how many there are of each kind.
    pub(crate) async fn every_object_is_taken(&self, custom: &CustomResources) -> Result<String, Failure> {
        self.control_plane.ensure_namespace(NAMESPACE).await?;
        let helm = self.helm.clone();
        // The simulated hosts of other lanes share the threads.
        let objects = tokio::task::spawn_blocking(move || different_objects(&helm)).await;
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for (object, values) in &objects.map_err(|error| error.to_string())?? {
            let mut kind = text(&object["kind"]).to_owned();
            if custom.are_known(text(&object["apiVersion"])) {
                let taken = self.control_plane.apply(object, Apply::DryRun).await;
                taken.map_err(|failure| format!("{failure}\nwith {values}"))?;
            } else {
                kind.push_str(" not looked at");
            }
            *kinds.entry(kind).or_default() += 1;
        }
        let counted = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
        Ok(counted.collect::<Vec<_>>().join(", "))
    }

    /// Asks about the rights of the accounts of both kinds of release.
    pub(crate) async fn rights_are_exact(&self) -> Result<(), Failure> {
        // One account with the rights of both, and then an account each.
        self.install_accounts(&least()).await?;
        let all = [BOTH, PROVIDER_ALONE, AUTOSCALER_ALONE].concat();
        self.hold_against(AUTOSCALER_ACCOUNT, &all, NOBODY).await?;
        self.install_accounts(&standalone()).await?;
        for (account, own, others) in [
            (PROVIDER_ACCOUNT, PROVIDER_ALONE, AUTOSCALER_ALONE),
            (AUTOSCALER_ACCOUNT, AUTOSCALER_ALONE, PROVIDER_ALONE),
        ] {
            self.hold_against(account, &[BOTH, own].concat(), &[others, NOBODY].concat())
                .await?;
        }
        Ok(())
    }

    /// Installs the accounts and rights of a release whose two pods run by themselves.
    pub(crate) async fn install(&self) -> Result<Installed, Failure> {
        let objects = self.install_accounts(&standalone()).await?;
        let control_plane = self.control_plane;
        Ok(Installed {
            namespace: NAMESPACE,
            provider_kubeconfig: control_plane.kubeconfig_of(NAMESPACE, PROVIDER_ACCOUNT).await?,
            autoscaler_kubeconfig: control_plane.kubeconfig_of(NAMESPACE, AUTOSCALER_ACCOUNT).await?,
            flags: flags(&objects),
        })
    }

    /// Accounts, roles and bindings only: the pods are the scenario's own processes. Returns all objects.
    async fn install_accounts(&self, values: &Value) -> Result<Vec<Value>, Failure> {
        self.control_plane.ensure_namespace(NAMESPACE).await?;
        let objects = self.helm.render(NAMESPACE, values)?;
        for object in &objects {
            if object["kind"] == "ServiceAccount" || text(&object["apiVersion"]).starts_with("rbac.") {
                self.control_plane.apply(object, Apply::ForGood).await?;
            }
        }
        Ok(objects)
    }

    /// Fails unless the account may do all of the first and nothing of the second.
    async fn hold_against(&self, account: &str, needed: &[Right], refused: &[Right]) -> Result<(), Failure> {
        for (rights, allowed) in [(needed, true), (refused, false)] {
            for right in rights {
                if self.may(account, right).await? != allowed {
                    let word = if allowed { "may not" } else { "may" };
                    return Err(format!("{account} {word} {right:?}"));
                }
            }
        }
        Ok(())
    }

    async fn may(&self, account: &str, right: &Right) -> Result<bool, Failure> {
        let reviews: Api<SubjectAccessReview> = Api::all(self.control_plane.client.clone());
        let review = reviews.create(&PostParams::default(), &question(account, right)).await;
        let review = review.map_err(|error| format!("cannot ask what {account} may: {error}"))?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }
}

/// Values of a release whose two pods run by themselves.
fn standalone() -> Value {
    let mut values = least();
    merge(
        &mut values,
        &json!({ "mode": "standalone", "tls": { "enabled": false } }),
    );
    values
}

/// All that the chart can make, each with the first values that made it.
fn different_objects(helm: &Helm) -> Result<Vec<(Value, Value)>, Failure> {
    let (mut seen, mut objects) = (BTreeSet::new(), Vec::new());
    for values in combinations() {
        for object in helm.render(NAMESPACE, &values)? {
            if seen.insert(object.to_string()) {
                objects.push((object, values.clone()));
            }
        }
    }
    Ok(objects)
}

/// The flags of the rendered cluster-autoscaler, but for the file that names the provider's address.
fn flags(objects: &[Value]) -> Vec<String> {
    let mut pods = objects
        .iter()
        .filter_map(|object| object.pointer("/spec/template/spec/containers/0"));
    let autoscaler = pods
        .find(|container| container["name"] == "cluster-autoscaler")
        .unwrap();
    let arguments = autoscaler["args"].as_array().unwrap().iter().map(text);
    let flags = arguments.filter(|argument| !argument.starts_with("--cloud-config="));
    flags.map(str::to_owned).collect()
}

fn question(account: &str, (verb, group, resource, namespace): &Right) -> SubjectAccessReview {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{NAMESPACE}:{account}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{NAMESPACE}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(ResourceAttributes {
                verb: Some((*verb).to_owned()),
                group: Some((*group).to_owned()),
                resource: Some(resource.to_owned()),
                subresource: Some(subresource.to_owned()),
                namespace: Some((*namespace).to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
