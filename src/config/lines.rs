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
use super::line::{BLANKS, Header, Line, LineFault, classify};

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
