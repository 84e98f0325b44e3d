//! How long things may take here, and how often they happen. Every number with its reason.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The pace of the watch and of the requests. The default is right for every cluster; tests use a faster one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long the watch may fail before the Nodes count as stale. 10 s: a restart of the API server's load balancer
    /// or one lost connection is no news.
    pub stale_after: Duration,
    /// How long nothing at all may come before the Nodes count as stale. Longer than `watch_for`, because a quiet
    /// cluster gives a sign of life only when a watch is renewed. 45 s.
    pub silent_after: Duration,
    /// How long one watch request lasts before it is renewed, in whole seconds. 30 s: a connection that died without
    /// a word is found soon, and two requests a minute cost the API server nothing.
    pub watch_for: Duration,
    /// How long a list of all Nodes may take, all pages together. 60 s.
    pub list_within: Duration,
    /// How long a single request may take. 10 s.
    pub request_within: Duration,
    /// How many Nodes one page of a list holds. 125, a quarter of what client-go takes: a Node is ten kilobytes and more
    /// as the API sends it and several times as much once it is parsed, so a page needs more memory than what is kept
    /// of thousands of Nodes.
    pub page_size: u32,
    /// The shortest time between two new snapshots while changes stream in. 100 ms: each costs a copy of the index.
    pub publish_every: Duration,
    /// How often the version of the API server is asked for once it is known. 10 min.
    pub version_every: Duration,
    /// The first pause after a failure. 500 ms; it doubles, with jitter.
    pub retry_from: Duration,
    /// The longest pause after failures, before jitter, which at most doubles it. 10 s.
    pub retry_up_to: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(10),
            silent_after: Duration::from_secs(45),
            watch_for: Duration::from_secs(30),
            list_within: Duration::from_secs(60),
            request_within: Duration::from_secs(10),
            page_size: 125,
            publish_every: Duration::from_millis(100),
            version_every: Duration::from_secs(600),
            retry_from: Duration::from_millis(500),
            retry_up_to: Duration::from_secs(10),
        }
    }
}

impl Timings {
    /// The pauses after one failure, two in a row, and so on, without end.
    pub(super) fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.retry_from)
            .with_max_delay(self.retry_up_to)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// `watch_for` as the API wants it. Never 0: that would mean no limit.
    pub(super) fn watch_seconds(&self) -> u32 {
        u32::try_from(self.watch_for.as_secs()).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_never_end() {
        let timings = Timings::default();
        let pauses: Vec<_> = timings.pauses().take(1000).collect();
        assert_eq!(pauses.len(), 1000);
        assert!(pauses.iter().all(|pause| *pause <= timings.retry_up_to * 2));
        assert!(pauses[0] < Duration::from_secs(1) + timings.retry_from);
        assert!(pauses[999] >= timings.retry_up_to);
    }

    #[test]
    fn a_renewed_watch_gives_its_sign_of_life_before_silence_counts() {
        let timings = Timings::default();
        assert!(timings.silent_after >= timings.watch_for + timings.stale_after);
    }
}
