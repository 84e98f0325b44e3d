//! The inside of simulated VMs that join a real Kubernetes API: each registers the Node that its userdata asks for and
//! keeps it ready as long as the VM lives. Runs no pods. For trying the project out, not for production.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::connect::{ClientConfig, ConnectError};
use super::timings::Timings;
use crate::domain::node::Taint;
use crate::simulator::{AgentPlan, GuestAgent, GuestVm, UserdataOutcome};

/// How often a Node says that it is ready. The controller manager gives up on one after 40 s by default.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// How many times registering is tried, and how long apart.
const ATTEMPTS: u32 = 30;
const RETRY: Duration = Duration::from_secs(1);
/// What a guest sees of its VM's memory, in percent: 4 GiB were seen as 4 024 136 KiB.
const VISIBLE_MEMORY_PERCENT: u64 = 95;
/// The disk of a VM.
const DISK_BYTES: u64 = 26_241_896_448;

/// Registers Nodes for simulated VMs.
#[derive(Clone)]
pub struct SimulatedAgent {
    nodes: Api<Node>,
    /// How long userdata takes before the agent registers.
    join_time: Duration,
}

impl std::fmt::Debug for SimulatedAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedAgent").finish_non_exhaustive()
    }
}

impl SimulatedAgent {
    /// Agents of the cluster that `config` names.
    ///
    /// # Errors
    /// No client can be made of `config`.
    pub fn new(config: &ClientConfig, join_time: Duration) -> Result<Self, ConnectError> {
        let client = super::client::for_requests(config, &Timings::default())?;
        Ok(Self {
            nodes: Api::all(client),
            join_time,
        })
    }

    async fn register(&self, vm: &GuestVm, plan: &AgentPlan) -> Result<(), kube::Error> {
        let node = serde_json::from_value(node_of(vm, plan)).map_err(kube::Error::SerdeError)?;
        match self.nodes.create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.report(vm, plan).await
    }

    async fn report(&self, vm: &GuestVm, plan: &AgentPlan) -> Result<(), kube::Error> {
        let status = Patch::Merge(json!({ "status": status_of(vm, plan) }));
        let patched = self
            .nodes
            .patch_status(&plan.node_name, &PatchParams::default(), &status)
            .await;
        patched.map(drop)
    }
}

#[async_trait]
impl GuestAgent for SimulatedAgent {
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome {
        tokio::time::sleep(self.join_time).await;
        let Some(plan) = AgentPlan::read(&vm.userdata, &vm.hostname) else {
            vm.console
                .write_line("userdata: not of slicer-cloud-provider, nothing to join");
            return UserdataOutcome::SUCCESS;
        };
        for _ in 0..ATTEMPTS {
            match self.register(vm, &plan).await {
                Ok(()) => {
                    vm.console
                        .write_line(&format!("userdata: joined as Node {}", plan.node_name));
                    return UserdataOutcome::SUCCESS;
                }
                Err(error) => vm.console.write_line(&format!("userdata: cannot register: {error}")),
            }
            tokio::time::sleep(RETRY).await;
        }
        UserdataOutcome { exit_code: Some(14) }
    }

    async fn live(&self, vm: &GuestVm) {
        let Some(plan) = AgentPlan::read(&vm.userdata, &vm.hostname) else {
            return;
        };
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            if let Err(error) = self.report(vm, &plan).await {
                vm.console.write_line(&format!("agent: cannot report: {error}"));
            }
        }
    }
}

fn node_of(vm: &GuestVm, plan: &AgentPlan) -> Value {
    let mut labels: BTreeMap<&str, &str> = plan.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    labels.insert("kubernetes.io/hostname", &plan.node_name);
    for prefix in [
        ("kubernetes.io/os", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "beta.kubernetes.io/arch"),
    ] {
        labels.insert(prefix.0, "linux");
        labels.insert(prefix.1, vm.arch.as_str());
    }
    let taints: Vec<Value> = plan
        .taints
        .iter()
        .filter_map(|taint| taint.parse::<Taint>().ok())
        .map(|taint| json!({ "key": taint.key, "value": taint.value, "effect": taint.effect.as_str() }))
        .collect();
    json!({
        "metadata": { "name": plan.node_name, "labels": labels },
        "spec": { "providerID": plan.provider_id, "taints": taints },
    })
}

fn status_of(vm: &GuestVm, plan: &AgentPlan) -> Value {
    let max_pods = plan
        .kubelet_args
        .iter()
        .find_map(|arg| arg.strip_prefix("max-pods="))
        .unwrap_or("110");
    let capacity = json!({
        "cpu": vm.cpus.to_string(),
        "memory": format!("{}Ki", vm.ram_bytes / 1024 / 100 * VISIBLE_MEMORY_PERCENT),
        "pods": max_pods,
        "ephemeral-storage": DISK_BYTES.to_string(),
    });
    let mut allocatable = capacity.clone();
    allocatable["ephemeral-storage"] = json!((DISK_BYTES / 100 * 95).to_string());
    let now = k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string();
    json!({
        "capacity": capacity,
        "allocatable": allocatable,
        "addresses": [{ "type": "InternalIP", "address": vm.ip }],
        "nodeInfo": {
            "architecture": vm.arch.as_str(), "operatingSystem": "linux", "kubeletVersion": "v0.0.0-simulated",
            "bootID": "", "containerRuntimeVersion": "simulated://0", "kernelVersion": "", "kubeProxyVersion": "",
            "machineID": "", "osImage": "simulated", "systemUUID": "",
        },
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Simulated", "message": "a simulated VM",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    })
}
