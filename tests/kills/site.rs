//! A simulated Slicer host with its node group, its faults and a VM of somebody else. Its VMs are watched by a
//! [`Witness`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use slicer_cloud_provider::simulator::{
    Fault, FaultKind, RouteClass, RunningSimulator, ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig, Timing,
};

use crate::support::{SLICER_TOKEN, nodegroup};
use crate::witness::Witness;

/// The maximum size of each group.
pub(crate) const MAX: usize = 6;

/// The label of VMs that tells in which life of the server they were asked for.
pub(crate) const LIFE: &str = "life";

/// A host and its group, which has the same name.
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) simulator: Simulator,
    pub(crate) witness: Witness,
    running: RunningSimulator,
}

impl Site {
    pub(crate) async fn start(name: &'static str, seed: u64) -> Self {
        let config = SimulatorConfig {
            token: Some(SLICER_TOKEN.into()),
            groups: vec![SimulatedGroup::new(name, 2, 4 << 30)],
            timing: Timing {
                create: Duration::from_millis(30),
                delete: Duration::from_millis(40),
                boot: Duration::from_millis(30),
                userdata: Duration::ZERO,
            },
            seed,
            ..SimulatorConfig::default()
        };
        let userdata_time = Duration::from_millis(30);
        let simulator = Simulator::new(config, Arc::new(ScriptedAgent { userdata_time }));
        let running = simulator.spawn_on_loopback().await.unwrap();
        create_foreign_vm(name, &running.url).await;
        let witness = Witness::of(name, &simulator);
        let site = Self {
            name,
            simulator,
            witness,
            running,
        };
        site.faults_on();
        site
    }

    /// The group's section in the configuration of this life of the server.
    pub(crate) fn section(&self, life: u32) -> String {
        let lines = format!("max-size = {MAX}\ncpus = 2\nram = 4Gi\nnode-label = {LIFE}={life}");
        nodegroup(self.name, &self.running.url, &lines)
    }

    /// How many requests faults hit so far.
    pub(crate) fn faults_hit(&self) -> u32 {
        self.simulator.faults().iter().map(|fault| fault.hits).sum()
    }

    fn faults_on(&self) {
        for (route, kinds) in faults() {
            for (kind, probability) in kinds {
                let fault = Fault::every(route, kind).with_probability(probability);
                self.simulator.switch_on(fault).unwrap();
            }
        }
    }
}

/// What goes wrong, and how often.
fn faults() -> [(RouteClass, Vec<(FaultKind, f64)>); 6] {
    use FaultKind::{CloseAfter, CloseBefore, CutOff, DelayAfter, DelayBefore, ErrorInBody, Nonsense};
    let status = |text: &str| FaultKind::Status {
        code: 500,
        text: text.to_owned(),
    };
    let broken = || status("internal error");
    let reads = || {
        vec![
            (CloseBefore, 0.03),
            (broken(), 0.03),
            (CutOff, 0.02),
            (DelayBefore { ms: 40 }, 0.05),
            (DelayAfter { ms: 60 }, 0.08),
        ]
    };
    let create = vec![
        (CloseBefore, 0.02),
        (CloseAfter, 0.06),
        (broken(), 0.04),
        (status("no free address in the pool"), 0.06),
        (CutOff, 0.03),
        (Nonsense, 0.02),
        (DelayBefore { ms: 100 }, 0.10),
        (DelayAfter { ms: 150 }, 0.10),
    ];
    let delete = vec![
        (CloseBefore, 0.05),
        (CloseAfter, 0.08),
        (broken(), 0.05),
        (
            ErrorInBody {
                text: "disk is busy".to_owned(),
            },
            0.03,
        ),
        (DelayBefore { ms: 80 }, 0.10),
        (DelayAfter { ms: 150 }, 0.10),
    ];
    let secrets = vec![(CloseAfter, 0.05), (broken(), 0.03), (DelayAfter { ms: 80 }, 0.05)];
    [
        (RouteClass::Create, create),
        (RouteClass::Delete, delete),
        (RouteClass::List, reads()),
        (RouteClass::Hostgroup, reads()),
        (RouteClass::Health, reads()),
        (RouteClass::Secrets, secrets),
    ]
}

async fn create_foreign_vm(group: &str, url: &str) {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().tls_certs_only([]).no_proxy().build();
    let create = http.unwrap().post(format!("{url}/hostgroup/{group}/nodes"));
    let body = json!({"tags": ["team=somebody-else"]});
    let answer = create.bearer_auth(SLICER_TOKEN).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}
