//! How long to wait before the next try.

use std::time::{Duration, SystemTime};

/// Exponential back-off with full jitter: a wait is drawn evenly from zero to a bound that doubles
/// with each try. Without jitter, workers that were refused together come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Bound of the first wait.
    pub(crate) first: Duration,
    /// No bound is larger than this.
    pub(crate) cap: Duration,
}

impl Backoff {
    /// The bound of the wait after so many failed tries (1 for the first).
    pub(crate) fn bound(self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }

    /// A wait after so many failed tries.
    pub(crate) fn wait(self, failed: u32) -> Duration {
        self.bound(failed).mul_f64(random_fraction())
    }
}

/// A number from 0 to 1. Its quality matters little; that two processes differ does.
fn random_fraction() -> f64 {
    #[cfg(test)]
    if let Some(fraction) = seeded::next() {
        return fraction;
    }
    let random = getrandom::u32().unwrap_or_else(|_| {
        // Without an entropy source, which no supported system lacks, the clock must do.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |elapsed| {
                elapsed.subsec_nanos().wrapping_mul(2_654_435_761)
            })
    });
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
pub(crate) use seeded::seed;

/// Jitter that a test can have again.
#[cfg(test)]
mod seeded {
    use std::cell::Cell;

    thread_local! {
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From here on, waits that are drawn on this thread depend on the seed alone.
    pub(crate) fn seed(seed: u64) {
        STATE.set(Some(seed | 1));
    }

    pub(super) fn next() -> Option<f64> {
        let mut x = STATE.get()?;
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        STATE.set(Some(x));
        Some(f64::from((x >> 32) as u32) / f64::from(u32::MAX))
    }
}

/// What a service asks for in `Retry-After` and its relatives, in any of the forms that exist:
/// milliseconds, seconds, or an HTTP date.
pub(crate) fn retry_after<'a>(
    header: impl Fn(&'static str) -> Option<&'a str>,
    now: SystemTime,
) -> Option<Duration> {
    for name in ["x-ms-retry-after-ms", "retry-after-ms"] {
        if let Some(ms) = header(name).and_then(|value| value.trim().parse().ok()) {
            return Some(Duration::from_millis(ms));
        }
    }
    let value = header("retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = azure_core::time::parse_rfc7231(value).ok()?;
    let until = SystemTime::from(date);
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(500),
        cap: Duration::from_secs(30),
    };

    #[test]
    fn bounds_double_up_to_the_cap() {
        let bounds: Vec<_> = (1..=8)
            .map(|failed| BACKOFF.bound(failed).as_millis())
            .collect();
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(BACKOFF.bound(u32::MAX), BACKOFF.cap);
    }

    #[test]
    fn waits_stay_within_the_bound_and_differ() {
        let waits: Vec<_> = (0..50).map(|_| BACKOFF.wait(4)).collect();
        assert!(waits.iter().all(|wait| *wait <= BACKOFF.bound(4)));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        let read = |name: &'static str, value: &'static str| {
            retry_after(move |asked| (asked == name).then_some(value), now)
        };
        assert_eq!(read("retry-after", "15"), Some(Duration::from_secs(15)));
        assert_eq!(read("retry-after", "0"), Some(Duration::ZERO));
        assert_eq!(
            read("x-ms-retry-after-ms", "250"),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(read("retry-after", "soon"), None);
        assert_eq!(read("date", "15"), None);
    }
}
