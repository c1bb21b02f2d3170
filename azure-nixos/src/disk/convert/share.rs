//! Blocks that the target shares with the image, where the file system can: nothing is written then,
//! and no room is taken, until one of the two files is changed.
//!
//! Btrfs, XFS, bcachefs and ZFS can, and some network file systems. What lies in the image as it does on
//! the disk, all of a raw one and most of a VHDX and a qcow2, is there at once. It is read all the same,
//! for its checksum and its zeros.

use std::ops::Range;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::output::{BLOCK, Output};
use super::part::Part;
use crate::Result;
use crate::disk::source::{DiskSource, Stored, checked_extent};

/// What can be shared with whom.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// The one file that was found to share its blocks with the target, by its number in this process: that
    /// of the image, which stays open.
    with: Option<RawFd>,
    /// Bytes of the smallest thing that is shared, which begins at a multiple of them in both files.
    unit: u64,
    shared: AtomicU64,
}

/// A stretch of the disk, of whole units in both files.
#[derive(Debug)]
pub(super) struct Sharable<'a> {
    pub(super) range: Range<u64>,
    from: Stored<'a>,
}

impl Sharing {
    /// Finds out by doing it, which a file system refuses at once when it cannot: the target, which is
    /// empty still, becomes a copy of the image's file, and is emptied again. To ask for a single block
    /// does not tell, since who cannot share it copies it.
    pub(super) fn find(source: &(impl DiskSource + ?Sized), part: &Part) -> Result<Self> {
        let Some(extent) = checked_extent(source, 0)? else {
            return Ok(Self::default());
        };
        let Some(stored) = source.stored_at(extent.start)? else {
            return Ok(Self::default());
        };
        let file = part.output.file();
        if let Err(error) = rustix::fs::ioctl_ficlone(file, stored.file) {
            tracing::debug!("no blocks are shared with the image: {error}");
            return Ok(Self::default());
        }
        part.work(|output| output.set_len(0))?;
        // What the file system works in; a finer share would be a copy.
        let unit = rustix::fs::fstatfs(file)
            .map_or(0, |system| u64::try_from(system.f_bsize).unwrap_or(0));
        Ok(Self {
            with: Some(stored.file.as_raw_fd()),
            unit: unit.max(BLOCK as u64),
            shared: AtomicU64::new(0),
        })
    }

    /// The first stretch of this range of the disk that can be shared.
    pub(super) fn next<'a>(
        &self,
        source: &'a (impl DiskSource + ?Sized),
        range: Range<u64>,
    ) -> Result<Option<Sharable<'a>>> {
        let Some(with) = self.with else {
            return Ok(None);
        };
        let mut at = range.start;
        while at < range.end {
            let Some(stored) = source.stored_at(at)? else {
                break;
            };
            let end = stored.end.min(range.end);
            if end <= at {
                break;
            }
            let start = at.next_multiple_of(self.unit);
            let stop = end / self.unit * self.unit;
            let offset = stored.offset.saturating_add(start - at);
            if start < stop && offset.is_multiple_of(self.unit) && stored.file.as_raw_fd() == with {
                return Ok(Some(Sharable {
                    range: start..stop,
                    from: Stored { offset, ..stored },
                }));
            }
            at = end;
        }
        Ok(None)
    }

    /// Shares the stretch, as far as that goes, and says how far.
    pub(super) fn share(&self, output: &Output, what: &Sharable<'_>) -> u64 {
        let Range { start, end } = what.range;
        let (mut from, mut to) = (what.from.offset, start);
        while to < end {
            let length = usize::try_from(end - to).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(
                what.from.file,
                Some(&mut from),
                output.file(),
                Some(&mut to),
                length,
            ) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                // Whatever the reason is: writing is as good, and names it if it is in the way of that too.
                Err(error) => {
                    tracing::debug!("{} bytes at {to} are not shared: {error}", end - to);
                    break;
                }
            }
        }
        self.shared.fetch_add(to - start, Ordering::Relaxed);
        to
    }

    /// Bytes that were shared.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }
}
