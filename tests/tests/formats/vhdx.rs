//! VHDXs of QEMU's making.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use azure_nixos::disk::{DiskImage, DiskSource, FindingKind, Format, InspectOptions, inspect};
use azure_nixos_tests::disks::{self, Noise, Table};
use crc_fast::{CrcAlgorithm, checksum};

use crate::judge::{Qemu, assert_reads, scribble, seed};

const MIB: u64 = 1 << 20;

#[test]
fn every_subformat_and_block_size_reads_as_qemu_reads_it() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("VHDX"));
    for (number, (options, size)) in [
        ("subformat=dynamic", 40 * MIB),
        ("subformat=dynamic,block_size=1M", 20 * MIB + 512),
        ("subformat=dynamic,block_size=8M", 71 * MIB - 512),
        ("subformat=dynamic,block_size=32M", 100 * MIB),
        ("subformat=dynamic,block_size=256M", 300 * MIB),
        (
            "subformat=dynamic,block_size=1M,block_state_zero=off",
            33 * MIB,
        ),
        ("subformat=dynamic,block_size=2M,log_size=4M", 33 * MIB),
        ("subformat=fixed", 30 * MIB + 4096),
        ("subformat=fixed,block_size=1M", 24 * MIB),
        ("subformat=fixed,block_size=32M", 65 * MIB),
        // More than 4 GiB: entries for bitmaps lie between those for blocks.
        ("subformat=dynamic,block_size=1M", 9 << 30),
        ("subformat=dynamic,block_size=256M", 9 << 30),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{number}.{}", ["disk", "vhd", "vhdx"][number % 3]);
        let image = qemu.create(&name, "vhdx", options, size);
        qemu.io("vhdx", &image, &scribble(&mut noise, size, MIB, 20));
        let ours = qemu.agrees("vhdx", &image);
        assert_eq!((ours.format(), ours.virtual_size()), (Format::Vhdx, size));
        let raw = qemu.raw("vhdx", &image);
        assert_reads(&ours, &raw, &mut noise);
        std::fs::remove_file(raw).unwrap();
        std::fs::remove_file(image).unwrap();
    }
}

/// QEMU would read all of it to convert it, for minutes: so it only writes here.
#[test]
fn terabytes_with_little_in_them() {
    let Some(qemu) = Qemu::find() else { return };
    let size = (3 << 40) + 512;
    let image = qemu.create("large", "vhdx", "subformat=dynamic", size);
    let places = [
        (0, 512),
        ((1 << 40) - 512, 1024),
        ((2 << 40) + 512, 70_144),
        (size - 512, 512),
    ];
    let commands: Vec<_> = (1..)
        .zip(places)
        .map(|(byte, (at, length))| format!("write -P {byte} {at} {length}"))
        .collect();
    qemu.io("vhdx", &image, &commands);
    let ours = DiskImage::open(&image).unwrap();
    assert_eq!(ours.virtual_size(), size);
    let (mut at, mut found) = (0, Vec::new());
    let mut buffer = vec![0; MIB as usize];
    while let Some(extent) = ours.next_extent(at).unwrap() {
        let length = (extent.end - extent.start).min(MIB);
        let part = &mut buffer[..length as usize];
        ours.read_exact_at(part, extent.start).unwrap();
        for (offset, sector) in (extent.start..).step_by(512).zip(part.chunks(512)) {
            if sector[0] != 0 {
                assert!(sector.iter().all(|byte| *byte == sector[0]));
                found.push((offset, sector[0]));
            }
        }
        at = extent.start + length;
    }
    let expected: Vec<_> = (1..)
        .zip(places)
        .flat_map(|(byte, (at, length))| (at..at + length).step_by(512).map(move |at| (at, byte)))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn it_is_looked_into_as_a_raw_image_is() {
    let Some(qemu) = Qemu::find() else { return };
    let raw = qemu.path("disk.raw");
    disks::raw(&raw, 40 * MIB, Table::Both, 3);
    let image = qemu.path("disk.vhd");
    qemu.img(&["convert", "-f", "raw", "-O", "vhdx"], &[&raw, &image]);
    let report = inspect(&image, InspectOptions::full()).unwrap();
    assert!(report.uploadable, "{:?}", report.findings);
    assert_eq!(report.findings[0].kind, FindingKind::MisleadingName);
    assert_eq!(report.virtual_size, Some(40 * MIB));
    let container = report.container.unwrap();
    assert!(container.creator.unwrap().starts_with("QEMU v"));
    assert_eq!(container.variant.unwrap(), "dynamic");
    let plain = inspect(&raw, InspectOptions::full()).unwrap();
    assert_eq!(report.partitions, plain.partitions);
    assert_eq!(report.generations, plain.generations);
    let identity = |path| DiskImage::open(path).unwrap().identity().unwrap();
    assert_eq!(identity(&image), identity(&raw));
}

/// A change that waits in the log, made as the format's specification says: the hint that is given
/// is the one that works, and QEMU is the witness.
#[test]
fn a_log_that_is_not_empty_is_refused_with_what_helps() {
    let Some(qemu) = Qemu::find() else { return };
    let image = qemu.create("dirty.vhdx", "vhdx", "block_size=1M", 24 * MIB);
    qemu.io("vhdx", &image, &["write -P 1 0 1M".to_owned()]);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let length = file.metadata().unwrap().len();
    let block = length - MIB;
    let log_id = [7; 16];

    // An entry of the log: a sector with the header and a descriptor, a sector with the data.
    let mut entry = vec![0u8; 8192];
    let put = |bytes: &mut [u8], at: usize, field: &[u8]| {
        bytes[at..at + field.len()].copy_from_slice(field);
    };
    let mut page = vec![0u8; 4096];
    file.read_exact_at(&mut page, block).unwrap();
    assert_eq!(page, [1; 4096]);
    page.fill(9);
    put(&mut entry, 0, b"loge");
    put(&mut entry, 8, &8192u32.to_le_bytes());
    put(&mut entry, 16, &1u64.to_le_bytes());
    put(&mut entry, 24, &1u32.to_le_bytes());
    put(&mut entry, 32, &log_id);
    put(&mut entry, 48, &length.to_le_bytes());
    put(&mut entry, 56, &length.to_le_bytes());
    // Its descriptor holds the first eight and the last four bytes of the page.
    put(&mut entry, 64, b"desc");
    put(&mut entry, 68, &page[4092..]);
    put(&mut entry, 72, &page[..8]);
    put(&mut entry, 80, &block.to_le_bytes());
    put(&mut entry, 88, &1u64.to_le_bytes());
    put(&mut entry, 4096, b"data");
    put(&mut entry, 4096 + 8, &page[8..4092]);
    put(&mut entry, 8188, &1u32.to_le_bytes());
    let sum = checksum(CrcAlgorithm::Crc32Iscsi, &entry) as u32;
    put(&mut entry, 4, &sum.to_le_bytes());
    file.write_all_at(&entry, MIB).unwrap();
    for at in [64 << 10, 128 << 10] {
        let mut header = vec![0u8; 4096];
        file.read_exact_at(&mut header, at).unwrap();
        put(&mut header, 4, &[0; 4]);
        put(&mut header, 48, &log_id);
        let sum = checksum(CrcAlgorithm::Crc32Iscsi, &header) as u32;
        put(&mut header, 4, &sum.to_le_bytes());
        file.write_all_at(&header, at).unwrap();
    }
    drop(file);

    let report = inspect(&image, InspectOptions::quick()).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::DirtyLog);
    let error = DiskImage::open(&image).unwrap_err();
    assert!(
        error.to_string().contains("was not closed cleanly"),
        "{error}"
    );
    let hint = error.hint().unwrap();
    assert!(hint.contains("`qemu-img check -r all COPY`"), "{hint}");
    let copy = qemu.path("copy.vhdx");
    std::fs::copy(&image, &copy).unwrap();
    qemu.img(&["check", "-q", "-r", "all"], &[&copy]);
    let ours = qemu.agrees("vhdx", &copy);
    let mut bytes = vec![0; 8192];
    ours.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..4096] == [9; 4096] && bytes[4096..] == [1; 4096]);
}

/// QEMU makes no differencing VHDX and no 4096-byte sectors, so fields of one of its own are
/// changed. It does not take the second either.
#[test]
fn disks_of_other_kinds_are_refused_with_the_reason() {
    let Some(qemu) = Qemu::find() else { return };
    let image = qemu.create("disk.vhdx", "vhdx", "", 24 * MIB);
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut region = vec![0u8; 2 * MIB as usize];
    // The metadata region: the second one, behind the block table.
    let place = 3 * MIB;
    file.read_exact_at(&mut region[..128 << 10], place).unwrap();
    let item = |guid_start: [u8; 4]| {
        let entry = region[32..]
            .chunks(32)
            .find(|entry| entry[..4] == guid_start)
            .unwrap();
        place + u64::from(u32::from_le_bytes(entry[16..20].try_into().unwrap()))
    };
    let (parameters, sector) = (
        item(0xcaa1_6737_u32.to_le_bytes()),
        item(0x8141_bf1d_u32.to_le_bytes()),
    );
    let refusal = |at: u64, field: u32| {
        let mut before = [0; 4];
        file.read_exact_at(&mut before, at).unwrap();
        file.write_all_at(&field.to_le_bytes(), at).unwrap();
        let error = DiskImage::open(&image).unwrap_err();
        let kind = inspect(&image, InspectOptions::quick()).unwrap().findings[0].kind;
        file.write_all_at(&before, at).unwrap();
        (kind, error.to_string())
    };
    let (kind, what) = refusal(sector, 4096);
    assert_eq!(kind, FindingKind::SectorSize, "{what}");
    assert!(what.contains("sectors of 4096 bytes"), "{what}");
    let (kind, what) = refusal(parameters + 4, 2);
    assert_eq!(kind, FindingKind::NeedsParent, "{what}");
    qemu.agrees("vhdx", &image);
}
