//! What comes from outside, as bad as chance can make it: the configuration file, a Slicer host's answers, and the
//! requests of a gRPC client. Each module throws random input at one of these doors and asks for what must hold
//! whatever comes in. What right input leads to is tested elsewhere.
//!
//! `cargo test` runs few cases. For a long run, one module at a time, because a case is not the same in each:
//!
//! ```sh
//! PROPTEST_CASES=20000 cargo test --test fuzz ini
//! PROPTEST_CASES=500 cargo test --test fuzz slicer   # a case is a bunch of answers
//! PROPTEST_CASES=5000 cargo test --test fuzz rpc     # a case is a whole conversation
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ini;
mod rpc;
mod slicer;
#[path = "../support/mod.rs"]
mod support;
// The model's hosts: they note every request that must never be made.
#[allow(dead_code)]
#[path = "../model/world.rs"]
mod world;
