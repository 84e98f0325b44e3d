//! The account of the Helm chart is enough for the provider's work, and the API server takes the events that it writes.
//! Instead of a cluster-autoscaler, this asks for what one asks for.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use slicer_cloud_provider::grpc::pb;
use slicer_cloud_provider::grpc::pb::cloud_provider_client::CloudProviderClient;
use tonic::transport::{Channel, Endpoint};

use super::{Alone, expect};
use crate::chart::{Chart, HELM, Installed};
use crate::control_plane::{self, API_SERVER, ControlPlane, ETCD};
use crate::hosts::{self, Group, Host};
use crate::provider::{POD, Provider, Setup};
use crate::sight::Sight;
use crate::{Failure, Places};

/// The node group.
const GROUP: &str = "garage";
/// How long anything awaited may take: longer than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The cluster-autoscaler's own limit for most calls.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The provider's own part of the chart.
pub(super) const CHART_ACCOUNT: Alone = Alone {
    name: "chart-account",
    about: "with the account of the Helm chart, VMs are launched and removed with their Nodes, and events tell of it",
    needs: &[HELM, ETCD, API_SERVER],
    story: |places| Box::pin(life_of_some_vms(places)),
};

async fn life_of_some_vms(places: &Places) -> Result<(), Failure> {
    let control_plane = ControlPlane::start_api_server(places).await?;
    let installed = Chart::new(places, &control_plane).install().await?;
    refused_all_else(&installed).await?;
    let create = Duration::from_millis(200);
    let host = Host::start(
        "garage",
        vec![Group::new(GROUP, 4)],
        create,
        &control_plane.admin_kubeconfig,
    )
    .await?;
    let mut play = Play::begin(places, control_plane, installed, host).await?;
    let told = play.tell().await;
    if told.is_err() {
        println!("{}{}", play.provider.program.tail(), play.control_plane.tails());
    }
    play.provider.program.stop().await;
    play.hosts.pop().unwrap().stop().await;
    told
}

/// Tries what would give the cluster away.
async fn refused_all_else(installed: &Installed) -> Result<(), Failure> {
    let client = control_plane::client(&installed.provider_kubeconfig).await?;
    for (method, path) in [
        ("GET", "/api/v1/namespaces/kube-system/secrets"),
        ("GET", "/api/v1/namespaces/scaling/secrets"),
        ("DELETE", "/api/v1/namespaces/default/secrets/any"),
        ("GET", "/api/v1/pods"),
        ("DELETE", "/api/v1/namespaces/kube-system/pods/any"),
        ("DELETE", "/apis/apps/v1/namespaces/kube-system/deployments/any"),
    ] {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(Vec::new())
            .unwrap();
        match client.request_text(request).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            other => return Err(format!("{method} {path} is not forbidden, but {other:?}")),
        }
    }
    Ok(())
}

struct Play {
    control_plane: ControlPlane,
    namespace: &'static str,
    hosts: Vec<Host>,
    provider: Provider,
    client: CloudProviderClient<Channel>,
}

impl Play {
    async fn begin(
        places: &Places,
        control_plane: ControlPlane,
        installed: Installed,
        host: Host,
    ) -> Result<Self, Failure> {
        let hosts = vec![host];
        let setup = Setup {
            folder: &places.logs,
            kubeconfig: &installed.provider_kubeconfig,
            namespace: installed.namespace,
            config: hosts::configuration(&hosts),
            tls: None,
        };
        let provider = Provider::start(places, &setup).await?;
        let channel = Endpoint::from_shared(format!("http://{}", provider.address())).unwrap();
        let channel = channel.timeout(ANSWERED_WITHIN).connect().await;
        Ok(Self {
            client: CloudProviderClient::new(channel.map_err(|error| error.to_string())?),
            namespace: installed.namespace,
            control_plane,
            hosts,
            provider,
        })
    }

    async fn tell(&mut self) -> Result<(), Failure> {
        let checked = self.provider.check().await?;
        expect(checked.contains("grants what is needed"), || {
            format!("check says\n{checked}")
        })?;
        self.increase(2).await?;
        self.wait("two Nodes", |now| now.nodes.len() == 2).await?;
        self.wait_for_event(self.namespace, POD, "VmLaunched").await?;
        let first = self.nodes().await?.remove(0);
        self.delete(&first).await?;
        self.wait("one Node", |now| now.nodes.len() == 1 && now.vms() == 1)
            .await?;
        self.wait_for_event(self.namespace, POD, "VmRemoved").await?;
        self.hosts[0].has_room_for(1);
        self.increase(1).await?;
        self.wait_for_event(self.namespace, POD, "InstanceFailed").await?;
        let second = self.nodes().await?.remove(0);
        self.hosts[0].restarts();
        self.wait("nothing", Sight::nothing_left).await?;
        self.wait_for_event(
            "default",
            second.metadata.name.as_deref().unwrap_or_default(),
            "StaleNodeRemoved",
        )
        .await?;
        let program = &self.provider.program;
        expect(program.count(|line| line.contains("forbidden")) == 0, || {
            "something was forbidden".to_owned()
        })
    }

    async fn increase(&mut self, delta: i32) -> Result<(), Failure> {
        let request = pb::NodeGroupIncreaseSizeRequest {
            delta,
            id: GROUP.to_owned(),
        };
        let answer = self.client.node_group_increase_size(request).await;
        answer.map(drop).map_err(|status| status.to_string())
    }

    async fn delete(&mut self, node: &Node) -> Result<(), Failure> {
        let node = pb::ExternalGrpcNode {
            name: node.metadata.name.clone().unwrap_or_default(),
            provider_id: node
                .spec
                .as_ref()
                .and_then(|spec| spec.provider_id.clone())
                .unwrap_or_default(),
            ..pb::ExternalGrpcNode::default()
        };
        let request = pb::NodeGroupDeleteNodesRequest {
            nodes: vec![node],
            id: GROUP.to_owned(),
        };
        let answer = self.client.node_group_delete_nodes(request).await;
        answer.map(drop).map_err(|status| status.to_string())
    }

    async fn nodes(&self) -> Result<Vec<Node>, Failure> {
        let nodes: Api<Node> = Api::all(self.control_plane.client.clone());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?;
        Ok(nodes.items)
    }

    /// Waits, and refreshes as a cluster-autoscaler does.
    async fn wait(&mut self, what: &str, wanted: impl Fn(&Sight) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            self.go_on(what, begun).await?;
            let now = Sight::now(&self.hosts, &self.control_plane.client, self.namespace).await?;
            if wanted(&now) {
                return Ok(());
            }
        }
    }

    async fn wait_for_event(&mut self, namespace: &str, about: &str, reason: &str) -> Result<(), Failure> {
        let events: Api<Event> = Api::namespaced(self.control_plane.client.clone(), namespace);
        let begun = Instant::now();
        loop {
            self.go_on(&format!("the event {reason} about {about}"), begun).await?;
            let all = events
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let is_wanted = |event: &&Event| {
                let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
                regarding == Some(about) && event.reason.as_deref() == Some(reason)
            };
            if let Some(event) = all.items.iter().find(is_wanted) {
                println!(
                    "[chart-account] {reason}: {}",
                    event.note.as_deref().unwrap_or_default()
                );
                return Ok(());
            }
        }
    }

    async fn go_on(&mut self, what: &str, begun: Instant) -> Result<(), Failure> {
        self.provider.program.still_runs()?;
        self.control_plane.still_runs()?;
        expect(begun.elapsed() < PATIENCE, || format!("waited in vain for {what}"))?;
        let refreshed = self.client.refresh(pb::RefreshRequest {}).await;
        refreshed.map_err(|status| status.to_string())?;
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(())
    }
}
