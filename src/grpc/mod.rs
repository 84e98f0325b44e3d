//! The wire: the `externalgrpc` CloudProvider service. Decodes a request, calls the provider, encodes the answer;
//! status codes are chosen here and nowhere else. No rule about groups lives here.

mod calls;
mod codec;
mod convert;
mod deadline;
mod options;
mod pod;
mod record;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

pub use calls::CallsLayer;

use crate::domain::node::LABEL_GPU;
use crate::provider::Provider;
use convert::{node_query, period};
use deadline::deadline;
use status::to_status;

/// The generated messages and service of `proto/externalgrpc.proto`.
#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/clusterautoscaler.cloudprovider.v1.externalgrpc.rs"));

    /// The compiled proto, for the reflection service.
    pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/externalgrpc.fds"));
}

/// The generated messages of `proto/node.proto`.
#[allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all, clippy::pedantic)]
#[rustfmt::skip]
mod core_v1 {
    include!(concat!(env!("OUT_DIR"), "/slicercloudprovider.core.v1.rs"));
}

/// How much of the caller's deadline is left for the answer to travel.
const DEADLINE_MARGIN: Duration = Duration::from_millis(500);

/// The CloudProvider service.
#[derive(Clone, Debug)]
pub struct Service {
    provider: Arc<Provider>,
}

impl Service {
    /// The service in front of `provider`.
    #[must_use]
    pub fn new(provider: Arc<Provider>) -> Self {
        Self { provider }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::cloud_provider_server::CloudProvider for Service {
    async fn node_groups(&self, _: Request<pb::NodeGroupsRequest>) -> Answer<pb::NodeGroupsResponse> {
        let node_groups = self.provider.groups().into_iter().map(convert::node_group).collect();
        Ok(Response::new(pb::NodeGroupsResponse { node_groups }))
    }

    async fn node_group_for_node(
        &self,
        request: Request<pb::NodeGroupForNodeRequest>,
    ) -> Answer<pb::NodeGroupForNodeResponse> {
        let node = node_query(request.into_inner().node.unwrap_or_default());
        // An empty id is how "not ours" is said. Limits travel too: the client takes its minimum from here.
        let group = self
            .provider
            .group_for_node(&node)
            .map(convert::node_group)
            .unwrap_or_default();
        Ok(Response::new(pb::NodeGroupForNodeResponse {
            node_group: Some(group),
        }))
    }

    async fn pricing_node_price(
        &self,
        request: Request<pb::PricingNodePriceRequest>,
    ) -> Answer<pb::PricingNodePriceResponse> {
        let request = request.into_inner();
        let period = period(
            request.start_timestamp.or(request.start_time),
            request.end_timestamp.or(request.end_time),
        );
        let node = node_query(request.node.unwrap_or_default());
        let price = self
            .provider
            .node_price(&node, period)
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::PricingNodePriceResponse { price }))
    }

    async fn pricing_pod_price(
        &self,
        request: Request<pb::PricingPodPriceRequest>,
    ) -> Answer<pb::PricingPodPriceResponse> {
        let request = request.into_inner();
        let period = period(
            request.start_timestamp.or(request.start_time),
            request.end_timestamp.or(request.end_time),
        );
        let bytes = if request.pod_bytes.is_empty() {
            request.pod
        } else {
            request.pod_bytes
        };
        let demand = pod::demand(&bytes).map_err(|error| Status::invalid_argument(format!("not a Pod: {error}")))?;
        let price = self.provider.pod_price(demand, period);
        Ok(Response::new(pb::PricingPodPriceResponse { price }))
    }

    async fn gpu_label(&self, _: Request<pb::GpuLabelRequest>) -> Answer<pb::GpuLabelResponse> {
        let label = LABEL_GPU.to_owned();
        Ok(Response::new(pb::GpuLabelResponse { label }))
    }

    async fn get_available_gpu_types(
        &self,
        _: Request<pb::GetAvailableGpuTypesRequest>,
    ) -> Answer<pb::GetAvailableGpuTypesResponse> {
        let types = self.provider.gpu_types().into_iter();
        let gpu_types = types.map(|gpu| (gpu, prost_types::Any::default())).collect();
        Ok(Response::new(pb::GetAvailableGpuTypesResponse { gpu_types }))
    }

    /// The client calls this when it exits, for whatever reason: it says nothing about VMs.
    async fn cleanup(&self, _: Request<pb::CleanupRequest>) -> Answer<pb::CleanupResponse> {
        Ok(Response::new(pb::CleanupResponse {}))
    }

    async fn refresh(&self, _: Request<pb::RefreshRequest>) -> Answer<pb::RefreshResponse> {
        self.provider.refresh();
        Ok(Response::new(pb::RefreshResponse {}))
    }

    async fn node_group_target_size(
        &self,
        request: Request<pb::NodeGroupTargetSizeRequest>,
    ) -> Answer<pb::NodeGroupTargetSizeResponse> {
        let size = self
            .provider
            .target_size(&request.into_inner().id)
            .map_err(|error| to_status(&error))?;
        let target_size = i32::try_from(size).unwrap_or(i32::MAX);
        Ok(Response::new(pb::NodeGroupTargetSizeResponse { target_size }))
    }

    async fn node_group_increase_size(
        &self,
        request: Request<pb::NodeGroupIncreaseSizeRequest>,
    ) -> Answer<pb::NodeGroupIncreaseSizeResponse> {
        let request = request.into_inner();
        self.provider
            .increase_size(&request.id, request.delta)
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::NodeGroupIncreaseSizeResponse {}))
    }

    async fn node_group_delete_nodes(
        &self,
        request: Request<pb::NodeGroupDeleteNodesRequest>,
    ) -> Answer<pb::NodeGroupDeleteNodesResponse> {
        let wait = deadline(request.metadata())
            .unwrap_or(Duration::MAX)
            .saturating_sub(DEADLINE_MARGIN);
        let request = request.into_inner();
        let nodes: Vec<_> = request.nodes.into_iter().map(node_query).collect();
        // Everything is decided and recorded before the first await in here: tonic may drop this future at any await,
        // and the jobs go on without it.
        self.provider
            .delete_nodes(&request.id, &nodes, wait)
            .await
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::NodeGroupDeleteNodesResponse {}))
    }

    async fn node_group_decrease_target_size(
        &self,
        request: Request<pb::NodeGroupDecreaseTargetSizeRequest>,
    ) -> Answer<pb::NodeGroupDecreaseTargetSizeResponse> {
        let request = request.into_inner();
        self.provider
            .decrease_target_size(&request.id, request.delta)
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::NodeGroupDecreaseTargetSizeResponse {}))
    }

    async fn node_group_nodes(
        &self,
        request: Request<pb::NodeGroupNodesRequest>,
    ) -> Answer<pb::NodeGroupNodesResponse> {
        let instances = self
            .provider
            .instances(&request.into_inner().id)
            .map_err(|error| to_status(&error))?;
        let instances = convert::instances(instances);
        Ok(Response::new(pb::NodeGroupNodesResponse { instances }))
    }

    async fn node_group_template_node_info(
        &self,
        request: Request<pb::NodeGroupTemplateNodeInfoRequest>,
    ) -> Answer<pb::NodeGroupTemplateNodeInfoResponse> {
        let template = self
            .provider
            .template(&request.into_inner().id)
            .map_err(|error| to_status(&error))?;
        let node = convert::encode_node(template);
        // Clients <= 1.33 read the first field, those >= 1.35 the second, and crash if theirs is missing.
        Ok(Response::new(pb::NodeGroupTemplateNodeInfoResponse {
            node_info: node.clone(),
            node_bytes: node,
        }))
    }

    async fn node_group_get_options(
        &self,
        request: Request<pb::NodeGroupAutoscalingOptionsRequest>,
    ) -> Answer<pb::NodeGroupAutoscalingOptionsResponse> {
        let request = request.into_inner();
        let overrides = self
            .provider
            .overrides(&request.id)
            .map_err(|error| to_status(&error))?;
        Ok(Response::new(pb::NodeGroupAutoscalingOptionsResponse {
            node_group_autoscaling_options: options::answer(&request.id, &overrides, request.defaults),
        }))
    }
}
