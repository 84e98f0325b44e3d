//! Statistics of VMs. The numbers are made up, but of the size, form and oddities of real ones.

use axum::Json;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::answer::{NodeBody, host_arch};
use crate::simulator::handle::Simulator;
use crate::simulator::refusal::Refusal;
use crate::simulator::vm::{TagFilter, Vm};

#[derive(Debug, Serialize)]
pub(super) struct StatBody {
    #[serde(flatten)]
    node: NodeBody,
    snapshot: Snapshot,
    error: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    hostname: String,
    arch: &'static str,
    timestamp: Timestamp,
    uptime: String,
    total_cpus: u32,
    total_memory: u64,
    memory_used: u64,
    memory_available: u64,
    memory_used_percent: u32,
    load_avg1: f32,
    load_avg5: f32,
    load_avg15: f32,
    disk_read_total: u64,
    disk_write_total: u64,
    network_read_total: u64,
    network_write_total: u64,
    #[serde(rename = "diskIOInflight")]
    disk_io_inflight: u32,
    open_connections: u32,
    open_files: u32,
    entropy: u32,
    disk_space_total: u64,
    disk_space_used: u64,
    disk_space_free: u64,
    disk_space_used_percent: u32,
}

/// `GET /nodes/stats`
pub(super) async fn of_all(State(simulator): State<Simulator>) -> Result<Json<Vec<StatBody>>, Refusal> {
    simulator.shared.with(|state| {
        let vms = state.daemon.list(None, &TagFilter::All)?;
        Ok(Json(vms.into_iter().map(stat).collect()))
    })
}

/// `GET /node/{hostname}/stats`
pub(super) async fn of_one(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<Json<StatBody>, Refusal> {
    simulator
        .shared
        .with(|state| state.daemon.vm(&hostname).map(|vm| Json(stat(vm))))
}

fn stat(vm: &Vm) -> StatBody {
    // A guest sees about 96 % of its RAM, and the real daemon multiplies kB by 1000.
    let total_memory = vm.size.ram_bytes / 100 * 96 / 1024 * 1000;
    let memory_used = total_memory / 5;
    let disk_used = vm.disk_bytes / 10;
    let now = Timestamp::now();
    let up = now.duration_since(vm.booted_at).max(SignedDuration::ZERO);
    StatBody {
        node: NodeBody::from(vm),
        error: "",
        snapshot: Snapshot {
            hostname: vm.hostname.clone(),
            arch: host_arch(vm.arch),
            timestamp: now,
            uptime: format!("{}s", up.as_secs()),
            total_cpus: vm.size.cpus,
            total_memory,
            memory_used,
            memory_available: total_memory - memory_used,
            memory_used_percent: 20,
            load_avg1: 0.25,
            load_avg5: 0.15,
            load_avg15: 0.05,
            disk_read_total: 300_000_000,
            disk_write_total: 120_000_000,
            network_read_total: 90_000_000,
            network_write_total: 4_000_000,
            disk_io_inflight: 0,
            open_connections: 6,
            open_files: 1100,
            entropy: 256,
            disk_space_total: vm.disk_bytes,
            disk_space_used: disk_used,
            disk_space_free: vm.disk_bytes - disk_used,
            disk_space_used_percent: 10,
        },
    }
}
