//! The forms of time that the blob service uses.

use std::time::SystemTime;

use time::format_description::BorrowedFormatItem;
use time::macros::{datetime, format_description};
use time::{OffsetDateTime, PrimitiveDateTime};

const HTTP: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
const ISO_SECONDS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
/// The service counts in ticks of 100 ns since the first year, and its ETags are such counts.
const EPOCH: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);
const TICKS_PER_SECOND: u64 = 10_000_000;

/// Ticks of a time.
pub(super) fn ticks(time: SystemTime) -> u64 {
    let since = OffsetDateTime::from(time) - EPOCH;
    u64::try_from(since.whole_nanoseconds() / 100).unwrap_or(0)
}

/// The whole seconds of a version, which is what headers can say.
fn at_seconds(ticks: u64) -> OffsetDateTime {
    let seconds = i64::try_from(ticks / TICKS_PER_SECOND).unwrap_or(i64::MAX);
    EPOCH.saturating_add(time::Duration::seconds(seconds))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub(super) fn http_date(ticks: u64) -> String {
    at_seconds(ticks).format(HTTP).unwrap_or_default()
}

/// `1994-11-06T08:49:37.1234567Z`
pub(super) fn iso(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(ISO).unwrap_or_default()
}

/// `1994-11-06T08:49:37Z`: the times of signatures.
pub(super) fn iso_seconds(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(ISO_SECONDS)
        .unwrap_or_default()
}

/// Ticks of an HTTP date.
pub(super) fn parse_http_date(text: &str) -> Option<u64> {
    let parsed = PrimitiveDateTime::parse(text, HTTP).ok()?.assume_utc();
    u64::try_from((parsed - EPOCH).whole_seconds())
        .ok()?
        .checked_mul(TICKS_PER_SECOND)
}

/// Ticks of a time of ISO 8601 in UTC, as signatures have it: a day, or with hours and minutes, or
/// with seconds and perhaps their fraction.
pub(super) fn parse_iso(text: &str) -> Option<u64> {
    let day = format_description!("[year]-[month]-[day]");
    let minutes = format_description!("[year]-[month]-[day]T[hour]:[minute]Z");
    let fraction =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond]Z");
    let parsed = [ISO_SECONDS, minutes, fraction]
        .iter()
        .find_map(|form| PrimitiveDateTime::parse(text, form).ok())
        .or_else(|| Some(time::Date::parse(text, day).ok()?.midnight()))?
        .assume_utc();
    u64::try_from((parsed - EPOCH).whole_nanoseconds() / 100).ok()
}

/// The second a version falls into, as ticks: what `If-Modified-Since` compares.
pub(super) fn whole_second(ticks: u64) -> u64 {
    ticks - ticks % TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn forms_of_a_known_moment() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 123_456_700);
        assert_eq!(http_date(ticks(time)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(iso(time), "1994-11-06T08:49:37.1234567Z");
        // The value of .NET's DateTime.Ticks for the Unix epoch.
        assert_eq!(ticks(SystemTime::UNIX_EPOCH), 621_355_968_000_000_000);
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(whole_second(ticks(time)))
        );
        assert_eq!(parse_http_date("yesterday"), None);
        assert_eq!(iso_seconds(time), "1994-11-06T08:49:37Z");
        assert_eq!(parse_iso("1994-11-06T08:49:37.1234567Z"), Some(ticks(time)));
        for (text, seconds) in [
            ("1994-11-06T08:49:37Z", 0),
            ("1994-11-06T08:49Z", 37),
            ("1994-11-06", 8 * 3600 + 49 * 60 + 37),
        ] {
            let expected = whole_second(ticks(time)) - seconds * TICKS_PER_SECOND;
            assert_eq!(parse_iso(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "soon",
            "1994-11-06T08:49:37",
            "1994-11-06T08Z",
            "1994-13-06",
        ] {
            assert_eq!(parse_iso(bad), None, "{bad}");
        }
    }
}
