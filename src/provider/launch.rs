//! The launch job: from a launch id to a VM, or to a failure that the cluster-autoscaler is shown. Exactly one VM, or
//! none: what may be repeated is repeated, what may have happened is looked for by its tag first.

use std::sync::{Arc, OnceLock};

use tokio::sync::OwnedSemaphorePermit;

use super::journal::Place;
use super::managed::{Connection, HostStatus, ManagedGroup};
use super::ports::VmRequest;
use super::{Shared, keeper, removal};
use crate::bootstrap::{self, Join};
use crate::domain::failure::{Failure, FailureCode, HostError, HostErrorKind, RequestFate};
use crate::domain::group::{Event, LaunchOutcome, Phase};
use crate::domain::ids::{Hostname, InstanceId, LaunchId};
use crate::domain::moment::Moment;
use crate::domain::spec::K3sVersion;
use crate::domain::template::registration_labels;
use crate::domain::vm::VmTags;

/// How often a POST is sent at most, when its failure is known to have left no VM behind.
const MAX_POSTS: u32 = 3;
/// Look-ups in a row that must miss the tag before a POST that the host answered with an error counts as not done.
const LOOK_UPS_AFTER_ERROR: u32 = 2;
/// The same for a connection that broke: the host may be at it still. Slicer makes a VM in a few seconds.
const LOOK_UPS_AFTER_BREAK: u32 = 10;

/// Starts a job for each launch.
pub(super) fn start(shared: &Arc<Shared>, managed: &Arc<ManagedGroup>, launches: Vec<LaunchId>) {
    for launch in launches {
        let job = Launch {
            shared: Arc::clone(shared),
            managed: Arc::clone(managed),
            launch,
            first_missed: OnceLock::new(),
            place: OnceLock::new(),
        };
        shared.tracker.spawn(job.run());
    }
}

/// What the search for a VM by its tag came to.
enum Search {
    Found(Hostname),
    Absent,
    /// Nobody knows.
    Unknown,
}

/// What a launch came to.
enum Outcome {
    Created(Hostname),
    Failed(Failure),
    /// The server stops: after its next start it finds the VM by its tag, if there is one.
    Left,
}

struct Launch {
    shared: Arc<Shared>,
    managed: Arc<ManagedGroup>,
    launch: LaunchId,
    /// When this launch first found nobody at home.
    first_missed: OnceLock<Moment>,
    /// The group and the host that was asked, which a reload may have replaced by the time it answers.
    place: OnceLock<Place>,
}

impl Launch {
    async fn run(self) {
        let shutdown = self.shared.shutdown.clone();
        // Until the POST is under way a stopping server just drops the launch: nothing was asked of the host.
        let turn = async {
            if let Err(failure) = self.host_listed().await {
                self.fail(failure);
                return None;
            }
            if !self.has_room() {
                return None;
            }
            match self.turn_at_living_host().await {
                Ok(permit) => Some(permit),
                Err(failure) => {
                    self.fail(failure);
                    None
                }
            }
        };
        let turn = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = self.given_up() => return,
            turn = turn => turn,
        };
        let Some(permit) = turn else { return };
        if !self.managed.state().group.begin_launch(&self.launch) {
            return; // given up while it waited
        }
        match self.create(permit).await {
            Outcome::Created(hostname) => self.succeed(hostname),
            Outcome::Failed(failure) => self.fail(failure),
            Outcome::Left => {}
        }
    }

    /// Ends when the launch is given up before it began. Else a client that raises and lowers the target while the host
    /// hangs would leave ever more jobs waiting.
    async fn given_up(&self) {
        let id = InstanceId::of_launch(&self.managed.id, &self.launch);
        loop {
            let changed = self.managed.changed.notified();
            if self.managed.state().group.slot(&id).is_none() {
                return;
            }
            changed.await;
        }
    }

    /// Waits for its turn, unless the host is dead: then nobody waits for those who try it first, one after another.
    async fn turn_at_living_host(&self) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        let turn = tokio::select! {
            biased;
            failure = self.host_dead() => return Err(failure),
            turn = self.turn() => turn,
        };
        Ok(turn)
    }

    /// Ends once nobody has answered for so long that another group should get its chance.
    async fn host_dead(&self) -> Failure {
        loop {
            let changed = self.managed.changed.notified();
            if let Some(error) = self.dead_host() {
                return Failure::from(&error);
            }
            // The keeper looks at a dead host seldom; that it is dead is known sooner.
            let _ = tokio::time::timeout(self.shared.timings.retry, changed).await;
        }
    }

    fn dead_host(&self) -> Option<HostError> {
        self.managed
            .dead(self.shared.timings.unreachable, self.shared.clock.now())
    }

    /// Waits for its turn among the POSTs to this host.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let creates = Arc::clone(&self.managed.connection.load().gates.creates);
        creates.acquire_owned().await.ok() // it is never closed
    }

    /// Waits until the host has listed its VMs once: before, nobody knows how many there are already.
    async fn host_listed(&self) -> Result<(), Failure> {
        let mut listed = self.managed.listed.subscribe();
        let patience = self.shared.timings.unreachable;
        let waited = tokio::time::timeout(patience, listed.wait_for(|listed| *listed)).await;
        if !matches!(waited, Ok(Ok(_))) {
            return Err(match &self.managed.state().host {
                HostStatus::Down { error, .. } => Failure::from(error),
                _ => Failure::new(FailureCode::HostUnreachable, "the host has not answered yet"),
            });
        }
        Ok(())
    }

    /// VMs that were unknown when the launch was accepted count, too: a launch for which they leave no room fails. It
    /// does so under the same lock, so that no more launches fail than are too many.
    fn has_room(&self) -> bool {
        let (_, max) = self.managed.limits();
        let event = {
            let mut state = self.managed.state();
            if state.group.vms_to_expect() <= max {
                return true;
            }
            let target = state.group.target_size();
            let failure = Failure::new(
                FailureCode::OutOfResources,
                format!("the group has {target} instances already, {max} are allowed"),
            );
            state.group.launch_failed(&self.launch, failure)
        };
        self.shared.record(&self.managed, event.as_slice());
        false
    }

    fn succeed(&self, hostname: Hostname) {
        let now = self.shared.clock.now();
        let (outcome, event) = self.managed.state().group.launch_succeeded(&self.launch, hostname, now);
        self.record(event.as_slice());
        if outcome == LaunchOutcome::Unwanted {
            removal::start_due(&self.shared, &self.managed);
        }
        self.managed.wake.notify_one();
    }

    fn record(&self, events: &[Event]) {
        let place = self.place.get_or_init(|| self.managed.place());
        let now = self.shared.clock.now();
        self.shared.journal.record(place, now, events);
    }

    fn fail(&self, failure: Failure) {
        let event = self.managed.state().group.launch_failed(&self.launch, failure);
        self.record(event.as_slice());
        self.managed.wake.notify_one();
    }

    /// Holds its turn while it sends and while the host is down, but not while it searches: a host that swallows some
    /// requests must not hold up the others.
    async fn create(&self, mut turn: Option<OwnedSemaphorePermit>) -> Outcome {
        let connection = self.managed.connection.load_full();
        self.place.get_or_init(|| self.managed.place_of(&connection));
        let request = match self.prepare(&connection).await {
            Ok(request) => request,
            Err(failure) => return Outcome::Failed(failure),
        };
        let host_group = &connection.config.spec.host_group;
        let mut posts = 0;
        loop {
            posts += 1;
            if turn.is_none() {
                turn = self.turn().await;
            }
            let error = match connection.host.create_vm(host_group, &request).await {
                Ok(hostname) => return Outcome::Created(hostname),
                Err(error) => error,
            };
            tracing::debug!(group = %self.managed.id, launch = %self.launch, kind = error.kind.as_str(), fate = ?error.fate, %error, "create failed");
            if error.fate != RequestFate::NotDone {
                turn = None;
            }
            let searching = self.after_error(&connection, &error);
            let Some(search) = self.shared.shutdown.run_until_cancelled(searching).await else {
                return Outcome::Left;
            };
            match search {
                Search::Found(hostname) => return Outcome::Created(hostname),
                Search::Unknown => return Outcome::Failed(Failure::from(&error)),
                // The host never saw these: not a try.
                Search::Absent if never_tried(&error) => posts -= 1,
                Search::Absent => {}
            }
            if posts >= MAX_POSTS || !may_repeat(&error) || self.was_given_up() {
                return Outcome::Failed(Failure::from(&error));
            }
        }
    }

    /// Finds out what an error left behind, and waits as long as it takes before a repetition makes sense.
    async fn after_error(&self, connection: &Connection, error: &HostError) -> Search {
        match error.fate {
            RequestFate::NotDone if never_tried(error) => {
                if self.is_down_too_long() {
                    return Search::Unknown;
                }
                tokio::time::sleep(self.shared.timings.retry).await;
                Search::Absent
            }
            RequestFate::NotDone => Search::Absent,
            // It said plainly why there is no VM: one look makes sure, and pods wait no longer than they must.
            RequestFate::Unclear if error.kind == HostErrorKind::OutOfResources => self.search(connection, 1).await,
            RequestFate::Unclear if error.kind == HostErrorKind::Unreachable => {
                self.search(connection, LOOK_UPS_AFTER_BREAK).await
            }
            // The host has finished: one look tells, a second one guards against a listing that lags behind.
            RequestFate::Unclear if error.kind != HostErrorKind::Nonsense => {
                self.search(connection, LOOK_UPS_AFTER_ERROR).await
            }
            // The host said that there is a VM, or may still be making one: it must turn up, and is never asked for
            // a second time.
            RequestFate::Unclear | RequestFate::MayStillHappen => self.search(connection, u32::MAX).await,
        }
    }

    /// Looks for the VM by its tag until it is found, missed `misses` times in a row, or time is up. A host that went
    /// down cannot tell, but the VM's Node may: one that has registered is not given up.
    async fn search(&self, connection: &Connection, misses: u32) -> Search {
        let tag = VmTags::launch_tag(&self.launch);
        let begun = self.shared.clock.now();
        let mut missed = 0;
        loop {
            let answer = connection
                .host
                .list_vms(&connection.config.spec.host_group, Some(&tag))
                .await;
            match answer {
                Ok(vms) => match removal::of_launch(&vms, &self.launch) {
                    Some(vm) => return Search::Found(vm.hostname.clone()),
                    None => missed += 1,
                },
                Err(_) => missed = 0,
            }
            if let Some(hostname) = self.seen_otherwise() {
                return Search::Found(hostname);
            }
            if missed >= misses {
                return Search::Absent;
            }
            if self.shared.clock.now().since(begun) >= self.shared.timings.look_up {
                return Search::Unknown;
            }
            tokio::time::sleep(self.shared.timings.retry).await;
        }
    }

    /// The VM, if a listing or its Node showed it.
    fn seen_otherwise(&self) -> Option<Hostname> {
        let id = InstanceId::of_launch(&self.managed.id, &self.launch);
        keeper::take_over_node_of(&self.shared, &self.managed, &id);
        let state = self.managed.state();
        match &state.group.slot(&id)?.phase {
            Phase::Booting(vm) | Phase::Running(vm) => Some(vm.hostname.clone()),
            _ => None,
        }
    }

    /// Whether the host has been down, or busy, for so long that another group should get its chance.
    fn is_down_too_long(&self) -> bool {
        let now = self.shared.clock.now();
        // The keeper finds out whether the host is down for everybody.
        self.managed.wake.notify_one();
        let own_first = *self.first_missed.get_or_init(|| now);
        let down_since = match self.managed.state().host {
            HostStatus::Down { since, .. } => since,
            HostStatus::Unknown | HostStatus::Up { .. } => own_first,
        };
        now.since(down_since.min(own_first)) >= self.shared.timings.unreachable
    }

    fn was_given_up(&self) -> bool {
        let id = InstanceId::of_launch(&self.managed.id, &self.launch);
        !matches!(
            self.managed.state().group.slot(&id).map(|slot| &slot.phase),
            Some(Phase::Requested)
        )
    }

    /// Everything that the POST needs, and the token's secret on the host.
    async fn prepare(&self, connection: &Connection) -> Result<VmRequest, Failure> {
        let settings = self.shared.settings.load_full();
        let spec = &connection.config.spec;
        let Some(shape) = self.managed.shape.load_full() else {
            return Err(Failure::new(
                FailureCode::LaunchNotPrepared,
                "the shape of the group's VMs is not known",
            ));
        };
        let token = settings.k3s_token.current();
        let secret = bootstrap::token_secret_name(&settings.join.k3s_url, &token);
        self.ensure_secret(connection, &secret, &token).await?;

        let version = match &settings.join.version {
            K3sVersion::Exact(tag) => Some(tag.clone()),
            K3sVersion::Server => self.shared.k3s_server_version(),
        };
        let join = Join {
            settings: &settings.join,
            version: version.as_deref(),
            token_secret: &secret,
            group: &spec.id,
            launch: &self.launch,
            labels: &registration_labels(spec, &shape),
            taints: &spec.taints,
            kubelet_args: &spec.kubelet_args,
        };
        let userdata = bootstrap::render(&join)
            .map_err(|error| Failure::new(FailureCode::LaunchNotPrepared, error.to_string()))?;
        let tags = VmTags {
            cluster: settings.cluster.clone(),
            node_group: spec.id.clone(),
            launch: self.launch.clone(),
        };
        Ok(VmRequest {
            cpus: spec.cpus,
            ram_bytes: spec.ram_bytes,
            gpu_count: spec.gpu_count,
            userdata,
            tags: tags.to_tags(),
            secrets: vec![secret],
        })
    }

    async fn ensure_secret(
        &self,
        connection: &Connection,
        name: &str,
        token: &secrecy::SecretString,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(error) = connection.token_secret.ensure(name, token).await else {
                return Ok(());
            };
            let gone_too_long = never_tried(&error) && self.is_down_too_long();
            let hopeless = !never_tried(&error) && (tries >= MAX_POSTS || !may_repeat(&error));
            if gone_too_long || hopeless || self.dead_host().is_some() || self.was_given_up() {
                let mut failure = Failure::from(&error);
                if failure.code == FailureCode::HostGroupNotFound {
                    failure.code = FailureCode::HostError; // it was the secrets that were not found
                }
                return Err(failure);
            }
            tokio::time::sleep(self.shared.timings.retry).await;
        }
    }
}

/// The host never began with the request, and may well take it later.
fn never_tried(error: &HostError) -> bool {
    error.fate == RequestFate::NotDone && matches!(error.kind, HostErrorKind::Unreachable | HostErrorKind::Busy)
}

/// Whether the same request may succeed when it is sent again.
fn may_repeat(error: &HostError) -> bool {
    matches!(
        error.kind,
        HostErrorKind::Unreachable | HostErrorKind::Busy | HostErrorKind::Broken
    )
}
