//! What VMs go through after their creation: switched off and on again, and reported on by their guests.

use jiff::Timestamp;

use super::Daemon;
use crate::simulator::guest::{UserdataOrder, UserdataOutcome};
use crate::simulator::refusal::Refusal;
use crate::simulator::vm::{BootId, Power, Vm};

impl Daemon {
    /// The guest exits, by itself or because it was told to: an ephemeral VM is gone, a persistent one stops.
    pub(in crate::simulator) fn exit(&mut self, hostname: &str) -> Result<(), Refusal> {
        if self.vm(hostname)?.order.persistent {
            return self.halt(hostname, Power::Stopped);
        }
        self.vms.remove(hostname);
        Ok(())
    }

    pub(in crate::simulator) fn pause(&mut self, hostname: &str) -> Result<(), Refusal> {
        self.switch(hostname, &[Power::Running, Power::Paused], Power::Paused)
    }

    pub(in crate::simulator) fn resume(&mut self, hostname: &str) -> Result<(), Refusal> {
        self.switch(hostname, &[Power::Paused, Power::Running], Power::Running)
    }

    pub(in crate::simulator) fn suspend(&mut self, hostname: &str) -> Result<(), Refusal> {
        require(self.vm(hostname)?, &[Power::Running, Power::Paused])?;
        self.halt(hostname, Power::Suspended)
    }

    pub(in crate::simulator) fn restore(&mut self, hostname: &str, now: Timestamp) -> Result<(), Refusal> {
        require(self.vm(hostname)?, &[Power::Suspended])?;
        self.start(hostname, now).map(drop)
    }

    /// Starts a stopped VM with the disk that it has.
    pub(in crate::simulator) fn relaunch(&mut self, hostname: &str, now: Timestamp) -> Result<&Vm, Refusal> {
        if self.vm(hostname)?.power.is_on() {
            return Err(Refusal::AlreadyRunning(hostname.to_owned()));
        }
        self.start(hostname, now)
    }

    /// The agent of a VM answers from now on.
    pub(in crate::simulator) fn agent_is_up(&mut self, hostname: &str, boot: BootId, now: Timestamp) {
        if let Some(vm) = self.booted_mut(hostname, boot) {
            vm.agent_since = Some(now);
        }
    }

    /// The userdata of a VM ended. Only the first end counts.
    pub(in crate::simulator) fn userdata_ended(&mut self, hostname: &str, boot: BootId, outcome: UserdataOutcome) {
        let Some(vm) = self.booted_mut(hostname, boot) else {
            return;
        };
        if vm.userdata_outcome.is_none() {
            vm.console.write_line(&match outcome.exit_code {
                Some(code) => format!("userdata: exited with {code}"),
                None => "userdata: finished".to_owned(),
            });
            vm.userdata_outcome = Some(outcome);
        }
    }

    /// Decides how the userdata of one VM ends.
    pub(in crate::simulator) fn order_userdata(&mut self, hostname: &str, order: UserdataOrder) -> Result<(), Refusal> {
        let missing = || Refusal::NoSuchVm(hostname.to_owned());
        self.vms.get_mut(hostname).ok_or_else(missing)?.userdata_order = order;
        Ok(())
    }

    /// Decides how the userdata of the VMs to come ends.
    pub(in crate::simulator) fn order_userdata_to_come(&mut self, order: UserdataOrder) {
        self.userdata_order = order;
    }

    pub(in crate::simulator) fn userdata_to_come(&self) -> UserdataOrder {
        self.userdata_order
    }

    /// Starts a VM that is off, if there is room.
    pub(super) fn start(&mut self, hostname: &str, now: Timestamp) -> Result<&Vm, Refusal> {
        let needed = self.vm(hostname)?.size.ram_bytes;
        self.check_memory(needed)?;
        self.last_boot += 1;
        let boot = BootId(self.last_boot);
        if let Some(vm) = self.vms.get_mut(hostname) {
            vm.boot = boot;
            vm.booted_at = now;
            vm.power = Power::Running;
            vm.agent_since = None;
        }
        self.vm(hostname)
    }

    fn switch(&mut self, hostname: &str, from: &[Power], to: Power) -> Result<(), Refusal> {
        require(self.vm(hostname)?, from)?;
        if let Some(vm) = self.vms.get_mut(hostname) {
            vm.power = to;
        }
        Ok(())
    }

    fn halt(&mut self, hostname: &str, to: Power) -> Result<(), Refusal> {
        let missing = || Refusal::NoSuchVm(hostname.to_owned());
        let vm = self.vms.get_mut(hostname).ok_or_else(missing)?;
        vm.power = to;
        vm.agent_since = None;
        Ok(())
    }

    fn booted_mut(&mut self, hostname: &str, boot: BootId) -> Option<&mut Vm> {
        self.vms
            .get_mut(hostname)
            .filter(|vm| vm.boot == boot && vm.power.is_on())
    }
}

fn require(vm: &Vm, allowed: &[Power]) -> Result<(), Refusal> {
    if allowed.contains(&vm.power) {
        return Ok(());
    }
    Err(Refusal::WrongPower {
        hostname: vm.hostname.clone(),
        is: vm.power.as_str(),
        wanted: allowed.first().map_or("", |power| match power {
            Power::Suspended => "Suspended",
            other => other.as_str(),
        }),
    })
}
