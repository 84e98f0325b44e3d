//! A Slicer host whose requests are timed: what the operator sees of a host that gets slower, or fails.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::domain::failure::HostError;
use crate::domain::ids::Hostname;
use crate::domain::vm::{HostGroup, UserdataState, Vm};
use crate::metrics::Metrics;
use crate::provider::ports::{SlicerHost, VmRequest};

/// The host behind it, with a stopwatch.
#[derive(Debug)]
pub struct Measured<H> {
    host: H,
    metrics: Arc<Metrics>,
}

impl<H: SlicerHost> Measured<H> {
    /// Times the requests to `host` into `metrics`.
    pub fn new(host: H, metrics: Arc<Metrics>) -> Self {
        Self { host, metrics }
    }

    async fn time<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, HostError>> + Send,
    ) -> Result<T, HostError> {
        let begun = Instant::now();
        let answer = request.await;
        let outcome = answer.as_ref().map_or_else(|error| error.kind.as_str(), |_| "ok");
        self.metrics.host_answered(operation, outcome, begun.elapsed());
        answer
    }
}

#[async_trait]
impl<H: SlicerHost> SlicerHost for Measured<H> {
    async fn host_groups(&self) -> Result<Vec<HostGroup>, HostError> {
        self.time("list_host_groups", self.host.host_groups()).await
    }

    async fn list_vms(&self, host_group: &str, tag: Option<&str>) -> Result<Vec<Vm>, HostError> {
        self.time("list_vms", self.host.list_vms(host_group, tag)).await
    }

    async fn create_vm(&self, host_group: &str, request: &VmRequest) -> Result<Hostname, HostError> {
        self.time("create_vm", self.host.create_vm(host_group, request)).await
    }

    async fn delete_vm(&self, host_group: &str, hostname: &Hostname) -> Result<(), HostError> {
        self.time("delete_vm", self.host.delete_vm(host_group, hostname)).await
    }

    async fn ensure_secret(&self, name: &str, value: &SecretString) -> Result<(), HostError> {
        self.time("ensure_secret", self.host.ensure_secret(name, value)).await
    }

    async fn userdata_state(&self, hostname: &Hostname) -> Result<UserdataState, HostError> {
        self.time("get_health", self.host.userdata_state(hostname)).await
    }

    async fn serial_log_tail(&self, hostname: &Hostname, lines: u32) -> Result<String, HostError> {
        self.time("get_logs", self.host.serial_log_tail(hostname, lines)).await
    }
}
