use proptest::prelude::*;

use super::fixtures::{Width, fat, program};
use super::*;
use crate::disk::MemoryImage;
use crate::disk::partition::fixtures::{ESP, Gpt, LINUX, ROOT_ARM64, ROOT_X64};

const X64: &[u8; 11] = b"BOOTX64 EFI";
const ARM64: &[u8; 11] = b"BOOTAA64EFI";
const SIZE: u64 = 64 << 20;

/// A disk with a system partition of 1 MiB.
fn disk(system: &[u8]) -> MemoryImage {
    let mut disk = Gpt::new(&[ESP, LINUX]).build(SIZE);
    disk.write(1 << 20, system).unwrap();
    disk
}

fn look(disk: &MemoryImage) -> EfiBoot {
    let table = PartitionTable::read(disk).unwrap();
    EfiBoot::read(disk, &table).unwrap()
}

fn said(system: &[u8]) -> (Severity, String) {
    let found = look(&disk(system));
    assert_eq!(found.loaders, []);
    let [finding] = found.findings.as_slice() else {
        panic!("{:?}", found.findings)
    };
    assert_eq!(finding.kind, FindingKind::BootLoader);
    (finding.severity, finding.what.clone())
}

#[test]
fn the_loader_says_the_processor() {
    let (x64, arm64) = (program(0x8664, 40_000, b""), program(0xaa64, 1024, b""));
    for width in [Width::Twelve, Width::ThirtyTwo] {
        for (files, root, expected) in [
            (&[(X64, x64.as_slice())][..], ROOT_ARM64, Architecture::X64),
            (&[(ARM64, &arm64)], LINUX, Architecture::Arm64),
            (&[(ARM64, &arm64), (X64, &x64)], ROOT_X64, Architecture::X64),
        ] {
            let mut disk = Gpt::new(&[ESP, root]).build(SIZE);
            disk.write(1 << 20, &fat(width, 1500, files)).unwrap();
            let table = PartitionTable::read(&disk).unwrap();
            let found = EfiBoot::read(&disk, &table).unwrap();
            assert_eq!(found.findings, [], "{width:?}");
            assert_eq!(found.loaders.len(), files.len(), "{width:?}");
            assert_eq!(found.architecture(table.architecture), Some(expected));
        }
    }
}

#[test]
fn a_table_of_sixteen_bits_is_read_too() {
    let program = program(0xaa64, 700_000, b"somebody");
    let system = fat(Width::Sixteen, 6000, &[(ARM64, &program)]);
    let mut disk = MemoryImage::new(SIZE).unwrap();
    disk.write(512, &system).unwrap();
    let mut fat = Fat::open(&disk, 512, SIZE - 512).unwrap().unwrap();
    let file = fat.find(&[b"EFI        ", b"BOOT       ", ARM64]);
    let file = file.unwrap().unwrap();
    let mut all = vec![0; program.len()];
    fat.read(file, 0, &mut all).unwrap();
    assert!(all == program, "the file reads as it was written");
    let mut part = [0; 3000];
    fat.read(file, 699_000, &mut part[..1016]).unwrap();
    assert_eq!(part[..1016], program[699_000..700_016]);
    assert!(matches!(
        fat.read(file, 699_000, &mut part),
        Err(FatError::Damaged(_))
    ));
}

#[test]
fn the_signature_says_whether_secure_boot_can_work() {
    let microsoft = [
        &b"\x30\x82 Microsoft Corporation UEFI CA 2011"[..],
        &[7; 900],
    ]
    .concat();
    for (signature, expected, sentence) in [
        (&b""[..], SecureBoot::Unsigned, "is not signed"),
        (
            b"\x30\x82 somebody's own",
            SecureBoot::OwnKeys,
            "keys of its own",
        ),
        (&microsoft, SecureBoot::Possible, "signed by Microsoft"),
    ] {
        let program = program(0x8664, 9000, signature);
        let found = look(&disk(&fat(Width::Twelve, 1500, &[(X64, &program)])));
        let secure = found.secure_boot(Some(Architecture::X64)).unwrap();
        assert_eq!(secure, expected);
        assert!(secure.to_string().contains(sentence), "{secure}");
        assert_eq!(found.secure_boot(Some(Architecture::Arm64)), None);
    }
    // A directory that leads out of the file holds no signature.
    let mut cut = program(0x8664, 9000, b"somebody");
    cut.truncate(9000);
    let found = look(&disk(&fat(Width::Twelve, 1500, &[(X64, &cut)])));
    assert_eq!(found.loaders[0].signature, LoaderSignature::None);
}

#[test]
fn what_no_machine_boots_from_is_said() {
    let (severity, what) = said(&fat(Width::Twelve, 1500, &[]));
    assert_eq!(severity, Severity::Warning);
    assert!(what.contains("neither EFI/BOOT/BOOTX64.EFI nor"), "{what}");
    let (severity, what) = said(&[0; 512]);
    assert_eq!(severity, Severity::Note);
    assert!(what.contains("no FAT file system"), "{what}");
    let (_, what) = said(&fat(Width::Twelve, 1500, &[(X64, b"#!/bin/sh")]));
    assert!(what.contains("is no program for UEFI"), "{what}");
    let other = program(0xaa64, 2000, b"");
    let (_, what) = said(&fat(Width::ThirtyTwo, 1500, &[(X64, &other)]));
    assert!(what.contains("a program for Arm64, and its name"), "{what}");
    let other = program(0x014c, 2000, b"");
    let (_, what) = said(&fat(Width::ThirtyTwo, 1500, &[(X64, &other)]));
    assert!(what.contains("Azure does not have"), "{what}");
    // The root directory lies where no cluster is.
    let mut system = fat(Width::ThirtyTwo, 1500, &[]);
    system[44..48].copy_from_slice(&4000_u32.to_le_bytes());
    let (severity, what) = said(&system);
    assert_eq!(severity, Severity::Warning);
    assert!(
        what.contains("leads to cluster 4000, and has 1500"),
        "{what}"
    );
}

/// It would be gone over for seconds: eight million steps, each of which reads another piece of the
/// table.
#[test]
fn a_file_that_goes_round_is_found_out() {
    let mut program = program(0x8664, 700, b"somebody");
    let directory = [0xffff_0000_u32, 1000].map(u32::to_le_bytes).concat();
    program[152 + 144..152 + 152].copy_from_slice(&directory);
    let mut system = fat(Width::ThirtyTwo, 1500, &[(X64, &program)]);
    // The file has clusters 1500 and 1501, the last first, and now 7 too.
    for (cluster, next) in [(1500_usize, 7_u32), (7, 1500)] {
        system[32 * 512 + cluster * 4..][..4].copy_from_slice(&next.to_le_bytes());
    }
    let entry = |part: &[u8]| part.starts_with(X64) && part[11] == 0x20;
    let at = system.windows(32).position(entry).unwrap();
    system[at + 28..at + 32].copy_from_slice(&u32::MAX.to_le_bytes());
    let (severity, what) = said(&system);
    assert_eq!(severity, Severity::Warning);
    assert!(
        what.contains("has a file that comes back to its cluster"),
        "{what}"
    );
}

proptest! {
    #[test]
    fn no_damage_makes_it_panic_or_read_for_ever(
        wide in any::<bool>(),
        changes in prop::collection::vec((0usize..60_000, any::<u8>()), 1..30),
        header in prop::collection::vec((11usize..64, any::<u8>()), 0..4),
    ) {
        let program = program(0x8664, 9000, b"somebody");
        let width = if wide { Width::ThirtyTwo } else { Width::Twelve };
        let mut system = fat(width, 1500, &[(X64, &program), (ARM64, &program)]);
        for (at, byte) in changes.into_iter().chain(header) {
            system[at] = byte;
        }
        let disk = disk(&system);
        let table = PartitionTable::read(&disk).unwrap();
        EfiBoot::read(&disk, &table).unwrap();
    }
}
