//! The goals, each with what was measured. A goal that is missed is told, and is no error: what is measured depends on
//! the machine and on what else it does.

use std::time::Duration;

use crate::figures::millis;

/// A loop against one of the bare server.
pub(crate) const LOOP_RATIO: f64 = 1.3;
/// NodeGroupForNode with many instances against one with few.
pub(crate) const LOOK_UP_RATIO: f64 = 1.5;
/// A scale-up against what the hosts need at best.
pub(crate) const SCALE_UP_RATIO: f64 = 1.1;
/// IncreaseSize, however slow the hosts are.
pub(crate) const INCREASE: Duration = Duration::from_millis(50);
/// From the start of the process to its first answer.
pub(crate) const START: Duration = Duration::from_millis(100);
/// Resident memory in MiB without any VM.
pub(crate) const IDLE_MIB: f64 = 12.0;
/// Resident memory in MiB with 5,000 VMs.
pub(crate) const LOADED_MIB: f64 = 25.0;
/// The program in MiB.
pub(crate) const PROGRAM_MIB: f64 = 15.0;

/// Tells whether a figure is at most its goal.
pub(crate) fn at_most(what: &str, is: f64, goal: f64, unit: &str) {
    tell(
        is <= goal,
        what,
        &format!("{is:.2}{unit}"),
        &format!("at most {goal}{unit}"),
    );
}

/// Tells whether a time is below its goal.
pub(crate) fn within(what: &str, is: Duration, goal: Duration) {
    tell(is < goal, what, &millis(is), &format!("below {}", millis(goal)));
}

/// Tells whether a number is what it is to be.
pub(crate) fn exactly(what: &str, is: u64, goal: u64) {
    tell(is == goal, what, &is.to_string(), &goal.to_string());
}

fn tell(reached: bool, what: &str, is: &str, goal: &str) {
    let word = if reached { "pass" } else { "MISS" };
    println!("{word}  {what}: {is} (goal: {goal})");
}
