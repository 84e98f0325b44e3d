//! The calls of a loop of the cluster-autoscaler in which nothing happens, in their order, and what is right to answer.
//! Each node is looked up and its options are asked for five times, because the client never keeps those; each group
//! tells its target size three times, its instances and its template.

use std::collections::HashMap;

use prost::Message as _;
use prost::bytes::Bytes;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState;
use slicer_cloud_provider::grpc::pb::{self, NodeGroupAutoscalingOptions};

use crate::Failure;
use crate::bare::Answers;
use crate::fleet::Fleet;
use crate::wire::{Line, Rpc};

const OPTIONS_PER_NODE: usize = 5;
const TARGET_SIZES_PER_GROUP: usize = 3;

/// A call that is ready to be sent.
pub(crate) struct Call {
    pub(crate) rpc: Rpc,
    pub(crate) request: Bytes,
    /// The group that it is about; empty for those about none.
    group: String,
}

/// The calls of a loop.
pub(crate) struct Script {
    pub(crate) calls: Vec<Call>,
}

impl Script {
    /// The loop over a fleet.
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let mut calls = vec![
            call(Rpc::Refresh, "", &pb::RefreshRequest {}),
            call(Rpc::NodeGroups, "", &pb::NodeGroupsRequest {}),
        ];
        for (number, machine) in fleet.machines.iter().enumerate() {
            calls.extend(of_node(fleet, number, fleet.groups[machine.group].id.as_str()));
        }
        for group in &fleet.groups {
            calls.extend(of_group(group.id.as_str()));
        }
        Self { calls }
    }

    /// Makes the calls once and holds each answer against the fleet. Gives the longest answer to each call.
    pub(crate) async fn rehearse(&self, line: &mut Line, fleet: &Fleet) -> Result<Answers, Failure> {
        let sizes = fleet.sizes();
        let mut answers = Answers::new();
        for call in &self.calls {
            let (answer, _) = line.call(call.rpc, call.request.clone()).await?;
            let said = check(call, &answer, &sizes);
            said.map_err(|wrong| format!("{} for {:?} answered {wrong}", call.rpc.name(), call.group))?;
            let longest = answers.entry(call.rpc).or_default();
            if answer.len() > longest.len() {
                *longest = answer;
            }
        }
        Ok(answers)
    }
}

fn call(rpc: Rpc, group: &str, request: &impl prost::Message) -> Call {
    Call {
        rpc,
        request: request.encode_to_vec().into(),
        group: group.to_owned(),
    }
}

fn of_node(fleet: &Fleet, number: usize, group: &str) -> Vec<Call> {
    let look_up = pb::NodeGroupForNodeRequest {
        node: Some(fleet.node(number)),
    };
    let options = pb::NodeGroupAutoscalingOptionsRequest {
        id: group.to_owned(),
        defaults: Some(defaults()),
    };
    let mut calls = vec![call(Rpc::NodeGroupForNode, group, &look_up)];
    calls.extend((0..OPTIONS_PER_NODE).map(|_| call(Rpc::NodeGroupGetOptions, group, &options)));
    calls
}

fn of_group(group: &str) -> Vec<Call> {
    let id = || group.to_owned();
    let target_size = pb::NodeGroupTargetSizeRequest { id: id() };
    let mut calls: Vec<Call> = (0..TARGET_SIZES_PER_GROUP)
        .map(|_| call(Rpc::NodeGroupTargetSize, group, &target_size))
        .collect();
    calls.push(instances_of(group));
    let template = pb::NodeGroupTemplateNodeInfoRequest { id: id() };
    calls.push(call(Rpc::NodeGroupTemplateNodeInfo, group, &template));
    calls
}

/// The call for the instances of a group.
fn instances_of(group: &str) -> Call {
    let request = pb::NodeGroupNodesRequest { id: group.to_owned() };
    call(Rpc::NodeGroupNodes, group, &request)
}

/// As a cluster-autoscaler of 1.35 or later sends them.
fn defaults() -> NodeGroupAutoscalingOptions {
    let minutes = |minutes: i64| {
        Some(prost_types::Duration {
            seconds: 60 * minutes,
            nanos: 0,
        })
    };
    NodeGroupAutoscalingOptions {
        scale_down_utilization_threshold: 0.5,
        scale_down_gpu_utilization_threshold: 0.5,
        scale_down_unneeded_duration: minutes(10),
        scale_down_unready_duration: minutes(20),
        max_node_provision_duration: minutes(15),
        ..NodeGroupAutoscalingOptions::default()
    }
}

/// An error that tells the answer if it is not the right one.
fn check(call: &Call, answer: &Bytes, sizes: &HashMap<&str, usize>) -> Result<(), String> {
    let size = sizes.get(call.group.as_str()).copied().unwrap_or_default();
    let unreadable = |error: prost::DecodeError| error.to_string();
    let (is_right, said) = match call.rpc {
        Rpc::NodeGroups => {
            let answer = pb::NodeGroupsResponse::decode(&answer[..]).map_err(unreadable)?;
            let count = answer.node_groups.len();
            (count == sizes.len(), format!("{count} groups"))
        }
        Rpc::NodeGroupForNode => {
            let answer = pb::NodeGroupForNodeResponse::decode(&answer[..]).map_err(unreadable)?;
            let id = answer.node_group.unwrap_or_default().id;
            (id == call.group, id)
        }
        Rpc::NodeGroupTargetSize => {
            let answer = pb::NodeGroupTargetSizeResponse::decode(&answer[..]).map_err(unreadable)?;
            let target = answer.target_size;
            (usize::try_from(target) == Ok(size), target.to_string())
        }
        Rpc::NodeGroupNodes => {
            let running = running(answer).map_err(unreadable)?;
            (running == size, format!("{running} running instances"))
        }
        Rpc::NodeGroupTemplateNodeInfo => (!answer.is_empty(), "nothing".to_owned()),
        // Without overrides, and always.
        Rpc::NodeGroupGetOptions | Rpc::Refresh | Rpc::NodeGroupIncreaseSize => {
            (answer.is_empty(), format!("{} bytes", answer.len()))
        }
    };
    if is_right { Ok(()) } else { Err(said) }
}

fn running(answer: &Bytes) -> Result<usize, prost::DecodeError> {
    let instances = pb::NodeGroupNodesResponse::decode(&answer[..])?.instances;
    let states = instances.iter().filter_map(|instance| instance.status.as_ref());
    Ok(states
        .filter(|status| status.instance_state() == InstanceState::InstanceRunning)
        .count())
}

/// Whether every VM of the fleet is a running instance.
pub(crate) async fn all_run(line: &mut Line, fleet: &Fleet) -> Result<bool, Failure> {
    for (group, size) in fleet.sizes() {
        let (answer, _) = line.call(Rpc::NodeGroupNodes, instances_of(group).request).await?;
        if running(&answer).map_err(|error| error.to_string())? != size {
            return Ok(false);
        }
    }
    Ok(true)
}
