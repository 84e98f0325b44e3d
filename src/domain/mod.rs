//! What the project is about, as plain data and pure functions: identities, VMs and Nodes as facts, the state of a
//! node group, templates, prices, failures.
//!
//! Nothing here waits, reads a clock, logs or talks to anyone, and no crate beyond the standard library is used: time
//! and randomness come in as arguments, and what should happen next goes out as values.

pub mod failure;
pub mod group;
pub mod ids;
pub mod moment;
pub mod node;
pub mod price;
pub mod quantity;
pub mod spec;
pub mod template;
pub mod vm;
