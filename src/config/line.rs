//! The grammar of one line: what rust-ini and gcfg read alike. Everything else is refused, with what to write instead.

use super::keys;

/// White space as gcfg knows it.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];
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

/// A line that both parsers read alike.
pub(super) enum Line<'a> {
    /// Empty, or a comment.
    Blank,
    Header(Header),
    /// `key = value`.
    Entry {
        key: &'a str,
    },
}

/// Why a line is refused.
pub(super) enum LineFault {
    /// It was to be a header, so it is not known what the lines below it belong to.
    Header(&'static str),
    /// It was to be `key = value`. The key, if it is one that the configuration knows.
    Entry {
        key: Option<&'static str>,
        fault: String,
    },
    Other(&'static str),
}

/// Tells what a line is, without blanks and the line break at its ends.
pub(super) fn classify(content: &str) -> Result<Line<'_>, LineFault> {
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

    fn fault_of(line: &str) -> String {
        match classify(line) {
            Ok(_) => "none".to_owned(),
            Err(LineFault::Header(fault) | LineFault::Other(fault)) => fault.to_owned(),
            Err(LineFault::Entry { fault, .. }) => fault,
        }
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
            assert_eq!(fault_of(line), fault, "{line}");
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
            assert_eq!(fault_of(line), fault, "{line}");
        }
    }
}
