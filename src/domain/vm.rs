//! What a Slicer host reports, as facts: its host groups, its VMs, the health of a VM. And the tags by which VMs of
//! this project are known again.

use std::fmt;
use std::str::FromStr;

use super::ids::{ClusterId, Hostname, InvalidId, LaunchId, NodeGroupId};
use super::moment::UnixSeconds;

/// A processor architecture that K3s agents run on, in Kubernetes' terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// `amd64`, called `x86_64` by Slicer.
    Amd64,
    /// `arm64`, called `aarch64` by Slicer.
    Arm64,
}

impl Architecture {
    /// The value of the label `kubernetes.io/arch`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.to_ascii_lowercase().as_str() {
            "amd64" | "x86_64" | "x86-64" => Ok(Self::Amd64),
            "arm64" | "aarch64" => Ok(Self::Arm64),
            _ => Err(InvalidId {
                expected: "x86_64, amd64, aarch64 or arm64",
            }),
        }
    }
}

/// A host group as its Slicer daemon describes it. Whatever it did not say, or said in a form nobody knows, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostGroup {
    /// Its name on that host.
    pub name: String,
    /// Virtual CPUs of a VM: the default and the maximum.
    pub cpus: Option<u32>,
    /// Memory of a VM in bytes: the default and the maximum.
    pub ram_bytes: Option<u64>,
    /// GPUs of a VM.
    pub gpu_count: Option<u32>,
    /// Architecture of the host and so of its VMs.
    pub arch: Option<Architecture>,
}

/// Whether a VM runs, or what somebody did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmStatus {
    /// It runs; also when the host did not say.
    Running,
    /// Somebody paused, suspended or stopped it on purpose. It is reported, never replaced.
    Halted,
}

/// A VM as its host lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its name, unique on the host as long as it lives.
    pub hostname: Hostname,
    /// The tags that it was created with.
    pub tags: Vec<String>,
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in bytes.
    pub ram_bytes: Option<u64>,
    /// When it was created, by the host's clock.
    pub created_at: Option<UnixSeconds>,
    /// Whether it runs.
    pub status: VmStatus,
}

/// The tags of a VM that this project launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTags {
    /// The cluster that the VM belongs to.
    pub cluster: ClusterId,
    /// The node group that launched it.
    pub node_group: NodeGroupId,
    /// The launch that it came from.
    pub launch: LaunchId,
}

const CLUSTER_TAG: &str = "slicer-cloud-provider/cluster=";
const LAUNCH_TAG: &str = "slicer-cloud-provider/launch=";
const NODE_GROUP_TAG: &str = "slicer-cloud-provider/nodegroup=";

impl VmTags {
    /// The tags as Slicer takes them.
    #[must_use]
    pub fn to_tags(&self) -> Vec<String> {
        vec![
            format!("{CLUSTER_TAG}{}", self.cluster),
            Self::launch_tag(&self.launch),
            format!("{NODE_GROUP_TAG}{}", self.node_group),
        ]
    }

    /// The one tag by which the VM of a launch is looked up.
    #[must_use]
    pub fn launch_tag(launch: &LaunchId) -> String {
        format!("{LAUNCH_TAG}{launch}")
    }

    /// Reads the tags of a VM; `None` unless all three are there and well-formed: then the VM is not ours.
    #[must_use]
    pub fn read(tags: &[String]) -> Option<Self> {
        let value = |prefix: &str| tags.iter().find_map(|tag| tag.strip_prefix(prefix));
        Some(Self {
            cluster: value(CLUSTER_TAG)?.parse().ok()?,
            node_group: value(NODE_GROUP_TAG)?.parse().ok()?,
            launch: value(LAUNCH_TAG)?.parse().ok()?,
        })
    }

    /// Whether any tag of this project is on the VM, of whatever cluster, well-formed or not.
    #[must_use]
    pub fn any_of_this_project(tags: &[String]) -> bool {
        tags.iter().any(|tag| tag.starts_with("slicer-cloud-provider/"))
    }
}

/// What the agent inside a VM reports of its userdata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserdataState {
    /// Not finished, or nobody in the VM answers yet.
    Pending,
    /// Finished with this exit code.
    Exited(i32),
    /// Finished, but the guest is too old to say how.
    Finished,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_back_in_any_order_among_others() {
        let tags = VmTags {
            cluster: "home".parse().unwrap(),
            node_group: "agents".parse().unwrap(),
            launch: "abcd1234".parse().unwrap(),
        };
        let mut written = tags.to_tags();
        written.reverse();
        written.insert(0, "team=a".to_owned());
        assert_eq!(VmTags::read(&written), Some(tags));
    }

    #[test]
    fn a_vm_without_all_three_tags_is_not_ours() {
        let tags: Vec<String> = [
            "slicer-cloud-provider/cluster=home",
            "slicer-cloud-provider/launch=NOPE",
            "slicer-cloud-provider/nodegroup=a",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(VmTags::read(&tags), None);
        assert!(VmTags::any_of_this_project(&tags));
    }

    #[test]
    fn architectures_are_read_in_both_spellings() {
        assert_eq!("x86_64".parse(), Ok(Architecture::Amd64));
        assert_eq!("aarch64".parse(), Ok(Architecture::Arm64));
        assert!("riscv64".parse::<Architecture>().is_err());
    }
}
