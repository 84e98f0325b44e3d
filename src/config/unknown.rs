//! Unknown sections and keys: which known one was probably meant.

use super::error::may_be_secret;
use super::keys::{GLOBAL, NODE_GROUP, SECTIONS, SectionKind};

/// What is wrong with a key that `section` does not have, and which one may have been meant. The key itself is quoted
/// only if it resembles one: a token on a line of its own also looks like a key.
pub(super) fn key(name: &str, section: &SectionKind) -> String {
    if let Some(other) = SECTIONS
        .iter()
        .find(|other| other.keys.iter().any(|key| key.name == name))
    {
        return format!("unknown key \"{name}\"; it belongs into {}", other.header);
    }
    let names = section.keys.iter().map(|key| key.name);
    match nearest(name, names.clone()) {
        Some(near) if may_be_secret(name) => format!("unknown key; did you mean \"{near}\"?"),
        Some(near) => format!("unknown key \"{name}\"; did you mean \"{near}\"?"),
        None => format!(
            "unknown key; {} has {}",
            section.header,
            names.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// What is wrong with a section of a kind that does not exist.
pub(super) fn section(kind: &str) -> String {
    let nearest = nearest(kind, SECTIONS.iter().map(|section| section.name));
    match SECTIONS.iter().find(|section| Some(section.name) == nearest) {
        Some(section) if may_be_secret(kind) => format!("unknown section; did you mean {}?", section.header),
        Some(section) => format!("unknown section [{kind}]; did you mean {}?", section.header),
        None => format!(
            "unknown section; the sections are {} and {}",
            GLOBAL.header, NODE_GROUP.header
        ),
    }
}

/// The candidate that `name` was probably meant to be.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Above it are typing errors and forgotten words, below it chance.
    const SIMILAR: f64 = 0.8;
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_answered_with_the_key_that_was_meant() {
        for (name, meant) in [
            ("max-sise", "max-size"),
            ("maxsize", "max-size"),
            ("slicer-tokn", "slicer-token"),
            ("node-labels", "node-label"),
            ("scale-down-unneeded", "scale-down-unneeded-time"),
            ("memory-reserved", "memory-reserve"),
        ] {
            let message = key(name, &NODE_GROUP);
            assert_eq!(message, format!("unknown key \"{name}\"; did you mean \"{meant}\"?"));
        }
    }

    #[test]
    fn a_key_of_the_other_section_is_sent_there() {
        assert!(key("k3s-url", &NODE_GROUP).ends_with("it belongs into [global]"));
        assert!(key("slicer-url", &GLOBAL).ends_with("it belongs into [nodegroup \"NAME\"]"));
    }

    #[test]
    fn a_key_unlike_any_other_is_not_repeated() {
        let message = key("hunter2", &GLOBAL);
        assert!(
            !message.contains("hunter2") && message.contains("k3s-url, k3s-token"),
            "{message}"
        );
    }

    #[test]
    fn a_misspelt_section_is_answered_with_the_section_that_was_meant() {
        assert!(section("globals").ends_with("did you mean [global]?"));
        assert!(section("node-group").ends_with("did you mean [nodegroup \"NAME\"]?"));
        assert!(!section("hunter2").contains("hunter2"));
        let glued = section("global0123456789abcdef");
        assert_eq!(glued, "unknown section; did you mean [global]?");
    }
}
