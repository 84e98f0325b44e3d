//! Log lines on standard error: text for people, JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::args::{LogFormat, LoggingArgs};
use crate::kubernetes::LOG_FILTER;

/// Starts logging. `quiet`: unless told otherwise, only errors; the command tells its own story.
pub(super) fn start(args: &LoggingArgs, quiet: bool) {
    let wanted = args.log_level.clone().or_else(|| std::env::var("RUST_LOG").ok());
    let default = if quiet { LevelFilter::ERROR } else { LevelFilter::INFO };
    // What comes later wins. The default is a part of the text, because a default directive counts only beside an
    // empty one. A filter that cannot be read is named on standard error, and the rest of it is used.
    let wanted = format!("{default},{LOG_FILTER},{}", wanted.unwrap_or_default());
    let filter = EnvFilter::builder().parse_lossy(wanted);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match args.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
