//! What a format's reader asks of whatever lies below it: positioned reads, and where data is.
//!
//! Readers of formats know this trait and no file, so that the same code reads a file, a block
//! device, or bytes that a test or a fuzzer made up.

use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::file::ImageFile;
use crate::{Error, ErrorKind, Result};

/// Bytes that are read by offset: what lies below a disk format.
///
/// All methods block. A reader of a format calls them from several threads at a time.
///
/// ```
/// use azure_nixos::disk::ReadAt;
///
/// let bytes = vec![1, 2, 3];
/// let mut two = [0; 2];
/// bytes.read_exact_at(&mut two, 1)?;
/// assert_eq!(two, [2, 3]);
/// assert!(bytes.read_exact_at(&mut two, 2).is_err());
/// # Ok::<(), azure_nixos::Error>(())
/// ```
pub trait ReadAt: fmt::Debug + Send + Sync + 'static {
    /// What to call it in a message.
    fn name(&self) -> String;

    /// Its length in bytes.
    fn length(&self) -> u64;

    /// Fills the whole buffer with the bytes at `offset`.
    ///
    /// # Errors
    /// When reading fails, or the range is beyond the end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// The first range at or after `from`, and before `end`, that is no hole. The default knows no
    /// holes.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>> {
        let end = end.min(self.length());
        Ok((from < end).then_some(from..end))
    }

    /// The file that the bytes are in, each at its own offset; `None`, the default, where they are in
    /// none. See [`DiskSource::stored_at`](super::DiskSource::stored_at).
    fn as_file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What tells that it has not changed since, see
    /// [`DiskSource::fingerprint`](super::DiskSource::fingerprint).
    ///
    /// # Errors
    /// When it cannot be asked.
    fn fingerprint(&self) -> Result<String>;
}

impl ReadAt for ImageFile {
    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn length(&self) -> u64 {
        self.length()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>> {
        self.next_data(from, end)
    }

    fn as_file(&self) -> Option<BorrowedFd<'_>> {
        self.as_file()
    }

    fn fingerprint(&self) -> Result<String> {
        self.fingerprint()
    }
}

impl ReadAt for Vec<u8> {
    fn name(&self) -> String {
        "the image in memory".to_owned()
    }

    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        let Some(bytes) = bytes else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "cannot read {} bytes at {offset} of {}, which has {} bytes",
                    buffer.len(),
                    self.name(),
                    self.len()
                ),
            ));
        };
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(format!("memory size={}", self.len()))
    }
}

/// The bytes at `offset`, as many as are asked for. Fails when that is beyond the end.
pub(super) fn array_at<const N: usize, F: ReadAt + ?Sized>(
    file: &F,
    offset: u64,
) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Whether `length` bytes at `offset` lie before `end`.
pub(super) fn fits(offset: u64, length: u64, end: u64) -> bool {
    offset.checked_add(length).is_some_and(|stop| stop <= end)
}

/// A number at a fixed place of a header.
macro_rules! field {
    ($name:ident, $number:ty, $from:ident) => {
        /// The number at this place of a header; 0 where the header is too short for it.
        pub(super) fn $name(header: &[u8], at: usize) -> $number {
            header
                .get(at..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |bytes| <$number>::$from(*bytes))
        }
    };
}

field!(be32, u32, from_be_bytes);
field!(be64, u64, from_be_bytes);
field!(le16, u16, from_le_bytes);
field!(le32, u32, from_le_bytes);
field!(le64, u64, from_le_bytes);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_memory_are_read_and_never_beyond_their_end() {
        let bytes = vec![1u8, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(array_at::<2, _>(&bytes, 6).unwrap(), [7, 8]);
        assert!(array_at::<2, _>(&bytes, 7).is_err());
        assert!(array_at::<2, _>(&bytes, u64::MAX).is_err());
        assert_eq!(bytes.next_data(3, 99).unwrap(), Some(3..8));
        assert_eq!(bytes.next_data(8, 99).unwrap(), None);
        assert_eq!((be32(&bytes, 0), le16(&bytes, 6)), (0x0102_0304, 0x0807));
        assert_eq!((be64(&bytes, 1), le64(&bytes, 1)), (0, 0));
        assert!(fits(1, 2, 3) && !fits(2, 2, 3) && !fits(u64::MAX, 2, 3));
    }
}
