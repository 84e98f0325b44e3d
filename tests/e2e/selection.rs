//! Which scenarios run with which versions of the cluster-autoscaler. Each folder of `programs/` is a version; what is
//! not installed is skipped.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::Failure;
use crate::scenarios::{SCENARIOS, Scenario, sdk};

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
    pub(crate) sdk: bool,
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
        let scenarios = if all {
            SCENARIOS.iter().collect()
        } else if names.is_empty() {
            SCENARIOS.iter().filter(|scenario| scenario.short).collect()
        } else {
            let known = names.iter().filter(|name| *name != sdk::NAME);
            known.map(|name| find(name)).collect::<Result<_, _>>()?
        };
        let sdk = names.is_empty() || names.iter().any(|name| name == sdk::NAME);
        Ok(Self {
            versions,
            missing,
            scenarios,
            sdk,
        })
    }
}

fn find(name: &str) -> Result<&'static Scenario, Failure> {
    let known = || {
        let lines = SCENARIOS
            .iter()
            .map(|scenario| format!("  {:<28}{}", scenario.name, scenario.about));
        lines.collect::<Vec<_>>().join("\n")
    };
    let mut scenarios = SCENARIOS.iter();
    let found = scenarios.find(|scenario| scenario.name == name);
    found.ok_or_else(|| {
        format!(
            "there is no scenario {name:?}; there are\n{}\n  {:<28}{}",
            known(),
            sdk::NAME,
            sdk::ABOUT
        )
    })
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
