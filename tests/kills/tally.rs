//! Counts for whoever reads the output. Nothing is decided by them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// What was going on when the server was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    Start,
    Increase,
    Decrease,
    Delete,
    IncreaseAndDelete,
    Quiet,
}

/// What happened in a run.
pub(crate) struct Tally {
    begun: Instant,
    pub(crate) kills: BTreeMap<Moment, u32>,
    /// The time from a kill to the first answer of the next server.
    pub(crate) to_serve: Vec<Duration>,
    /// Deletions that were asked once more, each with the life in which they were.
    pub(crate) asked_again: BTreeSet<(u32, String)>,
    /// Instances that failed, and were deleted for it.
    pub(crate) failed: BTreeSet<String>,
    pub(crate) hosts_down: u32,
    pub(crate) vms_made: usize,
    pub(crate) vms_removed: usize,
    pub(crate) vms_late: usize,
    pub(crate) launches_dropped: usize,
    pub(crate) faults_hit: u32,
}

impl Tally {
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            kills: BTreeMap::new(),
            to_serve: Vec::new(),
            asked_again: BTreeSet::new(),
            failed: BTreeSet::new(),
            hosts_down: 0,
            vms_made: 0,
            vms_removed: 0,
            vms_late: 0,
            launches_dropped: 0,
            faults_hit: 0,
        }
    }

    pub(crate) fn kill(&mut self, moment: Moment) {
        *self.kills.entry(moment).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut to_serve = self.to_serve.clone();
        to_serve.sort();
        let at = |index: usize| to_serve.get(index).copied().unwrap_or_default();
        let (median, most) = (at(to_serve.len() / 2), at(to_serve.len().saturating_sub(1)));
        write!(
            f,
            "{} kills {:?}; {} VMs made ({} of them after the kill of who asked for them), {} removed; {} launches \
             dropped; {} deletions asked again; {} failed instances deleted; hosts down {} times, {} requests hit by \
             faults; from a kill to the next answer {median:.0?} in the median, {most:.2?} at most; {:.1?} in all",
            self.kills.values().sum::<u32>(),
            self.kills,
            self.vms_made,
            self.vms_late,
            self.vms_removed,
            self.launches_dropped,
            self.asked_again.len(),
            self.failed.len(),
            self.hosts_down,
            self.faults_hit,
            self.begun.elapsed(),
        )
    }
}
