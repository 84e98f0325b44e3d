//! `/api/v1/state`: groups, instances, hosts and recent operations as JSON, for a person in trouble.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Sources;
use crate::provider::ports::ClusterStatus;
use crate::provider::{GroupView, HostStatus, InstanceView, Operation, Provider};

#[derive(Serialize)]
struct StateJson {
    version: &'static str,
    kubernetes: KubernetesJson,
    groups: Vec<GroupJson>,
    hosts: Vec<HostJson>,
    recent_operations: Vec<OperationJson>,
}

#[derive(Serialize)]
struct KubernetesJson {
    status: &'static str,
    nodes: usize,
    server_version: Option<String>,
}

#[derive(Serialize)]
struct GroupJson {
    id: String,
    /// Whether the cluster-autoscaler is shown it: the size of its VMs is known.
    listed: bool,
    /// No longer in the configuration; goes on until it is empty.
    retired: bool,
    min_size: u32,
    max_size: u32,
    target_size: u32,
    slicer_url: String,
    host_group: String,
    shape: Option<ShapeJson>,
    instances: Vec<InstanceJson>,
}

#[derive(Serialize)]
struct ShapeJson {
    cpus: u32,
    ram_bytes: u64,
    gpu_count: u32,
    arch: &'static str,
}

#[derive(Serialize)]
struct InstanceJson {
    id: String,
    phase: &'static str,
    age_seconds: u64,
    vm: Option<String>,
    halted: bool,
    error: Option<ErrorJson>,
}

#[derive(Serialize)]
struct ErrorJson {
    code: &'static str,
    message: String,
}

#[derive(Serialize)]
struct HostJson {
    slicer_url: String,
    groups: Vec<String>,
    status: &'static str,
    /// Since the last listing while it is up, since it went down otherwise.
    seconds: u64,
    error: Option<String>,
}

#[derive(Serialize)]
struct OperationJson {
    unix_time: u64,
    group: String,
    what: String,
}

pub(super) async fn show(State(sources): State<Sources>) -> Json<impl Serialize> {
    Json(state_of(&sources.provider))
}

fn state_of(provider: &Provider) -> StateJson {
    let (status, nodes, server_version) = provider.cluster_view();
    let view = provider.view();
    StateJson {
        version: env!("CARGO_PKG_VERSION"),
        kubernetes: KubernetesJson {
            status: match status {
                ClusterStatus::Absent => "absent",
                ClusterStatus::Unknown => "unknown",
                ClusterStatus::Live => "live",
                ClusterStatus::Stale => "stale",
            },
            nodes,
            server_version,
        },
        hosts: hosts_of(&view),
        groups: view.into_iter().map(group_json).collect(),
        recent_operations: provider.journal().recent().into_iter().map(operation_json).collect(),
    }
}

/// Groups of one host share its line; it is down if any of them found it so.
fn hosts_of(view: &[GroupView]) -> Vec<HostJson> {
    let mut hosts: BTreeMap<String, HostJson> = BTreeMap::new();
    for group in view {
        let seen = host_json(group);
        let host = hosts.entry(group.host.clone()).or_insert_with(|| host_json(group));
        host.groups.push(group.id.to_string());
        if seen.status == "down" && host.status != "down" {
            (host.status, host.seconds, host.error) = (seen.status, seen.seconds, seen.error);
        }
    }
    hosts.into_values().collect()
}

fn host_json(group: &GroupView) -> HostJson {
    let (status, since) = &group.host_status;
    let (status, error) = match status {
        HostStatus::Unknown => ("unknown", None),
        HostStatus::Up { .. } => ("up", None),
        HostStatus::Down { error, .. } => ("down", Some(error.to_string())),
    };
    HostJson {
        slicer_url: group.host.clone(),
        groups: Vec::new(),
        status,
        seconds: since.as_secs(),
        error,
    }
}

fn group_json(group: GroupView) -> GroupJson {
    GroupJson {
        id: group.id.to_string(),
        listed: group.listed,
        retired: group.retired,
        min_size: group.limits.0,
        max_size: group.limits.1,
        target_size: group.target_size,
        slicer_url: group.host,
        host_group: group.host_group,
        shape: group.shape.map(|shape| ShapeJson {
            cpus: shape.cpus,
            ram_bytes: shape.ram_bytes,
            gpu_count: shape.gpu_count,
            arch: shape.arch.as_str(),
        }),
        instances: group.instances.into_iter().map(instance_json).collect(),
    }
}

fn instance_json(instance: InstanceView) -> InstanceJson {
    InstanceJson {
        id: instance.id.to_string(),
        phase: instance.phase,
        age_seconds: instance.age.as_secs(),
        vm: instance.vm,
        halted: instance.halted,
        error: instance.failure.map(|(code, message)| ErrorJson { code, message }),
    }
}

fn operation_json(operation: Operation) -> OperationJson {
    // The wall clock may stand before 1970 on a board without a battery: then times are shown as 0.
    let since = operation.at.duration_since(UNIX_EPOCH);
    OperationJson {
        unix_time: since.as_ref().map_or(0, Duration::as_secs),
        group: operation.group.to_string(),
        what: operation.what,
    }
}
