//! Virtual machines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::names::Named;
use super::super::{Client, Operation, ResourceId};
use super::VIRTUAL_MACHINES;
use crate::Result;

const API: &str = "2024-07-01";

/// A virtual machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct VirtualMachine {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// Its name, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its region.
    pub location: String,
    /// Tags.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
    /// The availability zone that it is in, `1`; at most one.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub zones: Vec<String>,
    /// Who it is to other services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<MachineIdentity>,
    /// Everything else.
    pub properties: VirtualMachineProperties,
}

/// Who a machine is to other services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct MachineIdentity {
    /// `SystemAssigned`, `UserAssigned`, or both with a comma and a space between.
    #[serde(rename = "type")]
    pub kind: String,
    /// The identities that exist beside it, by id.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub user_assigned_identities: BTreeMap<String, AssignedIdentity>,
    /// The principal of its own identity. Never sent.
    #[serde(skip_serializing)]
    pub principal_id: Option<String>,
}

/// An identity that a machine has beside its own; nothing is said of it in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AssignedIdentity {
    /// Its principal. Never sent.
    #[serde(skip_serializing)]
    pub principal_id: Option<String>,
}

/// Properties of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct VirtualMachineProperties {
    /// Its size.
    pub hardware_profile: HardwareProfile,
    /// Its disks.
    pub storage_profile: StorageProfile,
    /// What the agent in it is told at the first boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_profile: Option<OsProfile>,
    /// Its network interfaces.
    pub network_profile: NetworkProfile,
    /// Its firmware's security.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_profile: Option<SecurityProfile>,
    /// Whether its serial console is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostics_profile: Option<DiagnosticsProfile>,
    /// `Spot` for one that Azure takes away when it needs the room; left out, it is a regular one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// What becomes of a spot machine that is taken away: `Deallocate` or `Delete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<String>,
    /// What a spot machine may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_profile: Option<BillingProfile>,
    /// Data that the machine can read as long as it lives, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Withheld>,
    /// State of the last operation on it. Never sent.
    #[serde(skip_serializing)]
    pub provisioning_state: Option<String>,
    /// An id that no other machine of the same name ever had. Never sent.
    #[serde(skip_serializing)]
    pub vm_id: Option<String>,
}

/// Text that may hold secrets: it is sent, and shown nowhere.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Withheld(String);

impl Withheld {
    /// A text that is not to be shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Withheld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({} bytes withheld)", self.0.len())
    }
}

/// The security of a machine's firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SecurityProfile {
    /// `TrustedLaunch`; left out, it is the standard one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_type: Option<String>,
    /// What the firmware does then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uefi_settings: Option<UefiSettings>,
}

/// What the firmware of a machine does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct UefiSettings {
    /// It starts only what is signed.
    pub secure_boot_enabled: bool,
    /// It has a TPM.
    pub v_tpm_enabled: bool,
}

/// What is recorded of a machine's boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DiagnosticsProfile {
    /// The serial console and a picture of the screen.
    pub boot_diagnostics: BootDiagnostics,
}

/// Whether the serial console is recorded, in storage that Azure keeps for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct BootDiagnostics {
    /// Whether it is.
    pub enabled: bool,
}

/// What a spot machine may cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct BillingProfile {
    /// Dollars an hour; -1 for up to the price of a regular machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_price: Option<f64>,
}

/// The size of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct HardwareProfile {
    /// `Standard_DS1_v2`, …
    pub vm_size: String,
}

/// The disks of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct StorageProfile {
    /// The image that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_reference: Option<ImageReference>,
    /// The disk that it boots from.
    pub os_disk: OsDisk,
    /// The other ones.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub data_disks: Vec<DataDisk>,
    /// `SCSI` or `NVMe`; left out, it is what size and image have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_controller_type: Option<String>,
}

/// A disk of a machine that it does not boot from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DataDisk {
    /// Its number, from 0, by which the machine finds it.
    pub lun: u32,
    /// Its name; chosen by the service where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `Empty`, `Attach` or `FromImage`.
    pub create_option: String,
    /// `ReadWrite`, `ReadOnly`, `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caching: Option<String>,
    /// The managed disk behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_disk: Option<ManagedDiskParameters>,
    /// `Delete`: it goes with the machine. The service's own default is `Detach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
    /// Size in GiB.
    #[serde(rename = "diskSizeGB", skip_serializing_if = "Option::is_none")]
    pub disk_size_gb: Option<u64>,
}

/// An image of any kind, by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ImageReference {
    /// The id; missing for an image of the marketplace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
}

/// The disk that a machine boots from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct OsDisk {
    /// Its name; chosen by the service where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `FromImage` or `Attach`.
    pub create_option: String,
    /// `Linux`; an image says it itself, an attached disk does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    /// `ReadWrite`, `ReadOnly`, `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caching: Option<String>,
    /// The managed disk behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_disk: Option<ManagedDiskParameters>,
    /// `Delete`: it goes with the machine. The service's own default is `Detach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
    /// Size in GiB, at least that of the image.
    #[serde(rename = "diskSizeGB", skip_serializing_if = "Option::is_none")]
    pub disk_size_gb: Option<u64>,
}

/// The managed disk behind a disk of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ManagedDiskParameters {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// `Premium_LRS`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_account_type: Option<String>,
}

/// What the agent in a machine is told at the first boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct OsProfile {
    /// Host name.
    pub computer_name: String,
    /// The user that the agent makes.
    pub admin_username: String,
    /// Data that the machine reads at its first boot, in base64. No answer has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_data: Option<Withheld>,
    /// How it may log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_configuration: Option<LinuxConfiguration>,
    /// Whether extensions may be put into it, which takes an agent; left out, they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_extension_operations: Option<bool>,
}

/// How the first user of a Linux machine logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct LinuxConfiguration {
    /// Keys only.
    pub disable_password_authentication: bool,
    /// The keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshConfiguration>,
    /// Whether it has an agent that the service is to hear from; left out, it has.
    #[serde(rename = "provisionVMAgent", skip_serializing_if = "Option::is_none")]
    pub provision_vm_agent: Option<bool>,
}

/// Keys of the first user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SshConfiguration {
    /// The keys.
    pub public_keys: Vec<SshPublicKey>,
}

/// A key of the first user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SshPublicKey {
    /// Where the agent puts it; Azure takes `/home/USER/.ssh/authorized_keys` only.
    pub path: String,
    /// The key in the form of an `authorized_keys` line.
    pub key_data: String,
}

/// The network interfaces of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct NetworkProfile {
    /// The interfaces.
    pub network_interfaces: Vec<InterfaceReference>,
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct InterfaceReference {
    /// Its id.
    pub id: ResourceId,
    /// How it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<InterfaceReferenceProperties>,
}

/// How a machine uses an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct InterfaceReferenceProperties {
    /// Whether it is the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<bool>,
    /// `Delete`: it goes with the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
}

impl InterfaceReference {
    /// The first interface of a machine, which goes when the machine goes.
    #[must_use]
    pub fn primary(id: ResourceId) -> Self {
        Self {
            id,
            properties: Some(InterfaceReferenceProperties {
                primary: Some(true),
                delete_option: Some("Delete".to_owned()),
            }),
        }
    }
}

impl Client {
    fn vm_url(&self, group: &str, name: &str) -> url::Url {
        let id = self.resource_id(group, VIRTUAL_MACHINES, name);
        self.url(id.as_str(), API, &[])
    }

    /// A machine, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn virtual_machine(&self, group: &str, name: &str) -> Result<Option<VirtualMachine>> {
        self.find(
            self.vm_url(group, name),
            &format!("look for the machine {name}"),
        )
        .await
    }

    /// Makes and starts a machine.
    ///
    /// # Errors
    /// When its description is refused, or there is no room for it.
    pub async fn create_virtual_machine(
        &self,
        group: &str,
        name: &str,
        machine: &VirtualMachine,
    ) -> Result<Operation<VirtualMachine>> {
        Named::VirtualMachine.check(name)?;
        self.put(
            self.vm_url(group, name),
            machine,
            format!("create the machine {name} in {group}"),
        )
        .await
    }

    /// Deletes a machine, with what was made to go with it.
    ///
    /// # Errors
    /// When it may not be deleted.
    pub async fn delete_virtual_machine(&self, group: &str, name: &str) -> Result<Operation<()>> {
        self.delete(
            self.vm_url(group, name),
            format!("delete the machine {name}"),
        )
        .await
    }
}
