//! The admin endpoints, for probes, Prometheus and people: `/healthz`, `/readyz`, `/metrics`, `/api/v1/state`. Read
//! only, and no secret in any of them.

mod state;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::provider::Provider;

/// The content type of what prometheus-client writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long requests in flight may take once the server stops.
const DRAIN: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Sources {
    provider: Arc<Provider>,
    metrics: Arc<Metrics>,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, provider: Arc<Provider>, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .route("/api/v1/state", get(state::show))
        .with_state(Sources { provider, metrics });
    let stop = shutdown.clone();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = async { serving.await } => {
            if let Err(error) = served {
                tracing::error!(%error, "the admin server ended");
            }
        }
        () = too_late => {}
    }
}

/// Ready once every host has answered or was tried in vain; it stays so when hosts fail later. Names the groups that
/// are not listed because nothing is known of their VMs.
async fn readyz(State(sources): State<Sources>) -> Response {
    if !sources.provider.every_host_was_tried() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "waiting for the first answer of every host\n",
        )
            .into_response();
    }
    let unlisted = sources.provider.unlisted_groups();
    let mut text = "ready\n".to_owned();
    for group in unlisted {
        text.push_str(&format!(
            "node group {group} is not listed: its host is down or has not told the size of its VMs; see /api/v1/state\n"
        ));
    }
    text.into_response()
}

async fn render_metrics(State(sources): State<Sources>) -> Response {
    match sources.metrics.render(&sources.provider.gauges()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
