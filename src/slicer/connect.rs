//! Where a Slicer daemon is and how it is reached: the URL or unix socket, the TLS roots, the proxies. It builds
//! requests' URLs, but sends nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use url::Host;

use crate::domain::spec::Endpoint;

/// How long an idle connection is kept. Shorter than the idle time-outs of common servers and proxies, so that a
/// request is seldom written into a connection that the host is just closing.
const IDLE: Duration = Duration::from_secs(20);

/// How many idle connections are kept: enough for the creates that run at once by default.
const MAX_IDLE: usize = 8;

/// How many TLS sessions are kept to be resumed. A client talks to one host; rustls would make room for 256.
const SESSIONS: usize = 8;

/// What a client cannot be built from. Never shows the URL: it may hold credentials.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an `http` or `https` URL with a host.
    #[error("the Slicer URL must be http(s)://host[:port][/path]: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The URL has a user name, a password, a query or a fragment.
    #[error("the Slicer URL holds {what}; remove it (credentials belong into the token)")]
    UrlHolds {
        /// What it holds.
        what: &'static str,
    },
    /// The PEM text has no certificate that can be trusted.
    #[error("the CA bundle cannot be used: {reason}")]
    CaBundle {
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP or TLS library does not start.
    #[error("cannot set up the HTTP client: {reason}")]
    Setup {
        /// What it says.
        reason: String,
    },
}

/// One daemon, with the connections to it.
#[derive(Clone)]
pub(super) struct Target {
    http: reqwest::Client,
    base: Url,
    socket: Option<PathBuf>,
}

impl Target {
    /// The daemon at `endpoint`; `connect` limits how long a connection may take.
    pub(super) fn new(endpoint: &Endpoint, ca_bundle: Option<&[u8]>, connect: Duration) -> Result<Self, ClientError> {
        let (base, socket) = match endpoint {
            Endpoint::Url(text) => (base_url(text)?, None),
            // The daemon ignores the host, but HTTP wants one.
            Endpoint::Unix(path) => (base_url("http://localhost")?, Some(path.clone())),
        };
        let system_roots = base.scheme() == "https";
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(system_roots, ca_bundle)?)
            .redirect(reqwest::redirect::Policy::none())
            // What may be repeated is decided in `transport` alone. (Below that, hyper may still move a request from a
            // connection that turns out to be closed to a new one, but only one of which it has sent no byte.)
            .retry(reqwest::retry::never())
            .connect_timeout(connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .user_agent(concat!("slicer-cloud-provider/", env!("CARGO_PKG_VERSION")));
        if is_near(&base) {
            builder = builder.no_proxy();
        }
        if let Some(path) = &socket {
            builder = builder.unix_socket(path.as_path());
        }
        let http = builder.build().map_err(|error| ClientError::Setup {
            reason: error.without_url().to_string(),
        })?;
        Ok(Self { http, base, socket })
    }

    /// The HTTP client to send with.
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The URL of a resource, each segment percent-encoded; `None` if a segment cannot be part of a path. The URL
    /// standard drops `.`, `..` and some control characters, and the request would then be for something else.
    pub(super) fn url(&self, path: &[&str]) -> Option<Url> {
        let usable = |s: &&str| !matches!(*s, "" | "." | "..") && !s.chars().any(char::is_control);
        if !path.iter().all(usable) {
            return None;
        }
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(path);
        Some(url)
    }

    /// A URL as it is shown to people: without its query.
    pub(super) fn show(&self, url: &Url) -> String {
        match &self.socket {
            Some(socket) => format!("unix:{}:{}", socket.display(), url.path()),
            None => {
                let mut shown = url.clone();
                shown.set_query(None);
                shown.into()
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "unix:{}", socket.display()),
            None => f.write_str(self.base.as_str().trim_end_matches('/')),
        }
    }
}

fn base_url(text: &str) -> Result<Url, ClientError> {
    let url = Url::parse(text).map_err(|error| ClientError::Url {
        reason: error.to_string(),
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        let reason = "neither http nor https".to_owned();
        return Err(ClientError::Url { reason });
    }
    let held = [
        (
            !url.username().is_empty() || url.password().is_some(),
            "a user name or password",
        ),
        (url.query().is_some(), "a query"),
        (url.fragment().is_some(), "a fragment"),
    ];
    match held.into_iter().find(|(holds, _)| *holds) {
        Some((_, what)) => Err(ClientError::UrlHolds { what }),
        None => Ok(url),
    }
}

/// Whether the host is this machine or on its link, where no proxy leads.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unicast_link_local(),
        None => false,
    }
}

/// TLS with ring, named explicitly: reqwest would panic if no provider was installed for the process yet. It would
/// also refuse to build without system roots, even for a plain `http` URL.
fn tls(system_roots: bool, ca_bundle: Option<&[u8]>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    if system_roots {
        let found = rustls_native_certs::load_native_certs();
        let (used, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::debug!(used, ignored, errors = ?found.errors, "read the system's CA certificates");
    }
    if let Some(pem) = ca_bundle {
        add_bundle(&mut roots, pem)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup {
            reason: error.to_string(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(config)
}

fn add_bundle(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), ClientError> {
    let unusable = |reason: String| ClientError::CaBundle { reason };
    let before = roots.len();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|error| unusable(format!("certificate {number}: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(format!("certificate {number}: {error}")))?;
    }
    if roots.len() == before {
        return Err(unusable("it holds no certificate (PEM is expected)".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, ClientError> {
        Target::new(&Endpoint::Url(url.to_owned()), None, Duration::from_secs(1))
    }

    #[test]
    fn segments_are_percent_encoded_below_the_path_of_the_base_url() {
        let target = target("https://slicer.example:8443/api/").unwrap();
        let url = target.url(&["vm", "a/b ?#%2e\u{fc}", "logs"]).unwrap();
        assert_eq!(
            url.as_str(),
            "https://slicer.example:8443/api/vm/a%2Fb%20%3F%23%252e%C3%BC/logs"
        );
    }

    #[test]
    fn a_segment_that_would_change_the_path_gives_no_url() {
        let target = target("http://h:1").unwrap();
        for bad in ["", ".", "..", "a\nb", "a\tb", "\u{0}"] {
            assert!(
                target.url(&["hostgroup", "g", "nodes", bad]).is_none(),
                "{}",
                bad.escape_debug()
            );
        }
    }

    #[test]
    fn what_is_shown_has_no_query() {
        let target = target("http://h:1/x").unwrap();
        let mut url = target.url(&["info"]).unwrap();
        url.set_query(Some("tag=hidden"));
        assert_eq!(target.show(&url), "http://h:1/x/info");
        assert_eq!(target.to_string(), "http://h:1/x");
    }

    #[test]
    fn urls_with_credentials_are_refused_without_being_shown() {
        for url in [
            "http://me:hunter2@h",
            "https://hunter2@h",
            "http://h/?t=hunter2",
            "http://h#hunter2",
        ] {
            let error = target(url).err().unwrap();
            assert!(matches!(error, ClientError::UrlHolds { .. }), "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
        }
        for url in ["ftp://h", "h:8080", "", "http://", "unix:///run/x.sock"] {
            assert!(matches!(target(url), Err(ClientError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn loopback_and_link_local_hosts_are_near() {
        for near in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "169.254.1.1",
            "[fe80::1]",
        ] {
            assert!(is_near(&Url::parse(&format!("http://{near}:8080")).unwrap()), "{near}");
        }
        for far in [
            "192.168.1.10",
            "10.0.0.1",
            "[fd00::1]",
            "notlocalhost",
            "slicer.example",
        ] {
            assert!(!is_near(&Url::parse(&format!("http://{far}:8080")).unwrap()), "{far}");
        }
    }

    #[test]
    fn a_bundle_without_a_usable_certificate_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for pem in ["", "no certificate", broken, "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
            let error = tls(false, Some(pem.as_bytes())).err();
            assert!(matches!(error, Some(ClientError::CaBundle { .. })), "{pem}: {error:?}");
        }
    }
}
