//! Whether the tables of a qcow2 image lead to where something can be.
//!
//! Tables belong to one owner each. Two entries may share a cluster, as the format counts
//! references; but one that is marked as referred to once is nobody else's.

use std::ops::Range;

use super::header::Layout;
use super::tables::{COPIED, Entry, OFFSET, State};
use crate::disk::claims::Claims;
use crate::disk::fault::{Fault, astray};
use crate::disk::read_at::ReadAt;
use crate::disk::table::{Look, Pieces};

/// What is come across on a walk over the tables.
enum Seen<'a> {
    /// A level 2 table, at these bytes of the file.
    Table(&'a Range<u64>),
    /// An entry of it.
    Entry(Entry),
}

impl Layout {
    /// Looks at each entry of all tables.
    pub(in crate::disk) fn check<F: ReadAt + ?Sized>(&self, file: &F) -> Result<(), Fault> {
        let pieces = Pieces::default();
        Claims::check(self.cluster, |claims| {
            for (what, range) in [
                ("header", &(0..self.cluster)),
                ("level 1 table", &self.l1),
                ("table of reference counts", &self.refcounts),
            ] {
                if let Some(offset) = claims.claim(range) {
                    return Err(astray(format!(
                        "the {what} of {} at byte {} overlaps something else at byte {offset}",
                        file.name(),
                        range.start
                    ))
                    .into());
                }
            }
            self.claim_refcounts(file, &pieces, claims)?;
            self.walk(file, &pieces, |seen| match seen {
                Seen::Table(table) => self.exclusive(file, claims, table.start, table),
                Seen::Entry(_) => Ok(()),
            })?;
            // Those that are nobody else's first, then whether others lie on top of them.
            self.walk(file, &pieces, |seen| {
                let Seen::Entry(entry) = seen else {
                    return Ok(());
                };
                match self.stored(file, entry)? {
                    Some(range) if entry.word & COPIED != 0 => {
                        self.exclusive(file, claims, entry.place, &range)
                    }
                    _ => Ok(()),
                }
            })?;
            self.walk(file, &pieces, |seen| {
                let Seen::Entry(entry) = seen else {
                    return Ok(());
                };
                match self.stored(file, entry)? {
                    Some(range) if entry.word & COPIED == 0 => match claims.owned(&range) {
                        Some(offset) => Err(self.shared(file, entry.place, &range, offset)),
                        None => Ok(()),
                    },
                    _ => Ok(()),
                }
            })
        })
    }

    /// The bytes of the file that belong to a cluster of the disk.
    fn stored<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        entry: Entry,
    ) -> Result<Option<Range<u64>>, Fault> {
        let units = self.cluster / self.unit;
        let mut found = None;
        for number in 0..units {
            match self.state(file, entry, number)? {
                State::Packed { start, length } => return Ok(Some(start..start + length)),
                State::At(at) => found = Some(at),
                State::Zero | State::Absent => {}
            }
        }
        // A cluster that is zeros can have a place all the same, which is not read.
        Ok(found.map(|_| {
            let start = entry.word & OFFSET;
            start..start.saturating_add(self.cluster).min(self.end)
        }))
    }

    fn exclusive<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        claims: &mut Claims,
        place: u64,
        range: &Range<u64>,
    ) -> Result<(), Fault> {
        match claims.claim(range) {
            Some(offset) => Err(self.shared(file, place, range, offset)),
            None => Ok(()),
        }
    }

    fn shared<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        place: u64,
        range: &Range<u64>,
        offset: u64,
    ) -> Fault {
        let what = format!(
            "leads to byte {}, but byte {offset} belongs to something else",
            range.start
        );
        self.wrong(file, place, "level 1 or 2", what).into()
    }

    fn claim_refcounts<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        pieces: &Pieces,
        claims: &mut Claims,
    ) -> Result<(), Fault> {
        let length = self.refcounts.end - self.refcounts.start;
        let mut at = 0;
        while at + 8 <= length {
            let piece = match pieces.look(file, &self.refcounts, at)? {
                Look::Hole(end) => {
                    at = end.max(at + 8);
                    continue;
                }
                Look::Piece(piece) => piece,
            };
            for entry in piece.entries::<8>(at) {
                let start = u64::from_be_bytes(*entry) & !0x1ff;
                // Nothing is read by it; one beyond the end lies on nothing.
                let block = start..start.saturating_add(self.cluster).min(self.end);
                if start != 0 && start < self.end {
                    self.exclusive(file, claims, self.refcounts.start + at, &block)?;
                }
                at += 8;
            }
        }
        Ok(())
    }

    /// Calls `look` with each level 2 table, and then with each of its entries that is not empty.
    fn walk<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        pieces: &Pieces,
        mut look: impl FnMut(Seen<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut at = 0;
        while at < self.size {
            let table = match self.table_at(file, pieces, at)? {
                Ok(table) => table,
                Err(end) => {
                    at = end;
                    continue;
                }
            };
            look(Seen::Table(&table.range))?;
            while at < table.covers.end {
                let entries = self.entries_from(file, pieces, &table, at)?;
                if let Some(end) = entries.hole() {
                    at = end;
                    continue;
                }
                for entry in entries {
                    if entry.word != 0 || entry.bitmap != 0 {
                        look(Seen::Entry(entry))?;
                    }
                    at = entry.cluster + self.cluster;
                }
            }
            at = table.covers.end;
        }
        Ok(())
    }
}
