//! One JSON value read without insisting on its type. Slicer's documentation, its OpenAPI file and its SDKs disagree
//! on types, and a field nobody needs must not make an answer unreadable.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A JSON value as far as a field can use it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar {
    /// Missing, null, a list or an object.
    #[default]
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
}

impl Scalar {
    /// The text, unless it is empty or no text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.trim().is_empty() => Some(text),
            _ => None,
        }
    }

    /// The whole number, also when it is written as a text (`"4"`) or with a fraction of zero (`4.0`).
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(*number),
            // Up to 2^53 every whole number is exact; beyond it, a float does not say which number is meant.
            #[allow(clippy::cast_possible_truncation)]
            Self::Float(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
                Some(*number as i128)
            }
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A count or an amount: a whole number that fits `T`.
    pub(super) fn amount<T: TryFrom<i128>>(&self) -> Option<T> {
        self.integer().and_then(|number| T::try_from(number).ok())
    }

    /// Whether it says yes: `true`, `"true"` in any case, or a number other than 0.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Bool(yes) => *yes,
            Self::Text(text) => text.trim().eq_ignore_ascii_case("true"),
            Self::Integer(number) => *number != 0,
            _ => false,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Scalar, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(json: &str) -> Scalar {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_are_read_in_every_spelling() {
        for json in ["4", "4.0", "\"4\"", "\" 4 \""] {
            assert_eq!(scalar(json).amount::<u32>(), Some(4), "{json}");
        }
        assert_eq!(scalar("18446744073709551615").amount(), Some(u64::MAX));
        for json in [
            "-1",
            "4.5",
            "1e300",
            "4294967296",
            "\"4GiB\"",
            "true",
            "null",
            "[4]",
            "{\"a\":4}",
            "\"\"",
        ] {
            assert_eq!(scalar(json).amount::<u32>(), None, "{json}");
        }
    }

    #[test]
    fn yes_is_read_in_every_spelling() {
        for json in ["true", "\"true\"", "\"True\"", "1"] {
            assert!(scalar(json).is_true(), "{json}");
        }
        for json in ["false", "\"false\"", "0", "null", "[]", "{}", "\"\""] {
            assert!(!scalar(json).is_true(), "{json}");
        }
    }

    #[test]
    fn a_blank_text_is_no_text() {
        assert_eq!(scalar("\"a\"").text(), Some("a"));
        for json in ["\"\"", "\" \"", "7", "null"] {
            assert_eq!(scalar(json).text(), None, "{json}");
        }
    }
}
