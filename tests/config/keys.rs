use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use slicer_cloud_provider::config::{Config, GroupConfig, keys};
use slicer_cloud_provider::domain::spec::{Endpoint, K3sVersion, Limits};
use slicer_cloud_provider::domain::vm::Architecture;
use slicer_cloud_provider::secret::SecretSource;

use super::{GLOBAL, GROUP, errors, parse, with_global, with_group};

fn group(lines: &str) -> GroupConfig {
    with_group(lines).unwrap().groups.remove(0)
}

/// The message about line 7, the line of the group that the test added.
#[track_caller]
fn group_error(line: &str) -> String {
    let errors = errors(with_group(line));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let message = errors[0].strip_prefix("cloud-config:7: [nodegroup \"a\"] ");
    message.unwrap_or_else(|| panic!("{errors:?}")).to_owned()
}

/// The message about line 4, the line of `[global]` that the test added.
#[track_caller]
fn global_error(line: &str) -> String {
    let errors = errors(with_global(line));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let message = errors[0].strip_prefix("cloud-config:4: [global] ");
    message.unwrap_or_else(|| panic!("{errors:?}")).to_owned()
}

#[test]
fn the_least_file_gets_the_documented_defaults() {
    let Config { global, groups } = parse(&format!("{GLOBAL}{GROUP}")).unwrap();
    assert_eq!(global.join.k3s_url, "https://192.168.137.2:6443");
    assert_eq!(global.join.version, K3sVersion::Server);
    assert_eq!(global.join.channel, "stable");
    assert_eq!(global.join.install_url, "https://get.k3s.io");
    assert_eq!(global.join.artifact_url, None);
    assert_eq!(global.k3s_token, SecretSource::value(SecretString::from("join")));
    assert_eq!(global.ca_bundle, None);
    assert!(global.cluster.as_str().starts_with("k3s-"));
    let group = &groups[0];
    assert_eq!(group.endpoint, Endpoint::Url("http://192.168.138.1:8081".to_owned()));
    assert_eq!(group.slicer_token, Some(SecretSource::value(SecretString::from("api"))));
    assert_eq!(group.create_concurrency.get(), 8);
    assert_eq!(group.spec.id.as_str(), "a");
    assert_eq!(group.spec.host_group, "a");
    assert_eq!(group.spec.limits, Limits { min: 1, max: 8 });
    assert_eq!(group.spec.ephemeral_storage, 25_000_000_000);
    assert_eq!(group.spec.memory_reserve, None);
    assert!(group.spec.labels.is_empty() && group.spec.taints.is_empty() && group.spec.kubelet_args.is_empty());
    assert!(group.spec.overrides.is_empty());
}

#[test]
fn every_key_of_global_arrives() {
    let config = with_global(
        "cluster-name=prod\nk3s-version=v1.33.6+k3s1\nk3s-channel=v1.33\nk3s-install-url=/opt/k3s/install.sh\n\
         k3s-artifact-url=http://mirror/k3s/\ndefault-min-size=0\ndefault-max-size=3",
    )
    .unwrap();
    assert_eq!(config.global.cluster.as_str(), "prod");
    assert_eq!(config.global.join.version, K3sVersion::Exact("v1.33.6+k3s1".to_owned()));
    assert_eq!(config.global.join.channel, "v1.33");
    assert_eq!(config.global.join.install_url, "/opt/k3s/install.sh");
    assert_eq!(config.global.join.artifact_url.as_deref(), Some("http://mirror/k3s"));
    assert_eq!(config.groups[0].spec.limits, Limits { min: 0, max: 3 });
}

#[test]
fn every_key_of_a_group_arrives() {
    let group = group(
        "host-group=w\nmin-size=2\nmax-size=5\narch=aarch64\ncpus=4\nram=4Gi\nnode-label=disk=ssd\nnode-label=b=\n\
         node-taint=dedicated=batch:NoSchedule\nnode-taint=gpu:NoExecute\nkubelet-arg=max-pods=50\nkubelet-arg=v=2\n\
         zone=z\nregion=r\nmemory-reserve=256Mi\nephemeral-storage=50G\ngpu-type=a100\ngpu-count=2\n\
         price-per-hour=0.25\ncreate-concurrency=3\nscale-down-utilization-threshold=0.5\n\
         scale-down-gpu-utilization-threshold=0.75\nscale-down-unneeded-time=90s\nscale-down-unready-time=1h30m\n\
         max-node-provision-time=1.5h\nignore-daemonsets-utilization=true",
    );
    assert_eq!(group.create_concurrency.get(), 3);
    let spec = group.spec;
    assert_eq!(spec.host_group, "w");
    assert_eq!(spec.limits, Limits { min: 2, max: 5 });
    assert_eq!(spec.arch, Some(Architecture::Arm64));
    assert_eq!(spec.cpus, Some(4));
    assert_eq!(spec.ram_bytes, Some(4 << 30));
    let labels: Vec<_> = spec.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(labels, [("b", ""), ("disk", "ssd")]);
    let taints: Vec<_> = spec.taints.iter().map(ToString::to_string).collect();
    assert_eq!(taints, ["dedicated=batch:NoSchedule", "gpu:NoExecute"]);
    assert_eq!(spec.kubelet_args, ["max-pods=50", "v=2"]);
    assert_eq!((spec.zone.as_deref(), spec.region.as_deref()), (Some("z"), Some("r")));
    assert_eq!(spec.memory_reserve, Some(256 << 20));
    assert_eq!(spec.ephemeral_storage, 50_000_000_000);
    assert_eq!((spec.gpu_type.as_deref(), spec.gpu_count), (Some("a100"), Some(2)));
    assert_eq!(spec.price_per_hour, Some(0.25));
    let overrides = spec.overrides;
    assert_eq!(overrides.scale_down_utilization_threshold, Some(0.5));
    assert_eq!(overrides.scale_down_gpu_utilization_threshold, Some(0.75));
    assert_eq!(overrides.scale_down_unneeded_time, Some(Duration::from_secs(90)));
    assert_eq!(overrides.scale_down_unready_time, Some(Duration::from_secs(5400)));
    assert_eq!(overrides.max_node_provision_time, Some(Duration::from_secs(5400)));
    assert_eq!(overrides.ignore_daemonsets_utilization, Some(true));
}

#[test]
fn wrong_values_in_a_group_are_refused_with_what_is_expected() {
    for (line, message) in [
        ("min-size=-1", "min-size: \"-1\" is out of range; expected 0 to 10000"),
        (
            "max-size=x",
            "max-size: \"x\" is not a whole number; expected 1 to 10000",
        ),
        ("max-size=0", "max-size: \"0\" is out of range; expected 1 to 10000"),
        (
            "max-size=10001",
            "max-size: \"10001\" is out of range; expected 1 to 10000",
        ),
        ("cpus=0", "cpus: \"0\" is out of range; expected 1 to 1024"),
        ("cpus=1025", "cpus: \"1025\" is out of range; expected 1 to 1024"),
        ("gpu-count=65", "gpu-count: \"65\" is out of range; expected 0 to 64"),
        (
            "create-concurrency=0",
            "create-concurrency: \"0\" is out of range; expected 1 to 256",
        ),
        (
            "ram=4GB",
            "ram: \"4GB\" is not a size; expected a Kubernetes quantity such as 4Gi, 25G or 500m",
        ),
        (
            "ram=127Mi",
            "ram: \"127Mi\" is too small; expected at least 134217728 bytes",
        ),
        (
            "ephemeral-storage=0",
            "ephemeral-storage: \"0\" is too small; expected at least 1 bytes",
        ),
        (
            "price-per-hour=0",
            "price-per-hour: \"0\" is not a price; expected a number above 0, such as 0.12",
        ),
        (
            "arch=riscv",
            "arch: \"riscv\" is not valid; expected x86_64, amd64, aarch64 or arm64",
        ),
        (
            "ignore-daemonsets-utilization=yes",
            "ignore-daemonsets-utilization: \"yes\" is neither; expected true or false",
        ),
    ] {
        assert_eq!(group_error(line), message);
    }
    for line in [
        "host-group=a b",
        "zone=-a",
        "region=a/b",
        "gpu-type=a:b",
        "price-per-hour=inf",
        "price-per-hour=NaN",
        "scale-down-utilization-threshold=1.1",
        "scale-down-gpu-utilization-threshold=nan",
        "scale-down-unneeded-time=10",
        "scale-down-unready-time=0s",
        "max-node-provision-time=-1m",
        "memory-reserve=x",
        "node-label=a",
        "node-label=node-role.kubernetes.io/worker=",
        "node-taint=a=b:Never",
        "node-taint=node.kubernetes.io/not-ready:NoExecute",
        "kubelet-arg=--v=2",
        "kubelet-arg=provider-id=x",
    ] {
        let key = line.split('=').next().unwrap();
        assert!(group_error(line).starts_with(&format!("{key}: ")), "{line}");
    }
}

#[test]
fn wrong_values_in_global_are_refused() {
    for (line, message) in [
        (
            "default-min-size=-1",
            "default-min-size: \"-1\" is out of range; expected 0 to 10000",
        ),
        (
            "default-max-size=0",
            "default-max-size: \"0\" is out of range; expected 1 to 10000",
        ),
        (
            "k3s-channel=Stable",
            "k3s-channel: \"Stable\" is not a channel of K3s; expected stable, latest or one such as v1.33",
        ),
    ] {
        assert_eq!(global_error(line), message);
    }
    for line in [
        "cluster-name=a b",
        "k3s-version=1.33",
        "k3s-install-url=install.sh",
        "k3s-artifact-url=http://u:p@h",
        "ca-bundle=/nonexistent/ca.pem",
    ] {
        let key = line.split('=').next().unwrap();
        assert!(global_error(line).starts_with(&format!("{key}: ")), "{line}");
    }
}

#[test]
fn every_key_is_refused_when_it_is_empty() {
    let of = |section: &keys::SectionKind| section.keys.iter().map(|key| key.name).collect::<Vec<_>>();
    for key in of(&keys::GLOBAL)
        .into_iter()
        .filter(|key| !["k3s-url", "k3s-token"].contains(key))
    {
        for value in ["", "\"\""] {
            assert!(global_error(&format!("{key}={value}")).starts_with(&format!("{key}: is empty; expected")));
        }
    }
    for key in of(&keys::NODE_GROUP)
        .into_iter()
        .filter(|key| !["slicer-url", "slicer-token"].contains(key))
    {
        assert!(group_error(&format!("{key}=")).starts_with(&format!("{key}: is empty; expected")));
    }
}

#[test]
fn every_key_is_refused_when_its_value_holds_a_control_character() {
    for key in keys::NODE_GROUP
        .keys
        .iter()
        .filter(|key| !["slicer-url", "slicer-token"].contains(&key.name))
    {
        let message = group_error(&format!("{}=\"a\tb\"", key.name));
        assert_eq!(
            message,
            format!("{}: holds a control character, such as a tab; remove it", key.name)
        );
    }
}

#[test]
fn every_key_but_the_repeatable_ones_is_refused_when_it_is_given_twice() {
    for key in keys::NODE_GROUP
        .keys
        .iter()
        .filter(|key| !key.name.starts_with("slicer"))
    {
        // No value fits all keys; what counts is whether the repetition itself is a problem.
        let errors = errors(with_group(&format!("{0}=?\n{0}=?", key.name)));
        let repeated = "is given again, first in line 7; keep one of the two";
        let expected = format!("cloud-config:8: [nodegroup \"a\"] {}: {repeated}", key.name);
        assert_eq!(errors.contains(&expected), !key.repeatable, "{errors:?}");
    }
}

#[test]
fn the_same_label_or_taint_twice_is_refused_with_both_lines() {
    assert_eq!(
        errors(with_group("node-label=a=b\nnode-label=c=d\nnode-label=a=c")),
        ["cloud-config:9: [nodegroup \"a\"] node-label: \"a\" is set already, in line 7; keep one of the two"]
    );
    assert_eq!(
        errors(with_group(
            "node-taint=a=b:NoSchedule\nnode-taint=a=c:NoExecute\nnode-taint=a:NoSchedule"
        )),
        [
            "cloud-config:9: [nodegroup \"a\"] node-taint: \"a:NoSchedule\" is set already, in line 7; keep one of the two"
        ]
    );
}

#[test]
fn zone_and_its_label_cannot_be_set_both() {
    assert!(with_group("node-label=topology.kubernetes.io/zone=z\nregion=r").is_ok());
    assert!(with_group("node-label=topology.kubernetes.io/region=r\nzone=z").is_ok());
    assert!(with_group("node-label=topology.kubernetes.io/zone=z\nzone=z").is_err());
    assert!(with_group("node-label=topology.kubernetes.io/region=r\nregion=r").is_err());
}

#[test]
fn a_reserve_has_to_leave_memory_for_pods() {
    assert!(with_group("ram=1Gi\nmemory-reserve=1023Mi").is_ok());
    let expected = "memory-reserve: is not less than ram in line 8; nothing would be left for pods";
    assert_eq!(group_error("memory-reserve=1Gi\nram=1Gi"), expected);
}

#[test]
fn a_minimum_above_the_maximum_is_refused_with_where_the_other_one_is() {
    for (line, message) in [
        (
            "min-size=5\nmax-size=3",
            "min-size: 5 is more than max-size 3 in line 8; change one of the two",
        ),
        (
            "min-size=9",
            "min-size: 9 is more than default-max-size, which is 8 unless it is set; set max-size as well",
        ),
    ] {
        assert_eq!(group_error(line), message);
    }
    assert_eq!(
        errors(parse(&format!("{GLOBAL}default-max-size=4\n{GROUP}min-size=5\n"))),
        [
            "cloud-config:8: [nodegroup \"a\"] min-size: 5 is more than default-max-size 4 in line 4; set max-size as well"
        ]
    );
    assert_eq!(
        errors(parse(&format!("{GLOBAL}default-min-size=4\n{GROUP}max-size=3\n"))),
        [
            "cloud-config:8: [nodegroup \"a\"] max-size: 3 is less than default-min-size 4 in line 4; set min-size as well"
        ]
    );
}

#[test]
fn defaults_that_contradict_each_other_are_reported_once() {
    assert_eq!(
        global_error("default-min-size=9"),
        "default-min-size: 9 is more than default-max-size, which is 8 unless it is set; set default-max-size as well"
    );
    assert_eq!(
        global_error("default-min-size=4\ndefault-max-size=3"),
        "default-min-size: 4 is more than default-max-size 3 in line 5; change one of the two"
    );
}

#[test]
fn a_wrong_limit_is_not_compared_with_the_other() {
    assert_eq!(errors(with_group("min-size=9\nmax-size=x")).len(), 1);
    assert_eq!(errors(with_global("default-max-size=x\ndefault-min-size=9")).len(), 1);
}

#[test]
fn only_a_unix_socket_does_without_a_token() {
    let group = "[nodegroup \"a\"]\nslicer-url=";
    let on_socket = parse(&format!("{GLOBAL}{group}/run/slicer.sock\n")).unwrap();
    assert_eq!(on_socket.groups[0].endpoint, Endpoint::Unix("/run/slicer.sock".into()));
    assert_eq!(on_socket.groups[0].slicer_token, None);
    assert_eq!(
        errors(parse(&format!("{GLOBAL}{group}http://h\n"))),
        ["cloud-config:4: [nodegroup \"a\"] slicer-token: is missing; add slicer-token or slicer-token-file"]
    );
}

#[test]
fn a_socket_below_the_home_folder_is_found() {
    let text = format!("{GLOBAL}[nodegroup \"a\"]\nslicer-url=~/slicer.sock\n");
    match std::env::var_os("HOME") {
        Some(home) => {
            let expected = Endpoint::Unix(PathBuf::from(home).join("slicer.sock"));
            assert_eq!(parse(&text).unwrap().groups[0].endpoint, expected);
        }
        None => assert!(errors(parse(&text))[0].contains("HOME is not set")),
    }
}

#[test]
fn a_token_and_a_token_file_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let file = file.display();
    assert_eq!(
        global_error(&format!("k3s-token-file={file}")),
        "k3s-token-file: stands beside k3s-token (line 3); keep one of the two"
    );
    let config = parse(&format!(
        "[global]\nk3s-url=https://h\nk3s-token-file=\"{file}\"\n{GROUP}"
    ))
    .unwrap();
    assert_eq!(config.global.k3s_token.current().expose_secret(), "from-file");
}

#[test]
fn paths_start_at_the_folder_of_the_configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("join"), "join-token").unwrap();
    std::fs::write(dir.path().join("api"), "api-token\n").unwrap();
    let path = dir.path().join("cloud-config");
    let text = "[global]\nk3s-url=https://h\nk3s-token-file=join\n\
                [nodegroup \"a\"]\nslicer-url=http://h\nslicer-token-file=./api\n";
    std::fs::write(&path, text).unwrap();
    let config = slicer_cloud_provider::config::load(&path).unwrap();
    assert_eq!(config.global.k3s_token.current().expose_secret(), "join-token");
    let slicer = config.groups[0].slicer_token.as_ref().unwrap();
    assert_eq!(slicer.current().expose_secret(), "api-token");
}

#[test]
fn a_token_file_that_cannot_be_used_is_refused_without_its_content_or_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    for (content, part) in [
        ("", "empty"),
        ("hunter2\nhunter3", "several lines"),
        ("K10hunter2", "whose content begins with K10 but is not"),
        ("hunter2 hunter3", "is not a token"),
    ] {
        std::fs::write(&file, content).unwrap();
        let text = format!(
            "[global]\nk3s-url=https://h\nk3s-token-file={}\n{GROUP}",
            file.display()
        );
        let errors = errors(parse(&text));
        assert!(errors[0].contains(part) && !errors[0].contains("hunter"), "{errors:?}");
    }
    let pasted = errors(parse(&format!(
        "[global]\nk3s-url=https://h\nk3s-token-file=hunter2\n{GROUP}"
    )));
    assert!(
        pasted[0].contains("cannot be read") && !pasted[0].contains("hunter2"),
        "{pasted:?}"
    );
}

#[test]
fn a_ca_bundle_is_read_and_must_hold_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let line = format!("ca-bundle={}", file.display());
    let certificate = rcgen::generate_simple_self_signed(vec!["slicer".to_owned()])
        .unwrap()
        .cert
        .pem();
    std::fs::write(&file, format!("# our CA\n{certificate}{certificate}")).unwrap();
    let bundle = with_global(&line).unwrap().global.ca_bundle.unwrap();
    assert!(String::from_utf8(bundle).unwrap().contains("BEGIN CERTIFICATE"));
    for (content, part) in [
        ("", "holds no certificate"),
        ("not PEM", "holds no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "number 1",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n",
            "is not PEM",
        ),
    ] {
        std::fs::write(&file, content).unwrap();
        let message = global_error(&line);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_derived_cluster_name_ignores_how_the_url_is_written() {
    let name = |url: &str| {
        let text = format!("[global]\nk3s-url={url}\nk3s-token=t\n{GROUP}");
        parse(&text).unwrap().global.cluster
    };
    assert_eq!(
        name("https://k3s.example.com:6443"),
        name("https://K3S.example.com:6443/")
    );
    assert_ne!(
        name("https://k3s.example.com:6443"),
        name("https://k3s.example.com:6444")
    );
}
