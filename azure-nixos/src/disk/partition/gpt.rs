//! The GUID partition table: a header and entries at both ends of the disk, each with a checksum.

use crc_fast::CrcAlgorithm::Crc32IsoHdlc;
use uuid::Uuid;

use super::{Partition, PartitionKind, PartitionScheme, PartitionTable};
use crate::Result;
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::generation::Generations;
use crate::disk::source::DiskSource;

const SIGNATURE: &[u8; 8] = b"EFI PART";
/// Bytes of the header that have a meaning.
const HEADER: usize = 92;
/// Most entry bytes that are read: 64 times what every tool writes, and little memory.
const MAX_ENTRIES: u64 = 1 << 20;

/// What one copy of the table is.
enum Copy {
    Absent,
    Damaged(&'static str),
    Whole(Vec<Partition>),
}

/// Fills the table in when there is a GPT or traces of one. `announced` says whether the MBR
/// points to it.
pub(super) fn read<S: DiskSource + ?Sized>(
    source: &S,
    announced: bool,
    table: &mut PartitionTable,
) -> Result<()> {
    let size = source.virtual_size();
    for sector in [512, 4096] {
        let last = (size / sector).saturating_sub(1);
        let (primary, alternate) = read_copy(source, sector, 1)?;
        let (partitions, damage) = match primary {
            Copy::Whole(partitions) => (partitions, None),
            Copy::Absent | Copy::Damaged(_) => {
                let damage = match primary {
                    Copy::Damaged(damage) => damage,
                    _ => "its signature is missing",
                };
                // Where the header says, if it says anything; else where it belongs.
                let mut backup = Copy::Absent;
                for lba in [alternate, last] {
                    if lba > 1 && lba <= last && !matches!(backup, Copy::Whole(_)) {
                        backup = read_copy(source, sector, lba)?.0;
                    }
                }
                match (primary, backup) {
                    (_, Copy::Whole(partitions)) => (partitions, Some(damage)),
                    (Copy::Absent, _) => continue,
                    _ => {
                        table.findings.push(
                            Finding::problem(
                                FindingKind::DamagedPartitionTable,
                                format!(
                                    "the partition table (GPT) is damaged: {damage}, and there is no good backup of it"
                                ),
                                "build or fetch the image again",
                            )
                            .azure("nothing: the disk would be taken, and no machine could boot from it"),
                        );
                        return Ok(());
                    }
                }
            }
        };
        // Without the MBR's word a lone backup is what an earlier use of the disk left behind.
        if !announced && damage.is_some() {
            continue;
        }
        table.scheme = PartitionScheme::Gpt;
        table.sector_size = sector;
        table.partitions = partitions;
        table.from_backup = damage.is_some();
        if let Some(damage) = damage {
            table.findings.push(Finding::warning(
                FindingKind::DamagedPartitionTable,
                format!("the first copy of the partition table (GPT) is damaged: {damage}; its backup is good and was read"),
                "Linux does the same, firmware may not: repair it in the image with `sgdisk -e` or `gdisk`",
            ));
        }
        judge(table, announced);
        return Ok(());
    }
    if announced && table.findings.is_empty() {
        table.findings.push(
            Finding::problem(
                FindingKind::DamagedPartitionTable,
                "the first sector says that the disk has a GPT, but there is none",
                "build or fetch the image again",
            )
            .azure("nothing: the disk would be taken, and no machine could boot from it"),
        );
    }
    Ok(())
}

fn judge(table: &mut PartitionTable, announced: bool) {
    if table.sector_size != 512 {
        table.findings.push(
            Finding::problem(
                FindingKind::SectorSize,
                format!(
                    "the partition table counts in sectors of {} bytes; Azure's disks have 512",
                    table.sector_size
                ),
                "build the image for 512-byte sectors",
            )
            .azure("nothing: the disk would be taken, and no machine would find its partitions"),
        );
    } else if announced {
        table.generations = Generations::of(
            table.has(PartitionKind::BiosBoot),
            table.has(PartitionKind::EfiSystem),
        );
    } else {
        table.findings.push(Finding::warning(
            FindingKind::Generation,
            "the disk has a GPT without a protective MBR: neither firmware nor Linux looks at it",
            "write the first sector again with `gdisk` or `parted`",
        ));
    }
}

/// Reads the copy whose header is at `lba`. The second value is where the header says that the
/// other copy is, 0 when it says nothing.
fn read_copy<S: DiskSource + ?Sized>(source: &S, sector: u64, lba: u64) -> Result<(Copy, u64)> {
    let size = source.virtual_size();
    let mut bytes = [0; 512];
    // The disk can be smaller than two large sectors.
    let Some(at) = lba
        .checked_mul(sector)
        .filter(|at| at.checked_add(512).is_some_and(|end| end <= size))
    else {
        return Ok((Copy::Absent, 0));
    };
    source.read_exact_at(&mut bytes, at)?;
    if !bytes.starts_with(SIGNATURE) {
        return Ok((Copy::Absent, 0));
    }
    let short =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(short(at)) | u64::from(short(at + 4)) << 32;
    let alternate = long(32);
    let damaged = |what| Ok((Copy::Damaged(what), alternate));
    let length = short(12) as usize;
    if !(HEADER..=bytes.len()).contains(&length) {
        return damaged("its header has an impossible length");
    }
    let mut checked = bytes;
    checked[16..20].fill(0);
    if crc32(&checked[..length]) != short(16) {
        return damaged("the checksum of its header is wrong");
    }
    if long(24) != lba {
        return damaged("its header belongs to another place");
    }
    let (first, count, entry) = (long(72), u64::from(short(80)), u64::from(short(84)));
    let total = count
        .checked_mul(entry)
        .filter(|total| *total <= MAX_ENTRIES);
    let start = first.checked_mul(sector);
    let (Some(total), Some(start), true) = (total, start, entry >= 128 && entry.is_multiple_of(8))
    else {
        return damaged("its entries have an impossible size");
    };
    if start.checked_add(total).is_none_or(|end| end > size) {
        return damaged("its entries lie outside the disk");
    }
    let mut entries = vec![0; total as usize];
    source.read_exact_at(&mut entries, start)?;
    if crc32(&entries) != short(88) {
        return damaged("the checksum of its entries is wrong");
    }
    let partitions = entries
        .chunks_exact(entry as usize)
        .zip(1..)
        .filter_map(|(entry, number)| partition(entry, number, sector))
        .collect();
    Ok((Copy::Whole(partitions), alternate))
}

fn partition(entry: &[u8], number: u32, sector: u64) -> Option<Partition> {
    let guid = Uuid::from_bytes_le(*entry.first_chunk()?);
    if guid.is_nil() {
        return None;
    }
    let long = |at: usize| -> Option<u64> {
        entry
            .get(at..)?
            .first_chunk()
            .copied()
            .map(u64::from_le_bytes)
    };
    let (first, last) = (long(32)?, long(40)?);
    let (units, _) = entry.get(56..128)?.as_chunks::<2>();
    let units: Vec<u16> = units
        .iter()
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|&unit| unit != 0)
        .collect();
    Some(Partition {
        number,
        kind: PartitionKind::of_guid(guid),
        type_id: guid.to_string(),
        name: String::from_utf16_lossy(&units),
        start: first.saturating_mul(sector),
        // The last sector is inclusive.
        size: last
            .saturating_add(1)
            .saturating_sub(first)
            .saturating_mul(sector),
        active: false,
    })
}

fn crc32(bytes: &[u8]) -> u32 {
    // A 32-bit checksum in a 64-bit answer.
    crc_fast::checksum(Crc32IsoHdlc, bytes) as u32
}
