//! The Helm chart on a real API server: whether it takes every object that the chart can make, and whether the accounts
//! of the chart may do what they need and nothing else.

use std::collections::BTreeSet;
use std::path::PathBuf;

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use crate::combinations::{combinations, least, merge};
use crate::helm::Helm;
use crate::{Failure, Lane};

/// The program, as `tests/e2e/run` puts it beside the others.
pub(crate) const HELM: &str = "helm";
/// Where the release is: neither of the namespaces in which it has rights anyway.
const NAMESPACE: &str = "scaling";
/// Groups of CRDs that are not installed here.
const FOREIGN: [&str; 2] = ["monitoring.coreos.com/", "cert-manager.io/"];

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
    ("patch", "events.k8s.io", "events", "default"),
    ("create", "events.k8s.io", "events", NAMESPACE),
    ("patch", "events.k8s.io", "events", NAMESPACE),
];

/// What both need.
const BOTH: &[Right] = &[
    ("get", "", "nodes", ""),
    ("list", "", "nodes", ""),
    ("watch", "", "nodes", ""),
];

/// Some of what the cluster-autoscaler alone needs. What it needs in all, the scenario shows.
const AUTOSCALER_ALONE: &[Right] = &[
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

/// What a release gives to the two.
pub(crate) struct Installed {
    pub(crate) provider_kubeconfig: PathBuf,
    pub(crate) autoscaler_kubeconfig: PathBuf,
    /// The cluster-autoscaler's.
    pub(crate) flags: Vec<String>,
}

/// Asks the API server about every object that the chart makes, and installs accounts and rights.
pub(crate) async fn install(lane: &Lane) -> Result<Installed, Failure> {
    let (helm, control_plane) = (Helm::new(&lane.places.programs.join(HELM)), &lane.control_plane);
    control_plane.ensure_namespace(NAMESPACE).await?;
    let all = helm.clone();
    // The simulated hosts of other lanes share the threads.
    let objects = tokio::task::spawn_blocking(move || different_objects(&all)).await;
    let objects = objects.map_err(|error| error.to_string())??;
    for (object, values) in &objects {
        let refused = |failure| format!("{failure}\nwith {values}");
        apply(lane, object, true).await.map_err(refused)?;
    }
    println!(
        "[{} chart] the API server takes {} different objects",
        lane.version,
        objects.len()
    );
    // One account with the rights of both, and then an account each.
    let together = helm.render(NAMESPACE, &least())?;
    install_accounts(lane, &together).await?;
    let all = [BOTH, PROVIDER_ALONE, AUTOSCALER_ALONE].concat();
    hold_against(lane, AUTOSCALER_ACCOUNT, &all, NOBODY).await?;
    let mut values = least();
    merge(
        &mut values,
        &json!({ "mode": "standalone", "tls": { "enabled": false } }),
    );
    let apart = helm.render(NAMESPACE, &values)?;
    install_accounts(lane, &apart).await?;
    for (account, own, others) in [
        (PROVIDER_ACCOUNT, PROVIDER_ALONE, AUTOSCALER_ALONE),
        (AUTOSCALER_ACCOUNT, AUTOSCALER_ALONE, PROVIDER_ALONE),
    ] {
        hold_against(lane, account, &[BOTH, own].concat(), &[others, NOBODY].concat()).await?;
    }
    Ok(Installed {
        provider_kubeconfig: control_plane.kubeconfig_of(NAMESPACE, PROVIDER_ACCOUNT).await?,
        autoscaler_kubeconfig: control_plane.kubeconfig_of(NAMESPACE, AUTOSCALER_ACCOUNT).await?,
        flags: flags(&apart),
    })
}

/// All that the chart can make of Kubernetes' own kinds, each with the first values that made it.
fn different_objects(helm: &Helm) -> Result<Vec<(Value, Value)>, Failure> {
    let (mut seen, mut objects) = (BTreeSet::new(), Vec::new());
    for values in combinations() {
        for object in helm.render(NAMESPACE, &values)? {
            let foreign = FOREIGN
                .iter()
                .any(|group| text(&object["apiVersion"]).starts_with(group));
            if !foreign && seen.insert(object.to_string()) {
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

/// Accounts, roles and bindings only: the pods are the scenario's own processes.
async fn install_accounts(lane: &Lane, objects: &[Value]) -> Result<(), Failure> {
    for object in objects {
        if object["kind"] == "ServiceAccount" || text(&object["apiVersion"]).starts_with("rbac.") {
            apply(lane, object, false).await?;
        }
    }
    Ok(())
}

/// Server-side, strictly.
async fn apply(lane: &Lane, object: &Value, dry_run: bool) -> Result<(), Failure> {
    let object: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let types = object.types.clone().unwrap();
    let kind = GroupVersionKind::try_from(&types).map_err(|error| error.to_string())?;
    let (resource, client) = (ApiResource::from_gvk(&kind), lane.control_plane.client.clone());
    let name = object.metadata.name.clone().unwrap();
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let mut how = PatchParams::apply("chart").force().validation_strict();
    how.dry_run = dry_run;
    let applied = api.patch(&name, &how, &Patch::Apply(&object)).await;
    applied
        .map(drop)
        .map_err(|error| format!("the API server refuses {} {name}: {error}", types.kind))
}

/// Fails unless the account may do all of the first and nothing of the second.
async fn hold_against(lane: &Lane, account: &str, needed: &[Right], refused: &[Right]) -> Result<(), Failure> {
    for (rights, allowed) in [(needed, true), (refused, false)] {
        for right in rights {
            if may(lane, account, right).await? != allowed {
                let word = if allowed { "may not" } else { "may" };
                return Err(format!("{account} {word} {right:?}"));
            }
        }
    }
    Ok(())
}

async fn may(lane: &Lane, account: &str, (verb, group, resource, namespace): &Right) -> Result<bool, Failure> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let question = SubjectAccessReview {
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
    };
    let reviews: Api<SubjectAccessReview> = Api::all(lane.control_plane.client.clone());
    let review = reviews.create(&PostParams::default(), &question).await;
    let review = review.map_err(|error| format!("cannot ask what {account} may: {error}"))?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
