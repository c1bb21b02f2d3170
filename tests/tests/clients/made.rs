//! What a test starts from: disk images, and what the library makes of them.

use std::path::PathBuf;

use azure_nixos::ImageBuilder;
use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos_tests::Local;
use azure_nixos_tests::disks::{self, Table};

pub(crate) const MIB: u64 = 1 << 20;

/// A public key that nobody has the other half of.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

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
