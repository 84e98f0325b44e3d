//! VMs over time: they boot, run userdata, are paused, stop, vanish, and come again under the same name.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use slicer_cloud_provider::simulator::{Power, SimulatorConfig, Timing, UserdataOrder};

use crate::client::{Host, PATIENCE, error, host, instant, names};

fn slow(timing: Timing) -> SimulatorConfig {
    SimulatorConfig { timing, ..instant() }
}

const NEVER: Duration = Duration::from_secs(3600);

async fn agent_is_up(host: &Host, hostname: &str) {
    let up = |vm: &slicer_cloud_provider::simulator::VmView| vm.hostname == hostname && vm.agent_up;
    assert!(host.simulator.wait_for_vms(PATIENCE, |vms| vms.iter().any(up)).await);
}

#[tokio::test]
async fn health_goes_from_400_to_running_to_an_exit_code() {
    let config = slow(Timing {
        boot: Duration::from_secs(1),
        ..Timing::instant()
    });
    let host = host(config).await;
    host.simulator.order_userdata_to_come(UserdataOrder::Hang);
    host.create(json!({})).await;
    let health = "/vm/g-1/health";
    assert_eq!(host.get(health).await, (400, error("no agent vsock path for g-1")));
    assert_eq!(host.send(Method::HEAD, health, None).await.unwrap().0, 400);
    agent_is_up(&host, "g-1").await;
    let (status, body) = host.get(health).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&body["hostname"], &body["ip"]),
        (&json!("g-1"), &json!("192.168.137.2"))
    );
    assert_eq!(
        (&body["userdata_ran"], &body["userdata_exit_code"]),
        (&json!(false), &json!(null))
    );
    assert!(body["agent_uptime"].as_i64().unwrap() > 0 && body["system_uptime"].as_i64().unwrap() > 0);
    host.simulator
        .order_userdata("g-1", UserdataOrder::ExitCode(0))
        .unwrap();
    host.wait_for_userdata("g-1").await;
    let (_, body) = host.get(health).await;
    assert_eq!(
        (&body["userdata_ran"], &body["userdata_exit_code"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(host.send(Method::HEAD, health, None).await.unwrap().0, 200);
}

#[tokio::test]
async fn waiting_for_the_agent_or_userdata_answers_when_it_is_there() {
    let config = slow(Timing {
        boot: Duration::from_millis(200),
        userdata: Duration::from_millis(200),
        ..Timing::instant()
    });
    let host = host(config).await;
    let (status, _) = host.post("/hostgroup/g/nodes?wait=agent", json!({})).await;
    assert_eq!((status, host.simulator.vm("g-1").unwrap().agent_up), (201, true));
    let (status, _) = host
        .post("/hostgroup/g/nodes?wait=userdata&timeout=1m0s", json!({}))
        .await;
    assert_eq!(status, 201);
    assert!(host.simulator.vm("g-2").unwrap().userdata_outcome.is_some());
}

#[tokio::test]
async fn waiting_too_long_is_408_and_removes_the_vm() {
    let config = slow(Timing {
        userdata: NEVER,
        ..Timing::instant()
    });
    let host = host(config).await;
    let (status, body) = host
        .post("/hostgroup/g/nodes?wait=userdata&timeout=100ms", json!({}))
        .await;
    assert_eq!(status, 408);
    assert!(body["error"].as_str().unwrap().contains("userdata of g-1"), "{body}");
    assert_eq!(host.simulator.vms(), []);
}

#[tokio::test]
async fn waiting_for_what_there_is_not_is_400_and_creates_nothing() {
    let host = host(instant()).await;
    for query in [
        "wait=boot",
        "wait=agent&timeout=soon",
        "wait=agent&timeout=-1s",
        "wait=agent&timeout=0s",
    ] {
        let (status, body) = host.post(&format!("/hostgroup/g/nodes?{query}"), json!({})).await;
        assert_eq!(status, 400, "{query}: {body}");
    }
    assert_eq!(host.simulator.vms(), []);
}

#[tokio::test]
async fn a_vm_that_vanishes_ends_the_wait_for_it() {
    let config = slow(Timing {
        boot: NEVER,
        ..Timing::instant()
    });
    let host = host(config).await;
    let created = host.post("/hostgroup/g/nodes?wait=agent", json!({}));
    let killed = async {
        assert!(host.simulator.wait_for_vms(PATIENCE, |vms| vms.len() == 1).await);
        assert_eq!(host.post("/simulator/vms/g-1/kill", json!(null)).await.0, 204);
    };
    let ((status, _), ()) = tokio::join!(created, killed);
    assert_eq!(status, 500);
}

#[tokio::test]
async fn a_restart_loses_ephemeral_vms_and_gives_their_names_again() {
    let mut config = instant();
    config.groups[0].protected = 1;
    let host = host(config).await;
    host.create(json!({})).await;
    host.create(json!({"persistent": true})).await;
    host.create(json!({"tags": ["lost"]})).await;
    assert_eq!(host.hostnames(), ["g-1", "g-2", "g-3", "g-4"]);
    assert_eq!(host.post("/simulator/restart", json!(null)).await.0, 204);
    let (_, list) = host.get("/nodes").await;
    assert_eq!(names(&list), ["g-1", "g-3"]);
    assert_eq!(
        (&list[0]["status"], &list[1]["status"]),
        (&json!("Running"), &json!("Stopped"))
    );
    assert_eq!(host.create(json!({"tags": ["first"]})).await, "g-2");
    assert_eq!(host.create(json!({"tags": ["second"]})).await, "g-4", "g-3 is taken");
    assert_eq!(host.simulator.vm("g-4").unwrap().tags, ["second"]);
    host.wait_for_userdata("g-1").await;
}

#[tokio::test]
async fn a_killed_vm_vanishes_and_a_killed_persistent_one_stops_until_it_is_relaunched() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    host.create(json!({"persistent": true})).await;
    host.wait_for_userdata("g-2").await;
    for hostname in ["g-1", "g-2"] {
        assert_eq!(
            host.post(&format!("/simulator/vms/{hostname}/kill"), json!(null))
                .await
                .0,
            204
        );
    }
    assert_eq!(host.post("/simulator/vms/g-1/kill", json!(null)).await.0, 404);
    assert_eq!(host.hostnames(), ["g-2"]);
    assert_eq!(host.get("/vm/g-2/health").await.0, 400);
    let (status, body) = host.post("/vm/g-2/relaunch", json!(null)).await;
    assert_eq!((status, &body["hostname"]), (200, &json!("g-2")));
    let running = error("VM g-2 is already running");
    assert_eq!(host.post("/vm/g-2/relaunch", json!(null)).await, (409, running));
    agent_is_up(&host, "g-2").await;
    let console = host.simulator.console("g-2").unwrap();
    assert_eq!(console.matches("userdata: exited with 0").count(), 1, "{console}");
}

#[tokio::test]
async fn shutdown_of_either_kind_ends_an_ephemeral_vm() {
    let host = host(instant()).await;
    for path in [
        "/vm/g-1/shutdown",
        "/vm/g-2/shutdown?action=shutdown",
        "/vm/g-3/shutdown?action=reboot",
    ] {
        host.create(json!({})).await;
        assert_eq!(host.post(path, json!(null)).await.0, 200, "{path}");
        assert_eq!(host.simulator.vms(), [], "{path}");
    }
    host.create(json!({})).await;
    assert_eq!(host.post("/vm/g-4/shutdown?action=explode", json!(null)).await.0, 400);
    assert_eq!(host.hostnames(), ["g-4"]);
}

#[tokio::test]
async fn pause_and_suspend_are_shown_and_undone() {
    let host = host(instant()).await;
    host.create(json!({})).await;
    host.wait_for_userdata("g-1").await;
    let power = |action: &'static str| {
        let host = &host;
        async move {
            let (status, _) = host.post(&format!("/vm/g-1/{action}"), json!(null)).await;
            let (_, vm) = host.get("/vm/g-1").await;
            (status, vm["status"].as_str().unwrap().to_owned())
        }
    };
    let shown = |status, power: &str| (status, power.to_owned());
    assert_eq!(power("restore").await, shown(500, "Running"));
    assert_eq!(power("pause").await, shown(200, "Paused"));
    assert_eq!(host.get("/vm/g-1/health").await.0, 500);
    assert_eq!(power("resume").await, shown(200, "Running"));
    assert_eq!(host.get("/vm/g-1/health").await.0, 200);
    assert_eq!(power("suspend").await, shown(200, "Stopped"));
    assert_eq!(host.simulator.vm("g-1").unwrap().power, Power::Suspended);
    assert_eq!(power("pause").await, shown(500, "Stopped"));
    assert_eq!(power("restore").await, shown(200, "Running"));
    agent_is_up(&host, "g-1").await;
}

#[tokio::test]
async fn logs_show_the_last_lines_or_all() {
    let host = host(instant()).await;
    host.create(json!({"userdata": "four"})).await;
    host.wait_for_userdata("g-1").await;
    let (status, all) = host.get("/vm/g-1/logs?lines=0").await;
    let content =
        "boot: kernel started\nboot: slicer-agent started\nuserdata: started, 4 bytes\nuserdata: exited with 0\n";
    assert_eq!(
        (status, all),
        (200, json!({"hostname": "g-1", "lines": 4, "content": content}))
    );
    let (_, one) = host.get("/vm/g-1/logs?lines=1").await;
    assert_eq!(one["content"], "userdata: exited with 0\n");
    assert_eq!(host.get("/vm/g-1/logs?lines=-1").await.0, 400);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_what_it_asked_for() {
    let config = slow(Timing {
        create: Duration::from_millis(1500),
        ..Timing::instant()
    });
    let host = host(config).await;
    let request = host.request(Method::POST, "/hostgroup/g/nodes").body("{}");
    let sent = request.timeout(Duration::from_millis(100)).send().await;
    assert!(sent.unwrap_err().is_timeout());
    assert!(host.simulator.wait_for_vms(PATIENCE, |vms| vms.len() == 1).await);
}

#[tokio::test]
async fn a_stopped_server_refuses_connections_and_can_be_started_again_with_its_vms() {
    let mut host = host(instant()).await;
    host.create(json!({})).await;
    let addr = host.running.addr;
    let elsewhere = host.simulator.spawn_on_loopback().await.unwrap();
    std::mem::replace(&mut host.running, elsewhere).stop().await;
    let refused = tokio::net::TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    host.running = host.simulator.spawn_on(addr).await.unwrap();
    assert_eq!(names(&host.get("/nodes").await.1), ["g-1"]);
}
