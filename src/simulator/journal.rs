//! What was requested: counts of each route, and the newest requests one by one.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

/// The most requests that are remembered one by one.
pub const MOST_RECORDS: usize = 1000;

/// One request that has ended. Bodies and headers are not kept: they hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestRecord {
    /// When it came.
    pub at: Timestamp,
    /// Method and route, such as `POST /hostgroup/{name}/nodes`.
    pub route: String,
    /// Path and query as they were sent.
    pub target: String,
    /// The status that was answered; `None` if the connection was closed without an answer, by either side.
    pub status: Option<u16>,
}

/// All requests to the Slicer API so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RequestLog {
    /// How often each method and route was requested, also when a fault hit it.
    pub counts: BTreeMap<String, u64>,
    /// The newest requests that have ended, oldest first.
    pub recent: VecDeque<RequestRecord>,
}

impl RequestLog {
    /// How often a method and route, such as `POST /hostgroup/{name}/nodes`, was requested.
    #[must_use]
    pub fn count(&self, route: &str) -> u64 {
        self.counts.get(route).copied().unwrap_or(0)
    }

    /// Routes are the patterns of the router, so there are only so many.
    pub(super) fn begun(&mut self, route: &str) {
        *self.counts.entry(route.to_owned()).or_default() += 1;
    }

    pub(super) fn ended(&mut self, record: RequestRecord) {
        if self.recent.len() >= MOST_RECORDS {
            self.recent.pop_front();
        }
        self.recent.push_back(record);
    }
}
