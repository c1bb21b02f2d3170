//! A sparse disk in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use crc_fast::{CrcAlgorithm, Digest};

use super::limits::SECTOR;
use super::source::{DiskSource, check_range};
use crate::{Error, ErrorKind, Result};

/// A disk in memory: for tests, and for disks that a program makes up.
///
/// What was never written is a hole; what was written is an extent, zeros too. Memory follows what
/// is written, so a disk of 32 TiB is as good as a small one.
///
/// ```
/// use azure_nixos::disk::{DiskSource, MemoryImage};
///
/// let mut disk = MemoryImage::new(1 << 40)?;
/// disk.write(1 << 30, b"hello")?;
/// assert_eq!(disk.next_extent(0)?, Some(1 << 30..(1 << 30) + 5));
/// let mut bytes = [0xff; 7];
/// disk.read_exact_at(&mut bytes, (1 << 30) - 1)?;
/// assert_eq!(&bytes, b"\0hello\0");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryImage {
    size: u64,
    /// Start to content; they neither overlap nor are empty, and may touch.
    extents: BTreeMap<u64, Vec<u8>>,
    footer: Option<[u8; 512]>,
}

impl MemoryImage {
    /// A disk of zeros. The size is in bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the size is 0 or no multiple of 512.
    pub fn new(size: u64) -> Result<Self> {
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a disk of {size} bytes is not a whole number of 512-byte sectors"),
            ));
        }
        Ok(Self {
            size,
            extents: BTreeMap::new(),
            footer: None,
        })
    }

    /// Writes bytes at any offset, over whatever is there.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the range is beyond the end.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        check_range(self.size, bytes.len(), offset)?;
        let end = offset + bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(());
        }
        // Only neighbours that overlap are merged, so appending stays cheap.
        let over: Vec<u64> = self
            .overlapping(offset, end)
            .map(|(start, _)| *start)
            .collect();
        let mut start = offset;
        let mut merged = Vec::new();
        let mut after = Vec::new();
        for key in over {
            let Some(old) = self.extents.remove(&key) else {
                continue;
            };
            let old_end = key + old.len() as u64;
            if key < offset {
                start = key;
                merged.extend_from_slice(&old[..(offset - key) as usize]);
            }
            if old_end > end {
                after.extend_from_slice(&old[(end - key) as usize..]);
            }
        }
        merged.extend_from_slice(bytes);
        merged.extend_from_slice(&after);
        self.extents.insert(start, merged);
        Ok(())
    }

    /// Makes the disk offer a footer, right or wrong, from [`DiskSource::footer`].
    #[must_use]
    pub fn with_footer(mut self, footer: [u8; 512]) -> Self {
        self.footer = Some(footer);
        self
    }

    /// The extents that share a byte with the range, in order.
    fn overlapping(&self, from: u64, end: u64) -> impl Iterator<Item = (&u64, &Vec<u8>)> {
        // The one that begins before the range can reach into it; no earlier one can.
        let first = self
            .extents
            .range(..from)
            .next_back()
            .map_or(from, |(start, _)| *start);
        self.extents
            .range(first..end)
            .filter(move |(start, bytes)| **start + bytes.len() as u64 > from)
    }
}

impl std::fmt::Debug for MemoryImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryImage")
            .field("size", &self.size)
            .field("extents", &self.extents.len())
            .finish_non_exhaustive()
    }
}

impl DiskSource for MemoryImage {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        Ok(self
            .overlapping(from, self.size)
            .next()
            .map(|(start, bytes)| from.max(*start)..start + bytes.len() as u64))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.size, buffer.len(), offset)?;
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for (start, bytes) in self.overlapping(offset, end) {
            let (from, to) = (offset.max(*start), end.min(start + bytes.len() as u64));
            buffer[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn footer(&self) -> Result<Option<[u8; 512]>> {
        Ok(self.footer)
    }

    /// A checksum of what was written: memory has no times. It is no identity, which would hash
    /// whole pieces of the disk for every few bytes in them.
    fn fingerprint(&self) -> Result<String> {
        let mut sum = Digest::new(CrcAlgorithm::Crc64Nvme);
        for (start, bytes) in &self.extents {
            sum.update(&start.to_le_bytes());
            sum.update(&(bytes.len() as u64).to_le_bytes());
            sum.update(bytes);
        }
        Ok(format!(
            "memory size={} sum={:016x}",
            self.size,
            sum.finalize()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_give_back_what_was_written_and_extents_cover_it(
            writes in prop::collection::vec((0u64..4000, prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            reads in prop::collection::vec((0usize..4608, 0usize..700), 1..20),
        ) {
            let size = 4608;
            let mut disk = MemoryImage::new(size as u64).unwrap();
            let (mut flat, mut written) = (vec![0u8; size], vec![false; size]);
            for (at, bytes) in &writes {
                let at = *at as usize;
                disk.write(at as u64, bytes).unwrap();
                flat[at..at + bytes.len()].copy_from_slice(bytes);
                written[at..at + bytes.len()].fill(true);
            }
            let (mut covered, mut at) = (vec![false; size], 0);
            while let Some(range) = disk.next_extent(at).unwrap() {
                prop_assert!(range.start >= at && range.end > range.start && range.end <= size as u64);
                covered[range.start as usize..range.end as usize].fill(true);
                at = range.end;
            }
            prop_assert_eq!(covered, written);
            for (at, length) in reads {
                let length = length.min(size - at);
                let mut buffer = vec![0xaa; length];
                disk.read_exact_at(&mut buffer, at as u64).unwrap();
                prop_assert_eq!(&buffer, &flat[at..at + length]);
            }
        }
    }

    #[test]
    fn the_fingerprint_tells_another_content_place_or_size() {
        let disk = |size, at, bytes: &[u8]| {
            let mut disk = MemoryImage::new(size).unwrap();
            disk.write(at, bytes).unwrap();
            disk.fingerprint().unwrap()
        };
        let one = disk(4096, 7, b"abc");
        assert_eq!(one, disk(4096, 7, b"abc"));
        assert_ne!(one, disk(4096, 7, b"abd"));
        assert_ne!(one, disk(4096, 8, b"abc"));
        assert_ne!(one, disk(8192, 7, b"abc"));
    }

    #[test]
    fn what_is_beyond_the_end_is_refused() {
        let mut disk = MemoryImage::new(512).unwrap();
        assert!(disk.write(511, b"ab").is_err());
        assert!(disk.read_exact_at(&mut [0; 2], 511).is_err());
        assert!(MemoryImage::new(0).is_err());
        assert!(MemoryImage::new(513).is_err());
    }
}
