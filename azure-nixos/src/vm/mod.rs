//! From an image to a machine that can be logged into.
//!
//! Here live the order in which a machine's parts are made and what is taken away when one fails.
//! The requests themselves are those of [`arm`](crate::arm).

mod builder;
mod image;
mod keys;
mod network;
mod user;

pub use builder::{BootedVm, DEFAULT_OS_DISK_GB, DEFAULT_SIZE, VmBuilder};
pub use image::ImageReference;
pub use keys::SshKey;
