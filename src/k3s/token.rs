//! A join token taken apart.

/// What a join token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Of agents alone (`K10<hash>::node:...`).
    Agent,
    /// Of servers, and so of whoever administers the cluster (`K10<hash>::server:...`).
    Server,
    /// One that expires (`<id>.<secret>`).
    Bootstrap,
    /// A password alone, or of another user: what it is for cannot be seen.
    Password,
}

/// The parts of a join token.
pub(super) struct Token<'a> {
    pub(super) ca_hash: Option<&'a str>,
    pub(super) credential: Credential<'a>,
    pub(super) kind: TokenKind,
}

/// What an agent shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    Password(&'a str),
    Bootstrap(&'a str),
}

impl<'a> Token<'a> {
    /// Reads `K10<hash>::<user>:<password>`, `K10<hash>::<id>.<secret>`, or one of `<id>.<secret>` and a password alone,
    /// whose colons are its own: only the long form names a user.
    pub(super) fn read(text: &'a str) -> Self {
        let full = text.strip_prefix("K10").and_then(|text| text.split_once("::"));
        let (ca_hash, user, rest) = match full {
            Some((hash, rest)) => match rest.split_once(':') {
                Some((user, password)) => (Some(hash), Some(user), password),
                None => (Some(hash), None, rest),
            },
            None => (None, None, text),
        };
        let (kind, credential) = match user {
            Some("node") => (TokenKind::Agent, Credential::Password(rest)),
            Some("server") => (TokenKind::Server, Credential::Password(rest)),
            None if is_bootstrap(rest) => (TokenKind::Bootstrap, Credential::Bootstrap(rest)),
            _ => (TokenKind::Password, Credential::Password(rest)),
        };
        Self {
            ca_hash,
            credential,
            kind,
        }
    }
}

fn is_bootstrap(text: &str) -> bool {
    let plain = |part: &str| part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(id, secret)| id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret))
}

#[cfg(test)]
mod tests {
    use super::Credential::{Bootstrap, Password};
    use super::*;

    #[test]
    fn tokens_are_taken_apart_in_every_form() {
        const BOOTSTRAP: &str = "abcdef.0123456789abcdef";
        for (text, hash, kind, credential) in [
            ("K10ab::server:pw:x", Some("ab"), TokenKind::Server, Password("pw:x")),
            ("K10ab::node:pw", Some("ab"), TokenKind::Agent, Password("pw")),
            ("K10ab::me:pw", Some("ab"), TokenKind::Password, Password("pw")),
            (
                "K10ab::abcdef.0123456789abcdef",
                Some("ab"),
                TokenKind::Bootstrap,
                Bootstrap(BOOTSTRAP),
            ),
            ("secret", None, TokenKind::Password, Password("secret")),
            ("server:x", None, TokenKind::Password, Password("server:x")),
            ("a::b:c", None, TokenKind::Password, Password("a::b:c")),
            (BOOTSTRAP, None, TokenKind::Bootstrap, Bootstrap(BOOTSTRAP)),
        ] {
            let token = Token::read(text);
            assert_eq!(
                (token.ca_hash, token.kind, token.credential),
                (hash, kind, credential),
                "{text}"
            );
        }
    }
}
