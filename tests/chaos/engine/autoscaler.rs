//! A client that makes the calls of a cluster-autoscaler, over real gRPC messages, and holds each answer against what
//! the contract says of that call.

use std::collections::BTreeSet;
use std::sync::Arc;

use slicer_cloud_provider::domain::ids::InstanceId;
use slicer_cloud_provider::grpc::Service;
use slicer_cloud_provider::grpc::pb::cloud_provider_client::CloudProviderClient;
use slicer_cloud_provider::grpc::pb::cloud_provider_server::CloudProviderServer;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState;
use slicer_cloud_provider::grpc::pb::{self, ExternalGrpcNode, Instance};
use slicer_cloud_provider::provider::Provider;
use tonic::{Code, Status};

use super::ledger::Ledger;
use super::time::until;
use super::{GROUPS, MAX};

/// The client.
pub(super) struct Autoscaler {
    client: CloudProviderClient<CloudProviderServer<Service>>,
    ledger: Ledger,
}

/// A group as two calls in the same instant show it.
pub(super) struct Seen {
    pub(super) target: usize,
    pub(super) instances: Vec<Instance>,
}

impl Seen {
    pub(super) fn ids(&self) -> BTreeSet<InstanceId> {
        self.instances.iter().map(id).collect()
    }

    /// Instances that are not being deleted.
    pub(super) fn live(&self) -> BTreeSet<InstanceId> {
        let live = self.instances.iter().filter(|instance| !is_deleting(instance));
        live.map(id).collect()
    }

    pub(super) fn failed(&self) -> Vec<InstanceId> {
        let failed = self.instances.iter().filter(|instance| error_code(instance).is_some());
        failed.map(id).collect()
    }
}

pub(super) fn id(instance: &Instance) -> InstanceId {
    InstanceId::adopted(&instance.id)
}

pub(super) fn state(instance: &Instance) -> InstanceState {
    instance
        .status
        .as_ref()
        .map_or(InstanceState::Unspecified, pb::InstanceStatus::instance_state)
}

pub(super) fn is_deleting(instance: &Instance) -> bool {
    state(instance) == InstanceState::InstanceDeleting
}

pub(super) fn error_code(instance: &Instance) -> Option<&str> {
    let error = instance.status.as_ref()?.error_info.as_ref()?;
    Some(&error.error_code)
}

/// What the cluster-autoscaler makes of an instance without a Node.
pub(super) fn fake_node(id: &InstanceId) -> ExternalGrpcNode {
    ExternalGrpcNode {
        provider_id: id.to_string(),
        name: id.to_string(),
        ..ExternalGrpcNode::default()
    }
}

/// A read must never fail.
fn read<T>(call: &str, answer: Result<tonic::Response<T>, Status>) -> Result<T, String> {
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| format!("{call} answered {:?}: {}", status.code(), status.message()))
}

impl Autoscaler {
    pub(super) fn of(provider: Arc<Provider>, ledger: Ledger) -> Self {
        Self {
            client: CloudProviderClient::new(CloudProviderServer::new(Service::new(provider))),
            ledger,
        }
    }

    pub(super) async fn see(&mut self, group: &str) -> Result<Seen, String> {
        let id = group.to_owned();
        let answer = self.client.node_group_nodes(pb::NodeGroupNodesRequest { id }).await;
        let instances = read("NodeGroupNodes", answer)?.instances;
        let id = group.to_owned();
        let request = pb::NodeGroupTargetSizeRequest { id };
        let target = read("TargetSize", self.client.node_group_target_size(request).await)?.target_size;
        Ok(Seen {
            target: usize::try_from(target).map_err(|_| format!("{group} has the target size {target}"))?,
            instances,
        })
    }

    pub(super) async fn refresh(&mut self) -> Result<(), String> {
        read("Refresh", self.client.refresh(pb::RefreshRequest {}).await).map(drop)
    }

    /// The reads of a loop. Every group is listed, with its limits and a template.
    pub(super) async fn run_loop(&mut self) -> Result<(), String> {
        self.refresh().await?;
        let answer = self.client.node_groups(pb::NodeGroupsRequest {}).await;
        let groups = read("NodeGroups", answer)?.node_groups;
        if groups.len() != GROUPS.len() || groups.iter().any(|group| usize::try_from(group.max_size) != Ok(MAX)) {
            return Err(format!("NodeGroups listed {groups:?}"));
        }
        for group in groups {
            let id = group.id.clone();
            let answer = self
                .client
                .node_group_template_node_info(pb::NodeGroupTemplateNodeInfoRequest { id });
            let template = read("TemplateNodeInfo", answer.await)?;
            if template.node_bytes.is_empty() {
                return Err(format!("{} has an empty template", group.id));
            }
        }
        let answer = self.client.gpu_label(pb::GpuLabelRequest {}).await;
        read("GPULabel", answer)?;
        let answer = self
            .client
            .get_available_gpu_types(pb::GetAvailableGpuTypesRequest {})
            .await;
        read("GetAvailableGPUTypes", answer).map(drop)
    }

    /// The group that a node is said to be of; empty for none.
    pub(super) async fn group_of(&mut self, node: ExternalGrpcNode) -> Result<String, String> {
        let request = pb::NodeGroupForNodeRequest { node: Some(node) };
        let answer = self.client.node_group_for_node(request).await;
        Ok(read("NodeGroupForNode", answer)?
            .node_group
            .map_or_else(String::new, |group| group.id))
    }

    pub(super) async fn increase(&mut self, group: &str, delta: i32) -> Result<(), String> {
        let before = self.see(group).await?;
        let id = group.to_owned();
        let request = pb::NodeGroupIncreaseSizeRequest { delta, id };
        let answer = self.client.node_group_increase_size(request).await;
        let after = self.see(group).await?;
        let wanted = usize::try_from(delta)
            .ok()
            .filter(|wanted| *wanted > 0 && before.target + wanted <= MAX);
        let added = wanted.unwrap_or(0);
        if answer.is_ok() != wanted.is_some() || after.target != before.target + added {
            return Err(format!(
                "IncreaseSize({group}, {delta}) answered {answer:?} and moved the target from {} to {}",
                before.target, after.target
            ));
        }
        let new: Vec<InstanceId> = after.ids().difference(&before.ids()).cloned().collect();
        let mut book = self.ledger.book();
        book.counts
            .add("instances ordered", u64::try_from(new.len()).unwrap_or(u64::MAX));
        for id in new {
            if !book.given.insert(id.clone()) {
                return Err(format!("{id} was given a second time"));
            }
        }
        Ok(())
    }

    pub(super) async fn decrease(&mut self, group: &str, delta: i32) -> Result<(), String> {
        let before = self.see(group).await?;
        let id = group.to_owned();
        let request = pb::NodeGroupDecreaseTargetSizeRequest { delta, id };
        let answer = self.client.node_group_decrease_target_size(request).await;
        let after = self.see(group).await?;
        let given_up: Vec<InstanceId> = before.live().difference(&after.live()).cloned().collect();
        let is_ok = answer.is_ok() == (delta < 0);
        let most = usize::try_from(delta.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        if !is_ok || given_up.len() > most || after.target + given_up.len() != before.target {
            return Err(format!(
                "DecreaseTargetSize({group}, {delta}) answered {answer:?} and moved the target from {} to {}",
                before.target, after.target
            ));
        }
        let was_running = |id: &InstanceId| {
            let of_id = before.instances.iter().find(|instance| instance.id == id.as_str());
            of_id.map(state) == Some(InstanceState::InstanceRunning)
        };
        if given_up.iter().any(was_running) {
            return Err(format!("DecreaseTargetSize({group}, {delta}) touched a VM"));
        }
        self.ledger
            .book()
            .counts
            .add("launches given up", u64::try_from(given_up.len()).unwrap_or(u64::MAX));
        self.ledger.ask(given_up);
        Ok(())
    }

    /// Deletes instances; they are out of the target when the call returns.
    pub(super) async fn delete(&mut self, group: &str, ids: &BTreeSet<InstanceId>) -> Result<(), String> {
        self.ledger.ask(ids.iter().cloned());
        let before = self.see(group).await?;
        let request = pb::NodeGroupDeleteNodesRequest {
            id: group.to_owned(),
            nodes: ids.iter().map(fake_node).collect(),
        };
        let mut client = self.client.clone();
        let answer = until(client.node_group_delete_nodes(request)).await;
        let after = self.see(group).await?;
        let leftover: Vec<_> = after.live().intersection(ids).cloned().collect();
        if answer.is_err() || !leftover.is_empty() {
            return Err(format!(
                "DeleteNodes({group}) answered {answer:?} and left {leftover:?}"
            ));
        }
        let gone = before.live().intersection(ids).count();
        self.ledger
            .book()
            .counts
            .add("instances deleted", u64::try_from(gone).unwrap_or(u64::MAX));
        Ok(())
    }

    /// A batch with a node that is not of the group changes nothing.
    pub(super) async fn delete_with_a_stranger(&mut self, group: &str, stranger: &str) -> Result<(), String> {
        let before = self.see(group).await?;
        let mut nodes: Vec<ExternalGrpcNode> = before.ids().iter().map(fake_node).collect();
        nodes.push(fake_node(&InstanceId::adopted(stranger)));
        let request = pb::NodeGroupDeleteNodesRequest {
            id: group.to_owned(),
            nodes,
        };
        let answer = self.client.node_group_delete_nodes(request).await;
        let after = self.see(group).await?;
        let refused =
            answer.is_err_and(|status| status.code() == Code::InvalidArgument || status.code() == Code::NotFound);
        if !refused || after.live() != before.live() {
            return Err(format!(
                "DeleteNodes({group}) with {stranger} among them was not refused whole"
            ));
        }
        Ok(())
    }
}
