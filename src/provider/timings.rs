//! Every duration that the provider's jobs go by, in one place, with the reason for each.

use std::time::Duration;

use crate::domain::group::Patience;

/// How long the provider's jobs wait, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Between listings of a group in which nothing happens. The cluster-autoscaler's Refresh asks for one each loop
    /// (10 s), so this counts only when no client is there.
    pub poll_idle: Duration,
    /// Between listings of a group with VMs that boot or are being removed.
    pub poll_busy: Duration,
    /// Between listings at least, whoever asks for one.
    pub poll_gap: Duration,
    /// Between attempts to reach a host that is down, at most: recovery must be noticed within a loop or two.
    pub poll_down_max: Duration,
    /// How old the description of a host group may get.
    pub host_group_age: Duration,
    /// How long a launch goes on trying a host that cannot be reached, counted from when the host went down. Short:
    /// pods are waiting, and another group may take over once the launch has failed.
    pub unreachable: Duration,
    /// How long a VM is looked for by its tag after an answer that never came or made no sense.
    pub look_up: Duration,
    /// Between look-ups by tag, and before a request that is safe to repeat is repeated.
    pub retry: Duration,
    /// Between attempts to delete a VM, doubled each time up to `delete_retry_max`.
    pub delete_retry: Duration,
    /// Between attempts to delete a VM at most.
    pub delete_retry_max: Duration,
    /// How long one round of health checks of booting VMs may take.
    pub health_round: Duration,
    /// How long a scale-up trusts that the host still has the secret that an earlier one put there.
    pub secret_age: Duration,
    /// How long the kubelet of a Node that claims to live may be silent before the Node counts as dead: three of its
    /// heartbeats.
    pub heartbeat: Duration,
    /// How long DeleteNodes waits for the VMs to be gone before it leaves the rest to the background. The
    /// cluster-autoscaler's deadline is 5 s by default.
    pub delete_wait: Duration,
    /// How long failures of a kind that was just told of are only counted. Short beside the minutes for which a
    /// cluster-autoscaler backs a group off, long beside the moment in which the launches of one scale-up fail.
    pub quiet: Duration,
    /// When VMs are given up.
    pub patience: Patience,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            poll_idle: Duration::from_secs(10),
            poll_busy: Duration::from_secs(2),
            poll_gap: Duration::from_millis(250),
            poll_down_max: Duration::from_secs(15),
            host_group_age: Duration::from_secs(300),
            unreachable: Duration::from_secs(20),
            look_up: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            delete_retry: Duration::from_secs(1),
            delete_retry_max: Duration::from_secs(60),
            health_round: Duration::from_secs(5),
            secret_age: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
            delete_wait: Duration::from_secs(1),
            quiet: Duration::from_secs(10),
            patience: Patience {
                // Less than the cluster-autoscaler's 15 minutes, more than the userdata's own 10.
                join: Duration::from_secs(12 * 60),
                join_after_userdata: Duration::from_secs(120),
                vanish: Duration::from_secs(3),
            },
        }
    }
}
