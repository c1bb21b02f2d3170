//! A dynamic VHD: blocks that are allocated as they are written to, and a table of where they are.
//!
//! | where (bytes) | what |
//! |---|---|
//! | 0 | a copy of the footer, 512 bytes |
//! | as the footer says, usually 512 | the header, 1024 bytes: block size, number and place of the table's entries |
//! | as the header says, usually 1536 | the block table: 32 bits per block, the sector at which it begins, or all ones for a block that was never written |
//! | anywhere between | blocks: a bitmap of their sectors, padded to 512 bytes, then the block |
//! | the last 512 bytes | the footer |
//!
//! Numbers are big-endian. A block has 2 MiB by default, or 512 KiB; a disk at most 2040 GiB.
//!
//! The bitmap says which sectors of a block were written to. It matters for differencing disks. In
//! a dynamic one what was not written holds zeros anyway, and not all writers keep the bitmap, so
//! the block is read as it is; QEMU does the same.
//!
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification", 2006.

use std::convert::Infallible;
use std::ops::Range;

use super::footer::{DiskType, Footer};
use crate::disk::blocks::{self, Blocks, Place, Run};
use crate::disk::claims::Claims;
use crate::disk::fault::{Fault, ONLY_FIXED, astray, damaged, truncated};
use crate::disk::file::ImageFile;
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::limits::SECTOR;
use crate::disk::read_at::{ReadAt, array_at, be32, be64, fits};
use crate::disk::source::{DiskSource, Stored};
use crate::disk::table::Pieces;
use crate::{Error, Result};

/// Bytes of the header.
const HEADER: u64 = 1024;
/// Entry of a block that was never written.
const UNUSED: u32 = u32::MAX;
/// The largest disk: 2040 GiB.
const LARGEST: u64 = 2040 << 30;
/// Block sizes that are read. Writers use 512 KiB and 2 MiB; the format allows any power of two.
/// A smaller one would need tables of gigabytes.
const BLOCKS: Range<u64> = 64 << 10..(256 << 20) + 1;

/// What the headers of a dynamic VHD say, in bytes.
#[derive(Clone, Debug)]
pub(in crate::disk) struct Layout {
    /// Size of the disk.
    pub(in crate::disk) size: u64,
    /// Size of a block.
    pub(in crate::disk) block: u64,
    /// Size of the bitmap before each block.
    bitmap: u64,
    header: Range<u64>,
    /// The entries of the table that the disk needs.
    table: Range<u64>,
    /// Where the footer begins: blocks end before.
    end: u64,
}

impl Layout {
    /// Reads the header that the footer at `end` speaks of.
    pub(in crate::disk) fn read<F: ReadAt + ?Sized>(
        file: &F,
        end: u64,
        footer: &Footer,
    ) -> Result<Self, Fault> {
        let name = file.name();
        let size = footer.current_size();
        if size == 0 || !size.is_multiple_of(SECTOR) || size > LARGEST {
            return Err(damaged(format!(
                "the footer of {name} says that the disk has {size} bytes; a dynamic VHD has a whole \
                 number of sectors and at most {LARGEST} bytes"
            ))
            .into());
        }
        if footer.is_suspended() {
            return Err(Finding::problem(
                FindingKind::DamagedFooter,
                format!("the footer of {name} says that its machine is suspended"),
                "shut the machine down and export its disk again",
            )
            .azure(ONLY_FIXED)
            .into());
        }
        let offset = footer.data_offset();
        if offset < SECTOR || !fits(offset, HEADER, end) {
            return Err(truncated(format!(
                "{name} has no room for a header at byte {offset}, where its footer says it is"
            ))
            .into());
        }
        let header: [u8; HEADER as usize] = array_at(file, offset)?;
        let wrong = |what: String| damaged(format!("the header at byte {offset} of {name} {what}"));
        if !header.starts_with(b"cxsparse") {
            return Err(wrong("does not begin with \"cxsparse\"".to_owned()).into());
        }
        let (stored, computed) = (be32(&header, 36), checksum(&header));
        if stored != computed {
            return Err(wrong(format!(
                "has the checksum {stored:#010x}, its bytes give {computed:#010x}"
            ))
            .into());
        }
        let version = be32(&header, 24);
        if version >> 16 != 1 {
            return Err(wrong(format!("has the unknown version {version:#010x}")).into());
        }
        let block = u64::from(be32(&header, 32));
        if !block.is_power_of_two() || !BLOCKS.contains(&block) {
            return Err(wrong(format!(
                "says that blocks have {block} bytes; it can be a power of two from {} to {}",
                BLOCKS.start,
                BLOCKS.end - 1
            ))
            .into());
        }
        let (blocks, entries) = (size.div_ceil(block), u64::from(be32(&header, 28)));
        if entries < blocks {
            return Err(wrong(format!(
                "says that the block table has {entries} entries, but the disk has {blocks} blocks"
            ))
            .into());
        }
        let start = be64(&header, 16);
        // Both factors have 32 bits.
        if !fits(start, entries * 4, end) {
            return Err(truncated(format!(
                "the block table of {name}, {entries} entries at byte {start}, does not end before \
                 the footer at byte {end}"
            ))
            .into());
        }
        Ok(Self {
            size,
            block,
            bitmap: (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR),
            header: offset..offset + HEADER,
            table: start..start + blocks * 4,
            end,
        })
    }

    /// Looks at each entry of the table: whether its block lies in the file, and nothing else
    /// there.
    pub(in crate::disk) fn check<F: ReadAt + ?Sized>(&self, file: &F) -> Result<(), Fault> {
        let pieces = Pieces::default();
        Claims::check(SECTOR, |claims| {
            for (what, range) in [
                ("copy of the footer", &(0..SECTOR)),
                ("header", &self.header),
                ("block table", &self.table),
            ] {
                if let Some(offset) = claims.claim(range) {
                    return Err(astray(format!(
                        "the {what} of {} at byte {} overlaps another at byte {offset}",
                        file.name(),
                        range.start
                    ))
                    .into());
                }
            }
            let mut index = 0;
            while index * 4 < self.table.end - self.table.start {
                let piece = pieces.get(file, &self.table, index * 4)?;
                for entry in piece.entries(index * 4) {
                    if let Some(block) = self.block_at(file, index, u32::from_be_bytes(*entry))?
                        && let Some(offset) = claims.claim(&block)
                    {
                        return Err(self
                            .entry(
                                file,
                                index,
                                format!(
                                    "to byte {}, but byte {offset} belongs to something else",
                                    block.start
                                ),
                            )
                            .into());
                    }
                    index += 1;
                }
            }
            Ok(())
        })
    }

    fn entry<F: ReadAt + ?Sized>(&self, file: &F, index: u64, points: String) -> Finding {
        astray(format!(
            "entry {index} of the block table of {}, at byte {}, points {points}",
            file.name(),
            self.table.start + index * 4
        ))
    }

    /// Where the bitmap and the bytes of a block lie; `None` for one that was never written. The
    /// last block counts as far as the disk reaches.
    fn block_at<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        index: u64,
        entry: u32,
    ) -> Result<Option<Range<u64>>, Finding> {
        if entry == UNUSED {
            return Ok(None);
        }
        // A product of 32 and 9 bits; and the index is that of a block of the disk.
        let start = u64::from(entry) * SECTOR;
        let length = self.bitmap + self.block.min(self.size - index * self.block);
        if fits(start, length, self.end) {
            return Ok(Some(start..start + length));
        }
        let mut finding = self.entry(
            file,
            index,
            format!(
                "to byte {start}, from where {length} bytes do not end before the footer at byte {}",
                self.end
            ),
        );
        finding.kind = FindingKind::Truncated;
        Err(finding)
    }
}

/// The ones' complement of the sum of all bytes but the checksum's own.
fn checksum(header: &[u8; HEADER as usize]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    !(sum(header) - sum(&header[36..40]))
}

/// A dynamic VHD.
///
/// Block tables are read in pieces as they are needed, at most 2 MiB of which is kept.
///
/// ```no_run
/// use azure_nixos::disk::{DiskSource, DynamicVhd, ImageFile};
///
/// let disk = DynamicVhd::open(ImageFile::open("web.vhd")?)?;
/// println!("{} bytes in blocks of {}", disk.virtual_size(), disk.block_size());
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Debug)]
pub struct DynamicVhd<F = ImageFile> {
    file: F,
    layout: Layout,
    pieces: Pieces,
}

impl<F: ReadAt> DynamicVhd<F> {
    /// Reads the footer, the header and the whole block table.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidImage`](crate::ErrorKind::InvalidImage) when it is no dynamic VHD, or
    /// damaged: the message names the place, the hint says what to do. And when it cannot be read.
    pub fn open(file: F) -> Result<Self> {
        let layout = Self::layout(&file)?;
        Ok(Self::new(file, layout))
    }

    fn layout(file: &F) -> Result<Layout, Fault> {
        let no_footer =
            |why: &str| damaged(format!("{} is no dynamic VHD: its end {why}", file.name()));
        let end = file.length() / SECTOR * SECTOR;
        let Some(end) = end.checked_sub(SECTOR) else {
            return Err(no_footer("is its beginning").into());
        };
        let footer = Footer::parse(&array_at(file, end)?)
            .map_err(|defect| no_footer(&defect.to_string()))?;
        if footer.disk_type() != DiskType::Dynamic {
            return Err(no_footer(&format!("says that it is {}", footer.disk_type())).into());
        }
        let layout = Layout::read(file, end, &footer)?;
        layout.check(file)?;
        Ok(layout)
    }

    /// The layout was read from this file, and checked.
    pub(in crate::disk) fn new(file: F, layout: Layout) -> Self {
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
}

impl<F: ReadAt> Blocks for DynamicVhd<F> {
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
        let index = offset / layout.block;
        let piece = self.pieces.get(&self.file, &layout.table, index * 4)?;
        let entries = piece.entries(index * 4);
        let entry = entries
            .first()
            .map_or(UNUSED, |one| u32::from_be_bytes(*one));
        let block = layout
            .block_at(&self.file, index, entry)
            .map_err(Error::from)?;
        let (count, place) = match block {
            Some(block) => {
                let within = layout.bitmap + offset % layout.block;
                (1, Place::At(block.start + within))
            }
            None => {
                let unused = entries
                    .iter()
                    .take_while(|one| **one == UNUSED.to_be_bytes());
                (unused.count().max(1) as u64, Place::Zero)
            }
        };
        // The table has no more entries than the disk has blocks.
        let end = (index + count) * layout.block;
        Ok(Run { end, place })
    }
}

impl<F: ReadAt> DiskSource for DynamicVhd<F> {
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

#[cfg(test)]
mod tests;
