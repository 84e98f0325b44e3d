//! Secrets: contents come in as base64 and are never shown.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

use super::extract::JsonBody;
use crate::simulator::handle::Simulator;
use crate::simulator::refusal::Refusal;
use crate::simulator::secrets::{Secret, SecretChange};

#[derive(Debug, Serialize)]
pub(super) struct SecretBody {
    name: String,
    size: usize,
    permissions: String,
    uid: u32,
    gid: u32,
    mod_time: Timestamp,
}

/// `GET /secrets`
pub(super) async fn list(State(simulator): State<Simulator>) -> Json<Vec<SecretBody>> {
    let body = |(name, secret): (&String, &Secret)| SecretBody {
        name: name.clone(),
        size: secret.size(),
        permissions: secret.permissions.clone(),
        uid: secret.uid,
        gid: secret.gid,
        mod_time: secret.modified_at,
    };
    Json(simulator.shared.with(|state| state.secrets.iter().map(body).collect()))
}

/// Without `Debug`: it holds the content.
#[derive(Deserialize)]
pub(super) struct CreateBody {
    name: String,
    data: String,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// `POST /secrets`
pub(super) async fn create(
    State(simulator): State<Simulator>,
    JsonBody(body): JsonBody<CreateBody>,
) -> Result<StatusCode, Refusal> {
    let change = SecretChange {
        content: Some(decode(&body.data)?),
        permissions: given(body.permissions),
        uid: body.uid,
        gid: body.gid,
    };
    simulator
        .shared
        .with(|state| state.secrets.create(&body.name, change, Timestamp::now()))?;
    Ok(StatusCode::CREATED)
}

/// Without `Debug`: it holds the content.
#[derive(Deserialize)]
pub(super) struct UpdateBody {
    data: Option<String>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// `PATCH /secrets/{name}`
pub(super) async fn update(
    State(simulator): State<Simulator>,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<UpdateBody>,
) -> Result<StatusCode, Refusal> {
    // The Go client always sends `data`, empty when only the modes change.
    let content = given(body.data).map(|data| decode(&data)).transpose()?;
    let change = SecretChange {
        content,
        permissions: given(body.permissions),
        uid: body.uid,
        gid: body.gid,
    };
    simulator
        .shared
        .with(|state| state.secrets.update(&name, change, Timestamp::now()))?;
    Ok(StatusCode::OK)
}

/// `DELETE /secrets/{name}`
pub(super) async fn delete(
    State(simulator): State<Simulator>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    simulator.shared.with(|state| state.secrets.delete(&name))?;
    Ok(StatusCode::OK)
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The decoder's own error would quote a byte of the secret.
fn decode(data: &str) -> Result<SecretSlice<u8>, Refusal> {
    let bad = |_| Refusal::BadRequest("data is not valid base64".to_owned());
    STANDARD.decode(data).map(SecretSlice::from).map_err(bad)
}
