//! The scenarios, by subject, and their list. Each begins with nothing and, but for `min-size`, ends with nothing.

mod capacity;
mod chart;
mod choice;
mod hosts;
mod joining;
mod restarts;
pub(crate) mod sdk;
mod sizes;

use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use crate::chart::HELM;
use crate::report::{Figures, Outcome, Row};
use crate::stage::{Setting, Stage};
use crate::{Failure, Lane};

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
