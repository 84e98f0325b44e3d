//! The server's clock: monotonic, counted from its start. It is tokio's, so tests that pause tokio's time move it.

use tokio::time::Instant;

use crate::domain::moment::Moment;

/// Tells [`Moment`]s.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::after_start(self.start.elapsed())
    }
}
