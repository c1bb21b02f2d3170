//! The target while it is not whole: under a temporary name beside it, and gone again unless it is
//! finished.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::output::Output;
use crate::{Error, ErrorKind, Result};

/// A file that is not whole yet; taken away when it is dropped.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) output: Output,
    path: PathBuf,
    target: PathBuf,
}

impl Part {
    pub(super) fn create(target: &Path, overwrite: bool) -> Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not the name of a file", target.display()),
            )
            .with_hint("name the file to be written"));
        };
        match fs::symlink_metadata(target) {
            Ok(_) if !overwrite => return Err(exists(target)),
            Ok(found) if !found.is_file() => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "{} is not a regular file, and is not replaced",
                        target.display()
                    ),
                )
                .with_hint("name another file"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("look at", target, error)),
        }
        // In the same directory, so that it can take the name in one step.
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{:08x}.part", random()?));
        let path = target.with_file_name(hidden);
        let output = Output::create(&path).map_err(|error| cannot_write(target, error))?;
        Ok(Self {
            output,
            path,
            target: target.to_owned(),
        })
    }

    /// Works on the file; the error is of the target.
    pub(super) fn work<T>(&self, work: impl FnOnce(&Output) -> io::Result<T>) -> Result<T> {
        self.check(work(&self.output))
    }

    fn check<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| cannot_write(&self.target, error))
    }

    /// Gives the file, which is whole and on the disk, its name.
    pub(super) fn finish(self, overwrite: bool) -> Result<()> {
        if overwrite {
            self.check(fs::rename(&self.path, &self.target))?;
        } else {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(CWD, &self.path, CWD, &self.target, flags) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(exists(&self.target)),
                // Network file systems do not know the flag. A second name is refused as well where
                // there is one already, and the first goes when this is dropped.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    match fs::hard_link(&self.path, &self.target) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                            return Err(exists(&self.target));
                        }
                        linked => self.check(linked)?,
                    }
                }
                Err(error) => return Err(cannot_write(&self.target, error.into())),
            }
        }
        // The name too has to be on the disk. Where directories cannot be opened for that, it comes
        // there by itself, a little later.
        let directory = match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
            tracing::debug!("the directory was not written back: {error}");
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the renaming there is nothing of this name.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

fn random() -> Result<u32> {
    getrandom::u32().map_err(|error| {
        Error::new(ErrorKind::Internal, "the system gives no random numbers")
            .with_context("reason", error)
    })
}

fn exists(target: &Path) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!("{} exists already", target.display()),
    )
    .with_hint("name another file, or say that it is to be replaced (--force)")
}

fn cannot_write(target: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull => {
            Some("there is no space left where it is to be; free some, or write elsewhere")
        }
        io::ErrorKind::QuotaExceeded => {
            Some("your quota there is used up; free some space, or write elsewhere")
        }
        io::ErrorKind::FileTooLarge => {
            Some("the file system there has no files of this size; write to another, such as XFS")
        }
        io::ErrorKind::NotFound => Some("its directory must exist"),
        _ => None,
    };
    let error = Error::io("write", target, error).with_operation("convert");
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
