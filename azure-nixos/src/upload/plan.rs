//! What to send: from extents and content to ranges of at most 4 MiB that hold no long run of
//! zeros.
//!
//! Nothing is ever listed in advance. [`Lots`] walk over the extents and hand out pieces of the
//! disk of at most 64 MiB, so that several readers can work at once; a [`Lot`] cuts its piece into
//! ranges while it reads. Both hold a position and no list: a sparse disk of 32 TiB costs what a
//! small one does. The result depends on the content alone, not on who reads which lot when.
//!
//! A range begins at a page (512 bytes) that is not zero and ends behind one. Short runs of zeros
//! inside are sent along, because a request costs more than they do; a run of
//! [`Cutting::shortest_gap`] or more ends the range. Holes are not read, not even those that are
//! sent along.

use std::ops::Range;

use tokio_util::sync::CancellationToken;

use crate::disk::{DiskSource, is_zero};
use crate::{Error, ErrorKind, Result};

/// The unit of a page blob.
pub(crate) const PAGE: u64 = 512;
/// The most that one request may write.
pub(crate) const LONGEST_RANGE: usize = 4 << 20;
/// How much is read at a time: large enough for any disk, small enough that reading on past the
/// end of a range wastes little.
const CHUNK: usize = 256 << 10;
/// What one reader takes on. Ranges end at multiples of it, which costs one request in sixteen
/// at the very worst, and on real images next to nothing.
const LOT: u64 = 64 << 20;

/// When a run of zeros is worth a new request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cutting {
    /// The shortest run of zeros, in bytes, that is left out. A multiple of [`PAGE`].
    pub(crate) shortest_gap: u64,
}

impl Default for Cutting {
    /// A disk of the usual size takes 60 MiB and 500 requests a second, so a request is worth as
    /// much as 60 MiB / 500 = 123 KiB of zeros.
    fn default() -> Self {
        Self {
            shortest_gap: ((60 << 20) / 500u64).next_multiple_of(PAGE),
        }
    }
}

/// Hands out the disk in pieces that hold at least one extent each.
#[derive(Debug)]
pub(crate) struct Lots {
    at: u64,
    size: u64,
}

/// A piece of the disk, and how much hole lies between it and the one before.
#[derive(Debug)]
pub(crate) struct NextLot {
    pub(crate) lot: Lot,
    pub(crate) skipped: u64,
}

impl Lots {
    pub(crate) fn new(source: &dyn DiskSource) -> Self {
        Self {
            at: 0,
            size: source.virtual_size(),
        }
    }

    /// The next piece; `None` at the end of the disk. Blocks.
    pub(crate) fn next(
        &mut self,
        source: &dyn DiskSource,
        cutting: Cutting,
    ) -> Result<Option<NextLot>> {
        let before = self.at;
        if before >= self.size {
            return Ok(None);
        }
        let Some(extent) = extent_at(source, before, self.size)? else {
            self.at = self.size;
            return Ok(None);
        };
        let start = extent.start / PAGE * PAGE;
        let end = (start + 1).next_multiple_of(LOT).min(self.size);
        self.at = end;
        Ok(Some(NextLot {
            skipped: start - before,
            lot: Lot {
                at: start,
                end,
                extent: Some(extent),
                carried: Vec::new(),
                cutting,
            },
        }))
    }
}

/// The first extent that ends behind `from`, clipped to the disk and to `from`.
fn extent_at(source: &dyn DiskSource, from: u64, size: u64) -> Result<Option<Range<u64>>> {
    let Some(extent) = source.next_extent(from)? else {
        return Ok(None);
    };
    let clipped = extent.start.max(from)..extent.end.min(size);
    if extent.end <= from {
        return Err(Error::new(
            ErrorKind::InvalidImage,
            format!(
                "the disk image says that data at or after byte {from} is at {}..{}",
                extent.start, extent.end
            ),
        ));
    }
    Ok((!clipped.is_empty()).then_some(clipped))
}

/// A range that was cut: its place on the disk, and how long it is in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

/// A piece of the disk that is being read and cut.
#[derive(Debug)]
pub(crate) struct Lot {
    /// Everything before is cut or known to be zero.
    at: u64,
    end: u64,
    /// The extent at or after the last byte read; `None` when none is left in this lot.
    extent: Option<Range<u64>>,
    /// What was read behind the last cut, and belongs to the next range: at most a chunk.
    carried: Vec<u8>,
    cutting: Cutting,
}

/// What a reader did, for the counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    /// Bytes asked of the source.
    pub(crate) read: u64,
    /// Bytes of the disk that need not be sent.
    pub(crate) skipped: u64,
}

impl Lot {
    /// Reads up to the end of the next range and leaves its bytes at the beginning of the buffer,
    /// which must be [`LONGEST_RANGE`] long. `None` when the rest of the lot is zero. Blocks.
    ///
    /// # Errors
    /// Those of the source; [`ErrorKind::Cancelled`] soon after `stop` is cancelled.
    pub(crate) fn next(
        &mut self,
        source: &dyn DiskSource,
        buffer: &mut [u8],
        stop: &CancellationToken,
        passed: &mut Passed,
    ) -> Result<Option<Cut>> {
        let gap = usize::try_from(self.cutting.shortest_gap).unwrap_or(LONGEST_RANGE);
        let began = self.at;
        // The buffer holds the disk from self.at on.
        let mut filled = self.carried.len();
        buffer[..filled].copy_from_slice(&self.carried);
        self.carried.clear();
        let mut looked = 0;
        // End of the last page that is not zero; 0 while there was none.
        let mut data_end = 0;
        loop {
            while looked < filled {
                let zero = is_zero(&buffer[looked..looked + PAGE as usize]);
                if !zero && data_end == 0 && looked > 0 {
                    // The range begins here: what lies before is zero.
                    buffer.copy_within(looked..filled, 0);
                    self.at += looked as u64;
                    filled -= looked;
                    looked = 0;
                }
                looked += PAGE as usize;
                if !zero {
                    data_end = looked;
                } else if data_end > 0 && looked - data_end >= gap {
                    // Skip the whole run, as far as it is known.
                    let mut resume = looked;
                    while resume < filled && is_zero(&buffer[resume..resume + PAGE as usize]) {
                        resume += PAGE as usize;
                    }
                    self.carried.extend_from_slice(&buffer[resume..filled]);
                    return Ok(Some(self.cut(began, data_end, resume, passed)));
                }
            }
            if data_end == 0 {
                // Nothing but zeros so far; forget them.
                self.at += filled as u64;
                (filled, looked) = (0, 0);
            }
            let position = self.at + filled as u64;
            let next_data = self.advance(source, position)?;
            match next_data {
                // Nothing or not enough follows: the range ends with what there is.
                None => {
                    if data_end == 0 {
                        passed.skipped += self.end - began;
                        self.at = self.end;
                        return Ok(None);
                    }
                    return Ok(Some(self.cut(began, data_end, filled, passed)));
                }
                Some(start) if data_end == 0 => self.at = start,
                Some(start) if start - self.at - data_end as u64 >= gap as u64 => {
                    let resume = usize::try_from(start - self.at).unwrap_or(usize::MAX);
                    return Ok(Some(self.cut(began, data_end, resume, passed)));
                }
                Some(_) if filled == LONGEST_RANGE => {
                    return Ok(Some(self.cut(began, data_end, filled, passed)));
                }
                Some(_) => {}
            }
            if stop.is_cancelled() {
                return Err(Error::cancelled());
            }
            let position = self.at + filled as u64;
            let room = (LONGEST_RANGE - filled).min(CHUNK) as u64;
            let until = self.end.min(position + room);
            let len = usize::try_from(until - position).unwrap_or(CHUNK);
            passed.read += self.fill(source, &mut buffer[filled..filled + len], position)?;
            filled += len;
        }
    }

    /// Accounts for a range of `len` bytes at the current place, and moves on by `resume` bytes.
    fn cut(&mut self, began: u64, len: usize, resume: usize, passed: &mut Passed) -> Cut {
        let offset = self.at;
        self.at += resume as u64;
        passed.skipped += self.at - began - len as u64;
        Cut { offset, len }
    }

    /// The first page at or after `position` with data that was not read yet, in this lot.
    fn advance(&mut self, source: &dyn DiskSource, position: u64) -> Result<Option<u64>> {
        if position >= self.end {
            self.extent = None;
            return Ok(None);
        }
        if self.extent.as_ref().is_some_and(|e| e.end <= position) {
            self.extent = extent_at(source, position, self.end)?;
        }
        Ok(self
            .extent
            .as_ref()
            .filter(|extent| extent.start < self.end)
            .map(|extent| (extent.start / PAGE * PAGE).max(position)))
    }

    /// Fills the slice with the disk at `position`: zeros for holes, which are not read.
    fn fill(&mut self, source: &dyn DiskSource, slice: &mut [u8], position: u64) -> Result<u64> {
        let end = position + slice.len() as u64;
        let within = |at: u64| usize::try_from(at - position).unwrap_or(usize::MAX);
        let mut at = position;
        let mut read = 0;
        while at < end {
            if self.extent.as_ref().is_some_and(|e| e.end <= at) {
                self.extent = extent_at(source, at, self.end)?;
            }
            let Some(extent) = &self.extent else {
                slice[within(at)..].fill(0);
                break;
            };
            let data = extent.start.clamp(at, end)..extent.end.min(end).max(at);
            slice[within(at)..within(data.start)].fill(0);
            if data.is_empty() {
                at = end;
                continue;
            }
            let part = &mut slice[within(data.start)..within(data.end)];
            source.read_exact_at(part, data.start)?;
            read += data.end - data.start;
            at = data.end;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::upload::test_source::MemorySource;

    /// All ranges with their content, and the counts.
    fn plan(source: &MemorySource, gap: u64) -> (Vec<(u64, Vec<u8>)>, Passed) {
        let cutting = Cutting { shortest_gap: gap };
        let mut lots = Lots::new(source);
        let mut buffer = vec![0xaa; LONGEST_RANGE];
        let mut passed = Passed::default();
        let mut ranges = Vec::new();
        let stop = CancellationToken::new();
        while let Some(mut next) = lots.next(source, cutting).unwrap() {
            passed.skipped += next.skipped;
            while let Some(cut) = next
                .lot
                .next(source, &mut buffer, &stop, &mut passed)
                .unwrap()
            {
                ranges.push((cut.offset, buffer[..cut.len].to_vec()));
            }
        }
        (ranges, passed)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
        #[test]
        fn ranges_are_exactly_what_is_not_zero(
            // Extents and data in pages, around a few places with different spacing.
            extents in proptest::collection::vec((0u64..40_000, 1u64..4_000), 0..12),
            data in proptest::collection::vec((0u64..40_000, 1u64..700), 0..24),
            ragged in any::<bool>(),
            gap_pages in 1u64..300,
        ) {
            let size = 44_000 * PAGE;
            let gap = gap_pages * PAGE;
            let mut source = MemorySource::new(size);
            for (start, len) in &data {
                source.fill(start * PAGE + 7, (len * PAGE) as usize);
            }
            source.extents(extents.iter().map(|(start, len)| {
                let shift = if ragged { 100 } else { 0 };
                (start * PAGE + shift)..((start + len) * PAGE + 3 * shift)
            }));
            // What is in no extent reads as zeros, whatever the test wrote there.
            let content = source.content();
            let (ranges, passed) = plan(&source, gap);
            let mut end = 0;
            let mut sent = 0;
            let mut seen = vec![0u8; content.len()];
            for (offset, bytes) in &ranges {
                let len = bytes.len() as u64;
                prop_assert!(offset % PAGE == 0 && len.is_multiple_of(PAGE) && len > 0);
                prop_assert!(bytes.len() <= LONGEST_RANGE);
                prop_assert!(*offset >= end && offset + len <= size, "in order, no overlap");
                prop_assert!(!is_zero(&bytes[..512]), "begins with data");
                prop_assert!(!is_zero(&bytes[bytes.len() - 512..]), "ends with data");
                let mut run = 0;
                for page in bytes.chunks(512) {
                    run = if is_zero(page) { run + PAGE } else { 0 };
                    prop_assert!(run < gap, "a long gap was sent");
                }
                seen[*offset as usize..(offset + len) as usize].copy_from_slice(bytes);
                end = offset + len;
                sent += len;
            }
            prop_assert!(seen == content, "the ranges are not the content");
            prop_assert!(passed.skipped + sent <= size);
            prop_assert!(!source.read_a_hole());
        }
    }

    #[test]
    fn dense_data_is_cut_at_four_mebibytes() {
        let mut source = MemorySource::new(70 << 20);
        source.fill(0, 70 << 20);
        source.extents(std::iter::once(0..70 << 20));
        let (ranges, passed) = plan(&source, Cutting::default().shortest_gap);
        let lens: Vec<_> = ranges.iter().map(|(_, bytes)| bytes.len() >> 20).collect();
        assert_eq!(lens, [vec![4; 17], vec![2]].concat());
        assert_eq!(passed.read, 70 << 20);
        assert_eq!(passed.skipped, 0);
    }

    #[test]
    fn an_enormous_sparse_disk_is_planned_at_once() {
        let began = Instant::now();
        let size = 32 << 40;
        let mut source = MemorySource::new(size);
        let at = (31 << 40) + 12_345 * PAGE;
        source.fill(at, 1 << 20);
        source.extents(std::iter::once(at..at + (1 << 20)));
        let (ranges, passed) = plan(&source, Cutting::default().shortest_gap);
        assert_eq!(ranges.len(), 1);
        assert_eq!(ranges[0].0, at);
        assert_eq!(passed.read, 1 << 20);
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn an_extent_behind_the_question_is_an_error_and_not_an_endless_loop() {
        let mut source = MemorySource::new(1 << 20);
        source.extents(std::iter::once(0..1 << 20));
        source.lie_about_extents();
        let mut lots = Lots {
            at: 4096,
            size: 1 << 20,
        };
        let error = lots.next(&source, Cutting::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
    }
}
