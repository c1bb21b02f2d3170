//! Uploads something that no disk image file holds: a disk put together from files on the way.
//!
//! ```sh
//! cargo run -p azure-nixos-examples --bin custom_source
//! ```
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use azure_nixos::disk::{DiskImage, DiskSource};
use azure_nixos::image::DiskUpload;
use azure_nixos::{Error, ErrorKind};
use azure_nixos_examples::{LocalAzure, Result};

/// A disk that has each file at the place that is said, in this order, and zeros elsewhere.
#[derive(Debug)]
struct Assembled {
    size: u64,
    parts: Vec<(Range<u64>, File)>,
}

impl Assembled {
    fn new(size: u64, files: &[(u64, &Path)]) -> std::io::Result<Self> {
        let open = |(at, path): &(u64, &Path)| {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((*at..at + length, file))
        };
        let parts = files.iter().map(open).collect::<std::io::Result<_>>()?;
        Ok(Self { size, parts })
    }
}

fn unreadable(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "a part of the disk cannot be read").with_source(error)
}

// Called on several threads at a time, and never for what is in no extent.
impl DiskSource for Assembled {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn next_extent(&self, from: u64) -> azure_nixos::Result<Option<Range<u64>>> {
        let part = self.parts.iter().find(|(range, _)| range.end > from);
        Ok(part.map(|(range, _)| range.start.max(from)..range.end))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> azure_nixos::Result<()> {
        let end = offset + buffer.len() as u64;
        buffer.fill(0);
        for (range, file) in &self.parts {
            let both = range.start.max(offset)..range.end.min(end);
            if !both.is_empty() {
                let into = (both.start - offset) as usize..(both.end - offset) as usize;
                file.read_exact_at(&mut buffer[into], both.start - range.start)
                    .map_err(unreadable)?;
            }
        }
        Ok(())
    }

    /// What changes when a file is written to while it is uploaded.
    fn fingerprint(&self) -> azure_nixos::Result<String> {
        let written = |(range, file): &(Range<u64>, File)| {
            let time = file.metadata().and_then(|data| data.modified());
            time.map(|time| format!("{range:?} {time:?}"))
        };
        let parts: std::io::Result<Vec<_>> = self.parts.iter().map(written).collect();
        Ok(parts.map_err(unreadable)?.join(", "))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let local = LocalAzure::start().await?;
    let (boot, data) = (
        local.directory().join("boot"),
        local.directory().join("data"),
    );
    fs::write(&boot, vec![0xb0; 3 << 20])?;
    fs::write(&data, "whatever you have".repeat(100_000))?;
    let files = [(1 << 20, boot.as_path()), (32 << 20, data.as_path())];

    // On Azure: let azure = azure_nixos::Azure::from_environment().await?;
    let azure = &local.azure;
    // VhdUploader takes the same source to a disk that somebody else made, by its access URL.
    let disk = DiskUpload::new(
        azure,
        "images-rg",
        "data",
        Assembled::new(64 << 20, &files)?,
    )
    .await?;
    println!("{}", disk.id);

    let arrived = DiskImage::open(local.emulator.disk_file("images-rg", "data"))?;
    let same = arrived.identity()? == Assembled::new(64 << 20, &files)?.identity()?;
    println!("the disk has the content of the files: {same}");
    local.stop().await;
    Ok(())
}
