//! rust-ini behind the strict line check: the checked text becomes sections with keys, values and lines.
//!
//! rust-ini must not be used anywhere else in this project: alone it reads some files wrongly, see [`super::lines`].

use ini::{Ini, ParseOption, Properties};

use super::error::{Problem, may_be_secret};
use super::keys;
use super::line::Header;
use super::lines::{self, CheckedText, RefusedLine, SectionLines};

/// A configuration file as it is written: names in lower case, values as text, nothing interpreted.
pub(super) struct RawFile {
    pub(super) sections: Vec<RawSection>,
    /// A section header was refused, so a section that seems to be missing need not be.
    pub(super) incomplete: bool,
    /// Lines that could not be read.
    pub(super) problems: Vec<Problem>,
}

/// A section as it is written.
pub(super) struct RawSection {
    pub(super) header: Header,
    pub(super) line: usize,
    pub(super) entries: Vec<RawEntry>,
    /// A line of the section was refused, so a key that seems to be missing need not be.
    pub(super) incomplete: bool,
}

/// A key and its value, unquoted. No `Debug`: the value may be a secret.
pub(super) struct RawEntry {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

impl Header {
    /// How the section is named in errors; `None` for a kind that nobody knows and that is therefore not repeated.
    pub(super) fn place(&self) -> Option<String> {
        keys::SECTIONS.iter().find(|section| section.name == self.kind)?;
        Some(match &self.name {
            Some(name) if !may_be_secret(name) => format!("[{} {name:?}]", self.kind),
            _ => format!("[{}]", self.kind),
        })
    }
}

/// Reads `text` as far as its lines can be read.
pub(super) fn read(text: &str) -> RawFile {
    let checked = lines::check(text);
    let mut problems = refused_lines(&checked);
    let sections = parse(&checked).unwrap_or_else(|line| {
        problems.push(Problem {
            line,
            section: None,
            key: None,
            message: "cannot be read; write it as key = \"value\"".to_owned(),
        });
        Vec::new()
    });
    RawFile {
        incomplete: checked.header_refused || sections.len() < checked.sections.len(),
        sections,
        problems,
    }
}

fn refused_lines(checked: &CheckedText) -> Vec<Problem> {
    let in_sections = checked.sections.iter().flat_map(|section| {
        let place = section.header.place();
        section
            .refused
            .iter()
            .map(move |refused| problem(refused, place.clone()))
    });
    let outside = checked.refused.iter().map(|refused| problem(refused, None));
    outside.chain(in_sections).collect()
}

fn problem(refused: &RefusedLine, section: Option<String>) -> Problem {
    Problem {
        line: refused.line,
        section,
        key: refused.key,
        message: refused.fault.clone(),
    }
}

/// Has rust-ini read the checked text and gives every section and key its line.
///
/// # Errors
/// The line from which on rust-ini and the line check disagree. The check is there to make that impossible; should it
/// be wrong, refusing the file is better than guessing.
fn parse(checked: &CheckedText) -> Result<Vec<RawSection>, usize> {
    let options = ParseOption {
        enabled_quote: true,
        enabled_escape: true,
        ..ParseOption::default()
    };
    let parsed = Ini::load_from_str_opt(&checked.text, options).map_err(|error| error.line)?;
    let mut found = parsed.iter().filter_map(|(name, entries)| Some((name?, entries)));
    let mut sections = Vec::with_capacity(checked.sections.len());
    for lines in &checked.sections {
        let (name, entries) = found.next().ok_or(lines.line)?;
        if !name.to_ascii_lowercase().starts_with(&lines.header.kind) {
            return Err(lines.line);
        }
        sections.push(with_lines(lines, entries)?);
    }
    match found.next() {
        None => Ok(sections),
        Some(_) => Err(1),
    }
}

fn with_lines(lines: &SectionLines, found: &Properties) -> Result<RawSection, usize> {
    if found.iter().count() != lines.keys.len() {
        return Err(lines.line);
    }
    let mut entries = Vec::with_capacity(lines.keys.len());
    for ((key, line), (found_key, value)) in lines.keys.iter().zip(found.iter()) {
        if !found_key.eq_ignore_ascii_case(key) {
            return Err(*line);
        }
        entries.push(RawEntry {
            key: key.clone(),
            value: value.to_owned(),
            line: *line,
        });
    }
    Ok(RawSection {
        header: lines.header.clone(),
        line: lines.line,
        entries,
        incomplete: !lines.refused.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String, usize)> {
        let file = read(text);
        assert_eq!(file.problems, [], "{text}");
        let all = file.sections.into_iter().flat_map(|section| section.entries);
        all.map(|entry| (entry.key, entry.value, entry.line)).collect()
    }

    #[test]
    fn values_are_read_as_gcfg_reads_them() {
        for (line, value) in [
            ("k3s-token=K10abc::server:def==", "K10abc::server:def=="),
            ("k3s-token = abc  # comment", "abc"),
            ("k3s-token=abc\t; \"comment\" \\", "abc"),
            ("k3s-token=\"a#b;c\"  # d", "a#b;c"),
            ("k3s-token=\" a \"", " a "),
            ("k3s-token=\"a\\\"b\\\\c\"", "a\"b\\c"),
            ("k3s-token=it's", "it's"),
            ("k3s-token=a  b", "a  b"),
            ("k3s-token=[x]", "[x]"),
            ("k3s-token=", ""),
            ("k3s-token=\"\"", ""),
            ("  K3S-TOKEN\t=\tü", "ü"),
        ] {
            for ending in ["", "\n", "\r\n", " \t\n"] {
                let read = entries(&format!("[global]\n{line}{ending}"));
                assert_eq!(
                    read,
                    [("k3s-token".to_owned(), value.to_owned(), 2)],
                    "{line}{ending:?}"
                );
            }
        }
    }

    #[test]
    fn repeated_sections_and_keys_keep_their_order_and_lines() {
        let text = "[a]\nx=1\ny=2\nx=3\n[b]\nx=4\n\n[A]\nx=5\n[a]\n";
        let lines: Vec<_> = read(text).sections.iter().map(|section| section.line).collect();
        assert_eq!(lines, [1, 5, 8, 10]);
        let values: Vec<_> = entries(text)
            .into_iter()
            .map(|(_, value, line)| (value, line))
            .collect();
        let expected = [("1", 2), ("2", 3), ("3", 4), ("4", 6), ("5", 9)];
        assert_eq!(values, expected.map(|(value, line)| (value.to_owned(), line)));
    }

    #[test]
    fn an_indented_comment_does_not_swallow_the_next_key() {
        let read = entries("  [global]\n  # comment\n  k3s-url=a\n");
        assert_eq!(read, [("k3s-url".to_owned(), "a".to_owned(), 3)]);
    }
}
