//! The demo's driver: it makes the calls that a cluster-autoscaler makes, over gRPC, and prints what comes of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};

use crate::grpc::pb::cloud_provider_client::CloudProviderClient;
use crate::grpc::pb::instance_status::InstanceState;
use crate::grpc::pb::{
    ExternalGrpcNode, Instance, NodeGroup, NodeGroupDeleteNodesRequest, NodeGroupIncreaseSizeRequest,
    NodeGroupNodesRequest, NodeGroupTargetSizeRequest, NodeGroupsRequest, RefreshRequest,
};
use crate::simulator::Simulator;

/// How long any step of the story may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A loop of the driver. (A cluster-autoscaler's takes 10 s.)
const LOOP: Duration = Duration::from_millis(200);

/// A client with a clock for its story.
pub(super) struct Driver {
    client: CloudProviderClient<Channel>,
    begun: Instant,
    seen: BTreeMap<String, String>,
}

/// Tells the whole story.
pub(super) async fn play(mut driver: Driver, attic: &Simulator) -> Result<(), String> {
    let groups = driver.wait_for_groups(2).await?;
    driver.say("NodeGroups: the cluster-autoscaler learns what there is");
    for group in &groups {
        driver.detail(&format!(
            "{} ({} to {} nodes): {}",
            group.id, group.min_size, group.max_size, group.debug
        ));
    }

    driver.say("Up from zero: 3 pods do not fit, so garage is to grow by 3");
    driver.increase("garage", 3).await?;
    driver.watch("garage", |instances| running(instances) == 3).await?;

    driver.say("A host without room: attic is to grow by 4, but has room for 3");
    driver.increase("attic", 4).await?;
    driver
        .watch("attic", |instances| {
            running(instances) == 3 && failed(instances).len() == 1
        })
        .await?;
    driver.say("The failed instance is deleted, attic is backed off, and garage gets its pod");
    let failures = driver.instances("attic").await?;
    driver.delete("attic", failed(&failures)).await?;
    driver.increase("garage", 1).await?;
    driver.watch("garage", |instances| running(instances) == 4).await?;

    driver.say("A host that is down: attic is switched off, and every answer still comes at once");
    attic.down(None);
    let asked = Instant::now();
    let listed = driver.instances("attic").await?.len();
    let target = driver.target_size("garage").await?;
    driver.detail(&format!(
        "attic lists {listed} instances, garage's target size is {target}; answered in {} ms",
        asked.elapsed().as_millis()
    ));
    attic.up();

    driver.say("Down to zero: the nodes are idle, so all of them are deleted");
    for group in ["garage", "attic"] {
        let all = driver.instances(group).await?;
        driver.delete(group, all).await?;
        driver.watch(group, <[Instance]>::is_empty).await?;
    }
    driver.say("Nothing is left");
    Ok(())
}

impl Driver {
    pub(super) async fn connect(address: &str) -> Result<Self, String> {
        let uri = if address.starts_with("unix:") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        // `Channel::from_shared` does not know unix sockets.
        let endpoint = Endpoint::from_shared(uri).map_err(|error| error.to_string())?;
        let channel = endpoint.timeout(Duration::from_secs(5)).connect().await;
        Ok(Self {
            client: CloudProviderClient::new(channel.map_err(|error| format!("cannot connect to {address}: {error}"))?),
            begun: Instant::now(),
            seen: BTreeMap::new(),
        })
    }

    fn say(&self, text: &str) {
        println!("\n{:6.1} s  {text}", self.begun.elapsed().as_secs_f32());
    }

    fn detail(&self, text: &str) {
        println!("{:6.1} s    {text}", self.begun.elapsed().as_secs_f32());
    }

    async fn wait_for_groups(&mut self, count: usize) -> Result<Vec<NodeGroup>, String> {
        let begun = Instant::now();
        loop {
            self.client.refresh(RefreshRequest {}).await.map_err(text)?;
            let groups = self.client.node_groups(NodeGroupsRequest {}).await.map_err(text)?;
            let groups = groups.into_inner().node_groups;
            if groups.len() == count {
                return Ok(groups);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("only {} node groups appeared", groups.len()));
            }
            tokio::time::sleep(LOOP).await;
        }
    }

    async fn increase(&mut self, group: &str, delta: i32) -> Result<(), String> {
        let asked = Instant::now();
        let id = group.to_owned();
        self.client
            .node_group_increase_size(NodeGroupIncreaseSizeRequest { delta, id })
            .await
            .map_err(text)?;
        let millis = asked.elapsed().as_millis();
        let target = self.target_size(group).await?;
        self.detail(&format!(
            "NodeGroupIncreaseSize({group}, {delta}) answered in {millis} ms; target size {target}"
        ));
        Ok(())
    }

    async fn delete(&mut self, group: &str, instances: Vec<Instance>) -> Result<(), String> {
        let count = instances.len();
        let as_node = |instance: Instance| ExternalGrpcNode {
            provider_id: instance.id.clone(),
            name: instance.id,
            ..ExternalGrpcNode::default()
        };
        let request = NodeGroupDeleteNodesRequest {
            id: group.to_owned(),
            nodes: instances.into_iter().map(as_node).collect(),
        };
        self.client.node_group_delete_nodes(request).await.map_err(text)?;
        let target = self.target_size(group).await?;
        self.detail(&format!(
            "NodeGroupDeleteNodes({group}, {count} nodes); target size {target}"
        ));
        Ok(())
    }

    async fn target_size(&mut self, group: &str) -> Result<i32, String> {
        let request = NodeGroupTargetSizeRequest { id: group.to_owned() };
        let answer = self.client.node_group_target_size(request).await.map_err(text)?;
        Ok(answer.into_inner().target_size)
    }

    async fn instances(&mut self, group: &str) -> Result<Vec<Instance>, String> {
        let request = NodeGroupNodesRequest { id: group.to_owned() };
        let answer = self.client.node_group_nodes(request).await.map_err(text)?;
        Ok(answer.into_inner().instances)
    }

    /// Prints every change of the group's instances until they are as wanted.
    async fn watch(&mut self, group: &str, wanted: impl Fn(&[Instance]) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let instances = self.instances(group).await?;
            self.print_changes(group, &instances);
            if wanted(&instances) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!(
                    "node group {group} did not get there within {} s",
                    PATIENCE.as_secs()
                ));
            }
            tokio::time::sleep(LOOP).await;
        }
    }

    fn print_changes(&mut self, group: &str, instances: &[Instance]) {
        let now: BTreeMap<String, String> = instances.iter().map(|i| (i.id.clone(), describe(i))).collect();
        for (id, state) in &now {
            if self.seen.get(id) != Some(state) {
                self.detail(&format!("{id}  {state}"));
            }
        }
        let prefix = format!("slicer://{group}/");
        let gone = self
            .seen
            .keys()
            .filter(|id| id.starts_with(&prefix) && !now.contains_key(*id));
        for id in gone {
            self.detail(&format!("{id}  gone"));
        }
        self.seen.retain(|id, _| !id.starts_with(&prefix));
        self.seen.extend(now);
    }
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn text(status: tonic::Status) -> String {
    format!("the server answered {:?}: {}", status.code(), status.message())
}

fn describe(instance: &Instance) -> String {
    let Some(status) = &instance.status else {
        return "?".to_owned();
    };
    if let Some(error) = &status.error_info {
        let class = if error.instance_error_class == 1 {
            "out of resources"
        } else {
            "other error"
        };
        return format!(
            "Creating, {} (class {}, {class}): {}",
            error.error_code, error.instance_error_class, error.error_message
        );
    }
    match status.instance_state() {
        InstanceState::InstanceRunning => "Running",
        InstanceState::InstanceCreating => "Creating",
        InstanceState::InstanceDeleting => "Deleting",
        InstanceState::Unspecified => "?",
    }
    .to_owned()
}

fn running(instances: &[Instance]) -> usize {
    let state = |i: &&Instance| i.status.as_ref().map(pb_state) == Some(InstanceState::InstanceRunning);
    instances.iter().filter(state).count()
}

fn pb_state(status: &crate::grpc::pb::InstanceStatus) -> InstanceState {
    status.instance_state()
}

fn failed(instances: &[Instance]) -> Vec<Instance> {
    let has_error = |i: &&Instance| i.status.as_ref().is_some_and(|status| status.error_info.is_some());
    instances.iter().filter(has_error).cloned().collect()
}
