//! From a NixOS configuration, or any disk image, to a running Azure virtual machine.

pub mod arm;
pub mod azure;
mod backoff;
mod blocking;
pub mod disk;
mod error;
mod generation;
mod handle;
pub mod image;
pub mod nix;
pub mod progress;
mod sas;
mod size;
pub mod upload;
pub mod vm;

pub use azure::Azure;
pub use error::{Error, ErrorKind, Result};
pub use generation::Generation;
pub use handle::{CancelHandle, Handle};
pub use sas::SasUrl;
pub use size::ByteSize;
pub use upload::VhdUploader;
