//! Each thing broken in turn between `check` and the Kubernetes API, each right missing, and versions that do not fit.

use std::time::Duration;

use super::{assert_lines, assert_nothing_secret, assert_one_failure, check_in, global_of, lines};
use crate::fake_api::{self, FakeApi, Fault, TOKEN};
use crate::k3s::K3s;
use crate::program::{Ended, Folder, Program};
use crate::strangers::web_server;
use crate::support::*;

/// Writes a kubeconfig of this API server into the folder, and returns its path.
pub(crate) fn kubeconfig(folder: &Folder, server: &str) -> String {
    let path = folder.path("kubeconfig");
    std::fs::write(&path, fake_api::kubeconfig(server, "")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Writes a kubeconfig whose credentials come from this command into the folder, and returns its path.
pub(crate) fn kubeconfig_with_plugin(folder: &Folder, command: &str, argument: &str) -> String {
    let path = kubeconfig(folder, "https://127.0.0.1:1");
    let plugin = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: {command}, args: \
         [\"{argument}\"]}}"
    );
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&format!("token: {TOKEN}"), &plugin)).unwrap();
    path
}

/// A configuration of which all is right but, perhaps, Kubernetes.
struct Stage {
    folder: Folder,
    _host: Host,
}

impl Stage {
    async fn set(further: &str) -> Self {
        let (k3s, host) = (K3s::start().await, host("agents").await);
        let config = global_of(&k3s) + further + "\n" + &nodegroup("agents", &host.running.url, "");
        Self {
            folder: Folder::with_config(&config),
            _host: host,
        }
    }

    async fn check(&self, server: &str) -> Ended {
        self.check_with(server, &[]).await
    }

    /// With these variables in its environment.
    async fn check_with(&self, server: &str, environment: &[(&str, &str)]) -> Ended {
        let kubeconfig = kubeconfig(&self.folder, server);
        let config = self.folder.config();
        let arguments = ["check", "--cloud-config", config, "--kubeconfig", &kubeconfig];
        Program::start(&arguments, environment).end().await
    }
}

#[tokio::test]
async fn an_api_that_grants_everything_is_well() {
    let (stage, api) = (Stage::set("").await, FakeApi::started());
    let wanted = [
        ("ok", "answers and grants what is needed"),
        ("ok", "k3s-version: agents get the version of the server, v1.33.6+k3s1"),
    ];
    let ended = stage.check(&api.url()).await;
    assert_lines(&ended, 0, &wanted);
    assert!(lines(&ended, "warn").is_empty(), "{}", ended.stdout);
}

#[tokio::test]
async fn an_api_without_tls_needs_no_certificate_that_the_system_trusts() {
    let (stage, api) = (Stage::set("").await, FakeApi::started());
    let bare_image = [
        ("SSL_CERT_FILE", "/nonexistent/roots.pem"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let ended = stage.check_with(&api.url(), &bare_image).await;
    assert_lines(&ended, 0, &[("ok", "answers and grants what is needed")]);
}

#[tokio::test]
async fn each_way_not_to_reach_the_api_is_one_failing_line_that_says_what_to_do() {
    let stage = Stage::set("").await;
    let (page, refusing) = (web_server(200).await, FakeApi::started());
    refusing.fail("POST", Fault::Refuse(401, "Unauthorized"));
    let stranger = K3s::start().await;
    for (server, said) in [
        ("https://127.0.0.1:1", "Connection refused"),
        ("https://nowhere.invalid:6443", "lookup address"),
        (stranger.url.as_str(), "UnknownIssuer"),
        (&format!("http://{page}"), "cannot ask whether this account may"),
        (&refusing.url(), "the API server answered 401"),
    ] {
        let ended = stage.check(server).await;
        assert_one_failure(
            &ended,
            [
                "kubernetes",
                said,
                "the kubeconfig leads to the API server of the K3s cluster",
            ],
        );
        assert!(ended.stdout.contains(server), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_or_cannot_be_used_is_one_failing_line_that_names_it() {
    let stage = Stage::set("").await;
    let broken = stage.folder.path("broken").to_str().unwrap().to_owned();
    std::fs::write(&broken, format!("users:\n- name: u\n  user: {TOKEN}\n")).unwrap();
    for (flags, said, remedy) in [
        (
            &[][..],
            "nothing says where the Kubernetes API is",
            "run check in the pod",
        ),
        (
            &["--kubeconfig", "/nowhere/k"],
            "/nowhere/k",
            "/etc/rancher/k3s/k3s.yaml",
        ),
        (
            &["--kubeconfig", &broken],
            "it is no valid kubeconfig: line 3",
            "/etc/rancher/k3s/k3s.yaml",
        ),
    ] {
        assert_one_failure(&check_in(&stage.folder, flags).await, ["kubernetes", said, remedy]);
    }
}

#[tokio::test]
async fn credentials_that_never_come_hold_neither_the_other_findings_nor_the_end() {
    let stage = Stage::set("").await;
    let plugin = kubeconfig_with_plugin(&stage.folder, "/bin/sleep", "60");
    stage.folder.make_pipe("pipe");
    let pipe = stage.folder.path("pipe").to_str().unwrap().to_owned();
    for (path, said) in [
        (&plugin, "the credential plugin \"/bin/sleep\" of the kubeconfig "),
        (&pipe, "reading the kubeconfig "),
    ] {
        let ended = check_in(&stage.folder, &["--kubeconfig", path]).await;
        let said = format!("{said}{path} does not end within 10 s");
        assert_one_failure(&ended, ["kubernetes", &said, "the command of its `exec`"]);
        let wanted = [("ok", "node group agents: "), ("ok", "is the cluster of k3s-token")];
        assert_lines(&ended, 1, &wanted);
        assert!(ended.took < Duration::from_secs(13), "{:?}", ended.took);
    }
}

#[tokio::test]
async fn each_missing_right_is_one_failing_line_with_the_rule_that_grants_it() {
    let stage = Stage::set("").await;
    for (right, rule) in [
        (
            "list nodes",
            "{apiGroups: [\"\"], resources: [nodes], verbs: [list]} in a ClusterRole",
        ),
        ("watch nodes", "verbs: [watch]} in a ClusterRole"),
        ("delete nodes", "verbs: [delete]} in a ClusterRole"),
        (
            "delete secrets in kube-system",
            "resources: [secrets], verbs: [delete]} in a Role in namespace kube-system",
        ),
        (
            "get leases in kube-node-lease",
            "{apiGroups: [\"coordination.k8s.io\"], resources: [leases], verbs: [get]}",
        ),
        (
            "create events in default",
            "{apiGroups: [\"events.k8s.io\"], resources: [events], verbs: [create]}",
        ),
    ] {
        let api = FakeApi::started();
        api.deny(right);
        let ended = stage.check(&api.url()).await;
        assert_one_failure(&ended, ["kubernetes", &format!("this account may not {right}: "), rule]);
    }
}

#[tokio::test]
async fn a_pod_needs_its_events_in_its_own_namespace_too() {
    let (stage, api) = (Stage::set("").await, FakeApi::started());
    api.deny("create events in autoscaling");
    let pod = [("POD_NAME", "autoscaler-0"), ("POD_NAMESPACE", "autoscaling")];
    let ended = stage.check_with(&api.url(), &pod).await;
    let parts = [
        "kubernetes",
        "this account may not create events in autoscaling",
        "a Role in namespace autoscaling",
    ];
    assert_one_failure(&ended, parts);
    let elsewhere = stage.check(&api.url()).await;
    assert_eq!(elsewhere.code, Some(0), "{}", elsewhere.stdout);
}

#[tokio::test]
async fn a_version_of_agents_that_does_not_fit_the_servers_is_one_failing_line() {
    let api = FakeApi::started();
    for (agents, said) in [
        ("v1.34.0+k3s1", "v1.34.0+k3s1 is newer than the server's v1.33.6+k3s1"),
        (
            "v1.29.9+k3s1",
            "v1.29.9+k3s1 is more than 3 minor versions older than the server's",
        ),
    ] {
        let stage = Stage::set(&format!("k3s-version = {agents}")).await;
        assert_one_failure(
            &stage.check(&api.url()).await,
            ["k3s-version", said, "remove k3s-version"],
        );
    }
    let fits = Stage::set("k3s-version = v1.32.1+k3s1").await;
    let wanted = [(
        "ok",
        "k3s-version: agents get v1.32.1+k3s1, the server has v1.33.6+k3s1",
    )];
    assert_lines(&fits.check(&api.url()).await, 0, &wanted);
    api.set_version("v1.33.1-eks-1");
    let ended = Stage::set("").await.check(&api.url()).await;
    assert_nothing_secret(&ended);
    assert_lines(
        &ended,
        0,
        &[(
            "warn",
            "v1.33.1-eks-1, which is none of K3s: agents install from k3s-channel stable",
        )],
    );
}
