//! Hosts that are down when the server starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use slicer_cloud_provider::simulator::{ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig};
use tokio::net::TcpListener;

use crate::program::Serving;
use crate::support::*;

/// An address that nobody listens on yet, on a loopback address that no other test takes ports of.
async fn address_to_come() -> SocketAddr {
    let listener = TcpListener::bind("127.86.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn a_host_that_is_down_at_the_start_holds_up_nobody_and_joins_by_itself() {
    let garage = host("garage").await;
    let attic = address_to_come().await;
    let config = global("")
        + &nodegroup("garage", &garage.running.url, "")
        + &nodegroup("attic", &format!("http://{attic}"), "");
    let serving = Serving::start(&config).await;
    let ready = eventually("ready", async || {
        let page = serving.page("/readyz").await;
        (page.status == 200).then_some(page)
    })
    .await;
    assert!(ready.text.contains("node group attic is not listed"), "{}", ready.text);
    assert!(!ready.text.contains("garage"), "{}", ready.text);

    let mut client = serving.client().await;
    wait_for_group(&mut client, "garage").await;
    increase(&mut client, "garage", 1).await.unwrap();
    let launched = garage
        .simulator
        .wait_for_vms(Duration::from_secs(10), |vms| vms.len() == 1);
    assert!(launched.await);

    let config = SimulatorConfig {
        token: Some(SLICER_TOKEN.into()),
        groups: vec![SimulatedGroup::new("attic", 2, 4 << 30)],
        ..SimulatorConfig::default()
    };
    let agent = ScriptedAgent {
        userdata_time: Duration::ZERO,
    };
    let simulator = Simulator::new(config, Arc::new(agent));
    let _running = simulator.spawn_on(attic).await.unwrap();
    wait_for_group(&mut client, "attic").await;
    assert_eq!(serving.page("/readyz").await.text, "ready\n");
}
