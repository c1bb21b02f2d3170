//! Names for content: equal for equal disks, whatever holds them.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::digest;
use super::pieces;
use super::source::{DiskSource, Stored};
use super::watch::Watch;
use crate::Result;

/// The name of a disk's content, `sha256:` and 64 hexadecimal digits.
///
/// It is SHA-256 over the size (64 bits, little-endian) and then, for each 4 MiB piece of the disk
/// that is not all zeros, its number (64 bits, little-endian) and the SHA-256 of its content. A
/// piece of zeros adds nothing: whether zeros are stored or are a hole makes no difference, and
/// neither does the format around the content. The cost follows the data, not the size: a sparse
/// disk of 32 TiB costs as much as its data.
///
/// Pieces are read and hashed on as many threads as there are processors, 2 MiB of memory each.
///
/// # Errors
/// When the source cannot be read.
pub fn content_identity<S: DiskSource + ?Sized>(source: &S) -> Result<String> {
    watched_identity(source, &Watch::default())
}

/// The same for somebody who waits.
pub(crate) fn watched_identity<S: DiskSource + ?Sized>(
    source: &S,
    watch: &Watch,
) -> Result<String> {
    watch.begin(source.virtual_size());
    let mut name = ContentName::new(source.virtual_size());
    pieces::each(
        source,
        digest::how(),
        |pieces, buffer| {
            buffer.resize(digest::BUFFER, 0);
            digest::read(source, pieces, buffer, |at| watch.reached(at))
        },
        |number, digest| {
            if let Some(digest) = digest {
                name.add(number, digest);
            }
        },
    )?;
    Ok(name.finish())
}

/// The name of a content whose pieces are seen one after the other, for whoever reads them anyway.
#[derive(Debug)]
pub(super) struct ContentName(Sha256);

impl ContentName {
    pub(super) fn new(virtual_size: u64) -> Self {
        let mut whole = Sha256::new();
        whole.update(virtual_size.to_le_bytes());
        Self(whole)
    }

    /// The digest of a piece.
    pub(super) fn digest(piece: &[u8]) -> PieceDigest {
        PieceDigest(Sha256::digest(piece).into())
    }

    /// Adds a piece that is not all zeros. Their numbers must rise.
    pub(super) fn add(&mut self, number: u64, digest: PieceDigest) {
        self.0.update(number.to_le_bytes());
        self.0.update(digest.0);
    }

    pub(super) fn finish(self) -> String {
        format!("sha256:{:x}", self.0.finalize())
    }
}

/// SHA-256 of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceDigest(pub(super) [u8; 32]);

/// A source whose identity is known without reading it.
///
/// ```
/// use azure_nixos::disk::{DiskSource, Identified, MemoryImage};
///
/// let disk = MemoryImage::new(64 << 20)?;
/// let disk = Identified::new(disk, "/nix/store/…-nixos-image-25.05");
/// assert_eq!(disk.identity()?, "/nix/store/…-nixos-image-25.05");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Identified<S> {
    source: S,
    identity: String,
}

impl<S: DiskSource> Identified<S> {
    /// The caller vouches that equal identities mean equal content.
    pub fn new(source: S, identity: impl Into<String>) -> Self {
        Self {
            source,
            identity: identity.into(),
        }
    }

    /// The source itself.
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: DiskSource> DiskSource for Identified<S> {
    fn virtual_size(&self) -> u64 {
        self.source.virtual_size()
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        self.source.next_extent(from)
    }

    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        self.source.stored_at(offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.source.read_exact_at(buffer, offset)
    }

    fn known_identity(&self) -> Option<String> {
        Some(self.identity.clone())
    }

    fn is_sequential(&self) -> bool {
        self.source.is_sequential()
    }

    fn footer(&self) -> Result<Option<[u8; 512]>> {
        self.source.footer()
    }

    fn fingerprint(&self) -> Result<String> {
        self.source.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryImage;
    use proptest::prelude::*;

    #[test]
    fn the_name_is_what_the_documentation_says() {
        let mut disk = MemoryImage::new((12 << 20) + 512).unwrap();
        disk.write((4 << 20) + 5, b"five").unwrap();
        disk.write(12 << 20, &[9; 512]).unwrap();
        let mut piece = vec![0; 4 << 20];
        piece[5..9].copy_from_slice(b"five");
        let mut whole = Sha256::new();
        whole.update(((12u64 << 20) + 512).to_le_bytes());
        whole.update(1u64.to_le_bytes());
        whole.update(Sha256::digest(&piece));
        whole.update(3u64.to_le_bytes());
        whole.update(Sha256::digest([9; 512]));
        assert_eq!(
            content_identity(&disk).unwrap(),
            format!("sha256:{:x}", whole.finalize())
        );
    }

    #[test]
    fn a_sparse_disk_of_the_largest_size_costs_only_its_data() {
        let size = crate::disk::limits::MAX_DISK;
        let mut disk = MemoryImage::new(size).unwrap();
        for part in 0..16 {
            disk.write(part * (size / 16 / 512 * 512), &[3; 4096])
                .unwrap();
        }
        // Tens of milliseconds of hashing; a disk read through its holes would take hours.
        assert!(disk.identity().unwrap().starts_with("sha256:"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn stored_zeros_and_holes_have_one_name_and_a_changed_bit_another(
            writes in prop::collection::vec((0u64..12 << 20, prop::collection::vec(any::<u8>(), 1..3000)), 0..12),
            zeros in prop::collection::vec((0u64..12 << 20, 1usize..6 << 20), 0..4),
            flip in 0u64..12 << 20,
        ) {
            let size = 13 << 20;
            let (mut sparse, mut filled) = (MemoryImage::new(size).unwrap(), MemoryImage::new(size).unwrap());
            for (at, length) in zeros {
                let length = length.min((size - at) as usize);
                filled.write(at, &vec![0; length]).unwrap();
            }
            for (at, bytes) in &writes {
                sparse.write(*at, bytes).unwrap();
                filled.write(*at, bytes).unwrap();
            }
            let name = sparse.identity().unwrap();
            prop_assert_eq!(&name, &filled.identity().unwrap());
            let mut byte = [0];
            filled.read_exact_at(&mut byte, flip).unwrap();
            filled.write(flip, &[byte[0] ^ 0x10]).unwrap();
            prop_assert_ne!(&name, &filled.identity().unwrap());
        }
    }

    #[test]
    fn the_size_is_part_of_the_name() {
        let empty = |size| MemoryImage::new(size).unwrap().identity().unwrap();
        assert_ne!(empty(512), empty(1024));
    }
}
