//! From a NixOS configuration, or any disk image, to a running Azure virtual machine.

pub mod arm;
pub mod azure;
mod backoff;
pub mod disk;
mod error;
pub mod image;
pub mod nix;
mod operation;
pub mod progress;
mod sas;
mod size;
pub mod upload;
pub mod vm;

pub use error::{Error, ErrorKind, Result};
pub use operation::{CancelHandle, Operation};
pub use sas::SasUrl;
pub use size::ByteSize;
