//! `/simulator/...`: what the real daemon does not have. Switches for faults and events, and a look inside. These
//! routes need no token, are never hit by a fault, and show no secret.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::extract::JsonBody;
use crate::simulator::config::Capacity;
use crate::simulator::faults::{Fault, FaultReport, InvalidFault};
use crate::simulator::guest::{UserdataOrder, UserdataOutcome};
use crate::simulator::handle::{NoSuchVm, Simulator};
use crate::simulator::journal::RequestLog;
use crate::simulator::refusal::Refusal;
use crate::simulator::vm::VmView;

pub(super) fn routes() -> Router<Simulator> {
    Router::new()
        .route("/simulator/state", get(state))
        .route(
            "/simulator/faults",
            get(show_faults).post(switch_fault_on).delete(clear_faults),
        )
        .route("/simulator/restart", post(restart))
        .route("/simulator/down", post(down))
        .route("/simulator/up", post(up))
        .route("/simulator/capacity", post(set_capacity))
        .route("/simulator/userdata-outcome", post(order_userdata_to_come))
        .route("/simulator/vms/{hostname}/kill", post(kill))
        .route("/simulator/vms/{hostname}/userdata", post(order_userdata))
}

impl From<NoSuchVm> for Refusal {
    fn from(missing: NoSuchVm) -> Self {
        Self::NoSuchVm(missing.hostname)
    }
}

/// Everything but secrets and userdata.
#[derive(Debug, Serialize)]
struct StateBody {
    up: bool,
    capacity: Capacity,
    created_total: u64,
    deleted_total: u64,
    userdata_to_come: UserdataOrder,
    vms: Vec<VmBody>,
    secrets: Vec<String>,
    faults: Vec<FaultReport>,
    requests: RequestLog,
}

#[derive(Debug, Serialize)]
struct VmBody {
    hostname: String,
    hostgroup: String,
    ip: String,
    cpus: u32,
    ram_bytes: u64,
    tags: Vec<String>,
    secrets: Option<Vec<String>>,
    persistent: bool,
    protected: bool,
    created_at: Timestamp,
    status: &'static str,
    agent_up: bool,
    userdata: Option<UserdataOutcome>,
}

impl From<VmView> for VmBody {
    fn from(vm: VmView) -> Self {
        Self {
            hostname: vm.hostname,
            hostgroup: vm.group,
            ip: vm.ip,
            cpus: vm.cpus,
            ram_bytes: vm.ram_bytes,
            tags: vm.tags,
            secrets: vm.secrets,
            persistent: vm.persistent,
            protected: vm.protected,
            created_at: vm.created_at,
            status: vm.power.as_str(),
            agent_up: vm.agent_up,
            userdata: vm.userdata_outcome,
        }
    }
}

async fn state(State(simulator): State<Simulator>) -> Json<StateBody> {
    let (up, capacity, userdata_to_come) = simulator.shared.with(|state| {
        let daemon = &state.daemon;
        (state.is_up(), daemon.capacity(), daemon.userdata_to_come())
    });
    Json(StateBody {
        up,
        capacity,
        created_total: simulator.created_total(),
        deleted_total: simulator.deleted_total(),
        userdata_to_come,
        vms: simulator.vms().into_iter().map(VmBody::from).collect(),
        secrets: simulator.secrets(),
        faults: simulator.faults(),
        requests: simulator.requests(),
    })
}

async fn show_faults(State(simulator): State<Simulator>) -> Json<Vec<FaultReport>> {
    Json(simulator.faults())
}

async fn switch_fault_on(
    State(simulator): State<Simulator>,
    JsonBody(fault): JsonBody<Fault>,
) -> Result<Json<Vec<FaultReport>>, Refusal> {
    let refused = |error: InvalidFault| Refusal::BadRequest(error.to_string());
    simulator.switch_on(fault).map_err(refused)?;
    Ok(Json(simulator.faults()))
}

async fn clear_faults(State(simulator): State<Simulator>) -> StatusCode {
    simulator.clear_faults();
    StatusCode::NO_CONTENT
}

async fn restart(State(simulator): State<Simulator>) -> StatusCode {
    simulator.restart();
    StatusCode::NO_CONTENT
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DownBody {
    for_ms: Option<u64>,
}

async fn down(State(simulator): State<Simulator>, JsonBody(body): JsonBody<DownBody>) -> StatusCode {
    simulator.down(body.for_ms.map(Duration::from_millis));
    StatusCode::NO_CONTENT
}

async fn up(State(simulator): State<Simulator>) -> StatusCode {
    simulator.up();
    StatusCode::NO_CONTENT
}

async fn set_capacity(State(simulator): State<Simulator>, JsonBody(capacity): JsonBody<Capacity>) -> StatusCode {
    simulator.set_capacity(capacity);
    StatusCode::NO_CONTENT
}

async fn order_userdata_to_come(
    State(simulator): State<Simulator>,
    JsonBody(order): JsonBody<UserdataOrder>,
) -> StatusCode {
    simulator.order_userdata_to_come(order);
    StatusCode::NO_CONTENT
}

async fn kill(State(simulator): State<Simulator>, Path(hostname): Path<String>) -> Result<StatusCode, Refusal> {
    simulator.kill(&hostname)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn order_userdata(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
    JsonBody(order): JsonBody<UserdataOrder>,
) -> Result<StatusCode, Refusal> {
    simulator.order_userdata(&hostname, order)?;
    Ok(StatusCode::NO_CONTENT)
}
