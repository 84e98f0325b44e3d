//! The client of one Slicer daemon's REST API, over TCP, TLS or a unix socket. It implements
//! [`crate::provider::ports::SlicerHost`].
//!
//! ```text
//!   host            the calls, as the provider needs them
//!    ├─ types       JSON out and in, liberal in what it reads ── list, object, scalar
//!    ├─ call        a request and its limits
//!    └─ transport   sends it, bounded in time and size; repeats of reads
//!        ├─ connect    where the host is and how it is reached: TLS roots, unix socket, proxies
//!        ├─ answer     an error answer: its text, its kind, and whether it happened ── wording
//!        └─ lost       no whole answer came: what that means
//! ```
//!
//! What it is not: it knows nothing of Kubernetes, keeps no state besides idle connections, and never decides whether
//! a VM is created or deleted once more. It only says, with [`crate::domain::failure::RequestFate`], whether a request
//! may have been carried out.

mod answer;
mod call;
mod connect;
mod host;
mod list;
mod lost;
mod measured;
mod object;
mod scalar;
mod transport;
mod types;
mod wording;

use std::fmt;
use std::time::Duration;

use crate::domain::spec::Endpoint;
use crate::secret::SecretSource;

pub use connect::ClientError;
pub use measured::Measured;
pub use types::HostInfo;

/// How long a request may take. Each is a limit for the whole request, from its start to the last byte of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is established: name look-up, TCP and TLS. Part of the limits below. Nothing was sent before
    /// it is over, so whatever ends here certainly did not happen.
    pub connect: Duration,
    /// A read with all its repeats, and storing a secret.
    pub read: Duration,
    /// Creating a VM. The daemon clones a disk and boots before it answers.
    pub create: Duration,
    /// Deleting a VM. The daemon stops it and removes its disk before it answers.
    pub delete: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            read: Duration::from_secs(10),
            create: Duration::from_secs(60),
            delete: Duration::from_secs(30),
        }
    }
}

/// One Slicer daemon. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    transport: transport::Transport,
}

impl Client {
    /// A client for the daemon at `endpoint`. Nothing is sent yet.
    ///
    /// `ca_bundle` is PEM. Its certificates are trusted in addition to the system's roots; a system without any roots
    /// is no error. Redirects are never followed, because the token would travel with them. The proxy variables
    /// (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) are honoured, except for unix sockets and for loopback and link-local
    /// addresses, which no proxy can reach. The token is read anew for each request.
    ///
    /// # Errors
    /// The URL cannot be used or holds credentials, or the CA bundle holds no usable certificate.
    pub fn new(
        endpoint: &Endpoint,
        token: Option<SecretSource>,
        ca_bundle: Option<&[u8]>,
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        let target = connect::Target::new(endpoint, ca_bundle, timeouts.connect)?;
        Ok(Self {
            transport: transport::Transport::new(target, token, timeouts),
        })
    }

    /// The same client, which shows this secret in no error and no serial log, although its requests seldom carry it:
    /// hosts and guests know it.
    #[must_use]
    pub fn hiding(mut self, secret: SecretSource) -> Self {
        self.transport.hide(secret);
        self
    }
}

/// Shows where the host is, and nothing else.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.transport.target())
    }
}
