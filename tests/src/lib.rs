//! What the tests across the crates share.
//!
//! [`Local`] is a local Azure in a directory of its own with the library connected to it, [`disks`]
//! makes disk images, [`content`] compares them byte by byte, [`azurite`] runs Microsoft's own
//! emulator of storage, [`openapi`] holds requests against Microsoft's documents, [`golden`]
//! plays recordings of Azure. Nothing here is for other programs.
//!
//! A helper that fails is a test that fails, so all of them panic with what they know.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "everything in this crate is a test or a part of one"
)]

pub mod azurite;
pub mod content;
pub mod disks;
pub mod golden;
mod local;
pub mod openapi;
pub mod process;
pub mod tools;

pub use local::{Local, State};

use std::future::Future;
use std::time::Duration;

/// Ends a test that hangs, with its name.
///
/// # Panics
/// When the future is not done in time.
pub async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future)
        .await
        .unwrap_or_else(|_| panic!("{what} is not done after {seconds} seconds"))
}
