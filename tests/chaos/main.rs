//! Chaos, short: a few hundred steps of everything that can go wrong, from seeds that are always the same. For long
//! runs there is `cargo run --release --example chaos -- --steps 100000`, which lives in the same world.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;

use engine::{Plan, run};

/// As many as a debug build does in some seconds.
const STEPS: u32 = 600;

#[test]
fn the_same_seed_tells_the_same_story() {
    let plan = Plan { seed: 11, steps: 150 };
    assert_eq!(run(plan).unwrap(), run(plan).unwrap());
}

#[test]
fn whatever_goes_wrong_nothing_leaks_and_nothing_is_lost() {
    for seed in 1..=3 {
        let outcome = run(Plan { seed, steps: STEPS }).unwrap_or_else(|broken| panic!("{broken}"));
        println!("seed {seed}:\n{}", outcome.counts);
        for what in ["VMs created", "VMs deleted", "kills of the provider", "Nodes removed"] {
            assert!(outcome.counts.of(what) > 0, "a story without {what} shows little");
        }
        let (wrong, all) = (outcome.counts.of(engine::WRONG), outcome.counts.of(engine::TROUBLED));
        assert!(wrong * 5 > all, "{wrong} of {all} requests went wrong");
    }
}
