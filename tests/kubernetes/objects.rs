//! What the fake API server does with single objects: create, get, patch and, but for Nodes, delete; and the pods of a
//! Node. What is watched is not here.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Value, json};

use super::{Cluster, FakeApi, ok, status};

pub(super) const PODS: &str = "/api/v1/pods";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const NODES: &str = "/api/v1/nodes";

impl FakeApi {
    /// Adds or replaces an object.
    pub(crate) fn put_object(&self, path: &str, object: Value) {
        self.cluster().objects.insert(path.to_owned(), object);
    }

    /// What is at this path now; a Node, too.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.cluster().find(path).cloned()
    }

    pub(crate) fn remove_object(&self, path: &str) {
        self.cluster().objects.remove(path);
    }
}

impl Cluster {
    fn find(&self, path: &str) -> Option<&Value> {
        match path.strip_prefix(NODES) {
            Some(name) => self.nodes.get(name.trim_start_matches('/')),
            None => self.objects.get(path),
        }
    }

    pub(super) fn get(&self, path: &str) -> Response {
        self.find(path)
            .map_or_else(|| status(404, "NotFound"), |object| ok(object.clone()))
    }

    pub(super) fn create(&mut self, collection: &str, mut object: Value) -> Response {
        if let Some(beginning) = object["metadata"]["generateName"].as_str() {
            object["metadata"]["name"] = json!(format!("{beginning}{}", self.resource_version));
        }
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.find(&path).is_some() {
            return status(409, "AlreadyExists");
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.resource_version));
        ok(self.store(&path, "ADDED", object))
    }

    pub(super) fn patch(&mut self, path: &str, patch: &Value) -> Response {
        let path = path.trim_end_matches("/status");
        let Some(mut object) = self.find(path).cloned() else {
            return status(404, "NotFound");
        };
        let uid = patch.pointer("/metadata/uid");
        if uid.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
            return status(409, "Conflict");
        }
        merge(&mut object, patch);
        ok(self.store(path, "MODIFIED", object))
    }

    fn store(&mut self, path: &str, event: &str, mut object: Value) -> Value {
        match path.strip_prefix(NODES) {
            Some(name) => {
                self.record(event, &mut object);
                let name = name.trim_start_matches('/').to_owned();
                self.nodes.insert(name, object.clone());
            }
            None => {
                self.resource_version += 1;
                self.objects.insert(path.to_owned(), object.clone());
            }
        }
        object
    }

    pub(super) fn remove_object(&mut self, path: &str, body: &Value) -> Response {
        let Some(object) = self.objects.get(path) else {
            return status(404, "NotFound");
        };
        let uid = body.pointer("/preconditions/uid");
        if uid.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
            return status(409, "Conflict");
        }
        self.objects.remove(path);
        ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
    }

    pub(super) fn list_pods(&self, query: &BTreeMap<String, String>) -> Response {
        let node = query["fieldSelector"].strip_prefix("spec.nodeName=").unwrap();
        let limit: usize = query["limit"].parse().unwrap();
        let start = query.get("continue").map_or(0, |token| token.parse().unwrap());
        let pods = self.objects.iter().filter(|(path, _)| path.contains("/pods/"));
        let of_node: Vec<_> = pods.filter(|(_, pod)| pod["spec"]["nodeName"] == node).collect();
        let items: Vec<_> = of_node.iter().skip(start).take(limit).map(|(_, pod)| pod).collect();
        let end = start + items.len();
        let more = (end < of_node.len()).then(|| end.to_string());
        ok(json!({"apiVersion": "v1", "kind": "PodList", "items": items,
                  "metadata": {"resourceVersion": self.resource_version.to_string(), "continue": more}}))
    }
}

/// As a strategic merge does it, for as much of it as is needed: lists of things with a type are merged by type.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(target), Value::Array(patch)) if patch.iter().any(|item| item.get("type").is_some()) => {
            for item in patch {
                target.retain(|old| old["type"] != item["type"]);
                target.push(item.clone());
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}
