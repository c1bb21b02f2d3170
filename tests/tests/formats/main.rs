//! Images of QEMU's making through the whole road, with QEMU as the judge of what arrived.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

mod corpus;
mod efi;
mod judge;
mod others;
mod qcow2;
mod random;
mod vhd;
mod vhdx;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos::{Generation, ImageBuilder};
use azure_nixos_tests::content::{assert_uploaded, vhd_length};
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::{Local, tools, within};

const MIB: u64 = 1 << 20;

async fn upload(local: &Local, name: &str, file: &Path) -> UploadedImage {
    within(60, name, async {
        ImageBuilder::new(&local.azure, "images", name)
            .source(ImageSource::file(file))
            .await
    })
    .await
    .unwrap()
}

/// QEMU's own comparison: the shorter one may be followed by zeros, and `-f vpc` trusts the size
/// in the footer.
fn qemu_compares(qemu: &Path, format: &str, source: &Path, uploaded: &Path) {
    // The size of a VHD is in its geometry for one kind of maker and in its size for another; here
    // the size counts.
    let vhd = |path: &Path| {
        format!(
            "driver=vpc,force_size_calc=current_size,file.driver=file,file.filename={}",
            path.display()
        )
    };
    let source = match format {
        "vpc" => vhd(source),
        other => format!(
            "driver={other},file.driver=file,file.filename={}",
            source.display()
        ),
    };
    let said = tools::run(
        Command::new(qemu)
            .args(["compare", "--image-opts"])
            .args([source, vhd(uploaded)]),
    );
    assert!(said.contains("Images are identical"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_images_of_odd_sizes() {
    let Some(qemu) = tools::find("qemu-img") else {
        return;
    };
    let local = Local::start().await;
    for (number, (size, table, generation)) in [
        (20 * MIB, Table::Efi, Generation::V2),
        (33 * MIB + 512, Table::Mbr, Generation::V1),
        (40 * MIB - 512, Table::Both, Generation::V2),
        (8 * MIB, Table::None, Generation::V1),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("raw-{number}");
        let file = local.place().join(&name);
        disks::raw(&file, size, table, number as u64);
        let image = upload(&local, &name, &file).await;
        assert_eq!(image.generation, generation, "{name}");
        assert_eq!(image.warnings.is_empty(), table != Table::None, "{name}");
        let uploaded = local.emulator.image_file("images", &name);
        assert_uploaded(&file, size, &uploaded);
        qemu_compares(&qemu, "raw", &file, &uploaded);
    }
}

/// Without `force_size` QEMU rounds the size to whole cylinders, so it is no whole number of MiB.
#[tokio::test(flavor = "multi_thread")]
async fn fixed_vhds_of_qemus() {
    let Some(qemu) = tools::find("qemu-img") else {
        return;
    };
    let local = Local::start().await;
    for (name, mib, options) in [
        ("exact", 40, "subformat=fixed,force_size=on"),
        ("cylinders", 100, "subformat=fixed"),
        ("odd", 37, "subformat=fixed"),
    ] {
        let raw = local.place().join(format!("{name}.raw"));
        disks::raw(&raw, mib * MIB, Table::Efi, mib);
        let vhd = local.place().join(format!("{name}.vhd"));
        tools::run(
            Command::new(&qemu)
                .args(["convert", "-f", "raw", "-O", "vpc", "-o", options])
                .args([&raw, &vhd]),
        );
        let size = File::open(&vhd).unwrap().metadata().unwrap().len() - 512;
        assert_eq!(size == mib * MIB, name == "exact", "{size}");
        let image = upload(&local, name, &vhd).await;
        assert_eq!(image.generation, Generation::V2);
        let uploaded = local.emulator.image_file("images", name);
        assert_eq!(image.upload.unwrap().bytes_logical, vhd_length(size));
        assert_uploaded(&vhd, size, &uploaded);
        qemu_compares(&qemu, "raw", &raw, &uploaded);
        qemu_compares(&qemu, "vpc", &vhd, &uploaded);
    }
}

/// The same image twice is the same bytes: footer, identifier and all.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_reproducible() {
    let local = Local::start().await;
    let file = local.place().join("disk");
    disks::raw(&file, 24 * MIB + 512, Table::Efi, 1);
    let copy = local.place().join("copy");
    // A copy without holes.
    std::fs::write(&copy, std::fs::read(&file).unwrap()).unwrap();
    upload(&local, "a", &file).await;
    upload(&local, "b", &copy).await;
    let read = |name| std::fs::read(local.emulator.image_file("images", name)).unwrap();
    assert!(read("a") == read("b"));
}
