//! Where launch ids get their randomness from: the system, or a source that a test can repeat.

use std::fmt;
use std::sync::Arc;

/// A source of random numbers.
#[derive(Clone)]
pub struct Entropy(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Entropy {
    /// The system's. If it has none, which no supported platform does, the clock must do: an id is never used twice
    /// either way.
    #[must_use]
    pub fn of_system() -> Self {
        Self::from_fn(|| {
            getrandom::u64().unwrap_or_else(|_| {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |since| since.subsec_nanos().into())
            })
        })
    }

    /// Numbers that `draw` gives.
    #[must_use]
    pub fn from_fn(draw: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    pub(super) fn draw(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
