//! The programs and firmware that machines need, and where they are found.

use std::path::{Path, PathBuf};

use crate::error::EmulatorError;

/// The emulator of machines.
const QEMU: &str = "qemu-system-x86_64";

/// Where distributions put OVMF: Debian's package ovmf, Fedora's edk2-ovmf, Arch's, NixOS' for
/// libvirt. Each is the firmware and the variables that it begins with.
const FIRMWARE: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/run/libvirt/nix-ovmf/OVMF_CODE.fd",
        "/run/libvirt/nix-ovmf/OVMF_VARS.fd",
    ),
];

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) qemu: PathBuf,
    /// The firmware of machines of generation 2, and its variables.
    pub(super) firmware: Option<(PathBuf, PathBuf)>,
    /// Whether guests run on this host's own processor.
    pub(super) kvm: bool,
}

impl Programs {
    /// Looks for them.
    pub(super) fn find() -> Result<Self, EmulatorError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let qemu = std::env::split_paths(&path)
            .map(|directory| directory.join(QEMU))
            .find(|program| program.is_file())
            .ok_or_else(|| {
                EmulatorError::new(format!(
                    "{QEMU} is not installed, and virtual machines are to boot; install qemu (Debian: qemu-system-x86 and ovmf, Nix: qemu), or start without booting"
                ))
            })?;
        let firmware = firmware(&qemu);
        if firmware.is_none() {
            tracing::warn!(
                "the UEFI firmware OVMF is not installed (Debian: ovmf): machines of generation V2 will not start"
            );
        }
        let kvm = kvm_is_usable();
        if !kvm {
            tracing::warn!("KVM is not usable here: machines are emulated, and slow");
        }
        Ok(Self {
            qemu,
            firmware,
            kvm,
        })
    }
}

/// OVMF, or the same firmware as qemu itself brings it: with its files, beside its program.
fn firmware(qemu: &Path) -> Option<(PathBuf, PathBuf)> {
    let real = std::fs::canonicalize(qemu).ok()?;
    let share = real.parent()?.parent()?.join("share/qemu");
    FIRMWARE
        .iter()
        .map(|(code, variables)| (PathBuf::from(code), PathBuf::from(variables)))
        .chain([(
            share.join("edk2-x86_64-code.fd"),
            share.join("edk2-i386-vars.fd"),
        )])
        .find(|(code, variables)| code.is_file() && variables.is_file())
}

/// Whether there is a KVM that real guests run on. A device alone is not enough: where a host is a
/// guest itself, there are ones that start a machine and get no further than its firmware. Those
/// do not show the processor's own support.
fn kvm_is_usable() -> bool {
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    opened.is_ok()
        && processor
            .lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|flags| {
                flags
                    .split_whitespace()
                    .any(|flag| matches!(flag, "vmx" | "svm"))
            })
}
