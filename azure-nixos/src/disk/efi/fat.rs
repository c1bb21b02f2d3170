//! As much of FAT as it takes to find a file by its path: FAT12, FAT16 and FAT32, read only.
//!
//! Names are compared in their short form (8.3). Every file that UEFI starts by itself has one, and
//! file systems write it beside a long name that differs in nothing but its case.

use crate::Result;
use crate::disk::read_at::{le16, le32};
use crate::disk::source::DiskSource;

/// The most bytes of a directory that are read: as many entries as FAT allows, of 32 bytes.
const LONGEST_DIRECTORY: u64 = 65_536 * ENTRY as u64;
const ENTRY: usize = 32;
/// Bytes of the table that are read at a time.
const TABLE_PIECE: u64 = 4096;

/// A file system in a part of a disk.
pub(super) struct Fat<'a> {
    disk: &'a dyn DiskSource,
    /// Where the table is on the disk, and its length, in bytes.
    table: (u64, u64),
    /// The directory at the top: at a fixed place, or a chain.
    root: Root,
    /// Where cluster 2 begins on the disk.
    clusters_at: u64,
    cluster: u64,
    count: u64,
    bits: Bits,
    /// The piece of the table that was read last, and where it begins in the table.
    piece: (u64, Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bits {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

#[derive(Clone, Copy, Debug)]
enum Root {
    Fixed { at: u64, length: u64 },
    Chain(u64),
}

/// A file, by its first cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FatFile {
    first: u64,
    /// In bytes.
    pub(super) size: u64,
}

/// Why a file was not read: the file system is damaged, or the disk could not be read.
#[derive(Debug)]
pub(super) enum FatError {
    Damaged(String),
    Disk(crate::Error),
}

impl From<crate::Error> for FatError {
    fn from(error: crate::Error) -> Self {
        Self::Disk(error)
    }
}

/// A directory entry that was found.
struct Found {
    first: u64,
    size: u64,
    is_directory: bool,
}

impl<'a> Fat<'a> {
    /// The file system in `size` bytes of a disk from `start` on; `None` when that is not FAT.
    pub(super) fn open(disk: &'a dyn DiskSource, start: u64, size: u64) -> Result<Option<Self>> {
        let mut boot = [0; 512];
        if size < boot.len() as u64 {
            return Ok(None);
        }
        disk.read_exact_at(&mut boot, start)?;
        Ok(Self::parse(disk, &boot, start, size))
    }

    /// Goes by the fields that Linux and firmware go by, and by none of the names in it.
    fn parse(disk: &'a dyn DiskSource, boot: &[u8; 512], start: u64, size: u64) -> Option<Self> {
        let sector = u64::from(le16(boot, 11));
        let per_cluster = u64::from(boot[13]);
        let reserved = u64::from(le16(boot, 14));
        let tables = u64::from(boot[16]);
        let root_entries = u64::from(le16(boot, 17));
        let either = |short: u16, long: u32| match short {
            0 => u64::from(long),
            short => u64::from(short),
        };
        let sectors = either(le16(boot, 19), le32(boot, 32));
        let short_table = le16(boot, 22);
        let table = either(short_table, le32(boot, 36));
        if !matches!(sector, 512 | 1024 | 2048 | 4096)
            || !per_cluster.is_power_of_two()
            || reserved == 0
            || !(1..=2).contains(&tables)
            || table == 0
            || sectors * sector > size
            || boot[510..] != [0x55, 0xaa]
        {
            return None;
        }
        let root_sectors = (root_entries * ENTRY as u64).div_ceil(sector);
        let data = reserved + tables * table + root_sectors;
        let count = sectors.checked_sub(data)? / per_cluster;
        let bits = match (short_table, count) {
            (0, _) => Bits::ThirtyTwo,
            (_, 0..4085) => Bits::Twelve,
            _ => Bits::Sixteen,
        };
        if count == 0 {
            return None;
        }
        let root = match bits {
            Bits::ThirtyTwo => Root::Chain(u64::from(le32(boot, 44))),
            _ => Root::Fixed {
                at: start + (reserved + tables * table) * sector,
                length: root_entries * ENTRY as u64,
            },
        };
        Some(Self {
            disk,
            table: (start + reserved * sector, table * sector),
            root,
            clusters_at: start + data * sector,
            cluster: per_cluster * sector,
            count,
            bits,
            piece: (0, Vec::new()),
        })
    }

    /// The file under a path of short names as they are stored: eleven bytes, filled up with spaces.
    pub(super) fn find(&mut self, path: &[&[u8; 11]]) -> Result<Option<FatFile>, FatError> {
        let Some((name, directories)) = path.split_last() else {
            return Ok(None);
        };
        let mut within = self.root;
        for directory in directories {
            match self.entry(within, directory)? {
                Some(found) if found.is_directory => within = Root::Chain(found.first),
                _ => return Ok(None),
            }
        }
        Ok(self
            .entry(within, name)?
            .filter(|found| !found.is_directory)
            .map(|found| FatFile {
                first: found.first,
                size: found.size,
            }))
    }

    /// Fills the buffer with the bytes of a file from `offset` on, which must be within it.
    pub(super) fn read(
        &mut self,
        file: FatFile,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), FatError> {
        let mut cluster = self.skip(file.first, offset / self.cluster)?;
        let mut within = offset % self.cluster;
        let mut rest = buffer;
        while !rest.is_empty() {
            let length = (self.cluster - within).min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(length);
            let at = self.place(cluster)? + within;
            self.disk.read_exact_at(now, at)?;
            rest = later;
            within = 0;
            if !rest.is_empty() {
                cluster = self.next(cluster)?.ok_or_else(short)?;
            }
        }
        Ok(())
    }

    /// The cluster that comes so many behind this one.
    ///
    /// A chain that goes round is found out after a few rounds (Brent's algorithm): the size of a file
    /// can claim eight million steps of two clusters.
    fn skip(&mut self, first: u64, count: u64) -> Result<u64, FatError> {
        let (mut cluster, mut mark) = (first, first);
        for step in 1..=count {
            cluster = self.next(cluster)?.ok_or_else(short)?;
            if cluster == mark {
                return Err(FatError::Damaged(format!(
                    "has a file that comes back to its cluster {mark}"
                )));
            }
            if step.is_power_of_two() {
                mark = cluster;
            }
        }
        Ok(cluster)
    }

    /// Looks a name up in a directory.
    fn entry(&mut self, directory: Root, name: &[u8; 11]) -> Result<Option<Found>, FatError> {
        match directory {
            Root::Fixed { at, length } => {
                let mut bytes = vec![0; length as usize];
                self.disk.read_exact_at(&mut bytes, at)?;
                Ok(search(&bytes, name, self.bits).unwrap_or_default())
            }
            Root::Chain(first) => {
                let mut bytes = vec![0; self.cluster as usize];
                let mut cluster = Some(first);
                let mut read = 0;
                while let Some(one) = cluster {
                    if read >= LONGEST_DIRECTORY {
                        return Err(FatError::Damaged("has a directory without end".to_owned()));
                    }
                    let at = self.place(one)?;
                    self.disk.read_exact_at(&mut bytes, at)?;
                    if let Some(end) = search(&bytes, name, self.bits) {
                        return Ok(end);
                    }
                    read += self.cluster;
                    cluster = self.next(one)?;
                }
                Ok(None)
            }
        }
    }

    /// Where a cluster is on the disk.
    fn place(&self, cluster: u64) -> Result<u64, FatError> {
        if !(2..self.count + 2).contains(&cluster) {
            return Err(FatError::Damaged(format!(
                "leads to cluster {cluster}, and has {}",
                self.count
            )));
        }
        Ok(self.clusters_at + (cluster - 2) * self.cluster)
    }

    /// The cluster behind this one; `None` at the end of a chain.
    fn next(&mut self, cluster: u64) -> Result<Option<u64>, FatError> {
        self.place(cluster)?;
        let (next, end) = match self.bits {
            Bits::Twelve => {
                let [low, high] = self.table_bytes(cluster * 3 / 2)?;
                let pair = u64::from(u16::from_le_bytes([low, high]));
                // Two entries share three bytes.
                let entry = if cluster.is_multiple_of(2) {
                    pair & 0xfff
                } else {
                    pair >> 4
                };
                (entry, 0xff8)
            }
            Bits::Sixteen => {
                let entry = u16::from_le_bytes(self.table_bytes(cluster * 2)?);
                (u64::from(entry), 0xfff8)
            }
            Bits::ThirtyTwo => {
                let entry = u32::from_le_bytes(self.table_bytes(cluster * 4)?);
                // The four highest bits are nobody's.
                (u64::from(entry & 0x0fff_ffff), 0x0fff_fff8)
            }
        };
        Ok((next < end).then_some(next))
    }

    /// Bytes of the table.
    fn table_bytes<const N: usize>(&mut self, at: u64) -> Result<[u8; N], FatError> {
        let mut bytes = [0; N];
        for (at, byte) in (at..).zip(&mut bytes) {
            *byte = self.table_byte(at)?;
        }
        Ok(bytes)
    }

    fn table_byte(&mut self, at: u64) -> Result<u8, FatError> {
        let (begin, length) = self.table;
        if at >= length {
            return Err(FatError::Damaged(format!(
                "has a table of {length} bytes, which is too short for its clusters"
            )));
        }
        let first = at / TABLE_PIECE * TABLE_PIECE;
        if self.piece.1.is_empty() || self.piece.0 != first {
            let mut piece = vec![0; TABLE_PIECE.min(length - first) as usize];
            self.disk.read_exact_at(&mut piece, begin + first)?;
            self.piece = (first, piece);
        }
        // It lies in the piece that was read for it.
        Ok(self
            .piece
            .1
            .get((at - first) as usize)
            .copied()
            .unwrap_or_default())
    }
}

fn short() -> FatError {
    FatError::Damaged("has a file that ends before its size".to_owned())
}

/// Looks a name up among entries: what was found, or that nothing follows; `None` when it may be further on.
#[allow(
    clippy::option_option,
    reason = "found, certainly not there, or not yet"
)]
fn search(entries: &[u8], name: &[u8; 11], bits: Bits) -> Option<Option<Found>> {
    const VOLUME: u8 = 0x08;
    const DIRECTORY: u8 = 0x10;
    for entry in entries.as_chunks::<ENTRY>().0 {
        match entry[0] {
            0 => return Some(None),
            // One that was deleted.
            0xe5 => continue,
            _ => {}
        }
        // Parts of long names are marked as volume names.
        if entry[11] & VOLUME != 0 || !entry[..11].eq_ignore_ascii_case(name) {
            continue;
        }
        let high = match bits {
            Bits::ThirtyTwo => u64::from(le16(entry, 20)) << 16,
            _ => 0,
        };
        return Some(Some(Found {
            first: high | u64::from(le16(entry, 26)),
            size: u64::from(le32(entry, 28)),
            is_directory: entry[11] & DIRECTORY != 0,
        }));
    }
    None
}
