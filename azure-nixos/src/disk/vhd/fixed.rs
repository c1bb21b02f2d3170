//! A fixed VHD: a raw image with a footer behind it.

use std::ops::Range;

use super::footer::Footer;
use crate::Result;
use crate::disk::file::ImageFile;
use crate::disk::limits::padded_size;
use crate::disk::source::{DiskSource, Stored, check_range};

/// A fixed VHD. Its content is the file without the footer.
///
/// It is made by [`DiskImage::open`](crate::disk::DiskImage::open), which names every defect.
#[derive(Debug)]
pub struct FixedVhd {
    file: ImageFile,
    size: u64,
    footer: Footer,
}

impl FixedVhd {
    /// The footer is right for the `size` bytes before it.
    pub(in crate::disk) fn new(file: ImageFile, size: u64, footer: Footer) -> Self {
        Self { file, size, footer }
    }

    /// The file below.
    #[must_use]
    pub fn file(&self) -> &ImageFile {
        &self.file
    }

    /// The footer that the file ends with.
    #[must_use]
    pub fn own_footer(&self) -> &Footer {
        &self.footer
    }
}

impl DiskSource for FixedVhd {
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

    /// The file's own footer, when the disk on Azure has exactly the size it speaks of.
    fn footer(&self) -> Result<Option<[u8; 512]>> {
        Ok((padded_size(self.size) == self.size).then_some(*self.footer.bytes()))
    }

    fn fingerprint(&self) -> Result<String> {
        self.file.fingerprint()
    }
}
