//! A Node as the API sends it (many kilobytes) to the few facts that are kept of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use crate::domain::ids::NodeName;
use crate::domain::moment::UnixSeconds;
use crate::domain::node::{NodeRecord, Resources};

/// A Node as far as it is read here. The rest, which is most of it, is passed over; the whole type would hold it all
/// while a list comes in, and is a part of the program that nothing else needs.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Node)]
pub(super) struct ReadNode {
    #[serde(default, deserialize_with = "read_metadata")]
    metadata: ObjectMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Spec {
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    capacity: Option<Resources>,
    allocatable: Option<Resources>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

/// Metadata in the form that kube wants it in, with the fields that it and this module look at.
fn read_metadata<'de, D: Deserializer<'de>>(metadata: D) -> Result<ObjectMeta, D::Error> {
    let read = Metadata::deserialize(metadata)?;
    Ok(ObjectMeta {
        name: read.name,
        uid: read.uid,
        resource_version: read.resource_version,
        creation_timestamp: read.creation_timestamp,
        labels: read.labels,
        ..ObjectMeta::default()
    })
}

/// The facts of `node`; `None` if it has no name, which no API server sends.
pub(super) fn node_record(node: ReadNode) -> Option<NodeRecord> {
    let ReadNode { metadata, spec, status } = node;
    let status = status.unwrap_or_default();
    Some(NodeRecord {
        name: NodeName::from(metadata.name?.as_str()),
        uid: metadata.uid.unwrap_or_default(),
        provider_id: spec.and_then(|spec| spec.provider_id).unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default().into(),
        ready: is_ready(&status),
        capacity: Arc::new(status.capacity.unwrap_or_default()),
        allocatable: Arc::new(status.allocatable.unwrap_or_default()),
        created_at: metadata
            .creation_timestamp
            .map(|created| UnixSeconds(created.0.as_second())),
    })
}

/// Whether the Ready condition is True. Unknown (the kubelet fell silent) is not ready.
fn is_ready(status: &Status) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions
        .filter(|condition| condition.type_ == "Ready")
        .any(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::node::NodeLabels;
    use crate::domain::vm::Architecture;

    fn record(node: Value) -> Option<NodeRecord> {
        node_record(serde_json::from_value(node).unwrap())
    }

    #[test]
    fn a_node_of_k3s_becomes_its_facts() {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": "g-1-abcd1234", "uid": "5d1f", "resourceVersion": "7",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": {"slicer/hostgroup": "g", "kubernetes.io/arch": "amd64", "team": "blue"},
                "annotations": {"k3s.io/node-args": "[]"}
            },
            "spec": {"providerID": "slicer://g/abcd1234", "podCIDR": "10.42.1.0/24"},
            "status": {
                "capacity": {"cpu": "2", "memory": "4024136Ki", "pods": "110"},
                "allocatable": {"cpu": "2", "memory": "4024000Ki"},
                "conditions": [
                    {"type": "MemoryPressure", "status": "False"},
                    {"type": "Ready", "status": "True"}
                ],
                "images": [{"names": ["a"], "sizeBytes": 1}]
            }
        });
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let expected = NodeRecord {
            name: NodeName::from("g-1-abcd1234"),
            uid: "5d1f".to_owned(),
            provider_id: "slicer://g/abcd1234".to_owned(),
            labels: NodeLabels {
                host_group: Some("g".to_owned()),
                arch: Some(Architecture::Amd64),
                ..NodeLabels::default()
            },
            capacity: Arc::new(text(&[("cpu", "2"), ("memory", "4024136Ki"), ("pods", "110")])),
            allocatable: Arc::new(text(&[("cpu", "2"), ("memory", "4024000Ki")])),
            ready: true,
            created_at: Some(UnixSeconds(1_767_323_045)),
        };
        assert_eq!(record(node), Some(expected));
    }

    #[test]
    fn a_node_that_has_just_registered_is_not_ready_and_knows_little() {
        let record = record(json!({"metadata": {"name": "n"}})).unwrap();
        assert!(!record.ready);
        assert_eq!((record.provider_id.as_str(), record.uid.as_str()), ("", ""));
        assert_eq!(record.created_at, None);
        assert!(record.labels == NodeLabels::default() && record.capacity.is_empty() && record.allocatable.is_empty());
    }

    #[test]
    fn only_a_ready_condition_that_is_true_makes_a_node_ready() {
        for (kind, status, ready) in [
            ("Ready", "True", true),
            ("Ready", "False", false),
            ("Ready", "Unknown", false),
            ("DiskPressure", "True", false),
        ] {
            let conditions = json!([{"type": kind, "status": status}]);
            let node = json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
            assert_eq!(record(node).unwrap().ready, ready, "{kind}={status}");
        }
    }

    #[test]
    fn a_node_without_a_name_is_no_node() {
        assert_eq!(record(json!({"metadata": {}})), None);
    }
}
