//! Every RPC through the public face: gRPC bytes in, gRPC bytes out, as clients of all versions send and read them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod old_and_new;

use std::collections::HashMap;

use k8s_pb::api::core::v1::{Container, Node, Pod, PodSpec, ResourceRequirements};
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use old_and_new::*;
use prost::Message;
use slicer_cloud_provider::grpc::pb;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState;
use slicer_cloud_provider::server::Server;
use slicer_cloud_provider::simulator::SimulatedGroup;
use support::*;
use tonic::Code;

/// Calls an RPC with messages of the test's own.
async fn call<Q, A>(server: &Server, rpc: &str, request: Q) -> Result<A, tonic::Status>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel(server).await);
    grpc.ready().await.unwrap();
    let path = format!("/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider/{rpc}");
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let answer = grpc
        .unary(tonic::Request::new(request), path.parse().unwrap(), codec)
        .await?;
    Ok(answer.into_inner())
}

/// A server with one group of each kind that the tests ask for.
async fn scene(group_lines: &str) -> (Host, Server, Client) {
    let host = host("agents").await;
    let config = global("") + &nodegroup("agents", &host.running.url, group_lines);
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "agents").await;
    (host, server, client)
}

fn group_id() -> GroupId {
    GroupId {
        id: "agents".to_owned(),
    }
}

#[tokio::test]
async fn clients_old_and_new_read_the_same_template() {
    let lines = "node-label = team=a\nnode-taint = dedicated=batch:NoSchedule\nzone = shed\nkubelet-arg = max-pods=50";
    let (_host, server, _) = scene(lines).await;
    let old: OldTemplate = call(&server, "NodeGroupTemplateNodeInfo", group_id()).await.unwrap();
    let new: NewTemplate = call(&server, "NodeGroupTemplateNodeInfo", group_id()).await.unwrap();
    let node = Node::decode(new.node_bytes.as_slice()).unwrap();
    assert_eq!(old.node_info.unwrap(), node);

    let metadata = node.metadata.unwrap();
    for (label, value) in [
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", "slicer-2cpu-4gi"),
        ("topology.kubernetes.io/zone", "shed"),
        ("slicer/hostgroup", "agents"),
        ("k3sup.dev/node-type", "agent"),
        ("team", "a"),
    ] {
        assert_eq!(metadata.labels.get(label).map(String::as_str), Some(value), "{label}");
    }
    let taint = &node.spec.unwrap().taints[0];
    assert_eq!(
        (taint.key(), taint.value(), taint.effect()),
        ("dedicated", "batch", "NoSchedule")
    );
    let status = node.status.unwrap();
    for amounts in [&status.capacity, &status.allocatable] {
        for resource in ["cpu", "memory", "pods", "ephemeral-storage"] {
            assert!(amounts.contains_key(resource), "{resource}");
        }
    }
    assert_eq!(status.allocatable["pods"].string(), "50");
}

#[tokio::test]
async fn our_own_encoding_is_the_one_of_kubernetes() {
    let (_host, server, _) = scene("node-label = a=").await;
    let new: NewTemplate = call(&server, "NodeGroupTemplateNodeInfo", group_id()).await.unwrap();
    let again = Node::decode(new.node_bytes.as_slice()).unwrap().encode_to_vec();
    assert_eq!(again, new.node_bytes, "byte for byte, maps in order");
}

#[tokio::test]
async fn without_overrides_every_client_gets_an_empty_options_answer() {
    let (_host, server, _) = scene("").await;
    let old: OldOptionsResponse = call(&server, "NodeGroupGetOptions", group_id()).await.unwrap();
    let new: NewOptionsResponse = call(&server, "NodeGroupGetOptions", group_id()).await.unwrap();
    assert_eq!((old.options, new.options), (None, None));
}

#[tokio::test]
async fn an_override_changes_one_value_and_keeps_the_clients_others() {
    let (_host, server, _) = scene("scale-down-unneeded-time = 90s\nscale-down-utilization-threshold = 0.7").await;
    let minutes = |minutes: i64| minutes * 60;
    let old = OldOptionsRequest {
        id: "agents".to_owned(),
        defaults: Some(OldOptions {
            utilization: 0.5,
            gpu_utilization: 0.4,
            unneeded: Some(MetaDuration {
                duration: minutes(10) * 1_000_000_000,
            }),
            unready: Some(MetaDuration {
                duration: minutes(20) * 1_000_000_000,
            }),
            provision: Some(MetaDuration {
                duration: minutes(15) * 1_000_000_000,
            }),
        }),
    };
    let answer: OldOptionsResponse = call(&server, "NodeGroupGetOptions", old.clone()).await.unwrap();
    let options = answer.options.unwrap();
    assert_eq!((options.utilization, options.gpu_utilization), (0.7, 0.4));
    assert_eq!(options.unneeded.unwrap().duration, 90_000_000_000);
    assert_eq!((options.unready, options.provision), {
        let defaults = old.defaults.clone().unwrap();
        (defaults.unready, defaults.provision)
    });

    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let new = NewOptionsRequest {
        id: "agents".to_owned(),
        defaults: Some(NewOptions {
            utilization: 0.5,
            gpu_utilization: 0.4,
            zero_or_max: false,
            ignore_daemonsets: true,
            unneeded: seconds(minutes(10)),
            unready: seconds(minutes(20)),
            provision: seconds(minutes(15)),
        }),
    };
    let answer: NewOptionsResponse = call(&server, "NodeGroupGetOptions", new).await.unwrap();
    let options = answer.options.unwrap();
    assert_eq!(options.unneeded, seconds(90));
    assert_eq!(
        (options.unready, options.provision),
        (seconds(minutes(20)), seconds(minutes(15)))
    );
    assert!(options.ignore_daemonsets);

    // A client up to 1.28 takes a provision time that is not on its wire for zero: it gets no options at all.
    let mut oldest = old;
    oldest.defaults.as_mut().unwrap().provision = None;
    let answer: OldOptionsResponse = call(&server, "NodeGroupGetOptions", oldest).await.unwrap();
    assert_eq!(answer.options, None);
}

fn pod(cpu: &str, memory: &str) -> Pod {
    let quantity = |text: &str| Quantity {
        string: Some(text.to_owned()),
    };
    let container = Container {
        resources: Some(ResourceRequirements {
            requests: [
                ("cpu".to_owned(), quantity(cpu)),
                ("memory".to_owned(), quantity(memory)),
            ]
            .into(),
            ..ResourceRequirements::default()
        }),
        ..Container::default()
    };
    Pod {
        spec: Some(PodSpec {
            containers: vec![container],
            ..PodSpec::default()
        }),
        ..Pod::default()
    }
}

#[tokio::test]
async fn pod_prices_are_equal_for_old_and_new_clients_and_grow_with_the_pod() {
    let (_host, server, _) = scene("").await;
    let mut prices = Vec::new();
    for (cpu, memory) in [("0", "0"), ("500m", "500Mi"), ("1", "2Gi")] {
        let old = OldPodPrice {
            pod: Some(pod(cpu, memory)),
            start_time: Some(MetaTime {
                seconds: 1000,
                nanos: 0,
            }),
            end_time: Some(MetaTime {
                seconds: 4600,
                nanos: 0,
            }),
        };
        let new = NewPodPrice {
            pod_bytes: pod(cpu, memory).encode_to_vec(),
            start_timestamp: Some(prost_types::Timestamp {
                seconds: 1000,
                nanos: 0,
            }),
            end_timestamp: Some(prost_types::Timestamp {
                seconds: 4600,
                nanos: 0,
            }),
        };
        let old: Price = call(&server, "PricingPodPrice", old).await.unwrap();
        let new: Price = call(&server, "PricingPodPrice", new).await.unwrap();
        assert_eq!(old, new);
        prices.push(new.price);
    }
    assert!(
        prices[0] > 0.0 && prices[0] < prices[1] && prices[1] < prices[2],
        "{prices:?}"
    );
    let garbage = NewPodPrice {
        pod_bytes: vec![0xff; 9],
        ..NewPodPrice::default()
    };
    let status = call::<_, Price>(&server, "PricingPodPrice", garbage).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn node_prices_are_known_by_label_or_template_name_and_grow_with_size_and_time() {
    let host = host_of(vec![
        SimulatedGroup::new("small", 1, 1 << 30),
        SimulatedGroup::new("large", 8, 16 << 30),
    ])
    .await;
    let url = &host.running.url;
    let config = global("")
        + &nodegroup("small", url, "")
        + &nodegroup("large", url, "")
        + &nodegroup("fixed", url, "host-group = small\nprice-per-hour = 2.5");
    let server = start(&config).await;
    let mut client = client(&server).await;
    for group in ["small", "large", "fixed"] {
        wait_for_group(&mut client, group).await;
    }
    let node = |group: &str| GrpcNode {
        name: format!("template-node-for-{group}-123"),
        labels: HashMap::from([("slicer/hostgroup".to_owned(), group.to_owned())]),
        ..GrpcNode::default()
    };
    let price = async |group: &str, hours: i64| {
        let old = OldNodePrice {
            node: Some(node(group)),
            start_time: Some(MetaTime { seconds: 0, nanos: 0 }),
            end_time: Some(MetaTime {
                seconds: hours * 3600,
                nanos: 0,
            }),
        };
        let new = NewNodePrice {
            node: Some(node(group)),
            start_timestamp: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            end_timestamp: Some(prost_types::Timestamp {
                seconds: hours * 3600,
                nanos: 0,
            }),
        };
        let old: Price = call(&server, "PricingNodePrice", old).await.unwrap();
        let new: Price = call(&server, "PricingNodePrice", new).await.unwrap();
        assert_eq!(old, new);
        new.price
    };
    let (small, large) = (price("small", 1).await, price("large", 1).await);
    assert!(small > 0.0 && large > small);
    assert_eq!(price("fixed", 1).await, 2.5);
    assert_eq!(price("fixed", 4).await, 10.0);
}

#[tokio::test]
async fn group_rpcs_for_an_unknown_group_are_not_found() {
    let (_host, server, mut client) = scene("").await;
    for rpc in [
        "NodeGroupTargetSize",
        "NodeGroupNodes",
        "NodeGroupTemplateNodeInfo",
        "NodeGroupGetOptions",
    ] {
        let request = GroupId {
            id: "nobody".to_owned(),
        };
        let status = call::<_, GroupId>(&server, rpc, request).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{rpc}");
    }
    assert_eq!(
        increase(&mut client, "nobody", 1).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        decrease(&mut client, "nobody", -1).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        delete(&mut client, "nobody", &[]).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn the_group_of_a_node_is_known_for_every_kind_of_node_and_empty_for_foreign_ones() {
    let (_host, _server, mut client) = scene("min-size = 1\nmax-size = 5").await;
    increase(&mut client, "agents", 1).await.unwrap();
    let id = instances(&mut client, "agents").await.remove(0).id;
    let node = |provider_id: &str, name: &str, labels: &[(&str, &str)]| pb::ExternalGrpcNode {
        provider_id: provider_id.to_owned(),
        name: name.to_owned(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..pb::ExternalGrpcNode::default()
    };
    let ours = ("slicer/hostgroup", "agents");
    let cases = [
        ("a real Node", node(&id, "agents-1-x", &[ours]), true),
        ("an instance without a Node", node(&id, &id, &[]), true),
        (
            "a Node before its provider ID is set",
            node("", "agents-1-x", &[ours]),
            true,
        ),
        (
            "a copy of the template",
            node("", "template-node-for-agents-42-upcoming-0", &[ours]),
            true,
        ),
        (
            "a Node that the fork made",
            node("k3s://agents-1-99aa88bb", "agents-1-99aa88bb", &[ours]),
            true,
        ),
        (
            "the control plane",
            node(
                "k3s://server",
                "server",
                &[("node-role.kubernetes.io/control-plane", "true"), ours],
            ),
            false,
        ),
        (
            "a control plane Node with our provider ID",
            node(&id, "s", &[("node-role.kubernetes.io/master", "true")]),
            false,
        ),
        ("somebody's Node", node("k3s://desktop", "desktop", &[]), false),
        (
            "another cloud's Node with our label",
            node("aws:///i-1", "i-1", &[ours]),
            false,
        ),
        (
            "a Node of a group that is not ours",
            node("slicer://others/abcd1234", "x", &[ours]),
            false,
        ),
        ("a malformed provider ID", node("slicer://agents", "x", &[ours]), false),
        ("nothing at all", node("", "", &[]), false),
    ];
    for (what, node, is_ours) in cases {
        let request = pb::NodeGroupForNodeRequest { node: Some(node) };
        let group = client
            .node_group_for_node(request)
            .await
            .unwrap()
            .into_inner()
            .node_group
            .unwrap();
        let expected = if is_ours { ("agents", 1, 5) } else { ("", 0, 0) };
        assert_eq!((group.id.as_str(), group.min_size, group.max_size), expected, "{what}");
    }
    let empty = client
        .node_group_for_node(pb::NodeGroupForNodeRequest { node: None })
        .await
        .unwrap();
    assert_eq!(empty.into_inner().node_group.unwrap().id, "");
}

#[tokio::test]
async fn gpu_label_and_types_are_those_that_nodes_register_with() {
    let mut gpus = SimulatedGroup::new("gpus", 4, 8 << 30);
    gpus.gpu_count = 2;
    let host = host_of(vec![gpus, SimulatedGroup::new("plain", 2, 4 << 30)]).await;
    let url = &host.running.url;
    let config = global("") + &nodegroup("gpus", url, "gpu-type = rtx-4000") + &nodegroup("plain", url, "");
    let server = start(&config).await;
    let mut client = client(&server).await;
    wait_for_group(&mut client, "gpus").await;
    wait_for_group(&mut client, "plain").await;
    let label = client
        .gpu_label(pb::GpuLabelRequest {})
        .await
        .unwrap()
        .into_inner()
        .label;
    let types = client
        .get_available_gpu_types(pb::GetAvailableGpuTypesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(types.gpu_types.keys().collect::<Vec<_>>(), ["rtx-4000"]);
    let template = async |id: &str| {
        let request = GroupId { id: id.to_owned() };
        let answer: OldTemplate = call(&server, "NodeGroupTemplateNodeInfo", request).await.unwrap();
        answer.node_info.unwrap()
    };
    let node = template("gpus").await;
    assert_eq!(node.metadata.unwrap().labels[&label], "rtx-4000");
    assert_eq!(node.status.unwrap().capacity["nvidia.com/gpu"].string(), "2");
    assert!(!template("plain").await.metadata.unwrap().labels.contains_key(&label));

    increase(&mut client, "gpus", 1).await.unwrap();
    wait_for(&mut client, "gpus", 1, InstanceState::InstanceRunning).await;
    assert!(
        host.simulator.vms()[0].userdata.contains(&label),
        "the agent registers with the label"
    );
}

#[tokio::test]
async fn cleanup_and_refresh_change_nothing() {
    let (host, _server, mut client) = scene("").await;
    increase(&mut client, "agents", 2).await.unwrap();
    let before = wait_for(&mut client, "agents", 2, InstanceState::InstanceRunning).await;
    client.cleanup(pb::CleanupRequest {}).await.unwrap();
    client.refresh(pb::RefreshRequest {}).await.unwrap();
    assert_eq!(instances(&mut client, "agents").await, before);
    assert_eq!(
        (target(&mut client, "agents").await, host.simulator.vms().len()),
        (2, 2)
    );
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let (_host, server, _) = scene("").await;
    let mut health = HealthClient::new(channel(&server).await);
    for service in ["", "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider"] {
        eventually("SERVING", async || {
            let service = service.to_owned();
            let answer = health.check(HealthCheckRequest { service }).await.unwrap();
            (answer.into_inner().status() == ServingStatus::Serving).then_some(())
        })
        .await;
    }

    let mut reflection = ServerReflectionClient::new(channel(&server).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!()
    };
    assert!(
        list.service
            .iter()
            .any(|service| service.name.ends_with("externalgrpc.CloudProvider"))
    );
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_in_few_words_and_change_nothing() {
    let (host, _server, mut client) = scene("").await;
    let long = "x".repeat(1 << 20);
    let status = increase(&mut client, &long, 1).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().len() < 2000);
    let status = delete(&mut client, "agents", &[format!("slicer://agents/{long}")])
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().len() < 2000);
    delete(&mut client, "agents", &[]).await.unwrap();
    for delta in [i32::MIN, i32::MAX] {
        assert!(increase(&mut client, "agents", delta).await.is_err());
    }
    decrease(&mut client, "agents", i32::MIN).await.unwrap();
    assert!(decrease(&mut client, "agents", i32::MAX).await.is_err());
    assert_eq!(
        (target(&mut client, "agents").await, host.simulator.created_total()),
        (0, 0)
    );
}
