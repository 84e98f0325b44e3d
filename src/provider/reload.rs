//! How the provider gets its groups: at the start, at each reload of the configuration, and when a group that is no
//! longer configured has come to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::managed::{Connection, Gates, ManagedGroup};
use super::nodes::NodeIndex;
use super::secret::TokenSecret;
use super::{Clock, Journal, Parts, Provider, Shared, keeper};
use crate::config::{Config, GroupConfig};
use crate::domain::spec::Endpoint;

impl Provider {
    /// A provider for this configuration. Its jobs begin at once.
    ///
    /// # Errors
    /// A client for a host cannot be built; the text says which and why.
    pub fn start(config: &Config, parts: Parts) -> Result<Arc<Self>, String> {
        let index = NodeIndex::new(parts.cluster.nodes());
        let shared = Arc::new(Shared {
            settings: ArcSwap::from_pointee(config.global.clone()),
            index: ArcSwap::from_pointee(index),
            journal: Journal::new(parts.metrics, Arc::clone(&parts.cluster), parts.timings.quiet),
            cluster: parts.cluster,
            clock: Clock::start(),
            entropy: parts.entropy,
            timings: parts.timings,
            tracker: parts.tracker,
            shutdown: parts.shutdown,
        });
        let provider = Arc::new(Self {
            groups: ArcSwap::default(),
            changing_groups: Mutex::new(()),
            connect: parts.connect,
            shared,
        });
        provider.reconfigure(config)?;
        Ok(provider)
    }

    /// Takes over a configuration: new groups begin, changed ones go on under their new settings, and groups that are
    /// gone from it go on until they are empty, but do not grow.
    ///
    /// # Errors
    /// As [`Self::start`], or it is the configuration of another cluster; then everything is as it was.
    pub fn reconfigure(&self, config: &Config) -> Result<(), String> {
        self.refuse_other_cluster(config)?;
        let connections = self.connect_all(config)?;
        let _changing = self.changing_groups.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.groups.load_full();
        let mut groups = BTreeMap::new();
        let mut new_groups = Vec::new();
        self.shared.settings.store(Arc::new(config.global.clone()));
        for connection in connections {
            let id = connection.config.spec.id.clone();
            let managed = match known.get(&id) {
                Some(managed) => {
                    managed.reconnect(connection);
                    Arc::clone(managed)
                }
                None => {
                    let cluster = config.global.cluster.clone();
                    let ended = self.shared.shutdown.child_token();
                    let managed = Arc::new(ManagedGroup::new(connection, cluster, ended));
                    new_groups.push(Arc::clone(&managed));
                    managed
                }
            };
            groups.insert(id, managed);
        }
        for (id, managed) in known.iter() {
            if !groups.contains_key(id) {
                tracing::warn!(group = %id, "node group is no longer configured; it is listed until its last VM is gone");
                managed.retire();
                groups.insert(id.clone(), Arc::clone(managed));
            }
        }
        self.groups.store(Arc::new(groups));
        for managed in new_groups {
            self.shared.journal.metrics().announce(&managed.id);
            keeper::take_over_nodes(&self.shared, &managed);
            let (shared, tracker) = (Arc::clone(&self.shared), self.shared.tracker.clone());
            tracker.spawn(keeper::run(shared, managed));
        }
        Ok(())
    }

    /// VMs carry the cluster's name in their tags: under another name, those that are there would be strangers.
    fn refuse_other_cluster(&self, config: &Config) -> Result<(), String> {
        let settings = self.shared.settings.load();
        let (known, wanted) = (&settings.cluster, &config.global.cluster);
        if known == wanted {
            return Ok(());
        }
        Err(format!(
            "the cluster's name (cluster-name, by default derived from k3s-url) cannot change from {known} to {wanted} \
             while the server runs: set cluster-name = {known} to keep its VMs, or restart to leave them behind"
        ))
    }

    fn connect_all(&self, config: &Config) -> Result<Vec<Connection>, String> {
        let mut gates: BTreeMap<String, Arc<Gates>> = BTreeMap::new();
        let mut connections = Vec::new();
        for group in &config.groups {
            let host = (self.connect)(group, &config.global)
                .map_err(|error| format!("node group {}: {error}", group.spec.id))?;
            let gates = gates
                .entry(group.endpoint.to_string())
                .or_insert_with(|| self.gates_of(&group.endpoint, &config.groups));
            let shared = &self.shared;
            connections.push(Connection {
                config: group.clone(),
                token_secret: Arc::new(TokenSecret::new(
                    Arc::clone(&host),
                    shared.clock,
                    shared.timings.secret_age,
                )),
                host,
                gates: Arc::clone(gates),
            });
        }
        Ok(connections)
    }

    /// The gates of a host: those that it has, as long as its limit is the same, so that what waits there and what is
    /// under way counts over a reload.
    fn gates_of(&self, endpoint: &Endpoint, groups: &[GroupConfig]) -> Arc<Gates> {
        let limit = concurrency_at(endpoint, groups);
        let known = self.groups.load();
        let mut connections = known.values().map(|managed| managed.connection.load_full());
        let same = |known: &Arc<Connection>| known.config.endpoint == *endpoint && known.gates.create_limit == limit;
        connections
            .find(same)
            .map_or_else(|| Arc::new(Gates::new(limit)), |known| Arc::clone(&known.gates))
    }

    /// Ends the groups that are no longer configured and have nothing left to look after.
    pub(super) fn drop_empty_retired_groups(&self) {
        if !self.groups.load().values().any(|managed| self.is_over(managed)) {
            return;
        }
        let _changing = self.changing_groups.lock().unwrap_or_else(PoisonError::into_inner);
        let groups = self.groups.load_full();
        let (over, left): (Vec<_>, Vec<_>) = groups.iter().partition(|(_, managed)| self.is_over(managed));
        let left = left.into_iter().map(|(id, managed)| (id.clone(), Arc::clone(managed)));
        self.groups.store(Arc::new(left.collect()));
        for (id, managed) in over {
            tracing::info!(group = %id, "node group is gone: it is no longer configured and has no VM left");
            managed.ended.cancel();
        }
    }

    /// Neither an instance nor a Node is left of a group that is no longer configured. (Its Nodes outlive their VMs
    /// for as long as the Kubernetes API cannot be reached.)
    fn is_over(&self, managed: &ManagedGroup) -> bool {
        managed.is_retired()
            && managed.state().group.slots().next().is_none()
            && self.shared.node_index().of_group(&managed.id).own.is_empty()
    }
}

/// The smallest `create-concurrency` of the groups that share a host counts for all of them.
fn concurrency_at(endpoint: &Endpoint, groups: &[GroupConfig]) -> usize {
    let of_host = groups.iter().filter(|group| group.endpoint == *endpoint);
    of_host.map(|group| group.create_concurrency.get()).min().unwrap_or(1)
}
