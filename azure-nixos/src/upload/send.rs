//! Ranges on their way: one request each, through the gate, with a checksum.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf as _, Bytes};
use tokio::time::Instant;

use super::congestion::{Gate, Pass};
use super::failure::Failure;
use super::integrity::{Integrity, Probe};
use super::journal::Journal;
use super::report::Counters;
use super::request::{Request, within};
use super::retry::{self, Verdict};
use super::target::Target;
use crate::disk::crc64;
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
    /// Waits until a part of so many bytes may go, and how much of them.
    async fn enter(&self, bytes: usize) -> Pass {
        let mut most = bytes;
        if let Some(pacer) = &self.pacer {
            // What is reserved is an upper bound: the part may turn out smaller when its turn comes.
            most = most.min(self.gate.part());
            tokio::time::sleep_until(pacer.reserve(Instant::now(), most)).await;
        }
        self.gate.enter_in_parts(most).await
    }

    /// Tells the gate how an attempt ended.
    fn leave<T>(pass: Pass, checked: bool, result: &Result<T, Failure>) {
        match result {
            Ok(_) => pass.delivered(),
            Err(failure) => {
                if let Verdict::Again { congestion: true } = retry::verdict(failure, checked) {
                    pass.congested(failure.how, failure.retry_after);
                }
            }
        }
    }
}

/// Writes one range: in one request, or in several where the link is slow or breaks.
pub(crate) struct Put<'a> {
    pub(crate) lane: &'a Lane,
    /// Where what is left begins.
    pub(crate) offset: u64,
    /// What is left.
    pub(crate) bytes: Bytes,
    /// The CRC-64 of all of it; `None` once a part was sent.
    pub(crate) crc: Option<u64>,
    /// Whether it counts as a part of the disk, and where that is written down.
    pub(crate) account: Option<Account<'a>>,
    /// The right to send a part, from its turn to its attempt.
    pub(crate) pass: Option<Pass>,
    /// The checksum of the last attempt.
    pub(crate) checksum: Integrity,
}

/// What is told of a range that was acknowledged.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    pub(crate) journal: Option<&'a Journal>,
}

impl<'a> Put<'a> {
    pub(crate) fn new(lane: &'a Lane, offset: u64, bytes: Bytes) -> Self {
        Self {
            lane,
            offset,
            bytes,
            crc: None,
            account: None,
            pass: None,
            checksum: Integrity::None,
        }
    }
}

impl Request for Put<'_> {
    /// What protected the last attempt that succeeded, which is the weakest.
    type Output = Integrity;
    const DOING: &'static str = "write to";

    async fn ready(&mut self) {
        self.pass = Some(self.lane.enter(self.bytes.len()).await);
    }

    /// One request: the next part.
    async fn attempt(&mut self, target: &Target) -> Result<Result<Integrity, Failure>> {
        let pass = turn(&mut self.pass)?;
        let part = self.bytes.slice(..pass.bytes());
        let len = part.len() as u64;
        let crc = match self.crc {
            Some(crc) if part.len() == self.bytes.len() => crc,
            // Less than a millisecond.
            _ => crc64(&part),
        };
        // Asked for late: another range may have found out meanwhile.
        let (kind, checksum) = self.lane.probe.checksum(&part, crc).await?;
        self.checksum = kind;
        let in_flight = self.lane.counters.request(len);
        let put = target.put(self.offset, part, checksum);
        let result = within(pass.deadline(), put).await;
        drop(in_flight);
        Lane::leave(pass, self.checked(), &result);
        if result.is_ok() {
            if let Some(Account { journal }) = self.account {
                self.lane.counters.acknowledged(len);
                if let Some(journal) = journal {
                    journal.acknowledged(&(self.offset..self.offset + len));
                }
            }
            self.offset += len;
            // At most all of it.
            self.bytes
                .advance(usize::try_from(len).unwrap_or(usize::MAX));
            self.crc = None;
        }
        Ok(result.map(|()| kind))
    }

    fn unfinished(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn checked(&self) -> bool {
        self.checksum != Integrity::None
    }

    fn other_checksum(&mut self) -> bool {
        self.lane.probe.refused(self.checksum)
    }
}

/// The right that [`Request::ready`] waited for.
fn turn(pass: &mut Option<Pass>) -> Result<Pass> {
    pass.take()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a request did not wait for its turn"))
}

/// Reads one range back and compares it.
pub(crate) struct Compare<'a> {
    lane: &'a Lane,
    offset: u64,
    bytes: Bytes,
    pass: Option<Pass>,
}

impl<'a> Compare<'a> {
    pub(crate) fn new(lane: &'a Lane, offset: u64, bytes: Bytes) -> Self {
        Self {
            lane,
            offset,
            bytes,
            pass: None,
        }
    }
}

impl Request for Compare<'_> {
    type Output = ();
    const DOING: &'static str = "read back";

    async fn ready(&mut self) {
        self.pass = Some(self.lane.gate.enter(self.bytes.len()).await);
    }

    async fn attempt(&mut self, target: &Target) -> Result<Result<(), Failure>> {
        let pass = turn(&mut self.pass)?;
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
