//! The one interface between disk images and whoever reads them.

use std::fmt;
use std::ops::Range;

use crate::Result;

/// The content of a disk as the machine will see it: a flat run of bytes, some of them holes.
///
/// Implement it to upload from a format or a place that this crate does not know. All methods
/// block; they are called on blocking threads, several at a time.
///
/// The VHD footer is not part of the content. The uploader appends it: the one that
/// [`footer`](Self::footer) offers, else one made from [`identity`](Self::identity).
pub trait DiskSource: fmt::Debug + Send + Sync + 'static {
    /// Size of the content in bytes, a multiple of 512 and not 0. The disk on Azure is this,
    /// rounded up to a MiB.
    fn virtual_size(&self) -> u64;

    /// The first range at or after `from` that may hold data, cut off below `from`; `None` when
    /// only zeros follow. Ranges need not be aligned, may touch, and end at or before
    /// [`virtual_size`](Self::virtual_size). What is in no range reads as zeros and is never read.
    ///
    /// # Errors
    /// When the image cannot be read, or contradicts itself.
    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>>;

    /// Fills the whole buffer with the content at `offset`. Never short: a source that ends early
    /// is an error.
    ///
    /// # Errors
    /// When the image cannot be read, is damaged, or the range is beyond its end.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;

    /// A name for the content: equal for equal content, different otherwise.
    ///
    /// The default reads everything that is not a hole and hashes it (SHA-256 over the size and
    /// the digests of the 4 MiB pieces). A source that knows better, a Nix store path for one,
    /// says so.
    ///
    /// # Errors
    /// As for [`read_exact_at`](Self::read_exact_at).
    fn identity(&self) -> Result<String>;

    /// The footer that the image brings along, when it is right for exactly this content and a
    /// size that is a whole number of MiB.
    ///
    /// # Errors
    /// As for [`read_exact_at`](Self::read_exact_at).
    fn footer(&self) -> Result<Option<[u8; 512]>> {
        Ok(None)
    }

    /// What tells that the source has not changed since: for a file its path, size and
    /// modification time. Kept beside a resumable upload and compared on resume.
    ///
    /// # Errors
    /// When the source is gone or cannot be asked.
    fn fingerprint(&self) -> Result<String>;
}
