//! Which Nodes concern which group, worked out once for each change of the Node list.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::ports::{ClusterStatus, NodeSnapshot};
use crate::domain::group::GroupNodes;
use crate::domain::ids::{InstanceId, NodeGroupId, NodeName, PROVIDER_ID_PREFIX, parse_provider_id};
use crate::domain::node::NodeRecord;

#[derive(Debug, Default)]
struct OfGroup {
    own: Vec<Arc<NodeRecord>>,
    forked: Vec<Arc<NodeRecord>>,
}

/// The Node list, sorted by group.
#[derive(Debug)]
pub(super) struct NodeIndex {
    source: Arc<BTreeMap<NodeName, Arc<NodeRecord>>>,
    /// How far the list can be trusted.
    pub(super) status: ClusterStatus,
    groups: HashMap<NodeGroupId, OfGroup>,
}

impl NodeIndex {
    pub(super) fn new(snapshot: NodeSnapshot) -> Self {
        let mut groups: HashMap<NodeGroupId, OfGroup> = HashMap::new();
        for node in snapshot.nodes.values() {
            if node.labels.control_plane {
                continue;
            }
            if let Some((group, _)) = parse_provider_id(&node.provider_id) {
                groups.entry(group).or_default().own.push(Arc::clone(node));
            } else if let Some(group) = forked_group(node) {
                groups.entry(group).or_default().forked.push(Arc::clone(node));
            }
        }
        Self {
            source: snapshot.nodes,
            status: snapshot.status,
            groups,
        }
    }

    /// Whether it was made from this very snapshot.
    pub(super) fn is_of(&self, snapshot: &NodeSnapshot) -> bool {
        self.status == snapshot.status && Arc::ptr_eq(&self.source, &snapshot.nodes)
    }

    /// Whether the Node of this instance has registered.
    pub(super) fn has_own(&self, group: &NodeGroupId, id: &InstanceId) -> bool {
        let nodes = self.groups.get(group);
        nodes.is_some_and(|nodes| nodes.own.iter().any(|node| node.provider_id == id.as_str()))
    }

    pub(super) fn of_group(&self, group: &NodeGroupId) -> GroupNodes<'_> {
        let Some(nodes) = self.groups.get(group) else {
            return GroupNodes::default();
        };
        GroupNodes {
            own: nodes.own.iter().map(Arc::as_ref).collect(),
            forked: nodes.forked.iter().map(Arc::as_ref).collect(),
        }
    }
}

/// The group of a Node that the fork made: it carries the fork's labels and a provider ID that is not ours.
fn forked_group(node: &NodeRecord) -> Option<NodeGroupId> {
    let is_ours = node.provider_id.starts_with(PROVIDER_ID_PREFIX);
    if is_ours || node.provider_id.is_empty() || node.labels.hostname.is_none() {
        return None;
    }
    node.labels.host_group.as_deref()?.parse().ok()
}
