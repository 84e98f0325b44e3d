//! The K3s server as an agent first meets it, for `check`: is it there, is it the one that the token names, and does
//! it take the token? Nothing of the Kubernetes API.

mod bundle;
mod token;

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use bundle::Bundle;
pub use token::TokenKind;
use token::{Credential, Token};

/// How long the server may take for an answer. It is asked a few times, and nobody likes to wait longer for a check.
const TIMEOUT: Duration = Duration::from_secs(7);
/// More than any bundle of certificates.
const MAX_BYTES: usize = 1 << 20;

/// What is wrong with the server or the token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum K3sError {
    /// Nobody answers.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// `k3s-url`.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server's certificate is not of the CA that the server itself names, or not for this address.
    #[error("agents would not trust {url}: {reason}")]
    Tls {
        /// `k3s-url`.
        url: String,
        /// Why.
        reason: String,
    },
    /// Something else than K3s answers.
    #[error("{url} is no K3s server: {reason}")]
    NotK3s {
        /// `k3s-url`.
        url: String,
        /// Why.
        reason: String,
    },
    /// The token belongs to another cluster.
    #[error("the CA of {url} is not the one that k3s-token names: the token is of another cluster")]
    WrongCa {
        /// `k3s-url`.
        url: String,
    },
    /// The token is not accepted.
    #[error("{url} refuses k3s-token ({status}): agents could not join")]
    TokenRefused {
        /// `k3s-url`.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server answers, but says neither yes nor no to the token.
    #[error("{url} does not say whether it takes k3s-token: it answered {status}")]
    Broken {
        /// `k3s-url`.
        url: String,
        /// The HTTP status.
        status: u16,
    },
}

impl K3sError {
    /// The same with its reason, which the server may have had a say in, as `shown` makes it.
    #[must_use]
    pub fn map_reason(self, shown: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Unreachable { url, reason } => Self::Unreachable {
                url,
                reason: shown(&reason),
            },
            Self::Tls { url, reason } => Self::Tls {
                url,
                reason: shown(&reason),
            },
            Self::NotK3s { url, reason } => Self::NotK3s {
                url,
                reason: shown(&reason),
            },
            other => other,
        }
    }
}

/// A token with which agents can join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Why agents trust the server.
    pub trust: Trust,
    /// What the token is for.
    pub kind: TokenKind,
}

/// Why agents trust the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The token names its CA.
    Token,
    /// An authority of this system vouches for it. Agents whose system knows the authority, too, do not look at the CA
    /// that the token names.
    System,
    /// The token names no CA: they trust whichever server answers.
    Anybody,
}

/// Asks the server whether agents with this token could join.
///
/// # Errors
/// See [`K3sError`]. The token is sent only to a server whose CA it names or that the system trusts, or if it names
/// none.
pub async fn try_to_join(url: &str, token: &SecretString) -> Result<Accepted, K3sError> {
    let token = Token::read(token.expose_secret());
    let (known, trust) = match trusted_by_token(url, &token).await {
        Ok(trusted) => trusted,
        Err(wrong @ (K3sError::Tls { .. } | K3sError::WrongCa { .. })) => {
            (trusted_by_system(url).await.ok_or(wrong)?, Trust::System)
        }
        Err(other) => return Err(other),
    };
    log_in(&known, url, &token.credential).await?;
    let kind = token.kind;
    Ok(Accepted { trust, kind })
}

/// A client that trusts what the server calls its CA, if the token names that or none.
async fn trusted_by_token(url: &str, token: &Token<'_>) -> Result<(Client, Trust), K3sError> {
    // The CA is not known yet: that is what this asks for, as agents do.
    let stranger = client(url, |builder| builder.tls_danger_accept_invalid_certs(true))?;
    // Read before the hash is looked at: that of a page says nothing about the token.
    let bundle = Bundle::read(get(&stranger, url, "/cacerts").await?)
        .ok_or_else(|| not_k3s(url, "/cacerts holds no certificates"))?;
    let (roots, trust) = match token.ca_hash {
        Some(hash) => (bundle.proved_by(hash), Trust::Token),
        None => (Some(bundle.all()), Trust::Anybody),
    };
    let roots = roots.ok_or_else(|| K3sError::WrongCa { url: url.to_owned() })?;
    let known = client(url, |builder| builder.tls_certs_only(roots))?;
    get(&known, url, "/cacerts").await?;
    Ok((known, trust))
}

/// A client that trusts the authorities of this system, if one of them vouches for the server.
async fn trusted_by_system(url: &str) -> Option<Client> {
    // There is none where there are no authorities.
    let client = client(url, |builder| builder).ok()?;
    get(&client, url, "/cacerts").await.ok()?;
    Some(client)
}

async fn log_in(client: &Client, url: &str, credential: &Credential<'_>) -> Result<(), K3sError> {
    let request = client.get(format!("{url}/v1-k3s/readyz"));
    let request = match credential {
        // Agents log in as `node`, whatever user the token names.
        Credential::Password(password) => request.basic_auth("node", Some(password)),
        Credential::Bootstrap(token) => request.bearer_auth(token),
    };
    let answer = request.send().await.map_err(|error| lost(url, error))?;
    let (url, status) = (url.to_owned(), answer.status().as_u16());
    match answer.status() {
        ok if ok.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(K3sError::TokenRefused { url, status }),
        _ => Err(K3sError::Broken { url, status }),
    }
}

fn client(url: &str, trust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Result<Client, K3sError> {
    let builder = Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    trust(builder).build().map_err(|error| lost(url, error))
}

async fn get(client: &Client, url: &str, path: &str) -> Result<Vec<u8>, K3sError> {
    let request = client.get(format!("{url}{path}"));
    let mut answer = request.send().await.map_err(|error| lost(url, error))?;
    if !answer.status().is_success() {
        return Err(not_k3s(url, &format!("{path} answered {}", answer.status())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| lost(url, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(not_k3s(url, &format!("{path} is too long")));
        }
    }
    Ok(body)
}

fn not_k3s(url: &str, reason: &str) -> K3sError {
    K3sError::NotK3s {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}

/// What it means that no answer came. reqwest's own text ends before the cause that a person needs.
fn lost(url: &str, error: reqwest::Error) -> K3sError {
    let error = error.without_url();
    let url = url.to_owned();
    match causes(&error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => not_k3s(&url, "it does not speak TLS on this port"),
        Some(tls) => K3sError::Tls {
            url,
            reason: tls.to_string(),
        },
        None if error.is_timeout() => K3sError::Unreachable {
            url,
            reason: format!("no answer within {} s", TIMEOUT.as_secs()),
        },
        None => K3sError::Unreachable {
            url,
            reason: causes(&error).last().map_or_else(String::new, ToString::to_string),
        },
    }
}

/// `error` and what is behind it. An I/O error names what it wraps as itself, not as its source.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    fn next<'e>(error: &&'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
        let error: &'e (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error as &(dyn Error + 'static)), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_not_there_is_reported_without_the_token() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = SecretString::from("very-secret");
        let error = try_to_join("https://127.0.0.1:1", &token).await.unwrap_err();
        assert!(matches!(error, K3sError::Unreachable { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("very-secret"));
    }
}
