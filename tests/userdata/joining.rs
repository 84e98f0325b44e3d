//! Ways in which a VM becomes an agent.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use crate::machine::{Machine, SECRET, TOKEN, Userdata};

/// What the script may use besides bash, systemctl, and curl or wget. `cat` and `cp` are for the fakes.
const PROGRAMS: [&str; 15] = [
    "cat", "chmod", "cp", "env", "grep", "head", "install", "mkdir", "mktemp", "mv", "rm", "sleep", "tail", "timeout",
    "uname",
];

const CONFIG: &str = r##"# K3s version "v1.33.6+k3s1"
server: "https://k3s.example:6443"
token-file: "/etc/rancher/k3s/agent-token"
kubelet-arg:
  - "provider-id=slicer://agents-1/abcd1234"
  - "max-pods=60"
node-taint:
  - "dedicated=batch:NoSchedule"
node-label:
  - "k3sup.dev/node-type=agent"
  - "slicer/hostgroup=agents-1"
  - "slicer/hostname=agents-1-3"
node-name: "agents-1-3-abcd1234"
"##;

#[test]
fn a_vm_joins_with_its_configuration_and_token_in_private_files() {
    let machine = Machine::new();
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.config(), CONFIG);
    assert_eq!(machine.mode("etc/rancher/k3s/config.yaml"), 0o600);
    assert_eq!(machine.read("etc/rancher/k3s/agent-token").trim(), TOKEN);
    assert_eq!(machine.mode("etc/rancher/k3s/agent-token"), 0o600);
    assert_eq!(
        machine.installer_variables(),
        ["INSTALL_K3S_SKIP_START=true", "INSTALL_K3S_VERSION=v1.33.6+k3s1"]
    );
    assert_eq!(machine.calls("install.sh"), ["install.sh agent"]);
    assert_eq!(
        machine.orders(),
        ["systemctl enable k3s-agent", "systemctl start --no-block k3s-agent"]
    );
}

#[test]
fn only_the_programs_that_every_image_has_are_used_and_none_gets_to_see_the_token() {
    let mut machine = Machine::new();
    machine.only_these_programs(&PROGRAMS);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    // The recorders really saw the programs that handle the token.
    assert_eq!(machine.calls("install").len(), 2, "{}", machine.read("fake/calls"));
    assert!(machine.environments().contains("INSTALL_K3S_SKIP_START"));
    for text in [
        machine.environments(),
        machine.read("fake/calls"),
        machine.log(),
        machine.read("dev/console"),
        machine.config(),
    ] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn wget_serves_where_curl_is_missing() {
    let mut machine = Machine::new();
    machine.remove("usr/local/bin/curl");
    machine.install("wget");
    machine.only_these_programs(&PROGRAMS);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert!(machine.calls("wget").last().unwrap().ends_with("https://get.k3s.io"));
}

#[test]
fn a_secret_that_comes_late_is_waited_for() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_SECRET_WAIT", "30");
    machine.write(&format!("run/slicer/secrets/{SECRET}"), "");
    machine.write(
        "fake/on-sleep",
        &format!("echo '{TOKEN}' >\"$SLICER_JOIN_ROOT/run/slicer/secrets/{SECRET}\""),
    );
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.read("etc/rancher/k3s/agent-token").trim(), TOKEN);
}

#[test]
fn slicer_agent_is_asked_once_for_a_late_secret() {
    let machine = Machine::new();
    machine.install("slicer-agent");
    machine.remove(&format!("run/slicer/secrets/{SECRET}"));
    machine.write(&format!("fake/unsynced/{SECRET}"), TOKEN);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.calls("slicer-agent"), ["slicer-agent secrets sync"]);
}

#[test]
fn a_network_that_comes_up_late_is_waited_for_with_growing_pauses() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_NETWORK_WAIT", "30");
    machine.fail("ping", 3);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    let pauses: Vec<f64> = machine.calls("sleep").iter().map(|call| seconds(call)).collect();
    for (pause, shortest) in pauses.iter().zip([1.0, 2.0, 4.0]) {
        assert!((shortest..=shortest * 1.5).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_left_to_the_agent() {
    let machine = Machine::new();
    machine.fail("ping", 100);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert!(
        machine
            .log()
            .contains("[network] https://k3s.example:6443 does not answer")
    );
}

#[test]
fn a_download_that_fails_twice_is_tried_again() {
    let machine = Machine::new();
    machine.fail("download", 2);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.calls("curl").len(), 1 + 3);
    assert!(machine.log().contains("[download] attempt 2 of 8 failed"));
}

#[test]
fn an_installer_that_fails_once_is_run_again() {
    let machine = Machine::new();
    machine.fail("installer", 1);
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.calls("install.sh").len(), 2);
}

#[test]
fn an_agent_that_takes_its_time_is_waited_for() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_AGENT_WAIT", "30");
    machine.write("fake/started", "activating\n");
    machine.write(
        "fake/on-sleep",
        r#"[[ $(<"$fake/state") != activating || $(wc -l <"$fake/calls") -lt 20 ]] || echo active >"$fake/state""#,
    );
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert!(machine.calls("systemctl").len() > 4, "{:?}", machine.calls("systemctl"));
}

#[test]
fn k3s_of_the_wanted_version_is_not_downloaded_again() {
    let machine = Machine::new();
    machine.install("k3s");
    machine.write("fake/k3s-version", "v1.33.6+k3s1");
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    let variables = machine.installer_variables();
    assert!(
        variables.contains(&"INSTALL_K3S_SKIP_DOWNLOAD=true".to_owned()),
        "{variables:?}"
    );
}

#[test]
fn k3s_of_another_or_of_an_unknown_version_is_replaced() {
    for (installed, wanted) in [("v1.33.6+k3s10", Some("v1.33.6+k3s1")), ("v1.33.6+k3s1", None)] {
        let machine = Machine::new();
        machine.install("k3s");
        machine.write("fake/k3s-version", installed);
        let userdata = Userdata {
            version: wanted,
            ..Userdata::default()
        };
        // The fake installer replaces the link, not the fake behind it.
        assert_eq!(machine.run(&userdata), Some(0), "{}", machine.log());
        assert!(
            !machine
                .installer_variables()
                .iter()
                .any(|v| v.contains("SKIP_DOWNLOAD"))
        );
    }
}

#[test]
fn the_channel_decides_where_no_version_is_known() {
    let machine = Machine::new();
    let userdata = Userdata {
        version: None,
        ..Userdata::default()
    };
    assert_eq!(machine.run(&userdata), Some(0), "{}", machine.log());
    assert_eq!(
        machine.installer_variables(),
        ["INSTALL_K3S_CHANNEL=stable", "INSTALL_K3S_SKIP_START=true"]
    );
    assert!(machine.log().contains("the channel stable decides"));
}

#[test]
fn an_installer_of_the_image_is_used_without_any_download() {
    let machine = Machine::new();
    machine.write("opt/k3s/install.sh", &machine.read("fake/served"));
    let mut userdata = Userdata::default();
    userdata.settings.install_url = "/opt/k3s/install.sh".to_owned();
    assert_eq!(machine.run(&userdata), Some(0), "{}", machine.log());
    assert_eq!(machine.calls("install.sh"), ["install.sh agent"]);
    let downloads = machine
        .calls("curl")
        .iter()
        .filter(|call| !call.ends_with("/ping"))
        .count();
    assert_eq!(downloads, 0);
}

#[test]
fn stages_are_logged_and_shown_on_the_console() {
    let machine = Machine::new();
    assert_eq!(machine.run(&Userdata::default()), Some(0));
    for text in [machine.log(), machine.read("dev/console")] {
        for stage in [
            "[hostname] joining",
            "[install] K3s v1.33.6+k3s1",
            "[end] the agent is active",
        ] {
            assert!(text.contains(stage), "{stage} in {text}");
        }
    }
}

#[test]
fn sh_hands_over_to_bash() {
    for interpreter in [&["sh"][..], &["dash"], &["bash", "--posix"]] {
        let machine = Machine::new();
        assert_eq!(
            machine.run_by(interpreter, &Userdata::default()),
            Some(0),
            "{interpreter:?}"
        );
        assert_eq!(machine.config(), CONFIG);
    }
}

#[test]
fn sh_that_cannot_find_the_script_ends_with_an_exit_code_of_ours() {
    let script = Userdata::default().render();
    let machine = Machine::new();
    machine.write("userdata", &script);
    // Here $0 is a file, but the shell's own.
    let from_input = File::open(machine.path("userdata")).unwrap();
    let status = machine.command(&["/bin/dash"]).stdin(from_input).status().unwrap();
    assert_eq!(status.code(), Some(15));
    let status = machine.command(&["/bin/dash", "-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(15));
}

#[test]
fn the_script_may_also_come_through_standard_input_and_nobody_reads_further() {
    let machine = Machine::new();
    // Would wait for ever, as standard input stays open here.
    let asking = machine
        .read("fake/served")
        .replace("systemctl enable", "cat >/dev/null\nsystemctl enable");
    machine.write("fake/served", &asking);
    let mut script = machine.command(&["bash"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = script.stdin.take().unwrap();
    input.write_all(Userdata::default().render().as_bytes()).unwrap();
    assert_eq!(script.wait().unwrap().code(), Some(0), "{}", machine.log());
    assert_eq!(machine.config(), CONFIG);
    drop(input);
}

fn seconds(call: &str) -> f64 {
    call.trim_start_matches("sleep ").parse().unwrap()
}
