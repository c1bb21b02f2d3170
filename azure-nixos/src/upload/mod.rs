//! The uploader: from a [`DiskSource`](crate::disk::DiskSource) to page blobs.
//!
//! Here live the plan, the buffers, the sender, retries and the proof. Nothing here knows of
//! Azure Resource Manager: access comes from a [`SasSource`].

mod access;

pub use access::{SasAccess, SasSource};
