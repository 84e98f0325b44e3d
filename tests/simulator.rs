//! The simulated Slicer daemon as a client sees it: over real HTTP.

// A failed unwrap in a helper is a failed test with a line number, too.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[path = "simulator/api.rs"]
mod api;
#[path = "simulator/client.rs"]
mod client;
#[path = "simulator/faults.rs"]
mod faults;
#[path = "simulator/guests.rs"]
mod guests;
#[path = "simulator/lifecycle.rs"]
mod lifecycle;
