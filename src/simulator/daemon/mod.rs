//! The state of the simulated daemon, as pure functions: host groups, VMs, room. It knows no clock, no task and no
//! HTTP; who calls it says what time it is and starts or ends the guests of the VMs that it switches on or off.

mod power;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::config::{Capacity, MOST_VMS, SimulatedGroup, SimulatorConfig};
use super::console::Console;
use super::guest::UserdataOrder;
use super::refusal::Refusal;
use super::vm::{BootId, Order, Power, Size, TagFilter, Vm};

/// The size that a create request asks for; what it leaves out is the host group's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WantedSize {
    pub(super) cpus: Option<u32>,
    pub(super) ram_bytes: Option<u64>,
    pub(super) gpu_count: Option<u32>,
}

#[derive(Debug)]
struct Group {
    shape: SimulatedGroup,
    last_number: u64,
}

/// A simulated daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    groups: Vec<Group>,
    vms: BTreeMap<String, Vm>,
    capacity: Capacity,
    trial_limit: Option<usize>,
    userdata_order: UserdataOrder,
    last_boot: u64,
    created: u64,
    deleted: u64,
}

impl Daemon {
    /// A daemon that has just started: only the protected VMs exist.
    pub(super) fn new(config: &SimulatorConfig, now: Timestamp) -> Self {
        let group = |shape: &SimulatedGroup| Group {
            shape: shape.clone(),
            last_number: 0,
        };
        let mut daemon = Self {
            groups: config.groups.iter().map(group).collect(),
            vms: BTreeMap::new(),
            capacity: config.capacity,
            trial_limit: config.trial_limit,
            userdata_order: UserdataOrder::AsGuest,
            last_boot: 0,
            created: 0,
            deleted: 0,
        };
        daemon.launch_protected(now);
        daemon
    }

    /// The host groups, each with the number of its VMs.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&SimulatedGroup, usize)> {
        self.groups.iter().map(|group| {
            let count = self.vms.values().filter(|vm| vm.group == group.shape.name);
            (&group.shape, count.count())
        })
    }

    /// The VMs of one host group, or of all.
    pub(super) fn list(&self, group: Option<&str>, filter: &TagFilter) -> Result<Vec<&Vm>, Refusal> {
        if let Some(name) = group {
            self.group(name)?;
        }
        let wanted = |vm: &&Vm| group.is_none_or(|name| vm.group == name) && vm.matches(filter);
        Ok(self.vms.values().filter(wanted).collect())
    }

    pub(super) fn vm(&self, hostname: &str) -> Result<&Vm, Refusal> {
        let missing = || Refusal::NoSuchVm(hostname.to_owned());
        self.vms.get(hostname).ok_or_else(missing)
    }

    /// The VM of this very boot, unless it is off or gone.
    pub(super) fn booted(&self, hostname: &str, boot: BootId) -> Option<&Vm> {
        self.vms.get(hostname).filter(|vm| vm.boot == boot && vm.power.is_on())
    }

    /// Every boot that is under way or done and not yet over.
    pub(super) fn boots(&self) -> impl Iterator<Item = (BootId, &Vm)> {
        self.vms.values().filter(|vm| vm.power.is_on()).map(|vm| (vm.boot, vm))
    }

    pub(super) fn created(&self) -> u64 {
        self.created
    }

    pub(super) fn deleted(&self) -> u64 {
        self.deleted
    }

    pub(super) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// VMs that are already there stay, also when they no longer fit.
    pub(super) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// Creates and starts a VM.
    pub(super) fn create(
        &mut self,
        group: &str,
        wanted: WantedSize,
        order: Order,
        now: Timestamp,
    ) -> Result<&Vm, Refusal> {
        let size = self.fit(group, wanted)?;
        if let Some(limit) = self.trial_limit.filter(|limit| self.vms.len() >= *limit) {
            return Err(Refusal::TrialLimit(limit));
        }
        self.check_memory(size.ram_bytes)?;
        let most = self.capacity.max_vms.unwrap_or(MOST_VMS).min(MOST_VMS);
        if self.vms.len() >= most {
            return Err(Refusal::NoAddress(most));
        }
        let hostname = self.launch(group, size, order, now)?;
        self.created += 1;
        self.vm(&hostname)
    }

    /// Deletes a VM and its disk.
    pub(super) fn delete(&mut self, group: &str, hostname: &str) -> Result<(), Refusal> {
        let vm = self.vm(hostname)?;
        if vm.group != group {
            return Err(Refusal::NoSuchVm(hostname.to_owned()));
        }
        if vm.order.protected {
            return Err(Refusal::Protected(hostname.to_owned()));
        }
        self.vms.remove(hostname);
        self.deleted += 1;
        Ok(())
    }

    /// Takes back a VM whose creation was waited for in vain. It counts neither as created nor as deleted.
    pub(super) fn take_back(&mut self, hostname: &str, boot: BootId) {
        if self.vms.get(hostname).is_some_and(|vm| vm.boot == boot) {
            self.vms.remove(hostname);
            self.created = self.created.saturating_sub(1);
        }
    }

    /// The daemon restarts. Ephemeral VMs are lost, persistent ones stop, those of its YAML start again, and the
    /// numbers of each host group begin at 1 again, so that hostnames are given a second time.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.vms.retain(|_, vm| vm.order.persistent);
        for vm in self.vms.values_mut() {
            vm.power = Power::Stopped;
            vm.agent_since = None;
        }
        for group in &mut self.groups {
            group.last_number = 0;
        }
        let protected = self.vms.values().filter(|vm| vm.order.protected);
        let protected: Vec<String> = protected.map(|vm| vm.hostname.clone()).collect();
        for hostname in protected {
            // Without room it stays stopped, as on a real host.
            let _ = self.start(&hostname, now);
        }
    }

    fn group(&self, name: &str) -> Result<&Group, Refusal> {
        let missing = || Refusal::NoSuchGroup(name.to_owned());
        self.groups
            .iter()
            .find(|group| group.shape.name == name)
            .ok_or_else(missing)
    }

    /// The size of a VM: the group's is the default and the maximum, and 0 is as good as nothing said.
    fn fit(&self, group: &str, wanted: WantedSize) -> Result<Size, Refusal> {
        let shape = &self.group(group)?.shape;
        let cpus = within("cpus", wanted.cpus, shape.cpus)?;
        let ram_bytes = within("ram_bytes", wanted.ram_bytes, shape.ram_bytes)?;
        let gpu_count = within("gpu_count", wanted.gpu_count, shape.gpu_count)?;
        Ok(Size {
            cpus,
            ram_bytes,
            gpu_count,
        })
    }

    fn check_memory(&self, needed: u64) -> Result<(), Refusal> {
        let Some(total) = self.capacity.ram_bytes else {
            return Ok(());
        };
        let used = self.boots().map(|(_, vm)| vm.size.ram_bytes).sum();
        let free = total.saturating_sub(used);
        if needed > free {
            return Err(Refusal::NoMemory { needed, free });
        }
        Ok(())
    }

    fn launch_protected(&mut self, now: Timestamp) {
        let shapes: Vec<SimulatedGroup> = self.groups.iter().map(|group| group.shape.clone()).collect();
        for shape in shapes {
            let size = Size {
                cpus: shape.cpus,
                ram_bytes: shape.ram_bytes,
                gpu_count: shape.gpu_count,
            };
            for _ in 0..shape.protected {
                let order = Order {
                    persistent: true,
                    protected: true,
                    ..Order::default()
                };
                // The group exists: it is iterated over.
                let _ = self.launch(&shape.name, size, order, now);
            }
        }
    }

    /// Adds a running VM under the next hostname that is free.
    fn launch(&mut self, group: &str, size: Size, order: Order, now: Timestamp) -> Result<String, Refusal> {
        let vms = &self.vms;
        let missing = || Refusal::NoSuchGroup(group.to_owned());
        let of = |of: &&mut Group| of.shape.name == group;
        let entry = self.groups.iter_mut().find(of).ok_or_else(missing)?;
        let hostname = loop {
            entry.last_number += 1;
            let hostname = format!("{group}-{}", entry.last_number);
            // A persistent VM kept its name over the restart that set the numbers back.
            if !vms.contains_key(&hostname) {
                break hostname;
            }
        };
        self.last_boot += 1;
        let vm = Vm {
            hostname: hostname.clone(),
            group: group.to_owned(),
            arch: entry.shape.arch,
            size,
            disk_bytes: entry.shape.disk_bytes,
            machine_id: machine_id(BootId(self.last_boot)),
            order,
            address: first_free_address(vms),
            created_at: now,
            boot: BootId(self.last_boot),
            booted_at: now,
            power: Power::Running,
            agent_since: None,
            userdata_outcome: None,
            userdata_order: self.userdata_order,
            console: Console::default(),
        };
        self.vms.insert(hostname.clone(), vm);
        Ok(hostname)
    }
}

fn within<T>(what: &'static str, asked: Option<T>, limit: T) -> Result<T, Refusal>
where
    T: Copy + Default + PartialOrd + Into<u64>,
{
    match asked {
        Some(asked) if asked > limit => Err(Refusal::OverLimit {
            what,
            asked: asked.into(),
            limit: limit.into(),
        }),
        Some(asked) if asked > T::default() => Ok(asked),
        _ => Ok(limit),
    }
}

/// Random digits. If the system has none, which no supported platform does, a disk of this daemon still has its own.
fn machine_id(first_boot: BootId) -> String {
    let half = || getrandom::u64().unwrap_or(first_boot.0);
    format!("{:016x}{:016x}", half(), half())
}

fn first_free_address(vms: &BTreeMap<String, Vm>) -> usize {
    let taken: BTreeSet<usize> = vms.values().map(|vm| vm.address).collect();
    (0..).find(|address| !taken.contains(address)).unwrap_or(taken.len())
}
