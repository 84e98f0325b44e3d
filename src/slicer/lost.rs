//! What it means when no whole answer came: whether the request can have reached the host, and what to tell a person.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::Timeouts;
use crate::domain::failure::{HostErrorKind, RequestFate};

/// A request without a whole answer.
pub(super) struct Lost {
    pub(super) kind: HostErrorKind,
    pub(super) fate: RequestFate,
    /// What happened; may hold text of the host.
    pub(super) detail: String,
    /// It may pass by itself soon: a connection that was not made, or was lost.
    pub(super) passing: bool,
}

impl Lost {
    /// What `error` means for a request that was given `time`. The error's own text is not used: it names the URL.
    pub(super) fn from(error: &reqwest::Error, timeouts: &Timeouts, time: Duration) -> Self {
        use HostErrorKind::{Nonsense, Unreachable};
        use RequestFate::{MayStillHappen, NotDone, Unclear};
        let (kind, fate, passing, detail) = if error.is_connect() {
            // A wrong certificate is still wrong a moment later.
            let passing = find::<rustls::Error>(error).is_none();
            (Unreachable, NotDone, passing, no_connection(error, timeouts.connect))
        } else if error.is_builder() {
            return Self::not_sent(&causes(error));
        } else if error.is_timeout() {
            let detail = format!("no complete answer within {}", seconds(time));
            (Unreachable, MayStillHappen, false, detail)
        } else if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
            let detail = format!("the answer is not HTTP: {}", causes(error));
            (Nonsense, Unclear, false, detail)
        } else {
            let detail = format!("connection lost: {}", causes(error));
            (Unreachable, Unclear, true, detail)
        };
        Self {
            kind,
            fate,
            detail,
            passing,
        }
    }

    /// The answer is large, and others as large were being read for all of its time. The host did answer, so it is not
    /// out of reach: what goes to it goes on. And it said that it did what was asked: whoever created must look for the
    /// VM, and never ask for a second one, which only [`RequestFate::MayStillHappen`] ensures.
    pub(super) fn body_without_turn(time: Duration) -> Self {
        Self {
            kind: HostErrorKind::Busy,
            fate: RequestFate::MayStillHappen,
            detail: format!(
                "no complete answer within {}: too many large ones at once",
                seconds(time)
            ),
            passing: false,
        }
    }

    /// A request that cannot be put into HTTP.
    pub(super) fn not_sent(why: &str) -> Self {
        Self {
            kind: HostErrorKind::Refused,
            fate: RequestFate::NotDone,
            detail: format!("not sent: {why}"),
            passing: false,
        }
    }
}

fn no_connection(error: &reqwest::Error, limit: Duration) -> String {
    if let Some(tls) = find::<rustls::Error>(error) {
        return format!("TLS failed: {tls}{}", advice(tls));
    }
    if error.is_timeout() {
        return format!("no connection within {}", seconds(limit));
    }
    format!("cannot connect: {}", causes(error))
}

/// What to do about the TLS failures that users of self-signed certificates meet first.
fn advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(wrong) => advice_about_certificate(wrong),
        rustls::Error::InvalidMessage(_) => " (does the host speak TLS on this port?)",
        _ => "",
    }
}

fn advice_about_certificate(error: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Wrong;
    match error {
        Wrong::UnknownIssuer => " (is its CA in ca-bundle?)",
        Wrong::Expired | Wrong::ExpiredContext { .. } => " (is the clock right here? Else the host needs a new one)",
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            " (the URL must have a name or address that the certificate carries)"
        }
        Wrong::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            " (the host shows a CA certificate; it needs one of its own, issued by that CA)"
        }
        _ => "",
    }
}

fn seconds(time: Duration) -> String {
    let precision = if time < Duration::from_secs(1) { 3 } else { 1 };
    format!("{:.precision$}", time.as_secs_f64())
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
        + " s"
}

/// The innermost causes of an error, outermost first. The layers above them only say that a request failed.
fn causes(error: &reqwest::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in chain(error).filter(|cause| !is_wrapper(*cause)) {
        let text = cause.to_string();
        if !told.iter().any(|earlier| earlier.contains(&text)) {
            told.push(text);
        }
    }
    told.join(": ")
}

fn is_wrapper(error: &(dyn Error + 'static)) -> bool {
    error.is::<reqwest::Error>() || error.to_string().starts_with("client error (")
}

fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// The causes of `error`, from the outside in. An `io::Error` names the error that it wraps as itself, not as its
/// source, so that one is looked into.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    fn next<'e>(error: &&'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
        let error: &'e (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    }
    std::iter::successors(error.source(), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_short_as_they_are() {
        assert_eq!(seconds(Duration::from_secs(60)), "60 s");
        assert_eq!(seconds(Duration::from_millis(250)), "0.25 s");
        assert_eq!(seconds(Duration::from_micros(9_999_876)), "10 s");
        assert_eq!(seconds(Duration::ZERO), "0 s");
    }
}
