//! The program: reads the command line and runs what it says.

use std::process::ExitCode;

fn main() -> ExitCode {
    slicer_cloud_provider::cli::run()
}
