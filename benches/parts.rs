//! What the uploader does to every byte between reading and sending, without a network.

mod noise;

use std::hint::black_box;
use std::time::Duration;

use azure_nixos::Result;
use azure_nixos::disk::{MemoryImage, content_checksum, content_identity, is_zero, limits};
use crc_fast::{CrcAlgorithm, checksum};
use criterion::{Criterion, Throughput};

use noise::noise;

const MIB: u64 = 1 << 20;

fn every_byte(criterion: &mut Criterion) {
    let (zeros, data) = (vec![0; 4 << 20], noise(1, 4 << 20));
    let mut group = criterion.benchmark_group("4 MiB");
    group.throughput(Throughput::Bytes(4 * MIB));
    group.bench_function("are they zero: yes", |b| {
        b.iter(|| is_zero(black_box(&zeros)));
    });
    // The checksum of every range; the library computes it with the same function.
    group.bench_function("CRC-64/NVME", |b| {
        b.iter(|| checksum(CrcAlgorithm::Crc64Nvme, black_box(&data)));
    });
    group.finish();
}

fn whole_disk(criterion: &mut Criterion) -> Result<()> {
    let mut dense = MemoryImage::new(64 * MIB)?;
    dense.write(0, &noise(1, 64 << 20))?;
    let mut group = criterion.benchmark_group("identity");
    group.throughput(Throughput::Bytes(64 * MIB));
    group.bench_function("64 MiB of data", |b| b.iter(|| content_identity(&dense)));
    group.finish();
    let mut group = criterion.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(64 * MIB));
    group.bench_function("64 MiB of data", |b| b.iter(|| content_checksum(&dense)));
    group.finish();

    let mut largest = MemoryImage::new(limits::MAX_DISK)?;
    largest.write(limits::MAX_DISK - 4 * MIB, &noise(1, 1 << 20))?;
    criterion.bench_function("identity/1 MiB of data in the largest disk", |b| {
        b.iter(|| content_identity(&largest));
    });
    criterion.bench_function("checksum/1 MiB of data in the largest disk", |b| {
        b.iter(|| content_checksum(&largest));
    });
    Ok(())
}

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    every_byte(&mut criterion);
    whole_disk(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
