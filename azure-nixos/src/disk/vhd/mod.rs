//! The VHD format: the footer, and the fixed disk that is a raw image with a footer behind it.
//!
//! Fields are big-endian, times are seconds since the first moment of the year 2000 (UTC).
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification", 2006.

mod fixed;
mod footer;

pub use fixed::FixedVhd;
pub use footer::{DiskType, Footer, FooterDefect, upload_footer};
