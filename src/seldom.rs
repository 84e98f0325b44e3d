//! A line of log that anybody can cause, or that an error repeats as long as it lasts: told now and then only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is told at most; the times in between are for who looks closely.
const TELL: Duration = Duration::from_secs(10);

/// When it was told last.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is to be told now, which counts as telling it.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= TELL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_at_once_and_then_every_ten_seconds_at_most() {
        let seldom = Seldom::default();
        let mut told = 0;
        for _ in 0..100 {
            told += u32::from(seldom.is_due());
            tokio::time::advance(Duration::from_millis(200)).await;
        }
        assert_eq!(told, 2, "in 20 s");
    }
}
