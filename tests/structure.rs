//! The direction of the arrows in `src/lib.rs`, held against the code: who may use whom, and where the outside's own
//! types may appear.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of the crate may use of the others.
const ARROWS: [(&str, &[&str]); 18] = [
    ("domain", &[]),
    ("file", &[]),
    ("secret", &["file"]),
    ("looks", &[]),
    ("redact", &[]),
    ("seats", &[]),
    ("seldom", &[]),
    ("k3s", &[]),
    ("metrics", &["domain"]),
    ("bootstrap", &["domain"]),
    ("simulator", &["domain"]),
    ("config", &["domain", "file", "looks", "secret"]),
    ("slicer", &["domain", "metrics", "provider::ports", "redact", "secret"]),
    ("kubernetes", &["domain", "provider::ports", "simulator"]),
    ("provider", &["domain", "config", "bootstrap", "secret", "metrics"]),
    ("grpc", &["domain", "provider", "metrics", "seats"]),
    ("admin", &["provider", "metrics", "seats", "seldom"]),
    (
        "server",
        &[
            "admin", "config", "file", "grpc", "looks", "metrics", "provider", "seats", "seldom", "slicer",
        ],
    ),
];

/// Crates of the outside, and the only modules that may name them.
const OUTSIDE: [(&str, &[&str]); 6] = [
    ("reqwest", &["slicer", "k3s"]),
    ("kube", &["kubernetes"]),
    ("k8s_openapi", &["kubernetes"]),
    ("ini", &["config"]),
    ("axum", &["admin", "simulator"]),
    ("clap", &["cli"]),
];

/// The code of each module without comments and tests.
fn code() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").as_path(), &mut files);
    files
}

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, files);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            files.insert(path, lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The top module that a file belongs to.
fn module_of(path: &Path) -> String {
    let below = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// What follows each occurrence of `marker` in the code: the path behind it.
fn paths_behind<'a>(code: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(marker).map(move |(at, _)| {
        let rest = &code[at + marker.len()..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

fn uses_crate(code: &str, name: &str) -> bool {
    let word = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    code.match_indices(&format!("{name}::")).any(|(at, _)| word(at))
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let files = code();
    assert!(files.len() > 60, "the sources were found");
    for (path, code) in &files {
        let module = module_of(path);
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            assert!(
                matches!(module.as_str(), "cli" | "main" | "lib"),
                "no arrows are drawn for {module}"
            );
            continue;
        };
        for used in paths_behind(code, "crate::").filter(|used| !used.is_empty()) {
            let own = used == module || used.starts_with(&format!("{module}::"));
            let down = allowed
                .iter()
                .any(|name| used == *name || used.starts_with(&format!("{name}::")));
            assert!(own || down, "{} uses crate::{used}", path.display());
        }
        assert!(
            !code.contains("use crate::{"),
            "{}: one line for each module",
            path.display()
        );
    }
}

#[test]
fn crates_of_the_outside_stay_where_they_belong() {
    for (path, code) in &code() {
        let module = module_of(path);
        for (name, homes) in OUTSIDE {
            let at_home = homes.contains(&module.as_str());
            assert!(at_home || !uses_crate(code, name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn the_domain_uses_the_standard_library_alone() {
    for (path, code) in code().iter().filter(|(path, _)| module_of(path) == "domain") {
        for line in code.lines().map(str::trim).filter(|line| line.starts_with("use ")) {
            let allowed = [
                "use std::",
                "use crate::domain",
                "use super::",
                "use slot::",
                "use listing::",
            ];
            assert!(
                allowed.iter().any(|prefix| line.starts_with(prefix)),
                "{}: {line}",
                path.display()
            );
        }
        for name in ["tokio", "tonic", "reqwest", "kube", "serde", "tracing"] {
            assert!(!uses_crate(code, name), "{} uses {name}", path.display());
        }
    }
}

#[test]
fn status_codes_are_chosen_in_grpc_only() {
    for (path, code) in &code() {
        // The demo's driver is a client: it reads codes.
        let reads_only = path.ends_with("cli/driver.rs");
        let chosen = code.contains("tonic::Status") || code.contains("tonic::Code") || code.contains("Status::new(");
        assert!(module_of(path) == "grpc" || reads_only || !chosen, "{}", path.display());
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in code().keys() {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("//! "), "{} opens without a comment", path.display());
    }
}
