//! The values in their three places: values.yaml, values.schema.json and the README; and which are refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::combinations::{least, merge};
use crate::helm::{CHART, Helm};

/// helm, or `None` with the reason printed.
pub(crate) fn helm() -> Option<Helm> {
    match std::env::var_os("HELM").filter(|helm| !helm.is_empty()) {
        Some(program) => Some(Helm::new(program.as_ref())),
        None => {
            println!("skipped: HELM is not set; tests/chart/run sets it");
            None
        }
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{CHART}/{file}")).unwrap()
}

/// The values.yaml as it is.
pub(crate) fn defaults() -> Value {
    serde_saphyr::from_str(&read("values.yaml")).unwrap()
}

/// The paths of all values, those with a default that is no map or an empty one.
fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                leaves(value, format!("{path}.{name}").trim_start_matches('.'), found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn the_readme_has_a_row_for_every_value_and_no_other() {
    let readme = read("README.md");
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let described: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).collect();
    let mut found = BTreeSet::new();
    leaves(&defaults(), "", &mut found);
    // Whole maps of Kubernetes or of flags have one row.
    let whole = [
        "autoscaler.extraArgs",
        "podSecurityContext",
        "containerSecurityContext",
        "affinity",
    ];
    let resources = ["autoscaler.resources", "provider.resources", "metrics.dashboard.labels"];
    let found: BTreeSet<String> = found
        .iter()
        .map(|path| {
            let mut wholes = whole.iter().chain(&resources);
            wholes
                .find(|whole| path.starts_with(&format!("{whole}.")))
                .map_or(path.clone(), |whole| (*whole).to_owned())
        })
        .collect();
    assert_eq!(described, found);
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    compare(&schema, &defaults(), "");
}

/// Wherever the schema says which properties there are, the defaults have the same.
fn compare(schema: &Value, value: &Value, path: &str) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path} lets anything in");
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    // What Kubernetes itself leaves open.
    let open = path.ends_with(".resources") || path == "affinity";
    let mut known: BTreeSet<String> = properties.keys().cloned().collect();
    // Helm's own.
    known.remove("global");
    assert!(
        names(value).is_subset(&known) && (open || names(value) == known),
        "{path}: {known:?} {value}"
    );
    for name in names(value) {
        compare(
            &properties[&name],
            &value[&name],
            format!("{path}.{name}").trim_start_matches('.'),
        );
    }
}

#[test]
fn the_chart_has_the_version_of_the_server() {
    let chart: Value = serde_saphyr::from_str(&read("Chart.yaml")).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn what_is_wrong_is_refused() {
    let Some(helm) = helm() else { return };
    let wrong = [
        (json!({ "cloudConfig": { "content": "" } }), "is required"),
        (json!({ "cloudConfig": { "existingSecret": "mine" } }), "must be empty"),
        (
            json!({ "cloudConfig": { "files": { "cloud-config": "twice" } } }),
            "cloud-config",
        ),
        (json!({ "mode": "standalone" }), "needs certificates"),
        (
            json!({ "mode": "standalone", "tls": { "server": { "existingSecret": "s" } } }),
            "needs certificates",
        ),
        (
            json!({ "mode": "standalone", "tls": { "certManager": { "enabled": true }, "server": { "existingSecret": "s" } } }),
            "must be empty",
        ),
        (json!({ "mode": "both" }), "mode"),
        (json!({ "replicas": 2 }), "replicas"),
        (json!({ "autoscaler": { "replicaCount": 2 } }), "replicaCount"),
        (
            json!({ "autoscaler": { "extraArgs": { "cloud-provider": "aws" } } }),
            "extraArgs.cloud-provider: this flag belongs to the chart",
        ),
        (
            json!({ "autoscaler": { "extraArgs": { "leader-elect-resource-name": null } } }),
            "extraArgs.leader-elect-resource-name: this flag belongs to the chart",
        ),
        (
            json!({ "fullnameOverride": "1a", "mode": "standalone", "tls": { "enabled": false } }),
            "fullnameOverride",
        ),
        (
            json!({ "autoscaler": { "extraArgs": { "v": { "a": 1 } } } }),
            "extraArgs",
        ),
        (json!({ "provider": { "listenAddress": "::" } }), "listenAddress"),
        (json!({ "provider": { "logFormat": "yaml" } }), "logFormat"),
        (
            json!({ "tls": { "certManager": { "issuerRef": { "kind": "Issuer" } } } }),
            "name",
        ),
        (
            json!({ "podDisruptionBudget": { "maxUnavailable": "half" } }),
            "maxUnavailable",
        ),
        (
            json!({ "metrics": { "serviceMonitor": { "interval": 30 } } }),
            "interval",
        ),
    ];
    for (change, told) in wrong {
        let mut values = least();
        merge(&mut values, &change);
        let refused = helm.render("kube-system", &values).expect_err(&change.to_string());
        assert!(refused.contains(told), "{change}: {refused}");
    }
}

/// The paths of all values, of maps, too.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}").trim_start_matches('.').to_owned();
        paths(value, &path, found);
        found.push(path);
    }
}

/// null is how Helm's users take a default away.
#[test]
fn each_value_that_is_taken_away_is_left_out_or_refused_by_its_name() {
    let Some(helm) = helm() else { return };
    let mut all = Vec::new();
    paths(&defaults(), "", &mut all);
    assert!(all.len() > 80, "{}", all.len());
    for path in all {
        let taken_away = path.rsplit('.').fold(Value::Null, |value, name| json!({ name: value }));
        let mut values = least();
        merge(&mut values, &taken_away);
        if path.starts_with("cloudConfig") {
            merge(&mut values, &json!({ "cloudConfig": { "content": "[global]" } }));
        }
        let name = path.rsplit('.').next().unwrap();
        if let Err(error) = helm.render("scaling", &values) {
            let is_clear = error.contains("don't meet the specifications of the schema") && error.contains(name);
            assert!(is_clear, "{path}: {error}");
        }
    }
}

#[test]
fn unusual_values_keep_their_meaning() {
    let Some(helm) = helm() else { return };
    let mut values = least();
    merge(
        &mut values,
        &json!({
            "mode": "standalone",
            "fullnameOverride": "a.b",
            "autoscaler": { "extraArgs": { "max-nodes-total": 1_000_000, "scale-down-utilization-threshold": 0.25, "v": 2_000_000_000 } },
            "provider": { "logLevel": "info #x" },
            "podSecurityContext": { "runAsUser": 1_000_000 },
            "tls": { "clientNames": ["10.0.0.1", "fd00::1", "autoscaler.example"], "certManager": { "enabled": true } },
        }),
    );
    let objects = helm.render("scaling", &values).unwrap();
    let text = serde_json::to_string(&objects).unwrap();
    for wanted in [
        r#""--max-nodes-total=1000000""#,
        r#""--scale-down-utilization-threshold=0.25""#,
        r#""--v=2000000000""#,
        r#""--log-level=info #x""#,
        r#""name":"a-b-provider""#,
        r#""dnsNames":["autoscaler.example"]"#,
        r#""ipAddresses":["10.0.0.1","fd00::1"]"#,
        r#""runAsUser":1000000"#,
    ] {
        assert!(text.contains(wanted), "no {wanted} in {text}");
    }
}

#[test]
fn a_release_of_any_name_has_names_that_kubernetes_takes() {
    let Some(helm) = helm() else { return };
    for name in [
        "a",
        "a.b",
        &"x".repeat(80),
        &format!("{}-y", "x".repeat(49)),
        &format!("{}.y", "x".repeat(49)),
    ] {
        let mut values = least();
        merge(
            &mut values,
            &json!({ "fullnameOverride": name, "mode": "standalone", "tls": { "enabled": false } }),
        );
        for object in helm.render("scaling", &values).unwrap() {
            let name = object["metadata"]["name"].as_str().unwrap();
            let is_label = (name.len() <= 63 || object["kind"] == "Role" || object["kind"] == "RoleBinding")
                && !name.starts_with('-')
                && !name.ends_with('-')
                && !name.contains("--")
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            assert!(is_label, "{} {name}", object["kind"]);
        }
    }
}
