//! As much of a program for UEFI as says for which processor it is, and whether it is signed.
//!
//! Who signed it is read from the names in its signature. Whether that is genuine is the firmware's
//! business: here it is only told what the firmware would make of it.

use serde::Serialize;

use crate::disk::generation::Architecture;
use crate::disk::read_at::{le16, le32};

/// Bytes of a file in which all headers lie that are looked at.
pub(super) const HEADERS: usize = 4096;
/// The most bytes of signatures that are looked at: with all certificates it is some 10 KB.
pub(super) const SIGNATURES: u64 = 256 << 10;

/// Names of the certificates that Azure's firmware begins with.
const MICROSOFT: [&[u8]; 4] = [
    b"Microsoft Corporation UEFI CA 2011",
    b"Microsoft UEFI CA 2023",
    b"Microsoft Windows Production PCA 2011",
    b"Windows UEFI CA 2023",
];

/// Who signed a boot loader, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LoaderSignature {
    /// Nobody.
    None,
    /// Microsoft, whose certificates a machine on Azure has from the beginning.
    Microsoft,
    /// Somebody else.
    Other,
}

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// For which processor; `None` for one that Azure does not have.
    pub(super) architecture: Option<Architecture>,
    /// Where signatures are in the file, and how many bytes.
    pub(super) signatures: Option<(u64, u64)>,
}

impl Headers {
    /// Reads the headers at the beginning of a file; `None` when it is no program for UEFI.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"MZ") {
            return None;
        }
        let coff = usize::try_from(le32(head, 60)).ok()?;
        let coff = head.get(coff..)?.strip_prefix(b"PE\0\0")?;
        let optional = coff.get(20..)?;
        // Programs of 64 bits have larger fields before the directories.
        let directories = match le16(optional, 0) {
            0x10b => 96,
            0x20b => 112,
            _ => return None,
        };
        let count = le32(optional, directories - 4);
        // The fifth directory holds signatures. Its address is, unlike others, one in the file.
        let (at, length) = (
            le32(optional, directories + 32),
            le32(optional, directories + 36),
        );
        Some(Self {
            architecture: match le16(coff, 0) {
                0x8664 => Some(Architecture::X64),
                0xaa64 => Some(Architecture::Arm64),
                _ => None,
            },
            signatures: (count > 4 && at > 0 && length > 0)
                .then_some((u64::from(at), u64::from(length))),
        })
    }
}

impl LoaderSignature {
    /// Who made these signatures.
    pub(super) fn of(table: &[u8]) -> Self {
        /// The only kind that firmware looks at.
        const PKCS_SIGNED_DATA: u16 = 2;
        // A length, a revision and the kind come first.
        if table.len() <= 8 || le16(table, 6) != PKCS_SIGNED_DATA {
            return Self::None;
        }
        let named = |name: &&[u8]| table.windows(name.len()).any(|part| part == *name);
        if MICROSOFT.iter().any(named) {
            Self::Microsoft
        } else {
            Self::Other
        }
    }
}
