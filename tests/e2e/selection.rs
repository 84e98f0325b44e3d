//! Which scenarios run with which versions of the cluster-autoscaler. Each folder of `programs/` is a version; what is
//! not installed is skipped.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::Failure;
use crate::scenarios::{ALONE, Alone, SCENARIOS, Scenario};

/// A folder for each program.
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/programs");

/// A minor version of the cluster-autoscaler, such as 1.33.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self {
            major: major.parse().map_err(drop)?,
            minor: minor.parse().map_err(drop)?,
        })
    }
}

/// What is to be run.
pub(crate) struct Selection {
    /// Oldest first.
    pub(crate) versions: Vec<Version>,
    /// Wanted, too, but not installed.
    pub(crate) missing: Vec<Version>,
    pub(crate) scenarios: Vec<&'static Scenario>,
    /// Those that need no cluster-autoscaler.
    pub(crate) alone: Vec<&'static Alone>,
}

impl Selection {
    /// Reads the command line: nothing for the short selection, `--all`, or names of scenarios, and `--version 1.33`.
    pub(crate) fn read(arguments: impl Iterator<Item = String>, programs: &Path) -> Result<Self, Failure> {
        let mut arguments = arguments.peekable();
        let (mut all, mut names, mut wanted) = (false, Vec::new(), Vec::new());
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--all" => all = true,
                "--version" => {
                    let text = arguments.next().unwrap_or_default();
                    let version = text.parse::<Version>();
                    wanted.push(version.map_err(|()| format!("--version {text:?}: write one such as 1.33"))?);
                }
                _ => names.push(argument),
            }
        }
        let mut known = versions_in(Path::new(PROGRAMS));
        known.extend(versions_in(programs));
        known.sort();
        known.dedup();
        if let Some(unknown) = wanted.iter().find(|version| !known.contains(version)) {
            let known: Vec<String> = known.iter().map(Version::to_string).collect();
            return Err(format!(
                "there is no cluster-autoscaler {unknown} here, but {}",
                known.join(", ")
            ));
        }
        if !wanted.is_empty() {
            known.retain(|version| wanted.contains(version));
        } else if !all && names.is_empty() && known.len() > 2 {
            known.drain(1..known.len() - 1);
        }
        let installed = versions_in(programs);
        let (versions, missing) = known.into_iter().partition(|version| installed.contains(version));
        if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
            return Err(format!(
                "there is no scenario {unknown:?}; there are\n{}",
                known_names()
            ));
        }
        let named = |name: &str| names.iter().any(|wanted| wanted == name);
        let short = |scenario: &Scenario| names.is_empty() && scenario.short;
        let scenarios = SCENARIOS.iter();
        let scenarios = scenarios.filter(|scenario| all || short(scenario) || named(scenario.name));
        let alone = ALONE
            .iter()
            .filter(|alone| all || names.is_empty() || named(alone.name));
        Ok(Self {
            versions,
            missing,
            scenarios: scenarios.collect(),
            alone: alone.collect(),
        })
    }
}

/// Name and subject of each scenario.
fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    let with = SCENARIOS.iter().map(|scenario| (scenario.name, scenario.about));
    with.chain(ALONE.iter().map(|alone| (alone.name, alone.about)))
}

fn is_known(name: &str) -> bool {
    known().any(|(known, _)| known == name)
}

fn known_names() -> String {
    let lines = known().map(|(name, about)| format!("  {name:<28}{about}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The versions that have an entry in the folder.
fn versions_in(folder: &Path) -> Vec<Version> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let versions = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix("cluster-autoscaler-")?.parse().ok()
    });
    versions.collect()
}
