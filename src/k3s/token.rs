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
    /// Reads `K10<hash>::<user>:<password>`, `K10<hash>::<id>.<secret>`, or a password alone.
    pub(super) fn read(text: &'a str) -> Self {
        let (ca_hash, rest) = match text.strip_prefix("K10").and_then(|text| text.split_once("::")) {
            Some((hash, rest)) => (Some(hash), rest),
            None => (None, text),
        };
        let (kind, credential) = match rest.split_once(':') {
            Some(("node", password)) => (TokenKind::Agent, Credential::Password(password)),
            Some(("server", password)) => (TokenKind::Server, Credential::Password(password)),
            Some((_, password)) => (TokenKind::Password, Credential::Password(password)),
            None if is_bootstrap(rest) => (TokenKind::Bootstrap, Credential::Bootstrap(rest)),
            None => (TokenKind::Password, Credential::Password(rest)),
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
