//! What a measurement plays on: the fleet, the hosts that hold it, the Kubernetes API that shows it, and a folder for
//! the files of the server.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::Failure;
use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::hosts::Hosts;
use crate::process::Setup;

const CONFIG: &str = "cloud-config";
const KUBECONFIG: &str = "kubeconfig";

/// It stands until this is dropped.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) hosts: Hosts,
    cluster: Option<Cluster>,
    folder: TempDir,
}

impl Stage {
    /// Hosts that take `create` for a VM and hold those of the fleet already and, if it is wanted, a Kubernetes API with
    /// their Nodes. Not to be called from async code.
    pub(crate) fn new(fleet: Fleet, create: Duration, with_kubernetes: bool) -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let hosts = Hosts::start(&fleet, create)?;
        hosts.fill(&fleet)?;
        let config = folder.path().join(CONFIG);
        let written = std::fs::write(&config, fleet.config(&hosts.urls()));
        written.map_err(|error| format!("{}: {error}", config.display()))?;
        let cluster = with_kubernetes.then(|| Cluster::of(&fleet));
        if let Some(cluster) = &cluster {
            cluster.write_kubeconfig(&folder.path().join(KUBECONFIG))?;
        }
        Ok(Self {
            fleet,
            hosts,
            cluster,
            folder,
        })
    }

    /// What the server is started with.
    pub(crate) fn setup<'a>(&self, program: &'a Path) -> Setup<'a> {
        Setup {
            program,
            config: self.folder.path().join(CONFIG),
            kubeconfig: self.cluster.is_some().then(|| self.folder.path().join(KUBECONFIG)),
        }
    }

    /// A folder for files that somebody else is to find.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
