//! The running server: puts the parts together, listens, and stops gracefully. Decides nothing about groups.

mod client_names;
mod health;
mod incoming;
mod listen;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_health::pb::health_server::{Health, HealthServer};

pub use listen::{InvalidListen, Listen};
pub use tls::{TlsError, TlsFiles};

use crate::admin::{self, Readiness};
use crate::config::{Config, GlobalConfig, GroupConfig};
use crate::grpc::pb::cloud_provider_server::CloudProviderServer;
use crate::grpc::{self, CallsLayer, pb};
use crate::metrics::Metrics;
use crate::provider::ports::{Cluster, SlicerHost};
use crate::provider::{Connect, Entropy, Parts, Provider, Timings};
use crate::slicer;
use incoming::Incoming;
use listen::Bound;
use tls::TlsAcceptors;

/// How long calls and jobs in flight may take to end once the server is told to stop. Kubernetes kills after 30 s.
const DRAIN: Duration = Duration::from_secs(10);
/// Calls at once on one connection; what is beyond waits. The cluster-autoscaler makes a dozen at most. Less than
/// [`CALLS`], so that one connection cannot use them all up.
const CALLS_PER_CONNECTION: usize = 32;
/// Streams at once on one connection, with the calls that wait. Clients keep back what is beyond, once they know; less
/// than the 100 that they take for granted before would have their first calls refused.
const STREAMS_PER_CONNECTION: u32 = 128;
/// Calls at once on all connections. Each may hold a message of 4 MiB (tonic's limit), and all but DeleteNodes are done
/// within microseconds of their last byte. Who comes when there are so many ends the one whose request has been
/// incomplete the longest, so that clients whose requests never end keep no other from being served.
const CALLS: usize = 128;
/// How long a call may take: its request may trickle in, or never end. DeleteNodes waits a second at most.
const CALL: Duration = Duration::from_secs(10);
/// How often a client that says nothing is asked whether it is still there. Machines vanish without a word, and their
/// connections would stay for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long the first call waits for hosts that have not answered yet. Without their VMs the target sizes would be too
/// small, and the cluster-autoscaler would ask for them again. Its calls end after 5 s by default.
const FIRST_INVENTORY: Duration = Duration::from_secs(2);

/// How the server is to listen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the cluster-autoscaler connects.
    pub listen: Listen,
    /// Where probes, Prometheus and people look.
    pub admin_listen: SocketAddr,
    /// mTLS; without it, `listen` is loopback or a unix socket, or the user insists.
    pub tls: Option<TlsFiles>,
    /// How long the provider's jobs wait.
    pub timings: Timings,
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A client for a host cannot be built.
    #[error("{0}")]
    Provider(String),
    /// The reflection service cannot be built, which no known input causes.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    provider: Arc<Provider>,
    metrics: Arc<Metrics>,
    tls: Option<Arc<TlsAcceptors>>,
    grpc_address: String,
    admin_address: SocketAddr,
    grpc: JoinHandle<()>,
    admin: JoinHandle<()>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    admin_shutdown: CancellationToken,
}

impl Server {
    /// Starts listening and starts the provider's jobs. The jobs that `cluster` needs are to run on `tracker` until
    /// `shutdown`.
    ///
    /// # Errors
    /// An address is taken, a certificate is unusable, or a host's client cannot be built.
    pub async fn start(
        config: &Config,
        options: &Options,
        cluster: Arc<dyn Cluster>,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let tls = options.tls.clone().map(TlsAcceptors::load).transpose()?.map(Arc::new);
        let bound = Bound::bind(&options.listen).await?;
        let admin_listener = listen_admin(options.admin_listen).await?;
        let admin_address = admin_listener.local_addr().unwrap_or(options.admin_listen);
        let grpc_address = bound.address();

        let metrics = Arc::new(Metrics::new());
        let parts = Parts {
            connect: slicer_connect(Arc::clone(&metrics)),
            cluster,
            metrics: Arc::clone(&metrics),
            entropy: Entropy::of_system(),
            timings: options.timings,
            tracker: tracker.clone(),
            shutdown: shutdown.clone(),
        };
        let provider = Provider::start(config, parts).map_err(StartError::Provider)?;
        let readiness = health::follow(&provider, &tracker, &shutdown);
        let inventory = first_inventory(readiness.clone());
        let incoming = incoming::accept(bound, tls.clone(), &tracker, shutdown.clone(), inventory);
        let health = health::service(readiness.clone(), &tracker);
        let serving = serving(&provider, &metrics, health, incoming, &shutdown)?;
        let grpc = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the gRPC server ended");
            }
        });
        let admin_shutdown = CancellationToken::new();
        let sources = admin::Sources {
            provider: Arc::clone(&provider),
            metrics: Arc::clone(&metrics),
            readiness,
        };
        let admin = tokio::spawn(admin::serve(admin_listener, sources, admin_shutdown.clone()));
        tracing::info!(address = grpc_address, mtls = tls.is_some(), admin = %admin_address, "serving");
        Ok(Self {
            provider,
            metrics,
            tls,
            grpc_address,
            admin_address,
            grpc,
            admin,
            tracker,
            shutdown,
            admin_shutdown,
        })
    }

    /// Where the gRPC service listens: `host:port`, or `unix://path`.
    #[must_use]
    pub fn grpc_address(&self) -> &str {
        &self.grpc_address
    }

    /// Where the admin endpoints listen.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The provider behind the service.
    #[must_use]
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// Takes over a configuration that was read again. One that cannot be used is refused with a line of log, and
    /// everything goes on as it was.
    pub fn reload<E: std::fmt::Display>(&self, config: Result<Config, E>) {
        let outcome = config
            .map_err(|error| error.to_string())
            .and_then(|config| self.provider.reconfigure(&config));
        self.metrics.config_reloaded(outcome.is_ok());
        match outcome {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => tracing::error!(error, "the new configuration is refused; the old one stays"),
        }
    }

    /// The configuration on disk is again what is in force.
    pub fn configuration_is_well_again(&self) {
        self.metrics.config_is_well_again();
        tracing::info!("the configuration is as it was before it was refused");
    }

    /// Reads the certificates again, changed or not. Those that cannot be used are refused with a line of log.
    pub fn reload_certificates(&self) {
        if let Some(tls) = &self.tls {
            tell_of_certificates(tls.reload());
        }
    }

    /// Takes over certificates that changed on disk, and stayed the same since the last look.
    pub fn look_at_certificates(&self) {
        if let Some(outcome) = self.tls.as_ref().and_then(|tls| tls.look()) {
            tell_of_certificates(outcome);
        }
    }

    /// Returns when a listener ends, which it should not before [`Self::stop`].
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = &mut self.grpc => {}
            _ = &mut self.admin => {}
        }
    }

    /// Stops gracefully: no new calls, those in flight end, jobs end or are left to be found again by their tags. The
    /// admin endpoints go last: until then the process lives, and they say what it is doing.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.shutdown.cancel();
        self.tracker.close();
        let ended = async {
            // One that ended by itself was awaited already, and must not be again.
            if !self.grpc.is_finished() {
                let _ = self.grpc.await;
            }
            self.tracker.wait().await;
        };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("calls or jobs were still running after {} s", DRAIN.as_secs());
        }
        self.admin_shutdown.cancel();
        if !self.admin.is_finished() {
            let _ = self.admin.await;
        }
    }
}

fn tell_of_certificates(outcome: Result<(), TlsError>) {
    match outcome {
        Ok(()) => tracing::info!("certificates reloaded"),
        Err(error) => tracing::error!(%error, "the new certificates are refused; the old ones stay"),
    }
}

/// The gRPC services around the provider, until `shutdown`.
fn serving(
    provider: &Arc<Provider>,
    metrics: &Arc<Metrics>,
    health: HealthServer<impl Health>,
    incoming: Incoming,
    shutdown: &CancellationToken,
) -> Result<BoxFuture<'static, Result<(), tonic::transport::Error>>, StartError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let service = CloudProviderServer::new(grpc::Service::new(Arc::clone(provider)));
    let stop = shutdown.clone().cancelled_owned();
    Ok(tonic::transport::Server::builder()
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .timeout(CALL)
        .layer(CallsLayer::new(CALLS, Arc::clone(metrics)))
        .add_service(service)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming, stop)
        .boxed())
}

/// Returns when all is known that can be known soon.
async fn first_inventory(mut readiness: watch::Receiver<Readiness>) {
    let known = readiness.wait_for(|readiness| *readiness != Readiness::Starting);
    if tokio::time::timeout(FIRST_INVENTORY, known).await.is_err() {
        tracing::warn!("not every host has answered yet; serving without their VMs");
    }
}

async fn listen_admin(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen {
        address: address.to_string(),
        source,
    })
}

/// Connects to real Slicer daemons.
fn slicer_connect(metrics: Arc<Metrics>) -> Connect {
    Arc::new(move |group: &GroupConfig, global: &GlobalConfig| {
        let client = slicer::Client::new(
            &group.endpoint,
            group.slicer_token.clone(),
            global.ca_bundle.as_deref(),
            slicer::Timeouts::default(),
        );
        client
            .map(|client| client.hiding(global.k3s_token.clone()))
            .map(|client| slicer::Measured::new(client, Arc::clone(&metrics)))
            .map(|client| Arc::new(client) as Arc<dyn SlicerHost>)
            .map_err(|error| error.to_string())
    })
}
