//! Tables in a file, read in pieces as they are needed, a bounded number of which is kept.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::read_at::ReadAt;
use crate::{Error, ErrorKind, Result};

/// Bytes of a piece: one read, and thousands of entries.
const PIECE: u64 = 64 << 10;
/// Pieces that are kept, 2 MiB in all: enough for a reader per processor, each in a place of its
/// own, and for tables below tables.
const KEPT: usize = 32;

/// The pieces that were read last.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Offset in the file and content, the one used last at the end.
    kept: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

/// Some entries of a table.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Arc<[u8]>,
    /// Where in the table it begins, in bytes.
    start: u64,
}

impl Piece {
    /// The entry that begins so many bytes into the table, and those behind it in this piece.
    pub(super) fn entries<const N: usize>(&self, at: u64) -> &[[u8; N]] {
        let skip = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes
            .get(skip..)
            .map_or(&[], |rest| rest.as_chunks().0)
    }
}

/// What is at a place of a table in which zeros mean nothing.
#[derive(Debug)]
pub(super) enum Look {
    /// Zeros up to this byte of the table: the file has a hole, which needs no reading.
    Hole(u64),
    /// Entries.
    Piece(Piece),
}

impl Pieces {
    /// The piece of a table that holds the byte `at` of it. The table lies in the file; the size of
    /// its entries is a power of two, so no entry lies across two pieces.
    pub(super) fn get<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        table: &Range<u64>,
        at: u64,
    ) -> Result<Piece> {
        match self.kept(table, at) {
            Some(piece) => Ok(piece),
            None => self.read(file, table, at),
        }
    }

    /// The same for a table in which zeros mean nothing, so that its holes can be jumped over.
    pub(super) fn look<F: ReadAt + ?Sized>(
        &self,
        file: &F,
        table: &Range<u64>,
        at: u64,
    ) -> Result<Look> {
        // A piece that is kept comes first: asking for holes can take longer than reading.
        if let Some(piece) = self.kept(table, at) {
            return Ok(Look::Piece(piece));
        }
        let from = table.start.saturating_add(at);
        // Rounded down to 16 bytes, which the sizes of all entries divide.
        let data = match file.next_data(from, table.end)? {
            Some(data) => data.start.saturating_sub(table.start) / 16 * 16,
            None => table.end.saturating_sub(table.start),
        };
        if data > at {
            return Ok(Look::Hole(data));
        }
        self.read(file, table, at).map(Look::Piece)
    }

    /// A piece that was read before, if it still is there.
    fn kept(&self, table: &Range<u64>, at: u64) -> Option<Piece> {
        let (start, offset, length) = place(table, at);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Tables do not overlap, so an offset belongs to one table only; that a damaged image claims
        // otherwise costs another read.
        let found = kept
            .iter()
            .rposition(|(key, bytes)| *key == offset && bytes.len() as u64 == length)?;
        let entry = kept.remove(found)?;
        let bytes = Arc::clone(&entry.1);
        kept.push_back(entry);
        Some(Piece { bytes, start })
    }

    fn read<F: ReadAt + ?Sized>(&self, file: &F, table: &Range<u64>, at: u64) -> Result<Piece> {
        let (start, offset, length) = place(table, at);
        let mut bytes = self.buffer(length);
        match Arc::get_mut(&mut bytes) {
            Some(bytes) => file.read_exact_at(bytes, offset)?,
            // It has no other owner yet.
            None => return Err(Error::new(ErrorKind::Internal, "a new buffer is shared")),
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((offset, Arc::clone(&bytes)));
        Ok(Piece { bytes, start })
    }

    /// Room for a piece: that of the one used longest ago, if nobody reads it still, since to make
    /// room anew for each piece takes as long as reading it.
    fn buffer(&self, length: u64) -> Arc<[u8]> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT
            && let Some((_, mut oldest)) = kept.pop_front()
            && oldest.len() as u64 == length
            && Arc::get_mut(&mut oldest).is_some()
        {
            return oldest;
        }
        // PIECE at most.
        std::iter::repeat_n(0, length as usize).collect()
    }
}

/// Where a piece begins in its table and in the file, and how long it is.
fn place(table: &Range<u64>, at: u64) -> (u64, u64, u64) {
    let start = at / PIECE * PIECE;
    let offset = table.start.saturating_add(start);
    (start, offset, table.end.saturating_sub(offset).min(PIECE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_few_pieces_are_kept() {
        let bytes: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_be_bytes).collect();
        let pieces = Pieces::default();
        let table = 400..bytes.len() as u64 - 4;
        for index in [0, 1, 16_383, 16_384, 2_999_898, 5, 1_000_000] {
            let piece = pieces.get(&bytes, &table, index * 4).unwrap();
            let entry = piece.entries::<4>(index * 4)[0];
            assert_eq!(u64::from(u32::from_be_bytes(entry)), index + 100);
        }
        // The last piece ends with the table.
        let last = pieces.get(&bytes, &table, 2_999_898 * 4).unwrap();
        assert_eq!(last.entries::<4>(2_999_898 * 4).len(), 1);
        for at in (0..11 << 20).step_by(64 << 10) {
            pieces.get(&bytes, &table, at).unwrap();
        }
        assert_eq!(pieces.kept.lock().unwrap().len(), KEPT);
    }
}
