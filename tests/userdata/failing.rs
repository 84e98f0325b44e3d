//! How a VM that cannot join ends: with its own exit code, and with an agent that never joins later.

use std::fs;

use crate::machine::{Machine, SECRET, TOKEN, Userdata};

/// Runs to the exit code, and checks what every failure has in common.
fn fails_with(machine: &Machine, code: i32, stage: &str) {
    assert_eq!(machine.run(&Userdata::default()), Some(code), "{}", machine.log());
    let orders = machine.orders();
    assert!(
        orders.ends_with(&["systemctl stop k3s-agent".into(), "systemctl disable k3s-agent".into()]),
        "{orders:?}"
    );
    let last_words = format!("[{stage}] failed with exit code {code}");
    for text in [machine.log(), machine.read("dev/console")] {
        assert!(text.contains(&last_words), "{text}");
        assert!(!text.contains(TOKEN), "{text}");
    }
    let left_behind = fs::read_dir(machine.path("var/lib")).unwrap().count();
    assert_eq!(left_behind, 0, "the private directory is removed");
}

#[test]
fn a_vm_without_a_name_of_its_own_does_not_join() {
    for hostname in [
        "",
        "localhost",
        "LOCALHOST",
        "localhost.localdomain",
        "(none)",
        "a_b",
        "-a",
        "a..b",
        "a b",
        "ä",
    ] {
        let machine = Machine::new();
        machine.write("fake/hostname", hostname);
        fails_with(&machine, 10, "hostname");
        assert_eq!(machine.config(), "");
    }
}

#[test]
fn without_a_secret_nothing_is_installed() {
    for content in [None, Some(""), Some(" \n")] {
        let machine = Machine::new();
        machine.remove(&format!("run/slicer/secrets/{SECRET}"));
        if let Some(content) = content {
            machine.write(&format!("run/slicer/secrets/{SECRET}"), content);
        }
        fails_with(&machine, 11, "secret");
        assert!(machine.calls("install.sh").is_empty());
        assert_eq!(machine.config(), "");
    }
}

#[test]
fn slicer_agent_is_asked_only_once_for_a_secret_that_it_cannot_bring() {
    let machine = Machine::new();
    machine.install("slicer-agent");
    machine.remove(&format!("run/slicer/secrets/{SECRET}"));
    fails_with(&machine, 11, "secret");
    assert_eq!(machine.calls("slicer-agent").len(), 1);
}

#[test]
fn a_download_that_always_fails_is_given_up() {
    let machine = Machine::new();
    machine.fail("download", 100);
    fails_with(&machine, 12, "download");
    assert_eq!(machine.calls("curl").len(), 1 + 8);
    assert!(machine.calls("install.sh").is_empty());
    let console = machine.read("dev/console");
    assert!(
        console.contains("returned error: 503"),
        "the reason is on the console: {console}"
    );
}

#[test]
fn what_is_no_script_is_never_run() {
    for served in ["", "<html>Please log in</html>"] {
        let machine = Machine::new();
        machine.write("fake/served", served);
        fails_with(&machine, 12, "download");
    }
}

#[test]
fn a_missing_installer_of_the_image_is_an_error() {
    let machine = Machine::new();
    let mut userdata = Userdata::default();
    userdata.settings.install_url = "/opt/none.sh".to_owned();
    assert_eq!(machine.run(&userdata), Some(12), "{}", machine.log());
}

#[test]
fn an_installer_that_always_fails_is_given_up() {
    let machine = Machine::new();
    machine.fail("installer", 100);
    fails_with(&machine, 13, "install");
    assert_eq!(machine.calls("install.sh").len(), 3);
}

#[test]
fn an_installer_that_hangs_is_ended_at_the_deadline() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_DEADLINE", "1");
    machine.write("fake/served", "#!/bin/sh\nexec /bin/sleep 50\n");
    fails_with(&machine, 13, "install");
}

#[test]
fn an_agent_that_never_becomes_active_is_stopped_and_disabled() {
    let machine = Machine::new();
    machine.write("fake/started", "activating\n");
    fails_with(&machine, 14, "start");
    assert_eq!(machine.read("fake/state"), "inactive\n");
    assert_eq!(machine.read("fake/unit-file"), "disabled\n");
    let console = machine.read("dev/console");
    assert!(
        console.contains("Node password rejected"),
        "the agent's own words: {console}"
    );
}

#[test]
fn an_agent_that_systemd_gave_up_is_not_waited_for() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_AGENT_WAIT", "50");
    machine.write("fake/started", "failed\n");
    fails_with(&machine, 14, "start");
    let looks = machine.calls("systemctl").len() - machine.orders().len();
    assert!(looks < 6, "{looks} looks at the state");
    assert!(machine.log().contains("the agent is failed"));
}

#[test]
fn once_the_deadline_has_passed_nothing_is_tried_again() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_DEADLINE", "0");
    machine.fail("download", 100);
    fails_with(&machine, 12, "download");
    assert_eq!(machine.calls("curl").len(), 1 + 1);
}

#[test]
fn anything_unforeseen_has_an_exit_code_of_its_own() {
    let machine = Machine::new();
    machine.write("etc/rancher", "a file where a directory belongs");
    fails_with(&machine, 15, "configure");
}

#[test]
fn a_script_that_is_told_to_end_leaves_no_agent_behind() {
    let mut machine = Machine::new();
    machine.variable("SLICER_JOIN_AGENT_WAIT", "50");
    machine.write("fake/started", "activating\n");
    machine.write("fake/on-sleep", "kill -TERM \"$PPID\"");
    fails_with(&machine, 15, "start");
}
