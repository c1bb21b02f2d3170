//! Reading: blocking workers that turn the source into ranges with checksums, in pooled buffers.
//!
//! A reader is moved into a blocking thread, reads up to the end of one range there, and comes
//! back. Between two ranges it waits, without a thread, for memory. Dropping the future leaves at
//! most one chunk of reading behind, which then finds the stop token cancelled.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::plan::{Cut, Cutting, LONGEST_RANGE, Lot, Lots, Passed};
use super::report::Counters;
use crate::disk::{DiskSource, crc64};
use crate::{Error, ErrorKind, Result};

/// Memory is counted in this unit: a semaphore counts to 2^29 at least, so up to 512 GiB.
const UNIT: usize = 1 << 10;
/// What a full buffer costs.
const FULL: u32 = (LONGEST_RANGE / UNIT) as u32;
/// Ranges up to this size are copied out of their buffer, which is free again at once: a thousand
/// small ranges must not hold a thousand large buffers.
const SMALL: usize = 512 << 10;
/// The least that a range costs, for what comes with it: a request, its headers, a future.
const LEAST: usize = 16 << 10;
/// Buffers that there may be beyond what is lent: those of ranges that were copied out of them.
const SPARES: usize = 4;

/// Memory for ranges that are being read, wait, or are on their way.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Arc<Semaphore>,
    spare: Mutex<Vec<BytesMut>>,
    total: usize,
    peak: AtomicU64,
}

/// A part of the pool's memory, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease(OwnedSemaphorePermit);

impl Lease {
    /// Gives back what `bytes` do not need.
    fn shrink(&mut self, bytes: usize) {
        let keep = bytes.max(LEAST).div_ceil(UNIT);
        drop(self.0.split(self.0.num_permits().saturating_sub(keep)));
    }
}

impl Pool {
    /// A pool of so many bytes, but of two full ranges at least.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(usize::MAX);
        let total = units.clamp(2 * FULL as usize, Semaphore::MAX_PERMITS.min(1 << 29));
        Self {
            free: Arc::new(Semaphore::new(total)),
            spare: Mutex::default(),
            total,
            peak: AtomicU64::new(0),
        }
    }

    /// Waits for memory for a full range.
    async fn lease(&self) -> Result<Lease> {
        let permit = Arc::clone(&self.free).acquire_many_owned(FULL).await;
        let permit = permit.map_err(|error| {
            Error::new(ErrorKind::Internal, "the buffers were closed").with_source(error)
        })?;
        let used = self.lent();
        self.peak.fetch_max(used as u64, Ordering::Relaxed);
        Ok(Lease(permit))
    }

    /// Bytes that are lent now.
    fn lent(&self) -> usize {
        (self.total - self.free.available_permits()) * UNIT
    }

    /// A buffer of [`LONGEST_RANGE`] initialised bytes, of any content.
    fn buffer(&self) -> BytesMut {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = spare.pop();
        drop(spare);
        match buffer {
            Some(mut buffer) => {
                buffer.resize(LONGEST_RANGE, 0);
                buffer
            }
            // Zeroed by the system page by page, when it is first written to.
            None => BytesMut::zeroed(LONGEST_RANGE),
        }
    }

    /// Takes back the memory of a range, unless somebody still has a part of it.
    pub(crate) fn give_back(&self, bytes: Bytes) {
        if let Ok(buffer) = bytes.try_into_mut()
            && buffer.capacity() >= LONGEST_RANGE
        {
            self.keep(buffer);
        }
    }

    /// Keeps a buffer for the next range: getting memory from the system and giving it back costs
    /// more than reading into it. What is lent and what is kept stay within the pool's size and a few
    /// buffers.
    fn keep(&self, buffer: BytesMut) {
        let room = (self.total * UNIT + SPARES * LONGEST_RANGE).saturating_sub(self.lent());
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(buffer);
        spare.truncate((room / LONGEST_RANGE).max(1));
    }

    /// The most that was lent at one time, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

/// A range of the disk, ready to be sent.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    /// CRC-64/NVME of the bytes: sent along with them, and summed up to the checksum of the disk.
    pub(crate) crc: u64,
    /// Held for as long as the bytes are.
    pub(crate) lease: Option<Lease>,
}

impl Piece {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes.len() as u64
    }
}

/// What all readers of an upload share.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) source: Arc<dyn DiskSource>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    cutting: Cutting,
    lots: Mutex<Lots>,
}

impl Reading {
    pub(crate) fn new(
        source: Arc<dyn DiskSource>,
        pool: Arc<Pool>,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            lots: Mutex::new(Lots::new(&*source)),
            cutting: Cutting::default(),
            source,
            pool,
            counters,
            stop,
        }
    }

    fn next_lot(&self) -> Result<Option<Lot>> {
        let mut lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        let next = lots.next(&*self.source, self.cutting)?;
        drop(lots);
        Ok(next.map(|next| {
            self.counters.skipped(next.skipped);
            next.lot
        }))
    }
}

/// One of several readers of a source.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Reading>,
    lot: Option<Lot>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Reading>) -> Self {
        Self { shared, lot: None }
    }

    /// The next range of the source, and the reader; `None` when this reader finds no more.
    ///
    /// # Cancellation
    /// Dropping it loses the reader: only together with the whole upload.
    pub(crate) async fn next(self) -> Result<Option<(Self, Piece)>> {
        let lease = self.shared.pool.lease().await?;
        let read = tokio::task::spawn_blocking(move || self.read(lease));
        match read.await {
            Ok(result) => result,
            Err(error) => Err(Error::new(
                ErrorKind::Internal,
                "reading the disk image stopped by a defect of its source",
            )
            .with_source(error)),
        }
    }

    fn read(mut self, mut lease: Lease) -> Result<Option<(Self, Piece)>> {
        let mut buffer = self.shared.pool.buffer();
        let mut passed = Passed::default();
        let cut = self.cut(&mut buffer, &mut passed);
        self.shared.counters.passed(passed);
        let Some(Cut { offset, len }) = cut? else {
            self.shared.pool.keep(buffer);
            return Ok(None);
        };
        let bytes = if len <= SMALL {
            let bytes = Bytes::copy_from_slice(&buffer[..len]);
            self.shared.pool.keep(buffer);
            lease.shrink(len);
            bytes
        } else {
            buffer.truncate(len);
            buffer.freeze()
        };
        let piece = Piece {
            offset,
            crc: crc64(&bytes),
            bytes,
            lease: Some(lease),
        };
        Ok(Some((self, piece)))
    }

    fn cut(&mut self, buffer: &mut [u8], passed: &mut Passed) -> Result<Option<Cut>> {
        let shared = &*self.shared;
        loop {
            if shared.stop.is_cancelled() {
                return Err(Error::cancelled());
            }
            let lot = match &mut self.lot {
                Some(lot) => lot,
                none => match shared.next_lot()? {
                    Some(lot) => none.insert(lot),
                    None => return Ok(None),
                },
            };
            if let Some(cut) = lot.next(&*shared.source, buffer, &shared.stop, passed)? {
                return Ok(Some(cut));
            }
            self.lot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_lent_and_comes_back() {
        let pool = Pool::new(8 << 20);
        let mut first = pool.lease().await.unwrap();
        let second = pool.lease().await.unwrap();
        assert_eq!(pool.free.available_permits(), 0);
        first.shrink(512);
        assert_eq!(
            pool.free.available_permits(),
            (LONGEST_RANGE - LEAST) / UNIT
        );
        drop((first, second));
        assert_eq!(pool.free.available_permits(), 8 << 10);
        assert_eq!(pool.peak(), 8 << 20);
    }

    #[test]
    fn a_buffer_is_used_again() {
        let pool = Pool::new(8 << 20);
        let mut buffer = pool.buffer();
        let address = buffer.as_ptr();
        buffer.truncate(1 << 20);
        let bytes = buffer.freeze();
        pool.give_back(bytes);
        assert_eq!(pool.buffer().as_ptr(), address);
    }

    #[test]
    fn bytes_that_somebody_still_has_are_not_used_again() {
        let pool = Pool::new(8 << 20);
        let bytes = pool.buffer().freeze();
        let other = bytes.clone();
        pool.give_back(bytes);
        assert_ne!(pool.buffer().as_ptr(), other.as_ptr());
    }
}
