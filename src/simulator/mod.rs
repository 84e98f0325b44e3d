//! A simulated Slicer daemon: the parts of its REST API that a cluster needs, over VMs that exist only on paper. Tests
//! run against it, `demo` embeds it, and `simulate` offers it to people who have no Slicer host at hand.
//!
//! It is as true as the published OpenAPI and documentation allow, including what is awkward for a client: hostnames
//! that come again after a restart, ephemeral VMs that vanish, requests that are carried out although nobody waits for
//! the answer any more. On top, faults can be switched on; see [`Fault`].
//!
//! ```text
//!   serve ── routes ── handle ── shared ── lifecycle ── guest (what happens inside a VM)
//!              │                   └────── daemon, secrets, faults, journal (plain state)
//!            gate (carries out faults)
//! ```
//!
//! Not simulated: exec, cp, fs, shell, forward, metrics (404), networks and disks. A paused VM's guest goes on.

mod agent_plan;
mod config;
mod console;
mod daemon;
mod faults;
mod guest;
mod handle;
mod journal;
mod lifecycle;
mod refusal;
mod routes;
mod secrets;
mod serve;
mod shared;
mod vm;

pub use agent_plan::AgentPlan;
pub use config::{Capacity, MOST_VMS, SimulatedGroup, SimulatorConfig, Timing};
pub use console::Console;
pub use faults::{Fault, FaultKind, FaultReport, InvalidFault, MOST_BYTES, MOST_DELAY, MOST_FAULTS, RouteClass};
pub use guest::{GuestAgent, GuestVm, ScriptedAgent, UserdataOrder, UserdataOutcome};
pub use handle::{NoSuchVm, Simulator};
pub use journal::{MOST_RECORDS, RequestLog, RequestRecord};
pub use serve::RunningSimulator;
pub use vm::{Power, VmView};
