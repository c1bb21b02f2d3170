//! The formats a disk image comes in, and how each is recognised.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::quote::path_for_shell;

/// The format of a disk image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// The bytes of the disk and nothing else.
    Raw,
    /// A raw image with a footer: what Azure takes.
    FixedVhd,
    /// A VHD with a block table.
    DynamicVhd,
    /// A VHD that needs another one below it.
    DifferencingVhd,
    /// Hyper-V's newer format.
    Vhdx,
    /// QEMU's format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// VirtualBox's format.
    Vdi,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with xz.
    Xz,
    /// Compressed with zstd.
    Zstd,
    /// Compressed with bzip2.
    Bzip2,
}

impl Format {
    /// Recognises what begins with a mark of its own: everything but raw and fixed VHD. A VHD
    /// header is told by its disk type, which is not looked at here.
    pub(super) fn by_magic(head: &[u8]) -> Option<Self> {
        let at = |offset: usize, magic: &[u8]| {
            head.get(offset..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        Some(match head {
            _ if at(0, b"vhdxfile") => Self::Vhdx,
            _ if at(0, b"QFI\xfb") => Self::Qcow2,
            _ if at(0, b"KDMV") || at(0, b"# Disk DescriptorFile") => Self::Vmdk,
            _ if at(64, &0xbeda_107f_u32.to_le_bytes()) => Self::Vdi,
            // The third byte is the method; there is only deflate.
            _ if at(0, &[0x1f, 0x8b, 8]) => Self::Gzip,
            _ if at(0, b"\xfd7zXZ\0") => Self::Xz,
            _ if at(0, &[0x28, 0xb5, 0x2f, 0xfd]) => Self::Zstd,
            // "BZh" alone is too little to go by; the block's mark follows the level.
            _ if at(0, b"BZh") && at(4, &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59]) => Self::Bzip2,
            _ => return None,
        })
    }

    /// Whether it is a compressed file rather than a disk format.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz | Self::Zstd | Self::Bzip2)
    }

    /// The command that turns such a file into a raw image.
    pub(super) fn conversion(self, path: &Path) -> String {
        let from = path_for_shell(path);
        let qemu = |name: &str| {
            let to = path_for_shell(&path.with_extension("raw"));
            // Never over the file itself: qemu-img would empty it first.
            let to = if to == from { format!("{to}.raw") } else { to };
            format!("`qemu-img convert -f {name} -O raw {from} {to}`")
        };
        match self {
            Self::Raw => qemu("raw"),
            Self::FixedVhd | Self::DynamicVhd | Self::DifferencingVhd => qemu("vpc"),
            Self::Vhdx => qemu("vhdx"),
            Self::Qcow2 => qemu("qcow2"),
            Self::Vmdk => qemu("vmdk"),
            Self::Vdi => qemu("vdi"),
            // With -c the name does not matter, and the original stays.
            Self::Gzip => format!("`gzip -dc {from} > disk.img`"),
            Self::Xz => format!("`xz -dc {from} > disk.img`"),
            Self::Zstd => format!("`zstd -dc {from} > disk.img`"),
            Self::Bzip2 => format!("`bzip2 -dc {from} > disk.img`"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::FixedVhd => "fixed VHD",
            Self::DynamicVhd => "dynamic VHD",
            Self::DifferencingVhd => "differencing VHD",
            Self::Vhdx => "VHDX",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "VMDK",
            Self::Vdi => "VDI",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_recognised_and_their_like_are_not() {
        for (head, format) in [
            (&b"vhdxfile\0"[..], Some(Format::Vhdx)),
            (b"QFI\xfb\0\0\0\x03", Some(Format::Qcow2)),
            (b"\x1f\x8b\x08\0", Some(Format::Gzip)),
            (b"\x1f\x8b\x01\0", None),
            (b"\xfd7zXZ\0\0", Some(Format::Xz)),
            (b"\x28\xb5\x2f\xfd\x04", Some(Format::Zstd)),
            (b"BZh91AY&SY", Some(Format::Bzip2)),
            (b"BZh9 is not a mark", None),
            (b"conectix", None),
            (b"", None),
            (b"\xeb\x63\x90", None),
        ] {
            assert_eq!(Format::by_magic(head), format, "{head:?}");
        }
    }

    #[test]
    fn commands_never_write_over_their_source() {
        let command = |format: Format, path: &str| format.conversion(Path::new(path));
        assert_eq!(
            command(Format::Qcow2, "web.qcow2"),
            "`qemu-img convert -f qcow2 -O raw web.qcow2 web.raw`"
        );
        assert_eq!(
            command(Format::Vhdx, "a b.raw"),
            "`qemu-img convert -f vhdx -O raw 'a b.raw' 'a b.raw'.raw`"
        );
        assert_eq!(
            command(Format::Zstd, "x.vhd"),
            "`zstd -dc x.vhd > disk.img`"
        );
    }
}
