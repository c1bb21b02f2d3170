//! Says what is in a disk image, and whether Azure would take it. Needs no Azure at all:
//!
//! ```sh
//! cargo run -p azure-nixos-examples --bin inspect [FILE]
//! ```
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::env;
use std::path::PathBuf;

use azure_nixos::ByteSize;
use azure_nixos::disk::{InspectOptions, inspect};
use azure_nixos_examples::{Result, disk_image};

fn main() -> Result<()> {
    let place = tempfile::tempdir()?;
    let file = match env::args_os().nth(1) {
        Some(file) => PathBuf::from(file),
        None => disk_image(place.path(), 16)?,
    };

    // `quick` reads the tables only; `full` also counts the zeros, for which it reads all data.
    let report = inspect(&file, InspectOptions::full())?;

    println!("{} is {}", file.display(), report.format);
    println!("boots as generation {}", report.generations);
    if let Some(content) = &report.content {
        println!(
            "{} of data, {} of holes",
            ByteSize::bytes(content.data),
            ByteSize::bytes(content.holes)
        );
    }
    for partition in report.partitions.iter().flat_map(|table| &table.partitions) {
        let size = ByteSize::bytes(partition.size);
        println!("partition {}: {}, {size}", partition.number, partition.kind);
    }
    for finding in &report.findings {
        println!("{}; {}", finding.what, finding.remedy);
    }
    // An error that says what Azure would refuse, and what to do about it.
    report.check()?;
    Ok(())
}
