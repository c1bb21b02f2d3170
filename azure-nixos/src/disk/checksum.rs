//! A checksum of a whole disk that is summed up from its pieces, whoever cuts them and in whatever order
//! they come.
//!
//! It is CRC-64/NVME of the disk as Azure holds it: the content, and the zeros that fill it up. A CRC
//! is linear. Without its initial and its final value, that of a disk is the sum (which is XOR) of those of
//! its pieces, each multiplied by x to the number of bits behind it, modulo the polynomial; a piece of
//! zeros adds nothing; and the initial and the final value depend on the size alone. So a hole costs
//! nothing, two threads need no order between them, and a piece whose CRC is known, because it is sent
//! along with it, is not read again. Any tool for this CRC, on the whole disk, comes to the same number.
//!
//! It is no proof against somebody who wants two disks to have the same: for that there is
//! [`content_identity`](super::content_identity).

use std::ops::Range;

use super::limits::padded_size;
use super::pieces;
use super::source::DiskSource;
use super::zero::is_zero;
use crate::Result;

/// The polynomial, but for x^64, with the coefficient of x^63 in the lowest bit.
///
/// Source: the NVM Express specification, 64-bit CRC.
const POLYNOMIAL: u64 = 0x9a6c_9329_ac4b_c9b5;
/// 1 as a polynomial, in the same order of bits.
const ONE: u64 = 1 << 63;
/// What a CRC begins with, and what is added to it at its end.
const FRAME: u64 = u64::MAX;
/// Bits of a distance that one multiplication moves by.
const DIGIT: u32 = 4;
/// x to the bits of so many bytes: in row r for 1 to 15 times 16^r bytes. All rows reach as far as 64 bits do.
static POWERS: [[u64; 15]; 16] = powers();

/// CRC-64/NVME of these bytes, which is what Azure compares for `x-ms-content-crc64`.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

/// The product of two polynomials, modulo the one of the CRC.
const fn multiply(a: u64, mut b: u64) -> u64 {
    let mut product = 0;
    let mut bit = u64::BITS;
    while bit > 0 {
        bit -= 1;
        // All ones or all zeros: no branch, which half of the time would be guessed wrong.
        product ^= b & (a >> bit & 1).wrapping_neg();
        b = b >> 1 ^ POLYNOMIAL & (b & 1).wrapping_neg();
    }
    product
}

const fn powers() -> [[u64; 15]; 16] {
    let mut powers = [[0; 15]; 16];
    // x^8.
    let mut base = ONE >> 8;
    let mut row = 0;
    while row < powers.len() {
        let mut power = base;
        let mut times = 0;
        while times < powers[row].len() {
            powers[row][times] = power;
            power = multiply(power, base);
            times += 1;
        }
        base = power;
        row += 1;
    }
    powers
}

/// What becomes of the state of a CRC by so many bytes of zeros behind it. At most 16 multiplications of
/// some 0.1 µs.
fn shift(mut state: u64, mut bytes: u64) -> u64 {
    for row in &POWERS {
        if bytes == 0 {
            break;
        }
        // Below 16.
        let digit = (bytes % (1 << DIGIT)) as usize;
        if digit > 0 {
            state = multiply(state, row[digit - 1]);
        }
        bytes >>= DIGIT;
    }
    state
}

/// The checksum of a disk some pieces of which were seen. What was not seen is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskChecksum {
    size: u64,
    sum: u64,
}

impl DiskChecksum {
    /// That of a disk of so many bytes, in which nothing was seen yet.
    pub(crate) fn new(size: u64) -> Self {
        Self { size, sum: 0 }
    }

    /// Adds a piece. No byte may be in two, and none beyond the end.
    pub(crate) fn add(&mut self, offset: u64, bytes: &[u8]) {
        self.add_known(offset..offset + bytes.len() as u64, crc64(bytes));
    }

    /// Adds a piece whose [`crc64`] is known.
    pub(crate) fn add_known(&mut self, range: Range<u64>, crc: u64) {
        debug_assert!(range.start <= range.end && range.end <= self.size);
        let bare = crc ^ FRAME ^ shift(FRAME, range.end - range.start);
        self.sum ^= shift(bare, self.size - range.end);
    }

    /// Adds what another has seen of the same disk.
    pub(crate) fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.size, other.size);
        self.sum ^= other.sum;
    }

    /// CRC-64/NVME of all bytes of the disk.
    pub(crate) fn finish(&self) -> u64 {
        self.sum ^ shift(FRAME, self.size) ^ FRAME
    }
}

/// The checksum of a disk as Azure holds it: CRC-64/NVME of its content and of the zeros that fill it up
/// to [`padded_size`].
///
/// A VHD's footer that is made here follows from it. The same disk has the same, whatever holds it, and any
/// tool for this CRC comes to it as well: it is that of a fixed VHD without its last 512 bytes. It is no
/// proof against somebody who wants two disks to have the same;
/// [`content_identity`](super::content_identity) is.
///
/// The cost follows the data and not the size. Pieces are read on as many threads as there are processors,
/// 4 MiB of memory each.
///
/// ```
/// use azure_nixos::disk::{MemoryImage, content_checksum};
///
/// let mut disk = MemoryImage::new(64 << 20)?;
/// disk.write(1 << 20, b"hello")?;
/// let mut same = disk.clone();
/// same.write(2 << 20, &[0; 4096])?;
/// assert_eq!(content_checksum(&disk)?, content_checksum(&same)?);
/// # Ok::<(), azure_nixos::Error>(())
/// ```
///
/// # Errors
/// When the source cannot be read.
pub fn content_checksum<S: DiskSource + ?Sized>(source: &S) -> Result<u64> {
    let padded = padded_size(source.virtual_size());
    let mut whole = DiskChecksum::new(padded);
    pieces::visit(
        source,
        |number, bytes, _| {
            let mut piece = DiskChecksum::new(padded);
            if !is_zero(bytes) {
                piece.add(number * pieces::PIECE as u64, bytes);
            }
            Ok(piece)
        },
        |_, piece| whole.merge(&piece),
    )?;
    Ok(whole.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use crc_fast::{CrcAlgorithm, checksum_combine};
    use proptest::prelude::*;

    use super::*;
    use crate::disk::MemoryImage;
    use crate::disk::limits::{MAX_DISK, MIB, MIN_DISK};

    #[test]
    fn it_is_the_one_of_the_service() {
        // The check value of CRC-64/NVME.
        assert_eq!(crc64(b"123456789"), 0xae8b_1486_0a79_9888);
        let mut whole = DiskChecksum::new(9);
        for at in [7, 2, 0, 4, 8, 1, 6, 3, 5] {
            whole.add(at, &b"123456789"[at as usize..][..1]);
        }
        assert_eq!(whole.finish(), 0xae8b_1486_0a79_9888);
    }

    /// The CRC of 2^n zeros, by doubling.
    static ZEROS: LazyLock<[u64; 48]> = LazyLock::new(|| {
        let mut all = [crc64(&[0]); 48];
        for bit in 1..all.len() {
            let half = all[bit - 1];
            all[bit] = checksum_combine(CrcAlgorithm::Crc64Nvme, half, half, 1 << (bit - 1));
        }
        all
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_cuts_in_any_order_are_the_whole(
            writes in prop::collection::vec((0usize..60_000, prop::collection::vec(any::<u8>(), 1..3000)), 0..8),
            cuts in prop::collection::btree_set(0usize..=64_000, 0..20),
            order in prop::collection::vec(any::<u64>(), 22),
            of in prop::collection::vec(any::<bool>(), 22),
        ) {
            let mut disk = vec![0u8; 64_000];
            for (at, bytes) in &writes {
                disk[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            let ends: BTreeSet<usize> = cuts.into_iter().chain([0, disk.len()]).collect();
            let ends: Vec<usize> = ends.into_iter().collect();
            let mut pieces: Vec<_> = ends.windows(2).map(|ends| ends[0]..ends[1]).collect();
            pieces.sort_by_key(|piece| order[piece.start % order.len()]);
            let mut sums = [DiskChecksum::new(disk.len() as u64); 2];
            for (number, piece) in pieces.into_iter().enumerate() {
                let bytes = &disk[piece.clone()];
                // Zeros may be seen or not.
                if !is_zero(bytes) || order[number].is_multiple_of(2) {
                    sums[usize::from(of[number])].add(piece.start as u64, bytes);
                }
            }
            let [mut whole, other] = sums;
            whole.merge(&other);
            prop_assert_eq!(whole.finish(), crc64(&disk));
        }

        /// The reference is another's way to put CRCs together: matrices, and no powers.
        #[test]
        fn distances_of_every_disk_are_right(
            before in prop_oneof![0..=MAX_DISK, Just(0)],
            behind in prop_oneof![0..=MAX_DISK, Just(0), Just(1 << 44)],
            bytes in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let zeros = |length: u64| {
                (0..48).filter(|bit| length >> bit & 1 == 1).fold(crc64(&[]), |all, bit| {
                    checksum_combine(CrcAlgorithm::Crc64Nvme, all, ZEROS[bit], 1 << bit)
                })
            };
            let length = bytes.len() as u64;
            let crc = CrcAlgorithm::Crc64Nvme;
            let expected = checksum_combine(crc, zeros(before), crc64(&bytes), length);
            let expected = checksum_combine(crc, expected, zeros(behind), behind);
            let mut disk = DiskChecksum::new(before + length + behind);
            disk.add(before, &bytes);
            prop_assert_eq!(disk.finish(), expected);
        }
    }

    #[test]
    fn holes_stored_zeros_and_what_fills_a_disk_up_are_alike() {
        let size = 21 * MIB + 512;
        let mut sparse = MemoryImage::new(size).unwrap();
        sparse.write(3, b"start").unwrap();
        sparse.write(4 * MIB - 2, b"over the edge").unwrap();
        sparse.write(size - 1, b"!").unwrap();
        let mut filled = sparse.clone();
        filled.write(8 * MIB, &vec![0; 5 << 20]).unwrap();
        let mut whole = vec![0; size as usize];
        sparse.read_exact_at(&mut whole, 0).unwrap();
        whole.resize(22 << 20, 0);
        let expected = crc64(&whole);
        assert_eq!(content_checksum(&sparse).unwrap(), expected);
        assert_eq!(content_checksum(&filled).unwrap(), expected);
        filled.write(9 * MIB, &[1]).unwrap();
        assert_ne!(content_checksum(&filled).unwrap(), expected);

        let empty = MemoryImage::new(512).unwrap();
        let zeros = vec![0; MIN_DISK as usize];
        assert_eq!(content_checksum(&empty).unwrap(), crc64(&zeros));
    }
}
