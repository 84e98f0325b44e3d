//! The configuration itself: a summary if it can be used, else all that is wrong with it.

use std::path::Path;

use super::finding::{Finding, Verdict};
use crate::config::{Config, ConfigError};

const SUBJECT: &str = "configuration";

pub(super) fn summary(path: &Path, config: &Config) -> Finding {
    let text = format!(
        "{}: node groups: {}; VMs are tagged for cluster {}",
        path.display(),
        config.groups.len(),
        config.global.cluster
    );
    Finding::ok(SUBJECT, text)
}

/// One finding for each problem. They say themselves what to do.
pub(super) fn problems(error: &ConfigError) -> Vec<Finding> {
    let failure = |text: String| Finding {
        verdict: Verdict::Fail,
        ..Finding::ok(SUBJECT, text)
    };
    match error {
        ConfigError::Invalid { file, problems } => {
            let place = file.display();
            problems
                .iter()
                .map(|problem| failure(format!("{place}:{problem}")))
                .collect()
        }
        other => vec![failure(other.to_string())],
    }
}
