//! Prints the findings, and remembers whether one of them is a failure.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::finding::{Finding, Verdict};
use crate::cli::CliError;
use crate::cli::args::CheckOutput;

pub(super) struct Report {
    output: CheckOutput,
    failed: bool,
}

impl Report {
    pub(super) fn new(output: CheckOutput) -> Self {
        Self { output, failed: false }
    }

    pub(super) fn print(&mut self, findings: &[Finding]) -> Result<(), CliError> {
        for finding in findings {
            self.failed |= finding.verdict == Verdict::Fail;
            self.write(finding)
                .map_err(|error| CliError::Failed(format!("cannot write the findings: {error}")))?;
        }
        Ok(())
    }

    /// Not `println!`: it panics if whoever reads the lines has read enough.
    fn write(&self, finding: &Finding) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self.output {
            CheckOutput::Text => writeln!(stdout, "{finding}"),
            CheckOutput::Json => writeln!(stdout, "{}", serde_json::to_string(finding)?),
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
