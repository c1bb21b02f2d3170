//! What a qcow2 header says.

use std::ops::Range;
use std::path::Path;

use super::unpack::Packing;
use crate::disk::fault::{Fault, ONLY_FIXED, damaged, truncated};
use crate::disk::finding::{Finding, FindingKind, Severity};
use crate::disk::limits::SECTOR;
use crate::disk::read_at::{ReadAt, array_at, be32, be64, fits};
use crate::quote::path_for_shell;

/// The largest disk that two levels of tables can have at all; far above all that Azure takes.
const LARGEST: u64 = 1 << 56;
/// The most bytes of a level 1 table and of a table of reference counts: QEMU's own limits.
const LARGEST_L1: u64 = 32 << 20;
const LARGEST_REFCOUNTS: u64 = 8 << 20;
/// The longest name of a backing file.
const LONGEST_NAME: usize = 1023;

/// Incompatible features.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// Kinds of header extensions.
const BACKING_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// What a qcow2 header says, in bytes.
#[derive(Clone, Debug)]
pub(in crate::disk) struct Layout {
    pub(in crate::disk) version: u32,
    /// Size of the disk.
    pub(in crate::disk) size: u64,
    /// Size of a cluster.
    pub(in crate::disk) cluster: u64,
    /// Size of what has a state of its own: a cluster, or a subcluster.
    pub(super) unit: u64,
    /// The entries of the level 1 table that the disk needs.
    pub(super) l1: Range<u64>,
    /// The table of reference counts, as far as it is in the file.
    pub(super) refcounts: Range<u64>,
    pub(in crate::disk) packing: Packing,
    backing: Option<Backing>,
    /// Where the file ends.
    pub(super) end: u64,
    snapshots: u32,
}

/// What the image says of its backing file.
#[derive(Clone, Debug)]
struct Backing {
    name: String,
    format: Option<String>,
}

impl Layout {
    pub(in crate::disk) fn read<F: ReadAt + ?Sized>(file: &F) -> Result<Self, Fault> {
        let name = file.name();
        let wrong = |what: String| Fault::from(damaged(format!("the header of {name} {what}")));
        if file.length() < 104 {
            return Err(truncated(format!(
                "{name} has {} bytes; the header of a qcow2 image alone has 104",
                file.length()
            ))
            .into());
        }
        let head: [u8; 104] = array_at(file, 0)?;
        if !head.starts_with(b"QFI\xfb") {
            return Err(wrong("does not begin with \"QFI\"".to_owned()));
        }
        let version = be32(&head, 4);
        if !(2..=3).contains(&version) {
            return Err(unsupported(format!(
                "{name} is a qcow2 image of version {version}; 2 and 3 are read"
            )));
        }
        let bits = be32(&head, 20);
        if !(9..=21).contains(&bits) {
            return Err(wrong(format!(
                "says that clusters have 2^{bits} bytes; it can be 2^9 to 2^21"
            )));
        }
        let cluster = 1 << bits;
        let (features, length) = match version {
            2 => (0, 72),
            _ => (be64(&head, 72), u64::from(be32(&head, 100))),
        };
        if version == 3 && (length < 104 || length > cluster || length % 8 != 0) {
            return Err(wrong(format!(
                "says that it has {length} bytes itself; it can be 104 to {cluster}"
            )));
        }
        // At most 2 MiB. The header, its extensions and the name are within the first cluster.
        let mut first = vec![0; cluster.min(file.length()) as usize];
        file.read_exact_at(&mut first, 0)?;
        refuse_features(&name, features, &first, length as usize)?;
        if be32(&head, 32) != 0 {
            return Err(unsupported(format!("{name} is encrypted")));
        }
        let size = be64(&head, 24);
        if size == 0 || size > LARGEST {
            return Err(wrong(format!(
                "says that the disk has {size} bytes; it can be 512 to {LARGEST}"
            )));
        }
        if !size.is_multiple_of(SECTOR) {
            return Err(Finding::problem(
                FindingKind::UnalignedSize,
                format!("the disk in {name} has {size} bytes, no whole number of 512-byte sectors"),
                "enlarge it: `qemu-img resize FILE +SIZE`",
            )
            .azure(ONLY_FIXED)
            .into());
        }
        let unit = if features & EXTENDED_L2 == 0 {
            cluster
        } else if bits >= 14 {
            cluster / 32
        } else {
            return Err(wrong(format!(
                "says that clusters of 2^{bits} bytes have subclusters; they need 2^14"
            )));
        };
        let packing = match first.get(104).copied().unwrap_or_default() {
            _ if features & COMPRESSION == 0 => Packing::Zlib,
            _ if length < 105 => return Err(wrong("lacks the kind of compression".to_owned())),
            1 => Packing::Zstd,
            other => {
                return Err(unsupported(format!(
                    "{name} is compressed in the unknown way {other}"
                )));
            }
        };
        let mut layout = Self {
            version,
            size,
            cluster,
            unit,
            l1: 0..0,
            refcounts: 0..0,
            packing,
            backing: backing(&name, &head, &first, length)?,
            end: file.length(),
            snapshots: be32(&head, 60),
        };
        layout.l1 = layout.l1_table(&name, &head)?;
        layout.refcounts = layout.refcount_table(&name, &head)?;
        Ok(layout)
    }

    /// Bytes of an entry of a level 2 table.
    pub(super) fn entry(&self) -> u64 {
        if self.unit == self.cluster { 8 } else { 16 }
    }

    /// Bytes of the disk that one level 2 table is for.
    pub(super) fn span(&self) -> u64 {
        // At most 2^21 clusters / 8 of 2^21 bytes.
        self.cluster / self.entry() * self.cluster
    }

    fn l1_table(&self, name: &str, head: &[u8]) -> Result<Range<u64>, Fault> {
        let (start, entries) = (be64(head, 40), u64::from(be32(head, 36)));
        let needed = self.size.div_ceil(self.span());
        let wrong = |what: String| Fault::from(damaged(format!("the header of {name} {what}")));
        if entries < needed {
            return Err(wrong(format!(
                "says that the level 1 table has {entries} entries; the disk needs {needed}"
            )));
        }
        // A number of 32 bits.
        if entries * 8 > LARGEST_L1 {
            return Err(wrong(format!(
                "says that the level 1 table has {entries} entries; it can have {} at most",
                LARGEST_L1 / 8
            )));
        }
        if !start.is_multiple_of(self.cluster) || start == 0 {
            return Err(wrong(format!(
                "says that the level 1 table is at byte {start}, where no cluster begins that it could \
                 be in"
            )));
        }
        if !fits(start, needed * 8, self.end) {
            return Err(truncated(format!(
                "the level 1 table of {name}, {needed} entries at byte {start}, does not end before the \
                 file, at byte {}",
                self.end
            ))
            .into());
        }
        Ok(start..start + needed * 8)
    }

    fn refcount_table(&self, name: &str, head: &[u8]) -> Result<Range<u64>, Fault> {
        let (start, clusters) = (be64(head, 48), u64::from(be32(head, 56)));
        // 32 and 21 bits.
        let length = clusters * self.cluster;
        if !start.is_multiple_of(self.cluster) || length > LARGEST_REFCOUNTS {
            return Err(damaged(format!(
                "the header of {name} says that the table of reference counts has {length} bytes at \
                 byte {start}; it begins with a cluster and has {LARGEST_REFCOUNTS} at most"
            ))
            .into());
        }
        // Nothing is read by it; what is missing of it says nothing of the content.
        Ok(start.min(self.end)..start.saturating_add(length).min(self.end))
    }

    /// Why the image cannot be read alone, if it has a backing file.
    pub(in crate::disk) fn needs_backing<F: ReadAt + ?Sized>(&self, file: &F) -> Option<Finding> {
        let backing = self.backing.as_ref()?;
        let name = file.name();
        let shown = path_for_shell(Path::new(&name));
        Some(
            Finding::problem(
                FindingKind::NeedsParent,
                format!(
                    "{name} holds only what differs from its backing file {:?}, which is not opened \
                     unasked",
                    backing.name
                ),
                format!(
                    "if you trust that file, name it (--backing-file FILE); or merge the two: \
                     `qemu-img convert -O qcow2 {shown} NEW`"
                ),
            )
            .azure(ONLY_FIXED),
        )
    }

    /// Whether a backing file is named.
    pub(in crate::disk) fn has_backing(&self) -> bool {
        self.backing.is_some()
    }

    /// The format of the backing file, in the words of the image.
    pub(in crate::disk) fn backing_format(&self) -> Option<&str> {
        self.backing.as_ref()?.format.as_deref()
    }

    /// What to say of an image that is read.
    pub(in crate::disk) fn notes<F: ReadAt + ?Sized>(&self, file: &F) -> Option<Finding> {
        (self.snapshots > 0).then(|| {
            Finding::new(
                Severity::Note,
                FindingKind::Snapshots,
                format!("{} holds {} snapshots", file.name(), self.snapshots),
                "the disk is taken as it is now, not as it was in one of them",
            )
        })
    }
}

fn unsupported(what: String) -> Fault {
    Finding::problem(
        FindingKind::UnsupportedFeature,
        what,
        "convert it with the program that made it: `qemu-img convert -O qcow2 FILE NEW`",
    )
    .azure(ONLY_FIXED)
    .into()
}

fn refuse_features(name: &str, features: u64, first: &[u8], length: usize) -> Result<(), Fault> {
    if features & CORRUPT != 0 {
        return Err(Finding::problem(
            FindingKind::DamagedHeader,
            format!("{name} is marked as corrupt"),
            "`qemu-img check FILE` says what is wrong; `qemu-img check -r all COPY` repairs a copy, as \
             far as that is possible",
        )
        .azure(ONLY_FIXED)
        .into());
    }
    if features & DATA_FILE != 0 {
        let data_file = extension(first, length, DATA_FILE_NAME).map_or_else(
            || "a file that it does not name".to_owned(),
            |name| format!("{name:?}"),
        );
        return Err(unsupported(format!(
            "{name} has its content in another file, {data_file}, which is not opened unasked"
        )));
    }
    // A dirty image may have wrong reference counts, which reading does not need.
    let unknown = features & !(DIRTY | COMPRESSION | EXTENDED_L2);
    if unknown != 0 {
        return Err(unsupported(format!(
            "{name} uses features that are not known here (bits {unknown:#x})"
        )));
    }
    Ok(())
}

/// The text of a header extension.
fn extension(first: &[u8], header: usize, kind: u32) -> Option<String> {
    let mut rest = first.get(header..)?;
    loop {
        let (found, length) = (be32(rest, 0), be32(rest, 4) as usize);
        let data = rest.get(8..)?.get(..length)?;
        match found {
            0 => return None,
            _ if found == kind => return Some(String::from_utf8_lossy(data).into_owned()),
            _ => rest = rest.get(8 + length.next_multiple_of(8)..)?,
        }
    }
}

fn backing(name: &str, head: &[u8], first: &[u8], header: u64) -> Result<Option<Backing>, Fault> {
    let (offset, length) = (be64(head, 8), be32(head, 16) as usize);
    if offset == 0 {
        return Ok(None);
    }
    let text = usize::try_from(offset)
        .ok()
        .and_then(|start| first.get(start..start.checked_add(length)?))
        .filter(|_| (1..=LONGEST_NAME).contains(&length) && offset >= header);
    let Some(text) = text else {
        return Err(damaged(format!(
            "the header of {name} says that the name of the backing file has {length} bytes at byte \
             {offset}; it is in the first cluster and has 1 to {LONGEST_NAME}"
        ))
        .into());
    };
    Ok(Some(Backing {
        name: String::from_utf8_lossy(text).into_owned(),
        format: extension(first, header as usize, BACKING_FORMAT),
    }))
}
