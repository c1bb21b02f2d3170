//! What is uploaded.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use azure_nixos::VhdUploader;
use azure_nixos::disk::{DiskImage, DiskSource, MemoryImage, limits};
use bytes::Bytes;

use crate::Result;
use crate::noise::noise;

const MIB: u64 = 1 << 20;
const LONGEST_RANGE: usize = 4 << 20;

/// A disk, and the ranges that an uploader should make of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) target_length: u64,
    pub(crate) ranges: Vec<(u64, Bytes)>,
    source: Arc<dyn DiskSource>,
}

impl Case {
    fn new(
        name: &'static str,
        source: impl DiskSource,
        ranges: Vec<(u64, Bytes)>,
    ) -> azure_nixos::Result<Self> {
        Ok(Self {
            name,
            target_length: VhdUploader::target_length(source.virtual_size())?,
            ranges,
            source: Arc::new(source),
        })
    }

    pub(crate) fn source(&self) -> Arc<dyn DiskSource> {
        Arc::clone(&self.source)
    }
}

/// All cases that are compared.
pub(crate) fn all(directory: &Path) -> Result<Vec<Case>> {
    let dense: Vec<(u64, Bytes)> = (0..64)
        .map(|number| (number * 4 * MIB, noise(number, LONGEST_RANGE).into()))
        .collect();
    let dense_file = directory.join("dense.raw");
    write(&dense_file, 256 * MIB, &dense)?;
    // 64 KiB in every MiB: gaps that are worth leaving out.
    let sparse: Vec<(u64, Bytes)> = (0..1024)
        .map(|number| (number * MIB, noise(number, 64 << 10).into()))
        .collect();
    let sparse_file = directory.join("sparse.raw");
    write(&sparse_file, 1024 * MIB, &sparse)?;
    Ok(vec![
        Case::new(
            "256 MiB of data, in memory",
            memory(256 * MIB, &dense)?,
            dense.clone(),
        )?,
        Case::new(
            "256 MiB of data, in a file",
            DiskImage::open(&dense_file)?,
            dense,
        )?,
        Case::new(
            "1 GiB with 1024 pieces of 64 KiB, in a file",
            DiskImage::open(&sparse_file)?,
            sparse,
        )?,
    ])
}

pub(crate) const LARGEST_DISK: &str = "32767 GiB with 1 MiB of data";

/// One MiB of data near the end of the largest disk there is.
pub(crate) fn largest_disk() -> Result<Case> {
    let ranges = vec![(limits::MAX_DISK - 4 * MIB, noise(1, 1 << 20).into())];
    let disk = memory(limits::MAX_DISK, &ranges)?;
    Ok(Case::new(LARGEST_DISK, disk, ranges)?)
}

fn write(path: &Path, size: u64, ranges: &[(u64, Bytes)]) -> std::io::Result<()> {
    let file = File::create_new(path)?;
    file.set_len(size)?;
    for (offset, bytes) in ranges {
        file.write_all_at(bytes, *offset)?;
    }
    Ok(())
}

fn memory(size: u64, ranges: &[(u64, Bytes)]) -> azure_nixos::Result<MemoryImage> {
    let mut disk = MemoryImage::new(size)?;
    for (offset, bytes) in ranges {
        disk.write(*offset, bytes)?;
    }
    Ok(disk)
}
