//! A request as Slicer's API has it, with the limits that apply to it. Nothing of it is sent here.

use std::time::Duration;

use reqwest::Method;
use secrecy::SecretString;
use serde_json::Value;

/// Most bytes of an answer, lists excepted.
const MAX_BODY: usize = 1024 * 1024;

/// One request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    pub(super) query: Option<(&'a str, &'a str)>,
    pub(super) body: Option<Value>,
    pub(super) secret: Option<&'a SecretString>,
    pub(super) time: Option<Duration>,
    pub(super) max_body: usize,
    pub(super) looks_up: bool,
    pub(super) closes: bool,
}

impl<'a> Call<'a> {
    /// A request without a body for the resource at `path`, each segment not yet encoded.
    pub(super) fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: None,
            body: None,
            secret: None,
            time: None,
            max_body: MAX_BODY,
            looks_up: false,
            closes: false,
        }
    }

    /// With this one query parameter.
    pub(super) fn query(mut self, name: &'a str, value: &'a str) -> Self {
        self.query = Some((name, value));
        self
    }

    /// With this JSON body.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The body holds this secret: no error may show it.
    pub(super) fn with_secret(mut self, secret: &'a SecretString) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Limits the whole request; `Timeouts::read` otherwise.
    pub(super) fn within(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// This is one of many look-ups: its large answer does not come in the way of those of other calls.
    pub(super) fn look_up(mut self) -> Self {
        self.looks_up = true;
        self
    }

    /// The connection is not kept. For large answers: hyper leaves an idle connection with a buffer as large as what it
    /// read last, 64 KiB and more, and that for each node group.
    pub(super) fn then_close(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Limits the body of a successful answer to `bytes`.
    pub(super) fn at_most(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }
}
