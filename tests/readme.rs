//! The README's tables, held against the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

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
        let named = ["", "_total", "_info", "_seconds"]
            .iter()
            .any(|suffix| readme.contains(&format!("`slicer_cloud_provider_{name}{suffix}`")));
        assert!(named, "missing in README.md: {name}");
    }
}

/// `lifecycle::faults::name` is a test `name` of the binary `lifecycle`; `domain::name` one of the library;
/// `e2e::name` a scenario.
#[test]
fn every_row_of_what_happens_when_names_tests_that_exist() {
    let table = include_str!("../README.md")
        .split("| when | what happens | shown by |")
        .nth(1);
    let rows = table.unwrap().lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<&str> = shown_by.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names {
            assert!(exists(name), "no such test: {name}\n{row}");
        }
        count += 1;
    }
    assert!(count > 20, "{count} rows");
}

fn exists(name: &str) -> bool {
    let (binary, rest) = name.split_once("::").unwrap();
    let test = rest.rsplit("::").next().unwrap();
    let (folder, wanted) = match binary {
        "domain" => ("src/domain".to_owned(), format!("fn {test}(")),
        "e2e" => ("tests/e2e/scenarios".to_owned(), format!("name: \"{test}\"")),
        _ => (format!("tests/{binary}"), format!("fn {test}(")),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read(&root.join(&folder), &mut sources);
    read(&root.join(format!("{folder}.rs")), &mut sources);
    sources.iter().any(|source| source.contains(&wanted))
}

/// The texts of a file, or of all Rust files below a folder; none if it is neither.
fn read(path: &Path, sources: &mut Vec<String>) {
    if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
        sources.push(std::fs::read_to_string(path).unwrap());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries {
        read(&entry.unwrap().path(), sources);
    }
}
