//! The formats that disk images come in: whatever holds a disk, the same bytes arrive.

use std::fs;
use std::path::Path;

use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::place::{Place, other};
use crate::tools::have;

/// Name, format and options for QEMU. Names say nothing of the format, or something wrong.
pub(crate) const IMAGES: [(&str, &str, &str); 7] = [
    ("dynamic.vhd", "vpc", "subformat=dynamic,force_size=on"),
    ("dynamic.vhdx", "vhdx", "subformat=dynamic"),
    ("fixed.vhdx", "vhdx", "subformat=fixed,block_size=1M"),
    ("small.img", "vhdx", "block_size=1M"),
    ("plain.vhd", "qcow2", "compat=0.10"),
    ("zlib.qcow2", "qcow2", "compression_type=zlib"),
    ("zstd.raw", "qcow2", "compression_type=zstd,cluster_size=2M"),
];

pub(crate) fn convert(place: &Place, from: &Path, to: &str, format: &str, options: &str) {
    let to = place.path(to);
    let mut words: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"convert", &"-f", &"raw", &"-O", &format, &"-o", &options];
    if options.contains("compression") {
        words.push(&"-c");
    }
    words.extend([&from as &dyn AsRef<std::ffi::OsStr>, &to]);
    other("qemu-img", &words);
}

#[test]
fn every_format_arrives_as_the_same_disk() {
    if !have("qemu-img") {
        return;
    }
    let place = Place::new();
    let raw = place.path("disk");
    disks::make(&raw, Table::Esp, 40, 7);
    place.good(&upload("raw", "disk"));
    assert_holds(&place.image("g", "raw"), &raw);
    let expected = fs::read(place.image("g", "raw")).unwrap();
    for (number, (file, format, options)) in IMAGES.into_iter().enumerate() {
        convert(&place, &raw, file, format, options);
        let before = fs::read(place.path(file)).unwrap();
        let name = format!("image-{number}");
        let shown = place.good(&upload(&name, file)).json();
        assert_eq!(shown["generation"], "V2", "{file}");
        // The footer too, since it follows from the content.
        let arrived = fs::read(place.image("g", &name)).unwrap();
        assert!(arrived == expected, "{file}");
        assert!(
            fs::read(place.path(file)).unwrap() == before,
            "{file} was changed"
        );

        let report = place.good(&["-o", "json", "inspect", file]).json();
        assert_eq!(report["virtual_size"], 40 << 20, "{file}");
        assert_eq!(report["generations"], serde_json::json!(["V2"]), "{file}");
        // Six MiB of noise and the table.
        let data = |name: &str| report["content"][name].as_u64().unwrap();
        assert_eq!((data("data") - data("zeros")) >> 20, 6, "{file}");
    }
    // And as a disk alone, which the content names too.
    let disk = [
        "--local",
        "-o",
        "json",
        "upload-vhd",
        "dynamic.vhdx",
        "-g",
        "g",
        "-n",
        "disk",
    ];
    assert_eq!(place.good(&disk).json()["reused"], false);
    assert!(fs::read(place.path("azure/disks/g/disk.vhd")).unwrap() == expected);
    let same = [
        "--local",
        "-o",
        "json",
        "upload-vhd",
        "zlib.qcow2",
        "-g",
        "g",
        "-n",
        "disk",
    ];
    assert_eq!(place.good(&same).json()["reused"], true);
}

fn upload<'a>(name: &'a str, file: &'a str) -> [&'a str; 10] {
    [
        "--local",
        "-o",
        "json",
        "upload-image",
        "-g",
        "g",
        "-n",
        name,
        "--image-file",
        file,
    ]
}

#[test]
fn what_they_are_is_said() {
    if !have("qemu-img") {
        return;
    }
    let place = Place::new();
    let raw = place.path("disk");
    disks::make(&raw, Table::Mbr, 24, 9);
    for (file, format, options) in IMAGES {
        convert(&place, &raw, file, format, options);
    }
    for (file, line, named) in [
        ("dynamic.vhd", "dynamic VHD, blocks of 2 MiB", None),
        (
            "dynamic.vhdx",
            "VHDX, dynamic, blocks of 8 MiB, made by QEMU v",
            None,
        ),
        (
            "fixed.vhdx",
            "VHDX, fixed, blocks of 1 MiB, made by QEMU v",
            None,
        ),
        ("small.img", "VHDX, dynamic, blocks of 1 MiB", None),
        (
            "plain.vhd",
            "qcow2, version 2, zlib, blocks of 64 KiB",
            Some("vhd"),
        ),
        (
            "zlib.qcow2",
            "qcow2, version 3, zlib, blocks of 64 KiB",
            None,
        ),
        (
            "zstd.raw",
            "qcow2, version 3, zstd, blocks of 2 MiB",
            Some("raw"),
        ),
    ] {
        let said = place.good(&["inspect", file]).stdout;
        assert!(said.contains(&format!("format       {line}")), "{said}");
        assert!(said.contains("generations  V1"), "{said}");
        let note = named.map(|name| format!("{file} is named .{name}, but is a qcow2 image"));
        assert_eq!(said.contains("is named"), note.is_some(), "{said}");
        assert!(note.is_none_or(|note| said.contains(&note)), "{said}");
        assert!(said.contains("is made on the way"), "{said}");
    }
}

#[test]
fn a_backing_file_is_opened_when_it_is_named() {
    if !have("qemu-img") || !have("qemu-io") {
        return;
    }
    let place = Place::new();
    let raw = place.path("base.raw");
    disks::make(&raw, Table::Esp, 24, 5);
    let top = place.path("top.qcow2");
    let options = format!("backing_file={},backing_fmt=raw", raw.display());
    other(
        "qemu-img",
        &[&"create", &"-q", &"-f", &"qcow2", &"-o", &options, &top],
    );
    other("qemu-io", &[&"-c", &"write -P 5 3M 1M", &top]);
    let merged = place.path("merged");
    other("qemu-img", &[&"convert", &"-O", &"raw", &top, &merged]);

    let done = place.run(&upload("alone", "top.qcow2"));
    assert_eq!(done.code(), Some(1));
    assert!(
        done.stderr.contains("which is not opened unasked"),
        "{}",
        done.stderr
    );
    let backing = ["--backing-file", "base.raw"];
    place.good(&[&upload("both", "top.qcow2")[..], &backing].concat());
    assert_holds(&place.image("g", "both"), &merged);
    let disk = [
        "--local",
        "upload-vhd",
        "top.qcow2",
        "-g",
        "g",
        "-n",
        "disk",
    ];
    place.good(&[&disk[..], &backing].concat());
    assert_holds(&place.path("azure/disks/g/disk.vhd"), &merged);
    let said = place
        .good(&["inspect", "top.qcow2", backing[0], backing[1]])
        .stdout;
    assert!(said.contains("uploadable   yes"), "{said}");
}

/// Name of the result, tool and options.
const PACKED: [(&str, &str, &[&str]); 4] = [
    // Names that say something wrong are common.
    ("disk.vhd", "gzip", &["-1", "-c"]),
    ("disk.img.xz", "xz", &["-0", "-c"]),
    ("disk.vhd.zst", "zstd", &["-q", "-1", "-c"]),
    ("disk.raw", "zstd", &["-q", "-1", "--no-check", "-c"]),
];

pub(crate) fn pack(place: &Place, from: &str, to: &str, tool: &str, options: &[&str]) {
    let done = std::process::Command::new(tool)
        .args(options)
        .arg(place.path(from))
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    place.write(to, done.stdout);
}

#[test]
fn what_is_compressed_arrives_as_the_same_disk() {
    if !["gzip", "xz", "zstd"].into_iter().all(have) {
        return;
    }
    let place = Place::new();
    disks::make(&place.path("disk"), Table::Esp, 40, 7);
    place.good(&["convert", "disk", "whole"]);
    let expected = fs::read(place.path("whole")).unwrap();
    for (number, (file, tool, options)) in PACKED.into_iter().enumerate() {
        for content in ["disk", "whole"] {
            pack(&place, content, file, tool, options);
            let before = fs::read(place.path(file)).unwrap();
            let name = format!("{content}-{number}");
            let shown = place.good(&upload(&name, file)).json();
            assert_eq!(shown["generation"], "V2", "{file}");
            assert_eq!(shown["reused"], false);
            // Six MiB of noise, two tables and the footer, in whole units of 64 KiB at most.
            let sent = shown["bytes_sent"].as_u64().unwrap();
            assert!(sent < (6 << 20) + (64 << 10), "{sent}");
            assert!(
                fs::read(place.image("g", &name)).unwrap() == expected,
                "{file}"
            );
            place.good(&["convert", "--force", file, "out"]);
            assert!(fs::read(place.path("out")).unwrap() == expected, "{file}");
            assert!(fs::read(place.path(file)).unwrap() == before);
        }
        let said = place.good(&["inspect", file]).stdout;
        let line = format!("format       {tool}, fixed VHD inside");
        assert!(said.contains(&line), "{said}");
        let is_misnamed = !file.ends_with("zst") && !file.ends_with("xz");
        assert_eq!(
            said.contains(&format!("but is compressed with {tool}")),
            is_misnamed,
            "{said}"
        );
    }
    // The same content has the same name, whatever it is packed in.
    assert_eq!(
        place.good(&upload("disk-0", "disk.raw")).json()["reused"],
        true
    );
    let sized = [&upload("no", "disk.vhd")[..], &["--virtual-size", "24 MiB"]].concat();
    let done = place.run(&sized);
    assert_eq!(done.code(), Some(1));
    assert!(
        done.stderr.contains("holds more than 24 MiB"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_stream_that_is_cut_off_makes_nothing() {
    if !have("zstd") {
        return;
    }
    let place = Place::new();
    disks::make(&place.path("disk"), Table::Esp, 40, 7);
    pack(&place, "disk", "disk.zst", "zstd", &["-q", "-1", "-c"]);
    let packed = fs::read(place.path("disk.zst")).unwrap();
    place.write("disk.zst", &packed[..packed.len() / 2]);
    let done = place.run(&upload("web", "disk.zst"));
    assert_eq!(done.code(), Some(1));
    let place_of_it = format!("it ends at byte {}", packed.len() / 2);
    assert!(done.stderr.contains(&place_of_it), "{}", done.stderr);
    assert!(place.traces().is_empty(), "{:?}", place.traces());
}
