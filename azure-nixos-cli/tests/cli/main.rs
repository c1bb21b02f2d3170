//! The command line from end to end: the program as it is built, in a directory of its own, against
//! a local Azure. Each module is a subject; `place` and `azure` are what they share.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this directory is a test"
)]

mod arm64;
mod azure;
mod boot;
mod check;
mod compare;
mod convert;
mod demo;
mod disks;
mod emulator;
mod faults;
mod formats;
mod help;
mod inventory;
mod machines;
mod mistakes;
mod nix;
mod page_blob;
mod place;
mod progress;
mod proxies;
#[path = "../../../azure-nixos/tests/nix_store/relocated.rs"]
mod relocated;
mod resume;
mod road;
mod secrets;
mod ssh;
mod tools;
mod undo;
