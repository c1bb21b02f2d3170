//! Spans of time as people write them: `250ms`, `30s`, `7m`, `2h`, `1d`.

use std::time::Duration;

/// The units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// What a span may look like, for messages.
pub(crate) const EXAMPLES: &str = "250ms, 30s, 7m, 2h or 1d";

/// Reads a span; `None` when the text is none.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(split);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(*factor).map(Duration::from_millis)
}

/// The same span as text that [`parse`] reads, in the largest unit that is exact. What is below a
/// millisecond is left out.
pub(crate) fn show(span: Duration) -> String {
    let total = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let exact = UNITS
        .iter()
        .find(|(_, factor)| total > 0 && total.is_multiple_of(*factor));
    match exact {
        Some((unit, factor)) => format!("{}{unit}", total / factor),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_shown() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("7m", 420_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse(text), Some(span));
            assert_eq!(show(span), text);
        }
        assert_eq!(show(Duration::from_millis(61_000)), "61s");
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "1.5s",
            "5w",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
