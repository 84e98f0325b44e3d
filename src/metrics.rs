//! The Prometheus metrics: names, labels and the registry. What counts is decided where it happens; gauges are set
//! from the provider's state when they are read.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::failure::FailureCode;
use crate::domain::ids::NodeGroupId;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupLabel {
    nodegroup: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupReasonLabel {
    nodegroup: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupStateLabel {
    nodegroup: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RpcLabel {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RpcNameLabel {
    rpc: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabel {
    operation: &'static str,
    outcome: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// RPCs are answered from memory, but for DeleteNodes, which waits for a second.
fn rpc_durations() -> Histogram {
    Histogram::new([0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 2.5, 10.0])
}

/// From a listing in the same room to a create that runs into its time-out.
fn request_durations() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    ])
}

/// One group's gauges.
#[derive(Clone, Debug)]
pub struct GroupGauges {
    /// The group.
    pub group: NodeGroupId,
    /// Its target size.
    pub target_size: i64,
    /// `min-size`.
    pub min_size: i64,
    /// `max-size`.
    pub max_size: i64,
    /// Whether its host answered last time.
    pub host_up: bool,
    /// When its host answered a listing last, in seconds since 1970; `None` if it never did.
    pub last_listing: Option<f64>,
    /// Whether the shape of its VMs is known, so that it is listed.
    pub listed: bool,
    /// Instances by state.
    pub instances: Vec<(&'static str, i64)>,
}

/// All metrics of the server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Held while the gauges are set and shown: who scrapes at the same time must not find them half cleared.
    rendering: Mutex<()>,
    launches: Family<GroupLabel, Counter>,
    failures: Family<GroupReasonLabel, Counter>,
    removals: Family<GroupLabel, Counter>,
    removal_errors: Family<GroupLabel, Counter>,
    vanished: Family<GroupLabel, Counter>,
    stale_nodes: Family<GroupLabel, Counter>,
    clamped_decreases: Family<GroupLabel, Counter>,
    rpcs: Family<RpcLabel, Counter>,
    rpc_durations: Durations<RpcNameLabel>,
    request_durations: Durations<RequestLabel>,
    reloads: Family<ResultLabel, Counter>,
    refused: Gauge,
    target_size: Family<GroupLabel, Gauge>,
    min_size: Family<GroupLabel, Gauge>,
    max_size: Family<GroupLabel, Gauge>,
    host_up: Family<GroupLabel, Gauge>,
    last_listing: Family<GroupLabel, Gauge<f64, AtomicU64>>,
    listed: Family<GroupLabel, Gauge>,
    instances: Family<GroupStateLabel, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every metric of the server.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("slicer_cloud_provider"),
            rendering: Mutex::new(()),
            launches: Family::default(),
            failures: Family::default(),
            removals: Family::default(),
            removal_errors: Family::default(),
            vanished: Family::default(),
            stale_nodes: Family::default(),
            clamped_decreases: Family::default(),
            rpcs: Family::default(),
            rpc_durations: Family::new_with_constructor(rpc_durations),
            request_durations: Family::new_with_constructor(request_durations),
            reloads: Family::default(),
            refused: Gauge::default(),
            target_size: Family::default(),
            min_size: Family::default(),
            max_size: Family::default(),
            host_up: Family::default(),
            last_listing: Family::default(),
            listed: Family::default(),
            instances: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register(
            "build",
            "Version of the server",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        r.register("launches", "VMs launched", self.launches.clone());
        r.register("failures", "Instances that failed, by reason", self.failures.clone());
        r.register("removals", "VMs removed on request", self.removals.clone());
        r.register(
            "removal_errors",
            "Attempts to remove a VM that failed and are repeated",
            self.removal_errors.clone(),
        );
        r.register("vms_vanished", "VMs that disappeared unasked", self.vanished.clone());
        r.register(
            "stale_nodes_removed",
            "Nodes removed after their VM was gone",
            self.stale_nodes.clone(),
        );
        r.register(
            "clamped_decreases",
            "DecreaseTargetSize calls that asked for more than there was to give up",
            self.clamped_decreases.clone(),
        );
        r.register("rpcs", "gRPC calls answered, by status code", self.rpcs.clone());
        r.register_with_unit(
            "rpc_duration",
            "Time from a gRPC call to its answer",
            Unit::Seconds,
            self.rpc_durations.clone(),
        );
        r.register_with_unit(
            "slicer_request_duration",
            "Time of a request to a Slicer host with all its repeats, by what became of it",
            Unit::Seconds,
            self.request_durations.clone(),
        );
        r.register(
            "config_reloads",
            "Reloads of the configuration, by result",
            self.reloads.clone(),
        );
        for result in ["ok", "refused"] {
            // So that the first of them is an increase, and not a new series.
            drop(self.reloads.get_or_create(&ResultLabel { result }));
        }
        r.register(
            "config_refused",
            "1 while the configuration on disk is refused, so that an older one is in force",
            self.refused.clone(),
        );
        r.register("target_size", "Target size of a node group", self.target_size.clone());
        r.register("min_size", "Configured minimum", self.min_size.clone());
        r.register("max_size", "Configured maximum", self.max_size.clone());
        r.register(
            "host_up",
            "1 if the group's host answered last time",
            self.host_up.clone(),
        );
        r.register_with_unit(
            "host_last_listing_timestamp",
            "When the group's host answered a listing last, since 1970",
            Unit::Seconds,
            self.last_listing.clone(),
        );
        r.register(
            "nodegroup_listed",
            "1 if the group's VM shape is known, so that it is listed",
            self.listed.clone(),
        );
        r.register(
            "instances",
            "Instances of a node group, by state",
            self.instances.clone(),
        );
    }

    pub(crate) fn launch_succeeded(&self, group: &NodeGroupId) {
        self.launches.get_or_create(&label(group)).inc();
    }

    pub(crate) fn instance_failed(&self, group: &NodeGroupId, code: FailureCode) {
        self.failures.get_or_create(&reason(group, code)).inc();
    }

    pub(crate) fn vm_removed(&self, group: &NodeGroupId) {
        self.removals.get_or_create(&label(group)).inc();
    }

    pub(crate) fn removal_failed(&self, group: &NodeGroupId) {
        self.removal_errors.get_or_create(&label(group)).inc();
    }

    pub(crate) fn vm_vanished(&self, group: &NodeGroupId) {
        self.vanished.get_or_create(&label(group)).inc();
    }

    pub(crate) fn stale_node_removed(&self, group: &NodeGroupId) {
        self.stale_nodes.get_or_create(&label(group)).inc();
    }

    pub(crate) fn decrease_clamped(&self, group: &NodeGroupId) {
        self.clamped_decreases.get_or_create(&label(group)).inc();
    }

    pub(crate) fn rpc_answered(&self, rpc: &'static str, code: &'static str, took: Duration) {
        self.rpcs.get_or_create(&RpcLabel { rpc, code }).inc();
        self.rpc_durations
            .get_or_create(&RpcNameLabel { rpc })
            .observe(took.as_secs_f64());
    }

    /// A request to a Slicer host ended; `outcome` is `ok`, or the kind of error.
    pub(crate) fn host_answered(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        self.request_durations
            .get_or_create(&RequestLabel { operation, outcome })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn config_reloaded(&self, succeeded: bool) {
        let result = if succeeded { "ok" } else { "refused" };
        self.reloads.get_or_create(&ResultLabel { result }).inc();
        self.refused.set(i64::from(!succeeded));
    }

    pub(crate) fn config_is_well_again(&self) {
        self.refused.set(0);
    }

    /// Makes every series of a group exist, so that a counter at zero can be told from a missing one.
    pub(crate) fn announce(&self, group: &NodeGroupId) {
        for family in [
            &self.launches,
            &self.removals,
            &self.removal_errors,
            &self.vanished,
            &self.stale_nodes,
            &self.clamped_decreases,
        ] {
            drop(family.get_or_create(&label(group)));
        }
        for code in FailureCode::ALL {
            drop(self.failures.get_or_create(&reason(group, code)));
        }
    }

    /// All metrics in the OpenMetrics text format, with these gauges.
    ///
    /// # Errors
    /// Formatting failed, which no known input causes.
    pub fn render(&self, groups: &[GroupGauges]) -> Result<String, std::fmt::Error> {
        let _alone = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        // A group that is no longer configured must not go on being shown.
        for family in [
            &self.target_size,
            &self.min_size,
            &self.max_size,
            &self.host_up,
            &self.listed,
        ] {
            family.clear();
        }
        self.last_listing.clear();
        self.instances.clear();
        for gauges in groups {
            self.set_gauges(gauges);
        }
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    fn set_gauges(&self, gauges: &GroupGauges) {
        let label = label(&gauges.group);
        self.target_size.get_or_create(&label).set(gauges.target_size);
        self.min_size.get_or_create(&label).set(gauges.min_size);
        self.max_size.get_or_create(&label).set(gauges.max_size);
        self.host_up.get_or_create(&label).set(gauges.host_up.into());
        self.listed.get_or_create(&label).set(gauges.listed.into());
        if let Some(seconds) = gauges.last_listing {
            self.last_listing.get_or_create(&label).set(seconds);
        }
        for (state, count) in &gauges.instances {
            let nodegroup = gauges.group.to_string();
            self.instances
                .get_or_create(&GroupStateLabel { nodegroup, state })
                .set(*count);
        }
    }
}

fn label(group: &NodeGroupId) -> GroupLabel {
    GroupLabel {
        nodegroup: group.to_string(),
    }
}

fn reason(group: &NodeGroupId, code: FailureCode) -> GroupReasonLabel {
    GroupReasonLabel {
        nodegroup: group.to_string(),
        reason: code.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauges(name: &str) -> GroupGauges {
        GroupGauges {
            group: name.parse().unwrap(),
            target_size: 3,
            min_size: 0,
            max_size: 5,
            host_up: true,
            last_listing: Some(1.5),
            listed: true,
            instances: vec![("running", 3)],
        }
    }

    #[test]
    fn who_scrapes_at_the_same_time_as_others_sees_every_group() {
        let (metrics, groups) = (Metrics::new(), ["attic", "garage"].map(gauges));
        let scrape_often = || {
            for _ in 0..200 {
                let page = metrics.render(&groups).unwrap();
                for series in ["target_size", "max_size", "nodegroup_listed"] {
                    let shown = page.matches(&format!("{series}{{nodegroup=")).count();
                    assert_eq!(shown, 2, "{series} in {page}");
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(scrape_often);
            }
        });
    }
}
