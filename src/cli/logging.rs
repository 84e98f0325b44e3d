//! Log lines on standard error: text for people, JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::args::{LogFormat, LoggingArgs};
use crate::kubernetes::LOG_FILTER;

/// Starts logging. `quiet`: unless told otherwise, only errors; the command tells its own story.
pub(super) fn start(args: &LoggingArgs, quiet: bool) {
    let wanted = args.log_level.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(wanted.as_deref(), quiet))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match args.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

/// What is wanted comes last, so that it can turn on even what is off by default. A part of it that cannot be read is
/// named on standard error, and the rest is used.
fn filter(wanted: Option<&str>, quiet: bool) -> EnvFilter {
    let default = if quiet { "error" } else { "info" };
    let wanted = wanted.filter(|text| !text.trim().is_empty()).unwrap_or(default);
    EnvFilter::builder().parse_lossy(format!("{default},{LOG_FILTER},{wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_for_everything_but_what_is_off_by_default() {
        for (wanted, quiet, expected) in [
            (None, false, "info"),
            (None, true, "error"),
            (Some("debug"), true, "debug"),
        ] {
            let filter = filter(wanted, quiet).to_string();
            assert!(filter.split(',').any(|part| part == expected), "{filter}");
            assert!(filter.contains("kube_client=off"), "{filter}");
        }
        assert!(
            filter(Some("kube_client=debug"), false)
                .to_string()
                .contains("kube_client=debug")
        );
    }
}
