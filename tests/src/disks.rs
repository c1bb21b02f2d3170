//! Disk images, written independently of the library's readers.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crc_fast::{CrcAlgorithm, checksum};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// EFI system partition, BIOS boot partition, root on x86-64 and any Linux file system, as they stand
/// on disk (the first three fields of a GUID are little-endian).
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
const BIOS_BOOT: [u8; 16] = [
    0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49,
];
const ROOT: [u8; 16] = [
    0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09,
];
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// How a disk is divided, and so what can boot it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// No partition table.
    None,
    /// An MBR with one Linux partition that is active: generation 1.
    Mbr,
    /// A GPT with an EFI system partition: generation 2.
    Efi,
    /// A GPT with a BIOS boot partition and an EFI system partition: both.
    Both,
}

/// Bytes that do not compress and follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// The noise of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = length.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| self.word().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

/// Writes a raw disk image of this size: a partition table, then about one MiB in eight of noise that
/// follows from the seed, in runs of odd lengths with holes and written zeros between them.
///
/// # Panics
/// When it cannot be written, or is smaller than 8 MiB where there is to be a table.
pub fn raw(path: &Path, size: u64, table: Table, seed: u64) {
    write(path, size, table, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn write(path: &Path, size: u64, table: Table, seed: u64) -> io::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(size)?;
    let mut noise = Noise::new(seed);
    for mib in (4..size / MIB).step_by(8) {
        let at = mib * MIB + noise.below(64 * 1024);
        let length = (64 * 1024 + noise.below(960 * 1024)).min(size - 34 * SECTOR - at);
        let run = noise.bytes(usize::try_from(length).unwrap_or_default());
        file.write_all_at(&run, at)?;
        // Zeros that are no hole.
        if at + MIB + 4096 < size - 34 * SECTOR {
            file.write_all_at(&[0; 4096], at + MIB)?;
        }
    }
    match table {
        Table::None => Ok(()),
        Table::Mbr => {
            let sectors = u32::try_from(size / SECTOR - 2048).unwrap_or(u32::MAX);
            file.write_all_at(&mbr(0x83, 0x80, 2048, sectors), 0)
        }
        Table::Efi => gpt(&file, size, &[ESP, ROOT], MIB),
        Table::Both => gpt(&file, size, &[BIOS_BOOT, ESP, ROOT], MIB),
    }
}

/// A raw disk image of zeros but for a GPT with an EFI system partition of `system` bytes from 1 MiB
/// on, and a partition for Linux that says nothing of the processor.
///
/// # Panics
/// When it cannot be written.
pub fn efi(path: &Path, size: u64, system: u64) {
    let written = File::create_new(path).and_then(|file| {
        file.set_len(size)?;
        gpt(&file, size, &[ESP, LINUX], system)
    });
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn mbr(kind: u8, active: u8, start: u32, sectors: u32) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[446] = active;
    sector[450] = kind;
    sector[454..458].copy_from_slice(&start.to_le_bytes());
    sector[458..462].copy_from_slice(&sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Partitions of `each` bytes from 1 MiB on; the last one reaches to the end.
fn gpt(file: &File, size: u64, kinds: &[[u8; 16]], each: u64) -> io::Result<()> {
    let sectors = size / SECTOR;
    let last = sectors - 34;
    let mut entries = vec![0; 128 * 128];
    for (slot, kind) in kinds.iter().enumerate() {
        let first = 2048 + slot as u64 * (each / SECTOR);
        let end = if slot + 1 == kinds.len() {
            last
        } else {
            first + each / SECTOR - 1
        };
        let entry = &mut entries[slot * 128..][..128];
        entry[..16].copy_from_slice(kind);
        entry[16..32].fill(slot as u8 + 1);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&end.to_le_bytes());
    }
    let header = |own: u64, other: u64, table: u64| {
        let mut header = [0; 512];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x1_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&34_u64.to_le_bytes());
        header[48..56].copy_from_slice(&last.to_le_bytes());
        header[56..72].fill(0xaa);
        header[72..80].copy_from_slice(&table.to_le_bytes());
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let own_crc = crc32(&header[..92]);
        header[16..20].copy_from_slice(&own_crc.to_le_bytes());
        header
    };
    let protective = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    file.write_all_at(&mbr(0xee, 0, 1, protective), 0)?;
    file.write_all_at(&header(1, sectors - 1, 2), SECTOR)?;
    file.write_all_at(&entries, 2 * SECTOR)?;
    file.write_all_at(&entries, (sectors - 33) * SECTOR)?;
    file.write_all_at(
        &header(sectors - 1, 1, sectors - 33),
        (sectors - 1) * SECTOR,
    )
}

fn crc32(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or_default()
}
