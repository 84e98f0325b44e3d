//! Failures of one kind that come in crowds, because a host is full or refuses a token: the first one is told at once,
//! the others are counted and told together. It decides what is told when; telling is the journal's work.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::domain::failure::FailureCode;
use crate::domain::ids::NodeGroupId;
use crate::domain::moment::Moment;

/// How many of those that are not told one by one are named all the same.
const NAMED: usize = 8;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failing {
    /// Instances, for this reason.
    Instances(FailureCode),
    /// The removal of VMs, for this reason: a kind of error of the host, or that a VM stays.
    Removals(&'static str),
    /// The removal of Nodes.
    NodeRemovals,
}

/// One that failed, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed<'a> {
    pub(super) group: &'a NodeGroupId,
    pub(super) failing: Failing,
    /// The instance or the Node.
    pub(super) name: &'a str,
    pub(super) why: &'a str,
}

/// What was not told one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) failing: Failing,
    pub(super) count: u32,
    /// The first of them.
    pub(super) names: Vec<String>,
    /// Why the last one failed.
    pub(super) last: String,
}

#[derive(Debug)]
struct Repeat {
    told_at: Moment,
    count: u32,
    names: Vec<String>,
    last: String,
}

impl Repeat {
    fn new(told_at: Moment) -> Self {
        Self {
            told_at,
            count: 0,
            names: Vec::new(),
            last: String::new(),
        }
    }

    fn count(&mut self, failed: Failed<'_>) {
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push(failed.name.to_owned());
        }
        failed.why.clone_into(&mut self.last);
    }

    fn into_sum(self, failing: Failing) -> Option<Sum> {
        (self.count > 0).then_some(Sum {
            failing,
            count: self.count,
            names: self.names,
            last: self.last,
        })
    }
}

/// The failures of all groups lately. Bounded by the groups and the kinds.
#[derive(Debug)]
pub(super) struct Repeats {
    /// After a line, nothing more is told of the same kind of failure for so long.
    quiet: Duration,
    lately: BTreeMap<(NodeGroupId, Failing), Repeat>,
}

impl Repeats {
    pub(super) fn new(quiet: Duration) -> Self {
        Self {
            quiet,
            lately: BTreeMap::new(),
        }
    }

    /// Something failed; whether it is to be told by itself. If not, it is part of the next sum.
    pub(super) fn is_news(&mut self, failed: Failed<'_>, now: Moment) -> bool {
        match self.lately.entry((failed.group.clone(), failed.failing)) {
            Entry::Vacant(place) => {
                place.insert(Repeat::new(now));
                true
            }
            Entry::Occupied(mut place) => {
                let known = place.get_mut();
                let is_news = known.count == 0 && now.since(known.told_at) >= self.quiet;
                if is_news {
                    known.told_at = now;
                } else {
                    known.count(failed);
                }
                is_news
            }
        }
    }

    /// The sums of a group that are to be told now. What has been quiet is forgotten.
    pub(super) fn due(&mut self, group: &NodeGroupId, now: Moment) -> Vec<Sum> {
        let is_due = |of: &NodeGroupId, repeat: &Repeat| of == group && now.since(repeat.told_at) >= self.quiet;
        let due: Vec<(NodeGroupId, Failing)> = self
            .lately
            .iter()
            .filter(|((of, _), repeat)| is_due(of, repeat))
            .map(|(key, _)| key.clone())
            .collect();
        let mut sums = Vec::new();
        for key in due {
            if let Some(sum) = self.take(&key) {
                sums.push(sum);
                self.lately.insert(key, Repeat::new(now));
            }
        }
        sums
    }

    /// All sums of a group, which is then forgotten: it ends.
    pub(super) fn drain(&mut self, group: &NodeGroupId) -> Vec<Sum> {
        let of_group = self.lately.keys().filter(|(of, _)| of == group);
        let keys: Vec<(NodeGroupId, Failing)> = of_group.cloned().collect();
        keys.iter().filter_map(|key| self.take(key)).collect()
    }

    fn take(&mut self, key: &(NodeGroupId, Failing)) -> Option<Sum> {
        self.lately.remove(key)?.into_sum(key.1)
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

    fn repeats() -> Repeats {
        Repeats::new(Duration::from_secs(10))
    }

    fn failed<'a>(group: &'a NodeGroupId, name: &'a str) -> Failed<'a> {
        Failed {
            group,
            failing: FULL,
            name,
            why: "full",
        }
    }

    #[test]
    fn of_a_crowd_of_failures_the_first_is_told_at_once_and_the_others_in_one_sum_that_names_some() {
        let (mut repeats, garage) = (repeats(), group("garage"));
        let names: Vec<String> = (0..50).map(|number| format!("no {number}")).collect();
        let told = names
            .iter()
            .filter(|name| repeats.is_news(failed(&garage, name), at(0.5)));
        assert_eq!(told.collect::<Vec<_>>(), ["no 0"]);
        assert_eq!(repeats.due(&garage, at(9.0)), [], "too soon");
        let sum = Sum {
            failing: FULL,
            count: 49,
            names: names[1..=NAMED].to_vec(),
            last: "full".to_owned(),
        };
        assert_eq!(repeats.due(&garage, at(10.5)), [sum]);
        assert_eq!(repeats.due(&garage, at(30.0)), [], "nothing is told twice");
    }

    #[test]
    fn failures_that_go_on_are_told_every_ten_seconds_and_none_is_lost() {
        let (mut repeats, garage) = (repeats(), group("garage"));
        let (mut told, mut lines) = (0, 0);
        for tenth in 0..1000_u32 {
            let now = at(f64::from(tenth) / 10.0);
            if tenth < 700 && repeats.is_news(failed(&garage, "one"), now) {
                (told, lines) = (told + 1, lines + 1);
            }
            for sum in repeats.due(&garage, now) {
                (told, lines) = (told + sum.count, lines + 1);
            }
        }
        assert_eq!((told, lines), (700, 8), "in 70 s");
        assert!(repeats.lately.is_empty(), "what has been quiet is forgotten");
    }

    #[test]
    fn another_group_and_another_reason_are_news() {
        let (mut repeats, garage, attic) = (repeats(), group("garage"), group("attic"));
        let of = |group, failing| Failed {
            failing,
            ..failed(group, "one")
        };
        for (group, failing) in [
            (&garage, FULL),
            (&attic, FULL),
            (&garage, Failing::Instances(FailureCode::HostUnreachable)),
            (&garage, Failing::Removals("broken")),
            (&garage, Failing::Removals("unauthorized")),
            (&garage, Failing::NodeRemovals),
        ] {
            assert!(repeats.is_news(of(group, failing), at(1.0)), "{group} {failing:?}");
        }
        assert!(!repeats.is_news(of(&garage, FULL), at(2.0)));
        assert_eq!(repeats.due(&attic, at(60.0)), []);
        assert_eq!(repeats.due(&garage, at(60.0)).len(), 1);
    }

    #[test]
    fn a_group_that_ends_tells_all_and_is_told_of_anew_when_it_is_back() {
        let (mut repeats, garage) = (repeats(), group("garage"));
        for name in ["a", "b"] {
            repeats.is_news(failed(&garage, name), at(1.0));
        }
        let sums = repeats.drain(&garage);
        assert_eq!((sums.len(), sums[0].count), (1, 1));
        assert_eq!(repeats.drain(&garage), []);
        assert!(repeats.is_news(failed(&garage, "c"), at(2.0)));
    }
}
