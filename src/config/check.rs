//! From the sections of a file to a [`Config`]: which section is which, which are missing, unknown or there twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::error::Problem;
use super::ini::{RawFile, RawSection};
use super::keys;
use super::limits::DefaultLimits;
use super::paths::Paths;
use super::section::SectionReader;
use super::unknown;
use super::{Config, GlobalConfig, GroupConfig, global, nodegroup};

/// Checks a whole file.
///
/// # Errors
/// Everything that is wrong with it, in no particular order.
pub(super) fn check(file: RawFile, paths: &Paths) -> Result<Config, Vec<Problem>> {
    let mut check = Check {
        paths,
        problems: file.problems,
    };
    let sorted = check.sort(&file.sections);
    let (global, defaults) = check.global(sorted.global);
    let groups: Vec<_> = sorted
        .groups
        .iter()
        .filter_map(|section| check.group(section, &defaults))
        .collect();
    if !file.incomplete {
        check.note_missing(&sorted);
    }
    match global {
        Some(global) if check.problems.is_empty() && groups.len() == sorted.groups.len() => {
            Ok(Config { global, groups })
        }
        _ => Err(check.problems),
    }
}

/// The sections of known kinds, each name once.
#[derive(Default)]
struct Sorted<'a> {
    global: Option<&'a RawSection>,
    groups: Vec<&'a RawSection>,
    /// The names of the groups, and their lines.
    names: BTreeMap<Option<&'a str>, usize>,
}

struct Check<'p> {
    paths: &'p Paths,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn sort<'a>(&mut self, sections: &'a [RawSection]) -> Sorted<'a> {
        let mut sorted = Sorted::default();
        for section in sections {
            let kind = section.header.kind.as_str();
            if kind == keys::GLOBAL.name {
                self.sort_global(section, &mut sorted);
            } else if kind == keys::NODE_GROUP.name {
                self.sort_group(section, &mut sorted);
            } else {
                self.note(section, unknown::section(kind));
            }
        }
        sorted
    }

    fn sort_global<'a>(&mut self, section: &'a RawSection, sorted: &mut Sorted<'a>) {
        if section.header.name.is_some() {
            self.note(section, format!("has a name; write {}", keys::GLOBAL.header));
        }
        match sorted.global {
            Some(first) => self.note_repeated(section, first.line),
            None => sorted.global = Some(section),
        }
    }

    fn sort_group<'a>(&mut self, section: &'a RawSection, sorted: &mut Sorted<'a>) {
        match sorted.names.entry(section.header.name.as_deref()) {
            Entry::Occupied(first) => self.note_repeated(section, *first.get()),
            Entry::Vacant(name) => {
                name.insert(section.line);
                sorted.groups.push(section);
            }
        }
    }

    /// The fork merged such sections in silence, so nobody could tell which of two settings was in force.
    fn note_repeated(&mut self, section: &RawSection, first: usize) {
        let message = format!("is there already, in line {first}; put all keys into one section");
        self.note(section, message);
    }

    fn global(&mut self, section: Option<&RawSection>) -> (Option<GlobalConfig>, DefaultLimits) {
        let Some(section) = section else {
            return (None, DefaultLimits::BUILT_IN);
        };
        let mut reader = SectionReader::new(section, &keys::GLOBAL);
        let defaults = DefaultLimits::read(&mut reader);
        let global = global::read(&mut reader, self.paths);
        self.problems.extend(reader.into_problems());
        (global, defaults)
    }

    fn group(&mut self, section: &RawSection, defaults: &DefaultLimits) -> Option<GroupConfig> {
        let id = match section.header.name.as_deref().map(nodegroup::id) {
            Some(id) => id,
            None => Err(format!("has no name; write {}", keys::NODE_GROUP.header)),
        };
        let id = id.map_err(|message| self.note(section, message)).ok();
        let mut reader = SectionReader::new(section, &keys::NODE_GROUP);
        let group = nodegroup::read(&mut reader, id, defaults, self.paths);
        self.problems.extend(reader.into_problems());
        group
    }

    fn note_missing(&mut self, sorted: &Sorted<'_>) {
        let missing = [
            (sorted.global.is_none(), keys::GLOBAL),
            (sorted.groups.is_empty(), keys::NODE_GROUP),
        ];
        for (_, kind) in missing.iter().filter(|(is_missing, _)| *is_missing) {
            self.problems.push(Problem {
                line: 1,
                section: None,
                key: None,
                message: format!("the file has no section {}; add one", kind.header),
            });
        }
    }

    fn note(&mut self, section: &RawSection, message: String) {
        self.problems.push(Problem {
            line: section.line,
            section: section.header.place(),
            key: None,
            message,
        });
    }
}
