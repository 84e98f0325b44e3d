//! One request to the daemon: the token, the limits of time and size, and repeats where a repeat is safe. What the
//! bodies mean is not known here.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::header::{AUTHORIZATION, CONNECTION, HeaderValue};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Timeouts;
use super::answer;
use super::call::Call;
use super::connect::Target;
use super::lost::Lost;
use crate::domain::failure::{HostError, HostErrorKind, RequestFate};
use crate::redact::Redactor;
use crate::secret::SecretSource;

/// Most bytes of an error's body. An error is a line of text; more than this is not from Slicer.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// How much of a body is read without further ado: a list of several hundred VMs. Beyond that, one body at a time: many
/// launches look for their VMs at once, and a host that sends each of them the most that is read would fill our memory.
/// Such look-ups wait for one another only: the listing that tells whether the host is up does not wait behind them.
const SMALL_BODY: usize = 256 * 1024;

/// Repeats of a read: two, after about 0.1 and 0.2 s with jitter, so that the clients of a host that comes back do not
/// fall upon it at once.
const REPEATS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(100))
    .with_max_times(2)
    .with_jitter();

/// A request that failed, with what the caller may still want to know of it.
pub(super) struct Failed {
    pub(super) error: HostError,
    /// The status of the answer, if one came.
    pub(super) status: Option<StatusCode>,
    /// A repeat may help: no connection was made or it was lost, or the host failed or was busy.
    passing: bool,
}

impl From<Failed> for HostError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// A successful answer (2xx) with its whole body.
pub(super) struct Answer {
    attempt: Attempt,
    body: Vec<u8>,
    /// Given back once the body is gone.
    _large: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// What `read` makes of the body. One that it cannot read is nonsense, and what the host did is not known.
    pub(super) fn read<T, E: ToString>(&self, read: impl FnOnce(&[u8]) -> Result<T, E>) -> Result<T, HostError> {
        read(&self.body).map_err(|error| {
            let detail = format!("cannot read the answer: {}", error.to_string());
            self.error(HostErrorKind::Nonsense, RequestFate::Unclear, &detail)
        })
    }

    /// The error that this answer turned out to be.
    pub(super) fn error(&self, kind: HostErrorKind, fate: RequestFate, detail: &str) -> HostError {
        self.attempt.error(kind, fate, detail)
    }

    /// `text` without the secrets that the request carried.
    pub(super) fn redact(&self, text: &str) -> String {
        self.attempt.redactor.redact(text)
    }
}

/// What every message about one request needs: what was tried, and what must not be shown.
struct Attempt {
    title: String,
    redactor: Redactor,
}

impl Attempt {
    fn error(&self, kind: HostErrorKind, fate: RequestFate, detail: &str) -> HostError {
        let message = format!("{}: {}", self.title, self.redactor.show(detail));
        HostError { kind, fate, message }
    }

    fn lost(&self, lost: &Lost) -> Failed {
        Failed {
            error: self.error(lost.kind, lost.fate, &lost.detail),
            status: None,
            passing: lost.passing,
        }
    }
}

/// A body that was read as far as it was wanted.
enum Body {
    Whole(Vec<u8>, Option<OwnedSemaphorePermit>),
    TooLong,
    /// Others are still being read.
    NoTurn,
    CutOff(Vec<u8>, reqwest::Error),
}

/// How long one attempt may take.
struct Limit<'a> {
    time: Duration,
    deadline: Instant,
    /// Where a large body waits for its turn.
    turns: &'a Arc<Semaphore>,
}

/// Sends requests to one daemon.
#[derive(Clone)]
pub(super) struct Transport {
    target: Target,
    token: Option<SecretSource>,
    /// Secrets that hosts and guests know besides; no message may show them.
    hidden: Vec<SecretSource>,
    timeouts: Timeouts,
    large_bodies: Arc<Semaphore>,
    large_look_ups: Arc<Semaphore>,
}

impl Transport {
    pub(super) fn new(target: Target, token: Option<SecretSource>, timeouts: Timeouts) -> Self {
        Self {
            target,
            token,
            hidden: Vec::new(),
            timeouts,
            large_bodies: Arc::new(Semaphore::new(1)),
            large_look_ups: Arc::new(Semaphore::new(1)),
        }
    }

    pub(super) fn hide(&mut self, secret: SecretSource) {
        self.hidden.push(secret);
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends a request once. For everything that changes something: whether it may be repeated is for the caller to
    /// decide.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, Failed> {
        let time = call.time.unwrap_or(self.timeouts.read);
        self.attempt(call, Instant::now() + time).await
    }

    /// Sends a read, and repeats it at most twice within its time if the failure may pass.
    pub(super) async fn read(&self, call: &Call<'_>) -> Result<Answer, Failed> {
        let deadline = Instant::now() + call.time.unwrap_or(self.timeouts.read);
        let attempt = || self.attempt(call, deadline);
        attempt
            .retry(REPEATS)
            .when(|failed: &Failed| failed.passing)
            .adjust(|_, delay| delay.filter(|delay| Instant::now() + *delay < deadline))
            .notify(|failed, delay| tracing::debug!(error = %failed.error, ?delay, "will ask the Slicer host again"))
            .await
    }

    /// Sends a request. `deadline` is for all of it: the headers, the turn of a large body, and the body.
    async fn attempt(&self, call: &Call<'_>, deadline: Instant) -> Result<Answer, Failed> {
        let limit = Limit {
            time: deadline.saturating_duration_since(Instant::now()),
            deadline,
            turns: if call.looks_up {
                &self.large_look_ups
            } else {
                &self.large_bodies
            },
        };
        let token = self.token.as_ref().map(SecretSource::current);
        let hidden: Vec<SecretString> = self.hidden.iter().map(SecretSource::current).collect();
        let redactor = Redactor::new(token.iter().chain(call.secret).chain(&hidden));
        let Some(mut url) = self.target.url(call.path) else {
            let title = format!("{} {}", call.method, self.target);
            return Err(Attempt { title, redactor }.lost(&Lost::not_sent("a name that cannot be part of a URL")));
        };
        let title = format!("{} {}", call.method, self.target.show(&url));
        let attempt = Attempt { title, redactor };
        if let Some((name, value)) = call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.target.http().request(call.method.clone(), url).timeout(limit.time);
        if let Some(token) = &token {
            let Some(bearer) = bearer(token) else {
                return Err(attempt.lost(&Lost::not_sent("the API token holds characters that HTTP cannot carry")));
            };
            request = request.header(AUTHORIZATION, bearer);
        }
        if call.closes {
            request = request.header(CONNECTION, "close");
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        match request.send().await {
            Ok(response) => self.receive(attempt, response, call.max_body, &limit).await,
            Err(error) => Err(attempt.lost(&Lost::from(&error, &self.timeouts, limit.time))),
        }
    }

    async fn receive(
        &self,
        attempt: Attempt,
        response: Response,
        max_body: usize,
        limit: &Limit<'_>,
    ) -> Result<Answer, Failed> {
        let status = response.status();
        tracing::debug!(request = attempt.title, %status, "the Slicer host answered");
        if !status.is_success() {
            return Err(refusal(
                &attempt,
                status,
                &read_body(response, MAX_ERROR_BODY, limit).await,
            ));
        }
        match read_body(response, max_body, limit).await {
            Body::Whole(body, _large) => Ok(Answer { attempt, body, _large }),
            Body::TooLong => {
                let detail = format!("{status}: the answer is longer than {max_body} bytes");
                Err(Failed {
                    error: attempt.error(HostErrorKind::Nonsense, RequestFate::Unclear, &detail),
                    status: Some(status),
                    passing: false,
                })
            }
            Body::NoTurn => Err(attempt.lost(&Lost::body_without_turn(limit.time))),
            Body::CutOff(_, error) => Err(attempt.lost(&Lost::from(&error, &self.timeouts, limit.time))),
        }
    }
}

/// Reads a body chunk by chunk, at most `most` bytes, so that no host can fill our memory.
async fn read_body(mut response: Response, most: usize, limit: &Limit<'_>) -> Body {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |announced| announced > most) {
        return Body::TooLong;
    }
    let (mut body, mut turn) = (Vec::new(), None);
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > most => return Body::TooLong,
            Ok(Some(chunk)) => {
                if turn.is_none() && body.len() + chunk.len() > SMALL_BODY {
                    let waiting = Arc::clone(limit.turns).acquire_owned();
                    let Ok(Ok(permit)) = tokio::time::timeout_at(limit.deadline, waiting).await else {
                        return Body::NoTurn;
                    };
                    turn = Some(permit);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(None) => return Body::Whole(body, turn),
            Err(error) => return Body::CutOff(body, error),
        }
    }
}

/// The failure that an error answer is. A body that is cut off still has its status and the text that came; one that
/// does not end is nonsense, and only what the status says of the request's fate counts.
fn refusal(attempt: &Attempt, status: StatusCode, body: &Body) -> Failed {
    let text = match body {
        Body::Whole(bytes, _) | Body::CutOff(bytes, _) => attempt.redactor.redact(&answer::error_text(bytes)),
        Body::TooLong | Body::NoTurn => format!("the error is longer than {MAX_ERROR_BODY} bytes"),
    };
    let (kind, fate) = match body {
        Body::TooLong | Body::NoTurn => (HostErrorKind::Nonsense, answer::judge(status, "").1),
        _ => answer::judge(status, &text),
    };
    let mut detail = status.to_string().replace(" <unknown status code>", "");
    if status.is_redirection() {
        detail.push_str(": redirects are not followed; the URL must name the Slicer host itself");
    } else if !text.trim().is_empty() {
        detail = format!("{detail}: {}", text.trim());
    }
    Failed {
        error: attempt.error(kind, fate, &detail),
        status: Some(status),
        passing: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
    }
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::domain::spec::Endpoint;
    use crate::provider::ports::SlicerHost as _;
    use crate::slicer::Client;

    /// A client of a host that answers each request after `delay` with a long list of nothing.
    async fn client(delay: Duration, read: Duration) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap());
                    }
                    tokio::time::sleep(delay).await;
                    let body = format!("[{}]", " ".repeat(2 * SMALL_BODY));
                    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                    let answer = format!("{head} {}\r\n\r\n{body}", body.len());
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        let timeouts = Timeouts {
            read,
            ..Timeouts::default()
        };
        Client::new(&Endpoint::Url(url), None, None, timeouts).unwrap()
    }

    #[tokio::test]
    async fn the_wait_for_the_turn_ends_with_the_time_of_the_request_and_the_host_is_not_called_unreachable() {
        let client = client(Duration::from_millis(1500), Duration::from_secs(2)).await;
        let _others = client.transport.large_bodies.try_acquire().unwrap();
        let begun = Instant::now();
        let error = client.list_vms("agents", None).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(
            error.message.ends_with("within 2 s: too many large ones at once"),
            "{error}"
        );
        assert_eq!(
            (error.kind, error.fate),
            (HostErrorKind::Busy, RequestFate::MayStillHappen)
        );
    }

    #[tokio::test]
    async fn a_listing_waits_for_no_look_up() {
        let client = client(Duration::ZERO, Duration::from_millis(500)).await;
        let _look_ups = client.transport.large_look_ups.try_acquire().unwrap();
        assert_eq!(client.list_vms("agents", None).await.unwrap(), []);
        assert!(client.list_vms("agents", Some("tag")).await.is_err());
    }
}
