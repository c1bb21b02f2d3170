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
    /// Compressed with lz4.
    Lz4,
    /// QEMU's earlier format.
    Qed,
    /// Parallels' format.
    Parallels,
    /// A zip archive.
    Zip,
    /// A tar archive.
    Tar,
    /// A machine of VMware or VirtualBox in a tar archive.
    Ova,
    /// A 7z archive.
    SevenZip,
    /// An optical disc that no disk boots from; one that is made for both is a disk.
    Iso,
}

/// What makes a raw image of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `qemu-img`, which calls the format this.
    Qemu(&'static str),
    /// A command that writes what it unpacks to its standard output.
    Filter(&'static str),
    /// A command that takes an archive apart, of which one file is the disk image.
    Archive(&'static str),
    /// The same, and what comes out is a VMDK.
    ArchiveOfVmdk(&'static str),
    /// None: there is no disk in it yet.
    Install,
}

/// Bytes of a file in which all marks lie.
pub(super) const MARKED: usize = 0x8006;

/// Bytes that stand at a place of a file.
type Mark = (usize, &'static [u8]);

/// The marks at the beginning of a file: what stands at which byte. Of a format with several all must be
/// there; of formats that begin alike the narrower comes first.
const MARKS: &[(Format, &[Mark])] = &[
    (Format::Vhdx, &[(0, b"vhdxfile")]),
    (Format::Qcow2, &[(0, b"QFI\xfb")]),
    (Format::Qed, &[(0, b"QED\0")]),
    (Format::Vmdk, &[(0, b"KDMV")]),
    (Format::Vmdk, &[(0, b"COWD")]),
    (Format::Vmdk, &[(0, b"# Disk DescriptorFile")]),
    (Format::Vdi, &[(64, &0xbeda_107f_u32.to_le_bytes())]),
    (Format::Parallels, &[(0, b"WithoutFreeSpace")]),
    (Format::Parallels, &[(0, b"WithouFreSpacExt")]),
    // The third byte is the method; there is only deflate.
    (Format::Gzip, &[(0, &[0x1f, 0x8b, 8])]),
    (Format::Xz, &[(0, b"\xfd7zXZ\0")]),
    (Format::Zstd, &[(0, &[0x28, 0xb5, 0x2f, 0xfd])]),
    // "BZh" alone is too little to go by; the mark of the first block follows the level.
    (
        Format::Bzip2,
        &[(0, b"BZh"), (4, &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59])],
    ),
    (Format::Lz4, &[(0, &[0x04, 0x22, 0x4d, 0x18])]),
    (Format::Zip, &[(0, b"PK\x03\x04")]),
    (Format::SevenZip, &[(0, b"7z\xbc\xaf\x27\x1c")]),
    (Format::Tar, &[(257, b"ustar")]),
    // The second of the marks that a volume descriptor has is its version.
    (Format::Iso, &[(0x8001, b"CD001")]),
];

impl Format {
    /// Recognises what begins with a mark of its own: everything but raw and fixed VHD. A VHD
    /// header is told by its disk type, which is not looked at here.
    pub(super) fn by_magic(head: &[u8]) -> Option<Self> {
        let at = |(offset, magic): &Mark| {
            head.get(*offset..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        let (format, _) = MARKS.iter().find(|(_, marks)| marks.iter().all(at))?;
        match format {
            // The first file of a machine is its description.
            Self::Tar => tar_member(head).map(|name| {
                if name.ends_with(b".ovf") {
                    Self::Ova
                } else {
                    Self::Tar
                }
            }),
            // One that a disk boots from has an MBR too.
            Self::Iso if head.get(510..512) == Some(&[0x55, 0xaa]) => None,
            format => Some(*format),
        }
    }

    /// Its name, and what makes a raw image of it.
    fn facts(self) -> (&'static str, Way) {
        match self {
            Self::Raw => ("raw", Way::Qemu("raw")),
            Self::FixedVhd => ("fixed VHD", Way::Qemu("vpc")),
            Self::DynamicVhd => ("dynamic VHD", Way::Qemu("vpc")),
            Self::DifferencingVhd => ("differencing VHD", Way::Qemu("vpc")),
            Self::Vhdx => ("VHDX", Way::Qemu("vhdx")),
            Self::Qcow2 => ("qcow2", Way::Qemu("qcow2")),
            Self::Qed => ("QED", Way::Qemu("qed")),
            Self::Vmdk => ("VMDK", Way::Qemu("vmdk")),
            Self::Vdi => ("VDI", Way::Qemu("vdi")),
            Self::Parallels => ("Parallels", Way::Qemu("parallels")),
            // With -c the name does not matter, and the original stays.
            Self::Gzip => ("gzip", Way::Filter("gzip -dc")),
            Self::Xz => ("xz", Way::Filter("xz -dc")),
            Self::Zstd => ("zstd", Way::Filter("zstd -dc")),
            Self::Bzip2 => ("bzip2", Way::Filter("bzip2 -dc")),
            Self::Lz4 => ("lz4", Way::Filter("lz4 -dc")),
            Self::Zip => ("zip", Way::Archive("unzip")),
            Self::Tar => ("tar", Way::Archive("tar -xf")),
            Self::SevenZip => ("7z", Way::Archive("7z x")),
            Self::Ova => ("OVA", Way::ArchiveOfVmdk("tar -xf")),
            Self::Iso => ("ISO 9660", Way::Install),
        }
    }

    /// Whether it is a compressed file rather than a disk format.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        matches!(self.facts().1, Way::Filter(_))
    }

    /// Whether it is a format that holds one disk, compressed or not in a file of its own.
    pub(super) fn is_disk(self) -> bool {
        matches!(self.facts().1, Way::Qemu(_))
    }

    /// Whether it is a format with a block table that is read.
    pub(super) fn is_read(self) -> bool {
        matches!(self, Self::DynamicVhd | Self::Vhdx)
            || (self == Self::Qcow2 && cfg!(feature = "qcow2"))
    }

    /// What a file of it is, with an article: `a qcow2 image`, `a zip archive`, `compressed with xz`.
    pub(super) fn noun(self) -> String {
        let (name, way) = self.facts();
        let article = match self {
            Self::Xz | Self::Ova | Self::Iso => "an",
            _ => "a",
        };
        match way {
            Way::Qemu(_) => format!("{article} {name} image"),
            Way::Filter(_) => format!("compressed with {name}"),
            Way::Archive(_) => format!("{article} {name} archive"),
            Way::ArchiveOfVmdk(_) => format!("{article} {name}, an archive with a machine in it"),
            Way::Install => {
                format!("{article} {name} image, which machines boot from a drive for discs only")
            }
        }
    }

    /// What to do with such a file to have a disk image that is read.
    pub(super) fn remedy(self, path: &Path) -> String {
        match self.facts().1 {
            Way::Qemu(_) | Way::Filter(_) => format!("convert it: {}", self.conversion(path)),
            Way::Archive(_) => format!(
                "take it apart ({}), and use the disk image that comes out",
                self.conversion(path)
            ),
            Way::ArchiveOfVmdk(_) => format!(
                "take it apart ({}), and convert the disk that comes out: `qemu-img convert -f vmdk -O raw \
                 DISK.vmdk disk.raw`",
                self.conversion(path)
            ),
            Way::Install => {
                "install a system from it onto a disk, in a virtual machine, and use that disk; \
                             NixOS makes disk images too: config.system.build.images.azure"
                    .to_owned()
            }
        }
    }

    /// The command that turns such a file into a raw image, or takes it apart.
    pub(super) fn conversion(self, path: &Path) -> String {
        let from = path_for_shell(path);
        match self.facts().1 {
            Way::Qemu(name) => {
                let to = path_for_shell(&path.with_extension("raw"));
                // Never over the file itself: qemu-img would empty it first.
                let to = if to == from { format!("{to}.raw") } else { to };
                format!("`qemu-img convert -f {name} -O raw {from} {to}`")
            }
            Way::Filter(command) => format!("`{command} {from} > disk.img`"),
            Way::Archive(command) | Way::ArchiveOfVmdk(command) => format!("`{command} {from}`"),
            Way::Install => format!("`file {from}`"),
        }
    }
}

/// The name of the first file in a tar archive; `None` when it is none. The mark alone is short.
fn tar_member(head: &[u8]) -> Option<&[u8]> {
    let header = head.first_chunk::<512>()?;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let field = &header[148..156];
    // The field counts as spaces.
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    let digits = field.iter().filter(|byte| byte.is_ascii_digit());
    let said = digits.fold(0_u32, |number, digit| {
        number.wrapping_mul(8).wrapping_add(u32::from(digit - b'0'))
    });
    let name = header[..100].split(|byte| *byte == 0).next()?;
    (said == sum - own + 8 * u32::from(b' ')).then_some(name)
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_recognised_and_their_like_are_not() {
        let vdi = [&[b'<'; 64][..], &[0x7f, 0x10, 0xda, 0xbe]].concat();
        let disc = |boot: [u8; 2]| {
            let mut disc = vec![0; MARKED];
            disc[510..512].copy_from_slice(&boot);
            disc[0x8001..].copy_from_slice(b"CD001");
            disc
        };
        let (disc, hybrid) = (disc([0, 0]), disc([0x55, 0xaa]));
        let tar = |name: &[u8], sum: &[u8]| {
            let mut tar = vec![0; 512];
            tar[..name.len()].copy_from_slice(name);
            tar[148..156].copy_from_slice(b"        ");
            tar[257..262].copy_from_slice(b"ustar");
            let own: u32 = tar.iter().map(|byte| u32::from(*byte)).sum();
            tar[148..156].copy_from_slice(format!("{own:06o}\0 ").as_bytes());
            tar[148..148 + sum.len()].copy_from_slice(sum);
            tar
        };
        let (ova, plain, no_tar) = (
            tar(b"web.ovf", b""),
            tar(b"disk.raw", b""),
            tar(b"disk.raw", b"7"),
        );
        for (head, format) in [
            (&vdi[..], Some(Format::Vdi)),
            (&disc, Some(Format::Iso)),
            (&hybrid, None),
            (&ova, Some(Format::Ova)),
            (&plain, Some(Format::Tar)),
            (&no_tar, None),
            (b"PK\x03\x04\x14\0", Some(Format::Zip)),
            (b"7z\xbc\xaf\x27\x1c\0\x04", Some(Format::SevenZip)),
            (b"\x04\x22\x4d\x18\x64\x40", Some(Format::Lz4)),
            (b"QED\0", Some(Format::Qed)),
            (b"COWD\x01", Some(Format::Vmdk)),
            (b"WithoutFreeSpace", Some(Format::Parallels)),
            (b"vhdxfile\0", Some(Format::Vhdx)),
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
