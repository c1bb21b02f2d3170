//! Images that other people's programs made, where they are at hand.

use std::path::{Path, PathBuf};

use azure_nixos::disk::{DiskImage, DiskSource, FindingKind, Format, InspectOptions, inspect};

use crate::judge::Qemu;

/// They lie beside the source tree, or where `AZURE_NIXOS_CORPUS` says.
fn corpus() -> Option<PathBuf> {
    let place = std::env::var_os("AZURE_NIXOS_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    if place.is_dir() {
        return Some(place);
    }
    eprintln!(
        "SKIPPED: {} is not there, so this test shows nothing",
        place.display()
    );
    None
}

#[test]
fn each_is_read_as_qemu_reads_it_or_refused_for_the_right_reason() {
    let (Some(corpus), Some(qemu)) = (corpus(), Qemu::find()) else {
        return;
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        // A copy, since QEMU writes beside it.
        let name = entry.unwrap().file_name().into_string().unwrap();
        let image = qemu.path(&name);
        std::fs::copy(corpus.join(&name), &image).unwrap();
        let report = inspect(&image, InspectOptions::full()).unwrap();
        let first = report
            .findings
            .first()
            .map(|one| (one.kind, one.what.clone()));
        let said = first.as_ref().map_or("", |(_, what)| what);
        let kind = first.as_ref().map(|(kind, _)| *kind);
        seen += 1;
        match name.as_str() {
            "ext2.qcow2" | "windows_volume.qcow2" => {
                let ours = qemu.agrees("qcow2", &image);
                assert_eq!(ours.format(), Format::Qcow2, "{name}");
                assert!(report.uploadable, "{name}: {said}");
            }
            "ext2.vhd" => {
                let ours = qemu.agrees("vpc", &image);
                assert_eq!(ours.format(), Format::DynamicVhd);
                assert_eq!(ours.virtual_size(), 4_212_736);
                assert!(report.uploadable, "{said}");
            }
            "fat-differential.vhd" => {
                assert_eq!(kind, Some(FindingKind::NeedsParent), "{said}");
                assert!(
                    said.contains("its parent \"C:\\\\Projects\\\\dfvfs\\\\"),
                    "{said}"
                );
            }
            // The checksums of their footers are wrong; QEMU refuses them too.
            "image.vhd" | "image-differential.vhd" => {
                assert_eq!(kind, Some(FindingKind::DamagedFooter), "{said}");
                assert!(said.contains("has the checksum 0xfffff683"), "{said}");
                assert!(DiskImage::open(&image).is_err());
            }
            // A new one is read, or refused with a reason.
            _ => match DiskImage::open(&image) {
                Ok(image) => assert!(image.virtual_size() > 0, "{name}"),
                Err(error) => assert!(error.hint().is_some(), "{name}: {error}"),
            },
        }
    }
    assert!(seen > 0, "{} is empty", corpus.display());
}
