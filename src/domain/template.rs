//! What the next Node of a group will look like: its labels, taints, capacity and allocatable.
//!
//! The template and the userdata take the labels from the same function, so that a Node registers with what the
//! cluster-autoscaler was promised. Where a real Node of the group has been seen, what it reports counts; before that
//! the amounts are computed so that they promise too little rather than too much: with a template that promises too
//! much, the cluster-autoscaler adds nodes for pods that do not fit them, again and again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::NodeGroupId;
use super::node::{LABEL_GPU, LABEL_HOST_GROUP, LABEL_NODE_TYPE, NodeRecord, RESOURCE_GPU, Resources, Taint};
use super::quantity::{format_kibibytes, parse_bytes, parse_milli};
use super::spec::NodeGroupSpec;
use super::vm::{Architecture, HostGroup};

const MIB: u64 = 1 << 20;
/// The kubelet's default `--max-pods`, which K3s does not change.
const DEFAULT_MAX_PODS: u64 = 110;
/// K3s sets `eviction-hard` to 5 % of the disk and to nothing for memory.
const DEFAULT_DISK_RESERVE_PERCENT: u64 = 5;
/// The value of the GPU label where no `gpu-type` is configured.
const DEFAULT_GPU_TYPE: &str = "nvidia";

/// The size of a VM of a group: once this is known, the group can be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory of the VM in bytes (a guest sees a little less).
    pub ram_bytes: u64,
    /// GPUs.
    pub gpu_count: u32,
    /// Architecture.
    pub arch: Architecture,
}

impl Shape {
    /// The shape of the group's VMs, from the configuration, else from the host, else from a Node of the group.
    /// `None` while none of them tells.
    #[must_use]
    pub fn find(spec: &NodeGroupSpec, host_group: Option<&HostGroup>, learned: Option<&Learned>) -> Option<Self> {
        let cpus = spec
            .cpus
            .or(host_group.and_then(|group| group.cpus))
            .or(learned.and_then(|l| l.cpus()))?;
        let ram_bytes = spec
            .ram_bytes
            .or(host_group.and_then(|group| group.ram_bytes))
            .or(learned.and_then(|l| l.nominal_ram_bytes(spec)))?;
        let gpu_count = spec
            .gpu_count
            .or(host_group.and_then(|group| group.gpu_count))
            .unwrap_or(0);
        let arch = spec
            .arch
            .or(host_group.and_then(|group| group.arch))
            .or(learned.and_then(|l| l.arch))
            .unwrap_or(Architecture::Amd64);
        Some(Self {
            cpus,
            ram_bytes,
            gpu_count,
            arch,
        })
    }

    /// The value of the label `node.kubernetes.io/instance-type`: the shape alone, so that groups of equal VMs on
    /// several hosts count as similar.
    #[must_use]
    pub fn instance_type(&self) -> String {
        let mib = self.ram_bytes / MIB;
        let ram = if mib.is_multiple_of(1024) {
            format!("{}gi", mib / 1024)
        } else {
            format!("{mib}mi")
        };
        let gpus = if self.gpu_count > 0 {
            format!("-{}gpu", self.gpu_count)
        } else {
            String::new()
        };
        format!("slicer-{}cpu-{ram}{gpus}", self.cpus)
    }
}

/// What a real Node of a group reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    capacity: Arc<Resources>,
    allocatable: Arc<Resources>,
    arch: Option<Architecture>,
}

impl Learned {
    /// Takes from a Node what a template can use.
    #[must_use]
    pub fn from_node(node: &NodeRecord) -> Self {
        Self {
            capacity: Arc::clone(&node.capacity),
            allocatable: Arc::clone(&node.allocatable),
            arch: node.labels.arch,
        }
    }

    fn cpus(&self) -> Option<u32> {
        let milli = parse_milli(self.capacity.get("cpu")?).ok()?;
        u32::try_from(milli / 1000).ok().filter(|cpus| *cpus > 0)
    }

    fn memory(&self) -> Option<u64> {
        parse_bytes(self.capacity.get("memory")?).ok()
    }

    /// The RAM of the VM, about 4 % more than its guest sees; rounded up to whole 256 MiB, as VMs are sized.
    fn nominal_ram_bytes(&self, spec: &NodeGroupSpec) -> Option<u64> {
        let seen = self.memory()?;
        let reserve = spec.memory_reserve.unwrap_or(seen / 24);
        seen.checked_add(reserve)?.checked_next_multiple_of(256 * MIB)
    }

    /// Whether the Node was one of this shape, and not left over from before the configured size changed.
    fn fits(&self, shape: &Shape) -> bool {
        let same_cpus = self.cpus() == Some(shape.cpus);
        let plausible_memory = self
            .memory()
            .is_some_and(|seen| seen <= shape.ram_bytes && seen >= shape.ram_bytes / 4 * 3);
        same_cpus && plausible_memory
    }
}

/// A Node as the next VM of the group would register it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTemplate {
    /// `template-node-for-<group>`; no Node is ever called so.
    pub name: String,
    /// All labels that the Node will have.
    pub labels: BTreeMap<String, String>,
    /// The taints that the Node registers with.
    pub taints: Vec<Taint>,
    /// What the Node has.
    pub capacity: Resources,
    /// What pods may use of it.
    pub allocatable: Resources,
    /// Its architecture.
    pub arch: Architecture,
}

/// The labels that an agent registers with, except `slicer/hostname`, which only the VM knows.
#[must_use]
pub fn registration_labels(spec: &NodeGroupSpec, shape: &Shape) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (LABEL_HOST_GROUP.to_owned(), spec.id.to_string()),
        (LABEL_NODE_TYPE.to_owned(), "agent".to_owned()),
        ("node.kubernetes.io/instance-type".to_owned(), shape.instance_type()),
    ]);
    if let Some(zone) = &spec.zone {
        labels.insert("topology.kubernetes.io/zone".to_owned(), zone.clone());
    }
    if let Some(region) = &spec.region {
        labels.insert("topology.kubernetes.io/region".to_owned(), region.clone());
    }
    if shape.gpu_count > 0 {
        labels.insert(LABEL_GPU.to_owned(), gpu_type(spec).to_owned());
    }
    // The user's labels come last: an instance type of their own counts.
    labels.extend(spec.labels.clone());
    labels
}

/// The value of the GPU label of a group's Nodes.
#[must_use]
pub fn gpu_type(spec: &NodeGroupSpec) -> &str {
    spec.gpu_type.as_deref().unwrap_or(DEFAULT_GPU_TYPE)
}

/// The name of a group's template.
#[must_use]
pub fn template_name(group: &NodeGroupId) -> String {
    format!("{TEMPLATE_NAME_PREFIX}{group}")
}

/// How the names of templates begin. The cluster-autoscaler's own copies begin so, too.
pub const TEMPLATE_NAME_PREFIX: &str = "template-node-for-";

impl NodeTemplate {
    /// The template of a group.
    #[must_use]
    pub fn new(spec: &NodeGroupSpec, shape: &Shape, learned: Option<&Learned>) -> Self {
        let name = template_name(&spec.id);
        let (capacity, allocatable) = match learned.filter(|learned| learned.fits(shape)) {
            Some(learned) => learned_amounts(shape, learned),
            None => computed_amounts(spec, shape),
        };
        Self {
            labels: node_labels(spec, shape, &name),
            taints: spec.taints.clone(),
            capacity,
            allocatable,
            arch: shape.arch,
            name,
        }
    }
}

/// All labels of a Node: what the agent registers with, and what kubelet and K3s add to it.
fn node_labels(spec: &NodeGroupSpec, shape: &Shape, name: &str) -> BTreeMap<String, String> {
    let mut labels = registration_labels(spec, shape);
    let twins = [
        ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type"),
        ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
        (
            "topology.kubernetes.io/region",
            "failure-domain.beta.kubernetes.io/region",
        ),
    ];
    for (label, twin) in twins {
        if let Some(value) = labels.get(label).cloned() {
            labels.insert(twin.to_owned(), value);
        }
    }
    for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
        labels.insert(format!("{prefix}/os"), "linux".to_owned());
        labels.insert(format!("{prefix}/arch"), shape.arch.as_str().to_owned());
    }
    labels.insert("kubernetes.io/hostname".to_owned(), name.to_owned());
    labels
}

fn learned_amounts(shape: &Shape, learned: &Learned) -> (Resources, Resources) {
    let mut amounts = (
        Resources::clone(&learned.capacity),
        Resources::clone(&learned.allocatable),
    );
    // The device plugin adds GPUs some time after a Node registered; the next one will have them all the same.
    if shape.gpu_count > 0 {
        for resources in [&mut amounts.0, &mut amounts.1] {
            resources.insert(RESOURCE_GPU.to_owned(), shape.gpu_count.to_string());
        }
    }
    amounts
}

fn computed_amounts(spec: &NodeGroupSpec, shape: &Shape) -> (Resources, Resources) {
    let reserve = spec.memory_reserve.unwrap_or((shape.ram_bytes / 20).max(128 * MIB));
    let memory = shape.ram_bytes.saturating_sub(reserve);
    let kubelet = KubeletReserve::of(&spec.kubelet_args, memory, spec.ephemeral_storage);

    let mut fixed = Resources::from([("pods".to_owned(), kubelet.max_pods.to_string())]);
    if shape.arch == Architecture::Amd64 {
        fixed.insert("hugepages-1Gi".to_owned(), "0".to_owned());
        fixed.insert("hugepages-2Mi".to_owned(), "0".to_owned());
    }
    if shape.gpu_count > 0 {
        fixed.insert(RESOURCE_GPU.to_owned(), shape.gpu_count.to_string());
    }

    let mut capacity = fixed.clone();
    capacity.insert("cpu".to_owned(), shape.cpus.to_string());
    capacity.insert("memory".to_owned(), format_kibibytes(memory));
    capacity.insert("ephemeral-storage".to_owned(), spec.ephemeral_storage.to_string());

    let mut allocatable = fixed;
    let cpu_milli = (u128::from(shape.cpus) * 1000).saturating_sub(kubelet.cpu_milli);
    allocatable.insert("cpu".to_owned(), format_cpu(cpu_milli));
    let memory = memory.saturating_sub(kubelet.memory);
    allocatable.insert("memory".to_owned(), format_kibibytes(memory));
    let disk = spec.ephemeral_storage.saturating_sub(kubelet.disk);
    allocatable.insert("ephemeral-storage".to_owned(), disk.to_string());
    (capacity, allocatable)
}

fn format_cpu(milli: u128) -> String {
    if milli.is_multiple_of(1000) {
        return (milli / 1000).to_string();
    }
    format!("{milli}m")
}

/// What the user's own kubelet arguments keep from pods.
struct KubeletReserve {
    cpu_milli: u128,
    memory: u64,
    disk: u64,
    max_pods: u64,
}

impl KubeletReserve {
    /// Reads `max-pods`, `kube-reserved`, `system-reserved` and `eviction-hard`; what is not given is as K3s has it.
    fn of(kubelet_args: &[String], memory: u64, disk: u64) -> Self {
        let mut reserve = Self {
            cpu_milli: 0,
            memory: 0,
            disk: 0,
            max_pods: DEFAULT_MAX_PODS,
        };
        let mut evicts_disk_at = disk / 100 * DEFAULT_DISK_RESERVE_PERCENT;
        for (name, value) in kubelet_args.iter().filter_map(|arg| arg.split_once('=')) {
            match name {
                "max-pods" => reserve.max_pods = value.parse().unwrap_or(DEFAULT_MAX_PODS),
                "kube-reserved" | "system-reserved" => reserve.keep_back(value),
                "eviction-hard" => {
                    evicts_disk_at = threshold(value, "nodefs.available", disk);
                    let evicts_at = threshold(value, "memory.available", memory);
                    reserve.memory = reserve.memory.saturating_add(evicts_at);
                }
                _ => {}
            }
        }
        reserve.disk = reserve.disk.saturating_add(evicts_disk_at);
        reserve
    }

    /// Adds a list such as `cpu=100m,memory=200Mi`.
    fn keep_back(&mut self, list: &str) {
        for (resource, amount) in list.split(',').filter_map(|item| item.split_once('=')) {
            let milli = parse_milli(amount.trim()).unwrap_or(0);
            let bytes = parse_bytes(amount.trim()).unwrap_or(0);
            match resource.trim() {
                "cpu" => self.cpu_milli = self.cpu_milli.saturating_add(milli),
                "memory" => self.memory = self.memory.saturating_add(bytes),
                "ephemeral-storage" => self.disk = self.disk.saturating_add(bytes),
                _ => {}
            }
        }
    }
}

/// The amount of `signal` in a list such as `memory.available<100Mi,nodefs.available<10%`.
fn threshold(list: &str, signal: &str, of: u64) -> u64 {
    let amount = list
        .split(',')
        .filter_map(|item| item.split_once('<'))
        .find(|(name, _)| name.trim() == signal)
        .map(|(_, amount)| amount.trim());
    match amount.map(|amount| (amount.strip_suffix('%'), amount)) {
        Some((Some(percent), _)) => of / 100 * percent.parse::<u64>().unwrap_or(0).min(100),
        Some((None, amount)) => parse_bytes(amount).unwrap_or(0),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::{AutoscalingOverrides, Limits};

    fn spec() -> NodeGroupSpec {
        NodeGroupSpec {
            id: "agents".parse().unwrap(),
            host_group: "agents".to_owned(),
            limits: Limits { min: 0, max: 8 },
            arch: None,
            cpus: None,
            ram_bytes: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            kubelet_args: Vec::new(),
            zone: None,
            region: None,
            memory_reserve: None,
            ephemeral_storage: 25_000_000_000,
            gpu_type: None,
            gpu_count: None,
            price_per_hour: None,
            overrides: AutoscalingOverrides::default(),
        }
    }

    fn host_group() -> HostGroup {
        HostGroup {
            name: "agents".to_owned(),
            cpus: Some(2),
            ram_bytes: Some(4 << 30),
            gpu_count: Some(0),
            arch: Some(Architecture::Arm64),
        }
    }

    fn node(cpu: &str, memory: &str) -> NodeRecord {
        let amounts = Resources::from([
            ("cpu".to_owned(), cpu.to_owned()),
            ("memory".to_owned(), memory.to_owned()),
        ]);
        NodeRecord {
            name: "n".into(),
            uid: String::new(),
            provider_id: String::new(),
            labels: BTreeMap::from([("kubernetes.io/arch".to_owned(), "arm64".to_owned())]).into(),
            capacity: Arc::new(amounts.clone()),
            allocatable: Arc::new(amounts),
            ready: true,
            created_at: None,
        }
    }

    #[test]
    fn a_shape_comes_from_the_configuration_before_the_host_before_a_node() {
        assert_eq!(Shape::find(&spec(), None, None), None);
        let learned = Learned::from_node(&node("4", "8050000Ki"));
        let of_node = Shape::find(&spec(), None, Some(&learned)).unwrap();
        assert_eq!(
            (of_node.cpus, of_node.ram_bytes, of_node.arch),
            (4, 8 << 30, Architecture::Arm64)
        );
        let of_host = Shape::find(&spec(), Some(&host_group()), Some(&learned)).unwrap();
        assert_eq!((of_host.cpus, of_host.ram_bytes), (2, 4 << 30));
        let wanted = NodeGroupSpec {
            cpus: Some(1),
            ram_bytes: Some(1 << 30),
            ..spec()
        };
        let of_file = Shape::find(&wanted, Some(&host_group()), None).unwrap();
        assert_eq!((of_file.cpus, of_file.ram_bytes), (1, 1 << 30));
    }

    #[test]
    fn a_template_promises_less_than_the_vm_has() {
        let shape = Shape::find(&spec(), Some(&host_group()), None).unwrap();
        let template = NodeTemplate::new(&spec(), &shape, None);
        assert_eq!(template.labels["kubernetes.io/arch"], "arm64");
        assert_eq!(template.labels["node.kubernetes.io/instance-type"], "slicer-2cpu-4gi");
        assert_eq!(template.allocatable["cpu"], "2");
        // A real guest of 4 GiB saw 4024136 KiB.
        let promised = parse_bytes(&template.allocatable["memory"]).unwrap();
        assert!(
            promised <= 4_024_136 * 1024 && promised > 3_800_000 * 1024,
            "{promised}"
        );
        assert_eq!(template.allocatable["ephemeral-storage"], "23750000000");
        assert_eq!(template.allocatable["pods"], "110");
    }

    #[test]
    fn what_a_real_node_reports_replaces_the_computed_amounts() {
        let shape = Shape::find(&spec(), Some(&host_group()), None).unwrap();
        let learned = Learned::from_node(&node("2", "4024136Ki"));
        let template = NodeTemplate::new(&spec(), &shape, Some(&learned));
        assert_eq!(template.allocatable["memory"], "4024136Ki");
    }

    #[test]
    fn amounts_beyond_all_reason_overflow_nothing() {
        let most = i64::MAX.to_string();
        let learned = Learned::from_node(&node("2", &most));
        let absurd = NodeGroupSpec {
            memory_reserve: Some(i64::MAX as u64),
            kubelet_args: vec![
                format!("kube-reserved=memory={most},memory={most},memory={most},ephemeral-storage={most}"),
                format!("system-reserved=ephemeral-storage={most},ephemeral-storage={most}"),
                format!("eviction-hard=memory.available<{most},nodefs.available<{most}"),
            ],
            ..spec()
        };
        assert_eq!(Shape::find(&absurd, None, Some(&learned)), None);
        let shape = Shape::find(&absurd, Some(&host_group()), None).unwrap();
        let template = NodeTemplate::new(&absurd, &shape, None);
        assert_eq!(template.allocatable["memory"], "0Ki");
        assert_eq!(template.allocatable["ephemeral-storage"], "0");
    }

    #[test]
    fn a_node_of_another_size_teaches_nothing() {
        let shape = Shape::find(&spec(), Some(&host_group()), None).unwrap();
        for (cpu, memory) in [("4", "4024136Ki"), ("2", "8024136Ki"), ("2", "1024136Ki")] {
            let learned = Learned::from_node(&node(cpu, memory));
            let template = NodeTemplate::new(&spec(), &shape, Some(&learned));
            assert_eq!(template, NodeTemplate::new(&spec(), &shape, None));
        }
    }

    #[test]
    fn kubelet_arguments_of_the_user_are_subtracted() {
        let spec = NodeGroupSpec {
            memory_reserve: Some(0),
            kubelet_args: [
                "max-pods=40",
                "kube-reserved=cpu=250m,memory=256Mi",
                "system-reserved=memory=256Mi,ephemeral-storage=1G",
                "eviction-hard=memory.available<512Mi,nodefs.available<10%",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..spec()
        };
        let shape = Shape::find(&spec, Some(&host_group()), None).unwrap();
        let template = NodeTemplate::new(&spec, &shape, None);
        assert_eq!(template.allocatable["pods"], "40");
        assert_eq!(template.allocatable["cpu"], "1750m");
        assert_eq!(template.allocatable["memory"], "3145728Ki");
        assert_eq!(template.allocatable["ephemeral-storage"], "21500000000");
        assert_eq!(template.capacity["memory"], "4194304Ki");
    }

    #[test]
    fn nodes_register_with_the_labels_that_the_template_promises() {
        let spec = NodeGroupSpec {
            zone: Some("shed".to_owned()),
            gpu_count: Some(1),
            gpu_type: Some("a100".to_owned()),
            labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
            ..spec()
        };
        let shape = Shape::find(&spec, Some(&host_group()), None).unwrap();
        let template = NodeTemplate::new(&spec, &shape, None);
        for (key, value) in registration_labels(&spec, &shape) {
            assert_eq!(template.labels[&key], value);
        }
        assert_eq!(template.labels[LABEL_GPU], "a100");
        assert_eq!(template.labels["failure-domain.beta.kubernetes.io/zone"], "shed");
        assert_eq!(template.capacity[RESOURCE_GPU], "1");
    }
}
