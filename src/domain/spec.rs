//! What the configuration wants of a node group, checked and typed. No addresses and no secrets: those stay with
//! whoever talks to the host.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::ids::NodeGroupId;
use super::node::Taint;
use super::vm::Architecture;

/// How small and how large a node group may be. `min <= max` and `max >= 1` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The cluster-autoscaler does not scale below it.
    pub min: u32,
    /// Never exceeded.
    pub max: u32,
}

/// A node group as the configuration wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeGroupSpec {
    /// The section's NAME.
    pub id: NodeGroupId,
    /// The name of the host group on the Slicer host; NAME unless `host-group` says otherwise.
    pub host_group: String,
    /// `min-size` and `max-size`.
    pub limits: Limits,
    /// `arch`: overrides what Slicer reports.
    pub arch: Option<Architecture>,
    /// `cpus` of a VM; the host group's if absent.
    pub cpus: Option<u32>,
    /// `ram` of a VM in bytes; the host group's if absent.
    pub ram_bytes: Option<u64>,
    /// `node-label`s of the user, in the order of their keys.
    pub labels: BTreeMap<String, String>,
    /// `node-taint`s of the user.
    pub taints: Vec<Taint>,
    /// `kubelet-arg`s of the user, as `name=value`.
    pub kubelet_args: Vec<String>,
    /// `zone`.
    pub zone: Option<String>,
    /// `region`.
    pub region: Option<String>,
    /// `memory-reserve` in bytes: what the guest does not see of its RAM. `None`: 5 %, at least 128 MiB.
    pub memory_reserve: Option<u64>,
    /// `ephemeral-storage` in bytes: the disk of a VM.
    pub ephemeral_storage: u64,
    /// `gpu-type`: the value of the GPU label.
    pub gpu_type: Option<String>,
    /// `gpu-count`; the host group's if absent.
    pub gpu_count: Option<u32>,
    /// `price-per-hour`; from the size if absent. Positive.
    pub price_per_hour: Option<f64>,
    /// What NodeGroupGetOptions answers.
    pub overrides: AutoscalingOverrides,
}

/// Overrides of the cluster-autoscaler's options for one node group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AutoscalingOverrides {
    /// `scale-down-utilization-threshold`, 0 to 1.
    pub scale_down_utilization_threshold: Option<f64>,
    /// `scale-down-gpu-utilization-threshold`, 0 to 1.
    pub scale_down_gpu_utilization_threshold: Option<f64>,
    /// `scale-down-unneeded-time`.
    pub scale_down_unneeded_time: Option<Duration>,
    /// `scale-down-unready-time`.
    pub scale_down_unready_time: Option<Duration>,
    /// `max-node-provision-time`.
    pub max_node_provision_time: Option<Duration>,
    /// `ignore-daemonsets-utilization`.
    pub ignore_daemonsets_utilization: Option<bool>,
}

impl AutoscalingOverrides {
    /// Whether nothing is overridden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a Slicer daemon listens. Checked by the configuration; never holds user information or a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `http(s)://host[:port][/path]`, without a trailing slash.
    Url(String),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Which K3s the agents install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum K3sVersion {
    /// The server's own version, read from the Kubernetes API; the channel while it is not known.
    Server,
    /// An exact tag, such as `v1.33.6+k3s1`.
    Exact(String),
}

/// How agents install K3s and whom they join. The token is not here: VMs get it as a secret of their host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinSettings {
    /// `k3s-url`: `https://host[:port]`, without a trailing slash.
    pub k3s_url: String,
    /// `k3s-version`.
    pub version: K3sVersion,
    /// `k3s-channel`, such as `stable` or `v1.33`.
    pub channel: String,
    /// `k3s-install-url`: where the installer is downloaded from.
    pub install_url: String,
    /// `k3s-artifact-url`: a mirror for K3s itself.
    pub artifact_url: Option<String>,
}
