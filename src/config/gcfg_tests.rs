//! The line check promises that whatever it lets through is read as gcfg, the fork's parser, reads it. Here random
//! files are read both ways: by this module, and by a small reading of our own after gcfg's rules, character by
//! character, that shares no code with it.

use proptest::prelude::*;

use super::ini;

/// Kind of section, its name, key, value: one for each setting of a file.
type Settings = Vec<(String, Option<String>, String, String)>;

/// What this module reads; `None` if it refuses any line.
fn ours(text: &str) -> Option<Settings> {
    let file = ini::read(text);
    let mut settings = Vec::new();
    for section in &file.sections {
        for entry in &section.entries {
            let header = section.header.clone();
            settings.push((header.kind, header.name, entry.key.clone(), entry.value.clone()));
        }
    }
    (file.problems.is_empty() && !file.incomplete).then_some(settings)
}

/// A reading after gcfg's rules; `None` where gcfg reports an error.
struct Gcfg<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Gcfg<'_> {
    fn read(text: &str) -> Option<Settings> {
        let mut scanner = Gcfg {
            rest: text.chars().peekable(),
        };
        let mut section: Option<(String, Option<String>)> = None;
        let mut settings = Vec::new();
        loop {
            scanner.skip_blanks();
            match scanner.rest.peek() {
                None => return Some(settings),
                Some('\n') => {
                    scanner.rest.next();
                }
                Some('#' | ';') => scanner.skip_comment()?,
                Some('[') => section = Some(scanner.header()?),
                Some(_) => {
                    let (kind, name) = section.clone()?;
                    let key = scanner.identifier()?.to_lowercase();
                    settings.push((kind, name, key, scanner.value()?));
                }
            }
        }
    }

    fn skip_blanks(&mut self) {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\r')).is_some() {}
    }

    fn skip_comment(&mut self) -> Option<()> {
        while let Some(c) = self.rest.next_if(|c| *c != '\n') {
            if c == '\0' {
                return None;
            }
        }
        Some(())
    }

    fn end_of_line(&mut self) -> Option<()> {
        self.skip_blanks();
        match self.rest.peek() {
            None | Some('\n') => Some(()),
            Some('#' | ';') => self.skip_comment(),
            Some(_) => None,
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let mut name = String::from(self.rest.next_if(|c| c.is_alphabetic())?);
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '-') {
            name.push(c);
        }
        Some(name)
    }

    fn header(&mut self) -> Option<(String, Option<String>)> {
        self.rest.next();
        self.skip_blanks();
        let kind = self.identifier()?.to_lowercase();
        self.skip_blanks();
        let mut name = None;
        if self.rest.next_if_eq(&'"').is_some() {
            let mut text = String::new();
            loop {
                match self.rest.next()? {
                    '"' => break,
                    '\n' | '\0' => return None,
                    '\\' => text.push(self.escaped()?),
                    c => text.push(c),
                }
            }
            name = Some(text).filter(|text| !text.is_empty());
            name.as_ref()?;
            self.skip_blanks();
        }
        self.rest.next_if_eq(&']')?;
        self.end_of_line()?;
        Some((kind, name))
    }

    fn escaped(&mut self) -> Option<char> {
        match self.rest.next()? {
            c @ ('"' | '\\') => Some(c),
            'n' => Some('\n'),
            't' => Some('\t'),
            _ => None,
        }
    }

    /// Quotes may come and go within a value; outside of them comments end it and blanks at its end do not count.
    fn value(&mut self) -> Option<String> {
        self.skip_blanks();
        if matches!(self.rest.peek(), None | Some('\n' | '#' | ';')) {
            // A key without '=': gcfg refuses it for text settings.
            return None;
        }
        self.rest.next_if_eq(&'=')?;
        self.skip_blanks();
        let (mut value, mut kept, mut quoted) = (String::new(), 0, false);
        loop {
            match self.rest.peek().copied() {
                None | Some('\n') if quoted => return None,
                None | Some('\n') => break,
                Some('#' | ';') if !quoted => {
                    self.skip_comment()?;
                    break;
                }
                Some('\0') => return None,
                _ => {}
            }
            let c = self.rest.next()?;
            match c {
                '"' => quoted = !quoted,
                '\\' if quoted => value.push(self.escaped()?),
                '\\' => {
                    self.rest.next_if_eq(&'\r');
                    self.rest.next_if_eq(&'\n')?;
                }
                '\r' => {}
                _ => value.push(c),
            }
            if quoted || !matches!(c, ' ' | '\t' | '\r') {
                kept = value.len();
            }
        }
        value.truncate(kept);
        Some(value)
    }
}

/// Text that is mostly INI and often slightly wrong.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        12 => prop_oneof![
            Just("[global]"), Just("[nodegroup \"a\"]"), Just("[ NodeGroup\t\"b c\" ]"), Just("[nodegroup \"a]b\"]"),
            Just("[x"), Just("[y]"),
        ].prop_map(str::to_owned),
        12 => prop_oneof![Just("k3s-url"), Just("URL"), Just("a"), Just("a-1"), Just("k3s_url")].prop_map(str::to_owned),
        20 => Just("=".to_owned()),
        8 => prop_oneof![Just(" "), Just("\t"), Just("  ")].prop_map(str::to_owned),
        24 => prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n"), Just("\n  ")].prop_map(str::to_owned),
        10 => prop_oneof![Just(" # c"), Just("\t; c=d"), Just("#"), Just(";"), Just("\n# c"), Just("\n  ; \"c'\\")]
            .prop_map(str::to_owned),
        12 => prop_oneof![
            Just("\"v\""), Just("\"a#b;c\""), Just("\"a\\\"b\\\\\""), Just("\""), Just("\\"), Just("\\n"), Just("'"),
            Just("\"\""), Just("\" a \""),
        ].prop_map(str::to_owned),
        12 => prop_oneof![
            Just("v"), Just("K10a::b:c=="), Just("https://h:1/p"), Just("a b"), Just("a:b"), Just("\u{fc}"),
            Just("\u{a0}"), Just("\0"), Just("it's"), Just("[v]"),
        ].prop_map(str::to_owned),
    ];
    prop::collection::vec(fragment, 0..24).prop_map(|parts| parts.concat())
}

/// Whole lines, so that many files pass the check.
fn lines() -> impl Strategy<Value = String> {
    let blank = "[ \t]{0,2}";
    let value = prop_oneof![
        3 => "[a-zA-Z0-9:=/.'\\[\\]+-]{1,8}( [a-z:=]{1,3})?",
        2 => "\"([a-z #;=:\\[\\]']|\\\\\"|\\\\\\\\){0,8}\"",
        1 => "\"[ab\\\\nxt\"]{0,5}\"",
        1 => "[ -~]{0,10}",
    ];
    let comment = prop_oneof![3 => Just(String::new()), 1 => "[ \t][#;][ -~]{0,6}", 1 => "[#;][ -~]{0,4}"];
    let end = prop_oneof![4 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\n\n")];
    let entry = (blank, "[a-zA-Z][a-zA-Z0-9-]{0,4}", blank, blank, value, comment).prop_map(
        |(indent, key, before, after, value, comment)| format!("{indent}{key}{before}={after}{value}{comment}"),
    );
    let header = (blank, "(global|nodegroup[ ]?\"[a-z ]{1,3}\")", "([ \t][#;].{0,3})?")
        .prop_map(|(indent, inside, comment)| format!("{indent}[{inside}]{comment}"));
    let comment_line = "[ \t]{0,3}([#;][ -~]{0,8})?";
    let line = (prop_oneof![6 => entry, 2 => header, 1 => comment_line], end).prop_map(|(line, end)| line + end);
    prop::collection::vec(line, 0..8).prop_map(|lines| format!("[global]\n{}", lines.concat()))
}

fn read_alike(text: &str) -> Result<(), TestCaseError> {
    if let Some(ours) = ours(text) {
        prop_assert_eq!(Some(ours), Gcfg::read(text), "{:?}", text);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_the_check_accepts_in_random_fragments_is_read_as_gcfg_reads_it(text in fragments()) {
        read_alike(&text)?;
    }

    #[test]
    fn what_the_check_accepts_in_random_lines_is_read_as_gcfg_reads_it(text in lines()) {
        read_alike(&text)?;
    }
}

#[test]
fn enough_random_files_are_accepted_for_the_comparison_to_mean_something() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let accepted = (0..500)
        .filter(|_| {
            lines()
                .new_tree(&mut runner)
                .is_ok_and(|tree| ours(&tree.current()).is_some_and(|read| read.len() > 1))
        })
        .count();
    assert!(accepted > 50, "{accepted} of 500");
}
