//! Points in time without a clock: the caller says what time it is.

use std::time::Duration;

/// A point on the server's monotonic clock: the time since the server started.
///
/// Wall-clock time is never compared with it, so a clock that jumps moves no deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment that lies `since_start` after the start of the server.
    #[must_use]
    pub fn after_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The moment that lies `later` after this one.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// How long before this moment `earlier` was; zero if it was later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A wall-clock time in seconds since 1970, as hosts and Kubernetes report when something was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub i64);
