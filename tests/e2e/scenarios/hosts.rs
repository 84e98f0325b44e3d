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
    about: "a host goes down while its VMs are being created; the other takes over; no pod is lost, then or later",
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
            let (running, joined) = (pod_names(&sight), sight.nodes_of("garage"));
            stage.host("garage").comes_back();
            stage.say(&format!("the garage is back; {joined} of its Nodes joined"));
            stage
                .wait_for_metric("host_up{nodegroup=\"garage\"}", |up| up > 0.0)
                .await?;
            let what = "every pod runs on, and no VM goes whose Node had joined";
            stage
                .for_loops(5.0, what, |_, now| {
                    pod_names(now) == running && now.all_run("web", 8) && now.vms_of("garage") >= joined
                })
                .await?;
            stage
                .wait("a VM for each pod", |now| now.vms() == 8 && now.nodes.len() == 8)
                .await?;
            stage.wait_until_all_run("web", 8).await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};

fn pod_names(sight: &Sight) -> BTreeSet<String> {
    sight.pods.iter().map(|pod| pod.name.clone()).collect()
}

fn names(sight: &Sight, group: &str) -> BTreeSet<String> {
    let of_group = sight.nodes.iter().filter(|node| node.group == group);
    of_group.map(|node| node.name.clone()).collect()
}

pub(super) const HOST_RESTARTS: Scenario = Scenario {
    name: "host-restarts",
    about: "a host with 6 of 10 nodes reboots and loses its VMs: their Nodes go, and the capacity comes again",
    short: false,
    // With so many Nodes not ready the cluster-autoscaler does nothing at all, until somebody removes them.
    setting: || {
        let (garage, attic) = (Group::new("garage", 6), Group::new("attic", 4));
        Setting::new(vec![("garage", vec![garage]), ("attic", vec![attic])])
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 10)).await?;
            let before = stage.wait_until_all_run("web", 10).await?;
            expect(before.nodes_of("garage") == 6, || {
                format!("6 of 10 Nodes on the garage: {before}")
            })?;
            let of_garage = |sight: &Sight| names(sight, "garage");
            let old = of_garage(&before);
            stage.host("garage").restarts();
            stage.say("the garage has restarted");
            stage
                .wait("the old Nodes are gone", |now| of_garage(now).is_disjoint(&old))
                .await?;
            stage.say("its old Nodes are gone");
            for node in &old {
                let why = stage.event_about(node, "StaleNodeRemoved").await?;
                expect(why.contains("no longer on Slicer host"), || {
                    format!("no event says why Node {node} was removed: {why:?}")
                })?;
            }
            stage
                .wait("ten VMs run the pods", |now| now.vms() == 10 && now.all_run("web", 10))
                .await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};
