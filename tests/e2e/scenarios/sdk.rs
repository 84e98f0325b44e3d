//! Slicer's own Go client against the simulated daemon. It needs no cluster: it keeps the simulator honest.

use std::sync::Arc;
use std::time::Duration;

use slicer_cloud_provider::simulator::{ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig};
use tokio::process::Command;

use crate::Places;
use crate::report::{Outcome, Row};

/// Its name on the command line.
pub(crate) const NAME: &str = "slicer-sdk";
/// What it is about.
pub(crate) const ABOUT: &str = "Slicer's official Go SDK works against the simulated daemon";
/// The checks together take seconds.
const WITHIN: Duration = Duration::from_secs(180);
const TOKEN: &str = "slicer";
const GROUP: &str = "k3s-agents-1";

/// Runs the checks of `programs/slicer-sdk`.
pub(crate) async fn run(places: &Places) -> Row {
    let program = places.programs.join(NAME);
    if !program.exists() {
        return Row::short(NAME, "-", Outcome::Skipped);
    }
    let outcome = match check(&program).await {
        Ok(true) => Outcome::Passed,
        Ok(false) => Outcome::Failed,
        Err(error) => {
            println!("{NAME}: {error}");
            Outcome::Failed
        }
    };
    Row::short(NAME, "-", outcome)
}

async fn check(program: &std::path::Path) -> std::io::Result<bool> {
    let config = SimulatorConfig {
        token: Some(TOKEN.into()),
        groups: vec![SimulatedGroup::new(GROUP, 2, 4 << 30)],
        ..SimulatorConfig::default()
    };
    let agent = ScriptedAgent {
        userdata_time: Duration::from_millis(200),
    };
    let simulator = Simulator::new(config, Arc::new(agent));
    let running = simulator.spawn_on_loopback().await?;
    let mut checks = Command::new(program)
        .args(["-url", &running.url, "-token", TOKEN, "-group", GROUP])
        .kill_on_drop(true)
        .spawn()?;
    let status = tokio::time::timeout(WITHIN, checks.wait()).await??;
    running.stop().await;
    Ok(status.success())
}
