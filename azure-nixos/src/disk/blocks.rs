//! What all formats with a block table have in common: a disk that is a sequence of runs, each of
//! which is zeros, or lies somewhere in the file, or is something of the format's own.
//!
//! A format says where a byte is ([`Blocks::locate`]); extents and reads follow from that here.

use std::convert::Infallible;
use std::ops::Range;

use super::read_at::ReadAt;
use super::source::{Stored, check_range};
use crate::{Error, ErrorKind, Result};

/// Where a run of the disk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<Other = Infallible> {
    /// Nowhere: it reads as zeros.
    Zero,
    /// In the file, from this offset on, in one piece.
    At(u64),
    /// Somewhere that only the format knows how to read.
    #[cfg_attr(
        not(feature = "qcow2"),
        expect(dead_code, reason = "only qcow2 has that")
    )]
    Other(Other),
}

/// A stretch of the disk that is all in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<Other = Infallible> {
    /// Where on the disk it ends.
    pub(super) end: u64,
    pub(super) place: Place<Other>,
}

/// A disk behind a block table.
pub(super) trait Blocks: Sized {
    type File: ReadAt;
    type Other: Own<Self>;

    fn file(&self) -> &Self::File;

    /// Bytes of the disk.
    fn size(&self) -> u64;

    /// The run that holds the byte at `offset`, which is within the disk: from there to its end,
    /// as far as that is cheap to tell.
    fn locate(&self, offset: u64) -> Result<Run<Self::Other>>;
}

/// A run that only its format knows how to read.
pub(super) trait Own<B> {
    /// The first bytes of the range, which lies in this run, that may hold data.
    fn extent(&self, blocks: &B, range: Range<u64>) -> Result<Option<Range<u64>>>;

    /// Fills the buffer with the bytes at `offset`, which lie in this run.
    fn read(&self, blocks: &B, buffer: &mut [u8], offset: u64) -> Result<()>;
}

/// Most formats have none.
impl<B> Own<B> for Infallible {
    fn extent(&self, _: &B, _: Range<u64>) -> Result<Option<Range<u64>>> {
        match *self {}
    }

    fn read(&self, _: &B, _: &mut [u8], _: u64) -> Result<()> {
        match *self {}
    }
}

fn located<B: Blocks>(blocks: &B, offset: u64) -> Result<Run<B::Other>> {
    let mut run = blocks.locate(offset)?;
    run.end = run.end.min(blocks.size());
    // A run that does not go on would be asked for again for ever.
    if run.end <= offset {
        return Err(Error::new(
            ErrorKind::Internal,
            format!(
                "the run at byte {offset} of {} ends at {}",
                blocks.file().name(),
                run.end
            ),
        ));
    }
    Ok(run)
}

/// [`DiskSource::next_extent`](super::DiskSource::next_extent) of such a disk. Holes of the file
/// below are holes of the disk.
pub(super) fn next_extent<B: Blocks>(blocks: &B, from: u64) -> Result<Option<Range<u64>>> {
    let mut at = from;
    while at < blocks.size() {
        let run = located(blocks, at)?;
        match run.place {
            Place::Zero => {}
            Place::At(start) => {
                let end = start.saturating_add(run.end - at);
                if let Some(data) = blocks.file().next_data(start, end)? {
                    let first = at + data.start.saturating_sub(start);
                    let last = (at + data.end.saturating_sub(start)).min(run.end);
                    if first < last {
                        return Ok(Some(first..last));
                    }
                }
            }
            Place::Other(other) => {
                if let Some(range) = other.extent(blocks, at..run.end)? {
                    return Ok(Some(range));
                }
            }
        }
        at = run.end;
    }
    Ok(None)
}

/// [`DiskSource::stored_at`](super::DiskSource::stored_at) of such a disk.
pub(super) fn stored_at<B: Blocks>(blocks: &B, offset: u64) -> Result<Option<Stored<'_>>> {
    let Some(file) = blocks.file().as_file().filter(|_| offset < blocks.size()) else {
        return Ok(None);
    };
    let run = located(blocks, offset)?;
    Ok(match run.place {
        Place::At(start) => Some(Stored {
            file,
            offset: start,
            end: run.end,
        }),
        Place::Zero | Place::Other(_) => None,
    })
}

/// [`DiskSource::read_exact_at`](super::DiskSource::read_exact_at) of such a disk.
pub(super) fn read<B: Blocks>(blocks: &B, buffer: &mut [u8], offset: u64) -> Result<()> {
    check_range(blocks.size(), buffer.len(), offset)?;
    let mut rest = buffer;
    let mut at = offset;
    while !rest.is_empty() {
        let run = located(blocks, at)?;
        let length = usize::try_from(run.end - at).map_or(rest.len(), |run| run.min(rest.len()));
        let (part, after) = rest.split_at_mut(length);
        match run.place {
            Place::Zero => part.fill(0),
            Place::At(start) => blocks.file().read_exact_at(part, start)?,
            Place::Other(other) => other.read(blocks, part, at)?,
        }
        at += length as u64;
        rest = after;
    }
    Ok(())
}
