//! `serve`: the server, until a signal stops it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::CliError;
use super::args::{KubernetesArgs, ServeArgs};
use crate::config::{self, Change};
use crate::kubernetes::{ConnectError, KubeconfigSource, KubernetesCluster, NoCluster};
use crate::provider::Timings;
use crate::provider::ports::Cluster;
use crate::server::{Options, Server};

/// Between looks at the configuration and the certificates on disk. What changed takes effect after the second look
/// that finds it.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(args: ServeArgs) -> Result<ExitCode, CliError> {
    let tls = args.tls.files().map_err(CliError::Usage)?;
    if tls.is_none() && !args.addresses.listen.is_local() && !args.allow_insecure {
        return Err(CliError::Usage(format!(
            "refusing to listen on {} without mTLS: whoever can connect could create and delete machines. Give \
             --tls-cert, --tls-key and --tls-client-ca, or listen on loopback, or insist with --allow-insecure",
            args.addresses.listen
        )));
    }
    let path = args.config.cloud_config;
    let config = config::load(&path).map_err(|error| CliError::Usage(error.to_string()))?;
    let options = Options {
        listen: args.addresses.listen,
        admin_listen: args.addresses.admin_listen,
        tls,
        timings: Timings::default(),
    };
    let mut signals = Signals::listen()?;
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let cluster = tokio::select! {
        cluster = connect(args.kubernetes, &tracker, &shutdown) => cluster?,
        // What it waits for is no reason to live on.
        Told::Stop = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let mut server = Server::start(&config, &options, cluster, tracker, shutdown)
        .await
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let mut watch = config::Watch::new(path, config);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Told::Stop => break,
                Told::Reload => {
                    server.reload(watch.reread());
                    server.reload_certificates();
                }
            },
            // Small local files, read on the thread that has nothing else to do.
            _ = looks.tick() => {
                match watch.look() {
                    None => {}
                    Some(Change::Config(config)) => server.reload(Ok::<_, String>(*config)),
                    Some(Change::Wrong(what)) => server.reload(Err(what)),
                    Some(Change::WellAgain) => server.configuration_is_well_again(),
                }
                server.look_at_certificates();
            }
            () = server.ended() => return Err(CliError::Failed("a listener ended unexpectedly".to_owned())),
        }
    }
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The cluster as the flags say.
async fn connect(
    args: KubernetesArgs,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Arc<dyn Cluster>, CliError> {
    if args.without_kubernetes {
        tracing::warn!(
            "without Kubernetes: Nodes of removed VMs stay, VMs that never join are noticed only by the \
             cluster-autoscaler, and agents install from the K3s channel unless k3s-version is set"
        );
        return Ok(Arc::new(NoCluster));
    }
    let source = args
        .kubeconfig
        .map_or(KubeconfigSource::Inferred, KubeconfigSource::File);
    match KubernetesCluster::connect(source, tracker, shutdown.clone()).await {
        Ok(cluster) => Ok(Arc::new(cluster)),
        Err(error @ (ConnectError::Client { .. } | ConnectError::Hangs { .. })) => {
            Err(CliError::Failed(error.to_string()))
        }
        Err(error) => Err(CliError::Usage(error.to_string())),
    }
}

/// What a signal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that the server obeys.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
