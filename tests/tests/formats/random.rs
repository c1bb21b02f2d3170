//! Images of random layouts: any format, any of its options, any writes, one over the other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use azure_nixos::disk::{DiskImage, DiskSource as _, OpenOptions};
use azure_nixos_tests::disks::Noise;

use crate::judge::{Qemu, assert_reads, assert_same, scribble, seed};

const MIB: u64 = 1 << 20;
/// As many as that takes, and no more than this: each is about half a second where nothing else runs.
const LONG_ENOUGH: Duration = Duration::from_secs(12);
const MOST: usize = 24;

fn one_of<'a>(noise: &mut Noise, all: &[&'a str]) -> &'a str {
    all[noise.below(all.len() as u64) as usize]
}

/// A size of some MiB, often no whole number of them.
fn size(noise: &mut Noise) -> u64 {
    (1 + noise.below(48)) * MIB + noise.below(2) * noise.below(2048) * 512
}

/// Options of qcow2 that go together.
fn qcow2_options(noise: &mut Noise) -> String {
    if noise.below(4) == 0 {
        let cluster = one_of(noise, &["512", "4k", "64k", "2M"]);
        return format!("compat=0.10,cluster_size={cluster}");
    }
    let extended = noise.below(3) == 0;
    let cluster = if extended {
        one_of(noise, &["16k", "64k", "256k", "2M"])
    } else {
        one_of(noise, &["512", "4k", "32k", "64k", "1M", "2M"])
    };
    format!(
        "compat=1.1,cluster_size={cluster},extended_l2={},compression_type={},lazy_refcounts={},refcount_bits={}",
        if extended { "on" } else { "off" },
        one_of(noise, &["zlib", "zstd"]),
        one_of(noise, &["on", "off"]),
        one_of(noise, &["8", "16", "64"]),
    )
}

/// Writes of every kind; around the edges of blocks of some size.
fn scribbled(qemu: &Qemu, noise: &mut Noise, format: &str, image: &Path, size: u64) {
    let around = [512, 4096, 64 << 10, MIB, 2 * MIB][noise.below(5) as usize];
    let count = noise.below(30) as usize;
    if count > 0 {
        qemu.io(format, image, &scribble(noise, size, around, count));
    }
}

/// An image, its format for QEMU, and the images below it.
fn image(qemu: &Qemu, noise: &mut Noise, number: usize) -> (PathBuf, &'static str, Vec<PathBuf>) {
    let bytes = size(noise);
    let name = |part: &str| format!("{number}-{part}");
    match noise.below(8) {
        0 => {
            let image = qemu.create(&name("raw"), "raw", "", bytes);
            scribbled(qemu, noise, "raw", &image, bytes);
            (image, "raw", Vec::new())
        }
        1 => {
            let force = one_of(noise, &["on", "off"]);
            let kind = one_of(noise, &["dynamic", "dynamic", "fixed"]);
            let options = format!("subformat={kind},force_size={force}");
            let image = qemu.create(&name("vhd"), "vpc", &options, bytes);
            let bytes = DiskImage::open(&image).unwrap().virtual_size();
            scribbled(qemu, noise, "vpc", &image, bytes);
            (image, "vpc", Vec::new())
        }
        2 | 3 => {
            let options = format!(
                "subformat={},block_size={},block_state_zero={}",
                one_of(noise, &["dynamic", "dynamic", "fixed"]),
                one_of(noise, &["1M", "2M", "8M", "32M"]),
                one_of(noise, &["on", "off"]),
            );
            let image = qemu.create(&name("vhdx"), "vhdx", &options, bytes);
            scribbled(qemu, noise, "vhdx", &image, bytes);
            (image, "vhdx", Vec::new())
        }
        4 => {
            let plain = qemu.create(&name("plain"), "qcow2", &qcow2_options(noise), bytes);
            scribbled(qemu, noise, "qcow2", &plain, bytes);
            let (image, options) = (qemu.path(&name("compressed")), qcow2_options(noise));
            let convert = ["convert", "-c", "-f", "qcow2", "-O", "qcow2", "-o"];
            qemu.img(&[&convert[..], &[&options]].concat(), &[&plain, &image]);
            std::fs::remove_file(plain).unwrap();
            scribbled(qemu, noise, "qcow2", &image, bytes);
            (image, "qcow2", Vec::new())
        }
        5 => {
            // One over the other, of any sizes: what lies beyond the end of the lower one is zeros.
            let lower = one_of(noise, &["raw", "qcow2"]);
            let options = match lower {
                "raw" => String::new(),
                _ => qcow2_options(noise),
            };
            let below = qemu.create(&name("below"), lower, &options, size(noise));
            let lower_size = DiskImage::open(&below).unwrap().virtual_size();
            scribbled(qemu, noise, lower, &below, lower_size);
            let options = format!(
                "backing_file={},backing_fmt={lower},{}",
                below.display(),
                qcow2_options(noise)
            );
            let image = qemu.create(&name("above"), "qcow2", &options, bytes);
            scribbled(qemu, noise, "qcow2", &image, bytes);
            (image, "qcow2", vec![below])
        }
        _ => {
            let preallocation = one_of(noise, &["off", "off", "metadata", "falloc", "full"]);
            let options = format!("preallocation={preallocation},{}", qcow2_options(noise));
            let image = qemu.create(&name("qcow2"), "qcow2", &options, bytes);
            scribbled(qemu, noise, "qcow2", &image, bytes);
            if noise.below(3) == 0 {
                qemu.img(&["snapshot", "-c", "before"], &[&image]);
                scribbled(qemu, noise, "qcow2", &image, bytes);
            }
            (image, "qcow2", Vec::new())
        }
    }
}

/// Each is read as QEMU reads it, and is named by its content whatever holds it.
#[test]
fn images_of_any_layout_are_read_as_qemu_reads_them() {
    let Some(qemu) = Qemu::find() else { return };
    let mut noise = Noise::new(seed("random layouts"));
    let began = Instant::now();
    let mut seen = 0;
    while seen < MOST && began.elapsed() < LONG_ENOUGH {
        let (path, format, below) = image(&qemu, &mut noise, seen);
        let mut options = OpenOptions::new();
        options.backing_files.clone_from(&below);
        let ours = DiskImage::open_with(&path, &options)
            .unwrap_or_else(|error| panic!("{seen}, {format}: {}", error.report()));
        let raw = qemu.raw(format, &path);
        assert_same(&ours, &raw);
        assert_reads(&ours, &raw, &mut noise);
        let plain = DiskImage::open(&raw).unwrap().identity().unwrap();
        assert_eq!(ours.identity().unwrap(), plain, "{seen}, {format}");
        for file in below.iter().chain([&path, &raw]) {
            std::fs::remove_file(file).unwrap();
        }
        seen += 1;
    }
    eprintln!("{seen} images");
    assert!(seen > 0);
}
