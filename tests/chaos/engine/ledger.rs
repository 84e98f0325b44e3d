//! The book that everything is judged by: which ids there ever were, what was asked to go, and what was done that must
//! never be done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slicer_cloud_provider::domain::ids::{InstanceId, LaunchId};

/// What happened how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    pub(super) fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    /// How often it happened.
    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(what, count)| writeln!(f, "{count:>10}  {what}"))
    }
}

#[derive(Debug, Default)]
pub(super) struct Book {
    /// The number of the provider's life, from 0.
    pub(super) life: u32,
    /// Every id that an increase ever gave.
    pub(super) given: BTreeSet<InstanceId>,
    /// What somebody asked to be removed, or given up.
    pub(super) asked: BTreeSet<InstanceId>,
    /// Of those, what was asked in this life.
    pub(super) asked_in_this_life: BTreeSet<InstanceId>,
    /// The life in which a launch was sent to its host.
    posted: BTreeMap<LaunchId, u32>,
    pub(super) counts: Counts,
    violations: Vec<String>,
}

/// The book, shared by all who write in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, what: &'static str) {
        self.book().counts.add(what, 1);
    }

    pub(super) fn violation(&self, what: String) {
        self.book().violations.push(what);
    }

    /// Somebody wants these gone.
    pub(super) fn ask(&self, ids: impl IntoIterator<Item = InstanceId>) {
        let mut book = self.book();
        for id in ids {
            book.asked_in_this_life.insert(id.clone());
            book.asked.insert(id);
        }
    }

    /// A launch is sent to its host.
    pub(super) fn post(&self, id: &InstanceId, launch: &LaunchId) {
        let mut book = self.book();
        let life = book.life;
        if !book.given.contains(id) {
            book.violations
                .push(format!("{id} was launched although nobody asked for it"));
        }
        let first = *book.posted.entry(launch.clone()).or_insert(life);
        if first != life {
            book.violations.push(format!("{id} was launched in two lives"));
        }
        book.counts.add("creates sent", 1);
    }

    /// Whether a launch was sent by an earlier life, so that this one may learn of its VM late.
    pub(super) fn is_of_earlier_life(&self, launch: &LaunchId) -> bool {
        let book = self.book();
        book.posted.get(launch).is_some_and(|life| *life < book.life)
    }

    pub(super) fn next_life(&self) {
        let mut book = self.book();
        book.life += 1;
        book.asked_in_this_life.clear();
    }

    /// What was done so far that must never be done.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let book = self.book();
        match book.violations.first() {
            None => Ok(()),
            Some(violation) => Err(violation.clone()),
        }
    }
}
