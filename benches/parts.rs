//! The parts that are on the way of every call or launch, one by one: `cargo bench`. Nothing here opens a socket; what a
//! loop of a cluster-autoscaler costs over one is measured by `examples/loadgen`.

#![allow(clippy::unwrap_used)] // a benchmark that cannot be set up ends

mod memory;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use divan::{Bencher, black_box};
use memory::{GROUP, Memory, node};
use slicer_cloud_provider::bootstrap::{Join, render};
use slicer_cloud_provider::config;
use slicer_cloud_provider::domain::ids::LaunchId;
use slicer_cloud_provider::domain::spec::{JoinSettings, K3sVersion};
use slicer_cloud_provider::grpc::pb::{
    NodeGroupForNodeRequest, NodeGroupNodesRequest, NodeGroupTemplateNodeInfoRequest,
};

/// How many instances there are.
const INSTANCES: [usize; 3] = [10, 1_000, 50_000];

fn main() {
    divan::main();
}

/// Reads and checks a configuration with so many node groups.
#[divan::bench(args = [1, 50, 500])]
fn ini(bencher: Bencher<'_, '_>, groups: usize) {
    let mut text = "[global]\nk3s-url = https://192.168.1.10:6443\nk3s-token = t\n".to_owned();
    for number in 0..groups {
        write!(
            text,
            "; host {number}\n[nodegroup \"pool-{number}\"]\nslicer-url = http://192.168.1.20:8080\nslicer-token = t\n\
             min-size = 0\nmax-size = 100\nnode-label = team=blue\nnode-taint = dedicated=batch:NoSchedule\n\
             scale-down-unneeded-time = 5m\nram = 4Gi\n"
        )
        .unwrap();
    }
    bencher.bench(|| config::parse(black_box(&text), Path::new("cloud-config")).unwrap());
}

/// Renders the userdata of one VM.
#[divan::bench]
fn userdata(bencher: Bencher<'_, '_>) {
    let settings = JoinSettings {
        k3s_url: "https://192.168.1.10:6443".to_owned(),
        version: K3sVersion::Server,
        channel: "stable".to_owned(),
        install_url: "https://get.k3s.io".to_owned(),
        artifact_url: None,
    };
    let labels = [
        "slicer/hostgroup",
        "k3sup.dev/node-type",
        "node.kubernetes.io/instance-type",
    ];
    let labels: BTreeMap<String, String> = labels.map(|key| (key.to_owned(), GROUP.to_owned())).into();
    let join = Join {
        settings: &settings,
        version: Some("v1.33.6+k3s1"),
        token_secret: "k3s-token-0123456789ab",
        group: &GROUP.parse().unwrap(),
        launch: &LaunchId::from_entropy(7),
        labels: &labels,
        taints: &["dedicated=batch:NoSchedule".parse().unwrap()],
        kubelet_args: &["max-pods=50".to_owned()],
    };
    bencher.bench(|| render(black_box(&join)).unwrap());
}

/// NodeGroupTemplateNodeInfo: makes a group's template and encodes it.
#[divan::bench]
fn template(bencher: Bencher<'_, '_>) {
    let memory = Memory::with(1).unwrap();
    bencher.bench(|| {
        let id = GROUP.to_owned();
        let request = NodeGroupTemplateNodeInfoRequest { id };
        let mut client = memory.client.clone();
        memory.run(async { client.node_group_template_node_info(request).await.unwrap() })
    });
}

/// NodeGroupForNode with so many instances.
#[divan::bench(args = INSTANCES)]
fn node_group_for_node(bencher: Bencher<'_, '_>, instances: usize) {
    let memory = Memory::with(instances).unwrap();
    let node = node(instances / 2).unwrap();
    bencher.with_inputs(|| node.clone()).bench_values(|node| {
        let request = NodeGroupForNodeRequest { node: Some(node) };
        let mut client = memory.client.clone();
        memory.run(async { client.node_group_for_node(request).await.unwrap() })
    });
}

/// NodeGroupNodes of a group with so many instances.
#[divan::bench(args = INSTANCES)]
fn node_group_nodes(bencher: Bencher<'_, '_>, instances: usize) {
    let memory = Memory::with(instances).unwrap();
    bencher.bench(|| {
        let id = GROUP.to_owned();
        let mut client = memory.client.clone();
        memory.run(async { client.node_group_nodes(NodeGroupNodesRequest { id }).await.unwrap() })
    });
}
