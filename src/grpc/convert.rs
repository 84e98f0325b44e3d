//! Between the messages on the wire and the project's own types.

use std::time::Duration;

use prost::Message as _;
use prost_types::Timestamp;

use super::{core_v1, pb};
use crate::domain::group::{Instance, InstanceState};
use crate::domain::node::Resources;
use crate::domain::template::NodeTemplate;
use crate::provider::{GroupSummary, NodeQuery};

/// The annotation of the client's copies of a template that stand for nodes to come.
const UPCOMING_ANNOTATION: &str = "cluster-autoscaler.k8s.io/upcoming-node";
/// What a price is asked for if the request does not say.
const DEFAULT_PERIOD: Duration = Duration::from_secs(3600);

pub(super) fn node_group(group: GroupSummary) -> pb::NodeGroup {
    pb::NodeGroup {
        id: group.id.to_string(),
        min_size: i32::try_from(group.min).unwrap_or(i32::MAX),
        max_size: i32::try_from(group.max).unwrap_or(i32::MAX),
        debug: group.debug,
    }
}

pub(super) fn node_query(node: pb::ExternalGrpcNode) -> NodeQuery {
    NodeQuery {
        provider_id: node.provider_id,
        name: node.name,
        labels: node.labels.into_iter().collect(),
        is_upcoming: node
            .annotations
            .get(UPCOMING_ANNOTATION)
            .is_some_and(|value| value == "true"),
    }
}

pub(super) fn instance(instance: Instance) -> pb::Instance {
    use pb::instance_status::InstanceState as Wire;
    let state = match instance.state {
        InstanceState::Creating => Wire::InstanceCreating,
        InstanceState::Running => Wire::InstanceRunning,
        InstanceState::Deleting => Wire::InstanceDeleting,
    };
    let error_info = instance.failure.map(|failure| pb::InstanceErrorInfo {
        error_code: failure.code.as_str().to_owned(),
        error_message: failure.message,
        instance_error_class: failure.code.class().number(),
    });
    pb::Instance {
        id: instance.id.to_string(),
        status: Some(pb::InstanceStatus {
            instance_state: state.into(),
            error_info,
        }),
    }
}

/// The time between two timestamps; an hour if one is missing or they make no sense. Never zero.
pub(super) fn period(start: Option<Timestamp>, end: Option<Timestamp>) -> Duration {
    let nanos = |at: Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let (Some(start), Some(end)) = (start, end) else {
        return DEFAULT_PERIOD;
    };
    u64::try_from(nanos(end) - nanos(start))
        .ok()
        .filter(|nanos| *nanos > 0)
        .map_or(DEFAULT_PERIOD, Duration::from_nanos)
}

/// A template as a serialized core/v1 Node, without the envelope that etcd knows.
pub(super) fn encode_node(template: NodeTemplate) -> Vec<u8> {
    let taints = template.taints.into_iter().map(|taint| core_v1::Taint {
        key: Some(taint.key),
        value: Some(taint.value),
        effect: Some(taint.effect.as_str().to_owned()),
    });
    let ready = core_v1::NodeCondition {
        r#type: Some("Ready".to_owned()),
        status: Some("True".to_owned()),
    };
    let node = core_v1::Node {
        metadata: Some(core_v1::ObjectMeta {
            name: Some(template.name),
            labels: template.labels,
            ..core_v1::ObjectMeta::default()
        }),
        spec: Some(core_v1::NodeSpec {
            provider_id: None,
            taints: taints.collect(),
        }),
        status: Some(core_v1::NodeStatus {
            capacity: quantities(template.capacity),
            allocatable: quantities(template.allocatable),
            conditions: vec![ready],
            node_info: Some(core_v1::NodeSystemInfo {
                operating_system: Some("linux".to_owned()),
                architecture: Some(template.arch.as_str().to_owned()),
            }),
        }),
    };
    node.encode_to_vec()
}

fn quantities(resources: Resources) -> std::collections::BTreeMap<String, core_v1::Quantity> {
    let quantity = |amount| core_v1::Quantity { string: Some(amount) };
    resources
        .into_iter()
        .map(|(name, amount)| (name, quantity(amount)))
        .collect()
}
