//! What must hold of the rendered chart, whatever the values.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::combinations::{CONTENT, combinations, least, merge};
use crate::helm::{Helm, RELEASE};
use crate::objects::{Objects, containers, flag, list, name, namespace, text};
use crate::values::helm;

const NAMESPACE: &str = "scaling";

fn render(helm: &Helm, values: &Value) -> Objects {
    let rendered = helm.render(NAMESPACE, values);
    Objects(rendered.unwrap_or_else(|error| panic!("{values}\n{error}")))
}

#[test]
fn every_combination_of_the_main_values_renders_what_it_says() {
    let Some(helm) = helm() else { return };
    let combinations = combinations();
    assert!(combinations.len() >= 100, "{}", combinations.len());
    for values in combinations {
        let objects = render(&helm, &values);
        let checks = std::panic::catch_unwind(|| {
            the_kinds_are_those_that_the_values_ask_for(&objects, &values);
            every_object_says_whose_it_is(&objects);
            pods_are_harmless_and_where_they_belong(&objects);
            what_is_mounted_and_referred_to_is_there(&objects, &values);
            what_selects_pods_finds_them(&objects);
            rights_go_to_accounts_of_the_pods(&objects);
            the_two_find_each_other(&objects, &values);
        });
        assert!(checks.is_ok(), "with {values}");
    }
}

#[test]
fn lint_has_nothing_to_say() {
    let Some(helm) = helm() else { return };
    helm.lint(&json!({})).unwrap();
    // The slowest part says little after the first times.
    for values in combinations().iter().step_by(7) {
        helm.lint(values).unwrap();
    }
}

fn the_kinds_are_those_that_the_values_ask_for(objects: &Objects, values: &Value) {
    let enabled = |path: &str| values.pointer(path).is_some_and(|value| value == true);
    let standalone = values["mode"] == "standalone";
    let pods = if standalone { 2 } else { 1 };
    let accounts = pods - usize::from(values["autoscaler"]["serviceAccount"]["create"] == false);
    let monitor = enabled("/metrics/serviceMonitor/enabled");
    let cert_manager = standalone && enabled("/tls/certManager/enabled");
    let own_issuer = cert_manager && values["tls"]["certManager"]["issuerRef"].is_null();
    let expected = [
        ("ClusterRole", 2),
        ("ClusterRoleBinding", 2),
        ("Role", 5),
        ("RoleBinding", 5),
        ("Deployment", pods),
        ("ServiceAccount", accounts),
        ("Secret", usize::from(values["cloudConfig"]["existingSecret"].is_null())),
        ("ConfigMap", 1 + usize::from(enabled("/metrics/dashboard/enabled"))),
        ("Service", usize::from(standalone) + usize::from(monitor)),
        ("ServiceMonitor", usize::from(monitor)),
        ("PodMonitor", usize::from(enabled("/metrics/podMonitor/enabled"))),
        (
            "PrometheusRule",
            usize::from(enabled("/metrics/prometheusRule/enabled")),
        ),
        (
            "NetworkPolicy",
            if enabled("/networkPolicy/enabled") { pods } else { 0 },
        ),
        (
            "PodDisruptionBudget",
            if enabled("/podDisruptionBudget/enabled") {
                pods
            } else {
                0
            },
        ),
        (
            "Certificate",
            if own_issuer {
                3
            } else if cert_manager {
                2
            } else {
                0
            },
        ),
        ("Issuer", if own_issuer { 2 } else { 0 }),
    ];
    let expected: BTreeMap<&str, usize> = expected.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(objects.count(), expected);
}

fn every_object_says_whose_it_is(objects: &Objects) {
    let mut seen = BTreeSet::new();
    for object in &objects.0 {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/instance"], RELEASE, "{object}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{object}");
        assert!(name(object).len() <= 63, "{object}");
        assert!(
            seen.insert((text(&object["kind"]), namespace(object), name(object))),
            "twice: {object}"
        );
    }
}

fn pods_are_harmless_and_where_they_belong(objects: &Objects) {
    for deployment in objects.of("Deployment") {
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(spec["strategy"], json!({ "type": "Recreate" }));
        let pod = &spec["template"];
        let context = &pod["spec"]["securityContext"];
        assert_eq!(
            (&context["runAsNonRoot"], &context["runAsUser"]),
            (&json!(true), &json!(65532))
        );
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["spec"]["priorityClassName"], "system-cluster-critical");
        for container in containers(pod) {
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
            assert!(container["livenessProbe"].is_object() && container["resources"].is_object());
        }
        // The terms are alternatives: none may lead to a node that could be removed.
        let terms =
            pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
        let terms = list(terms.unwrap());
        let elsewhere = json!({ "key": "slicer/hostgroup", "operator": "DoesNotExist" });
        assert!(!terms.is_empty());
        assert!(
            terms
                .iter()
                .all(|term| list(&term["matchExpressions"]).contains(&elsewhere)),
            "{terms:?}"
        );
    }
}

fn what_is_mounted_and_referred_to_is_there(objects: &Objects, values: &Value) {
    let (secrets, config_maps) = (objects.names("Secret"), objects.names("ConfigMap"));
    let made_later = objects
        .of("Certificate")
        .map(|certificate| text(&certificate["spec"]["secretName"]));
    let theirs = [
        "/cloudConfig/existingSecret",
        "/tls/server/existingSecret",
        "/tls/client/existingSecret",
    ];
    let theirs = theirs.iter().filter_map(|path| values.pointer(path)?.as_str());
    let secrets: BTreeSet<&str> = secrets.into_iter().chain(made_later).chain(theirs).collect();
    for pod in objects.pods() {
        let volumes = list(&pod["spec"]["volumes"]);
        let known: BTreeSet<&str> = volumes.iter().map(|volume| text(&volume["name"])).collect();
        assert_eq!(known.len(), volumes.len(), "a volume twice");
        let mounts = || containers(pod).flat_map(|container| list(&container["volumeMounts"]));
        let mounted: BTreeSet<&str> = mounts().map(|mount| text(&mount["name"])).collect();
        assert_eq!(known, mounted);
        assert!(
            mounts().all(|mount| mount["subPath"].is_null()),
            "it would never see a change"
        );
        for volume in volumes {
            if let Some(secret) = volume["secret"]["secretName"].as_str() {
                assert!(secrets.contains(secret), "no Secret {secret}");
            }
            if let Some(config_map) = volume["configMap"]["name"].as_str() {
                assert!(config_maps.contains(config_map), "no ConfigMap {config_map}");
            }
        }
        let account = text(&pod["spec"]["serviceAccountName"]);
        assert!(
            objects.names("ServiceAccount").contains(account) || account == "ours",
            "no account {account}"
        );
    }
}

fn what_selects_pods_finds_them(objects: &Objects) {
    for deployment in objects.of("Deployment") {
        let selected = objects.selected(&deployment["spec"]["selector"]["matchLabels"]);
        assert_eq!(selected, [&deployment["spec"]["template"]]);
    }
    for service in objects.of("Service") {
        let [pod] = objects.selected(&service["spec"]["selector"])[..] else {
            panic!("{service}")
        };
        for port in list(&service["spec"]["ports"]) {
            let mut open = containers(pod).flat_map(|container| list(&container["ports"]));
            assert!(
                open.any(|open| open["containerPort"] == port["targetPort"] && open["name"] == port["name"]),
                "{port}"
            );
        }
    }
    for kind in ["NetworkPolicy", "PodDisruptionBudget"] {
        for object in objects.of(kind) {
            let selector = if kind == "NetworkPolicy" {
                "podSelector"
            } else {
                "selector"
            };
            assert_eq!(
                objects.selected(&object["spec"][selector]["matchLabels"]).len(),
                1,
                "{object}"
            );
        }
    }
    // Machines are created and deleted through 8086: if a policy lets somebody in there, it is the cluster-autoscaler.
    for policy in objects.of("NetworkPolicy") {
        for rule in list(&policy["spec"]["ingress"]) {
            if list(&rule["ports"]).iter().any(|port| port["port"] == 8086) {
                let [from] = list(&rule["from"]) else { panic!("{rule}") };
                let [pod] = objects.selected(&from["podSelector"]["matchLabels"])[..] else {
                    panic!("{rule}")
                };
                assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/component"], "autoscaler");
            }
        }
    }
    // Each monitor finds both, wherever they are.
    for (kind, endpoints) in [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")] {
        for monitor in objects.of(kind) {
            let ports: BTreeSet<&str> = list(&monitor["spec"][endpoints])
                .iter()
                .map(|endpoint| text(&endpoint["port"]))
                .collect();
            let selector = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
            let open: BTreeSet<&str> = if kind == "PodMonitor" {
                let pods = objects.selected(&json!(selector));
                let ports = pods
                    .iter()
                    .flat_map(|pod| containers(pod))
                    .flat_map(|container| list(&container["ports"]));
                ports.map(|port| text(&port["name"])).collect()
            } else {
                let matches = |service: &&Value| {
                    selector
                        .iter()
                        .all(|(key, value)| &service["metadata"]["labels"][key] == value)
                };
                let services = objects.of("Service").filter(matches);
                services
                    .flat_map(|service| list(&service["spec"]["ports"]))
                    .map(|port| text(&port["name"]))
                    .collect()
            };
            assert!(ports.is_subset(&open), "{ports:?} {open:?}");
            assert_eq!(ports, BTreeSet::from(["admin", "autoscaler"]));
        }
    }
}

fn rights_go_to_accounts_of_the_pods(objects: &Objects) {
    let pods = objects.pods();
    let accounts: BTreeSet<&str> = pods
        .iter()
        .map(|pod| text(&pod["spec"]["serviceAccountName"]))
        .collect();
    let mut granted = BTreeSet::new();
    for (binding, role) in [("RoleBinding", "Role"), ("ClusterRoleBinding", "ClusterRole")] {
        for binding in objects.of(binding) {
            let granting =
                |object: &&Value| name(object) == binding["roleRef"]["name"] && namespace(object) == namespace(binding);
            assert_eq!(objects.of(role).filter(granting).count(), 1, "{binding}");
            let [subject] = list(&binding["subjects"]) else {
                panic!("{binding}")
            };
            assert_eq!(subject["namespace"], NAMESPACE);
            granted.insert(text(&subject["name"]));
        }
    }
    assert_eq!(granted, accounts);
    let rules = || {
        ["Role", "ClusterRole"]
            .into_iter()
            .flat_map(|kind| objects.of(kind))
            .flat_map(|role| list(&role["rules"]))
    };
    assert!(
        !rules().any(|rule| rule.to_string().contains('*')),
        "somebody may do everything"
    );
}

/// The cluster-autoscaler's address is where the provider listens, and the certificate names it.
fn the_two_find_each_other(objects: &Objects, values: &Value) {
    let (provider, autoscaler) = (
        objects.container("slicer-cloud-provider"),
        objects.container("cluster-autoscaler"),
    );
    let config = objects
        .of("ConfigMap")
        .find_map(|map| map["data"]["externalgrpc.yaml"].as_str())
        .unwrap();
    let config: Value = serde_saphyr::from_str(config).unwrap();
    let (address, listen) = (text(&config["address"]), flag(provider, "--listen"));
    if values["mode"] == "standalone" {
        let host = format!(
            "{}.{NAMESPACE}.svc",
            objects
                .of("Service")
                .map(name)
                .find(|name| name.ends_with("-provider"))
                .unwrap()
        );
        assert_eq!(address, format!("{host}:8086"));
        assert!(listen[0].ends_with(":8086"), "{listen:?}");
        let tls = values["tls"]["enabled"] != false;
        assert_eq!(list(&provider["args"]).contains(&json!("--allow-insecure")), !tls);
        assert_eq!(config["cert"].is_string(), tls);
        assert_eq!(flag(provider, "--tls-cert").len(), usize::from(tls));
        let certificate = |usage: &str| {
            let usage = json!(usage);
            let mut certificates = objects.of("Certificate");
            certificates.find(|certificate| list(&certificate["spec"]["usages"]).contains(&usage))
        };
        if let Some((server, client)) = certificate("server auth").zip(certificate("client auth")) {
            assert_eq!(server["spec"]["dnsNames"], json!([host]));
            assert_eq!(client["spec"]["dnsNames"], json!(flag(provider, "--tls-client-name")));
        }
    } else {
        assert_eq!((address, listen), ("unix:///run/slicer/provider.sock", vec![address]));
        assert_eq!(provider["restartPolicy"], "Always");
        assert_eq!(provider["startupProbe"]["httpGet"]["path"], "/readyz");
    }
    // Each file that an argument or the configuration names is in a volume of that container.
    let named = flag(provider, "--cloud-config")
        .into_iter()
        .chain(flag(provider, "--tls-cert"));
    for path in named {
        assert!(mounts(provider, path), "{path}");
    }
    let named = ["cert", "key", "cacert"].iter().filter_map(|key| config[key].as_str());
    for path in named.chain(flag(autoscaler, "--cloud-config")) {
        assert!(mounts(autoscaler, path), "{path}");
    }
}

fn mounts(container: &Value, path: &str) -> bool {
    let mut mounts = list(&container["volumeMounts"]).iter();
    mounts.any(|mount| path.starts_with(&format!("{}/", text(&mount["mountPath"]))))
}

#[test]
fn the_configuration_and_the_tokens_are_files_of_one_secret() {
    let Some(helm) = helm() else { return };
    let objects = render(&helm, &least());
    let secret = objects.of("Secret").next().unwrap();
    let file = |name: &str| String::from_utf8(STANDARD.decode(text(&secret["data"][name])).unwrap()).unwrap();
    assert_eq!(file("cloud-config"), CONTENT);
    assert_eq!(
        (file("k3s-token").as_str(), file("slicer-token").as_str()),
        ("joins", "creates")
    );
    assert_eq!(
        flag(objects.container("slicer-cloud-provider"), "--cloud-config"),
        ["/etc/slicer/cloud-config"]
    );
    let theirs = render(
        &helm,
        &json!({ "cloudConfig": { "existingSecret": "mine", "key": "ini" } }),
    );
    assert_eq!(
        flag(theirs.container("slicer-cloud-provider"), "--cloud-config"),
        ["/etc/slicer/ini"]
    );
}

#[test]
fn a_change_of_the_configuration_starts_no_pod_anew() {
    let Some(helm) = helm() else { return };
    let mut changed = least();
    merge(
        &mut changed,
        &json!({ "cloudConfig": { "content": format!("{CONTENT}max-size = 3\n"), "files": { "more": "x" } } }),
    );
    let (before, after) = (render(&helm, &least()), render(&helm, &changed));
    assert_ne!(before.of("Secret").next(), after.of("Secret").next());
    assert_eq!(before.pods(), after.pods());
}

#[test]
fn the_server_knows_every_flag_that_it_is_given() {
    let Some(helm) = helm() else { return };
    let help = Command::new(env!("CARGO_BIN_EXE_slicer-cloud-provider"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for values in combinations() {
        let objects = render(&helm, &values);
        let provider = objects.container("slicer-cloud-provider");
        for argument in list(&provider["args"]).iter().skip(1).map(text) {
            let flag = argument.split('=').next().unwrap();
            assert!(
                help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
                "{flag}"
            );
        }
    }
}

#[test]
fn flags_of_the_autoscaler_are_repeated_added_and_taken_away() {
    let Some(helm) = helm() else { return };
    let mut values = least();
    let flags = json!({ "v": null, "scan-interval": "20s", "max-nodes-total": 50, "expander": "price" });
    merge(&mut values, &json!({ "autoscaler": { "extraArgs": flags } }));
    let objects = render(&helm, &values);
    let autoscaler = objects.container("cluster-autoscaler");
    let given = |name: &str| flag(autoscaler, name);
    assert_eq!(
        given("--balancing-label"),
        ["node.kubernetes.io/instance-type", "kubernetes.io/arch"]
    );
    assert_eq!(
        (given("--scan-interval"), given("--max-nodes-total")),
        (vec!["20s"], vec!["50"])
    );
    assert_eq!((given("--v"), given("--expander")), (vec![], vec!["price"]));
    assert_eq!(given("--namespace"), [NAMESPACE]);
}

#[test]
fn in_the_namespace_of_events_nothing_is_there_twice() {
    let Some(helm) = helm() else { return };
    let objects = Objects(helm.render("default", &least()).unwrap());
    every_object_says_whose_it_is(&objects);
    assert_eq!(objects.of("Role").count(), 4);
}

#[test]
fn in_a_pod_of_both_there_is_one_account_with_the_rights_of_both() {
    let Some(helm) = helm() else { return };
    let objects = render(&helm, &least());
    assert_eq!(objects.names("ServiceAccount").len(), 1);
    let mut standalone = least();
    merge(
        &mut standalone,
        &json!({ "mode": "standalone", "tls": { "enabled": false } }),
    );
    let apart = render(&helm, &standalone);
    let rules = |objects: &Objects| -> Vec<Value> {
        ["ClusterRole", "Role"]
            .into_iter()
            .flat_map(|kind| objects.of(kind))
            .map(|role| role["rules"].clone())
            .collect()
    };
    assert_eq!(rules(&objects), rules(&apart));
    assert_eq!(apart.names("ServiceAccount").len(), 2);
}
