//! What answers look like: the status and body of each refusal, and the JSON form of a VM.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::domain::vm::Architecture;

use crate::simulator::refusal::Refusal;
use crate::simulator::vm::Vm;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        error(status_of(&self), &self.to_string())
    }
}

/// An error as the API words it.
pub(super) fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}

/// The documented status of each refusal. Whatever has none of its own is 500, as in the real daemon.
fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::BadRequest(_) | Refusal::OverLimit { .. } | Refusal::AgentNotUp(_) => StatusCode::BAD_REQUEST,
        Refusal::TrialLimit(_) | Refusal::Protected(_) => StatusCode::FORBIDDEN,
        Refusal::NoSuchGroup(_) | Refusal::NoSuchVm(_) | Refusal::NoSuchSecret(_) | Refusal::NoSuchRoute => {
            StatusCode::NOT_FOUND
        }
        Refusal::NoSuchMethod => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::WaitTimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
        Refusal::SecretExists(_) | Refusal::AlreadyRunning(_) => StatusCode::CONFLICT,
        Refusal::WrongPower { .. }
        | Refusal::NoMemory { .. }
        | Refusal::NoAddress(_)
        | Refusal::NoRoomForSecrets(_)
        | Refusal::WentAway(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A VM in a list.
#[derive(Debug, Serialize)]
pub(super) struct NodeBody {
    hostname: String,
    hostgroup: String,
    ip: String,
    ram_bytes: u64,
    cpus: u32,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    arch: &'static str,
    status: &'static str,
    persistent: bool,
}

impl From<&Vm> for NodeBody {
    fn from(vm: &Vm) -> Self {
        Self {
            hostname: vm.hostname.clone(),
            hostgroup: vm.group.clone(),
            ip: vm.ip(),
            ram_bytes: vm.size.ram_bytes,
            cpus: vm.size.cpus,
            created_at: vm.created_at,
            tags: vm.order.tags.clone(),
            arch: host_arch(vm.arch),
            status: vm.power.as_str(),
            persistent: vm.order.persistent,
        }
    }
}

/// A VM that was just launched.
#[derive(Debug, Serialize)]
pub(super) struct LaunchedBody {
    pub(super) hostname: String,
    hostgroup: String,
    ip: String,
    created_at: Timestamp,
    arch: &'static str,
}

impl From<&Vm> for LaunchedBody {
    /// Here, unlike in lists, the address has its prefix length and the architecture is spelled as Go does.
    fn from(vm: &Vm) -> Self {
        Self {
            hostname: vm.hostname.clone(),
            hostgroup: vm.group.clone(),
            ip: format!("{}/24", vm.ip()),
            created_at: vm.created_at,
            arch: vm.arch.as_str(),
        }
    }
}

/// An architecture as host groups and lists spell it.
pub(super) fn host_arch(arch: Architecture) -> &'static str {
    match arch {
        Architecture::Amd64 => "x86_64",
        Architecture::Arm64 => "aarch64",
    }
}
