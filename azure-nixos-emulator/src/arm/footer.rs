//! The footer of a disk that was created here and not uploaded, so that reading it gives a VHD.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use uuid::Uuid;

/// Writes the footer of a fixed VHD after `size` bytes of content.
pub(crate) fn write(file: &Path, size: u64, unique_id: Uuid) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all_at(&footer(size, unique_id), size)
}

/// Offsets and values are those of the VHD specification; numbers are big-endian. The geometry is
/// the largest there is, which says that the size field counts.
fn footer(size: u64, unique_id: Uuid) -> [u8; 512] {
    let mut footer = [0_u8; 512];
    footer[0..8].copy_from_slice(b"conectix");
    // Features (reserved, always set), version 1.0, no data offset, creation time 0.
    footer[8..12].copy_from_slice(&2_u32.to_be_bytes());
    footer[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
    footer[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
    footer[28..32].copy_from_slice(b"azur");
    footer[36..40].copy_from_slice(b"Wi2k");
    footer[40..48].copy_from_slice(&size.to_be_bytes());
    footer[48..56].copy_from_slice(&size.to_be_bytes());
    footer[56..60].copy_from_slice(&[0xff, 0xff, 16, 255]);
    footer[60..64].copy_from_slice(&2_u32.to_be_bytes());
    footer[68..84].copy_from_slice(unique_id.as_bytes());
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_complement_of_the_sum_of_the_rest() {
        let mut footer = footer(1 << 30, Uuid::nil());
        let stored = u32::from_be_bytes(footer[64..68].try_into().unwrap());
        footer[64..68].fill(0);
        let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
        assert_eq!(stored, !sum);
        assert_eq!(&footer[..8], b"conectix");
        assert_eq!(footer[60..64], [0, 0, 0, 2]);
    }
}
