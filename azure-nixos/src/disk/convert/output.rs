//! The bytes of the target on their way to the disk: what is not zero, long runs past the page cache.
//!
//! The file has to be on the disk before it takes its name, so a page of the cache would be filled only
//! to be emptied, and then be kept for nobody. Direct writes need no pages, and the disk is busy while
//! other parts are read and summed up. They are worth it for long runs; short ones are gathered by the
//! cache. Where the file system knows no direct writes, everything goes through the cache; so it does on a
//! file system in memory, where to reserve the room first costs as much as to write to it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use crate::disk::zero::is_zero;

/// The unit in which file systems keep holes; finer ones would not be kept. Also what direct writes
/// must begin and end at, in the file and in memory: no disk asks for more.
pub(super) const BLOCK: usize = 4096;
/// Bytes of a run from which on it is written directly. A disk answers in some 100 µs, in which this
/// much could be copied a few times; it costs no more than copying it, and writing it back.
const LONG: usize = 64 << 10;

/// A file that is written by several threads.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// The same file, opened for direct writes.
    direct: Option<File>,
    /// A direct write was refused: this file system opens files for them all the same.
    refused: AtomicBool,
}

impl Output {
    /// The file of this name, which must not exist.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        if is_in_memory(&file) {
            return Ok(Self::new(file, None));
        }
        let direct = File::options()
            .write(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(path);
        // The reason why it cannot be does not matter: the other one is as good, and slower.
        Ok(Self::new(file, direct.ok()))
    }

    pub(super) fn new(file: File, direct: Option<File>) -> Self {
        Self {
            file,
            direct,
            refused: AtomicBool::new(false),
        }
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    /// Waits until everything is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Writes the bytes at this place of the file: directly where they are many and begin at a multiple
    /// of a block, in memory too.
    pub(super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let direct = self.direct.as_ref().filter(|_| {
            bytes.len() >= LONG
                && bytes.len().is_multiple_of(BLOCK)
                && !self.refused.load(Ordering::Relaxed)
        });
        if let Some(direct) = direct {
            self.reserve(bytes.len(), at)?;
            match direct.write_all_at(bytes, at) {
                // Not aligned enough for this disk, or not supported after all.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    tracing::debug!("direct writes are refused: {error}");
                    self.refused.store(true, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        self.file.write_all_at(bytes, at)
    }

    /// Gives these bytes their place on the disk. A direct write into a hole would find one itself, but
    /// ext4 lets only one such write at a time into a file.
    fn reserve(&self, length: usize, at: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, length as u64) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether what is written stays in memory: direct writes are taken there, and save nothing.
fn is_in_memory(file: &File) -> bool {
    // Of linux/magic.h.
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    #[allow(
        clippy::cast_sign_loss,
        reason = "a number of 32 bits, signed or not as the processor likes"
    )]
    rustix::fs::fstatfs(file).is_ok_and(|system| matches!(system.f_type as u64, TMPFS | RAMFS))
}

/// The runs of blocks that are not zero, in bytes that begin at a multiple of a block.
pub(super) fn nonzero_runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let blocks = |from: usize| (from..bytes.len()).step_by(BLOCK);
    let end = |start: usize| (start + BLOCK).min(bytes.len());
    let zero = move |start: usize| is_zero(&bytes[start..end(start)]);
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = blocks(at).find(|block| !zero(*block))?;
        at = blocks(start)
            .find(|block| zero(*block))
            .unwrap_or(bytes.len());
        Some(start..at)
    })
}

/// Memory that begins at a multiple of a block, for direct writes. It is made once, and stays as it was
/// left.
pub(super) fn aligned(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length + BLOCK {
        buffer.resize(length + BLOCK, 0);
    }
    // Without the standard library's word for it the slice is only slower.
    let skip = buffer.as_ptr().align_offset(BLOCK).min(BLOCK);
    &mut buffer[skip..skip + length]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    /// Runs around the length from which on they are written directly, and a last one that ends within
    /// a block.
    fn content() -> Vec<u8> {
        let mut all = vec![0; (3 << 20) + 512];
        for (start, length) in [
            (0, BLOCK),
            (64 << 10, LONG),
            (200 << 10, LONG - BLOCK),
            (300 << 10, LONG + BLOCK),
            (1 << 20, 1 << 20),
            ((3 << 20) - LONG, LONG + 512),
        ] {
            for (number, byte) in all[start..start + length].iter_mut().enumerate() {
                *byte = (number % 251) as u8 + 1;
            }
        }
        all
    }

    fn write(output: &Output, from: usize) -> u64 {
        let content = content();
        output.set_len(content.len() as u64).unwrap();
        let mut buffer = Vec::new();
        aligned(&mut buffer, content.len() + BLOCK);
        let bytes = &mut aligned(&mut buffer, content.len() + BLOCK)[from..][..content.len()];
        bytes.copy_from_slice(&content);
        let mut written = 0;
        for run in nonzero_runs(bytes) {
            written += run.len() as u64;
            output.write(&bytes[run.clone()], run.start as u64).unwrap();
        }
        output.sync().unwrap();
        written
    }

    #[test]
    fn long_and_short_runs_arrive_and_zeros_stay_holes() {
        let place = tempfile::tempdir().unwrap();
        let sum = 2 * BLOCK + 3 * LONG - BLOCK + (1 << 20) + LONG + 512;
        // The second is not aligned in memory, and is refused or not as the disk likes.
        for (name, from) in [("a", 0), ("b", 100)] {
            let path = place.path().join(name);
            let output = Output::create(&path).unwrap();
            assert_eq!(write(&output, from), sum as u64);
            assert!(fs::read(&path).unwrap() == content(), "{name}");
            let kept = fs::metadata(&path).unwrap().blocks() * 512;
            assert!(kept < 2 << 20, "{kept} bytes are kept");
        }
    }

    #[test]
    fn long_runs_are_written_directly_where_that_is_known() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let output = Output::create(&path).unwrap();
        if output.direct.is_none() {
            eprintln!("SKIPPED: this file system knows no direct writes");
            return;
        }
        // What goes through the cache goes elsewhere, so that nothing but direct writes can arrive.
        let cached = place.path().join("cached");
        let other = Output::create(&cached).unwrap();
        let output = Output::new(other.file, output.direct);
        let mut buffer = Vec::new();
        let bytes = aligned(&mut buffer, LONG);
        bytes.fill(7);
        output.write(bytes, 0).unwrap();
        assert!(fs::read(&path).unwrap() == [7; LONG]);
        output.write(&bytes[..BLOCK], 0).unwrap();
        assert!(fs::read(&path).unwrap() == [7; LONG]);
        assert!(fs::read(&cached).unwrap() == [7; BLOCK]);
    }

    #[test]
    fn what_stays_in_memory_is_not_written_directly() {
        let Ok(place) = tempfile::tempdir_in("/dev/shm") else {
            eprintln!("SKIPPED: nothing can be written to /dev/shm");
            return;
        };
        let path = place.path().join("out");
        let output = Output::create(&path).unwrap();
        if !is_in_memory(&output.file) {
            eprintln!("SKIPPED: /dev/shm is no tmpfs");
            return;
        }
        assert!(output.direct.is_none());
        write(&output, 0);
        assert!(fs::read(&path).unwrap() == content());
    }

    #[test]
    fn what_is_refused_directly_goes_through_the_cache_and_no_other_failure_does() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let mut output = Output::create(&path).unwrap();
        let mut buffer = Vec::new();
        let bytes = aligned(&mut buffer, LONG);
        bytes.fill(7);
        // Not at a block.
        let alone = output
            .direct
            .as_ref()
            .map(|direct| direct.write_at(bytes, 1));
        output.write(bytes, 1).unwrap();
        assert!(fs::read(&path).unwrap()[1..] == [7; LONG]);
        let refused = alone.is_some_and(|alone| alone.is_err());
        assert_eq!(output.refused.load(Ordering::Relaxed), refused);

        let full = File::options().write(true).open("/dev/full").unwrap();
        output.direct = Some(full);
        output.refused = AtomicBool::new(false);
        let error = output.write(bytes, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
