//! What the Helm chart gives to the two is enough for their work.

use super::{Scenario, expect};
use crate::Failure;
use crate::hosts::Group;
use crate::stage::{Setting, Stage};
use crate::workload::Workload;

/// Who is refused something by the API server says so.
fn nothing_was_forbidden(stage: &Stage<'_>) -> Result<(), Failure> {
    for program in [&stage.provider.program, &stage.autoscaler.program] {
        let forbidden = program.count(|line| line.contains("is forbidden"));
        expect(forbidden == 0, || {
            format!("forbidden {forbidden} times\n{}", program.tail())
        })?;
    }
    Ok(())
}

pub(super) const CHART: Scenario = Scenario {
    name: "chart",
    about: "the API server takes all that the Helm chart can make, and its accounts and flags let both do their work",
    short: true,
    setting: || {
        let groups = ["garage", "attic"].map(|name| (name, vec![Group::new(name, 4)]));
        Setting {
            chart: true,
            ..Setting::new(groups.into())
        }
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 4)).await?;
            stage.wait_until_all_run("web", 4).await?;
            stage.scale_to_zero(&["web"]).await?;
            nothing_was_forbidden(stage)
        })
    },
};
