//! Ranges on their way: one request each, through the gate, with a checksum.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::time::Instant;

use super::congestion::{Gate, Pass};
use super::failure::{Failure, How};
use super::integrity::{Integrity, Probe};
use super::report::Counters;
use super::request::{Request, within};
use super::retry::{self, Verdict};
use super::target::Target;
use crate::{Error, ErrorKind, Result};

/// What all ranges of an upload share.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) gate: Arc<Gate>,
    pub(crate) probe: Probe,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pacer: Option<Pacer>,
}

/// Spreads requests so that their bytes do not exceed a rate. Single requests go as fast as the
/// link does; the average is what is kept.
#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_second: f64,
    free_at: Mutex<Option<Instant>>,
}

impl Pacer {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        Self {
            bytes_per_second: bytes_per_second.max(1) as f64,
            free_at: Mutex::new(None),
        }
    }

    /// Reserves time for so many bytes and returns when they may start.
    fn reserve(&self, now: Instant, bytes: usize) -> Instant {
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let seconds = (bytes as f64 / self.bytes_per_second).min(1e6);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free_at.map_or(now, |at| at.max(now));
        *free_at = Some(start + std::time::Duration::from_secs_f64(seconds));
        start
    }
}

impl Lane {
    /// Waits until a request of this size may go.
    async fn enter(&self, bytes: usize) -> Pass {
        if let Some(pacer) = &self.pacer {
            tokio::time::sleep_until(pacer.reserve(Instant::now(), bytes)).await;
        }
        self.gate.enter(bytes as u64).await
    }

    /// Tells the gate how an attempt ended.
    fn leave<T>(pass: Pass, checked: bool, result: &Result<T, Failure>) {
        match result {
            Ok(_) => pass.delivered(),
            Err(failure) => {
                if let Verdict::Again { congestion: true } = retry::verdict(failure, checked) {
                    pass.congested(failure.how == How::Deadline, failure.retry_after);
                }
            }
        }
    }
}

/// Writes one range.
pub(crate) struct Put<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    pub(crate) crc: u64,
    /// The checksum of the last attempt.
    pub(crate) checksum: Integrity,
}

impl Request for Put<'_> {
    /// What protected the attempt that succeeded.
    type Output = Integrity;
    const DOING: &'static str = "write to";

    async fn attempt(&mut self, target: &Target) -> Result<Result<Integrity, Failure>> {
        let pass = self.lane.enter(self.bytes.len()).await;
        // Asked for late: another range may have found out meanwhile.
        let (kind, checksum) = self.lane.probe.checksum(&self.bytes, self.crc).await?;
        self.checksum = kind;
        let in_flight = self.lane.counters.request(self.bytes.len() as u64);
        let put = target.put(self.offset, self.bytes.clone(), checksum);
        let result = within(pass.deadline(), put).await;
        drop(in_flight);
        Lane::leave(pass, self.checked(), &result);
        Ok(result.map(|()| kind))
    }

    fn checked(&self) -> bool {
        self.checksum != Integrity::None
    }

    fn other_checksum(&mut self) -> bool {
        self.lane.probe.refused(self.checksum)
    }
}

/// Reads one range back and compares it.
pub(crate) struct Compare<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

impl Request for Compare<'_> {
    type Output = ();
    const DOING: &'static str = "read back";

    async fn attempt(&mut self, target: &Target) -> Result<Result<(), Failure>> {
        let pass = self.lane.gate.enter(self.bytes.len() as u64).await;
        let read = target.read(self.offset, self.bytes.len());
        let result = within(pass.deadline(), read).await;
        Lane::leave(pass, false, &result);
        let read = match result {
            Ok(read) => read,
            Err(failure) => return Ok(Err(failure)),
        };
        if read == self.bytes {
            return Ok(Ok(()));
        }
        let at = read.iter().zip(&self.bytes).position(|(a, b)| a != b);
        Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "byte {} of {} is not what was sent",
                self.offset + at.unwrap_or_default() as u64,
                target.sas().redacted()
            ),
        )
        .with_operation("verify")
        .with_hint(
            "somebody else writes to the disk, or the disk image changed meanwhile; upload again",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pacing_keeps_the_average_and_does_not_save_up() {
        let pacer = Pacer::new(1000);
        let began = Instant::now();
        assert_eq!(pacer.reserve(began, 500), began);
        assert_eq!(
            pacer.reserve(began, 500),
            began + Duration::from_millis(500)
        );
        let later = began + Duration::from_secs(100);
        assert_eq!(pacer.reserve(later, 2000), later);
        assert_eq!(pacer.reserve(later, 1), later + Duration::from_secs(2));
    }
}
