//! What happens: steps drawn from the seed, and after each of them the design's invariants.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use slicer_cloud_provider::domain::ids::InstanceId;
use slicer_cloud_provider::grpc::pb::ExternalGrpcNode;
use slicer_cloud_provider::grpc::pb::instance_status::InstanceState;
use slicer_cloud_provider::simulator::Capacity;

use super::autoscaler::{error_code, fake_node, is_deleting, state};
use super::cluster::{FakeCluster, STRANGERS};
use super::hosts;
use super::ledger::{Counts, Ledger};
use super::life::{Life, World};
use super::time::{StandingClock, jump, pass, runtime};
use super::{GROUPS, HOSTS, MAX, TROUBLED, WRONG};

/// After how many steps everything is let come to rest and compared.
const REST_EVERY: u32 = 200;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Where everything is drawn from.
    pub(crate) seed: u64,
    /// How many steps.
    pub(crate) steps: u32,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What happened how often.
    pub(crate) counts: Counts,
    /// The same for two runs only if they went the same way.
    pub(crate) trace: u64,
}

/// Lives through a story.
///
/// # Errors
/// The invariant that broke, with the seed and the step.
pub(crate) fn run(plan: Plan) -> Result<Outcome, String> {
    // The pauses between repeated reads are drawn from this thread's dice.
    fastrand::seed(plan.seed);
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let runtime = runtime().map_err(|error| error.to_string())?;
    let outcome = runtime.block_on(async {
        let _clock = StandingClock::hold();
        let mut story = Story::begin(plan, folder.path())?;
        story.live().await
    });
    runtime.shutdown_background();
    outcome
}

struct Story {
    plan: Plan,
    step: u32,
    dice: Rng,
    world: World,
    life: Option<Life>,
    /// Requests to hosts before the present trouble began.
    requests_before: u64,
    trace: DefaultHasher,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    Increase,
    Decrease,
    Delete,
    DeleteFailed,
    DeleteStranger,
    Loop,
    Moment,
    Minute,
    ClockJump,
    HostRestart,
    HostDown,
    HostUp,
    KillVm,
    Room,
    Api,
    NodeController,
    Kill,
}

/// The steps with their weights.
const STEPS: [(Step, u32); 17] = [
    (Step::Increase, 14),
    (Step::Decrease, 5),
    (Step::Delete, 8),
    (Step::DeleteFailed, 8),
    (Step::DeleteStranger, 2),
    (Step::Loop, 14),
    (Step::Moment, 22),
    (Step::Minute, 5),
    (Step::ClockJump, 1),
    (Step::HostRestart, 2),
    (Step::HostDown, 2),
    (Step::HostUp, 4),
    (Step::KillVm, 2),
    (Step::Room, 2),
    (Step::Api, 2),
    (Step::NodeController, 3),
    (Step::Kill, 3),
];

impl Story {
    fn begin(plan: Plan, folder: &std::path::Path) -> Result<Self, String> {
        let mut dice = Rng::with_seed(plan.seed);
        let ledger = Ledger::default();
        let cluster = FakeCluster::new(dice.fork(), ledger.clone());
        let hosts = hosts::start(folder, &cluster, &mut dice).map_err(|error| error.to_string())?;
        let world = World {
            hosts,
            cluster,
            ledger,
            ids: Arc::new(Mutex::new(dice.fork())),
        };
        let life = Some(world.begin_life()?);
        let mut story = Self {
            plan,
            step: 0,
            dice,
            world,
            life,
            requests_before: 0,
            trace: DefaultHasher::new(),
        };
        story.trouble();
        Ok(story)
    }

    async fn live(&mut self) -> Result<Outcome, String> {
        for number in 1..=self.plan.steps {
            self.step = number;
            let step = self.draw();
            self.take(step).await.map_err(|what| self.broken(step, &what))?;
            self.check().await.map_err(|what| self.broken(step, &what))?;
            if number % REST_EVERY == 0 {
                self.rest().await.map_err(|what| self.broken("rest", &what))?;
                self.trouble();
            }
        }
        self.end().await.map_err(|what| self.broken("the end", &what))?;
        Ok(Outcome {
            counts: self.world.ledger.book().counts.clone(),
            trace: self.trace.finish(),
        })
    }

    fn broken(&self, at: impl std::fmt::Debug, what: &str) -> String {
        format!(
            "seed {}, step {} of {} ({at:?}): {what}",
            self.plan.seed, self.step, self.plan.steps
        )
    }

    fn draw(&mut self) -> Step {
        let all: u32 = STEPS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.dice.u32(0..all);
        for (step, weight) in STEPS {
            if left < weight {
                return step;
            }
            left -= weight;
        }
        Step::Loop
    }

    fn life(&mut self) -> Result<&mut Life, String> {
        self.life.as_mut().ok_or_else(|| "nobody lives".to_owned())
    }

    fn group(&mut self) -> &'static str {
        GROUPS[self.dice.usize(0..GROUPS.len())].0
    }

    fn host(&mut self) -> hosts::Host {
        self.world.hosts[self.dice.usize(0..HOSTS)].clone()
    }

    async fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Increase | Step::Decrease | Step::Delete | Step::DeleteFailed | Step::DeleteStranger | Step::Loop => {
                self.call(step).await
            }
            Step::Kill => self.kill().await,
            _ => {
                self.happen(step).await;
                Ok(())
            }
        }
    }

    /// A call of the cluster-autoscaler.
    async fn call(&mut self, step: Step) -> Result<(), String> {
        let (group, other) = (self.group(), self.group());
        let (up, down) = (self.dice.i32(-1..5), self.dice.i32(-4..2));
        let positions: Vec<usize> = (0..self.dice.usize(1..4))
            .map(|_| self.dice.usize(0..MAX + 2))
            .collect();
        let autoscaler = &mut self.life()?.autoscaler;
        match step {
            Step::Increase => autoscaler.increase(group, up).await,
            Step::Decrease => autoscaler.decrease(group, down).await,
            Step::Delete => {
                let all: Vec<InstanceId> = autoscaler.see(group).await?.ids().into_iter().collect();
                let at = |position: &usize| all.get(position % all.len().max(1)).cloned();
                let some: BTreeSet<InstanceId> = positions.iter().filter_map(at).collect();
                autoscaler.delete(group, &some).await
            }
            Step::DeleteFailed => {
                let failed = autoscaler.see(group).await?.failed().into_iter().collect();
                autoscaler.delete(group, &failed).await
            }
            Step::DeleteStranger if other == group => {
                autoscaler.delete_with_a_stranger(group, "k3s://control-plane").await
            }
            Step::DeleteStranger => {
                let stranger = format!("slicer://{other}/zzzzzzzz");
                autoscaler.delete_with_a_stranger(group, &stranger).await
            }
            _ => autoscaler.run_loop().await,
        }
    }

    /// Something happens outside.
    async fn happen(&mut self, step: Step) {
        let host = self.host();
        let drawn = self.dice.u64(..);
        let ledger = self.world.ledger.clone();
        match step {
            Step::Moment => pass(Duration::from_millis(drawn % 3_000)).await,
            Step::Minute => pass(Duration::from_secs(10 + drawn % 50)).await,
            Step::ClockJump => {
                ledger.count("clock jumps");
                jump(Duration::from_secs(60 + drawn % 20_000)).await;
            }
            Step::HostRestart => {
                ledger.count("host restarts");
                host.simulator.restart();
            }
            Step::HostDown => {
                ledger.count("hosts down");
                host.simulator.down(None);
            }
            Step::HostUp => host.simulator.up(),
            Step::KillVm => {
                if let Some(vm) = host.ours().get(usize::try_from(drawn % 4).unwrap_or(0)) {
                    ledger.count("VMs killed");
                    let _ = host.simulator.kill(&vm.hostname);
                }
            }
            Step::Room => host.simulator.set_capacity(Capacity {
                max_vms: usize::try_from(2 + drawn % 12).ok(),
                ram_bytes: None,
            }),
            Step::Api => self.world.cluster.set_api(!drawn.is_multiple_of(3)),
            _ => self.world.cluster.notice_silence(),
        }
    }

    async fn kill(&mut self) -> Result<(), String> {
        self.world.ledger.count("kills of the provider");
        if let Some(life) = self.life.take() {
            life.kill();
        }
        if self.dice.bool() {
            pass(Duration::from_millis(self.dice.u64(0..5_000))).await;
        }
        self.world.ledger.next_life();
        self.life = Some(self.world.begin_life()?);
        Ok(())
    }

    /// The invariants that hold at any time.
    async fn check(&mut self) -> Result<(), String> {
        let nodes = self.world.cluster.provider_ids();
        let asked = self.world.ledger.book().asked_in_this_life.clone();
        let autoscaler = &mut self.life()?.autoscaler;
        autoscaler.refresh().await?;
        let mut targets = Vec::new();
        for (name, _, _) in GROUPS {
            let seen = autoscaler.see(name).await?;
            if seen.target != seen.live().len() {
                return Err(format!(
                    "{name} lists {:?} for a target of {}",
                    seen.instances, seen.target
                ));
            }
            for instance in &seen.instances {
                let has_error = error_code(instance).is_some();
                if has_error && state(instance) != InstanceState::InstanceCreating {
                    return Err(format!("an error on an instance that is not creating: {instance:?}"));
                }
                if has_error && nodes.contains(&instance.id) {
                    return Err(format!("an error on an instance whose Node registered: {instance:?}"));
                }
            }
            if let Some(back) = seen.live().intersection(&asked).next() {
                return Err(format!("{back} was deleted and is back"));
            }
            for id in seen.ids() {
                let group = autoscaler.group_of(fake_node(&id)).await?;
                if group != name {
                    return Err(format!("{id} is said to be of {group:?}, not of {name}"));
                }
            }
            targets.push(seen.target);
        }
        for stranger in STRANGERS {
            let node = ExternalGrpcNode {
                name: stranger.to_owned(),
                provider_id: format!("k3s://{stranger}"),
                ..ExternalGrpcNode::default()
            };
            let group = autoscaler.group_of(node).await?;
            if !group.is_empty() {
                return Err(format!("the Node {stranger} is said to be of {group}"));
            }
        }
        targets.hash(&mut self.trace);
        self.check_hosts()
    }

    fn check_hosts(&self) -> Result<(), String> {
        for (name, host, _) in GROUPS {
            let host = &self.world.hosts[host];
            if let Some(double) = host.doubles().first() {
                return Err(format!("{double} has two VMs"));
            }
            let book_asks = |id: &InstanceId| self.world.ledger.book().asked.contains(id);
            let wanted = host.ours().into_iter().filter(|vm| {
                vm.group.as_str() == name && !book_asks(&vm.id()) && !self.world.ledger.is_of_earlier_life(&vm.launch)
            });
            let count = wanted.count();
            if count > MAX {
                return Err(format!("{name} has {count} VMs, {MAX} are allowed"));
            }
        }
        self.world.ledger.verdict()
    }

    /// From now on things go wrong.
    fn trouble(&mut self) {
        self.world.hosts.iter().for_each(hosts::Host::trouble);
        self.world.cluster.set_refusals(20);
        self.requests_before = self.requests();
    }

    fn requests(&self) -> u64 {
        let hosts = self.world.hosts.iter();
        hosts
            .map(|host| host.simulator.requests().counts.values().sum::<u64>())
            .sum()
    }

    /// Everything works again for a while; then what is there is what is listed.
    async fn rest(&mut self) -> Result<(), String> {
        let hits = self.world.hosts.iter().map(hosts::Host::hits).sum();
        let in_trouble = self.requests() - self.requests_before;
        {
            let mut book = self.world.ledger.book();
            book.counts.add(TROUBLED, in_trouble);
            book.counts.add(WRONG, hits);
        }
        self.world.hosts.iter().for_each(hosts::Host::heal);
        self.world.cluster.set_api(true);
        self.world.cluster.set_refusals(0);
        // Longer than any request that is late, and than the silence that proves a Node dead.
        pass(Duration::from_secs(200)).await;
        self.world.cluster.notice_silence();
        pass(Duration::from_secs(60)).await;
        self.world.ledger.count("rests");
        self.check().await?;
        self.compare().await
    }

    async fn compare(&mut self) -> Result<(), String> {
        let vms: BTreeSet<InstanceId> = self.vms();
        let mut listed = BTreeSet::new();
        for (name, _, _) in GROUPS {
            for instance in self.life()?.autoscaler.see(name).await?.instances {
                let id = InstanceId::adopted(&instance.id);
                let without_reason = !vms.contains(&id) && error_code(&instance).is_none();
                if without_reason || is_deleting(&instance) {
                    return Err(format!("at rest, and still: {instance:?}"));
                }
                listed.insert(id);
            }
        }
        if let Some(unknown) = vms.difference(&listed).next() {
            return Err(format!("the VM of {unknown} is no instance"));
        }
        let nodes = self.world.cluster.provider_ids();
        if let Some(stale) = nodes.iter().find(|id| !vms.contains(&InstanceId::adopted(id))) {
            return Err(format!("the Node of {stale} outlived its VM"));
        }
        Ok(())
    }

    fn vms(&self) -> BTreeSet<InstanceId> {
        let hosts = self.world.hosts.iter();
        hosts.flat_map(hosts::Host::ours).map(|vm| vm.id()).collect()
    }

    /// At rest, everything is deleted: nothing is left but what is somebody else's.
    async fn end(&mut self) -> Result<(), String> {
        self.rest().await?;
        for (name, _, _) in GROUPS {
            let autoscaler = &mut self.life()?.autoscaler;
            let all = autoscaler.see(name).await?.ids();
            autoscaler.delete(name, &all).await?;
        }
        pass(Duration::from_secs(60)).await;
        self.check().await?;
        let (vms, nodes) = (self.vms(), self.world.cluster.provider_ids());
        if !vms.is_empty() || !nodes.is_empty() {
            return Err(format!("left over: VMs {vms:?}, Nodes {nodes:?}"));
        }
        for (name, _, _) in GROUPS {
            let left = self.life()?.autoscaler.see(name).await?.instances;
            if !left.is_empty() {
                return Err(format!("{name} still lists {left:?}"));
            }
        }
        let strangers: usize = self.world.hosts.iter().map(hosts::Host::strangers_left).sum();
        if strangers != GROUPS.len() || self.world.cluster.strangers_left() != STRANGERS.len() {
            return Err("something of somebody else was removed".to_owned());
        }
        self.count_hosts();
        Ok(())
    }

    fn count_hosts(&self) {
        let requests = self.requests();
        let mut book = self.world.ledger.book();
        for host in &self.world.hosts {
            book.counts.add("VMs created", host.simulator.created_total());
            book.counts.add("VMs deleted", host.simulator.deleted_total());
        }
        book.counts.add("requests to hosts", requests);
        book.counts.add("steps", self.plan.steps.into());
    }
}
