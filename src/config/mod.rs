//! The configuration file: an INI text becomes checked, typed settings, or a list of everything that is wrong with it.

use std::num::NonZeroUsize;

use crate::domain::ids::ClusterId;
use crate::domain::spec::{Endpoint, JoinSettings, NodeGroupSpec};
use crate::secret::SecretSource;

/// A whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[global]`.
    pub global: GlobalConfig,
    /// `[nodegroup "..."]`, in the order of the file; at least one.
    pub groups: Vec<GroupConfig>,
}

/// `[global]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// Whom agents join, and how they install K3s.
    pub join: JoinSettings,
    /// `k3s-token` or `k3s-token-file`.
    pub k3s_token: SecretSource,
    /// The content of `ca-bundle`: PEM, with at least one certificate.
    pub ca_bundle: Option<Vec<u8>>,
    /// `cluster-name`, or one derived from `k3s-url`.
    pub cluster: ClusterId,
}

/// `[nodegroup "NAME"]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// What the group is to be.
    pub spec: NodeGroupSpec,
    /// `slicer-url`.
    pub endpoint: Endpoint,
    /// `slicer-token` or `slicer-token-file`; only a unix socket does without.
    pub slicer_token: Option<SecretSource>,
    /// `create-concurrency`: POSTs at once to this host.
    pub create_concurrency: NonZeroUsize,
}
