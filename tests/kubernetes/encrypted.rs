//! TLS for the API server: a certificate that it has signed itself, and a listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) struct Certificate(CertifiedKey<KeyPair>);

impl Certificate {
    pub(super) fn of(name: &str) -> Self {
        Self(generate_simple_self_signed([name.to_owned()]).unwrap())
    }

    /// What a kubeconfig says beside the URL to trust this one alone.
    pub(super) fn in_kubeconfig(&self) -> String {
        format!(", certificate-authority-data: {}", STANDARD.encode(self.0.cert.pem()))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::Pkcs8(self.0.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// One handshake after the other.
pub(super) struct Encrypted<L> {
    pub(super) listener: L,
    pub(super) acceptor: TlsAcceptor,
}

impl<L: Listener<Io = TcpStream, Addr = SocketAddr>> Listener for Encrypted<L> {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.listener.accept().await;
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
