//! A raw image: the bytes of the disk and nothing else.

use std::ops::Range;
use std::path::Path;

use super::file::ImageFile;
use super::finding::{Finding, FindingKind};
use super::limits::SECTOR;
use super::source::{DiskSource, Stored, check_range};
use crate::Result;

/// A raw disk image or a block device.
#[derive(Debug)]
pub struct RawImage {
    file: ImageFile,
    size: u64,
}

impl RawImage {
    /// Opens a file as raw, whatever it contains. [`DiskImage::open`](super::DiskImage::open)
    /// looks at the content first.
    ///
    /// # Errors
    /// As [`ImageFile::open`], and when the size is not a whole number of 512-byte sectors.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = ImageFile::open(path)?;
        match unaligned(&file) {
            Some(finding) => Err(finding.into()),
            None => Ok(Self::new(file)),
        }
    }

    /// The caller has looked at the size.
    pub(super) fn new(file: ImageFile) -> Self {
        let size = file.length();
        Self { file, size }
    }

    /// The first bytes of a file, as far as they are a disk.
    pub(super) fn first(file: ImageFile, size: u64) -> Self {
        let size = size.min(file.length());
        Self { file, size }
    }

    /// The file below.
    #[must_use]
    pub fn file(&self) -> &ImageFile {
        &self.file
    }
}

/// What is wrong with the size of a raw image, if anything is.
pub(super) fn unaligned(file: &ImageFile) -> Option<Finding> {
    let size = file.length();
    let over = size % SECTOR;
    if over == 0 {
        return None;
    }
    let name = file.path().display();
    let (what, remedy) = if size < SECTOR {
        (
            format!(
                "{name} has {size} bytes, less than one 512-byte sector: it is not a disk image"
            ),
            "look whether this is the right file".to_owned(),
        )
    } else {
        let bytes = if over == 1 { "byte" } else { "bytes" };
        (
            format!(
                "{name} is {over} {bytes} longer than a whole number of 512-byte sectors ({size} bytes)"
            ),
            format!(
                "if a download was cut short, fetch it again; if bytes were added, cut them off a \
                 copy with `truncate -s {} COPY`",
                size - over
            ),
        )
    };
    Some(
        Finding::problem(FindingKind::UnalignedSize, what, remedy)
            .azure("InvalidVhd: the size of the disk must be a whole number of MiB"),
    )
}

impl DiskSource for RawImage {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        self.file.next_data(from, self.size)
    }

    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        Ok(self.file.stored(offset, self.size))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.size, buffer.len(), offset)?;
        self.file.read_exact_at(buffer, offset)
    }

    fn fingerprint(&self) -> Result<String> {
        self.file.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(length: u64) -> Result<RawImage> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        RawImage::open(file.path())
    }

    #[test]
    fn one_byte_too_long_is_refused_with_the_way_out() {
        let error = open((64 << 20) + 1).unwrap_err();
        assert!(
            error.to_string().contains(
                "is 1 byte longer than a whole number of 512-byte sectors (67108865 bytes)"
            ),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("truncate -s 67108864 "));
        assert!(open(511).unwrap_err().to_string().contains("less than one"));
        assert_eq!(open(512).unwrap().virtual_size(), 512);
    }
}
