//! Whole files: what [`inspect`] and [`DiskImage::open`] say of each kind and each damage.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;
use crate::Generation;
use crate::disk::efi::fixtures::{self as efi, Width};
use crate::disk::partition::fixtures::{BIOS_BOOT, ESP, Gpt, LINUX, ROOT_ARM64, mbr};
use crate::disk::{DiskImage, FixedVhd, MemoryImage};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A sparse file with the content of a disk and what comes behind it.
    fn file(&self, name: &str, disk: &MemoryImage, behind: &[u8]) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).unwrap();
        file.set_len(disk.virtual_size()).unwrap();
        let mut at = 0;
        while let Some(extent) = disk.next_extent(at).unwrap() {
            let mut bytes = vec![0; (extent.end - extent.start) as usize];
            disk.read_exact_at(&mut bytes, extent.start).unwrap();
            file.write_all_at(&bytes, extent.start).unwrap();
            at = extent.end;
        }
        file.write_all_at(behind, disk.virtual_size()).unwrap();
        path
    }
}

fn quick(path: &Path) -> Inspection {
    inspect(path, InspectOptions::quick()).unwrap()
}

fn kinds(report: &Inspection) -> Vec<FindingKind> {
    report.findings.iter().map(|one| one.kind).collect()
}

/// The file is refused by both, for the same reason.
fn refused(path: &Path) -> (FindingKind, Error) {
    let report = quick(path);
    assert!(!report.uploadable);
    let problem = report.problems().next().unwrap();
    let error = DiskImage::open(path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    assert_eq!(error.to_string(), problem.what);
    assert_eq!(error.hint(), Some(problem.remedy.as_str()));
    assert_eq!(report.check().unwrap_err().to_string(), problem.what);
    (problem.kind, error)
}

/// An EFI system partition with a boot loader.
fn system() -> Vec<u8> {
    let loader = efi::program(0x8664, 5000, b"");
    efi::fat(Width::Twelve, 1000, &[(b"BOOTX64 EFI", &loader)])
}

/// A disk that UEFI boots.
fn gpt(size: u64) -> MemoryImage {
    let mut disk = Gpt::new(&[ESP, LINUX]).build(size);
    disk.write(1 << 20, &system()).unwrap();
    disk
}

const SIZE: u64 = 64 << 20;

#[test]
fn raw_and_fixed_vhd_are_the_same_disk() {
    let dir = Dir::new();
    let disk = gpt(SIZE);
    let footer = Footer::fixed(SIZE, 7);
    let raw = DiskImage::open(dir.file("disk.raw", &disk, &[])).unwrap();
    let vhd = DiskImage::open(dir.file("disk", &disk, footer.bytes())).unwrap();
    assert_eq!(
        (raw.format(), vhd.format()),
        (Format::Raw, Format::FixedVhd)
    );
    assert_eq!((raw.virtual_size(), vhd.virtual_size()), (SIZE, SIZE));
    assert_eq!(raw.identity().unwrap(), vhd.identity().unwrap());
    assert_eq!(raw.identity().unwrap(), disk.identity().unwrap());
    assert_eq!(raw.footer().unwrap(), None);
    assert_eq!(vhd.footer().unwrap(), Some(*footer.bytes()));
    assert!(vhd.read_exact_at(&mut [0; 512], SIZE).is_err());

    for image in [raw, vhd] {
        let report = quick(image.file().path());
        assert!(report.uploadable);
        assert_eq!(report.findings, []);
        assert_eq!(report.upload_size, Some(SIZE + 512));
        assert_eq!(report.mib_aligned, Some(true));
        assert_eq!(report.generations.preferred(), Some(Generation::V2));
        assert_eq!(report.partitions.unwrap().partitions.len(), 2);
    }
}

#[test]
fn a_vhd_of_no_whole_mib_keeps_its_content_and_loses_its_footer() {
    let dir = Dir::new();
    let size = SIZE + 4096;
    let path = dir.file("disk.vhd", &gpt(size), Footer::fixed(size, 7).bytes());
    let image = DiskImage::open(&path).unwrap();
    assert_eq!(image.virtual_size(), size);
    assert_eq!(image.footer().unwrap(), None);
    let report = quick(&path);
    assert!(report.uploadable);
    assert_eq!(kinds(&report), [FindingKind::PaddedSize]);
    assert_eq!(report.upload_size, Some(SIZE + (1 << 20) + 512));
}

#[test]
fn a_small_disk_is_filled_up() {
    let dir = Dir::new();
    let size = 2 << 20;
    let path = dir.file(
        "s",
        &mbr(size, &[(0x83, 8, 8, true)]),
        Footer::fixed(size, 7).bytes(),
    );
    let report = quick(&path);
    assert_eq!(kinds(&report), [FindingKind::PaddedSize]);
    assert_eq!(report.upload_size, Some(20_972_032));
    assert_eq!(report.generations.preferred(), Some(Generation::V1));
    assert_eq!(DiskImage::open(&path).unwrap().footer().unwrap(), None);
}

#[test]
fn an_image_named_vhd_without_a_footer_is_raw_with_a_warning() {
    let dir = Dir::new();
    let path = dir.file("disk.VHD", &gpt(SIZE), &[]);
    let image = DiskImage::open(&path).unwrap();
    assert_eq!(image.format(), Format::Raw);
    assert_eq!(image.notes()[0].kind, FindingKind::MissingFooter);
    let report = quick(&path);
    assert!(report.uploadable);
    assert_eq!(kinds(&report), [FindingKind::MissingFooter]);
}

#[test]
fn a_footer_with_zeros_behind_it_is_found() {
    let dir = Dir::new();
    let footer = Footer::fixed(SIZE, 7);
    let disk = gpt(SIZE);
    // As a hole, as stored zeros, far more of these than one window, and less than a sector.
    let holes = dir.file("holes.vhd", &disk, footer.bytes());
    File::options()
        .write(true)
        .open(&holes)
        .unwrap()
        .set_len(3 * SIZE + 512)
        .unwrap();
    let stored = dir.file(
        "stored.vhd",
        &disk,
        &[&footer.bytes()[..], &[0; 8 << 20]].concat(),
    );
    let far = dir.file(
        "far.vhd",
        &disk,
        &[&footer.bytes()[..], &vec![0; 80 << 20]].concat(),
    );
    let one = dir.file("one.vhd", &disk, &[&footer.bytes()[..], &[0]].concat());
    for (path, behind) in [
        (holes, 2 * SIZE),
        (stored, 8 << 20),
        (far, 80 << 20),
        (one, 1),
    ] {
        let (kind, error) = refused(&path);
        assert_eq!(kind, FindingKind::BuriedFooter, "{}", path.display());
        assert!(
            error
                .to_string()
                .contains(&format!("at byte {SIZE}, with {behind} bytes behind it")),
            "{error}"
        );
        assert_eq!(quick(&path).footer.unwrap().offset, SIZE);
    }
}

#[test]
fn the_partition_table_leads_to_a_footer_that_is_far_away() {
    let dir = Dir::new();
    let size = SIZE + 7 * 512;
    let path = dir.file("far.vhd", &gpt(size), Footer::fixed(size, 7).bytes());
    // Data at the very end: the search from behind never comes near the footer.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[1], (4 << 30) - 1).unwrap();
    assert_eq!(refused(&path).0, FindingKind::BuriedFooter);
    assert_eq!(quick(&path).footer.unwrap().offset, size);
}

#[test]
fn a_footer_of_no_whole_mib_is_found_too() {
    let dir = Dir::new();
    let size = SIZE + 7 * 512;
    let path = dir.file("chs.vhd", &gpt(size), Footer::fixed(size, 7).bytes());
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(4 * SIZE)
        .unwrap();
    assert_eq!(refused(&path).0, FindingKind::BuriedFooter);
}

#[test]
fn a_vhd_that_lies_as_a_file_inside_a_disk_is_no_buried_footer() {
    let dir = Dir::new();
    let mut disk = gpt(SIZE);
    disk.write(40 << 20, Footer::fixed(20 << 20, 7).bytes())
        .unwrap();
    let path = dir.file("disk.raw", &disk, &[]);
    assert_eq!(quick(&path).findings, []);
}

#[test]
fn each_damaged_footer_is_named() {
    let dir = Dir::new();
    let disk = gpt(SIZE);
    let file = |name: &str, bytes: &[u8]| dir.file(name, &disk, bytes);

    let mut bytes = *Footer::fixed(SIZE, 7).bytes();
    bytes[100] = 1;
    let (kind, error) = refused(&file("checksum", &bytes));
    assert_eq!(kind, FindingKind::DamagedFooter);
    assert!(error.to_string().contains("has the checksum"), "{error}");
    assert!(
        error
            .hint()
            .unwrap()
            .contains(&format!("truncate -s {SIZE} "))
    );
    let report = quick(&dir.path("checksum"));
    assert!(!report.footer.unwrap().checksum_ok);
    assert_eq!(report.generations.preferred(), Some(Generation::V2));

    let (kind, error) = refused(&file("short", Footer::fixed(SIZE + 512, 7).bytes()));
    assert_eq!(kind, FindingKind::Truncated);
    assert!(
        error
            .hint()
            .unwrap()
            .starts_with("512 bytes of the disk are missing")
    );

    let (kind, _) = refused(&file("long", Footer::fixed(SIZE - 512, 7).bytes()));
    assert_eq!(kind, FindingKind::DamagedFooter);

    let path = dir.path("alone");
    std::fs::write(&path, Footer::fixed(0, 7).bytes()).unwrap();
    assert_eq!(refused(&path).0, FindingKind::Truncated);

    let (kind, _) = refused(&file("old", &Footer::fixed(SIZE, 7).bytes()[..511]));
    assert_eq!(kind, FindingKind::OldFooter);
}

#[test]
fn other_formats_are_refused_with_the_command_that_helps() {
    let dir = Dir::new();
    for (name, head, command) in [
        ("c", &b"BZh91AY&SY"[..], "bzip2 -dc"),
        ("f", b"KDMV\x01\0\0\0", "qemu-img convert -f vmdk"),
        ("g", b"\x04\x22\x4d\x18", "lz4 -dc"),
        ("h", b"PK\x03\x04", "unzip"),
        ("i", b"7z\xbc\xaf\x27\x1c", "7z x"),
        ("j", b"QED\0", "qemu-img convert -f qed -O raw"),
        #[cfg(not(feature = "gzip"))]
        ("a.vhd", b"\x1f\x8b\x08\0", "gzip -dc"),
        #[cfg(not(feature = "qcow2"))]
        (
            "b.vhd",
            b"QFI\xfb\0\0\0\x03",
            "qemu-img convert -f qcow2 -O raw",
        ),
        #[cfg(not(feature = "zstd"))]
        ("d", b"\x28\xb5\x2f\xfd", "zstd -dc"),
        #[cfg(not(feature = "xz"))]
        ("e", b"\xfd7zXZ\0", "xz -dc"),
    ] {
        let path = dir.path(name);
        let file = File::create(&path).unwrap();
        file.write_all_at(head, 0).unwrap();
        file.set_len(4096).unwrap();
        let (kind, error) = refused(&path);
        assert_eq!(kind, FindingKind::UnsupportedFormat);
        assert!(
            error.hint().unwrap().contains(command),
            "{:?}",
            error.hint()
        );
    }
}

#[test]
fn a_disk_format_inside_a_fixed_vhd_is_refused() {
    let dir = Dir::new();
    for head in [&b"QFI\xfb"[..], b"vhdxfile", b"conectix"] {
        let mut disk = MemoryImage::new(SIZE).unwrap();
        disk.write(0, head).unwrap();
        let path = dir.file("wrapped", &disk, Footer::fixed(SIZE, 7).bytes());
        assert_eq!(refused(&path).0, FindingKind::WrappedFormat);
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_a_report() {
    let dir = Dir::new();
    assert!(inspect(dir.0.path(), InspectOptions::quick()).is_err());
    assert!(
        inspect(dir.path("none"), InspectOptions::quick())
            .unwrap_err()
            .is_not_found()
    );
    let page = dir.path("page.vhd");
    std::fs::write(&page, "<html>404</html>").unwrap();
    let (kind, error) = refused(&page);
    assert_eq!(kind, FindingKind::UnalignedSize);
    assert!(
        error.to_string().contains("it is not a disk image"),
        "{error}"
    );
}

#[test]
fn a_disk_larger_than_azure_has_is_refused_before_anything_is_read() {
    let dir = Dir::new();
    let path = dir.path("huge");
    // Some file systems have no files of that size; then there is nothing to refuse either.
    if File::create(&path).unwrap().set_len(33 << 40).is_err() {
        eprintln!("SKIPPED: this file system has no files of 33 TiB");
        return;
    }
    let report = quick(&path);
    assert_eq!(
        report.problems().next().unwrap().kind,
        FindingKind::TooLarge
    );
}

#[test]
fn sizes_beyond_an_os_disk_are_warned_about() {
    let mut report = quick(&Dir::new().file("x", &gpt(SIZE), &[]));
    report.judge_size(MAX_OS_DISK + MIB);
    assert_eq!(kinds(&report), [FindingKind::TooLargeForOsDisk]);
    report.judge_size(MAX_DISK + MIB);
    assert_eq!(report.findings[1].kind, FindingKind::TooLarge);
}

#[test]
fn a_huge_sparse_file_is_looked_at_in_no_time() {
    let dir = Dir::new();
    let disk = Gpt::new(&[ESP, BIOS_BOOT, LINUX]).build(8 << 40);
    let path = dir.path("sparse");
    if File::create(&path).unwrap().set_len(8 << 40).is_err() {
        eprintln!("SKIPPED: this file system has no files of 8 TiB");
        return;
    }
    let path = dir.file("sparse", &disk, &[]);
    let report = inspect(&path, InspectOptions::full()).unwrap();
    assert_eq!(report.generations, Generations::BOTH);
    let content = report.content.unwrap();
    assert_eq!(content.data + content.holes, 8 << 40);
    assert!(content.data < 1 << 20);
    assert!(content.zeros.unwrap() < content.data);
    assert_eq!(
        DiskImage::open(&path).unwrap().identity().unwrap(),
        disk.identity().unwrap()
    );
}

#[test]
fn the_report_is_json_that_programs_can_read() {
    let dir = Dir::new();
    let path = dir.file("web.raw", &gpt(SIZE), &[]);
    let json = serde_json::to_value(inspect(&path, InspectOptions::full()).unwrap()).unwrap();
    assert_eq!(json["format"], "raw");
    assert_eq!(json["generations"], serde_json::json!(["V2"]));
    assert_eq!(json["partitions"]["partitions"][0]["kind"], "EFI system");
    assert_eq!(json["uploadable"], true);
    // The protective MBR, two headers, and the entries: three of them per sector, one sector
    // each time.
    let content = &json["content"];
    let sent = content["data"].as_u64().unwrap() - content["zeros"].as_u64().unwrap();
    let system = system();
    let system = system.chunks(512).filter(|page| !is_zero(page)).count();
    assert_eq!(sent, (5 + system as u64) * 512);
    assert_eq!(json["architecture"], "x64");
    assert_eq!(json["secure_boot"], "unsigned");
    assert_eq!(
        json["loaders"],
        serde_json::json!([{
            "path": "EFI/BOOT/BOOTX64.EFI", "architecture": "x64", "size": 5000, "signature": "none",
        }])
    );
}

/// Azure has managed images for x64 only, and says so when everything else was done.
#[test]
fn a_disk_for_arm64_is_told_by_its_loader_or_its_root() {
    let dir = Dir::new();
    let loader = efi::program(0xaa64, 5000, b"");
    let system = efi::fat(Width::ThirtyTwo, 1000, &[(b"BOOTAA64EFI", &loader)]);
    let mut by_loader = Gpt::new(&[ESP, LINUX]).build(SIZE);
    by_loader.write(1 << 20, &system).unwrap();
    let by_root = Gpt::new(&[ESP, ROOT_ARM64]).build(SIZE);
    for (name, disk) in [("loader", by_loader), ("root", by_root)] {
        let report = quick(&dir.file(name, &disk, &[]));
        assert_eq!(report.architecture, Some(Architecture::Arm64), "{name}");
        assert!(report.uploadable, "{name}: as a disk it is");
        let finding = &report.findings[0];
        assert_eq!(finding.kind, FindingKind::Architecture);
        assert_eq!(finding.severity, Severity::Warning);
        assert!(finding.azure.as_ref().unwrap().contains("x64 only"));
    }
    assert_eq!(quick(&dir.file("x64", &gpt(SIZE), &[])).findings, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn files_of_any_layout_read_as_they_were_written(
        writes in prop::collection::vec((0u64..3 << 20, prop::collection::vec(any::<u8>(), 1..9000)), 0..10),
        reads in prop::collection::vec((0u64..3 << 20, 1usize..70_000), 1..8),
        vhd in any::<bool>(),
    ) {
        let size = 4 << 20;
        let mut disk = MemoryImage::new(size).unwrap();
        // A raw image must not look like another format by chance.
        for (at, bytes) in &writes {
            disk.write(at + 4096, bytes).unwrap();
        }
        let dir = Dir::new();
        let behind = if vhd { Footer::fixed(size, 7).bytes().to_vec() } else { Vec::new() };
        let image = DiskImage::open(dir.file("disk", &disk, &behind)).unwrap();
        let (mut sparse, mut flat) = (vec![0; size as usize], vec![0; size as usize]);
        disk.read_exact_at(&mut flat, 0).unwrap();
        let mut at = 0;
        while let Some(extent) = image.next_extent(at).unwrap() {
            let range = extent.start as usize..extent.end as usize;
            image.read_exact_at(&mut sparse[range], extent.start).unwrap();
            at = extent.end;
        }
        prop_assert!(sparse == flat, "an extent is missing");
        for (at, length) in reads {
            let mut bytes = vec![0xaa; length];
            image.read_exact_at(&mut bytes, at).unwrap();
            prop_assert!(bytes == flat[at as usize..at as usize + length]);
        }
        prop_assert_eq!(image.identity().unwrap(), disk.identity().unwrap());
    }

    #[test]
    fn no_bytes_make_it_panic(head in prop::collection::vec(any::<u8>(), 0..1200), tail in prop::collection::vec(any::<u8>(), 0..600), cookie in 0u8..4) {
        let dir = Dir::new();
        let path = dir.path("any");
        let mut bytes = [head, vec![0; 2048], tail].concat();
        if cookie & 1 == 1 {
            bytes[..8].copy_from_slice(&Footer::COOKIE);
        }
        if cookie & 2 == 2 {
            let at = bytes.len() / 512 * 512 - 512;
            bytes[at..at + 8].copy_from_slice(&Footer::COOKIE);
        }
        std::fs::write(&path, &bytes).unwrap();
        let report = inspect(&path, InspectOptions::full()).unwrap();
        prop_assert!(DiskImage::open(&path).is_ok() || !report.uploadable);
    }
}

/// Runs qemu-img, or says loudly that it is not there.
fn qemu_img(arguments: &[&str], paths: &[&Path]) -> bool {
    let output = match Command::new("qemu-img")
        .args(arguments)
        .args(paths)
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: qemu-img cannot be run ({error}); install qemu-utils");
            return false;
        }
    };
    assert!(
        output.status.success(),
        "qemu-img {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

#[test]
fn fixed_vhds_that_qemu_wrote_are_read_and_agreed_on() {
    let dir = Dir::new();
    // 100 MiB is no size of whole cylinders: without force_size qemu makes it larger.
    let mut disk = Gpt::new(&[ESP, BIOS_BOOT, LINUX]).build(100 << 20);
    disk.write(1 << 20, &system()).unwrap();
    let raw = dir.file("disk.raw", &disk, &[]);
    let convert = ["convert", "-f", "raw", "-O", "vpc", "-o"];
    let exact = dir.path("exact.vhd");
    let exactly = [&convert[..], &["subformat=fixed,force_size"]].concat();
    if !qemu_img(&exactly, &[&raw, &exact]) {
        return;
    }
    let image = DiskImage::open(&exact).unwrap();
    assert_eq!(image.identity().unwrap(), disk.identity().unwrap());
    assert!(image.footer().unwrap().is_some());
    let report = quick(&exact);
    assert_eq!(report.findings, []);
    assert_eq!(report.generations, Generations::BOTH);
    let footer = report.footer.unwrap();
    assert_eq!(
        (footer.creator.as_str(), footer.disk_type.as_str()),
        ("qem2", "fixed")
    );

    let rounded = dir.path("rounded.vhd");
    qemu_img(
        &[&convert[..], &["subformat=fixed"]].concat(),
        &[&raw, &rounded],
    );
    let image = DiskImage::open(&rounded).unwrap();
    assert_eq!(image.virtual_size(), 104_865_792);
    assert_eq!(image.footer().unwrap(), None);
    let mut bytes = vec![0; 100 << 20];
    let mut theirs = bytes.clone();
    disk.read_exact_at(&mut bytes, 0).unwrap();
    image.read_exact_at(&mut theirs, 0).unwrap();
    assert!(bytes == theirs);
    let report = quick(&rounded);
    assert!(report.uploadable);
    assert_eq!(kinds(&report), [FindingKind::PaddedSize]);

    // And the other way round: our footer behind the same disk.
    let ours = dir.file("ours.vhd", &disk, Footer::fixed(100 << 20, 7).bytes());
    qemu_img(&["compare", "-f", "raw", "-F", "vpc"], &[&raw, &ours]);
}

#[test]
fn formats_that_qemu_wrote_are_told_apart() {
    let dir = Dir::new();
    let raw = dir.file("disk.raw", &gpt(SIZE), &[]);
    for (name, format, options, expected) in [
        (
            "disk.vmdk",
            "vmdk",
            "subformat=monolithicSparse",
            Format::Vmdk,
        ),
        ("disk.vdi", "vdi", "static=off", Format::Vdi),
    ] {
        let path = dir.path(name);
        if !qemu_img(
            &["convert", "-f", "raw", "-O", format, "-o", options],
            &[&raw, &path],
        ) {
            return;
        }
        let report = quick(&path);
        assert_eq!(report.format, expected, "{name}");
        assert_eq!(refused(&path).0, FindingKind::UnsupportedFormat, "{name}");
    }
}

#[test]
fn a_dynamic_vhd_of_qemus_is_looked_into_under_any_name() {
    let dir = Dir::new();
    let disk = gpt(SIZE);
    let raw = dir.file("disk.raw", &disk, &[]);
    let path = dir.path("dynamic.qcow2");
    let options = "subformat=dynamic,force_size";
    if !qemu_img(
        &["convert", "-f", "raw", "-O", "vpc", "-o", options],
        &[&raw, &path],
    ) {
        return;
    }
    let report = inspect(&path, InspectOptions::full()).unwrap();
    assert_eq!(kinds(&report), [FindingKind::MisleadingName]);
    assert!(report.uploadable);
    assert_eq!(report.format, Format::DynamicVhd);
    assert_eq!(report.virtual_size, Some(SIZE));
    assert_eq!(report.container.unwrap().block_size, 2 << 20);
    assert_eq!(report.footer.unwrap().creator, "qem2");
    assert_eq!(report.generations.preferred(), Some(Generation::V2));
    let content = report.content.unwrap();
    assert_eq!(content.data + content.holes, SIZE);
    // As in a raw image.
    let plain = inspect(&raw, InspectOptions::full())
        .unwrap()
        .content
        .unwrap();
    assert_eq!(
        content.data - content.zeros.unwrap(),
        plain.data - plain.zeros.unwrap()
    );
    let image = DiskImage::open(&path).unwrap();
    assert_eq!(image.identity().unwrap(), disk.identity().unwrap());
    assert_eq!(image.footer().unwrap(), None);

    // The copy of the footer at the beginning is damaged: the one at the end is enough.
    let file = File::options().write(true).open(&path).unwrap();
    let mut copy = [0; 512];
    image.file().read_exact_at(&mut copy, 0).unwrap();
    file.write_all_at(b"x", 100).unwrap();
    let report = quick(&path);
    assert!(report.uploadable);
    assert_eq!(kinds(&report)[0], FindingKind::DamagedFooter);
    // Or it is of another disk.
    let mut other = copy;
    other[48..56].copy_from_slice(&(SIZE * 2).to_be_bytes());
    let checksum = Footer::unchecked(&other).computed_checksum();
    other[64..68].copy_from_slice(&checksum.to_be_bytes());
    file.write_all_at(&other, 0).unwrap();
    let (kind, error) = refused(&path);
    assert_eq!(kind, FindingKind::DamagedHeader);
    assert!(
        error.to_string().contains("contradict each other"),
        "{error}"
    );
    // And the other way round.
    file.write_all_at(&copy, 0).unwrap();
    let end = image.file().length() - 512;
    file.write_all_at(b"x", end + 100).unwrap();
    let (kind, error) = refused(&path);
    assert_eq!(kind, FindingKind::DamagedFooter);
    assert!(error.hint().unwrap().contains("qemu-img convert -f vpc"));
    let back = dir.path("back.raw");
    qemu_img(&["convert", "-f", "vpc", "-O", "raw"], &[&path, &back]);
    assert_eq!(
        DiskImage::open(&back).unwrap().identity().unwrap(),
        disk.identity().unwrap()
    );
    // And a table that leads astray, found by both.
    file.write_all_at(&copy, end).unwrap();
    file.write_all_at(&[0; 4], 1536).unwrap();
    let (kind, _) = refused(&path);
    assert_eq!(kind, FindingKind::DamagedTable);
    file.write_all_at(b"x", 512).unwrap();
    assert_eq!(refused(&path).0, FindingKind::DamagedHeader);
}

#[test]
fn a_dynamic_vhd_that_says_it_is_fixed_or_lost_its_end_is_refused() {
    let dir = Dir::new();
    let raw = dir.file("disk.raw", &gpt(SIZE), &[]);
    let posing = dir.path("dynamic.vhd");
    if !qemu_img(
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "vpc",
            "-o",
            "subformat=dynamic",
        ],
        &[&raw, &posing],
    ) {
        return;
    }
    // A dynamic disk that is marked as fixed at its end.
    let file = File::options()
        .read(true)
        .write(true)
        .open(&posing)
        .unwrap();
    let at = file.metadata().unwrap().len() - 512;
    file.write_all_at(Footer::fixed(at, 7).bytes(), at).unwrap();
    assert_eq!(refused(&posing).0, FindingKind::WrappedFormat);
    // And one that lost its end.
    file.set_len(at).unwrap();
    assert_eq!(refused(&posing).0, FindingKind::Truncated);
}

#[test]
fn the_parent_of_a_differencing_disk_is_named() {
    let dir = Dir::new();
    let mut footer = *Footer::fixed(SIZE, 7).bytes();
    footer[16..24].copy_from_slice(&512u64.to_be_bytes());
    footer[63] = 4;
    let checksum = Footer::unchecked(&footer).computed_checksum();
    footer[64..68].copy_from_slice(&checksum.to_be_bytes());
    let mut header = [0; 1024];
    header[..8].copy_from_slice(b"cxsparse");
    // A character of two units, one that clears a terminal, one that turns what follows around, and half
    // of one of two units.
    let name = "base ü😀\u{1b}[2J\u{202e}.vhd".encode_utf16();
    for (unit, at) in name.chain([0xd83d]).zip((64..).step_by(2)) {
        header[at..at + 2].copy_from_slice(&unit.to_be_bytes());
    }
    let path = dir.path("child.vhd");
    std::fs::write(&path, [&footer[..], &header, &footer].concat()).unwrap();
    let (kind, error) = refused(&path);
    assert_eq!(kind, FindingKind::NeedsParent);
    assert!(
        error
            .to_string()
            .contains(r#"its parent "base ü😀\u{1b}[2J\u{202e}.vhd"#),
        "{error}"
    );
    assert_eq!(quick(&path).virtual_size, Some(SIZE));
}

#[test]
fn a_fixed_vhd_shows_its_own_footer() {
    let dir = Dir::new();
    let footer = Footer::fixed(SIZE, 7);
    let path = dir.file("x", &gpt(SIZE), footer.bytes());
    let vhd = FixedVhd::new(ImageFile::open(path).unwrap(), SIZE, footer);
    assert_eq!(vhd.own_footer(), &footer);
    assert_eq!(
        vhd.fingerprint().unwrap(),
        vhd.file().fingerprint().unwrap()
    );
}

fn repaired(path: &Path) -> (Inspection, Result<DiskImage>) {
    let options = OpenOptions::new().repair(true);
    let report = inspect_with(path, InspectOptions::full(), &options).unwrap();
    (report, DiskImage::open_with(path, &options))
}

/// The disk is that of [`gpt`], followed by zeros; nothing in the file was changed.
fn assert_mended(path: &Path, size: u64, kind: FindingKind) {
    let before = std::fs::read(path).unwrap();
    let (report, image) = repaired(path);
    let image = image.unwrap();
    assert_eq!(report.virtual_size, Some(size), "{}", path.display());
    assert!(report.uploadable);
    assert_eq!(report.generations.preferred(), Some(Generation::V2));
    let finding = report.findings.iter().find(|one| one.kind == kind).unwrap();
    assert_eq!(finding.severity, Severity::Warning);
    assert!(
        finding.remedy.contains("repaired on the way"),
        "{finding:?}"
    );
    assert_eq!(image.virtual_size(), size);
    let mut content = vec![1; size as usize];
    image.read_exact_at(&mut content, 0).unwrap();
    let disk = gpt(SIZE);
    let mut expected = vec![0; size as usize];
    disk.read_exact_at(&mut expected[..SIZE as usize], 0)
        .unwrap();
    assert!(content == expected, "{}", path.display());
    // And around the places where it is mended, in small reads.
    for start in [SIZE - 512, SIZE - 1, SIZE + 511, size - 512] {
        let length = size.saturating_sub(start).min(512) as usize;
        let mut some = vec![1; length];
        let start = start.min(size);
        image.read_exact_at(&mut some, start).unwrap();
        assert_eq!(some[..], expected[start as usize..][..length]);
    }
    assert_eq!(image.footer().unwrap(), None);
    assert!(std::fs::read(path).unwrap() == before);
}

#[test]
fn a_buried_footer_is_mended_when_zeros_follow_it() {
    let dir = Dir::new();
    let footer = Footer::fixed(SIZE, 7);
    let disk = gpt(SIZE);
    let holes = dir.file("holes.vhd", &disk, footer.bytes());
    let file = File::options().write(true).open(&holes).unwrap();
    file.set_len(3 * SIZE).unwrap();
    assert_mended(&holes, 3 * SIZE, FindingKind::BuriedFooter);
    let (_, error) = refused(&holes);
    assert!(error.hint().unwrap().contains("--repair"), "{error:?}");
    let stored = [&footer.bytes()[..], &[0; 3 << 20], &[0; 5]].concat();
    let stored = dir.file("stored.vhd", &disk, &stored);
    assert_mended(
        &stored,
        SIZE + 512 + (3 << 20) + 512,
        FindingKind::BuriedFooter,
    );

    // Behind it lies something: then nobody knows what the disk is.
    file.write_all_at(&[1], 3 * SIZE - 1).unwrap();
    let (report, image) = repaired(&holes);
    assert!(!report.uploadable);
    let error = image.unwrap_err();
    assert!(error.to_string().contains("cannot be repaired"), "{error}");
}

#[test]
fn a_footer_that_is_damaged_itself_is_replaced_and_no_other() {
    let dir = Dir::new();
    let disk = gpt(SIZE);
    let mut damaged = *Footer::fixed(SIZE, 7).bytes();
    damaged[100] ^= 1;
    let path = dir.file("checksum.vhd", &disk, &damaged);
    assert_mended(&path, SIZE, FindingKind::DamagedFooter);
    let (_, error) = refused(&path);
    assert!(error.hint().unwrap().contains("--repair"), "{error:?}");
    // It speaks of more than there is, by a right checksum and by a wrong one.
    let mut wrong = *Footer::fixed(2 * SIZE, 7).bytes();
    let right = wrong;
    wrong[100] ^= 1;
    for (name, footer) in [("cut.vhd", right), ("both.vhd", wrong)] {
        let (report, image) = repaired(&dir.file(name, &disk, &footer));
        assert!(!report.uploadable, "{name}");
        let error = image.unwrap_err();
        assert!(!error.hint().unwrap().contains("--repair"), "{error:?}");
    }
}

#[test]
fn a_missing_footer_is_no_warning_when_it_is_to_be_made() {
    let dir = Dir::new();
    let path = dir.file("disk.vhd", &gpt(SIZE), &[]);
    let (report, image) = repaired(&path);
    assert_eq!(kinds(&report), [FindingKind::MissingFooter]);
    assert_eq!(report.findings[0].severity, Severity::Note);
    assert_eq!(image.unwrap().format(), Format::Raw);
}
