//! The configuration file: an INI text becomes checked, typed settings, or a list of everything that is wrong with it.
//!
//! ```text
//!   text ── lines ────> ini ──────> check ──────> section ──> global, nodegroup ──> Config
//!           what may    rust-ini,   the right     each key    limits, address, token, node,
//!           be read     with lines  sections      once        duration, value: single values
//! ```
//!
//! `keys` lists every key; `error` holds the words for everything that can be wrong; `watch` notices a file that
//! changed. Nothing is applied here: the
//! result is handed to whoever asked for it, at the start and at each reload.

mod address;
mod check;
mod duration;
mod error;
#[cfg(test)]
mod gcfg_tests;
mod global;
mod ini;
pub mod keys;
mod limits;
mod line;
mod lines;
mod node;
mod nodegroup;
mod paths;
mod section;
mod token;
mod unknown;
mod value;
mod watch;

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::Path;

pub use self::error::{ConfigError, Problem};
use self::paths::Paths;
pub use self::watch::{Change, Watch};
use crate::domain::ids::ClusterId;
use crate::domain::spec::{Endpoint, JoinSettings, NodeGroupSpec};
use crate::file;
use crate::secret::SecretSource;

/// Largest configuration file that is read, in bytes: thousands of groups.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Reads and checks the configuration file at `path`, and the files that it names.
///
/// # Errors
/// The file cannot be read, is no regular file, over 1 MiB or not UTF-8; or as [`parse`].
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let bytes = file::read(path, LARGEST_FILE).map_err(|source| unreadable(path, source))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| ConfigError::NotUtf8 {
        file: path.to_owned(),
        line: 1 + bytes
            .iter()
            .take(error.valid_up_to())
            .filter(|byte| **byte == b'\n')
            .count(),
    })?;
    parse(text, path)
}

fn unreadable(path: &Path, source: std::io::Error) -> ConfigError {
    let file = path.to_owned();
    if source.kind() == ErrorKind::FileTooLarge {
        let limit = LARGEST_FILE;
        return ConfigError::TooLarge { file, limit };
    }
    ConfigError::Unreadable { file, source }
}

/// Checks a configuration text. `file` is what errors call it, and its folder is where relative paths of `ca-bundle`,
/// of the `-file` keys and of unix sockets start; those files are read.
///
/// # Errors
/// All that is wrong with the text and the files that it names, see [`ConfigError::problems`].
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
    check::check(ini::read(text), &Paths::of(file)).map_err(|problems| ConfigError::invalid(file.to_owned(), problems))
}

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
