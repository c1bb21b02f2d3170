//! The uploader: from a [`DiskSource`] to page blobs.
//!
//! Here live the plan, the buffers, the sender, retries and the proof. Nothing here knows of
//! Azure Resource Manager: access comes from a [`SasSource`]. The way of a byte:
//!
//! ```text
//! plan      extents and content → ranges (≤ 4 MiB, no long zeros), lazily
//! read      blocking workers, pooled buffers, CRC-64
//! send      one range = one request, through …
//! congestion … the gate, which knows how much may be in flight
//! request   the one retry loop; retry says what a failure means, keeper renews the access
//! target    single attempts through the SDK's page blob client
//! answer    what of an answer is waited for: its head, and no body that has no end
//! journal   what was acknowledged, on disk, for the next run
//! acknowledged, verify   what arrived, compared with the plan and with the target's own list
//! footer    the last page, written when everything else is proved
//! engine    puts these together, in one future: when it is dropped, all of it stops
//! ```

mod access;
mod acknowledged;
mod answer;
mod congestion;
mod engine;
mod failure;
mod integrity;
mod journal;
mod keeper;
mod options;
mod plan;
mod read;
mod report;
mod request;
mod retry;
mod send;
mod target;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod test_source;
#[cfg(test)]
mod tests;
mod verify;

use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use access::{SasAccess, SasSource};
pub use congestion::Concurrency;
pub(crate) use engine::Failed;
pub use integrity::Integrity;
pub use options::UploadOptions;
pub use report::{UploadReport, Verification};

use crate::azure::Transport;
use crate::disk::{DiskSource, limits};
use crate::handle::{Handle, Work};
use crate::{ByteSize, Result};

/// What the target is. The uploader never guesses it from a host name: on a managed disk the
/// wrong request destroys the upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UploadTarget {
    /// A managed disk that was created for upload. It exists and has its length; it is only ever
    /// written to. The default.
    #[default]
    ManagedDisk,
    /// A page blob in a storage account.
    PageBlob {
        /// Creates the blob when there is none. One that exists is kept, and must have the right
        /// length; what it holds where the source is zero is cleared. One that does not say what it
        /// holds is refused.
        create: bool,
    },
}

/// How the target is compared with the source before the footer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// Only by what is always done: a checksum on every range, and every range acknowledged.
    None,
    /// The target's own list of pages must cover everything that was sent. The default. Where the
    /// target does not give a list, the report says so; an upload to a target that is known to hold
    /// old data fails then.
    #[default]
    Ranges,
    /// In addition everything is read back and compared byte for byte, which takes as long as
    /// the upload. Write access to a managed disk does not always allow it; the report says so.
    Contents,
}

/// Uploads a disk to a managed disk or a page blob.
///
/// Only what is not zero is sent, in ranges of at most 4 MiB, as many at a time as the network
/// takes. Every range carries a checksum. Failures that pass are outlived, an access that ends is
/// renewed if its [`SasSource`] can. The VHD footer is written last, when everything else is
/// acknowledged and compared: an upload that failed leaves no footer, and Azure refuses to make a
/// disk of it.
///
/// Await it, or [`start`](Self::start) it for progress and cancellation:
///
/// ```no_run
/// # async fn f(disk: impl azure_nixos::disk::DiskSource) -> azure_nixos::Result<()> {
/// use azure_nixos::SasUrl;
/// use azure_nixos::upload::VhdUploader;
///
/// let sas: SasUrl = "https://md-impexp-x.z1.blob.storage.azure.net/a/abcd?sv=2018-03-28&sig=…".parse()?;
/// let mut upload = VhdUploader::new(disk, sas).start();
/// while let Some(progress) = upload.progress().changed().await {
///     if let Some(transfer) = progress.transfer {
///         eprintln!("{:.0} %", transfer.fraction() * 100.0);
///     }
/// }
/// let report = upload.join().await?;
/// assert_eq!(report.bytes_sent + report.bytes_skipped, report.bytes_logical);
/// # Ok(())
/// # }
/// ```
///
/// # How it works
/// For whoever wants to change it; the modules of `upload` have the details and the reasons.
///
/// *Plan.* The source says where data may be ([`DiskSource::next_extent`]); nothing is listed in
/// advance. Readers take 64 MiB of the disk at a time, read only extents, and cut ranges that begin
/// and end with a page (512 bytes) that is not zero, are at most 4 MiB long, and have no run of zeros
/// of 123 KiB or more inside: a managed disk of the usual size takes 60 MiB and 500 requests a
/// second, so for less than that a request costs more than the zeros. The plan depends on the
/// content alone, and its memory on nothing.
///
/// *Memory.* A range holds a lease on a pool ([`memory_limit`](Self::memory_limit)) from before it is read
/// until it is acknowledged; buffers go round. Four ranges at most are read before they can be sent.
///
/// *Congestion.* Everything goes through one gate. Its limit is in bytes: what the link delivers in
/// two seconds, and no more than twice the rate times the shortest answer of late, because beyond
/// that things only queue. It begins with 2 MiB, doubles as long as the rate grows with it, then
/// grows by a request per round, and loses 40 % at any sign of trouble: 429, 500, 503, a reset, a
/// deadline. A request carries what the link takes in two seconds, half as much after a connection
/// broke, 64 KiB at least and 4 MiB at most; a range that is longer goes in parts. An attempt's
/// deadline is a minute, and what is in flight at an eighth of the measured rate.
///
/// *Retry.* One loop, 24 attempts with growing waits and jitter, `Retry-After` as a minimum. A part
/// that arrives starts the count anew. What cannot pass (404, 409, 412, 413, 416, …) fails at once. A
/// 401 or 403 renews the access, once for all who meet it; a second refusal is the answer, unless
/// the new access was good for others and ended meanwhile.
///
/// *Proof.* Each request carries a CRC-64; where the target refuses the header an MD5, then nothing,
/// and the report says which. Two sums over the offsets and lengths, one of what was cut and one of
/// what was acknowledged, must be equal. Then the target's list of pages must cover what was sent
/// ([`Verify`]), old data elsewhere is cleared, and the source's fingerprint must be what it was.
/// Only then the footer is written.
///
/// *Resume.* With a [`journal`](Self::journal) each acknowledged part is appended to a file, a record
/// with a checksum for each. There is one file for a target, which is locked and says of what source
/// it is. The next run plans as before and leaves out what the journal has and the target still
/// lists.
///
/// All of it is one future: nothing is spawned but blocking reads, which stop when it is dropped.
///
/// # Length
/// The target must have exactly the length of the source, rounded up to a MiB and to 20 MiB at
/// least, plus 512 bytes for the footer; see [`VhdUploader::target_length`].
///
/// # Cancellation
/// Cancelling stops between two requests at the latest; requests on their way are dropped. What
/// was written stays, the footer is not written; with a [`journal`](Self::journal) the next upload
/// goes on from there. A blob that was created is not deleted. When the
/// footer is already on its way its answer is waited for, and the upload may end well after all. A
/// source that is being read to compute its identity finishes that on its own
/// thread, and the result is thrown away.
#[derive(Debug)]
#[must_use = "an uploader does nothing until it is awaited or started"]
pub struct VhdUploader {
    source: Arc<dyn DiskSource>,
    access: Arc<dyn SasSource>,
    transport: Option<Transport>,
    target: UploadTarget,
    options: UploadOptions,
    /// What the source is, where somebody knows better than its fingerprint.
    source_name: Option<String>,
}

impl VhdUploader {
    /// An upload of this source to the blob that this access leads to.
    pub fn new(source: impl DiskSource, access: impl SasSource) -> Self {
        Self::from_arc(Arc::new(source), Arc::new(access))
    }

    /// The same for what is shared with others.
    pub fn from_arc(source: Arc<dyn DiskSource>, access: Arc<dyn SasSource>) -> Self {
        Self {
            source,
            access,
            transport: None,
            target: UploadTarget::default(),
            options: UploadOptions::default(),
            source_name: None,
        }
    }

    /// The length that the target of a source of this size must have, footer included. This is
    /// what `uploadSizeBytes` of a new disk must be.
    ///
    /// ```
    /// use azure_nixos::upload::VhdUploader;
    /// assert_eq!(VhdUploader::target_length(8 << 20)?, (20 << 20) + 512);
    /// # Ok::<(), azure_nixos::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the size is 0, not a multiple of 512, or beyond the largest Azure disk.
    pub fn target_length(virtual_size: u64) -> Result<u64> {
        limits::check_disk_size(virtual_size)?;
        Ok(limits::upload_size(virtual_size))
    }

    /// The HTTP client to use, to share connections with others or to trust more certificates.
    /// Default: a new [`Transport`] with its defaults.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// How it is done, all at once. The setters below change one of these.
    pub fn options(mut self, options: UploadOptions) -> Self {
        self.options = options;
        self
    }

    /// See [`UploadOptions::concurrency`].
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.options = self.options.concurrency(concurrency);
        self
    }

    /// See [`UploadOptions::memory_limit`].
    pub fn memory_limit(mut self, memory: ByteSize) -> Self {
        self.options = self.options.memory_limit(memory);
        self
    }

    /// See [`UploadOptions::max_bandwidth`].
    pub fn max_bandwidth(mut self, bandwidth: Option<ByteSize>) -> Self {
        self.options = self.options.max_bandwidth(bandwidth);
        self
    }

    /// What the target is. Default: [`UploadTarget::ManagedDisk`].
    pub fn target(mut self, target: UploadTarget) -> Self {
        self.target = target;
        self
    }

    /// See [`UploadOptions::verify`].
    pub fn verify(mut self, verify: Verify) -> Self {
        self.options = self.options.verify(verify);
        self
    }

    /// Goes on where an earlier upload to the same target ended; see [`UploadOptions::journal`].
    ///
    /// ```no_run
    /// # async fn f(disk: impl azure_nixos::disk::DiskSource, sas: azure_nixos::SasUrl) -> azure_nixos::Result<()> {
    /// use azure_nixos::upload::VhdUploader;
    /// let report = VhdUploader::new(disk, sas).journal("/var/lib/uploads").await?;
    /// println!("{} bytes were there from the time before", report.bytes_resumed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn journal(mut self, directory: impl Into<PathBuf>) -> Self {
        self.options = self.options.journal(directory);
        self
    }

    /// See [`UploadOptions::afresh`].
    pub fn afresh(mut self, afresh: bool) -> Self {
        self.options = self.options.afresh(afresh);
        self
    }

    /// A better name of the source than its fingerprint: that of its content.
    pub(crate) fn source_name(mut self, name: &str) -> Self {
        self.source_name = Some(name.to_owned());
        self
    }

    /// Starts the upload on the current tokio runtime.
    pub fn start(self) -> Handle<UploadReport> {
        Handle::spawn(|work| async move { self.alone(&work).await })
    }

    async fn alone(self, work: &Work) -> Result<UploadReport> {
        self.run(work).await.map_err(Failed::into_resumable)
    }

    /// Uploads as a part of other work: with its progress and its cancellation. Whoever calls it
    /// knows whether the target stays after a failure.
    pub(crate) async fn run(self, work: &Work) -> Result<UploadReport, Failed> {
        let pool = Arc::new(read::Pool::new(self.options.memory.as_u64()));
        Box::pin(engine::upload(self, work, pool)).await
    }
}

impl IntoFuture for VhdUploader {
    type Output = Result<UploadReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Uploads without progress. Dropping the future cancels.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.alone(&Work::default()).await })
    }
}
