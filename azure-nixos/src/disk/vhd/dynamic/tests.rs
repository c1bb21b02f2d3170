//! Images made here byte by byte, whole and damaged. Those of other programs are read in the tests
//! across crates.

use super::*;
use crate::disk::damage::{Rng, read_all, shake};
use crate::{ErrorKind, Result};

const BLOCK: u64 = 64 << 10;
/// Where blocks begin in the images made here: after footer, header and table.
const FIRST: u64 = 2048;
/// A bitmap of 128 sectors, padded.
const BITMAP: u64 = 512;

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn footer(size: u64, kind: u8) -> [u8; 512] {
    let mut footer = *Footer::fixed(size, 7).bytes();
    put(&mut footer, 16, &512u64.to_be_bytes());
    footer[63] = kind;
    sealed(footer)
}

fn sealed(mut footer: [u8; 512]) -> [u8; 512] {
    let sum = Footer::unchecked(&footer).computed_checksum();
    put(&mut footer, 64, &sum.to_be_bytes());
    footer
}

fn seal_header(image: &mut [u8]) {
    let Some(header) = image.get(512..).and_then(|rest| rest.first_chunk()) else {
        return;
    };
    let sum = checksum(header);
    put(image, 512 + 36, &sum.to_be_bytes());
}

/// A disk of as many blocks as are said, each with the content of that byte, or none; in the order
/// of the file that `order` says. The last block has only half its length on the disk.
fn image(blocks: &[Option<u8>]) -> Vec<u8> {
    let size = blocks.len() as u64 * BLOCK - BLOCK / 2;
    let footer = footer(size, 3);
    let mut image = vec![0; FIRST as usize];
    put(&mut image, 0, &footer);
    put(&mut image, 512, b"cxsparse");
    put(&mut image, 520, &u64::MAX.to_be_bytes());
    put(&mut image, 528, &1536u64.to_be_bytes());
    put(&mut image, 536, &0x1_0000u32.to_be_bytes());
    put(&mut image, 540, &(blocks.len() as u32).to_be_bytes());
    put(&mut image, 544, &(BLOCK as u32).to_be_bytes());
    seal_header(&mut image);
    image[1536..].fill(0xff);
    // Backwards, so that the order in the file is not that of the disk.
    for (index, block) in blocks.iter().enumerate().rev() {
        if let Some(byte) = block {
            let sector = (image.len() / 512) as u32;
            put(&mut image, 1536 + index * 4, &sector.to_be_bytes());
            image.extend([0xff; BITMAP as usize]);
            image.extend(vec![*byte; BLOCK as usize]);
        }
    }
    image.extend(footer);
    image
}

const BLOCKS_OF: [Option<u8>; 5] = [Some(1), None, None, Some(2), Some(3)];

fn sample() -> Vec<u8> {
    image(&BLOCKS_OF)
}

fn refused(image: Vec<u8>, words: &str) {
    let Err(error) = DynamicVhd::open(image) else {
        panic!("taken: {words}");
    };
    assert_eq!(error.kind(), ErrorKind::InvalidImage, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn blocks_are_found_where_the_table_says() -> Result<()> {
    let disk = DynamicVhd::open(sample())?;
    assert_eq!(disk.virtual_size(), 5 * BLOCK - BLOCK / 2);
    assert_eq!(disk.block_size(), BLOCK);
    assert_eq!(disk.next_extent(0)?, Some(0..BLOCK));
    assert_eq!(disk.next_extent(7)?, Some(7..BLOCK));
    assert_eq!(disk.next_extent(BLOCK)?, Some(3 * BLOCK..4 * BLOCK));
    assert_eq!(
        disk.next_extent(4 * BLOCK)?,
        Some(4 * BLOCK..5 * BLOCK - BLOCK / 2)
    );
    assert_eq!(disk.next_extent(disk.virtual_size())?, None);
    let mut bytes = vec![0xaa; disk.virtual_size() as usize - 2];
    disk.read_exact_at(&mut bytes, 1)?;
    for (index, block) in bytes.chunks(1).enumerate().step_by(997) {
        let at = (index as u64 + 1) / BLOCK;
        assert_eq!(block[0], BLOCKS_OF[at as usize].unwrap_or(0), "{index}");
    }
    assert!(
        disk.read_exact_at(&mut [0; 2], disk.virtual_size() - 1)
            .is_err()
    );
    assert_eq!(disk.footer()?, None);
    Ok(())
}

#[test]
fn each_damaged_header_is_named() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(Change, &str); 9] = [
        (
            |image| image[512] = b'x',
            "does not begin with \"cxsparse\"",
        ),
        (|image| image[600] = 1, "has the checksum"),
        (|image| image[537] = 2, "has the unknown version 0x00020000"),
        (|image| image[547] = 1, "says that blocks have 65537 bytes"),
        (
            |image| put(image, 544, &[0; 4]),
            "says that blocks have 0 bytes",
        ),
        (
            |image| image[543] = 4,
            "has 4 entries, but the disk has 5 blocks",
        ),
        (|image| image[543] = 0xff, ""),
        (|image| image[528] = 0xff, "does not end before the footer"),
        (|image| image[534] = 0, "overlaps another at byte"),
    ];
    for (number, (change, words)) in cases.into_iter().enumerate() {
        let mut image = sample();
        change(&mut image);
        if number != 1 {
            seal_header(&mut image);
        }
        if words.is_empty() {
            // More entries than blocks are fine.
            assert!(DynamicVhd::open(image).is_ok());
        } else {
            refused(image, words);
        }
    }
}

#[test]
fn each_damaged_footer_is_named() {
    let with = |change: fn(&mut [u8; 512])| {
        let mut image = sample();
        let mut own = footer(5 * BLOCK - BLOCK / 2, 3);
        change(&mut own);
        let end = image.len() - 512;
        put(&mut image, end, &sealed(own));
        image
    };
    assert!(DynamicVhd::open(with(|_| ())).is_ok());
    refused(with(|own| own[63] = 2), "says that it is fixed");
    refused(with(|own| own[0] = 0), "does not begin with");
    refused(with(|own| own[84] = 1), "its machine is suspended");
    refused(with(|own| own[55] = 1), "a whole number of sectors");
    refused(
        with(|own| put(own, 48, &(3u64 << 40).to_be_bytes())),
        "at most",
    );
    refused(with(|own| put(own, 48, &[0; 8])), "has 0 bytes");
    refused(
        with(|own| put(own, 48, &(6 * BLOCK).to_be_bytes())),
        "5 entries, but the disk has 6",
    );
    for offset in [0, 511, u64::MAX, 1 << 20] {
        let mut image = with(|_| ());
        let mut own = footer(5 * BLOCK - BLOCK / 2, 3);
        put(&mut own, 16, &offset.to_be_bytes());
        let end = image.len() - 512;
        put(&mut image, end, &sealed(own));
        refused(image, &format!("no room for a header at byte {offset}"));
    }
    refused(vec![1; 511], "its end is its beginning");
    refused(Vec::new(), "its end is its beginning");
}

#[test]
fn entries_that_lead_astray_are_named_with_their_place() {
    let at = |index: usize, sector: u32| {
        let mut image = sample();
        put(&mut image, 1536 + 4 * index, &sector.to_be_bytes());
        image
    };
    refused(
        at(1, 0),
        "entry 1 of the block table of the image in memory, at byte 1540, points to byte 0",
    );
    refused(at(1, 2), "byte 1024 belongs to something else");
    refused(at(1, 3), "byte 1536 belongs to something else");
    // That of block 4, and one sector into it.
    refused(at(2, 4), "belongs to something else");
    refused(at(0, 5), "belongs to something else");
    refused(at(1, u32::MAX - 1), "do not end before the footer");
    let mut cut = sample();
    let footer = cut.split_off(cut.len() - 512);
    cut.truncate(cut.len() - 512);
    cut.extend(footer);
    refused(cut, "do not end before the footer");
}

#[test]
fn random_damage_never_panics_and_never_reads_outside() {
    let seed = Rng::announce("dynamic VHD");
    let whole = read_all(&DynamicVhd::open(sample()).unwrap()).unwrap();
    assert_eq!(whole.len() as u64, 5 * BLOCK - BLOCK / 2);
    shake(
        seed,
        3000,
        &sample(),
        &[0..1024, 512..2048],
        |mut image, rng| {
            // Half of them with checksums that are right again, or few would come far.
            if rng.chance(2) {
                seal_header(&mut image);
                let end = image.len() / 512 * 512;
                for start in [Some(0), end.checked_sub(512)].into_iter().flatten() {
                    if let Some(own) = image.get(start..).and_then(|rest| rest.first_chunk()) {
                        let own = sealed(*own);
                        put(&mut image, start, &own);
                    }
                }
            }
            DynamicVhd::open(image)
        },
    );
}
