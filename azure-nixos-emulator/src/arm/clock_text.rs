//! Times as Azure writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::macros::format_description;

/// `2023-11-06T08:48:01.2914481+00:00`
pub(crate) fn timestamp(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]+00:00"
        ))
        .unwrap_or_default()
}

/// `2023-08-23T13:05:57.6621925Z`, as the authorization provider and deployments write it.
pub(crate) fn zulu(time: SystemTime) -> String {
    timestamp(time).replace("+00:00", "Z")
}

/// Hundreds of nanoseconds since the year 1: the `t` of an operation's URL.
pub(crate) fn ticks(time: SystemTime) -> u128 {
    /// From the year 1 to 1970, in the same unit.
    const EPOCH: u128 = 621_355_968_000_000_000;
    EPOCH
        + time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos()
            / 100
}

/// Whole seconds since 1970.
pub(crate) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_digits_and_an_offset() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_699_260_481_291_448_100);
        assert_eq!(timestamp(time), "2023-11-06T08:48:01.2914481+00:00");
        assert_eq!(
            ticks(UNIX_EPOCH + Duration::from_secs(1)),
            621_355_968_010_000_000
        );
    }
}
