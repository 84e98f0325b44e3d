//! Readers for single values that need nothing but their text: numbers, switches, sizes, names.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::Fault;
use crate::domain::ids::{InvalidId, is_label_value};
use crate::domain::quantity;

const LABEL_VALUE: &str = "1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends";

/// A whole number within `range`.
pub(super) fn whole_number(text: &str, range: RangeInclusive<u32>) -> Result<u32, Fault> {
    let expected = format!("{} to {}", range.start(), range.end());
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Fault::of(text, "is not a whole number", expected));
    }
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| Fault::of(text, "is out of range", expected))
}

/// A number from 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, Fault> {
    let number = f64::from_str(text).ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| Fault::of(text, "is not a share", "a number from 0 to 1, such as 0.5"))
}

/// A price: finite and above 0.
pub(super) fn price(text: &str) -> Result<f64, Fault> {
    let number = f64::from_str(text).ok().filter(|n| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| Fault::of(text, "is not a price", "a number above 0, such as 0.12"))
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, Fault> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::of(text, "is neither", "true or false")),
    }
}

/// A Kubernetes quantity in whole bytes, at least `least`.
pub(super) fn bytes(text: &str, least: u64) -> Result<u64, Fault> {
    let bytes = quantity::parse_bytes(text).map_err(|error| Fault::of(text, "is not a size", error.expected))?;
    if bytes < least {
        return Err(Fault::of(text, "is too small", format!("at least {least} bytes")));
    }
    Ok(bytes)
}

/// A value that a label can have, not empty.
pub(super) fn label_value(text: &str) -> Result<String, Fault> {
    if text.is_empty() || !is_label_value(text) {
        return Err(Fault::of(text, "is not a valid label value", LABEL_VALUE));
    }
    Ok(text.to_owned())
}

/// A value of the domain that says itself what it expects.
pub(super) fn domain<T: FromStr<Err = InvalidId>>(text: &str) -> Result<T, Fault> {
    text.parse()
        .map_err(|error: InvalidId| Fault::of(text, "is not valid", error.expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_a_range() {
        assert_eq!(whole_number("0", 0..=5), Ok(0));
        assert_eq!(whole_number("5", 0..=5), Ok(5));
        for (text, message) in [
            ("6", "\"6\" is out of range; expected 0 to 5"),
            ("-1", "\"-1\" is out of range; expected 0 to 5"),
            ("4294967296", "\"4294967296\" is out of range; expected 0 to 5"),
            ("x", "\"x\" is not a whole number; expected 0 to 5"),
            ("1.5", "\"1.5\" is not a whole number; expected 0 to 5"),
            ("-", "\"-\" is not a whole number; expected 0 to 5"),
        ] {
            assert_eq!(whole_number(text, 0..=5).unwrap_err().into_message(), message);
        }
    }

    #[test]
    fn shares_and_prices_are_finite() {
        assert_eq!(share("0"), Ok(0.0));
        assert_eq!(share("1"), Ok(1.0));
        assert_eq!(share(".5"), Ok(0.5));
        for bad in ["-0.1", "1.01", "nan", "inf", "50%", "", "0,5"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert_eq!(price("0.25"), Ok(0.25));
        for bad in ["0", "-1", "nan", "inf", "1e999", "1 EUR"] {
            assert!(price(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn switches_are_true_or_false() {
        assert_eq!(switch("true"), Ok(true));
        assert_eq!(switch("false"), Ok(false));
        for bad in ["yes", "True", "1"] {
            assert!(switch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_a_least_value() {
        assert_eq!(bytes("128Mi", 128 << 20), Ok(128 << 20));
        assert!(bytes("127Mi", 128 << 20).is_err());
        assert!(bytes("4GB", 0).is_err());
    }

    #[test]
    fn names_are_label_values() {
        assert_eq!(label_value("rack-1").unwrap(), "rack-1");
        for bad in ["", "rack 1", "-a", &"x".repeat(64)] {
            assert!(label_value(bad).is_err(), "{bad}");
        }
    }
}
