//! The secrets directory of the simulated host. Contents go in, and into guests, but never into an answer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice};

use super::refusal::Refusal;

/// The most secrets that are kept.
pub(super) const MOST_SECRETS: usize = 1000;

/// The most bytes in one secret.
const MOST_BYTES: usize = 64 * 1024;

/// One secret.
#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub(super) content: SecretSlice<u8>,
    pub(super) permissions: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified_at: Timestamp,
}

impl Secret {
    pub(super) fn size(&self) -> usize {
        self.content.expose_secret().len()
    }
}

/// What a request says about a secret; whatever it leaves out stays, or gets its default.
#[derive(Debug, Default)]
pub(super) struct SecretChange {
    pub(super) content: Option<SecretSlice<u8>>,
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// All secrets by name.
#[derive(Debug, Default)]
pub(super) struct SecretStore(BTreeMap<String, Secret>);

impl SecretStore {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Secret)> {
        self.0.iter()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    pub(super) fn create(&mut self, name: &str, change: SecretChange, now: Timestamp) -> Result<(), Refusal> {
        check_name(name)?;
        check(&change)?;
        if self.0.contains_key(name) {
            return Err(Refusal::SecretExists(name.to_owned()));
        }
        if self.0.len() >= MOST_SECRETS {
            return Err(Refusal::NoRoomForSecrets(self.0.len()));
        }
        let secret = Secret {
            content: change.content.unwrap_or_default(),
            permissions: change.permissions.unwrap_or_else(|| "0600".to_owned()),
            uid: change.uid.unwrap_or(0),
            gid: change.gid.unwrap_or(0),
            modified_at: now,
        };
        self.0.insert(name.to_owned(), secret);
        Ok(())
    }

    pub(super) fn update(&mut self, name: &str, change: SecretChange, now: Timestamp) -> Result<(), Refusal> {
        let missing = || Refusal::NoSuchSecret(name.to_owned());
        let secret = self.0.get_mut(name).ok_or_else(missing)?;
        check(&change)?;
        if let Some(content) = change.content {
            secret.content = content;
        }
        if let Some(permissions) = change.permissions {
            secret.permissions = permissions;
        }
        secret.uid = change.uid.unwrap_or(secret.uid);
        secret.gid = change.gid.unwrap_or(secret.gid);
        secret.modified_at = now;
        Ok(())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let missing = || Refusal::NoSuchSecret(name.to_owned());
        self.0.remove(name).map(drop).ok_or_else(missing)
    }

    /// The secrets that a VM may see: those named, as far as they exist, or all.
    pub(super) fn visible(&self, only: Option<&[String]>) -> BTreeMap<String, SecretSlice<u8>> {
        self.0
            .iter()
            .filter(|(name, _)| only.is_none_or(|names| names.contains(name)))
            .map(|(name, secret)| (name.clone(), secret.content.clone()))
            .collect()
    }
}

/// A secret is a file in one directory: its name must not lead out of it.
fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 253 || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(Refusal::BadRequest("invalid secret name".to_owned()));
    }
    Ok(())
}

fn check(change: &SecretChange) -> Result<(), Refusal> {
    let octal = |text: &String| u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777);
    if change.permissions.as_ref().is_some_and(|text| !octal(text)) {
        return Err(Refusal::BadRequest("invalid permissions: octal expected".to_owned()));
    }
    let size = change
        .content
        .as_ref()
        .map_or(0, |content| content.expose_secret().len());
    if size > MOST_BYTES {
        return Err(Refusal::BadRequest(format!("secret is larger than {MOST_BYTES} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str) -> SecretChange {
        SecretChange {
            content: Some(text.as_bytes().to_vec().into()),
            ..SecretChange::default()
        }
    }

    #[test]
    fn a_vm_sees_the_secrets_it_names_as_far_as_they_exist_or_all() {
        let mut store = SecretStore::default();
        store.create("a", content("1"), Timestamp::UNIX_EPOCH).unwrap();
        store.create("b", content("2"), Timestamp::UNIX_EPOCH).unwrap();
        let names = |only: Option<&[String]>| store.visible(only).into_keys().collect::<Vec<_>>();
        assert_eq!(names(None), ["a", "b"]);
        assert_eq!(names(Some(&["b".to_owned(), "gone".to_owned()])), ["b"]);
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["", "..", ".hidden", "a/b", "a b", &"x".repeat(254)] {
            let refused = SecretStore::default().create(name, content("1"), Timestamp::UNIX_EPOCH);
            assert!(matches!(refused, Err(Refusal::BadRequest(_))), "{name}");
        }
    }

    #[test]
    fn a_full_directory_takes_no_more() {
        let mut store = SecretStore::default();
        for n in 0..MOST_SECRETS {
            store
                .create(&format!("s{n}"), content("1"), Timestamp::UNIX_EPOCH)
                .unwrap();
        }
        let refused = store.create("one-more", content("1"), Timestamp::UNIX_EPOCH);
        assert_eq!(refused, Err(Refusal::NoRoomForSecrets(MOST_SECRETS)));
    }

    #[test]
    fn debug_shows_no_content() {
        let mut store = SecretStore::default();
        store.create("a", content("K10secret"), Timestamp::UNIX_EPOCH).unwrap();
        let shown = format!("{store:?}");
        assert!(!shown.contains("K10secret") && !shown.contains("75, 49"), "{shown}");
    }
}
