//! Images made here byte by byte, whole and damaged. Those of other programs are read in the tests
//! across crates.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::disk::MemoryImage;
use crate::disk::damage::{Rng, read_all, shake};
use crate::{ErrorKind, Result};

/// Clusters of 4 KiB; the disk has 1.5 of them more than one level 2 table is for.
const CLUSTER: usize = 4096;
const SIZE: u64 = 513 * 4096 + 2048;
const L1: usize = CLUSTER;
const L2: usize = 2 * CLUSTER;
const L2_B: usize = 3 * CLUSTER;
const REFCOUNTS: usize = 4 * CLUSTER;
const DATA: usize = 6 * CLUSTER;

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    put(bytes, at, &value.to_be_bytes());
}

fn deflated(cluster: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(cluster).unwrap();
    encoder.finish().unwrap()
}

/// A compressed cluster that lies at `start`: 54 bits are the offset, with clusters of 4 KiB 4 more
/// the sectors behind the first.
fn packed(start: usize, length: usize) -> u64 {
    let sectors = (start + length).div_ceil(512) - start / 512;
    COMPRESSED | (sectors as u64 - 1) << 58 | start as u64
}

/// Clusters 0 and 2 are stored (2 behind 0 in the file), 1 is absent, 3 is zeros with a place, 4 and
/// 5 are compressed and share a cluster of the file, 6 shares that of 0, 513 is the last half one.
fn sample() -> Vec<u8> {
    let mut image = vec![0; DATA + 5 * CLUSTER];
    put(&mut image, 0, b"QFI\xfb\0\0\0\x03");
    put(&mut image, 20, &12u32.to_be_bytes());
    put64(&mut image, 24, SIZE);
    put(&mut image, 36, &2u32.to_be_bytes());
    put64(&mut image, 40, L1 as u64);
    put64(&mut image, 48, REFCOUNTS as u64);
    put(&mut image, 56, &1u32.to_be_bytes());
    put(&mut image, 96, &4u32.to_be_bytes());
    put(&mut image, 100, &104u32.to_be_bytes());
    put64(&mut image, L1, L2 as u64 | COPIED);
    put64(&mut image, L1 + 8, L2_B as u64 | COPIED);
    put64(&mut image, REFCOUNTS, 5 * CLUSTER as u64);
    let (four, five) = (deflated(&[4; CLUSTER]), deflated(&[5; CLUSTER]));
    let start = DATA + 3 * CLUSTER;
    let shared = DATA as u64;
    put64(&mut image, L2, shared);
    put64(&mut image, L2 + 2 * 8, (DATA + CLUSTER) as u64 | COPIED);
    put64(
        &mut image,
        L2 + 3 * 8,
        (DATA + 2 * CLUSTER) as u64 | COPIED | 1,
    );
    put64(&mut image, L2 + 4 * 8, packed(start, four.len()));
    put64(
        &mut image,
        L2 + 5 * 8,
        packed(start + four.len(), five.len()),
    );
    put64(&mut image, L2 + 6 * 8, shared);
    put64(&mut image, L2_B + 8, (DATA + 4 * CLUSTER) as u64 | COPIED);
    image[DATA..DATA + CLUSTER].fill(1);
    image[DATA + CLUSTER..DATA + 2 * CLUSTER].fill(2);
    image[DATA + 2 * CLUSTER..DATA + 3 * CLUSTER].fill(0xee);
    put(&mut image, start, &[four, five].concat());
    image[DATA + 4 * CLUSTER..].fill(9);
    // The last one is there as far as the disk reaches.
    image.truncate(DATA + 4 * CLUSTER + 2048);
    image
}

fn content() -> Vec<u8> {
    let mut content = vec![0; SIZE as usize];
    for (cluster, byte) in [(0, 1), (2, 2), (4, 4), (5, 5), (6, 1)] {
        content[cluster * CLUSTER..(cluster + 1) * CLUSTER].fill(byte);
    }
    content[513 * CLUSTER..].fill(9);
    content
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut image = sample();
    change(&mut image);
    image
}

fn refused(image: Vec<u8>, words: &str) {
    let error = match Qcow2::open(image) {
        Err(error) => error,
        Ok(disk) => match read_all(&disk) {
            Err(error) => error,
            Ok(_) => panic!("taken: {words}"),
        },
    };
    assert_eq!(error.kind(), ErrorKind::InvalidImage, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn clusters_of_every_kind_are_found() -> Result<()> {
    let disk = Qcow2::open(sample())?;
    assert_eq!((disk.virtual_size(), disk.cluster_size()), (SIZE, 4096));
    assert!(read_all(&disk)? == content());
    assert_eq!(disk.next_extent(0)?, Some(0..4096));
    assert_eq!(disk.next_extent(4096)?, Some(8192..12288));
    assert_eq!(
        disk.next_extent(4 * 4096 + 1)?,
        Some(4 * 4096 + 1..5 * 4096)
    );
    assert_eq!(disk.next_extent(7 * 4096)?, Some(513 * 4096..SIZE));
    let mut all = vec![0xaa; SIZE as usize - 2];
    disk.read_exact_at(&mut all, 1)?;
    assert!(all == content()[1..SIZE as usize - 1]);
    assert!(disk.read_exact_at(&mut [0; 2], SIZE - 1).is_err());
    Ok(())
}

#[test]
fn what_is_absent_comes_from_below_and_what_is_zeros_does_not() -> Result<()> {
    let mut below = MemoryImage::new(20 * 4096)?;
    below.write(0, &[7; 20 * 4096])?;
    let disk = Qcow2::open_over(sample(), below)?;
    let mut expected = content();
    for cluster in [1].into_iter().chain(7..20) {
        expected[cluster * CLUSTER..(cluster + 1) * CLUSTER].fill(7);
    }
    assert!(read_all(&disk)? == expected);
    let mut all = vec![0xaa; SIZE as usize];
    disk.read_exact_at(&mut all, 0)?;
    assert!(all == expected);
    Ok(())
}

#[test]
fn each_damaged_header_is_named() {
    let at = |at: usize, field: &'static [u8]| changed(|image| put(image, at, field));
    refused(at(0, b"x"), "does not begin with \"QFI\"");
    refused(at(7, &[4]), "of version 4; 2 and 3 are read");
    refused(at(7, &[1]), "of version 1; 2 and 3 are read");
    refused(at(23, &[8]), "says that clusters have 2^8 bytes");
    refused(at(23, &[22]), "says that clusters have 2^22 bytes");
    refused(at(20, &[0xff]), "says that clusters have 2^");
    refused(at(24, &[0; 8]), "says that the disk has 0 bytes");
    refused(
        at(24, &[1, 0, 0, 0, 0, 0, 2]),
        "says that the disk has 72057594037928448 bytes",
    );
    refused(at(31, &[1]), "no whole number of 512-byte sectors");
    refused(at(29, &[0x40]), "has 2 entries; the disk needs 3");
    refused(at(35, &[1]), "is encrypted");
    refused(at(36, &[1]), "entries; it can have 4194304 at most");
    refused(at(47, &[1]), "the level 1 table is at byte 4097");
    refused(at(40, &[0; 8]), "the level 1 table is at byte 0");
    refused(at(40, &[1]), "does not end before the file");
    refused(at(40, &[0xff; 6]), "does not end before the file");
    refused(
        at(55, &[1]),
        "the table of reference counts has 4096 bytes at byte 16385",
    );
    refused(
        at(56, &[1]),
        "it begins with a cluster and has 8388608 at most",
    );
    refused(at(79, &[2]), "is marked as corrupt");
    refused(
        at(79, &[4]),
        "has its content in another file, a file that it does not name",
    );
    refused(at(79, &[8]), "lacks the kind of compression");
    refused(at(79, &[16]), "have subclusters; they need 2^14");
    refused(at(72, &[1]), "features that are not known here");
    refused(at(103, &[96]), "says that it has 96 bytes itself");
    refused(at(101, &[1]), "says that it has 65640 bytes itself");
    refused(
        changed(|image| {
            image[79] = 8;
            image[103] = 112;
            image[104] = 2;
        }),
        "is compressed in the unknown way 2",
    );
    refused(
        at(14, &[0x10]),
        "the name of the backing file has 0 bytes at byte 4096",
    );
    refused(
        at(14, &[0, 50]),
        "the name of the backing file has 0 bytes at byte 50",
    );
    refused(
        changed(|image| {
            put(image, 14, &[2, 0, 0, 0, 0, 9]);
            put(image, 512, b"base.img!");
        }),
        "its backing file \"base.img!\", which is not opened unasked",
    );
    refused(sample()[..103].to_vec(), "has 103 bytes; the header");
}

#[test]
fn entries_that_lead_astray_are_named_with_their_place() {
    let at = |at: usize, value: u64| changed(move |image| put64(image, at, value));
    refused(
        at(L1, 1),
        "an entry of a level 1 table of the image in memory, at byte 4096, has the",
    );
    refused(at(L1, (L2 + 512) as u64), "has the impossible value");
    refused(
        at(L1, 1 << 40),
        "from where 4096 bytes do not end before the file",
    );
    refused(at(L1 + 8, L2 as u64), "belongs to something else");
    refused(at(L1, 0x1000), "belongs to something else");
    let entry = L2 + 8;
    let data = DATA as u64;
    refused(
        at(entry, 2),
        "an entry of a level 2 table of the image in memory, at byte 8200, has",
    );
    refused(at(entry, data + 512), "has the impossible value");
    refused(at(entry, data | 1 << 60), "has the impossible value");
    refused(
        at(entry, 1 << 40),
        "from where 4096 bytes do not end before the file",
    );
    // On the header, a table, the reference counts, a cluster that is another's alone.
    refused(at(entry, L1 as u64), "leads to byte 4096");
    refused(at(entry, L2 as u64 | COPIED), "leads to byte 8192");
    refused(at(entry, REFCOUNTS as u64), "leads to byte 16384");
    refused(at(entry, 5 * CLUSTER as u64), "leads to byte 20480");
    refused(
        at(entry, (DATA + CLUSTER) as u64),
        "belongs to something else",
    );
    refused(at(L2, DATA as u64 | COPIED), "belongs to something else");
    // Compressed: over a table, beyond the end, with a mark that it cannot have, and not as it says.
    refused(at(entry, packed(L1 + 7, 100)), "leads to byte 4103");
    refused(
        at(entry, packed(1 << 40, 100)),
        "do not end before the file",
    );
    refused(
        at(entry, packed(DATA + 3 * CLUSTER, 9) | COPIED),
        "has the impossible value",
    );
    refused(
        at(entry, packed(DATA, 9)),
        "the compressed cluster at byte 24576 of the image in memory",
    );
    // Zeros are no state of version 2.
    refused(
        changed(|image| {
            image[7] = 2;
        }),
        "has the impossible value 0x8000000000008001",
    );
    let mut cut = sample();
    cut.truncate(cut.len() - 1);
    refused(cut, "from where 2048 bytes do not end before the file");
}

/// Level 2 tables with subclusters need clusters of 16 KiB.
#[test]
fn subclusters_have_states_of_their_own() -> Result<()> {
    const BIG: usize = 16384;
    let build = |word: u64, bitmap: u64| {
        let mut image = vec![0; 5 * BIG];
        let small = sample();
        put(&mut image, 0, &small[..104]);
        put(&mut image, 20, &14u32.to_be_bytes());
        put64(&mut image, 24, 2 * BIG as u64);
        put64(&mut image, 40, BIG as u64);
        put64(&mut image, 48, 3 * BIG as u64);
        image[79] = 16;
        put64(&mut image, BIG, 2 * BIG as u64);
        put64(&mut image, 2 * BIG, word);
        put64(&mut image, 2 * BIG + 8, bitmap);
        for number in 0..32 {
            image[4 * BIG + number * 512..][..512].fill(number as u8 + 1);
        }
        image
    };
    let at = 4 * BIG as u64;
    // Subclusters 0, 1, 5 and 31 are stored, 2 is zeros.
    let bitmap = 1 << 34 | 1 << 31 | 0b10_0011;
    let disk = Qcow2::open(build(at | COPIED, bitmap))?;
    let content = read_all(&disk)?;
    for (number, part) in content.chunks(512).enumerate() {
        let stored = [0, 1, 5, 31].contains(&number);
        let byte = if stored { number as u8 + 1 } else { 0 };
        assert!(part.iter().all(|one| *one == byte), "{number}");
    }
    assert_eq!(disk.next_extent(0)?, Some(0..1024));
    let mut below = MemoryImage::new(2 * BIG as u64)?;
    below.write(0, &[0xbb; 2 * BIG])?;
    let disk = Qcow2::open_over(build(at | COPIED, bitmap), below)?;
    let content = read_all(&disk)?;
    let byte = |number: usize| content[number * 512 + 7];
    assert_eq!(
        [byte(1), byte(2), byte(3), byte(31), byte(32)],
        [2, 0, 0xbb, 32, 0xbb]
    );

    refused(build(0, 1), "has the impossible value");
    refused(build(at, 1 | 1 << 32), "has the impossible value");
    refused(build(at | 1, 0), "has the impossible value");
    refused(build(at + 512, 1), "has the impossible value");
    refused(build(2 * BIG as u64, 1), "belongs to something else");
    refused(build(at << 8, 1), "do not end before the file");
    Ok(())
}

/// A file with holes where 512 bytes are zeros, that counts how often it is asked for its data.
#[derive(Debug)]
struct Holed(Vec<u8>, AtomicUsize);

impl ReadAt for Holed {
    fn name(&self) -> String {
        self.0.name()
    }
    fn length(&self) -> u64 {
        self.0.length()
    }
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
    fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut pages = (from / 512..end.div_ceil(512)).map(|page| page * 512);
        let data = pages.find(|page| {
            let stop = self.0.len().min(*page as usize + 512);
            self.0[*page as usize..stop].iter().any(|byte| *byte != 0)
        });
        Ok(data.map(|start| start.max(from)..end.min(start + 512)))
    }
    fn fingerprint(&self) -> Result<String> {
        self.0.fingerprint()
    }
}

#[test]
fn holes_in_tables_are_gone_over_in_one_step() -> Result<()> {
    let holed = |image| Holed(image, AtomicUsize::new(0));
    assert!(read_all(&Qcow2::open(holed(sample()))?)? == content());
    let mut below = MemoryImage::new(20 * 4096)?;
    below.write(0, &[7; 20 * 4096])?;
    let over = Qcow2::open_over(holed(sample()), below.clone())?;
    assert!(read_all(&over)? == read_all(&Qcow2::open_over(sample(), below)?)?);

    // Clusters of 64 KiB, and one in the middle of 8192 that a table has.
    let big = 1 << 16;
    let mut image = vec![0; 4 * big];
    put(&mut image, 0, &sample()[..104]);
    put(&mut image, 20, &16u32.to_be_bytes());
    put64(&mut image, 24, 8192 << 16);
    put64(&mut image, 40, big as u64);
    put64(&mut image, 48, 0);
    put(&mut image, 56, &[0; 4]);
    put64(&mut image, big, (2 * big as u64) | COPIED);
    put64(&mut image, 2 * big + 8 * 5003, (3 * big as u64) | COPIED);
    image[3 * big] = 1;
    let disk = Qcow2::open(holed(image))?;
    let start = 5003 << 16;
    assert_eq!(disk.next_extent(0)?, Some(start..start + 512));
    assert_eq!(disk.next_extent(start + 512)?, None);
    let asked = disk.file().1.load(Ordering::Relaxed);
    assert!(asked < 40, "{asked}");
    Ok(())
}

#[test]
fn random_damage_never_panics_and_never_reads_outside() {
    let seed = Rng::announce("qcow2");
    let places = [
        0..128,
        L1..L1 + 24,
        L2..L2 + 64,
        L2_B..L2_B + 24,
        DATA + 3 * CLUSTER..DATA + 3 * CLUSTER + 64,
    ];
    shake(seed, 4000, &sample(), &places, |image, _| {
        Qcow2::open(image)
    });
}

/// The same for frames of zstd, which are damaged in every place.
#[test]
fn damaged_frames_of_zstd_are_errors() {
    let seed = Rng::announce("zstd");
    let noise: Vec<u8> = (0..CLUSTER as u64 / 16)
        .flat_map(|at| [at.wrapping_mul(77) as u8; 16])
        .collect();
    let frame = compress_to_vec(&noise[..], CompressionLevel::Fastest);
    let start = DATA + 3 * CLUSTER;
    let image = changed(|image| {
        image[79] = 8;
        image[103] = 112;
        image[104] = 1;
        put(image, start, &frame);
        put64(image, L2 + 4 * 8, packed(start, frame.len()));
        put64(image, L2 + 5 * 8, packed(start, frame.len()));
    });
    let disk = Qcow2::open(image.clone()).unwrap();
    assert!(read_all(&disk).unwrap()[4 * CLUSTER..5 * CLUSTER] == noise);
    shake(
        seed,
        2000,
        &image,
        &[start..start + 20, start..start + frame.len()],
        |image, _| Qcow2::open(image),
    );
    // A frame that asks for a window of 2 GiB.
    let mut greedy = image;
    put(
        &mut greedy,
        start,
        &[0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0],
    );
    refused(greedy, "cannot be unpacked");
}
