//! What went wrong with a request to the API server, in words that are safe to log.
//!
//! kube's own texts are not: the output of a credential plugin (a token) is in one of them, a line of the kubeconfig in
//! another. Such errors are named here without their content.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use kube::client::AuthError;
use kube::config::KubeconfigError;
use kube::core::Status;
use kube::runtime::watcher;

/// Longest text taken over from an API server or a proxy before it, in characters.
const MAX_TEXT: usize = 500;

/// A request that failed.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// No answer within this time.
    TimedOut(Duration),
    /// kube's error.
    Failed(kube::Error),
}

impl RequestFailure {
    /// Whether the API server itself said, in a Status with this reason, why it did not do it. A bare 404 or 409 of a
    /// proxy proves nothing about an object.
    pub(super) fn is_answer(&self, reason: &str) -> bool {
        matches!(self, Self::Failed(kube::Error::Api(status)) if status.reason == reason)
    }
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(time) => write!(f, "no answer within {time:?}"),
            Self::Failed(error) => f.write_str(&explain(error)),
        }
    }
}

/// Runs one request with a time-out.
pub(super) async fn bounded<T>(
    within: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, RequestFailure> {
    match tokio::time::timeout(within, request).await {
        Ok(answer) => answer.map_err(RequestFailure::Failed),
        Err(_elapsed) => Err(RequestFailure::TimedOut(within)),
    }
}

/// Says what went wrong with the watch.
pub(super) fn explain_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(cause) => format!("list of Nodes: {}", explain(cause)),
        watcher::Error::WatchStartFailed(cause) | watcher::Error::WatchFailed(cause) => {
            format!("watch of Nodes: {}", explain(cause))
        }
        watcher::Error::WatchError(status) => format!("watch of Nodes: {}", explain_answer(status)),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Says what went wrong.
pub(super) fn explain(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return explain_answer(status);
    }
    let credentials = causes(error).find_map(|cause| cause.downcast_ref::<AuthError>());
    credentials.map_or_else(|| cut(&chain(error)), explain_credentials)
}

/// Says what is wrong with a kubeconfig file.
pub(super) fn explain_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(cause) => match cause.location() {
            Some(place) => format!("it is no valid kubeconfig: line {}", place.line()),
            None => "it is no valid kubeconfig".to_owned(),
        },
        other => other.to_string(),
    }
}

fn explain_answer(status: &Status) -> String {
    let text = if status.message.is_empty() {
        &status.reason
    } else {
        &status.message
    };
    cut(&format!("the API server answered {}: {text}", status.code))
}

fn explain_credentials(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => format!("the kubeconfig's credential plugin failed: {}", out.status),
        AuthError::AuthExecStart(cause) => format!("the kubeconfig's credential plugin cannot be started: {cause}"),
        AuthError::ReadTokenFile(cause, path) => format!("cannot read the token file {}: {cause}", path.display()),
        AuthError::InvalidBearerToken(_) | AuthError::InvalidBasicAuth(_) => {
            "the token or password cannot be sent: it holds a line break or another control character".to_owned()
        }
        _ => "the kubeconfig's credentials cannot be used".to_owned(),
    }
}

/// `error` and its causes, without those that their predecessor has already told.
fn chain(error: &kube::Error) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause = cause.to_string();
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

fn causes(error: &kube::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |cause| next_cause(*cause))
}

/// What is behind `error`. An I/O error shows the text of what it wraps, but leaves it out of its sources.
fn next_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped
        .map(|wrapped| wrapped as &(dyn Error + 'static))
        .or_else(|| error.source())
}

/// One line of at most [`MAX_TEXT`] characters: a proxy may have sent a whole page.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};

    use super::*;

    const TOKEN: &str = "s3cr3t-token";

    fn plugin_failure() -> AuthError {
        AuthError::AuthExecRun {
            cmd: format!("plugin --token {TOKEN}"),
            out: Box::new(Output {
                status: ExitStatus::from_raw(256),
                stdout: TOKEN.into(),
                stderr: TOKEN.into(),
            }),
        }
    }

    #[test]
    fn a_credential_plugin_s_output_stays_out_wherever_the_error_is_wrapped() {
        let errors = [
            kube::Error::Auth(plugin_failure()),
            kube::Error::Service(Box::new(plugin_failure())),
            kube::Error::Service(Box::new(io::Error::other(plugin_failure()))),
            kube::Error::Auth(AuthError::AuthExec(TOKEN.to_owned())),
        ];
        for error in errors {
            let text = explain(&error);
            assert!(!text.contains(TOKEN), "{text}");
            assert!(text.contains("credential"), "{text}");
        }
    }

    #[test]
    fn a_broken_kubeconfig_is_explained_by_its_line_only() {
        let error = kube::config::Kubeconfig::from_yaml(&format!("users:\n- name: u\n  user: {TOKEN}\n")).unwrap_err();
        let text = explain_kubeconfig(&error);
        assert!(!text.contains(TOKEN), "{text}");
        assert!(text.contains("line 3"), "{text}");
    }

    #[test]
    fn the_innermost_cause_is_told_and_nothing_twice() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = kube::Error::Service(Box::new(io::Error::other(refused)));
        assert_eq!(explain(&error), "ServiceError: connection refused");
    }

    #[test]
    fn a_page_of_a_proxy_is_cut_to_one_line() {
        let status = Status::failure(&"<html>\n".repeat(1000), "Failed to parse error data").with_code(502);
        let text = explain(&kube::Error::Api(status.boxed()));
        assert!(text.starts_with("the API server answered 502: <html> <html>"), "{text}");
        assert!(text.len() < 600 && !text.contains('\n'), "{text}");
    }

    #[test]
    fn only_a_status_of_the_api_server_proves_that_an_object_is_gone() {
        let not_found = Status::failure("nodes \"a\" not found", "NotFound").with_code(404);
        let page = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        let answer = |status: Status| RequestFailure::Failed(kube::Error::Api(status.boxed()));
        assert!(answer(not_found).is_answer("NotFound"));
        assert!(!answer(page).is_answer("NotFound"));
        assert!(!RequestFailure::TimedOut(Duration::ZERO).is_answer("NotFound"));
    }
}
