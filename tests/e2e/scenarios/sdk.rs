//! Slicer's own Go client against the simulated daemon. It needs no cluster: it keeps the simulator honest.

use std::sync::Arc;
use std::time::Duration;

use slicer_cloud_provider::simulator::{ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig};
use tokio::process::Command;

use super::{Alone, expect};
use crate::{Failure, Places};

const TOKEN: &str = "slicer";
const GROUP: &str = "k3s-agents-1";

/// Runs the checks of `programs/slicer-sdk`.
pub(super) const SLICER_SDK: Alone = Alone {
    name: "slicer-sdk",
    about: "Slicer's official Go SDK works against the simulated daemon",
    needs: &[PROGRAM],
    story: |places| Box::pin(check(places)),
};

const PROGRAM: &str = "slicer-sdk";

async fn check(places: &Places) -> Result<(), Failure> {
    let config = SimulatorConfig {
        token: Some(TOKEN.into()),
        groups: vec![SimulatedGroup::new(GROUP, 2, 4 << 30)],
        ..SimulatorConfig::default()
    };
    let agent = ScriptedAgent {
        userdata_time: Duration::from_millis(200),
    };
    let simulator = Simulator::new(config, Arc::new(agent));
    let running = simulator.spawn_on_loopback().await.map_err(|error| error.to_string())?;
    let mut checks = Command::new(places.programs.join(PROGRAM))
        .args(["-url", &running.url, "-token", TOKEN, "-group", GROUP])
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let status = checks.wait().await.map_err(|error| error.to_string())?;
    running.stop().await;
    expect(status.success(), || format!("it ended with {status}"))
}
