//! The pods that are bound to the Node of an agent: they run from the moment they are seen until they are to go. No
//! container is started, none ever ends by itself, and none is reached: pods get no address.

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::failure::{RequestFailure, bounded};
use super::{Agent, REQUEST_WITHIN};

/// How many pods are read at once. A Node has rarely more than 110.
const PAGE: u32 = 100;

/// The conditions of a pod that runs, in the order in which they become true.
const CONDITIONS: [&str; 4] = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];

/// A pod as far as it is read here. The whole type is a large part of the program that nothing else needs.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = v1::Pod)]
struct Pod {
    metadata: ObjectMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Container {
    name: String,
    image: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    start_time: Option<Time>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

/// What a pod needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Start,
    End,
}

/// Does for each pod of the Node what it needs now. A pod that cannot be helped is told of on the console and tried
/// again the next time.
pub(super) async fn look_after(agent: &Agent<'_>) -> Result<(), RequestFailure> {
    let pods = Api::<Pod>::all(agent.client.clone());
    let of_node = format!("spec.nodeName={}", agent.name());
    let mut page = ListParams::default().fields(&of_node).limit(PAGE);
    loop {
        let list = bounded(REQUEST_WITHIN, pods.list(&page)).await?;
        for pod in &list.items {
            help(agent, pod).await;
        }
        page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
        if page.continue_token.is_none() {
            return Ok(());
        }
    }
}

async fn help(agent: &Agent<'_>, pod: &Pod) {
    let (verb, outcome) = match step(pod) {
        Some(Step::Start) => ("start", start(agent, pod).await),
        Some(Step::End) => ("end", end(agent, pod).await),
        None => return,
    };
    // It may have gone meanwhile, and there may be a new one of its name, which is seen the next time.
    let is_gone = |failure: &RequestFailure| failure.is_answer("NotFound") || failure.is_answer("Conflict");
    if !outcome.as_ref().is_err_and(is_gone) {
        agent.did(&format!("{verb} the pod {}", pod.name_any()), &outcome);
    }
}

fn step(pod: &Pod) -> Option<Step> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(Step::End);
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match phase {
        Some("Running" | "Succeeded" | "Failed") => None,
        _ => Some(Step::Start),
    }
}

/// Deletes the pod for good, as a kubelet does when its containers have ended.
async fn end(agent: &Agent<'_>, pod: &Pod) -> Result<(), RequestFailure> {
    let this_one_now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let pods = api_of(agent, pod);
    let deleted = bounded(REQUEST_WITHIN, pods.delete(&pod.name_any(), &this_one_now)).await;
    deleted.map(drop)
}

async fn start(agent: &Agent<'_>, pod: &Pod) -> Result<(), RequestFailure> {
    let status = running(pod, &Time(Timestamp::now()));
    // The uid makes sure that it is this pod. Conditions of others stay.
    let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.metadata.uid }, "status": status }));
    let pods = api_of(agent, pod);
    let (name, params) = (pod.name_any(), PatchParams::default());
    bounded(REQUEST_WITHIN, pods.patch_status(&name, &params, &patch))
        .await
        .map(drop)
}

fn api_of(agent: &Agent<'_>, pod: &Pod) -> Api<Pod> {
    Api::namespaced(agent.client.clone(), &pod.namespace().unwrap_or_default())
}

/// The status of the pod when all its containers run.
fn running(pod: &Pod, now: &Time) -> Value {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let statuses: Vec<Value> = containers.map(|container| container_status(container, now)).collect();
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    json!({
        "phase": "Running",
        "startTime": started.unwrap_or(now),
        "conditions": new_conditions(pod, now),
        "containerStatuses": statuses,
    })
}

/// Those that are not true yet: the scheduler has set its own before.
fn new_conditions(pod: &Pod, now: &Time) -> Vec<Value> {
    let known = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_true = |type_: &str| {
        let mut known = known.into_iter().flatten();
        known.any(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let missing = CONDITIONS.into_iter().filter(|type_| !is_true(type_));
    missing
        .map(|type_| json!({ "type": type_, "status": "True", "lastTransitionTime": now }))
        .collect()
}

fn container_status(container: &Container, now: &Time) -> Value {
    json!({
        "name": container.name,
        "image": container.image.as_deref().unwrap_or_default(),
        "imageID": "",
        "ready": true,
        "restartCount": 0,
        "started": true,
        "state": { "running": { "startedAt": now } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: Option<&str>, deleted: bool) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.deletion_timestamp = deleted.then_some(Time(Timestamp::UNIX_EPOCH));
        pod.status = Some(Status {
            phase: phase.map(str::to_owned),
            ..Status::default()
        });
        pod
    }

    #[test]
    fn a_pod_is_started_once_and_ended_when_it_is_to_go() {
        for (phase, alive) in [
            (None, Some(Step::Start)),
            (Some("Pending"), Some(Step::Start)),
            (Some("Unknown"), Some(Step::Start)),
            (Some("Running"), None),
            (Some("Succeeded"), None),
            (Some("Failed"), None),
        ] {
            assert_eq!(step(&pod(phase, false)), alive, "{phase:?}");
            assert_eq!(step(&pod(phase, true)), Some(Step::End), "{phase:?}");
        }
    }
}
