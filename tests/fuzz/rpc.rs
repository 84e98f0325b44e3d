//! The requests of a gRPC client: any bytes for any method, and conversations of well-formed calls whose ids, deltas,
//! pods and times are anything. The service runs in memory before the model's hosts and on tokio's paused clock; a
//! panic in it fails the test there and then. The whole server, with its sockets and its net under panics, gets bytes
//! as well.
//!
//! It asks what holds for every call: a code of the documented few, a small answer, and a state that only granted
//! orders for known groups change. What right orders lead to is in `tests/model` and `tests/lifecycle`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;

use k8s_pb::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use proptest::prelude::*;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost_types::Timestamp;
use slicer_cloud_provider::config::{self, GlobalConfig, GroupConfig};
use slicer_cloud_provider::domain::ids::InstanceId;
use slicer_cloud_provider::grpc::pb::cloud_provider_client::CloudProviderClient;
use slicer_cloud_provider::grpc::pb::cloud_provider_server::CloudProviderServer;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState;
use slicer_cloud_provider::grpc::{self, pb};
use slicer_cloud_provider::metrics::Metrics;
use slicer_cloud_provider::provider::ports::SlicerHost;
use slicer_cloud_provider::provider::{Entropy, Parts, Provider, Timings};
use slicer_cloud_provider::server::Server;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::support;
use crate::world::{FakeCluster, FakeHost, SharedWorld};

/// Groups that can grow, each on a host of its own.
const GROUPS: [&str; 2] = ["alpha", "beta"];
/// A group whose host does not know it, so that nobody knows its size.
const SHAPELESS: &str = "gamma";
const MAX: u32 = 6;

const SERVICE: &str = "/clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";
const METHODS: [&str; 15] = [
    "NodeGroups",
    "NodeGroupForNode",
    "PricingNodePrice",
    "PricingPodPrice",
    "GPULabel",
    "GetAvailableGPUTypes",
    "Cleanup",
    "Refresh",
    "NodeGroupTargetSize",
    "NodeGroupIncreaseSize",
    "NodeGroupDeleteNodes",
    "NodeGroupDecreaseTargetSize",
    "NodeGroupNodes",
    "NodeGroupTemplateNodeInfo",
    "NodeGroupGetOptions",
];

type InMemory = CloudProviderServer<grpc::Service>;

/// What the provider is asked to do; positions are counted round and round.
#[derive(Clone, Debug)]
enum Call {
    Increase(String, i32),
    Decrease(String, i32),
    /// With what the client says of its deadline.
    Delete(String, Vec<Node>, Option<String>),
    Groups,
    GroupOf(Option<Node>),
    NodePrice(Option<Node>, Times),
    PodPrice(Vec<u8>, Vec<u8>, Times),
    GpuLabel,
    GpuTypes,
    Cleanup,
    Refresh,
    TargetSize(String),
    Nodes(String),
    Template(String),
    Options(String, Option<pb::NodeGroupAutoscalingOptions>),
}

/// What happens between two calls.
#[derive(Clone, Debug)]
enum Step {
    Call(Box<Call>),
    Wait(u64),
    RegisterNodes,
}

/// A node as a client might describe it.
#[derive(Clone, Debug)]
struct Node {
    /// The instance at this position of a group, and how it is told: by its id, by the name of its Node, as upcoming.
    instance: Option<(usize, usize, u8)>,
    otherwise: pb::ExternalGrpcNode,
}

/// Start and end, in the old and the new form.
type Times = [Option<Timestamp>; 4];

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(GROUPS.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec![SHAPELESS, "", "Alpha", "alpha ", "..", "alpha/beta", "delta"])
            .prop_map(str::to_owned),
        1 => "(?s).{0,40}",
        1 => (0_usize..20_000).prop_map(|length| "\u{1f525}\n".repeat(length)),
    ]
}

fn delta() -> impl Strategy<Value = i32> {
    prop_oneof![5 => -3..4_i32, 1 => prop::sample::select(vec![i32::MIN, i32::MIN + 1, i32::MAX]), 1 => any::<i32>()]
}

fn node() -> impl Strategy<Value = Node> {
    let instance = prop::option::weighted(0.7, (0..2_usize, 0..8_usize, 0..3_u8));
    let provider_id = prop_oneof![
        4 => prop::sample::select(vec![
            "", "slicer://", "slicer://alpha", "slicer://alpha/zzzzzzzz", "slicer://beta/zzzzzzzz",
            "slicer://gamma/zzzzzzzz", "slicer://alpha/zzzzzzzz/", "slicer:///zzzzzzzz", "k3s://agents-1", "aws:///i-1",
            "slicer://delta/zzzzzzzz",
        ]).prop_map(str::to_owned),
        1 => "(?s).{0,30}",
    ];
    let name = prop_oneof![
        4 => prop::sample::select(vec![
            "", "agents-1", "agents-1-zzzzzzzz", "-zzzzzzzz", "template-node-for-alpha-1", "template-node-for-gamma-1",
            "template-node-for-", "slicer://alpha/zzzzzzzz",
        ]).prop_map(str::to_owned),
        1 => "(?s).{0,30}",
    ];
    let label = prop_oneof![
        4 => prop::sample::select(vec!["slicer/hostgroup", "slicer/hostname", "node-role.kubernetes.io/control-plane"])
            .prop_map(str::to_owned),
        1 => ".{0,20}",
    ];
    let labels = prop::collection::btree_map(label, id(), 0..3);
    let annotations = prop::collection::btree_map(
        Just("cluster-autoscaler.k8s.io/upcoming-node".to_owned()),
        prop_oneof![Just("true".to_owned()), ".{0,5}"],
        0..2,
    );
    (instance, provider_id, name, labels, annotations).prop_map(|(instance, provider_id, name, labels, annotations)| {
        Node {
            instance,
            otherwise: pb::ExternalGrpcNode {
                provider_id,
                name,
                labels,
                annotations,
            },
        }
    })
}

fn times() -> impl Strategy<Value = Times> {
    let near = prop_oneof![-10_i64..4000, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    let nanos = prop_oneof![Just(0), any::<i32>()];
    let time =
        || prop::option::of((near.clone(), nanos.clone()).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }));
    [time(), time(), time(), time()]
}

fn pod() -> impl Strategy<Value = Vec<u8>> {
    let quantity = prop_oneof![
        "[0-9]{1,31}(\\.[0-9]{0,10})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]{1,11}|e-[0-9]{1,11}|E\\+[0-9]{1,3})?",
        prop::sample::select(vec!["", "-1", "e2147483648", "1e-2147483648", "1E", "1e", "\u{661}"])
            .prop_map(str::to_owned),
    ];
    let resource = prop::sample::select(vec!["cpu", "memory", "nvidia.com/gpu", "other"]).prop_map(str::to_owned);
    let requests = prop::collection::btree_map(resource, quantity, 0..4);
    let containers = prop::collection::vec(requests, 0..4);
    let container = |requests: std::collections::BTreeMap<String, String>| Container {
        resources: Some(ResourceRequirements {
            requests: requests
                .into_iter()
                .map(|(name, amount)| (name, Quantity { string: Some(amount) }))
                .collect(),
            ..ResourceRequirements::default()
        }),
        ..Container::default()
    };
    let whole = (containers.clone(), containers).prop_map(move |(running, starting)| {
        let spec = PodSpec {
            containers: running.into_iter().map(container).collect(),
            init_containers: starting.into_iter().map(container).collect(),
            ..PodSpec::default()
        };
        Pod {
            spec: Some(spec),
            ..Pod::default()
        }
        .encode_to_vec()
    });
    prop_oneof![3 => whole, 1 => prop::collection::vec(any::<u8>(), 0..60), 1 => Just(Vec::new())]
}

fn options() -> impl Strategy<Value = pb::NodeGroupAutoscalingOptions> {
    let old = || prop::option::of(any::<i64>().prop_map(|duration| pb::MetaDuration { duration }));
    let new = || {
        prop::option::of(
            (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
        )
    };
    let any_f64 = prop::num::f64::ANY;
    (
        [any_f64, any_f64],
        any::<[bool; 2]>(),
        [old(), old(), old()],
        [new(), new(), new()],
    )
        .prop_map(
            |(thresholds, switches, [unneeded, unready, provision], [new_unneeded, new_unready, new_provision])| {
                pb::NodeGroupAutoscalingOptions {
                    scale_down_utilization_threshold: thresholds[0],
                    scale_down_gpu_utilization_threshold: thresholds[1],
                    scale_down_unneeded_time: unneeded,
                    scale_down_unready_time: unready,
                    max_node_provision_time: provision,
                    zero_or_max_node_scaling: switches[0],
                    ignore_daemon_sets_utilization: switches[1],
                    scale_down_unneeded_duration: new_unneeded,
                    scale_down_unready_duration: new_unready,
                    max_node_provision_duration: new_provision,
                }
            },
        )
}

fn call() -> impl Strategy<Value = Call> {
    let nodes = prop::collection::vec(node(), 0..4);
    let deadline = prop::option::of(prop_oneof!["[0-9]{1,20}[HMSmun]", "[ -~]{0,6}"]);
    prop_oneof![
        6 => (id(), delta()).prop_map(|(id, delta)| Call::Increase(id, delta)),
        3 => (id(), delta()).prop_map(|(id, delta)| Call::Decrease(id, delta)),
        6 => (id(), nodes, deadline).prop_map(|(id, nodes, deadline)| Call::Delete(id, nodes, deadline)),
        2 => prop::option::of(node()).prop_map(Call::GroupOf),
        2 => (prop::option::of(node()), times()).prop_map(|(node, times)| Call::NodePrice(node, times)),
        2 => (pod(), pod(), times()).prop_map(|(old, new, times)| Call::PodPrice(old, new, times)),
        2 => prop::sample::select(vec![Call::Groups, Call::GpuLabel, Call::GpuTypes, Call::Cleanup, Call::Refresh]),
        1 => id().prop_map(Call::TargetSize),
        1 => id().prop_map(Call::Nodes),
        1 => id().prop_map(Call::Template),
        1 => (id(), prop::option::of(options())).prop_map(|(id, options)| Call::Options(id, options)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => call().prop_map(|call| Step::Call(Box::new(call))),
        2 => prop_oneof![0..500_u64, 1000..60_000_u64].prop_map(Step::Wait),
        1 => Just(Step::RegisterNodes),
    ]
}

/// A provider, and the client that it serves.
struct Scene {
    world: SharedWorld,
    service: InMemory,
    client: CloudProviderClient<InMemory>,
    panics: usize,
    shutdown: CancellationToken,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn configuration() -> String {
    let size = format!("host-group = agents\ncpus = 2\nram = 4Gi\nmax-size = {MAX}");
    let overrides = "scale-down-unneeded-time = 90s\nscale-down-utilization-threshold = 0.7";
    let extras = "price-per-hour = 1e300\ngpu-count = 1\nzone = shed";
    support::global("")
        + &support::nodegroup(GROUPS[0], "http://alpha", &size)
        + &support::nodegroup(GROUPS[1], "http://beta", &format!("{size}\n{overrides}\n{extras}"))
        + &support::nodegroup(SHAPELESS, "http://alpha", "host-group = elsewhere")
}

thread_local! {
    /// Panics on this thread. Those of jobs end in nothing but this.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            told(panic);
        }));
    });
}

impl Scene {
    /// Its jobs begin at once, so it takes a runtime.
    fn new() -> Self {
        count_panics();
        let config = config::parse(&configuration(), Path::new("cloud-config")).unwrap();
        let world = SharedWorld::default();
        let hosts = Arc::clone(&world);
        let parts = Parts {
            connect: Arc::new(move |group: &GroupConfig, _: &GlobalConfig| {
                let host = usize::from(group.spec.id.as_str() == GROUPS[1]);
                let world = Arc::clone(&hosts);
                Ok(Arc::new(FakeHost { world, host }) as Arc<dyn SlicerHost>)
            }),
            cluster: Arc::new(FakeCluster(Arc::clone(&world))),
            metrics: Arc::new(Metrics::new()),
            entropy: Entropy::of_system(),
            timings: Timings::default(),
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let shutdown = parts.shutdown.clone();
        let service = CloudProviderServer::new(grpc::Service::new(Provider::start(&config, parts).unwrap()));
        Self {
            world,
            client: CloudProviderClient::new(service.clone()),
            service,
            panics: PANICS.get(),
            shutdown,
        }
    }

    async fn instances(&self, group: &str) -> Vec<pb::Instance> {
        let request = pb::NodeGroupNodesRequest { id: group.to_owned() };
        self.client
            .clone()
            .node_group_nodes(request)
            .await
            .unwrap()
            .into_inner()
            .instances
    }

    async fn target(&self, group: &str) -> i32 {
        let request = pb::NodeGroupTargetSizeRequest { id: group.to_owned() };
        self.client
            .clone()
            .node_group_target_size(request)
            .await
            .unwrap()
            .into_inner()
            .target_size
    }

    async fn targets(&self) -> [i32; 3] {
        [
            self.target(GROUPS[0]).await,
            self.target(GROUPS[1]).await,
            self.target(SHAPELESS).await,
        ]
    }

    /// The instances of a group that are not being deleted.
    async fn live(&self, group: &str) -> BTreeSet<String> {
        let all = self.instances(group).await.into_iter();
        all.filter(|each| support::state(each) != InstanceState::InstanceDeleting)
            .map(|each| each.id)
            .collect()
    }

    /// What holds at any time.
    async fn check(&self) {
        assert_eq!(PANICS.get(), self.panics, "a job panicked");
        for (host, group) in GROUPS.into_iter().enumerate() {
            let live = self.live(group).await;
            let target = self.target(group).await;
            assert_eq!(
                usize::try_from(target).unwrap(),
                live.len(),
                "the target counts what is not being deleted"
            );
            assert!(live.len() <= MAX as usize, "{live:?}");
            let world = self.world.lock().unwrap();
            let unasked = world.ours(host).difference(&world.asked).count();
            assert!(unasked <= MAX as usize, "VMs beside those that are to go: {unasked}");
        }
        assert_eq!(self.target(SHAPELESS).await, 0);
        assert_eq!(self.world.lock().unwrap().violations, Vec::<String>::new());
    }

    /// The message for a node that the test has in mind.
    async fn described(&self, node: &Node) -> pb::ExternalGrpcNode {
        let Some((group, position, way)) = node.instance else {
            return node.otherwise.clone();
        };
        let instances = self.instances(GROUPS[group]).await;
        let Some(instance) = instances.get(position % instances.len().max(1)) else {
            return node.otherwise.clone();
        };
        let mut described = support::fake_node(&instance.id);
        if way == 1 {
            let launch = instance.id.rsplit('/').next().unwrap();
            (described.provider_id, described.name) = (String::new(), format!("agents-1-{launch}"));
            described.labels = [("slicer/hostgroup".to_owned(), GROUPS[group].to_owned())].into();
        } else if way == 2 {
            described.annotations.clone_from(&node.otherwise.annotations);
        }
        described
    }

    async fn described_all(&self, nodes: &[Node]) -> Vec<pb::ExternalGrpcNode> {
        let mut described = Vec::new();
        for node in nodes {
            described.push(self.described(node).await);
        }
        described
    }

    /// From now on these may go.
    fn allow_to_go(&self, ids: impl IntoIterator<Item = String>) {
        let ids = ids.into_iter().map(|id| InstanceId::adopted(&id));
        self.world.lock().unwrap().asked.extend(ids);
    }

    async fn take(&self, step: &Step) {
        match step {
            Step::Call(call) => self.call(call).await,
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await,
            Step::RegisterNodes => self.world.lock().unwrap().register_nodes(),
        }
    }

    async fn call(&self, call: &Call) {
        match call {
            Call::Increase(id, delta) => self.increase(id, *delta).await,
            Call::Decrease(id, delta) => self.decrease(id, *delta).await,
            Call::Delete(id, nodes, deadline) => self.delete(id, nodes, deadline.as_deref()).await,
            read => {
                let before = self.targets().await;
                self.read(read).await;
                assert_eq!(self.targets().await, before, "a read changes nothing");
            }
        }
    }

    async fn increase(&self, id: &str, delta: i32) {
        let before = self.targets().await;
        let request = pb::NodeGroupIncreaseSizeRequest {
            id: id.to_owned(),
            delta,
        };
        let outcome = code(&self.client.clone().node_group_increase_size(request).await);
        let mut after = before;
        let expected = match GROUPS.iter().position(|group| *group == id) {
            None if id == SHAPELESS => Code::FailedPrecondition,
            None => Code::NotFound,
            Some(_) if delta <= 0 => Code::InvalidArgument,
            Some(group)
                if before[group]
                    .checked_add(delta)
                    .is_none_or(|sum| sum > MAX.cast_signed()) =>
            {
                Code::OutOfRange
            }
            Some(group) => {
                after[group] += delta;
                Code::Ok
            }
        };
        assert_eq!(outcome, expected);
        assert_eq!(self.targets().await, after);
    }

    async fn decrease(&self, id: &str, delta: i32) {
        let before = self.targets().await;
        if is_known(id) {
            let instances = self.instances(id).await.into_iter();
            let creating = instances.filter(|each| support::state(each) == InstanceState::InstanceCreating);
            self.allow_to_go(creating.filter(|_| delta < 0).map(|each| each.id));
        }
        let request = pb::NodeGroupDecreaseTargetSizeRequest {
            id: id.to_owned(),
            delta,
        };
        let outcome = code(&self.client.clone().node_group_decrease_target_size(request).await);
        let expected = match delta {
            _ if !is_known(id) => Code::NotFound,
            0.. => Code::InvalidArgument,
            _ => Code::Ok,
        };
        assert_eq!(outcome, expected);
        for (group, (before, after)) in before.into_iter().zip(self.targets().await).enumerate() {
            let may_fall = outcome == Code::Ok && GROUPS.get(group).is_some_and(|group| *group == id);
            let most = if may_fall { delta.unsigned_abs() } else { 0 };
            assert!(
                after <= before && (before - after).unsigned_abs() <= most,
                "{before} to {after}"
            );
        }
    }

    async fn delete(&self, id: &str, nodes: &[Node], deadline: Option<&str>) {
        let nodes = self.described_all(nodes).await;
        let named: BTreeSet<String> = nodes.iter().map(|node| instance_named_by(node, id)).collect();
        let before = self.targets().await;
        let live = if is_known(id) {
            self.live(id).await
        } else {
            BTreeSet::new()
        };
        let asked_before = self.world.lock().unwrap().asked.clone();
        self.allow_to_go(named.iter().cloned());
        let mut request = tonic::Request::new(pb::NodeGroupDeleteNodesRequest {
            id: id.to_owned(),
            nodes,
        });
        if let Some(deadline) = deadline.and_then(|deadline| deadline.parse().ok()) {
            request.metadata_mut().insert("grpc-timeout", deadline);
        }
        let outcome = code(&self.client.clone().node_group_delete_nodes(request).await);
        let expected: &[Code] = if is_known(id) {
            &[Code::Ok, Code::InvalidArgument]
        } else {
            &[Code::NotFound]
        };
        assert!(expected.contains(&outcome), "{outcome:?}");
        if outcome != Code::Ok {
            self.world.lock().unwrap().asked = asked_before;
            assert_eq!(self.targets().await, before, "all or nothing");
            return;
        }
        let gone = i32::try_from(live.intersection(&named).count()).unwrap();
        let mut after = before;
        if let Some(group) = GROUPS.iter().position(|group| *group == id) {
            after[group] -= gone;
        }
        assert_eq!(self.targets().await, after);
    }

    async fn read(&self, call: &Call) {
        let mut client = self.client.clone();
        let id_codes = |id: &str| {
            if is_known(id) {
                vec![Code::Ok]
            } else {
                vec![Code::NotFound]
            }
        };
        match call {
            Call::Groups => {
                let groups = small(client.node_groups(pb::NodeGroupsRequest {}).await, &[Code::Ok]).unwrap();
                let ids: Vec<_> = groups.node_groups.iter().map(|group| group.id.as_str()).collect();
                assert_eq!(ids, GROUPS, "a group without a size is not listed");
            }
            Call::GroupOf(node) => {
                let node = self.described_if_any(node.as_ref()).await;
                let answer = client.node_group_for_node(pb::NodeGroupForNodeRequest { node }).await;
                let group = small(answer, &[Code::Ok]).unwrap().node_group.expect("always a group");
                assert!(group.id.is_empty() || GROUPS.contains(&group.id.as_str()), "{group:?}");
            }
            Call::NodePrice(node, times) => {
                let node = self.described_if_any(node.as_ref()).await;
                let answer = client.pricing_node_price(node_price(node, times)).await;
                let codes = [Code::Ok, Code::NotFound, Code::FailedPrecondition];
                is_a_price(small(answer, &codes).map(|answer| answer.price));
            }
            Call::PodPrice(old, new, times) => {
                let answer = client.pricing_pod_price(pod_price(old, new, times)).await;
                is_a_price(small(answer, &[Code::Ok, Code::InvalidArgument]).map(|answer| answer.price));
            }
            Call::GpuLabel => drop(small(client.gpu_label(pb::GpuLabelRequest {}).await, &[Code::Ok])),
            Call::GpuTypes => drop(small(
                client.get_available_gpu_types(pb::GetAvailableGpuTypesRequest {}).await,
                &[Code::Ok],
            )),
            Call::Cleanup => drop(small(client.cleanup(pb::CleanupRequest {}).await, &[Code::Ok])),
            Call::Refresh => drop(small(client.refresh(pb::RefreshRequest {}).await, &[Code::Ok])),
            Call::TargetSize(id) => {
                let request = pb::NodeGroupTargetSizeRequest { id: id.clone() };
                small(client.node_group_target_size(request).await, &id_codes(id));
            }
            Call::Nodes(id) => {
                let request = pb::NodeGroupNodesRequest { id: id.clone() };
                small(client.node_group_nodes(request).await, &id_codes(id));
            }
            Call::Template(id) => {
                let codes = if id == SHAPELESS {
                    vec![Code::FailedPrecondition]
                } else {
                    id_codes(id)
                };
                let request = pb::NodeGroupTemplateNodeInfoRequest { id: id.clone() };
                small(client.node_group_template_node_info(request).await, &codes);
            }
            Call::Options(id, defaults) => {
                let request = pb::NodeGroupAutoscalingOptionsRequest {
                    id: id.clone(),
                    defaults: *defaults,
                };
                let answer = small(client.node_group_get_options(request).await, &id_codes(id));
                has_every_duration_or_nothing(answer.and_then(|answer| answer.node_group_autoscaling_options));
            }
            Call::Increase(..) | Call::Decrease(..) | Call::Delete(..) => unreachable!("no reads"),
        }
    }

    async fn described_if_any(&self, node: Option<&Node>) -> Option<pb::ExternalGrpcNode> {
        match node {
            Some(node) => Some(self.described(node).await),
            None => None,
        }
    }
}

fn is_known(id: &str) -> bool {
    id == SHAPELESS || GROUPS.contains(&id)
}

/// The instance that a node stands for, if it is one of this group.
fn instance_named_by(node: &pb::ExternalGrpcNode, group: &str) -> String {
    if node.provider_id.is_empty() {
        let launch = node.name.rsplit('-').next().unwrap_or_default();
        return format!("slicer://{group}/{launch}");
    }
    node.provider_id.clone()
}

fn node_price(node: Option<pb::ExternalGrpcNode>, times: &Times) -> pb::PricingNodePriceRequest {
    let [start_time, end_time, start_timestamp, end_timestamp] = *times;
    pb::PricingNodePriceRequest {
        node,
        start_time,
        end_time,
        start_timestamp,
        end_timestamp,
    }
}

fn pod_price(old: &[u8], new: &[u8], times: &Times) -> pb::PricingPodPriceRequest {
    let [start_time, end_time, start_timestamp, end_timestamp] = *times;
    pb::PricingPodPriceRequest {
        pod: old.to_vec(),
        pod_bytes: new.to_vec(),
        start_time,
        end_time,
        start_timestamp,
        end_timestamp,
    }
}

fn is_a_price(price: Option<f64>) {
    assert!(price.is_none_or(|price| price > 0.0 && price.is_finite()), "{price:?}");
}

/// What old clients crash upon, and new ones take for zero.
fn has_every_duration_or_nothing(options: Option<pb::NodeGroupAutoscalingOptions>) {
    let Some(options) = options else { return };
    assert!(options.scale_down_unneeded_time.is_some() && options.scale_down_unneeded_duration.is_some());
    assert!(options.scale_down_unready_time.is_some() && options.scale_down_unready_duration.is_some());
    assert!(options.max_node_provision_time.is_some() && options.max_node_provision_duration.is_some());
}

/// Most bytes of an answer about groups of so few nodes.
const SMALL: usize = 32 << 10;

fn code<T>(outcome: &Result<tonic::Response<T>, Status>) -> Code {
    outcome.as_ref().map_or_else(
        |status| {
            assert!(status.message().len() <= 1000, "{}", status.message());
            status.code()
        },
        |_| Code::Ok,
    )
}

/// The answer, if there is one. It has one of these codes and is small.
fn small<T: Message>(outcome: Result<tonic::Response<T>, Status>, codes: &[Code]) -> Option<T> {
    let code = code(&outcome);
    assert!(codes.contains(&code), "{:?}", outcome.err());
    let answer = outcome.ok()?.into_inner();
    assert!(answer.encoded_len() <= SMALL, "{} bytes", answer.encoded_len());
    Some(answer)
}

/// Messages as bytes, whatever they are.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

async fn send_bytes<S>(service: S, method: &str, message: Vec<u8>) -> Result<Vec<u8>, Status>
where
    S: tonic::client::GrpcService<tonic::body::Body>,
    S::ResponseBody: Send + 'static,
    <S::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut grpc = tonic::client::Grpc::new(service);
    grpc.ready().await.map_err(|_| Status::unavailable("not ready"))?;
    let path = format!("{SERVICE}/{method}").parse().unwrap();
    let answer = grpc.unary(tonic::Request::new(message), path, Bytes).await?;
    Ok(answer.into_inner())
}

/// Bytes that are no message, or a message of some other method, or one that was damaged.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        (id(), delta()).prop_map(|(id, delta)| pb::NodeGroupIncreaseSizeRequest { id, delta }.encode_to_vec()),
        (id(), delta()).prop_map(|(id, delta)| pb::NodeGroupDecreaseTargetSizeRequest { id, delta }.encode_to_vec()),
        (id(), prop::collection::vec(node(), 0..3)).prop_map(|(id, nodes)| {
            let nodes = nodes.into_iter().map(|node| node.otherwise).collect();
            pb::NodeGroupDeleteNodesRequest { id, nodes }.encode_to_vec()
        }),
        (node(), times()).prop_map(|(node, times)| node_price(Some(node.otherwise), &times).encode_to_vec()),
        (pod(), pod(), times()).prop_map(|(old, new, times)| pod_price(&old, &new, &times).encode_to_vec()),
        (id(), options()).prop_map(|(id, options)| {
            let defaults = Some(options);
            pb::NodeGroupAutoscalingOptionsRequest { id, defaults }.encode_to_vec()
        }),
    ]
    .boxed();
    let field =
        (0_u32..40, 0_u32..8, prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(number, kind, mut rest)| {
            rest.insert(0, u8::try_from((number << 3 | kind) & 0x7f).unwrap());
            rest
        });
    prop_oneof![
        2 => whole.clone(),
        3 => (whole, any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(|(mut bytes, at, byte, cut)| {
            let at = at.index(bytes.len() + 1);
            bytes.insert(at, byte);
            bytes.truncate(if cut { at } else { bytes.len() });
            bytes
        }),
        2 => prop::collection::vec(any::<u8>(), 0..80),
        2 => prop::collection::vec(field, 0..6).prop_map(|fields| fields.concat()),
        1 => (0_usize..3000).prop_map(|depth| [0x0a, 0x7f].repeat(depth)),
        1 => (0_usize..3000).prop_map(|depth| vec![0x0b; depth]),
        1 => Just([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f].repeat(3)),
    ]
}

/// What a message that cannot be read, or an order of bytes, may be answered with.
fn is_documented(status: &Status) -> bool {
    let expected = match status.code() {
        Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument | Code::OutOfRange => true,
        Code::Internal => status.message().starts_with("failed to decode Protobuf message"),
        _ => false,
    };
    expected && status.message().len() <= 1000
}

/// A whole HTTP request of a client that does not know gRPC well.
#[derive(Clone, Debug)]
struct RawRequest {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn raw_request() -> impl Strategy<Value = RawRequest> {
    let path = prop_oneof![
        8 => prop::sample::select(METHODS.to_vec()).prop_map(|method| format!("{SERVICE}/{method}")),
        1 => "/[A-Za-z./]{0,30}",
    ];
    let name = prop::sample::select(vec![
        "content-type",
        "grpc-encoding",
        "grpc-accept-encoding",
        "grpc-timeout",
        "te",
        "grpc-status",
        "x-bin",
        "x-bin-bin",
    ]);
    let value = prop_oneof![
        3 => prop::sample::select(vec![
            "application/grpc", "gzip", "identity", "zstd,gzip", "99999999S", "-1S", "", "text/html",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,20}",
    ];
    let headers = prop::collection::vec((name, value), 0..4);
    let body = (
        any::<u8>().prop_map(|flag| flag % 3),
        prop::option::of(any::<u32>()),
        message(),
    )
        .prop_map(|(flag, length, message)| {
            let length = length.unwrap_or(u32::try_from(message.len()).unwrap());
            [&[flag], length.to_be_bytes().as_slice(), &message].concat()
        });
    let body = prop_oneof![3 => body, 1 => prop::collection::vec(any::<u8>(), 0..20)];
    (path, headers, body).prop_map(|(path, headers, body)| RawRequest { path, headers, body })
}

async fn send_raw(service: InMemory, request: &RawRequest) -> (http::StatusCode, Option<Status>) {
    let mut raw = http::Request::post(&request.path).header("content-type", "application/grpc");
    for (name, value) in &request.headers {
        raw = raw.header(*name, value);
    }
    let body = tonic::body::Body::new(axum::body::Body::from(request.body.clone()));
    let response = service.oneshot(raw.body(body).unwrap()).await.unwrap();
    let (status, refusal) = (response.status(), Status::from_header_map(response.headers()));
    axum::body::to_bytes(axum::body::Body::new(response.into_body()), SMALL)
        .await
        .expect("a small body");
    (status, refusal)
}

/// Runs on a clock that stands still while anything is to be done.
fn on_paused_clock(test: impl AsyncFnOnce(&Scene)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async {
            let scene = Scene::new();
            tokio::time::sleep(Duration::from_secs(1)).await;
            test(&scene).await;
            scene.check().await;
        });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_conversation_of_any_calls_leaves_targets_that_the_granted_orders_explain(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        on_paused_clock(async |scene| {
            for step in &steps {
                scene.take(step).await;
                scene.check().await;
            }
        });
    }

    #[test]
    fn any_bytes_for_any_method_are_answered_or_refused_and_the_service_goes_on(
        messages in prop::collection::vec((prop::sample::select(METHODS.to_vec()), message()), 1..40),
    ) {
        on_paused_clock(async |scene| {
            for (method, message) in messages {
                for group in GROUPS {
                    scene.allow_to_go(scene.live(group).await); // bytes may turn out to be an order
                }
                match send_bytes(scene.service.clone(), method, message).await {
                    Ok(answer) => assert!(answer.len() <= SMALL, "{method}: {} bytes", answer.len()),
                    Err(status) => assert!(is_documented(&status), "{method}: {status:?}"),
                }
                scene.check().await;
            }
        });
    }

    #[test]
    fn requests_that_are_hardly_grpc_are_answered_in_few_words_and_the_service_goes_on(
        requests in prop::collection::vec(raw_request(), 1..40),
    ) {
        on_paused_clock(async |scene| {
            for request in &requests {
                for group in GROUPS {
                    scene.allow_to_go(scene.live(group).await);
                }
                let (status, refusal) = send_raw(scene.service.clone(), request).await;
                assert!(status == 200 || status == 415, "{status}");
                let refused_by_tonic = |status: &Status| matches!(status.code(), Code::Internal | Code::Unimplemented);
                let expected = refusal.as_ref().is_none_or(|status| is_documented(status) || refused_by_tonic(status));
                assert!(expected, "{refusal:?}");
                scene.check().await;
            }
        });
    }
}

/// A whole server before a simulated host.
struct Whole {
    runtime: Runtime,
    channel: tonic::transport::Channel,
    _host: support::Host,
    _server: Server,
}

static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (host, server, channel) = runtime.block_on(async {
        let host = support::host("agents").await;
        let group = support::nodegroup(
            "alpha",
            &host.running.url,
            &format!("host-group = agents\nmax-size = {MAX}"),
        );
        let server = support::start(&(support::global("") + &group)).await;
        let channel = support::channel(&server).await;
        support::wait_for_group(&mut CloudProviderClient::new(channel.clone()), "alpha").await;
        (host, server, channel)
    });
    Whole {
        runtime,
        channel,
        _host: host,
        _server: server,
    }
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_whole_server_goes_on_serving_whatever_bytes_come(
        messages in prop::collection::vec((prop::sample::select(METHODS.to_vec()), message()), 1..20),
    ) {
        WHOLE.runtime.block_on(async {
            let mut client = CloudProviderClient::new(WHOLE.channel.clone());
            let send = |(method, message)| send_bytes(WHOLE.channel.clone(), method, message);
            let calls = messages.into_iter().map(send);
            for outcome in futures::future::join_all(calls).await {
                assert!(outcome.as_ref().err().is_none_or(is_documented), "{outcome:?}");
            }
            let groups = client.node_groups(pb::NodeGroupsRequest {}).await.unwrap().into_inner();
            assert_eq!(groups.node_groups.len(), 1);
            assert!(support::target(&mut client, "alpha").await <= MAX.cast_signed());
        });
    }
}
