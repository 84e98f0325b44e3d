//! The provider: one method for each RPC in the project's own terms, and the jobs behind them.
//!
//! `reads` are answered from memory and never fail for a host's sake. `changes` change the state in memory first, under
//! the group's lock, and leave the slow part to tracked jobs: `keeper` lists, `launch` creates, `boots` follows until the Node
//! registers, `removal` deletes. The outside is reached through [`ports`] only. Nothing here knows gRPC, REST or the Kubernetes client.

mod boots;
mod changes;
mod clock;
mod entropy;
mod journal;
mod keeper;
mod launch;
mod managed;
mod nodes;
pub mod ports;
mod reads;
mod reload;
mod removal;
mod repeats;
mod secret;
mod state;
mod timings;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clock::Clock;
pub use entropy::Entropy;
pub use journal::{Journal, Operation};
pub use managed::HostStatus;
pub use state::{GroupView, InstanceView};
pub use timings::Timings;

use crate::config::{GlobalConfig, GroupConfig};
use crate::domain::group::{Event, Refusal};
use crate::domain::ids::{InstanceId, NodeGroupId, PROVIDER_ID_PREFIX, parse_provider_id};
use crate::domain::node::{LABEL_HOST_GROUP, is_control_plane};
use crate::domain::template::Shape;
use crate::metrics::Metrics;
use managed::ManagedGroup;
use nodes::NodeIndex;
use ports::{Cluster, SlicerHost};

/// Longest provider ID that is looked at. Longer ones are nobody's: what clients say ends up in the memory of removals,
/// in the log and in the journal.
const LONGEST_PROVIDER_ID: usize = 1024;

/// A request that cannot be granted. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No group has this id.
    #[error("there is no node group {0:?}")]
    UnknownGroup(String),
    /// No template yet: neither its host, nor a Node, nor the configuration tells the size of its VMs.
    #[error(
        "the VM size of node group {0} is not known yet: its Slicer host is down or does not tell it, and cpus and ram \
         are not configured; /api/v1/state shows the host"
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
    entropy: Entropy,
    timings: Timings,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Shared {
    /// Tells what happened to instances of a group.
    fn record(&self, managed: &ManagedGroup, events: &[Event]) {
        self.journal.record(&managed.place(), self.clock.now(), events);
    }

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
    /// Where launch ids come from.
    pub entropy: Entropy,
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
    fn managed_for_node(&self, node: &NodeQuery) -> Option<Arc<ManagedGroup>> {
        let groups = self.groups.load();
        if is_control_plane(node.labels.keys().map(String::as_str)) {
            return None;
        }
        if node.provider_id.len() > LONGEST_PROVIDER_ID {
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

    /// A loop of the cluster-autoscaler begins: asks every keeper for a fresh listing, and waits for none.
    pub fn refresh(&self) {
        for managed in self.groups.load().values() {
            keeper::take_over_nodes(&self.shared, managed);
            managed.wake.notify_one();
        }
        self.drop_empty_retired_groups();
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

/// The shape of a group's VMs, without which it can neither be shown nor grow.
fn known_shape(managed: &ManagedGroup) -> Result<Arc<Shape>, ProviderError> {
    let shape = managed.shape.load_full();
    shape.ok_or_else(|| ProviderError::ShapeUnknown(managed.id.clone()))
}

fn is_listed(managed: &ManagedGroup) -> bool {
    managed.shape.load().is_some()
}
