//! One node group at run time: its state behind a lock, its host, and what its jobs share.
//!
//! The lock is held for moments only, never while anything is awaited. The keeper task is the only one that lists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::journal::Place;
use super::ports::SlicerHost;
use super::secret::TokenSecret;
use crate::config::GroupConfig;
use crate::domain::failure::{HostError, HostErrorKind};
use crate::domain::group::Group;
use crate::domain::ids::{ClusterId, Hostname, InstanceId, NodeGroupId};
use crate::domain::moment::Moment;
use crate::domain::spec::NodeGroupSpec;
use crate::domain::template::Shape;
use crate::domain::vm::HostGroup;

/// How much is asked of a host at once; shared by all its groups, and kept over reloads.
#[derive(Debug)]
pub(super) struct Gates {
    /// `create-concurrency`, for which `creates` was made.
    pub(super) create_limit: usize,
    /// Allows so many POSTs at once.
    pub(super) creates: Arc<Semaphore>,
    /// Allows so many removals at once.
    pub(super) deletes: Arc<Semaphore>,
}

impl Gates {
    /// Removals at once on one host. Each is a look and a delete, for which the daemon stops a VM and removes its disk:
    /// a batch of hundreds would be as many connections and as much work at once. As many as creates by default.
    const REMOVALS: usize = 8;

    pub(super) fn new(create_limit: usize) -> Self {
        Self {
            create_limit,
            creates: Arc::new(Semaphore::new(create_limit)),
            deletes: Arc::new(Semaphore::new(Self::REMOVALS)),
        }
    }
}

/// What a group is configured to be and how its host is reached. Replaced as a whole by a reload.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) config: GroupConfig,
    pub(super) host: Arc<dyn SlicerHost>,
    pub(super) gates: Arc<Gates>,
    pub(super) token_secret: Arc<TokenSecret>,
}

/// Whether a host answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostStatus {
    /// Not asked yet.
    Unknown,
    /// It answered the last listing.
    Up {
        /// When.
        listed_at: Moment,
    },
    /// It did not.
    Down {
        /// Since when.
        since: Moment,
        /// Why.
        error: HostError,
    },
}

impl HostStatus {
    /// Since when nobody has answered at all, and what the last attempt came to.
    pub(super) fn unreachable(&self) -> Option<(Moment, &HostError)> {
        match self {
            Self::Down { since, error } if error.kind == HostErrorKind::Unreachable => Some((*since, error)),
            Self::Unknown | Self::Up { .. } | Self::Down { .. } => None,
        }
    }
}

/// How often the removal of an instance was tried, and when it may be tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct RemovalAttempt {
    pub(super) count: u32,
    pub(super) running: bool,
    /// Whether somebody was told that it takes more than one.
    pub(super) told: bool,
    pub(super) not_before: Moment,
}

/// A sign of life of a Node, and since when it is the last one.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    pub(super) text: String,
    pub(super) since: Moment,
    pub(super) told: bool,
}

/// What is behind the lock.
#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) group: Group,
    pub(super) host_group: Option<HostGroup>,
    pub(super) host_group_read_at: Option<Moment>,
    pub(super) host: HostStatus,
    /// When the host answered a listing last, by the wall clock.
    pub(super) last_listing: Option<SystemTime>,
    pub(super) removal_attempts: BTreeMap<InstanceId, RemovalAttempt>,
    /// The last heartbeats of Nodes whose VMs this host does not know, by uid.
    pub(super) heartbeats: BTreeMap<String, Heartbeat>,
    /// The uids of Nodes that are being removed.
    pub(super) nodes_in_removal: BTreeSet<String>,
    /// The uids of Nodes that could not be removed, which was told.
    pub(super) nodes_told: BTreeSet<String>,
    /// Second VMs of launches that are being removed.
    pub(super) surplus_in_removal: BTreeSet<Hostname>,
    /// Those of the last listing, which were told.
    pub(super) surplus_told: BTreeSet<Hostname>,
    /// The instance whose health check began last.
    pub(super) health_asked_last: Option<InstanceId>,
}

/// One node group at run time.
#[derive(Debug)]
pub(super) struct ManagedGroup {
    pub(super) id: NodeGroupId,
    pub(super) connection: ArcSwap<Connection>,
    /// Set once the shape of the VMs is known; then the group is listed.
    pub(super) shape: ArcSwapOption<Shape>,
    /// No longer configured; it goes on until its last VM is gone.
    retired: AtomicBool,
    state: Mutex<GroupState>,
    /// Asks the keeper to list soon.
    pub(super) wake: Notify,
    /// Told when another host, or another configuration of it, is to be asked from now on.
    pub(super) reconnected: Notify,
    /// Told after every listing.
    pub(super) changed: Notify,
    /// Whether the host ever listed the group's VMs.
    pub(super) listed: watch::Sender<bool>,
    /// Ends the keeper: the server stops, or the group is no more.
    pub(super) ended: CancellationToken,
}

impl ManagedGroup {
    /// The group and its host, for what is told of them.
    pub(super) fn place(&self) -> Place {
        self.place_of(&self.connection.load())
    }

    /// The same with the host of a connection that a reload may have replaced.
    pub(super) fn place_of(&self, connection: &Connection) -> Place {
        Place {
            group: self.id.clone(),
            host: connection.config.endpoint.clone(),
        }
    }

    pub(super) fn new(connection: Connection, cluster: ClusterId, ended: CancellationToken) -> Self {
        let id = connection.config.spec.id.clone();
        let shape = Shape::find(&connection.config.spec, None, None).map(Arc::new);
        let state = GroupState {
            group: Group::new(id.clone(), cluster),
            host_group: None,
            host_group_read_at: None,
            host: HostStatus::Unknown,
            last_listing: None,
            removal_attempts: BTreeMap::new(),
            heartbeats: BTreeMap::new(),
            nodes_in_removal: BTreeSet::new(),
            nodes_told: BTreeSet::new(),
            surplus_in_removal: BTreeSet::new(),
            surplus_told: BTreeSet::new(),
            health_asked_last: None,
        };
        Self {
            id,
            connection: ArcSwap::from_pointee(connection),
            shape: ArcSwapOption::from(shape),
            retired: AtomicBool::new(false),
            state: Mutex::new(state),
            wake: Notify::new(),
            reconnected: Notify::new(),
            changed: Notify::new(),
            listed: watch::Sender::new(false),
            ended,
        }
    }

    /// The state. A panic of another holder leaves it as it was: every change of it is a single method call.
    pub(super) fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Takes over a new configuration.
    pub(super) fn reconnect(&self, connection: Connection) {
        let host_changed = {
            let known = self.connection.load();
            known.config.endpoint != connection.config.endpoint
                || known.config.spec.host_group != connection.config.spec.host_group
        };
        self.retired.store(false, Ordering::Relaxed);
        self.connection.store(Arc::new(connection));
        {
            let mut state = self.state();
            state.host_group_read_at = None;
            if host_changed {
                tracing::warn!(group = %self.id, "node group moves to another host; VMs that are not found there are no longer instances");
                state.host_group = None;
                state.group.host_changed();
            }
        }
        self.find_shape();
        self.reconnected.notify_one();
    }

    /// Whether this is still what the group is connected to. To be asked under the lock of the state, where what a host
    /// answered is applied: a reload may have come while the answer was under way, and it says nothing of the new host.
    pub(super) fn is_current(&self, connection: &Connection) -> bool {
        std::ptr::eq(connection, &raw const **self.connection.load())
    }

    /// Why the host is given up: nobody has answered for `patience` or longer.
    pub(super) fn dead(&self, patience: Duration, now: Moment) -> Option<HostError> {
        let state = self.state();
        let (since, error) = state.host.unreachable()?;
        (now.since(since) >= patience).then(|| error.clone())
    }

    /// Works the shape out anew from all that is known. A shape once known is never forgotten: a group that vanished
    /// from the list would crash the cluster-autoscaler.
    pub(super) fn find_shape(&self) {
        let connection = self.connection.load();
        let shape = {
            let state = self.state();
            Shape::find(
                &connection.config.spec,
                state.host_group.as_ref(),
                state.group.learned(),
            )
        };
        let Some(shape) = shape else { return };
        let known = self.shape.load();
        if known.as_deref() == Some(&shape) {
            return;
        }
        if known.is_none() {
            tracing::info!(
                group = %self.id, cpus = shape.cpus, ram_bytes = shape.ram_bytes, arch = %shape.arch,
                gpus = shape.gpu_count, "node group is ready: the shape of its VMs is known"
            );
        }
        warn_if_too_large(&connection.config.spec, self.state().host_group.as_ref());
        self.shape.store(Some(Arc::new(shape)));
    }

    /// The minimum and maximum that the cluster-autoscaler is told. A group that is no longer configured shrinks only.
    pub(super) fn limits(&self) -> (u32, u32) {
        if self.is_retired() {
            return (0, self.state().group.target_size());
        }
        let limits = self.connection.load().config.spec.limits;
        (limits.min, limits.max)
    }
}

/// The host would refuse every launch; better to hear of it before pods wait.
fn warn_if_too_large(spec: &NodeGroupSpec, host_group: Option<&HostGroup>) {
    let Some(host_group) = host_group else { return };
    if let (Some(wanted), Some(most)) = (spec.cpus, host_group.cpus)
        && wanted > most
    {
        tracing::warn!(group = %spec.id, wanted, most, "cpus exceeds what the host group allows; launches will be refused");
    }
    if let (Some(wanted), Some(most)) = (spec.ram_bytes, host_group.ram_bytes)
        && wanted > most
    {
        tracing::warn!(group = %spec.id, wanted, most, "ram exceeds what the host group allows; launches will be refused");
    }
}
