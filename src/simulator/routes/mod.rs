//! The HTTP API: which path leads where, and which class of faults it belongs to.

mod admin;
mod answer;
mod extract;
pub(super) mod gate;
mod hostgroup;
mod secret;
mod stats;
mod vm;

use axum::extract::State;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde_json::json;

use super::faults::RouteClass;
use super::handle::Simulator;
use super::refusal::Refusal;

/// The version that the simulated daemon claims: that of the OpenAPI document it follows.
const VERSION: &str = "0.1.71";

impl Simulator {
    /// All routes. A router cannot close a connection: where a fault wants that, it answers 502 unless
    /// [`serve`](Self::serve) serves it.
    pub fn router(&self) -> Router {
        self.shared.change(|_| ());
        let gate = from_fn_with_state(self.clone(), gate::gate);
        let authorize = from_fn_with_state(self.clone(), gate::authorize);
        let slicer = slicer_routes()
            .route_layer(authorize)
            .route("/healthz", get(healthz))
            .method_not_allowed_fallback(no_such_method)
            .fallback(no_such_route)
            .layer(gate);
        let router = if self.shared.admin_routes {
            slicer.merge(admin::routes().layer(from_fn(gate::buffer_body)))
        } else {
            slicer
        };
        router.with_state(self.clone())
    }
}

fn slicer_routes() -> Router<Simulator> {
    Router::new()
        .route("/info", get(info))
        .route("/hostgroup", get(hostgroup::list_groups))
        .route(
            "/hostgroup/{name}/nodes",
            get(hostgroup::list_of_group).post(hostgroup::create),
        )
        .route("/hostgroup/{name}/nodes/{node}", delete(hostgroup::delete))
        .route("/nodes", get(hostgroup::list_all))
        .route("/nodes/stats", get(stats::of_all))
        .route("/node/{hostname}/stats", get(stats::of_one))
        .route("/secrets", get(secret::list).post(secret::create))
        .route("/secrets/{name}", patch(secret::update).delete(secret::delete))
        .route("/vm/{hostname}", get(vm::describe))
        .route("/vm/{hostname}/health", get(vm::health))
        .route("/vm/{hostname}/logs", get(vm::logs))
        .route("/vm/{hostname}/shutdown", post(vm::shutdown))
        .route("/vm/{hostname}/pause", post(vm::pause))
        .route("/vm/{hostname}/resume", post(vm::resume))
        .route("/vm/{hostname}/suspend", post(vm::suspend))
        .route("/vm/{hostname}/restore", post(vm::restore))
        .route("/vm/{hostname}/relaunch", post(vm::relaunch))
}

/// The class of faults that a request belongs to, by its method and the pattern of its route.
fn class_of(method: &Method, pattern: &str) -> RouteClass {
    match pattern {
        "/hostgroup/{name}/nodes" if method == Method::POST => RouteClass::Create,
        "/hostgroup/{name}/nodes/{node}" => RouteClass::Delete,
        "/hostgroup" => RouteClass::Hostgroup,
        "/secrets" | "/secrets/{name}" => RouteClass::Secrets,
        "/hostgroup/{name}/nodes" | "/nodes" | "/nodes/stats" | "/node/{hostname}/stats" | "/vm/{hostname}" => {
            RouteClass::List
        }
        "/vm/{hostname}/health" => RouteClass::Health,
        "/vm/{hostname}/logs" => RouteClass::Logs,
        _ if pattern.starts_with("/vm/") => RouteClass::Power,
        _ => RouteClass::Daemon,
    }
}

async fn info(State(_): State<Simulator>) -> Response {
    Json(json!({
        "version": VERSION,
        "git_commit": "simulator",
        // Go's names for both, unlike in host groups.
        "platform": "linux",
        "arch": "amd64",
    }))
    .into_response()
}

async fn healthz() -> &'static str {
    "OK"
}

async fn no_such_route() -> Refusal {
    Refusal::NoSuchRoute
}

async fn no_such_method() -> Refusal {
    Refusal::NoSuchMethod
}
