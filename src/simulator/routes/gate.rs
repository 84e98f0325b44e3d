//! Every request to the Slicer API passes here: it is counted, may be hit by a fault, and is then carried out in a
//! task of its own. Like the handlers of a Go daemon, that task goes on when the client has gone.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::json;

use super::answer;
use crate::simulator::faults::FaultKind;
use crate::simulator::handle::Simulator;
use crate::simulator::journal::RequestRecord;
use crate::simulator::refusal::Refusal;
use crate::simulator::shared::Shared;

/// The largest request body, in bytes.
const MOST_BODY_BYTES: usize = 1 << 20;

/// Marks a response that must not be sent: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulator) struct NoAnswer;

/// Counts a request, lets faults hit it, and has it carried out.
pub(super) async fn gate(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let shared = &simulator.shared;
    let visit = Visit::begin(shared, &request);
    let class = super::class_of(request.method(), pattern(&request));
    let admitted = shared.with(|state| {
        let answers = state.is_up().then(|| state.answers())?;
        Some((answers, state.faults.hit(class)))
    });
    let Some((answers, fault)) = admitted else {
        return closed();
    };
    let answer = carry_out_with(fault, shared, request, next);
    let answer = answers.run_until_cancelled(answer).await.unwrap_or_else(closed);
    visit.end(&answer);
    answer
}

/// Refuses requests without the right bearer token.
pub(super) async fn authorize(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match simulator.shared.token.load().as_deref() {
        Some(token) if given != Some(token.expose_secret()) => Refusal::Unauthorized.into_response(),
        _ => next.run(request).await,
    }
}

/// Reads the whole body before anything else happens, within the limit.
pub(super) async fn buffer_body(request: Request, next: Next) -> Response {
    match buffered(request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn carry_out_with(fault: Option<FaultKind>, shared: &Arc<Shared>, request: Request, next: Next) -> Response {
    let act = |delay| carry_out(delay, shared, request, next);
    match fault {
        None => act(Duration::ZERO).await,
        Some(FaultKind::Status { code, text }) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            answer::error(status, &text)
        }
        Some(FaultKind::ErrorInBody { text }) => {
            axum::Json(json!({ "message": "", "disk_removed": "", "error": text })).into_response()
        }
        Some(FaultKind::CloseBefore) => closed(),
        Some(FaultKind::CloseAfter) => {
            act(Duration::ZERO).await;
            closed()
        }
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::DelayBefore { ms }) => act(Duration::from_millis(ms)).await,
        Some(FaultKind::DelayAfter { ms }) => {
            let answer = act(Duration::ZERO).await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer
        }
        Some(FaultKind::Nonsense) => with_body(act(Duration::ZERO).await, "<html><body>It works!</body></html>"),
        Some(FaultKind::CutOff) => cut_off(act(Duration::ZERO).await).await,
        Some(FaultKind::Huge { bytes }) => huge(act(Duration::ZERO).await, bytes),
    }
}

/// Carries a request out, in a task that only a restart of the daemon ends early.
async fn carry_out(delay: Duration, shared: &Arc<Shared>, request: Request, next: Next) -> Response {
    let request = match buffered(request).await {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let Ok(room) = Arc::clone(&shared.room_for_actions).acquire_owned().await else {
        return closed();
    };
    let work = async move {
        tokio::time::sleep(delay).await;
        let answer = next.run(request).await;
        drop(room);
        answer
    };
    let actions = shared.with(|state| state.actions());
    match shared.tasks.spawn(actions.run_until_cancelled_owned(work)).await {
        Ok(Some(answer)) => answer,
        Ok(None) => closed(),
        Err(_) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed"),
    }
}

async fn buffered(request: Request) -> Result<Request, Refusal> {
    let (parts, body) = request.into_parts();
    let unreadable = |_| {
        Refusal::BadRequest(format!(
            "unable to read request body of at most {MOST_BODY_BYTES} bytes"
        ))
    };
    let bytes = axum::body::to_bytes(body, MOST_BODY_BYTES).await.map_err(unreadable)?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The answer that is none.
fn closed() -> Response {
    let mut response = StatusCode::BAD_GATEWAY.into_response();
    response.extensions_mut().insert(NoAnswer);
    response
}

fn with_body(answer: Response, body: impl Into<Body>) -> Response {
    let (mut parts, _) = answer.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    Response::from_parts(parts, body.into())
}

/// The same answer, but the connection breaks half-way through its body.
async fn cut_off(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    // Answers are our own and in memory.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = bytes.slice(..bytes.len() / 2);
    let pieces = stream::iter([Ok(half), Err(io::Error::other("cut off"))]).then(|piece| async {
        if piece.is_err() {
            // Else the server would drop the first half together with the connection.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        piece
    });
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The same status with a JSON text of `bytes` bytes, made while it is sent.
fn huge(answer: Response, bytes: u64) -> Response {
    const PIECE: Bytes = Bytes::from_static(&[b'x'; 16 * 1024]);
    let quote = || stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"\""))]);
    let pieces = stream::unfold(bytes.saturating_sub(2), |left| async move {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
        let rest = left.saturating_sub(u64::try_from(length).unwrap_or(left));
        (length > 0).then(|| (Ok(PIECE.slice(..length)), rest))
    });
    let (mut parts, _) = answer.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from_stream(quote().chain(pieces).chain(quote())))
}

fn pattern(request: &Request) -> &str {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or("(unknown)", MatchedPath::as_str)
}

/// A request in the journal. Dropping it means that nothing was answered.
struct Visit {
    shared: Arc<Shared>,
    record: Option<RequestRecord>,
}

impl Visit {
    fn begin(shared: &Arc<Shared>, request: &Request) -> Self {
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        // Anything may be sent as a method; the counts must stay few.
        let method = known.iter().find(|method| *method == request.method());
        let method = method.map_or("OTHER", |method| method.as_str());
        let route = format!("{method} {}", pattern(request));
        shared.with(|state| state.requests.begun(&route));
        let target = request.uri().path_and_query();
        let record = RequestRecord {
            at: Timestamp::now(),
            route,
            target: target.map_or_else(String::new, ToString::to_string),
            status: None,
        };
        Self {
            shared: Arc::clone(shared),
            record: Some(record),
        }
    }

    fn end(mut self, answer: &Response) {
        if let Some(record) = &mut self.record
            && answer.extensions().get::<NoAnswer>().is_none()
        {
            record.status = Some(answer.status().as_u16());
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.shared.with(|state| state.requests.ended(record));
        }
    }
}
