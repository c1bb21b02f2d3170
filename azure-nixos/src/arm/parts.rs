//! What a machine is connected to: disks and network resources, as far as it matters whose they are
//! and who uses them.
//!
//! The users stand in the resources themselves, as the service adds them to every answer. They are
//! read from the providers' own lists: that of Resource Manager lags behind.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::compute::{DISKS, DISKS_API};
use super::network::{INTERFACES, NETWORK_API, PUBLIC_IPS, SECURITY_GROUPS, VIRTUAL_NETWORKS};
use super::{Client, Operation, ResourceId};
use crate::Result;

/// The kinds of things that are made for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PartKind {
    Disk,
    Interface,
    PublicIp,
    SecurityGroup,
    VirtualNetwork,
}

impl PartKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Disk,
        Self::Interface,
        Self::PublicIp,
        Self::SecurityGroup,
        Self::VirtualNetwork,
    ];

    /// The full type.
    pub(crate) fn full(self) -> &'static str {
        match self {
            Self::Disk => DISKS,
            Self::Interface => INTERFACES,
            Self::PublicIp => PUBLIC_IPS,
            Self::SecurityGroup => SECURITY_GROUPS,
            Self::VirtualNetwork => VIRTUAL_NETWORKS,
        }
    }

    /// What it is called in a sentence.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Interface => "network interface",
            Self::PublicIp => "public address",
            Self::SecurityGroup => "network security group",
            Self::VirtualNetwork => "virtual network",
        }
    }

    fn api(self) -> &'static str {
        match self {
            Self::Disk => DISKS_API,
            _ => NETWORK_API,
        }
    }
}

/// A disk or a network resource of any kind; each has its own of these fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Part {
    pub(crate) id: Option<ResourceId>,
    #[serde(deserialize_with = "super::null_is_default")]
    pub(crate) tags: BTreeMap<String, String>,
    managed_by: Option<String>,
    #[serde(deserialize_with = "super::null_is_default")]
    managed_by_extended: Vec<String>,
    #[serde(deserialize_with = "super::null_is_default")]
    pub(crate) properties: PartProperties,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PartProperties {
    // Of an interface.
    virtual_machine: Option<Reference>,
    private_endpoint: Option<Reference>,
    #[serde(deserialize_with = "super::null_is_default")]
    pub(crate) ip_configurations: Vec<PartIp>,
    // Of a public address.
    ip_configuration: Option<Reference>,
    nat_gateway: Option<Reference>,
    pub(crate) ip_address: Option<String>,
    pub(crate) delete_option: Option<String>,
    // Of a security group; it refers to subnets, which a network has.
    #[serde(deserialize_with = "super::null_is_default")]
    network_interfaces: Vec<Reference>,
    #[serde(deserialize_with = "super::null_is_default")]
    subnets: Vec<PartSubnet>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartIp {
    #[serde(deserialize_with = "super::null_is_default")]
    pub(crate) properties: PartIpProperties,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PartIpProperties {
    #[serde(rename = "privateIPAddress")]
    pub(crate) private_ip: Option<String>,
    #[serde(rename = "publicIPAddress")]
    pub(crate) public_ip: Option<Reference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PartSubnet {
    id: String,
    #[serde(deserialize_with = "super::null_is_default")]
    properties: PartSubnetProperties,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartSubnetProperties {
    #[serde(deserialize_with = "super::null_is_default")]
    ip_configurations: Vec<Reference>,
    #[serde(deserialize_with = "super::null_is_default")]
    private_endpoints: Vec<Reference>,
}

/// Another resource or a part of one. Not every such id has the form of one that can be asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reference {
    pub(crate) id: String,
}

impl Part {
    /// The resources that use this one.
    pub(crate) fn users(&self, kind: PartKind) -> Vec<String> {
        let own = &self.properties;
        let ids: Vec<&String> = match kind {
            PartKind::Disk => self
                .managed_by
                .iter()
                .chain(&self.managed_by_extended)
                .collect(),
            PartKind::Interface => [&own.virtual_machine, &own.private_endpoint]
                .into_iter()
                .flatten()
                .map(|user| &user.id)
                .collect(),
            PartKind::PublicIp => [&own.ip_configuration, &own.nat_gateway]
                .into_iter()
                .flatten()
                .map(|user| &user.id)
                .collect(),
            PartKind::SecurityGroup => {
                let interfaces = own.network_interfaces.iter().map(|user| &user.id);
                let subnets = own.subnets.iter().map(|subnet| &subnet.id);
                interfaces.chain(subnets).collect()
            }
            PartKind::VirtualNetwork => own
                .subnets
                .iter()
                .map(|subnet| &subnet.properties)
                .flat_map(|inside| {
                    let endpoints = &inside.private_endpoints;
                    inside.ip_configurations.iter().chain(endpoints)
                })
                .map(|user| &user.id)
                .collect(),
        };
        let ids = ids.into_iter().filter(|id| !id.is_empty());
        let mut users: Vec<String> = ids.map(|id| root(id)).collect();
        users.sort_by_key(|id| id.to_ascii_lowercase());
        users.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        users
    }
}

/// The resource that a part belongs to: of an address of an interface, the interface.
fn root(id: &str) -> String {
    let parts: Vec<&str> = id.split('/').collect();
    let first = parts
        .iter()
        .position(|part| part.eq_ignore_ascii_case("providers"));
    // The namespace, the type and the name.
    match first.and_then(|at| parts.get(..at + 4)) {
        Some(own) => own.join("/"),
        None => id.to_owned(),
    }
}

impl Client {
    /// The path of a list of one type, in a group or in the subscription.
    pub(super) fn list_path(&self, group: Option<&str>, kind: &str) -> String {
        let scope = match group {
            Some(group) => ResourceId::group(self.subscription_id(), group).to_string(),
            None => format!("/subscriptions/{}", self.subscription_id()),
        };
        format!("{scope}/providers/{kind}")
    }

    /// All parts of one kind in a group or in the subscription.
    pub(crate) async fn parts(&self, group: Option<&str>, kind: PartKind) -> Result<Vec<Part>> {
        self.list(
            self.url(&self.list_path(group, kind.full()), kind.api(), &[]),
            &format!("list every {}", kind.what()),
        )
        .await
    }

    /// One part, if it exists.
    pub(crate) async fn part(&self, id: &ResourceId, kind: PartKind) -> Result<Option<Part>> {
        self.find(
            self.url(id.as_str(), kind.api(), &[]),
            &format!("look for the {} {}", kind.what(), id.name()),
        )
        .await
    }

    /// Deletes a part; one that does not exist is deleted already.
    pub(crate) async fn delete_part(
        &self,
        id: &ResourceId,
        kind: PartKind,
    ) -> Result<Operation<()>> {
        self.delete(
            self.url(id.as_str(), kind.api(), &[]),
            format!("delete the {} {}", kind.what(), id.name()),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network";

    fn part(value: serde_json::Value) -> Part {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn users_are_whole_resources() {
        let nic = format!("{NETWORK}/networkInterfaces/nic");
        let network = part(serde_json::json!({ "properties": { "subnets": [
            { "id": format!("{NETWORK}/virtualNetworks/v/subnets/a"), "properties": { "ipConfigurations": [
                { "id": format!("{nic}/ipConfigurations/one") },
                { "id": format!("{}/ipConfigurations/two", nic.to_uppercase()) },
            ] } },
            { "properties": null },
        ] } }));
        let users = network.users(PartKind::VirtualNetwork);
        assert_eq!(users.len(), 1);
        assert!(users[0].eq_ignore_ascii_case(&nic), "{users:?}");
        let set = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/set";
        let address = part(serde_json::json!({ "properties": { "ipConfiguration": {
            "id": format!("{set}/virtualMachines/0/networkInterfaces/n/ipConfigurations/p")
        } } }));
        assert_eq!(address.users(PartKind::PublicIp), [set]);
        let rules = part(serde_json::json!({ "tags": null, "properties": {
            "subnets": [{ "id": format!("{NETWORK}/virtualNetworks/v/subnets/a") }],
            "networkInterfaces": [{ "id": nic }],
        } }));
        assert_eq!(
            rules.users(PartKind::SecurityGroup),
            [nic, format!("{NETWORK}/virtualNetworks/v")]
        );
        let disk = part(serde_json::json!({ "managedBy": null, "properties": null }));
        assert!(disk.users(PartKind::Disk).is_empty());
    }
}
