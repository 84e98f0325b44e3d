//! The simulated Slicer daemon as a client sees it: over real HTTP.

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
