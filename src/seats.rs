//! Seats, bounded in number, for connections or calls: who comes when all are taken gets the seat of another. Those
//! that never said anything lose theirs first, the oldest of them before the others; then the one that has been quiet
//! the longest. So a flood that says nothing costs no more than the seats and ends itself, and who spoke keeps the seat,
//! however long ago that was. A flood that speaks, too, does cost others their seats; they come again. It is not known
//! here what is said.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

/// When somebody said something last, in words said on all seats until then; 0 if never. Not when it came: among many
/// that come, who spoke a moment ago would be the quietest.
type LastWord = AtomicU64;

#[derive(Debug)]
struct Sitter {
    last_word: Arc<LastWord>,
    /// Its end ends [`Lost`].
    _keep: oneshot::Sender<Infallible>,
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
    words: AtomicU64,
    taken: Mutex<Taken>,
}

impl Seats {
    /// So many of them.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            words: AtomicU64::new(0),
            taken: Mutex::default(),
        })
    }

    /// A seat, if need be that of another.
    pub(crate) fn take(self: &Arc<Self>) -> (Seat, Lost) {
        let (keep, lost) = oneshot::channel();
        let last_word = Arc::new(LastWord::new(0));
        let sitter = Sitter {
            last_word: Arc::clone(&last_word),
            _keep: keep,
        };
        let mut taken = self.lock();
        if taken.sitters.len() >= self.most {
            taken.end_quietest();
        }
        let number = taken.next;
        taken.next += 1;
        taken.sitters.insert(number, sitter);
        let ear = Ear {
            seats: Arc::clone(self),
            last_word,
        };
        (Seat { number, ear }, Lost(lost))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn end_quietest(&mut self) {
        // Of those that never spoke, it is the one that came first.
        let sitters = self.sitters.iter();
        let quietest = sitters.min_by_key(|(number, sitter)| (sitter.last_word.load(Ordering::Relaxed), **number));
        if let Some(number) = quietest.map(|(number, _)| *number) {
            self.sitters.remove(&number);
        }
    }
}

/// The seat of one connection or call, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    ear: Ear,
}

impl Seat {
    /// Something was said.
    pub(crate) fn heard(&self) {
        self.ear.heard();
    }

    /// Hears what is said on this seat, from elsewhere, as long as it is taken and longer.
    pub(crate) fn ear(&self) -> Ear {
        self.ear.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.ear.seats.lock().sitters.remove(&self.number);
    }
}

/// Hears what is said on one seat.
#[derive(Clone, Debug)]
pub(crate) struct Ear {
    seats: Arc<Seats>,
    last_word: Arc<LastWord>,
}

impl Ear {
    /// Something was said.
    pub(crate) fn heard(&self) {
        let before = self.seats.words.fetch_add(1, Ordering::Relaxed);
        self.last_word.store(before + 1, Ordering::Relaxed);
    }
}

/// Ends when somebody else gets the seat: what it is for is to be ended.
#[derive(Debug)]
pub(crate) struct Lost(oneshot::Receiver<Infallible>);

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.is_terminated() {
            return Poll::Ready(()); // was told already; the seat stays lost
        }
        // Nothing is ever sent.
        Pin::new(&mut self.0).poll(context).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn is_lost((_, lost): &mut (Seat, Lost)) -> bool {
        lost.now_or_never().is_some()
    }

    #[test]
    fn of_those_that_spoke_the_one_that_was_quiet_the_longest_loses_its_seat() {
        let seats = Seats::new(2);
        let (mut first, mut second) = (seats.take(), seats.take());
        second.0.heard();
        first.0.ear().heard();
        let mut third = seats.take();
        assert!(is_lost(&mut second) && !is_lost(&mut first) && !is_lost(&mut third));
        drop(second);
        assert_eq!(seats.lock().sitters.len(), 2, "its end frees nobody else's seat");
        drop(third);
        let _fourth = seats.take();
        assert!(!is_lost(&mut first), "there was a free seat");
    }

    #[test]
    fn those_that_never_spoke_lose_their_seats_before_any_that_did_the_oldest_first() {
        let seats = Seats::new(3);
        let (mut oldest, mut speaker) = (seats.take(), seats.take());
        speaker.0.heard();
        let mut newest = seats.take();
        let mut flood: Vec<_> = (0..2).map(|_| seats.take()).collect();
        assert!(is_lost(&mut oldest) && is_lost(&mut newest));
        let mut more: Vec<_> = (0..100).map(|_| seats.take()).collect();
        assert!(flood.iter_mut().chain(&mut more[..98]).all(is_lost));
        assert!(!is_lost(&mut speaker) && !more[98..].iter_mut().any(is_lost));
    }

    #[tokio::test]
    async fn who_waits_is_told_when_the_seat_is_lost() {
        let seats = Seats::new(1);
        let (_seat, lost) = seats.take();
        let waiting = tokio::spawn(lost);
        tokio::task::yield_now().await;
        let _next = seats.take();
        waiting.await.unwrap();
    }

    #[test]
    fn a_lost_seat_stays_lost_however_often_one_asks() {
        let seats = Seats::new(1);
        let mut first = seats.take();
        let _next = seats.take();
        assert!(is_lost(&mut first) && is_lost(&mut first));
    }
}
