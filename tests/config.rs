//! The configuration file as its users meet it: text in, settings or a list of problems out.

// Helpers of tests may panic as tests do; clippy.toml's exception covers only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::panic)]

/// Whole files: the ones that exist, and what is said about broken ones.
#[path = "config/files.rs"]
mod files;
/// What each key accepts and refuses.
#[path = "config/keys.rs"]
mod keys;
/// What holds for all files.
#[path = "config/properties.rs"]
mod properties;

use std::path::Path;

use slicer_cloud_provider::config::{self, Config, ConfigError};

/// The least `[global]`, three lines.
const GLOBAL: &str = "[global]\nk3s-url=https://192.168.137.2:6443\nk3s-token=join\n";
/// The least group, three lines.
const GROUP: &str = "[nodegroup \"a\"]\nslicer-url=http://192.168.138.1:8081\nslicer-token=api\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    config::parse(text, Path::new("cloud-config"))
}

/// The least file with `line` added to `[global]`, as line 4.
fn with_global(line: &str) -> Result<Config, ConfigError> {
    parse(&format!("{GLOBAL}{line}\n{GROUP}"))
}

/// The least file with `lines` added to its group, from line 7 on.
fn with_group(lines: &str) -> Result<Config, ConfigError> {
    parse(&format!("{GLOBAL}{GROUP}{lines}\n"))
}

#[track_caller]
fn errors(result: Result<Config, ConfigError>) -> Vec<String> {
    result.unwrap_err().to_string().lines().map(str::to_owned).collect()
}
