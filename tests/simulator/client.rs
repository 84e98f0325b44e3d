//! A simulator with a client.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use slicer_cloud_provider::simulator::{
    GuestAgent, RunningSimulator, ScriptedAgent, SimulatedGroup, Simulator, SimulatorConfig, Timing,
};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const GIB: u64 = 1 << 30;

pub(crate) struct Host {
    pub(crate) simulator: Simulator,
    pub(crate) running: RunningSimulator,
    http: reqwest::Client,
    token: Option<&'static str>,
}

/// A status and a body; `Null` if it is not JSON.
pub(crate) type Answer = (u16, Value);

/// One group `g` of 2 CPUs and 4 GiB on a host where nothing takes any time.
pub(crate) fn instant() -> SimulatorConfig {
    SimulatorConfig {
        groups: vec![SimulatedGroup::new("g", 2, 4 * GIB)],
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    }
}

pub(crate) async fn host(config: SimulatorConfig) -> Host {
    let agent = ScriptedAgent {
        userdata_time: config.timing.userdata,
    };
    host_with(config, Arc::new(agent)).await
}

pub(crate) async fn host_with(config: SimulatorConfig, agent: Arc<dyn GuestAgent>) -> Host {
    let simulator = Simulator::new(config, agent);
    let running = simulator.spawn_on_loopback().await.unwrap();
    Host {
        simulator,
        running,
        http: http(),
        token: None,
    }
}

pub(crate) fn http() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

impl Host {
    pub(crate) fn with_token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.running.url));
        match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::Result<Answer> {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await.unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await.unwrap()
    }

    /// Creates a VM in `g`.
    pub(crate) async fn try_create(&self, body: Value) -> reqwest::Result<Answer> {
        self.send(Method::POST, "/hostgroup/g/nodes", Some(body)).await
    }

    /// Creates a VM in `g` and returns its hostname.
    pub(crate) async fn create(&self, body: Value) -> String {
        let (status, body) = self.try_create(body).await.unwrap();
        assert_eq!(status, 201, "{body}");
        body["hostname"].as_str().unwrap().to_owned()
    }

    /// Switches a fault on over the admin routes.
    pub(crate) async fn fault(&self, fault: Value) {
        let (status, body) = self.post("/simulator/faults", fault).await;
        assert_eq!(status, 200, "{body}");
    }

    pub(crate) fn hostnames(&self) -> Vec<String> {
        self.simulator.vms().into_iter().map(|vm| vm.hostname).collect()
    }

    /// Waits until the userdata of a VM ended.
    pub(crate) async fn wait_for_userdata(&self, hostname: &str) {
        let ended = self.simulator.wait_for_vms(PATIENCE, |vms| {
            vms.iter()
                .any(|vm| vm.hostname == hostname && vm.userdata_outcome.is_some())
        });
        assert!(ended.await, "the userdata of {hostname} does not end");
    }
}

/// The names in a list of VMs.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    let vms = list.as_array().unwrap();
    vms.iter().map(|vm| vm["hostname"].as_str().unwrap()).collect()
}

/// An error body.
pub(crate) fn error(text: &str) -> Value {
    json!({ "error": text })
}
