//! The table in the first sector.

use super::{Partition, PartitionKind, PartitionScheme, PartitionTable};
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::generation::Generations;
use crate::disk::limits::SECTOR;
use crate::disk::zero::is_zero;

/// Bytes of boot code before the disk signature and the table.
const CODE: usize = 440;
const TABLE: usize = 446;
const ENTRY: usize = 16;

/// A first sector that holds at least one partition.
#[derive(Debug)]
pub(super) struct Mbr {
    entries: Vec<Partition>,
    numbers: Vec<u8>,
    has_code: bool,
}

impl Mbr {
    /// `None` for a sector without the signature, and for the boot sector of a file system, which
    /// has the same signature and something else where the table would be.
    pub(super) fn parse(sector: &[u8; 512]) -> Option<Self> {
        if sector[510..] != [0x55, 0xaa] {
            return None;
        }
        let (entries, _) = sector[TABLE..510].as_chunks::<ENTRY>();
        if entries.iter().any(|entry| entry[0] & 0x7f != 0) {
            return None;
        }
        let mut mbr = Self {
            entries: Vec::new(),
            numbers: Vec::new(),
            has_code: !is_zero(&sector[..CODE]),
        };
        for (number, entry) in (1..).zip(entries) {
            let field = |at: usize| {
                u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
            };
            let (kind, start, length) = (entry[4], field(8), field(12));
            if kind == 0 || length == 0 {
                continue;
            }
            mbr.numbers.push(kind);
            mbr.entries.push(Partition {
                number,
                kind: PartitionKind::of_mbr(kind),
                type_id: format!("{kind:#04x}"),
                name: String::new(),
                start: u64::from(start) * SECTOR,
                size: u64::from(length) * SECTOR,
                active: entry[0] == 0x80,
            });
        }
        (!mbr.entries.is_empty()).then_some(mbr)
    }

    /// Whether one entry says that the real table is a GPT. There may be others beside it, which
    /// repeat partitions for a BIOS.
    pub(super) fn announces_gpt(&self) -> bool {
        self.numbers.contains(&0xee)
    }

    /// Where the partitions end, in bytes. The entry that stands for a GPT ends with the disk.
    pub(super) fn ends(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|one| one.start + one.size)
    }

    pub(super) fn describe(self, table: &mut PartitionTable) {
        table.scheme = PartitionScheme::Mbr;
        table.partitions = self.entries;
        table.generations = Generations::V1;
        if table.has(PartitionKind::EfiSystem) {
            let bootable = self.has_code || table.partitions.iter().any(|one| one.active);
            if !bootable {
                table.generations = Generations::NONE;
            }
            table.findings.push(Finding::warning(
                FindingKind::Generation,
                "the disk has an EFI system partition in an MBR; Azure boots UEFI machines from a \
                 GPT only, by its documentation",
                if bootable {
                    "it is taken for generation V1 (BIOS), since it also has what a BIOS boots; \
                     make the image with a GPT for V2"
                } else {
                    "a BIOS finds nothing to boot on it either: make the image with a GPT"
                },
            ));
        }
    }
}
