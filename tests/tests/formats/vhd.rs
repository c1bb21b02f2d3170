//! VHDs of QEMU's making.

use azure_nixos::disk::{DiskImage, DiskSource, Format};
use azure_nixos_tests::disks::Noise;

use crate::judge::{Qemu, assert_reads, scribble, seed};

const MIB: u64 = 1 << 20;

#[test]
fn every_subformat_reads_as_qemu_reads_it() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("VHD"));
    for (number, (options, size, format)) in [
        ("subformat=dynamic", 40 * MIB, Format::DynamicVhd),
        (
            "subformat=dynamic,force_size=on",
            40 * MIB,
            Format::DynamicVhd,
        ),
        (
            "subformat=dynamic,force_size=on",
            41 * MIB + 512,
            Format::DynamicVhd,
        ),
        (
            "subformat=dynamic,force_size=on",
            20 * MIB - 512,
            Format::DynamicVhd,
        ),
        ("subformat=dynamic", 127 * MIB, Format::DynamicVhd),
        ("subformat=fixed", 33 * MIB, Format::FixedVhd),
        (
            "subformat=fixed,force_size=on",
            33 * MIB + 512,
            Format::FixedVhd,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // Without a helpful extension, and with a misleading one.
        let name = format!("{number}.{}", ["disk", "raw", "vhd"][number % 3]);
        let image = qemu.create(&name, "vpc", options, size);
        let size = DiskImage::open(&image).unwrap().virtual_size();
        qemu.io("vpc", &image, &scribble(&mut noise, size, 2 * MIB, 25));
        let ours = qemu.agrees("vpc", &image);
        assert_eq!(ours.format(), format, "{options}");
        let raw = qemu.raw("vpc", &image);
        assert_reads(&ours, &raw, &mut noise);
    }
}

#[test]
fn the_largest_vhd_is_read() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("the largest VHD"));
    // The last size that QEMU takes.
    let size = 2040 << 30;
    let image = qemu.create(
        "large",
        "vpc",
        "subformat=dynamic,force_size=on",
        size - 512,
    );
    let size = DiskImage::open(&image).unwrap().virtual_size();
    qemu.io("vpc", &image, &scribble(&mut noise, size, 512 << 20, 12));
    qemu.agrees("vpc", &image);
}

#[test]
fn an_empty_disk_and_a_full_one() {
    let Some(qemu) = Qemu::find() else { return };
    let image = qemu.create("empty", "vpc", "force_size=on", 24 * MIB);
    let ours = qemu.agrees("vpc", &image);
    assert_eq!(ours.next_extent(0).unwrap(), None);
    let size = ours.virtual_size();
    let all = vec![format!("write -P 7 0 {size}")];
    qemu.io("vpc", &image, &all);
    let ours = qemu.agrees("vpc", &image);
    assert_eq!(ours.next_extent(5).unwrap(), Some(5..2 * MIB));
}
