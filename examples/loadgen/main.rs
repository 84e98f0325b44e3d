//! Measures the server as a cluster-autoscaler and its hosts meet it:
//! `cargo build --release && cargo run --release --example loadgen`.
//!
//! ```text
//!   loops     (no command)  the loop of a cluster-autoscaler, in turns with a bare tonic server      script, bare
//!   scale_up  scale-up      launches on hosts that take their time
//!   start     start         starts, memory when idle, size of the program
//!   look_up   look-up       NodeGroupForNode in memory with few and very many instances              benches/memory
//!     │
//!     ├─ stage    fleet (what there is), hosts (simulated Slicer daemons), cluster (a fake Kubernetes API)
//!     ├─ process  the measured programs; usage: their CPU time and memory
//!     ├─ wire     one connection and its calls, as bytes
//!     └─ figures, goals
//! ```
//!
//! What counts are ratios within one run; times depend on the machine. It is no test of correctness, but an answer that
//! is wrong ends a measurement. Nothing here decides how the server works: it is the release binary, started as users
//! start it.

mod bare;
mod cluster;
#[allow(dead_code, clippy::unwrap_used)] // the tests use all of it; what is unwrapped there is what this sends
#[path = "../../tests/kubernetes/fake_api.rs"]
mod fake_api;
mod figures;
mod fleet;
mod goals;
mod hosts;
mod look_up;
mod loops;
#[path = "../../benches/memory/mod.rs"]
mod memory;
mod process;
mod scale_up;
mod script;
mod stage;
mod start;
mod usage;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use fleet::Fleet;
use stage::Stage;

/// Why a measurement ended.
type Failure = String;

/// Measures the server. Without a command: the loop of a cluster-autoscaler.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    mode: Option<Mode>,
    #[command(flatten)]
    loops: Loops,
}

#[derive(clap::Args)]
struct Loops {
    #[command(flatten)]
    server: ServerArgs,
    /// Node groups.
    #[arg(long, default_value_t = 50, value_parser = up_to(2000))]
    groups: usize,
    /// VMs, each with its Node.
    #[arg(long, default_value_t = 5000, value_parser = up_to(100_000))]
    nodes: usize,
    /// Simulated hosts.
    #[arg(long, default_value_t = 10, value_parser = up_to(200))]
    hosts: usize,
    /// Loops of each server that count.
    #[arg(long, default_value_t = 7, value_parser = up_to(1000))]
    loops: usize,
}

#[derive(clap::Args)]
struct ServerArgs {
    /// The server; if left out, the one that was built beside this program.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Starts it without Kubernetes, so that it holds no Nodes.
    #[arg(long)]
    without_kubernetes: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// Launches on hosts that take their time.
    ScaleUp {
        #[command(flatten)]
        server: ServerArgs,
        /// VMs on all hosts together.
        #[arg(long, default_value_t = 80, value_parser = up_to(10_000))]
        launches: usize,
        /// Simulated hosts, each with one group.
        #[arg(long, default_value_t = 2, value_parser = up_to(200))]
        hosts: usize,
        /// What a host takes for one VM, in milliseconds.
        #[arg(long, default_value_t = 5000)]
        create_ms: u32,
    },
    /// Starts, memory when idle, size of the program.
    Start {
        #[command(flatten)]
        server: ServerArgs,
        /// How many starts.
        #[arg(long, default_value_t = 20, value_parser = up_to(1000))]
        starts: usize,
    },
    /// NodeGroupForNode in memory with few and very many instances.
    LookUp,
    /// The bare server, with the answers in a folder.
    #[command(hide = true)]
    Bare { answers: PathBuf },
}

/// A number from 1 on.
fn up_to(most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync {
    move |text| {
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("a number from 1 to {most} is expected"))
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // The hosts' client needs one; it fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match measure(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: Args) -> Result<(), Failure> {
    match args.mode {
        None => {
            let program = program(&args.loops.server)?;
            let fleet = Fleet::new(args.loops.hosts, args.loops.groups, args.loops.nodes)?;
            let stage = Stage::new(fleet, Duration::ZERO, !args.loops.server.without_kubernetes)?;
            loops::run(&program, &stage, args.loops.loops)
        }
        Some(Mode::ScaleUp {
            server,
            launches,
            hosts,
            create_ms,
        }) => {
            let create = Duration::from_millis(create_ms.into());
            let stage = Stage::new(Fleet::new(hosts, hosts, 0)?, create, !server.without_kubernetes)?;
            scale_up::run(&program(&server)?, &stage, &scale_up::Plan { launches, create })
        }
        Some(Mode::Start { server, starts }) => {
            let stage = Stage::new(Fleet::new(1, 1, 0)?, Duration::ZERO, !server.without_kubernetes)?;
            start::run(&program(&server)?, &stage, starts)
        }
        Some(Mode::LookUp) => look_up::run(),
        Some(Mode::Bare { answers }) => bare::serve(&answers),
    }
}

/// The server's program: `target/release/slicer-cloud-provider` for `target/release/examples/loadgen`.
fn program(args: &ServerArgs) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own
        .ancestors()
        .nth(2)
        .map(|folder| folder.join("slicer-cloud-provider"));
    let program = args.binary.clone().or(beside).unwrap_or_default();
    if !program.is_file() {
        return Err(format!(
            "there is no server at {}: cargo build --release makes one, or name it with --binary",
            program.display()
        ));
    }
    Ok(program)
}

/// Runs the client: on one thread, as there is only one thing to do.
fn in_async<T>(measurement: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(measurement)
}
