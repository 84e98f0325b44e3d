//! The admin endpoints, for probes, Prometheus and people: `/healthz`, `/readyz`, `/metrics`, `/api/v1/state`. Read
//! only, and no secret in any of them. Bounded in connections and in how long a request may take to come.

mod readiness;
mod state;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

pub use readiness::Readiness;

use crate::metrics::Metrics;
use crate::provider::Provider;
use crate::seats::{Lost, Seat, Seats};
use crate::seldom::Seldom;

/// The content type of what prometheus-client writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long requests in flight may take once the server stops.
const DRAIN: Duration = Duration::from_secs(2);
/// Connections at once: probes, Prometheus and a few people. Who comes when there are so many gets the place of one that
/// never asked anything, or else of the one that was quiet the longest.
const CONNECTIONS: usize = 64;
/// How long the head of a request may take to come, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// How long accepting rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The groups and their hosts.
    pub provider: Arc<Provider>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// Whether clients are to come.
    pub readiness: watch::Receiver<Readiness>,
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, sources: Sources, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .route("/api/v1/state", get(state::show))
        .with_state(sources);
    let connections = TaskTracker::new();
    let accepting = accept(&listener, &router, &connections, &shutdown);
    shutdown.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

/// Never returns.
async fn accept(listener: &TcpListener, router: &Router, connections: &TaskTracker, shutdown: &CancellationToken) {
    let (seats, failures) = (Seats::new(CONNECTIONS), Seldom::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, seats.take(), router.clone(), shutdown.clone()));
            }
            Err(error) => {
                if let Some(left_out) = failures.is_due() {
                    tracing::warn!(%error, left_out, "accepting a connection of the admin address failed");
                } else {
                    tracing::debug!(%error, "accepting a connection of the admin address failed");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, (seat, lost): (Seat, Lost), router: Router, shutdown: CancellationToken) {
    let service = service_fn(|request: hyper::Request<Incoming>| {
        seat.heard();
        let router = router.clone();
        async move { Ok::<Response, Infallible>(answer(router, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Errors are the client's.
        _ = connection.as_mut() => return,
        () = lost => return,
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN, connection).await;
}

async fn answer(router: Router, request: hyper::Request<Incoming>) -> Response {
    let Ok(response) = router.oneshot(request.map(Body::new)).await;
    response
}

/// Names the groups that are waited for, and those that are not listed because nothing is known of their VMs.
async fn readyz(State(sources): State<Sources>) -> Response {
    let readiness = *sources.readiness.borrow();
    let (status, text) = match readiness {
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, waiting(&sources.provider)),
        Readiness::Ready => (StatusCode::OK, ready(&sources.provider)),
        Readiness::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    };
    (status, text).into_response()
}

fn waiting(provider: &Provider) -> String {
    let groups: Vec<String> = provider.untried_groups().iter().map(ToString::to_string).collect();
    format!("waiting for the first answer of the host of {}\n", groups.join(", "))
}

fn ready(provider: &Provider) -> String {
    let mut text = "ready\n".to_owned();
    for group in provider.unlisted_groups() {
        text.push_str(&format!(
            "node group {group} is not listed: its host is down or has not told the size of its VMs; see /api/v1/state\n"
        ));
    }
    text
}

async fn render_metrics(State(sources): State<Sources>) -> Response {
    match sources.metrics.render(&sources.provider.gauges()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
