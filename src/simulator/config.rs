//! What a simulated Slicer daemon is like: its host groups, its room, its speed. Faults are not here: they are
//! switched on and off while it runs.

use std::time::Duration;

use secrecy::SecretString;

use crate::domain::vm::Architecture;

/// The most VMs that a simulator ever holds, whatever its capacity says: each has a task, a console and an address.
pub const MOST_VMS: usize = 10_000;

/// The disk of a VM in bytes unless a host group says otherwise: what is left of the 25 GiB that `slicer new` makes.
const DISK_BYTES: u64 = 26_241_896_448;

/// How a simulated daemon starts.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// The bearer token that requests must carry. `None`: authentication is off, as on a unix socket.
    pub token: Option<SecretString>,
    /// The host groups, by unique name.
    pub groups: Vec<SimulatedGroup>,
    /// How much room the host has.
    pub capacity: Capacity,
    /// How many VMs a host in trial mode allows; a further one is refused with 403. `None`: licensed.
    pub trial_limit: Option<usize>,
    /// How long things take.
    pub timing: Timing,
    /// Whether `/simulator/...` exists. Those routes need no token, so that a test or a person can switch faults of a
    /// daemon that refuses everybody; they show no secret.
    pub admin_routes: bool,
    /// Where the chances of the faults come from: the same seed and the same order of requests give the same faults.
    pub seed: u64,
}

impl Default for SimulatorConfig {
    /// One host group `k3s-agents-1` of 2 CPUs and 4 GiB, no token, room for 1000 VMs, quick but not instant.
    fn default() -> Self {
        Self {
            token: None,
            groups: vec![SimulatedGroup::new("k3s-agents-1", 2, 4 << 30)],
            capacity: Capacity::default(),
            trial_limit: None,
            timing: Timing::default(),
            admin_routes: true,
            seed: 1,
        }
    }
}

/// A host group of the simulated host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedGroup {
    /// Its name; VMs are named after it.
    pub name: String,
    /// Virtual CPUs of a VM: the default and the maximum.
    pub cpus: u32,
    /// Memory of a VM in bytes: the default and the maximum.
    pub ram_bytes: u64,
    /// Architecture of the VMs.
    pub arch: Architecture,
    /// GPUs of a VM: the default and the maximum.
    pub gpu_count: u32,
    /// Disk of a VM in bytes, as its guest sees it.
    pub disk_bytes: u64,
    /// VMs that exist from the start (`count` in the daemon's YAML). They are protected: DELETE answers 403.
    pub protected: u32,
}

impl SimulatedGroup {
    /// An amd64 host group with the disks that `slicer new` makes, without GPUs and without VMs of its own.
    #[must_use]
    pub fn new(name: &str, cpus: u32, ram_bytes: u64) -> Self {
        Self {
            name: name.to_owned(),
            cpus,
            ram_bytes,
            arch: Architecture::Amd64,
            gpu_count: 0,
            disk_bytes: DISK_BYTES,
            protected: 0,
        }
    }
}

/// How much room the host has. Protected VMs take their share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Addresses in the pool: the most VMs at once, stopped ones included. `None`: as many as [`MOST_VMS`].
    #[serde(default)]
    pub max_vms: Option<usize>,
    /// Memory for running VMs in bytes. `None`: as much as anybody asks for.
    #[serde(default)]
    pub ram_bytes: Option<u64>,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            max_vms: Some(1000),
            ram_bytes: None,
        }
    }
}

/// How long things take on the simulated host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From a POST until the VM is there and the answer is sent.
    pub create: Duration,
    /// From a DELETE until the VM is gone and the answer is sent.
    pub delete: Duration,
    /// From the start of a VM until its agent answers health.
    pub boot: Duration,
    /// How long userdata runs that has its end ordered. A guest agent takes its own time.
    pub userdata: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            create: Duration::from_millis(100),
            delete: Duration::from_millis(50),
            boot: Duration::from_secs(1),
            userdata: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// Nothing takes any time: for tests that wait for nothing.
    #[must_use]
    pub fn instant() -> Self {
        Self {
            create: Duration::ZERO,
            delete: Duration::ZERO,
            boot: Duration::ZERO,
            userdata: Duration::ZERO,
        }
    }
}
