//! The strict check of every line, before rust-ini sees the text.
//!
//! Files written for the in-tree fork were read by Go's gcfg. rust-ini follows slightly different rules and reads many
//! such files wrongly without a word: an indented comment swallows the next key, an apostrophe the following lines,
//! `#` starts a comment in one and belongs to the value in the other. So this check accepts only what both read alike
//! and refuses the rest, with the line and what to write instead. As rust-ini keeps no positions, it also remembers
//! the line of each section and key.
//!
//! What a section or key means is not known here.

use super::keys;

const BLANKS: [char; 2] = [' ', '\t'];
const COMMENT_MARKS: [char; 2] = ['#', ';'];

const NOT_A_LINE: &str = "is neither [section], key = value nor a comment";
const CONTROL_CHARACTER: &str = "holds a control character; remove it";
const GLUED_COMMENT: &str = "has '#' or ';' right behind other text; put a space before a comment, or the value into \
                             double quotes if the character belongs to it";
const EMPTY_WITH_COMMENT: &str = "has no value before the comment; a value that begins with '#' or ';' goes into \
                                  double quotes";
const SINGLE_QUOTE: &str = "begins with a single quote, which does not quote here; use double quotes";
const QUOTE_INSIDE: &str =
    "has a double quote inside; put the whole value into double quotes and write \\\" for a quote";
const BACKSLASH: &str = "has a backslash outside of quotes; put the value into double quotes and write \\\\ for it";
const ESCAPE: &str = "has an unknown escape; inside double quotes only \\\" and \\\\ can be escaped";
const UNCLOSED: &str = "has no closing double quote on its line";
const TEXT_AFTER_VALUE: &str = "has text after the closing double quote; put the whole value into the quotes";
const STRANGE_SPACE: &str = "has a white space character that is neither space nor tab; retype it";
const COLON: &str = "has no '=' behind the key; write key = value";
const NO_VALUE: &str = "has no value; write key = value";
const KEY_CHARACTERS: &str = "has a key with other characters than letters, digits and '-'";
const SECTION_NAME: &str = "is no section header; write [global] or [nodegroup \"NAME\"]";
const SECTION_TAIL: &str = "has text after the section header; put it on the next line";
const SUBSECTION_CHARACTERS: &str = "has a backslash, '#' or ';' in the section's name; a name holds letters, digits, \
                                     '-', '_' and '.'";

/// A section header, its kind in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: String,
    pub(super) name: Option<String>,
}

/// A section, and on which lines its keys are.
#[derive(Debug)]
pub(super) struct SectionLines {
    pub(super) header: Header,
    pub(super) line: usize,
    /// Keys in lower case, and their lines.
    pub(super) keys: Vec<(String, usize)>,
    /// Lines of the section that were refused.
    pub(super) refused: Vec<RefusedLine>,
}

/// A line that was refused.
#[derive(Debug)]
pub(super) struct RefusedLine {
    pub(super) line: usize,
    /// The key, if it is one that the configuration knows; other text is not repeated, it could be a secret.
    pub(super) key: Option<&'static str>,
    pub(super) fault: String,
}

/// A text in which every line was checked.
#[derive(Debug, Default)]
pub(super) struct CheckedText {
    /// What rust-ini may read: the lines that passed, trimmed; an empty one for each other line.
    pub(super) text: String,
    pub(super) sections: Vec<SectionLines>,
    /// Refused headers, and everything before the first header or below a refused one.
    pub(super) refused: Vec<RefusedLine>,
    /// Whether a header was refused, so that sections may be missing from the list.
    pub(super) header_refused: bool,
}

enum Line<'a> {
    Blank,
    Header(Header),
    Entry { key: &'a str },
}

enum LineFault {
    Header(&'static str),
    Entry { key: Option<&'static str>, fault: String },
    Other(&'static str),
}

/// Checks every line of `text`.
pub(super) fn check(text: &str) -> CheckedText {
    let mut checked = CheckedText::default();
    let mut below_refused_header = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line_text) in text.split('\n').enumerate() {
        let line = index + 1;
        let content = line_text.strip_suffix('\r').unwrap_or(line_text).trim_matches(BLANKS);
        match classify(content) {
            Ok(Line::Header(header)) => {
                below_refused_header = false;
                checked.start_section(header, line);
                checked.text.push_str(content);
            }
            Ok(Line::Entry { key }) if !below_refused_header => {
                if checked.add_key(key, line) {
                    checked.text.push_str(content);
                }
            }
            Ok(Line::Blank | Line::Entry { .. }) => {}
            Err(fault) => {
                below_refused_header |= matches!(fault, LineFault::Header(_));
                checked.refuse(fault, line, below_refused_header);
            }
        }
        checked.text.push('\n');
    }
    checked
}

impl CheckedText {
    fn start_section(&mut self, header: Header, line: usize) {
        self.sections.push(SectionLines {
            header,
            line,
            keys: Vec::new(),
            refused: Vec::new(),
        });
    }

    /// Notes a key of the current section; refuses it if there is none.
    fn add_key(&mut self, key: &str, line: usize) -> bool {
        let Some(section) = self.sections.last_mut() else {
            self.refused.push(RefusedLine {
                line,
                key: keys::known(key),
                fault: "stands before any section; write [global] or [nodegroup \"NAME\"] above it".to_owned(),
            });
            return false;
        };
        section.keys.push((key.to_ascii_lowercase(), line));
        true
    }

    fn refuse(&mut self, fault: LineFault, line: usize, below_refused_header: bool) {
        let refused = match fault {
            LineFault::Header(fault) => {
                self.header_refused = true;
                self.refused.push(RefusedLine::without_key(line, fault));
                return;
            }
            LineFault::Entry { key, fault } => RefusedLine { line, key, fault },
            LineFault::Other(fault) => RefusedLine::without_key(line, fault),
        };
        match self.sections.last_mut() {
            Some(section) if !below_refused_header => section.refused.push(refused),
            _ => self.refused.push(refused),
        }
    }
}

impl RefusedLine {
    fn without_key(line: usize, fault: &str) -> Self {
        Self {
            line,
            key: None,
            fault: format!("the line {fault}"),
        }
    }
}

fn classify(content: &str) -> Result<Line<'_>, LineFault> {
    if content.chars().any(|c| c.is_control() && c != '\t') {
        return Err(LineFault::Other(CONTROL_CHARACTER));
    }
    if content.is_empty() || content.starts_with(COMMENT_MARKS) {
        return Ok(Line::Blank);
    }
    match content.strip_prefix('[') {
        Some(inside) => header(inside).map(Line::Header).map_err(LineFault::Header),
        None => entry(content),
    }
}

/// Reads `kind "name"] # comment`.
fn header(inside: &str) -> Result<Header, &'static str> {
    let (kind, rest) = identifier(inside.trim_start_matches(BLANKS)).ok_or(SECTION_NAME)?;
    let rest = rest.trim_start_matches(BLANKS);
    let (name, rest) = match rest.strip_prefix('"') {
        None => (None, rest),
        Some(quoted) => {
            let (name, rest) = quoted.split_once('"').ok_or(SECTION_NAME)?;
            (Some(name), rest.trim_start_matches(BLANKS))
        }
    };
    match name {
        Some("") => return Err(SECTION_NAME),
        Some(name) if name.contains(['\\', '#', ';']) => return Err(SUBSECTION_CHARACTERS),
        _ => {}
    }
    end_of_line(rest.strip_prefix(']').ok_or(SECTION_NAME)?, SECTION_TAIL)?;
    Ok(Header {
        kind: kind.to_ascii_lowercase(),
        name: name.map(str::to_owned),
    })
}

fn entry(content: &str) -> Result<Line<'_>, LineFault> {
    let (key, rest) = identifier(content).ok_or(LineFault::Other(NOT_A_LINE))?;
    let refused = |fault: &str| LineFault::Entry {
        key: keys::known(key),
        fault: match keys::known(key) {
            Some(_) => fault.to_owned(),
            None => format!("the line {fault}"),
        },
    };
    let rest = rest.trim_start_matches(BLANKS);
    let Some(value) = rest.strip_prefix('=') else {
        return Err(match rest.chars().next() {
            None | Some('#' | ';') => refused(NO_VALUE),
            Some(':') => refused(COLON),
            Some('_') => LineFault::Entry {
                key: None,
                fault: underscored(content),
            },
            Some(_) => LineFault::Other(NOT_A_LINE),
        });
    };
    value_ends_well(value.trim_start_matches(BLANKS)).map_err(refused)?;
    Ok(Line::Entry { key })
}

/// `k3s_url` is refused by gcfg; it is worth a hint of its own, because Go programs often write it so.
fn underscored(content: &str) -> String {
    let name = content.split('=').next().unwrap_or_default().trim_matches(BLANKS);
    match keys::known(&name.replace('_', "-")) {
        Some(key) => format!("the line {KEY_CHARACTERS}; did you mean \"{key}\"?"),
        None => format!("the line {KEY_CHARACTERS}"),
    }
}

fn value_ends_well(value: &str) -> Result<(), &'static str> {
    if let Some(quoted) = value.strip_prefix('"') {
        return end_of_line(after_closing_quote(quoted)?, TEXT_AFTER_VALUE);
    }
    if value.starts_with('\'') {
        return Err(SINGLE_QUOTE);
    }
    if value.starts_with(COMMENT_MARKS) {
        return Err(EMPTY_WITH_COMMENT);
    }
    let mut after_blank = false;
    for c in value.chars() {
        match c {
            '#' | ';' if after_blank => return Ok(()),
            '#' | ';' => return Err(GLUED_COMMENT),
            '"' => return Err(QUOTE_INSIDE),
            '\\' => return Err(BACKSLASH),
            _ if c.is_whitespace() && !BLANKS.contains(&c) => return Err(STRANGE_SPACE),
            _ => after_blank = BLANKS.contains(&c),
        }
    }
    Ok(())
}

fn after_closing_quote(quoted: &str) -> Result<&str, &'static str> {
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(chars.as_str()),
            '\\' if !matches!(chars.next(), Some('"' | '\\')) => return Err(ESCAPE),
            _ => {}
        }
    }
    Err(UNCLOSED)
}

/// Only blanks and a comment may follow.
fn end_of_line(rest: &str, otherwise: &'static str) -> Result<(), &'static str> {
    let tail = rest.trim_start_matches(BLANKS);
    if tail.is_empty() {
        Ok(())
    } else if !tail.starts_with(COMMENT_MARKS) {
        Err(otherwise)
    } else if tail.len() == rest.len() {
        Err(GLUED_COMMENT)
    } else {
        Ok(())
    }
}

/// A letter, then letters, digits and `-`. gcfg takes letters of all scripts, but no section or key has any.
fn identifier(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(text.len());
    text.split_at_checked(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(usize, String)> {
        let checked = check(text);
        let in_sections = checked.sections.iter().flat_map(|section| &section.refused);
        let all = checked.refused.iter().chain(in_sections);
        all.map(|refused| (refused.line, refused.fault.clone())).collect()
    }

    #[test]
    fn what_rust_ini_and_gcfg_read_differently_is_refused() {
        for (line, fault) in [
            ("k3s-token=abc#x", GLUED_COMMENT),
            ("k3s-token=abc;x", GLUED_COMMENT),
            ("k3s-token=\"a\"#x", GLUED_COMMENT),
            ("k3s-token=#x", EMPTY_WITH_COMMENT),
            ("k3s-token= # x", EMPTY_WITH_COMMENT),
            ("k3s-token='a b'", SINGLE_QUOTE),
            ("k3s-token=a \"b\"", QUOTE_INSIDE),
            ("k3s-token=\"a\" \"b\"", TEXT_AFTER_VALUE),
            ("k3s-token=\"a\" b", TEXT_AFTER_VALUE),
            ("k3s-token=\"a", UNCLOSED),
            ("k3s-token=\"a\\", ESCAPE),
            ("k3s-token=\"\\n\"", ESCAPE),
            ("k3s-token=\"\\t\"", ESCAPE),
            ("k3s-token=\"\\x0041\"", ESCAPE),
            ("k3s-token=C:\\Windows", BACKSLASH),
            ("k3s-token=a\\", BACKSLASH),
            ("k3s-token=a\u{a0}", STRANGE_SPACE),
            ("k3s-token: a", COLON),
            ("k3s-token", NO_VALUE),
            ("k3s-token # a", NO_VALUE),
        ] {
            assert_eq!(
                faults(&format!("[global]\n{line}\n")),
                [(2, fault.to_owned())],
                "{line}"
            );
        }
    }

    #[test]
    fn lines_that_are_nothing_are_refused() {
        for (line, fault) in [
            ("= a", NOT_A_LINE),
            ("k3s-token a", NOT_A_LINE),
            ("1a = b", NOT_A_LINE),
            ("k3s-token = a\rb", CONTROL_CHARACTER),
            ("# a\0", CONTROL_CHARACTER),
            ("[global", SECTION_NAME),
            ("[nodegroup \"a]", SECTION_NAME),
            ("[nodegroup \"\"]", SECTION_NAME),
            ("[nodegroup a]", SECTION_NAME),
            ("[\"a\"]", SECTION_NAME),
            ("[]", SECTION_NAME),
            ("[global] x", SECTION_TAIL),
            ("[global]#x", GLUED_COMMENT),
            ("[nodegroup \"a\\\"b\"]", SUBSECTION_CHARACTERS),
            ("[nodegroup \"a #b\"]", SUBSECTION_CHARACTERS),
        ] {
            assert_eq!(faults(line), [(1, format!("the line {fault}"))], "{line}");
        }
    }

    #[test]
    fn an_underscore_in_a_key_names_the_key_that_was_meant() {
        let faults = faults("[global]\nk3s_url = x\nsome_thing = y");
        assert!(faults[0].1.ends_with("did you mean \"k3s-url\"?"));
        assert!(!faults[1].1.contains("some_thing"));
    }

    #[test]
    fn what_both_read_alike_passes_and_the_lines_are_remembered() {
        let text = "\u{feff}; head\r\n\t[ Global ] # c\r\n\r\n  # indented = comment\n K3S-Token = a:b==  ; c\n\
                    [nodegroup\"n\"]\nram=\"a # \\\" \\\\ ; b\"\t#c\nram=";
        let checked = check(text);
        assert_eq!(faults(text), []);
        let lines: Vec<_> = checked.sections.iter().map(|s| (s.line, s.keys.clone())).collect();
        assert_eq!(
            lines,
            [
                (2, vec![("k3s-token".to_owned(), 5)]),
                (6, vec![("ram".to_owned(), 7), ("ram".to_owned(), 8)])
            ]
        );
        assert_eq!(
            checked.text,
            "\n[ Global ] # c\n\n\nK3S-Token = a:b==  ; c\n[nodegroup\"n\"]\nram=\"a # \\\" \\\\ ; b\"\t#c\nram=\n"
        );
    }

    #[test]
    fn keys_below_a_refused_header_belong_to_no_section() {
        let checked = check("[global]\n[nodegroup a]\nmin-size=1\nmax-size='1'\n[nodegroup \"b\"]\nmin-size=2");
        assert!(checked.header_refused);
        assert_eq!(checked.sections.len(), 2);
        assert_eq!(checked.sections[0].keys, []);
        assert_eq!(checked.sections[1].keys, [("min-size".to_owned(), 6)]);
        let lines: Vec<_> = checked.refused.iter().map(|refused| refused.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn a_key_before_any_section_is_refused() {
        let faults = faults("k3s-url=https://h");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].1.starts_with("stands before any section"));
    }
}
