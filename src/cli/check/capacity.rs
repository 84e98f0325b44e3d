//! What the node groups of one host may grow to, all together. Slicer tells nothing of what its host has: neither its
//! memory nor its CPUs, only the size of VMs. So the sum is told, for the user to compare.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::size::Size;

/// A node group that the configuration has.
pub(super) struct Configured {
    /// Where the daemon is.
    pub(super) host: String,
    /// What it may take, if the host told enough to know.
    pub(super) demand: Option<Demand>,
}

/// What one node group may take of its host, and who else is there.
pub(super) struct Demand {
    pub(super) host_group: String,
    /// `max-size`.
    pub(super) most: u32,
    /// That of one VM.
    pub(super) size: Size,
    /// The VMs of the host group that are of no node group of this configuration; `None` if they were not told.
    pub(super) others: Option<Vec<Size>>,
}

/// One finding for each host of which something is known.
pub(super) fn check(groups: &[Configured]) -> Vec<Finding> {
    let mut hosts: BTreeMap<&str, Vec<Option<&Demand>>> = BTreeMap::new();
    for group in groups {
        hosts.entry(&group.host).or_default().push(group.demand.as_ref());
    }
    hosts
        .into_iter()
        .filter_map(|(host, groups)| Some(Finding::ok(format!("host {host}"), sum(&groups)?)))
        .collect()
}

fn sum(groups: &[Option<&Demand>]) -> Option<String> {
    let demands: Vec<&Demand> = groups.iter().flatten().copied().collect();
    if demands.is_empty() {
        return None;
    }
    let most: u64 = demands.iter().map(|demand| u64::from(demand.most)).sum();
    let size: Size = demands.iter().map(|demand| demand.size.times(demand.most)).sum();
    Some(format!(
        "max-size of {}: {most} VMs with {size}{}; Slicer does not tell what its host has: compare it yourself",
        counted(demands.len(), groups.len()),
        beside(&demands)
    ))
}

/// Which node groups are in the sum. Those that are not have a failure of their own.
fn counted(known: usize, all: usize) -> String {
    let which = match (known, all) {
        (1, 1) => return "its node group".to_owned(),
        (known, all) if known == all => format!("its {all} node groups"),
        (known, all) => format!("{known} of its {all} node groups"),
    };
    if known == 1 { which } else { format!("{which} together") }
}

/// The VMs of others. Node groups may share a host group, whose VMs are counted once, by whichever listing succeeded.
fn beside(demands: &[&Demand]) -> String {
    let mut host_groups: BTreeMap<&str, &[Size]> = BTreeMap::new();
    for demand in demands {
        if let Some(others) = &demand.others {
            host_groups.insert(&demand.host_group, others);
        }
    }
    let unknown = demands
        .iter()
        .any(|demand| !host_groups.contains_key(demand.host_group.as_str()));
    let others: Vec<Size> = host_groups.into_values().flatten().copied().collect();
    match others.len() {
        0 if unknown => ", beside VMs of others that are not known".to_owned(),
        0 => String::new(),
        count => format!(
            ", beside {}{count} VMs of others in these host groups with {}",
            if unknown { "at least " } else { "" },
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

    fn demand(host_group: &str, others: Option<usize>) -> Option<Demand> {
        Some(Demand {
            host_group: host_group.to_owned(),
            most: 8,
            size: VM,
            others: others.map(|count| vec![VM; count]),
        })
    }

    /// What is told of a host with these node groups.
    fn told(demands: impl IntoIterator<Item = Option<Demand>>) -> Vec<String> {
        let host = || "a".to_owned();
        let groups: Vec<Configured> = demands
            .into_iter()
            .map(|demand| Configured { host: host(), demand })
            .collect();
        check(&groups).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn node_groups_of_one_host_are_summed_up_and_the_vms_of_others_counted_once() {
        let group = |host: &str, others| Configured {
            host: host.to_owned(),
            demand: demand("x", Some(others)),
        };
        let findings = check(&[group("a", 3), group("b", 0), group("a", 3)]);
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

    #[test]
    fn node_groups_that_are_not_in_the_sum_are_counted() {
        for (groups, said) in [
            (
                vec![demand("x", Some(0)), None, None],
                "max-size of 1 of its 3 node groups: 8 VMs",
            ),
            (
                vec![demand("x", Some(0)), None, demand("y", Some(0))],
                "max-size of 2 of its 3 node groups together: 16 VMs",
            ),
        ] {
            let told = told(groups);
            assert!(told[0].starts_with(said), "{told:?}");
        }
        assert!(told([None, None]).is_empty());
    }

    #[test]
    fn a_listing_that_failed_hides_no_vms_of_others_that_another_one_showed() {
        for (groups, said) in [
            (
                [demand("x", Some(3)), demand("x", None)],
                "memory, beside 3 VMs of others",
            ),
            (
                [demand("x", None), demand("x", Some(3))],
                "memory, beside 3 VMs of others",
            ),
            (
                [demand("x", Some(3)), demand("y", None)],
                "memory, beside at least 3 VMs of others",
            ),
            (
                [demand("x", None), demand("x", None)],
                "memory, beside VMs of others that are not known;",
            ),
        ] {
            let told = told(groups);
            assert!(told[0].contains(said), "{told:?}");
        }
    }
}
