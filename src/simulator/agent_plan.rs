//! What the userdata of a VM would make of it: the Node that its agent registers. The userdata is read, never run: a
//! simulator must not execute what it is sent.
//!
//! Reads this project's own userdata only: the line `config='...'` with K3s's configuration, and `launch='...'`.

use std::collections::BTreeMap;

/// The Node that an agent would register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentPlan {
    /// `<VM hostname>-<launch id>`.
    pub node_name: String,
    /// `--kubelet-arg provider-id=...`.
    pub provider_id: String,
    /// Labels, with `slicer/hostname`.
    pub labels: BTreeMap<String, String>,
    /// Taints as `key=value:Effect`.
    pub taints: Vec<String>,
    /// All kubelet arguments.
    pub kubelet_args: Vec<String>,
}

impl AgentPlan {
    /// Reads the userdata of the VM `hostname`; `None` if it is not of this project.
    #[must_use]
    pub fn read(userdata: &str, hostname: &str) -> Option<Self> {
        let launch = shell_value(userdata, "launch")?;
        let config = shell_value(userdata, "config")?;
        let mut plan = Self {
            node_name: format!("{}-{launch}", hostname.to_ascii_lowercase()),
            ..Self::default()
        };
        let mut list = "";
        for line in config.lines() {
            match line.strip_prefix("  - ") {
                Some(item) => plan.take(list, yaml_string(item)?),
                None => list = line.split(':').next().unwrap_or(""),
            }
        }
        plan.labels.insert("slicer/hostname".to_owned(), hostname.to_owned());
        Some(plan)
    }

    fn take(&mut self, list: &str, item: String) {
        match list {
            "node-label" => {
                let (key, value) = item.split_once('=').unwrap_or((&item, ""));
                self.labels.insert(key.to_owned(), value.to_owned());
            }
            "node-taint" => self.taints.push(item),
            "kubelet-arg" => {
                if let Some(id) = item.strip_prefix("provider-id=") {
                    self.provider_id = id.to_owned();
                }
                self.kubelet_args.push(item);
            }
            _ => {}
        }
    }
}

/// The value of `name='...'` in a script, with `'\''` for a quote.
fn shell_value(script: &str, name: &str) -> Option<String> {
    let start = script.find(&format!("\n{name}='"))? + name.len() + 3;
    let mut value = String::new();
    let mut rest = script.get(start..)?;
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix("\\''") {
            Some(next) => {
                value.push('\'');
                rest = next;
            }
            None => return Some(value),
        }
    }
}

/// A double-quoted YAML string with nothing but `\"` and `\\` escaped.
fn yaml_string(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut value = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        value.push(if c == '\\' { chars.next()? } else { c });
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::{Join, render};
    use crate::domain::spec::{JoinSettings, K3sVersion};

    #[test]
    fn the_plan_is_what_the_userdata_was_rendered_from() {
        let settings = JoinSettings {
            k3s_url: "https://k3s:6443".to_owned(),
            version: K3sVersion::Server,
            channel: "stable".to_owned(),
            install_url: "https://get.k3s.io".to_owned(),
            artifact_url: None,
        };
        let labels = BTreeMap::from([("team".to_owned(), "it's \"a\\b\"".to_owned())]);
        let join = Join {
            settings: &settings,
            version: None,
            token_secret: "k3s-token-0123456789ab",
            group: &"agents".parse().unwrap(),
            launch: &"abcd1234".parse().unwrap(),
            labels: &labels,
            taints: &["dedicated=batch:NoSchedule".parse().unwrap()],
            kubelet_args: &["max-pods=50".to_owned()],
        };
        let plan = AgentPlan::read(&render(&join).unwrap(), "Agents-7").unwrap();
        assert_eq!(plan.node_name, "agents-7-abcd1234");
        assert_eq!(plan.provider_id, "slicer://agents/abcd1234");
        assert_eq!(plan.labels["team"], labels["team"]);
        assert_eq!(plan.labels["slicer/hostname"], "Agents-7");
        assert_eq!(plan.taints, ["dedicated=batch:NoSchedule"]);
        assert!(plan.kubelet_args.contains(&"max-pods=50".to_owned()));
    }

    #[test]
    fn other_userdata_has_no_plan() {
        assert_eq!(AgentPlan::read("#!/bin/sh\necho hello\n", "a-1"), None);
        assert_eq!(AgentPlan::read("\nlaunch='x'\nconfig='unfinished", "a-1"), None);
    }
}
