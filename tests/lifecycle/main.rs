//! The life of node groups through the public face: gRPC calls in, REST requests to simulated Slicer hosts out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod hosts;
mod log;
mod nodes;
mod reload;
mod restart;
mod scale_down;
mod scale_up;
mod telling;
