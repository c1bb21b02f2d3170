//! The state of a guest that is uploaded beside its disk: what its virtual firmware and TPM keep.
//!
//! It is a page blob of its own, made with the disk and given access to together with it. What is
//! in it is not looked at.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::blob::PageBlobs;

/// The length of a guest state with its footer, as Azure exports them.
const LENGTH: u64 = (4 << 20) + 512;

/// The blob of the guest state, by that of the disk.
pub(super) fn blob(disk: Uuid) -> Uuid {
    Uuid::from_u128(disk.as_u128() ^ 1)
}

/// Makes the blob of the guest state beside the disk's file.
pub(super) fn create(blobs: &PageBlobs, disk_file: &Path, disk: Uuid) -> io::Result<()> {
    let mut name = disk_file.as_os_str().to_owned();
    name.push(".vmgs");
    blobs.create(blob(disk), &PathBuf::from(name), LENGTH)
}
