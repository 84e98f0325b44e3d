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

use secrecy::SecretString;

use super::CliError;
use super::args::CheckArgs;
use crate::config::{self, Config};
use crate::secret::SecretSource;
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
    let secrets = secrets_of(&config);
    // All at once, because each may take seconds to be given up; told in the same order always.
    let mut parts: FuturesOrdered<BoxFuture<'_, Vec<Finding>>> = FuturesOrdered::new();
    parts.push_back(hosts::check(&config, &secrets).boxed());
    parts.push_back(k3s::check(&config.global, &secrets).boxed());
    parts.push_back(kubernetes::check(&config.global.join, args.kubernetes, &secrets).boxed());
    while let Some(findings) = parts.next().await {
        report.print(&findings)?;
    }
    report.print(&flags::fitting(&config))?;
    Ok(report.exit_code())
}

/// What nobody who is asked may make us print: hosts and servers know it, or get to know it.
fn secrets_of(config: &Config) -> Vec<SecretString> {
    let of_hosts = config.groups.iter().filter_map(|group| group.slicer_token.as_ref());
    let all = of_hosts.chain([&config.global.k3s_token]);
    all.map(SecretSource::current).collect()
}
