//! The clock of the story. It stands still while anybody has anything to do, and moves only when it is told to: real
//! bytes go through real sockets here, which a clock that moves by itself would overtake.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

/// How far the clock moves at once. Shorter than every pause of the provider but those of microseconds.
const STRIDE: Duration = Duration::from_millis(100);
/// How often everybody gets a turn before the clock moves: more than a request needs from end to end.
const TURNS: usize = 48;

/// A runtime of one thread, whose clock does not move by itself.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        // Sockets are looked at before each turn.
        .event_interval(1)
        .build()
}

/// Keeps the clock from moving by itself until it is dropped: tokio's does not while a blocking task runs.
pub(super) struct StandingClock(Option<mpsc::Sender<()>>);

impl StandingClock {
    pub(super) fn hold() -> Self {
        let (hold, held) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || held.recv());
        Self(Some(hold))
    }
}

impl Drop for StandingClock {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// Lets everybody do what there is to do.
pub(super) async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// Lets time pass.
pub(super) async fn pass(time: Duration) {
    let mut left = time;
    turns().await;
    while left > Duration::ZERO {
        let stride = left.min(STRIDE);
        tokio::time::advance(stride).await;
        turns().await;
        left -= stride;
    }
}

/// Lets a lot of time pass at once, as for a machine that slept: nobody gets a turn in between.
pub(super) async fn jump(time: Duration) {
    tokio::time::advance(time).await;
    turns().await;
}

/// Lets time pass until something is done.
pub(super) async fn until<T>(done: impl Future<Output = T>) -> T {
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            biased;
            result = done.as_mut() => return result,
            () = pass(STRIDE) => {}
        }
    }
}
