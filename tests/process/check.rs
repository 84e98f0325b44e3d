//! `check` prints a line for each finding, and ends with 1 if one of them is a failure. Each thing is broken in turn:
//! there must be one line that says what, where and what to do, and nothing secret in it.

mod hosts; //      the Slicer hosts
pub(crate) mod kubernetes; // the Kubernetes API
mod servers; //    the K3s server

use std::time::Duration;

use serde_json::Value;

use crate::k3s::K3s;
use crate::program::{Ended, Folder, run};
use crate::strangers::silence;
use crate::support::*;

/// What agents and servers of the tests log in with; none of it may be shown.
const SECRETS: [&str; 6] = [
    SLICER_TOKEN,
    K3S_TOKEN,
    crate::fake_api::TOKEN,
    "right-password",
    "wrong-password",
    "0123456789abcdef",
];

async fn check(config: &str) -> Ended {
    check_in(&Folder::with_config(config), &["--without-kubernetes"]).await
}

async fn check_in(folder: &Folder, further: &[&str]) -> Ended {
    run(&[&["check", "--cloud-config", folder.config()], further].concat()).await
}

fn global_of(k3s: &K3s) -> String {
    global_with(&k3s.url, &k3s.token())
}

fn global_with(url: &str, token: &str) -> String {
    format!("[global]\nk3s-url = {url}\nk3s-token = {token}\ndefault-min-size = 0\n")
}

/// The lines with this verdict.
fn lines<'a>(ended: &'a Ended, verdict: &str) -> Vec<&'a str> {
    let lines = ended.stdout.lines();
    lines
        .filter(|line| line.starts_with(&format!("{verdict:<5} ")))
        .collect()
}

#[track_caller]
fn assert_nothing_secret(ended: &Ended) {
    let output = format!("{}{}", ended.stdout, ended.stderr);
    for secret in SECRETS {
        assert!(!output.contains(secret), "{output}");
    }
    assert_eq!(ended.stderr, "");
}

#[track_caller]
fn assert_lines(ended: &Ended, code: i32, wanted: &[(&str, &str)]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    for (verdict, text) in wanted {
        let found = lines(ended, verdict).iter().any(|line| line.contains(text));
        assert!(found, "no {verdict:?} line with {text:?} in\n{}", ended.stdout);
    }
    assert_nothing_secret(ended);
}

/// One thing is broken: one line says which, and what to do.
#[track_caller]
fn assert_one_failure(ended: &Ended, parts: [&str; 3]) {
    assert_eq!(ended.code, Some(1), "{parts:?}: {ended:?}");
    let failures = lines(ended, "fail");
    assert_eq!(failures.len(), 1, "{parts:?}: {}", ended.stdout);
    let line = failures[0];
    let [subject, text, remedy] = parts;
    assert!(line.starts_with(&format!("fail  {subject}: ")), "{subject}: {line}");
    assert!(line.contains(text), "{text}: {line}");
    let advice = line.rsplit_once(text).unwrap().1;
    assert!(advice.contains(remedy), "{remedy}: {line}");
    assert_nothing_secret(ended);
}

#[tokio::test]
async fn everything_right_ends_with_0() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    let ended = check(&(global_of(&k3s) + &nodegroup("agents", &host.running.url, ""))).await;
    let accepted = format!("k3s: {} is the cluster of k3s-token and accepts it", k3s.url);
    let wanted = [
        ("ok", "node groups: 1; VMs are tagged for cluster k3s-"),
        ("ok", "answers (Slicer 0.1.71) and has host group agents"),
        ("ok", "node group agents: a VM has 2 CPUs, 4 GiB of memory"),
        ("ok", "node group agents: architecture amd64, as the host says"),
        ("ok", "0 of the host group's 0 VMs are ours, max-size is 8"),
        ("ok", accepted.as_str()),
        ("warn", "kubernetes: without it Nodes of removed VMs stay"),
        ("warn", "k3s-version: the version of the server is not known"),
    ];
    assert_lines(&ended, 0, &wanted);
    assert!(lines(&ended, "fail").is_empty(), "{}", ended.stdout);
}

#[tokio::test]
async fn every_group_and_the_k3s_server_are_tried_whatever_is_wrong_with_the_others() {
    let host = host("agents").await;
    let url = &host.running.url;
    let config = global("")
        + &nodegroup("down", "http://127.0.0.1:1", "")
        + &nodegroup("missing", url, "")
        + &nodegroup("agents", url, "");
    let ended = check(&config).await;
    let wanted = [
        ("fail", "node group down: "),
        ("fail", "node group missing: "),
        ("ok", "node group agents: "),
        ("fail", "k3s: https://127.0.0.1:6443 does not answer"),
    ];
    assert_lines(&ended, 1, &wanted);
}

#[tokio::test]
async fn all_that_hangs_is_waited_for_at_once() {
    let silent = silence().await;
    let (k3s, host) = (format!("https://{silent}"), host("agents").await);
    let config = global_with(&k3s, K3S_TOKEN) + &nodegroup("agents", &host.running.url, "");
    let folder = Folder::with_config(&config);
    let kubeconfig = kubernetes::kubeconfig(&folder, &k3s);
    let ended = check_in(&folder, &["--kubeconfig", &kubeconfig]).await;
    let wanted = [
        ("fail", "k3s: "),
        ("fail", "no answer within 7 s"),
        ("fail", "kubernetes: "),
        ("fail", "deadline has elapsed"),
    ];
    assert_lines(&ended, 1, &wanted);
    // 7 s for K3s, and 5 s for Kubernetes meanwhile.
    assert!(ended.took < Duration::from_secs(11), "{:?}", ended.took);
}

#[tokio::test]
async fn each_thing_wrong_with_the_configuration_is_a_failing_line_and_ends_with_2_before_anything_is_tried() {
    const HOST: &str = "[nodegroup \"agents\"]\nslicer-url = http://127.0.0.1:1\n";
    let of_group = |line: &str| format!("{}{HOST}{line}\n", global(""));
    let of_global = |lines: &str| format!("[global]\nk3s-url = https://127.0.0.1:1\n{lines}\n{HOST}slicer-token = x\n");
    let unfinished = format!("k3s-token = K10{}::wrong-password", "0".repeat(64));
    let http = of_global("k3s-token = x").replace("https:", "http:");
    for (config, said) in [
        (
            of_group("slicer-token-file = nowhere"),
            "slicer-token-file: names a file that cannot be read (No such file",
        ),
        (
            of_group("slicer-token-file = /"),
            "slicer-token-file: names a file that cannot be read (not a regular file)",
        ),
        (
            of_group("slicer-token-file = /dev/null"),
            "slicer-token-file: names a file that cannot be read (not a regular file)",
        ),
        (
            of_global("k3s-token-file = nowhere"),
            "k3s-token-file: names a file that cannot be read",
        ),
        (
            of_global("k3s-token = x\nca-bundle = nowhere"),
            "ca-bundle: \"nowhere\" cannot be read",
        ),
        (
            of_global("k3s-token = x\nca-bundle = /dev/null"),
            "ca-bundle: \"/dev/null\" cannot be read (not a regular file)",
        ),
        (http, "k3s-url: is not https"),
        (of_global(""), "k3s-token: is missing; add k3s-token or k3s-token-file"),
        (
            of_global("k3s-token = K10abc::server:wrong-password"),
            "k3s-token: begins with K10 but is not K10<64 hex",
        ),
        (
            of_global(&unfinished),
            "k3s-token: begins with K10 but is not K10<64 hex",
        ),
        (
            of_global("k3s-token = x\nk3s-version = 1.33"),
            "k3s-version: \"1.33\" is not a version of K3s; expected",
        ),
    ] {
        let ended = check(&config).await;
        assert_lines(&ended, 2, &[("fail", "configuration: "), ("fail", said)]);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    }
}

/// Opening a pipe takes until somebody writes to it.
#[tokio::test]
async fn a_pipe_in_place_of_a_file_is_told_at_once() {
    let folder = Folder::with_config("");
    folder.make_pipe("pipe");
    let pipe = folder.path("pipe").to_str().unwrap().to_owned();
    let ended = run(&["check", "--cloud-config", &pipe]).await;
    let said = "pipe: cannot be read: not a regular file";
    assert_lines(&ended, 2, &[("fail", said)]);
    for (key, wrong) in [
        (
            "slicer-token-file",
            "names a file that cannot be read (not a regular file)",
        ),
        ("ca-bundle", "\"pipe\" cannot be read (not a regular file)"),
    ] {
        let group = "[nodegroup \"agents\"]\nslicer-url = http://127.0.0.1:1\n";
        folder.write_config(&match key {
            "ca-bundle" => global("ca-bundle = pipe") + group + "slicer-token = x\n",
            key => format!("{}{group}{key} = pipe\n", global("")),
        });
        let ended = check_in(&folder, &["--without-kubernetes"]).await;
        assert_lines(&ended, 2, &[("fail", &format!("{key}: {wrong}"))]);
    }
}

#[tokio::test]
async fn all_problems_of_a_configuration_are_findings_in_json_too() {
    let folder =
        Folder::with_config("[global]\nk3s-url = http://127.0.0.1:1\n[nodegroup \"agents\"]\nmax-size = many\n");
    let ended = check_in(&folder, &["--output", "json"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
    let findings = findings(&ended);
    assert_eq!(findings.len(), 4, "{findings:?}");
    for finding in &findings {
        assert_eq!(
            (&finding["verdict"], &finding["subject"]),
            (&"fail".into(), &"configuration".into())
        );
        assert!(
            finding["text"].as_str().unwrap().starts_with(folder.config()),
            "{finding}"
        );
    }
    let missing = run(&["check", "--cloud-config", "/nowhere/cloud-config"]).await;
    assert_lines(
        &missing,
        2,
        &[(
            "fail",
            "configuration: /nowhere/cloud-config: cannot be read: No such file",
        )],
    );
}

#[tokio::test]
async fn findings_come_as_json_lines_too_with_their_subject_and_what_to_do() {
    let (k3s, host) = (K3s::start().await, host("agents").await);
    let config =
        global_of(&k3s) + &nodegroup("agents", &host.running.url, "") + &nodegroup("missing", &host.running.url, "");
    let folder = Folder::with_config(&config);
    let ended = check_in(&folder, &["--without-kubernetes", "--output", "json"]).await;
    assert_eq!(ended.code, Some(1));
    let findings = findings(&ended);
    let failures: Vec<&Value> = findings.iter().filter(|finding| finding["verdict"] == "fail").collect();
    assert_eq!(failures.len(), 1, "{findings:?}");
    assert_eq!(failures[0]["subject"], "node group missing");
    assert!(
        failures[0]["text"]
            .as_str()
            .unwrap()
            .ends_with("has no host group \"missing\", only: agents")
    );
    assert!(failures[0]["remedy"].as_str().unwrap().starts_with("set host-group"));
    for finding in findings.iter().filter(|finding| finding["verdict"] == "ok") {
        assert!(
            finding["text"].is_string() && finding["subject"].is_string(),
            "{finding}"
        );
        assert_eq!(finding.get("remedy"), None, "{finding}");
    }
}

fn findings(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn the_flags_of_the_cluster_autoscaler_that_go_with_the_configuration_are_named_and_no_others() {
    let url = "http://127.0.0.1:1";
    let (one, two) = (
        nodegroup("a", url, ""),
        nodegroup("b", url, "min-size = 1\nprice-per-hour = 2"),
    );
    let always = ["--cloud-provider=externalgrpc", "--cloud-config=FILE"];
    let further = [
        "--enforce-node-group-min-size",
        "--expander=price",
        "--balance-similar-node-groups",
    ];
    for (groups, also) in [
        (one.clone(), &further[..0]),
        (two.clone(), &further[..2]),
        (one + &two, &further[..]),
    ] {
        let ended = check(&(global("") + &groups)).await;
        let named: Vec<&str> = lines(&ended, "ok")
            .iter()
            .filter_map(|line| {
                line.strip_prefix("ok    cluster-autoscaler: ")?
                    .split([':', ' '])
                    .next()
            })
            .collect();
        assert_eq!(named, [&always[..], also].concat(), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn the_help_tells_the_exit_codes() {
    let help = run(&["check", "--help"]).await;
    for line in [
        "Exit codes:",
        "  0  no finding is `fail`",
        "  1  at least one",
        "  2  the command line or the configuration",
    ] {
        assert!(help.stdout.contains(line), "{line}: {}", help.stdout);
    }
}
