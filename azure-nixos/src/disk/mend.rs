//! Damage of a VHD's end that leaves the disk whole, mended while it is read: the file stays as it is.
//!
//! What is mended is only what says nothing of the content: a footer that lies in the wrong place with
//! nothing but zeros behind it, or whose own bytes are damaged while its size is right.

use std::ops::Range;

use super::file::ImageFile;
use super::limits::{FOOTER, SECTOR};
use super::source::{DiskSource, Stored, check_range};
use super::zero::is_zero;
use crate::Result;

/// Bytes that are read at a time to see whether they are zeros.
const CHUNK: u64 = 1 << 20;

/// The disk in a file whose VHD footer is not where it belongs, or not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of the disk.
    pub(super) size: u64,
    /// What is in the file and not on the disk, where there are zeros; may be empty.
    blank: Range<u64>,
}

impl Layout {
    /// The disk of the bytes before a footer that is replaced.
    pub(super) fn before(footer: u64) -> Self {
        Self {
            size: footer,
            blank: 0..0,
        }
    }

    /// The disk that was meant when the file was enlarged: all of it, without the footer inside. `None`
    /// when something was written behind the footer, so that it is not known what the disk is.
    pub(super) fn around(file: &ImageFile, footer: u64) -> Result<Option<Self>> {
        let behind = footer + FOOTER;
        if !is_zero_from(file, behind)? {
            return Ok(None);
        }
        Ok(Some(Self {
            size: file.length().next_multiple_of(SECTOR),
            blank: footer..behind,
        }))
    }
}

fn is_zero_from(file: &ImageFile, from: u64) -> Result<bool> {
    let mut at = from;
    let mut buffer = Vec::new();
    while let Some(extent) = file.next_data(at, file.length())? {
        at = extent.end.min(extent.start + CHUNK);
        buffer.resize((at - extent.start) as usize, 0);
        file.read_exact_at(&mut buffer, extent.start)?;
        if !is_zero(&buffer) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A disk that is read as [`Layout`] says.
#[derive(Debug)]
pub(super) struct Mended {
    file: ImageFile,
    layout: Layout,
}

impl Mended {
    pub(super) fn new(file: ImageFile, layout: Layout) -> Self {
        Self { file, layout }
    }

    pub(super) fn file(&self) -> &ImageFile {
        &self.file
    }
}

impl DiskSource for Mended {
    fn virtual_size(&self) -> u64 {
        self.layout.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        self.file.next_data(from, self.layout.size)
    }

    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        let Layout { size, ref blank } = self.layout;
        let end = if offset < blank.start {
            blank.start
        } else if offset < blank.end {
            return Ok(None);
        } else {
            size
        };
        Ok(self.file.stored(offset, end))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.layout.size, buffer.len(), offset)?;
        let end = offset + buffer.len() as u64;
        // Both are within the buffer, whose length is a usize.
        let within = |at: u64| (at.clamp(offset, end) - offset) as usize;
        let stored = within(self.file.length());
        self.file.read_exact_at(&mut buffer[..stored], offset)?;
        buffer[stored..].fill(0);
        buffer[within(self.layout.blank.start)..within(self.layout.blank.end)].fill(0);
        Ok(())
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(format!("{} mended", self.file.fingerprint()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_blank_does_not_lie_in_the_file() {
        let place = tempfile::NamedTempFile::new().unwrap();
        place.as_file().set_len(64 << 10).unwrap();
        let stored = |blank: Range<u64>, size| {
            let file = ImageFile::open(place.path()).unwrap();
            let disk = Mended::new(file, Layout { size, blank });
            [0, 4096, 4608, 60 << 10, 64 << 10].map(|at| {
                let stored = disk.stored_at(at).unwrap()?;
                assert_eq!(stored.offset, at);
                Some(stored.end)
            })
        };
        let whole = Some(64 << 10);
        assert_eq!(
            stored(4096..4608, 70 << 10),
            [Some(4096), None, whole, whole, None]
        );
        assert_eq!(
            stored(0..0, 8192),
            [Some(8192), Some(8192), Some(8192), None, None]
        );
    }
}
