//! Disks that are larger than any memory. In a file of their own, since the peak of the memory is that
//! of the whole process.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use azure_nixos::ImageBuilder;
use azure_nixos::disk::{DiskImage, DiskSource as _, MemoryImage};
use azure_nixos::image::{DiskUpload, ImageSource};
use azure_nixos_tests::content::{assert_uploaded, data_from};
use azure_nixos_tests::disks::Noise;
use azure_nixos_tests::process::peak_memory;
use azure_nixos_tests::{Local, within};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// What a whole run, both sides of it, may add to the memory. The uploader is allowed 64 MiB and 17
/// more; the local Azure holds a body of 4 MiB for every request in flight.
const MOST: u64 = 220 * MIB;

/// A sparse file with runs of noise that are spread over all of it.
fn sparse(path: &Path, size: u64, runs: u64, length: usize) {
    let file = File::create_new(path).unwrap();
    file.set_len(size).unwrap();
    let mut noise = Noise::new(7);
    for run in 0..runs {
        let at = size / runs * run + noise.below(MIB);
        file.write_all_at(&noise.bytes(length), at).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_follow_the_size_of_a_disk() {
    let local = Local::start().await;
    let file = local.place().join("large.raw");
    let size = 64 * GIB;
    // 256 MiB of data: more than may ever be in memory.
    sparse(&file, size, 64, 4 * MIB as usize);
    let before = peak_memory();
    let started = Instant::now();
    let image = within(120, "64 GiB", async {
        ImageBuilder::new(&local.azure, "images", "large")
            .source(ImageSource::file(&file))
            .await
    })
    .await
    .unwrap();
    let grown = peak_memory() - before;
    eprintln!(
        "64 GiB: {:?}, {} MiB of memory",
        started.elapsed(),
        grown / MIB
    );
    assert!(grown < MOST, "{} MiB of memory", grown / MIB);
    let sent = image.upload.unwrap().bytes_sent;
    assert!(sent < 260 * MIB, "{} MiB sent", sent / MIB);
    assert_uploaded(&file, size, &local.emulator.image_file("images", "large"));
}

/// Eight TiB are half of what the file systems here can hold in one file.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_eight_tebibytes_takes_seconds() {
    let local = Local::start().await;
    let size = 8 * TIB - MIB;
    let mut disk = MemoryImage::new(size).unwrap();
    let runs: Vec<(u64, Vec<u8>)> = [0, 3 * TIB + 512, 7 * TIB + 12_345, size - 5000]
        .into_iter()
        .map(|at| (at, Noise::new(at).bytes(5000)))
        .collect();
    for (at, run) in &runs {
        disk.write(*at, run).unwrap();
    }
    let before = peak_memory();
    let started = Instant::now();
    let made = within(60, "8 TiB", async {
        DiskUpload::new(&local.azure, "disks", "large", disk).await
    })
    .await
    .unwrap();
    let grown = peak_memory() - before;
    eprintln!(
        "8 TiB: {:?}, {} MiB of memory",
        started.elapsed(),
        grown / MIB
    );
    assert!(grown < MOST, "{} MiB of memory", grown / MIB);
    let report = made.upload.unwrap();
    assert_eq!(report.bytes_logical, size + 512);
    assert!(report.bytes_sent < 64 * 1024, "{report:?}");
    let file = File::open(local.emulator.disk_file("disks", "large")).unwrap();
    for (at, run) in &runs {
        let mut arrived = vec![0; run.len()];
        file.read_exact_at(&mut arrived, *at).unwrap();
        assert!(arrived == *run, "the bytes at {at} are others");
    }
    // And nothing else: data is where it was sent, and the footer.
    let (mut at, mut stored) = (0, 0);
    while let Some(data) = data_from(&file, at) {
        stored += data.end - data.start;
        at = data.end;
    }
    assert!(stored < MIB, "{stored} bytes are stored");
}

/// Beyond the largest disk: refused at once.
#[tokio::test]
async fn a_disk_that_is_too_large_is_refused_before_anything_is_made() {
    let local = Local::start().await;
    let empty = local.state().await;
    let disk = MemoryImage::new(32_768 * GIB).unwrap();
    let error = within(20, "a refusal", async {
        DiskUpload::new(&local.azure, "disks", "large", disk).await
    })
    .await
    .unwrap_err();
    assert!(error.is_invalid_input(), "{}", error.report());
    // As a disk to boot from it may have 4095 GiB at most.
    let file = local.place().join("large.raw");
    File::create_new(&file)
        .unwrap()
        .set_len(4096 * GIB)
        .unwrap();
    assert_eq!(DiskImage::open(&file).unwrap().virtual_size(), 4096 * GIB);
    let error = within(20, "a refusal", async {
        ImageBuilder::new(&local.azure, "images", "large")
            .source(ImageSource::file(&file))
            .await
    })
    .await
    .unwrap_err();
    assert!(error.is_invalid_input(), "{}", error.report());
    assert!(local.state().await == empty);
}
