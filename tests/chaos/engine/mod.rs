//! A world in which everything goes wrong, for the provider to live in: real gRPC messages in, real REST requests to
//! simulated Slicer hosts out, on a clock that the story moves. Everything is drawn from one seed.
//!
//! ```text
//!   story (what happens next) ──> autoscaler ──gRPC──> provider ──REST──> hosts (a fifth of the requests goes wrong)
//!     │                                                   └────────────> cluster (Nodes, an API that is away at times)
//!     └─ after each step: the invariants          leash: cuts a provider off that was killed
//! ```
//!
//! `ledger` knows what may be done and notes what must not have been done. Nothing here asserts: what is broken comes
//! back as text with the seed, so that the test and the example can both use it.

mod autoscaler;
mod cluster;
mod hosts;
mod leash;
mod ledger;
mod life;
mod story;
mod time;

pub(crate) use story::{Plan, run};

/// Requests while things went wrong, in the counts.
pub(crate) const TROUBLED: &str = "requests in troubled times";
/// Those of them that went wrong.
pub(crate) const WRONG: &str = "requests in troubled times that went wrong";

/// The node groups: name, host, host group there. Two of them share a host.
const GROUPS: [(&str, usize, &str); 4] = [
    ("alpha", 0, "agents"),
    ("beta", 1, "agents"),
    ("gamma", 2, "small"),
    ("delta", 2, "large"),
];
/// How many hosts there are.
const HOSTS: usize = 3;
/// The largest size of each group.
const MAX: usize = 6;
/// The name of the cluster in the tags of VMs.
const CLUSTER: &str = "home";
