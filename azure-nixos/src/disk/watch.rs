//! How far a long look at a disk is, and whether it is still wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::progress::Reading;
use crate::{Error, Result};

/// Shared by who looks, on a thread that may block, and who waits for that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    cancel: CancellationToken,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: AtomicU64,
    read: AtomicU64,
}

impl Watch {
    /// A look that stops soon after this is cancelled.
    pub(crate) fn new(cancel: CancellationToken) -> Self {
        Self {
            cancel,
            counts: Arc::default(),
        }
    }

    /// Something of so many bytes is gone through from its beginning.
    pub(super) fn begin(&self, total: u64) {
        self.counts.read.store(0, Ordering::Relaxed);
        self.counts.total.store(total, Ordering::Relaxed);
    }

    /// It has come so far: threads may tell that in any order.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) when it is not wanted any more.
    pub(super) fn reached(&self, at: u64) -> Result<()> {
        self.counts.read.fetch_max(at, Ordering::Relaxed);
        self.check()
    }

    /// The same where nothing new was reached.
    ///
    /// # Errors
    /// As [`reached`](Self::reached).
    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        Ok(())
    }

    /// How far it is; `None` as long as nothing is gone through.
    pub(crate) fn reading(&self) -> Option<Reading> {
        let total = self.counts.total.load(Ordering::Relaxed);
        let read = self.counts.read.load(Ordering::Relaxed).min(total);
        (total > 0).then_some(Reading { total, read })
    }
}
