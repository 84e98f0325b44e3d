//! Which flags of the cluster-autoscaler go with this configuration.

use super::finding::Finding;
use crate::config::Config;

pub(super) fn fitting(config: &Config) -> Vec<Finding> {
    let any_min = config.groups.iter().any(|group| group.spec.limits.min > 0);
    let any_price = config.groups.iter().any(|group| group.spec.price_per_hour.is_some());
    let flags = [
        (true, "--cloud-provider=externalgrpc: what this server serves"),
        (
            true,
            "--cloud-config=FILE: a YAML file with the address of this server, not this configuration",
        ),
        (
            any_min,
            "--enforce-node-group-min-size: without it min-size is not seen to",
        ),
        (any_price, "--expander=price: prices are configured"),
        (
            config.groups.len() > 1,
            "--balance-similar-node-groups --balancing-label=node.kubernetes.io/instance-type \
             --balancing-label=kubernetes.io/arch: to spread nodes over hosts with equal VMs",
        ),
    ];
    let fitting = flags.into_iter().filter(|(fits, _)| *fits);
    fitting
        .map(|(_, flag)| Finding::ok("cluster-autoscaler", flag))
        .collect()
}
