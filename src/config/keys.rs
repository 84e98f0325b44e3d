//! Every section and key that the configuration knows, in the order in which they are documented. What is read, what
//! an unknown key is compared with, and what the documentation says all come from here.

/// A kind of section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionKind {
    /// Its name in the header, in lower case.
    pub name: &'static str,
    /// The header as it is to be written.
    pub header: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// A key of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name, in lower case.
    pub name: &'static str,
    /// What a value looks like.
    pub value: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// What holds without it; `None` for a key that must be given.
    pub default: Option<&'static str>,
    /// Whether it may be given several times.
    pub repeatable: bool,
}

/// `[global]`, exactly once.
pub const GLOBAL: SectionKind = SectionKind {
    name: "global",
    header: "[global]",
    keys: &[
        K3S_URL,
        K3S_TOKEN,
        K3S_TOKEN_FILE,
        DEFAULT_MIN_SIZE,
        DEFAULT_MAX_SIZE,
        CA_BUNDLE,
        CLUSTER_NAME,
        K3S_VERSION,
        K3S_CHANNEL,
        K3S_INSTALL_URL,
        K3S_ARTIFACT_URL,
    ],
};

/// `[nodegroup "NAME"]`, at least once.
pub const NODE_GROUP: SectionKind = SectionKind {
    name: "nodegroup",
    header: "[nodegroup \"NAME\"]",
    keys: &[
        SLICER_URL,
        SLICER_TOKEN,
        SLICER_TOKEN_FILE,
        HOST_GROUP,
        MIN_SIZE,
        MAX_SIZE,
        ARCH,
        CPUS,
        RAM,
        NODE_LABEL,
        NODE_TAINT,
        KUBELET_ARG,
        ZONE,
        REGION,
        MEMORY_RESERVE,
        EPHEMERAL_STORAGE,
        GPU_TYPE,
        GPU_COUNT,
        PRICE_PER_HOUR,
        CREATE_CONCURRENCY,
        SCALE_DOWN_UTILIZATION_THRESHOLD,
        SCALE_DOWN_GPU_UTILIZATION_THRESHOLD,
        SCALE_DOWN_UNNEEDED_TIME,
        SCALE_DOWN_UNREADY_TIME,
        MAX_NODE_PROVISION_TIME,
        IGNORE_DAEMONSETS_UTILIZATION,
    ],
};

/// All kinds of sections.
pub const SECTIONS: [SectionKind; 2] = [GLOBAL, NODE_GROUP];

const fn required(name: &'static str, value: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        value,
        doc,
        default: None,
        repeatable: false,
    }
}

const fn optional(name: &'static str, value: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        value,
        doc,
        default: Some(default),
        repeatable: false,
    }
}

const fn repeatable(name: &'static str, value: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        value,
        doc,
        default: Some("none"),
        repeatable: true,
    }
}

pub(super) const K3S_URL: Key = required("k3s-url", "https://host[:port]", "K3s API server that agents join");
pub(super) const K3S_TOKEN: Key = required("k3s-token", "token", "join token of agents; or k3s-token-file");
pub(super) const K3S_TOKEN_FILE: Key = required(
    "k3s-token-file",
    "path",
    "file that holds the join token and may change; or k3s-token",
);
pub(super) const DEFAULT_MIN_SIZE: Key = optional(
    "default-min-size",
    "0 or more",
    "1",
    "smallest size of groups without min-size",
);
pub(super) const DEFAULT_MAX_SIZE: Key = optional(
    "default-max-size",
    "1 or more",
    "8",
    "largest size of groups without max-size",
);
pub(super) const CA_BUNDLE: Key = optional(
    "ca-bundle",
    "path",
    "none",
    "PEM file of authorities to trust for all Slicer URLs, beside the system's",
);
pub(super) const CLUSTER_NAME: Key = optional(
    "cluster-name",
    "label value",
    "derived from k3s-url",
    "marks our VMs on hosts that several clusters share",
);
pub(super) const K3S_VERSION: Key = optional(
    "k3s-version",
    "server or an exact tag such as v1.33.6+k3s1",
    "server",
    "K3s of the agents; `server`: the same as the server's",
);
pub(super) const K3S_CHANNEL: Key = optional(
    "k3s-channel",
    "channel such as stable or v1.33",
    "stable",
    "K3s of the agents while the server's version is not known",
);
pub(super) const K3S_INSTALL_URL: Key = optional(
    "k3s-install-url",
    "http(s) URL, or an absolute path in the VM's image",
    "https://get.k3s.io",
    "installer of K3s",
);
pub(super) const K3S_ARTIFACT_URL: Key = optional(
    "k3s-artifact-url",
    "http(s) URL",
    "upstream's",
    "mirror of K3s' releases",
);

pub(super) const SLICER_URL: Key = required(
    "slicer-url",
    "http(s)://host[:port][/path] or the path of a unix socket",
    "Slicer daemon of the group",
);
pub(super) const SLICER_TOKEN: Key = required(
    "slicer-token",
    "token",
    "API token of the daemon; or slicer-token-file; a unix socket needs none",
);
pub(super) const SLICER_TOKEN_FILE: Key = required(
    "slicer-token-file",
    "path",
    "file that holds the API token and may change; or slicer-token",
);
pub(super) const HOST_GROUP: Key = optional(
    "host-group",
    "name",
    "NAME",
    "host group on the Slicer host, when two hosts use the same name",
);
pub(super) const MIN_SIZE: Key = optional(
    "min-size",
    "0 or more",
    "default-min-size",
    "smallest size of the group",
);
pub(super) const MAX_SIZE: Key = optional("max-size", "1 or more", "default-max-size", "largest size of the group");
pub(super) const ARCH: Key = optional(
    "arch",
    "x86_64, amd64, aarch64 or arm64",
    "from Slicer",
    "architecture of the VMs",
);
pub(super) const CPUS: Key = optional(
    "cpus",
    "1 to 1024",
    "the host group's",
    "virtual CPUs of a VM, at most the host group's",
);
pub(super) const RAM: Key = optional(
    "ram",
    "quantity such as 4Gi",
    "the host group's",
    "memory of a VM, at most the host group's",
);
pub(super) const NODE_LABEL: Key = repeatable("node-label", "key=value", "label of the Nodes");
pub(super) const NODE_TAINT: Key = repeatable("node-taint", "key=value:Effect", "taint that the Nodes register with");
pub(super) const KUBELET_ARG: Key = repeatable(
    "kubelet-arg",
    "name=value",
    "argument of the kubelet, without dashes in front",
);
pub(super) const ZONE: Key = optional("zone", "label value", "none", "label topology.kubernetes.io/zone");
pub(super) const REGION: Key = optional("region", "label value", "none", "label topology.kubernetes.io/region");
pub(super) const MEMORY_RESERVE: Key = optional(
    "memory-reserve",
    "quantity such as 256Mi",
    "5 % but at least 128Mi",
    "what a VM's kernel keeps of its memory",
);
pub(super) const EPHEMERAL_STORAGE: Key = optional("ephemeral-storage", "quantity such as 25G", "25G", "disk of a VM");
pub(super) const GPU_TYPE: Key = optional("gpu-type", "label value", "nvidia", "value of the GPU label");
pub(super) const GPU_COUNT: Key = optional("gpu-count", "0 to 64", "from Slicer", "GPUs of a VM");
pub(super) const PRICE_PER_HOUR: Key = optional(
    "price-per-hour",
    "number above 0",
    "from the size",
    "price of a Node for --expander=price",
);
pub(super) const CREATE_CONCURRENCY: Key = optional(
    "create-concurrency",
    "1 to 256",
    "8",
    "VMs created at once on this host",
);
pub(super) const SCALE_DOWN_UTILIZATION_THRESHOLD: Key = optional(
    "scale-down-utilization-threshold",
    "0 to 1",
    "the cluster-autoscaler's",
    "overrides its option of this name",
);
pub(super) const SCALE_DOWN_GPU_UTILIZATION_THRESHOLD: Key = optional(
    "scale-down-gpu-utilization-threshold",
    "0 to 1",
    "the cluster-autoscaler's",
    "overrides its option of this name",
);
pub(super) const SCALE_DOWN_UNNEEDED_TIME: Key = optional(
    "scale-down-unneeded-time",
    "duration such as 10m",
    "the cluster-autoscaler's",
    "overrides its option of this name",
);
pub(super) const SCALE_DOWN_UNREADY_TIME: Key = optional(
    "scale-down-unready-time",
    "duration such as 20m",
    "the cluster-autoscaler's",
    "overrides its option of this name",
);
pub(super) const MAX_NODE_PROVISION_TIME: Key = optional(
    "max-node-provision-time",
    "duration such as 15m",
    "the cluster-autoscaler's",
    "overrides its option of this name",
);
pub(super) const IGNORE_DAEMONSETS_UTILIZATION: Key = optional(
    "ignore-daemonsets-utilization",
    "true or false",
    "the cluster-autoscaler's",
    "overrides its option of this name",
);
/// The key of any section that `name` is, regardless of case.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let all = SECTIONS.iter().flat_map(|section| section.keys);
    all.map(|key| key.name).find(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_are_unique_and_in_lower_case() {
        let mut names: Vec<_> = SECTIONS.iter().flat_map(|s| s.keys).map(|key| key.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| *name == name.to_lowercase()));
    }
}
