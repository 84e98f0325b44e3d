//! The userdata: the script that turns a fresh VM into a K3s agent.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::domain::ids::{LaunchId, NodeGroupId};
use crate::domain::node::Taint;
use crate::domain::spec::JoinSettings;

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
pub fn render(_join: &Join<'_>) -> Result<String, UnsafeValue> {
    Ok(String::new())
}

/// The name of the Slicer secret for this token: another token or another cluster gets another name, so that no
/// secret is ever overwritten.
#[must_use]
pub fn token_secret_name(_k3s_url: &str, _token: &SecretString) -> String {
    String::new()
}
