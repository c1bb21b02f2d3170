//! What an upload has to survive, against a local Azure that fails by rule: afterwards the target is
//! byte for byte the source, or there is an error that says what to do and nothing that could be
//! taken for a disk. `README.md` beside this directory has the list.
//!
//! Each module is one kind of trouble. `place` is what they share, `haste` lets minutes of silence pass
//! in seconds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "everything in this directory is a test"
)]

mod access;
mod answers;
mod connections;
mod haste;
mod place;
mod rivals;
mod sources;
mod targets;
