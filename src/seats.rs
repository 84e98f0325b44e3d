//! Seats, bounded in number, for connections or calls: who comes when all are taken gets the seat of another. Those
//! that never said anything lose theirs first, the oldest of them before the others; then the one that has been quiet
//! the longest. So a flood that says nothing costs no more than the seats and ends itself, and who spoke keeps the seat,
//! however long ago that was. A flood that speaks, too, does cost others their seats; they come again. It is not known
//! here what is said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

#[derive(Debug)]
struct Sitter {
    /// When it said something last. Not when it came: among many that come, who spoke a moment ago would be the
    /// quietest.
    heard: Option<Instant>,
    lost: CancellationToken,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    sitters: BTreeMap<u64, Sitter>,
}

/// The seats.
#[derive(Debug)]
pub(crate) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

impl Seats {
    /// So many of them.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// A seat, if need be that of another.
    pub(crate) fn take(self: &Arc<Self>) -> Seat {
        let mut taken = self.lock();
        if taken.sitters.len() >= self.most {
            // `None` is the least, and of equals it is the one that came first.
            let quietest = taken
                .sitters
                .iter()
                .min_by_key(|(number, sitter)| (sitter.heard, **number));
            let number = quietest.map(|(number, _)| *number);
            if let Some(sitter) = number.and_then(|number| taken.sitters.remove(&number)) {
                sitter.lost.cancel();
            }
        }
        let (number, lost) = (taken.next, CancellationToken::new());
        taken.next += 1;
        let sitter = Sitter {
            heard: None,
            lost: lost.clone(),
        };
        taken.sitters.insert(number, sitter);
        Seat {
            seats: Arc::clone(self),
            number,
            lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The seat of one connection or call, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    lost: CancellationToken,
}

impl Seat {
    /// Something was said.
    pub(crate) fn heard(&self) {
        if let Some(sitter) = self.seats.lock().sitters.get_mut(&self.number) {
            sitter.heard = Some(Instant::now());
        }
    }

    /// Ends when somebody else gets the seat: what it is for is to be ended.
    pub(crate) fn lost(&self) -> WaitForCancellationFutureOwned {
        self.lost.clone().cancelled_owned()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().sitters.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn a_moment() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn is_lost(seat: &Seat) -> bool {
        seat.lost.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_that_spoke_the_one_that_was_quiet_the_longest_loses_its_seat() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take(), seats.take());
        second.heard();
        a_moment().await;
        first.heard();
        let third = seats.take();
        second.lost().await;
        assert!(!is_lost(&first) && !is_lost(&third));
        drop(second);
        assert_eq!(seats.lock().sitters.len(), 2, "its end frees nobody else's seat");
        drop(third);
        let _fourth = seats.take();
        assert!(!is_lost(&first), "there was a free seat");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_never_spoke_lose_their_seats_before_any_that_did_the_oldest_first() {
        let seats = Seats::new(3);
        let (oldest, speaker) = (seats.take(), seats.take());
        speaker.heard();
        a_moment().await;
        let newest = seats.take();
        let flood: Vec<Seat> = (0..2).map(|_| seats.take()).collect();
        assert!(is_lost(&oldest) && is_lost(&newest));
        let more: Vec<Seat> = (0..100).map(|_| seats.take()).collect();
        assert!(flood.iter().chain(&more[..98]).all(is_lost));
        assert!(!is_lost(&speaker) && !more[98..].iter().any(is_lost));
    }
}
