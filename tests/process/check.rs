//! `check` prints a line for each finding, and ends with 1 if one of them is a failure.

use crate::k3s::K3s;
use crate::program::{Ended, Folder, run};
use crate::support::*;

async fn check(config: &str) -> Ended {
    let folder = Folder::with_config(config);
    run(&["check", "--without-kubernetes", "--cloud-config", folder.config()]).await
}

fn global_of(k3s: &K3s) -> String {
    format!("[global]\nk3s-url = {}\nk3s-token = {}\n", k3s.url, k3s.token)
}

#[track_caller]
fn assert_lines(ended: &Ended, code: i32, wanted: &[(&str, &str)]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for (verdict, text) in wanted {
        let mut lines = ended.stdout.lines();
        let found = lines.any(|line| line.starts_with(verdict) && line.contains(text));
        assert!(found, "no {verdict:?} line with {text:?} in\n{}", ended.stdout);
    }
    let output = format!("{}{}", ended.stdout, ended.stderr);
    for secret in [SLICER_TOKEN, K3S_TOKEN, "right-password", "wrong-password"] {
        assert!(!output.contains(secret), "{output}");
    }
}

#[tokio::test]
async fn everything_right_ends_with_0() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    let ended = check(&(global_of(&k3s) + &nodegroup("agents", &host.running.url, ""))).await;
    let accepted = format!("{} is the cluster of k3s-token and accepts it", k3s.url);
    let wanted = [
        ("ok", "node groups: 1; VMs are tagged for cluster k3s-"),
        ("ok", "answers and has host group agents"),
        ("ok", "0 of the host group's 0 VMs are ours"),
        ("ok", accepted.as_str()),
        ("warn", "without Kubernetes, Nodes of removed VMs stay; set k3s-version"),
    ];
    assert_lines(&ended, 0, &wanted);
    assert!(!ended.stdout.contains("fail"), "{}", ended.stdout);
}

#[tokio::test]
async fn every_group_and_the_k3s_server_are_tried_whatever_is_wrong_with_the_others() {
    let host = host("agents").await;
    let url = &host.running.url;
    let wrong_token = format!("[nodegroup \"stranger\"]\nslicer-url = {url}\nslicer-token = mistaken\n");
    let config = global("")
        + &nodegroup("down", "http://127.0.0.1:1", "")
        + &nodegroup("missing", url, "")
        + &nodegroup("greedy", url, "host-group = agents\ncpus = 64\nram = 512Gi")
        + &wrong_token
        + &nodegroup("agents", url, "");
    let ended = check(&config).await;
    let wanted = [
        ("fail", "node group down: "),
        (
            "fail",
            "(unreachable); check slicer-url, slicer-token, and that the daemon runs",
        ),
        ("fail", "node group missing: "),
        ("fail", "has no host group \"missing\", only: agents; set host-group"),
        ("fail", "node group greedy: cpus = 64, but the host group allows 2"),
        ("fail", "node group greedy: ram is "),
        ("fail", "(unauthorized); check slicer-url, slicer-token"),
        ("ok", "node group agents: "),
        ("fail", "https://127.0.0.1:6443 does not answer"),
    ];
    assert_lines(&ended, 1, &wanted);
    assert!(!ended.stdout.contains("mistaken"), "{}", ended.stdout);
}

#[tokio::test]
async fn a_token_that_the_k3s_server_refuses_or_that_is_of_another_cluster_is_told_apart() {
    let (k3s, other, host) = (K3s::start().await, K3s::start().await, host("agents").await);
    let group = nodegroup("agents", &host.running.url, "");
    for (token, said) in [
        (&k3s.wrong_token, "refuses k3s-token (401)"),
        (&other.token, "is not the one that k3s-token names"),
    ] {
        let global = format!("[global]\nk3s-url = {}\nk3s-token = {token}\n", k3s.url);
        assert_lines(&check(&(global + &group)).await, 1, &[("fail", said)]);
    }
    let short = format!("[global]\nk3s-url = {}\nk3s-token = right-password\n", k3s.url);
    assert_lines(&check(&(short + &group)).await, 0, &[("warn", "the token names no CA")]);
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_2_before_anything_is_tried() {
    let ended = check("[global]\nk3s-url = https://127.0.0.1:1\n").await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("k3s-token: is missing"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn findings_come_as_json_lines_too_and_name_the_flags_that_go_with_the_configuration() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    let config = global_of(&k3s)
        + &nodegroup("agents", &host.running.url, "min-size = 1")
        + &nodegroup("missing", &host.running.url, "");
    let folder = Folder::with_config(&config);
    let arguments = ["check", "--without-kubernetes", "--output", "json", "--cloud-config"];
    let ended = run(&[&arguments[..], &[folder.config()]].concat()).await;
    assert_eq!(ended.code, Some(1));
    let findings: Vec<serde_json::Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let texts = |verdict: &str| -> Vec<&str> {
        let of = findings.iter().filter(|finding| finding["verdict"] == verdict);
        of.map(|finding| finding["text"].as_str().unwrap()).collect()
    };
    assert!(
        texts("fail").len() == 1 && texts("fail")[0].contains("no host group"),
        "{findings:?}"
    );
    let flags = texts("ok").pop().unwrap();
    assert!(flags.contains("--enforce-node-group-min-size"), "{flags}");
    assert!(flags.contains("--balance-similar-node-groups"), "{flags}");
    assert!(!flags.contains("--expander"), "{flags}");
}
