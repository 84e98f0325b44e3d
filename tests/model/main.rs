//! The provider against a model: random calls, host answers and restarts; after each of them the design's invariants
//! hold, and once everything is well again, exactly what was asked for is there.
//!
//! Time is tokio's paused clock, so hours pass in moments and every run repeats.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use secrecy::SecretString;
use slicer_cloud_provider::config::{Config, GlobalConfig, GroupConfig};
use slicer_cloud_provider::domain::group::{Instance, InstanceState};
use slicer_cloud_provider::domain::ids::InstanceId;
use slicer_cloud_provider::domain::spec::{
    AutoscalingOverrides, Endpoint, JoinSettings, K3sVersion, Limits, NodeGroupSpec,
};
use slicer_cloud_provider::domain::vm::UserdataState;
use slicer_cloud_provider::metrics::Metrics;
use slicer_cloud_provider::provider::ports::{ClusterStatus, SlicerHost};
use slicer_cloud_provider::provider::{Entropy, NodeQuery, Parts, Provider, Timings};
use slicer_cloud_provider::secret::SecretSource;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use world::{CreateFault, FakeCluster, FakeHost, SharedWorld, World};

const GROUPS: [&str; 2] = ["alpha", "beta"];
const MAX: u32 = 6;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Increase(usize, i32),
    Decrease(usize, i32),
    /// Deletes the instances at these positions.
    Delete(usize, Vec<usize>),
    /// A batch with a node of the other group in it.
    DeleteForeign(usize),
    Wait(u64),
    Refresh,
    CreateFault(usize, CreateFault),
    ListFaults(usize, u32),
    /// The next listing is empty although there are VMs.
    ForgetOnce(usize),
    DeleteFaults(usize, u32),
    Down(usize, bool),
    HostRestart(usize),
    KillVm(usize, usize),
    ForeignVm(usize),
    LateVms,
    RegisterNodes,
    /// The provider is killed and started again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let group = 0..2_usize;
    let fault = prop_oneof![
        Just(CreateFault::Full),
        Just(CreateFault::AnswerLost),
        Just(CreateFault::RequestLost),
        Just(CreateFault::Nonsense),
        Just(CreateFault::Late),
        Just(CreateFault::Refused),
        Just(CreateFault::Broken),
    ];
    prop_oneof![
        5 => (group.clone(), -1..5_i32).prop_map(|(g, n)| Step::Increase(g, n)),
        2 => (group.clone(), -4..2_i32).prop_map(|(g, n)| Step::Decrease(g, n)),
        3 => (group.clone(), prop::collection::vec(0..8_usize, 1..4)).prop_map(|(g, p)| Step::Delete(g, p)),
        1 => group.clone().prop_map(Step::DeleteForeign),
        6 => prop_oneof![Just(0_u64), 10..500_u64, 1_000..30_000_u64].prop_map(Step::Wait),
        1 => Just(Step::Refresh),
        3 => (group.clone(), fault).prop_map(|(h, f)| Step::CreateFault(h, f)),
        1 => (group.clone(), 1..4_u32).prop_map(|(h, n)| Step::ListFaults(h, n)),
        1 => group.clone().prop_map(Step::ForgetOnce),
        1 => (group.clone(), 1..4_u32).prop_map(|(h, n)| Step::DeleteFaults(h, n)),
        2 => (group.clone(), any::<bool>()).prop_map(|(h, d)| Step::Down(h, d)),
        1 => group.clone().prop_map(Step::HostRestart),
        1 => (group.clone(), 0..8_usize).prop_map(|(h, p)| Step::KillVm(h, p)),
        1 => group.prop_map(Step::ForeignVm),
        2 => Just(Step::LateVms),
        3 => Just(Step::RegisterNodes),
        1 => Just(Step::Kill),
    ]
}

fn config() -> Config {
    let group = |name: &str| GroupConfig {
        spec: NodeGroupSpec {
            id: name.parse().unwrap(),
            host_group: "agents".to_owned(),
            limits: Limits { min: 0, max: MAX },
            arch: None,
            // Known from the start, so that a host that is down does not hide its group.
            cpus: Some(2),
            ram_bytes: Some(4 << 30),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            kubelet_args: Vec::new(),
            zone: None,
            region: None,
            memory_reserve: None,
            ephemeral_storage: 25_000_000_000,
            gpu_type: None,
            gpu_count: None,
            price_per_hour: None,
            overrides: AutoscalingOverrides::default(),
        },
        endpoint: Endpoint::Url(format!("http://{name}:8080")),
        slicer_token: None,
        create_concurrency: NonZeroUsize::new(3).unwrap(),
    };
    Config {
        global: GlobalConfig {
            join: JoinSettings {
                k3s_url: "https://k3s:6443".to_owned(),
                version: K3sVersion::Server,
                channel: "stable".to_owned(),
                install_url: "https://get.k3s.io".to_owned(),
                artifact_url: None,
            },
            k3s_token: SecretSource::value(SecretString::from("join-token")),
            ca_bundle: None,
            cluster: "home".parse().unwrap(),
        },
        groups: GROUPS.map(group).to_vec(),
    }
}

/// One life of the provider.
struct Life {
    provider: Arc<Provider>,
    world: SharedWorld,
    shutdown: CancellationToken,
    tracker: TaskTracker,
    /// What was asked to be deleted in this life: it never comes back.
    deleted: Mutex<BTreeSet<InstanceId>>,
}

impl Life {
    fn begin(world: &SharedWorld) -> Self {
        Self::begin_with_max(world, MAX)
    }

    fn begin_with_max(world: &SharedWorld, max: u32) -> Self {
        let mut config = config();
        for group in &mut config.groups {
            group.spec.limits.max = max;
        }
        let hosts = Arc::clone(world);
        let parts = Parts {
            connect: Arc::new(move |group: &GroupConfig, _: &GlobalConfig| {
                let host = GROUPS.iter().position(|name| *name == group.spec.id.as_str()).unwrap();
                let world = Arc::clone(&hosts);
                Ok(Arc::new(FakeHost { world, host }) as Arc<dyn SlicerHost>)
            }),
            cluster: Arc::new(FakeCluster(Arc::clone(world))),
            metrics: Arc::new(Metrics::new()),
            entropy: Entropy::of_system(),
            timings: Timings::default(),
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let (shutdown, tracker) = (parts.shutdown.clone(), parts.tracker.clone());
        Self {
            shutdown,
            tracker,
            provider: Provider::start(&config, parts).unwrap(),
            world: Arc::clone(world),
            deleted: Mutex::default(),
        }
    }

    fn instances(&self, group: usize) -> Vec<Instance> {
        self.provider.instances(GROUPS[group]).unwrap()
    }

    fn target(&self, group: usize) -> u32 {
        self.provider.target_size(GROUPS[group]).unwrap()
    }

    fn ask(&self, ids: impl IntoIterator<Item = InstanceId>) {
        self.world.lock().unwrap().asked.extend(ids);
    }

    async fn take(&self, step: &Step) {
        let world = || self.world.lock().unwrap();
        match step {
            Step::Increase(group, delta) => self.increase(*group, *delta),
            Step::Decrease(group, delta) => self.decrease(*group, *delta),
            Step::Delete(group, positions) => self.delete(*group, positions).await,
            Step::DeleteForeign(group) => self.delete_foreign(*group).await,
            Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await,
            Step::Refresh => self.provider.refresh(),
            Step::CreateFault(host, fault) => world().hosts[*host].create_faults.push_back(*fault),
            Step::ForgetOnce(host) => world().forget_once(*host),
            Step::ListFaults(host, count) => world().hosts[*host].list_faults += count,
            Step::DeleteFaults(host, count) => world().hosts[*host].delete_faults += count,
            Step::Down(host, down) => world().hosts[*host].down = *down,
            Step::HostRestart(host) => world().restart_host(*host),
            Step::KillVm(host, position) => world().kill_vm(*host, *position),
            Step::ForeignVm(host) => world().create_foreign(*host),
            Step::LateVms => world().let_late_vms_appear(),
            Step::RegisterNodes => world().register_nodes(),
            Step::Kill => unreachable!("lives end outside"),
        }
    }

    fn increase(&self, group: usize, delta: i32) {
        let before = self.target(group);
        let allowed = u32::try_from(delta).is_ok_and(|count| count > 0 && before + count <= MAX);
        let outcome = self.provider.increase_size(GROUPS[group], delta);
        assert_eq!(outcome.is_ok(), allowed, "{outcome:?}");
        let added = if allowed { delta.unsigned_abs() } else { 0 };
        assert_eq!(self.target(group), before + added, "invariant 3");
    }

    fn decrease(&self, group: usize, delta: i32) {
        let before = self.instances(group);
        let target = self.target(group);
        let with_vm: BTreeSet<InstanceId> = self.world.lock().unwrap().ours(group);
        // What is given up may have a VM on its way: that it goes then is asked for.
        self.ask(
            before
                .iter()
                .filter(|i| i.state == InstanceState::Creating)
                .map(|i| i.id.clone()),
        );
        let outcome = self.provider.decrease_target_size(GROUPS[group], delta);
        assert_eq!(outcome.is_ok(), delta < 0, "invariant 6: clamps and answers OK");
        let lowered = target - self.target(group);
        assert!(delta < 0 || lowered == 0);
        assert!(lowered <= delta.unsigned_abs());
        let running_before = before.iter().filter(|i| i.state == InstanceState::Running).count();
        let after = self.instances(group);
        assert_eq!(
            after.iter().filter(|i| i.state == InstanceState::Running).count(),
            running_before
        );
        assert_eq!(
            self.world.lock().unwrap().ours(group),
            with_vm,
            "invariant 6: never a VM"
        );
    }

    async fn delete(&self, group: usize, positions: &[usize]) {
        let before = self.instances(group);
        if before.is_empty() {
            return;
        }
        let ids: BTreeSet<InstanceId> = positions.iter().map(|p| before[p % before.len()].id.clone()).collect();
        let live = before
            .iter()
            .filter(|i| ids.contains(&i.id) && i.state != InstanceState::Deleting)
            .count();
        self.ask(ids.iter().cloned());
        self.deleted.lock().unwrap().extend(ids.iter().cloned());
        let target = self.target(group);
        let nodes: Vec<NodeQuery> = ids.iter().map(fake_node).collect();
        {
            let call = self.provider.delete_nodes(GROUPS[group], &nodes, Duration::ZERO);
            tokio::pin!(call);
            // One poll is all it takes: the rest may be cut off by a caller that goes away.
            let first = futures::poll!(call.as_mut());
            assert_eq!(self.target(group), target - u32::try_from(live).unwrap(), "invariant 5");
            if first.is_pending() {
                call.await.unwrap();
            }
        }
        for instance in self.instances(group) {
            assert!(!ids.contains(&instance.id) || instance.state == InstanceState::Deleting);
        }
        // Twice is once. (Other instances may fail or vanish meanwhile, but none is added or deleted.)
        let target = self.target(group);
        self.provider
            .delete_nodes(GROUPS[group], &nodes, Duration::ZERO)
            .await
            .unwrap();
        assert!(self.target(group) <= target);
    }

    async fn delete_foreign(&self, group: usize) {
        let other = InstanceId::of_launch(&GROUPS[1 - group].parse().unwrap(), &"zzzzzzzz".parse().unwrap());
        let mut nodes: Vec<NodeQuery> = self.instances(group).iter().map(|i| fake_node(&i.id)).collect();
        nodes.push(fake_node(&other));
        let before = (self.instances(group), self.instances(1 - group));
        let outcome = self.provider.delete_nodes(GROUPS[group], &nodes, Duration::ZERO).await;
        assert!(outcome.is_err());
        assert_eq!(
            (self.instances(group), self.instances(1 - group)),
            before,
            "nothing changed"
        );
    }

    /// The invariants, between any two steps.
    fn check(&self) {
        let listed: BTreeSet<String> = self
            .provider
            .groups()
            .iter()
            .map(|group| group.id.to_string())
            .collect();
        for (group, name) in GROUPS.iter().enumerate() {
            let (target, instances) = (self.target(group), self.instances(group));
            let live = instances.iter().filter(|i| i.state != InstanceState::Deleting).count();
            assert_eq!(target as usize, live, "invariant 1");
            for instance in &instances {
                assert!(instance.failure.is_none() || instance.state == InstanceState::Creating);
                let deleted = self.deleted.lock().unwrap().contains(&instance.id);
                assert!(
                    !deleted || instance.state == InstanceState::Deleting,
                    "it came back: {instance:?}"
                );
                let found = self.provider.group_for_node(&fake_node(&instance.id)).unwrap();
                assert_eq!((found.id.as_str(), found.max), (*name, MAX), "invariant 7");
            }
            assert!(
                listed.contains(*name) && self.provider.template(name).is_ok(),
                "invariant 11"
            );
        }
        assert_eq!(self.provider.group_for_node(&NodeQuery::default()), None);
        let world = self.world.lock().unwrap();
        assert_eq!(world.violations, Vec::<String>::new());
        for host in 0..2 {
            let wanted = world.ours(host).difference(&world.asked).count();
            assert!(
                wanted <= MAX as usize + world.hosts[host].forgotten,
                "never more VMs than the maximum"
            );
        }
    }

    /// Everything is well again: what is there is what is listed, and it can all be removed.
    async fn settle(&self) {
        let pass_time = || tokio::time::sleep(Duration::from_secs(180));
        self.world.lock().unwrap().heal();
        pass_time().await;
        self.world.lock().unwrap().let_late_vms_appear();
        self.world.lock().unwrap().register_nodes();
        pass_time().await;
        self.check();
        for group in 0..2 {
            let instances = self.instances(group);
            let running: BTreeSet<InstanceId> = instances
                .iter()
                .filter(|i| i.state == InstanceState::Running)
                .map(|i| i.id.clone())
                .collect();
            assert_eq!(
                running,
                self.world.lock().unwrap().ours(group),
                "every VM is an instance and the reverse"
            );
            assert!(
                instances
                    .iter()
                    .all(|i| i.state == InstanceState::Running || i.failure.is_some())
            );
        }
        let node_ids: BTreeSet<String> = self
            .world
            .lock()
            .unwrap()
            .nodes()
            .iter()
            .map(|node| node.provider_id.clone())
            .collect();
        let vm_ids: BTreeSet<String> = (0..2)
            .flat_map(|host| self.world.lock().unwrap().ours(host))
            .map(|id| id.to_string())
            .collect();
        assert_eq!(node_ids, vm_ids, "no Node outlives its VM");

        for group in 0..2 {
            let all: Vec<usize> = (0..self.instances(group).len()).collect();
            self.delete(group, &all).await;
        }
        pass_time().await;
        self.check();
        let world = self.world.lock().unwrap();
        for host in 0..2 {
            assert_eq!(world.ours(host), BTreeSet::new());
            assert!(world.vms(host).iter().all(|vm| vm.tags == ["team=somebody-else"]));
        }
        assert_eq!(world.nodes(), []);
        assert_eq!(self.target(0) + self.target(1), 0);
    }
}

/// What the cluster-autoscaler makes of an instance without a Node.
fn fake_node(id: &InstanceId) -> NodeQuery {
    NodeQuery {
        provider_id: id.to_string(),
        name: id.to_string(),
        ..NodeQuery::default()
    }
}

/// A runtime whose clock stands still while there is work, and jumps when there is none.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Runs the steps; each [`Step::Kill`] ends a life of the provider wherever its jobs stand.
fn live_through(steps: &[Step]) {
    let world: SharedWorld = Arc::new(Mutex::new(World::default()));
    let lives: Vec<&[Step]> = steps.split(|step| matches!(step, Step::Kill)).collect();
    let last = lives.len() - 1;
    for (number, steps) in lives.into_iter().enumerate() {
        world.lock().unwrap().forget_late_vms();
        let runtime = runtime();
        runtime.block_on(async {
            let life = Life::begin(&world);
            for step in steps {
                life.take(step).await;
                life.check();
            }
            if number == last {
                life.settle().await;
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_invariants_hold_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        live_through(&steps);
    }
}

/// Runs a story on paused time.
fn tell(story: impl AsyncFnOnce(&SharedWorld)) {
    let world: SharedWorld = Arc::new(Mutex::new(World::default()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(story(&world));
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[test]
fn vms_that_were_unknown_at_an_increase_take_the_place_of_as_many_launches_and_no_more() {
    tell(async |world| {
        let life = Life::begin(world);
        life.increase(0, 4);
        seconds(3).await;
        life.shutdown.cancel();

        let life = Life::begin(world);
        life.increase(0, 6); // nothing is listed yet
        seconds(5).await;
        life.check();
        assert_eq!(world.lock().unwrap().ours(0).len(), MAX as usize);
        let failures: Vec<_> = life.instances(0).into_iter().filter_map(|i| i.failure).collect();
        assert_eq!(failures.len(), 4, "{failures:?}");
        assert!(failures.iter().all(|failure| failure.code.as_str() == "OutOfResources"));
        life.settle().await;
    });
}

#[test]
fn agents_that_hang_keep_nobody_from_seeing_what_the_others_say() {
    tell(async |world| {
        world.lock().unwrap().cluster_status = Some(ClusterStatus::Absent);
        // More than are asked at once.
        let life = Life::begin_with_max(world, 20);
        life.provider.increase_size(GROUPS[0], 20).unwrap();
        seconds(5).await;
        {
            let mut world = world.lock().unwrap();
            assert_eq!(world.ours(0).len(), 20);
            let mute = life
                .provider
                .instances(GROUPS[0])
                .unwrap()
                .into_iter()
                .take(12)
                .map(|i| i.id);
            let mute: BTreeSet<InstanceId> = mute.collect();
            world.mute_agents_of(0, &mute);
            world.userdata = Some(UserdataState::Exited(0));
        }
        seconds(60).await;
        let running = life
            .instances(0)
            .iter()
            .filter(|i| i.state == InstanceState::Running)
            .count();
        assert_eq!(running, 8);
    });
}

#[test]
fn a_second_vm_of_a_launch_is_asked_to_go_once_and_not_the_next_vm_of_its_name() {
    tell(async |world| {
        let life = Life::begin(world);
        life.increase(0, 1);
        seconds(3).await;
        let surplus = {
            let mut world = world.lock().unwrap();
            let known = life.provider.instances(GROUPS[0]).unwrap().remove(0).id;
            world.asked.insert(known);
            world.hosts[0].delete_time = Duration::from_secs(5);
            world.duplicate_first(0)
        };
        while world.lock().unwrap().vms(0).len() == 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.lock().unwrap().create_foreign_named(0, &surplus);
        seconds(30).await;
        assert_eq!(world.lock().unwrap().violations, Vec::<String>::new());
        assert_eq!(world.lock().unwrap().vms(0).len(), 2);
    });
}

#[test]
fn vms_that_could_not_join_while_the_api_was_away_get_time_when_it_is_back() {
    tell(async |world| {
        let life = Life::begin(world);
        world.lock().unwrap().cluster_status = Some(ClusterStatus::Stale);
        life.increase(0, 2);
        seconds(30 * 60).await;
        world.lock().unwrap().cluster_status = Some(ClusterStatus::Live);
        seconds(60).await;
        assert!(
            life.instances(0).iter().all(|i| i.failure.is_none()),
            "{:?}",
            life.instances(0)
        );
        world.lock().unwrap().register_nodes();
        seconds(15).await;
        assert!(life.instances(0).iter().all(|i| i.state == InstanceState::Running));

        life.increase(0, 1);
        seconds(15 * 60).await;
        let failures: Vec<_> = life.instances(0).into_iter().filter_map(|i| i.failure).collect();
        assert!(
            failures.len() == 1 && failures[0].code.as_str() == "JoinTimeout",
            "{failures:?}"
        );
        assert!(
            failures[0].message.ends_with("end of its serial log: the last line"),
            "{failures:?}"
        );
    });
}

#[test]
fn a_host_that_is_down_does_not_change_how_the_other_groups_behave() {
    let world: SharedWorld = Arc::new(Mutex::new(World::default()));
    world.lock().unwrap().hosts[0].down = true;
    let runtime = runtime();
    runtime.block_on(async {
        let life = Life::begin(&world);
        life.increase(0, 4);
        life.increase(1, 4);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(world.lock().unwrap().ours(1).len(), 4, "the other host has all its VMs");
        life.check();
        // Within the patience for unreachable hosts the launches fail, and say why.
        tokio::time::sleep(Duration::from_secs(40)).await;
        let failures: Vec<_> = life.instances(0).into_iter().filter_map(|i| i.failure).collect();
        assert_eq!(failures.len(), 4, "{:?}", life.instances(0));
        assert!(
            failures
                .iter()
                .all(|failure| failure.code.as_str() == "HostUnreachable")
        );
        assert_eq!(life.target(0), 4);
        life.settle().await;
    });
}

#[test]
fn a_create_under_way_when_its_host_goes_down_is_no_failure_once_its_node_has_joined() {
    tell(async |world| {
        let life = Life::begin(world);
        seconds(1).await;
        world.lock().unwrap().hosts[0]
            .create_faults
            .push_back(CreateFault::AnswerLost);
        life.increase(0, 2);
        let other_answered = async || world.lock().unwrap().ours(0).len() == 2;
        while !other_answered().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.lock().unwrap().hosts[0].down = true;
        seconds(10).await;
        world.lock().unwrap().register_nodes();
        for _ in 0..60 {
            seconds(10).await;
            life.provider.refresh();
            let running = |i: &Instance| i.state == InstanceState::Running && i.failure.is_none();
            assert!(life.instances(0).iter().all(running), "{:?}", life.instances(0));
        }
        let joined = world.lock().unwrap().ours(0);
        world.lock().unwrap().hosts[0].down = false;
        seconds(60).await;
        assert_eq!(
            world.lock().unwrap().ours(0),
            joined,
            "no VM goes when the host is back"
        );
        life.settle().await;
    });
}

#[test]
fn a_node_whose_vm_is_on_another_host_stays_while_its_kubelet_speaks_and_goes_soon_after_it_falls_silent() {
    let world: SharedWorld = Arc::new(Mutex::new(World::default()));
    world.lock().unwrap().create_stray(1, "alpha");
    world.lock().unwrap().register_nodes();
    runtime().block_on(async {
        let life = Life::begin(&world);
        tokio::time::sleep(Duration::from_secs(600)).await;
        life.check();
        assert_eq!(
            world.lock().unwrap().nodes().len(),
            1,
            "it lives, though not where it should"
        );
        assert_eq!(life.target(0), 0, "what its host does not list is no instance");

        world.lock().unwrap().kill_vm(1, 0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.lock().unwrap().nodes().len(), 0);
    });
}

#[test]
fn vms_of_the_fork_are_adopted_through_their_nodes_under_their_own_ids_and_removed_like_all_others() {
    let world: SharedWorld = Arc::new(Mutex::new(World::default()));
    let ids: BTreeSet<InstanceId> = (0..2)
        .map(|_| world.lock().unwrap().create_forked(0, "alpha"))
        .collect();
    world.lock().unwrap().create_foreign(0);
    runtime().block_on(async {
        let life = Life::begin(&world);
        life.increase(0, 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let running = |life: &Life| -> BTreeSet<InstanceId> {
            let all = life.instances(0).into_iter();
            all.filter(|i| i.state == InstanceState::Running)
                .map(|i| i.id)
                .collect()
        };
        assert_eq!(running(&life), ids, "and the VM that is nobody's is none of ours");
        assert_eq!(life.target(0), 3);
        life.check(); // also that an instance without a Node, known by its id alone, belongs to the group

        let victim = ids.first().unwrap();
        let node = fake_node(victim);
        life.provider
            .delete_nodes("alpha", &[node], Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(life.target(0), 2);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!life.instances(0).iter().any(|i| i.id == *victim));
        assert_eq!(
            world.lock().unwrap().vms(0).len(),
            3,
            "its VM went, the three others stay"
        );
        assert_eq!(
            world.lock().unwrap().nodes().len(),
            2,
            "labels alone are no proof while the Node claims to live"
        );
        world.lock().unwrap().nodes_are_not_ready();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(world.lock().unwrap().nodes().len(), 1);
        life.check();
    });
}

#[test]
fn a_host_that_is_down_for_hours_is_asked_seldom_whoever_is_impatient_and_found_within_seconds() {
    tell(async |world| {
        let life = Life::begin(world);
        life.increase(0, 3);
        seconds(5).await;
        world.lock().unwrap().register_nodes();
        seconds(15).await;
        let before = life.instances(0);
        assert!(before.iter().all(|i| i.state == InstanceState::Running));
        world.lock().unwrap().hosts[0].down = true;
        seconds(60).await;
        life.delete(0, &[0]).await; // its VM cannot be removed for hours
        seconds(120).await;
        let asked = || world.lock().unwrap().hosts[0].asked;
        let looked_up = || world.lock().unwrap().hosts[0].looked_up;
        let (asked_before, looks) = (asked(), looked_up());
        for loop_of_the_autoscaler in 0..6 * 360 {
            life.provider.refresh();
            if loop_of_the_autoscaler % 360 == 0 {
                life.increase(1, 1); // the other host's group goes on
                seconds(5).await;
                world.lock().unwrap().register_nodes();
                life.check();
            }
            seconds(10).await;
        }
        assert_eq!(looked_up(), looks, "nobody asks it to remove VMs");
        // A listing and a list of host groups every 15 s.
        let an_hour = (asked() - asked_before) / 6;
        assert!(an_hour <= 2 * 3600 / 15, "asked {an_hour} times an hour");
        assert_eq!(life.instances(0).len(), 3, "nothing is proved while it is down");
        let running = life
            .instances(1)
            .iter()
            .filter(|i| i.state == InstanceState::Running)
            .count();
        assert_eq!(running, 6);

        world.lock().unwrap().hosts[0].down = false;
        seconds(20).await;
        assert_eq!(life.instances(0).len(), 2, "found, and the removal is done");
        assert_eq!(world.lock().unwrap().ours(0).len(), 2);
        life.check();
    });
}

#[test]
fn launches_that_are_given_up_while_their_host_hangs_leave_no_jobs_behind() {
    tell(async |world| {
        let life = Life::begin(world);
        seconds(5).await;
        world.lock().unwrap().hosts[0].create_time = Duration::from_secs(3600);
        let jobs = life.tracker.len();
        for _ in 0..100 {
            life.increase(0, 6);
            seconds(1).await;
            life.decrease(0, -6);
            seconds(5).await;
        }
        let more = life.tracker.len() - jobs;
        assert!(more <= 3, "{more} jobs for 600 launches, of which 3 may be under way");
    });
}

#[test]
fn launches_on_a_host_that_is_known_to_be_dead_all_fail_at_once_and_those_under_way_within_seconds() {
    tell(async |world| {
        let life = Life::begin_with_max(world, 300);
        life.increase(0, 1);
        seconds(5).await;
        world.lock().unwrap().register_nodes();
        {
            let mut world = world.lock().unwrap();
            world.hosts[0].down = true;
            // Three connects that nobody answers.
            world.hosts[0].connect_time = Duration::from_millis(9300);
        }
        let failed = || life.instances(0).iter().filter(|i| i.failure.is_some()).count();
        life.provider.increase_size("alpha", 100).unwrap();
        seconds(60).await;
        assert_eq!(failed(), 100, "not one after another");
        life.provider.increase_size("alpha", 100).unwrap();
        seconds(2).await;
        assert_eq!(failed(), 200, "known to be dead");
    });
}
