//! The VHD format: the footer, the fixed disk that is a raw image with a footer behind it, and the
//! dynamic disk that has a block table.
//!
//! Fields are big-endian, times are seconds since the first moment of the year 2000 (UTC).
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification", 2006.

pub(in crate::disk) mod dynamic;
mod fixed;
mod footer;

pub use dynamic::DynamicVhd;
pub use fixed::FixedVhd;
pub(crate) use footer::own_footer;
pub use footer::{DiskType, Footer, FooterDefect, upload_footer};
