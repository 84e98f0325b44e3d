//! `demo` tells its story to the end, and `simulate` is a daemon.

use serde_json::json;

use crate::pages;
use crate::program::{Program, run};

#[tokio::test]
async fn the_demo_goes_up_fails_where_there_is_no_room_and_leaves_nothing() {
    let ended = run(&[
        "demo",
        "--exit",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ])
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut rest = ended.stdout.as_str();
    for part in [
        "Up from zero",
        "target size 3",
        "Running",
        "A host without room",
        "OutOfResources (class 1, out of resources)",
        "A host that is down",
        "attic lists 3 instances",
        "Down to zero",
        "gone",
        "Nothing is left",
    ] {
        let found = rest.find(part).unwrap_or_else(|| panic!("no {part:?} in\n{rest}"));
        rest = &rest[found + part.len()..];
    }
    assert_eq!(ended.stderr, "", "a story without complaints");
}

#[tokio::test]
async fn the_demo_serves_on_a_unix_socket_too_and_obeys_signals_while_it_tells() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("unix://{}/demo.sock", folder.path().display());
    let mut program = Program::start(&["demo", "--listen", &listen, "--admin-listen", "127.0.0.1:0"], &[]);
    program.printed("Up from zero").await;
    program.signal("HUP").await; // there is nothing to reload
    program.printed("A host without room").await;
    program.signal("INT").await;
    let ended = program.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("The server goes on serving"), "{}", ended.stdout);
}

#[tokio::test]
async fn the_simulated_daemon_answers_and_says_where() {
    let arguments = [
        "simulate",
        "--listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--group",
        "shed:4:8Gi",
    ];
    let mut program = Program::start(&arguments, &[]);
    let line = program
        .logged("simulated Slicer daemon; faults: POST /simulator/faults", 1)
        .await;
    let address = line["address"].as_str().unwrap();
    assert_eq!(pages::get(address, "/healthz").await.status, 200);
    let groups = pages::get(address, "/hostgroup").await.json();
    assert_eq!(groups[0]["name"], json!("shed"), "{groups}");
    program.signal("TERM").await;
    assert_eq!(program.end().await.code, Some(0));
}
