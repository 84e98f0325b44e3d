//! The outside of the provider, faked: two Slicer hosts and a cluster that remember what was done to them, misbehave
//! as they are told, and note every request that must never be made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use slicer_cloud_provider::domain::failure::{HostError, HostErrorKind, RequestFate};
use slicer_cloud_provider::domain::ids::{Hostname, InstanceId, NodeName};
use slicer_cloud_provider::domain::moment::UnixSeconds;
use slicer_cloud_provider::domain::node::NodeRecord;
use slicer_cloud_provider::domain::vm::{Architecture, HostGroup, UserdataState, Vm, VmStatus, VmTags};
use slicer_cloud_provider::provider::ports::{
    Cluster, ClusterError, ClusterStatus, NodeSnapshot, SlicerHost, VmRequest,
};

/// What the next create on a host comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CreateFault {
    /// No room: 500 with text.
    Full,
    /// The VM is created, the answer is lost.
    AnswerLost,
    /// The connection breaks before the host did anything.
    RequestLost,
    /// The VM is created, the answer is nonsense.
    Nonsense,
    /// No answer in time; the VM is created a while later.
    Late,
    /// 400.
    Refused,
    /// 500 for no reason.
    Broken,
}

#[derive(Debug, Default)]
pub(crate) struct Host {
    vms: BTreeMap<Hostname, Vm>,
    counter: u32,
    late: Vec<Vec<String>>,
    /// How often the daemon restarted: connections do not survive that.
    restarts: u32,
    /// VMs still to appear when the provider was killed: nobody can know of them before they do.
    pub(crate) forgotten: usize,
    pub(crate) create_faults: VecDeque<CreateFault>,
    pub(crate) down: bool,
    /// While it is down, nobody even refuses: connecting takes so long.
    pub(crate) connect_time: Duration,
    pub(crate) list_faults: u32,
    /// How often it was asked for anything, and how often of that for the VM of one launch.
    pub(crate) asked: u32,
    pub(crate) looked_up: u32,
    /// The next listing is empty although there are VMs, as that of a daemon that has just started. Once in a test:
    /// two of them in a row would be proof.
    forgetful: Option<bool>,
    pub(crate) delete_faults: u32,
    /// How long a VM takes to come beyond the usual.
    pub(crate) create_time: Duration,
    /// How long a VM takes to go once the host was asked.
    pub(crate) delete_time: Duration,
    /// VMs whose agent does not answer, for as long as anybody waits.
    pub(crate) mute_agents: BTreeSet<Hostname>,
}

/// Everything outside the provider, and the verdicts.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) hosts: [Host; 2],
    nodes: BTreeMap<NodeName, Arc<NodeRecord>>,
    snapshot: Arc<BTreeMap<NodeName, Arc<NodeRecord>>>,
    /// Instances that somebody asked to be removed or given up.
    pub(crate) asked: BTreeSet<InstanceId>,
    clock: i64,
    /// How much the cluster can tell; `Live` unless something else is set.
    pub(crate) cluster_status: Option<ClusterStatus>,
    /// What agents that answer say.
    pub(crate) userdata: Option<UserdataState>,
    /// Requests that must never be made.
    pub(crate) violations: Vec<String>,
}

pub(crate) type SharedWorld = Arc<Mutex<World>>;

impl World {
    pub(crate) fn vms(&self, host: usize) -> Vec<Vm> {
        self.hosts[host].vms.values().cloned().collect()
    }

    /// The instances of the VMs that carry our tags.
    pub(crate) fn ours(&self, host: usize) -> BTreeSet<InstanceId> {
        self.hosts[host].vms.values().filter_map(instance_of).collect()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<NodeRecord>> {
        self.nodes.values().cloned().collect()
    }

    /// VMs that were late are there now.
    pub(crate) fn let_late_vms_appear(&mut self) {
        for host in 0..2 {
            for tags in std::mem::take(&mut self.hosts[host].late) {
                self.create(host, tags);
            }
        }
    }

    /// The provider was killed: of requests that the host is still at, it knows nothing any more.
    pub(crate) fn forget_late_vms(&mut self) {
        for host in &mut self.hosts {
            host.forgotten += host.late.len();
        }
    }

    fn create(&mut self, host: usize, tags: Vec<String>) -> Hostname {
        // Asked for anew after the first VM went down with its host is no second VM.
        if let Some(tags) = VmTags::read(&tags)
            && self.hosts[host]
                .vms
                .values()
                .any(|vm| VmTags::read(&vm.tags).as_ref() == Some(&tags))
        {
            self.violations
                .push(format!("launch {} was created twice", tags.launch));
        }
        self.clock += 1;
        let host = &mut self.hosts[host];
        host.counter += 1;
        let hostname = Hostname::from(format!("agents-{}", host.counter).as_str());
        let vm = Vm {
            hostname: hostname.clone(),
            tags,
            cpus: Some(2),
            ram_bytes: Some(4 << 30),
            created_at: Some(UnixSeconds(1_000_000 + self.clock)),
            status: VmStatus::Running,
        };
        host.vms.insert(hostname.clone(), vm);
        hostname
    }

    /// The agents of these instances' VMs do not answer.
    pub(crate) fn mute_agents_of(&mut self, host: usize, instances: &BTreeSet<InstanceId>) {
        let host = &mut self.hosts[host];
        let theirs = host
            .vms
            .values()
            .filter(|vm| instance_of(vm).is_some_and(|id| instances.contains(&id)));
        host.mute_agents = theirs.map(|vm| vm.hostname.clone()).collect();
    }

    /// A second VM with the tags of the first; its name.
    pub(crate) fn duplicate_first(&mut self, host: usize) -> Hostname {
        let mut copy = self.vms(host).remove(0);
        let host = &mut self.hosts[host];
        host.counter += 1;
        copy.hostname = Hostname::from(format!("agents-{}", host.counter).as_str());
        host.vms.insert(copy.hostname.clone(), copy.clone());
        copy.hostname
    }

    /// A VM that is none of our business, under a name that is free.
    pub(crate) fn create_foreign_named(&mut self, host: usize, hostname: &Hostname) {
        let mut stranger = self.vms(host).remove(0);
        (stranger.hostname, stranger.tags) = (hostname.clone(), vec!["team=somebody-else".to_owned()]);
        assert!(self.hosts[host].vms.insert(hostname.clone(), stranger).is_none());
    }

    /// A VM that the fork made, with its Node: no tags of ours, labels and a provider ID of its own.
    pub(crate) fn create_forked(&mut self, host: usize, group: &str) -> InstanceId {
        let hostname = self.create(host, vec!["made-by=the-fork".to_owned()]);
        let name = NodeName::from(format!("{hostname}-99aa88bb").as_str());
        let node = NodeRecord {
            uid: format!("uid-{name}"),
            provider_id: format!("k3s://{name}"),
            labels: BTreeMap::from([
                ("slicer/hostname".to_owned(), hostname.to_string()),
                ("slicer/hostgroup".to_owned(), group.to_owned()),
            ])
            .into(),
            capacity: Arc::default(),
            allocatable: Arc::default(),
            ready: true,
            created_at: self.hosts[host].vms[&hostname].created_at,
            name: name.clone(),
        };
        let id = InstanceId::adopted(&node.provider_id);
        self.nodes.insert(name, Arc::new(node));
        self.publish();
        id
    }

    /// The cluster notices that the kubelets of all Nodes are silent.
    pub(crate) fn nodes_are_not_ready(&mut self) {
        for node in self.nodes.values_mut() {
            Arc::make_mut(node).ready = false;
        }
        self.publish();
    }

    /// A VM that is none of our business.
    pub(crate) fn create_foreign(&mut self, host: usize) {
        self.create(host, vec!["team=somebody-else".to_owned()]);
    }

    /// A VM of `group` that is on this host, whatever host the configuration names.
    pub(crate) fn create_stray(&mut self, host: usize, group: &str) {
        let tags = VmTags {
            cluster: "home".parse().unwrap(),
            node_group: group.parse().unwrap(),
            launch: "straystr".parse().unwrap(),
        };
        self.create(host, tags.to_tags());
    }

    /// The VM at this position vanishes.
    pub(crate) fn kill_vm(&mut self, host: usize, position: usize) {
        let names: Vec<Hostname> = self.hosts[host].vms.keys().cloned().collect();
        if let Some(name) = names.get(position % names.len().max(1)) {
            self.hosts[host].vms.remove(name);
        }
    }

    /// The daemon restarts: all VMs are gone, and hostnames start again.
    pub(crate) fn restart_host(&mut self, host: usize) {
        self.hosts[host].vms.clear();
        self.hosts[host].counter = 0;
        self.hosts[host].restarts += 1;
        self.hosts[host].late.clear(); // what it was at is lost with it
    }

    /// Every VM's agent registers its Node.
    pub(crate) fn register_nodes(&mut self) {
        let vms: Vec<Vm> = self.hosts.iter().flat_map(|host| host.vms.values().cloned()).collect();
        for vm in vms {
            let (Some(id), Some(tags)) = (instance_of(&vm), VmTags::read(&vm.tags)) else {
                continue;
            };
            let name = NodeName::from(format!("{}-{}", vm.hostname, tags.launch).as_str());
            let node = NodeRecord {
                uid: format!("uid-{name}"),
                provider_id: id.to_string(),
                labels: BTreeMap::from([
                    ("slicer/hostname".to_owned(), vm.hostname.to_string()),
                    ("slicer/hostgroup".to_owned(), tags.node_group.to_string()),
                ])
                .into(),
                capacity: Arc::default(),
                allocatable: Arc::default(),
                ready: true,
                created_at: vm.created_at,
                name: name.clone(),
            };
            self.nodes.entry(name).or_insert_with(|| Arc::new(node));
        }
        self.publish();
    }

    /// Nodes are as they are told: nobody notices here that a kubelet is gone.
    fn publish(&mut self) {
        self.snapshot = Arc::new(self.nodes.clone());
    }

    /// The host's next listing will be empty, if none was so far.
    pub(crate) fn forget_once(&mut self, host: usize) {
        self.hosts[host].forgetful.get_or_insert(true);
    }

    pub(crate) fn heal(&mut self) {
        for host in &mut self.hosts {
            host.create_faults.clear();
            host.down = false;
            host.list_faults = 0;
            host.delete_faults = 0;
        }
    }
}

fn instance_of(vm: &Vm) -> Option<InstanceId> {
    let tags = VmTags::read(&vm.tags)?;
    Some(InstanceId::of_launch(&tags.node_group, &tags.launch))
}

fn error(kind: HostErrorKind, fate: RequestFate) -> HostError {
    HostError {
        kind,
        fate,
        message: format!("{kind:?}"),
    }
}

/// One of the two hosts.
#[derive(Clone)]
pub(crate) struct FakeHost {
    pub(crate) world: SharedWorld,
    pub(crate) host: usize,
}

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "host {}", self.host)
    }
}

impl FakeHost {
    fn restarts(&self) -> u32 {
        self.world.lock().unwrap().hosts[self.host].restarts
    }

    async fn travel(&self) -> Result<(), HostError> {
        let restarts = self.restarts();
        self.world.lock().unwrap().hosts[self.host].asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let down = {
            let world = self.world.lock().unwrap();
            let host = &world.hosts[self.host];
            host.down.then_some(host.connect_time)
        };
        if let Some(connect_time) = down {
            tokio::time::sleep(connect_time).await;
            return Err(error(HostErrorKind::Unreachable, RequestFate::NotDone));
        }
        self.answered(restarts)
    }

    /// An answer arrives only if the daemon did not restart since.
    fn answered(&self, restarts: u32) -> Result<(), HostError> {
        if self.restarts() == restarts {
            return Ok(());
        }
        Err(error(HostErrorKind::Unreachable, RequestFate::Unclear))
    }
}

#[async_trait]
impl SlicerHost for FakeHost {
    async fn host_groups(&self) -> Result<Vec<HostGroup>, HostError> {
        self.travel().await?;
        Ok(vec![HostGroup {
            name: "agents".to_owned(),
            cpus: Some(2),
            ram_bytes: Some(4 << 30),
            gpu_count: None,
            arch: Some(Architecture::Amd64),
        }])
    }

    async fn list_vms(&self, _: &str, tag: Option<&str>) -> Result<Vec<Vm>, HostError> {
        self.world.lock().unwrap().hosts[self.host].looked_up += u32::from(tag.is_some());
        self.travel().await?;
        let vms = {
            let mut world = self.world.lock().unwrap();
            let host = &mut world.hosts[self.host];
            if host.list_faults > 0 {
                host.list_faults -= 1;
                return Err(error(HostErrorKind::Broken, RequestFate::Unclear));
            }
            if tag.is_none() && host.forgetful == Some(true) {
                host.forgetful = Some(false);
                host.forgotten += host.vms.len(); // a provider that has just started takes it at its word
                return Ok(Vec::new());
            }
            world.vms(self.host)
        };
        let restarts = self.restarts();
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.answered(restarts)?;
        Ok(vms) // the tag filter is ignored, as old daemons do
    }

    async fn create_vm(&self, _: &str, request: &VmRequest) -> Result<Hostname, HostError> {
        self.travel().await?;
        let tags = request.tags.clone();
        let outcome = {
            let mut world = self.world.lock().unwrap();
            let fault = world.hosts[self.host].create_faults.pop_front();
            match fault {
                None => Ok(world.create(self.host, tags)),
                Some(CreateFault::Full) => Err(error(HostErrorKind::OutOfResources, RequestFate::Unclear)),
                Some(CreateFault::Refused) => Err(error(HostErrorKind::Refused, RequestFate::NotDone)),
                Some(CreateFault::Broken) => Err(error(HostErrorKind::Broken, RequestFate::Unclear)),
                Some(CreateFault::RequestLost) => Err(error(HostErrorKind::Unreachable, RequestFate::Unclear)),
                Some(CreateFault::AnswerLost) => {
                    world.create(self.host, tags);
                    Err(error(HostErrorKind::Unreachable, RequestFate::Unclear))
                }
                Some(CreateFault::Nonsense) => {
                    world.create(self.host, tags);
                    Err(error(HostErrorKind::Nonsense, RequestFate::Unclear))
                }
                Some(CreateFault::Late) => {
                    world.hosts[self.host].late.push(tags);
                    Err(error(HostErrorKind::Unreachable, RequestFate::MayStillHappen))
                }
            }
        };
        let restarts = self.restarts();
        let time = self.world.lock().unwrap().hosts[self.host].create_time;
        tokio::time::sleep(Duration::from_millis(200) + time).await;
        self.answered(restarts)?;
        outcome
    }

    async fn delete_vm(&self, _: &str, hostname: &Hostname) -> Result<(), HostError> {
        self.travel().await?;
        let time = self.world.lock().unwrap().hosts[self.host].delete_time;
        if time > Duration::ZERO {
            tokio::time::sleep(time).await;
        }
        let mut world = self.world.lock().unwrap();
        if world.hosts[self.host].delete_faults > 0 {
            world.hosts[self.host].delete_faults -= 1;
            return Err(error(HostErrorKind::Broken, RequestFate::Unclear));
        }
        let Some(vm) = world.hosts[self.host].vms.remove(hostname) else {
            return Err(error(HostErrorKind::NotFound, RequestFate::NotDone));
        };
        match instance_of(&vm) {
            Some(id) if world.asked.contains(&id) => {}
            Some(id) => world
                .violations
                .push(format!("VM {hostname} of {id} was deleted unasked")),
            None if vm.tags == ["made-by=the-fork"] => {}
            None => world.violations.push(format!("foreign VM {hostname} was deleted")),
        }
        Ok(())
    }

    async fn ensure_secret(&self, _: &str, _: &SecretString) -> Result<(), HostError> {
        self.travel().await
    }

    async fn userdata_state(&self, hostname: &Hostname) -> Result<UserdataState, HostError> {
        self.travel().await?;
        if self.world.lock().unwrap().hosts[self.host]
            .mute_agents
            .contains(hostname)
        {
            tokio::time::sleep(Duration::from_secs(10)).await;
            return Err(error(HostErrorKind::Unreachable, RequestFate::MayStillHappen));
        }
        Ok(self.world.lock().unwrap().userdata.unwrap_or(UserdataState::Pending))
    }

    async fn serial_log_tail(&self, _: &Hostname, _: u32) -> Result<String, HostError> {
        Ok("the last line".to_owned())
    }
}

/// The cluster.
#[derive(Clone)]
pub(crate) struct FakeCluster(pub(crate) SharedWorld);

impl std::fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cluster")
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    fn nodes(&self) -> NodeSnapshot {
        let world = self.0.lock().unwrap();
        NodeSnapshot {
            status: world.cluster_status.unwrap_or(ClusterStatus::Live),
            nodes: Arc::clone(&world.snapshot),
        }
    }

    async fn remove_node(&self, name: &NodeName, _: &str) -> Result<(), ClusterError> {
        let mut world = self.0.lock().unwrap();
        if let Some(node) = world.nodes.remove(name) {
            let alive = (0..2).any(|host| world.ours(host).iter().any(|id| id.as_str() == node.provider_id));
            if alive {
                world
                    .violations
                    .push(format!("Node {name} was removed although its VM lives"));
            }
        }
        world.publish();
        Ok(())
    }

    async fn last_heartbeat(&self, name: &NodeName) -> Result<Option<String>, ClusterError> {
        let mut world = self.0.lock().unwrap();
        let Some(node) = world.nodes.get(name).cloned() else {
            return Ok(None);
        };
        let alive = (0..2).any(|host| world.ours(host).iter().any(|id| id.as_str() == node.provider_id));
        if alive {
            world.clock += 1;
            return Ok(Some(world.clock.to_string()));
        }
        Ok(Some("the last one".to_owned()))
    }

    fn server_version(&self) -> Option<String> {
        None
    }
}
