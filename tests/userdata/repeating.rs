//! What a second run does.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::machine::{Machine, SECRET, Userdata};

fn joined() -> Machine {
    let machine = Machine::new();
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    machine
}

fn with_another_label() -> Userdata {
    let mut userdata = Userdata::default();
    userdata.labels.insert("team".to_owned(), "blue".to_owned());
    userdata
}

fn restarts(machine: &Machine) -> usize {
    machine
        .orders()
        .iter()
        .filter(|order| *order == "systemctl restart --no-block k3s-agent")
        .count()
}

#[test]
fn a_second_run_with_the_same_values_changes_nothing() {
    let machine = joined();
    let inode = |path: &str| fs::metadata(machine.path(path)).unwrap().ino();
    let files = ["etc/rancher/k3s/config.yaml", "etc/rancher/k3s/agent-token"];
    let (inodes, orders) = (files.map(inode), machine.orders());
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(files.map(inode), inodes);
    assert_eq!(machine.orders(), orders);
    assert_eq!(machine.calls("install.sh").len(), 1);
    assert_eq!(fs::read_dir(machine.path("etc/rancher/k3s")).unwrap().count(), 2);
}

#[test]
fn a_second_run_with_another_configuration_restarts_the_agent() {
    let machine = joined();
    assert_eq!(machine.run(&with_another_label()), Some(0), "{}", machine.log());
    assert!(machine.config().contains("  - \"team=blue\"\n"));
    assert_eq!(restarts(&machine), 1);
    assert_eq!(machine.run(&with_another_label()), Some(0), "{}", machine.log());
    assert_eq!(restarts(&machine), 1);
}

#[test]
fn a_second_run_with_another_token_restarts_the_agent() {
    let machine = joined();
    machine.write(&format!("run/slicer/secrets/{SECRET}"), "rotated");
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.read("etc/rancher/k3s/agent-token"), "rotated");
    assert_eq!(restarts(&machine), 1);
}

#[test]
fn a_second_run_with_another_version_installs_it_and_restarts_the_agent() {
    let machine = joined();
    let newer = Userdata {
        version: Some("v1.34.2+k3s1"),
        ..Userdata::default()
    };
    assert_eq!(machine.run(&newer), Some(0), "{}", machine.log());
    assert_eq!(machine.calls("install.sh").len(), 2);
    assert_eq!(restarts(&machine), 1);
}

#[test]
fn a_run_that_was_cut_off_before_the_restart_is_made_up_for() {
    let machine = joined();
    machine.fail("script", 1);
    assert_eq!(
        machine.run(&with_another_label()),
        None,
        "killed after it wrote the configuration"
    );
    assert_eq!(restarts(&machine), 0);
    assert_eq!(machine.run(&with_another_label()), Some(0), "{}", machine.log());
    assert_eq!(restarts(&machine), 1);
}

#[test]
fn an_agent_of_the_image_that_tries_already_is_restarted() {
    let machine = Machine::new();
    machine.write("fake/state", "activating\n");
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(restarts(&machine), 1);
}

#[test]
fn a_run_after_a_failed_one_joins() {
    let machine = Machine::new();
    machine.fail("installer", 3);
    assert_eq!(machine.run(&Userdata::default()), Some(13), "{}", machine.log());
    assert_eq!(machine.run(&Userdata::default()), Some(0), "{}", machine.log());
    assert_eq!(machine.read("fake/unit-file"), "enabled\n");
}
