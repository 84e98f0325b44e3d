//! Chaos, long: `cargo run --release --example chaos -- --steps 100000`. Random calls of a cluster-autoscaler, a fifth of
//! all requests to hosts going wrong, host restarts, kills of the provider, clock jumps; after each step the
//! invariants. Prints the counts, or the seed and the step at which an invariant broke, and then ends with exit code 1.

#[path = "../tests/chaos/engine/mod.rs"]
mod engine;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use engine::{Plan, run};

/// Lets the provider live through chaos.
#[derive(Parser)]
struct Args {
    /// How many steps.
    #[arg(long, default_value_t = 10_000)]
    steps: u32,
    /// Where everything is drawn from; random if left out.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("seed {seed}, {} steps", args.steps);
    let begun = Instant::now();
    match run(Plan {
        seed,
        steps: args.steps,
    }) {
        Ok(outcome) => {
            let counts = outcome.counts;
            print!("{counts}");
            let (wrong, all) = (counts.of(engine::WRONG), counts.of(engine::TROUBLED));
            println!(
                "{:>9}%  of the requests in troubled times went wrong",
                100 * wrong / all.max(1)
            );
            println!(
                "no invariant broke; trace {:016x}; {:.0} s",
                outcome.trace,
                begun.elapsed().as_secs_f32()
            );
            ExitCode::SUCCESS
        }
        Err(broken) => {
            eprintln!("BROKEN: {broken}");
            ExitCode::FAILURE
        }
    }
}
