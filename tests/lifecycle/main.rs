//! The life of node groups through the public face: gRPC calls in, REST requests to simulated Slicer hosts out.

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod reload;
mod restart;
mod scale_down;
mod scale_up;
