//! The provider: one method for each RPC in the project's own terms, and the jobs behind them.
//!
//! Reads are answered from memory and never fail for a host's sake. What changes state changes it in memory first,
//! under the group's lock, and leaves the slow part to tracked jobs: `keeper` lists, `launch` creates, `removal`
//! deletes. The outside is reached through [`ports`] only. Nothing here knows gRPC, REST or the Kubernetes client.

mod clock;
mod journal;
mod keeper;
mod launch;
mod managed;
mod nodes;
pub mod ports;
mod removal;
mod secret;
mod state;
mod timings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clock::Clock;
pub use journal::{Journal, Operation};
pub use managed::HostStatus;
pub use state::{GroupView, InstanceView};
pub use timings::Timings;

use crate::config::{Config, GlobalConfig, GroupConfig};
use crate::domain::group::{Instance, Refusal};
use crate::domain::ids::{InstanceId, NodeGroupId, NodeName, PROVIDER_ID_PREFIX, parse_provider_id};
use crate::domain::node::LABEL_HOST_GROUP;
use crate::domain::price::{self, Demand};
use crate::domain::spec::{AutoscalingOverrides, Endpoint};
use crate::domain::template::{NodeTemplate, TEMPLATE_NAME_PREFIX, gpu_type};
use crate::metrics::Metrics;
use managed::{Connection, ManagedGroup};
use nodes::NodeIndex;
use ports::{Cluster, SlicerHost};
use secret::TokenSecret;

/// A request that cannot be granted. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No group has this id.
    #[error("there is no node group {0:?}")]
    UnknownGroup(String),
    /// No template yet: neither its host, nor a Node, nor the configuration tells the size of its VMs.
    #[error(
        "the VM size of node group {0} is not known yet: its Slicer host has not answered; setting cpus and ram in \
         the configuration would tell it"
    )]
    ShapeUnknown(NodeGroupId),
    /// The group cannot grow by so much.
    #[error("node group {group}: {refusal}")]
    Refused {
        /// The group.
        group: NodeGroupId,
        /// Why.
        refusal: Refusal,
    },
    /// A decrease must be negative.
    #[error("delta must be negative, not {0}")]
    NotADecrease(i32),
    /// A node in the batch does not belong to the group.
    #[error("node {node:?} does not belong to node group {group}; nothing was deleted")]
    ForeignNode {
        /// The node as the client named it.
        node: String,
        /// The group that it was said to be in.
        group: NodeGroupId,
    },
}

/// A node as a client describes it: a real Node, an instance without a Node, or a copy of a template.
#[derive(Clone, Debug, Default)]
pub struct NodeQuery {
    /// `spec.providerID`.
    pub provider_id: String,
    /// Name; for instances without a Node equal to the provider ID.
    pub name: String,
    /// Labels; none for instances without a Node.
    pub labels: BTreeMap<String, String>,
    /// It only stands for a node to come, and must never be taken for a real one.
    pub is_upcoming: bool,
}

/// A group as NodeGroups lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its id.
    pub id: NodeGroupId,
    /// Minimum size.
    pub min: u32,
    /// Maximum size.
    pub max: u32,
    /// For the client's logs.
    pub debug: String,
}

/// Connects to a Slicer daemon. A function, so that tests connect to fakes.
pub type Connect = Arc<dyn Fn(&GroupConfig, &GlobalConfig) -> Result<Arc<dyn SlicerHost>, String> + Send + Sync>;

/// What all groups and jobs share.
struct Shared {
    settings: ArcSwap<GlobalConfig>,
    cluster: Arc<dyn Cluster>,
    index: ArcSwap<NodeIndex>,
    journal: Journal,
    clock: Clock,
    timings: Timings,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Shared {
    /// The Nodes sorted by group, worked out anew only if they changed.
    fn node_index(&self) -> Arc<NodeIndex> {
        let snapshot = self.cluster.nodes();
        let index = self.index.load_full();
        if index.is_of(&snapshot) {
            return index;
        }
        let index = Arc::new(NodeIndex::new(snapshot));
        self.index.store(Arc::clone(&index));
        index
    }

    /// The server's version, if it is one that K3s agents can be pinned to.
    fn k3s_server_version(&self) -> Option<String> {
        self.cluster.server_version().filter(|version| version.contains("+k3s"))
    }
}

/// What the provider is built from.
#[derive(Clone)]
#[allow(missing_debug_implementations)] // a function has none
pub struct Parts {
    /// Connects to Slicer daemons.
    pub connect: Connect,
    /// The Kubernetes cluster.
    pub cluster: Arc<dyn Cluster>,
    /// The metrics that events are counted in.
    pub metrics: Arc<Metrics>,
    /// How long jobs wait.
    pub timings: Timings,
    /// Tracks every job, so that the server can wait for them.
    pub tracker: TaskTracker,
    /// Ends the jobs.
    pub shutdown: CancellationToken,
}

/// All node groups, and what the cluster-autoscaler may ask of them.
pub struct Provider {
    groups: ArcSwap<BTreeMap<NodeGroupId, Arc<ManagedGroup>>>,
    /// Held while `groups` is replaced by a changed copy, so that no change is lost. Readers do without.
    changing_groups: Mutex<()>,
    connect: Connect,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("groups", &self.groups.load().keys())
            .finish_non_exhaustive()
    }
}

impl Provider {
    /// A provider for this configuration. Its jobs begin at once.
    ///
    /// # Errors
    /// A client for a host cannot be built; the text says which and why.
    pub fn start(config: &Config, parts: Parts) -> Result<Arc<Self>, String> {
        let index = NodeIndex::new(parts.cluster.nodes());
        let shared = Arc::new(Shared {
            settings: ArcSwap::from_pointee(config.global.clone()),
            cluster: parts.cluster,
            index: ArcSwap::from_pointee(index),
            journal: Journal::new(parts.metrics),
            clock: Clock::start(),
            timings: parts.timings,
            tracker: parts.tracker,
            shutdown: parts.shutdown,
        });
        let provider = Arc::new(Self {
            groups: ArcSwap::default(),
            changing_groups: Mutex::new(()),
            connect: parts.connect,
            shared,
        });
        provider.reconfigure(config)?;
        Ok(provider)
    }

    /// Takes over a configuration: new groups begin, changed ones go on under their new settings, and groups that are
    /// gone from it go on until they are empty, but do not grow.
    ///
    /// # Errors
    /// As [`Self::start`], or it is the configuration of another cluster; then everything is as it was.
    pub fn reconfigure(&self, config: &Config) -> Result<(), String> {
        self.refuse_other_cluster(config)?;
        let connections = self.connect_all(config)?;
        let _changing = self.changing_groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.groups.load_full();
        let mut groups = BTreeMap::new();
        let mut new_groups = Vec::new();
        self.shared.settings.store(Arc::new(config.global.clone()));
        for connection in connections {
            let id = connection.config.spec.id.clone();
            let managed = match known.get(&id) {
                Some(managed) => {
                    managed.reconnect(connection);
                    Arc::clone(managed)
                }
                None => {
                    let cluster = config.global.cluster.clone();
                    let ended = self.shared.shutdown.child_token();
                    let managed = Arc::new(ManagedGroup::new(connection, cluster, ended));
                    new_groups.push(Arc::clone(&managed));
                    managed
                }
            };
            groups.insert(id, managed);
        }
        for (id, managed) in known.iter() {
            if !groups.contains_key(id) {
                tracing::warn!(group = %id, "node group is no longer configured; it is listed until its last VM is gone");
                managed.retire();
                groups.insert(id.clone(), Arc::clone(managed));
            }
        }
        self.groups.store(Arc::new(groups));
        for managed in new_groups {
            self.shared.journal.metrics().announce(&managed.id);
            keeper::take_over_nodes(&self.shared, &managed);
            let (shared, tracker) = (Arc::clone(&self.shared), self.shared.tracker.clone());
            tracker.spawn(keeper::run(shared, managed));
        }
        Ok(())
    }

    /// VMs carry the cluster's name in their tags: under another name, those that are there would be strangers.
    fn refuse_other_cluster(&self, config: &Config) -> Result<(), String> {
        let settings = self.shared.settings.load();
        let (known, wanted) = (&settings.cluster, &config.global.cluster);
        if known == wanted {
            return Ok(());
        }
        Err(format!(
            "the cluster's name (cluster-name, by default derived from k3s-url) cannot change from {known} to {wanted} \
             while the server runs: set cluster-name = {known} to keep its VMs, or restart to leave them behind"
        ))
    }

    fn connect_all(&self, config: &Config) -> Result<Vec<Connection>, String> {
        let mut gates: BTreeMap<String, Arc<Semaphore>> = BTreeMap::new();
        let mut connections = Vec::new();
        for group in &config.groups {
            let host = (self.connect)(group, &config.global)
                .map_err(|error| format!("node group {}: {error}", group.spec.id))?;
            let gate = gates
                .entry(group.endpoint.to_string())
                .or_insert_with(|| Arc::new(Semaphore::new(concurrency_at(&group.endpoint, &config.groups))));
            let shared = &self.shared;
            connections.push(Connection {
                config: group.clone(),
                token_secret: Arc::new(TokenSecret::new(
                    Arc::clone(&host),
                    shared.clock,
                    shared.timings.secret_age,
                )),
                host,
                creates: Arc::clone(gate),
            });
        }
        Ok(connections)
    }

    /// The node groups, each with a template: one of which nothing is known yet is left out, because a listed group
    /// without template stops the scale-ups of all groups on clients <= 1.34.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupSummary> {
        self.groups
            .load()
            .values()
            .filter(|managed| is_listed(managed))
            .map(|managed| summary(managed))
            .collect()
    }

    /// The group of a node: a look-up in memory that never fails. `None` for everything that is not ours.
    #[must_use]
    pub fn group_for_node(&self, node: &NodeQuery) -> Option<GroupSummary> {
        self.managed_for_node(node)
            .filter(|managed| is_listed(managed))
            .map(|managed| summary(&managed))
    }

    fn managed_for_node(&self, node: &NodeQuery) -> Option<Arc<ManagedGroup>> {
        let groups = self.groups.load();
        if nodes::is_control_plane(node.labels.keys().map(String::as_str)) {
            return None;
        }
        if let Some((group, _)) = parse_provider_id(&node.provider_id) {
            return groups.get(&group).cloned();
        }
        if node.provider_id.starts_with(PROVIDER_ID_PREFIX) {
            return None;
        }
        // A VM of the fork, known by its Node's own provider ID.
        if !node.provider_id.is_empty() {
            let id = InstanceId::adopted(&node.provider_id);
            if let Some(managed) = groups
                .values()
                .find(|managed| managed.state().group.slot(&id).is_some())
            {
                return Some(Arc::clone(managed));
            }
            // K3s gives its own Nodes ids of this form; every other cloud's are somebody else's.
            if !node.provider_id.starts_with("k3s://") {
                return None;
            }
        }
        let group: NodeGroupId = node.labels.get(LABEL_HOST_GROUP)?.parse().ok()?;
        groups.get(&group).cloned()
    }

    /// The target size of a group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn target_size(&self, group: &str) -> Result<u32, ProviderError> {
        Ok(self.managed(group)?.state().group.target_size())
    }

    /// All instances of a group.
    ///
    /// # Errors
    /// There is no such group.
    pub fn instances(&self, group: &str) -> Result<Vec<Instance>, ProviderError> {
        Ok(self.managed(group)?.state().group.instances())
    }

    /// Adds `delta` instances. They are in the target and listed when this returns; the VMs come later.
    ///
    /// # Errors
    /// There is no such group, or it may not grow by so much; then nothing changed.
    pub fn increase_size(&self, group: &str, delta: i32) -> Result<(), ProviderError> {
        let managed = self.managed(group)?;
        if managed.shape.load().is_none() {
            return Err(ProviderError::ShapeUnknown(managed.id.clone()));
        }
        let (_, max) = managed.limits();
        let launches = managed
            .state()
            .group
            .request_launches(delta, max, self.shared.clock.now(), entropy)
            .map_err(|refusal| ProviderError::Refused {
                group: managed.id.clone(),
                refusal,
            })?;
        tracing::info!(group = %managed.id, delta, "scaling up");
        self.shared.journal.note(&managed.id, format!("scaling up by {delta}"));
        launch::start(&self.shared, &managed, launches);
        Ok(())
    }

    /// Gives up to `-delta` launches up that have no VM yet.
    ///
    /// # Errors
    /// There is no such group, or the delta is not negative.
    pub fn decrease_target_size(&self, group: &str, delta: i32) -> Result<(), ProviderError> {
        let managed = self.managed(group)?;
        if delta >= 0 {
            return Err(ProviderError::NotADecrease(delta));
        }
        let wanted = delta.unsigned_abs();
        let given_up = managed.state().group.decrease(wanted, self.shared.clock.now());
        tracing::info!(group = %managed.id, delta, given_up, "decreasing the target size");
        self.shared
            .journal
            .note(&managed.id, format!("gave {given_up} of {wanted} launches up"));
        if given_up < wanted {
            // Usual after a scale-up time-out of cluster-autoscaler >= 1.36; otherwise a sign that something is off.
            tracing::warn!(group = %managed.id, wanted, given_up, "fewer launches to give up than asked for; VMs are not touched");
            self.shared.journal.metrics().decrease_clamped(&managed.id);
        }
        managed.wake.notify_one();
        Ok(())
    }

    /// Removes nodes. When this returns they are out of the target and listed as being deleted; their VMs may be gone
    /// already or go in the background, which this waits for at most `wait`.
    ///
    /// # Errors
    /// There is no such group, or a node is not of it; then nothing changed.
    pub async fn delete_nodes(&self, group: &str, nodes: &[NodeQuery], wait: Duration) -> Result<(), ProviderError> {
        let managed = self.managed(group)?;
        let ids = nodes
            .iter()
            .map(|node| self.instance_of(&managed, node))
            .collect::<Result<BTreeSet<InstanceId>, ProviderError>>()?;
        let begun = managed.state().group.delete(&ids, self.shared.clock.now());
        if !begun.is_empty() {
            tracing::info!(group = %managed.id, instances = ?begun.iter().map(InstanceId::as_str).collect::<Vec<_>>(), "scaling down");
            self.shared
                .journal
                .note(&managed.id, format!("scaling down by {}", begun.len()));
        }
        removal::start_due(&self.shared, &managed);
        managed.wake.notify_one();
        let wait = wait.min(self.shared.timings.delete_wait);
        // Whether it is done in time or later makes no difference to the answer.
        let _ = tokio::time::timeout(wait, all_gone(&managed, &ids)).await;
        Ok(())
    }

    fn instance_of(&self, managed: &Arc<ManagedGroup>, node: &NodeQuery) -> Result<InstanceId, ProviderError> {
        let foreign = || ProviderError::ForeignNode {
            node: if node.name.is_empty() {
                node.provider_id.clone()
            } else {
                node.name.clone()
            },
            group: managed.id.clone(),
        };
        let of = self
            .managed_for_node(node)
            .filter(|of| of.id == managed.id && !node.is_upcoming);
        if of.is_none() || node.name.starts_with(TEMPLATE_NAME_PREFIX) {
            return Err(foreign());
        }
        if !node.provider_id.is_empty() {
            return Ok(InstanceId::adopted(&node.provider_id));
        }
        // A Node that nobody gave a provider ID: its name ends in its launch. Its hostname proves nothing, because
        // Slicer gives hostnames again: another VM may have it now.
        let launch = NodeName::from(node.name.as_str()).launch().ok_or_else(foreign)?;
        Ok(InstanceId::of_launch(&managed.id, &launch))
    }

    /// What the next node of a group will look like.
    ///
    /// # Errors
    /// There is no such group, or the shape of its VMs is not known yet.
    pub fn template(&self, group: &str) -> Result<NodeTemplate, ProviderError> {
        let managed = self.managed(group)?;
        let Some(shape) = managed.shape.load_full() else {
            return Err(ProviderError::ShapeUnknown(managed.id.clone()));
        };
        let learned = managed.state().group.learned().cloned();
        let connection = managed.connection.load();
        Ok(NodeTemplate::new(&connection.config.spec, &shape, learned.as_ref()))
    }

    /// The overrides of a group's autoscaling options.
    ///
    /// # Errors
    /// There is no such group.
    pub fn overrides(&self, group: &str) -> Result<AutoscalingOverrides, ProviderError> {
        Ok(self.managed(group)?.connection.load().config.spec.overrides.clone())
    }

    /// The price of a node for `period`. Nodes are known by their labels, or by the name of a template.
    ///
    /// # Errors
    /// The node is of no group whose shape is known.
    pub fn node_price(&self, node: &NodeQuery, period: Duration) -> Result<f64, ProviderError> {
        let managed = self
            .managed_for_node(node)
            .or_else(|| self.managed_of_template(&node.name));
        let managed = managed.ok_or_else(|| ProviderError::UnknownGroup(node.name.clone()))?;
        let Some(shape) = managed.shape.load_full() else {
            return Err(ProviderError::ShapeUnknown(managed.id.clone()));
        };
        Ok(price::node_price(
            &managed.connection.load().config.spec,
            &shape,
            period,
        ))
    }

    fn managed_of_template(&self, name: &str) -> Option<Arc<ManagedGroup>> {
        let group: NodeGroupId = name.strip_prefix(TEMPLATE_NAME_PREFIX)?.parse().ok()?;
        self.groups.load().get(&group).cloned()
    }

    /// The price of what a pod asks for, for `period`.
    #[must_use]
    pub fn pod_price(&self, demand: Demand, period: Duration) -> f64 {
        price::pod_price(demand, period)
    }

    /// The GPU types of all groups with GPUs.
    #[must_use]
    pub fn gpu_types(&self) -> BTreeSet<String> {
        let groups = self.groups.load();
        let with_gpus = groups
            .values()
            .filter(|managed| managed.shape.load().as_ref().is_some_and(|s| s.gpu_count > 0));
        with_gpus
            .map(|managed| gpu_type(&managed.connection.load().config.spec).to_owned())
            .collect()
    }

    /// A loop of the cluster-autoscaler begins: asks every keeper for a fresh listing, and waits for none.
    pub fn refresh(&self) {
        for managed in self.groups.load().values() {
            keeper::take_over_nodes(&self.shared, managed);
            managed.wake.notify_one();
        }
        self.drop_empty_retired_groups();
    }

    /// Ends the groups that are no longer configured and have nothing left to look after.
    fn drop_empty_retired_groups(&self) {
        if !self.groups.load().values().any(|managed| self.is_over(managed)) {
            return;
        }
        let _changing = self.changing_groups.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = self.groups.load_full();
        let (over, left): (Vec<_>, Vec<_>) = groups.iter().partition(|(_, managed)| self.is_over(managed));
        let left = left.into_iter().map(|(id, managed)| (id.clone(), Arc::clone(managed)));
        self.groups.store(Arc::new(left.collect()));
        for (id, managed) in over {
            tracing::info!(group = %id, "node group is gone: it is no longer configured and has no VM left");
            managed.ended.cancel();
        }
    }

    /// Neither an instance nor a Node is left of a group that is no longer configured. (Its Nodes outlive their VMs
    /// for as long as the Kubernetes API cannot be reached.)
    fn is_over(&self, managed: &ManagedGroup) -> bool {
        managed.is_retired()
            && managed.state().group.slots().next().is_none()
            && self.shared.node_index().of_group(&managed.id).own.is_empty()
    }

    /// What happened lately.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    fn managed(&self, group: &str) -> Result<Arc<ManagedGroup>, ProviderError> {
        let unknown = || ProviderError::UnknownGroup(group.to_owned());
        let id: NodeGroupId = group.parse().map_err(|_| unknown())?;
        self.groups.load().get(&id).cloned().ok_or_else(unknown)
    }
}

fn is_listed(managed: &ManagedGroup) -> bool {
    managed.shape.load().is_some()
}

fn summary(managed: &ManagedGroup) -> GroupSummary {
    let (min, max) = managed.limits();
    let connection = managed.connection.load();
    let debug = format!(
        "{} on {} ({min} to {max})",
        connection.config.spec.host_group, connection.config.endpoint
    );
    GroupSummary {
        id: managed.id.clone(),
        min,
        max,
        debug,
    }
}

/// The smallest `create-concurrency` of the groups that share a host counts for all of them.
fn concurrency_at(endpoint: &Endpoint, groups: &[GroupConfig]) -> usize {
    let of_host = groups.iter().filter(|group| group.endpoint == *endpoint);
    of_host.map(|group| group.create_concurrency.get()).min().unwrap_or(1)
}

/// Returns once none of the instances is left.
async fn all_gone(managed: &ManagedGroup, ids: &BTreeSet<InstanceId>) {
    loop {
        let changed = managed.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let any_left = {
            let state = managed.state();
            ids.iter().any(|id| state.group.slot(id).is_some())
        };
        if !any_left {
            return;
        }
        changed.await;
    }
}

/// Random bits for launch ids. If the system has none, which no supported platform does, the clock must do: an id
/// is never used twice either way.
fn entropy() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.subsec_nanos().into())
    })
}
