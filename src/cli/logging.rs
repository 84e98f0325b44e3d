//! Log lines on standard error: text for people, JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::CliError;
use super::args::{LogFormat, LoggingArgs};
use crate::kubernetes::LOG_FILTER;

/// Starts logging. `quiet`: unless told otherwise, only errors; the command tells its own story.
pub(super) fn start(args: &LoggingArgs, quiet: bool) -> Result<(), CliError> {
    let level = if quiet { "error" } else { "info" };
    let wanted = args.log_level.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let filter = filter(level, wanted.as_deref().unwrap_or_default())?;
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let lines = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(())
}

/// What is logged: `wanted`, and at `level` whatever that says nothing of. Later directives replace earlier ones.
/// By target and level only: filters by span and field would be several times as large a part of the program.
fn filter(level: &str, wanted: &str) -> Result<Targets, CliError> {
    let wanted_ones = wanted
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty());
    let refused = |why: &str| {
        CliError::Usage(format!(
            "--log-level or RUST_LOG {wanted:?}: {why}; write a level such as debug, or a filter such as \
             info,slicer_cloud_provider::slicer=debug"
        ))
    };
    // Else taken for parts of targets, which match nothing.
    if wanted.contains(['[', ']', '{', '}']) {
        return Err(refused("spans and fields cannot be filtered by"));
    }
    let directives: Vec<&str> = [level, LOG_FILTER].into_iter().chain(wanted_ones).collect();
    let filter = directives.join(",").parse::<Targets>();
    filter.map_err(|error| refused(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(level: &str, wanted: &str) -> Vec<String> {
        let text = filter(level, wanted).unwrap().to_string();
        let mut directives: Vec<String> = text.split(',').map(str::to_owned).collect();
        directives.sort();
        directives
    }

    /// What is always there unless it is asked for.
    const QUIET: [&str; 3] = ["kube_client=off", "kube_runtime=off", "rustls_platform_verifier=off"];

    #[test]
    fn a_level_holds_for_all_but_the_libraries_that_are_kept_quiet() {
        for (level, wanted, expected) in [("info", "", "info"), ("error", "", "error"), ("info", "debug", "debug")] {
            assert_eq!(read(level, wanted), [&[expected], &QUIET[..]].concat());
        }
    }

    #[test]
    fn a_filter_adds_to_the_level_and_can_let_a_quiet_library_speak() {
        assert_eq!(
            read("info", "kube_client=debug,slicer_cloud_provider::slicer=trace"),
            [
                "info",
                "kube_client=debug",
                "kube_runtime=off",
                "rustls_platform_verifier=off",
                "slicer_cloud_provider::slicer=trace"
            ]
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_with_what_it_was() {
        for wanted in ["hyper=loud", "info,hyper[span]=debug", "[{vm}]=debug"] {
            let error = filter("info", wanted).unwrap_err();
            assert!(
                matches!(&error, CliError::Usage(text) if text.contains(&format!("{wanted:?}"))),
                "{error}"
            );
        }
    }
}
