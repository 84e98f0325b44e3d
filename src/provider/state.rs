//! The provider's state as an operator sees it: everything that is asked in trouble, and no secret.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::managed::{HostStatus, ManagedGroup};
use super::ports::ClusterStatus;
use super::{Provider, is_listed};
use crate::domain::group::{Phase, Slot};
use crate::domain::ids::{InstanceId, NodeGroupId};
use crate::domain::template::Shape;
use crate::metrics::GroupGauges;

/// An instance.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// `queued`, `requested`, `booting`, `running`, `failed` or `deleting`.
    pub phase: &'static str,
    /// For how long this server knows it.
    pub age: Duration,
    /// Its VM.
    pub vm: Option<String>,
    /// Whether somebody paused, suspended or stopped the VM.
    pub halted: bool,
    /// Why it failed, as code and story.
    pub failure: Option<(&'static str, String)>,
}

/// A node group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its id.
    pub id: NodeGroupId,
    /// Whether NodeGroups lists it: the shape of its VMs is known.
    pub listed: bool,
    /// No longer configured.
    pub retired: bool,
    /// Minimum and maximum size.
    pub limits: (u32, u32),
    /// Target size.
    pub target_size: u32,
    /// Its Slicer daemon.
    pub host: String,
    /// The host group there.
    pub host_group: String,
    /// Whether the daemon answers, and since when: `Up` with the age of the last listing, `Down` with the time since.
    pub host_status: (HostStatus, Duration),
    /// When the daemon answered a listing last.
    pub last_listing: Option<SystemTime>,
    /// The shape of its VMs.
    pub shape: Option<Shape>,
    /// Its instances.
    pub instances: Vec<InstanceView>,
}

impl Provider {
    /// All groups with their instances.
    #[must_use]
    pub fn view(&self) -> Vec<GroupView> {
        self.groups
            .load()
            .values()
            .map(|managed| self.view_of(managed))
            .collect()
    }

    /// How much the cluster tells, and the server's version.
    #[must_use]
    pub fn cluster_view(&self) -> (ClusterStatus, usize, Option<String>) {
        let nodes = self.shared.cluster.nodes();
        (nodes.status, nodes.nodes.len(), self.shared.cluster.server_version())
    }

    /// The groups of which nothing is known yet, so that they are not listed.
    #[must_use]
    pub fn unlisted_groups(&self) -> Vec<NodeGroupId> {
        self.ids_of(|managed| !is_listed(managed))
    }

    /// The groups whose host neither has answered yet nor was tried in vain.
    #[must_use]
    pub fn untried_groups(&self) -> Vec<NodeGroupId> {
        self.ids_of(|managed| managed.state().host == HostStatus::Unknown)
    }

    /// The gauges of all groups.
    #[must_use]
    pub fn gauges(&self) -> Vec<GroupGauges> {
        self.view().iter().map(gauges_of).collect()
    }

    fn ids_of(&self, wanted: impl Fn(&ManagedGroup) -> bool) -> Vec<NodeGroupId> {
        let groups = self.groups.load();
        let wanted = groups.values().filter(|managed| wanted(managed));
        wanted.map(|managed| managed.id.clone()).collect()
    }

    fn view_of(&self, managed: &ManagedGroup) -> GroupView {
        let now = self.shared.clock.now();
        let limits = managed.limits();
        let connection = managed.connection.load();
        let state = managed.state();
        let instances = state
            .group
            .slots()
            .map(|(id, slot)| view_of_slot(id, slot, now.since(slot.since)))
            .collect();
        let since = match state.host {
            HostStatus::Unknown => Duration::ZERO,
            HostStatus::Up { listed_at } => now.since(listed_at),
            HostStatus::Down { since, .. } => now.since(since),
        };
        GroupView {
            id: managed.id.clone(),
            listed: is_listed(managed),
            retired: managed.is_retired(),
            limits,
            target_size: state.group.target_size(),
            host: connection.config.endpoint.to_string(),
            host_group: connection.config.spec.host_group.clone(),
            host_status: (state.host.clone(), since),
            last_listing: state.last_listing,
            shape: managed.shape.load().as_deref().cloned(),
            instances,
        }
    }
}

fn view_of_slot(id: &InstanceId, slot: &Slot, age: Duration) -> InstanceView {
    let vm = slot.phase.vm();
    InstanceView {
        id: id.clone(),
        phase: slot.phase.as_str(),
        age,
        vm: vm.map(|vm| vm.hostname.to_string()),
        halted: vm.is_some_and(|vm| vm.halted),
        failure: match &slot.phase {
            Phase::Failed(failure, _) => Some((failure.code.as_str(), failure.message.clone())),
            _ => None,
        },
    }
}

fn gauges_of(view: &GroupView) -> GroupGauges {
    let mut instances: BTreeMap<&'static str, i64> = [
        "queued",
        "requested",
        "booting",
        "running",
        "failed",
        "deleting",
        "halted",
    ]
    .map(|state| (state, 0))
    .into();
    for instance in &view.instances {
        *instances.entry(instance.phase).or_default() += 1;
        if instance.halted {
            *instances.entry("halted").or_default() += 1;
        }
    }
    GroupGauges {
        group: view.id.clone(),
        target_size: view.target_size.into(),
        min_size: view.limits.0.into(),
        max_size: view.limits.1.into(),
        host_up: matches!(view.host_status.0, HostStatus::Up { .. }),
        last_listing: view.last_listing.and_then(seconds_since_1970),
        listed: view.listed,
        instances: instances.into_iter().collect(),
    }
}

fn seconds_since_1970(at: SystemTime) -> Option<f64> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64())
}
