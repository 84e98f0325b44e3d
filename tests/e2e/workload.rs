//! What is deployed: pods that need nodes.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

/// A deployment whose pods fill a VM of 2 CPUs each, unless said otherwise.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    replicas: u32,
    node_selector: BTreeMap<&'static str, &'static str>,
    tolerations: Vec<Value>,
    ephemeral_storage: Option<&'static str>,
}

impl Workload {
    /// `replicas` pods, each of which needs a VM of its own.
    pub(crate) fn new(name: &'static str, replicas: u32) -> Self {
        Self {
            name,
            replicas,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            ephemeral_storage: None,
        }
    }

    pub(crate) fn on(mut self, label: &'static str, value: &'static str) -> Self {
        self.node_selector.insert(label, value);
        self
    }

    pub(crate) fn tolerating(mut self, key: &str, value: &str) -> Self {
        self.tolerations
            .push(json!({ "key": key, "value": value, "effect": "NoSchedule" }));
        self
    }

    pub(crate) fn with_disk(mut self, size: &'static str) -> Self {
        self.ephemeral_storage = Some(size);
        self
    }

    pub(crate) fn deployment(&self) -> Deployment {
        let labels = json!({ "app": self.name });
        let mut requests = json!({ "cpu": "1500m", "memory": "1Gi" });
        if let Some(size) = self.ephemeral_storage {
            requests["ephemeral-storage"] = json!(size);
        }
        let described = json!({
            "metadata": { "name": self.name },
            "spec": {
                "replicas": self.replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "containers": [{ "name": "pause", "image": "pause", "resources": { "requests": requests } }],
                        "nodeSelector": self.node_selector,
                        "tolerations": self.tolerations,
                        "terminationGracePeriodSeconds": 0,
                    },
                },
            },
        });
        serde_json::from_value(described).unwrap()
    }
}
