//! The real program in front of two simulated hosts, killed with SIGKILL a hundred times, wherever it stands: while it
//! scales up, while it scales down, while it starts. After every start, what it says is held against what the hosts
//! have, and what the hosts lost against what was asked for.
//!
//! `KILL_SEED` and `KILL_COUNT` change the seed and the number of kills. A seed fixes what is decided, not how long
//! things take: it makes a run alike, not the same. `--nocapture` shows the story and the counts.
//!
//! ```text
//!   main ── story ──┬── server       the program: started, killed
//!             │     ├── autoscaler   what a cluster-autoscaler asks it, and what it answers ── page
//!             │     └── tally        counts
//!           site (a simulated host, its faults) ── witness (what becomes of its VMs, and whether it may)
//! ```
//!
//! What it is not: neither the Kubernetes side nor a host's own restarts are in it; `tests/model` has both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autoscaler;
mod page;
#[path = "../process/pages.rs"]
#[allow(dead_code)] // for the tests of the process
mod pages;
mod server;
mod site;
mod story;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod witness;

use story::Story;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| {
        text.parse().expect("KILL_SEED and KILL_COUNT are numbers")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_at_any_moment_loses_no_vm_makes_none_twice_and_deletes_none_unasked() {
    let (seed, kills) = (number("KILL_SEED", 1), number("KILL_COUNT", 100));
    println!("KILL_SEED={seed} KILL_COUNT={kills}");
    let mut story = Story::begin(seed).await;
    for _ in 0..kills {
        story.live_until_killed().await;
    }
    let tally = story.end_well().await;
    println!("KILL_SEED={seed}: {tally}");
}
