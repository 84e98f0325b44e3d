//! Which group is chosen: by what a pod asks for, by price, by balance. And that all of it works with mTLS.

use slicer_cloud_provider::domain::vm::Architecture;

use super::{Scenario, expect};
use crate::hosts::Group;
use crate::stage::Setting;
use crate::workload::Workload;

/// What the README says about balancing. `--balancing-ignore-label` would do up to 1.36; 1.37 reads it for AWS, Azure and
/// GCE only.
pub(super) const BALANCING: [&str; 3] = [
    "--balance-similar-node-groups",
    "--balancing-label=node.kubernetes.io/instance-type",
    "--balancing-label=kubernetes.io/arch",
];

const TAINT: &str = "dedicated=builds:NoSchedule";

pub(super) const SELECTORS: Scenario = Scenario {
    name: "selectors",
    about: "architecture, label, zone, taint and disk each make one VM of the right group, from zero",
    short: false,
    setting: || {
        let mut arm = Group::new("arm", 2);
        arm.host_group.arch = Architecture::Arm64;
        let mut disk = Group::new("disk", 2).with("ephemeral-storage = 100G");
        disk.host_group.disk_bytes = 104_967_585_792;
        Setting::new(vec![
            (
                "garage",
                vec![
                    arm,
                    Group::new("labelled", 2).with("node-label = media=ssd"),
                    Group::new("tainted", 2).with("node-taint = dedicated=builds:NoSchedule"),
                ],
            ),
            ("attic", vec![Group::new("zoned", 2).with("zone = attic"), disk]),
        ])
    },
    story: |stage| {
        Box::pin(async move {
            let asked = [
                ("arm", Workload::new("on-arm", 1).on("kubernetes.io/arch", "arm64")),
                ("labelled", Workload::new("on-label", 1).on("media", "ssd")),
                (
                    "zoned",
                    Workload::new("in-zone", 1).on("topology.kubernetes.io/zone", "attic"),
                ),
                (
                    "tainted",
                    Workload::new("tolerating", 1)
                        .on("slicer/hostgroup", "tainted")
                        .tolerating("dedicated", "builds"),
                ),
                ("disk", Workload::new("with-disk", 1).with_disk("50G")),
            ];
            for (_, workload) in &asked {
                stage.deploy(workload).await?;
            }
            for (_, workload) in &asked {
                stage.wait_until_all_run(workload.name, 1).await?;
            }
            let sight = stage.wait("five Nodes", |now| now.nodes.len() == 5).await?;
            for (group, workload) in &asked {
                let right = sight.vms_of(group) == 1 && sight.group_of(workload.name) == Some(group);
                expect(right, || {
                    format!("one VM of {group} with the pod of {}: {sight}", workload.name)
                })?;
            }
            let tainted = sight.nodes.iter().find(|node| node.group == "tainted");
            let taints = tainted.is_some_and(|node| node.taints.iter().any(|taint| taint == TAINT));
            expect(taints, || {
                format!("the Node of the tainted group has the taint {TAINT}")
            })?;
            stage.scale_to_zero(&asked.map(|(_, workload)| workload.name)).await
        })
    },
};

pub(super) const PRICE: Scenario = Scenario {
    name: "price",
    about: "--expander=price takes the cheaper of two equal groups",
    short: false,
    setting: || {
        Setting::new(vec![
            ("garage", vec![Group::new("dear", 4).with("price-per-hour = 0.4")]),
            ("attic", vec![Group::new("cheap", 4).with("price-per-hour = 0.1")]),
        ])
        .flags(&["--expander=price"])
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 3)).await?;
            let sight = stage.wait_until_all_run("web", 3).await?;
            expect(sight.vms_of("cheap") == 3 && sight.vms() == 3, || {
                format!("three cheap VMs: {sight}")
            })?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};

pub(super) const BALANCE: Scenario = Scenario {
    name: "balance",
    about: "--balance-similar-node-groups with the README's flags spreads six pods evenly over two hosts",
    short: false,
    setting: || {
        Setting::new(vec![
            ("garage", vec![Group::new("garage", 6).with("zone = garage")]),
            ("attic", vec![Group::new("attic", 6).with("zone = attic")]),
        ])
        .flags(&BALANCING)
    },
    story: |stage| {
        Box::pin(async move {
            let readme = include_str!("../../../README.md");
            for flag in BALANCING {
                expect(readme.contains(flag), || format!("the README does not name {flag}"))?;
            }
            stage.deploy(&Workload::new("web", 6)).await?;
            let sight = stage.wait_until_all_run("web", 6).await?;
            expect(sight.vms_of("garage") == 3 && sight.vms_of("attic") == 3, || {
                format!("3 VMs each: {sight}")
            })?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};

pub(super) const MTLS: Scenario = Scenario {
    name: "mtls",
    about: "up and down with mTLS between cluster-autoscaler and provider",
    short: false,
    setting: || Setting {
        mtls: true,
        ..Setting::new(vec![("garage", vec![Group::new("garage", 4)])])
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 2)).await?;
            stage.wait_until_all_run("web", 2).await?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};
