//! From a source to an image on Azure: build → disk → pages → image.
//!
//! Here live the order of the steps and what is undone when one fails. What a step does lives in
//! [`nix`](crate::nix), [`disk`](crate::disk), [`upload`](crate::upload) and [`arm`](crate::arm).

mod access;
mod builder;
mod disk;
mod generation;
mod origin;
mod source;

pub(crate) use builder::disk_name;

pub use access::DiskAccess;
pub use builder::{DEFAULT_LOCATION, ImageBuilder, UploadedImage};
pub use disk::{DiskUpload, UploadedDisk};
pub use source::ImageSource;

/// The tag that names the content of a disk or an image: two with the same value hold the same bytes.
pub(crate) const CONTENT_TAG: &str = "azure-nixos-content";

/// The tag on a disk whose upload is not finished. It goes when the upload is committed: what
/// becomes of a disk whose access runs out in the middle is not documented, and a disk that is taken
/// for whole must be whole.
pub(crate) const UNFINISHED_TAG: &str = "azure-nixos-unfinished";
