//! Kubernetes quantities: `4Gi`, `25G`, `1500m`, `1e3`. Read into whole numbers, because that is all this project adds
//! and compares. (The crates that read them are tied to versions of the Kubernetes client, which `domain` must not
//! know.)

use super::ids::InvalidId;

/// Thousandths of a unit that `text` stands for, rounded up as Kubernetes does.
///
/// # Errors
/// The text is no quantity, is negative, or too large (2^127 thousandths).
pub fn parse_milli(text: &str) -> Result<u128, InvalidId> {
    let malformed = InvalidId {
        expected: "a Kubernetes quantity such as 4Gi, 25G or 500m",
    };
    let number_end = text
        .char_indices()
        .find(|(_, c)| !c.is_ascii_digit() && *c != '.')
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 || fraction.len() > 9 {
        return Err(malformed);
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| malformed.clone())?;
    let divisor = u32::try_from(fraction.len())
        .ok()
        .and_then(|n| 10_u128.checked_pow(n))
        .ok_or(malformed.clone())?;
    let factor = milli_factor(suffix).ok_or(malformed.clone())?;
    // Factors below one thousandth (n, u) come as divisors.
    let (multiplier, suffix_divisor) = factor;
    let scaled = digits.checked_mul(multiplier).ok_or(malformed)?;
    Ok(scaled.div_ceil(divisor * suffix_divisor))
}

/// What a suffix multiplies thousandths by, and divides them by.
fn milli_factor(suffix: &str) -> Option<(u128, u128)> {
    let times = |n: u128| Some((n * 1000, 1));
    match suffix {
        "n" => Some((1, 1_000_000)),
        "u" => Some((1, 1_000)),
        "m" => Some((1, 1)),
        "" => times(1),
        "k" => times(1_000),
        "M" => times(1_000_000),
        "G" => times(1_000_000_000),
        "T" => times(1_000_000_000_000),
        "P" => times(1_000_000_000_000_000),
        "E" => times(1_000_000_000_000_000_000),
        "Ki" => times(1 << 10),
        "Mi" => times(1 << 20),
        "Gi" => times(1 << 30),
        "Ti" => times(1 << 40),
        "Pi" => times(1 << 50),
        "Ei" => times(1 << 60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            match exponent {
                0..=21 => times(power),
                -9..0 => Some((1000, power)),
                _ => None,
            }
        }
    }
}

/// Whole units (bytes) that `text` stands for, rounded up.
///
/// # Errors
/// As [`parse_milli`]; also if the amount is over 2^63 - 1.
pub fn parse_bytes(text: &str) -> Result<u64, InvalidId> {
    let units = parse_milli(text)?.div_ceil(1000);
    u64::try_from(units)
        .ok()
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or(InvalidId {
            expected: "a quantity below 8Ei",
        })
}

/// Bytes as Kubernetes' nodes report memory: in `Ki`, rounded down.
#[must_use]
pub fn format_kibibytes(bytes: u64) -> String {
    format!("{}Ki", bytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("1.5", 1500),
            (".5", 500),
            ("2Ki", 2_048_000),
            ("1.5Gi", 1_610_612_736_000),
            ("25G", 25_000_000_000_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1n", 1),
            ("100u", 1),
            ("15e-1", 1500),
        ] {
            assert_eq!(parse_milli(text), Ok(milli), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "Gi",
            "4 Gi",
            "-1",
            "+1",
            "1.2.3",
            "4gb",
            "4GB",
            "0x10",
            "1e",
            "1e99",
            "e3",
            ".",
            "99999999999999999999E",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
