//! Which machines can boot a disk, by its partition table and what UEFI would start from it.

use super::efi::EfiBoot;
use super::generation::{Architecture, Generations};
use super::partition::PartitionTable;
use super::source::DiskSource;
use crate::Result;

/// What a disk says of the machines that boot it.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(super) table: PartitionTable,
    pub(super) efi: EfiBoot,
}

impl Boot {
    /// Reads the partition table, and the boot loader of an EFI system partition. Some sectors.
    ///
    /// # Errors
    /// When the disk cannot be read. That nothing boots from it is no error.
    pub(crate) fn read(disk: &dyn DiskSource) -> Result<Self> {
        let table = PartitionTable::read(disk)?;
        let efi = EfiBoot::read(disk, &table)?;
        Ok(Self { table, efi })
    }

    /// The generations that can boot it, as far as is known.
    pub(crate) fn generations(&self) -> Generations {
        self.table.generations
    }

    /// The processor it is made for, as far as is known.
    pub(crate) fn architecture(&self) -> Option<Architecture> {
        self.efi.architecture(self.table.architecture)
    }
}
