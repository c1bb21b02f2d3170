//! From any disk image to a fixed VHD in a file: what an upload would write, on this machine.
//!
//! The file grows under a temporary name beside the target and takes its name when it is whole and
//! on the disk. Only what is not zero is written, so the file is as sparse as its content allows; and not
//! even that where the file system lets the file share the blocks of the image. The checksum that the
//! footer follows from is summed up from the parts as they pass: the source is read once.

mod counts;
mod output;
mod part;
mod share;

use std::future::{Future, IntoFuture};
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use counts::Counts;
use output::{BLOCK, Output, nonzero_runs};
use part::Part;
use share::Sharing;

use super::checksum::DiskChecksum;
use super::limits::{padded_size, upload_size};
use super::pieces::{self, How};
use super::source::{DiskSource, checked_extent, read_sparse};
use super::vhd::{Footer, own_footer};
use super::zero::is_zero;
use crate::blocking::blocking;
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// Bytes of a part, which is read, summed up and written before the next: few enough for those of a few threads
/// to stay in the processor's caches from one use to the next, and enough for a disk to be read and
/// written at its full speed.
const PART: usize = 1 << 20;
/// One thread waits for the disk while another reads and sums up. More than there are processors were slower by
/// a tenth: a file system gives room in a file to one at a time.
const FEWEST_THREADS: usize = 2;
/// No disk is faster than so many threads, each with a write of its own.
const MOST_THREADS: usize = 16;
/// Progress is told this often.
const TICK: Duration = Duration::from_millis(100);

/// Writes a disk into a file, as the fixed VHD that Azure takes.
///
/// The file is the disk, rounded up to a MiB and to 20 MiB at least, and a footer: byte for byte what
/// [`VhdUploader`](crate::VhdUploader) would write. The same disk gives the same file, whatever
/// holds it. Zeros become holes. On a file system where files can share blocks, such as Btrfs, XFS and ZFS, a
/// file beside the image shares those that hold the disk as it is: they are not written, and take no room
/// of their own until one of the two is changed.
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
    /// What lies in blocks that the file shares with the image: nothing was written for it.
    pub bytes_shared: u64,
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
        let own = own_footer(source)?;
        let size = source.virtual_size();
        let padded = padded_size(size);
        let fingerprint = source.fingerprint()?;
        let part = Part::create(&self.target, self.overwrite)?;
        let sharing = Sharing::find(source, &part)?;
        part.work(|output| output.set_len(upload_size(size)))?;

        let how = How {
            threads: pieces::processors().clamp(FEWEST_THREADS, MOST_THREADS),
            at_once: 1,
        };
        let mut whole = DiskChecksum::new(padded);
        pieces::each(
            source,
            how,
            |pieces, buffer| {
                let buffer = output::aligned(buffer, PART);
                let mut sum = DiskChecksum::new(padded);
                for piece in pieces {
                    in_parts(source, piece, buffer, |bytes, at| {
                        if stop.is_cancelled() {
                            return Err(Error::cancelled());
                        }
                        let mut written = 0;
                        if !is_zero(bytes) {
                            sum.add(at, bytes);
                            written = put(source, &part, &sharing, bytes, at)?;
                        }
                        counts.passed(written, bytes.len() as u64, at);
                        Ok(())
                    })?;
                }
                Ok([sum])
            },
            |_, sum| whole.merge(&sum),
        )?;
        let footer = own.unwrap_or_else(|| *Footer::fixed(padded, whole.finish()).bytes());
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
        let (written, shared) = (counts.written(), sharing.bytes());
        Ok(Converted {
            path: self.target,
            bytes_logical: upload_size(size),
            bytes_written: written,
            bytes_shared: shared,
            bytes_skipped: upload_size(size) - written - shared,
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

/// Gives the target what is not zero of these bytes of the disk, which begin at a multiple of a block:
/// blocks of the image where they can be shared, else the bytes. Returns how many were written.
fn put<S: DiskSource + ?Sized>(
    source: &S,
    part: &Part,
    sharing: &Sharing,
    bytes: &[u8],
    at: u64,
) -> Result<u64> {
    let mut written = 0;
    let mut write = |range: Range<u64>| {
        written += range.end - range.start;
        // Both are within the bytes, whose length is a usize.
        let within = (range.start - at) as usize..(range.end - at) as usize;
        part.work(|output| output.write(&bytes[within], range.start))
    };
    for run in nonzero_runs(bytes) {
        let mut rest = at + run.start as u64..at + run.end as u64;
        while let Some(found) = sharing.next(source, rest.clone())? {
            write(rest.start..found.range.start)?;
            let reached = sharing.share(&part.output, &found);
            write(reached..found.range.end)?;
            rest.start = found.range.end;
        }
        write(rest)?;
    }
    Ok(written)
}

/// Reads what may be data in a range that begins at a multiple of a [`PART`], and shows it with its place on
/// the disk, which is a multiple of a block.
fn in_parts<S: DiskSource + ?Sized>(
    source: &S,
    range: &Range<u64>,
    buffer: &mut [u8],
    mut show: impl FnMut(&[u8], u64) -> Result<()>,
) -> Result<()> {
    let mut at = range.start;
    while at < range.end {
        let Some(extent) = checked_extent(source, at)?.filter(|extent| extent.start < range.end)
        else {
            break;
        };
        // Not before `at`, which is a multiple of a block itself.
        at = extent.start / BLOCK as u64 * BLOCK as u64;
        // A part at most.
        let end = range.end.min((at + 1).next_multiple_of(PART as u64));
        let bytes = &mut buffer[..(end - at) as usize];
        read_sparse(source, bytes, at)?;
        show(bytes, at)?;
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
