//! A K3s server, as far as `check` asks it: its CA, and whether it takes a token.

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Leaf};

pub(crate) struct K3s {
    pub(crate) url: String,
    /// The hash by which tokens name its CA.
    hash: String,
}

/// What agents log in with.
const PASSWORD: &str = "right-password";
const BOOTSTRAP: &str = "abcdef.0123456789abcdef";

impl K3s {
    /// Serves until the runtime of the test ends.
    pub(crate) async fn start() -> Self {
        let authority = Authority::new("k3s-server-ca");
        let leaf = authority.server("127.0.0.1");
        Self::showing(leaf, authority.pem).await
    }

    /// One that shows this certificate, and calls this its CA.
    pub(crate) async fn showing(leaf: Leaf, ca: String) -> Self {
        let named = ca.clone();
        Self::named_by(named.as_bytes(), leaf, ca).await
    }

    /// One whose tokens hold the hash of `named`.
    pub(crate) async fn named_by(named: &[u8], leaf: Leaf, ca: String) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.cert_der()], leaf.key_der())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let digest = Sha256::digest(named);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), ca));
        Self { url, hash }
    }

    /// The token of agents in its long form.
    pub(crate) fn token(&self) -> String {
        format!("K10{}::node:{PASSWORD}", self.hash)
    }

    /// The token of servers, with the same password.
    pub(crate) fn server_token(&self) -> String {
        format!("K10{}::server:{PASSWORD}", self.hash)
    }

    /// A token that expires.
    pub(crate) fn bootstrap_token(&self) -> String {
        format!("K10{}::{BOOTSTRAP}", self.hash)
    }

    /// A token of agents with a wrong password.
    pub(crate) fn wrong_token(&self) -> String {
        format!("K10{}::node:wrong-password", self.hash)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, ca: String) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, ca) = (acceptor.clone(), ca.clone());
        tokio::spawn(async move {
            // Who does not trust the certificate goes away.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| {
                let answer = answer(&request, &ca);
                async { Ok::<_, Infallible>(answer) }
            });
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer<B>(request: &Request<B>, ca: &str) -> Response<String> {
    let right = [
        format!("Basic {}", STANDARD.encode(format!("node:{PASSWORD}"))),
        format!("Bearer {BOOTSTRAP}"),
    ];
    let given = request
        .headers()
        .get("authorization")
        .map(|value| value.to_str().unwrap());
    let (status, body) = match request.uri().path() {
        "/cacerts" => (StatusCode::OK, ca),
        "/v1-k3s/readyz" if right.iter().any(|right| given == Some(right)) => (StatusCode::OK, "ok"),
        "/v1-k3s/readyz" => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        _ => (StatusCode::NOT_FOUND, ""),
    };
    Response::builder().status(status).body(body.to_owned()).unwrap()
}
