//! Disk images: what they contain, and where.
//!
//! Here live the formats, the VHD footer, the partition probe and the content identity. Nothing
//! here knows of Azure's services or of how bytes travel. Everything is synchronous: callers in
//! async code run it on blocking threads.

mod source;

pub use source::DiskSource;
