//! The Kubernetes cluster: Nodes that agents register, an API that is away at times and refuses removals at others,
//! and Nodes that are none of the provider's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fastrand::Rng;
use slicer_cloud_provider::domain::ids::NodeName;
use slicer_cloud_provider::domain::node::NodeRecord;
use slicer_cloud_provider::provider::ports::{Cluster, ClusterError, ClusterStatus, NodeSnapshot};
use slicer_cloud_provider::simulator::AgentPlan;

use super::ledger::Ledger;

#[derive(Debug)]
struct State {
    nodes: BTreeMap<NodeName, Arc<NodeRecord>>,
    /// The Nodes whose kubelets run, each with the host and the hostname of its VM.
    alive: BTreeMap<(usize, String), NodeName>,
    /// As the API showed them last.
    snapshot: Arc<BTreeMap<NodeName, Arc<NodeRecord>>>,
    api_is_up: bool,
    /// How many of a hundred removals fail.
    refusals: u8,
    beats: u64,
    dice: Rng,
}

/// The cluster; clones are handles on the same one.
#[derive(Clone, Debug)]
pub(super) struct FakeCluster {
    state: Arc<Mutex<State>>,
    ledger: Ledger,
}

impl FakeCluster {
    pub(super) fn new(dice: Rng, ledger: Ledger) -> Self {
        let state = State {
            nodes: BTreeMap::new(),
            alive: BTreeMap::new(),
            snapshot: Arc::default(),
            api_is_up: true,
            refusals: 20,
            beats: 0,
            dice,
        };
        let cluster = Self {
            state: Arc::new(Mutex::new(state)),
            ledger,
        };
        for stranger in STRANGERS {
            let node = record(stranger, &format!("k3s://{stranger}"), BTreeMap::new());
            cluster.state().nodes.insert(node.name.clone(), Arc::new(node));
        }
        cluster.state().publish();
        cluster
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kubelet registers its Node, and lives.
    pub(super) fn register(&self, host: usize, plan: &AgentPlan) {
        let node = record(&plan.node_name, &plan.provider_id, plan.labels.clone());
        let hostname = plan.labels.get("slicer/hostname").cloned().unwrap_or_default();
        let mut state = self.state();
        state.alive.insert((host, hostname), node.name.clone());
        state.nodes.insert(node.name.clone(), Arc::new(node));
        state.publish();
        drop(state);
        self.ledger.count("Nodes registered");
    }

    /// The VM of a kubelet is gone. Its Node stays, and says that it is ready until somebody notices.
    pub(super) fn silence(&self, host: usize, hostname: &str) {
        self.state().alive.remove(&(host, hostname.to_owned()));
    }

    /// The node controller notices whose kubelet is silent.
    pub(super) fn notice_silence(&self) {
        let mut state = self.state();
        let alive: BTreeSet<NodeName> = state.alive.values().cloned().collect();
        for (name, node) in &mut state.nodes {
            if !alive.contains(name) && !is_stranger(name) {
                Arc::make_mut(node).ready = false;
            }
        }
        state.publish();
    }

    pub(super) fn set_api(&self, is_up: bool) {
        let mut state = self.state();
        state.api_is_up = is_up;
        state.publish();
    }

    pub(super) fn set_refusals(&self, of_a_hundred: u8) {
        self.state().refusals = of_a_hundred;
    }

    /// The provider IDs of all Nodes that are ours, as the API shows them.
    pub(super) fn provider_ids(&self) -> BTreeSet<String> {
        let nodes = Arc::clone(&self.state().snapshot);
        let ours = nodes.values().filter(|node| !is_stranger(&node.name));
        ours.map(|node| node.provider_id.clone()).collect()
    }

    pub(super) fn strangers_left(&self) -> usize {
        self.state().nodes.keys().filter(|name| is_stranger(name)).count()
    }
}

/// Nodes that are not ours.
pub(super) const STRANGERS: [&str; 2] = ["control-plane", "nas"];

fn is_stranger(name: &NodeName) -> bool {
    STRANGERS.contains(&name.as_str())
}

impl State {
    fn publish(&mut self) {
        if self.api_is_up {
            self.snapshot = Arc::new(self.nodes.clone());
        }
    }

    fn lives(&self, name: &NodeName) -> bool {
        self.alive.values().any(|alive| alive == name)
    }
}

fn record(name: &str, provider_id: &str, labels: BTreeMap<String, String>) -> NodeRecord {
    NodeRecord {
        name: NodeName::from(name),
        uid: format!("uid-{name}"),
        provider_id: provider_id.to_owned(),
        labels: labels.into(),
        capacity: Arc::default(),
        allocatable: Arc::default(),
        ready: true,
        created_at: None,
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    fn nodes(&self) -> NodeSnapshot {
        let state = self.state();
        NodeSnapshot {
            status: if state.api_is_up {
                ClusterStatus::Live
            } else {
                ClusterStatus::Stale
            },
            nodes: Arc::clone(&state.snapshot),
        }
    }

    async fn remove_node(&self, name: &NodeName, _: &str) -> Result<(), ClusterError> {
        let mut state = self.state();
        let refused = state.dice.u8(0..100) < state.refusals;
        if refused || !state.api_is_up {
            return Err(ClusterError {
                message: "the API server is busy".to_owned(),
            });
        }
        if state.nodes.remove(name).is_some() {
            if is_stranger(name) || state.lives(name) {
                self.ledger
                    .violation(format!("Node {name} was removed although it lives"));
            }
            self.ledger.count("Nodes removed");
        }
        state.publish();
        Ok(())
    }

    async fn last_heartbeat(&self, name: &NodeName) -> Result<Option<String>, ClusterError> {
        let mut state = self.state();
        if !state.api_is_up {
            return Err(ClusterError {
                message: "the API server is away".to_owned(),
            });
        }
        if state.lives(name) {
            state.beats += 1;
            return Ok(Some(state.beats.to_string()));
        }
        Ok(state.nodes.contains_key(name).then(|| "the last one".to_owned()))
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}
