//! The README's tables, held against the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use slicer_cloud_provider::config::keys::SECTIONS;

#[test]
fn the_readme_has_a_row_for_every_configuration_key() {
    let readme = include_str!("../README.md");
    for section in SECTIONS {
        for key in section.keys {
            let repeatable = if key.repeatable { "; repeatable" } else { "" };
            let default = key.default.unwrap_or("required");
            let row = format!(
                "| `{}` | {} | {}{repeatable} | {default} |",
                key.name, key.value, key.doc
            );
            assert!(readme.contains(&row), "missing in README.md:\n{row}");
        }
    }
}

/// A metric shows in its output only once it was counted, so the names are taken from where they are registered.
#[test]
fn the_readme_names_every_metric() {
    let (readme, source) = (include_str!("../README.md"), include_str!("../src/metrics.rs"));
    let registered = source.split("r.register(").skip(1);
    let names: Vec<&str> = registered.map(|rest| rest.split('"').nth(1).unwrap()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let named = ["", "_total", "_info"]
            .iter()
            .any(|suffix| readme.contains(&format!("`slicer_cloud_provider_{name}{suffix}`")));
        assert!(named, "missing in README.md: {name}");
    }
}
