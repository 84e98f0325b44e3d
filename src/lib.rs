//! The cloud provider that lets an unmodified Kubernetes cluster-autoscaler add and remove K3s nodes on Slicer hosts.
//!
//! ```text
//!                    cli                        flags, signals, exit codes; puts everything together
//!                     │
//!         ┌───────────┼───────────┐
//!      server       admin     simulator         listeners, TLS | health, metrics, state | a Slicer daemon to try with
//!         │           │
//!       grpc          │                         the externalgrpc service: decode, call, encode
//!         └─────┬─────┘
//!            provider ── ports ◁── slicer       one method per RPC, and the jobs behind them
//!               │              ◁── kubernetes   the outside: Slicer daemons, the Kubernetes API
//!     config, bootstrap                         the INI file | the userdata
//!               │
//!            domain                             ids, the state of a group, templates, prices: no outside at all
//! ```
//!
//! Arrows point down only. [`provider::ports`] is what the provider needs of the outside; `slicer` and `kubernetes`
//! implement it. [`metrics`], [`secret`], `file`, `looks`, `redact`, `seats` and `seldom` are leaves that several
//! modules use; [`k3s`] serves `check` alone.

pub mod admin;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod domain;
mod file;
pub mod grpc;
pub mod k3s;
pub mod kubernetes;
mod looks;
pub mod metrics;
pub mod provider;
mod redact;
mod seats;
pub mod secret;
mod seldom;
pub mod server;
pub mod simulator;
pub mod slicer;
