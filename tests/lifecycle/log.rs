//! What the server logs, told apart by node group: the tests of this binary share one log, and each has groups of its
//! own names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

/// A line of log.
#[derive(Clone, Debug, Default)]
struct Line(BTreeMap<&'static str, String>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

struct Collector;

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        LINES.lock().unwrap().push(line);
    }
}

/// Collects from now on what is logged by default: INFO and worse.
pub(crate) fn collect() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let collector = Collector.with_filter(LevelFilter::from_level(Level::INFO));
        let log = tracing_subscriber::registry().with(collector);
        tracing::subscriber::set_global_default(log).unwrap();
    });
}

/// The messages about a group so far, in their order, that hold any of these texts.
pub(crate) fn messages(group: &str, texts: &[&str]) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    let of_group = lines
        .iter()
        .filter(|Line(fields)| fields.get("group").is_some_and(|name| name == group));
    let messages = of_group.filter_map(|Line(fields)| fields.get("message").cloned());
    messages
        .filter(|message| texts.iter().any(|text| message.contains(text)))
        .collect()
}

/// The lines about a group so far whose message begins so, with their fields.
pub(crate) fn lines(group: &str, message: &str) -> Vec<BTreeMap<&'static str, String>> {
    let lines = LINES.lock().unwrap();
    let wanted = lines.iter().map(|Line(fields)| fields).filter(|fields| {
        let is = |name: &str, matches: &dyn Fn(&str) -> bool| fields.get(name).is_some_and(|value| matches(value));
        is("group", &|name| name == group) && is("message", &|text| text.starts_with(message))
    });
    wanted.cloned().collect()
}
