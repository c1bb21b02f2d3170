//! From any disk image to a fixed VHD in a file: what an upload would write, on this machine.
//!
//! The file grows under a temporary name beside the target and takes its name when it is whole and
//! on the disk. Only what is not zero is written, so the file is as sparse as its content allows. The
//! digests for the footer are taken from the pieces as they pass: the source is read once.

mod counts;
mod output;
mod part;

use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use counts::Counts;
use output::Output;
use part::Part;

use super::digest;
use super::identity::ContentName;
use super::limits::{check_disk_size, padded_size, upload_size};
use super::pieces;
use super::source::DiskSource;
use super::vhd::{Footer, upload_footer};
use crate::blocking::blocking;
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// Threads for each processor: one waits for the disk while another reads and hashes.
const OVERLAP: usize = 2;
/// No disk is faster than so many threads, each with a write of its own.
const MOST_THREADS: usize = 16;
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
/// Cancelling, and dropping the handle or the future, stops at the next MiB of each thread and takes the
/// unfinished file away. The target is there when it is whole, or not at all. What was under its name before stays
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
        part.work(|output| output.set_len(upload_size(size)))?;

        let ready = source.footer()?.is_some() || source.known_identity().is_some();
        let mut name = (!ready).then(|| ContentName::new(size));
        let threads = (pieces::processors() * OVERLAP).min(MOST_THREADS);
        pieces::each(
            source,
            digest::on_threads(threads),
            |pieces, buffer| {
                let buffer = output::aligned(buffer, digest::BUFFER);
                digest::read(source, pieces, buffer, !ready, |bytes, at| {
                    if stop.is_cancelled() {
                        return Err(Error::cancelled());
                    }
                    let written = part.work(|output| output.write_nonzero(bytes, at))?;
                    counts.passed(written, bytes.len() as u64, at);
                    Ok(())
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
        part.work(|output| output.write(&footer, padded))?;
        counts.passed(footer.len() as u64, footer.len() as u64, padded);
        if source.fingerprint()? != fingerprint {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the disk image changed while it was converted",
            )
            .with_operation("convert")
            .with_hint("let nothing write to the image meanwhile, and start again"));
        }
        part.work(Output::sync)?;
        if stop.is_cancelled() {
            return Err(Error::cancelled());
        }
        part.finish(self.overwrite)?;
        let written = counts.written();
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

#[cfg(test)]
mod tests;
