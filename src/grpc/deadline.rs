//! The time that a caller gives a call.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// The time that the caller gives a call; `None` if it did not say.
pub(super) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (amount, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = amount.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount.saturating_mul(3600)),
        "M" => Duration::from_secs(amount.saturating_mul(60)),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_in_every_unit() {
        for (text, duration) in [
            ("5S", Duration::from_secs(5)),
            ("4999m", Duration::from_millis(4999)),
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("4999800u", Duration::from_micros(4_999_800)),
            ("7n", Duration::from_nanos(7)),
        ] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&metadata), Some(duration), "{text}");
        }
        for text in ["", "S", "5", "x5S", "5d"] {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(deadline(&metadata), None, "{text}");
        }
    }
}
