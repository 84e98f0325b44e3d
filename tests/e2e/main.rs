//! End to end: a real control plane, a real cluster-autoscaler, the release binary, and simulated Slicer hosts whose
//! VMs join that control plane. `tests/e2e/run` installs the programs and starts this; it is no part of `cargo test`.
//!
//! ```text
//!   selection ──> lane (one cluster-autoscaler version, one control plane) ──> scenarios ──> stage ──> report
//!                  │                                                                          │
//!            control_plane                                    hosts, provider, autoscaler, workload, sight
//!                  └────────────────────── program (a process with its log) ──────────────────┘
//! ```
//!
//! A scenario is a story told in terms of its stage: what is deployed, what breaks, what is awaited. Nothing waits for
//! a time to pass; everything waits for a condition, and what was awaited in vain is said together with the logs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../process/authority.rs"]
#[allow(dead_code)] // for the tests of the process
mod authority;
mod autoscaler;
mod chart;
#[path = "../chart/combinations.rs"]
#[allow(dead_code)] // for the tests of the chart
mod combinations;
mod control_plane;
mod custom_resources;
#[path = "../chart/helm.rs"]
#[allow(dead_code)] // for the tests of the chart
mod helm;
mod hosts;
#[path = "../process/pages.rs"]
#[allow(dead_code)] // for the tests of the process
mod pages;
mod program;
mod provider;
mod report;
mod scenarios;
mod selection;
mod sight;
mod stage;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};

use control_plane::ControlPlane;
use report::{Report, Row};
use scenarios::Scenario;
use selection::{Selection, Version};

/// What went wrong, for a person to read.
type Failure = String;

/// Where the programs are and the logs go.
#[derive(Clone)]
struct Places {
    /// etcd, kube-apiserver, ..., `cluster-autoscaler-<version>`.
    programs: PathBuf,
    /// The release binary of this project.
    provider: PathBuf,
    /// A folder for each version and scenario.
    logs: PathBuf,
}

/// What all scenarios of one cluster-autoscaler version have in common.
struct Lane {
    places: Places,
    version: Version,
    control_plane: ControlPlane,
}

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).unwrap();
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        // Dropped, the futures take their processes with them.
        tokio::select! {
            code = run() => code,
            _ = interrupt.recv() => ExitCode::FAILURE,
            _ = terminate.recv() => ExitCode::FAILURE,
        }
    });
    runtime.shutdown_background();
    code
}

async fn run() -> ExitCode {
    let places = Places {
        programs: folder("E2E_BIN"),
        provider: folder("E2E_PROVIDER"),
        logs: folder("E2E_LOGS"),
    };
    let selection = match Selection::read(std::env::args().skip(1), &places.programs) {
        Ok(selection) => selection,
        Err(failure) => {
            eprintln!("tests/e2e/run: {failure}");
            return ExitCode::from(2);
        }
    };
    // Without a scenario for them, they need no control plane.
    let versions = if selection.scenarios.is_empty() {
        &[][..]
    } else {
        &selection.versions
    };
    let lanes = versions.iter();
    let rows = join_all(lanes.map(|version| run_lane(&places, version, &selection.scenarios))).await;
    let mut report = Report::default();
    report.extend(rows.into_iter().flatten());
    report.skip_versions(&selection);
    for alone in &selection.alone {
        report.extend([alone.run(&places).await]);
    }
    report.print(&places.logs);
    if report.has_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn folder(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    PathBuf::from(path.unwrap_or_else(|| panic!("{variable} is not set; start this through tests/e2e/run")))
}

/// Runs scenarios with one version, one after another on one control plane.
async fn run_lane(places: &Places, version: &Version, scenarios: &[&'static Scenario]) -> Vec<Row> {
    let places = Places {
        logs: places.logs.join(version.to_string()),
        ..places.clone()
    };
    let control_plane = match ControlPlane::start(&places).await {
        Ok(control_plane) => control_plane,
        Err(failure) => {
            println!("{failure}");
            let failed = |scenario: &&Scenario| Row::failed(scenario.name, version, "the control plane did not start");
            return scenarios.iter().map(failed).collect();
        }
    };
    let lane = Lane {
        places,
        version: version.clone(),
        control_plane,
    };
    let mut rows = Vec::new();
    for scenario in scenarios {
        rows.push(scenario.run(&lane).await);
    }
    rows
}
