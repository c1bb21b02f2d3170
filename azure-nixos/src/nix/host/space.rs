//! The room on a file system.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::ByteSize;

/// With less room than this in the store an image hardly fits: the smallest NixOS has a closure of that
/// size.
pub(crate) const LEAST: ByteSize = ByteSize::gib(1);

/// What makes room in the store.
pub(crate) const MAKE_ROOM: &str =
    "`nix-collect-garbage -d` makes room, or give the store a larger disk";

/// The room in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSpace {
    /// The directory, or the nearest one above it that exists.
    pub path: PathBuf,
    /// Bytes that can still be written by whoever is not root.
    pub available: ByteSize,
    /// Files that can still be made; nothing where the file system has no limit.
    pub inodes: Option<u64>,
    device: u64,
}

impl DiskSpace {
    /// The room in a directory; nothing where the system does not say. It blocks.
    pub(super) fn of(directory: &Path) -> Option<Self> {
        let path = directory.ancestors().find(|path| path.is_dir())?;
        let found = statvfs(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            available: ByteSize::bytes(found.f_bavail.saturating_mul(found.f_frsize)),
            // Some file systems make inodes as they go, and count none.
            inodes: (found.f_files > 0).then_some(found.f_favail),
            device: std::fs::metadata(path).ok()?.dev(),
        })
    }

    /// Whether it is the same room, so that what one takes the other lacks.
    #[must_use]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        self.device == other.device
    }

    #[cfg(test)]
    pub(crate) fn with(path: &str, available: u64, inodes: Option<u64>, device: u64) -> Self {
        Self {
            path: PathBuf::from(path),
            available: ByteSize::bytes(available),
            inodes,
            device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_has_the_room_above_it() {
        let directory = tempfile::tempdir().unwrap();
        let above = DiskSpace::of(directory.path()).unwrap();
        let below = DiskSpace::of(&directory.path().join("a/b")).unwrap();
        assert_eq!(below.path, directory.path());
        assert!(below.is_shared_with(&above));
        assert!(above.available > ByteSize::bytes(0));
        let other = DiskSpace::of(Path::new("/proc")).unwrap();
        assert!(!other.is_shared_with(&above));
        assert_eq!((other.available, other.inodes), (ByteSize::bytes(0), None));
    }
}
