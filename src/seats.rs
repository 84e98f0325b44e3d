//! The connections of one listener, bounded in number: who comes when all seats are taken gets the seat of the one that
//! has been quiet the longest. So a flood of connections costs no more than the seats, it ends itself first, and a
//! client that speaks is served all the same. It knows nothing of what is said on a connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

#[derive(Debug)]
struct Sitter {
    heard: Instant,
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
            let quiet_longest = taken.sitters.iter().min_by_key(|(_, sitter)| sitter.heard);
            let number = quiet_longest.map(|(number, _)| *number);
            if let Some(sitter) = number.and_then(|number| taken.sitters.remove(&number)) {
                sitter.lost.cancel();
            }
        }
        let (number, lost) = (taken.next, CancellationToken::new());
        taken.next += 1;
        let sitter = Sitter {
            heard: Instant::now(),
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

/// The seat of one connection, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    lost: CancellationToken,
}

impl Seat {
    /// The client said something.
    pub(crate) fn heard(&self) {
        if let Some(sitter) = self.seats.lock().sitters.get_mut(&self.number) {
            sitter.heard = Instant::now();
        }
    }

    /// Ends when somebody else gets the seat: the connection is to be closed.
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

    #[tokio::test(start_paused = true)]
    async fn who_was_quiet_the_longest_loses_the_seat_to_who_comes_when_all_are_taken() {
        let seats = Seats::new(2);
        let first = seats.take();
        a_moment().await;
        let second = seats.take();
        a_moment().await;
        first.heard();
        let third = seats.take();
        second.lost().await;
        assert!(!first.lost.is_cancelled() && !third.lost.is_cancelled());
        drop(second);
        assert_eq!(seats.lock().sitters.len(), 2, "its end frees nobody else's seat");
        drop(third);
        let _fourth = seats.take();
        assert!(!first.lost.is_cancelled(), "there was a free seat");
    }
}
