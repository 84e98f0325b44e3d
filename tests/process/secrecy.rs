//! No token in anything that the program says: not in its log, its pages, its answers, its errors. Whatever hosts,
//! guests and users do to put one there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::ExposeSecret as _;
use serde_json::json;
use slicer_cloud_provider::grpc::pb;
use slicer_cloud_provider::simulator::{
    Fault, FaultKind, GuestAgent, GuestVm, RouteClass, RunningSimulator, SimulatedGroup, Simulator, SimulatorConfig,
    Timing, UserdataOutcome,
};

use crate::authority::Authority;
use crate::check::kubernetes::kubeconfig;
use crate::fake_api::{self, FakeApi, TOKEN};
use crate::k3s::K3s;
use crate::program::{Folder, Serving, run};
use crate::support::{Client, delete, error_of, eventually, ids, increase, instances, wait_for_group};

const SLICER: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a0-slicer";
const K3S: &str =
    "K10aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999::server:0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const NEXT_K3S: &str =
    "K10aaaabbbbccccddddeeeeffff0000111122223333444455556666777788889999::server:77aa88bb99cc00dd11ee22ff33445566";
/// What a host or guest says that shows what it was told. Its first words tell that it was heard.
const HEARD: &str = "you told me";

/// What must not be found anywhere.
fn needles() -> Vec<String> {
    let password = |token: &str| token.rsplit(':').next().unwrap().to_owned();
    let mut needles: Vec<String> = [SLICER, K3S, NEXT_K3S].map(str::to_owned).into();
    needles.extend([password(K3S), password(NEXT_K3S)]);
    let encoded: Vec<String> = needles.iter().map(|needle| STANDARD_NO_PAD.encode(needle)).collect();
    needles.extend(encoded);
    needles
}

#[track_caller]
fn assert_secret(what: &str, text: &str) {
    for needle in needles() {
        if let Some(found) = text.find(&needle) {
            let line = text[..found].rfind('\n').map_or(0, |newline| newline + 1);
            panic!("{what} shows {needle}:\n{}", text[line..].lines().next().unwrap());
        }
    }
}

/// Everything that a host can give away of a request.
fn echo(secret: &str) -> String {
    let encoded = STANDARD_NO_PAD.encode(secret);
    format!("{HEARD}: Authorization: Bearer {secret} and {{\"data\":\"{encoded}==\"}}")
}

fn status(code: u16, secret: &str) -> FaultKind {
    let text = echo(secret);
    FaultKind::Status { code, text }
}

/// A guest that tells everything on its console, and fails.
#[derive(Debug)]
struct Gossip {
    says: &'static str,
}

#[async_trait]
impl GuestAgent for Gossip {
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome {
        vm.console.write_line(&echo(self.says));
        UserdataOutcome { exit_code: Some(3) }
    }
}

/// A guest that joins.
#[derive(Debug)]
struct Silence;

#[async_trait]
impl GuestAgent for Silence {
    async fn boot(&self, _vm: &GuestVm) -> UserdataOutcome {
        UserdataOutcome::SUCCESS
    }
}

struct Host {
    group: &'static str,
    simulator: Simulator,
    running: RunningSimulator,
}

async fn host(group: &'static str, agent: Arc<dyn GuestAgent>, faults: Vec<Fault>) -> Host {
    let config = SimulatorConfig {
        token: Some(SLICER.into()),
        groups: vec![SimulatedGroup::new(group, 2, 4 << 30)],
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::new(config, agent);
    for fault in faults {
        simulator.switch_on(fault).unwrap();
    }
    let running = simulator.spawn_on_loopback().await.unwrap();
    Host {
        group,
        simulator,
        running,
    }
}

/// Hosts on which a launch fails, each for another reason.
async fn failing_hosts() -> Vec<Host> {
    let create = |kind| vec![Fault::every(RouteClass::Create, kind)];
    let mut hosts = Vec::new();
    for (group, code) in [
        ("refusing", 400),
        ("suspicious", 401),
        ("forbidding", 403),
        ("losing", 404),
        ("full", 507),
    ] {
        hosts.push(host(group, Arc::new(Silence), create(status(code, SLICER))).await);
    }
    hosts.push(host("broken", Arc::new(Silence), create(status(500, SLICER))).await);
    // The first look at the secrets passes, so that the POST is hit, which carries the join token.
    let secrets = vec![
        Fault::next(1, RouteClass::Secrets, FaultKind::DelayAfter { ms: 0 }),
        Fault::every(RouteClass::Secrets, status(400, K3S)),
    ];
    hosts.push(host("forgetful", Arc::new(Silence), secrets).await);
    hosts.push(host("gossiping", Arc::new(Gossip { says: SLICER }), Vec::new()).await);
    hosts
}

/// Hosts on which a launch succeeds in the end, each after another mishap.
async fn recovering_hosts() -> Vec<Host> {
    let mut hosts = Vec::new();
    for (group, kind) in [
        ("before", FaultKind::CloseBefore),
        ("after", FaultKind::CloseAfter),
        ("nonsense", FaultKind::Nonsense),
        ("cut", FaultKind::CutOff),
        ("huge", FaultKind::Huge { bytes: 2 << 20 }),
        ("slow", FaultKind::DelayBefore { ms: 100 }),
        ("busy", status(429, SLICER)),
        ("hanging", FaultKind::Hang),
    ] {
        let faults = vec![Fault::next(1, RouteClass::Create, kind)];
        hosts.push(host(group, Arc::new(Silence), faults).await);
    }
    for (group, kind) in [
        ("clinging", status(500, SLICER)),
        ("muttering", FaultKind::ErrorInBody { text: echo(SLICER) }),
    ] {
        let faults = vec![
            Fault::next(1, RouteClass::Health, status(500, SLICER)),
            Fault::next(1, RouteClass::Delete, kind),
        ];
        hosts.push(host(group, Arc::new(Silence), faults).await);
    }
    hosts
}

fn config(hosts: &[Host]) -> String {
    let group = |host: &Host| {
        let (group, url) = (host.group, &host.running.url);
        format!("[nodegroup \"{group}\"]\nslicer-url = {url}\nslicer-token = {SLICER}\n")
    };
    let groups: String = hosts.iter().map(group).collect();
    // The two kinds of secret files, beside tokens in the configuration itself.
    let of_file = groups.replacen(
        &format!("slicer-token = {SLICER}"),
        "slicer-token-file = slicer-token",
        1,
    );
    format!("[global]\nk3s-url = https://127.0.0.1:6443\nk3s-token-file = k3s-token\ndefault-min-size = 0\n{of_file}")
}

/// Everything that can be asked of the server at the moment.
async fn everything(serving: &Serving, client: &mut Client, hosts: &[Host]) -> String {
    let mut text = String::new();
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/state"] {
        text += &serving.page(path).await.text;
    }
    text += &format!("{:?}", client.node_groups(pb::NodeGroupsRequest {}).await);
    for host in hosts {
        let id = || host.group.to_owned();
        let nodes = client.node_group_nodes(pb::NodeGroupNodesRequest { id: id() });
        text += &format!("{:?}", nodes.await);
        let template = client.node_group_template_node_info(pb::NodeGroupTemplateNodeInfoRequest { id: id() });
        if let Ok(template) = template.await {
            text += &String::from_utf8_lossy(&template.into_inner().node_bytes);
        }
        text += &format!("{:?}", increase(client, host.group, 100).await.unwrap_err());
        let foreign = ["slicer://nowhere/abcd1234".to_owned()];
        text += &format!("{:?}", delete(client, host.group, &foreign).await.unwrap_err());
    }
    text
}

async fn wait_for_vm_or_error(client: &mut Client, host: &Host) {
    let what = format!("the end of the launch on {}", host.group);
    eventually(&what, async || {
        client.refresh(pb::RefreshRequest {}).await.unwrap();
        let failed = instances(client, host.group)
            .await
            .iter()
            .any(|i| error_of(i).is_some());
        (failed || host.simulator.vms().len() == 1).then_some(())
    })
    .await;
}

/// Lines that hold a token where none belongs, or a token that is wrong.
fn broken_lines() -> Vec<String> {
    vec![
        format!("[global]\nk3s-token = \"{K3S}\n"),
        format!("[global]\nk3s-tokn = {K3S}\n"),
        format!("[global]\n{K3S}\n"),
        format!("[global]\nk3s-token-file = {K3S}\n"),
        format!("[global]\nk3s-token = {SLICER} and more\n"),
        format!("[global]\nk3s-url = https://me:{SLICER}@127.0.0.1:6443\n"),
        format!("[global]\ncluster-name = {K3S}\n"),
        format!("[global]\nk3s-version = {SLICER}\n"),
        format!("[global]\nca-bundle = {SLICER}\n"),
        format!("[{SLICER}]\n"),
        format!("[nodegroup \"{K3S}\"\n"),
        format!("[nodegroup \"a\"]\nslicer-url = http://me:{SLICER}@127.0.0.1:1\n"),
        format!("[nodegroup \"a\"]\nmax-size = {SLICER}\nnode-label = {K3S}\nnode-taint = {SLICER}\n"),
        format!("[nodegroup \"a\"]\nslicer-token = {SLICER}\nslicer-token = {SLICER}\n"),
        format!("[nodegroup \"a\"]\nzone = {K3S}\nscale-down-unneeded-time = {SLICER}\n{SLICER} = 1\n"),
    ]
}

#[tokio::test]
async fn no_token_is_told_through_a_whole_life_with_every_kind_of_failure() {
    let (failing, recovering) = (failing_hosts().await, recovering_hosts().await);
    let hosts: Vec<Host> = failing.into_iter().chain(recovering).collect();
    let config = config(&hosts);
    let folder = Folder::with_config(&config);
    std::fs::write(folder.path("k3s-token"), K3S).unwrap();
    std::fs::write(folder.path("slicer-token"), SLICER).unwrap();
    let mut serving = Serving::start_in(folder, "127.0.0.1:0", &["--log-level", "trace"]).await;
    let mut client = serving.client().await;
    let mut told = String::new();

    // Up.
    for host in &hosts {
        wait_for_group(&mut client, host.group).await;
        increase(&mut client, host.group, 1).await.unwrap();
    }
    let hanging = &hosts.iter().find(|host| host.group == "hanging").unwrap().simulator;
    eventually("a POST that hangs", async || {
        hanging.faults().iter().any(|fault| fault.hits > 0).then_some(())
    })
    .await;
    hanging.restart();
    for host in &hosts {
        wait_for_vm_or_error(&mut client, host).await;
    }
    let gossiping = hosts.iter().find(|host| host.group == "gossiping").unwrap();
    eventually("the failed userdata told", async || {
        client.refresh(pb::RefreshRequest {}).await.unwrap();
        let all = instances(&mut client, gossiping.group).await;
        all.iter().any(|i| error_of(i).is_some()).then_some(())
    })
    .await;
    told += &everything(&serving, &mut client, &hosts).await;

    // A reload with a new token, which takes effect, and many that are refused.
    std::fs::write(serving.folder.path("k3s-token"), NEXT_K3S).unwrap();
    serving.reload(&config).await;
    serving.program.logged("configuration reloaded", 1).await;
    let after = hosts.iter().find(|host| host.group == "after").unwrap();
    increase(&mut client, after.group, 1).await.unwrap();
    assert!(
        after
            .simulator
            .wait_for_vms(Duration::from_secs(10), |vms| vms.len() == 2)
            .await
    );
    for (count, broken) in broken_lines().iter().enumerate() {
        serving.reload(broken).await;
        let refused = "the new configuration is refused; the old one stays";
        serving.program.logged(refused, count + 1).await;
    }

    // Hosts that fail at the listing itself, and down.
    for host in &hosts[..2] {
        host.simulator.clear_faults();
        let deaf = Fault::every(RouteClass::List, status(401, SLICER));
        host.simulator.switch_on(deaf).unwrap();
    }
    eventually("a host down in the state", async || {
        client.refresh(pb::RefreshRequest {}).await.unwrap();
        let state = serving.page("/api/v1/state").await.json();
        let hosts = state["hosts"].as_array().unwrap();
        hosts.iter().any(|host| host["status"] == "down").then_some(())
    })
    .await;
    told += &everything(&serving, &mut client, &hosts).await;
    for host in &hosts[..2] {
        host.simulator.clear_faults();
    }
    let deletions = hosts.iter().map(async |host| {
        let mut client = client.clone();
        let all = ids(&instances(&mut client, host.group).await);
        delete(&mut client, host.group, &all).await.unwrap();
    });
    futures::future::join_all(deletions).await;
    for host in &hosts {
        let what = format!("{} empty", host.group);
        eventually(&what, async || host.simulator.vms().is_empty().then_some(())).await;
    }
    told += &everything(&serving, &mut client, &hosts).await;
    let ended = serving.stop("TERM").await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);

    // The tokens did travel, the hosts did tell, and the log had every chance.
    let stored = after.simulator.secrets();
    let stored = stored.iter().map(|name| after.simulator.secret_value(name).unwrap());
    let stored: Vec<String> = stored.map(|secret| secret.expose_secret().to_owned()).collect();
    assert!(stored.contains(&K3S.to_owned()) && stored.contains(&NEXT_K3S.to_owned()));
    for (what, text) in [("the log", &ended.stderr), ("the pages and answers", &told)] {
        assert!(text.contains(HEARD) && text.contains("[REDACTED]"), "{what}");
        assert_secret(what, text);
    }
    assert!(ended.stderr.contains("\"level\":\"TRACE\""));
    assert_secret("standard output", &ended.stdout);
}

#[tokio::test]
async fn a_refused_configuration_is_told_without_its_tokens_at_the_start_too() {
    let text: String = broken_lines().concat();
    let folder = Folder::with_config(&text);
    for command in ["serve", "check"] {
        let ended = run(&[command, "--without-kubernetes", "--cloud-config", folder.config()]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.lines().count() >= broken_lines().len(), "{told}");
        assert_secret(command, &told);
    }
}

/// The join token without the CA.
fn join_password() -> &'static str {
    K3S.rsplit_once(':').unwrap().1
}

/// What somebody says who wants to be believed, and the screen for himself.
fn forged(secret: &str) -> String {
    format!("v1 {}\nok    kubernetes: \u{1b}[2Jall is well\u{202e}", echo(secret))
}

/// `host:port` of a daemon that tells its tokens in its version and the names of its host groups.
async fn boastful_host() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let group =
        |name: &str| json!({"name": name, "cpus": 2, "ram_bytes": 4_u64 << 30, "arch": forged(join_password())});
    let groups = json!([group("agents"), group(&forged(SLICER)), group(&forged(join_password()))]);
    let info = json!({"version": forged(SLICER), "arch": forged(join_password())});
    let router = axum::Router::new()
        .route("/hostgroup", get(async move || Json(groups.clone())))
        .route("/info", get(async move || Json(info.clone())))
        .fallback(async || Json(json!([])));
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    address
}

/// What `check` prints as text and as JSON.
async fn checked(folder: &Folder, kubeconfig: &str) -> [String; 2] {
    let mut told = Vec::new();
    for output in ["text", "json"] {
        let arguments = [
            "check",
            "--output",
            output,
            "--kubeconfig",
            kubeconfig,
            "--cloud-config",
            folder.config(),
        ];
        let ended = run(&arguments).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        told.push(format!("{}{}", ended.stdout, ended.stderr));
    }
    told.try_into().unwrap()
}

#[tokio::test]
async fn check_repeats_no_token_and_no_forged_line_of_whomever_it_asks() {
    // A certificate for a server of this name, which the error tells.
    let password = join_password();
    let authority = Authority::new("k3s");
    let k3s = K3s::showing(authority.server(password), authority.pem.clone())
        .await
        .url;
    let (boastful, api) = (boastful_host().await, FakeApi::started());
    let group = |name| format!("[nodegroup \"{name}\"]\nslicer-url = http://{boastful}\nslicer-token = {SLICER}\n");
    let global = format!("[global]\nk3s-url = {k3s}\nk3s-token = {password}\n");
    let folder = Folder::with_config(&(global + &group("agents") + &group("missing")));
    let kubeconfig = kubeconfig(&folder, &api.url());
    api.set_version(&forged(password));
    let of_version = checked(&folder, &kubeconfig).await;
    let refusal = format!("{} {TOKEN}", forged(password)).leak();
    api.fail("POST", fake_api::Fault::Refuse(403, refusal));
    let of_refusal = checked(&folder, &kubeconfig).await;
    for told in of_version.iter().chain(&of_refusal) {
        assert_secret("check", told);
        assert!(!told.contains(TOKEN), "{told}");
        let repeated = told.lines().filter(|line| line.contains("[REDACTED]")).count();
        assert_eq!(repeated, 4, "the version, the names, the certificate, the API: {told}");
        assert!(
            !told.lines().any(|line| line.starts_with("ok    kubernetes: \u{fffd}")),
            "{told}"
        );
        let control = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(
            !told.contains(control) && !told.contains("\\u001b") && !told.contains("\\n"),
            "{told}"
        );
    }
    for [text, json] in [&of_version, &of_refusal] {
        assert_eq!(text.lines().count(), json.lines().count());
    }
}

#[tokio::test]
async fn a_join_token_on_a_guests_console_is_not_told() {
    let host = host("gossiping", Arc::new(Gossip { says: K3S }), Vec::new()).await;
    let folder = Folder::with_config(&config(std::slice::from_ref(&host)));
    std::fs::write(folder.path("k3s-token"), K3S).unwrap();
    std::fs::write(folder.path("slicer-token"), SLICER).unwrap();
    let serving = Serving::start_in(folder, "127.0.0.1:0", &["--log-level", "trace"]).await;
    let mut client = serving.client().await;
    wait_for_group(&mut client, host.group).await;
    increase(&mut client, host.group, 1).await.unwrap();
    let message = eventually("the failed userdata told", async || {
        client.refresh(pb::RefreshRequest {}).await.unwrap();
        let all = instances(&mut client, host.group).await;
        all.iter().find_map(error_of).map(|error| error.error_message.clone())
    })
    .await;
    assert!(message.contains(HEARD), "{message}");
    assert_secret("the failure", &message);
    let ended = serving.stop("TERM").await;
    assert_secret("the log", &ended.stderr);
}
