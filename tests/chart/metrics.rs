//! The metrics that the alerts and the dashboard name, held against those that the server has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::helm::CHART;
use crate::objects::{list, text};

const PREFIX: &str = "slicer_cloud_provider_";

/// The series that the server shows, as it registers them: a metric shows in its output only once it was counted.
fn series() -> BTreeSet<String> {
    let source = include_str!("../../src/metrics.rs");
    let mut types = BTreeMap::new();
    for line in source.lines() {
        if let Some((field, of)) = line.trim().split_once(": ")
            && ["Family<", "Durations<", "Gauge,"]
                .iter()
                .any(|known| of.starts_with(known))
        {
            types.insert(field, of);
        }
    }
    let mut series = BTreeSet::new();
    for call in source.split("r.register").skip(1) {
        let name = call.split('"').nth(1).unwrap();
        let unit = if call.starts_with("_with_unit(") {
            "_seconds"
        } else {
            ""
        };
        let field = call.split("self.").nth(1).and_then(|rest| rest.split('.').next());
        let suffixes: &[&str] = match field.and_then(|field| types.get(field)) {
            _ if name == "build" => &["_info"],
            Some(of) if of.contains("Counter") => &["_total"],
            Some(of) if of.contains("Durations") => &["_bucket", "_sum", "_count"],
            Some(of) if of.contains("Gauge") => &[""],
            other => panic!("{name} is of an unknown type: {other:?}"),
        };
        series.extend(suffixes.iter().map(|suffix| format!("{PREFIX}{name}{unit}{suffix}")));
    }
    series
}

/// The series that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expression.split(|c: char| !is_part(c));
    words
        .filter(|word| word.starts_with(PREFIX))
        .map(str::to_owned)
        .collect()
}

fn alerts() -> Vec<Value> {
    let file = std::fs::read_to_string(format!("{CHART}/rules/alerts.yaml")).unwrap();
    let file: Value = serde_saphyr::from_str(&file).unwrap();
    list(&file["groups"][0]["rules"]).to_vec()
}

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{CHART}/dashboards/slicer-cloud-provider.json")).unwrap())
        .unwrap()
}

#[test]
fn every_metric_of_the_alerts_and_the_dashboard_exists() {
    let alerts = alerts();
    let alerts = alerts.iter().map(|alert| text(&alert["expr"]).to_owned());
    let dashboard = dashboard();
    let panels = list(&dashboard["panels"])
        .iter()
        .flat_map(|panel| list(&panel["targets"]));
    let panels = panels.map(|target| text(&target["expr"]).to_owned());
    let variables = list(&dashboard["templating"]["list"])
        .iter()
        .filter_map(|variable| variable["query"]["query"].as_str());
    let expressions: Vec<String> = alerts.chain(panels).chain(variables.map(str::to_owned)).collect();
    assert!(expressions.len() > 30, "{}", expressions.len());
    let series = series();
    for expression in expressions {
        let named = named(&expression);
        assert!(!named.is_empty(), "{expression}");
        assert!(
            named.is_subset(&series),
            "{:?} in {expression}",
            named.difference(&series).collect::<Vec<_>>()
        );
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do() {
    let mut names = BTreeSet::new();
    for alert in alerts() {
        assert!(names.insert(text(&alert["alert"]).to_owned()), "twice: {alert}");
        assert!(
            ["critical", "warning", "info"].contains(&text(&alert["labels"]["severity"])),
            "{alert}"
        );
        assert!(text(&alert["annotations"]["summary"]).len() > 20, "{alert}");
        assert!(text(&alert["annotations"]["description"]).len() > 150, "{alert}");
    }
}

#[test]
fn the_panels_of_the_dashboard_do_not_overlap() {
    let (dashboard, mut taken) = (dashboard(), BTreeSet::new());
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
}
