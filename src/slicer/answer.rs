//! Error answers of a host: the text in their body, what kind of failure they are, and whether the request may have
//! been carried out all the same. Pure functions of status and body.

use reqwest::StatusCode;
use serde_json::Value;

use super::wording;
use crate::domain::failure::{HostErrorKind, RequestFate};

/// What an error status means.
///
/// A 4xx is a refusal: nothing was done. A 5xx may come after half of the work. 408 and 507 are the exceptions: the
/// first ends work under way, and the second is sent instead of starting. 429 asks to come again.
pub(super) fn judge(status: StatusCode, text: &str) -> (HostErrorKind, RequestFate) {
    use HostErrorKind as Kind;
    let fate = match status.as_u16() {
        408 => RequestFate::Unclear,
        507 => RequestFate::NotDone,
        500.. => RequestFate::Unclear,
        _ => RequestFate::NotDone,
    };
    let kind = match status.as_u16() {
        400 | 409 | 422 if wording::refuses_for_lack_of_room(text) => Kind::OutOfResources,
        401 => Kind::Unauthorized,
        403 => forbidden(text),
        404 => Kind::NotFound,
        408 => Kind::Broken,
        429 => Kind::Busy,
        400..500 => Kind::Refused,
        507 => Kind::OutOfResources,
        // 502 and 504 are the words of a gateway, which knows nothing of the host's room.
        502 | 504 => Kind::Broken,
        500..600 if wording::says_no_room(text) => Kind::OutOfResources,
        500..600 => Kind::Broken,
        _ => Kind::Nonsense,
    };
    (kind, fate)
}

/// The licence comes first: "your licence token has expired" is not about our token.
fn forbidden(text: &str) -> HostErrorKind {
    if wording::says_not_licensed(text) {
        HostErrorKind::OutOfResources
    } else if wording::says_not_authenticated(text) {
        HostErrorKind::Unauthorized
    } else {
        HostErrorKind::Refused
    }
}

/// What an error body says: `{"error": ..}`, `{"message": ..}`, a JSON string, plain text, or the text of an HTML page
/// that something between us and the host has sent.
pub(super) fn error_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        return said_in(&value).unwrap_or_else(|| text.into_owned());
    }
    if text.trim_start().starts_with('<') {
        return without_tags(&text);
    }
    text.into_owned()
}

fn said_in(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Object(fields) => ["error", "message", "detail", "msg"]
            .iter()
            .filter_map(|name| said_in(fields.get(*name)?))
            .find(|text| !text.is_empty()),
        _ => None,
    }
}

fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut within_tag = false;
    for c in html.chars() {
        match c {
            '<' => within_tag = true,
            '>' if within_tag => {
                within_tag = false;
                text.push(' ');
            }
            c if !within_tag => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use HostErrorKind as Kind;
    use RequestFate::{NotDone, Unclear};

    fn judged(status: u16, text: &str) -> (Kind, RequestFate) {
        judge(StatusCode::from_u16(status).unwrap(), text)
    }

    #[test]
    fn each_status_has_its_kind_and_fate() {
        for (status, expected) in [
            (101, (Kind::Nonsense, NotDone)),
            (302, (Kind::Nonsense, NotDone)),
            (400, (Kind::Refused, NotDone)),
            (401, (Kind::Unauthorized, NotDone)),
            (403, (Kind::Refused, NotDone)),
            (404, (Kind::NotFound, NotDone)),
            (405, (Kind::Refused, NotDone)),
            (408, (Kind::Broken, Unclear)),
            (409, (Kind::Refused, NotDone)),
            (413, (Kind::Refused, NotDone)),
            (429, (Kind::Busy, NotDone)),
            (500, (Kind::Broken, Unclear)),
            (501, (Kind::Broken, Unclear)),
            (502, (Kind::Broken, Unclear)),
            (503, (Kind::Broken, Unclear)),
            (504, (Kind::Broken, Unclear)),
            (507, (Kind::OutOfResources, NotDone)),
            (599, (Kind::Broken, Unclear)),
            (999, (Kind::Nonsense, Unclear)),
        ] {
            assert_eq!(judged(status, "it failed"), expected, "{status}");
        }
    }

    #[test]
    fn lack_of_room_is_out_of_resources_whatever_the_status() {
        for (status, fate) in [
            (400, NotDone),
            (409, NotDone),
            (500, Unclear),
            (503, Unclear),
            (507, NotDone),
        ] {
            let expected = (Kind::OutOfResources, fate);
            assert_eq!(judged(status, "no free IP in 192.168.137.0/24"), expected, "{status}");
        }
    }

    #[test]
    fn over_the_limit_of_the_group_is_refused() {
        assert_eq!(
            judged(400, "ram_gb exceeds the group's limit of 16"),
            (Kind::Refused, NotDone)
        );
    }

    #[test]
    fn a_gateway_does_not_know_the_hosts_room() {
        assert_eq!(judged(502, "upstream capacity exhausted"), (Kind::Broken, Unclear));
        assert_eq!(judged(503, "no available server"), (Kind::Broken, Unclear));
    }

    #[test]
    fn forbidden_may_be_the_licence_the_token_or_a_protected_vm() {
        assert_eq!(judged(403, "Trial mode is limited to 3 VMs").0, Kind::OutOfResources);
        assert_eq!(judged(403, "licence token has expired").0, Kind::OutOfResources);
        assert_eq!(judged(403, "Invalid TOKEN").0, Kind::Unauthorized);
        assert_eq!(judged(403, "VM is protected").0, Kind::Refused);
    }

    #[test]
    fn error_bodies_are_read_in_every_form() {
        for (body, expected) in [
            (r#"{"error":"no","code":7}"#, "no"),
            (r#"{"message":"no"}"#, "no"),
            (r#"{"error":"","message":"no"}"#, "no"),
            (r#"{"error":{"message":"no"}}"#, "no"),
            (r#""no""#, "no"),
            ("null", ""),
            ("", ""),
            ("no\n", "no\n"),
            (r#"{"other":1}"#, r#"{"other":1}"#),
            ("[1]", "[1]"),
            ("{\"error\":", "{\"error\":"),
            (
                "<html><head><title>502</title></head>\n<body><h1>Bad  Gateway</h1></body></html>",
                "502 Bad Gateway",
            ),
        ] {
            assert_eq!(error_text(body.as_bytes()), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_and_no_status_make_it_panic(body: Vec<u8>, status in 100u16..1000) {
            let _ = judged(status, &error_text(&body));
        }
    }
}
