//! What an upload does with an image, and what must hold whatever the image is.

use std::ops::Range;
use std::path::Path;

use azure_nixos::disk::limits::padded_size;
use azure_nixos::disk::vhd::Footer;
use azure_nixos::disk::{DiskImage, DiskSource, InspectOptions, OpenOptions, inspect_with};
use azure_nixos::{Error, ErrorKind};

/// Extents that are looked at: more than any image has that is not made up.
const MOST_EXTENTS: usize = 1 << 14;
/// Bytes that are read of one disk.
const MOST_BYTES: u64 = 4 << 20;
/// Bytes that are read at a time.
const CHUNK: u64 = 64 << 10;

/// What was seen of a disk: the same for the same image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    size: u64,
    extents: Vec<Range<u64>>,
    /// A checksum of what was read, or what the reader said instead.
    content: Result<u64, String>,
}

/// Looks at an image, opens it and reads it, twice: as it is, and with repair. `None` when it is
/// refused either way.
pub(super) fn upload(path: &Path, options: &OpenOptions) -> Option<DiskImage> {
    let (plain, seen) = look(path, options).unzip();
    let (repaired, again) = look(path, &options.clone().repair(true)).unzip();
    if let Some(seen) = seen {
        // What needs no repair is not changed by it.
        assert_eq!(Some(seen), again, "{plain:?} {repaired:?}");
    }
    plain.or(repaired)
}

fn look(path: &Path, options: &OpenOptions) -> Option<(DiskImage, Seen)> {
    let name = path.display().to_string();
    let report = inspect_with(path, InspectOptions::quick(), options);
    let disk = DiskImage::open_with(path, options);
    match (&report, &disk) {
        (Ok(report), Ok(disk)) => {
            assert_eq!(report.format, disk.format());
            assert_eq!(report.virtual_size, Some(disk.virtual_size()));
            let content = report.content.as_ref();
            let sum = content.map(|content| content.data + content.holes);
            assert_eq!(sum, Some(disk.virtual_size()));
            assert!(report.partitions.is_some());
        }
        (Ok(report), Err(error)) => {
            assert!(!report.uploadable, "{error}: {report:?}");
            explained(error, &name);
        }
        // The tables are right, and what they lead to is not.
        (Err(error), Ok(_)) => explained(error, "byte"),
        (Err(error), Err(_)) => explained(error, &name),
    }
    let disk = disk.ok()?;
    let seen = walk(&disk);
    if let Ok(Some(footer)) = disk.footer() {
        let right = Footer::parse(&footer)
            .and_then(|footer| footer.check_fixed(padded_size(disk.virtual_size())));
        assert_eq!(right, Ok(()), "the footer that would be sent");
    }
    Some((disk, seen))
}

/// An error for a user says what happened to which thing, and what to do.
fn explained(error: &Error, thing: &str) {
    assert_ne!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains(thing), "{error}");
    if error.kind() == ErrorKind::InvalidImage {
        assert!(error.hint().is_some(), "{error}");
    }
}

/// Goes over all extents of a disk and reads the first of their bytes.
pub(super) fn walk(disk: &dyn DiskSource) -> Seen {
    let size = disk.virtual_size();
    assert!(size > 0 && size.is_multiple_of(512), "{size}");
    for (length, at) in [(1, size), (2, size - 1), (1, u64::MAX), (512, size - 511)] {
        assert!(disk.read_exact_at(&mut vec![0; length], at).is_err());
    }
    assert!(matches!(disk.next_extent(size), Ok(None)));
    let mut seen = Seen {
        size,
        extents: Vec::new(),
        content: Ok(0),
    };
    let mut at = 0;
    while seen.extents.len() < MOST_EXTENTS {
        let extent = match disk.next_extent(at) {
            Ok(Some(extent)) => extent,
            Ok(None) => break,
            Err(error) => {
                explained(&error, "byte");
                seen.content = Err(error.to_string());
                return seen;
            }
        };
        assert!(
            extent.start >= at && !extent.is_empty() && extent.end <= size,
            "{extent:?}"
        );
        at = extent.end;
        seen.extents.push(extent);
    }
    seen.content = read(disk, &seen.extents).map_err(|error| {
        explained(&error, "byte");
        error.to_string()
    });
    if seen.content.is_ok() && !disk.is_sequential() {
        gaps(disk, &seen.extents);
    }
    seen
}

fn read(disk: &dyn DiskSource, extents: &[Range<u64>]) -> Result<u64, Error> {
    let mut sum = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    let mut buffer = Vec::new();
    let mut left = MOST_BYTES;
    for extent in extents {
        let mut at = extent.start;
        while at < extent.end && left > 0 {
            let length = CHUNK.min(extent.end - at).min(left);
            buffer.resize(length as usize, 0xa5);
            disk.read_exact_at(&mut buffer, at)?;
            sum.update(&buffer);
            at += length;
            left -= length;
        }
    }
    Ok(sum.finalize())
}

/// What is in no extent reads as zeros: a sector at each end of the first gaps.
fn gaps(disk: &dyn DiskSource, extents: &[Range<u64>]) {
    let mut at = 0;
    for extent in extents.iter().take(16) {
        for start in [at, extent.start.saturating_sub(512)] {
            let end = extent.start.min(start + 512);
            if start >= at && start < end {
                let mut buffer = vec![0xa5; (end - start) as usize];
                if disk.read_exact_at(&mut buffer, start).is_ok() {
                    let zero = buffer.iter().all(|byte| *byte == 0);
                    assert!(zero, "data at byte {start}, which is in no extent");
                }
            }
        }
        at = extent.end;
    }
}

/// Two readers of one image give the same bytes.
pub(super) fn compare(one: &dyn DiskSource, other: &dyn DiskSource) {
    assert_eq!(one.virtual_size(), other.virtual_size());
    for (lister, reader) in [(one, other), (other, one)] {
        let mut left = MOST_BYTES / 4;
        let mut at = 0;
        while let Ok(Some(extent)) = lister.next_extent(at)
            && left > 0
        {
            at = extent.end.min(extent.start + CHUNK.min(left));
            left -= at - extent.start;
            let length = (at - extent.start) as usize;
            let (mut a, mut b) = (vec![0xa5; length], vec![0x5a; length]);
            let a_read = lister.read_exact_at(&mut a, extent.start);
            let b_read = reader.read_exact_at(&mut b, extent.start);
            assert_eq!(a_read.is_ok(), b_read.is_ok(), "{a_read:?} {b_read:?}");
            assert!(a_read.is_err() || a == b, "at {extent:?}");
        }
    }
}
