//! The two quotings that a value can pass on its way into the userdata: one for the shell, one for YAML. Nothing else
//! puts a value into the script. Neither judges what a value means; that is the configuration's business.

use std::fmt::Write as _;

/// `text` as one word of a POSIX shell, whatever it holds. Only NUL has no form in a shell; callers refuse it before.
pub(super) fn shell(text: &str) -> String {
    // Between single quotes everything is literal but the single quote itself: close, escape one, open again.
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `text` as a double-quoted YAML scalar on one line. K3s reads YAML 1.1, where bare `yes`, `0644` and `1e3` are no
/// strings.
pub(super) fn yaml(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str(r"\\"),
            c if needs_escape(c) => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// YAML 1.1 allows only printable characters unescaped, and takes U+0085, U+2028 and U+2029 for line breaks.
fn needs_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What `interpreter` makes of the words in a script, each as the bytes that printf then puts out.
    fn words_read_by(interpreter: &str, texts: &[String]) -> Vec<Vec<u8>> {
        let words: String = texts.iter().map(|text| format!(" {}", shell(text))).collect();
        let script = format!("printf '%s\\0'{words}\n");
        let output = Command::new(interpreter).args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut words: Vec<_> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        assert_eq!(words.pop(), Some(Vec::new()), "the last word ends with NUL, too");
        words
    }

    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            "[^\\x00]{0,40}",
            r#"['"\\$`;&|<>(){}*?!~# \n\r\t%=-]{0,20}"#,
            Just("'; reboot; '".to_owned()),
            Just("$(id)".to_owned()),
            Just("%n ${HOME} \\n".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn shells_print_every_quoted_text_back(texts in prop::collection::vec(hostile(), 1..20)) {
            for interpreter in ["bash", "sh"] {
                let expected: Vec<_> = texts.iter().map(|text| text.clone().into_bytes()).collect();
                prop_assert_eq!(words_read_by(interpreter, &texts), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn a_yaml_parser_reads_every_quoted_text_back(text in prop_oneof![any::<String>(), hostile()]) {
            let quoted = yaml(&text);
            prop_assert!(!quoted.chars().any(char::is_control));
            let list: Vec<String> = serde_saphyr::from_str(&format!("- {quoted}\n")).unwrap();
            prop_assert_eq!(list, [text]);
        }
    }

    #[test]
    fn words_that_yaml_1_1_would_not_read_as_strings_are_quoted() {
        for word in [
            "yes",
            "on",
            "0644",
            "1e3",
            "~",
            "null",
            "2001-01-01",
            "a: b",
            "- x",
            "# c",
        ] {
            assert_eq!(yaml(word), format!("\"{word}\""));
        }
    }

    #[test]
    fn line_breaks_of_every_kind_are_escaped_in_yaml() {
        assert_eq!(yaml("\n\u{85}\u{2028}"), r#""\U0000000A\U00000085\U00002028""#);
    }
}
