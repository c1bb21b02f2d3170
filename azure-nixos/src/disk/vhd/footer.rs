//! The 512 bytes at the end of every VHD.

use std::fmt;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::disk::checksum::content_checksum;
use crate::disk::limits::{check_disk_size, padded_size};
use crate::disk::source::DiskSource;
use crate::{Error, ErrorKind, Result};

/// Seconds from 1970 to 2000, where VHD time begins.
const YEAR_2000: u64 = 946_684_800;
/// The first moment of 2020 in VHD time, and four years: made-up times lie in between.
const MADE_UP_TIMES: (u32, u32) = (631_152_000, 126_230_400);
/// Names of footers made here (version 5 UUIDs) live under this random UUID.
const NAMESPACE: Uuid = Uuid::from_u128(0x5cb2_9e0d_0b59_4bd1_9b0c_6f1a_8f2e_47a3);

/// What the footer says the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskType {
    /// A raw image with a footer; the only type that Azure takes.
    Fixed,
    /// Blocks allocated as they are written, with a copy of the footer at the start of the file.
    Dynamic,
    /// Like a dynamic disk, with a parent for what it does not contain.
    Differencing,
    /// A number that no tool writes.
    Other(u32),
}

impl From<u32> for DiskType {
    fn from(number: u32) -> Self {
        match number {
            2 => Self::Fixed,
            3 => Self::Dynamic,
            4 => Self::Differencing,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for DiskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed => f.write_str("fixed"),
            Self::Dynamic => f.write_str("dynamic"),
            Self::Differencing => f.write_str("differencing"),
            Self::Other(number) => write!(f, "unknown ({number})"),
        }
    }
}

/// What is wrong with a footer, in the words of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FooterDefect {
    /// It does not begin with `conectix`: these bytes are no footer.
    NoCookie,
    /// The checksum does not fit the other bytes.
    Checksum {
        /// What the footer says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A version of the format that does not exist.
    Version(u32),
    /// A disk type that does not exist.
    DiskType(u32),
    /// It describes another type of disk than the one it is on.
    NotFixed(DiskType),
    /// It speaks of another size than that of the content before it.
    Size {
        /// What the footer says, in bytes.
        stored: u64,
        /// The bytes before the footer.
        content: u64,
    },
    /// It belongs to a machine that was suspended.
    SavedState,
}

impl fmt::Display for FooterDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCookie => f.write_str("does not begin with \"conectix\""),
            Self::Checksum { stored, computed } => write!(
                f,
                "has the checksum {stored:#010x}, its bytes give {computed:#010x}"
            ),
            Self::Version(version) => write!(f, "has the unknown version {version:#010x}"),
            Self::DiskType(number) => write!(f, "has the unknown disk type {number}"),
            Self::NotFixed(kind) => write!(f, "says that the disk is {kind}, not fixed"),
            Self::Size { stored, content } => write!(
                f,
                "says that the disk has {stored} bytes, but {content} bytes come before it"
            ),
            Self::SavedState => f.write_str("says that its machine is suspended"),
        }
    }
}

impl std::error::Error for FooterDefect {}

/// A VHD footer, kept byte for byte.
///
/// ```
/// use azure_nixos::disk::vhd::{DiskType, Footer};
///
/// // 64 MiB, and what `content_checksum` says of them.
/// let footer = Footer::fixed(64 << 20, 0x1234_5678_9abc_def0);
/// assert_eq!(footer, Footer::fixed(64 << 20, 0x1234_5678_9abc_def0));
/// let again = Footer::parse(footer.bytes())?;
/// assert_eq!(again.disk_type(), DiskType::Fixed);
/// assert_eq!(again.current_size(), 64 << 20);
/// # Ok::<(), azure_nixos::disk::vhd::FooterDefect>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    bytes: [u8; Self::SIZE],
}

impl Footer {
    /// Bytes of a footer.
    pub const SIZE: usize = 512;
    /// The first eight bytes.
    pub const COOKIE: [u8; 8] = *b"conectix";

    /// Reads a footer of any disk type.
    ///
    /// # Errors
    /// The first of: no cookie, a wrong checksum, an unknown version, an unknown disk type.
    pub fn parse(bytes: &[u8; Self::SIZE]) -> Result<Self, FooterDefect> {
        let footer = Self::unchecked(bytes);
        if footer.at::<8>(0) != Self::COOKIE {
            return Err(FooterDefect::NoCookie);
        }
        let (stored, computed) = (footer.checksum(), footer.computed_checksum());
        if stored != computed {
            return Err(FooterDefect::Checksum { stored, computed });
        }
        // The minor half may grow, the specification says; the major half may not.
        let version = u32::from_be_bytes(footer.at(12));
        if version >> 16 != 1 {
            return Err(FooterDefect::Version(version));
        }
        if let DiskType::Other(number) = footer.disk_type() {
            return Err(FooterDefect::DiskType(number));
        }
        Ok(footer)
    }

    /// The fields of bytes that may be anything.
    pub(in crate::disk) fn unchecked(bytes: &[u8; Self::SIZE]) -> Self {
        Self { bytes: *bytes }
    }

    /// The footer of a fixed disk of `size` bytes, made from its
    /// [checksum](crate::disk::content_checksum): the same disk has the same footer, byte for byte,
    /// whoever makes it. Its UUID is the one of version 5 for the text `SIZE crc64nvme:CHECKSUM`, with
    /// 16 hexadecimal digits; its time is derived from that, is one of the years 2020 to 2023 and means
    /// nothing.
    ///
    /// The size is that of the disk on Azure ([`padded_size`]), not that of the image.
    #[must_use]
    pub fn fixed(size: u64, checksum: u64) -> Self {
        let name = format!("{size} crc64nvme:{checksum:016x}");
        let uuid = Uuid::new_v5(&NAMESPACE, name.as_bytes());
        let digest = Sha256::digest(uuid.as_bytes());
        let random = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let (first, span) = MADE_UP_TIMES;
        let mut footer = Self {
            bytes: [0; Self::SIZE],
        };
        footer.put(0, Self::COOKIE);
        // "Reserved", which the specification wants set.
        footer.put(8, 2u32.to_be_bytes());
        footer.put(12, 0x0001_0000u32.to_be_bytes());
        // A fixed disk has no header elsewhere.
        footer.put(16, u64::MAX.to_be_bytes());
        footer.put(24, (first + random % span).to_be_bytes());
        footer.put(28, *b"aznx");
        footer.put(32, 0x0001_0000u32.to_be_bytes());
        footer.put(36, *b"Wi2k");
        footer.put(40, size.to_be_bytes());
        footer.put(48, size.to_be_bytes());
        // Cylinders, heads, sectors: the largest geometry that the fields hold, at every size.
        // Azure goes by the size; qemu goes by the geometry, which cannot say most sizes exactly,
        // unless it is this one.
        footer.put(56, 65_535u16.to_be_bytes());
        footer.put(58, [16, 255]);
        footer.put(60, 2u32.to_be_bytes());
        footer.put(68, *uuid.as_bytes());
        let checksum = footer.computed_checksum();
        footer.put(64, checksum.to_be_bytes());
        footer
    }

    /// Whether this is the right footer for a fixed disk with so many bytes of content.
    ///
    /// # Errors
    /// The first of: not a fixed disk, another size, a suspended machine.
    pub fn check_fixed(&self, content: u64) -> Result<(), FooterDefect> {
        if self.disk_type() != DiskType::Fixed {
            return Err(FooterDefect::NotFixed(self.disk_type()));
        }
        let stored = self.current_size();
        if stored != content {
            return Err(FooterDefect::Size { stored, content });
        }
        if self.is_suspended() {
            return Err(FooterDefect::SavedState);
        }
        Ok(())
    }

    /// Whether the disk belongs to a machine that was suspended: what it had in memory is missing.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.bytes[84] != 0
    }

    /// The footer as it is stored.
    #[must_use]
    pub fn bytes(&self) -> &[u8; Self::SIZE] {
        &self.bytes
    }

    /// The four letters of the program that made it: `qem2`, `win `, `aznx`.
    #[must_use]
    pub fn creator(&self) -> String {
        String::from_utf8_lossy(&self.at::<4>(28))
            .chars()
            .map(|c| if c.is_control() { '.' } else { c })
            .collect()
    }

    /// The version of that program, major in the upper half.
    #[must_use]
    pub fn creator_version(&self) -> u32 {
        u32::from_be_bytes(self.at(32))
    }

    /// When the disk was made, by its own account.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        let seconds = u32::from_be_bytes(self.at(24));
        SystemTime::UNIX_EPOCH + Duration::from_secs(YEAR_2000 + u64::from(seconds))
    }

    /// Where the header of a dynamic disk lies in the file.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        u64::from_be_bytes(self.at(16))
    }

    /// Bytes of the disk when it was made.
    #[must_use]
    pub fn original_size(&self) -> u64 {
        u64::from_be_bytes(self.at(40))
    }

    /// Bytes of the disk now.
    #[must_use]
    pub fn current_size(&self) -> u64 {
        u64::from_be_bytes(self.at(48))
    }

    /// Cylinders, heads and sectors per track.
    #[must_use]
    pub fn geometry(&self) -> (u16, u8, u8) {
        let cylinders = u16::from_be_bytes(self.at(56));
        (cylinders, self.bytes[58], self.bytes[59])
    }

    /// The type of the disk.
    #[must_use]
    pub fn disk_type(&self) -> DiskType {
        u32::from_be_bytes(self.at(60)).into()
    }

    /// The UUID of the disk, in the usual form.
    #[must_use]
    pub fn uuid(&self) -> String {
        Uuid::from_bytes(self.at(68)).to_string()
    }

    /// The checksum that is stored.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        u32::from_be_bytes(self.at(64))
    }

    /// The checksum that its bytes give: the ones' complement of the sum of all others.
    #[must_use]
    pub fn computed_checksum(&self) -> u32 {
        let all: u32 = self.bytes.iter().map(|&byte| u32::from(byte)).sum();
        let own: u32 = self.at::<4>(64).iter().map(|&byte| u32::from(byte)).sum();
        !(all - own)
    }

    fn at<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[offset..offset + N]);
        field
    }

    fn put<const N: usize>(&mut self, offset: usize, field: [u8; N]) {
        self.bytes[offset..offset + N].copy_from_slice(&field);
    }
}

impl fmt::Debug for Footer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Footer")
            .field("disk_type", &self.disk_type())
            .field("current_size", &self.current_size())
            .field("creator", &self.creator())
            .field("uuid", &self.uuid())
            .field("checksum", &self.checksum())
            .finish_non_exhaustive()
    }
}

/// The footer to write behind a disk on Azure, which has [`padded_size`] bytes before it: the one
/// the source brings along, else one made from its [checksum](content_checksum).
///
/// Reads the whole source when it brings no footer.
///
/// # Errors
/// When the source cannot be read, is larger than any disk on Azure, or offers a footer that is
/// wrong for its content.
pub fn upload_footer<S: DiskSource + ?Sized>(source: &S) -> Result<[u8; Footer::SIZE]> {
    if let Some(own) = own_footer(source)? {
        return Ok(own);
    }
    let padded = padded_size(source.virtual_size());
    Ok(*Footer::fixed(padded, content_checksum(source)?).bytes())
}

/// The footer that the source brings along, which is looked at; `None` when one has to be made.
///
/// # Errors
/// As [`upload_footer`].
pub(crate) fn own_footer<S: DiskSource + ?Sized>(source: &S) -> Result<Option<[u8; Footer::SIZE]>> {
    let size = source.virtual_size();
    check_disk_size(size)?;
    let padded = padded_size(size);
    let Some(bytes) = source.footer()? else {
        return Ok(None);
    };
    Footer::parse(&bytes)
        .and_then(|footer| footer.check_fixed(padded))
        .map_err(|defect| {
            Error::new(
                ErrorKind::InvalidImage,
                format!("the VHD footer that the disk brings along {defect}"),
            )
        })?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::checksum::crc64;
    use crate::disk::{Identified, MemoryImage};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_footer_reads_back_and_every_flipped_bit_is_seen(
            mib in 20u64..33_553_408,
            checksum in any::<u64>(),
            bit in 0usize..4096,
        ) {
            let size = mib << 20;
            let footer = Footer::fixed(size, checksum);
            let read = Footer::parse(footer.bytes()).unwrap();
            prop_assert_eq!(read, footer);
            prop_assert_eq!(read.check_fixed(size), Ok(()));
            prop_assert_eq!((read.current_size(), read.original_size()), (size, size));
            prop_assert_eq!(read.geometry(), (65_535, 16, 255));
            let made = read.created().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            // 2020-01-01 to 2024-01-01.
            prop_assert!((1_577_836_800..1_704_067_200).contains(&made), "{}", made);

            let mut bytes = *footer.bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Footer::parse(&bytes).is_err(), "bit {}", bit);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 512)) {
            let mut bytes: [u8; 512] = bytes.try_into().unwrap();
            let _ = Footer::parse(&bytes);
            bytes[..8].copy_from_slice(&Footer::COOKIE);
            let checksum = Footer::unchecked(&bytes).computed_checksum();
            bytes[64..68].copy_from_slice(&checksum.to_be_bytes());
            if let Ok(footer) = Footer::parse(&bytes) {
                let _ = (format!("{footer:?}"), footer.created(), footer.check_fixed(1));
            }
        }
    }

    #[test]
    fn other_content_and_other_sizes_have_other_footers() {
        let footer = Footer::fixed(64 << 20, 1);
        assert_ne!(footer.uuid(), Footer::fixed(64 << 20, 2).uuid());
        assert_ne!(footer.uuid(), Footer::fixed(65 << 20, 1).uuid());
    }

    /// The footer of a dynamic disk of 4 MiB that qemu wrote, checksum included.
    #[test]
    fn a_footer_by_another_hand_is_right() {
        let mut bytes = [0; 512];
        let head = [
            0x63, 0x6f, 0x6e, 0x65, 0x63, 0x74, 0x69, 0x78, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0,
            0, 2, 0, 0x28, 0x8c, 0x38, 0x27, b'q', b'e', b'm', b'u', 0, 5, 0, 3, b'W', b'i', b'2',
            b'k', 0, 0, 0, 0, 0, 0x40, 0x48, 0, 0, 0, 0, 0, 0, 0x40, 0x48, 0, 0, 0x79, 4, 0x11, 0,
            0, 0, 3, 0xff, 0xff, 0xef, 0xc4, 0xb6, 0x1f, 0x53, 0xca, 0xa7, 0x86, 0x45, 0x28, 0x90,
            0xe2, 0x55, 0xba, 0x79, 0x1a, 0x1c, 0x4c,
        ];
        bytes[..head.len()].copy_from_slice(&head);
        let footer = Footer::parse(&bytes).unwrap();
        assert_eq!(footer.creator(), "qemu");
        assert_eq!(footer.disk_type(), DiskType::Dynamic);
        assert_eq!(footer.current_size(), 121 * 4 * 17 * 512);
        assert_eq!(footer.geometry(), (121, 4, 17));
        assert_eq!(footer.uuid(), "b61f53ca-a786-4528-90e2-55ba791a1c4c");
        assert_eq!(footer.data_offset(), 512);
    }

    #[test]
    fn each_defect_has_its_name() {
        let good = Footer::fixed(64 << 20, 7);
        let changed = |offset: usize, byte: u8| {
            let mut footer = good;
            footer.bytes[offset] = byte;
            let checksum = footer.computed_checksum();
            footer.put(64, checksum.to_be_bytes());
            Footer::parse(&footer.bytes)
        };
        assert_eq!(changed(0, b'x'), Err(FooterDefect::NoCookie));
        assert_eq!(changed(13, 2), Err(FooterDefect::Version(0x0002_0000)));
        assert_eq!(changed(63, 6), Err(FooterDefect::DiskType(6)));
        assert_eq!(
            changed(63, 3).unwrap().check_fixed(64 << 20),
            Err(FooterDefect::NotFixed(DiskType::Dynamic))
        );
        assert_eq!(
            changed(84, 1).unwrap().check_fixed(64 << 20),
            Err(FooterDefect::SavedState)
        );
        assert_eq!(
            good.check_fixed(65 << 20).unwrap_err().to_string(),
            "says that the disk has 67108864 bytes, but 68157440 bytes come before it"
        );
    }

    #[test]
    fn the_footer_to_upload_is_for_the_padded_size() {
        let disk = MemoryImage::new((30 << 20) + 512).unwrap();
        let made = Footer::parse(&upload_footer(&disk).unwrap()).unwrap();
        assert_eq!(made.current_size(), 31 << 20);
        assert_eq!(made, Footer::fixed(31 << 20, crc64(&vec![0; 31 << 20])));
        // Whatever name it has.
        let known = Identified::new(disk, "known");
        assert_eq!(upload_footer(&known).unwrap(), *made.bytes());

        let own = *Footer::fixed(30 << 20, 7).bytes();
        let disk = MemoryImage::new(30 << 20).unwrap().with_footer(own);
        assert_eq!(upload_footer(&disk).unwrap(), own);
        let wrong = MemoryImage::new(31 << 20).unwrap().with_footer(own);
        assert!(upload_footer(&wrong).is_err());
    }
}
