//! The targets. Each tells whether its image was taken for a disk: an input that is not shows less.

use std::path::Path;

use azure_nixos::disk::vhd::Footer;
use azure_nixos::disk::{
    DiskImage, DiskSource, DynamicVhd, Finding, FindingKind, Format, InspectOptions, OpenOptions,
    PartitionScheme, PartitionTable, Qcow2, RawImage, Severity, Vhdx, content_identity, inspect,
};

use super::input::{Image, Input, NAMED_VHD, Raw, UNSEALED};
use super::upload::{compare, upload, walk};
use super::{seal, stream};

/// A target by its name, which is that of its corpus too.
pub type Target = (&'static str, fn(&[u8]) -> bool);

pub const TARGETS: [Target; 7] = [
    ("boot", boot),
    ("partitions", partitions),
    ("qcow2", qcow2),
    ("streams", streams),
    ("vhd_dynamic", vhd_dynamic),
    ("vhd_footer", vhd_footer),
    ("vhdx", vhdx),
];

/// For qcow2: reads it over another image, which is named.
const OVER: u8 = 4;
/// For streams: the image is the content, and is packed first.
const PACK: u8 = 4;
/// Bytes of a content that is packed: more than two of the pieces of 4 MiB in which it is read.
const MOST_PACKED: u64 = 9 << 20;
/// Bytes of a file that is unpacked. Its holes have to be read like everything else: of a file of
/// 256 GiB that takes hours, rightly.
const MOST_UNPACKED: u64 = 16 << 10;

/// `None` for a long file that has to be unpacked.
fn prepare(input: &[u8], seal: impl Fn(&mut Image)) -> Option<(Input, Image)> {
    let input = Input::parse(input);
    let mut image = input.image();
    if input.flags & UNSEALED == 0 {
        seal(&mut image);
    }
    let head = image.bytes(0, 6);
    let packed = [&b"\x1f\x8b\x08"[..], b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    let packed = packed.iter().any(|magic| head.starts_with(magic));
    (!packed || image.length() <= MOST_UNPACKED).then_some((input, image))
}

fn suffix(input: &Input) -> &'static str {
    if input.flags & NAMED_VHD == 0 {
        ".img"
    } else {
        ".vhd"
    }
}

/// Raw images and fixed VHDs, with footers anywhere.
pub fn vhd_footer(input: &[u8]) -> bool {
    let Some((input, image)) = prepare(input, seal::vhd) else {
        return false;
    };
    let last = image.bytes((image.length() / 512).saturating_sub(1) * 512, 512);
    if let Some(last) = last.first_chunk()
        && let Ok(footer) = Footer::parse(last)
    {
        assert_eq!(footer.bytes(), last);
        let _ = (
            footer.creator(),
            footer.created(),
            footer.uuid(),
            format!("{footer:?}"),
        );
        let _ = footer.check_fixed(image.length().saturating_sub(512));
    }
    let file = image.store(suffix(&input));
    upload(file.path(), &OpenOptions::new()).is_some()
}

/// Dynamic VHDs: their header and block table.
pub fn vhd_dynamic(input: &[u8]) -> bool {
    let Some((input, image)) = prepare(input, seal::vhd) else {
        return false;
    };
    let file = image.store(suffix(&input));
    let disk = upload(file.path(), &OpenOptions::new());
    let memory = DynamicVhd::open(image);
    if let Ok(memory) = &memory {
        walk(memory);
    }
    agree(disk.as_ref(), Format::DynamicVhd, memory.as_ref().ok());
    disk.is_some()
}

/// VHDX: headers, regions, metadata, block table, log.
pub fn vhdx(input: &[u8]) -> bool {
    let Some((input, image)) = prepare(input, seal::vhdx) else {
        return false;
    };
    let file = image.store(suffix(&input));
    let disk = upload(file.path(), &OpenOptions::new());
    let memory = Vhdx::open(image);
    if let Ok(memory) = &memory {
        walk(memory);
    }
    agree(disk.as_ref(), Format::Vhdx, memory.as_ref().ok());
    disk.is_some()
}

/// The reader over memory takes what the one over a file takes, and reads the same. What lies around
/// the format itself only the latter looks at.
fn agree<S: DiskSource>(disk: Option<&DiskImage>, format: Format, memory: Option<&S>) {
    if let Some(disk) = disk.filter(|disk| disk.format() == format) {
        match memory {
            Some(memory) => compare(disk, memory),
            None => panic!("{disk:?} is read from a file and not from memory"),
        }
    }
}

/// qcow2: header, both levels of tables, subclusters, compressed clusters, backing files.
pub fn qcow2(input: &[u8]) -> bool {
    let Some((input, image)) = prepare(input, |_| ()) else {
        return false;
    };
    let file = image.store(suffix(&input));
    if input.flags & OVER == 0 {
        let disk = upload(file.path(), &OpenOptions::new());
        let memory = Qcow2::open(image);
        if let Ok(memory) = &memory {
            walk(memory);
        }
        agree(disk.as_ref(), Format::Qcow2, memory.as_ref().ok());
        return disk.is_some();
    }
    let below = below().store(".img");
    let disk = upload(file.path(), &OpenOptions::new().backing_file(below.path()));
    let memory = raw(below.path()).map(|below| Qcow2::open_over(image, below));
    if let Some(Ok(memory)) = &memory {
        walk(memory);
    }
    agree(
        disk.as_ref(),
        Format::Qcow2,
        memory.as_ref().and_then(|memory| memory.as_ref().ok()),
    );
    disk.is_some()
}

/// A raw image of 100 KiB with data at its beginning, in its middle and at its end.
fn below() -> Image {
    let piece: Vec<u8> = (1..=200).cycle().take(5000).collect();
    let pieces = vec![(0, piece.clone()), (40_000, piece), (102_399, vec![0xbb])];
    Input { flags: 0, pieces }.image()
}

fn raw(path: &Path) -> Option<RawImage> {
    RawImage::open(path).ok()
}

/// Partition tables of both kinds.
pub fn partitions(input: &[u8]) -> bool {
    let Some((input, image)) = prepare(input, seal::gpt) else {
        return false;
    };
    let file = image.store(suffix(&input));
    let disk = upload(file.path(), &OpenOptions::new());
    if image.length() == 0 || !image.length().is_multiple_of(512) {
        return false;
    }
    let table = PartitionTable::read(&Raw(image));
    let table = table.unwrap_or_else(|error| panic!("memory can be read: {error}"));
    let numbers = table.partitions.iter().map(|one| one.number);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{table:?}");
    if table.scheme == PartitionScheme::None {
        assert!(
            table.partitions.is_empty() && !table.findings.is_empty(),
            "{table:?}"
        );
    }
    if let Some(disk) = disk.filter(|disk| disk.format() == Format::Raw) {
        let again = PartitionTable::read(&disk);
        assert_eq!(again.ok(), Some(table.clone()));
    }
    table.scheme != PartitionScheme::None
}

/// What UEFI would start: FAT in an EFI system partition, and the headers of the programs there.
pub fn boot(input: &[u8]) -> bool {
    let Some((input, image)) = prepare(input, seal::gpt) else {
        return false;
    };
    let file = image.store(suffix(&input));
    if upload(file.path(), &OpenOptions::new()).is_none() {
        return false;
    }
    let report = inspect(file.path(), InspectOptions::quick());
    let report = report.unwrap_or_else(|error| panic!("it was read before: {error}"));
    let mut names = report.loaders.iter().map(|one| one.path.as_str());
    assert!(names.all(|name| name.starts_with("EFI/BOOT/BOOT")));
    assert_eq!(report.loaders.is_empty(), report.secure_boot.is_none());
    // Into the file system, at least.
    let told = |one: &Finding| one.kind == FindingKind::BootLoader && one.severity > Severity::Note;
    !report.loaders.is_empty() || report.findings.iter().any(told)
}

/// What gzip, xz and zstd packed, or what begins like it.
pub fn streams(input: &[u8]) -> bool {
    if Input::parse(input).flags & PACK == 0 {
        return packed_elsewhere(input);
    }
    let Some((input, image)) = prepare(input, seal::vhd) else {
        return false;
    };
    if image.length() > MOST_PACKED {
        return false;
    }
    let content = image.bytes(0, image.length() as usize);
    let packed = stream::pack(input.flags >> 3, &content);
    let pieces = vec![(0, packed)];
    let file = Input { flags: 0, pieces }.image().store(suffix(&input));
    let disk = upload(file.path(), &OpenOptions::new());
    let Some(disk) = disk else {
        return false;
    };
    let size = disk.virtual_size();
    assert!(
        size == image.length() || size + 512 == image.length(),
        "{disk:?}"
    );
    // Out of order, too.
    for at in [size / 1024 * 512, 0, size - 512] {
        let mut sector = [0xa5; 512];
        let read = disk.read_exact_at(&mut sector, at);
        read.unwrap_or_else(|error| panic!("it was packed here: {error}"));
        assert_eq!(sector.to_vec(), image.bytes(at, 512), "at {at}");
    }
    assert_eq!(disk.known_identity(), content_identity(&disk).ok());
    let report = inspect(file.path(), InspectOptions::quick());
    // A disk that only repair opens has none.
    if let Some(content) = report.ok().and_then(|report| report.content) {
        let pages = content_pages(&image, size);
        assert_eq!(content.data - content.zeros.unwrap_or(0), pages);
    }
    true
}

fn packed_elsewhere(input: &[u8]) -> bool {
    let sealed = prepare(input, |image| {
        seal::xz(image);
        seal::gzip(image);
    });
    let Some((input, image)) = sealed else {
        return false;
    };
    let file = image.store(suffix(&input));
    upload(file.path(), &OpenOptions::new()).is_some()
}

/// Bytes of the disk in pages that are not zero.
fn content_pages(image: &Image, size: u64) -> u64 {
    let content = image.bytes(0, size as usize);
    let pages = content.chunks(512);
    let pages = pages.filter(|page| page.iter().any(|byte| *byte != 0));
    pages.count() as u64 * 512
}
