//! `demo`: two simulated Slicer hosts, the server in front of them, and a driver that makes the calls of a
//! cluster-autoscaler. Needs nothing else, and changes nothing outside this process.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::CliError;
use super::args::DemoArgs;
use super::driver::{self, Driver};
use super::serve::{Signals, Told};
use crate::config;
use crate::kubernetes::NoCluster;
use crate::provider::Timings;
use crate::server::{Options, Server};
use crate::simulator::{Capacity, RunningSimulator, ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig, Timing};

const TOKEN: &str = "demo-token";

/// The two hosts: `garage` has room for eight VMs, `attic` for three.
struct Hosts {
    garage: (Simulator, RunningSimulator),
    attic: (Simulator, RunningSimulator),
}

pub(super) async fn run(args: DemoArgs) -> Result<ExitCode, CliError> {
    let mut signals = Signals::listen()?;
    let hosts = Hosts {
        garage: host("garage", 2, 8).await?,
        attic: host("attic", 4, 3).await?,
    };
    let text = cloud_config(&hosts);
    let config = config::parse(&text, Path::new("demo")).map_err(|error| CliError::Failed(error.to_string()))?;
    let options = Options {
        listen: args.addresses.listen,
        admin_listen: args.addresses.admin_listen,
        tls: None,
        timings: quick(),
    };
    let mut server = Server::start(
        &config,
        &options,
        Arc::new(NoCluster),
        TaskTracker::new(),
        CancellationToken::new(),
    )
    .await
    .map_err(|error| {
        CliError::Failed(format!(
            "{error}\nIs another server running? --listen and --admin-listen choose other addresses"
        ))
    })?;
    println!("The configuration of this demo:\n\n{text}");

    let scenario = async {
        let driver = Driver::connect(server.grpc_address()).await?;
        driver::play(driver, &hosts.attic.0).await
    };
    let outcome = tokio::select! {
        outcome = scenario => outcome.map_err(CliError::Failed),
        () = stop_signal(&mut signals) => {
            server.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    if outcome.is_ok() && !args.exit {
        println!("{}", invitation(&server, &hosts));
        tokio::select! {
            () = stop_signal(&mut signals) => {}
            () = server.ended() => {}
        }
    }
    server.stop().await;
    hosts.garage.1.stop().await;
    hosts.attic.1.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// A demo has nothing to reload.
async fn stop_signal(signals: &mut Signals) {
    while signals.next().await != Told::Stop {}
}

async fn host(name: &str, cpus: u32, max_vms: usize) -> Result<(Simulator, RunningSimulator), CliError> {
    let config = SimulatorConfig {
        token: Some(SecretString::from(TOKEN)),
        groups: vec![SimulatedGroup::new(name, cpus, u64::from(cpus) << 31)],
        capacity: Capacity {
            max_vms: Some(max_vms),
            ram_bytes: None,
        },
        timing: Timing {
            create: Duration::from_millis(300),
            boot: Duration::from_millis(400),
            ..Timing::default()
        },
        ..SimulatorConfig::default()
    };
    let agent = ScriptedAgent {
        userdata_time: Duration::from_millis(600),
    };
    let simulator = Simulator::new(config, Arc::new(agent));
    let running = simulator
        .spawn_on_loopback()
        .await
        .map_err(|error| CliError::Failed(format!("cannot start a simulated host: {error}")))?;
    Ok((simulator, running))
}

fn cloud_config(hosts: &Hosts) -> String {
    format!(
        "[global]\n\
         k3s-url = https://127.0.0.1:6443\n\
         k3s-token = demo-join-token\n\
         default-min-size = 0\n\
         default-max-size = 6\n\
         \n\
         [nodegroup \"garage\"]\n\
         slicer-url = {}\n\
         slicer-token = {TOKEN}\n\
         \n\
         [nodegroup \"attic\"]\n\
         slicer-url = {}\n\
         slicer-token = {TOKEN}\n\
         zone = attic\n",
        hosts.garage.1.url, hosts.attic.1.url
    )
}

/// Nobody watches a demo that waits as long as the real thing.
fn quick() -> Timings {
    Timings {
        poll_busy: Duration::from_millis(300),
        unreachable: Duration::from_secs(3),
        poll_down_max: Duration::from_secs(1),
        ..Timings::default()
    }
}

fn invitation(server: &Server, hosts: &Hosts) -> String {
    let (grpc, admin) = (server.grpc_address(), server.admin_address());
    let (garage, attic) = (&hosts.garage.1.url, &hosts.attic.1.url);
    let service = "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";
    format!(
        "\nThe server goes on serving; Ctrl-C ends it. For example:\n\n\
         grpcurl -plaintext {grpc} {service}/NodeGroups\n\
         grpcurl -plaintext -d '{{\"id\":\"garage\",\"delta\":2}}' {grpc} {service}/NodeGroupIncreaseSize\n\
         grpcurl -plaintext -d '{{\"id\":\"garage\"}}' {grpc} {service}/NodeGroupNodes\n\
         curl -s http://{admin}/api/v1/state\n\
         curl -s http://{admin}/metrics\n\
         curl -s -H 'Authorization: Bearer {TOKEN}' {garage}/nodes\n\
         curl -s -X POST {attic}/simulator/down -d '{{\"for_ms\":20000}}' -H 'Content-Type: application/json'\n\n\
         A cluster-autoscaler takes it with --cloud-provider=externalgrpc and a --cloud-config file that says\n\
         address: \"{grpc}\"\n"
    )
}
