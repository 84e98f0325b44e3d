//! `simulate`: the simulated Slicer daemon alone, until a signal stops it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::CliError;
use super::args::SimulateArgs;
use super::serve::{Signals, Told};
use crate::domain::quantity::parse_bytes;
use crate::kubernetes::{ClientConfig, ConnectError, KubeconfigSource, SimulatedAgent};
use crate::simulator::{Capacity, GuestAgent, ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig, Timing};

pub(super) async fn run(args: SimulateArgs) -> Result<ExitCode, CliError> {
    let groups = args
        .groups
        .iter()
        .map(|text| group(text))
        .collect::<Result<Vec<_>, _>>()?;
    let boot = Duration::from_millis(args.boot_ms);
    let config = SimulatorConfig {
        token: args.token.map(SecretString::from),
        groups,
        capacity: Capacity {
            max_vms: Some(args.max_vms),
            ram_bytes: None,
        },
        timing: Timing {
            create: Duration::from_millis(args.create_ms),
            boot: boot / 2,
            ..Timing::default()
        },
        ..SimulatorConfig::default()
    };
    let agent = agent(args.kubeconfig, boot / 2).await?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| CliError::Failed(format!("cannot listen on {}: {error}", args.listen)))?;
    // The port that was given may be 0.
    let address = listener.local_addr().unwrap_or(args.listen);
    tracing::info!(%address, "simulated Slicer daemon; faults: POST /simulator/faults");
    let mut signals = Signals::listen()?;
    let shutdown = CancellationToken::new();
    let simulator = Simulator::new(config, agent);
    let serving = tokio::spawn(simulator.serve(listener, shutdown.clone()));
    while signals.next().await != Told::Stop {}
    shutdown.cancel();
    let _ = serving.await;
    Ok(ExitCode::SUCCESS)
}

/// What happens inside the VMs: they join the cluster of a kubeconfig, or only pretend to.
async fn agent(kubeconfig: Option<PathBuf>, userdata_time: Duration) -> Result<Arc<dyn GuestAgent>, CliError> {
    let Some(path) = kubeconfig else {
        return Ok(Arc::new(ScriptedAgent { userdata_time }));
    };
    let unusable = |error: ConnectError| CliError::Usage(error.to_string());
    let config = ClientConfig::load(&KubeconfigSource::File(path))
        .await
        .map_err(unusable)?;
    Ok(Arc::new(SimulatedAgent::new(&config, userdata_time).map_err(unusable)?))
}

/// Reads `NAME[:CPUS[:RAM[:ARCH[:DISK]]]]`.
fn group(text: &str) -> Result<SimulatedGroup, CliError> {
    let wrong = |what: &str| {
        CliError::Usage(format!(
            "--group {text:?}: {what}; write NAME:CPUS:RAM:ARCH:DISK, such as k3s-agents:2:4Gi:x86_64:25G"
        ))
    };
    let mut parts = text.split(':');
    let name = parts
        .next()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| wrong("the name is missing"))?;
    let mut group = SimulatedGroup::new(name, 2, 4 << 30);
    if let Some(cpus) = parts.next() {
        group.cpus = cpus
            .parse()
            .ok()
            .filter(|cpus| *cpus > 0)
            .ok_or_else(|| wrong("CPUS is no positive number"))?;
    }
    if let Some(ram) = parts.next() {
        group.ram_bytes = parse_bytes(ram).map_err(|_| wrong("RAM is no quantity such as 4Gi"))?;
    }
    if let Some(arch) = parts.next() {
        group.arch = arch.parse().map_err(|error| wrong(&format!("ARCH: {error}")))?;
    }
    if let Some(disk) = parts.next() {
        group.disk_bytes = parse_bytes(disk).map_err(|_| wrong("DISK is no quantity such as 25G"))?;
    }
    match parts.next() {
        Some(_) => Err(wrong("too many parts")),
        None => Ok(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::vm::Architecture;

    #[test]
    fn groups_are_read_with_as_many_parts_as_are_given() {
        let whole = group("a:4:8Gi:aarch64:50G").unwrap();
        assert_eq!(
            (whole.cpus, whole.ram_bytes, whole.arch, whole.disk_bytes),
            (4, 8 << 30, Architecture::Arm64, 50_000_000_000)
        );
        assert_eq!(group("a").unwrap(), SimulatedGroup::new("a", 2, 4 << 30));
        for (bad, reason) in [
            ("", "the name is missing"),
            (":2", "the name is missing"),
            ("a:0", "CPUS is"),
            ("a:x", "CPUS is"),
            ("a:1:lots", "RAM is no quantity"),
            ("a:1:1Gi:z80", "ARCH: "),
            ("a:1:1Gi:amd64:more", "DISK is no quantity"),
            ("a:1:1Gi:amd64:25G:more", "too many parts"),
        ] {
            let error = group(bad).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }
}
