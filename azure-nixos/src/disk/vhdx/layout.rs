//! What a VHDX's headers say, and its block table.

use std::ops::Range;

use super::metadata::Metadata;
use super::regions::Regions;
use crate::Result;
use crate::disk::claims::Claims;
use crate::disk::fault::{Fault, astray, truncated};
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::limits::MIB;
use crate::disk::read_at::{ReadAt, array_at};
use crate::disk::table::{Look, Pieces};

/// Bytes of disk between two entries for bitmaps, with sectors of 512 bytes.
const CHUNK: u64 = 512 << 23;

/// What the headers of a VHDX say, in bytes.
#[derive(Debug)]
pub(in crate::disk) struct Layout {
    pub(in crate::disk) size: u64,
    pub(in crate::disk) block: u64,
    pub(in crate::disk) fixed: bool,
    pub(in crate::disk) creator: String,
    /// Blocks between two entries for bitmaps.
    chunk: u64,
    blocks: u64,
    /// The entries that the disk needs.
    table: Range<u64>,
    owned: Vec<(&'static str, Range<u64>)>,
    /// Where the file ends.
    end: u64,
}

/// What an entry says of its block.
#[derive(Debug)]
pub(super) enum State {
    /// It reads as zeros.
    Zero,
    /// It lies there, as far as the disk reaches.
    At(Range<u64>),
}

impl Layout {
    pub(in crate::disk) fn read<F: ReadAt + ?Sized>(file: &F) -> Result<Self, Fault> {
        let regions = Regions::read(file)?;
        let Metadata { size, block, fixed } = Metadata::read(file, &regions.metadata)?;
        let (blocks, chunk) = (size.div_ceil(block), CHUNK / block);
        // The disk has at most 64 TiB and blocks at least 1 MiB: 2^26 blocks.
        let entries = blocks + (blocks - 1) / chunk;
        let length = regions.bat.end - regions.bat.start;
        if length < entries * 8 {
            return Err(truncated(format!(
                "the block table of {} at byte {} has {length} bytes; the disk needs {entries} entries \
                 of 8 bytes",
                file.name(),
                regions.bat.start
            ))
            .into());
        }
        Ok(Self {
            size,
            block,
            fixed,
            creator: creator(file)?,
            chunk,
            blocks,
            table: regions.bat.start..regions.bat.start + entries * 8,
            owned: regions.owned,
            end: file.length(),
        })
    }

    /// Looks at each entry of the table: whether its block lies in the file, and nothing else
    /// there.
    pub(in crate::disk) fn check<F: ReadAt + ?Sized>(&self, file: &F) -> Result<(), Fault> {
        let pieces = Pieces::default();
        Claims::check(MIB, |claims| {
            for (what, range) in &self.owned {
                if let Some(offset) = claims.claim(range) {
                    return Err(astray(format!(
                        "the {what} of {} at byte {} overlaps something else at byte {offset}",
                        file.name(),
                        range.start
                    ))
                    .into());
                }
            }
            let mut block = 0;
            while block < self.blocks {
                let entries = self.entries_from(file, &pieces, block)?;
                if let Some(end) = entries.hole() {
                    block = end;
                    continue;
                }
                for (index, entry) in entries {
                    if let State::At(range) = self.state(file, index, entry)?
                        && let Some(offset) = claims.claim(&range)
                    {
                        let start = range.start;
                        let points = format!(
                            "points to byte {start}, but byte {offset} belongs to something else"
                        );
                        return Err(self.entry(file, index, points).into());
                    }
                    block = index.block + 1;
                }
            }
            Ok(())
        })
    }

    /// The entries from that of a block on, as far as one piece of the table goes: at least one,
    /// unless many blocks of zeros come first.
    pub(super) fn entries_from<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        pieces: &Pieces,
        block: u64,
    ) -> Result<Entries> {
        let entry = block + block / self.chunk;
        let look = match pieces.look(file, &self.table, entry * 8)? {
            // A large disk with little in it has a table of hundreds of MiB that says so.
            Look::Piece(piece) => match leading_zeros(piece.entries(entry * 8)) {
                0 => Look::Piece(piece),
                count => Look::Hole((entry + count) * 8),
            },
            hole @ Look::Hole(_) => hole,
        };
        Ok(Entries {
            look,
            entry,
            block,
            blocks: self.blocks,
            chunk: self.chunk,
            until_bitmap: self.chunk - block % self.chunk,
        })
    }

    fn entry<F: ReadAt + ?Sized>(&self, file: &F, index: Index, says: String) -> Finding {
        astray(format!(
            "entry {} of the block table of {}, at byte {}, {says}",
            index.entry,
            file.name(),
            self.table.start + index.entry * 8
        ))
    }

    pub(super) fn state<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        index: Index,
        entry: u64,
    ) -> Result<State, Finding> {
        match entry & 7 {
            // Not present, undefined, zero, unmapped. Undefined and unmapped blocks may read as
            // anything; 5 is what unmapped was in a draft of the format. QEMU does the same.
            // `may_not_be_zero` has to know what stands here.
            0..=3 | 5 => Ok(State::Zero),
            6 => {
                // The upper 44 bits count MiB, so they are the offset without more ado.
                let start = entry & !(MIB - 1);
                // The index is that of a block of the disk.
                let length = self.block.min(self.size - index.block * self.block);
                match start.checked_add(length) {
                    Some(end) if start >= MIB && end <= self.end => Ok(State::At(start..end)),
                    _ => {
                        let says = format!(
                            "points to byte {start}, from where {length} bytes must lie behind the \
                             headers and before the end of the file, byte {}",
                            self.end
                        );
                        let mut finding = self.entry(file, index, says);
                        if start >= MIB {
                            finding.kind = FindingKind::Truncated;
                        }
                        Err(finding)
                    }
                }
            }
            7 => Err(self.entry(
                file,
                index,
                "says that a part of the block is in the parent, and there is none".to_owned(),
            )),
            state => Err(self.entry(file, index, format!("has the unknown state {state}"))),
        }
    }
}

/// Which block, and which entry of the table is its.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    pub(super) block: u64,
    entry: u64,
}

/// Some entries of the table, those for bitmaps left out.
#[derive(Debug)]
pub(super) struct Entries {
    look: Look,
    entry: u64,
    block: u64,
    blocks: u64,
    chunk: u64,
    /// Entries before the next one that is for a bitmap.
    until_bitmap: u64,
}

/// Entries that are looked at together.
const GROUP: usize = 64;

/// How many of the first entries are of blocks that read as zeros, in whole groups.
fn leading_zeros(entries: &[[u8; 8]]) -> u64 {
    let groups = entries.chunks_exact(GROUP);
    let zeros = groups.take_while(|group| !may_not_be_zero(group));
    (zeros.count() * GROUP) as u64
}

/// Whether one of the entries has a state other than those that [`Layout::state`] takes for zeros:
/// 4, 6 or 7. One for a bitmap may have, and is left out by whoever looks closer. Without branches,
/// so that it is done for several entries at a time.
fn may_not_be_zero(entries: &[[u8; 8]]) -> bool {
    let found = entries.iter().fold(0, |found, entry| {
        let entry = u64::from_le_bytes(*entry);
        found | (entry >> 2) & (entry >> 1 | !entry)
    });
    found & 1 != 0
}

impl Entries {
    /// In a hole of the file, which is as good as entries of zeros, or where many of these are: the
    /// first block whose entry may be another.
    pub(super) fn hole(&self) -> Option<u64> {
        let Look::Hole(end) = self.look else {
            return None;
        };
        let (chunks, rest) = (end / 8 / (self.chunk + 1), end / 8 % (self.chunk + 1));
        let block = chunks * self.chunk + rest.min(self.chunk);
        Some(block.clamp(self.block + 1, self.blocks.max(self.block + 1)))
    }
}

impl Iterator for Entries {
    type Item = (Index, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let Look::Piece(piece) = &self.look else {
            return None;
        };
        if self.block >= self.blocks {
            return None;
        }
        let value = u64::from_le_bytes(*piece.entries(self.entry * 8).first()?);
        let index = Index {
            block: self.block,
            entry: self.entry,
        };
        self.block += 1;
        self.entry += 1;
        self.until_bitmap -= 1;
        if self.until_bitmap == 0 {
            self.entry += 1;
            self.until_bitmap = self.chunk;
        }
        Some((index, value))
    }
}

/// The program that made the file: up to 256 UTF-16 units behind the mark.
fn creator<F: ReadAt + ?Sized>(file: &F) -> Result<String> {
    let bytes: [u8; 512] = array_at(file, 8)?;
    let units = bytes
        .as_chunks()
        .0
        .iter()
        .map(|unit| u16::from_le_bytes(*unit));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Ok(String::from_utf16_lossy(&units)
        .chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_zeros_are_those_whose_states_all_read_as_zeros() {
        let with = |state: u64| {
            let mut entries = [(7 << 20 | 2u64).to_le_bytes(); 3 * GROUP + 5];
            entries[GROUP + 9] = (5 << 20 | state).to_le_bytes();
            leading_zeros(&entries)
        };
        for state in [0, 1, 2, 3, 5] {
            assert_eq!(with(state), 3 * GROUP as u64, "{state}");
        }
        for state in [4, 6, 7] {
            assert_eq!(with(state), GROUP as u64, "{state}");
        }
        assert_eq!(leading_zeros(&[[0; 8]; GROUP - 1]), 0);
    }
}
