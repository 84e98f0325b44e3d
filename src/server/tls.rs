//! mTLS: the server's certificate and the authority of its clients, replaceable while connections live on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

use super::client_names;
use crate::file;
use crate::looks::Looks;

/// Most bytes of a file: room for several hundred certificates.
const MAX_FILE: u64 = 1024 * 1024;

/// The PEM files of mTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, followed by its intermediates.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities whose clients may connect.
    pub client_ca: PathBuf,
    /// If there are any, only clients whose certificate carries one of these names may.
    pub client_names: Vec<ServerName<'static>>,
}

impl TlsFiles {
    fn read(&self) -> Pem {
        let read = |path: &Path| file::read(path, MAX_FILE);
        Pem {
            cert: read(&self.cert),
            key: read(&self.key),
            client_ca: read(&self.client_ca),
        }
    }
}

/// What the files held when they were read, each once: what is compared is what is used, although they may be replaced
/// at any moment.
struct Pem {
    cert: io::Result<Vec<u8>>,
    key: io::Result<Vec<u8>>,
    client_ca: io::Result<Vec<u8>>,
}

/// The SHA-256 of each file, or nothing for one that cannot be read.
type Content = [Option<Sha256Digest>; 3];
type Sha256Digest = [u8; 32];

impl Pem {
    fn content(&self) -> Content {
        let digest = |read: &io::Result<Vec<u8>>| read.as_ref().ok().map(|bytes| Sha256::digest(bytes).into());
        [&self.cert, &self.key, &self.client_ca].map(digest)
    }
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of what it should.
    #[error("{what} {path}: {reason}")]
    File {
        /// Which of the files.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They do not go together.
    #[error("the TLS certificate and key cannot be used together: {0}")]
    Unusable(String),
}

/// Makes TLS connections, with the certificates as they are at that time.
#[derive(Debug)]
pub(super) struct TlsAcceptors {
    files: TlsFiles,
    config: ArcSwap<ServerConfig>,
    looks: Mutex<Looks<Content>>,
}

impl TlsAcceptors {
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let pem = files.read();
        let config = ArcSwap::from_pointee(server_config(&files, &pem)?);
        let looks = Mutex::new(Looks::new(pem.content()));
        Ok(Self { files, config, looks })
    }

    /// Reads the files again. Connections that exist live on; if the new files are unusable, the old ones stay.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let pem = self.files.read();
        self.looks().tell(pem.content());
        self.take_over(&pem)
    }

    /// Reads the files again, and takes them over if they are others than were told of last, and were the same in two
    /// looks in a row: certificate and key may be replaced one after the other. Files that are refused are told of once.
    pub(super) fn look(&self) -> Option<Result<(), TlsError>> {
        let pem = self.files.read();
        let is_news = self.looks().is_news(pem.content());
        is_news.then(|| self.take_over(&pem))
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    fn looks(&self) -> MutexGuard<'_, Looks<Content>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, pem: &Pem) -> Result<(), TlsError> {
        self.config.store(Arc::new(server_config(&self.files, pem)?));
        Ok(())
    }
}

fn server_config(files: &TlsFiles, pem: &Pem) -> Result<ServerConfig, TlsError> {
    let unusable = |error: &dyn std::fmt::Display| TlsError::Unusable(error.to_string());
    let certs = certificates(&File::new("--tls-cert", &files.cert, &pem.cert))?;
    let key = private_key(&File::new("--tls-key", &files.key, &pem.key))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&File::new("--tls-client-ca", &files.client_ca, &pem.client_ca))? {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| unusable(&error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(client_names::restrict(verifier, &files.client_names))
        .with_single_cert(certs, key)
        .map_err(|error| unusable(&error))?;
    // grpc-go closes a connection on which HTTP/2 was not agreed upon.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// One of the files as it was read.
struct File<'a> {
    what: &'static str,
    path: &'a Path,
    read: &'a io::Result<Vec<u8>>,
}

impl<'a> File<'a> {
    fn new(what: &'static str, path: &'a Path, read: &'a io::Result<Vec<u8>>) -> Self {
        Self { what, path, read }
    }

    fn bytes(&self) -> Result<&'a [u8], TlsError> {
        self.read.as_deref().map_err(|error| self.fault(error))
    }

    fn fault(&self, reason: &dyn ToString) -> TlsError {
        TlsError::File {
            what: self.what,
            path: self.path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}

fn certificates(file: &File<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certs = CertificateDer::pem_slice_iter(file.bytes()?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| file.fault(&error))?;
    if certs.is_empty() {
        return Err(file.fault(&"holds no certificate in PEM form"));
    }
    Ok(certs)
}

fn private_key(file: &File<'_>) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(file.bytes()?).map_err(|error| file.fault(&error))
}
