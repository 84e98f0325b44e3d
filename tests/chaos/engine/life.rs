//! One life of the provider: from its start to the kill that ends it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use slicer_cloud_provider::config::{self, Config, GlobalConfig, GroupConfig};
use slicer_cloud_provider::metrics::Metrics;
use slicer_cloud_provider::provider::ports::SlicerHost;
use slicer_cloud_provider::provider::{Entropy, Parts, Provider, Timings};
use slicer_cloud_provider::slicer::{Client, Timeouts};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::autoscaler::Autoscaler;
use super::cluster::FakeCluster;
use super::hosts::Host;
use super::leash::{LeashedCluster, LeashedHost};
use super::ledger::Ledger;
use super::{CLUSTER, GROUPS, MAX};

/// What every life of the provider finds.
pub(super) struct World {
    pub(super) hosts: Vec<Host>,
    pub(super) cluster: FakeCluster,
    pub(super) ledger: Ledger,
    /// Where launch ids come from; the same stream for all lives.
    pub(super) ids: Arc<Mutex<Rng>>,
}

/// A provider with its client.
pub(super) struct Life {
    pub(super) autoscaler: Autoscaler,
    dead: CancellationToken,
    shutdown: CancellationToken,
}

impl World {
    pub(super) fn config(&self) -> Result<Config, String> {
        let mut text = format!(
            "[global]\nk3s-url = https://k3s:6443\nk3s-token = join-token\ncluster-name = {CLUSTER}\n\
             k3s-version = v1.33.6+k3s1\n"
        );
        for (name, host, host_group) in GROUPS {
            // The size is known from the start, so that a host that is down does not hide its group.
            let _ = write!(
                text,
                "[nodegroup \"{name}\"]\nslicer-url = {}\nhost-group = {host_group}\nmin-size = 0\nmax-size = {MAX}\n\
                 cpus = 2\nram = 4Gi\ncreate-concurrency = 3\n",
                self.hosts[host].socket.display()
            );
        }
        config::parse(&text, Path::new("cloud-config")).map_err(|error| error.to_string())
    }

    /// Starts the provider.
    pub(super) fn begin_life(&self) -> Result<Life, String> {
        let (dead, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let ids = Arc::clone(&self.ids);
        let parts = Parts {
            connect: self.connect(&dead),
            cluster: Arc::new(LeashedCluster {
                cluster: self.cluster.clone(),
                dead: dead.clone(),
            }),
            metrics: Arc::new(Metrics::new()),
            entropy: Entropy::from_fn(move || ids.lock().unwrap_or_else(PoisonError::into_inner).u64(..)),
            timings: Timings::default(),
            tracker: TaskTracker::new(),
            shutdown: shutdown.clone(),
        };
        let provider = Provider::start(&self.config()?, parts)?;
        Ok(Life {
            autoscaler: Autoscaler::of(provider, self.ledger.clone()),
            dead,
            shutdown,
        })
    }

    fn connect(&self, dead: &CancellationToken) -> slicer_cloud_provider::provider::Connect {
        let (hosts, ledger, dead) = (self.hosts.clone(), self.ledger.clone(), dead.clone());
        Arc::new(move |group: &GroupConfig, _: &GlobalConfig| {
            let client =
                Client::new(&group.endpoint, None, None, Timeouts::default()).map_err(|error| error.to_string())?;
            let of_group = GROUPS.iter().find(|(name, _, _)| *name == group.spec.id.as_str());
            let (_, host, _) = of_group.ok_or("an unknown group")?;
            Ok(Arc::new(LeashedHost {
                client: Arc::new(client),
                host: hosts[*host].clone(),
                ledger: ledger.clone(),
                dead: dead.clone(),
            }) as Arc<dyn SlicerHost>)
        })
    }
}

impl Life {
    /// Kills the provider, wherever its jobs stand.
    pub(super) fn kill(self) {
        self.dead.cancel();
        // Nothing reaches anybody any more; this only lets what can end do so.
        self.shutdown.cancel();
    }
}
