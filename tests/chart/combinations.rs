//! Values as the tests combine them.

use serde_json::{Value, json};

/// The configuration that is rendered.
pub(crate) const CONTENT: &str = "[global]\nk3s-url = https://192.168.1.10:6443\nk3s-token-file = /etc/slicer/k3s-token\n\n\
    [nodegroup \"garage\"]\nslicer-url = http://192.168.1.20:8080\nslicer-token-file = /etc/slicer/slicer-token\n";

/// `changes` over `values`, as helm merges them.
pub(crate) fn merge(values: &mut Value, changes: &Value) {
    match (values, changes) {
        (Value::Object(values), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(values.entry(name).or_insert(Value::Null), change);
            }
        }
        (values, change) => *values = change.clone(),
    }
}

/// The least that the chart takes: a configuration.
pub(crate) fn least() -> Value {
    json!({ "cloudConfig": { "content": CONTENT, "files": { "k3s-token": "joins", "slicer-token": "creates" } } })
}

/// Every combination of the main values.
pub(crate) fn combinations() -> Vec<Value> {
    let configurations = [
        least(),
        json!({ "cloudConfig": { "existingSecret": "mine", "key": "ini" } }),
    ];
    let modes = [
        json!({}),
        json!({ "mode": "sidecar", "tls": { "certManager": { "enabled": true } } }),
        json!({ "mode": "standalone", "tls": { "enabled": false } }),
        json!({ "mode": "standalone", "tls": { "certManager": { "enabled": true } } }),
        json!({ "mode": "standalone", "tls": { "certManager": { "enabled": true, "issuerRef": { "name": "mine" } } } }),
        json!({ "mode": "standalone", "tls": {
            "server": { "existingSecret": "mine-s" }, "client": { "existingSecret": "mine-c" },
        } }),
    ];
    let on = json!({ "enabled": true });
    let monitoring = [
        json!({}),
        json!({ "metrics": { "serviceMonitor": on, "podMonitor": on, "prometheusRule": on, "dashboard": on } }),
    ];
    let policies = [
        json!({}),
        json!({ "networkPolicy": on }),
        json!({ "networkPolicy": { "enabled": true, "metricsFrom": [{ "namespaceSelector": {} }],
                "egress": [{ "to": [{ "ipBlock": { "cidr": "192.168.0.0/16" } }] }] } }),
    ];
    let budgets = [json!({}), json!({ "podDisruptionBudget": on })];
    // What many installations set, in every second combination.
    let mounts = json!([{ "name": "more", "mountPath": "/more" }]);
    let environment = json!([{ "name": "E", "value": "F" }]);
    let everything_else = json!({
        "fullnameOverride": "scaler",
        "imagePullSecrets": [{ "name": "registry" }],
        "podAnnotations": { "a": "b" },
        "podLabels": { "c": "d" },
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "topologySpreadConstraints": [
            { "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" },
        ],
        "extraVolumes": [{ "name": "more", "emptyDir": {} }],
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "a", "operator": "Exists" }] },
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["b"] }] },
        ] } } },
        "autoscaler": {
            "extraArgs": { "expander": "priority,least-waste", "v": null },
            "extraEnv": environment,
            "extraVolumeMounts": mounts,
            "serviceAccount": { "create": false, "name": "ours" },
        },
        "provider": {
            "extraArgs": ["--without-kubernetes"],
            "extraEnv": environment,
            "extraVolumeMounts": mounts,
            "listenAddress": "[::]",
            "serviceAccount": { "annotations": { "g": "h" } },
        },
        "tls": { "clientNames": ["autoscaler.example"] },
        "rbac": { "extraRules": [
            { "apiGroups": ["autoscaling.x-k8s.io"], "resources": ["capacitybuffers"], "verbs": ["list", "watch"] },
        ] },
    });
    let mut combinations = vec![json!({})];
    for choices in [&configurations[..], &modes, &monitoring, &policies, &budgets] {
        let chosen = combinations.iter().flat_map(|so_far| {
            choices.iter().map(move |choice| {
                let mut values = so_far.clone();
                merge(&mut values, choice);
                values
            })
        });
        combinations = chosen.collect();
    }
    for values in combinations.iter_mut().skip(1).step_by(2) {
        merge(values, &everything_else);
    }
    combinations
}
