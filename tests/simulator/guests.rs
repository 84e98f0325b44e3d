//! The inside of VMs: what a guest agent gets to see, when it runs and when it is stopped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde_json::json;
use slicer_cloud_provider::simulator::{GuestAgent, GuestVm, SimulatorConfig, Timing, UserdataOrder, UserdataOutcome};

use crate::client::{GIB, Host, PATIENCE, host_with, instant};

/// Writes down what happens to it; its userdata exits with the number that it is, or never if it is none.
#[derive(Debug, Default)]
struct Witness {
    events: Mutex<Vec<String>>,
    seen: Mutex<Option<GuestVm>>,
}

impl Witness {
    fn note(&self, event: String) {
        self.events.lock().unwrap().push(event);
    }

    async fn wait_for(&self, event: &str) {
        let there = async {
            while !self.events.lock().unwrap().iter().any(|seen| seen == event) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let events = || self.events.lock().unwrap().clone();
        assert!(
            tokio::time::timeout(PATIENCE, there).await.is_ok(),
            "no {event:?} in {:?}",
            events()
        );
    }
}

#[async_trait]
impl GuestAgent for Witness {
    async fn boot(&self, vm: &GuestVm) -> UserdataOutcome {
        self.note(format!("boot {} first={}", vm.hostname, vm.first_boot));
        *self.seen.lock().unwrap() = Some(vm.clone());
        match vm.userdata.parse() {
            Ok(code) => UserdataOutcome { exit_code: Some(code) },
            Err(_) => std::future::pending().await,
        }
    }

    async fn live(&self, vm: &GuestVm) {
        self.note(format!("live {}", vm.hostname));
        std::future::pending::<()>().await;
    }

    async fn stop(&self, hostname: &str) {
        self.note(format!("stop {hostname}"));
    }
}

async fn witnessed() -> (Host, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    (
        host_with(instant(), Arc::clone(&witness) as Arc<dyn GuestAgent>).await,
        witness,
    )
}

#[tokio::test]
async fn a_guest_sees_its_vm_and_only_the_secrets_it_was_given() {
    let (host, witness) = witnessed().await;
    for name in ["mine", "other"] {
        host.post("/secrets", json!({"name": name, "data": STANDARD.encode(name)}))
            .await;
    }
    host.create(json!({"userdata": "0", "secrets": ["mine", "missing"], "ram_bytes": GIB}))
        .await;
    host.wait_for_userdata("g-1").await;
    let vm = witness.seen.lock().unwrap().take().unwrap();
    assert_eq!((vm.hostname.as_str(), vm.ip.as_str()), ("g-1", "192.168.137.2"));
    assert_eq!((vm.cpus, vm.ram_bytes, vm.first_boot), (2, GIB, true));
    let secrets: Vec<_> = vm
        .secrets
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose_secret()))
        .collect();
    assert_eq!(secrets, [("mine", b"mine".as_slice())]);
    host.create(json!({"userdata": "0"})).await;
    host.wait_for_userdata("g-2").await;
    let vm = witness.seen.lock().unwrap().take().unwrap();
    assert_eq!(vm.secrets.into_keys().collect::<Vec<_>>(), ["mine", "other"]);
}

#[tokio::test]
async fn a_guest_lives_until_its_vm_goes_and_is_stopped_then() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "0"})).await;
    witness.wait_for("live g-1").await;
    host.delete("/hostgroup/g/nodes/g-1").await;
    witness.wait_for("stop g-1").await;
    let events = witness.events.lock().unwrap().clone();
    assert_eq!(events, ["boot g-1 first=true", "live g-1", "stop g-1"]);
}

#[tokio::test]
async fn a_guest_is_stopped_in_the_middle_of_its_userdata() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "for ever"})).await;
    witness.wait_for("boot g-1 first=true").await;
    host.simulator.kill("g-1").unwrap();
    witness.wait_for("stop g-1").await;
}

#[tokio::test]
async fn a_guest_whose_userdata_failed_does_not_live() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "3"})).await;
    host.wait_for_userdata("g-1").await;
    assert_eq!(host.get("/vm/g-1/health").await.1["userdata_exit_code"], 3);
    host.delete("/hostgroup/g/nodes/g-1").await;
    witness.wait_for("stop g-1").await;
    assert_eq!(*witness.events.lock().unwrap(), ["boot g-1 first=true", "stop g-1"]);
}

#[tokio::test]
async fn a_restart_of_the_daemon_stops_guests_and_a_relaunch_boots_them_again() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "0", "persistent": true})).await;
    witness.wait_for("live g-1").await;
    host.simulator.restart();
    witness.wait_for("stop g-1").await;
    host.post("/vm/g-1/relaunch", json!(null)).await;
    witness.wait_for("boot g-1 first=false").await;
}

#[tokio::test]
async fn the_end_of_userdata_can_be_ordered_for_the_vms_to_come() {
    let (host, witness) = witnessed().await;
    let order = |order| host.post("/simulator/userdata-outcome", order);
    assert_eq!(order(json!({"exit_code": 7})).await.0, 204);
    host.create(json!({"userdata": "0"})).await;
    host.wait_for_userdata("g-1").await;
    assert_eq!(host.get("/vm/g-1/health").await.1["userdata_exit_code"], 7);
    assert_eq!(order(json!("no_exit_code")).await.0, 204);
    host.create(json!({"userdata": "0"})).await;
    host.wait_for_userdata("g-2").await;
    let (_, health) = host.get("/vm/g-2/health").await;
    assert_eq!(
        (&health["userdata_ran"], &health["userdata_exit_code"]),
        (&json!(true), &json!(null))
    );
    assert!(
        witness.events.lock().unwrap().is_empty(),
        "the guest agent is not asked"
    );
    assert_eq!(order(json!("as_guest")).await.0, 204);
    host.create(json!({"userdata": "0"})).await;
    witness.wait_for("live g-3").await;
    assert_eq!(order(json!({"exit_code": "seven"})).await.0, 400);
}

#[tokio::test]
async fn the_end_of_userdata_can_be_ordered_for_one_vm_while_it_runs() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "for ever"})).await;
    witness.wait_for("boot g-1 first=true").await;
    let order = |order| host.post("/simulator/vms/g-1/userdata", order);
    assert_eq!(order(json!("hang")).await.0, 204);
    assert_eq!(host.simulator.vm("g-1").unwrap().userdata_outcome, None);
    assert_eq!(order(json!({"exit_code": 41})).await.0, 204);
    host.wait_for_userdata("g-1").await;
    let exited = UserdataOutcome { exit_code: Some(41) };
    assert_eq!(host.simulator.vm("g-1").unwrap().userdata_outcome, Some(exited));
    let missing = host.simulator.order_userdata("g-9", UserdataOrder::Hang);
    assert_eq!(missing.unwrap_err().to_string(), "there is no VM g-9");
}

#[tokio::test]
async fn the_guests_end_when_nobody_holds_the_simulator_any_more() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "0"})).await;
    witness.wait_for("live g-1").await;
    let Host { simulator, running, .. } = host;
    running.stop().await;
    drop(simulator);
    witness.wait_for("stop g-1").await;
}

#[tokio::test]
async fn shutting_down_waits_for_the_guests() {
    let (host, witness) = witnessed().await;
    host.create(json!({"userdata": "0"})).await;
    witness.wait_for("live g-1").await;
    host.simulator.shut_down(PATIENCE).await;
    assert_eq!(witness.events.lock().unwrap().last().unwrap(), "stop g-1");
}

#[tokio::test]
async fn a_guest_that_does_not_come_to_its_end_does_not_hold_its_vm() {
    #[derive(Debug)]
    struct Stubborn;
    #[async_trait]
    impl GuestAgent for Stubborn {
        async fn boot(&self, _vm: &GuestVm) -> UserdataOutcome {
            panic!("this guest is broken")
        }
    }
    let config = SimulatorConfig {
        timing: Timing::instant(),
        ..instant()
    };
    let host = host_with(config, Arc::new(Stubborn)).await;
    host.create(json!({})).await;
    assert!(host.simulator.wait_for_vms(PATIENCE, |vms| vms[0].agent_up).await);
    assert_eq!(host.delete("/hostgroup/g/nodes/g-1").await.0, 200);
}
