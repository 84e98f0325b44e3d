//! Both programs are killed in the middle of a scale-up, and the provider while it removes VMs.

use std::time::Duration;

use super::{Scenario, expect};
use crate::Failure;
use crate::hosts::Group;
use crate::sight::Sight;
use crate::stage::{Setting, Stage};
use crate::workload::Workload;

/// VMs come two by two, so that there is a middle.
fn slow_host() -> Setting {
    let group = Group::new("garage", 12).with("create-concurrency = 2");
    Setting {
        create: Duration::from_secs(3),
        ..Setting::new(vec![("garage", vec![group])])
    }
}

/// Six VMs are wanted, and some are there.
async fn reach_the_middle(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.deploy(&Workload::new("web", 6)).await?;
    let sight = stage.wait("the first VMs", |now| now.vms() > 0).await?;
    expect(sight.vms() < 6, || format!("this is not the middle: {sight}"))
}

/// One VM for each pod, none too many, and then none at all.
async fn end_well(stage: &mut Stage<'_>) -> Result<(), Failure> {
    stage.wait_until_all_run("web", 6).await?;
    let exactly = "one VM for each pod, none too many";
    // A cluster-autoscaler from 1.36 on that was restarted orders what is on its way once more, and notices later.
    stage
        .wait(exactly, |now| {
            now.vms() == 6 && now.nodes.len() == 6 && now.all_run("web", 6)
        })
        .await?;
    let created = stage.host("garage").created();
    stage.say(&format!("{created} VMs were created for 6 pods"));
    stage.scale_to_zero(&["web"]).await
}

pub(super) const PROVIDER_KILLED: Scenario = Scenario {
    name: "provider-killed",
    about: "the provider is killed and restarted in mid scale-up: no VM too many at the end",
    short: false,
    setting: slow_host,
    story: |stage| {
        Box::pin(async move {
            reach_the_middle(stage).await?;
            stage.provider.is_killed_and_restarted().await?;
            stage.say("the provider was killed and restarted");
            end_well(stage).await
        })
    },
};

pub(super) const AUTOSCALER_KILLED: Scenario = Scenario {
    name: "autoscaler-killed",
    about: "the cluster-autoscaler is killed and restarted in mid scale-up: no VM too many at the end",
    short: false,
    setting: slow_host,
    story: |stage| {
        Box::pin(async move {
            reach_the_middle(stage).await?;
            stage.autoscaler.is_killed_and_restarted().await?;
            stage.say("the cluster-autoscaler was killed and restarted");
            end_well(stage).await
        })
    },
};

pub(super) const REMOVAL_INTERRUPTED: Scenario = Scenario {
    name: "removal-interrupted",
    about: "the provider is killed before a VM that it was told to remove is gone: the VM goes all the same",
    short: false,
    setting: || Setting::new(vec![("garage", vec![Group::new("garage", 3)])]),
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 2)).await?;
            stage.wait_until_all_run("web", 2).await?;
            stage.host("garage").refuses_deletes(true);
            stage.delete("web").await?;
            // The cluster-autoscaler has its answer, and thinks that all is done.
            let deleting = "instances{nodegroup=\"garage\",state=\"deleting\"}";
            stage.wait_for_metric(deleting, |count| count > 1.0).await?;
            stage.for_loops(3.0, "the VMs stay", |_, now| now.vms() == 2).await?;
            stage.provider.is_killed_and_restarted().await?;
            stage.host("garage").refuses_deletes(false);
            stage.say("the provider was killed and restarted; the host deletes VMs again");
            stage
                .wait("no VM, no Node and no node password is left", Sight::nothing_left)
                .await
                .map(drop)
        })
    },
};
