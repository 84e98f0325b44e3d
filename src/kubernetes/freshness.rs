//! How far the cached Nodes can be trusted, from the signs that the watch gives. Pure: the time comes in as argument.

use std::time::Duration;

use tokio::time::Instant;

use super::timings::Timings;
use crate::provider::ports::ClusterStatus;

/// [`ClusterStatus`], and whether there is trouble while nothing was read yet. A change of it is worth a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The first list is under way.
    Starting,
    /// The first list was tried and failed, perhaps many times.
    NeverReached,
    /// The list is complete, and changes arrive.
    Live,
    /// A list was read once, but changes do not arrive any more.
    Stale,
}

impl Condition {
    pub(super) fn status(self) -> ClusterStatus {
        match self {
            Self::Starting | Self::NeverReached => ClusterStatus::Unknown,
            Self::Live => ClusterStatus::Live,
            Self::Stale => ClusterStatus::Stale,
        }
    }
}

/// Remembers when the watch last gave a sign of life and since when it fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freshness {
    listed: bool,
    last_sign: Instant,
    failing_since: Option<Instant>,
}

impl Freshness {
    pub(super) fn starting(now: Instant) -> Self {
        Self {
            listed: false,
            last_sign: now,
            failing_since: None,
        }
    }

    /// A complete list was read.
    pub(super) fn list_complete(&mut self, now: Instant) {
        self.listed = true;
        self.sign_of_life(now);
    }

    /// The watch brought an event, or the API server accepted a watch from where the last one ended.
    pub(super) fn sign_of_life(&mut self, now: Instant) {
        self.last_sign = now;
        self.failing_since = None;
    }

    /// A list or a watch failed.
    pub(super) fn failure(&mut self, now: Instant) {
        self.failing_since.get_or_insert(now);
    }

    /// How long ago the last sign of life was.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.duration_since(self.last_sign)
    }

    /// What the signs so far mean at `now`.
    pub(super) fn condition(&self, now: Instant, timings: &Timings) -> Condition {
        let failing_for = self.failing_since.map(|since| now.duration_since(since));
        match (self.listed, failing_for) {
            (false, None) => Condition::Starting,
            (false, Some(_)) => Condition::NeverReached,
            (true, Some(time)) if time >= timings.stale_after => Condition::Stale,
            (true, _) if self.silent_for(now) >= timings.silent_after => Condition::Stale,
            (true, _) => Condition::Live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn condition(freshness: Freshness, now: Instant) -> Condition {
        freshness.condition(now, &Timings::default())
    }

    #[test]
    fn nothing_is_known_before_the_first_complete_list_however_long_it_takes() {
        let start = Instant::now();
        let mut freshness = Freshness::starting(start);
        assert_eq!(condition(freshness, start + seconds(3600)), Condition::Starting);
        freshness.failure(start);
        assert_eq!(condition(freshness, start), Condition::NeverReached);
        assert_eq!(Condition::NeverReached.status(), ClusterStatus::Unknown);
        freshness.list_complete(start + seconds(1));
        assert_eq!(condition(freshness, start + seconds(1)), Condition::Live);
    }

    #[test]
    fn failures_make_it_stale_after_ten_seconds_without_a_success() {
        let start = Instant::now();
        let mut freshness = Freshness::starting(start);
        freshness.list_complete(start);
        for second in 1..=10 {
            freshness.failure(start + seconds(second));
        }
        assert_eq!(condition(freshness, start + seconds(10)), Condition::Live);
        assert_eq!(condition(freshness, start + seconds(11)), Condition::Stale);
        freshness.sign_of_life(start + seconds(12));
        assert_eq!(condition(freshness, start + seconds(30)), Condition::Live);
    }

    #[test]
    fn a_watch_that_says_nothing_at_all_becomes_stale_too() {
        let start = Instant::now();
        let mut freshness = Freshness::starting(start);
        freshness.list_complete(start);
        assert_eq!(condition(freshness, start + seconds(44)), Condition::Live);
        assert_eq!(condition(freshness, start + seconds(45)), Condition::Stale);
    }
}
