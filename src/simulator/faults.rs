//! Faults: what goes wrong with which requests, and how often. Here it is decided; `routes::gate` carries it out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most faults that are switched on at once.
pub const MOST_FAULTS: usize = 64;

/// A fault that is switched on.
///
/// As JSON: `{"route": "create", "kind": "close_after", "next": 1}`, or
/// `{"kind": {"status": {"code": 503, "text": "busy"}}, "probability": 0.2}`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests it is about.
    #[serde(default)]
    pub route: RouteClass,
    /// What happens to them.
    pub kind: FaultKind,
    /// How likely each of them is hit: 0 never, 1 always.
    #[serde(default = "always")]
    pub probability: f64,
    /// How many are hit before it switches itself off. `None`: it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// A fault that hits every request of a class until it is cleared.
    #[must_use]
    pub fn every(route: RouteClass, kind: FaultKind) -> Self {
        Self {
            route,
            kind,
            probability: 1.0,
            next: None,
        }
    }

    /// A fault that hits the next `count` requests of a class.
    #[must_use]
    pub fn next(count: u32, route: RouteClass, kind: FaultKind) -> Self {
        Self {
            next: Some(count),
            ..Self::every(route, kind)
        }
    }

    /// The same fault, but it hits each request only with this probability.
    #[must_use]
    pub fn with_probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }
}

/// Requests that can be hit together. The routes below `/simulator` are in none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteClass {
    /// Every request to the Slicer API.
    #[default]
    All,
    /// POST of a VM.
    Create,
    /// DELETE of a VM.
    Delete,
    /// Lists of VMs, with and without statistics, and single VMs.
    List,
    /// The list of host groups.
    Hostgroup,
    /// Everything about secrets.
    Secrets,
    /// Health of the agent in a VM.
    Health,
    /// Serial logs.
    Logs,
    /// Shutdown, pause, resume, suspend, restore, relaunch.
    Power,
    /// `/info`, `/healthz` and unknown routes.
    Daemon,
}

impl RouteClass {
    fn covers(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

/// What happens to a request that is hit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// Nothing is done; this status with this text as `error`.
    Status {
        /// 200 to 599.
        code: u16,
        /// For a person to read.
        text: String,
    },
    /// Nothing is done; status 200, but the body has this `error` (as a DELETE may answer).
    ErrorInBody {
        /// For a person to read.
        text: String,
    },
    /// Nothing is done; the connection is closed without an answer.
    CloseBefore,
    /// It is done; the connection is closed without an answer.
    CloseAfter,
    /// Nothing is done and nothing is answered, until the client goes.
    Hang,
    /// It is done, but only after this time, also when the client no longer waits.
    DelayBefore {
        /// Milliseconds, at most [`MOST_DELAY`].
        ms: u64,
    },
    /// It is done at once, but answered after this time.
    DelayAfter {
        /// Milliseconds, at most [`MOST_DELAY`].
        ms: u64,
    },
    /// It is done; the answer has the right status, but no JSON.
    Nonsense,
    /// It is done; half of the answer is sent, then the connection is closed.
    CutOff,
    /// It is done; the answer is a JSON text of this length.
    Huge {
        /// At most [`MOST_BYTES`].
        bytes: u64,
    },
}

/// The longest delay.
pub const MOST_DELAY: Duration = Duration::from_secs(600);

/// The longest answer, in bytes.
pub const MOST_BYTES: u64 = 1 << 30;

/// A fault that cannot be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFault {
    /// No number from 0 to 1.
    #[error("probability must be from 0 to 1")]
    Probability,
    /// No final HTTP status.
    #[error("code must be from 200 to 599")]
    Status,
    /// A delay beyond [`MOST_DELAY`].
    #[error("ms must be at most {}", MOST_DELAY.as_millis())]
    Delay,
    /// A body beyond [`MOST_BYTES`].
    #[error("bytes must be at most {MOST_BYTES}")]
    Size,
    /// Too many.
    #[error("{MOST_FAULTS} faults are switched on already; clear them first")]
    TooMany,
}

/// A fault with how often it hit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultReport {
    /// The fault as it was switched on.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many requests it hit.
    pub hits: u32,
}

/// All faults that are switched on. The first one that hits a request decides.
#[derive(Debug)]
pub(super) struct FaultBook {
    seed: u64,
    switched_on: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    report: FaultReport,
    chance: SplitMix64,
}

impl FaultBook {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            switched_on: 0,
            entries: Vec::new(),
        }
    }

    pub(super) fn switch_on(&mut self, fault: Fault) -> Result<(), InvalidFault> {
        check(&fault)?;
        if self.entries.len() >= MOST_FAULTS {
            return Err(InvalidFault::TooMany);
        }
        // Each fault draws from a stream of its own: then it depends on nothing but its own requests what it hits.
        let chance = SplitMix64(self.seed ^ SplitMix64(self.switched_on).next());
        self.switched_on += 1;
        let report = FaultReport { fault, hits: 0 };
        self.entries.push(Entry { report, chance });
        Ok(())
    }

    pub(super) fn reports(&self) -> Vec<FaultReport> {
        self.entries.iter().map(|entry| entry.report.clone()).collect()
    }

    /// Switches all off; chances begin anew, so that the same faults give the same hits again.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.switched_on = 0;
    }

    /// What happens to a request of this class.
    pub(super) fn hit(&mut self, class: RouteClass) -> Option<FaultKind> {
        self.entries
            .iter_mut()
            .filter(|entry| entry.report.fault.route.covers(class))
            .find_map(Entry::hit)
    }
}

impl Entry {
    fn hit(&mut self) -> Option<FaultKind> {
        let FaultReport { fault, hits } = &mut self.report;
        if fault.next.is_some_and(|limit| *hits >= limit) {
            return None;
        }
        if self.chance.unit() >= fault.probability {
            return None;
        }
        *hits = hits.saturating_add(1);
        Some(fault.kind.clone())
    }
}

fn check(fault: &Fault) -> Result<(), InvalidFault> {
    if !(0.0..=1.0).contains(&fault.probability) {
        return Err(InvalidFault::Probability);
    }
    match fault.kind {
        FaultKind::Status { code, .. } if !(200..600).contains(&code) => Err(InvalidFault::Status),
        FaultKind::DelayBefore { ms } | FaultKind::DelayAfter { ms } if Duration::from_millis(ms) > MOST_DELAY => {
            Err(InvalidFault::Delay)
        }
        FaultKind::Huge { bytes } if bytes > MOST_BYTES => Err(InvalidFault::Size),
        _ => Ok(()),
    }
}

/// Vigna's splitmix64: small, seedable, and good enough for dice.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but not including 1.
    fn unit(&mut self) -> f64 {
        // 32 bits are more than dice need, and every one of them fits an f64.
        let [a, b, c, d, ..] = self.next().to_be_bytes();
        f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX) * (1.0 - f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(seed: u64, others: u32) -> Vec<bool> {
        let mut book = FaultBook::new(seed);
        let fault = Fault::every(RouteClass::Create, FaultKind::CloseBefore).with_probability(0.5);
        book.switch_on(fault).unwrap();
        let mut draw = |_| {
            for _ in 0..others {
                assert_eq!(book.hit(RouteClass::List), None);
            }
            book.hit(RouteClass::Create).is_some()
        };
        (0..64).map(&mut draw).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_hits_whatever_else_is_requested() {
        assert_eq!(hits(7, 0), hits(7, 3));
        assert_ne!(hits(7, 0), hits(8, 0));
        let count = hits(7, 0).iter().filter(|hit| **hit).count();
        assert!((16..48).contains(&count), "{count}");
    }

    #[test]
    fn certainty_and_impossibility_are_exact() {
        for (probability, expected) in [(0.0, 0), (1.0, 1000)] {
            let mut book = FaultBook::new(3);
            let fault = Fault::every(RouteClass::All, FaultKind::Hang).with_probability(probability);
            book.switch_on(fault).unwrap();
            let count = (0..1000).filter(|_| book.hit(RouteClass::Logs).is_some()).count();
            assert_eq!(count, expected);
        }
    }

    #[test]
    fn a_counted_fault_switches_itself_off_and_the_next_one_takes_over() {
        let mut book = FaultBook::new(1);
        book.switch_on(Fault::next(2, RouteClass::Create, FaultKind::CloseBefore))
            .unwrap();
        book.switch_on(Fault::next(1, RouteClass::All, FaultKind::Nonsense))
            .unwrap();
        let mut hit = || book.hit(RouteClass::Create);
        assert_eq!(hit(), Some(FaultKind::CloseBefore));
        assert_eq!(hit(), Some(FaultKind::CloseBefore));
        assert_eq!(hit(), Some(FaultKind::Nonsense));
        assert_eq!(hit(), None);
        let hits: Vec<u32> = book.reports().iter().map(|report| report.hits).collect();
        assert_eq!(hits, [2, 1]);
    }

    #[test]
    fn faults_without_sense_are_refused() {
        let mut book = FaultBook::new(1);
        let every = |kind| Fault::every(RouteClass::All, kind);
        let status = |code| FaultKind::Status {
            code,
            text: String::new(),
        };
        for (fault, expected) in [
            (every(FaultKind::Hang).with_probability(1.1), InvalidFault::Probability),
            (
                every(FaultKind::Hang).with_probability(f64::NAN),
                InvalidFault::Probability,
            ),
            (every(status(99)), InvalidFault::Status),
            (every(status(600)), InvalidFault::Status),
            (every(FaultKind::DelayAfter { ms: 600_001 }), InvalidFault::Delay),
            (every(FaultKind::Huge { bytes: u64::MAX }), InvalidFault::Size),
        ] {
            assert_eq!(book.switch_on(fault), Err(expected));
        }
        for _ in 0..MOST_FAULTS {
            book.switch_on(every(FaultKind::Hang)).unwrap();
        }
        assert_eq!(book.switch_on(every(FaultKind::Hang)), Err(InvalidFault::TooMany));
    }
}
