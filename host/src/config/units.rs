//! Durations and sizes as people write them.

use std::time::Duration;

/// A text that is not a duration or a size.
///
/// ```
/// let wrong = tidegate::config::parse_duration("5 minutes").unwrap_err();
/// assert!(wrong.to_string().contains("`5m`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
#[non_exhaustive]
pub struct UnitError {
    text: String,
    what: &'static str,
}

impl UnitError {
    pub(super) const DURATION: &'static str = "a duration: write `200ms`, `5m`, `24h`, `7d` or `1h 30m`";
    pub(super) const BYTES: &'static str = "a size: write `64MiB`, `1GB` or a number of bytes";
}

/// Units of time in milliseconds, the largest first.
const DURATION_UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes.
const BYTE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a duration: whole numbers with the units `w`, `d`, `h`, `m`, `s` and `ms`, added up.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(tidegate::config::parse_duration("1h 30m")?, Duration::from_secs(5400));
/// # Ok::<(), tidegate::config::UnitError>(())
/// ```
///
/// # Errors
///
/// The text is something else, or has no unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    let mut sum_ms: Option<u64> = if rest.is_empty() { None } else { Some(0) };
    while !rest.is_empty() {
        let (part, tail) = split_quantity(rest);
        sum_ms = sum_ms.zip(quantity(part, &DURATION_UNITS)).and_then(|(sum, part)| sum.checked_add(part));
        rest = tail.trim_start();
    }
    sum_ms.map(Duration::from_millis).ok_or(UnitError { text: text.to_owned(), what: UnitError::DURATION })
}

/// Reads a size: a whole number of bytes, or one with a unit of 1000 (`kB`, `MB`, `GB`, `TB`) or of 1024 (`KiB`, `MiB`,
/// `GiB`, `TiB`).
///
/// ```
/// assert_eq!(tidegate::config::parse_bytes("64 KiB")?, 65_536);
/// # Ok::<(), tidegate::config::UnitError>(())
/// ```
///
/// # Errors
///
/// The text is something else.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let bytes = if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        quantity(text, &BYTE_UNITS)
    };
    bytes.ok_or_else(|| UnitError { text: text.to_owned(), what: UnitError::BYTES })
}

/// Writes a duration so that [`parse_duration`] reads it; what is finer than a millisecond is left out.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(tidegate::config::format_duration(Duration::from_secs(5400)), "1h 30m");
/// ```
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, unit_ms) in DURATION_UNITS {
        if rest >= unit_ms {
            parts.push(format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Writes a size in the largest unit of 1024 that divides it, so that [`parse_bytes`] reads back the same.
///
/// ```
/// assert_eq!(tidegate::config::format_bytes(64 << 20), "64MiB");
/// ```
pub fn format_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS[6..].iter().rev().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(name, size)| format!("{}{name}", bytes / size))
}

/// Cuts after the first number and its unit.
fn split_quantity(text: &str) -> (&str, &str) {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != ' ').unwrap_or(text.len());
    let unit_len = text[unit_at..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len() - unit_at);
    // A character that is in neither is left to be refused with what stands before it.
    let unit_len = if unit_len == 0 { text.len() - unit_at } else { unit_len };
    text.split_at(unit_at + unit_len)
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("200ms", 200),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("1h30m", 5_400_000),
            (" 1h 30m ", 5_400_000),
            ("0s", 0),
            ("5 s", 5_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            " ",
            "5",
            "-5s",
            "1.5s",
            "5 parsecs",
            "s",
            "5s,",
            "5s 3",
            "18446744073709551615w",
            "30500568904w 30500568904w",
            "5M",
            "٥s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_know_units_of_1000_and_of_1024() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GB", 1_000_000_000),
            ("512", 512),
            ("1 KiB", 1024),
            ("3B", 3),
            ("0", 0),
            ("1kB", 1000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "64 mib", "64M", "20000000TiB", "1e6", "99999999999999999999"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in any::<u64>(), bytes in any::<u64>(), shift in 0..40) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            let bytes = bytes >> 24 << shift;
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_reading_fail_other_than_with_an_error(text in "[0-9a-zµé ,.-]{0,12}") {
            let _ = (parse_duration(&text), parse_bytes(&text));
        }
    }
}
