//! What a test starts from: disk images, and what the library makes of them.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use azure_nixos::ImageBuilder;
use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos_tests::Local;
use azure_nixos_tests::disks::{self, Table};

pub(crate) const MIB: u64 = 1 << 20;

/// A public key that nobody has the other half of.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

/// That key in a file, as `az` takes it.
pub(crate) fn key_file(local: &Local) -> PathBuf {
    let file = local.place().join("key.pub");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    file
}

/// A raw disk image of generation 2 with holes, written zeros and noise.
pub(crate) fn raw(local: &Local, name: &str, size: u64, seed: u64) -> PathBuf {
    let file = local.place().join(name);
    disks::raw(&file, size, Table::Efi, seed);
    file
}

/// An image that the library uploaded, and the file that it was made from.
pub(crate) async fn image(local: &Local, group: &str, name: &str) -> (UploadedImage, PathBuf) {
    let file = raw(local, "disk.raw", 24 * MIB, 7);
    let image = ImageBuilder::new(&local.azure, group, name)
        .source(ImageSource::file(&file))
        .await
        .unwrap();
    (image, file)
}

/// A fixed VHD of a raw image, as a program that knows no other format needs it: beside the raw one,
/// with the same holes and a footer after it.
pub(crate) fn vhd(raw: &Path, size: u64) -> PathBuf {
    let file = raw.with_extension("vhd");
    // Keeps the holes.
    std::fs::copy(raw, &file).unwrap();
    let mut image = File::options().write(true).open(&file).unwrap();
    image.seek(SeekFrom::Start(size)).unwrap();
    image.write_all(&footer(size)).unwrap();
    file
}

/// The footer of a fixed VHD by its published layout. Integers are big-endian.
fn footer(size: u64) -> [u8; 512] {
    let mut footer = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"conectix");
    put(8, &2_u32.to_be_bytes());
    put(12, &0x1_0000_u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes());
    put(28, b"test");
    put(32, &0x1_0000_u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    // Cylinders, heads, sectors: old, and looked at by nobody for a disk of this kind.
    put(56, &[0x03, 0xc3, 0x08, 0x11]);
    put(60, &2_u32.to_be_bytes());
    put(68, b"a unique id here");
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
