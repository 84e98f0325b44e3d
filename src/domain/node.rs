//! Kubernetes Nodes as facts: what the cluster says of a Node, and the terms in which a template speaks.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::ids::{InvalidId, NodeName, is_label_value};
use super::moment::UnixSeconds;
use super::vm::Architecture;

/// The label that names the node group of a Node (the fork's name for it).
pub const LABEL_HOST_GROUP: &str = "slicer/hostgroup";
/// The label that names the VM of a Node (the fork's name for it).
pub const LABEL_HOSTNAME: &str = "slicer/hostname";
/// The label that marks agents (the fork's name for it); its value is `agent`.
pub const LABEL_NODE_TYPE: &str = "k3sup.dev/node-type";
/// The label that Nodes with a GPU carry from the moment they register; its value is the GPU's type.
pub const LABEL_GPU: &str = "slicer/gpu-type";
/// The label that tells the architecture of a Node.
pub const LABEL_ARCH: &str = "kubernetes.io/arch";
/// Labels of Nodes that no group may ever claim: deleting them would be the end of the cluster.
const CONTROL_PLANE_LABELS: [&str; 3] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
    "node-role.kubernetes.io/etcd",
];
/// The resource that the NVIDIA device plugin adds to a Node once it runs.
pub const RESOURCE_GPU: &str = "nvidia.com/gpu";

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaintEffect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away if they can.
    PreferNoSchedule,
    /// Running pods have to go, too.
    NoExecute,
}

impl TaintEffect {
    /// Kubernetes' word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// A taint that agents register with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Qualified name.
    pub key: String,
    /// Label value; may be empty.
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value.is_empty() {
            write!(f, "{}:{}", self.key, self.effect.as_str())
        } else {
            write!(f, "{}={}:{}", self.key, self.value, self.effect.as_str())
        }
    }
}

impl FromStr for Taint {
    type Err = InvalidId;

    /// Reads `key=value:Effect` or `key:Effect`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let malformed = InvalidId {
            expected: "key=value:Effect or key:Effect, with the effect NoSchedule, PreferNoSchedule or NoExecute",
        };
        let (key_value, effect) = text.rsplit_once(':').ok_or(malformed.clone())?;
        let (key, value) = key_value.split_once('=').unwrap_or((key_value, ""));
        let effect = match effect {
            "NoSchedule" => TaintEffect::NoSchedule,
            "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
            "NoExecute" => TaintEffect::NoExecute,
            _ => return Err(malformed),
        };
        if !is_label_key(key) || !is_label_value(value) {
            return Err(malformed);
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
            effect,
        })
    }
}

/// Whether `text` is a valid label or taint key: an optional DNS subdomain and `/`, then up to 63 characters.
#[must_use]
pub fn is_label_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

fn is_dns_subdomain(text: &str) -> bool {
    let part_ok = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    text.len() <= 253 && text.split('.').all(part_ok)
}

/// Whether a Node with these labels runs the control plane.
pub fn is_control_plane<'a>(mut labels: impl Iterator<Item = &'a str>) -> bool {
    labels.any(|label| CONTROL_PLANE_LABELS.contains(&label))
}

/// The labels of a Node that anybody here reads. Nodes carry many more, and there may be thousands of Nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLabels {
    /// [`LABEL_HOST_GROUP`].
    pub host_group: Option<String>,
    /// [`LABEL_HOSTNAME`].
    pub hostname: Option<String>,
    /// [`LABEL_ARCH`], if it is one that is known.
    pub arch: Option<Architecture>,
    /// Whether one of them says that the Node runs the control plane.
    pub control_plane: bool,
}

impl From<BTreeMap<String, String>> for NodeLabels {
    fn from(mut labels: BTreeMap<String, String>) -> Self {
        Self {
            control_plane: is_control_plane(labels.keys().map(String::as_str)),
            arch: labels.get(LABEL_ARCH).and_then(|arch| arch.parse().ok()),
            host_group: labels.remove(LABEL_HOST_GROUP),
            hostname: labels.remove(LABEL_HOSTNAME),
        }
    }
}

/// Resource names and amounts as Kubernetes writes them (`memory` -> `4024136Ki`).
pub type Resources = BTreeMap<String, String>;

/// A Node as the cluster reports it, as far as this project looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its name.
    pub name: NodeName,
    /// Tells it from a later Node of the same name.
    pub uid: String,
    /// `spec.providerID`; empty before one is set.
    pub provider_id: String,
    /// Its labels.
    pub labels: NodeLabels,
    /// `status.capacity`. Nodes of equal VMs may share it.
    pub capacity: Arc<Resources>,
    /// `status.allocatable`. Nodes of equal VMs may share it.
    pub allocatable: Arc<Resources>,
    /// Whether its Ready condition is True.
    pub ready: bool,
    /// When it was registered, by the API server's clock.
    pub created_at: Option<UnixSeconds>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read_with_and_without_a_value() {
        for text in [
            "dedicated=batch:NoSchedule",
            "gpu:NoExecute",
            "example.com/a=b:PreferNoSchedule",
        ] {
            assert_eq!(text.parse::<Taint>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a",
            "a=b",
            "a=b:Never",
            "=b:NoSchedule",
            "a=b c:NoSchedule",
            "A_/x:NoSchedule",
            "a b:NoSchedule",
        ] {
            assert!(text.parse::<Taint>().is_err(), "{text}");
        }
    }

    #[test]
    fn label_keys_may_have_one_dns_prefix() {
        for good in ["a", "slicer/hostgroup", "example.com/A_b.c", "k3sup.dev/node-type"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a/b/c", "Ex.com/a", "a b", "-a"] {
            assert!(!is_label_key(bad), "{bad}");
        }
    }
}
