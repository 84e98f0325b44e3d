//! Durations as Go writes them (`90s`, `15m`, `1h30m`, `1.5h`, `100ms`), because the cluster-autoscaler's own options
//! are written so.

use std::time::Duration;

use super::error::Fault;

/// Go's `time.Duration` ends here; the answer to the cluster-autoscaler has to fit it.
const LONGEST_NANOS: u128 = i64::MAX as u128;

/// A duration above 0.
pub(super) fn positive(text: &str) -> Result<Duration, Fault> {
    let fault = |what| Fault::of(text, what, "a duration such as 90s, 15m or 1h30m");
    if text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(fault("has no unit"));
    }
    let nanos = nanos(text).ok_or_else(|| fault("is not a duration"))?;
    if nanos == 0 {
        return Err(fault("is not above 0"));
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| fault("is too long"))?;
    let rest = u32::try_from(nanos % 1_000_000_000).map_err(|_| fault("is too long"))?;
    Ok(Duration::new(seconds, rest))
}

/// The sum of all `number unit` pairs; `None` if there is anything else.
fn nanos(mut text: &str) -> Option<u128> {
    let mut sum = 0_u128;
    while !text.is_empty() {
        let (whole, rest) = digits(text);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at_checked(unit_end)?;
        sum = sum.checked_add(scaled(whole, fraction, unit_nanos(unit)?)?)?;
        text = rest;
    }
    (sum <= LONGEST_NANOS).then_some(sum)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn scaled(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let number = |digits: &str| match digits {
        "" => Some(0),
        _ => digits.parse::<u64>().ok().map(u128::from),
    };
    // More digits than these are below a nanosecond for every unit.
    let fraction = fraction.get(..15).unwrap_or(fraction);
    let power = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    number(whole)?
        .checked_mul(unit)?
        .checked_add(number(fraction)?.checked_mul(unit)? / power)
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        // The micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("90s", 90_000_000_000),
            ("15m", 900_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100ms", 100_000_000),
            ("1h0m0.25s", 3_600_250_000_000),
            ("3us", 3_000),
            ("3\u{b5}s", 3_000),
            ("3\u{3bc}s", 3_000),
            ("7ns", 7),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(positive(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_above_zero_is_refused() {
        for text in [
            "",
            "0",
            "90",
            "0s",
            "0h0m",
            "-1s",
            "+1s",
            "s",
            ".s",
            "1",
            "1d",
            "1h30",
            "1 h",
            "1,5h",
            "1..5h",
            "1hm",
            "1e3s",
            "9223372036854775808ns",
            "99999999999999999999h",
            "2562048h",
        ] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert!(positive("90").unwrap_err().into_message().contains("has no unit"));
    }
}
