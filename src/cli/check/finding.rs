//! One finding: how bad it is, what it is about, what was found, and what to do about it.

use std::fmt;

use serde::Serialize;

use crate::redact::one_line;

/// Longest text of a finding, in characters: room for a long path and for the names of a hundred host groups.
const MAX_TEXT: usize = 5000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be, or good to know.
    Ok,
    /// It works, but not as well as it could.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the report; as JSON, one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// What it is about: `node group agents`, `k3s`, `kubernetes` and the like.
    pub(super) subject: String,
    /// What was found.
    pub(super) text: String,
    /// What to do about it. What is wrong with the configuration says that in its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            subject: shown(subject),
            text: shown(text),
            remedy: None,
        }
    }

    /// What is no more than it could be comes with what to do.
    pub(super) fn warn(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            remedy: Some(shown(remedy)),
            ..Self::ok(subject, text)
        }
    }

    /// So does what is wrong.
    pub(super) fn fail(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            ..Self::warn(subject, text, remedy)
        }
    }
}

/// One line, whatever of it somebody else said: nobody is to add a finding, or to move the cursor.
fn shown(text: impl Into<String>) -> String {
    one_line(&text.into(), MAX_TEXT)
}

/// `fail  k3s: what was found; what to do`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {}: {}", self.verdict.as_str(), self.subject, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_for_people_and_an_object_for_machines() {
        let finding = Finding::fail("k3s", "it is down", "start it");
        assert_eq!(finding.to_string(), "fail  k3s: it is down; start it");
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"verdict":"fail","subject":"k3s","text":"it is down","remedy":"start it"}"#
        );
        let fine = Finding::ok("k3s", "it is up");
        assert_eq!(fine.to_string(), "ok    k3s: it is up");
        assert!(!serde_json::to_string(&fine).unwrap().contains("remedy"));
    }

    #[test]
    fn nobody_who_is_asked_can_add_a_line_or_fill_the_screen() {
        let forged = "v1\nok    kubernetes: \u{1b}[2Jall is well\r\u{202e}";
        let finding = Finding::fail(forged, forged, forged);
        assert!(!finding.to_string().contains(char::is_control), "{finding}");
        let json = serde_json::to_string(&finding).unwrap();
        assert!(!json.contains("\\u001b") && !json.contains("\\n"), "{json}");
        let long = Finding::ok("k3s", "x".repeat(100_000));
        assert_eq!(long.text.chars().count(), MAX_TEXT);
    }
}
