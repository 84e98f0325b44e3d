//! Runs the userdata for real, in a directory that stands for a VM, against fakes of the programs that it calls.

// Clippy knows tests by their attribute only, not what they call.
#![allow(clippy::unwrap_used)]

#[path = "userdata/machine.rs"]
mod machine;

#[path = "userdata/failing.rs"]
mod failing;
#[path = "userdata/joining.rs"]
mod joining;
#[path = "userdata/repeating.rs"]
mod repeating;
#[path = "userdata/script.rs"]
mod script;
#[path = "userdata/values.rs"]
mod values;
