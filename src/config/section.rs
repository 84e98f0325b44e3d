//! Reads the keys of one section and notes everything that is wrong with them, so that one run tells all.

use std::collections::BTreeMap;

use super::error::{Fault, Problem};
use super::ini::{RawEntry, RawSection};
use super::keys::{Key, SectionKind};
use super::unknown;

/// What became of a key that may be given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting<T> {
    /// It is not there.
    Absent,
    /// It is there and wrong; that is noted already.
    Faulty,
    /// It is there and right.
    Given {
        /// What it says.
        value: T,
        /// Where it stands.
        line: usize,
    },
}

impl<T> Setting<T> {
    /// The value, if one was given.
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given { value, .. } => Some(value),
            Self::Absent | Self::Faulty => None,
        }
    }
}

/// A section, and what was found wrong with it so far.
pub(super) struct SectionReader<'a> {
    section: &'a RawSection,
    problems: Vec<Problem>,
}

impl<'a> SectionReader<'a> {
    /// Starts to read a section of this kind: notes keys that it does not have, that are given twice or are empty.
    pub(super) fn new(section: &'a RawSection, kind: &SectionKind) -> Self {
        let mut reader = Self {
            section,
            problems: Vec::new(),
        };
        let mut first_lines = BTreeMap::new();
        for entry in &section.entries {
            let Some(key) = kind.keys.iter().find(|key| key.name == entry.key) else {
                reader.note(None, entry.line, unknown::key(&entry.key, kind));
                continue;
            };
            let first = *first_lines.entry(key.name).or_insert(entry.line);
            if first != entry.line && !key.repeatable {
                let again = format!("is given again, first in line {first}; keep one of the two");
                reader.note(Some(key), entry.line, again);
            }
            if let Some(fault) = value_fault(key, &entry.value) {
                reader.note(Some(key), entry.line, fault);
            }
        }
        reader
    }

    /// Reads a key that may be given once.
    pub(super) fn read<T>(&mut self, key: &Key, read: impl FnOnce(&str) -> Result<T, Fault>) -> Setting<T> {
        let Some(entry) = self.section.entries.iter().find(|entry| entry.key == key.name) else {
            return Setting::Absent;
        };
        self.read_entry(key, entry, read)
    }

    /// Reads a key that may be left out.
    pub(super) fn optional<T>(&mut self, key: &Key, read: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        self.read(key, read).given()
    }

    /// Reads a key that must be there.
    pub(super) fn required<T>(&mut self, key: &Key, read: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        let setting = self.read(key, read);
        if matches!(setting, Setting::Absent) {
            self.missing(key, &format!("{} = {}", key.name, key.value));
        }
        setting.given()
    }

    /// Reads a repeatable key: the values that are right, with their lines.
    pub(super) fn each<T>(&mut self, key: &Key, read: impl Fn(&str) -> Result<T, Fault>) -> Vec<(T, usize)> {
        let section = self.section;
        let entries = section.entries.iter().filter(|entry| entry.key == key.name);
        let mut values = Vec::new();
        for entry in entries {
            if let Setting::Given { value, line } = self.read_entry(key, entry, &read) {
                values.push((value, line));
            }
        }
        values
    }

    fn read_entry<T>(
        &mut self,
        key: &Key,
        entry: &RawEntry,
        read: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Setting<T> {
        // `new` has noted these.
        if value_fault(key, &entry.value).is_some() {
            return Setting::Faulty;
        }
        match read(&entry.value) {
            Ok(value) => Setting::Given {
                value,
                line: entry.line,
            },
            Err(fault) => {
                self.fault(key, entry.line, fault);
                Setting::Faulty
            }
        }
    }

    /// Notes that the value of `key` in `line` is wrong.
    pub(super) fn fault(&mut self, key: &Key, line: usize, fault: Fault) {
        self.note(Some(key), line, fault.into_message());
    }

    /// Notes that `key` should be there, and what to add. Not if a line was refused: it could have been this key.
    pub(super) fn missing(&mut self, key: &Key, what_to_add: &str) {
        if !self.section.incomplete {
            self.note(Some(key), self.section.line, format!("is missing; add {what_to_add}"));
        }
    }

    fn note(&mut self, key: Option<&Key>, line: usize, message: String) {
        self.problems.push(Problem {
            line,
            section: self.section.header.place(),
            key: key.map(|key| key.name),
            message,
        });
    }

    /// Everything that was found wrong.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

/// What no value may be, whatever its key.
fn value_fault(key: &Key, value: &str) -> Option<String> {
    if value.is_empty() {
        return Some(format!("is empty; expected {}", key.value));
    }
    // The line check lets tabs pass: they may stand around a value, not in it.
    value
        .contains(char::is_control)
        .then(|| "holds a control character, such as a tab; remove it".to_owned())
}
