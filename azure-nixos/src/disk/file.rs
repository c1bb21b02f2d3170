//! The file below every format that lies in one: opened once, of a fixed length, read by offset.
//!
//! Nothing here knows what the bytes mean. A file that changes its length while it is open is an
//! error, never a short or a zero-filled read.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::source::Stored;
use crate::{Error, ErrorKind, Result};

/// A file or block device that holds a disk image.
///
/// ```no_run
/// use azure_nixos::disk::ImageFile;
///
/// let file = ImageFile::open("web.raw")?;
/// let mut sector = [0; 512];
/// file.read_exact_at(&mut sector, 0)?;
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    given: PathBuf,
    canonical: PathBuf,
    length: u64,
    block_device: bool,
    /// The run of data that was found last. Some file systems (tmpfs, btrfs) walk over all of a run
    /// to find its end; asked at every piece of a large run that takes longer than reading it.
    run: Mutex<Range<u64>>,
}

impl ImageFile {
    /// Opens a file or block device for reading. Its length is what it is now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and [`ErrorKind::Io`] when it cannot be opened,
    /// [`ErrorKind::InvalidInput`] when it is a directory, a pipe, a socket or a terminal, and
    /// [`ErrorKind::InvalidImage`] when it is empty.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Looked at before it is opened: opening a pipe waits for its writer, and opening a
        // device can do things to it.
        let before = path
            .metadata()
            .map_err(|error| Error::io("read", path, error))?;
        refuse_what_has_no_bytes(path, &before)?;
        let file = OpenOptions::new()
            .read(true)
            // The path may be a pipe by now; without this, opening it would wait for ever.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        let metadata = file
            .metadata()
            .map_err(|error| Error::io("read", path, error))?;
        refuse_what_has_no_bytes(path, &metadata)?;
        let block_device = metadata.file_type().is_block_device();
        let length = if block_device {
            rustix::fs::seek(&file, SeekFrom::End(0))
                .map_err(|error| Error::io("measure", path, error.into()))?
        } else {
            metadata.len()
        };
        if length == 0 {
            return Err(Error::new(
                ErrorKind::InvalidImage,
                format!("{} is empty", path.display()),
            )
            .with_hint("build or fetch the image again"));
        }
        let canonical = path
            .canonicalize()
            .map_err(|error| Error::io("resolve", path, error))?;
        Ok(Self {
            file,
            given: path.to_owned(),
            canonical,
            length,
            block_device,
            run: Mutex::default(),
        })
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.given
    }

    /// The length in bytes when it was opened; never 0.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether it is a block device rather than a file.
    #[must_use]
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }

    /// The first range at or after `from`, and before `end`, that the file system has bytes for.
    /// Where the file system cannot tell, everything is data.
    ///
    /// # Errors
    /// When the file system fails, or the file became shorter.
    pub fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>> {
        let end = end.min(self.length);
        if from >= end {
            return Ok(None);
        }
        // A hole punched into it since is read as data: to read more is never wrong.
        let known = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&from) {
            return Ok(Some(from..known.end.min(end)));
        }
        drop(known);
        let Some(start) = self.first_data(from, end)? else {
            return Ok(None);
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(stop) if stop > start => {
                *self.run.lock().unwrap_or_else(PoisonError::into_inner) = start..stop;
                Ok(Some(start..stop.min(end)))
            }
            // A hole was punched where data was a moment ago: here too more is read.
            Ok(_) => Ok(Some(start..end)),
            Err(Errno::NXIO) => {
                self.check_length()?;
                Ok(Some(start..end))
            }
            Err(error) if cannot_tell(error) => Ok(Some(start..end)),
            Err(error) => Err(Error::io("find holes in", &self.given, error.into())),
        }
    }

    /// The first byte at or after `from`, and before `end`, that the file system has: without
    /// looking for the end of its run, which can be far.
    pub(super) fn first_data(&self, from: u64, end: u64) -> Result<Option<u64>> {
        let end = end.min(self.length);
        if from >= end {
            return Ok(None);
        }
        match rustix::fs::seek(&self.file, SeekFrom::Data(from)) {
            Ok(start) => Ok(Some(start.max(from)).filter(|start| *start < end)),
            // Nothing but a hole up to the end; a file that was cut off answers the same.
            Err(Errno::NXIO) => {
                self.check_length()?;
                Ok(None)
            }
            Err(error) if cannot_tell(error) => Ok(Some(from)),
            Err(error) => Err(Error::io("find data in", &self.given, error.into())),
        }
    }

    /// Fills the buffer with the bytes at `offset`.
    ///
    /// # Errors
    /// When reading fails, when the range is beyond the end, or when the file became shorter.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let wanted = buffer.len() as u64;
        if offset
            .checked_add(wanted)
            .is_none_or(|end| end > self.length)
        {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "cannot read {wanted} bytes at {offset} of {}, which has {} bytes",
                    self.given.display(),
                    self.length
                ),
            ));
        }
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => {
                    let at = offset + done as u64;
                    // Where it ends may be long before what was asked for. A device does not say.
                    let end = match self.file.metadata() {
                        Ok(metadata) if !self.block_device => metadata.len().min(at),
                        _ => at,
                    };
                    return Err(self.changed(end));
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io("read", &self.given, error)
                        .with_context("offset", offset + done as u64));
                }
            }
        }
        Ok(())
    }

    /// The file itself; a device has no blocks of a file system.
    pub(super) fn as_file(&self) -> Option<BorrowedFd<'_>> {
        (!self.block_device).then(|| self.file.as_fd())
    }

    /// The bytes from `offset` to `end`, as those of a disk that begins with the file.
    pub(super) fn stored(&self, offset: u64, end: u64) -> Option<Stored<'_>> {
        let end = end.min(self.length);
        let file = self.as_file().filter(|_| offset < end)?;
        Some(Stored { file, offset, end })
    }

    /// What the file is at this moment: path, size, modification time and inode. It differs from
    /// an earlier one when the file was written to or replaced since. A block device has no such
    /// times: for it only the path, size and device number count.
    ///
    /// # Errors
    /// When the file cannot be asked.
    pub fn fingerprint(&self) -> Result<String> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| Error::io("read", &self.given, error))?;
        let path = self.canonical.as_os_str();
        if self.block_device {
            let (length, device) = (self.length, metadata.rdev());
            return Ok(format!("device {path:?} size={length} number={device}"));
        }
        Ok(format!(
            "file {path:?} size={} mtime={}.{:09} inode={}",
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ino()
        ))
    }

    fn check_length(&self) -> Result<()> {
        let now = self
            .file
            .metadata()
            .map_err(|error| Error::io("read", &self.given, error))?
            .len();
        if !self.block_device && now < self.length {
            return Err(self.changed(now));
        }
        Ok(())
    }

    fn changed(&self, end: u64) -> Error {
        Error::new(
            ErrorKind::Io,
            format!(
                "{} changed while it was being read: it had {} bytes and now ends at {end}",
                self.given.display(),
                self.length
            ),
        )
        .with_hint("let nothing write to the image meanwhile, and start again")
    }
}

/// File systems without holes, and block devices, refuse the question with one of these.
fn cannot_tell(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)
}

fn refuse_what_has_no_bytes(path: &Path, metadata: &Metadata) -> Result<()> {
    let kind = metadata.file_type();
    let (what, hint) = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        ("a directory", "name the image file inside it")
    } else if kind.is_fifo() {
        ("a pipe", "write the stream into a file first")
    } else if kind.is_socket() {
        ("a socket", "name a file")
    } else {
        ("a character device", "name a file or a block device")
    };
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("{} is {what}, not a disk image", path.display()),
    )
    .with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom as At, Write};

    fn file_with(length: u64, writes: &[(u64, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let mut file = File::create(&path).unwrap();
        file.set_len(length).unwrap();
        for (at, bytes) in writes {
            file.seek(At::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        (dir, path)
    }

    fn extents(file: &ImageFile, end: u64) -> Vec<Range<u64>> {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(range) = file.next_data(at, end).unwrap() {
            assert!(range.start >= at && range.end > range.start && range.end <= end);
            at = range.end;
            all.push(range);
        }
        all
    }

    #[test]
    fn holes_are_left_out_and_data_is_not() {
        let (_dir, path) = file_with(64 << 20, &[(5 << 20, b"here"), ((64 << 20) - 1, b"!")]);
        let file = ImageFile::open(&path).unwrap();
        let all = extents(&file, file.length());
        let covered = |at: u64| all.iter().any(|range| range.contains(&at));
        assert!(covered(5 << 20) && covered((5 << 20) + 3) && covered((64 << 20) - 1));
        // The file system may keep more than was written, but not everything.
        let sum: u64 = all.iter().map(|range| range.end - range.start).sum();
        assert!(sum < 8 << 20, "{all:?}");
        assert_eq!(extents(&file, 5 << 20), []);
        assert_eq!(file.next_data(64 << 20, 64 << 20).unwrap(), None);
    }

    #[test]
    fn what_was_found_before_changes_no_answer_and_hides_no_new_data() {
        let (_dir, path) = file_with(32 << 20, &[(4 << 20, &[1; 3 << 20]), (20 << 20, b"!")]);
        let file = ImageFile::open(&path).unwrap();
        let length = file.length();
        for at in (0..length)
            .step_by(512 << 10)
            .chain((0..length).rev().step_by(777_777))
        {
            let fresh = ImageFile::open(&path).unwrap();
            for end in [at + 1, at + (1 << 20), length] {
                assert_eq!(
                    file.next_data(at, end).unwrap(),
                    fresh.next_data(at, end).unwrap(),
                    "{at}..{end}"
                );
            }
        }
        let writer = File::options().write(true).open(&path).unwrap();
        writer.write_all_at(b"late", 10 << 20).unwrap();
        let found = file.next_data(8 << 20, length).unwrap().unwrap();
        assert!(found.contains(&(10 << 20)), "{found:?}");
    }

    #[test]
    fn a_file_of_one_hole_has_no_data() {
        let (_dir, path) = file_with(1 << 40, &[]);
        assert_eq!(extents(&ImageFile::open(path).unwrap(), 1 << 40), []);
    }

    #[test]
    fn what_the_file_system_does_not_answer_is_data() {
        assert!(cannot_tell(Errno::INVAL) && cannot_tell(Errno::OPNOTSUPP));
        assert!(!cannot_tell(Errno::NXIO) && !cannot_tell(Errno::IO));
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_everywhere() {
        let (_dir, path) = file_with(1 << 20, &[(0, &[7; 8192])]);
        let file = ImageFile::open(&path).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(4096)
            .unwrap();
        let mut buffer = [0; 8192];
        let error = file.read_exact_at(&mut buffer, 0).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("changed while it was being read"),
            "{error}"
        );
        assert!(error.to_string().ends_with("now ends at 4096"), "{error}");
        assert!(file.next_data(8192, 1 << 20).is_err());
    }

    #[test]
    fn reads_beyond_the_end_are_refused() {
        let (_dir, path) = file_with(1024, &[(0, &[1; 1024])]);
        let file = ImageFile::open(path).unwrap();
        let mut buffer = [0; 512];
        file.read_exact_at(&mut buffer, 512).unwrap();
        assert_eq!(buffer, [1; 512]);
        assert!(file.read_exact_at(&mut buffer, 513).is_err());
        assert!(file.read_exact_at(&mut buffer, u64::MAX).is_err());
        file.read_exact_at(&mut [], 1024).unwrap();
    }

    #[test]
    fn each_thing_that_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let refuse = |path: &Path| ImageFile::open(path).unwrap_err();
        assert!(
            refuse(dir.path())
                .to_string()
                .ends_with("is a directory, not a disk image")
        );
        let missing = refuse(&dir.path().join("no"));
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let empty = dir.path().join("empty");
        File::create(&empty).unwrap();
        assert!(refuse(&empty).to_string().ends_with("is empty"));
        assert!(
            refuse(Path::new("/dev/null"))
                .to_string()
                .contains("a character device")
        );
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(refuse(&socket).to_string().contains("a socket"));
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert!(refuse(&pipe).to_string().contains("a pipe"));
    }

    #[test]
    fn a_file_that_may_not_be_read_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, path) = file_with(512, &[]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        if File::open(&path).is_ok() {
            eprintln!("SKIPPED: this user may read everything");
            return;
        }
        let error = ImageFile::open(&path).unwrap_err();
        assert!(error.to_string().starts_with("cannot open"), "{error}");
    }

    #[test]
    fn the_fingerprint_follows_the_file() {
        let (_dir, path) = file_with(4096, &[]);
        let file = ImageFile::open(&path).unwrap();
        let before = file.fingerprint().unwrap();
        assert_eq!(
            before,
            ImageFile::open(&path).unwrap().fingerprint().unwrap()
        );
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(5, 7);
        let writer = File::options().write(true).open(&path).unwrap();
        writer.set_modified(time).unwrap();
        let after = file.fingerprint().unwrap();
        assert_ne!(before, after);
        assert!(after.contains("mtime=5.000000007"), "{after}");
    }
}
