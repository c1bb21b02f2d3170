//! Disk images: what they contain, and where.
//!
//! Here live the formats, the VHD footer, the partition probe, the content's identity and its checksum. Nothing
//! here knows of Azure's services or of how bytes travel. Everything is synchronous: callers in
//! async code run it on blocking threads. [`Opening::start`] and [`Conversion::start`] do that themselves.
//!
//! | format | read by | feature |
//! |---|---|---|
//! | raw, block devices | [`RawImage`] | |
//! | fixed VHD | [`FixedVhd`] | |
//! | dynamic VHD | [`DynamicVhd`] | |
//! | VHDX, fixed and dynamic | [`Vhdx`] | |
//! | qcow2 | `Qcow2` | `qcow2` |
//! | raw or fixed VHD, compressed | | `gzip`, `xz`, `zstd` |
//!
//! [`DiskImage`] tells them apart by content. Others are recognised, and refused with what to do.
//!
//! ```no_run
//! use azure_nixos::disk::{DiskImage, DiskSource, InspectOptions, inspect};
//!
//! let path = "result/nixos.vhd";
//! let report = inspect(path, InspectOptions::quick())?;
//! report.check()?;
//! println!("boots as generation {}", report.generations);
//!
//! let image = DiskImage::open(path)?;
//! let mut at = 0;
//! while let Some(extent) = image.next_extent(at)? {
//!     println!("data from {} to {}", extent.start, extent.end);
//!     at = extent.end;
//! }
//! # Ok::<(), azure_nixos::Error>(())
//! ```

mod blocks;
mod boot;
mod buried;
mod checksum;
mod claims;
mod convert;
#[cfg(test)]
mod damage;
mod detect;
mod digest;
mod efi;
mod fault;
mod file;
mod finding;
mod format;
mod generation;
mod identity;
mod image;
mod inspect;
pub mod limits;
mod memory;
mod mend;
mod opening;
mod options;
mod partition;
mod pieces;
#[cfg(feature = "qcow2")]
mod qcow2;
mod raw;
mod read_at;
mod sha;
mod source;
mod stream;
mod table;
pub mod vhd;
mod vhdx;
mod watch;
mod zero;

pub(crate) use boot::Boot;
pub use checksum::content_checksum;
pub(crate) use checksum::{DiskChecksum, crc64};
pub use convert::{Conversion, Converted};
pub use efi::{BootLoader, LoaderSignature, SecureBoot};
pub use file::ImageFile;
pub use finding::{Finding, FindingKind, Severity};
pub use format::Format;
pub use generation::{Architecture, Generations};
pub(crate) use identity::watched_identity;
pub use identity::{Identified, content_identity};
pub use image::DiskImage;
pub use inspect::{
    ContainerReport, ContentReport, FooterReport, InspectOptions, Inspection, inspect, inspect_with,
};
pub use memory::MemoryImage;
pub(crate) use opening::follow;
pub use opening::{OpenedImage, Opening};
pub use options::OpenOptions;
pub use partition::{Partition, PartitionKind, PartitionScheme, PartitionTable, RootArchitecture};
#[cfg(feature = "qcow2")]
pub use qcow2::Qcow2;
pub use raw::RawImage;
pub use read_at::ReadAt;
pub use source::{DiskSource, Stored};
pub use vhd::{DynamicVhd, FixedVhd, upload_footer};
pub use vhdx::Vhdx;
pub use zero::is_zero;
