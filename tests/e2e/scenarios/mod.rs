//! The scenarios, by subject, and their list. Each begins with nothing and, but for `min-size`, ends with nothing.

mod account;
mod capacity;
mod chart;
mod choice;
mod hosts;
mod joining;
mod restarts;
mod sdk;
mod sizes;

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::chart::HELM;
use crate::report::{Figures, Outcome, Row};
use crate::stage::{Setting, Stage};
use crate::{Failure, Lane, Places};

/// How long a scenario may take. Each takes a minute or two.
const WITHIN: Duration = Duration::from_secs(900);

/// What a scenario does on its stage.
type Story = for<'s> fn(&'s mut Stage<'_>) -> BoxFuture<'s, Result<(), Failure>>;

/// A scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Whether it belongs to the short selection.
    pub(crate) short: bool,
    setting: fn() -> Setting,
    story: Story,
}

/// All that need a cluster-autoscaler, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    sizes::UP_AND_DOWN,
    sizes::MIN_SIZE,
    choice::SELECTORS,
    choice::PRICE,
    choice::BALANCE,
    choice::MTLS,
    chart::CHART,
    capacity::HOST_FULL,
    hosts::HOST_DOWN_AT_START,
    hosts::HOST_GOES_DOWN,
    hosts::HOST_RESTARTS,
    joining::NEVER_JOIN,
    restarts::PROVIDER_KILLED,
    restarts::AUTOSCALER_KILLED,
    restarts::REMOVAL_INTERRUPTED,
];

/// A scenario without a cluster-autoscaler.
pub(crate) struct Alone {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The programs without which it is skipped.
    needs: &'static [&'static str],
    story: for<'p> fn(&'p Places) -> BoxFuture<'p, Result<(), Failure>>,
}

/// All that need no cluster-autoscaler. They belong to the short selection.
pub(crate) const ALONE: &[Alone] = &[sdk::SLICER_SDK, chart::CHART_OBJECTS, account::CHART_ACCOUNT];

impl Alone {
    /// Tells it, as far as its programs are there.
    pub(crate) async fn run(&self, places: &Places) -> Row {
        let (begun, name) = (Instant::now(), self.name);
        println!("[{name}] {}", self.about);
        if let Some(missing) = self
            .needs
            .iter()
            .find(|program| !places.programs.join(program).exists())
        {
            println!("[{name}] skipped: there is no {missing}");
            return Row::alone(name, Outcome::Skipped, begun.elapsed());
        }
        let places = Places {
            logs: places.logs.join(name),
            ..places.clone()
        };
        let told = tokio::time::timeout(WITHIN, (self.story)(&places)).await;
        match told.unwrap_or_else(|_| Err(format!("it was not over after {} s", WITHIN.as_secs()))) {
            Ok(()) => Row::alone(name, Outcome::Passed, begun.elapsed()),
            Err(failure) => {
                println!("[{name}] FAILED: {failure}");
                Row::alone(name, Outcome::Failed, begun.elapsed())
            }
        }
    }
}

impl Scenario {
    /// Tells it with the lane's version.
    pub(crate) async fn run(&self, lane: &Lane) -> Row {
        let begun = Instant::now();
        println!("[{} {}] {}", lane.version, self.name, self.about);
        let setting = (self.setting)();
        if setting.chart && !lane.places.programs.join(HELM).exists() {
            println!("[{} {}] skipped: there is no helm", lane.version, self.name);
            return Row::short(self.name, &lane.version.to_string(), Outcome::Skipped);
        }
        let (told, figures) = match Stage::set(lane, self.name, setting).await {
            Ok(mut stage) => {
                let story = tokio::time::timeout(WITHIN, (self.story)(&mut stage)).await;
                let told = story.unwrap_or_else(|_| Err(format!("it was not over after {} s", WITHIN.as_secs())));
                if let Err(failure) = &told {
                    stage.say(&format!("FAILED: {failure}"));
                }
                let failed = told.is_err();
                (told, stage.clear(failed).await)
            }
            Err(failure) => {
                println!("[{} {}] FAILED: {failure}", lane.version, self.name);
                (Err(failure), Figures::default())
            }
        };
        Row::told(self.name, &lane.version, begun.elapsed().as_secs_f64(), &figures, &told)
    }
}

/// Fails with this text unless it holds.
fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
