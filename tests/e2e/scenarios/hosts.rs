//! Hosts that are down, go down, and reboot.

use std::collections::BTreeSet;

use super::choice::BALANCING;
use super::{Scenario, expect};
use crate::hosts::Group;
use crate::sight::Sight;
use crate::stage::Setting;
use crate::workload::Workload;

fn two_hosts() -> Setting {
    Setting::new(vec![
        ("garage", vec![Group::new("garage", 4)]),
        ("attic", vec![Group::new("attic", 8)]),
    ])
}

pub(super) const HOST_DOWN_AT_START: Scenario = Scenario {
    name: "host-down-at-start",
    about: "one host is down before anything starts; the other works, and the first one joins in when it is back",
    short: false,
    setting: || Setting {
        down: vec!["garage"],
        ..two_hosts()
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 8)).await?;
            let sight = stage.wait_until_all_run("web", 8).await?;
            expect(sight.vms_of("attic") == 8, || {
                format!("8 VMs on the other host: {sight}")
            })?;
            stage.host("garage").comes_back();
            stage.deploy(&Workload::new("more", 2)).await?;
            let sight = stage.wait_until_all_run("more", 2).await?;
            expect(sight.vms_of("garage") == 2, || {
                format!("2 VMs on the host that is back: {sight}")
            })?;
            stage.scale_to_zero(&["web", "more"]).await
        })
    },
};

pub(super) const HOST_GOES_DOWN: Scenario = Scenario {
    name: "host-goes-down",
    about: "a host goes down while its VMs are being created; the other takes over; nothing is left or lost",
    short: false,
    // One VM after another, so that it goes down in the middle.
    setting: || {
        let garage = Group::new("garage", 4).with("create-concurrency = 1");
        Setting::new(vec![("garage", vec![garage]), ("attic", vec![Group::new("attic", 8)])]).flags(&BALANCING)
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 8)).await?;
            stage.wait("a VM on the host", |now| now.vms_of("garage") > 0).await?;
            stage.host("garage").goes_down();
            stage.say("the garage is down");
            let sight = stage.wait_until_all_run("web", 8).await?;
            expect(sight.vms_of("attic") > 4, || {
                format!("the other host has more than its share: {sight}")
            })?;
            stage.host("garage").comes_back();
            stage.say("the garage is back");
            stage
                .wait_for_metric("host_up{nodegroup=\"garage\"}", |up| up > 0.0)
                .await?;
            stage
                .wait("a VM for each pod", |now| now.vms() == 8 && now.nodes.len() == 8)
                .await?;
            stage.wait_until_all_run("web", 8).await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};

fn names(sight: &Sight) -> BTreeSet<String> {
    sight.nodes.iter().map(|node| node.name.clone()).collect()
}

pub(super) const HOST_RESTARTS: Scenario = Scenario {
    name: "host-restarts",
    about: "a host reboots and loses its VMs: their Nodes go, and the capacity comes again",
    short: false,
    setting: || Setting::new(vec![("garage", vec![Group::new("garage", 6)])]),
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 4)).await?;
            let old = names(&stage.wait_until_all_run("web", 4).await?);
            stage.host("garage").restarts();
            stage.say("the garage has restarted");
            stage
                .wait("the old Nodes are gone", |now| names(now).is_disjoint(&old))
                .await?;
            stage
                .wait("four new VMs run the pods", |now| {
                    now.vms() == 4 && now.all_run("web", 4)
                })
                .await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};
