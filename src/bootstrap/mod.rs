//! The userdata: the script that turns a fresh VM into a K3s agent.
//!
//! `join.sh` is the script, complete but for its values; this module fills those in. What a value may be was checked by
//! the configuration. Here it only matters that no value can become anything else than a value: each passes the one
//! quoting function of its language (`quote`), and line breaks are refused.
//!
//! The join token never passes through here. The VM finds it as a Slicer secret whose name is [`token_secret_name`].

mod agent_config;
mod quote;

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::ids::{LaunchId, NodeGroupId};
use crate::domain::node::Taint;
use crate::domain::spec::JoinSettings;

const TEMPLATE: &str = include_str!("join.sh");

/// Everything that the userdata of one VM depends on. The token is not part of it: the VM finds it as a secret.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    /// Whom to join, and where to install from.
    pub settings: &'a JoinSettings,
    /// The exact K3s version, if it is known; else the channel of `settings` decides.
    pub version: Option<&'a str>,
    /// The name of the Slicer secret that holds the join token.
    pub token_secret: &'a str,
    /// The group that the Node belongs to.
    pub group: &'a NodeGroupId,
    /// The launch that names the Node.
    pub launch: &'a LaunchId,
    /// All labels of the Node but `slicer/hostname`, which only the VM knows.
    pub labels: &'a BTreeMap<String, String>,
    /// The taints that the Node registers with.
    pub taints: &'a [Taint],
    /// Further kubelet arguments, as `name=value`.
    pub kubelet_args: &'a [String],
}

/// A value that cannot be put into a script safely.
#[derive(Debug, thiserror::Error)]
#[error("{field} holds a line break or a NUL character")]
pub struct UnsafeValue {
    /// Which value.
    pub field: &'static str,
}

/// The userdata for one VM.
///
/// # Errors
/// A value holds a line break or NUL.
pub fn render(join: &Join<'_>) -> Result<String, UnsafeValue> {
    refuse_line_breaks(join)?;
    let values = values(join);
    let mut script = String::with_capacity(TEMPLATE.len() + 1024);
    for line in TEMPLATE.lines() {
        // One pass, line by line: a value that looks like a placeholder stays what it is.
        match placeholder(line).and_then(|(variable, name)| Some((variable, values.get(name)?))) {
            Some((variable, value)) => {
                script.push_str(variable);
                script.push('=');
                script.push_str(&quote::shell(value));
            }
            None => script.push_str(line),
        }
        script.push('\n');
    }
    Ok(script)
}

/// The name of the Slicer secret for this token: another token or another cluster gets another name, so that no
/// secret is ever overwritten.
#[must_use]
pub fn token_secret_name(k3s_url: &str, token: &SecretString) -> String {
    // The newline keeps the two apart: no URL holds one.
    let digest = Sha256::new()
        .chain_update(k3s_url)
        .chain_update("\n")
        .chain_update(token.expose_secret())
        .finalize();
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("k3s-token-{hex}")
}

/// The variable and the placeholder's name, if `line` is `variable=@NAME@`.
fn placeholder(line: &str) -> Option<(&str, &str)> {
    let (variable, rest) = line.split_once("=@")?;
    Some((variable, rest.strip_suffix('@')?))
}

/// What stands for each placeholder of the template.
fn values(join: &Join<'_>) -> BTreeMap<&'static str, String> {
    let settings = join.settings;
    BTreeMap::from([
        ("K3S_URL", settings.k3s_url.clone()),
        ("VERSION", join.version.unwrap_or_default().to_owned()),
        ("CHANNEL", settings.channel.clone()),
        ("INSTALL_URL", settings.install_url.clone()),
        ("ARTIFACT_URL", settings.artifact_url.clone().unwrap_or_default()),
        ("TOKEN_SECRET", join.token_secret.to_owned()),
        ("LAUNCH", join.launch.to_string()),
        ("CONFIG", agent_config::without_hostname(join)),
    ])
}

fn refuse_line_breaks(join: &Join<'_>) -> Result<(), UnsafeValue> {
    let settings = join.settings;
    let single = [
        ("k3s-url", settings.k3s_url.as_str()),
        ("k3s-version", join.version.unwrap_or_default()),
        ("k3s-channel", &settings.channel),
        ("k3s-install-url", &settings.install_url),
        ("k3s-artifact-url", settings.artifact_url.as_deref().unwrap_or_default()),
        ("the name of the token secret", join.token_secret),
    ];
    let labels = join.labels.iter().flat_map(|(key, value)| [key, value]);
    let taints = join.taints.iter().flat_map(|taint| [&taint.key, &taint.value]);
    let every = single
        .into_iter()
        .chain(labels.map(|text| ("node-label", text.as_str())))
        .chain(taints.map(|text| ("node-taint", text.as_str())))
        .chain(join.kubelet_args.iter().map(|text| ("kubelet-arg", text.as_str())));
    for (field, text) in every {
        if text.contains(['\n', '\r', '\0']) {
            return Err(UnsafeValue { field });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::node::TaintEffect;
    use crate::domain::spec::K3sVersion;

    fn settings() -> JoinSettings {
        JoinSettings {
            k3s_url: "https://k3s.example:6443".to_owned(),
            version: K3sVersion::Server,
            channel: "stable".to_owned(),
            install_url: "https://get.k3s.io".to_owned(),
            artifact_url: None,
        }
    }

    fn with_join<T>(settings: &JoinSettings, change: impl FnOnce(&mut Join<'_>) -> T) -> T {
        let labels = BTreeMap::new();
        let (group, launch) = ("agents".parse().unwrap(), "abcd1234".parse().unwrap());
        let mut join = Join {
            settings,
            version: None,
            token_secret: "k3s-token-0123456789ab",
            group: &group,
            launch: &launch,
            labels: &labels,
            taints: &[],
            kubelet_args: &[],
        };
        change(&mut join)
    }

    #[test]
    fn the_first_byte_begins_the_shebang() {
        let script = with_join(&settings(), |join| render(join)).unwrap();
        assert!(script.starts_with("#!/bin/bash\n"));
    }

    #[test]
    fn every_placeholder_of_the_template_has_a_value_and_every_value_a_placeholder() {
        let mut known: Vec<_> = with_join(&settings(), |join| values(join)).into_keys().collect();
        for (_, name) in TEMPLATE.lines().filter_map(placeholder) {
            let at = known
                .iter()
                .position(|k| *k == name)
                .unwrap_or_else(|| panic!("{name}"));
            known.remove(at);
        }
        assert!(known.is_empty(), "{known:?}");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_not_filled_in() {
        let mut settings = settings();
        settings.channel = "@K3S_URL@".to_owned();
        let script = with_join(&settings, |join| render(join)).unwrap();
        assert!(script.contains("\nchannel='@K3S_URL@'\n"));
    }

    #[test]
    fn values_with_line_breaks_or_nul_are_refused_by_name() {
        for bad in ["a\nb", "a\rb", "a\0b"] {
            let args = [format!("x={bad}")];
            let taints = [Taint {
                key: "k".to_owned(),
                value: bad.to_owned(),
                effect: TaintEffect::NoSchedule,
            }];
            let labels = BTreeMap::from([("k".to_owned(), bad.to_owned())]);
            let mut changed = settings();
            changed.artifact_url = Some(bad.to_owned());
            let refused = |field: &str, result: Result<String, UnsafeValue>| {
                assert_eq!(result.unwrap_err().field, field);
            };
            refused("k3s-artifact-url", with_join(&changed, |join| render(join)));
            let good = settings();
            refused(
                "kubelet-arg",
                with_join(&good, |join| {
                    render(&Join {
                        kubelet_args: &args,
                        ..*join
                    })
                }),
            );
            refused(
                "node-taint",
                with_join(&good, |join| {
                    render(&Join {
                        taints: &taints,
                        ..*join
                    })
                }),
            );
            refused(
                "node-label",
                with_join(&good, |join| {
                    render(&Join {
                        labels: &labels,
                        ..*join
                    })
                }),
            );
            refused(
                "k3s-version",
                with_join(&good, |join| {
                    render(&Join {
                        version: Some(bad),
                        ..*join
                    })
                }),
            );
        }
    }

    #[test]
    fn the_secret_is_named_after_both_the_server_and_the_token() {
        let name = |url: &str, token: &str| token_secret_name(url, &SecretString::from(token));
        // printf 'https://k3s.example:6443\nK10abc::node:secret' | sha256sum
        assert_eq!(
            name("https://k3s.example:6443", "K10abc::node:secret"),
            "k3s-token-40a4a09b5415"
        );
        assert_ne!(name("https://a", "token"), name("https://b", "token"));
        assert_ne!(name("https://a", "token"), name("https://a", "other"));
        assert_ne!(name("https://a", "b"), name("https://ab", ""));
    }
}
