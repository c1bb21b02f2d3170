//! [`Plan`]: machines that can be made, down to the last name. It asks nothing and changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::identity;
use super::machine::{MachineOptions, SecurityType};
use super::network::{Connection, SharedNetwork};
use super::origin::{Origin, OriginKind};
use super::owner::{Owner, USER_TAG};
use super::provisioning::Told;
use super::ready::Wait;
use super::sizes::{Catalogue, Needs};
use crate::arm::ResourceId;
use crate::arm::compute::{
    BillingProfile, BootDiagnostics, DataDisk, DiagnosticsProfile, Disk, HardwareProfile,
    ImageReference, InterfaceReference, LinuxConfiguration, ManagedDiskParameters, NetworkProfile,
    OsDisk, OsProfile, SecurityProfile, SshConfiguration, SshPublicKey, StorageProfile,
    UefiSettings, VirtualMachine, VirtualMachineProperties,
};
use crate::group::Place;

/// Machines that can be made.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) origin: Origin,
    pub(super) network: SharedNetwork,
    pub(super) machines: Vec<One>,
    pub(super) machine: MachineOptions,
    pub(super) os_disk_gb: u64,
    /// The numbers of the data disks.
    pub(super) luns: Vec<u32>,
    pub(super) chosen: Chosen,
    pub(super) needs: Needs,
    /// The sizes of the region, where this login may see them.
    pub(super) catalogue: Option<Catalogue>,
    pub(super) login: Login,
    pub(super) identity: Option<identity::Plan>,
    pub(super) told: Told,
    pub(super) wait: Wait,
    pub(super) warnings: Vec<String>,
}

/// What is each machine's own.
#[derive(Clone, Debug)]
pub(super) struct One {
    pub(super) name: String,
    pub(super) owner: Owner,
    pub(super) connection: Connection,
    /// The copy of a disk that it boots from.
    pub(super) disk: Option<String>,
}

/// What follows from the size.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) size: String,
    pub(super) disk_sku: String,
    pub(super) controller: Option<String>,
    pub(super) trusted_launch: bool,
}

/// Who may log in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// As whom; not known where the machine has users of its own.
    pub(super) user: Option<String>,
    /// The user that is made at the first boot; nothing where there is no such boot.
    pub(super) provisioned: Option<String>,
    pub(super) keys: Vec<String>,
    /// Where a new pair for each machine goes; `None` when there are keys, or are to be none.
    pub(super) new_pair: Option<PathBuf>,
}

/// What of a machine is known only when it is made.
#[derive(Debug)]
pub(super) struct Parts {
    /// Those that may log in, a new one included.
    pub(super) keys: Vec<String>,
    pub(super) interface: ResourceId,
    /// The copy of a disk that it boots from.
    pub(super) disk: Option<ResourceId>,
}

impl Plan {
    pub(super) fn security(&self) -> SecurityType {
        if self.chosen.trusted_launch {
            SecurityType::TrustedLaunch
        } else {
            SecurityType::Standard
        }
    }

    /// The copy of the disk that a machine boots from.
    pub(super) fn copy(&self, one: &One) -> Disk {
        let mut disk = Disk::copy_of(
            self.place.location.as_str(),
            &self.chosen.disk_sku,
            self.origin.id.clone(),
        );
        disk.tags = one.owner.tags();
        disk.zones.extend(self.machine.zone.clone());
        // Left out, it is that of the source.
        disk.properties.disk_size_gb =
            (self.os_disk_gb > self.origin.size_gb).then_some(self.os_disk_gb);
        disk
    }

    /// A machine as it is asked for.
    pub(super) fn describe(&self, one: &One, parts: Parts) -> VirtualMachine {
        let machine = &self.machine;
        let spot = machine.spot;
        VirtualMachine {
            location: self.place.location.to_string(),
            tags: self.machine_tags(&one.owner),
            zones: machine.zone.iter().cloned().collect(),
            identity: self.identity.as_ref().map(identity::Plan::describe),
            properties: VirtualMachineProperties {
                hardware_profile: HardwareProfile {
                    vm_size: self.chosen.size.clone(),
                },
                storage_profile: self.storage_profile(parts.disk),
                os_profile: self.os_profile(one, parts.keys),
                network_profile: NetworkProfile {
                    network_interfaces: vec![InterfaceReference::primary(parts.interface)],
                },
                security_profile: self.security_profile(),
                diagnostics_profile: self.diagnostics_profile(),
                priority: spot.map(|_| "Spot".to_owned()),
                eviction_policy: spot.map(|spot| spot.eviction.as_str().to_owned()),
                billing_profile: self.billing_profile(),
                user_data: self.told.user_data.clone(),
                ..VirtualMachineProperties::default()
            },
            ..VirtualMachine::default()
        }
    }

    /// A machine without a first boot has no place where Azure keeps its user.
    pub(super) fn machine_tags(&self, owner: &Owner) -> BTreeMap<String, String> {
        let mut tags = owner.tags();
        if let (None, Some(user)) = (&self.login.provisioned, &self.login.user) {
            tags.insert(USER_TAG.to_owned(), user.clone());
        }
        tags
    }

    /// The disks; `copy` is the one to boot from, where it is not made from an image.
    pub(super) fn storage_profile(&self, copy: Option<ResourceId>) -> StorageProfile {
        StorageProfile {
            image_reference: (self.origin.kind != OriginKind::Disk).then(|| ImageReference {
                id: Some(self.origin.id.clone()),
            }),
            os_disk: self.os_disk(copy),
            data_disks: self.data_disks(),
            disk_controller_type: self.chosen.controller.clone(),
        }
    }

    pub(super) fn security_profile(&self) -> Option<SecurityProfile> {
        self.chosen.trusted_launch.then(|| SecurityProfile {
            security_type: Some(SecurityType::TrustedLaunch.as_str().to_owned()),
            uefi_settings: Some(UefiSettings {
                // NixOS signs no boot loader by itself.
                secure_boot_enabled: self.machine.secure_boot,
                v_tpm_enabled: true,
            }),
        })
    }

    pub(super) fn diagnostics_profile(&self) -> Option<DiagnosticsProfile> {
        // Without the URL of an account: Azure keeps the log by itself.
        self.machine.boot_diagnostics.then_some(DiagnosticsProfile {
            boot_diagnostics: BootDiagnostics { enabled: true },
        })
    }

    pub(super) fn billing_profile(&self) -> Option<BillingProfile> {
        self.machine.spot.map(|spot| BillingProfile {
            // -1 stands for the price of a regular machine.
            max_price: Some(spot.max_price.unwrap_or(-1.0)),
        })
    }

    fn os_disk(&self, copy: Option<ResourceId>) -> OsDisk {
        let common = OsDisk {
            caching: Some("ReadWrite".to_owned()),
            delete_option: Some("Delete".to_owned()),
            ..OsDisk::default()
        };
        match copy {
            Some(id) => OsDisk {
                create_option: "Attach".to_owned(),
                os_type: Some("Linux".to_owned()),
                managed_disk: Some(ManagedDiskParameters {
                    id: Some(id),
                    ..ManagedDiskParameters::default()
                }),
                ..common
            },
            None => OsDisk {
                create_option: "FromImage".to_owned(),
                managed_disk: Some(ManagedDiskParameters {
                    storage_account_type: Some(self.chosen.disk_sku.clone()),
                    ..ManagedDiskParameters::default()
                }),
                disk_size_gb: Some(self.os_disk_gb),
                ..common
            },
        }
    }

    fn data_disks(&self) -> Vec<DataDisk> {
        let sizes = self.machine.data_disks.iter();
        sizes
            .zip(&self.luns)
            .map(|(gb, lun)| DataDisk {
                lun: *lun,
                create_option: "Empty".to_owned(),
                managed_disk: Some(ManagedDiskParameters {
                    storage_account_type: Some(self.chosen.disk_sku.clone()),
                    ..ManagedDiskParameters::default()
                }),
                delete_option: Some("Delete".to_owned()),
                disk_size_gb: Some(*gb),
                ..DataDisk::default()
            })
            .collect()
    }

    fn os_profile(&self, one: &One, keys: Vec<String>) -> Option<OsProfile> {
        let user = self.login.provisioned.clone()?;
        // Left out, both are so where there is an agent.
        let without_agent = (!self.told.agent).then_some(false);
        Some(OsProfile {
            computer_name: host_name(&one.name),
            custom_data: self.told.custom_data.clone(),
            allow_extension_operations: without_agent,
            linux_configuration: Some(self.linux_configuration(&user, keys)),
            admin_username: user,
        })
    }

    /// How the first user logs in.
    pub(super) fn linux_configuration(&self, user: &str, keys: Vec<String>) -> LinuxConfiguration {
        LinuxConfiguration {
            disable_password_authentication: true,
            provision_vm_agent: (!self.told.agent).then_some(false),
            ssh: Some(SshConfiguration {
                public_keys: keys
                    .into_iter()
                    .map(|key_data| SshPublicKey {
                        path: format!("/home/{user}/.ssh/authorized_keys"),
                        key_data,
                    })
                    .collect(),
            }),
        }
    }
}

/// A machine's name may have periods in it; a host name is what stands before the first.
pub(super) fn host_name(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_owned()
}
