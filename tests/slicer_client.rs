//! The Slicer client against hosts that behave, misbehave, break off, stay silent and flood.
//!
//! No crypto provider is installed for the process: the client must not need one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "slicer_client/calls.rs"]
mod calls;
#[path = "slicer_client/raw.rs"]
mod raw;
#[path = "slicer_client/reach.rs"]
mod reach;
#[path = "slicer_client/refusals.rs"]
mod refusals;
#[path = "slicer_client/repeats.rs"]
mod repeats;
#[path = "slicer_client/secrets.rs"]
mod secrets;
#[path = "slicer_client/silence.rs"]
mod silence;
#[path = "slicer_client/sizes.rs"]
mod sizes;
#[path = "slicer_client/tls.rs"]
mod tls;
#[path = "slicer_client/tokens.rs"]
mod tokens;

use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use raw::{Manner, RawHost, ok, until};
use secrecy::SecretString;
use serde_json::json;
use slicer_cloud_provider::domain::failure::{HostError, HostErrorKind as Kind, RequestFate as Fate};
use slicer_cloud_provider::domain::ids::Hostname;
use slicer_cloud_provider::domain::spec::Endpoint;
use slicer_cloud_provider::domain::vm::UserdataState;
use slicer_cloud_provider::provider::ports::{SlicerHost, VmRequest};
use slicer_cloud_provider::secret::SecretSource;
use slicer_cloud_provider::slicer::{Client, Timeouts};
use wiremock::matchers::{body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// What the host asks of us.
const TOKEN: &str = "s3cr3t-api-token";

/// What the host keeps for its VMs.
const JOIN_TOKEN: &str = "K10deadbeef::server:j0in";

/// Long enough for a loaded machine, short enough for a test.
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(20),
    create: Duration::from_secs(20),
    delete: Duration::from_secs(20),
};

fn hasty() -> Timeouts {
    let short = Duration::from_millis(300);
    Timeouts {
        connect: Duration::from_millis(200),
        read: short,
        create: short,
        delete: short,
    }
}

fn token() -> Option<SecretSource> {
    Some(SecretSource::value(SecretString::from(TOKEN)))
}

fn client(url: &str) -> Client {
    client_with(url, None, PATIENT)
}

fn client_with(url: &str, ca: Option<&str>, timeouts: Timeouts) -> Client {
    let endpoint = Endpoint::Url(url.to_owned());
    Client::new(&endpoint, token(), ca.map(str::as_bytes), timeouts).unwrap()
}

fn request() -> VmRequest {
    VmRequest {
        cpus: Some(2),
        ram_bytes: None,
        gpu_count: None,
        userdata: "#!/bin/sh\n".to_owned(),
        tags: vec!["slicer-cloud-provider/launch=abcd1234".to_owned()],
        secrets: vec!["k3s-token-0123456789ab".to_owned()],
    }
}

fn vm() -> Hostname {
    Hostname::from("agents-1")
}

/// A host that answers everything with `answer`.
async fn host(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(answer)
        .mount(&server)
        .await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

async fn create_error(answer: ResponseTemplate) -> HostError {
    let server = host(answer).await;
    client(&server.uri()).create_vm("agents", &request()).await.unwrap_err()
}

async fn raw_create_error(manner: Manner, timeouts: Timeouts) -> HostError {
    let host = RawHost::tcp(manner).await;
    let client = client_with(&host.url("http"), None, timeouts);
    let error = client.create_vm("agents", &request()).await.unwrap_err();
    assert_eq!(host.seen.requests().len(), 1, "a create is sent once");
    error
}

fn assert_is(error: &HostError, kind: Kind, fate: Fate) {
    assert_eq!((error.kind, error.fate), (kind, fate), "{error}");
}
