//! The beginning of a VHDX: its two headers and the table of its regions.

use std::ops::Range;

use uuid::Uuid;

use super::checksum;
use crate::disk::fault::{Fault, ONLY_FIXED, damaged, truncated};
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::limits::MIB;
use crate::disk::read_at::{ReadAt, array_at, fits, le16, le32, le64};

const KIB: u64 = 1 << 10;
/// Where the two headers are, each of [`HEADER`] bytes.
const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
const HEADER: usize = 4096;
/// Where the two copies of the region table are, each of [`TABLE`] bytes.
const TABLES: [u64; 2] = [192 * KIB, 256 * KIB];
const TABLE: usize = 64 << 10;
/// The most entries that a region table or a metadata table has room for.
pub(super) const ENTRIES: usize = 2047;
/// Bytes of an entry of either table, and of what comes before the entries.
pub(super) const ENTRY: usize = 32;

const BAT: Uuid = Uuid::from_u128(0x2dc2_7766_f623_4200_9d64_115e_9bfd_4a08);
const METADATA: Uuid = Uuid::from_u128(0x8b7c_a206_4790_4b9a_b8fe_575f_050f_886e);

/// Where the parts of the file are, in bytes.
#[derive(Debug)]
pub(super) struct Regions {
    pub(super) bat: Range<u64>,
    pub(super) metadata: Range<u64>,
    /// What nothing else may lie in: the headers, the log, all regions.
    pub(super) owned: Vec<(&'static str, Range<u64>)>,
}

impl Regions {
    pub(super) fn read<F: ReadAt + ?Sized>(file: &F) -> Result<Self, Fault> {
        let name = file.name();
        if file.length() < MIB {
            return Err(truncated(format!(
                "{name} has {} bytes; the headers of a VHDX alone have 1 MiB",
                file.length()
            ))
            .into());
        }
        let mut owned = vec![("headers", 0..MIB)];
        if let Some(log) = log(file, &name)? {
            owned.push(("log", log));
        }
        let (offset, table) = region_table(file, &name)?;
        let wrong = |what: String| {
            Fault::from(damaged(format!(
                "the region table at byte {offset} of {name} {what}"
            )))
        };
        let count = le32(&table, 8) as usize;
        if count > ENTRIES {
            return Err(wrong(format!(
                "says that it has {count} entries; there is room for {ENTRIES}"
            )));
        }
        let (mut bat, mut metadata) = (None, None);
        for (index, entry) in table[16..]
            .as_chunks::<ENTRY>()
            .0
            .iter()
            .take(count)
            .enumerate()
        {
            let kind = guid(entry);
            let (start, length) = (le64(entry, 16), u64::from(le32(entry, 24)));
            let required = le32(entry, 28) & 1 == 1;
            if start < MIB || start % MIB != 0 || length == 0 || length % MIB != 0 {
                return Err(wrong(format!(
                    "has an entry {index} for {length} bytes at byte {start}; both must be whole MiB \
                     and neither 0"
                )));
            }
            if !fits(start, length, file.length()) {
                return Err(truncated(format!(
                    "the region {index} of {name}, {length} bytes at byte {start}, does not end before \
                     the file, at byte {}",
                    file.length()
                ))
                .into());
            }
            let range = start..start + length;
            let (what, slot) = match kind {
                BAT => ("block table", &mut bat),
                METADATA => ("metadata", &mut metadata),
                _ if required => {
                    return Err(Finding::problem(
                        FindingKind::UnsupportedFeature,
                        format!(
                            "{name} has a region of the unknown kind {kind} that must be understood"
                        ),
                        "convert it with the program that made it",
                    )
                    .azure(ONLY_FIXED)
                    .into());
                }
                _ => {
                    owned.push(("unknown region", range));
                    continue;
                }
            };
            if slot.replace(range.clone()).is_some() {
                return Err(wrong(format!("has two entries for the {what}")));
            }
            owned.push((what, range));
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Self {
                bat,
                metadata,
                owned,
            }),
            (None, _) => Err(wrong("has no entry for the block table".to_owned())),
            (_, None) => Err(wrong("has no entry for the metadata".to_owned())),
        }
    }
}

/// A GUID as it lies in the file: the first three fields little-endian.
pub(super) fn guid(entry: &[u8]) -> Uuid {
    entry
        .first_chunk()
        .map_or(Uuid::nil(), |bytes| Uuid::from_bytes_le(*bytes))
}

/// Where the log is. It must be empty.
fn log<F: ReadAt + ?Sized>(file: &F, name: &str) -> Result<Option<Range<u64>>, Fault> {
    let header = current_header(file, name)?;
    let version = le16(&header, 66);
    if version != 1 {
        return Err(damaged(format!("{name} has the unknown VHDX version {version}")).into());
    }
    if guid(&header[48..]) != Uuid::nil() {
        return Err(Finding::problem(
            FindingKind::DirtyLog,
            format!("{name} was not closed cleanly: its log holds changes that it needs"),
            "let them be carried out, best in a copy: `qemu-img check -r all COPY`, or on Windows \
             Mount-VHD and Dismount-VHD; then use the copy",
        )
        .azure(ONLY_FIXED)
        .into());
    }
    let (length, start) = (u64::from(le32(&header, 68)), le64(&header, 72));
    if length == 0 {
        return Ok(None);
    }
    if start < MIB || start % MIB != 0 || length % MIB != 0 || !fits(start, length, file.length()) {
        return Err(damaged(format!(
            "the header of {name} says that its log has {length} bytes at byte {start}, which cannot be"
        ))
        .into());
    }
    Ok(Some(start..start + length))
}

/// The header with the higher sequence number, of those that are whole.
fn current_header<F: ReadAt + ?Sized>(file: &F, name: &str) -> Result<[u8; HEADER], Fault> {
    let mut current: Option<[u8; HEADER]> = None;
    for offset in HEADERS {
        let header: [u8; HEADER] = array_at(file, offset)?;
        if !header.starts_with(b"head") || le32(&header, 4) != checksum(&header) {
            continue;
        }
        let number = le64(&header, 8);
        match &current {
            Some(other) if le64(other, 8) > number => {}
            Some(other) if le64(other, 8) == number && *other != header => {
                return Err(damaged(format!(
                    "the headers at bytes {} and {} of {name} have the same sequence number {number} \
                     and differ",
                    HEADERS[0], HEADERS[1]
                ))
                .into());
            }
            _ => current = Some(header),
        }
    }
    current.ok_or_else(|| {
        damaged(format!(
            "neither of the headers at bytes {} and {} of {name} is whole: the mark \"head\" or the \
             checksum is wrong",
            HEADERS[0], HEADERS[1]
        ))
        .into()
    })
}

/// The first copy of the region table that is whole, and where it is.
fn region_table<F: ReadAt + ?Sized>(file: &F, name: &str) -> Result<(u64, Vec<u8>), Fault> {
    for offset in TABLES {
        let mut table = vec![0; TABLE];
        file.read_exact_at(&mut table, offset)?;
        if table.starts_with(b"regi") && le32(&table, 4) == checksum(&table) {
            return Ok((offset, table));
        }
    }
    Err(damaged(format!(
        "neither of the region tables at bytes {} and {} of {name} is whole: the mark \"regi\" or the \
         checksum is wrong",
        TABLES[0], TABLES[1]
    ))
    .into())
}
