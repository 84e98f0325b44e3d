//! What the handles, the routes and the tasks of the VMs share: the state behind its one lock, and the rule that the
//! guests follow the daemon. Nobody starts or ends a guest himself: he changes the daemon, and afterwards every VM
//! that is on has a task, and every other has none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{SimulatorConfig, Timing};
use super::daemon::Daemon;
use super::faults::FaultBook;
use super::guest::GuestAgent;
use super::journal::RequestLog;
use super::lifecycle;
use super::secrets::SecretStore;
use super::vm::BootId;

/// The most requests that are carried out at the same time, including those whose client has gone.
const MOST_ACTIONS: usize = 1024;

/// Whether clients reach the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    DownUntil(Instant),
    Down,
}

/// Everything that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) daemon: Daemon,
    pub(super) secrets: SecretStore,
    pub(super) faults: FaultBook,
    pub(super) requests: RequestLog,
    link: Link,
    /// Cancelled when all connections are cut: answers under way are not sent.
    answers: CancellationToken,
    /// Cancelled when the daemon restarts: work under way is not done.
    actions: CancellationToken,
    guests: HashMap<BootId, CancellationToken>,
}

/// Shared by everything that belongs to one simulator.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    pub(super) token: ArcSwapOption<SecretString>,
    pub(super) timing: Timing,
    pub(super) admin_routes: bool,
    pub(super) agent: Arc<dyn GuestAgent>,
    /// Requests being carried out.
    pub(super) room_for_actions: Arc<Semaphore>,
    /// The tasks of the guests and of the requests.
    pub(super) tasks: TaskTracker,
    /// Cancelled when nobody needs the simulator any more.
    pub(super) end: CancellationToken,
}

impl Shared {
    pub(super) fn new(config: SimulatorConfig, agent: Arc<dyn GuestAgent>) -> Arc<Self> {
        let end = CancellationToken::new();
        let state = State {
            daemon: Daemon::new(&config, Timestamp::now()),
            secrets: SecretStore::default(),
            faults: FaultBook::new(config.seed),
            requests: RequestLog::default(),
            link: Link::Up,
            answers: end.child_token(),
            actions: end.child_token(),
            guests: HashMap::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            token: ArcSwapOption::from(config.token.map(Arc::new)),
            timing: config.timing,
            admin_routes: config.admin_routes,
            agent,
            room_for_actions: Arc::new(Semaphore::new(MOST_ACTIONS)),
            tasks: TaskTracker::new(),
            end,
        })
    }

    /// Looks at the state, or changes a part of it that no guest and no waiter depends on.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.lock())
    }

    /// Changes the state; then lets the guests follow and wakes whoever waits for something.
    pub(super) fn change<T>(self: &Arc<Self>, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        self.let_guests_follow(&mut state);
        drop(state);
        self.changed.send_replace(());
        result
    }

    /// Waits until `look` finds something. It is called now and after every change.
    pub(super) async fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.with(&mut look) {
                return found;
            }
            // The sender lives in `self`, so this cannot fail while it is borrowed.
            let _ = changes.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_guests_follow(self: &Arc<Self>, state: &mut State) {
        let State {
            daemon,
            guests,
            secrets,
            ..
        } = state;
        guests.retain(|boot, stop| {
            let stays = daemon.boots().any(|(id, _)| id == *boot);
            if !stays {
                stop.cancel();
            }
            stays
        });
        // Outside a runtime nothing can be started; the first request catches up.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        for (boot, vm) in daemon.boots() {
            guests.entry(boot).or_insert_with(|| {
                let stop = self.end.child_token();
                let mut guest = vm.guest();
                guest.secrets = secrets.visible(vm.order.secrets.as_deref());
                let run = lifecycle::run(Arc::clone(self), boot, guest, stop.clone());
                self.tasks.spawn_on(run, &runtime);
                stop
            });
        }
    }
}

impl State {
    /// Whether clients reach the daemon now.
    pub(super) fn is_up(&self) -> bool {
        match self.link {
            Link::Up => true,
            Link::DownUntil(end) => Instant::now() >= end,
            Link::Down => false,
        }
    }

    /// Cancelled when the answers to the requests of now must not be sent any more.
    pub(super) fn answers(&self) -> CancellationToken {
        self.answers.clone()
    }

    /// Cancelled when the requests of now must not be carried out any more.
    pub(super) fn actions(&self) -> CancellationToken {
        self.actions.clone()
    }

    /// Cuts all connections and refuses new requests, for a time or until [`up`](Self::up). The daemon goes on.
    pub(super) fn down(&mut self, length: Option<Duration>, end: &CancellationToken) {
        let until = length.and_then(|length| Instant::now().checked_add(length));
        self.link = until.map_or(Link::Down, Link::DownUntil);
        self.answers.cancel();
        self.answers = end.child_token();
    }

    pub(super) fn up(&mut self) {
        self.link = Link::Up;
    }

    /// The daemon process ends and starts again.
    pub(super) fn restart(&mut self, now: Timestamp, end: &CancellationToken) {
        self.answers.cancel();
        self.answers = end.child_token();
        self.actions.cancel();
        self.actions = end.child_token();
        self.daemon.restart(now);
    }
}
