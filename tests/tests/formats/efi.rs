//! EFI system partitions that mkfs.vfat made and mtools wrote into.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use azure_nixos::disk::{Architecture, InspectOptions, LoaderSignature, SecureBoot, inspect};
use azure_nixos_tests::disks::{self, Noise};
use azure_nixos_tests::tools;

use crate::judge::seed;

const MIB: u64 = 1 << 20;

/// A program for UEFI on 64-bit Arm or x86, as linkers write them: headers, code, a signature.
fn program(machine: u16, length: usize, signature: &[u8], noise: &mut Noise) -> Vec<u8> {
    let mut file = noise.bytes(length);
    file[..1024].fill(0);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0xc0_u32.to_le_bytes());
    put(0xc0, b"PE\0\0");
    put(0xc4, &machine.to_le_bytes());
    put(0xd4, &240_u16.to_le_bytes());
    put(0xd8, &0x20b_u16.to_le_bytes());
    put(0xd8 + 108, &16_u32.to_le_bytes());
    if !signature.is_empty() {
        let table = 8 + u32::try_from(signature.len()).unwrap();
        put(
            0xd8 + 112 + 32,
            &u32::try_from(length).unwrap().to_le_bytes(),
        );
        put(0xd8 + 112 + 36, &table.to_le_bytes());
        file.extend(table.to_le_bytes());
        file.extend([0, 2, 2, 0]);
        file.extend(signature);
    }
    file
}

/// A disk with this file system as its EFI system partition.
fn disk_around(system: &Path, disk: &Path) {
    let bytes = std::fs::read(system).unwrap();
    disks::efi(disk, bytes.len() as u64 + 8 * MIB, bytes.len() as u64);
    let file = File::options().write(true).open(disk).unwrap();
    file.write_all_at(&bytes, MIB).unwrap();
}

#[test]
fn boot_loaders_are_found_in_every_width_of_fat() {
    let (Some(mkfs), Some(mmd), Some(mcopy)) = (
        tools::find("mkfs.vfat"),
        tools::find("mmd"),
        tools::find("mcopy"),
    ) else {
        return;
    };
    let mut noise = Noise::new(seed("EFI system partitions"));
    let place = tempfile::tempdir().unwrap();
    let microsoft = b"0\x82\x05 Microsoft Corporation UEFI CA 2011".as_slice();
    for (number, (mib, options, name, machine, signature)) in [
        (3, &["-F", "12"][..], "BOOTX64.EFI", 0x8664_u16, &b""[..]),
        (20, &["-F", "16"], "BOOTAA64.EFI", 0xaa64, b"somebody"),
        (40, &["-F", "32"], "BOOTX64.EFI", 0x8664, microsoft),
        (300, &["-F", "32", "-s", "8"], "BOOTAA64.EFI", 0xaa64, b""),
        // What it makes unasked, and lower case, which is stored as a long name.
        (64, &["-n", "ESP"], "BootX64.efi", 0x8664, b""),
        (260, &[], "bootaa64.efi", 0xaa64, b""),
        (40, &["-S", "4096"], "BOOTX64.EFI", 0x8664, b""),
    ]
    .into_iter()
    .enumerate()
    {
        let system = place.path().join(format!("{number}.esp"));
        File::create_new(&system)
            .unwrap()
            .set_len(mib * MIB)
            .unwrap();
        tools::run(Command::new(&mkfs).args(options).arg(&system));
        let at = |path: &str| format!("::{path}");
        let run = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.env("MTOOLS_SKIP_CHECK", "1").arg("-i").arg(&system);
            tools::run(command.args(arguments))
        };
        for directory in ["/EFI", "/EFI/Linux", "/EFI/BOOT", "/loader"] {
            run(&mmd, &[&at(directory)]);
        }
        // Others before it in the directory, so many that this takes more than a cluster.
        let copy = |bytes: &[u8], to: &str| {
            let from = place.path().join("file");
            std::fs::write(&from, bytes).unwrap();
            run(&mcopy, &["-o", from.to_str().unwrap(), &at(to)]);
        };
        for other in 0..40 {
            let file = format!("/EFI/BOOT/a file with a long name {other}.efi");
            copy(&noise.bytes(700), &file);
        }
        let length = 60_000 + noise.below(900_000) as usize;
        let loader = program(machine, length, signature, &mut noise);
        copy(&loader, &format!("/EFI/BOOT/{name}"));

        let disk = place.path().join(format!("{number}.raw"));
        disk_around(&system, &disk);
        let report = inspect(&disk, InspectOptions::quick()).unwrap();
        let [found] = report.loaders.as_slice() else {
            panic!("{number}: {:?}", report.findings)
        };
        let expected = if machine == 0xaa64 {
            Architecture::Arm64
        } else {
            Architecture::X64
        };
        assert_eq!(report.architecture, Some(expected), "{number}");
        assert_eq!(found.size, loader.len() as u64, "{number}");
        let (made, secure) = match signature {
            b"" => (LoaderSignature::None, SecureBoot::Unsigned),
            b"somebody" => (LoaderSignature::Other, SecureBoot::OwnKeys),
            _ => (LoaderSignature::Microsoft, SecureBoot::Possible),
        };
        assert_eq!(found.signature, made, "{number}");
        assert_eq!(report.secure_boot, Some(secure), "{number}");
        std::fs::remove_file(disk).unwrap();
        std::fs::remove_file(system).unwrap();
    }
}

/// The headers that a real loader has, where one is installed.
#[test]
fn a_boot_loader_that_others_built_is_understood() {
    let real = Path::new("/usr/lib/systemd/boot/efi/systemd-bootx64.efi");
    let (Some(mkfs), Some(mmd), Some(mcopy)) = (
        tools::find("mkfs.vfat"),
        tools::find("mmd"),
        tools::find("mcopy"),
    ) else {
        return;
    };
    if !real.is_file() {
        eprintln!("SKIPPED: there is no {}", real.display());
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let system = place.path().join("esp");
    File::create_new(&system)
        .unwrap()
        .set_len(40 * MIB)
        .unwrap();
    tools::run(Command::new(mkfs).arg(&system));
    for directory in ["::/EFI", "::/EFI/BOOT"] {
        tools::run(Command::new(&mmd).arg("-i").arg(&system).arg(directory));
    }
    let copy = ["::/EFI/BOOT/BOOTX64.EFI"];
    tools::run(
        Command::new(&mcopy)
            .arg("-i")
            .arg(&system)
            .arg(real)
            .args(copy),
    );
    let disk = place.path().join("disk.raw");
    disk_around(&system, &disk);
    let report = inspect(&disk, InspectOptions::quick()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.architecture, Some(Architecture::X64));
    assert_eq!(report.secure_boot, Some(SecureBoot::Unsigned));
    assert_eq!(report.loaders[0].size, real.metadata().unwrap().len());
}
