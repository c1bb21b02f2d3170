//! What becomes of machines after they were made, against a local Azure: found, started, stopped,
//! resized, read, and deleted with everything that was made for them and nothing else.
//!
//! `place` is what the modules share.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this directory is a test"
)]

mod delete;
mod life;
mod place;
mod serial_log;
