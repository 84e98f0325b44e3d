//! The command line: flags, logging, signals and exit codes, one file for each command.

mod args;
mod check;
mod demo;
mod driver;
mod logging;
mod serve;
mod simulate;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};

/// Threads that do the work: while one reads a long listing, the other answers calls, which takes microseconds. Each has
/// memory of its own, so a machine with many cores is no reason for more.
const WORKERS: usize = 2;

/// The program ends with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The command line or the configuration is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Everything else: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs the program: 0 stopped, 2 bad usage or configuration, 1 anything else.
#[must_use]
pub fn run() -> ExitCode {
    // First of all: reqwest panics if it is the first to need a provider, and there must be one only. It fails only if
    // one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse(); // exits with 2 on bad usage
    let quiet = matches!(args.command, Command::Check(_) | Command::Demo(_));
    match logging::start(&args.logging, quiet).and_then(|()| run_command(args.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("slicer-cloud-provider: {error}");
            error.exit_code()
        }
    }
}

fn run_command(command: Command) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Simulate(args) => simulate::run(args).await,
        }
    });
    // Dropped, the runtime would wait for look-ups of names, which nobody can stop and which may take a minute.
    runtime.shutdown_background();
    outcome
}
