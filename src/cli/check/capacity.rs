//! What the node groups of one host may grow to, all together. Slicer tells nothing of what its host has: neither its
//! memory nor its CPUs, only the size of VMs. So the sum is told, for the user to compare.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::size::Size;

/// What one node group may take of its host, and who else is there.
pub(super) struct Demand {
    /// Where the daemon is.
    pub(super) host: String,
    pub(super) host_group: String,
    /// `max-size`.
    pub(super) most: u32,
    /// That of one VM.
    pub(super) size: Size,
    /// The VMs of the host group that are of no node group of this configuration.
    pub(super) others: Vec<Size>,
}

/// One finding for each host.
pub(super) fn check(demands: &[Demand]) -> Vec<Finding> {
    let mut hosts: BTreeMap<&str, Vec<&Demand>> = BTreeMap::new();
    for demand in demands {
        hosts.entry(&demand.host).or_default().push(demand);
    }
    hosts
        .into_iter()
        .map(|(host, demands)| Finding::ok(format!("host {host}"), sum(&demands)))
        .collect()
}

fn sum(demands: &[&Demand]) -> String {
    let most: u64 = demands.iter().map(|demand| u64::from(demand.most)).sum();
    let size: Size = demands.iter().map(|demand| demand.size.times(demand.most)).sum();
    format!(
        "max-size of {}: {most} VMs with {size}{}; Slicer does not tell what its host has: compare it yourself",
        groups(demands.len()),
        beside(demands)
    )
}

fn groups(count: usize) -> String {
    match count {
        1 => "its node group".to_owned(),
        count => format!("its {count} node groups together"),
    }
}

/// The VMs of others. Node groups may share a host group, whose VMs are counted once.
fn beside(demands: &[&Demand]) -> String {
    let host_groups: BTreeMap<&str, &[Size]> = demands
        .iter()
        .map(|demand| (demand.host_group.as_str(), demand.others.as_slice()))
        .collect();
    let others: Vec<Size> = host_groups.into_values().flatten().copied().collect();
    match others.len() {
        0 => String::new(),
        count => format!(
            ", beside {count} VMs of others in these host groups with {}",
            others.into_iter().sum::<Size>()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: Size = Size {
        cpus: 2,
        ram_bytes: 4 << 30,
        gpus: 0,
    };

    fn demand(host: &str, host_group: &str, others: usize) -> Demand {
        Demand {
            host: host.to_owned(),
            host_group: host_group.to_owned(),
            most: 8,
            size: VM,
            others: vec![VM; others],
        }
    }

    #[test]
    fn node_groups_of_one_host_are_summed_up_and_the_vms_of_others_counted_once() {
        let demands = [demand("a", "x", 3), demand("b", "x", 0), demand("a", "x", 3)];
        let findings = check(&demands);
        assert_eq!(
            findings[0].to_string(),
            "ok    host a: max-size of its 2 node groups together: 16 VMs with 32 CPUs, 64 GiB of memory, beside 3 VMs \
             of others in these host groups with 6 CPUs, 12 GiB of memory; Slicer does not tell what its host has: \
             compare it yourself"
        );
        assert!(
            findings[1]
                .text
                .starts_with("max-size of its node group: 8 VMs with 16 CPUs, 32 GiB of memory;")
        );
    }
}
