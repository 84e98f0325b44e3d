//! What there is in a measurement: hosts, node groups, and the VMs in them with their Nodes. Names and numbers only, so
//! that every part of the measurement means the same VM; nothing here runs.

use std::collections::HashMap;
use std::fmt::Write as _;

use slicer_cloud_provider::domain::ids::{ClusterId, InstanceId, LaunchId, NodeGroupId};
use slicer_cloud_provider::domain::vm::VmTags;
use slicer_cloud_provider::grpc::pb::ExternalGrpcNode;

use crate::Failure;

/// The API token of every host.
pub(crate) const SLICER_TOKEN: &str = "slicer-token";
const CLUSTER: &str = "loadgen";
/// The largest size of each group: the most that a configuration may say is 10000.
const MAX_SIZE: usize = 10_000;
/// The label for VMs of 2 CPUs and 4 GiB.
const SHAPE: &str = "slicer-2cpu-4gi";

/// A node group; its host group has the same name.
pub(crate) struct Group {
    pub(crate) id: NodeGroupId,
    /// The number of its host.
    pub(crate) host: usize,
}

/// A VM, whose Node has registered.
pub(crate) struct Machine {
    /// The number of its group.
    pub(crate) group: usize,
    pub(crate) hostname: String,
    launch: LaunchId,
}

/// All of it.
pub(crate) struct Fleet {
    pub(crate) hosts: usize,
    pub(crate) groups: Vec<Group>,
    pub(crate) machines: Vec<Machine>,
}

impl Fleet {
    /// So many groups, dealt out to the hosts, and so many VMs, dealt out to the groups.
    pub(crate) fn new(hosts: usize, groups: usize, machines: usize) -> Result<Self, Failure> {
        if hosts == 0 || groups < hosts || machines.div_ceil(groups) > MAX_SIZE {
            return Err(format!(
                "every host needs a group, and a group holds {MAX_SIZE} nodes at most"
            ));
        }
        let group = |number: usize| {
            let id = format!("pool-{number:04}").parse();
            let id = id.map_err(|error| format!("group {number}: {error}"))?;
            Ok(Group {
                id,
                host: number % hosts,
            })
        };
        let groups = (0..groups).map(group).collect::<Result<Vec<_>, Failure>>()?;
        let machines = (0..machines).map(|number| Machine::new(number, &groups)).collect();
        Ok(Self {
            hosts,
            groups,
            machines,
        })
    }

    /// The provider's configuration, with the URL of each host.
    pub(crate) fn config(&self, urls: &[String]) -> String {
        let mut text = format!(
            "[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token = join-token\ncluster-name = {CLUSTER}\n\
             k3s-version = v1.33.6+k3s1\ndefault-min-size = 0\ndefault-max-size = {MAX_SIZE}\n"
        );
        for Group { id, host } in &self.groups {
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "[nodegroup \"{id}\"]\nslicer-url = {}\nslicer-token = {SLICER_TOKEN}\n",
                urls[*host]
            );
        }
        text
    }

    /// How many VMs each group has.
    pub(crate) fn sizes(&self) -> HashMap<&str, usize> {
        let mut sizes: HashMap<&str, usize> = self.groups.iter().map(|group| (group.id.as_str(), 0)).collect();
        for machine in &self.machines {
            *sizes.entry(self.groups[machine.group].id.as_str()).or_default() += 1;
        }
        sizes
    }

    fn group_of(&self, machine: &Machine) -> &NodeGroupId {
        &self.groups[machine.group].id
    }

    /// The tags by which the provider knows the VM as its own.
    pub(crate) fn tags(&self, machine: &Machine) -> Result<Vec<String>, Failure> {
        let cluster: ClusterId = CLUSTER.parse().map_err(|error| format!("{CLUSTER}: {error}"))?;
        let tags = VmTags {
            cluster,
            node_group: self.group_of(machine).clone(),
            launch: machine.launch.clone(),
        };
        Ok(tags.to_tags())
    }

    /// Its Node as a cluster-autoscaler describes it: with all labels and annotations that it has in a K3s cluster.
    pub(crate) fn node(&self, number: usize) -> ExternalGrpcNode {
        let machine = &self.machines[number];
        let group = self.group_of(machine);
        let name = format!("{}-{}", machine.hostname, machine.launch);
        ExternalGrpcNode {
            provider_id: InstanceId::of_launch(group, &machine.launch).to_string(),
            labels: labels(group.as_str(), &machine.hostname, &name).collect(),
            annotations: annotations(&name, number).collect(),
            name,
        }
    }
}

impl Machine {
    /// The hostname is the one that a daemon gives it if the VMs of a group are created in the order of their numbers.
    fn new(number: usize, groups: &[Group]) -> Self {
        let group = number % groups.len();
        // Different numbers below 36^8 are different ids.
        let entropy = u64::try_from(number).unwrap_or_default() * 48_271 + 1_234_567;
        Self {
            group,
            hostname: format!("{}-{}", groups[group].id, number / groups.len() + 1),
            launch: LaunchId::from_entropy(entropy),
        }
    }
}

/// The labels of a Node: those that the agent registers with, the kubelet's, and K3s'.
fn labels(group: &str, hostname: &str, name: &str) -> impl Iterator<Item = (String, String)> {
    let pairs = [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/instance-type", SHAPE),
        ("beta.kubernetes.io/os", "linux"),
        ("k3sup.dev/node-type", "agent"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", SHAPE),
        ("slicer/hostgroup", group),
        ("slicer/hostname", hostname),
    ];
    owned(pairs)
}

/// The annotations of a Node in a K3s cluster with flannel.
fn annotations(name: &str, number: usize) -> impl Iterator<Item = (String, String)> {
    let ip = format!("10.60.{}.{}", number / 250 % 250, number % 250 + 2);
    let backend = format!(
        "{{\"VNI\":1,\"VtepMAC\":\"5a:1c:3e:00:{:02x}:{:02x}\"}}",
        number / 256 % 256,
        number % 256
    );
    let arguments = "[\"agent\",\"--config\",\"/etc/rancher/k3s/config.yaml\",\"--node-label\",\
                     \"k3sup.dev/node-type=agent\",\"--kubelet-arg\",\"provider-id=********\"]";
    let pairs = [
        ("alpha.kubernetes.io/provided-node-ip", ip.as_str()),
        ("flannel.alpha.coreos.com/backend-data", &backend),
        ("flannel.alpha.coreos.com/backend-type", "vxlan"),
        ("flannel.alpha.coreos.com/kube-subnet-manager", "true"),
        ("flannel.alpha.coreos.com/public-ip", &ip),
        ("k3s.io/hostname", name),
        ("k3s.io/internal-ip", &ip),
        ("k3s.io/node-args", arguments),
        (
            "k3s.io/node-config-hash",
            "O3JXZ2Q7W5S4DTRWQ5J3K6XUTV2NN5ZT4TQ2YV7YB7V6XH3DWZRA====",
        ),
        ("k3s.io/node-env", "{}"),
        ("node.alpha.kubernetes.io/ttl", "0"),
        ("volumes.kubernetes.io/controller-managed-attach-detach", "true"),
    ];
    owned(pairs)
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> impl Iterator<Item = (String, String)> + use<N> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter()
}
