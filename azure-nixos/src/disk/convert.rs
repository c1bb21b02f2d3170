//! From any disk image to a fixed VHD in a file: what an upload would write, on this machine.
//!
//! The file grows under a temporary name beside the target and takes its name when it is whole and
//! on the disk. Only what is not zero is written, so the file is as sparse as its content allows. The
//! digests for the footer are taken from the pieces as they pass: the source is read once.

use std::fs::{self, File};
use std::future::{Future, IntoFuture};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::identity::ContentName;
use super::limits::{check_disk_size, padded_size, upload_size};
use super::pieces;
use super::source::DiskSource;
use super::vhd::{Footer, upload_footer};
use super::zero::is_zero;
use crate::blocking::blocking;
use crate::handle::{Handle, Work};
use crate::progress::{Phase, Transfer};
use crate::{Error, ErrorKind, Result};

/// The unit in which file systems keep holes; finer ones would not be kept.
const BLOCK: usize = 4096;
/// Progress is told this often.
const TICK: Duration = Duration::from_millis(100);

/// Writes a disk into a file, as the fixed VHD that Azure takes.
///
/// The file is the disk, rounded up to a MiB and to 20 MiB at least, and a footer: byte for byte what
/// [`VhdUploader`](crate::VhdUploader) would write. The same disk gives the same file, whatever
/// holds it. Zeros become holes.
///
/// Await it, [`start`](Self::start) it for progress and cancellation, or [`run`](Self::run) it on a
/// thread that may block.
///
/// ```no_run
/// use azure_nixos::disk::{Conversion, DiskImage};
///
/// let image = DiskImage::open("web.qcow2")?;
/// let done = Conversion::new(image, "web.vhd").run()?;
/// println!("{} bytes of {} were written", done.bytes_written, done.bytes_logical);
/// # Ok::<(), azure_nixos::Error>(())
/// ```
///
/// # Cancellation
/// Cancelling, and dropping the handle or the future, stops within some 4 MiB and takes the unfinished
/// file away. The target is there when it is whole, or not at all. What was under its name before stays
/// until then.
#[derive(Clone, Debug)]
#[must_use = "a conversion does nothing until it is awaited, started or run"]
pub struct Conversion {
    source: Arc<dyn DiskSource>,
    target: PathBuf,
    overwrite: bool,
}

/// A VHD that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Converted {
    /// Where it is.
    pub path: PathBuf,
    /// Its length: the disk and the footer.
    pub bytes_logical: u64,
    /// What was written, the footer included.
    pub bytes_written: u64,
    /// What is a hole.
    pub bytes_skipped: u64,
    /// Time for everything.
    pub elapsed: Duration,
}

impl Conversion {
    /// A conversion of this disk into this file, which must not exist.
    pub fn new(source: impl DiskSource, target: impl Into<PathBuf>) -> Self {
        Self {
            source: Arc::new(source),
            target: target.into(),
            overwrite: false,
        }
    }

    /// Whether a file of this name is replaced. By default it is an error.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Converts on this thread and others of its own: blocks.
    ///
    /// # Errors
    /// When the source cannot be read, is no disk for Azure, or changes meanwhile; when the target
    /// exists and is not to be replaced ([`ErrorKind::AlreadyExists`]), or cannot be written. Nothing
    /// is left then.
    pub fn run(self) -> Result<Converted> {
        self.write(&Counts::default(), &CancellationToken::new())
    }

    /// Starts it on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<Converted> {
        Handle::spawn(|work| self.follow(work))
    }

    async fn follow(self, work: Work) -> Result<Converted> {
        work.check()?;
        work.progress
            .phase(Phase::Converting, self.target.display().to_string());
        let counts = Arc::new(Counts::default());
        let (theirs, stop) = (Arc::clone(&counts), work.cancel.clone());
        let total = upload_size(self.source.virtual_size());
        let began = Instant::now();
        let mut writing = Box::pin(blocking(move || self.write(&theirs, &stop)));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                // It stops by itself soon after it was cancelled, and then nothing is left.
                result = &mut writing => {
                    work.progress.transfer(counts.transfer(total, began.elapsed()));
                    return result;
                }
                _ = tick.tick() => work.progress.transfer(counts.transfer(total, began.elapsed())),
            }
        }
    }

    fn write(self, counts: &Counts, stop: &CancellationToken) -> Result<Converted> {
        let began = Instant::now();
        let source = &*self.source;
        let size = source.virtual_size();
        check_disk_size(size)?;
        let padded = padded_size(size);
        let fingerprint = source.fingerprint()?;
        let part = Part::create(&self.target, self.overwrite)?;
        part.check(part.file.set_len(upload_size(size)))?;

        let ready = source.footer()?.is_some() || source.known_identity().is_some();
        let mut name = (!ready).then(|| ContentName::new(size));
        pieces::visit(
            source,
            |number, bytes, _| {
                if stop.is_cancelled() {
                    return Err(Error::cancelled());
                }
                let at = number * pieces::PIECE as u64;
                let written = part.write_nonzero(bytes, at)?;
                counts.passed(written, bytes.len() as u64, at);
                Ok(if ready || written == 0 {
                    None
                } else {
                    ContentName::digest(bytes)
                })
            },
            |number, digest| {
                if let (Some(name), Some(digest)) = (&mut name, digest) {
                    name.add(number, digest);
                }
            },
        )?;
        let footer = match name {
            Some(name) => *Footer::fixed(padded, &name.finish()).bytes(),
            None => upload_footer(source)?,
        };
        part.check(part.file.write_all_at(&footer, padded))?;
        counts.passed(footer.len() as u64, footer.len() as u64, padded);
        if source.fingerprint()? != fingerprint {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the disk image changed while it was converted",
            )
            .with_operation("convert")
            .with_hint("let nothing write to the image meanwhile, and start again"));
        }
        part.check(part.file.sync_all())?;
        if stop.is_cancelled() {
            return Err(Error::cancelled());
        }
        part.finish(self.overwrite)?;
        let written = counts.written.load(Ordering::Relaxed);
        Ok(Converted {
            path: self.target,
            bytes_logical: upload_size(size),
            bytes_written: written,
            bytes_skipped: upload_size(size) - written,
            elapsed: began.elapsed(),
        })
    }
}

impl IntoFuture for Conversion {
    type Output = Result<Converted>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Converts without progress. Dropping the future cancels.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// How far it is, in bytes.
#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    written: AtomicU64,
    /// The end of what was passed, read or not.
    reached: AtomicU64,
}

impl Counts {
    fn passed(&self, written: u64, read: u64, at: u64) {
        self.read.fetch_add(read, Ordering::Relaxed);
        self.written.fetch_add(written, Ordering::Relaxed);
        self.reached.fetch_max(at + read, Ordering::Relaxed);
    }

    fn transfer(&self, total: u64, elapsed: Duration) -> Transfer {
        let written = self.written.load(Ordering::Relaxed);
        let reached = self.reached.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = written as f64 / elapsed.as_secs_f64().max(0.001);
        Transfer {
            total,
            read: self.read.load(Ordering::Relaxed),
            sent: written,
            skipped: reached.saturating_sub(written),
            rate,
            elapsed,
            ..Transfer::default()
        }
    }
}

/// The file while it is not whole; taken away when it is dropped.
#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Part {
    fn create(target: &Path, overwrite: bool) -> Result<Self> {
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
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| cannot_write(target, error))?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
        })
    }

    fn check<T>(&self, result: io::Result<T>) -> Result<T> {
        result.map_err(|error| cannot_write(&self.target, error))
    }

    /// Writes the runs of blocks that are not zero, and says how many bytes they are.
    fn write_nonzero(&self, bytes: &[u8], at: u64) -> Result<u64> {
        let mut written = 0;
        let mut write = |run: std::ops::Range<usize>| {
            written += run.len() as u64;
            let offset = at + run.start as u64;
            self.check(self.file.write_all_at(&bytes[run], offset))
        };
        let mut run = 0..0;
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            if is_zero(block) {
                continue;
            }
            let start = number * BLOCK;
            if run.end != start {
                if !run.is_empty() {
                    write(run)?;
                }
                run = start..start;
            }
            run.end = start + block.len();
        }
        if !run.is_empty() {
            write(run)?;
        }
        Ok(written)
    }

    /// Gives the file, which is whole and on the disk, its name.
    fn finish(self, overwrite: bool) -> Result<()> {
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

#[cfg(test)]
mod tests;
