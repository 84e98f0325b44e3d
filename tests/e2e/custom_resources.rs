//! The kinds of others that the Helm chart makes objects of: their definitions, as their projects publish them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use serde_json::Value;

use crate::control_plane::{Apply, ControlPlane};
use crate::{Failure, Places};

/// Where `tests/e2e/run` puts a folder for each project.
const FOLDER: &str = "crds";
/// The groups of the kinds that the chart uses, but for those of Kubernetes.
const GROUPS: [&str; 2] = ["cert-manager.io", "monitoring.coreos.com"];
/// The kinds of these groups that it uses: the API server takes its time for each definition.
const KINDS: [&str; 5] = [
    "Certificate",
    "Issuer",
    "PodMonitor",
    "PrometheusRule",
    "ServiceMonitor",
];
/// The API server serves a new kind after a moment.
const SERVED_WITHIN: Duration = Duration::from_secs(30);

/// Which of the groups the API server knows.
pub(crate) struct CustomResources {
    unknown: BTreeSet<&'static str>,
}

impl CustomResources {
    /// Installs the definitions that are there.
    pub(crate) async fn install(places: &Places, control_plane: &ControlPlane) -> Result<Self, Failure> {
        let mut unknown = BTreeSet::from(GROUPS);
        for definition in definitions(&places.programs.join(FOLDER))? {
            control_plane.apply(&definition, Apply::ForGood).await?;
            let group = definition["spec"]["group"].as_str().unwrap_or_default();
            unknown.remove(group);
            wait_until_served(
                control_plane,
                definition["metadata"]["name"].as_str().unwrap_or_default(),
            )
            .await?;
        }
        Ok(Self { unknown })
    }

    /// Whether objects of this API version can be held against the API server.
    pub(crate) fn are_known(&self, api_version: &str) -> bool {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        !self.unknown.contains(group)
    }
}

/// Those of the kinds in use, in all files of all folders.
fn definitions(folder: &Path) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for path in projects(folder).iter().flat_map(|project| entries(project)) {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let definition: Value =
                serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            let (group, kind) = (&definition["spec"]["group"], &definition["spec"]["names"]["kind"]);
            if GROUPS.iter().any(|known| group == known) && KINDS.iter().any(|known| kind == known) {
                found.push(definition);
            }
        }
    }
    Ok(found)
}

fn projects(folder: &Path) -> Vec<PathBuf> {
    entries(folder).collect()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

async fn wait_until_served(control_plane: &ControlPlane, name: &str) -> Result<(), Failure> {
    let (definitions, begun) = (
        Api::<CustomResourceDefinition>::all(control_plane.client.clone()),
        Instant::now(),
    );
    loop {
        let definition = definitions
            .get(name)
            .await
            .map_err(|error| format!("{name}: {error}"))?;
        let conditions = definition
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        if conditions
            .iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True")
        {
            return Ok(());
        }
        if begun.elapsed() > SERVED_WITHIN {
            return Err(format!("the API server does not serve {name}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
