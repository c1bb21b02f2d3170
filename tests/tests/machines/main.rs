//! How machines are made, and what becomes of them, against a local Azure: found, started, stopped,
//! resized, read, and deleted with everything that was made for them and nothing else.
//!
//! `place` is what the modules share.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this directory is a test"
)]

mod boot;
mod delete;
mod life;
mod place;
mod ready;
mod scale_set;
mod serial_log;
