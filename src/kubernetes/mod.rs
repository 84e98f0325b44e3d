//! The Kubernetes cluster that the VMs join, as the provider's port [`Cluster`]: its Nodes from memory, removal of a
//! Node with its K3s node-password secret, the API server's version. Nothing here knows of Slicer or of node groups.
//!
//! ```text
//!   connect ── client ──┬── watch ── cache, freshness, record ──> snapshot of the Nodes
//!                       ├── version ──> version of the API server
//!                       ├── removal, events, heartbeat, rights: one request when asked
//!                       └── simulated_agent: simulated VMs as K3s agents, for trying things out
//! ```
//!
//! An API server that is down is a normal state here, not an error: the last snapshot stays, marked as stale. `kube` is
//! used in this module only.

mod absent;
mod cache;
mod client;
mod connect;
mod events;
mod failure;
mod freshness;
mod heartbeat;
mod record;
mod removal;
mod rights;
mod simulated_agent;
mod timings;
mod version;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use kube::Client;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::ids::NodeName;
use crate::provider::ports::{Cluster, ClusterError, ClusterStatus, NodeSnapshot, Notice};

pub use absent::NoCluster;
pub use connect::{ClientConfig, ConnectError, KubeconfigSource};
pub use rights::Right;
pub use simulated_agent::SimulatedAgent;
pub use timings::Timings;

use events::Events;
use watch::NodeWatch;

/// What a log filter should hold by default. kube logs every failed attempt at WARN or ERROR, some with the whole body
/// of the answer, and so does what verifies certificates for it; this module logs one line for each change of state and
/// returns errors to its callers.
pub const LOG_FILTER: &str = "kube_client=off,kube_runtime=off,rustls_platform_verifier=off";

/// Requests about single Nodes at once. A host that restarts may leave hundreds of Nodes to remove, and the API server
/// has others to serve.
const NODE_REQUESTS: usize = 8;

/// How long the kubeconfig and its credential plugin may take, each.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The cluster behind a Kubernetes API server, watched from the moment it is started.
pub struct KubernetesCluster {
    client: Client,
    timings: Timings,
    api_url: String,
    credentials: Vec<SecretString>,
    snapshot: Arc<ArcSwap<NodeSnapshot>>,
    version: Arc<ArcSwapOption<String>>,
    events: Events,
    turns: Semaphore,
}

impl KubernetesCluster {
    /// Finds the way to the API server, and [starts](Self::start).
    ///
    /// # Errors
    ///
    /// As [`ClientConfig::load`] and [`Self::start`], or if that takes too long: a kubeconfig may be no file but a pipe, and
    /// name a command that gets the credentials and may wait for somebody to log in.
    pub async fn connect(
        source: KubeconfigSource,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, ConnectError> {
        let (runtime, tracker, named) = (Handle::current(), tracker.clone(), source.to_string());
        let load = move || runtime.block_on(ClientConfig::load(&source));
        let config = blocking(format!("reading {named}"), load).await?;
        let plugin = config.plugin().unwrap_or_default();
        let what = format!("the credential plugin {plugin:?} of {named}");
        blocking(what, move || Self::start(&config, &tracker, shutdown)).await
    }

    /// Starts to watch the Nodes and to ask for the version, in tasks of `tracker` that end with `shutdown`.
    ///
    /// Does not wait for the API server, and does not mind whether it is up, but for the kubeconfig's credential plugin.
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If no client can be made of `config`: certificates, keys or credentials that cannot be used.
    pub fn start(
        config: &ClientConfig,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, ConnectError> {
        Self::start_with(config, Timings::default(), tracker, shutdown)
    }

    /// [`Self::start`] at another pace.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with(
        config: &ClientConfig,
        timings: Timings,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, ConnectError> {
        let watch_client = client::for_watch(config, &timings)?;
        let client = client::for_requests(config, &timings)?;
        let snapshot = Arc::new(ArcSwap::from_pointee(NodeSnapshot {
            status: ClusterStatus::Unknown,
            nodes: Arc::new(BTreeMap::new()),
        }));
        let version = Arc::new(ArcSwapOption::empty());
        let watch = NodeWatch::new(watch_client, config.api_url(), timings, Arc::clone(&snapshot));
        tracker.spawn(watch.run(shutdown.clone()));
        let events = Events::start(client.clone(), timings.request_within, tracker, shutdown.clone());
        tracker.spawn(version::keep_known(
            client.clone(),
            timings,
            Arc::clone(&version),
            shutdown,
        ));
        Ok(Self {
            events,
            client,
            timings,
            api_url: config.api_url(),
            credentials: config.credentials(),
            snapshot,
            version,
            turns: Semaphore::new(NODE_REQUESTS),
        })
    }

    /// What this server's account may not do in the cluster although it needs to. For `check`.
    ///
    /// # Errors
    ///
    /// If the API server cannot be asked.
    pub async fn missing_rights(&self) -> Result<Vec<Right>, ClusterError> {
        rights::missing(&self.client, self.timings.request_within, events::pod_namespace()).await
    }

    /// The URL of the API server. Holds no credentials.
    #[must_use]
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// What the kubeconfig itself holds to log in with: the API server knows it, and nobody else may be shown it.
    #[must_use]
    pub fn credentials(&self) -> &[SecretString] {
        &self.credentials
    }
}

/// Does `work` on a thread of its own, which is left alone if it does not end in time. `what` is what the error calls it.
async fn blocking<T: Send + 'static>(
    what: String,
    work: impl FnOnce() -> Result<T, ConnectError> + Send + 'static,
) -> Result<T, ConnectError> {
    match tokio::time::timeout(READY_WITHIN, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        Err(_elapsed) => Err(ConnectError::Hangs {
            what,
            within: READY_WITHIN,
        }),
    }
}

#[async_trait]
impl Cluster for KubernetesCluster {
    fn nodes(&self) -> NodeSnapshot {
        NodeSnapshot::clone(&self.snapshot.load())
    }

    async fn remove_node(&self, name: &NodeName, uid: &str) -> Result<(), ClusterError> {
        let _turn = self.turns.acquire().await; // it is never closed
        removal::remove_node(&self.client, &self.timings, name, uid).await
    }

    fn announce(&self, notice: Notice) {
        self.events.announce(notice);
    }

    async fn last_heartbeat(&self, name: &NodeName) -> Result<Option<String>, ClusterError> {
        let _turn = self.turns.acquire().await;
        heartbeat::last(&self.client, self.timings.request_within, name).await
    }

    fn server_version(&self) -> Option<String> {
        self.version.load().as_deref().cloned()
    }
}

impl fmt::Debug for KubernetesCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesCluster")
            .field("api_url", &self.api_url)
            .finish_non_exhaustive()
    }
}
