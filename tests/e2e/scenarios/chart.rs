//! The Helm chart: the API server takes what it can make, and what it gives to the two is enough for their work.

use super::{Alone, Scenario, expect};
use crate::chart::{Chart, HELM};
use crate::control_plane::{API_SERVER, ControlPlane, ETCD};
use crate::custom_resources::CustomResources;
use crate::hosts::Group;
use crate::stage::{Setting, Stage};
use crate::workload::Workload;
use crate::{Failure, Places};

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
    about: "both run with the Helm chart's accounts and flags, and nothing is forbidden to them",
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

/// All that the chart can make, and the rights of its accounts, on an API server.
pub(super) const CHART_OBJECTS: Alone = Alone {
    name: "chart-objects",
    about: "the API server takes all that the Helm chart can make, and its accounts may do what they need and no more",
    needs: &[HELM, ETCD, API_SERVER],
    story: |places| Box::pin(objects_and_rights(places)),
};

async fn objects_and_rights(places: &Places) -> Result<(), Failure> {
    let control_plane = ControlPlane::start_api_server(places).await?;
    let chart = Chart::new(places, &control_plane);
    let custom = CustomResources::install(places, &control_plane).await?;
    let taken = chart.every_object_is_taken(&custom).await?;
    println!("[chart-objects] the API server takes {taken}");
    chart.rights_are_exact().await
}
