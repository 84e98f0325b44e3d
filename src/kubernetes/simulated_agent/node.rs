//! The Node of an agent and its status. Not the lease, by which the Node shows between two statuses that it lives.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{self, NodeAddress, NodeCondition, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams, TypeMeta};
use kube::{Api, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::failure::{RequestFailure, bounded};
use super::{Agent, REQUEST_WITHIN};
use crate::domain::node::{Resources, Taint};
use crate::domain::quantity::format_kibibytes;
use crate::simulator::GuestVm;

/// What a guest sees of its VM's memory, in percent: 4 GiB were seen as 4 024 136 KiB.
const VISIBLE_MEMORY_PERCENT: u64 = 95;
/// What pods get of the disk, in percent.
const ALLOCATABLE_DISK_PERCENT: u64 = 95;
const DISK: &str = "ephemeral-storage";

/// The conditions that a kubelet posts, as they are when all is well: type, status, reason.
const CONDITIONS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID"),
    ("Ready", "True", "KubeletReady"),
];

/// A Node as far as it is read and written here. The whole type is a large part of the program that nothing else needs.
#[derive(Clone, Debug, Deserialize, Serialize, Resource)]
#[resource(inherit = v1::Node)]
struct Node {
    #[serde(flatten)]
    types: TypeMeta,
    metadata: ObjectMeta,
    spec: Option<Spec>,
    #[serde(skip_serializing)]
    status: Option<Status>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Spec {
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
    taints: Option<Vec<v1::Taint>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Status {
    conditions: Option<Vec<NodeCondition>>,
}

/// Creates the Node, unless it exists, and posts its status.
pub(super) async fn register(agent: &Agent<'_>) -> Result<(), RequestFailure> {
    let nodes = Api::<Node>::all(agent.client.clone());
    let node = node_of(agent);
    match bounded(REQUEST_WITHIN, nodes.create(&PostParams::default(), &node)).await {
        Err(failure) if !failure.is_answer("AlreadyExists") => Err(failure),
        _ => report(agent).await,
    }
}

/// Posts the whole status of the Node. One that is gone is not made anew.
pub(super) async fn report(agent: &Agent<'_>) -> Result<(), RequestFailure> {
    let nodes = Api::<Node>::all(agent.client.clone());
    let before = bounded(REQUEST_WITHIN, nodes.get(agent.name())).await?;
    let before = before.status.and_then(|status| status.conditions).unwrap_or_default();
    // Conditions and addresses of others stay.
    let status = Patch::Strategic(json!({ "status": status_of(agent, &before) }));
    let params = PatchParams::default();
    let patch = nodes.patch_status(agent.name(), &params, &status);
    bounded(REQUEST_WITHIN, patch).await.map(drop)
}

fn node_of(agent: &Agent<'_>) -> Node {
    let taints = agent.plan.taints.iter().filter_map(|taint| taint.parse().ok());
    Node {
        types: TypeMeta::resource::<v1::Node>(),
        metadata: ObjectMeta {
            name: Some(agent.name().to_owned()),
            labels: Some(labels(agent)),
            ..ObjectMeta::default()
        },
        spec: Some(Spec {
            provider_id: Some(agent.plan.provider_id.clone()),
            taints: Some(taints.map(taint).collect()),
        }),
        status: None,
    }
}

fn labels(agent: &Agent<'_>) -> BTreeMap<String, String> {
    let arch = agent.vm.arch.as_str();
    let own = [
        ("kubernetes.io/hostname", agent.name()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
    ];
    let mut labels = agent.plan.labels.clone();
    labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

fn taint(taint: Taint) -> v1::Taint {
    v1::Taint {
        effect: taint.effect.as_str().to_owned(),
        key: taint.key,
        value: Some(taint.value),
        time_added: None,
    }
}

fn status_of(agent: &Agent<'_>, before: &[NodeCondition]) -> Value {
    let capacity = capacity(agent);
    let mut allocatable = capacity.clone();
    let disk = agent.vm.disk_bytes / 100 * ALLOCATABLE_DISK_PERCENT;
    allocatable.insert(DISK.to_owned(), disk.to_string());
    json!({
        "capacity": capacity,
        "allocatable": allocatable,
        "addresses": addresses(agent),
        "conditions": conditions(before, &Time(Timestamp::now())),
        "nodeInfo": node_info(agent.vm),
    })
}

fn capacity(agent: &Agent<'_>) -> Resources {
    let vm = agent.vm;
    let max_pods = agent.plan.kubelet_args.iter();
    let max_pods = max_pods.filter_map(|arg| arg.strip_prefix("max-pods=")).next_back();
    let mut capacity = vec![
        ("cpu", vm.cpus.to_string()),
        ("memory", format_kibibytes(vm.ram_bytes / 100 * VISIBLE_MEMORY_PERCENT)),
        ("pods", max_pods.unwrap_or("110").to_owned()),
        (DISK, vm.disk_bytes.to_string()),
    ];
    if vm.gpu_count > 0 {
        capacity.push(("nvidia.com/gpu", vm.gpu_count.to_string()));
    }
    let quantities = capacity.into_iter();
    quantities.map(|(name, text)| (name.to_owned(), text)).collect()
}

fn addresses(agent: &Agent<'_>) -> Vec<NodeAddress> {
    let address = |type_: &str, address: &str| NodeAddress {
        type_: type_.to_owned(),
        address: address.to_owned(),
    };
    vec![address("InternalIP", &agent.vm.ip), address("Hostname", agent.name())]
}

fn node_info(vm: &GuestVm) -> NodeSystemInfo {
    NodeSystemInfo {
        architecture: vm.arch.as_str().to_owned(),
        operating_system: "linux".to_owned(),
        kubelet_version: "v0.0.0-simulated".to_owned(),
        container_runtime_version: "simulated://0".to_owned(),
        os_image: "simulated".to_owned(),
        machine_id: vm.machine_id.clone(),
        ..NodeSystemInfo::default()
    }
}

fn conditions(before: &[NodeCondition], now: &Time) -> Vec<NodeCondition> {
    let conditions = CONDITIONS.iter();
    conditions
        .map(|(type_, status, reason)| NodeCondition {
            type_: (*type_).to_owned(),
            status: (*status).to_owned(),
            reason: Some((*reason).to_owned()),
            message: Some("a simulated VM".to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: Some(since(before, type_, status).unwrap_or_else(|| now.clone())),
        })
        .collect()
}

/// Since when a condition has had this status without a break. The cluster-autoscaler takes a Node as a template only
/// if it has been ready for a while, so this must not move with every heartbeat.
fn since(before: &[NodeCondition], type_: &str, status: &str) -> Option<Time> {
    let same = |condition: &&NodeCondition| condition.type_ == type_ && condition.status == status;
    before.iter().find(same)?.last_transition_time.clone()
}
