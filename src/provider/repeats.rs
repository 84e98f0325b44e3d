//! Failures of one kind that come in crowds, because a host is full or refuses a token: the first one is told at once,
//! the others are counted and told together. It decides what is told when; telling is the journal's work.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::failure::FailureCode;
use crate::domain::ids::NodeGroupId;
use crate::domain::moment::Moment;

/// After a line, nothing more is told of the same kind of failure for so long. Short beside the minutes for which a
/// cluster-autoscaler backs a group off, long beside the moment in which the launches of one scale-up fail.
const QUIET: Duration = Duration::from_secs(10);

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failing {
    /// Instances, for this reason.
    Instances(FailureCode),
    /// The removal of VMs.
    Removals,
    /// The removal of Nodes.
    NodeRemovals,
}

/// What was not told one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) failing: Failing,
    pub(super) count: u32,
    /// What the last one said.
    pub(super) last: String,
}

#[derive(Debug)]
struct Repeat {
    told_at: Moment,
    count: u32,
    last: String,
}

/// The failures of all groups lately. Bounded by the groups and the kinds.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<(NodeGroupId, Failing), Repeat>);

impl Repeats {
    /// A failure happened; whether it is to be told by itself. If not, it is part of the next sum.
    pub(super) fn is_news(&mut self, group: &NodeGroupId, failing: Failing, text: &str, now: Moment) -> bool {
        let Some(known) = self.0.get_mut(&(group.clone(), failing)) else {
            let repeat = Repeat {
                told_at: now,
                count: 0,
                last: String::new(),
            };
            self.0.insert((group.clone(), failing), repeat);
            return true;
        };
        if known.count == 0 && now.since(known.told_at) >= QUIET {
            known.told_at = now;
            return true;
        }
        known.count += 1;
        text.clone_into(&mut known.last);
        false
    }

    /// The sums of a group that are to be told now. What has been quiet is forgotten.
    pub(super) fn due(&mut self, group: &NodeGroupId, now: Moment) -> Vec<Sum> {
        let mut sums = Vec::new();
        self.0.retain(|(of, failing), repeat| {
            if of != group || now.since(repeat.told_at) < QUIET {
                return true;
            }
            if repeat.count == 0 {
                return false;
            }
            sums.push(Sum {
                failing: *failing,
                count: std::mem::take(&mut repeat.count),
                last: std::mem::take(&mut repeat.last),
            });
            repeat.told_at = now;
            true
        });
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Failing = Failing::Instances(FailureCode::OutOfResources);

    fn at(seconds: f64) -> Moment {
        Moment::after_start(Duration::from_secs_f64(seconds))
    }

    fn group(name: &str) -> NodeGroupId {
        name.parse().unwrap()
    }

    #[test]
    fn of_a_crowd_of_failures_the_first_is_told_at_once_and_the_others_in_one_sum() {
        let (mut repeats, garage) = (Repeats::default(), group("garage"));
        let told = (0..50_u8).filter(|n| repeats.is_news(&garage, FULL, &format!("no {n}"), at(f64::from(*n) / 50.0)));
        assert_eq!(told.collect::<Vec<_>>(), [0]);
        assert_eq!(repeats.due(&garage, at(9.0)), [], "too soon");
        let sum = Sum {
            failing: FULL,
            count: 49,
            last: "no 49".to_owned(),
        };
        assert_eq!(repeats.due(&garage, at(10.0)), [sum]);
        assert_eq!(repeats.due(&garage, at(20.0)), [], "nothing is told twice");
    }

    #[test]
    fn failures_that_go_on_are_told_every_ten_seconds_and_none_is_lost() {
        let (mut repeats, garage) = (Repeats::default(), group("garage"));
        let (mut told, mut lines) = (0, 0);
        for tenth in 0..1000_u32 {
            let now = at(f64::from(tenth) / 10.0);
            if tenth < 700 && repeats.is_news(&garage, FULL, "full", now) {
                (told, lines) = (told + 1, lines + 1);
            }
            for sum in repeats.due(&garage, now) {
                (told, lines) = (told + sum.count, lines + 1);
            }
        }
        assert_eq!((told, lines), (700, 8), "in 70 s");
        assert!(repeats.0.is_empty(), "what has been quiet is forgotten");
    }

    #[test]
    fn another_group_and_another_reason_are_news() {
        let mut repeats = Repeats::default();
        for (name, failing) in [
            ("garage", FULL),
            ("attic", FULL),
            ("garage", Failing::Instances(FailureCode::HostUnreachable)),
            ("garage", Failing::Removals),
            ("garage", Failing::NodeRemovals),
        ] {
            assert!(
                repeats.is_news(&group(name), failing, "", at(1.0)),
                "{name} {failing:?}"
            );
        }
        assert!(!repeats.is_news(&group("garage"), FULL, "again", at(2.0)));
        assert_eq!(repeats.due(&group("attic"), at(60.0)), []);
        assert_eq!(repeats.due(&group("garage"), at(60.0)).len(), 1);
    }
}
