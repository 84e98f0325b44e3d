//! The page `/api/v1/state`, as far as it is looked at here: all that a server knows of each group, in one instant.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Queued,
    Requested,
    Booting,
    Running,
    Failed,
    Deleting,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Instance {
    id: String,
    pub(crate) phase: Phase,
    /// The hostname of its VM.
    pub(crate) vm: Option<String>,
}

impl Instance {
    /// It counts for the target.
    pub(crate) fn is_wanted(&self) -> bool {
        self.phase != Phase::Deleting
    }

    /// No VM is known, and no deletion was asked: a decrease may give it up.
    pub(crate) fn may_be_given_up(&self) -> bool {
        self.is_wanted() && self.vm.is_none()
    }
}

/// A group in an instant.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) target: usize,
    /// The host answered the last listing; as VMs are not forgotten, they are all known.
    pub(crate) host_is_up: bool,
    pub(crate) instances: BTreeMap<String, Instance>,
}

impl Group {
    /// The ids that count for the target.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let wanted = self.instances.iter().filter(|(_, instance)| instance.is_wanted());
        wanted.map(|(id, _)| id.clone()).collect()
    }

    /// Whether every instance is in one of these phases.
    pub(crate) fn all_are(&self, phases: &[Phase]) -> bool {
        self.instances.values().all(|instance| phases.contains(&instance.phase))
    }
}

#[derive(Deserialize)]
struct State {
    groups: Vec<StateGroup>,
    hosts: Vec<StateHost>,
}

#[derive(Deserialize)]
struct StateGroup {
    id: String,
    target_size: usize,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct StateHost {
    groups: Vec<String>,
    status: String,
}

/// Reads the page: the groups by name.
pub(crate) fn read(text: &str) -> BTreeMap<String, Group> {
    let state: State = serde_json::from_str(text).unwrap();
    let hosts = state.hosts;
    let is_up = |group: &String| {
        hosts
            .iter()
            .any(|host| host.status == "up" && host.groups.contains(group))
    };
    let groups = state.groups.into_iter().map(|group| {
        let instances = group.instances.into_iter();
        let read = Group {
            target: group.target_size,
            host_is_up: is_up(&group.id),
            instances: instances.map(|instance| (instance.id.clone(), instance)).collect(),
        };
        (group.id, read)
    });
    groups.collect()
}
