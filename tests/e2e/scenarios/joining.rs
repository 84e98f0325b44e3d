//! Agents that do not join.

use slicer_cloud_provider::simulator::UserdataOrder;

use super::Scenario;
use crate::hosts::Group;
use crate::sight::Sight;
use crate::stage::Setting;
use crate::workload::Workload;

/// The userdata's exit code for an agent that was not ready in time.
const NOT_READY: i32 = 14;

pub(super) const NEVER_JOIN: Scenario = Scenario {
    name: "never-join",
    about: "agents that cannot join are removed and the group is backed off; when they can again, the pods run",
    short: true,
    // Longer than a slow machine takes for the loops in which nothing may happen.
    setting: || {
        Setting::new(vec![("garage", vec![Group::new("garage", 4)])]).flags(&[
            "--initial-node-group-backoff-duration=75s",
            "--max-node-group-backoff-duration=75s",
        ])
    },
    story: |stage| {
        Box::pin(async move {
            stage.host("garage").userdata(UserdataOrder::ExitCode(NOT_READY));
            stage.deploy(&Workload::new("web", 2)).await?;
            let failed = "failures_total{nodegroup=\"garage\",reason=\"UserdataFailed\"}";
            stage.wait_for_metric(failed, |failures| failures >= 2.0).await?;
            stage.wait("nothing is left", Sight::nothing_left).await?;
            let created = stage.host("garage").created();
            stage
                .for_loops(4.0, "the group is backed off", move |stage, _| {
                    stage.host("garage").created() == created
                })
                .await?;
            stage.host("garage").userdata(UserdataOrder::AsGuest);
            stage.say("agents can join again");
            stage.wait_until_all_run("web", 2).await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};
