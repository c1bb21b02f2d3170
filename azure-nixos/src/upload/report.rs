//! What an upload did: the counts while it runs, and the report when it is over.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::integrity::Integrity;
use super::plan::Passed;
use crate::progress::Transfer;

/// What was uploaded, how, and how it was proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UploadReport {
    /// Length of the target: the disk, padded to a MiB and to 20 MiB at least, and the footer.
    pub bytes_logical: u64,
    /// Acknowledged by the service, the footer included. What was sent twice counts once.
    pub bytes_sent: u64,
    /// Acknowledged in an earlier upload that this one went on with, and not sent again.
    pub bytes_resumed: u64,
    /// Not sent, because the target is zero there. This, `bytes_sent` and `bytes_resumed` add up to
    /// `bytes_logical`.
    pub bytes_skipped: u64,
    /// Write requests that were begun, repeated ones included.
    pub requests: u64,
    /// How many of them were repetitions after a failure.
    pub retries: u64,
    /// The checksum that went with every range.
    pub integrity: Integrity,
    /// How the target was compared with the source afterwards.
    pub verified: Verification,
    /// Bytes of old data that the target held where the source is zero, and that were cleared.
    pub bytes_cleared: u64,
    /// Time from the first request to the acknowledged footer; serialised as seconds.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// How the target was compared with what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how", content = "reason")]
#[non_exhaustive]
pub enum Verification {
    /// It was not asked for.
    NotRequested,
    /// The list of the target's pages covers what was sent, and holds nothing else.
    Ranges,
    /// All ranges were read back and are equal.
    Contents,
    /// The target does not allow it; the reason in a few words. Every range was acknowledged.
    NotVerified(String),
}

/// As a clause: `every page was compared with what was sent`.
impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRequested => f.write_str("nothing was compared afterwards"),
            Self::Ranges => f.write_str("the pages of the target are those that were sent"),
            Self::Contents => f.write_str("everything was read back and is equal"),
            Self::NotVerified(reason) => write!(f, "not compared afterwards: {reason}"),
        }
    }
}

/// Counts that readers and senders add to and the progress reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    read: AtomicU64,
    skipped: AtomicU64,
    sent: AtomicU64,
    resumed: AtomicU64,
    in_flight: AtomicU64,
    requests: AtomicU64,
    answered: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(crate) fn passed(&self, passed: Passed) {
        self.read.fetch_add(passed.read, Ordering::Relaxed);
        self.skipped(passed.skipped);
    }

    pub(crate) fn skipped(&self, bytes: u64) {
        self.skipped.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Everything that is not sent has been passed: also what follows the last extent.
    pub(crate) fn all_skipped(&self, bytes: u64) {
        self.skipped.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn acknowledged(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// There from an earlier upload.
    pub(crate) fn resumed(&self, bytes: u64) {
        self.resumed.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn resumed_bytes(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request in, and out again when the guard is dropped.
    pub(crate) fn request(&self, bytes: u64) -> InFlight<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        InFlight {
            counters: self,
            bytes,
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct InFlight<'a> {
    counters: &'a Counters,
    bytes: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.counters
            .in_flight
            .fetch_sub(self.bytes, Ordering::Relaxed);
        self.counters.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// How far back the rate looks.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Turns the counts into states of a progress, with a rate.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    total: u64,
    samples: std::collections::VecDeque<(Instant, u64)>,
}

impl Meter {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            began: Instant::now(),
            total,
            samples: std::collections::VecDeque::new(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn read(&mut self, counters: &Counters) -> Transfer {
        let now = Instant::now();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sent = get(&counters.sent);
        self.samples.push_back((now, sent));
        while self.samples.len() > 2 && now - self.samples[1].0 >= RATE_WINDOW {
            self.samples.pop_front();
        }
        let (since, before) = self.samples[0];
        let seconds = (now - since).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if seconds > 0.0 {
            (sent - before) as f64 / seconds
        } else {
            0.0
        };
        Transfer {
            total: self.total,
            read: get(&counters.read),
            sent,
            skipped: get(&counters.skipped),
            resumed: get(&counters.resumed),
            in_flight: get(&counters.in_flight),
            requests: get(&counters.answered),
            retries: get(&counters.retries),
            rate,
            elapsed: self.began.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds() {
        let counters = Counters::default();
        let mut meter = Meter::new(1000);
        meter.read(&counters);
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            counters.acknowledged(10);
            meter.read(&counters);
        }
        let transfer = meter.read(&counters);
        assert!((transfer.rate - 100.0).abs() < 5.0, "{}", transfer.rate);
        for _ in 0..60 {
            tokio::time::advance(Duration::from_millis(100)).await;
            meter.read(&counters);
        }
        assert!(meter.read(&counters).rate < 1.0);
    }

    #[test]
    fn a_report_in_json_is_flat_and_in_plain_units() {
        let report = UploadReport {
            bytes_logical: 20_972_032,
            bytes_sent: 1024,
            bytes_resumed: 0,
            bytes_skipped: 20_971_008,
            requests: 2,
            retries: 0,
            integrity: Integrity::Crc64,
            verified: Verification::NotVerified("refused".into()),
            bytes_cleared: 0,
            elapsed: Duration::from_millis(1500),
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["integrity"], "crc64");
        assert_eq!(json["seconds"], 1.5);
        assert_eq!(
            json["verified"],
            serde_json::json!({"how": "not_verified", "reason": "refused"})
        );
    }
}
