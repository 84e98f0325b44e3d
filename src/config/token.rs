//! Tokens: their shape, and the pair of keys (`...-token`, `...-token-file`) that one comes from. Nothing here repeats
//! a token or the path of a token file, as people also put the token itself behind the `-file` key.

use secrecy::{ExposeSecret, SecretString};

use super::error::Fault;
use super::keys::Key;
use super::paths::Paths;
use super::section::{SectionReader, Setting};
use crate::secret::{SecretError, SecretSource};

/// A kind of token: where it is configured and what it looks like.
pub(super) struct TokenKeys {
    /// The key that holds the token.
    pub(super) value: Key,
    /// The key that names a file with it.
    pub(super) file: Key,
    /// The check of its shape.
    pub(super) check: fn(&str) -> Result<(), Fault>,
}

/// Reads whichever of the two keys is there.
pub(super) fn read(reader: &mut SectionReader<'_>, keys: &TokenKeys, paths: &Paths) -> Setting<SecretSource> {
    let value = reader.read(&keys.value, |text| {
        (keys.check)(text).map(|()| SecretSource::value(SecretString::from(text)))
    });
    let file = reader.read(&keys.file, |text| from_file(text, keys, paths));
    match (value, file) {
        (Setting::Absent, file) => file,
        (value, Setting::Absent) => value,
        (Setting::Given { line: of_value, .. }, Setting::Given { line: of_file, .. }) => {
            let (other, first, key, second) = if of_value < of_file {
                (&keys.value, of_value, &keys.file, of_file)
            } else {
                (&keys.file, of_file, &keys.value, of_value)
            };
            let both = format!("stands beside {} (line {first}); keep one of the two", other.name);
            reader.fault(key, second, Fault::new(both));
            Setting::Faulty
        }
        _ => Setting::Faulty,
    }
}

fn from_file(text: &str, keys: &TokenKeys, paths: &Paths) -> Result<SecretSource, Fault> {
    let source = SecretSource::file(paths.resolve(text)?).map_err(|error| match error {
        SecretError::Unreadable { source, .. } => Fault::new(format!(
            "names a file that cannot be read ({source}); expected a path, absolute or from the configuration's folder"
        )),
        SecretError::Empty { .. } => Fault::new("names an empty file; it must hold the token"),
        SecretError::NotOneLine { .. } => Fault::new("names a file with several lines; it must hold the token alone"),
        SecretError::TooLong { .. } => Fault::new("names a file that is far too large; it must hold the token alone"),
    })?;
    (keys.check)(source.current().expose_secret())
        .map_err(|fault| Fault::new(format!("names a file whose content {}", fault.into_message())))?;
    Ok(source)
}

/// A K3s token: `K10<CA hash>::<credentials>`, or the password alone.
pub(super) fn check_k3s(text: &str) -> Result<(), Fault> {
    const FULL: &str = "begins with K10 but is not K10<64 hex digits>::<user>:<password> or \
                        K10<64 hex digits>::<6 characters>.<16 characters>; copy the whole token";
    one_word(text)?;
    match text.strip_prefix("K10") {
        Some(rest) if !is_full_token(rest) => Err(Fault::new(FULL)),
        _ => Ok(()),
    }
}

fn is_full_token(rest: &str) -> bool {
    let Some((hash, credentials)) = rest.split_once("::") else {
        return false;
    };
    let hash_ok = hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit());
    let is_user = |(user, password): (&str, &str)| !user.is_empty() && !password.is_empty();
    let is_bootstrap = |(id, secret): (&str, &str)| {
        let lower = |text: &str| text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        id.len() == 6 && secret.len() == 16 && lower(id) && lower(secret)
    };
    hash_ok
        && (credentials.split_once(':').is_some_and(is_user) || credentials.split_once('.').is_some_and(is_bootstrap))
}

/// A Slicer API token. It goes into a header, where only visible ASCII can stand.
pub(super) fn check_slicer(text: &str) -> Result<(), Fault> {
    one_word(text)?;
    if !text.is_ascii() {
        return Err(Fault::new(
            "holds other than ASCII characters; expected the content of the daemon's token file",
        ));
    }
    Ok(())
}

fn one_word(text: &str) -> Result<(), Fault> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Fault::new(
            "is not a token; expected one word without spaces or control characters",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k3s_tokens_are_full_or_a_password() {
        let hash = "0123456789abcdefABCDEF0123456789".repeat(2);
        for good in [
            format!("K10{hash}::server:abc=="),
            format!("K10{hash}::node:a:b"),
            format!("K10{hash}::abc123.0123456789abcdef"),
            "password".to_owned(),
            "abc123.0123456789abcdef".to_owned(),
            "pässword".to_owned(),
        ] {
            assert_eq!(check_k3s(&good), Ok(()), "{good}");
        }
        for bad in [
            "K10".to_owned(),
            format!("K10{hash}"),
            format!("K10{hash}::"),
            format!("K10{hash}::server"),
            format!("K10{hash}::server:"),
            format!("K10{hash}:::x"),
            format!("K10{hash}0::server:x"),
            format!("K10{hash}::ABC123.0123456789abcdef"),
            format!("K10{hash}::abc12.0123456789abcdef"),
            "a b".to_owned(),
            "a\u{a0}b".to_owned(),
        ] {
            let message = check_k3s(&bad).unwrap_err().into_message();
            assert!(!message.contains(&hash), "{message}");
        }
    }

    #[test]
    fn slicer_tokens_fit_a_header() {
        assert_eq!(check_slicer("abc+/=_-"), Ok(()));
        assert!(check_slicer("a b").is_err());
        assert!(check_slicer("pässword").is_err());
    }
}
