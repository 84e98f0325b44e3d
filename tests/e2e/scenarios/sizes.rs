//! From nothing to what is needed and back; minimum sizes.

use super::{Scenario, expect};
use crate::hosts::Group;
use crate::stage::Setting;
use crate::workload::Workload;

pub(super) const UP_AND_DOWN: Scenario = Scenario {
    name: "up-and-down",
    about: "from zero to 12 nodes on two hosts, and to zero when the deployment is gone",
    short: true,
    setting: || {
        Setting::new(vec![
            ("garage", vec![Group::new("garage", 6)]),
            ("attic", vec![Group::new("attic", 6)]),
        ])
    },
    story: |stage| {
        Box::pin(async move {
            stage.deploy(&Workload::new("web", 12)).await?;
            let sight = stage.wait_until_all_run("web", 12).await?;
            expect(sight.vms_of("garage") == 6 && sight.vms_of("attic") == 6, || {
                format!("6 VMs each: {sight}")
            })?;
            stage.scale_to_zero(&["web"]).await
        })
    },
};

pub(super) const MIN_SIZE: Scenario = Scenario {
    name: "min-size",
    about: "--enforce-node-group-min-size makes two VMs for a group with min-size 2, and keeps them",
    short: false,
    setting: || {
        let group = Group::new("garage", 4).with("min-size = 2");
        Setting::new(vec![("garage", vec![group])]).flags(&["--enforce-node-group-min-size"])
    },
    story: |stage| {
        Box::pin(async move {
            stage.wait("two Nodes", |now| now.nodes.len() == 2).await?;
            stage.deploy(&Workload::new("web", 3)).await?;
            stage.wait_until_all_run("web", 3).await?;
            stage.delete("web").await?;
            stage.wait("two VMs are left", |now| now.vms() == 2).await?;
            stage.for_loops(8.0, "two VMs stay", |_, now| now.vms() == 2).await
        })
    },
};
