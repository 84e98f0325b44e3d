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
