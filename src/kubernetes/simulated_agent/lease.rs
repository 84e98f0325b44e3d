//! The lease by which the control plane sees that a Node's kubelet lives. Not the conditions of the Node.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::super::failure::{RequestFailure, bounded};
use super::super::heartbeat::LEASE_NAMESPACE;
use super::{Agent, REQUEST_WITHIN};

/// How long a lease lasts, in seconds, as kubelets have it.
const DURATION: i32 = 40;

/// Renews the lease, or creates it.
pub(super) async fn renew(agent: &Agent<'_>) -> Result<(), RequestFailure> {
    let leases = Api::<Lease>::namespaced(agent.client.clone(), LEASE_NAMESPACE);
    let renewal = Patch::Merge(json!({ "spec": spec(agent) }));
    let params = PatchParams::default();
    let patch = leases.patch(agent.name(), &params, &renewal);
    match bounded(REQUEST_WITHIN, patch).await {
        Err(failure) if failure.is_answer("NotFound") => create(agent, &leases).await,
        renewed => renewed.map(drop),
    }
}

/// A lease belongs to its Node and goes with it. So none is made without a Node, as by a kubelet.
async fn create(agent: &Agent<'_>, leases: &Api<Lease>) -> Result<(), RequestFailure> {
    let nodes = Api::<Node>::all(agent.client.clone());
    let node = bounded(REQUEST_WITHIN, nodes.get_metadata(agent.name())).await?;
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(agent.name().to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: agent.name().to_owned(),
                uid: node.metadata.uid.unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(agent)),
    };
    let created = bounded(REQUEST_WITHIN, leases.create(&PostParams::default(), &lease)).await;
    created.map(drop)
}

fn spec(agent: &Agent<'_>) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(agent.name().to_owned()),
        lease_duration_seconds: Some(DURATION),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    }
}
