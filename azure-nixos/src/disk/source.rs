//! The one interface between disk images and whoever reads them.

use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::identity::content_identity;
use crate::{Error, ErrorKind, Result};

/// The content of a disk as the machine will see it: a flat run of bytes, some of them holes.
///
/// Implement it to upload from a format or a place that this crate does not know. All methods
/// block; they are called on blocking threads, several at a time.
///
/// The VHD footer is not part of the content. The uploader appends it: the one that
/// [`footer`](Self::footer) offers, else one made from the
/// [checksum](super::content_checksum) of what it reads.
///
/// ```
/// use std::ops::Range;
/// use azure_nixos::{Result, disk::{DiskSource, content_identity}};
///
/// /// A disk of 64 MiB that is all zeros but for a label in its first sector.
/// #[derive(Debug)]
/// struct Labelled(&'static [u8]);
///
/// impl DiskSource for Labelled {
///     fn virtual_size(&self) -> u64 {
///         64 << 20
///     }
///
///     fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
///         Ok((from < 512).then_some(from..512))
///     }
///
///     fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
///         for (at, byte) in (offset as usize..).zip(buffer) {
///             *byte = self.0.get(at).copied().unwrap_or(0);
///         }
///         Ok(())
///     }
///
///     fn fingerprint(&self) -> Result<String> {
///         Ok(format!("label {:?}", self.0))
///     }
/// }
///
/// assert_eq!(Labelled(b"a").identity()?, content_identity(&Labelled(b"a\0"))?);
/// assert_ne!(Labelled(b"a").identity()?, Labelled(b"b").identity()?);
/// # Ok::<(), azure_nixos::Error>(())
/// ```
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

    /// The file in which the content lies as it is from `offset` on, and how far it does. A
    /// [`Conversion`](super::Conversion) lets its file share those blocks, where the file system can,
    /// and writes nothing. `None`, the default, where it lies otherwise or that is not known.
    ///
    /// Whoever answers has a [`fingerprint`](Self::fingerprint) that changes when the file does.
    ///
    /// # Errors
    /// As for [`next_extent`](Self::next_extent).
    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        let _ = offset;
        Ok(None)
    }

    /// Whether it can only be read from the front to the back: a read before the end of the last one
    /// begins anew, and costs as much as all that lies before it. Whoever reads it does so in one
    /// thread then. By default it is not so.
    fn is_sequential(&self) -> bool {
        false
    }

    /// The [`identity`](Self::identity), where it is known without reading anything.
    fn known_identity(&self) -> Option<String> {
        None
    }

    /// A name for the content: equal for equal content, different otherwise.
    ///
    /// The default is the one that is [known](Self::known_identity); else it reads everything that is
    /// not a hole and hashes it, see [`content_identity`]. For a source that knows better, a Nix
    /// store path for one, wrap it in [`Identified`](super::Identified).
    ///
    /// # Errors
    /// As for [`read_exact_at`](Self::read_exact_at).
    fn identity(&self) -> Result<String> {
        self.known_identity()
            .map_or_else(|| content_identity(self), Ok)
    }

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

/// A stretch of a disk that lies in a file as it is, in one piece: see [`DiskSource::stored_at`].
///
/// ```
/// use std::fs::File;
/// use std::os::fd::AsFd as _;
/// use azure_nixos::disk::Stored;
///
/// /// A disk behind a header of 1 MiB.
/// struct Behind {
///     file: File,
///     size: u64,
/// }
///
/// impl Behind {
///     /// What its `DiskSource::stored_at` answers.
///     fn stored_at(&self, offset: u64) -> Option<Stored<'_>> {
///         (offset < self.size).then(|| Stored {
///             file: self.file.as_fd(),
///             offset: (1 << 20) + offset,
///             end: self.size,
///         })
///     }
/// }
///
/// let disk = Behind { file: File::open("/dev/null")?, size: 64 << 20 };
/// let stored = disk.stored_at(4096).unwrap();
/// assert_eq!((stored.offset, stored.end), ((1 << 20) + 4096, 64 << 20));
/// assert!(disk.stored_at(64 << 20).is_none());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The file.
    pub file: BorrowedFd<'a>,
    /// Where in the file the stretch begins, in bytes.
    pub offset: u64,
    /// Where on the disk it ends, in bytes. All of it is within the file.
    pub end: u64,
}

macro_rules! delegate {
    ($pointer:ident) => {
        impl<S: DiskSource + ?Sized> DiskSource for $pointer<S> {
            fn virtual_size(&self) -> u64 {
                (**self).virtual_size()
            }

            fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
                (**self).next_extent(from)
            }

            fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
                (**self).read_exact_at(buffer, offset)
            }

            fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
                (**self).stored_at(offset)
            }

            fn is_sequential(&self) -> bool {
                (**self).is_sequential()
            }

            fn known_identity(&self) -> Option<String> {
                (**self).known_identity()
            }

            fn identity(&self) -> Result<String> {
                (**self).identity()
            }

            fn footer(&self) -> Result<Option<[u8; 512]>> {
                (**self).footer()
            }

            fn fingerprint(&self) -> Result<String> {
                (**self).fingerprint()
            }
        }
    };
}

delegate!(Arc);
delegate!(Box);

/// Fails when a read of `length` bytes at `offset` leaves a disk of `size` bytes.
pub(super) fn check_range(size: u64, length: usize, offset: u64) -> Result<()> {
    if offset
        .checked_add(length as u64)
        .is_some_and(|end| end <= size)
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("cannot read {length} bytes at {offset} of a disk of {size} bytes"),
    ))
}

/// [`DiskSource::next_extent`], with its promises checked: sources come from elsewhere too, and a
/// range that goes backwards would be read for ever.
pub(super) fn checked_extent<S: DiskSource + ?Sized>(
    source: &S,
    from: u64,
) -> Result<Option<Range<u64>>> {
    let Some(extent) = source.next_extent(from)? else {
        return Ok(None);
    };
    if extent.start < from || extent.is_empty() || extent.end > source.virtual_size() {
        return Err(Error::new(
            ErrorKind::Internal,
            format!(
                "the disk source answered {extent:?} for the first extent from {from} on a disk of {} bytes",
                source.virtual_size()
            ),
        ));
    }
    Ok(Some(extent))
}

/// Fills the buffer with the content at `offset`, reading only what is in an extent. Returns how
/// many bytes were in extents.
pub(super) fn read_sparse<S: DiskSource + ?Sized>(
    source: &S,
    buffer: &mut [u8],
    offset: u64,
) -> Result<u64> {
    let end = offset + buffer.len() as u64;
    let mut at = offset;
    let mut data = 0;
    while at < end {
        let extent = checked_extent(source, at)?.filter(|extent| extent.start < end);
        let extent = extent.map_or(end..end, |extent| extent.start..extent.end.min(end));
        // Both are within the buffer, whose length is a usize.
        let (hole, stop) = (
            (extent.start - offset) as usize,
            (extent.end - offset) as usize,
        );
        buffer[(at - offset) as usize..hole].fill(0);
        if !extent.is_empty() {
            source.read_exact_at(&mut buffer[hole..stop], extent.start)?;
            data += extent.end - extent.start;
        }
        at = extent.end;
    }
    Ok(data)
}
