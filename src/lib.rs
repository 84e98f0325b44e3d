//! The cloud provider that lets an unmodified Kubernetes cluster-autoscaler add and remove K3s nodes on Slicer hosts.
//!
//! ```text
//!   main ── server, admin ── grpc ── provider ── domain
//!                                       │  └──── bootstrap, config ── domain
//!                                     ports
//!                              slicer ──┴── kubernetes
//! ```

#[cfg(any())]
pub mod admin;
pub mod bootstrap;
#[cfg(any())]
pub mod cli;
pub mod config;
pub mod domain;
pub mod grpc;
pub mod kubernetes;
pub mod metrics;
pub mod provider;
pub mod secret;
#[cfg(any())]
pub mod server;
pub mod simulator;
pub mod slicer;
