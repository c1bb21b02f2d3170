//! qcow2 images of QEMU's making.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use azure_nixos::disk::{
    DiskImage, DiskSource, FindingKind, Format, InspectOptions, OpenOptions, inspect, inspect_with,
};
use azure_nixos_tests::disks::{self, Noise, Table};

use crate::judge::{Qemu, assert_reads, assert_same, scribble, seed};

const MIB: u64 = 1 << 20;

#[test]
fn every_version_and_cluster_size_reads_as_qemu_reads_it() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("qcow2"));
    for (number, (options, size)) in [
        ("compat=0.10", 40 * MIB),
        ("compat=0.10,cluster_size=4k", 20 * MIB + 512),
        ("compat=1.1", 40 * MIB - 512),
        ("compat=1.1,cluster_size=512", 8 * MIB),
        ("compat=1.1,cluster_size=4k", 33 * MIB),
        ("compat=1.1,cluster_size=2M", 65 * MIB + 512),
        ("compat=1.1,lazy_refcounts=on", 40 * MIB),
        ("compat=1.1,refcount_bits=1", 40 * MIB),
        ("compat=1.1,refcount_bits=64,cluster_size=64k", 40 * MIB),
        ("compat=1.1,preallocation=metadata", 40 * MIB),
        ("compat=1.1,preallocation=falloc", 24 * MIB),
        ("compat=1.1,preallocation=full", 24 * MIB),
        ("extended_l2=on,cluster_size=16k", 20 * MIB + 512),
        ("extended_l2=on,cluster_size=128k", 40 * MIB),
        ("extended_l2=on,cluster_size=2M", 65 * MIB),
        (
            "extended_l2=on,cluster_size=64k,preallocation=metadata",
            24 * MIB,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{number}.{}", ["disk", "vhd", "qcow2"][number % 3]);
        let image = qemu.create(&name, "qcow2", options, size);
        qemu.io("qcow2", &image, &scribble(&mut noise, size, 64 << 10, 40));
        let ours = qemu.agrees("qcow2", &image);
        assert_eq!((ours.format(), ours.virtual_size()), (Format::Qcow2, size));
        let raw = qemu.raw("qcow2", &image);
        assert_reads(&ours, &raw, &mut noise);
        std::fs::remove_file(raw).unwrap();
        std::fs::remove_file(image).unwrap();
    }
}

/// Data that compresses, data that does not, and uncompressed clusters written among them.
#[test]
fn compressed_clusters_of_both_kinds() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("compressed qcow2"));
    for (number, options) in [
        "compression_type=zlib",
        "compression_type=zstd",
        "compression_type=zlib,cluster_size=4k",
        "compression_type=zstd,cluster_size=4k",
        "compression_type=zlib,cluster_size=2M",
        "compression_type=zstd,cluster_size=2M",
        "compression_type=zstd,extended_l2=on,cluster_size=64k",
        "compat=0.10",
    ]
    .into_iter()
    .enumerate()
    {
        let raw = qemu.path(&format!("{number}.raw"));
        let size = 24 * MIB + 1024;
        disks::raw(&raw, size, Table::Efi, noise.word());
        // Text between the noise.
        let file = File::options().write(true).open(&raw).unwrap();
        for at in (2 * MIB..size - 2 * MIB).step_by(3 << 20) {
            let words = format!("the same words again, from {at} on. ").repeat(9000);
            file.write_all_at(words.as_bytes(), at).unwrap();
        }
        let image = qemu.path(&format!("{number}.qcow2"));
        let convert = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options];
        qemu.img(&convert, &[&raw, &image]);
        let ours = qemu.agrees("qcow2", &image);
        assert_same(&ours, &raw);
        assert_reads(&ours, &raw, &mut noise);
        let identity = DiskImage::open(&raw).unwrap().identity().unwrap();
        assert_eq!(ours.identity().unwrap(), identity, "{options}");
        drop(ours);
        qemu.io("qcow2", &image, &scribble(&mut noise, size, 64 << 10, 20));
        qemu.agrees("qcow2", &image);
        let report = inspect(&image, InspectOptions::quick()).unwrap();
        let expected = if options.contains("zstd") {
            "zstd"
        } else {
            "zlib"
        };
        let variant = report.container.unwrap().variant.unwrap();
        assert!(variant.ends_with(expected), "{variant}");
        std::fs::remove_file(raw).unwrap();
        std::fs::remove_file(image).unwrap();
    }
}

#[test]
fn terabytes_with_little_in_them() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("large qcow2"));
    for options in ["", "extended_l2=on,cluster_size=2M", "cluster_size=2M"] {
        let size = (8 << 40) + 512;
        let image = qemu.create("large", "qcow2", options, size);
        qemu.io("qcow2", &image, &scribble(&mut noise, size, 512 << 20, 15));
        qemu.agrees("qcow2", &image);
        std::fs::remove_file(image).unwrap();
    }
}

#[test]
fn the_disk_is_taken_as_it_is_and_not_as_it_was() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("snapshots"));
    let size = 24 * MIB;
    let image = qemu.create("disk", "qcow2", "", size);
    for name in ["one", "two"] {
        qemu.io("qcow2", &image, &scribble(&mut noise, size, 64 << 10, 20));
        qemu.img(&["snapshot", "-c", name], &[&image]);
    }
    qemu.io("qcow2", &image, &scribble(&mut noise, size, 64 << 10, 10));
    let ours = qemu.agrees("qcow2", &image);
    assert_eq!(ours.notes()[0].kind, FindingKind::Snapshots);
    assert!(ours.notes()[0].what.ends_with("holds 2 snapshots"));
}

#[test]
fn a_backing_file_is_refused_by_name_and_read_when_it_is_named() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("backing files"));
    // Three levels of different sizes: raw, qcow2, qcow2 with subclusters.
    let base = qemu.create("base.img", "raw", "", 20 * MIB);
    qemu.io("raw", &base, &scribble(&mut noise, 20 * MIB, MIB, 20));
    let middle = qemu.create(
        "middle.qcow2",
        "qcow2",
        "backing_file=base.img,backing_fmt=raw,cluster_size=4k",
        24 * MIB,
    );
    qemu.io("qcow2", &middle, &scribble(&mut noise, 24 * MIB, MIB, 20));
    let top = qemu.create(
        "top.qcow2",
        "qcow2",
        "backing_file=middle.qcow2,backing_fmt=qcow2,extended_l2=on",
        22 * MIB + 512,
    );
    qemu.io("qcow2", &top, &scribble(&mut noise, 22 * MIB, MIB, 20));

    let error = DiskImage::open(&top).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its backing file \"middle.qcow2\""),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--backing-file"));
    let report = inspect(&top, InspectOptions::quick()).unwrap();
    assert_eq!(report.findings[0].kind, FindingKind::NeedsParent);
    assert_eq!(report.virtual_size, Some(22 * MIB + 512));

    let both = OpenOptions::new().backing_file(&middle).backing_file(&base);
    let ours = DiskImage::open_with(&top, &both).unwrap();
    let raw = qemu.raw("qcow2", &top);
    assert_same(&ours, &raw);
    assert_reads(&ours, &raw, &mut noise);
    assert!(ours.fingerprint().unwrap().contains("base.img"));
    let full = InspectOptions::full();
    let report = inspect_with(&top, full, &both).unwrap();
    assert!(report.uploadable, "{:?}", report.findings);
    let plain = inspect(&raw, full).unwrap().content.unwrap();
    let content = report.content.unwrap();
    assert_eq!(
        content.data - content.zeros.unwrap(),
        plain.data - plain.zeros.unwrap()
    );

    let refusal = |options: OpenOptions| {
        let error = DiskImage::open_with(&top, &options).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let named = |path: &Path| OpenOptions::new().backing_file(path);
    assert!(refusal(named(&middle)).contains("its backing file \"base.img\""));
    assert!(refusal(both.clone().backing_file(&base)).contains("has no backing file, but"));
    assert!(refusal(named(&base)).contains("was made on a qcow2 image, but"));
    let error = DiskImage::open_with(&base, &named(&middle)).unwrap_err();
    assert!(error.to_string().contains("has no backing file"), "{error}");
}

/// A guest can write a qcow2 header to a raw disk. What lies on that disk says that it is raw.
#[test]
fn what_a_guest_wrote_does_not_change_the_format_of_a_backing_file() {
    let Some(qemu) = Qemu::find() else { return };
    let secret = qemu.create("secret.raw", "raw", "", 20 * MIB);
    let trap = qemu.create(
        "trap",
        "qcow2",
        &format!("backing_file={},backing_fmt=raw", secret.display()),
        20 * MIB,
    );
    let length = trap.metadata().unwrap().len().next_multiple_of(512);
    File::options()
        .write(true)
        .open(&trap)
        .unwrap()
        .set_len(length)
        .unwrap();
    let options = format!("backing_file={},backing_fmt=raw", trap.display());
    let top = qemu.create("top", "qcow2", &options, 20 * MIB);
    let ours = DiskImage::open_with(&top, &OpenOptions::new().backing_file(&trap)).unwrap();
    let mut head = [0; 4];
    ours.read_exact_at(&mut head, 0).unwrap();
    assert_eq!(&head, b"QFI\xfb");
    assert_same(&ours, &qemu.raw("qcow2", &top));
}

#[test]
fn images_of_other_kinds_are_refused_with_the_reason() {
    let Some(qemu) = Qemu::find() else { return };
    let refusal = |image: &Path| {
        let kind = inspect(image, InspectOptions::quick()).unwrap().findings[0].kind;
        (kind, DiskImage::open(image).unwrap_err().to_string())
    };
    let data = qemu.path("content.raw");
    let options = format!("data_file={}", data.display());
    let image = qemu.create("outside", "qcow2", &options, 20 * MIB);
    let (kind, what) = refusal(&image);
    assert_eq!(kind, FindingKind::UnsupportedFeature);
    assert!(
        what.contains("content.raw\", which is not opened unasked"),
        "{what}"
    );

    let secret = qemu.path("key");
    std::fs::write(&secret, "secret").unwrap();
    let object = format!("secret,id=s,file={}", secret.display());
    let image = qemu.path("encrypted");
    // Not LUKS: to make that QEMU measures the processor, and fails where it is busy.
    let encrypted = "encrypt.format=aes,encrypt.key-secret=s";
    qemu.img(
        &[
            "create", "-q", "-f", "qcow2", "--object", &object, "-o", encrypted,
        ],
        &[&image, Path::new("20M")],
    );
    let (kind, what) = refusal(&image);
    assert_eq!(kind, FindingKind::UnsupportedFeature);
    assert!(what.ends_with("is encrypted"), "{what}");

    // The mark of a corrupt image, and one that nobody knows.
    let image = qemu.create("marked", "qcow2", "", 20 * MIB);
    let file = File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[2], 79).unwrap();
    let (kind, what) = refusal(&image);
    assert_eq!(kind, FindingKind::DamagedHeader);
    assert!(what.ends_with("is marked as corrupt"), "{what}");
    file.write_all_at(&[0x40], 79).unwrap();
    let (kind, what) = refusal(&image);
    assert_eq!(kind, FindingKind::UnsupportedFeature);
    assert!(
        what.contains("features that are not known here (bits 0x40)"),
        "{what}"
    );
    // One that was not closed is read: only its reference counts may be wrong.
    file.write_all_at(&[1], 79).unwrap();
    qemu.agrees("qcow2", &image);
}
