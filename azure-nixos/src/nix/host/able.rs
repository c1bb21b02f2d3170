//! What keeps a machine from building something, in words.
//!
//! Nix says the same, hours later: when the first derivation comes up that nothing can build.

use super::{KVM, NixHost};

/// What is missing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) found: String,
    pub(crate) to_do: String,
}

impl NixHost {
    /// Why nothing builds for a system.
    pub(crate) fn lacks_system(&self, system: &str) -> Option<Lack> {
        if self.builds_for(system) || self.builder_for(system, &[]).is_some() {
            return None;
        }
        if self.max_jobs == Some(0) && self.system == system {
            return Some(Lack {
                found: format!("max-jobs is 0, and no builder builds for {system}"),
                to_do:
                    "set max-jobs in nix.conf, or name a builder of that system there (`builders`)"
                        .to_owned(),
            });
        }
        Some(Lack {
            found: format!(
                "this machine is {}, and nothing builds for {system}",
                self.system
            ),
            to_do: format!(
                "name a builder of that system in nix.conf (`builders`), or let this machine emulate it (on NixOS: boot.binfmt.emulatedSystems = [ \"{system}\" ])"
            ),
        })
    }

    /// Why nothing that builds for a system offers a feature.
    pub(crate) fn lacks_feature(&self, system: &str, feature: &str) -> Option<Lack> {
        let here = self.builds_for(system) && self.offers(feature);
        if here || self.builder_for(system, &[feature]).is_some() {
            return None;
        }
        if feature != KVM {
            return Some(Lack {
                found: format!("nothing that builds for {system} offers the feature {feature}"),
                to_do: format!(
                    "name a builder with {feature} in nix.conf (`builders`), or `extra-system-features = {feature}` there where this machine has it"
                ),
            });
        }
        let why = match &self.kvm {
            None => "there is no /dev/kvm".to_owned(),
            Some(device) => format!("/dev/kvm is {device}"),
        };
        let to_do = if self.kvm.is_some() {
            "let the user of Nix read and write /dev/kvm, or add kvm to system-features in nix.conf"
        } else {
            "turn on (nested) virtualisation, or name a builder with kvm in nix.conf; with `extra-system-features = kvm` there an image is built by emulation, many times slower"
        };
        Some(Lack {
            found: format!(
                "nothing that builds for {system} offers the feature kvm ({why}); the builders of disk images start a virtual machine and need it"
            ),
            to_do: to_do.to_owned(),
        })
    }

    /// Why a virtual machine in a build on this machine is emulated, though kvm is offered.
    pub(crate) fn emulates(&self, system: &str) -> Option<Lack> {
        if !self.builds_for(system) || !self.offers(KVM) {
            return None;
        }
        let Some(device) = &self.kvm else {
            return Some(Lack {
                found: "the settings of Nix offer kvm, but there is no /dev/kvm: an image is built by emulation, many times slower".to_owned(),
                to_do: "turn on virtualisation in the firmware, or nested virtualisation where this is a virtual machine, and load kvm_intel or kvm_amd".to_owned(),
            });
        };
        if device.usable {
            return None;
        }
        // Nobody is to become a member of a group of administrators for this.
        let by_group = device.mode & 0o060 == 0o060 && device.group != "root";
        let open = "open the device to all, as NixOS does: chmod 666 /dev/kvm".to_owned();
        let group = &device.group;
        let (who, to_do) = match &self.build_users_group {
            Some(users) if by_group => (
                format!("the build users (group {users})"),
                format!("make the build users members of the group {group}, or {open}"),
            ),
            Some(users) => (format!("the build users (group {users})"), open),
            None if by_group => (
                "this user".to_owned(),
                format!("become a member of the group {group}, or {open}"),
            ),
            None => ("this user".to_owned(), open),
        };
        Some(Lack {
            found: format!(
                "/dev/kvm is {device}, and {who} may not read and write it: an image is built by emulation, many times slower"
            ),
            to_do,
        })
    }
}
