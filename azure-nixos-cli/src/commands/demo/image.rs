//! A disk image to show with: a GPT with an EFI system partition and a root partition, 512 MiB in
//! all, of which some 48 MiB are data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crc_fast::{CrcAlgorithm, checksum};

const SECTOR: u64 = 512;
const SIZE: u64 = 512 << 20;
const SECTORS: u64 = SIZE / SECTOR;
/// Sectors of the partition entries: 128 of 128 bytes.
const ENTRY_SECTORS: u64 = 32;

/// EFI system partition, and root on x86-64, as they stand on disk (the first three fields of a
/// GUID are little-endian).
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const ROOT: [u8; 16] = [
    0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09,
];

/// Where the root partition begins: 64 MiB.
const ROOT_START: u64 = (64 << 20) / SECTOR;

/// Writes the image.
pub(super) fn write(path: &Path) -> io::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(SIZE)?;
    let mut protective = [0; SECTOR as usize];
    protective[446 + 4] = 0xee;
    protective[446 + 8..446 + 12].copy_from_slice(&1u32.to_le_bytes());
    let length = u32::try_from(SECTORS - 1).unwrap_or(u32::MAX);
    protective[446 + 12..446 + 16].copy_from_slice(&length.to_le_bytes());
    protective[510..].copy_from_slice(&[0x55, 0xaa]);
    file.write_all_at(&protective, 0)?;

    let last = SECTORS - ENTRY_SECTORS - 2;
    let mut entries = vec![0; (ENTRY_SECTORS * SECTOR) as usize];
    entry(&mut entries[..128], ESP, 1, 2048, ROOT_START - 1, "ESP");
    entry(&mut entries[128..256], ROOT, 2, ROOT_START, last, "nixos");
    let backup = SECTORS - 1;
    file.write_all_at(&entries, 2 * SECTOR)?;
    file.write_all_at(&header(1, backup, 2, last, &entries), SECTOR)?;
    let second = backup - ENTRY_SECTORS;
    file.write_all_at(&entries, second * SECTOR)?;
    file.write_all_at(&header(backup, 1, second, last, &entries), backup * SECTOR)?;

    // Data in runs with holes between them, as a file system leaves it.
    let mut noise = Noise(0x6e69_786f_735f_617a);
    let mut block = vec![0; 1 << 20];
    for run in 0..48 {
        noise.fill(&mut block);
        file.write_all_at(&block, ROOT_START * SECTOR + run * (8 << 20))?;
    }
    file.sync_all()
}

fn entry(into: &mut [u8], kind: [u8; 16], id: u8, first: u64, last: u64, name: &str) {
    into[..16].copy_from_slice(&kind);
    into[16..32].fill(id);
    into[32..40].copy_from_slice(&first.to_le_bytes());
    into[40..48].copy_from_slice(&last.to_le_bytes());
    for (unit, place) in name.encode_utf16().zip(into[56..].chunks_exact_mut(2)) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
}

fn header(own: u64, other: u64, entries_at: u64, last: u64, entries: &[u8]) -> [u8; 512] {
    let mut header = [0; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x1_0000u32.to_le_bytes());
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[24..32].copy_from_slice(&own.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[40..48].copy_from_slice(&(2 + ENTRY_SECTORS).to_le_bytes());
    header[48..56].copy_from_slice(&last.to_le_bytes());
    header[56..72].fill(0xaa);
    header[72..80].copy_from_slice(&entries_at.to_le_bytes());
    header[80..84].copy_from_slice(&128u32.to_le_bytes());
    header[84..88].copy_from_slice(&128u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    let own_crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&own_crc.to_le_bytes());
    header
}

fn crc32(bytes: &[u8]) -> u32 {
    // The checksum of a 32-bit algorithm fits 32 bits.
    u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or_default()
}

/// Bytes that do not compress and are the same in every run (xorshift64).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.as_chunks_mut::<8>().0 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *word = self.0.to_le_bytes();
        }
    }
}
