//! Files that share their content, and what makes one a file of its own.
//!
//! The file of an image is never written after it was made, so a disk that is made of the image is
//! another name of the same file: it takes no room and no time. Whoever is about to write to such
//! a file calls [`unshare`] first.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use uuid::Uuid;

use super::copy::{copy_sparse, remove_if_there};
use super::footer;

const FOOTER: u64 = 512;

/// Gives a file that is never written another name; where there can be none, a copy.
pub(crate) fn share(from: &Path, to: &Path, durable: bool) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    remove_if_there(to)?;
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        // Another file system, or one without links. That there is no source a copy says as well.
        Err(_) => copy_sparse(from, to, durable),
    }
}

/// Replaces a file that has other names by a copy of its own. The other names keep the content.
pub(crate) fn unshare(file: &Path, durable: bool) -> io::Result<()> {
    if fs::metadata(file)?.nlink() < 2 {
        return Ok(());
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".own");
    let own = Path::new(&name);
    remove_if_there(own)?;
    if !clone(file, own)? {
        copy_sparse(file, own, durable)?;
    }
    fs::rename(own, file)
}

/// Makes the file of a disk longer, with the footer at its new end; a file that has other names
/// becomes one of its own.
pub(crate) fn lengthen(file: &Path, size: u64, disk: Uuid, durable: bool) -> io::Result<()> {
    unshare(file, durable)?;
    let opened = OpenOptions::new().write(true).open(file)?;
    let before = opened.metadata()?.len();
    if before >= size + FOOTER {
        // A process that was stopped in the middle had come this far.
        return Ok(());
    }
    // The new footer last: with it the file is long enough, and all is done.
    opened.write_all_at(&[0; FOOTER as usize], before - FOOTER)?;
    footer::write(file, size, disk)?;
    if durable {
        opened.sync_all()?;
    }
    Ok(())
}

/// A copy that shares blocks until they are written, where the file system can (btrfs, XFS).
#[cfg(target_os = "linux")]
fn clone(from: &Path, to: &Path) -> io::Result<bool> {
    let source = File::open(from)?;
    let target = File::create_new(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(true);
    }
    fs::remove_file(to)?;
    Ok(false)
}

#[cfg(not(target_os = "linux"))]
fn clone(_from: &Path, _to: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vhd::{FOOTER_LEN, footer_problem};

    const SIZE: u64 = 3 << 20;

    /// A disk of 3 MiB with a footer, and a second name of it.
    fn shared() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (image, disk) = (dir.path().join("image.vhd"), dir.path().join("d/disk.vhd"));
        let file = File::create(&image).unwrap();
        file.set_len(SIZE + FOOTER).unwrap();
        file.write_all_at(&[7; 9000], 1 << 20).unwrap();
        footer::write(&image, SIZE, Uuid::nil()).unwrap();
        share(&image, &disk, false).unwrap();
        (dir, image, disk)
    }

    #[test]
    fn a_share_is_the_same_file_until_it_is_unshared() {
        let (_dir, image, disk) = shared();
        let node = |file: &Path| fs::metadata(file).unwrap().ino();
        assert_eq!(node(&image), node(&disk));
        unshare(&disk, false).unwrap();
        assert_ne!(node(&image), node(&disk));
        assert_eq!(fs::read(&image).unwrap(), fs::read(&disk).unwrap());
        let own = node(&disk);
        unshare(&disk, false).unwrap();
        assert_eq!(node(&disk), own);
        OpenOptions::new()
            .write(true)
            .open(&disk)
            .unwrap()
            .write_all_at(&[9; 512], 0)
            .unwrap();
        assert_eq!(fs::read(&image).unwrap()[..512], [0; 512]);
    }

    #[test]
    fn a_longer_disk_has_its_content_zeros_and_a_good_footer() {
        let (_dir, image, disk) = shared();
        let before = fs::read(&image).unwrap();
        // The second time is that of a process which was stopped before it could say so.
        for _ in 0..2 {
            lengthen(&disk, 2 * SIZE, Uuid::nil(), false).unwrap();
            let bytes = fs::read(&disk).unwrap();
            let (content, end) = bytes.split_at(2 * SIZE as usize);
            assert!(content[..SIZE as usize] == before[..SIZE as usize]);
            assert!(content[SIZE as usize..].iter().all(|byte| *byte == 0));
            let end: &[u8; FOOTER_LEN] = end.try_into().unwrap();
            assert_eq!(footer_problem(end, 2 * SIZE + FOOTER, "disk"), None);
        }
        assert_eq!(fs::read(&image).unwrap(), before);
    }
}
