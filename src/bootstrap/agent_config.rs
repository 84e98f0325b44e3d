//! K3s's `config.yaml` as far as it is known before the VM exists. It beats flags and environment variables: systemd
//! would expand `$` and `%` in those, and the installer would drop backslashes.

use super::Join;
use super::quote::yaml;
use crate::domain::ids::InstanceId;

/// Where the script puts the join token, as the agent sees it.
const TOKEN_FILE: &str = "/etc/rancher/k3s/agent-token";

/// The text of the file without its end. It stops inside the list `node-label`: the script adds the label
/// `slicer/hostname` and the key `node-name`, which need the VM's hostname. The script installs and restarts only when
/// the file has changed; that is why the wanted version stands in a comment of it.
pub(super) fn without_hostname(join: &Join<'_>) -> String {
    let provider_id = InstanceId::of_launch(join.group, join.launch);
    let mut kubelet_args = vec![format!("provider-id={provider_id}")];
    kubelet_args.extend_from_slice(join.kubelet_args);

    let wanted = match join.version {
        Some(version) => format!("# K3s version {}", yaml(version)),
        None => format!("# K3s channel {}", yaml(&join.settings.channel)),
    };
    let mut lines = vec![
        wanted,
        format!("server: {}", yaml(&join.settings.k3s_url)),
        format!("token-file: {}", yaml(TOKEN_FILE)),
    ];
    push_list(&mut lines, "kubelet-arg", kubelet_args);
    if !join.taints.is_empty() {
        push_list(&mut lines, "node-taint", join.taints.iter().map(ToString::to_string));
    }
    let labels = join.labels.iter().map(|(key, value)| format!("{key}={value}"));
    push_list(&mut lines, "node-label", labels);
    lines.join("\n")
}

fn push_list(lines: &mut Vec<String>, key: &str, items: impl IntoIterator<Item = String>) {
    lines.push(format!("{key}:"));
    lines.extend(items.into_iter().map(|item| format!("  - {}", yaml(&item))));
}
