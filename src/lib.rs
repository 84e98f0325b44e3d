//! The cloud provider that lets an unmodified Kubernetes cluster-autoscaler add and remove K3s nodes on Slicer hosts.
//!
//! ```text
//!   main ── server, admin ── grpc ── provider ── domain
//!                                       │  └──── bootstrap, config ── domain
//!                                     ports
//!                              slicer ──┴── kubernetes
//! ```

pub mod bootstrap;
pub mod config;
pub mod domain;
pub mod grpc;
pub mod kubernetes;
pub mod metrics;
pub mod provider;
pub mod secret;
pub mod simulator;
pub mod slicer;
