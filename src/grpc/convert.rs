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
/// What the messages of all failures in one answer may take.
const FAILURE_BYTES: usize = 2 << 20;
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
        labels: node.labels,
        is_upcoming: node
            .annotations
            .get(UPCOMING_ANNOTATION)
            .is_some_and(|value| value == "true"),
    }
}

/// The instances of a group. If very many failed, each tells less, so that the answer stays below what a client takes
/// (4 MiB): an answer that it refuses ends its loop for all groups.
pub(super) fn instances(instances: Vec<Instance>) -> Vec<pb::Instance> {
    let failures = instances.iter().filter(|instance| instance.failure.is_some()).count();
    let message_limit = FAILURE_BYTES / failures.max(1);
    instances
        .into_iter()
        .map(|each| instance(each, message_limit))
        .collect()
}

fn instance(instance: Instance, message_limit: usize) -> pb::Instance {
    use pb::instance_status::InstanceState as Wire;
    let state = match instance.state {
        InstanceState::Creating => Wire::InstanceCreating,
        InstanceState::Running => Wire::InstanceRunning,
        InstanceState::Deleting => Wire::InstanceDeleting,
    };
    let error_info = instance.failure.map(|failure| pb::InstanceErrorInfo {
        error_code: failure.code.as_str().to_owned(),
        error_message: cut(failure.message, message_limit),
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

/// The beginning of a text, at most `limit` bytes of it.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1; // ends at 0, which is a boundary
    }
    text.truncate(end);
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::ids::InstanceId;

    fn failed(count: usize) -> Vec<Instance> {
        let group = "g".repeat(63);
        (0..count)
            .map(|number| Instance {
                id: InstanceId::adopted(&format!("slicer://{group}/{number:08}")),
                state: InstanceState::Creating,
                failure: Some(Failure::new(
                    FailureCode::UserdataFailed,
                    "\u{1F525}".repeat(Failure::MAX_MESSAGE),
                )),
            })
            .collect()
    }

    #[test]
    fn the_list_of_the_largest_group_fits_into_what_a_client_takes_even_if_every_launch_failed() {
        let answer = pb::NodeGroupNodesResponse {
            instances: instances(failed(10_000)),
        };
        let size = answer.encoded_len();
        assert!(size < 4 << 20, "{size} bytes");
        let errors = answer.instances.iter().map(|instance| {
            let status = instance.status.as_ref().unwrap();
            status.error_info.as_ref().unwrap()
        });
        assert!(
            errors
                .into_iter()
                .all(|error| error.error_code == "UserdataFailed" && !error.error_message.is_empty())
        );
    }

    #[test]
    fn a_few_failures_are_told_in_full() {
        let told = instances(failed(3));
        let status = told[0].status.as_ref().unwrap();
        let message = &status.error_info.as_ref().unwrap().error_message;
        assert_eq!(message.chars().count(), Failure::MAX_MESSAGE);
    }
}
