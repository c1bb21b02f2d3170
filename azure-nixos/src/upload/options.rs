//! How an upload is done, whatever it is of and to.

use std::path::{Path, PathBuf};

use super::{Concurrency, Verify};
use crate::ByteSize;

/// How an upload is done: what [`VhdUploader`](super::VhdUploader) and all that uploads by it have in
/// common.
///
/// ```
/// use azure_nixos::ByteSize;
/// use azure_nixos::upload::{UploadOptions, Verify};
///
/// let options = UploadOptions::default()
///     .journal("/var/lib/uploads")
///     .max_bandwidth(Some(ByteSize::mib(10)))
///     .verify(Verify::Contents);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct UploadOptions {
    pub(crate) concurrency: Concurrency,
    pub(crate) memory: ByteSize,
    pub(crate) bandwidth: Option<ByteSize>,
    pub(crate) verify: Verify,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) afresh: bool,
}

impl Default for UploadOptions {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::default(),
            memory: ByteSize::mib(64),
            bandwidth: None,
            verify: Verify::default(),
            journal: None,
            afresh: false,
        }
    }
}

impl UploadOptions {
    /// How many requests are in flight. Default: [`Concurrency::Auto`].
    #[must_use]
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Memory for ranges that are read, waiting or on their way. Default 64 MiB, least 8 MiB. Up
    /// to 17 MiB more go into buffers that are kept for reuse and into reading ahead;
    /// [`Verify::Contents`] holds what it reads back in addition.
    #[must_use]
    pub fn memory_limit(mut self, memory: ByteSize) -> Self {
        self.memory = memory;
        self
    }

    /// Bytes per second that are not exceeded on average. Default: no limit.
    #[must_use]
    pub fn max_bandwidth(mut self, bandwidth: Option<ByteSize>) -> Self {
        self.bandwidth = bandwidth;
        self
    }

    /// How the target is compared with the source. Default: [`Verify::Ranges`].
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Keeps a journal of what was acknowledged in this directory, and goes on from the one that an
    /// earlier upload of the same source to the same target left there, however that ended: only
    /// what had not been acknowledged is sent. Default: no journal.
    ///
    /// The target is told by [`SasSource::target`](super::SasSource::target), so that a new access to
    /// the same disk goes on with it; the source by its content's name or its
    /// [fingerprint](crate::disk::DiskSource::fingerprint). What the target does not list any more is
    /// sent again, and a source that has changed is refused. The journal of an upload that is whole
    /// is deleted.
    #[must_use]
    pub fn journal(mut self, directory: impl Into<PathBuf>) -> Self {
        self.journal = Some(directory.into());
        self
    }

    /// Whether to send everything although there is a [`journal`](Self::journal). Default: no.
    #[must_use]
    pub fn afresh(mut self, afresh: bool) -> Self {
        self.afresh = afresh;
        self
    }

    /// Where the journal is kept, if one is.
    #[must_use]
    pub fn journal_directory(&self) -> Option<&Path> {
        self.journal.as_deref()
    }
}
