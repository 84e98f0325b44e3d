//! The outside as the provider needs it: one Slicer host, and the Kubernetes cluster. The `slicer` and `kubernetes`
//! modules implement these traits; tests implement them with fakes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::domain::failure::HostError;
use crate::domain::ids::{Hostname, NodeName};
use crate::domain::node::NodeRecord;
use crate::domain::vm::{HostGroup, UserdataState, Vm};

/// What a VM is created from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmRequest {
    /// Virtual CPUs; the host group's if `None`.
    pub cpus: Option<u32>,
    /// Memory in bytes; the host group's if `None`.
    pub ram_bytes: Option<u64>,
    /// GPUs; the host group's if `None`.
    pub gpu_count: Option<u32>,
    /// The script that the VM runs once, at its first boot.
    pub userdata: String,
    /// The tags by which the VM is known again.
    pub tags: Vec<String>,
    /// The only secrets that the VM gets to see.
    pub secrets: Vec<String>,
}

/// One Slicer daemon. Every method has a time-out of its own and leaves nothing running when it is dropped.
#[async_trait]
pub trait SlicerHost: Send + Sync + Debug {
    /// All host groups of the host.
    async fn host_groups(&self) -> Result<Vec<HostGroup>, HostError>;

    /// The VMs of a host group, all of them or those with `tag`. A host may ignore the tag and list all.
    async fn list_vms(&self, host_group: &str, tag: Option<&str>) -> Result<Vec<Vm>, HostError>;

    /// Creates one ephemeral VM and returns its name. Sent once, never repeated here: repeating it is the caller's
    /// decision, see [`crate::domain::failure::RequestFate`].
    async fn create_vm(&self, host_group: &str, request: &VmRequest) -> Result<Hostname, HostError>;

    /// Deletes a VM. A VM that does not exist is an error of kind `NotFound`.
    async fn delete_vm(&self, host_group: &str, hostname: &Hostname) -> Result<(), HostError>;

    /// Makes sure that the host has a secret of this name. An existing one is left as it is.
    async fn ensure_secret(&self, name: &str, value: &SecretString) -> Result<(), HostError>;

    /// How far the userdata of a VM is. An agent that does not answer yet is `Pending`, not an error.
    async fn userdata_state(&self, hostname: &Hostname) -> Result<UserdataState, HostError>;

    /// The last lines of a VM's serial log, at most 4 KiB.
    async fn serial_log_tail(&self, hostname: &Hostname, lines: u32) -> Result<String, HostError>;
}

/// How much the cluster can tell at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterStatus {
    /// The server runs without Kubernetes; nothing is known and nothing will be.
    Absent,
    /// No complete list of Nodes was read yet.
    Unknown,
    /// The list of Nodes is complete and fresh.
    Live,
    /// A list was read, but the API cannot be reached now: the Nodes are as they were.
    Stale,
}

/// All Nodes of the cluster at one moment.
#[derive(Clone, Debug)]
pub struct NodeSnapshot {
    /// How far it can be trusted.
    pub status: ClusterStatus,
    /// By name.
    pub nodes: Arc<BTreeMap<NodeName, Arc<NodeRecord>>>,
}

/// A request to the Kubernetes API that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClusterError {
    /// What was tried and what came back.
    pub message: String,
}

/// What a notice is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A Node, which may be gone by now.
    Node {
        /// Its name.
        name: NodeName,
        /// Tells it from a later Node of that name.
        uid: String,
    },
    /// This server: what happened has no Node yet, or none any more.
    Server,
}

/// Something that happened, for the people who look at the cluster: there, a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub subject: Subject,
    /// Somebody may have to do something.
    pub is_warning: bool,
    /// A short stable word for it, such as `StaleNodeRemoved`.
    pub reason: &'static str,
    /// What happened, for a person. Never holds a secret.
    pub note: String,
}

/// The Kubernetes cluster that the VMs join.
#[async_trait]
pub trait Cluster: Send + Sync + Debug {
    /// All Nodes as last seen. From memory, at once.
    fn nodes(&self) -> NodeSnapshot;

    /// Removes a Node and K3s's node-password secret of it. Only the very Node that has `uid`; one that is already
    /// gone, or was replaced by another of that name, is a success.
    async fn remove_node(&self, name: &NodeName, uid: &str) -> Result<(), ClusterError>;

    /// Tells the people who look at the cluster. Returns at once; what cannot be told in time is dropped, and a cluster
    /// that is not there tells nobody.
    fn announce(&self, _notice: Notice) {}

    /// A text that a living kubelet changes every ten seconds (its lease's renewal); `None` if there is none. Texts
    /// are compared with one another only, so clocks do not matter.
    async fn last_heartbeat(&self, name: &NodeName) -> Result<Option<String>, ClusterError>;

    /// The version of the API server, as K3s tags it (`v1.33.6+k3s1`); `None` while it is not known.
    fn server_version(&self) -> Option<String>;
}
