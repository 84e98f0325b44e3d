//! The K3s server as an agent first meets it, for `check`: is it there, is it the one that the token names, and does
//! it take the token? Nothing of the Kubernetes API.

use std::time::Duration;

use reqwest::{Certificate, Client};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// How long the server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
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
    /// Something else than K3s answers.
    #[error("{url} is no K3s server: {reason}")]
    NotK3s {
        /// `k3s-url`.
        url: String,
        /// Why.
        reason: String,
    },
    /// The token belongs to another cluster.
    #[error(
        "the CA of {url} is not the one that k3s-token names: the token is of another cluster, or somebody stands in between"
    )]
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
}

/// How sure the server can be of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The token names the server's CA, and it is the right one.
    CaProved,
    /// The token names no CA: agents trust whichever server answers.
    Unproved,
}

/// Asks the server whether agents with this token could join.
///
/// # Errors
/// See [`K3sError`]. The token is sent only to a server whose CA it names, or if it names none.
pub async fn try_to_join(url: &str, token: &SecretString) -> Result<Trust, K3sError> {
    let token = Token::read(token.expose_secret());
    // The CA is not known yet: that is what this asks for, as agents do.
    let stranger = client(url, |builder| builder.tls_danger_accept_invalid_certs(true))?;
    let bundle = get(&stranger, url, "/cacerts").await?;
    let trust = match token.ca_hash {
        Some(hash) if hex(&Sha256::digest(&bundle)) == hash.to_ascii_lowercase() => Trust::CaProved,
        Some(_) => return Err(K3sError::WrongCa { url: url.to_owned() }),
        None => Trust::Unproved,
    };
    let roots = Certificate::from_pem_bundle(&bundle).map_err(|_| K3sError::NotK3s {
        url: url.to_owned(),
        reason: "/cacerts holds no certificates".to_owned(),
    })?;
    let known = client(url, |builder| builder.tls_certs_only(roots))?;
    let request = known.get(format!("{url}/v1-k3s/readyz"));
    let request = match token.credential {
        // Agents log in as `node`, whatever user the token names.
        Credential::Password(password) => request.basic_auth("node", Some(password)),
        Credential::Bootstrap(token) => request.bearer_auth(token),
    };
    let answer = request.send().await.map_err(|error| unreachable(url, error))?;
    match answer.status().as_u16() {
        status @ (401 | 403) => Err(K3sError::TokenRefused {
            url: url.to_owned(),
            status,
        }),
        _ => Ok(trust),
    }
}

/// The parts of a join token.
struct Token<'a> {
    ca_hash: Option<&'a str>,
    credential: Credential<'a>,
}

enum Credential<'a> {
    Password(&'a str),
    Bootstrap(&'a str),
}

impl<'a> Token<'a> {
    /// Reads `K10<hash>::<user>:<password>`, `K10<hash>::<id>.<secret>`, or a password alone.
    fn read(text: &'a str) -> Self {
        let (ca_hash, rest) = match text.strip_prefix("K10").and_then(|text| text.split_once("::")) {
            Some((hash, rest)) => (Some(hash), rest),
            None => (None, text),
        };
        let credential = match rest.split_once(':') {
            Some((_, password)) => Credential::Password(password),
            None if is_bootstrap(rest) => Credential::Bootstrap(rest),
            None => Credential::Password(rest),
        };
        Self { ca_hash, credential }
    }
}

fn is_bootstrap(text: &str) -> bool {
    let plain = |part: &str| part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(id, secret)| id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

fn client(url: &str, trust: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Result<Client, K3sError> {
    let builder = Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    trust(builder).build().map_err(|error| unreachable(url, error))
}

async fn get(client: &Client, url: &str, path: &str) -> Result<Vec<u8>, K3sError> {
    let not_k3s = |reason: String| K3sError::NotK3s {
        url: url.to_owned(),
        reason,
    };
    let mut answer = client
        .get(format!("{url}{path}"))
        .send()
        .await
        .map_err(|error| unreachable(url, error))?;
    if !answer.status().is_success() {
        return Err(not_k3s(format!("{path} answered {}", answer.status())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(url, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(not_k3s(format!("{path} is too long")));
        }
    }
    Ok(body)
}

/// reqwest's own text ends before the cause that a person needs.
fn unreachable(url: &str, error: reqwest::Error) -> K3sError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        reason = next.to_string();
        cause = next.source();
    }
    K3sError::Unreachable {
        url: url.to_owned(),
        reason,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_apart_in_every_form() {
        let read = |text| {
            let token = Token::read(text);
            match token.credential {
                Credential::Password(text) => (token.ca_hash, "password", text),
                Credential::Bootstrap(text) => (token.ca_hash, "bootstrap", text),
            }
        };
        assert_eq!(read("K10ab::server:pw:x"), (Some("ab"), "password", "pw:x"));
        assert_eq!(
            read("K10ab::abcdef.0123456789abcdef"),
            (Some("ab"), "bootstrap", "abcdef.0123456789abcdef")
        );
        assert_eq!(read("secret"), (None, "password", "secret"));
        assert_eq!(
            read("abcdef.0123456789abcdef"),
            (None, "bootstrap", "abcdef.0123456789abcdef")
        );
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_reported_without_the_token() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let token = SecretString::from("very-secret");
        let error = try_to_join("https://127.0.0.1:1", &token).await.unwrap_err();
        assert!(matches!(error, K3sError::Unreachable { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("very-secret"));
    }
}
