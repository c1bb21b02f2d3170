//! How far a conversion is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::progress::Transfer;

/// Bytes.
#[derive(Debug, Default)]
pub(super) struct Counts {
    read: AtomicU64,
    written: AtomicU64,
    /// The end of what was passed, read or not.
    reached: AtomicU64,
}

impl Counts {
    pub(super) fn passed(&self, written: u64, read: u64, at: u64) {
        self.read.fetch_add(read, Ordering::Relaxed);
        self.written.fetch_add(written, Ordering::Relaxed);
        self.reached.fetch_max(at + read, Ordering::Relaxed);
    }

    pub(super) fn transfer(&self, total: u64, elapsed: Duration) -> Transfer {
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

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}
