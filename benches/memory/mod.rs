//! A provider in memory with as many instances as wanted, behind the gRPC service, without a socket: what a call costs
//! when the network costs nothing. For the benchmarks, and for the goal that `loadgen look-up` holds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use slicer_cloud_provider::config;
use slicer_cloud_provider::domain::failure::{HostError, HostErrorKind, RequestFate};
use slicer_cloud_provider::domain::ids::{Hostname, InstanceId, LaunchId, NodeGroupId};
use slicer_cloud_provider::domain::vm::{HostGroup, UserdataState, Vm, VmStatus, VmTags};
use slicer_cloud_provider::grpc::Service;
use slicer_cloud_provider::grpc::pb::cloud_provider_client::CloudProviderClient;
use slicer_cloud_provider::grpc::pb::cloud_provider_server::CloudProviderServer;
use slicer_cloud_provider::grpc::pb::{ExternalGrpcNode, NodeGroupTargetSizeRequest};
use slicer_cloud_provider::kubernetes::NoCluster;
use slicer_cloud_provider::metrics::Metrics;
use slicer_cloud_provider::provider::ports::{SlicerHost, VmRequest};
use slicer_cloud_provider::provider::{Connect, Entropy, Parts, Provider, Timings};
use tokio::runtime::Runtime;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// The one node group.
pub(crate) const GROUP: &str = "k3s-agents-1";
const CLUSTER: &str = "bench";
/// Between two looks at whether all instances are there.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The keeper is not to list while somebody measures.
const NEVER: Duration = Duration::from_secs(86_400);
/// The answer to [`NodeGroupNodes`](slicer_cloud_provider::grpc::pb::NodeGroupNodesRequest) with very many instances.
const LARGEST_ANSWER: usize = 64 << 20;

/// A client that reaches the service without a socket.
pub(crate) type Client = CloudProviderClient<CloudProviderServer<Service>>;

/// The provider, until this is dropped.
pub(crate) struct Memory {
    /// What asks it.
    pub(crate) client: Client,
    runtime: Runtime,
    _end: DropGuard,
}

impl Memory {
    /// One group with so many instances, at least one.
    ///
    /// # Errors
    /// There is no runtime, or the provider does not start.
    pub(crate) fn with(instances: usize) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let shutdown = CancellationToken::new();
        let client = runtime.block_on(start(instances, shutdown.clone()))?;
        Ok(Self {
            client,
            runtime,
            _end: shutdown.drop_guard(),
        })
    }

    /// Makes calls and waits for them.
    pub(crate) fn run<T>(&self, calls: impl Future<Output = T>) -> T {
        self.runtime.block_on(calls)
    }
}

async fn start(instances: usize, shutdown: CancellationToken) -> Result<Client, String> {
    let text = format!(
        "[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token = t\ncluster-name = {CLUSTER}\n[nodegroup \"{GROUP}\"]\n\
         slicer-url = http://127.0.0.1:1\nslicer-token = t\nmax-size = 10000\n"
    );
    let config = config::parse(&text, Path::new("cloud-config")).map_err(|error| error.to_string())?;
    let host: Arc<dyn SlicerHost> = Arc::new(StillHost { vms: vms(instances)? });
    let connect: Connect = Arc::new(move |_, _| Ok(Arc::clone(&host)));
    let parts = Parts {
        connect,
        cluster: Arc::new(NoCluster),
        metrics: Arc::new(Metrics::new()),
        entropy: Entropy::of_system(),
        timings: Timings {
            poll_idle: NEVER,
            ..Timings::default()
        },
        tracker: TaskTracker::new(),
        shutdown,
    };
    let provider = Provider::start(&config, parts)?;
    let service = CloudProviderServer::new(Service::new(provider));
    let mut client = CloudProviderClient::new(service).max_decoding_message_size(LARGEST_ANSWER);
    while target(&mut client).await? != instances {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(client)
}

async fn target(client: &mut Client) -> Result<usize, String> {
    let id = GROUP.to_owned();
    let answer = client.node_group_target_size(NodeGroupTargetSizeRequest { id }).await;
    let size = answer.map_err(|status| status.to_string())?.into_inner().target_size;
    usize::try_from(size).map_err(|error| error.to_string())
}

fn launch(number: usize) -> LaunchId {
    LaunchId::from_entropy(u64::try_from(number).unwrap_or_default())
}

fn group() -> Result<NodeGroupId, String> {
    GROUP.parse().map_err(|error| format!("{GROUP}: {error}"))
}

fn vms(count: usize) -> Result<Vec<Vm>, String> {
    let vm = |number| {
        let tags = VmTags {
            cluster: CLUSTER.parse().map_err(|error| format!("{CLUSTER}: {error}"))?,
            node_group: group()?,
            launch: launch(number),
        };
        Ok(Vm {
            hostname: Hostname::from(format!("{GROUP}-{}", number + 1).as_str()),
            tags: tags.to_tags(),
            cpus: None,
            ram_bytes: None,
            created_at: None,
            status: VmStatus::Running,
        })
    };
    (0..count).map(vm).collect()
}

/// The Node of an instance as a cluster-autoscaler describes it.
///
/// # Errors
/// The name of the group cannot be one.
pub(crate) fn node(number: usize) -> Result<ExternalGrpcNode, String> {
    let launch = launch(number);
    let hostname = format!("{GROUP}-{}", number + 1);
    let labels = [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/instance-type", "slicer-2cpu-4gi"),
        ("beta.kubernetes.io/os", "linux"),
        ("k3sup.dev/node-type", "agent"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("node.kubernetes.io/instance-type", "slicer-2cpu-4gi"),
        ("slicer/hostgroup", GROUP),
        ("slicer/hostname", &hostname),
    ];
    Ok(ExternalGrpcNode {
        provider_id: InstanceId::of_launch(&group()?, &launch).to_string(),
        name: format!("{hostname}-{launch}"),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..ExternalGrpcNode::default()
    })
}

/// A host whose VMs all run, and at which nothing ever changes.
#[derive(Debug)]
struct StillHost {
    vms: Vec<Vm>,
}

#[async_trait]
impl SlicerHost for StillHost {
    async fn host_groups(&self) -> Result<Vec<HostGroup>, HostError> {
        Ok(vec![HostGroup {
            name: GROUP.to_owned(),
            cpus: Some(2),
            ram_bytes: Some(4 << 30),
            gpu_count: None,
            arch: None,
        }])
    }

    async fn list_vms(&self, _: &str, _: Option<&str>) -> Result<Vec<Vm>, HostError> {
        Ok(self.vms.clone())
    }

    async fn create_vm(&self, _: &str, _: &VmRequest) -> Result<Hostname, HostError> {
        Err(still())
    }

    async fn delete_vm(&self, _: &str, _: &Hostname) -> Result<(), HostError> {
        Err(still())
    }

    async fn ensure_secret(&self, _: &str, _: &SecretString) -> Result<(), HostError> {
        Err(still())
    }

    async fn userdata_state(&self, _: &Hostname) -> Result<UserdataState, HostError> {
        Ok(UserdataState::Exited(0))
    }

    async fn serial_log_tail(&self, _: &Hostname, _: u32) -> Result<String, HostError> {
        Err(still())
    }
}

fn still() -> HostError {
    HostError {
        kind: HostErrorKind::Broken,
        fate: RequestFate::NotDone,
        message: "nothing changes here".to_owned(),
    }
}
