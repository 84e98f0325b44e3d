//! Reads requests as a Go daemon does: a body is JSON whatever its content type says, and what cannot be read is a
//! 400 with a JSON error.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::simulator::refusal::Refusal;

/// A JSON body.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let unreadable = |text: String| Refusal::BadRequest(format!("unable to read request body: {text}"));
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| unreadable(error.to_string()))?;
        // The reader's message may quote the body, which may hold a secret: only the place of the fault is told.
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            unreadable(format!(
                "bad JSON or a value of the wrong type at line {} column {}",
                error.line(),
                error.column()
            ))
        })
    }
}

/// The query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| Refusal::BadRequest(error.body_text()))
    }
}
