//! Whether the bytes in the local Azure are those of a file, and a footer that is right.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

const MIB: u64 = 1 << 20;
const FOOTER: u64 = 512;

/// Compares an uploaded disk with the raw content it was made from: the content, zeros up to the
/// next MiB (20 MiB at least), and the footer of a fixed VHD of that size.
pub(crate) fn assert_holds(uploaded: &Path, source: &Path) {
    let mut source = File::open(source).unwrap();
    let length = source.metadata().unwrap().len();
    let disk = length.div_ceil(MIB).max(20) * MIB;
    let mut uploaded = File::open(uploaded).unwrap();
    assert_eq!(uploaded.metadata().unwrap().len(), disk + FOOTER);
    let (mut left, mut right) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for at in (0..disk).step_by(MIB as usize) {
        let there = length.saturating_sub(at).min(MIB) as usize;
        left.fill(0);
        source.read_exact(&mut left[..there]).unwrap();
        uploaded.read_exact(&mut right).unwrap();
        if left != right {
            let byte = left.iter().zip(&right).position(|(l, r)| l != r).unwrap();
            panic!("the first difference is at byte {}", at + byte as u64);
        }
    }
    assert_footer(&mut uploaded, disk);
}

/// The fields of a fixed disk's footer that Azure reads, and its checksum.
fn assert_footer(file: &mut File, disk: u64) {
    file.seek(SeekFrom::Start(disk)).unwrap();
    let mut footer = [0; FOOTER as usize];
    file.read_exact(&mut footer).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[16..24], [0xff; 8], "a fixed disk has no data offset");
    assert_eq!(footer[40..48], disk.to_be_bytes(), "original size");
    assert_eq!(footer[48..56], disk.to_be_bytes(), "current size");
    assert_eq!(footer[60..64], 2_u32.to_be_bytes(), "the type is fixed");
    let sum: u32 = footer
        .iter()
        .enumerate()
        .filter(|(at, _)| !(64..68).contains(at))
        .map(|(_, byte)| u32::from(*byte))
        .sum();
    assert_eq!(footer[64..68], (!sum).to_be_bytes(), "checksum");
}
