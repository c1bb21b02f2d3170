//! Disk images to upload.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What the partition table of a disk says.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Table {
    /// Nothing: there is none.
    None,
    /// An MBR with one active Linux partition.
    Mbr,
    /// A GPT with an EFI system partition.
    Esp,
    /// A GPT with an EFI system partition and a root partition for Arm64.
    Arm64,
}

/// Bytes that do not compress and differ from seed to seed (xorshift64).
pub(crate) fn noise(seed: u64, bytes: &mut [u8]) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in bytes.as_chunks_mut::<8>().0 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *word = state.to_le_bytes();
    }
}

/// A disk of `mib` MiB; every `every`-th MiB is noise, the others are holes.
pub(crate) fn make(path: &Path, table: Table, mib: u64, every: usize) {
    let file = File::create_new(path).unwrap();
    file.set_len(mib << 20).unwrap();
    let mut block = vec![0; 1 << 20];
    // The first MiB is the table's.
    for at in (1..mib - 1).step_by(every) {
        noise(at, &mut block);
        file.write_all_at(&block, at << 20).unwrap();
    }
    let sectors = mib << 11;
    match table {
        Table::None => {}
        Table::Mbr => file.write_all_at(&mbr(0x83, 2048, sectors), 0).unwrap(),
        Table::Esp | Table::Arm64 => {
            file.write_all_at(&mbr(0xee, 1, sectors), 0).unwrap();
            gpt(&file, sectors, table == Table::Arm64);
        }
    }
}

fn mbr(kind: u8, first: u32, sectors: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[446] = if kind == 0xee { 0 } else { 0x80 };
    sector[450] = kind;
    sector[454..458].copy_from_slice(&first.to_le_bytes());
    let length = u32::try_from(sectors).unwrap() - first;
    sector[458..462].copy_from_slice(&length.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn gpt(file: &File, sectors: u64, arm64: bool) {
    let esp = [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9,
        0x3b,
    ];
    let mut entries = vec![0; 32 * 512];
    entries[..16].copy_from_slice(&esp);
    entries[16..32].fill(1);
    entries[32..40].copy_from_slice(&2048_u64.to_le_bytes());
    entries[40..48].copy_from_slice(&(sectors - 2049).to_le_bytes());
    if arm64 {
        let root = [
            0x45, 0xb0, 0x21, 0xb9, 0xf0, 0x1d, 0xc3, 0x41, 0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d,
            0x3f, 0xae,
        ];
        entries[40..48].copy_from_slice(&4095_u64.to_le_bytes());
        entries[128..144].copy_from_slice(&root);
        entries[144..160].fill(3);
        entries[160..168].copy_from_slice(&4096_u64.to_le_bytes());
        entries[168..176].copy_from_slice(&(sectors - 2049).to_le_bytes());
    }
    let header = |own: u64, other: u64, table: u64| {
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x1_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        for (at, number) in [
            (24, own),
            (32, other),
            (40, 34),
            (48, sectors - 34),
            (72, table),
        ] {
            header[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        header[56..72].fill(2);
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let own = crc32(&header[..92]);
        header[16..20].copy_from_slice(&own.to_le_bytes());
        header
    };
    let last = sectors - 1;
    for (at, bytes) in [
        (1, &header(1, last, 2)[..]),
        (2, &entries),
        (last - 32, &entries),
        (last, &header(last, 1, last - 32)),
    ] {
        file.write_all_at(bytes, at * 512).unwrap();
    }
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
