//! Images made here byte by byte, whole and damaged. Those of other programs are read in the tests
//! across crates.

use uuid::{Uuid, uuid};

use super::*;
use crate::ErrorKind;
use crate::disk::damage::{Rng, read_all, shake};
use crate::disk::limits::MIB;

const BAT: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");
const HEADERS: [usize; 2] = [64 << 10, 128 << 10];
const REGIONS: [usize; 2] = [192 << 10, 256 << 10];
const TABLE: usize = 1 << 20;
const META: usize = 2 << 20;
/// The items behind the metadata table.
const ITEMS: usize = META + (64 << 10);

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn seal(image: &mut [u8], at: usize, length: usize) {
    if let Some(part) = image.get_mut(at..at + length) {
        let sum = checksum(part);
        put(part, 4, &sum.to_le_bytes());
    }
}

fn seal_all(image: &mut [u8]) {
    HEADERS.iter().for_each(|at| seal(image, *at, 4096));
    REGIONS.iter().for_each(|at| seal(image, *at, 64 << 10));
}

fn entry(image: &mut [u8], at: usize, kind: Uuid, numbers: [u32; 4]) {
    put(image, at, &kind.to_bytes_le());
    for (number, place) in numbers.iter().zip((at + 16..).step_by(4)) {
        put(image, place, &number.to_le_bytes());
    }
}

/// A disk of so many bytes with blocks of 1 MiB, without a log: each block with the content of that
/// byte, or as zeros of that state. Blocks lie backwards in the file.
fn image(size: u64, blocks: &[Result<u8, u64>]) -> Vec<u8> {
    let mut image = vec![0; 3 << 20];
    put(&mut image, 0, b"vhdxfilet\0e\0s\0t\0");
    for (number, at) in HEADERS.into_iter().enumerate() {
        put(&mut image, at, b"head");
        put(&mut image, at + 8, &(7 + number as u64).to_le_bytes());
        put(&mut image, at + 66, &1u16.to_le_bytes());
    }
    for at in REGIONS {
        put(&mut image, at, b"regi");
        put(&mut image, at + 8, &2u32.to_le_bytes());
        entry(&mut image, at + 16, BAT, [TABLE as u32, 0, 1 << 20, 1]);
        entry(&mut image, at + 48, METADATA, [META as u32, 0, 1 << 20, 1]);
    }
    put(&mut image, META, b"metadata");
    put(&mut image, META + 10, &5u16.to_le_bytes());
    for (index, (kind, length, value)) in [
        (uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b"), 8, MIB),
        (uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8"), 8, size),
        (uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f"), 4, 512),
        (uuid!("cda348c7-445d-4471-9cc9-e9885251c556"), 4, 4096),
        (uuid!("beca12ab-b2e6-4523-93ef-c309e000c746"), 16, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let place = (64 << 10) + index as u32 * 16;
        entry(
            &mut image,
            META + 32 * (index + 1),
            kind,
            [place, length, 4, 0],
        );
        put(&mut image, META + place as usize, &value.to_le_bytes());
    }
    for (index, block) in blocks.iter().enumerate().rev() {
        let value = match block {
            Ok(byte) => {
                let at = image.len() as u64;
                image.extend(vec![*byte; 1 << 20]);
                at | 6
            }
            Err(state) => *state,
        };
        put(&mut image, TABLE + index * 8, &value.to_le_bytes());
    }
    seal_all(&mut image);
    image
}

const SIZE: u64 = 6 * MIB - 512;

fn sample() -> Vec<u8> {
    image(SIZE, &[Ok(1), Err(0), Err(2), Err(3), Err(1), Ok(2)])
}

fn refused(image: Vec<u8>, words: &str) -> Error {
    let Err(error) = Vhdx::open(image) else {
        panic!("taken: {words}");
    };
    assert_eq!(error.kind(), ErrorKind::InvalidImage, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some());
    error
}

/// The sample with a change and checksums that fit it.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut image = sample();
    change(&mut image);
    seal_all(&mut image);
    image
}

#[test]
fn blocks_are_found_where_the_table_says() -> Result<()> {
    let disk = Vhdx::open(sample())?;
    assert_eq!((disk.virtual_size(), disk.block_size()), (SIZE, MIB));
    assert_eq!((disk.creator(), disk.is_fixed()), ("test", false));
    assert_eq!(disk.next_extent(0)?, Some(0..MIB));
    assert_eq!(disk.next_extent(MIB)?, Some(5 * MIB..SIZE));
    assert_eq!(disk.next_extent(SIZE)?, None);
    let content = read_all(&disk)?;
    for (at, byte) in content.iter().enumerate().step_by(1009) {
        let expected = match at >> 20 {
            0 => 1,
            5 => 2,
            _ => 0,
        };
        assert_eq!(*byte, expected, "{at}");
    }
    let mut across = [9; 4];
    disk.read_exact_at(&mut across, MIB - 2)?;
    assert_eq!(across, [1, 1, 0, 0]);
    assert!(disk.read_exact_at(&mut across, SIZE - 3).is_err());
    Ok(())
}

/// The entries of 4 GiB of disk are followed by one for a bitmap, which is no block's.
#[test]
fn entries_for_bitmaps_are_left_out() -> Result<()> {
    let size = 3 << 32;
    let mut disk = image(size, &[]);
    for (entry, place) in [(4095, 3u64), (4097, 4), (2 * 4097 - 2, 5), (2 * 4097, 6)] {
        put(
            &mut disk,
            TABLE + entry * 8,
            &(place << 20 | 6).to_le_bytes(),
        );
        disk.extend(vec![place as u8; 1 << 20]);
    }
    // An entry for a bitmap, which points nowhere that matters.
    put(&mut disk, TABLE + 4096 * 8, &u64::MAX.to_le_bytes());
    let disk = Vhdx::open(disk)?;
    let mut at = 0;
    let mut found = Vec::new();
    while let Some(extent) = disk.next_extent(at)? {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, extent.start)?;
        found.push((
            extent.start >> 20,
            (extent.end - extent.start) >> 20,
            byte[0],
        ));
        at = extent.end;
    }
    assert_eq!(found, [(4095, 2, 3), (8191, 2, 5)]);
    let mut byte = [0];
    disk.read_exact_at(&mut byte, 4096 << 20)?;
    assert_eq!(byte, [4]);
    Ok(())
}

#[test]
fn each_damaged_header_is_named() {
    let both = |at: usize, field: &'static [u8]| {
        move |image: &mut Vec<u8>| {
            for header in HEADERS {
                put(image, header + at, field);
            }
        }
    };
    refused(
        changed(both(0, b"x")),
        "neither of the headers at bytes 65536 and 131072",
    );
    refused(changed(both(66, &[2])), "unknown VHDX version 2");
    assert!(Vhdx::open(changed(both(8, &[7]))).is_ok());
    refused(
        changed(|image| {
            both(8, &[7])(image);
            image[HEADERS[0] + 200] = 1;
        }),
        "the same sequence number 7 and differ",
    );
    // One of two is enough, and the newer one counts.
    let mut image = sample();
    image[HEADERS[1]] = 0;
    assert!(Vhdx::open(image).is_ok());
    let old = changed(|image| image[HEADERS[0] + 50] = 1);
    assert!(Vhdx::open(old).is_ok());
    let error = refused(
        changed(|image| image[HEADERS[1] + 50] = 1),
        "its log holds changes",
    );
    assert!(error.hint().unwrap().contains("qemu-img check -r all"));
    refused(
        changed(both(68, &[0, 0, 0x10, 0, 1])),
        "says that its log has 1048576 bytes at byte 1",
    );
    refused(
        changed(both(68, &[0, 0, 0x10, 0, 0, 0, 0x10])),
        "the block table",
    );
    refused(
        sample()[..1 << 19].to_vec(),
        "the headers of a VHDX alone have 1 MiB",
    );
}

#[test]
fn each_damaged_region_is_named() {
    let both = |at: usize, field: &[u8]| {
        changed(move |image| {
            for table in REGIONS {
                put(image, table + at, field);
            }
        })
    };
    let mut image = sample();
    for at in REGIONS {
        image[at + 100] ^= 1;
    }
    refused(
        image.clone(),
        "neither of the region tables at bytes 196608 and 262144",
    );
    image[REGIONS[1] + 100] ^= 1;
    assert!(Vhdx::open(image).is_ok());
    refused(
        both(8, &[0, 8]),
        "says that it has 2048 entries; there is room for 2047",
    );
    refused(both(8, &[1]), "has no entry for the metadata");
    refused(both(8, &[0]), "has no entry for the block table");
    refused(both(16, &[1]), "a region of the unknown kind 2dc27701-");
    refused(
        both(32, &[1]),
        "has an entry 0 for 1048576 bytes at byte 1048577",
    );
    refused(both(34, &[0]), "has an entry 0 for 1048576 bytes at byte 0");
    refused(both(34, &[0xf0, 0xff]), "does not end before the file");
    refused(both(39, &[0xff]), "does not end before the file");
    refused(both(42, &[0]), "has an entry 0 for 0 bytes");
    refused(both(34, &[0x20]), "overlaps something else");
    refused(
        both(48, &BAT.to_bytes_le()),
        "has two entries for the block table",
    );
    // What is unknown and need not be understood is only kept clear of.
    refused(
        changed(|image| {
            for table in REGIONS {
                put(image, table + 8, &[3]);
                entry(image, table + 80, Uuid::max(), [3 << 20, 0, 1 << 20, 0]);
            }
        }),
        "entry 5 of the block table",
    );
}

#[test]
fn each_damaged_piece_of_metadata_is_named() {
    let at = |at: usize, field: &'static [u8]| changed(move |image| put(image, at, field));
    refused(at(META, b"x"), "does not begin with \"metadata\"");
    refused(at(META + 10, &[0, 8]), "says that it has 2048 entries");
    refused(at(META + 10, &[0]), "has no entry for the file parameters");
    refused(
        at(META + 10, &[1]),
        "has no entry for the logical sector size",
    );
    assert!(Vhdx::open(at(META + 10, &[3])).is_ok());
    refused(
        at(META + 32, &[1]),
        "metadata of the unknown kind caa16701-",
    );
    refused(
        at(META + 32 + 18, &[0]),
        "has an entry 0 for 8 bytes 0 bytes into the region",
    );
    refused(
        at(META + 32 + 19, &[0xff]),
        "which ends after 1048576 bytes",
    );
    refused(at(META + 32 + 20, &[4]), "has 4 bytes instead of 8");
    refused(at(ITEMS, &[1]), "says that blocks have 1048577 bytes");
    refused(at(ITEMS, &[0, 0, 0]), "says that blocks have 0 bytes");
    refused(
        at(ITEMS + 3, &[0x20]),
        "says that blocks have 537919488 bytes",
    );
    refused(at(ITEMS + 16, &[1]), "says that the disk has");
    refused(at(ITEMS + 16 + 7, &[1]), "and at most 70368744177664 bytes");
    refused(at(ITEMS + 32, &[1]), "says that sectors have 513 bytes");
    let error = refused(at(ITEMS + 32, &[0, 16]), "sectors of 4096 bytes");
    assert!(error.hint().unwrap().contains("512-byte"));
    refused(
        changed(|image| image.copy_within(META + 32..META + 48, META + 64)),
        "has two entries of the kind caa16737-",
    );
    let large = changed(|image| put(image, ITEMS + 16, &(1u64 << 45).to_le_bytes()));
    refused(large, "has 1048576 bytes; the disk needs");
}

#[test]
fn the_parent_is_named() {
    let locate = |pairs: &[(&str, &str)]| {
        changed(|image| {
            image[ITEMS + 4] = 2;
            image[META + 10] = 6;
            let kind = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");
            entry(image, META + 32 * 6, kind, [0x2_0000, 0x1000, 4, 0]);
            let at = META + 0x2_0000;
            put(image, at + 18, &(pairs.len() as u16).to_le_bytes());
            let mut text = 1024;
            for (index, (key, value)) in pairs.iter().enumerate() {
                for (word, (offset, length)) in [(key, (0, 8)), (value, (4, 10))] {
                    let bytes: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
                    let pair = at + 20 + 12 * index;
                    put(image, pair + offset, &(text as u32).to_le_bytes());
                    put(image, pair + length, &(bytes.len() as u16).to_le_bytes());
                    put(image, at + text, &bytes);
                    text += bytes.len();
                }
            }
        })
    };
    let both = locate(&[
        ("relative_path", ".\\basis.vhdx"),
        ("absolute_win32_path", "C:\\bäsis.vhdx"),
    ]);
    refused(both, "differs from its parent \"C:\\\\bäsis.vhdx\"");
    refused(
        locate(&[("relative_path", "b")]),
        "differs from its parent \"b\"",
    );
    refused(
        locate(&[("relative_path", "a\u{1b}[2J\u{202e}\"\n")]),
        r#"its parent "a\u{1b}[2J\u{202e}\"\n""#,
    );
    let long = "long".repeat(200);
    let error = refused(locate(&[("relative_path", &long)]), "its parent \"longlong");
    assert!(error.to_string().len() < 700, "{error}");
    refused(locate(&[]), "its parent, which it does not name");
    refused(
        changed(|image| image[ITEMS + 4] = 2),
        "its parent, which it does not name",
    );
}

#[test]
fn entries_that_lead_astray_are_named_with_their_place() {
    let at = |index: usize, entry: u64| {
        changed(move |image| put(image, TABLE + index * 8, &entry.to_le_bytes()))
    };
    let place = |mib: u64| mib << 20 | 6;
    refused(
        at(1, place(0)),
        "entry 1 of the block table of the image in memory, at byte 1048584",
    );
    refused(at(1, place(1)), "byte 1048576 belongs to something else");
    refused(at(1, place(4)), "byte 4194304 belongs to something else");
    refused(at(1, place(5)), "before the end of the file, byte 5242880");
    refused(
        at(1, u64::MAX << 20 | 6),
        "points to byte 18446744073708503040",
    );
    refused(at(1, 7), "there is none");
    refused(at(1, 4), "has the unknown state 4");
    let mut cut = sample();
    cut.truncate(cut.len() - 1);
    refused(cut, "entry 0 of the block table");
}

#[test]
fn random_damage_never_panics_and_never_reads_outside() {
    let seed = Rng::announce("VHDX");
    let places = [
        HEADERS[0]..HEADERS[0] + 80,
        HEADERS[1]..HEADERS[1] + 80,
        REGIONS[0]..REGIONS[0] + 80,
        META..META + 200,
        ITEMS..ITEMS + 80,
        TABLE..TABLE + 48,
        TABLE..TABLE + 48,
    ];
    shake(seed, 2000, &sample(), &places, |mut image, rng| {
        if !rng.chance(8) {
            seal_all(&mut image);
        }
        Vhdx::open(image)
    });
}
