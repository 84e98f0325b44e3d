//! The Kubernetes API with the Nodes of a fleet: the tests' fake API server, behind TLS as in K3s. Nothing changes here
//! during a measurement.

use std::path::Path;

use serde_json::{Value, json};
use slicer_cloud_provider::grpc::pb::ExternalGrpcNode;

use crate::Failure;
use crate::fake_api::FakeApi;
use crate::fleet::Fleet;

/// The API server, until this is dropped.
pub(crate) struct Cluster(FakeApi);

impl Cluster {
    /// Starts it with a Node for each VM.
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let api = FakeApi::encrypted();
        for number in 0..fleet.machines.len() {
            api.put(object(&fleet.node(number), number));
        }
        Self(api)
    }

    /// Writes a file that leads to it.
    pub(crate) fn write_kubeconfig(&self, file: &Path) -> Result<(), Failure> {
        std::fs::write(file, self.0.kubeconfig()).map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// The Node as the API shows it, with what a K3s agent reports.
fn object(node: &ExternalGrpcNode, number: usize) -> Value {
    let amounts = json!({"cpu": "2", "memory": "4024136Ki", "pods": "110", "ephemeral-storage": "25625876Ki",
                         "hugepages-1Gi": "0", "hugepages-2Mi": "0"});
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": format!("kubelet says {reason}"),
               "lastHeartbeatTime": "2026-01-02T03:04:05Z", "lastTransitionTime": "2026-01-02T03:04:05Z"})
    };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": node.name, "uid": format!("7d1f8a52-93c4-4c0e-8b11-{number:012}"),
            "creationTimestamp": "2026-01-02T03:04:05Z", "labels": node.labels, "annotations": node.annotations
        },
        "spec": {"providerID": node.provider_id, "podCIDR": "10.42.1.0/24", "podCIDRs": ["10.42.1.0/24"]},
        "status": {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady")
            ],
            "addresses": [{"type": "InternalIP", "address": "10.60.0.2"}, {"type": "Hostname", "address": node.name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": "7d1f8a5293c44c0e8b11", "systemUUID": "7d1f8a52-93c4-4c0e-8b11",
                "bootID": "f3b1", "kernelVersion": "6.1.90", "osImage": "Ubuntu 22.04.5 LTS",
                "containerRuntimeVersion": "containerd://2.1.5-k3s1.33", "kubeletVersion": "v1.33.6+k3s1",
                "kubeProxyVersion": "v1.33.6+k3s1", "operatingSystem": "linux", "architecture": "amd64"
            },
            "images": [{"names": ["docker.io/rancher/mirrored-pause:3.6"], "sizeBytes": 301_463}]
        }
    })
}
