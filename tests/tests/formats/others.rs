//! Formats that are not read: the command that is named makes a disk image that is.

use std::fs;
use std::path::Path;
use std::process::Command;

use azure_nixos::disk::{DiskImage, DiskSource as _};
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::tools;

use crate::judge::Qemu;

const MIB: u64 = 1 << 20;

/// The commands between backticks.
fn commands(hint: &str) -> Vec<&str> {
    hint.split('`').skip(1).step_by(2).collect()
}

fn shell(within: &Path, command: &str) {
    tools::run(
        Command::new("sh")
            .args(["-ec", command])
            .current_dir(within),
    );
}

#[test]
fn the_commands_in_refusals_work() {
    let Some(qemu) = Qemu::find() else { return };
    let place = tempfile::tempdir().unwrap();
    let raw = place.path().join("web.img");
    disks::raw(&raw, 24 * MIB, Table::Efi, 5);
    let identity = DiskImage::open(&raw).unwrap().identity().unwrap();
    for (file, made_by, said, result) in [
        (
            "web.vmdk",
            "qemu-img convert -f raw -O vmdk web.img web.vmdk",
            "a VMDK image",
            "web.raw",
        ),
        (
            "web.vdi",
            "qemu-img convert -f raw -O vdi web.img web.vdi",
            "a VDI image",
            "web.raw",
        ),
        (
            "web.qed",
            "qemu-img convert -f raw -O qed web.img web.qed",
            "a QED image",
            "web.raw",
        ),
        (
            "web.prl",
            "qemu-img convert -f raw -O parallels web.img web.prl",
            "a Parallels image",
            "web.raw",
        ),
        (
            "web.bz2",
            "bzip2 -kc web.img > web.bz2",
            "compressed with bzip2",
            "disk.img",
        ),
        (
            "web.tar",
            "tar -cf web.tar web.img && mv web.img kept",
            "a tar archive",
            "web.img",
        ),
        (
            "web.tar.gz",
            "tar -czf web.tar.gz web.img && mv web.img kept",
            "a tar archive, compressed",
            "web.img",
        ),
        (
            "web.ova",
            "echo '<Envelope/>' > web.ovf && qemu-img convert -f raw -O vmdk -o subformat=streamOptimized \
             web.img DISK.vmdk && tar -cf web.ova web.ovf DISK.vmdk && rm DISK.vmdk",
            "an OVA, an archive with a machine",
            "disk.raw",
        ),
    ] {
        let within = place.path().join(file.replace('.', "-"));
        fs::create_dir(&within).unwrap();
        fs::copy(&raw, within.join("web.img")).unwrap();
        let program = made_by.split(' ').next().unwrap();
        if program != "echo" && tools::find(program).is_none() {
            continue;
        }
        shell(&within, made_by);
        let path = within.join(file);
        let error = DiskImage::open(&path).unwrap_err();
        assert!(error.to_string().contains(said), "{file}: {error}");
        let hint = error.hint().unwrap().to_owned();
        let all = commands(&hint);
        assert!(!all.is_empty(), "{file}: {hint}");
        for command in all {
            shell(&within, command);
        }
        let made = DiskImage::open(within.join(result)).unwrap();
        assert_eq!(made.identity().unwrap(), identity, "{file}: {hint}");
        fs::remove_dir_all(&within).unwrap();
    }
    drop(qemu);
}
