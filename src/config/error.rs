//! What can be wrong with a configuration file, in words a person can act on. A [`Fault`] says what is wrong with one
//! value, a [`Problem`] adds the place, a [`ConfigError`] holds all problems of a file.
//!
//! No text here may show a secret. Values of token keys are never quoted, and [`shown`] keeps back every other value
//! that looks like a token: people paste them behind the wrong key.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The configuration file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("{}: is larger than {limit} bytes; this is no configuration file", file.display())]
    TooLarge {
        /// The configuration file.
        file: PathBuf,
        /// Most bytes that are read.
        limit: u64,
    },
    /// The file is not UTF-8.
    #[error("{}:{line}: is not UTF-8; save the file in that encoding", file.display())]
    NotUtf8 {
        /// The configuration file.
        file: PathBuf,
        /// The first line with such a byte.
        line: usize,
    },
    /// The file was read and is wrong. Displayed as one line for each problem, in the order of the file.
    #[error("{}", one_per_line(file, problems))]
    Invalid {
        /// The configuration file.
        file: PathBuf,
        /// Everything that is wrong, in the order of lines.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// All problems of the text in `file`, put into the order of its lines.
    pub(super) fn invalid(file: PathBuf, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self::Invalid { file, problems }
    }

    /// Everything that is wrong with the text, in the order of lines; nothing if the file could not be read at all.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems, .. } => problems,
            Self::Unreadable { .. } | Self::TooLarge { .. } | Self::NotUtf8 { .. } => &[],
        }
    }
}

fn one_per_line(file: &std::path::Path, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}:{problem}", file.display()))
        .collect();
    lines.join("\n")
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1. A missing key is reported at its section's header, a missing section at line 1.
    pub line: usize,
    /// The section as it is written, such as `[nodegroup "a"]`.
    pub section: Option<String>,
    /// The key as it is documented.
    pub key: Option<&'static str>,
    /// What is wrong, and how to mend it.
    pub message: String,
}

/// `14: [nodegroup "a"] max-size: what is wrong; what to do`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.line)?;
        if let Some(section) = &self.section {
            write!(f, " {section}")?;
        }
        match self.key {
            Some(key) => write!(f, " {key}: {}", self.message),
            None if self.section.is_some() => write!(f, ": {}", self.message),
            None => write!(f, " {}", self.message),
        }
    }
}

/// What is wrong with one value, without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault(String);

impl Fault {
    /// A fault that is told without quoting the value.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// `"value" <what>; expected <expected>`.
    pub(super) fn of(value: &str, what: &str, expected: impl fmt::Display) -> Self {
        Self(format!("{} {what}; expected {expected}", shown(value)))
    }

    pub(super) fn into_message(self) -> String {
        self.0
    }
}

/// The value in quotes, or `the value` if it could be a secret.
pub(super) fn shown(value: &str) -> String {
    if may_be_secret(value) {
        "the value".to_owned()
    } else {
        format!("{value:?}")
    }
}

/// Whether a value looks like a token: K3s's own form, credentials in a URL, or 16 and more characters of the base64
/// alphabets in a row with digits among them. Wrongly yes costs a quotation in an error, wrongly no a secret.
pub(super) fn may_be_secret(value: &str) -> bool {
    let random = |run: &str| {
        run.len() >= 16 && run.bytes().any(|c| c.is_ascii_digit()) && run.bytes().any(|c| c.is_ascii_alphabetic())
    };
    value.contains("K10")
        || value.contains("::")
        || value.contains('@')
        || value.len() > 100
        || value
            .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '/' | '-' | '_' | '='))
            .any(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_look_like_tokens_are_not_quoted() {
        for secret in [
            "K10abc",
            "a=K10a:Never",
            "a::server:b",
            "http://me:pw@host",
            "c2VjcmV0IG9mIGEgZGFlbW9uIDEy",
            "0123456789abcdef0123456789abcdef",
            &"x".repeat(101),
        ] {
            assert_eq!(shown(secret), "the value", "{secret}");
        }
        for plain in ["x", "4GB", "-1", "kubernetes.io/hostname", "scale-down-unneeded-tme"] {
            assert_eq!(shown(plain), format!("{plain:?}"));
        }
    }

    #[test]
    fn problems_are_displayed_one_per_line_in_the_order_of_lines() {
        let problem = |line, key| Problem {
            line,
            section: Some("[global]".to_owned()),
            key,
            message: "is wrong".to_owned(),
        };
        let error = ConfigError::invalid("f".into(), vec![problem(3, Some("k3s-url")), problem(2, None)]);
        assert_eq!(
            error.to_string(),
            "f:2: [global]: is wrong\nf:3: [global] k3s-url: is wrong"
        );
    }
}
