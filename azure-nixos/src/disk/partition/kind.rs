//! Partition types: what the numbers and GUIDs mean.
//!
//! Sources: the UEFI specification, and the Discoverable Partitions Specification for the root
//! types, which say the processor.

use std::fmt;

use serde::{Serialize, Serializer};
use uuid::{Uuid, uuid};

use crate::disk::generation::Architecture;

/// What a partition is for. Serialised as its name in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartitionKind {
    /// The partition that UEFI boots from.
    EfiSystem,
    /// Where a boot loader for BIOS keeps its second stage on a GPT.
    BiosBoot,
    /// A Linux root file system for a known processor.
    LinuxRoot(RootArchitecture),
    /// Any Linux file system.
    Linux,
    /// Linux swap.
    LinuxSwap,
    /// A Linux LVM physical volume.
    LinuxLvm,
    /// A member of a Linux software RAID.
    LinuxRaid,
    /// The separate boot partition of the boot loader specification.
    LinuxBoot,
    /// A Windows or FAT file system.
    BasicData,
    /// Room that Windows keeps for itself.
    MicrosoftReserved,
    /// A container for logical partitions in an MBR.
    Extended,
    /// What stands in an MBR for a GPT.
    Protective,
    /// Anything else.
    Other,
}

/// The processor that a root partition type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RootArchitecture {
    /// x86-64.
    X64,
    /// 64-bit Arm.
    Arm64,
    /// 32-bit x86; Azure has no such machines.
    X86,
    /// 32-bit Arm; Azure has no such machines.
    Arm,
    /// 64-bit RISC-V; Azure has no such machines.
    RiscV64,
}

impl RootArchitecture {
    fn name(self) -> &'static str {
        match self {
            Self::X64 => "x86-64",
            Self::Arm64 => "Arm64",
            Self::X86 => "32-bit x86",
            Self::Arm => "32-bit Arm",
            Self::RiscV64 => "RISC-V",
        }
    }
}

const BY_GUID: &[(Uuid, PartitionKind)] = &[
    (
        uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
        PartitionKind::EfiSystem,
    ),
    (
        uuid!("21686148-6449-6e6f-744e-656564454649"),
        PartitionKind::BiosBoot,
    ),
    (
        uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
        PartitionKind::LinuxRoot(RootArchitecture::X64),
    ),
    (
        uuid!("b921b045-1df0-41c3-af44-4c6f280d3fae"),
        PartitionKind::LinuxRoot(RootArchitecture::Arm64),
    ),
    (
        uuid!("44479540-f297-41b2-9af7-d131d5f0458a"),
        PartitionKind::LinuxRoot(RootArchitecture::X86),
    ),
    (
        uuid!("69dad710-2ce4-4e3c-b16c-21a1d49abed3"),
        PartitionKind::LinuxRoot(RootArchitecture::Arm),
    ),
    (
        uuid!("72ec70a6-cf74-40e6-bd49-4bda08e8f224"),
        PartitionKind::LinuxRoot(RootArchitecture::RiscV64),
    ),
    (
        uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"),
        PartitionKind::Linux,
    ),
    (
        uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"),
        PartitionKind::LinuxSwap,
    ),
    (
        uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"),
        PartitionKind::LinuxLvm,
    ),
    (
        uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"),
        PartitionKind::LinuxRaid,
    ),
    (
        uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172"),
        PartitionKind::LinuxBoot,
    ),
    (
        uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
        PartitionKind::BasicData,
    ),
    (
        uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae"),
        PartitionKind::MicrosoftReserved,
    ),
];

impl PartitionKind {
    pub(super) fn of_guid(guid: Uuid) -> Self {
        BY_GUID
            .iter()
            .find(|(known, _)| *known == guid)
            .map_or(Self::Other, |(_, kind)| *kind)
    }

    pub(super) fn of_mbr(number: u8) -> Self {
        match number {
            0xef => Self::EfiSystem,
            0xee => Self::Protective,
            0x83 => Self::Linux,
            0x82 => Self::LinuxSwap,
            0x8e => Self::LinuxLvm,
            0xfd => Self::LinuxRaid,
            0x05 | 0x0f | 0x85 => Self::Extended,
            0x01 | 0x04 | 0x06 | 0x07 | 0x0b | 0x0c | 0x0e => Self::BasicData,
            _ => Self::Other,
        }
    }

    /// The processor it says, where Azure has that.
    pub(super) fn architecture(self) -> Option<Architecture> {
        match self {
            Self::LinuxRoot(RootArchitecture::X64) => Some(Architecture::X64),
            Self::LinuxRoot(RootArchitecture::Arm64) => Some(Architecture::Arm64),
            _ => None,
        }
    }

    /// The processor it says, where Azure has not.
    pub(super) fn foreign(self) -> Option<&'static str> {
        match self {
            Self::LinuxRoot(root) if self.architecture().is_none() => Some(root.name()),
            _ => None,
        }
    }
}

impl fmt::Display for PartitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EfiSystem => "EFI system",
            Self::BiosBoot => "BIOS boot",
            Self::LinuxRoot(root) => return write!(f, "Linux root ({})", root.name()),
            Self::Linux => "Linux file system",
            Self::LinuxSwap => "Linux swap",
            Self::LinuxLvm => "Linux LVM",
            Self::LinuxRaid => "Linux RAID",
            Self::LinuxBoot => "Linux boot",
            Self::BasicData => "basic data",
            Self::MicrosoftReserved => "Microsoft reserved",
            Self::Extended => "extended",
            Self::Protective => "protective",
            Self::Other => "other",
        })
    }
}

impl Serialize for PartitionKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
