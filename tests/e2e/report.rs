//! What is told at the end: a table of scenario by version, and one line that counts.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::selection::{Selection, Version};

/// What was measured on a stage.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) deployed: Option<Instant>,
    pub(crate) first_vm: Option<Instant>,
    pub(crate) all_running: Option<Instant>,
    pub(crate) rpcs: f64,
    /// Of the provider and of the cluster-autoscaler.
    pub(crate) errors: [usize; 2],
}

/// How one scenario went.
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// A row of the table.
pub(crate) struct Row {
    cells: [String; 8],
    outcome: Outcome,
}

impl Row {
    /// A scenario that was told to its end, or not.
    pub(crate) fn told(
        name: &str,
        version: &Version,
        took: f64,
        figures: &Figures,
        told: &Result<(), Failure>,
    ) -> Self {
        let since = |moment: Option<Instant>| match (figures.deployed, moment) {
            (Some(deployed), Some(moment)) => {
                format!("{:.1}", moment.saturating_duration_since(deployed).as_secs_f64())
            }
            _ => "-".to_owned(),
        };
        let outcome = if told.is_ok() { Outcome::Passed } else { Outcome::Failed };
        let [ours, theirs] = figures.errors;
        Self {
            cells: [
                name.to_owned(),
                version.to_string(),
                outcome.word().to_owned(),
                since(figures.first_vm),
                since(figures.all_running),
                format!("{took:.0}"),
                figures.rpcs.to_string(),
                format!("{ours} / {theirs}"),
            ],
            outcome,
        }
    }

    /// A scenario that could not begin.
    pub(crate) fn failed(name: &str, version: &Version, why: &str) -> Self {
        println!("{name} with {version}: {why}");
        Self::short(name, &version.to_string(), Outcome::Failed)
    }

    /// A scenario without a cluster-autoscaler.
    pub(crate) fn alone(name: &str, outcome: Outcome, took: Duration) -> Self {
        let mut row = Self::short(name, "-", outcome);
        row.cells[5] = format!("{:.0}", took.as_secs_f64());
        row
    }

    /// A row without figures.
    pub(crate) fn short(name: &str, version: &str, outcome: Outcome) -> Self {
        let dash = || "-".to_owned();
        let word = outcome.word().to_owned();
        Self {
            cells: [
                name.to_owned(),
                version.to_owned(),
                word,
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
            ],
            outcome,
        }
    }
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// All rows.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// The scenarios of versions that are not there are skipped, and said to be.
    pub(crate) fn skip_versions(&mut self, selection: &Selection) {
        for version in &selection.missing {
            let skipped = selection.scenarios.iter();
            self.extend(skipped.map(|scenario| Row::short(scenario.name, &version.to_string(), Outcome::Skipped)));
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.count(|outcome| matches!(outcome, Outcome::Failed)) > 0
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.outcome)).count()
    }

    /// Prints the table, keeps it beside the logs, and counts.
    pub(crate) fn print(&self, logs: &Path) {
        let mut table = String::from(
            "| scenario | cluster-autoscaler | result | s to first VM | s to all pods running | s in all | RPCs served | \
             errors logged: provider / cluster-autoscaler |\n|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            table.push_str(&format!("| {} |\n", row.cells.join(" | ")));
        }
        println!("\n{table}");
        let path = logs.join("report.md");
        if let Err(error) = std::fs::write(&path, &table) {
            println!("cannot write {}: {error}", path.display());
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.count(|outcome| matches!(outcome, Outcome::Passed)),
            self.count(|outcome| matches!(outcome, Outcome::Failed)),
            self.count(|outcome| matches!(outcome, Outcome::Skipped)),
        );
    }
}
