//! One VM: its agent's health, its log, its power.

use axum::Json;
use axum::extract::{Path, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::answer::{LaunchedBody, NodeBody};
use super::extract::Params;
use crate::simulator::daemon::Daemon;
use crate::simulator::handle::Simulator;
use crate::simulator::refusal::Refusal;
use crate::simulator::vm::{Power, Vm};

/// `GET /vm/{hostname}`
pub(super) async fn describe(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<Json<NodeBody>, Refusal> {
    let describe = |vm: &Vm| Json(NodeBody::from(vm));
    simulator.shared.with(|state| state.daemon.vm(&hostname).map(describe))
}

#[derive(Debug, Serialize)]
pub(super) struct HealthBody {
    hostname: String,
    ip: String,
    /// Seconds, at least 1: clients ask whether it is above 0.
    agent_uptime: i64,
    agent_version: &'static str,
    /// Seconds, at least 1.
    system_uptime: i64,
    userdata_ran: bool,
    userdata_exit_code: Option<i32>,
}

/// `GET /vm/{hostname}/health`
pub(super) async fn health(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<Json<HealthBody>, Refusal> {
    simulator.shared.with(|state| {
        let vm = state.daemon.vm(&hostname)?;
        if vm.power == Power::Paused {
            return Err(Refusal::WrongPower {
                hostname,
                is: vm.power.as_str(),
                wanted: Power::Running.as_str(),
            });
        }
        let agent_since = vm.agent_since.ok_or(Refusal::AgentNotUp(hostname))?;
        Ok(Json(HealthBody {
            hostname: vm.hostname.clone(),
            ip: vm.ip(),
            agent_uptime: seconds_since(agent_since),
            agent_version: super::VERSION,
            system_uptime: seconds_since(vm.booted_at),
            userdata_ran: vm.userdata_outcome.is_some(),
            userdata_exit_code: vm.userdata_outcome.and_then(|outcome| outcome.exit_code),
        }))
    })
}

fn seconds_since(earlier: Timestamp) -> i64 {
    Timestamp::now()
        .duration_since(earlier)
        .max(SignedDuration::from_secs(1))
        .as_secs()
}

#[derive(Debug, Deserialize)]
pub(super) struct LogParams {
    #[serde(default)]
    lines: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct LogBody {
    hostname: String,
    lines: usize,
    content: String,
}

/// `GET /vm/{hostname}/logs`
pub(super) async fn logs(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
    Params(params): Params<LogParams>,
) -> Result<Json<LogBody>, Refusal> {
    let tail = |vm: &Vm| vm.console.tail(params.lines);
    let content = simulator.shared.with(|state| state.daemon.vm(&hostname).map(tail))?;
    Ok(Json(LogBody {
        hostname,
        lines: content.lines().count(),
        content,
    }))
}

#[derive(Debug, Deserialize)]
pub(super) struct ShutdownParams {
    action: Option<String>,
}

/// `POST /vm/{hostname}/shutdown`. Either action ends the VM: a reboot ends Firecracker, too.
pub(super) async fn shutdown(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
    Params(params): Params<ShutdownParams>,
) -> Result<&'static str, Refusal> {
    match params.action.as_deref() {
        None | Some("" | "reboot" | "shutdown") => {}
        Some(_) => return Err(Refusal::BadRequest("action must be shutdown or reboot".to_owned())),
    }
    switch(&simulator, |daemon| daemon.exit(&hostname), "Shutdown initiated")
}

/// `POST /vm/{hostname}/pause`
pub(super) async fn pause(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<&'static str, Refusal> {
    switch(&simulator, |daemon| daemon.pause(&hostname), "Pause initiated")
}

/// `POST /vm/{hostname}/resume`
pub(super) async fn resume(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<&'static str, Refusal> {
    switch(&simulator, |daemon| daemon.resume(&hostname), "Resume initiated")
}

/// `POST /vm/{hostname}/suspend`
pub(super) async fn suspend(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<&'static str, Refusal> {
    switch(&simulator, |daemon| daemon.suspend(&hostname), "Suspend initiated")
}

/// `POST /vm/{hostname}/restore`
pub(super) async fn restore(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<&'static str, Refusal> {
    let act = |daemon: &mut Daemon| daemon.restore(&hostname, Timestamp::now());
    switch(&simulator, act, "Restore initiated")
}

/// `POST /vm/{hostname}/relaunch`
pub(super) async fn relaunch(
    State(simulator): State<Simulator>,
    Path(hostname): Path<String>,
) -> Result<Json<LaunchedBody>, Refusal> {
    simulator.shared.change(|state| {
        let vm = state.daemon.relaunch(&hostname, Timestamp::now())?;
        Ok(Json(LaunchedBody::from(vm)))
    })
}

fn switch(
    simulator: &Simulator,
    act: impl FnOnce(&mut Daemon) -> Result<(), Refusal>,
    done: &'static str,
) -> Result<&'static str, Refusal> {
    simulator.shared.change(|state| act(&mut state.daemon))?;
    Ok(done)
}
