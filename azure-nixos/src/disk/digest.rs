//! Pieces of a disk, read side by side in small parts and hashed on the way.

use std::ops::Range;

use super::identity::PieceDigest;
use super::pieces::{self, How};
use super::sha::Sha;
use super::source::{DiskSource, read_sparse};
use super::zero::is_zero;
use crate::Result;

/// Bytes of a part: few enough for those of a few threads to stay in the processor's caches from one use
/// to the next, and enough for a disk to be read at its full speed.
const PART: usize = 1 << 20;
/// Pieces that are hashed at a time.
const LANES: usize = 2;
/// Bytes that are read into.
pub(super) const BUFFER: usize = LANES * PART;

/// How pieces are handed out for this.
pub(super) fn how() -> How {
    How {
        threads: pieces::processors(),
        at_once: LANES,
    }
}

/// Reads pieces, two at most, into a buffer of [`BUFFER`] bytes; says of each part where on the disk it is,
/// before it is hashed; and gives back the digests. A piece that is all zeros has none.
pub(super) fn read<S: DiskSource + ?Sized>(
    source: &S,
    pieces: &[Range<u64>],
    buffer: &mut [u8],
    reached: impl Fn(u64) -> Result<()>,
) -> Result<[Option<PieceDigest>; LANES]> {
    let mut lanes = [Lane::default(), Lane::default()];
    let length = |piece: &Range<u64>| piece.end - piece.start;
    let longest = pieces.iter().map(length).max().unwrap_or(0);
    for from in (0..longest).step_by(PART) {
        let mut parts: [&[u8]; LANES] = [&[]; LANES];
        let rooms = buffer.chunks_mut(PART);
        for ((part, piece), room) in parts.iter_mut().zip(pieces).zip(rooms) {
            // A part at most.
            let length = length(piece).saturating_sub(from).min(PART as u64) as usize;
            let room = &mut room[..length];
            if length == 0 {
                continue;
            }
            reached(piece.start + from)?;
            read_sparse(source, room, piece.start + from)?;
            *part = room;
        }
        Lane::add_both(&mut lanes, parts);
    }
    Ok(lanes.map(Lane::finish))
}

/// The digest of a piece that is seen in parts, one behind the other.
#[derive(Debug, Default)]
struct Lane {
    sha: Sha,
    /// Zeros that are not hashed yet: where nothing else comes, they need not be.
    zeros: usize,
    has_data: bool,
}

impl Lane {
    fn add_both(both: &mut [Self; LANES], parts: [&[u8]; LANES]) {
        let mut data: [&[u8]; LANES] = [&[]; LANES];
        for ((lane, part), data) in both.iter_mut().zip(parts).zip(&mut data) {
            if is_zero(part) {
                lane.zeros += part.len();
            } else {
                lane.catch_up();
                lane.has_data = true;
                *data = part;
            }
        }
        let [one, other] = both;
        Sha::update_both([&mut one.sha, &mut other.sha], data);
    }

    /// The digest; `None` when all of it is zeros and adds nothing to the name of the disk.
    fn finish(mut self) -> Option<PieceDigest> {
        self.has_data.then(|| {
            self.catch_up();
            PieceDigest(self.sha.finish())
        })
    }

    fn catch_up(&mut self) {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.zeros > 0 {
            let some = self.zeros.min(ZEROS.len());
            self.sha.update(&ZEROS[..some]);
            self.zeros -= some;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryImage;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn pieces_in_parts_have_the_digests_of_the_whole() {
        let part = PART as u64;
        let size = 7 * part + 512;
        // Data at the edges of parts, with parts of zeros before, between and behind.
        for places in [
            &[][..],
            &[0],
            &[part - 1],
            &[part, 5 * part],
            &[3 * part + 7, 6 * part, 7 * part + 511],
            &[0, 2 * part, 4 * part, 7 * part],
        ] {
            let mut disk = MemoryImage::new(size).unwrap();
            for place in places {
                disk.write(*place, &[5]).unwrap();
            }
            let mut whole = vec![0; size as usize];
            disk.read_exact_at(&mut whole, 0).unwrap();
            let pieces = [0..4 * part, 4 * part..size];
            for pieces in [&pieces[..], &pieces[..1], &pieces[1..]] {
                let mut buffer = vec![9; BUFFER];
                let digests = read(&disk, pieces, &mut buffer, |_| Ok(())).unwrap();
                for (piece, digest) in pieces.iter().zip(digests) {
                    let range = piece.start as usize..piece.end as usize;
                    let bytes = &whole[range];
                    let expected =
                        (!is_zero(bytes)).then(|| PieceDigest(Sha256::digest(bytes).into()));
                    assert_eq!(digest, expected, "{places:?}, {piece:?}");
                }
            }
        }
    }
}
