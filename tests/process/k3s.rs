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

use crate::authority::Authority;

pub(crate) struct K3s {
    pub(crate) url: String,
    /// The token in its long form.
    pub(crate) token: String,
    /// The same with a wrong password.
    pub(crate) wrong_token: String,
}

impl K3s {
    /// Serves until the runtime of the test ends.
    pub(crate) async fn start() -> Self {
        let authority = Authority::new("k3s-server-ca");
        let leaf = authority.server("127.0.0.1");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.cert_der()], leaf.key_der())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let digest = Sha256::digest(&authority.pem);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), authority.pem));
        Self {
            url,
            token: format!("K10{hash}::server:right-password"),
            wrong_token: format!("K10{hash}::server:wrong-password"),
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, ca: String) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, ca) = (acceptor.clone(), ca.clone());
        tokio::spawn(async move {
            let stream = acceptor.accept(stream).await.unwrap();
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
    let right = format!("Basic {}", STANDARD.encode("node:right-password"));
    let given = request
        .headers()
        .get("authorization")
        .map(|value| value.to_str().unwrap());
    let (status, body) = match request.uri().path() {
        "/cacerts" => (StatusCode::OK, ca),
        "/v1-k3s/readyz" if given == Some(&right) => (StatusCode::OK, "ok"),
        "/v1-k3s/readyz" => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        _ => (StatusCode::NOT_FOUND, ""),
    };
    Response::builder().status(status).body(body.to_owned()).unwrap()
}
