//! `check`: reads the configuration, tries every host, the K3s server and the Kubernetes API, and prints one line for
//! each finding, with what to do about it.
//!
//! ```text
//!   configuration ──> hosts ──> capacity      what the host groups are, and what all of them may grow to
//!                     k3s                     the server that agents join, and the token
//!                     kubernetes ──> version  the rights, and whether the agents' version fits the server's
//!                     flags                   of the cluster-autoscaler
//!   finding, report: one line each; size: how large VMs are
//! ```
//!
//! It changes nothing anywhere, and whatever fails keeps nothing else from being tried.

mod capacity;
mod configuration;
mod finding;
mod flags;
mod hosts;
mod k3s;
mod kubernetes;
mod report;
mod size;
mod version;

use std::process::ExitCode;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};

use super::CliError;
use super::args::CheckArgs;
use crate::config;
use finding::Finding;
use report::Report;

/// The configuration cannot be used: as with every other command.
const BAD_CONFIGURATION: u8 = 2;

pub(super) async fn run(args: CheckArgs) -> Result<ExitCode, CliError> {
    let path = args.config.cloud_config;
    let mut report = Report::new(args.output);
    let config = match config::load(&path) {
        Ok(config) => config,
        Err(error) => {
            report.print(&configuration::problems(&error))?;
            return Ok(ExitCode::from(BAD_CONFIGURATION));
        }
    };
    report.print(&[configuration::summary(&path, &config)])?;
    // All at once, because each may take seconds to be given up; told in the same order always.
    let mut parts: FuturesOrdered<BoxFuture<'_, Vec<Finding>>> = FuturesOrdered::new();
    parts.push_back(hosts::check(&config).boxed());
    parts.push_back(k3s::check(&config.global).boxed());
    parts.push_back(kubernetes::check(&config.global.join, args.kubernetes).boxed());
    while let Some(findings) = parts.next().await {
        report.print(&findings)?;
    }
    report.print(&flags::fitting(&config))?;
    Ok(report.exit_code())
}
