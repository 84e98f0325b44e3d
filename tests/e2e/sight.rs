//! What there is to see at one moment: VMs on the hosts, Nodes and pods in the cluster.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::api::{Api, ListParams};

use crate::Failure;
use crate::hosts::Host;

/// A pod of the scenario.
pub(crate) struct PodSight {
    pub(crate) name: String,
    pub(crate) app: String,
    pub(crate) node: Option<String>,
    running: bool,
}

/// A Node.
pub(crate) struct NodeSight {
    pub(crate) name: String,
    pub(crate) group: String,
    /// As `key=value:Effect`.
    pub(crate) taints: Vec<String>,
    ready: bool,
}

/// One moment.
pub(crate) struct Sight {
    vms: BTreeMap<String, usize>,
    pub(crate) nodes: Vec<NodeSight>,
    pub(crate) pods: Vec<PodSight>,
    node_passwords: usize,
}

impl Sight {
    /// Looks at everything.
    pub(crate) async fn now(hosts: &[Host], client: &kube::Client, namespace: &str) -> Result<Self, Failure> {
        let everything = ListParams::default();
        let unseen = |error: kube::Error| format!("cannot look at the cluster: {error}");
        let nodes: Api<Node> = Api::all(client.clone());
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
        let nodes = nodes.list(&everything).await.map_err(unseen)?;
        let pods = pods.list(&everything).await.map_err(unseen)?;
        let secrets = secrets.list_metadata(&everything).await.map_err(unseen)?;
        let passwords = secrets.items.iter().filter_map(|secret| secret.metadata.name.as_ref());
        let mut vms = BTreeMap::new();
        for host in hosts {
            for vm in host.vms() {
                *vms.entry(vm.group).or_default() += 1;
            }
        }
        Ok(Self {
            vms,
            nodes: nodes.items.into_iter().map(node).collect(),
            pods: pods.items.into_iter().map(pod).collect(),
            node_passwords: passwords.filter(|name| name.ends_with(".node-password.k3s")).count(),
        })
    }

    /// All VMs.
    pub(crate) fn vms(&self) -> usize {
        self.vms.values().sum()
    }

    /// The VMs of a group.
    pub(crate) fn vms_of(&self, group: &str) -> usize {
        self.vms.get(group).copied().unwrap_or(0)
    }

    /// The Nodes of a group.
    pub(crate) fn nodes_of(&self, group: &str) -> usize {
        self.nodes.iter().filter(|node| node.group == group).count()
    }

    /// Whether so many pods of a workload exist and all of them run.
    pub(crate) fn all_run(&self, app: &str, count: usize) -> bool {
        let mut pods = self.pods.iter().filter(|pod| pod.app == app);
        pods.clone().count() == count && pods.all(|pod| pod.running)
    }

    /// Whether nothing is left of VMs, Nodes and node passwords.
    pub(crate) fn nothing_left(&self) -> bool {
        self.vms() == 0 && self.nodes.is_empty() && self.node_passwords == 0
    }

    /// The group of the Node that a pod of this workload runs on.
    pub(crate) fn group_of(&self, app: &str) -> Option<&str> {
        let pod = self.pods.iter().find(|pod| pod.app == app)?;
        let node = self.nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref())?;
        Some(&node.group)
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.nodes.iter().filter(|node| node.ready).count();
        let running = self.pods.iter().filter(|pod| pod.running).count();
        let bound = self.pods.iter().filter(|pod| pod.node.is_some()).count();
        write!(f, "VMs {}", self.vms())?;
        for (group, count) in &self.vms {
            write!(f, "  {group} {count}")?;
        }
        write!(
            f,
            " | Nodes {} ({ready} ready), passwords {}",
            self.nodes.len(),
            self.node_passwords
        )?;
        write!(f, " | pods {} ({bound} bound, {running} running)", self.pods.len())
    }
}

fn node(node: Node) -> NodeSight {
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let group = node.metadata.labels.unwrap_or_default().remove("slicer/hostgroup");
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let written = taints.into_iter();
    let taints = written.map(|taint| format!("{}={}:{}", taint.key, taint.value.unwrap_or_default(), taint.effect));
    NodeSight {
        taints: taints.collect(),
        name: node.metadata.name.unwrap_or_default(),
        group: group.unwrap_or_default(),
        ready: conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
    }
}

fn pod(pod: Pod) -> PodSight {
    let leaving = pod.metadata.deletion_timestamp.is_some();
    let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
    PodSight {
        name: pod.metadata.name.unwrap_or_default(),
        app: pod
            .metadata
            .labels
            .unwrap_or_default()
            .remove("app")
            .unwrap_or_default(),
        node: pod.spec.and_then(|spec| spec.node_name),
        running: phase == "Running" && !leaving,
    }
}
