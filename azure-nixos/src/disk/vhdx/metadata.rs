//! The metadata of a VHDX: sizes, and the parent of a differencing disk.

use std::ops::Range;

use uuid::Uuid;

use super::regions::{ENTRIES, ENTRY, guid};
use crate::disk::fault::{Fault, ONLY_FIXED, damaged, parent_called};
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::limits::{MIB, SECTOR};
use crate::disk::read_at::{ReadAt, array_at, fits, le16, le32};

/// Bytes of the table at the beginning of the region; the items come behind it.
const TABLE: usize = 64 << 10;
/// The largest disk: 64 TiB.
const LARGEST: u64 = 64 << 40;

const FILE_PARAMETERS: Uuid = Uuid::from_u128(0xcaa1_6737_fa36_4d43_b3b6_33f0_aa44_e76b);
const DISK_SIZE: Uuid = Uuid::from_u128(0x2fa5_4224_cd1b_4876_b211_5dbe_d83b_f4b8);
const DISK_ID: Uuid = Uuid::from_u128(0xbeca_12ab_b2e6_4523_93ef_c309_e000_c746);
const LOGICAL_SECTOR: Uuid = Uuid::from_u128(0x8141_bf1d_a96f_4709_ba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR: Uuid = Uuid::from_u128(0xcda3_48c7_445d_4471_9cc9_e988_5251_c556);
const PARENT_LOCATOR: Uuid = Uuid::from_u128(0xa8d3_5f2d_b30b_454d_abf7_d3d8_4834_ab0c);

/// What the metadata says, in bytes.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) size: u64,
    pub(super) block: u64,
    pub(super) fixed: bool,
}

/// Where the items are in the file.
#[derive(Debug, Default)]
struct Items {
    parameters: Option<Range<u64>>,
    size: Option<Range<u64>>,
    sector: Option<Range<u64>>,
    parent: Option<Range<u64>>,
}

impl Metadata {
    pub(super) fn read<F: ReadAt + ?Sized>(file: &F, region: &Range<u64>) -> Result<Self, Fault> {
        let name = file.name();
        let items = items(file, region)?;
        let parameters: [u8; 8] = item(file, items.parameters.as_ref(), "file parameters")?;
        let (block, flags) = (u64::from(le32(&parameters, 0)), le32(&parameters, 4));
        if flags & 2 != 0 {
            return Err(needs_parent(file, items.parent.as_ref())?.into());
        }
        let sector = u32::from_le_bytes(item(file, items.sector.as_ref(), "logical sector size")?);
        if sector == 4096 {
            return Err(Finding::problem(
                FindingKind::SectorSize,
                format!(
                    "{name} is a disk with sectors of 4096 bytes, and Azure's have 512: its partition \
                     table would not be found"
                ),
                "copy its partitions to a disk with 512-byte sectors \
                 (New-VHD -LogicalSectorSizeBytes 512), or build the image as one",
            )
            .azure("nothing: the disk would be taken, and no machine could boot from it")
            .into());
        }
        let wrong = |what: String| Fault::from(damaged(format!("the metadata of {name} {what}")));
        if u64::from(sector) != SECTOR {
            return Err(wrong(format!(
                "says that sectors have {sector} bytes; it can be 512 or 4096"
            )));
        }
        if !block.is_power_of_two() || !(MIB..=256 * MIB).contains(&block) {
            return Err(wrong(format!(
                "says that blocks have {block} bytes; it can be a power of two from 1 to 256 MiB"
            )));
        }
        let size = u64::from_le_bytes(item(file, items.size.as_ref(), "disk size")?);
        if size == 0 || size % SECTOR != 0 || size > LARGEST {
            return Err(wrong(format!(
                "says that the disk has {size} bytes; a VHDX has a whole number of sectors and at most \
                 {LARGEST} bytes"
            )));
        }
        Ok(Self {
            size,
            block,
            fixed: flags & 1 != 0,
        })
    }
}

fn items<F: ReadAt + ?Sized>(file: &F, region: &Range<u64>) -> Result<Items, Fault> {
    let name = file.name();
    let offset = region.start;
    let wrong = |what: String| {
        Fault::from(damaged(format!(
            "the metadata table at byte {offset} of {name} {what}"
        )))
    };
    // A region has a whole number of MiB, so the table is within.
    let mut table = vec![0; TABLE];
    file.read_exact_at(&mut table, offset)?;
    if !table.starts_with(b"metadata") {
        return Err(wrong("does not begin with \"metadata\"".to_owned()));
    }
    let count = usize::from(le16(&table, 10));
    if count > ENTRIES {
        return Err(wrong(format!(
            "says that it has {count} entries; there is room for {ENTRIES}"
        )));
    }
    let mut items = Items::default();
    for (index, entry) in table[ENTRY..]
        .as_chunks::<ENTRY>()
        .0
        .iter()
        .take(count)
        .enumerate()
    {
        let kind = guid(entry);
        let (start, length) = (u64::from(le32(entry, 16)), u64::from(le32(entry, 20)));
        let flags = le32(entry, 24);
        let (user, required) = (flags & 1 == 1, flags & 4 == 4);
        let slot = match kind {
            _ if user && !required => continue,
            FILE_PARAMETERS if !user => &mut items.parameters,
            DISK_SIZE if !user => &mut items.size,
            LOGICAL_SECTOR if !user => &mut items.sector,
            PARENT_LOCATOR if !user => &mut items.parent,
            // What the machine is told of the disk; nothing is read by it.
            DISK_ID | PHYSICAL_SECTOR if !user => continue,
            _ if required => {
                return Err(Finding::problem(
                    FindingKind::UnsupportedFeature,
                    format!(
                        "{name} has metadata of the unknown kind {kind} that must be understood"
                    ),
                    "convert it with the program that made it",
                )
                .azure(ONLY_FIXED)
                .into());
            }
            _ => continue,
        };
        if start < TABLE as u64 || !fits(start, length, region.end - region.start) {
            return Err(wrong(format!(
                "has an entry {index} for {length} bytes {start} bytes into the region, which ends \
                 after {} bytes",
                region.end - region.start
            )));
        }
        // Both are within the region.
        if slot
            .replace(offset + start..offset + start + length)
            .is_some()
        {
            return Err(wrong(format!("has two entries of the kind {kind}")));
        }
    }
    Ok(items)
}

/// The first bytes of an item that must be there.
fn item<const N: usize, F: ReadAt + ?Sized>(
    file: &F,
    range: Option<&Range<u64>>,
    what: &str,
) -> Result<[u8; N], Fault> {
    let range = range.ok_or_else(|| {
        damaged(format!(
            "the metadata of {} has no entry for the {what}",
            file.name()
        ))
    })?;
    if range.end - range.start < N as u64 {
        return Err(damaged(format!(
            "the {what} in the metadata of {}, at byte {}, has {} bytes instead of {N}",
            file.name(),
            range.start,
            range.end - range.start
        ))
        .into());
    }
    Ok(array_at(file, range.start)?)
}

fn needs_parent<F: ReadAt + ?Sized>(
    file: &F,
    locator: Option<&Range<u64>>,
) -> Result<Finding, Fault> {
    let parent = match locator {
        Some(range) => parent_name(file, range)?,
        None => None,
    };
    Ok(Finding::problem(
        FindingKind::NeedsParent,
        format!(
            "{} is a differencing VHDX: it holds only what differs from {}",
            file.name(),
            parent_called(parent.as_deref())
        ),
        "merge it into its parent (Merge-VHD, or the tool that made it) and use the result",
    )
    .azure(ONLY_FIXED))
}

/// The path of the parent out of the locator: pairs of a key and a value, both UTF-16.
fn parent_name<F: ReadAt + ?Sized>(file: &F, range: &Range<u64>) -> Result<Option<String>, Fault> {
    // More than any path needs.
    let length = (range.end - range.start).min(TABLE as u64);
    let mut locator = vec![0; length as usize];
    file.read_exact_at(&mut locator, range.start)?;
    let text = |offset: usize, length: usize| -> Option<String> {
        let bytes = locator.get(offset..offset.checked_add(length)?)?;
        let units = bytes
            .as_chunks()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit));
        Some(String::from_utf16_lossy(&units.collect::<Vec<_>>()))
    };
    let mut best: Option<(usize, String)> = None;
    let pairs = usize::from(le16(&locator, 18)).min(64);
    for pair in locator
        .get(20..)
        .unwrap_or_default()
        .as_chunks::<12>()
        .0
        .iter()
        .take(pairs)
    {
        let place = |offset: usize, length: usize| {
            text(le32(pair, offset) as usize, usize::from(le16(pair, length)))
        };
        let (Some(key), Some(value)) = (place(0, 8), place(4, 10)) else {
            continue;
        };
        // What says most to a reader first.
        let order = [
            "absolute_win32_path",
            "relative_path",
            "volume_path",
            "parent_linkage",
        ];
        if let Some(rank) = order.iter().position(|known| *known == key)
            && best.as_ref().is_none_or(|(other, _)| rank < *other)
        {
            best = Some((rank, value));
        }
    }
    Ok(best.map(|(_, value)| value))
}
