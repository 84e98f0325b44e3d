//! A host without room.

use super::{Scenario, expect};
use crate::Failure;
use crate::hosts::Group;
use crate::stage::{Setting, Stage};
use crate::workload::Workload;

/// From the moment when the provider was refused the first VM to the scale-up of the other group.
fn loops_to_take_over(stage: &Stage<'_>) -> Result<usize, Failure> {
    let logged = |text: &str| stage.provider.logged(text).ok_or_else(|| format!("not logged: {text}"));
    let (refused, taken_over) = (
        logged("instance failed group=garage")?,
        logged("scaling up group=attic")?,
    );
    Ok(stage.autoscaler.loops_between(&refused, &taken_over))
}

pub(super) const HOST_FULL: Scenario = Scenario {
    name: "host-full",
    about: "the preferred host has room for one VM only: the other group takes over within two loops",
    short: true,
    setting: || {
        Setting::new(vec![
            ("garage", vec![Group::new("garage", 6).with("price-per-hour = 0.1")]),
            ("attic", vec![Group::new("attic", 6).with("price-per-hour = 0.4")]),
        ])
        .flags(&["--expander=price"])
    },
    story: |stage| {
        Box::pin(async move {
            stage.host("garage").has_room_for(1);
            stage.deploy(&Workload::new("web", 4)).await?;
            let full = "failures_total{nodegroup=\"garage\",reason=\"OutOfResources\"}";
            stage.wait_for_metric(full, |failures| failures > 0.0).await?;
            let taken_over = "target_size{nodegroup=\"attic\"}";
            stage.wait_for_metric(taken_over, |size| size > 0.0).await?;
            let loops = loops_to_take_over(stage)?;
            stage.say(&format!("the other group took over in loop {loops} after the refusal"));
            expect((1..=2).contains(&loops), || format!("it took {loops} loops"))?;
            let sight = stage.wait_until_all_run("web", 4).await?;
            expect(sight.vms_of("garage") == 1, || {
                format!("one VM on the full host: {sight}")
            })?;
            // From 1.36 on the cluster-autoscaler forgets what a group that it backs off is still about to get, and
            // orders it once more. It notices before long.
            stage
                .wait("one VM for each pod", |now| now.vms() == 4 && now.nodes.len() == 4)
                .await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};
