//! The partition table of a disk, and which Hyper-V generations can boot it.
//!
//! The rules: a GPT with an EFI system partition boots with UEFI (V2), one with a BIOS boot
//! partition boots with BIOS (V1), one with both boots both ways. An MBR boots with BIOS (V1).
//!
//! UEFI can also start from an EFI system partition in an MBR, but Azure documents generation 2
//! with GPT only. Such a disk is taken for V1 when it has boot code, for neither when it has none,
//! and a warning says so either way.
//!
//! Logical partitions inside an extended one are not listed; nothing depends on them.

mod gpt;
mod kind;
mod mbr;

use std::fmt;

use serde::Serialize;

pub use kind::{PartitionKind, RootArchitecture};

use super::finding::{Finding, FindingKind};
use super::generation::{Architecture, Generations};
use super::limits::{MAX_MBR, MIB, SECTOR};
use super::source::DiskSource;
use crate::{ByteSize, Result};

/// How a disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PartitionScheme {
    /// Not at all, or in a way that is not known here.
    None,
    /// The table of the BIOS, in the first sector.
    Mbr,
    /// The table of UEFI.
    Gpt,
}

impl fmt::Display for PartitionScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Mbr => "MBR",
            Self::Gpt => "GPT",
        })
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Partition {
    /// Its number in the table, from 1, as Linux counts.
    pub number: u32,
    /// What it is for.
    pub kind: PartitionKind,
    /// The type as the table has it: a GUID, or `0x83`.
    pub type_id: String,
    /// Its name; only a GPT has names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether an MBR marks it as the one to boot.
    pub active: bool,
}

/// What the partition table of a disk says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartitionTable {
    /// The kind of table.
    pub scheme: PartitionScheme,
    /// The sector size that the table counts in, in bytes.
    pub sector_size: u64,
    /// The partitions, in the order of the table.
    pub partitions: Vec<Partition>,
    /// Whether the primary GPT is damaged and its backup was used.
    pub from_backup: bool,
    /// The generations that can boot the disk.
    pub generations: Generations,
    /// The processor the disk is made for, where a partition type tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// What there is to say about it.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

impl PartitionTable {
    /// Reads the table of a disk. A damaged table is a finding, not an error.
    ///
    /// ```
    /// use azure_nixos::disk::{MemoryImage, PartitionScheme, PartitionTable};
    ///
    /// let table = PartitionTable::read(&MemoryImage::new(64 << 20)?)?;
    /// assert_eq!(table.scheme, PartitionScheme::None);
    /// # Ok::<(), azure_nixos::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn read<S: DiskSource + ?Sized>(source: &S) -> Result<Self> {
        let mut table = Self {
            scheme: PartitionScheme::None,
            sector_size: SECTOR,
            partitions: Vec::new(),
            from_backup: false,
            generations: Generations::NONE,
            architecture: None,
            findings: Vec::new(),
        };
        let mut first = [0; 512];
        source.read_exact_at(&mut first, 0)?;
        let mbr = mbr::Mbr::parse(&first);
        let announced = mbr.as_ref().is_some_and(mbr::Mbr::announces_gpt);
        if announced || mbr.is_none() {
            gpt::read(source, announced, &mut table)?;
        }
        if let Some(mbr) = mbr
            && table.scheme == PartitionScheme::None
            && !announced
        {
            mbr.describe(&mut table);
        }
        if table.scheme == PartitionScheme::None && table.findings.is_empty() {
            table.findings.push(Finding::warning(
                FindingKind::NoPartitionTable,
                "the disk has no partition table",
                "as a data disk it is fine; as an image it is taken for generation V1 unless you \
                 say otherwise",
            ));
        }
        table.judge(source.virtual_size());
        Ok(table)
    }

    fn judge(&mut self, size: u64) {
        self.architecture = self
            .partitions
            .iter()
            .find_map(|one| one.kind.architecture());
        if let Some(foreign) = self.partitions.iter().find_map(|one| one.kind.foreign()) {
            self.findings.push(Finding::warning(
                FindingKind::Architecture,
                format!("the root partition is for {foreign} processors"),
                "Azure has x64 and Arm64 machines only: build the image for one of these",
            ));
        }
        let end = self
            .partitions
            .iter()
            .map(|one| one.start.saturating_add(one.size));
        if let Some(end) = end.max().filter(|&end| end > size) {
            self.findings.push(
                Finding::problem(
                    FindingKind::Truncated,
                    format!(
                        "the image is cut off: it has {size} bytes, and its partitions reach to {end}"
                    ),
                    "build or fetch the image again",
                )
                .azure("nothing: the disk would be taken, and its machine would not start"),
            );
        }
        if self.scheme == PartitionScheme::Mbr && size > MAX_MBR {
            self.findings.push(Finding::warning(
                FindingKind::BeyondMbr,
                format!(
                    "the disk has {} and an MBR, which ends at 2 TiB",
                    ByteSize::bytes(size)
                ),
                "what lies beyond cannot be used; make the disk with a GPT",
            ));
        }
        if self.scheme == PartitionScheme::Gpt
            && self.generations.is_none()
            && self.sector_size == SECTOR
            && !self
                .findings
                .iter()
                .any(|one| one.kind == FindingKind::Generation)
        {
            self.findings.push(Finding::warning(
                FindingKind::Generation,
                "the disk has a GPT with neither an EFI system partition nor a BIOS boot partition",
                "as a data disk it is fine; no machine is known to boot from it",
            ));
        }
    }

    fn has(&self, kind: PartitionKind) -> bool {
        self.partitions.iter().any(|one| one.kind == kind)
    }
}

/// Where the disk may once have ended, by its first sector: at the end of a partition, or at the
/// next whole MiB.
pub(super) fn possible_ends(first: &[u8; 512]) -> Vec<u64> {
    mbr::Mbr::parse(first).map_or_else(Vec::new, |mbr| {
        mbr.ends()
            .flat_map(|end| [end, end.next_multiple_of(MIB)])
            .collect()
    })
}

#[cfg(test)]
pub(super) mod fixtures;

#[cfg(test)]
mod tests {
    use super::fixtures::{BIOS_BOOT, ESP, Gpt, LINUX, ROOT_ARM64, ROOT_X64, mbr};
    use super::*;
    use crate::disk::MemoryImage;
    use proptest::prelude::*;

    const SIZE: u64 = 64 << 20;

    fn read(disk: &MemoryImage) -> PartitionTable {
        PartitionTable::read(disk).unwrap()
    }

    fn kinds(table: &PartitionTable) -> Vec<FindingKind> {
        table.findings.iter().map(|one| one.kind).collect()
    }

    #[test]
    fn the_partitions_decide_the_generation() {
        for (types, generations) in [
            (&[ESP, LINUX][..], Generations::V2),
            (&[ESP, BIOS_BOOT, LINUX], Generations::BOTH),
            (&[BIOS_BOOT, LINUX], Generations::V1),
            (&[LINUX], Generations::NONE),
        ] {
            let table = read(&Gpt::new(types).build(SIZE));
            assert_eq!(table.scheme, PartitionScheme::Gpt);
            assert_eq!(table.generations, generations, "{types:?}");
            assert_eq!(table.partitions.len(), types.len());
            assert_eq!(
                table.findings.is_empty(),
                !generations.is_none(),
                "{table:?}"
            );
        }
        let table = read(&mbr(SIZE, &[(0x83, 2048, 100_000, true)]));
        assert_eq!(table.scheme, PartitionScheme::Mbr);
        assert_eq!(table.generations, Generations::V1);
        assert_eq!(table.findings, []);
        assert_eq!(
            table.partitions,
            [Partition {
                number: 1,
                kind: PartitionKind::Linux,
                type_id: "0x83".into(),
                name: String::new(),
                start: 1 << 20,
                size: 100_000 * 512,
                active: true,
            }]
        );
    }

    #[test]
    fn names_types_and_architecture_are_read() {
        let table = read(&Gpt::new(&[ESP, ROOT_ARM64]).build(SIZE));
        assert_eq!(table.architecture, Some(Architecture::Arm64));
        assert_eq!(table.partitions[0].kind, PartitionKind::EfiSystem);
        assert_eq!(
            table.partitions[0].type_id,
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
        );
        assert_eq!(table.partitions[1].name, "part-1");
        assert_eq!(table.partitions[0].start, 1 << 20);
        let table = read(&Gpt::new(&[ESP, ROOT_X64]).build(SIZE));
        assert_eq!(table.architecture, Some(Architecture::X64));
    }

    #[test]
    fn a_damaged_primary_gives_way_to_the_backup() {
        for at in [512 + 24, 512 + 88, 1024 + 3, 512] {
            let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
            disk.write(at, &[0x5a]).unwrap();
            let table = read(&disk);
            assert!(table.from_backup, "{at}");
            assert_eq!(table.generations, Generations::V2);
            assert_eq!(kinds(&table), [FindingKind::DamagedPartitionTable]);
            assert!(!table.findings[0].is_problem());
        }
    }

    #[test]
    fn with_both_copies_damaged_nothing_is_believed() {
        let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
        disk.write(512 + 24, &[0x5a]).unwrap();
        disk.write(SIZE - 512 + 24, &[0x5a]).unwrap();
        let table = read(&disk);
        assert_eq!(table.scheme, PartitionScheme::None);
        assert_eq!(kinds(&table), [FindingKind::DamagedPartitionTable]);
        assert!(table.findings[0].is_problem());
        assert!(table.partitions.is_empty());
    }

    #[test]
    fn a_damaged_backup_is_no_more_than_a_note() {
        let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
        disk.write(SIZE - 512, &[0; 512]).unwrap();
        let table = read(&disk);
        assert_eq!(table.generations, Generations::V2);
        assert_eq!(table.findings, []);
    }

    #[test]
    fn a_disk_that_lost_its_end_is_cut_off() {
        let whole = Gpt::new(&[ESP, LINUX]).build(SIZE);
        let mut cut = MemoryImage::new(SIZE / 2).unwrap();
        let mut buffer = vec![0; (SIZE / 2) as usize];
        whole.read_exact_at(&mut buffer, 0).unwrap();
        cut.write(0, &buffer).unwrap();
        let table = read(&cut);
        assert_eq!(kinds(&table), [FindingKind::Truncated]);
        let table = read(&mbr(SIZE, &[(0x83, 2048, 200_000, true)]));
        assert_eq!(kinds(&table), [FindingKind::Truncated]);
        assert!(table.findings[0].is_problem());
    }

    #[test]
    fn sectors_of_4096_bytes_are_a_problem_with_a_name() {
        let table = read(&Gpt::new(&[ESP, LINUX]).sectors(4096).build(SIZE));
        assert_eq!(table.sector_size, 4096);
        assert_eq!(table.generations, Generations::NONE);
        assert_eq!(table.partitions[0].start, 1 << 20);
        assert_eq!(kinds(&table), [FindingKind::SectorSize]);
        assert!(table.findings[0].is_problem());
    }

    #[test]
    fn a_gpt_needs_its_protective_mbr() {
        let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
        disk.write(0, &[0; 512]).unwrap();
        let table = read(&disk);
        assert_eq!(table.scheme, PartitionScheme::Gpt);
        assert_eq!(table.generations, Generations::NONE);
        assert_eq!(kinds(&table), [FindingKind::Generation]);

        // Left over from before the disk was divided with an MBR: nobody looks at it.
        let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
        disk.write(0, &fixtures::mbr_sector(&[(0x83, 2048, 100, true)]))
            .unwrap();
        let table = read(&disk);
        assert_eq!(table.scheme, PartitionScheme::Mbr);
        assert_eq!(table.generations, Generations::V1);
    }

    #[test]
    fn an_esp_in_an_mbr_is_warned_about() {
        let parts = [(0xef, 2048, 2048, false), (0x83, 4096, 2048, false)];
        let mut disk = mbr(SIZE, &parts);
        let table = read(&disk);
        assert_eq!(table.generations, Generations::NONE);
        assert_eq!(kinds(&table), [FindingKind::Generation]);
        disk.write(0, &[0xeb, 0x63]).unwrap();
        let table = read(&disk);
        assert_eq!(table.generations, Generations::V1);
        assert_eq!(kinds(&table), [FindingKind::Generation]);
    }

    #[test]
    fn a_file_system_without_partitions_is_not_an_mbr() {
        let mut disk = MemoryImage::new(SIZE).unwrap();
        let mut boot = [0; 512];
        boot[..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
        boot[440..490].copy_from_slice(b"Remove disks or other media, then press any key...");
        boot[510..].copy_from_slice(&[0x55, 0xaa]);
        disk.write(0, &boot).unwrap();
        assert_eq!(kinds(&read(&disk)), [FindingKind::NoPartitionTable]);
        boot[440..490].fill(0);
        disk.write(0, &boot).unwrap();
        assert_eq!(kinds(&read(&disk)), [FindingKind::NoPartitionTable]);
    }

    #[test]
    fn an_mbr_beyond_two_tebibytes_is_warned_about() {
        let table = read(&mbr(3 << 40, &[(0x83, 2048, u32::MAX - 2048, true)]));
        assert_eq!(kinds(&table), [FindingKind::BeyondMbr]);
    }

    proptest! {
        #[test]
        fn no_table_makes_it_fail_or_read_without_bound(
            sectors in prop::collection::vec((0u64..40, 0u64..512, prop::collection::vec(any::<u8>(), 1..40)), 0..20),
            end in any::<bool>(),
        ) {
            let mut disk = Gpt::new(&[ESP, BIOS_BOOT, LINUX]).build(SIZE);
            for (sector, at, bytes) in sectors {
                let offset = sector * 512 + at;
                let offset = if end { SIZE - 21_000 + offset } else { offset };
                disk.write(offset.min(SIZE - 40), &bytes).unwrap();
            }
            let table = PartitionTable::read(&disk).unwrap();
            prop_assert!(table.partitions.len() <= 128);
        }

        #[test]
        fn a_header_with_a_right_checksum_may_say_anything(
            fields in prop::collection::vec((8usize..92, any::<u64>()), 0..6),
        ) {
            let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
            for copy in [512, SIZE - 512] {
                let mut header = [0; 512];
                disk.read_exact_at(&mut header, copy).unwrap();
                for (at, value) in &fields {
                    let bytes = value.to_le_bytes();
                    let length = bytes.len().min(92 - at);
                    header[*at..*at + length].copy_from_slice(&bytes[..length]);
                }
                fixtures::seal(&mut header);
                disk.write(copy, &header).unwrap();
            }
            let _ = PartitionTable::read(&disk).unwrap();
        }
    }
}
