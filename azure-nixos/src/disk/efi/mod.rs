//! What UEFI would start from a disk: the boot loaders in its EFI system partition.
//!
//! A new machine on Azure remembers nothing of other boots. Its firmware starts the program that has
//! the name which UEFI sets aside for the processor, or nothing. So that name says for which processor
//! the disk is, and the program whether Secure Boot can work.

mod fat;
#[cfg(test)]
pub(super) mod fixtures;
mod pe;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;

pub use self::pe::LoaderSignature;

use self::fat::{Fat, FatError, FatFile};
use super::finding::{Finding, FindingKind, Severity};
use super::generation::Architecture;
use super::partition::{Partition, PartitionKind, PartitionTable};
use super::source::DiskSource;
use crate::Result;

/// The programs that firmware starts: path, short name, processor.
const LOADERS: [(&str, &[u8; 11], Architecture); 2] = [
    ("EFI/BOOT/BOOTX64.EFI", b"BOOTX64 EFI", Architecture::X64),
    ("EFI/BOOT/BOOTAA64.EFI", b"BOOTAA64EFI", Architecture::Arm64),
];

/// A program that the firmware of a new machine starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BootLoader {
    /// Where it is in the EFI system partition.
    pub path: String,
    /// The processor whose firmware starts it, by its name.
    pub architecture: Architecture,
    /// Its size in bytes.
    pub size: u64,
    /// Who signed it.
    pub signature: LoaderSignature,
}

/// Whether a machine with Secure Boot starts from a disk, as far as its boot loader tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SecureBoot {
    /// The loader is signed by Microsoft. What it starts next has to be signed too.
    Possible,
    /// The loader is signed by somebody whose certificate the firmware has to be given: that of a
    /// gallery's image version can be.
    OwnKeys,
    /// The loader is not signed: it is not started.
    Unsigned,
}

impl fmt::Display for SecureBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Possible => "possible: the boot loader is signed by Microsoft",
            Self::OwnKeys => {
                "only with keys of its own: the boot loader is signed, and not by Microsoft"
            }
            Self::Unsigned => "cannot work: the boot loader is not signed",
        })
    }
}

/// What is in the EFI system partitions of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EfiBoot {
    pub(super) loaders: Vec<BootLoader>,
    pub(super) findings: Vec<Finding>,
}

impl EfiBoot {
    /// Looks into the EFI system partitions of a disk.
    ///
    /// # Errors
    /// When the disk cannot be read. What is wrong with what is on it is a finding.
    pub(super) fn read(disk: &dyn DiskSource, table: &PartitionTable) -> Result<Self> {
        let mut found = Self::default();
        let mut looked = false;
        for partition in system_partitions(disk, table) {
            looked = true;
            match found.look(disk, partition) {
                Ok(()) => {}
                Err(FatError::Disk(error)) => return Err(error),
                Err(FatError::Damaged(what)) => found.findings.push(Finding::warning(
                    FindingKind::BootLoader,
                    format!("the file system of the EFI system partition {what}"),
                    "build or fetch the image again",
                )),
            }
        }
        if looked && found.loaders.is_empty() && found.findings.is_empty() {
            found.findings.push(Finding::warning(
                FindingKind::BootLoader,
                "the EFI system partition holds neither EFI/BOOT/BOOTX64.EFI nor EFI/BOOT/BOOTAA64.EFI, \
                 and a new machine starts nothing else",
                "install the boot loader as removable: with NixOS \
                 boot.loader.grub.efiInstallAsRemovable = true, or systemd-boot, which always is",
            ));
        }
        Ok(found)
    }

    fn look(&mut self, disk: &dyn DiskSource, partition: &Partition) -> Result<(), FatError> {
        let Some(mut fat) = Fat::open(disk, partition.start, partition.size)? else {
            // It may be made at the first boot by something that is started in another way.
            self.findings.push(Finding::new(
                Severity::Note,
                FindingKind::BootLoader,
                "the EFI system partition holds no FAT file system",
                "nothing is known of its boot loader; firmware starts one from FAT only",
            ));
            return Ok(());
        };
        for (path, name, architecture) in LOADERS {
            if let Some(file) = fat.find(&[b"EFI        ", b"BOOT       ", name])? {
                let loader = self.loader(&mut fat, file, path, architecture)?;
                self.loaders.extend(loader);
            }
        }
        Ok(())
    }

    fn loader(
        &mut self,
        fat: &mut Fat<'_>,
        file: FatFile,
        path: &str,
        architecture: Architecture,
    ) -> Result<Option<BootLoader>, FatError> {
        let mut head = vec![0; file.size.min(pe::HEADERS as u64) as usize];
        fat.read(file, 0, &mut head)?;
        let mut wrong = |what: String| {
            self.findings.push(Finding::warning(
                FindingKind::BootLoader,
                what,
                "install the boot loader again; no machine is known to boot from this",
            ));
            None
        };
        let Some(headers) = pe::Headers::parse(&head) else {
            return Ok(wrong(format!("{path} is no program for UEFI")));
        };
        if headers.architecture != Some(architecture) {
            return Ok(wrong(format!(
                "{path} is a program for {}, and its name is that of one for {architecture}",
                headers
                    .architecture
                    .map_or("a processor that Azure does not have", Architecture::as_str)
            )));
        }
        let signature = match headers.signatures {
            Some((at, length)) if at.saturating_add(length) <= file.size => {
                let mut table = vec![0; length.min(pe::SIGNATURES) as usize];
                fat.read(file, at, &mut table)?;
                LoaderSignature::of(&table)
            }
            _ => LoaderSignature::None,
        };
        Ok(Some(BootLoader {
            path: path.to_owned(),
            architecture,
            size: file.size,
            signature,
        }))
    }

    /// The processor that the disk is for: that of its only loader. Where there are loaders for
    /// several, or none, that of the root partition.
    pub(super) fn architecture(&self, root: Option<Architecture>) -> Option<Architecture> {
        match self.loaders.as_slice() {
            [only] => Some(only.architecture),
            _ => root,
        }
    }

    /// What Secure Boot makes of the loader for this processor, or of the first.
    pub(super) fn secure_boot(&self, architecture: Option<Architecture>) -> Option<SecureBoot> {
        let mut loaders = self.loaders.iter();
        let fits = |one: &&BootLoader| architecture.is_none_or(|wanted| one.architecture == wanted);
        Some(match loaders.find(fits)?.signature {
            LoaderSignature::Microsoft => SecureBoot::Possible,
            LoaderSignature::Other => SecureBoot::OwnKeys,
            LoaderSignature::None => SecureBoot::Unsigned,
        })
    }
}

/// Those that lie on the disk, in sectors that it has.
fn system_partitions<'a>(
    disk: &dyn DiskSource,
    table: &'a PartitionTable,
) -> impl Iterator<Item = &'a Partition> {
    let size = disk.virtual_size();
    table.partitions.iter().filter(move |one| {
        one.kind == PartitionKind::EfiSystem
            && one
                .start
                .checked_add(one.size)
                .is_some_and(|end| end <= size)
    })
}
