//! A provider that was killed does nothing any more: its host clients and its cluster client are on a leash that is
//! cut. What it had sent goes on at the other end, as after a SIGKILL. On the way, requests are judged.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use slicer_cloud_provider::domain::failure::HostError;
use slicer_cloud_provider::domain::ids::{Hostname, InstanceId, NodeName};
use slicer_cloud_provider::domain::vm::{HostGroup, UserdataState, Vm, VmTags};
use slicer_cloud_provider::provider::ports::{Cluster, ClusterError, NodeSnapshot, SlicerHost, VmRequest};
use tokio_util::sync::CancellationToken;

use super::cluster::FakeCluster;
use super::hosts::Host;
use super::ledger::Ledger;

/// Ends in nothing once the life is over: the request is dropped where it stands, and nobody goes on.
async fn while_alive<T>(dead: &CancellationToken, request: impl Future<Output = T>) -> T {
    match dead.run_until_cancelled(request).await {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

/// The client of one host.
pub(super) struct LeashedHost {
    pub(super) client: Arc<dyn SlicerHost>,
    pub(super) host: Host,
    pub(super) ledger: Ledger,
    pub(super) dead: CancellationToken,
}

impl std::fmt::Debug for LeashedHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.host.socket)
    }
}

impl LeashedHost {
    fn judge_create(&self, request: &VmRequest) {
        let Some(tags) = VmTags::read(&request.tags) else {
            return self.ledger.violation("a VM without tags was asked for".to_owned());
        };
        let id = InstanceId::of_launch(&tags.node_group, &tags.launch);
        self.ledger.post(&id, &tags.launch);
        if self.host.ours().iter().any(|vm| vm.launch == tags.launch) {
            self.ledger
                .violation(format!("{id} was asked for although its VM is there"));
        }
    }

    fn judge_delete(&self, hostname: &Hostname) {
        self.ledger.count("deletes sent");
        let Some(vm) = self.host.our_vm(hostname.as_str()) else {
            if self.host.simulator.vm(hostname.as_str()).is_some() {
                self.ledger
                    .violation(format!("VM {hostname} of somebody else was deleted"));
            }
            return;
        };
        let is_second = self.host.doubles().contains(&vm.launch);
        if !is_second && !self.ledger.book().asked.contains(&vm.id()) {
            self.ledger
                .violation(format!("VM {hostname} of {} was deleted unasked", vm.id()));
        }
    }
}

#[async_trait]
impl SlicerHost for LeashedHost {
    async fn host_groups(&self) -> Result<Vec<HostGroup>, HostError> {
        while_alive(&self.dead, self.client.host_groups()).await
    }

    async fn list_vms(&self, host_group: &str, tag: Option<&str>) -> Result<Vec<Vm>, HostError> {
        while_alive(&self.dead, self.client.list_vms(host_group, tag)).await
    }

    async fn create_vm(&self, host_group: &str, request: &VmRequest) -> Result<Hostname, HostError> {
        let judged = async {
            self.judge_create(request);
            self.client.create_vm(host_group, request).await
        };
        while_alive(&self.dead, judged).await
    }

    async fn delete_vm(&self, host_group: &str, hostname: &Hostname) -> Result<(), HostError> {
        let judged = async {
            self.judge_delete(hostname);
            self.client.delete_vm(host_group, hostname).await
        };
        while_alive(&self.dead, judged).await
    }

    async fn ensure_secret(&self, name: &str, value: &SecretString) -> Result<(), HostError> {
        while_alive(&self.dead, self.client.ensure_secret(name, value)).await
    }

    async fn userdata_state(&self, hostname: &Hostname) -> Result<UserdataState, HostError> {
        while_alive(&self.dead, self.client.userdata_state(hostname)).await
    }

    async fn serial_log_tail(&self, hostname: &Hostname, lines: u32) -> Result<String, HostError> {
        while_alive(&self.dead, self.client.serial_log_tail(hostname, lines)).await
    }
}

/// The client of the cluster.
#[derive(Debug)]
pub(super) struct LeashedCluster {
    pub(super) cluster: FakeCluster,
    pub(super) dead: CancellationToken,
}

#[async_trait]
impl Cluster for LeashedCluster {
    fn nodes(&self) -> NodeSnapshot {
        self.cluster.nodes()
    }

    async fn remove_node(&self, name: &NodeName, uid: &str) -> Result<(), ClusterError> {
        while_alive(&self.dead, self.cluster.remove_node(name, uid)).await
    }

    async fn last_heartbeat(&self, name: &NodeName) -> Result<Option<String>, ClusterError> {
        while_alive(&self.dead, self.cluster.last_heartbeat(name)).await
    }

    fn server_version(&self) -> Option<String> {
        self.cluster.server_version()
    }
}
