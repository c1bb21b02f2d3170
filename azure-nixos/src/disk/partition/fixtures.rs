//! Disks with partition tables, written independently of the reader.

use uuid::{Uuid, uuid};

use crate::disk::MemoryImage;

pub(in crate::disk) const ESP: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
pub(in crate::disk) const BIOS_BOOT: Uuid = uuid!("21686148-6449-6e6f-744e-656564454649");
pub(in crate::disk) const LINUX: Uuid = uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
pub(in crate::disk) const ROOT_X64: Uuid = uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
pub(in crate::disk) const ROOT_ARM64: Uuid = uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae");

/// Type, first sector, sectors, active.
pub(in crate::disk) type Entry = (u8, u32, u32, bool);

pub(in crate::disk) fn mbr_sector(entries: &[Entry]) -> [u8; 512] {
    let mut sector = [0; 512];
    for (slot, (kind, start, length, active)) in entries.iter().enumerate() {
        let at = 446 + 16 * slot;
        sector[at] = if *active { 0x80 } else { 0 };
        sector[at + 4] = *kind;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&length.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

pub(in crate::disk) fn mbr(size: u64, entries: &[Entry]) -> MemoryImage {
    let mut disk = MemoryImage::new(size).unwrap();
    disk.write(0, &mbr_sector(entries)).unwrap();
    disk
}

/// A GPT with partitions of 1 MiB, one after the other from 1 MiB on, and the last one up to the
/// end.
pub(in crate::disk) struct Gpt {
    types: Vec<Uuid>,
    sector: u64,
}

impl Gpt {
    pub(in crate::disk) fn new(types: &[Uuid]) -> Self {
        Self {
            types: types.to_vec(),
            sector: 512,
        }
    }

    pub(in crate::disk) fn sectors(mut self, bytes: u64) -> Self {
        self.sector = bytes;
        self
    }

    pub(in crate::disk) fn build(&self, size: u64) -> MemoryImage {
        let sector = self.sector;
        let count = size / sector;
        let table = (128 * 128) / sector;
        let mut entries = vec![0; 128 * 128];
        for (slot, kind) in self.types.iter().enumerate() {
            let first = (slot as u64 + 1) * (1 << 20) / sector;
            let last = if slot + 1 == self.types.len() {
                count - table - 2
            } else {
                first + (1 << 20) / sector - 1
            };
            let entry = &mut entries[slot * 128..slot * 128 + 128];
            entry[..16].copy_from_slice(&kind.to_bytes_le());
            entry[16] = slot as u8 + 1;
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (unit, pair) in format!("part-{slot}").encode_utf16().zip((56..).step_by(2)) {
                entry[pair..pair + 2].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let header = |own: u64, other: u64, start: u64| {
            let mut header = [0; 512];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            header[24..32].copy_from_slice(&own.to_le_bytes());
            header[32..40].copy_from_slice(&other.to_le_bytes());
            header[40..48].copy_from_slice(&(table + 2).to_le_bytes());
            header[48..56].copy_from_slice(&(count - table - 2).to_le_bytes());
            header[72..80].copy_from_slice(&start.to_le_bytes());
            header[80..84].copy_from_slice(&128u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
            seal(&mut header);
            header
        };
        let sectors = u32::try_from(count - 1).unwrap_or(u32::MAX);
        let mut disk = mbr(size, &[(0xee, 1, sectors, false)]);
        disk.write(sector, &header(1, count - 1, 2)).unwrap();
        disk.write(2 * sector, &entries).unwrap();
        disk.write((count - table - 1) * sector, &entries).unwrap();
        disk.write(
            (count - 1) * sector,
            &header(count - 1, 1, count - table - 1),
        )
        .unwrap();
        disk
    }
}

/// Puts the right checksum into a header of 92 bytes.
pub(in crate::disk) fn seal(header: &mut [u8; 512]) {
    header[16..20].fill(0);
    let checksum = crc32(&header[..92]);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
}

/// Bit by bit, so that the library's checksum is not its own judge.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
        crc
    })
}
