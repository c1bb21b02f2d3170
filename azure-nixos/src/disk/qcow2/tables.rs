//! The two levels of tables: where each piece of the disk is.

use std::ops::Range;

use super::header::Layout;
use crate::Result;
use crate::disk::fault::{ONLY_FIXED, truncated};
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::read_at::ReadAt;
use crate::disk::table::{Look, Pieces};

/// Bits 9 to 55 of an entry: an offset in the file.
pub(super) const OFFSET: u64 = ((1 << 56) - 1) & !0x1ff;
/// The reference count of what the entry points to is exactly one.
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros; version 3 only, and not with subclusters.
const ZERO: u64 = 1;

/// Where a cluster or subcluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In the backing file, if there is one.
    Absent,
    Zero,
    /// At this byte of the file.
    At(u64),
    /// Its whole cluster is compressed, in these bytes of the file.
    Packed {
        start: u64,
        length: u64,
    },
}

/// A level 2 table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Where in the file it is.
    pub(super) range: Range<u64>,
    /// What on the disk it is for.
    pub(super) covers: Range<u64>,
}

/// An entry of a level 2 table: the second word is that of the subclusters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) word: u64,
    pub(super) bitmap: u64,
    /// The byte of the disk at which its cluster begins.
    pub(super) cluster: u64,
    /// The byte of the file at which the entry itself is.
    pub(super) place: u64,
}

/// Some entries of a level 2 table.
#[derive(Debug)]
pub(super) struct Entries {
    look: Look,
    /// Bytes of an entry.
    size: u64,
    /// Where in the table the next one is, and where in the file the table is.
    at: u64,
    place: u64,
    cluster: u64,
    /// The byte of the disk that the next one is for, and the end of what the table is for.
    next: u64,
    end: u64,
}

impl Entries {
    /// In a hole of the file, where all entries are zeros: the byte of the disk up to which they are.
    pub(super) fn hole(&self) -> Option<u64> {
        let Look::Hole(end) = self.look else {
            return None;
        };
        // Holes end between two entries, or with the table.
        let count = (end.saturating_sub(self.at) / self.size).max(1);
        // No more entries than a table has.
        Some((self.next + count * self.cluster).min(self.end))
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.next >= self.end {
            return None;
        }
        let Look::Piece(piece) = &self.look else {
            return None;
        };
        let mut words = piece.entries::<8>(self.at).iter();
        let mut read = || words.next().map(|word| u64::from_be_bytes(*word));
        let word = read()?;
        let bitmap = if self.size == 16 { read()? } else { 0 };
        let entry = Entry {
            word,
            bitmap,
            cluster: self.next,
            place: self.place + self.at,
        };
        self.at += self.size;
        self.next += self.cluster;
        Some(entry)
    }
}

impl Layout {
    /// The level 2 table for a byte of the disk, or the byte up to which there is none.
    pub(super) fn table_at<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        pieces: &Pieces,
        offset: u64,
    ) -> Result<Result<Table, u64>> {
        let span = self.span();
        let index = offset / span;
        // The level 1 table has no more entries than the disk needs, and the disk 2^56 bytes.
        let end_of = |index: u64| index.saturating_mul(span).min(self.size);
        let piece = match pieces.look(file, &self.l1, index * 8)? {
            Look::Hole(end) => return Ok(Err(end_of((end / 8).max(index + 1)))),
            Look::Piece(piece) => piece,
        };
        let entries = piece.entries::<8>(index * 8);
        let absent = entries.iter().take_while(|entry| **entry == [0; 8]).count();
        if absent > 0 || entries.is_empty() {
            return Ok(Err(end_of(index + absent.max(1) as u64)));
        }
        // There is a first one.
        let entry = entries
            .first()
            .map_or(0, |entry| u64::from_be_bytes(*entry));
        let start = entry & OFFSET;
        let place = self.l1.start + index * 8;
        if entry & !(OFFSET | COPIED) != 0 || start == 0 || !start.is_multiple_of(self.cluster) {
            return Err(self
                .wrong(
                    file,
                    place,
                    "level 1",
                    format!("has the impossible value {entry:#018x}"),
                )
                .into());
        }
        // A sum of 56 and 21 bits.
        if start + self.cluster > self.end {
            return Err(self
                .cut_off(file, place, "level 1", start, self.cluster)
                .into());
        }
        Ok(Ok(Table {
            range: start..start + self.cluster,
            covers: end_of(index)..end_of(index + 1),
        }))
    }

    /// The units of the disk from `first` on, where one begins, with their states: as far as the
    /// entries go, which begin with that of its cluster.
    pub(super) fn units<'a, F: ReadAt + ?Sized>(
        &'a self,
        file: &'a F,
        entries: Entries,
        first: u64,
    ) -> impl Iterator<Item = (u64, Result<State>)> + use<'a, F> {
        let end = entries.end;
        let units = self.cluster / self.unit;
        let mut skip = first % self.cluster / self.unit;
        entries
            .flat_map(move |entry| {
                let from = std::mem::take(&mut skip);
                (from..units).map(move |number| {
                    let at = entry.cluster + number * self.unit;
                    (at, self.state(file, entry, number).map_err(Into::into))
                })
            })
            .take_while(move |(at, _)| *at < end)
    }

    /// The entries of a level 2 table from that of a byte of the disk on, as far as one piece goes:
    /// at least one, unless they lie in a hole.
    pub(super) fn entries_from<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        pieces: &Pieces,
        table: &Table,
        offset: u64,
    ) -> Result<Entries> {
        let size = self.entry();
        let index = (offset - table.covers.start) / self.cluster;
        Ok(Entries {
            look: pieces.look(file, &table.range, index * size)?,
            size,
            at: index * size,
            place: table.range.start,
            cluster: self.cluster,
            next: table.covers.start + index * self.cluster,
            end: table.covers.end,
        })
    }

    /// The state of a subcluster, or of the only one that a cluster has.
    pub(super) fn state<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        entry: Entry,
        number: u64,
    ) -> Result<State, Finding> {
        let word = entry.word;
        if word & COMPRESSED != 0 {
            return self.packed(file, entry);
        }
        let subclusters = self.unit != self.cluster;
        let wrong = || {
            let what = if subclusters {
                format!(
                    "has the impossible value {word:#018x} {:#018x}",
                    entry.bitmap
                )
            } else {
                format!("has the impossible value {word:#018x}")
            };
            self.wrong(file, entry.place, "level 2", what)
        };
        let start = word & OFFSET;
        let flags = if self.version == 3 && !subclusters {
            ZERO | COPIED
        } else {
            COPIED
        };
        if word & !(OFFSET | flags) != 0 || !start.is_multiple_of(self.cluster) {
            return Err(wrong());
        }
        let (stored, zero) = if subclusters {
            // Which subclusters are stored, and which are zeros.
            let (stored, zeros) = (entry.bitmap as u32, (entry.bitmap >> 32) as u32);
            if stored & zeros != 0 || (start == 0 && stored != 0) {
                return Err(wrong());
            }
            (stored >> number & 1 == 1, zeros >> number & 1 == 1)
        } else {
            let zero = word & ZERO != 0;
            (start != 0 && !zero, zero)
        };
        if zero {
            return Ok(State::Zero);
        }
        if !stored {
            return Ok(State::Absent);
        }
        // Of 56 and 21 bits. The last one counts as far as the disk reaches.
        let (at, on_disk) = (
            start + number * self.unit,
            entry.cluster + number * self.unit,
        );
        let length = self.unit.min(self.size.saturating_sub(on_disk));
        if at + length > self.end {
            return Err(self.cut_off(file, entry.place, "level 2", at, length));
        }
        Ok(State::At(at))
    }

    fn packed<F: ReadAt + ?Sized>(&self, file: &F, entry: Entry) -> Result<State, Finding> {
        if entry.word & COPIED != 0 {
            let what = format!("has the impossible value {:#018x}", entry.word);
            return Err(self.wrong(file, entry.place, "level 2", what));
        }
        // The lower bits are the offset, those above count the sectors behind the first.
        let bits = 62 - (self.cluster.trailing_zeros() - 8);
        let word = entry.word & !(COMPRESSED | COPIED);
        let (start, sectors) = (word & ((1 << bits) - 1), (word >> bits) + 1);
        let Some(there) = self.end.checked_sub(start).filter(|there| *there > 0) else {
            return Err(self.cut_off(file, entry.place, "level 2", start, 1));
        };
        // It counts whole sectors, and the file may end within the last. At most two clusters.
        let length = (sectors * 512 - start % 512).min(there);
        Ok(State::Packed { start, length })
    }

    pub(super) fn wrong<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        place: u64,
        level: &str,
        what: String,
    ) -> Finding {
        Finding::problem(
            FindingKind::DamagedTable,
            format!(
                "an entry of a {level} table of {}, at byte {place}, {what}",
                file.name()
            ),
            "`qemu-img check FILE` says what else is wrong; build or fetch the image again",
        )
        .azure(ONLY_FIXED)
    }

    fn cut_off<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        place: u64,
        level: &str,
        start: u64,
        length: u64,
    ) -> Finding {
        truncated(format!(
            "an entry of a {level} table of {}, at byte {place}, points to byte {start}, from where \
             {length} bytes do not end before the file, at byte {}",
            file.name(),
            self.end
        ))
    }
}
