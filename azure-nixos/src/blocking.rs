//! Work that blocks, kept off the threads that drive futures.

use crate::{Error, ErrorKind, Result};

/// Runs a closure on a thread for blocking work.
///
/// # Errors
/// What the closure failed with; [`ErrorKind::Internal`] if it panicked.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            if error.is_cancelled() {
                return Err(Error::cancelled());
            }
            Err(Error::new(
                ErrorKind::Internal,
                "a step stopped by a defect of this library",
            )
            .with_source(error))
        })
}
