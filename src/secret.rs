//! Secrets as the configuration names them: a value, or a file that holds it and may change while the server runs.
//! Nothing here shows a secret: not `Debug`, not an error.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret, SecretString};

use crate::file;

/// Longest secret file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A secret file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be opened or read, or is no regular file.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds nothing but white space.
    #[error("{path} is empty; it must hold the token")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It holds more than one line, or control characters.
    #[error("{path} must hold one line with the token and nothing else")]
    NotOneLine {
        /// The file.
        path: PathBuf,
    },
    /// It is far too long for a token.
    #[error("{path} is larger than {MAX_FILE_BYTES} bytes: this is no token")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
}

/// Where a secret comes from.
#[derive(Clone)]
pub struct SecretSource(Source);

#[derive(Clone)]
enum Source {
    Value(SecretString),
    File {
        path: PathBuf,
        last_good: Arc<ArcSwapOption<SecretString>>,
    },
}

impl SecretSource {
    /// A secret that is written in the configuration itself.
    #[must_use]
    pub fn value(secret: SecretString) -> Self {
        Self(Source::Value(secret))
    }

    /// A secret in a file. The file is read once now, so that a missing one is noticed at once.
    ///
    /// # Errors
    /// The file cannot be read, is empty, has several lines, or is far too long.
    pub fn file(path: PathBuf) -> Result<Self, SecretError> {
        let secret = read_file(&path)?;
        Ok(Self(Source::File {
            path,
            last_good: Arc::new(ArcSwapOption::from_pointee(secret)),
        }))
    }

    /// The secret as it is now. A file is read again each time, so that a rotated token takes effect at once; if that
    /// fails for a moment (a volume being swapped) the last good value is used.
    #[must_use]
    pub fn current(&self) -> SecretString {
        match &self.0 {
            Source::Value(secret) => secret.clone(),
            Source::File { path, last_good } => {
                if let Ok(secret) = read_file(path) {
                    last_good.store(Some(Arc::new(secret)));
                }
                // Set by `file` and never cleared.
                last_good.load().as_deref().cloned().unwrap_or_default()
            }
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Value(_) => f.write_str("SecretSource([REDACTED])"),
            Source::File { path, .. } => write!(f, "SecretSource(file {})", path.display()),
        }
    }
}

/// Tells whether the secret behind the source changed, not what it is.
impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Source::Value(a), Source::Value(b)) => a.expose_secret() == b.expose_secret(),
            (Source::File { path: a, .. }, Source::File { path: b, .. }) => a == b,
            _ => false,
        }
    }
}

fn unreadable(path: &Path, source: io::Error) -> SecretError {
    let path = path.to_owned();
    if source.kind() == ErrorKind::FileTooLarge {
        return SecretError::TooLong { path };
    }
    SecretError::Unreadable { path, source }
}

fn read_file(path: &Path) -> Result<SecretString, SecretError> {
    let bytes = file::read(path, MAX_FILE_BYTES).map_err(|source| unreadable(path, source))?;
    let text = str::from_utf8(&bytes).map_err(|_| unreadable(path, io::Error::other("not UTF-8")))?;
    // Secrets made with `echo` end in a newline.
    let secret = text.trim();
    if secret.is_empty() {
        return Err(SecretError::Empty { path: path.to_owned() });
    }
    if secret.chars().any(char::is_control) {
        return Err(SecretError::NotOneLine { path: path.to_owned() });
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_takes_effect_and_a_missing_one_keeps_the_last_good_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let source = SecretSource::file(path.clone()).unwrap();
        assert_eq!(source.current().expose_secret(), "first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(source.current().expose_secret(), "second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(source.current().expose_secret(), "second");
        assert!(!format!("{source:?}").contains("second"));
    }

    #[test]
    fn files_that_hold_no_token_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(
            SecretSource::file(path.clone()),
            Err(SecretError::Unreadable { .. })
        ));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(
            SecretSource::file(path.clone()),
            Err(SecretError::Empty { .. })
        ));
        std::fs::write(&path, "a\nb").unwrap();
        assert!(matches!(
            SecretSource::file(path.clone()),
            Err(SecretError::NotOneLine { .. })
        ));
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(matches!(SecretSource::file(path), Err(SecretError::TooLong { .. })));
    }
}
