//! Azure's rules for the size of a disk, and what becomes of a size that breaks them.
//!
//! Numbers are those of `uploadSizeBytes` of a managed disk: 20,972,032 to 35,183,298,347,520
//! bytes, the footer's 512 included, and without them a whole number of MiB.

use crate::{ByteSize, Error, ErrorKind, Result};

/// The unit of all disk offsets and of page blob pages, in bytes.
pub const SECTOR: u64 = 512;

/// Bytes of a VHD footer.
pub const FOOTER: u64 = 512;

/// One mebibyte: disk sizes on Azure are a whole number of them.
pub const MIB: u64 = 1 << 20;

/// The smallest disk, without its footer. Smaller images are filled up with zeros, which are not
/// sent and so cost nothing.
pub const MIN_DISK: u64 = 20 * MIB;

/// The largest disk, without its footer: 32,767 GiB.
pub const MAX_DISK: u64 = 32_767 << 30;

/// The largest disk that a machine can boot from: 4,095 GiB.
pub const MAX_OS_DISK: u64 = 4_095 << 30;

/// Where the 32-bit sector numbers of an MBR end: 2 TiB.
pub const MAX_MBR: u64 = 2 << 40;

/// The size of the disk on Azure for so many bytes of content: rounded up to a MiB, and at least
/// [`MIN_DISK`]. What is added is zeros.
///
/// ```
/// use azure_nixos::disk::limits::{padded_size, MIB};
///
/// assert_eq!(padded_size(100 * MIB), 100 * MIB);
/// assert_eq!(padded_size(100 * MIB + 512), 101 * MIB);
/// assert_eq!(padded_size(512), 20 * MIB);
/// ```
#[must_use]
pub const fn padded_size(virtual_size: u64) -> u64 {
    let size = virtual_size.div_ceil(MIB).saturating_mul(MIB);
    if size < MIN_DISK { MIN_DISK } else { size }
}

/// The `uploadSizeBytes` of the disk: [`padded_size`] and the footer.
#[must_use]
pub const fn upload_size(virtual_size: u64) -> u64 {
    padded_size(virtual_size).saturating_add(FOOTER)
}

/// Fails when Azure has no disk of that size.
///
/// # Errors
/// [`ErrorKind::InvalidImage`] for a size of 0, one that is no whole number of sectors, or one
/// above [`MAX_DISK`].
pub fn check_disk_size(virtual_size: u64) -> Result<()> {
    if virtual_size == 0 || !virtual_size.is_multiple_of(SECTOR) {
        return Err(Error::new(
            ErrorKind::InvalidImage,
            format!("a disk of {virtual_size} bytes is not a whole number of 512-byte sectors"),
        ));
    }
    if virtual_size > MAX_DISK {
        return Err(
            Error::new(ErrorKind::InvalidImage, too_large(virtual_size)).with_hint(MAKE_IT_SMALLER)
        );
    }
    Ok(())
}

/// Fails when Azure has no disk of that size that a machine could boot from.
///
/// # Errors
/// As [`check_disk_size`], and for one above [`MAX_OS_DISK`].
pub fn check_os_disk_size(virtual_size: u64) -> Result<()> {
    check_disk_size(virtual_size)?;
    if virtual_size > MAX_OS_DISK {
        return Err(Error::new(
            ErrorKind::InvalidImage,
            format!(
                "the disk has {} GiB, the largest that a machine can boot from has {} GiB",
                ByteSize::bytes(virtual_size).as_gib_rounded_up(),
                MAX_OS_DISK >> 30
            ),
        )
        .with_hint(MAKE_IT_SMALLER));
    }
    Ok(())
}

/// The refusal of a disk above [`MAX_DISK`]. In GiB: rounded to TiB, both sizes can read the same.
pub(super) fn too_large(virtual_size: u64) -> String {
    format!(
        "the disk has {} GiB, Azure's largest managed disk has {} GiB",
        ByteSize::bytes(virtual_size).as_gib_rounded_up(),
        MAX_DISK >> 30
    )
}

/// What to do about that.
pub(super) const MAKE_IT_SMALLER: &str =
    "make the image smaller; the disk of a machine can be enlarged later";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_azure_documents() {
        assert_eq!(upload_size(1), 20_972_032);
        assert_eq!(upload_size(MAX_DISK), 35_183_298_347_520);
        assert!(check_disk_size(MAX_DISK).is_ok());
        assert!(check_disk_size(MAX_DISK + SECTOR).is_err());
        assert!(check_disk_size(0).is_err());
        assert!(check_disk_size(513).is_err());
        assert!(check_disk_size(512).is_ok());
    }

    #[test]
    fn sizes_are_rounded_up_never_down() {
        for size in [
            512,
            MIN_DISK,
            MIN_DISK + 512,
            104_865_792,
            u64::MAX / 2,
            u64::MAX,
        ] {
            let padded = padded_size(size);
            assert!(padded >= size.min(u64::MAX - MIB), "{size}");
            assert!(size > MAX_DISK || padded.is_multiple_of(MIB), "{size}");
            assert!(
                size > MAX_DISK || padded - size < MIB || padded == MIN_DISK,
                "{size}"
            );
        }
    }
}
