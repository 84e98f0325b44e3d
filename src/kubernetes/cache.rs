//! The Nodes as the events of the watch leave them. Pure: it neither waits nor reads a clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::NodeName;
use crate::domain::node::{NodeRecord, Resources};

/// Nodes by name.
pub(super) type Nodes = BTreeMap<NodeName, Arc<NodeRecord>>;

/// The working copy behind the published snapshots.
///
/// A record that says the same as the one already held replaces nothing, so that heartbeats cause no new snapshot.
/// Amounts are shared with the Node before, if it had the same ones: a group's Nodes come one after another in a list,
/// and most have equal VMs.
#[derive(Debug, Default)]
pub(super) struct NodeCache {
    /// Shared with the last snapshot until something changes.
    nodes: Arc<Nodes>,
    listed: Nodes,
    changed: bool,
    last_capacity: Arc<Resources>,
    last_allocatable: Arc<Resources>,
}

impl NodeCache {
    /// A new list begins. What is held stays valid until the list is complete.
    pub(super) fn begin_list(&mut self) {
        self.listed.clear();
    }

    /// One Node of the list that has begun.
    pub(super) fn list_item(&mut self, mut record: NodeRecord) {
        self.share_amounts(&mut record);
        let record = match self.nodes.get(&record.name) {
            Some(held) if **held == record => Arc::clone(held),
            _ => Arc::new(record),
        };
        self.listed.insert(record.name.clone(), record);
    }

    /// The list is complete: what it did not mention is gone.
    pub(super) fn finish_list(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        self.changed |= listed != *self.nodes;
        self.nodes = Arc::new(listed);
    }

    /// A Node is new or has changed.
    pub(super) fn apply(&mut self, mut record: NodeRecord) {
        if self.nodes.get(&record.name).is_some_and(|held| **held == record) {
            return;
        }
        self.share_amounts(&mut record);
        Arc::make_mut(&mut self.nodes).insert(record.name.clone(), Arc::new(record));
        self.changed = true;
    }

    fn share_amounts(&mut self, record: &mut NodeRecord) {
        share(&mut self.last_capacity, &mut record.capacity);
        share(&mut self.last_allocatable, &mut record.allocatable);
    }

    /// A Node is gone.
    pub(super) fn remove(&mut self, name: &NodeName) {
        if self.nodes.contains_key(name) {
            Arc::make_mut(&mut self.nodes).remove(name);
            self.changed = true;
        }
    }

    /// Whether [`Self::take_changes`] would give a new index.
    pub(super) fn has_changes(&self) -> bool {
        self.changed
    }

    /// The index if it has changed since the last call. It is copied by the next change, not before.
    pub(super) fn take_changes(&mut self) -> Option<Arc<Nodes>> {
        std::mem::take(&mut self.changed).then(|| Arc::clone(&self.nodes))
    }
}

/// Replaces `amounts` by the last ones if they are equal, and else remembers them as the last.
fn share(last: &mut Arc<Resources>, amounts: &mut Arc<Resources>) {
    if *last == *amounts {
        *amounts = Arc::clone(last);
    } else {
        *last = Arc::clone(amounts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::node::NodeLabels;

    fn node(name: &str, ready: bool) -> NodeRecord {
        NodeRecord {
            name: NodeName::from(name),
            uid: format!("uid-{name}"),
            provider_id: String::new(),
            labels: NodeLabels::default(),
            capacity: Arc::default(),
            allocatable: Arc::default(),
            ready,
            created_at: None,
        }
    }

    fn listed(names: &[&str]) -> NodeCache {
        let mut cache = NodeCache::default();
        relist(&mut cache, names);
        cache
    }

    fn relist(cache: &mut NodeCache, names: &[&str]) {
        cache.begin_list();
        for name in names {
            cache.list_item(node(name, true));
        }
        cache.finish_list();
    }

    fn names(nodes: &Nodes) -> Vec<&str> {
        nodes.keys().map(NodeName::as_str).collect()
    }

    #[test]
    fn a_list_replaces_everything_once_it_is_complete() {
        let mut cache = listed(&["a", "b"]);
        assert_eq!(names(&cache.take_changes().unwrap()), ["a", "b"]);
        cache.begin_list();
        cache.list_item(node("c", true));
        assert_eq!(cache.take_changes(), None, "half a list is no news");
        cache.finish_list();
        assert_eq!(names(&cache.take_changes().unwrap()), ["c"]);
    }

    #[test]
    fn a_list_that_was_broken_off_leaves_nothing_behind() {
        let mut cache = listed(&["a"]);
        cache.begin_list();
        cache.list_item(node("ghost", true));
        relist(&mut cache, &["a", "b"]);
        assert_eq!(names(&cache.take_changes().unwrap()), ["a", "b"]);
    }

    #[test]
    fn the_same_list_again_is_no_change_and_keeps_the_records() {
        let mut cache = listed(&["a"]);
        let before = cache.take_changes().unwrap();
        relist(&mut cache, &["a"]);
        assert!(!cache.has_changes());
        cache.apply(node("b", true));
        let after = cache.take_changes().unwrap();
        let name = NodeName::from("a");
        assert!(Arc::ptr_eq(&before[&name], &after[&name]));
    }

    #[test]
    fn nodes_of_equal_vms_share_their_amounts() {
        let with_cpus = |name: &str, cpus: &str| NodeRecord {
            capacity: Arc::new(Resources::from([("cpu".to_owned(), cpus.to_owned())])),
            ..node(name, true)
        };
        let mut cache = NodeCache::default();
        cache.begin_list();
        for (name, cpus) in [("a", "2"), ("b", "2"), ("c", "4")] {
            cache.list_item(with_cpus(name, cpus));
        }
        cache.finish_list();
        let nodes = cache.take_changes().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| &nodes[&NodeName::from(name)].capacity);
        assert!(Arc::ptr_eq(a, b) && c["cpu"] == "4");
    }

    #[test]
    fn a_heartbeat_is_no_change() {
        let mut cache = listed(&["a"]);
        cache.take_changes();
        cache.apply(node("a", true));
        assert!(!cache.has_changes());
        cache.apply(node("a", false));
        assert!(!cache.take_changes().unwrap()[&NodeName::from("a")].ready);
    }

    #[test]
    fn a_removed_node_is_gone_and_removing_it_again_is_no_change() {
        let mut cache = listed(&["a", "b"]);
        cache.take_changes();
        cache.remove(&NodeName::from("a"));
        assert_eq!(names(&cache.take_changes().unwrap()), ["b"]);
        cache.remove(&NodeName::from("a"));
        assert!(!cache.has_changes());
    }
}
