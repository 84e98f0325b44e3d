//! Sees to it that a host has the secret with the join token, once for many launches at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use secrecy::SecretString;

use super::clock::Clock;
use super::ports::SlicerHost;
use crate::domain::failure::HostError;
use crate::domain::moment::Moment;

type Outcome = Shared<BoxFuture<'static, Result<(), HostError>>>;

#[derive(Debug)]
struct Attempt {
    name: String,
    begun: Moment,
    outcome: Outcome,
}

/// The join token's secret on one host.
#[derive(Debug)]
pub(super) struct TokenSecret {
    host: Arc<dyn SlicerHost>,
    clock: Clock,
    max_age: Duration,
    latest: Mutex<Option<Attempt>>,
}

impl TokenSecret {
    pub(super) fn new(host: Arc<dyn SlicerHost>, clock: Clock, max_age: Duration) -> Self {
        Self {
            host,
            clock,
            max_age,
            latest: Mutex::new(None),
        }
    }

    /// Returns when the host has the secret. Launches that come together share one look at the host; a failure is
    /// not remembered.
    pub(super) async fn ensure(&self, name: &str, token: &SecretString) -> Result<(), HostError> {
        self.join_or_begin(name, token).await
    }

    fn join_or_begin(&self, name: &str, token: &SecretString) -> Outcome {
        let now = self.clock.now();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(attempt) = latest.as_ref() {
            let failed = matches!(attempt.outcome.peek(), Some(Err(_)));
            if attempt.name == name && !failed && now.since(attempt.begun) < self.max_age {
                return attempt.outcome.clone();
            }
        }
        let (host, secret, token) = (Arc::clone(&self.host), name.to_owned(), token.clone());
        let outcome = async move { host.ensure_secret(&secret, &token).await }
            .boxed()
            .shared();
        *latest = Some(Attempt {
            name: name.to_owned(),
            begun: now,
            outcome: outcome.clone(),
        });
        outcome
    }
}
