//! The measurements of `examples/loadgen`, on a small scale: they run, and every answer is right. What they measure is
//! not looked at, but for the number of requests, which no machine changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

/// `cargo test` builds examples beside its tests.
fn loadgen() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("examples/loadgen");
    let hint = "build it with `cargo build --example loadgen`, as `cargo test` does";
    assert!(program.is_file(), "there is no {}: {hint}", program.display());
    program
}

/// What it prints when it measures the program that belongs to this test.
fn measured(arguments: &str) -> String {
    let mut command = Command::new(loadgen());
    command.args(arguments.split(' ').filter(|argument| !argument.is_empty()));
    command.args(["--binary", env!("CARGO_BIN_EXE_slicer-cloud-provider")]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_loop_causes_one_listing_for_each_group_and_no_other_request() {
    let told = measured("--groups 2 --nodes 10 --hosts 1 --loops 1");
    assert!(
        told.contains("pass  requests to hosts in a loop: 2 (goal: 2)"),
        "{told}"
    );
    assert!(told.contains("loop against bare tonic: "), "{told}");
}

#[test]
fn a_scale_up_makes_every_vm() {
    let told = measured("scale-up --launches 3 --hosts 2 --create-ms 20");
    assert!(told.contains("scale-up against the best: "), "{told}");
}

#[test]
fn a_start_ends_with_an_answer() {
    let told = measured("start --starts 1");
    assert!(told.contains("start to the first answer"), "{told}");
}
