//! What the agents of a group register with: labels, taints and arguments of the kubelet. A kubelet with a label that
//! it may not set exits, and systemd restarts it for ever; so all that is checked here, before a VM is paid for.

use std::collections::BTreeMap;

use super::error::{Fault, shown};
use super::keys::{self, Key};
use super::section::SectionReader;
use crate::domain::ids::is_label_value;
use crate::domain::node::{LABEL_GPU, LABEL_HOST_GROUP, LABEL_HOSTNAME, LABEL_NODE_TYPE, Taint, is_label_key};

const LABEL_ZONE: &str = "topology.kubernetes.io/zone";
const LABEL_REGION: &str = "topology.kubernetes.io/region";

/// Labels under kubernetes.io that a kubelet may give its own Node, from `ValidateKubeletFlags`.
const KUBELET_LABELS: [&str; 8] = [
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    LABEL_ZONE,
    LABEL_REGION,
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// Labels that each Node gets anyway, from this server or from its kubelet.
const SET_BY_US: [&str; 6] = [
    LABEL_HOST_GROUP,
    LABEL_HOSTNAME,
    LABEL_NODE_TYPE,
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
];

/// Taints that come and go with the state of a Node. One that never goes would keep all pods away.
const TAINTS_OF_STATE: [&str; 2] = ["node.kubernetes.io/", "node.cloudprovider.kubernetes.io/"];

/// Taints by which the cluster-autoscaler marks Nodes on their way out.
const TAINTS_OF_THE_AUTOSCALER: [&str; 2] = ["ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler"];

/// Arguments of the kubelet that this server sets, and the key to use instead.
const RESERVED_ARGUMENTS: [(&str, &str); 4] = [
    (
        "provider-id",
        "this server sets it: VMs and Nodes are matched by it; remove it",
    ),
    ("node-labels", "use node-label"),
    ("register-with-taints", "use node-taint"),
    (
        "hostname-override",
        "this server names the Nodes after their VMs; remove it",
    ),
];

/// Reads all `node-label`s. `zone` and `region` say whether those keys are used, too.
pub(super) fn labels(reader: &mut SectionReader<'_>, zone: bool, region: bool) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut lines = BTreeMap::new();
    for ((key, value), line) in reader.each(&keys::NODE_LABEL, label) {
        let used = (zone && key == LABEL_ZONE).then_some("zone");
        if let Some(used) = used.or((region && key == LABEL_REGION).then_some("region")) {
            let fault = Fault::new(format!("sets {key} beside the key {used}; keep one of the two"));
            reader.fault(&keys::NODE_LABEL, line, fault);
        } else if refuse_repeated(reader, &keys::NODE_LABEL, &mut lines, key.clone(), line) {
            labels.insert(key, value);
        }
    }
    labels
}

/// Reads all `node-taint`s.
pub(super) fn taints(reader: &mut SectionReader<'_>) -> Vec<Taint> {
    let mut taints = Vec::new();
    let mut lines = BTreeMap::new();
    for (taint, line) in reader.each(&keys::NODE_TAINT, taint) {
        let identity = format!("{}:{}", taint.key, taint.effect.as_str());
        if refuse_repeated(reader, &keys::NODE_TAINT, &mut lines, identity, line) {
            taints.push(taint);
        }
    }
    taints
}

/// Reads all `kubelet-arg`s.
pub(super) fn kubelet_args(reader: &mut SectionReader<'_>) -> Vec<String> {
    let args = reader.each(&keys::KUBELET_ARG, kubelet_arg);
    args.into_iter().map(|(arg, _)| arg).collect()
}

/// Whether `identity` is new; notes where it was before if not.
fn refuse_repeated(
    reader: &mut SectionReader<'_>,
    key: &Key,
    lines: &mut BTreeMap<String, usize>,
    identity: String,
    line: usize,
) -> bool {
    if let Some(first) = lines.get(&identity) {
        let fault = format!(
            "{} is set already, in line {first}; keep one of the two",
            shown(&identity)
        );
        reader.fault(key, line, Fault::new(fault));
        return false;
    }
    lines.insert(identity, line);
    true
}

fn label(text: &str) -> Result<(String, String), Fault> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| Fault::of(text, "is not a label", "key=value"))?;
    if !is_label_key(key) {
        return Err(Fault::of(key, "is not a valid label key", "name or dns.prefix/name"));
    }
    if !is_label_value(value) {
        let expected = "up to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends";
        return Err(Fault::of(value, "is not a valid label value", expected));
    }
    label_allowed(key)?;
    Ok((key.to_owned(), value.to_owned()))
}

fn label_allowed(key: &str) -> Result<(), Fault> {
    if key == LABEL_GPU {
        return Err(Fault::new(format!("{key} is set by this server; use gpu-type")));
    }
    if SET_BY_US.contains(&key) {
        return Err(Fault::new(format!("{key} is set on every Node anyway; remove it")));
    }
    let Some((prefix, _)) = key.split_once('/') else {
        return Ok(());
    };
    if is_domain_or_below(prefix, "node-restriction.kubernetes.io") {
        return Err(Fault::new(
            "labels under node-restriction.kubernetes.io are there so that Nodes cannot set them; use another prefix",
        ));
    }
    let of_kubernetes = is_domain_or_below(prefix, "kubernetes.io") || is_domain_or_below(prefix, "k8s.io");
    let open_to_kubelets = KUBELET_LABELS.contains(&key)
        || is_domain_or_below(prefix, "kubelet.kubernetes.io")
        || is_domain_or_below(prefix, "node.kubernetes.io");
    if of_kubernetes && !open_to_kubelets {
        return Err(Fault::new(format!(
            "labels under {} may not be set by a kubelet on its own Node, it would exit; use another prefix, or set the \
             label from outside",
            shown(prefix)
        )));
    }
    Ok(())
}

fn is_domain_or_below(prefix: &str, domain: &str) -> bool {
    prefix
        .strip_suffix(domain)
        .is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

fn taint(text: &str) -> Result<Taint, Fault> {
    let taint: Taint = super::value::domain(text)?;
    if TAINTS_OF_STATE.iter().any(|prefix| taint.key.starts_with(prefix)) {
        return Err(Fault::new(format!(
            "{} tells the state of a Node, Kubernetes sets and removes it; use another key",
            shown(&taint.key)
        )));
    }
    if TAINTS_OF_THE_AUTOSCALER.contains(&taint.key.as_str()) {
        return Err(Fault::new(format!(
            "{} marks Nodes that the cluster-autoscaler removes; use another key",
            taint.key
        )));
    }
    Ok(taint)
}

fn kubelet_arg(text: &str) -> Result<String, Fault> {
    const EXPECTED: &str = "name=value or name, such as max-pods=50";
    let name = text.split('=').next().unwrap_or_default();
    if name.starts_with('-') {
        return Err(Fault::of(
            name,
            "begins with '-'",
            format_args!("{EXPECTED}, without dashes in front"),
        ));
    }
    if name.is_empty()
        || !name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    {
        return Err(Fault::of(name, "is not an argument's name", EXPECTED));
    }
    match RESERVED_ARGUMENTS.iter().find(|(reserved, _)| *reserved == name) {
        Some((_, remedy)) => Err(Fault::new(format!("{name} cannot be set here: {remedy}"))),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_kubelet_may_set_are_accepted() {
        for (text, key, value) in [
            ("disk=ssd", "disk", "ssd"),
            ("example.com/a=", "example.com/a", ""),
            (
                "node.kubernetes.io/instance-type=large",
                "node.kubernetes.io/instance-type",
                "large",
            ),
            ("node.kubernetes.io/anything=a", "node.kubernetes.io/anything", "a"),
            ("x.kubelet.kubernetes.io/a=a", "x.kubelet.kubernetes.io/a", "a"),
            ("topology.kubernetes.io/zone=z", "topology.kubernetes.io/zone", "z"),
            ("notkubernetes.io/a=a", "notkubernetes.io/a", "a"),
        ] {
            assert_eq!(label(text), Ok((key.to_owned(), value.to_owned())));
        }
    }

    #[test]
    fn labels_that_a_kubelet_may_not_set_are_refused() {
        for key in [
            "node-role.kubernetes.io/worker",
            "kubernetes.io/a",
            "app.kubernetes.io/name",
            "x.k8s.io/a",
            "k8s.io/a",
            "node-restriction.kubernetes.io/a",
            "a.node-restriction.kubernetes.io/a",
            "slicer/hostgroup",
            "slicer/hostname",
            "slicer/gpu-type",
            "k3sup.dev/node-type",
            "kubernetes.io/hostname",
            "kubernetes.io/arch",
            "kubernetes.io/os",
        ] {
            assert!(label(&format!("{key}=a")).is_err(), "{key}");
        }
        for text in ["disk", "=a", "a b=c", "a=b c", "a=b=c", "a/b/c=d"] {
            assert!(label(text).is_err(), "{text}");
        }
    }

    #[test]
    fn taints_that_others_manage_are_refused() {
        assert!(taint("dedicated=batch:NoSchedule").is_ok());
        for text in [
            "node.kubernetes.io/not-ready:NoExecute",
            "node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule",
            "ToBeDeletedByClusterAutoscaler:NoSchedule",
            "dedicated=batch",
        ] {
            assert!(taint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kubelet_arguments_that_this_server_sets_are_refused() {
        for text in ["max-pods=50", "fail-swap-on", "system-reserved=cpu=1,memory=1Gi", "v=4"] {
            assert_eq!(kubelet_arg(text), Ok(text.to_owned()));
        }
        for (text, part) in [
            ("provider-id=x", "this server sets it"),
            ("node-labels=a=b", "use node-label"),
            ("register-with-taints=a", "use node-taint"),
            ("hostname-override", "names the Nodes"),
            ("--max-pods=50", "without dashes"),
            ("Max-pods=50", "not an argument's name"),
            ("=50", "not an argument's name"),
            ("a b=c", "not an argument's name"),
        ] {
            let message = kubelet_arg(text).unwrap_err().into_message();
            assert!(message.contains(part), "{message}");
        }
    }
}
