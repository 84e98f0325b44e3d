//! The rules of a group, one story each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::moment::UnixSeconds;
use crate::domain::node::{LABEL_HOSTNAME, Resources};
use crate::domain::vm::{Vm, VmStatus, VmTags};

const PATIENCE: Patience = Patience {
    join: Duration::from_secs(600),
    join_after_userdata: Duration::from_secs(120),
    vanish: Duration::from_secs(3),
};

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

/// A group with its host's VMs and its cluster's Nodes.
struct Scene {
    group: Group,
    vms: Vec<Vm>,
    nodes: Vec<NodeRecord>,
    now: u64,
    entropy: u64,
}

impl Scene {
    fn new() -> Self {
        Self {
            group: Group::new("agents".parse().unwrap(), "home".parse().unwrap()),
            vms: Vec::new(),
            nodes: Vec::new(),
            now: 100,
            entropy: 0,
        }
    }

    fn launch(&mut self, count: i32) -> Vec<LaunchId> {
        let entropy = &mut self.entropy;
        let draw = || {
            *entropy += 1;
            *entropy
        };
        self.group.request_launches(count, 8, at(self.now), draw).unwrap()
    }

    fn id(launch: &LaunchId) -> InstanceId {
        InstanceId::of_launch(&"agents".parse().unwrap(), launch)
    }

    fn boot(&mut self, launch: &LaunchId, hostname: &str) {
        let tags = VmTags {
            cluster: "home".parse().unwrap(),
            node_group: "agents".parse().unwrap(),
            launch: launch.clone(),
        };
        self.vms.push(vm(hostname, tags.to_tags()));
    }

    /// Launches one VM all the way.
    fn running(&mut self, hostname: &str) -> InstanceId {
        let launch = self.launch(1).remove(0);
        assert!(self.group.begin_launch(&launch));
        self.boot(&launch, hostname);
        self.group.launch_succeeded(&launch, hostname.into(), at(self.now));
        let id = Self::id(&launch);
        self.nodes
            .push(node(&format!("{hostname}-{launch}"), id.as_str(), hostname));
        self.list();
        assert_eq!(self.phase(&id), "running");
        id
    }

    fn list(&mut self) -> Observed {
        let number = self.group.begin_listing();
        self.answer(number)
    }

    fn answer(&mut self, number: u64) -> Observed {
        let nodes = self.nodes.clone();
        let of_group = sorted(&nodes);
        let observed = self
            .group
            .apply_listing(number, &self.vms, &of_group, PATIENCE, at(self.now));
        self.group.apply_nodes(&of_group, at(self.now));
        observed
    }

    fn delete(&mut self, id: &InstanceId) -> Vec<InstanceId> {
        self.group.delete(&BTreeSet::from([id.clone()]), at(self.now))
    }

    fn phase(&self, id: &InstanceId) -> &'static str {
        self.group.slot(id).map_or("gone", |slot| slot.phase.as_str())
    }
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind.clone()).collect()
}

fn vm(hostname: &str, tags: Vec<String>) -> Vm {
    Vm {
        hostname: hostname.into(),
        tags,
        cpus: None,
        ram_bytes: None,
        created_at: Some(UnixSeconds(1000)),
        status: VmStatus::Running,
    }
}

fn node(name: &str, provider_id: &str, hostname: &str) -> NodeRecord {
    NodeRecord {
        name: name.into(),
        uid: format!("uid of {name}"),
        provider_id: provider_id.to_owned(),
        labels: BTreeMap::from([(LABEL_HOSTNAME.to_owned(), hostname.to_owned())]).into(),
        capacity: Arc::default(),
        allocatable: Arc::default(),
        ready: true,
        created_at: Some(UnixSeconds(1030)),
    }
}

fn sorted(nodes: &[NodeRecord]) -> GroupNodes<'_> {
    let (own, forked) = nodes.iter().partition(|node| node.provider_id.starts_with("slicer://"));
    GroupNodes { own, forked }
}

#[test]
fn an_increase_raises_the_target_and_lists_creating_instances_at_once() {
    let mut scene = Scene::new();
    scene.launch(3);
    assert_eq!(scene.group.target_size(), 3);
    assert!(
        scene
            .group
            .instances()
            .iter()
            .all(|instance| instance.state == InstanceState::Creating)
    );
}

#[test]
fn an_increase_beyond_the_maximum_or_of_nothing_changes_nothing() {
    let mut scene = Scene::new();
    scene.launch(7);
    for delta in [0, -1, i32::MIN, 2, i32::MAX] {
        assert!(scene.group.request_launches(delta, 8, at(1), || 7).is_err(), "{delta}");
    }
    assert_eq!(scene.group.target_size(), 7);
}

#[test]
fn a_launch_id_that_is_drawn_twice_is_drawn_again() {
    let mut scene = Scene::new();
    let mut numbers = [5, 5, 5, 6].into_iter();
    let launches = scene
        .group
        .request_launches(2, 8, at(1), || numbers.next().unwrap())
        .unwrap();
    assert_ne!(launches[0], launches[1]);
    scene.delete(&Scene::id(&launches[0]));
    let mut numbers = [5, 7].into_iter();
    let again = scene
        .group
        .request_launches(1, 8, at(1), || numbers.next().unwrap())
        .unwrap();
    assert_ne!(again[0], launches[0], "the id of a removed launch is not used again");
}

#[test]
fn a_failed_launch_stays_listed_and_counted_until_it_is_deleted() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.group.begin_launch(&launch);
    let failure = Failure::new(FailureCode::OutOfResources, "no room");
    scene.group.launch_failed(&launch, failure.clone());
    scene.list();
    scene.list();
    assert_eq!(scene.group.target_size(), 1);
    let instance = scene.group.instances().remove(0);
    assert_eq!(
        (instance.state, instance.failure),
        (InstanceState::Creating, Some(failure))
    );
    scene.delete(&instance.id);
    assert_eq!(scene.phase(&instance.id), "gone");
}

#[test]
fn a_launch_that_was_given_up_in_its_queue_is_never_sent() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    assert_eq!(scene.group.decrease(5, at(1)), 1);
    assert_eq!(scene.group.target_size(), 0);
    assert!(!scene.group.begin_launch(&launch));
}

#[test]
fn a_decrease_gives_failed_then_queued_then_requested_launches_up_and_never_a_vm() {
    let mut scene = Scene::new();
    let running = scene.running("agents-1");
    let launches = scene.launch(3);
    scene.group.begin_launch(&launches[0]);
    scene.group.begin_launch(&launches[1]);
    scene
        .group
        .launch_failed(&launches[1], Failure::new(FailureCode::HostError, ""));
    let phases = |scene: &Scene| launches.iter().map(|l| scene.phase(&Scene::id(l))).collect::<Vec<_>>();
    assert_eq!(scene.group.decrease(1, at(1)), 1);
    assert_eq!(phases(&scene), ["requested", "gone", "queued"]);
    assert_eq!(scene.group.decrease(1, at(1)), 1);
    assert_eq!(phases(&scene), ["requested", "gone", "gone"]);
    assert_eq!(scene.group.decrease(9, at(1)), 1);
    assert_eq!(phases(&scene), ["deleting", "gone", "gone"]);
    assert_eq!((scene.group.target_size(), scene.phase(&running)), (1, "running"));
}

#[test]
fn a_vm_that_comes_of_a_launch_given_up_meanwhile_is_removed() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.group.begin_launch(&launch);
    scene.group.decrease(1, at(1));
    scene.list();
    scene.list();
    assert_eq!(
        scene.phase(&Scene::id(&launch)),
        "deleting",
        "its request is still under way"
    );
    assert_eq!(
        scene.group.launch_succeeded(&launch, "agents-1".into(), at(2)),
        (LaunchOutcome::Unwanted, None)
    );
    assert_eq!(
        scene
            .group
            .slot(&Scene::id(&launch))
            .unwrap()
            .phase
            .vm()
            .unwrap()
            .hostname
            .as_str(),
        "agents-1"
    );
}

#[test]
fn a_removed_instance_is_listed_as_deleting_until_two_listings_miss_its_vm() {
    let mut scene = Scene::new();
    let id = scene.running("agents-1");
    assert_eq!(scene.delete(&id), std::slice::from_ref(&id));
    assert_eq!(scene.group.target_size(), 0);
    scene.list();
    assert_eq!(scene.phase(&id), "deleting");
    scene.vms.clear();
    assert_eq!(scene.list().stale_nodes, []);
    let observed = scene.list();
    assert_eq!(kinds(&observed.events), [EventKind::Removed]);
    assert_eq!(observed.stale_nodes.len(), 1);
    assert_eq!(scene.phase(&id), "gone");
}

#[test]
fn deleting_twice_lowers_the_target_once() {
    let mut scene = Scene::new();
    let (first, _second) = (scene.running("agents-1"), scene.running("agents-2"));
    scene.delete(&first);
    assert_eq!(scene.delete(&first), []);
    assert_eq!(scene.group.target_size(), 1);
    scene.vms.remove(0);
    scene.list();
    scene.list();
    scene.delete(&first);
    assert_eq!(scene.group.target_size(), 1, "also after it is gone");
}

#[test]
fn a_deletion_of_something_unknown_is_settled_by_listings() {
    let mut scene = Scene::new();
    let unknown: LaunchId = "zzzzzzzz".parse().unwrap();
    scene.delete(&Scene::id(&unknown));
    scene.boot(&unknown, "agents-9");
    scene.list();
    let slot = scene.group.slot(&Scene::id(&unknown)).unwrap();
    assert!(
        matches!(&slot.phase, Phase::Deleting { vm: Some(_), .. }),
        "the host had it: {slot:?}"
    );
    scene.vms.clear();
    scene.list();
    scene.list();
    assert_eq!(scene.phase(&Scene::id(&unknown)), "gone");
}

#[test]
fn a_vm_that_turns_up_after_its_removal_is_removed_again() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.group.begin_launch(&launch);
    scene
        .group
        .launch_failed(&launch, Failure::new(FailureCode::HostUnreachable, "time-out"));
    scene.delete(&Scene::id(&launch));
    scene.boot(&launch, "agents-1");
    assert_eq!(kinds(&scene.list().events), [EventKind::CameBack]);
    assert_eq!(
        (scene.phase(&Scene::id(&launch)), scene.group.target_size()),
        ("deleting", 0)
    );
}

#[test]
fn a_listing_asked_for_before_a_vm_was_created_proves_nothing_about_it() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.group.begin_launch(&launch);
    let old = scene.group.begin_listing();
    scene.group.launch_succeeded(&launch, "agents-1".into(), at(1));
    scene.answer(old);
    scene.now += 60;
    scene.list();
    assert_eq!(
        scene.phase(&Scene::id(&launch)),
        "booting",
        "one listing counts, not two"
    );
}

#[test]
fn a_vm_that_vanishes_takes_two_listings_in_a_row_and_some_time() {
    let mut scene = Scene::new();
    let id = scene.running("agents-1");
    scene.vms.clear();
    scene.list();
    scene.list();
    assert_eq!(
        scene.phase(&id),
        "running",
        "two listings in the same second are not enough"
    );
    scene.group.listing_failed();
    scene.now += 60;
    scene.list();
    assert_eq!(scene.phase(&id), "running", "a failed listing starts the count anew");
    scene.now += 5;
    let observed = scene.list();
    assert_eq!(kinds(&observed.events), [EventKind::Vanished]);
    assert_eq!(observed.stale_nodes.len(), 1);
    assert_eq!(scene.group.target_size(), 0);
}

#[test]
fn a_vm_that_vanishes_while_booting_becomes_a_failure_without_vm() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.group.begin_launch(&launch);
    scene.group.launch_succeeded(&launch, "agents-1".into(), at(1));
    scene.list();
    scene.now += 5;
    scene.list();
    let instance = scene.group.instances().remove(0);
    assert_eq!(instance.failure.unwrap().code, FailureCode::VmVanished);
    assert_eq!(scene.group.target_size(), 1);
}

#[test]
fn a_node_that_registers_clears_an_error() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    let id = Scene::id(&launch);
    scene.group.begin_launch(&launch);
    scene.boot(&launch, "agents-1");
    scene.list();
    scene
        .group
        .apply_userdata(&id, UserdataState::Exited(14), "agent not active", true, at(1));
    assert_eq!(scene.phase(&id), "failed");
    scene.nodes.push(node("agents-1-x", id.as_str(), "agents-1"));
    scene.list();
    assert_eq!(
        (scene.phase(&id), scene.group.instances()[0].failure.is_none()),
        ("running", true)
    );
}

#[test]
fn a_vm_that_never_joins_fails_in_time_unless_it_was_halted_on_purpose() {
    let mut scene = Scene::new();
    let launches = scene.launch(2);
    for (launch, hostname) in launches.iter().zip(["agents-1", "agents-2"]) {
        scene.group.begin_launch(launch);
        scene.boot(launch, hostname);
    }
    scene.vms[1].status = VmStatus::Halted;
    scene.list();
    let (first, second) = (Scene::id(&launches[0]), Scene::id(&launches[1]));
    assert_eq!(scene.group.overdue_joins(PATIENCE, at(700)), []);
    let overdue = scene.group.overdue_joins(PATIENCE, at(701));
    assert_eq!(overdue, [(first.clone(), "agents-1".into())]);
    for id in [&first, &second] {
        scene.group.fail_overdue_join(id, "no route to host", PATIENCE, at(701));
    }
    assert_eq!((scene.phase(&first), scene.phase(&second)), ("failed", "booting"));
    let failures: Vec<_> = scene.group.instances().into_iter().filter_map(|i| i.failure).collect();
    assert!(failures[0].message.ends_with("no route to host"), "{failures:?}");
}

#[test]
fn a_vm_that_joins_while_its_log_is_read_does_not_fail() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    let id = Scene::id(&launch);
    scene.boot(&launch, "agents-1");
    scene.list();
    assert_eq!(scene.group.overdue_joins(PATIENCE, at(701)).len(), 1);
    scene.nodes.push(node("agents-1-x", id.as_str(), "agents-1"));
    scene.list();
    assert_eq!(scene.group.fail_overdue_join(&id, "", PATIENCE, at(701)), None);
    assert_eq!(scene.phase(&id), "running");
}

#[test]
fn a_node_proves_that_its_launch_has_a_vm_while_the_host_cannot_say_so() {
    for gives_up_before in [false, true] {
        let mut scene = Scene::new();
        let launch = scene.launch(1).remove(0);
        let id = Scene::id(&launch);
        scene.group.begin_launch(&launch);
        let unreachable = Failure::new(FailureCode::HostUnreachable, "no answer");
        if gives_up_before {
            scene.group.launch_failed(&launch, unreachable.clone());
        }
        let joined = [node("agents-1-x", id.as_str(), "agents-1")];
        let events = scene.group.apply_nodes(&sorted(&joined), at(110));
        assert!(kinds(&events).contains(&EventKind::Joined), "{events:?}");
        assert_eq!(scene.group.launch_failed(&launch, unreachable), None);
        assert_eq!(scene.phase(&id), "running");
        assert_eq!(scene.group.instances()[0].failure, None);
        // The host is back: it is the same VM, or there is none and it goes like any that vanished.
        if gives_up_before {
            scene.boot(&launch, "agents-1");
        }
        for seconds in [120, 130] {
            scene.now = seconds;
            scene.list();
        }
        assert_eq!(scene.phase(&id), if gives_up_before { "running" } else { "gone" });
    }
}

#[test]
fn halting_a_vm_and_letting_it_go_on_are_told_once_each_and_change_nothing_else() {
    let mut scene = Scene::new();
    let id = scene.running("agents-1");
    scene.vms[0].status = VmStatus::Halted;
    assert_eq!(kinds(&scene.list().events), [EventKind::Halted]);
    assert_eq!(scene.list().events, []);
    assert_eq!((scene.phase(&id), scene.group.target_size()), ("running", 1));
    scene.vms[0].status = VmStatus::Running;
    assert_eq!(kinds(&scene.list().events), [EventKind::Resumed]);

    // One that was halted while nobody looked is told of, too.
    let mut after_restart = Scene::new();
    after_restart.vms = scene.vms;
    after_restart.vms[0].status = VmStatus::Halted;
    let events = after_restart.list().events;
    assert!(kinds(&events).contains(&EventKind::Halted), "{events:?}");
}

#[test]
fn userdata_that_succeeded_without_a_node_fails_sooner() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    let id = Scene::id(&launch);
    scene.boot(&launch, "agents-1");
    scene.list();
    scene
        .group
        .apply_userdata(&id, UserdataState::Exited(0), "", true, at(110));
    assert_eq!(scene.phase(&id), "booting");
    scene.group.fail_overdue_join(&id, "", PATIENCE, at(231));
    assert_eq!(scene.phase(&id), "failed");
}

#[test]
fn without_kubernetes_userdata_that_succeeded_makes_an_instance_running() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.boot(&launch, "agents-1");
    scene.list();
    let id = Scene::id(&launch);
    scene
        .group
        .apply_userdata(&id, UserdataState::Exited(0), "", false, at(110));
    assert_eq!(scene.phase(&id), "running");
}

#[test]
fn vms_of_this_group_are_taken_over_after_a_restart_and_others_are_not() {
    let mut scene = Scene::new();
    let (ours, theirs): (LaunchId, LaunchId) = ("aaaaaaaa".parse().unwrap(), "bbbbbbbb".parse().unwrap());
    scene.boot(&ours, "agents-1");
    for (cluster, node_group) in [("office", "agents"), ("home", "others")] {
        let tags = VmTags {
            cluster: cluster.parse().unwrap(),
            node_group: node_group.parse().unwrap(),
            launch: theirs.clone(),
        };
        scene.vms.push(vm("agents-2", tags.to_tags()));
    }
    scene.vms.push(vm("agents-3", Vec::new()));
    scene.list();
    assert_eq!(scene.group.instances().len(), 1);
    assert_eq!(scene.phase(&Scene::id(&ours)), "booting");
}

#[test]
fn before_the_first_listing_nodes_stand_for_instances() {
    let mut scene = Scene::new();
    let id = Scene::id(&"aaaaaaaa".parse().unwrap());
    let nodes = [node("agents-1-aaaaaaaa", id.as_str(), "agents-1")];
    scene.group.apply_nodes(&sorted(&nodes), at(1));
    assert_eq!((scene.group.target_size(), scene.phase(&id)), (1, "running"));
}

#[test]
fn a_stale_node_without_instance_needs_its_own_two_listings() {
    let mut scene = Scene::new();
    scene.list();
    scene
        .nodes
        .push(node("agents-1-aaaaaaaa", "slicer://agents/aaaaaaaa", "agents-1"));
    scene.nodes[0].ready = false;
    assert_eq!(scene.list().stale_nodes, []);
    scene.now += 5;
    assert_eq!(scene.list().stale_nodes.len(), 1);
    assert_eq!(scene.list().stale_nodes.len(), 1, "named again until it is gone");
}

#[test]
fn the_forks_vm_is_adopted_through_its_node_and_keeps_its_id() {
    let mut scene = Scene::new();
    scene.vms.push(vm("agents-1", Vec::new()));
    scene
        .nodes
        .push(node("agents-1-99aa88bb", "k3s://agents-1-99aa88bb", "agents-1"));
    scene.list();
    let id = InstanceId::adopted("k3s://agents-1-99aa88bb");
    assert_eq!(scene.phase(&id), "running");
    scene.nodes.clear();
    scene.delete(&id);
    scene.list();
    scene.list();
    assert_eq!(scene.phase(&id), "deleting", "its VM is known without its Node, too");
}

#[test]
fn a_node_of_the_fork_that_is_older_than_the_vm_of_that_name_adopts_nothing() {
    let mut scene = Scene::new();
    let mut newer = vm("agents-1", Vec::new());
    newer.created_at = Some(UnixSeconds(5000));
    scene.vms.push(newer);
    scene
        .nodes
        .push(node("agents-1-99aa88bb", "k3s://agents-1-99aa88bb", "agents-1"));
    scene.list();
    scene.now += 60;
    assert_eq!(
        scene.list().stale_nodes,
        [],
        "it still reports ready: labels alone are no proof"
    );
    assert_eq!(scene.group.instances(), []);
}

#[test]
fn a_second_vm_of_a_launch_is_surplus_and_the_known_one_stays() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.group.begin_launch(&launch);
    scene.group.launch_succeeded(&launch, "agents-2".into(), at(1));
    scene.boot(&launch, "agents-1");
    scene.boot(&launch, "agents-2");
    assert_eq!(scene.list().surplus, ["agents-1".into()]);
    assert_eq!(scene.group.target_size(), 1);
}

#[test]
fn the_memory_of_removals_is_bounded() {
    let mut scene = Scene::new();
    for _ in 0..MAX_REMEMBERED_REMOVALS + 10 {
        let launch = scene.launch(1).remove(0);
        scene.delete(&Scene::id(&launch));
    }
    assert_eq!(scene.group.removals.len(), MAX_REMEMBERED_REMOVALS);
    assert!(
        scene
            .group
            .removals
            .iter()
            .all(|launch| scene.group.removed.contains(launch))
    );
    assert_eq!(scene.group.removed.len(), MAX_REMEMBERED_REMOVALS);
}

#[test]
fn a_ready_node_whose_vm_this_host_never_listed_is_stale_only_if_its_kubelet_is_silent() {
    // As after a restart with the wrong slicer-url: the Node's VM lives, but on another host.
    let mut scene = Scene::new();
    scene
        .nodes
        .push(node("agents-1-abcd1234", "slicer://agents/abcd1234", "agents-1"));
    let nodes = scene.nodes.clone();
    scene.group.apply_nodes(&sorted(&nodes), at(100));
    for now in [110, 120, 130, 140] {
        scene.now = now;
        assert!(scene.list().stale_nodes.iter().all(|node| node.claims_to_live));
    }
    assert_eq!(scene.list().stale_nodes.len(), 1);
    scene.nodes[0].ready = false;
    assert!(!scene.list().stale_nodes[0].claims_to_live);
}

#[test]
fn after_a_change_of_host_the_nodes_of_vms_on_the_old_host_are_stale_only_if_their_kubelets_are_silent() {
    let mut scene = Scene::new();
    scene.running("agents-1");
    scene.group.host_changed();
    scene.vms.clear();
    for now in [110, 120, 130, 140] {
        scene.now = now;
        assert!(scene.list().stale_nodes.iter().all(|node| node.claims_to_live));
    }
    assert_eq!(
        scene.group.target_size(),
        0,
        "what the host does not have is no instance"
    );
}

#[test]
fn a_node_of_the_fork_stays_while_a_vm_of_its_name_is_there_that_nothing_else_claims() {
    let mut scene = Scene::new();
    scene.vms.push(vm("agents-1", Vec::new()));
    let mut forked = node("agents-1-aaaa", "k3s://agents-1-aaaa", "agents-1");
    // The host's clock is an hour ahead: it looks as if the VM were younger than its own Node.
    forked.created_at = Some(UnixSeconds(1000 - 3600));
    forked.ready = false;
    scene.nodes.push(forked);
    for now in [110, 120, 130] {
        scene.now = now;
        assert_eq!(scene.list().stale_nodes, []);
    }
    scene.vms.clear();
    scene.list();
    scene.now = 140;
    assert_eq!(scene.list().stale_nodes.len(), 1);
}

#[test]
fn of_two_nodes_of_the_fork_for_one_hostname_the_younger_is_the_vms() {
    let mut scene = Scene::new();
    scene.vms.push(vm("agents-1", Vec::new()));
    let mut stale = node("agents-1-aaaa", "k3s://agents-1-aaaa", "agents-1");
    stale.created_at = Some(UnixSeconds(990));
    let mut live = node("agents-1-bbbb", "k3s://agents-1-bbbb", "agents-1");
    live.created_at = Some(UnixSeconds(1030));
    scene.nodes.extend([stale, live]);
    scene.list();
    assert_eq!(scene.phase(&InstanceId::adopted("k3s://agents-1-bbbb")), "running");
    assert_eq!(scene.group.target_size(), 1);
}

#[test]
fn a_node_that_is_not_ready_or_of_the_fork_tells_the_shape_until_a_better_one_does() {
    let amounts = |cpus: &str| {
        Arc::new(Resources::from([
            ("cpu".to_owned(), cpus.to_owned()),
            ("memory".to_owned(), "4024136Ki".to_owned()),
        ]))
    };
    let of_size = |mut node: NodeRecord, cpus: &str, ready| {
        (node.capacity, node.allocatable, node.ready) = (amounts(cpus), amounts(cpus), ready);
        node
    };
    let mut scene = Scene::new();
    let learned = |scene: &Scene| scene.group.learned().cloned();
    let forked = of_size(node("agents-1-aaaa", "k3s://agents-1-aaaa", "agents-1"), "1", false);
    scene.nodes.push(forked.clone());
    scene.list();
    assert_eq!(learned(&scene), Some(Learned::from_node(&forked)));
    let ready = of_size(
        node("agents-2-abcd1234", "slicer://agents/abcd1234", "agents-2"),
        "2",
        true,
    );
    scene.nodes.push(ready.clone());
    scene.list();
    assert_eq!(learned(&scene), Some(Learned::from_node(&ready)));
    scene.nodes[1].ready = false;
    scene.list();
    assert_eq!(learned(&scene), Some(Learned::from_node(&ready)), "it is not forgotten");
}

#[test]
fn instances_that_nobody_knows_are_noted_up_to_a_limit_and_the_known_ones_are_deleted_all_the_same() {
    let mut scene = Scene::new();
    let launches = scene.launch(1);
    scene.boot(&launches[0], "agents-1");
    scene.list();
    let unknown = |number: usize| InstanceId::adopted(&format!("k3s://agents-{number}"));
    let ids: BTreeSet<InstanceId> = (0..MOST_INSTANCES + 100).map(unknown).collect();
    scene.group.delete(&ids, at(scene.now));
    assert_eq!(scene.group.slots().count(), MOST_INSTANCES);
    let known = Scene::id(&launches[0]);
    assert_eq!(scene.delete(&known), [known]);
    assert_eq!(scene.group.target_size(), 0);
}

#[test]
fn events_name_the_vm_and_count_from_the_request_for_it_and_then_from_that_for_its_removal() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    let (id, hostname) = (Scene::id(&launch), Hostname::from("agents-1"));
    let event = |asked: u64, kind: EventKind| Event {
        instance: id.clone(),
        vm: Some(hostname.clone()),
        asked: Some(at(asked)),
        kind,
    };
    scene.group.begin_launch(&launch);
    scene.boot(&launch, "agents-1");
    let (_, launched) = scene.group.launch_succeeded(&launch, hostname.clone(), at(103));
    assert_eq!(launched, Some(event(100, EventKind::Launched)));
    scene.nodes.push(node("n", id.as_str(), "agents-1"));
    let nodes = scene.nodes.clone();
    let joined = scene.group.apply_nodes(&sorted(&nodes), at(120));
    assert_eq!(joined, [event(100, EventKind::Joined)]);
    scene.now = 500;
    scene.list();
    scene.delete(&id);
    scene.vms.clear();
    scene.now = 507;
    scene.list();
    assert_eq!(scene.list().events, [event(500, EventKind::Removed)]);
}

#[test]
fn of_a_vm_that_was_taken_over_nobody_knows_when_it_was_asked_for() {
    let mut scene = Scene::new();
    let launch = scene.launch(1).remove(0);
    scene.boot(&launch, "agents-1");
    scene.group = Scene::new().group;
    let adopted = scene.list().events;
    assert_eq!((kinds(&adopted), adopted[0].asked), (vec![EventKind::Adopted], None));
    scene.nodes.push(node("n", Scene::id(&launch).as_str(), "agents-1"));
    let nodes = scene.nodes.clone();
    let joined = scene.group.apply_nodes(&sorted(&nodes), at(120));
    assert_eq!((kinds(&joined), joined[0].asked), (vec![EventKind::Joined], None));
    scene.now = 300;
    scene.delete(&Scene::id(&launch));
    scene.vms.clear();
    scene.list();
    assert_eq!(scene.list().events[0].asked, Some(at(300)));
}
