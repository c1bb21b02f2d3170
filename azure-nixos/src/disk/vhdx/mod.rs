//! The VHDX format: blocks of 1 to 256 MiB, and a table of where they are.
//!
//! | where (bytes) | what |
//! |---|---|
//! | 0 | the mark `vhdxfile` and the program that made it |
//! | 64 KiB, 128 KiB | two headers, each with a sequence number; the higher one is right. They name the log |
//! | 192 KiB, 256 KiB | two copies of the region table, which says where block table and metadata are |
//! | any MiB | the log, the block table, the metadata (block size, disk size, sector sizes, parent) |
//! | any MiB | blocks |
//!
//! An entry of the block table has 64 bits: three for the state, 44 for the MiB in the file. After
//! the entries of 4 GiB of disk comes one for a bitmap that only differencing disks need.
//!
//! Fixed and dynamic disks with 512-byte logical sectors are read, up to 64 TiB. A log that is not
//! empty holds changes to the tables themselves: such a file is refused and not guessed at.
//!
//! Numbers are little-endian, checksums CRC-32C. Source: Microsoft's \[MS-VHDX\], "Virtual Hard Disk
//! v2 (VHDX) File Format".

mod layout;
mod metadata;
mod regions;

use std::convert::Infallible;
use std::ops::Range;

pub(super) use layout::Layout;
use layout::State;

use super::blocks::{self, Blocks, Place, Run};
use super::file::ImageFile;
use super::read_at::ReadAt;
use super::source::{DiskSource, Stored};
use super::table::Pieces;
use crate::{Error, Result};

/// A fixed or dynamic VHDX.
///
/// Block tables are read in pieces as they are needed, at most 2 MiB of which is kept.
///
/// ```no_run
/// use azure_nixos::disk::{DiskSource, ImageFile, Vhdx};
///
/// let disk = Vhdx::open(ImageFile::open("web.vhdx")?)?;
/// println!("{} bytes, made by {}", disk.virtual_size(), disk.creator());
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Debug)]
pub struct Vhdx<F = ImageFile> {
    file: F,
    layout: Layout,
    pieces: Pieces,
}

impl<F: ReadAt> Vhdx<F> {
    /// Reads the headers, the metadata and the whole block table.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidImage`](crate::ErrorKind::InvalidImage) when it is no VHDX, damaged, or
    /// of a kind that is not read: the message names the place, the hint says what to do. And when
    /// it cannot be read.
    pub fn open(file: F) -> Result<Self> {
        let layout = Layout::read(&file).and_then(|layout| {
            layout.check(&file)?;
            Ok(layout)
        })?;
        Ok(Self::new(file, layout))
    }

    /// The layout was read from this file, and checked.
    pub(super) fn new(file: F, layout: Layout) -> Self {
        Self {
            file,
            layout,
            pieces: Pieces::default(),
        }
    }

    /// What lies below.
    #[must_use]
    pub fn file(&self) -> &F {
        &self.file
    }

    /// Bytes of a block.
    #[must_use]
    pub fn block_size(&self) -> u64 {
        self.layout.block
    }

    /// The program that made it, by its own account; empty when it does not say.
    #[must_use]
    pub fn creator(&self) -> &str {
        &self.layout.creator
    }

    /// Whether all blocks were allocated when it was made.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.layout.fixed
    }
}

impl<F: ReadAt> Blocks for Vhdx<F> {
    type File = F;
    type Other = Infallible;

    fn file(&self) -> &F {
        &self.file
    }

    fn size(&self) -> u64 {
        self.layout.size
    }

    fn locate(&self, offset: u64) -> Result<Run> {
        let layout = &self.layout;
        let mut block = offset / layout.block;
        let within = offset % layout.block;
        let entries = layout.entries_from(&self.file, &self.pieces, block)?;
        if let Some(end) = entries.hole() {
            return Ok(Run {
                end: end * layout.block,
                place: Place::Zero,
            });
        }
        let mut place = None;
        for (index, entry) in entries {
            let next = match layout
                .state(&self.file, index, entry)
                .map_err(Error::from)?
            {
                State::Zero => Place::Zero,
                State::At(range) => Place::At(range.start),
            };
            place = match (place, next) {
                (None, Place::At(start)) => Some(Place::At(start + within)),
                (None, other) => Some(other),
                // The run goes on: zeros after zeros, or the next block in the file.
                (Some(Place::Zero), Place::Zero) => Some(Place::Zero),
                (Some(Place::At(first)), Place::At(start))
                    if start.checked_sub(first) == Some(block * layout.block - offset) =>
                {
                    Some(Place::At(first))
                }
                _ => break,
            };
            block += 1;
        }
        let place = place.unwrap_or(Place::Zero);
        // The disk has at most 64 TiB, so this has room.
        let end = block * layout.block;
        Ok(Run { end, place })
    }
}

impl<F: ReadAt> DiskSource for Vhdx<F> {
    fn virtual_size(&self) -> u64 {
        self.layout.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        blocks::next_extent(self, from)
    }

    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        blocks::stored_at(self, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        blocks::read(self, buffer, offset)
    }

    fn fingerprint(&self) -> Result<String> {
        self.file.fingerprint()
    }
}

/// The checksum of a structure whose own checksum is at byte 4.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    sum.update(&bytes[..4]);
    sum.update(&[0; 4]);
    sum.update(&bytes[8..]);
    // A checksum of 32 bits.
    sum.finalize() as u32
}

#[cfg(test)]
mod tests;
