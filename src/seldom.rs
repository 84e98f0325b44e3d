//! A line of log that anybody can cause, or that an error repeats as long as it lasts: told now and then only.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is told at most; the times in between are for who looks closely.
const TELL: Duration = Duration::from_secs(10);

/// When it was told last, and what was not told since.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    left_out: u64,
}

impl Seldom {
    /// Whether it is to be told now, which counts as telling it: with how many were left out since the last time.
    pub(crate) fn is_due(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < TELL) {
            told.left_out += 1;
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_at_once_and_then_every_ten_seconds_at_most_with_what_was_left_out() {
        let (seldom, mut told) = (Seldom::default(), Vec::new());
        for _ in 0..100 {
            told.extend(seldom.is_due());
            tokio::time::advance(Duration::from_millis(200)).await;
        }
        assert_eq!(told, [0, 49], "in 20 s");
    }
}
