//! Scale sets of the orchestration mode `Flexible`: a model, of which the service makes machines like
//! all others.
//!
//! The parts of the model that a machine has by the same name are those of `virtual_machines`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::names::Named;
use super::super::network::PublicIpSku;
use super::super::{Client, Operation, ResourceId};
use super::machines::Existing;
use super::virtual_machines::{
    BillingProfile, DiagnosticsProfile, LinuxConfiguration, MachineIdentity, SecurityProfile,
    StorageProfile, Withheld,
};
use super::{SCALE_SETS, SubResource, VIRTUAL_MACHINES};
use crate::Result;

const API: &str = "2024-07-01";

/// The version by which a set of this mode asks the network provider for its interfaces; the only one
/// that its own documentation names.
const NETWORK_API: &str = "2020-11-01";

/// A scale set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ScaleSet {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// Its name, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its region.
    pub location: String,
    /// Tags. Machines and interfaces that are made of the model bear them too.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
    /// The availability zones that its machines may be in.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub zones: Vec<String>,
    /// Who its machines are to other services: `UserAssigned` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<MachineIdentity>,
    /// The size of its machines, and how many there are to be. A set without a model has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<ScaleSetSku>,
    /// Everything else.
    pub properties: ScaleSetProperties,
}

/// The size of a set's machines, and how many there are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ScaleSetSku {
    /// `Standard_DS1_v2`, …
    pub name: String,
    /// How many.
    pub capacity: u32,
}

/// Properties of a scale set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ScaleSetProperties {
    /// `Flexible` or `Uniform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orchestration_mode: Option<String>,
    /// Over how many fault domains machines are spread; 1 is over as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_fault_domain_count: Option<u32>,
    /// Whether all machines are close to each other, which is for a hundred of them at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_placement_group: Option<bool>,
    /// What machines are made like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_machine_profile: Option<ScaleSetProfile>,
    /// State of the last operation on it. Never sent.
    #[serde(skip_serializing)]
    pub provisioning_state: Option<String>,
    /// An id that no other set of the same name ever had. Never sent.
    #[serde(skip_serializing)]
    pub unique_id: Option<String>,
}

/// What the machines of a set are made like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ScaleSetProfile {
    /// What the agent in a machine is told at the first boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_profile: Option<ScaleSetOsProfile>,
    /// Their disks.
    pub storage_profile: StorageProfile,
    /// Their interfaces.
    pub network_profile: ScaleSetNetworkProfile,
    /// Their firmware's security.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_profile: Option<SecurityProfile>,
    /// Whether their serial consoles are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnostics_profile: Option<DiagnosticsProfile>,
    /// `Spot` for machines that Azure takes away when it needs the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// What becomes of a spot machine that is taken away: `Deallocate` or `Delete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<String>,
    /// What a spot machine may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing_profile: Option<BillingProfile>,
    /// Data that a machine can read as long as it lives, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Withheld>,
}

/// What the agent in a machine of a set is told at the first boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ScaleSetOsProfile {
    /// What their host names begin with; the service puts six letters and digits behind it.
    pub computer_name_prefix: String,
    /// The user that the agent makes.
    pub admin_username: String,
    /// Data that a machine reads at its first boot, in base64. No answer has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_data: Option<Withheld>,
    /// How the user may log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_configuration: Option<LinuxConfiguration>,
}

/// The interfaces of a set's machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ScaleSetNetworkProfile {
    /// The version by which the set asks the network provider; a set of the mode Flexible needs it.
    pub network_api_version: String,
    /// The interfaces of each machine.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub network_interface_configurations: Vec<InterfaceConfiguration>,
}

impl Default for ScaleSetNetworkProfile {
    fn default() -> Self {
        Self {
            network_api_version: NETWORK_API.to_owned(),
            network_interface_configurations: Vec::new(),
        }
    }
}

/// An interface that each machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InterfaceConfiguration {
    /// What the names of the interfaces begin with.
    pub name: String,
    /// What it says.
    pub properties: InterfaceConfigurationProperties,
}

/// Properties of an interface that each machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct InterfaceConfigurationProperties {
    /// Whether it is the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<bool>,
    /// Whether packets go past the host's switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_accelerated_networking: Option<bool>,
    /// Its firewall rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_security_group: Option<SubResource>,
    /// Its addresses.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub ip_configurations: Vec<AddressConfiguration>,
    /// `Delete`: it goes with the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
}

/// An address of an interface that each machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AddressConfiguration {
    /// Its name.
    pub name: String,
    /// What it says.
    pub properties: AddressConfigurationProperties,
}

/// Properties of an address of an interface that each machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AddressConfigurationProperties {
    /// The subnet that the address is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<SubResource>,
    /// Whether it is the interface's first address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<bool>,
    /// `IPv4` or `IPv6`; left out, it is the first.
    #[serde(
        rename = "privateIPAddressVersion",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,
    /// The public address in front of it, one for each machine.
    #[serde(
        rename = "publicIPAddressConfiguration",
        skip_serializing_if = "Option::is_none"
    )]
    pub public_ip: Option<PublicIpConfiguration>,
}

/// A public address that each machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PublicIpConfiguration {
    /// What the names of the addresses begin with.
    pub name: String,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<PublicIpSku>,
    /// What it says.
    pub properties: PublicIpConfigurationProperties,
}

/// Properties of a public address that each machine gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct PublicIpConfigurationProperties {
    /// `IPv4` or `IPv6`.
    #[serde(
        rename = "publicIPAddressVersion",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,
    /// `Delete`: it goes with the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
}

impl ScaleSet {
    /// Whether its machines are machines like all others.
    #[must_use]
    pub fn is_flexible(&self) -> bool {
        let mode = self.properties.orchestration_mode.as_deref();
        mode.is_some_and(|mode| mode.eq_ignore_ascii_case("Flexible"))
    }
}

impl Client {
    fn scale_set_url(&self, group: &str, name: &str) -> url::Url {
        let id = self.resource_id(group, SCALE_SETS, name);
        self.url(id.as_str(), API, &[])
    }

    /// A scale set, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn scale_set(&self, group: &str, name: &str) -> Result<Option<ScaleSet>> {
        self.find(
            self.scale_set_url(group, name),
            &format!("look for the scale set {name}"),
        )
        .await
    }

    /// Makes a scale set and its machines. The operation ends when all machines are there, and fails
    /// with the first of them that does.
    ///
    /// # Errors
    /// When its model is refused.
    pub async fn create_scale_set(
        &self,
        group: &str,
        name: &str,
        set: &ScaleSet,
    ) -> Result<Operation<ScaleSet>> {
        Named::VirtualMachine.check(name)?;
        self.put(
            self.scale_set_url(group, name),
            set,
            format!("create the scale set {name} in {group}"),
        )
        .await
    }

    /// Deletes a scale set, with its machines and what was made to go with them.
    ///
    /// # Errors
    /// When it may not be deleted.
    pub async fn delete_scale_set(&self, group: &str, name: &str) -> Result<Operation<()>> {
        self.delete(
            self.scale_set_url(group, name),
            format!("delete the scale set {name}"),
        )
        .await
    }

    /// The machines of a set of the mode Flexible.
    pub(crate) async fn machines_of_set(&self, set: &ResourceId) -> Result<Vec<Existing>> {
        let filter = format!("'virtualMachineScaleSet/id' eq '{set}'");
        let path = self.list_path(set.resource_group(), VIRTUAL_MACHINES);
        self.list(
            self.url(&path, API, &[("$filter", &filter)]),
            &format!("list the machines of the scale set {}", set.name()),
        )
        .await
    }
}
