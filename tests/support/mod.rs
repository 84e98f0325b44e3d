//! A whole server in the test's process: real listeners, real REST calls, simulated Slicer hosts.

#![allow(dead_code)] // each test binary uses its own part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slicer_cloud_provider::config;
use slicer_cloud_provider::grpc::pb::cloud_provider_client::CloudProviderClient;
use slicer_cloud_provider::grpc::pb::{self, instance_status::InstanceState};
use slicer_cloud_provider::kubernetes::NoCluster;
use slicer_cloud_provider::provider::Timings;
use slicer_cloud_provider::provider::ports::Cluster;
use slicer_cloud_provider::server::{Options, Server, TlsFiles};
use slicer_cloud_provider::simulator::{
    RunningSimulator, ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig, Timing,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

/// The API token of every simulated host.
pub(crate) const SLICER_TOKEN: &str = "slicer-token-that-nobody-may-see";
/// The join token.
pub(crate) const K3S_TOKEN: &str = "join-token-that-nobody-may-see";

/// A simulated host with its address.
pub(crate) struct Host {
    pub(crate) simulator: Simulator,
    pub(crate) running: RunningSimulator,
}

/// A host with one host group of 2 CPUs and 4 GiB; quick, but not instant.
pub(crate) async fn host(group: &str) -> Host {
    let mut described = SimulatedGroup::new(group, 2, 4 << 30);
    described.gpu_count = 0;
    host_of(vec![described]).await
}

pub(crate) async fn host_of(groups: Vec<SimulatedGroup>) -> Host {
    let config = SimulatorConfig {
        token: Some(SLICER_TOKEN.into()),
        groups,
        timing: Timing {
            create: Duration::from_millis(50),
            delete: Duration::from_millis(20),
            boot: Duration::from_millis(50),
            userdata: Duration::from_millis(50),
        },
        ..SimulatorConfig::default()
    };
    let agent = ScriptedAgent {
        userdata_time: Duration::from_millis(50),
    };
    let simulator = Simulator::new(config, Arc::new(agent));
    let running = simulator.spawn_on_loopback().await.unwrap();
    Host { simulator, running }
}

/// `[global]` with these further lines.
pub(crate) fn global(lines: &str) -> String {
    format!("[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token = {K3S_TOKEN}\ndefault-min-size = 0\n{lines}\n")
}

/// `[nodegroup "..."]` on a host, with these further lines.
pub(crate) fn nodegroup(name: &str, url: &str, lines: &str) -> String {
    format!("[nodegroup \"{name}\"]\nslicer-url = {url}\nslicer-token = {SLICER_TOKEN}\n{lines}\n")
}

/// Nothing waits longer than a test likes to.
pub(crate) fn quick() -> Timings {
    let mut timings = Timings {
        poll_idle: Duration::from_millis(500),
        poll_busy: Duration::from_millis(100),
        poll_gap: Duration::from_millis(20),
        poll_down_max: Duration::from_millis(200),
        unreachable: Duration::from_millis(800),
        look_up: Duration::from_secs(2),
        retry: Duration::from_millis(50),
        delete_retry: Duration::from_millis(50),
        quiet: Duration::from_secs(2),
        ..Timings::default()
    };
    timings.patience.vanish = Duration::from_millis(100);
    timings
}

/// Starts the server on free ports.
pub(crate) async fn start(config: &str) -> Server {
    start_with(config, Arc::new(NoCluster), None).await
}

pub(crate) async fn start_with(text: &str, cluster: Arc<dyn Cluster>, tls: Option<TlsFiles>) -> Server {
    let config = config::parse(text, Path::new("cloud-config")).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        tls,
        timings: quick(),
    };
    Server::start(&config, &options, cluster, TaskTracker::new(), CancellationToken::new())
        .await
        .unwrap()
}

pub(crate) type Client = CloudProviderClient<Channel>;

pub(crate) async fn channel(server: &Server) -> Channel {
    let uri = format!("http://{}", server.grpc_address());
    Channel::from_shared(uri).unwrap().connect().await.unwrap()
}

pub(crate) async fn client(server: &Server) -> Client {
    CloudProviderClient::new(channel(server).await)
}

/// Waits until `probe` gives something, and fails with `what` after ten seconds.
pub(crate) async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(10), what, probe).await
}

/// The same with another limit.
pub(crate) async fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < limit, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the group is listed.
pub(crate) async fn wait_for_group(client: &mut Client, id: &str) -> pb::NodeGroup {
    let what = format!("node group {id} listed");
    eventually(&what, async || {
        let groups = client.node_groups(pb::NodeGroupsRequest {}).await.unwrap();
        groups.into_inner().node_groups.into_iter().find(|group| group.id == id)
    })
    .await
}

pub(crate) async fn increase(client: &mut Client, id: &str, delta: i32) -> Result<(), tonic::Status> {
    let id = id.to_owned();
    let request = pb::NodeGroupIncreaseSizeRequest { delta, id };
    client.node_group_increase_size(request).await.map(drop)
}

pub(crate) async fn decrease(client: &mut Client, id: &str, delta: i32) -> Result<(), tonic::Status> {
    let id = id.to_owned();
    let request = pb::NodeGroupDecreaseTargetSizeRequest { delta, id };
    client.node_group_decrease_target_size(request).await.map(drop)
}

pub(crate) async fn target(client: &mut Client, id: &str) -> i32 {
    let request = pb::NodeGroupTargetSizeRequest { id: id.to_owned() };
    client
        .node_group_target_size(request)
        .await
        .unwrap()
        .into_inner()
        .target_size
}

pub(crate) async fn instances(client: &mut Client, id: &str) -> Vec<pb::Instance> {
    let request = pb::NodeGroupNodesRequest { id: id.to_owned() };
    client.node_group_nodes(request).await.unwrap().into_inner().instances
}

pub(crate) fn state(instance: &pb::Instance) -> InstanceState {
    instance.status.as_ref().unwrap().instance_state()
}

pub(crate) fn error_of(instance: &pb::Instance) -> Option<&pb::InstanceErrorInfo> {
    instance.status.as_ref().unwrap().error_info.as_ref()
}

/// Waits until the group has so many instances in this state, and returns them.
pub(crate) async fn wait_for(client: &mut Client, id: &str, count: usize, wanted: InstanceState) -> Vec<pb::Instance> {
    let what = format!("{count} instances of {id} {wanted:?}");
    eventually(&what, async || {
        let all = instances(client, id).await;
        let matching: Vec<pb::Instance> = all.into_iter().filter(|instance| state(instance) == wanted).collect();
        (matching.len() == count).then_some(matching)
    })
    .await
}

/// What the cluster-autoscaler makes of an instance without a Node.
pub(crate) fn fake_node(id: &str) -> pb::ExternalGrpcNode {
    pb::ExternalGrpcNode {
        provider_id: id.to_owned(),
        name: id.to_owned(),
        ..pb::ExternalGrpcNode::default()
    }
}

pub(crate) async fn delete(client: &mut Client, id: &str, instances: &[String]) -> Result<(), tonic::Status> {
    let request = pb::NodeGroupDeleteNodesRequest {
        id: id.to_owned(),
        nodes: instances.iter().map(|instance| fake_node(instance)).collect(),
    };
    client.node_group_delete_nodes(request).await.map(drop)
}

pub(crate) fn ids(instances: &[pb::Instance]) -> Vec<String> {
    instances.iter().map(|instance| instance.id.clone()).collect()
}
