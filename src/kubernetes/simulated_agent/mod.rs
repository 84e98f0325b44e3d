//! The inside of simulated VMs that join a real Kubernetes API: each hands in a node password, registers the Node that
//! its userdata asks for, and is its kubelet as long as the VM lives. A control plane and a cluster-autoscaler see what
//! they would see of a K3s agent. No container ever runs. For trying the project out, not for production.
//!
//! ```text
//!   boot ── password, then node (registers)
//!   live ──┬── lease, and node when its status is due
//!          └── pods
//! ```

mod lease;
mod node;
mod password;
mod pods;

use std::time::Duration;

use async_trait::async_trait;
use kube::Client;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::connect::{ClientConfig, ConnectError};
use super::failure::RequestFailure;
use super::timings::Timings;
use crate::simulator::{AgentPlan, GuestAgent, GuestVm, UserdataOutcome};

/// How long one request may take. Shorter than elsewhere: a lease is to be renewed in time after one that got no
/// answer, also where Nodes are given up after ten seconds.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How often the lease is renewed. Kubelets do it every 10 s, and control planes of tests have less patience.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the whole status of the Node is posted while leases are renewed.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// How often the agent looks for pods to start or to end.
const PODS_EVERY: Duration = Duration::from_secs(1);
/// How many times joining is tried, and how long apart unless somebody wants another pace.
const ATTEMPTS: u32 = 30;
const RETRY: Duration = Duration::from_secs(1);
/// What userdata exits with if the agent did not join.
const NOT_JOINED: UserdataOutcome = UserdataOutcome { exit_code: Some(14) };

/// Makes simulated VMs agents of a cluster.
#[derive(Clone)]
pub struct SimulatedAgent {
    client: Client,
    /// How long userdata takes before the agent registers.
    join_time: Duration,
    /// How long it rests after an attempt to join that failed.
    retry: Duration,
}

/// The agent in one VM.
struct Agent<'a> {
    client: &'a Client,
    vm: &'a GuestVm,
    plan: AgentPlan,
}

impl std::fmt::Debug for SimulatedAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedAgent").finish_non_exhaustive()
    }
}

impl SimulatedAgent {
    /// Agents of the cluster that `config` names.
    ///
    /// # Errors
    /// No client can be made of `config`.
    pub fn new(config: &ClientConfig, join_time: Duration) -> Result<Self, ConnectError> {
        let timings = Timings {
            request_within: REQUEST_WITHIN,
            ..Timings::default()
        };
        let client = super::client::for_requests(config, &timings)?;
        Ok(Self {
            client,
            join_time,
            retry: RETRY,
        })
    }

    /// The same agents at another pace: so long they rest after an attempt to join that failed.
    #[must_use]
    pub fn retrying_every(self, retry: Duration) -> Self {
        Self { retry, ..self }
    }

    /// The agent of a VM whose userdata is of this project.
    fn agent<'a>(&'a self, vm: &'a GuestVm) -> Option<Agent<'a>> {
        Some(Agent {
            client: &self.client,
            vm,
            plan: AgentPlan::read(&vm.userdata, &vm.hostname)?,
        })
    }
}

/// A VM that is gone cleans nothing up, hence no `stop`: a dead kubelet removes nothing.
#[async_trait]
impl GuestAgent for SimulatedAgent {
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome {
        tokio::time::sleep(self.join_time).await;
        let Some(agent) = self.agent(vm) else {
            vm.console
                .write_line("userdata: not of slicer-cloud-provider, nothing to join");
            return UserdataOutcome::SUCCESS;
        };
        for _ in 0..ATTEMPTS {
            match agent.join().await {
                Ok(()) => {
                    vm.console
                        .write_line(&format!("userdata: joined as Node {}", agent.name()));
                    return UserdataOutcome::SUCCESS;
                }
                Err(reason) => vm.console.write_line(&format!("userdata: cannot join: {reason}")),
            }
            tokio::time::sleep(self.retry).await;
        }
        NOT_JOINED
    }

    async fn live(&self, vm: &GuestVm) {
        if let Some(agent) = self.agent(vm) {
            // Neither waits for the other: requests about pods must not make a lease late.
            tokio::join!(agent.keep_alive(), agent.run_pods());
        }
    }
}

impl Agent<'_> {
    fn name(&self) -> &str {
        &self.plan.node_name
    }

    async fn join(&self) -> Result<(), String> {
        let hand_in = password::hand_in(self).await;
        if !hand_in.map_err(|failure| format!("node password: {failure}"))? {
            return Err("the node password was rejected: another VM had this name before".to_owned());
        }
        let registered = node::register(self).await;
        registered.map_err(|failure| format!("registering: {failure}"))
    }

    /// Renews the lease for ever, and posts the status when it is due: in time, and at once when a lease could not be
    /// renewed, because the control plane may have given the Node up by then.
    async fn keep_alive(&self) {
        let mut status_due = Instant::now() + STATUS_EVERY;
        let mut ticks = every(RENEW_EVERY);
        loop {
            ticks.tick().await;
            if !self.did("renew the lease", &lease::renew(self).await) {
                status_due = Instant::now();
            }
            if Instant::now() >= status_due && self.did("post the status", &node::report(self).await) {
                status_due = Instant::now() + STATUS_EVERY;
            }
        }
    }

    async fn run_pods(&self) {
        let mut ticks = every(PODS_EVERY);
        loop {
            ticks.tick().await;
            self.did("list the pods", &pods::look_after(self).await);
        }
    }

    /// Whether something was done; what went wrong is told on the console.
    fn did(&self, what: &str, outcome: &Result<(), RequestFailure>) -> bool {
        if let Err(failure) = outcome {
            self.vm.console.write_line(&format!("agent: cannot {what}: {failure}"));
        }
        outcome.is_ok()
    }
}

/// Ticks at once and then with at least this time between two.
fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
