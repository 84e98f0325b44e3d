//! What of a text that came from outside may be shown to people: one line, short, and without our secrets in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

/// Longest text of somebody else that is shown, in characters.
const MAX_SHOWN: usize = 500;

const REDACTED: &str = "[REDACTED]";

/// Knows the secrets that somebody was told, so that whoever echoes them does not put them into our log.
pub(crate) struct Redactor {
    /// Each secret as it may come back: as it is, within JSON, as base64. The longest come first, because one may be
    /// part of another.
    forms: Vec<SecretString>,
}

impl Redactor {
    /// Redacts these secrets.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut forms: Vec<SecretString> = secrets.into_iter().flat_map(forms_of).collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.expose_secret().len()));
        Self { forms }
    }

    /// `text` without the secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.forms.iter().fold(text.to_owned(), |text, form| {
            if text.contains(form.expose_secret()) {
                text.replace(form.expose_secret(), REDACTED)
            } else {
                text
            }
        })
    }

    /// `text` as part of a message: without the secrets, on one line, at most [`MAX_SHOWN`] characters. Cut last, so
    /// that no half of a secret is left over.
    pub(crate) fn show(&self, text: &str) -> String {
        one_line(&self.redact(text.trim()), MAX_SHOWN)
    }
}

/// `text` on one line, without what could make a terminal or a log say something else, at most `most` characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let line = || text.chars().map(printable);
    match line().nth(most) {
        None => line().collect(),
        Some(_) => line().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

fn forms_of(secret: &SecretString) -> Vec<SecretString> {
    let raw = secret.expose_secret();
    if raw.is_empty() {
        return Vec::new();
    }
    // K3s' own tools show the password of `K10<hash>::server:<password>` alone.
    let password = raw
        .rsplit_once(':')
        .map(|(_, password)| password)
        .filter(|password| password.len() >= 8);
    let mut forms = Vec::new();
    for text in [Some(raw), password].into_iter().flatten() {
        let in_json = serde_json::Value::from(text).to_string();
        // Base64 without padding is a part of base64 with padding.
        forms.extend([text.to_owned(), STANDARD_NO_PAD.encode(text)]);
        forms.extend(
            in_json
                .strip_prefix('"')
                .and_then(|t| t.strip_suffix('"'))
                .map(str::to_owned),
        );
    }
    forms.into_iter().map(SecretString::from).collect()
}

/// Control characters and those that reorder text could make a log say what it does not.
fn printable(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secret: &str) -> Redactor {
        Redactor::new([&SecretString::from(secret)])
    }

    #[test]
    fn an_echoed_secret_is_redacted_in_all_its_forms() {
        let redactor = redactor("s3cr\"et-token");
        for echo in [
            "bad token s3cr\"et-token!",
            r#"{"token":"s3cr\"et-token"}"#,
            "data: czNjciJldC10b2tlbg==",
        ] {
            let shown = redactor.show(echo);
            assert!(shown.contains(REDACTED), "{shown}");
            for form in ["s3cr", "et-token", "czNj"] {
                assert!(!shown.contains(form), "{shown}");
            }
        }
    }

    #[test]
    fn the_password_of_a_join_token_is_redacted_alone_too() {
        let redactor = redactor("K10abcdef::server:the-password");
        assert!(
            !redactor
                .show("agent: wrong the-password given")
                .contains("the-password")
        );
    }

    #[test]
    fn a_secret_across_the_cut_is_redacted_before_the_text_is_cut() {
        let text = format!("{}s3cret-token", "x".repeat(MAX_SHOWN - 4));
        assert!(!redactor("s3cret-token").show(&text).contains("s3c"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let shown = redactor("t").show(&"ü".repeat(5000));
        assert_eq!(shown.chars().count(), MAX_SHOWN);
        assert!(shown.ends_with('…'));
        assert_eq!(redactor("t").show(&"ü".repeat(MAX_SHOWN)), "ü".repeat(MAX_SHOWN));
    }

    #[test]
    fn control_characters_cannot_forge_a_log_line() {
        let shown = redactor("t").show("a\nERROR b\u{1b}[31m\u{202e}c\u{0}\n");
        assert_eq!(shown, "a ERROR b\u{fffd}[31m\u{fffd}c\u{fffd}");
    }

    #[test]
    fn an_empty_secret_redacts_nothing() {
        assert_eq!(redactor("").show("text"), "text");
    }
}
