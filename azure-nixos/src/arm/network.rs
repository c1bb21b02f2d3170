//! Microsoft.Network: what a machine needs to be reached.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::compute::SubResource;
use super::names::Named;
use super::{Client, Operation, ResourceId};
use crate::Result;

pub(super) const NETWORK_API: &str = "2024-01-01";

pub(crate) const VIRTUAL_NETWORKS: &str = "Microsoft.Network/virtualNetworks";
pub(crate) const SECURITY_GROUPS: &str = "Microsoft.Network/networkSecurityGroups";
pub(crate) const PUBLIC_IPS: &str = "Microsoft.Network/publicIPAddresses";
pub(crate) const INTERFACES: &str = "Microsoft.Network/networkInterfaces";

/// A resource of the network provider. They differ in their properties only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    default,
    bound(deserialize = "P: DeserializeOwned + Default")
)]
#[non_exhaustive]
pub struct NetworkResource<P> {
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
        deserialize_with = "super::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
    /// Kind of public address; no other type has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<PublicIpSku>,
    /// Everything else.
    pub properties: P,
}

/// A type of the network provider and the name of it in an id.
pub trait NetworkProperties: DeserializeOwned + Serialize + Default + Send + Sync {
    /// The full type: `Microsoft.Network/virtualNetworks`.
    const KIND: &'static str;
    /// What it is called in a sentence.
    const WHAT: &'static str;
    /// The rule for its names.
    const NAMED: Named = Named::Network;
}

/// A virtual network with its subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct VirtualNetwork {
    /// The addresses in it.
    pub address_space: AddressSpace,
    /// Its subnets. A request without one that exists removes it.
    pub subnets: Vec<Subnet>,
}

impl NetworkProperties for VirtualNetwork {
    const KIND: &'static str = VIRTUAL_NETWORKS;
    const WHAT: &'static str = "virtual network";
    const NAMED: Named = Named::VirtualNetwork;
}

impl VirtualNetwork {
    /// A network with one subnet.
    #[must_use]
    pub fn with_subnet(network: &str, name: &str, prefix: &str) -> Self {
        Self {
            address_space: AddressSpace {
                address_prefixes: vec![network.to_owned()],
            },
            subnets: vec![Subnet {
                id: None,
                name: name.to_owned(),
                properties: SubnetProperties {
                    address_prefix: Some(prefix.to_owned()),
                },
            }],
        }
    }
}

/// Address ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct AddressSpace {
    /// In CIDR notation.
    pub address_prefixes: Vec<String>,
}

/// A part of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Subnet {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub properties: SubnetProperties,
}

/// Properties of a subnet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SubnetProperties {
    /// In CIDR notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_prefix: Option<String>,
}

/// A set of firewall rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SecurityGroup {
    /// The rules; the service adds its own below them.
    pub security_rules: Vec<SecurityRule>,
}

impl NetworkProperties for SecurityGroup {
    const KIND: &'static str = SECURITY_GROUPS;
    const WHAT: &'static str = "network security group";
}

/// A firewall rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SecurityRule {
    /// Its name.
    pub name: String,
    /// What it says.
    pub properties: SecurityRuleProperties,
}

/// What a firewall rule says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SecurityRuleProperties {
    /// `Tcp`, `Udp`, `*`.
    pub protocol: String,
    /// `Allow` or `Deny`.
    pub access: String,
    /// `Inbound` or `Outbound`.
    pub direction: String,
    /// 100 to 4096, the lowest first.
    pub priority: u16,
    /// An address, a range, `*`, or a service tag.
    pub source_address_prefix: String,
    /// Ports.
    pub source_port_range: String,
    /// An address, a range, `*`, or a service tag.
    pub destination_address_prefix: String,
    /// Ports.
    pub destination_port_range: String,
}

impl SecurityRule {
    /// Lets TCP to one port in.
    #[must_use]
    pub fn allow_tcp_in(name: &str, priority: u16, source: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            properties: SecurityRuleProperties {
                protocol: "Tcp".to_owned(),
                access: "Allow".to_owned(),
                direction: "Inbound".to_owned(),
                priority,
                source_address_prefix: source.to_owned(),
                source_port_range: "*".to_owned(),
                destination_address_prefix: "*".to_owned(),
                destination_port_range: port.to_string(),
            },
        }
    }
}

/// A public address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct PublicIp {
    /// `Static` or `Dynamic`; the standard kind is always static.
    #[serde(rename = "publicIPAllocationMethod")]
    pub allocation_method: String,
    /// `IPv4` or `IPv6`.
    #[serde(
        rename = "publicIPAddressVersion",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,
    /// The address, once there is one. Never sent.
    #[serde(skip_serializing)]
    pub ip_address: Option<String>,
    /// `Delete`: it goes with the machine whose interface has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_option: Option<String>,
}

impl NetworkProperties for PublicIp {
    const KIND: &'static str = PUBLIC_IPS;
    const WHAT: &'static str = "public address";
}

/// Kind of public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublicIpSku {
    /// `Standard`; `Basic` is retired.
    pub name: String,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Interface {
    /// Its addresses.
    pub ip_configurations: Vec<IpConfiguration>,
    /// Its firewall rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_security_group: Option<SubResource>,
}

impl NetworkProperties for Interface {
    const KIND: &'static str = INTERFACES;
    const WHAT: &'static str = "network interface";
}

/// An address of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct IpConfiguration {
    /// Its name.
    pub name: String,
    /// What it says.
    pub properties: IpConfigurationProperties,
}

/// Properties of an address of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct IpConfigurationProperties {
    /// The subnet that the address is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<SubResource>,
    /// The public address in front of it.
    #[serde(rename = "publicIPAddress", skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<SubResource>,
    /// `Dynamic` or `Static`.
    #[serde(
        rename = "privateIPAllocationMethod",
        skip_serializing_if = "Option::is_none"
    )]
    pub allocation_method: Option<String>,
    /// The address. Never sent.
    #[serde(rename = "privateIPAddress", skip_serializing)]
    pub private_ip: Option<String>,
}

impl Interface {
    /// An interface with one address.
    #[must_use]
    pub fn with_address(
        subnet: ResourceId,
        public_ip: Option<ResourceId>,
        security_group: Option<ResourceId>,
    ) -> Self {
        Self {
            ip_configurations: vec![IpConfiguration {
                name: "primary".to_owned(),
                properties: IpConfigurationProperties {
                    subnet: Some(SubResource { id: subnet }),
                    public_ip: public_ip.map(|id| SubResource { id }),
                    allocation_method: Some("Dynamic".to_owned()),
                    private_ip: None,
                },
            }],
            network_security_group: security_group.map(|id| SubResource { id }),
        }
    }
}

impl Client {
    fn network_url<P: NetworkProperties>(&self, group: &str, name: &str) -> url::Url {
        let id = self.resource_id(group, P::KIND, name);
        self.url(id.as_str(), NETWORK_API, &[])
    }

    /// A resource of the network provider, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn network_resource<P: NetworkProperties>(
        &self,
        group: &str,
        name: &str,
    ) -> Result<Option<NetworkResource<P>>> {
        self.find(
            self.network_url::<P>(group, name),
            &format!("look for the {} {name}", P::WHAT),
        )
        .await
    }

    /// Makes a resource of the network provider.
    ///
    /// # Errors
    /// When its name or its description is refused.
    pub async fn create_network_resource<P: NetworkProperties>(
        &self,
        group: &str,
        name: &str,
        resource: &NetworkResource<P>,
    ) -> Result<Operation<NetworkResource<P>>> {
        P::NAMED.check(name)?;
        self.put(
            self.network_url::<P>(group, name),
            resource,
            format!("create the {} {name} in {group}", P::WHAT),
        )
        .await
    }

    /// Deletes a resource of the network provider.
    ///
    /// # Errors
    /// When something still uses it.
    pub async fn delete_network_resource<P: NetworkProperties>(
        &self,
        group: &str,
        name: &str,
    ) -> Result<Operation<()>> {
        self.delete(
            self.network_url::<P>(group, name),
            format!("delete the {} {name}", P::WHAT),
        )
        .await
    }
}

impl<P: NetworkProperties> NetworkResource<P> {
    /// A resource to be made.
    #[must_use]
    pub fn new(location: &str, properties: P) -> Self {
        Self {
            location: location.to_owned(),
            properties,
            id: None,
            name: None,
            tags: BTreeMap::new(),
            sku: None,
        }
    }
}

impl NetworkResource<PublicIp> {
    /// A static address of the standard kind, closed but for what a security group lets in.
    #[must_use]
    pub fn standard_public_ip(location: &str) -> Self {
        let mut resource = Self::new(
            location,
            PublicIp {
                allocation_method: "Static".to_owned(),
                version: Some("IPv4".to_owned()),
                ..PublicIp::default()
            },
        );
        resource.sku = Some(PublicIpSku {
            name: "Standard".to_owned(),
        });
        resource
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_recorded_shape() {
        let network = NetworkResource::new(
            "westus",
            VirtualNetwork::with_subnet("10.0.0.0/16", "default", "10.0.0.0/24"),
        );
        assert_eq!(
            serde_json::to_value(&network).unwrap(),
            serde_json::json!({
                "location": "westus",
                "properties": {
                    "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
                    "subnets": [{ "name": "default", "properties": { "addressPrefix": "10.0.0.0/24" } }]
                }
            })
        );
        assert_eq!(
            serde_json::to_value(NetworkResource::standard_public_ip("westus")).unwrap(),
            serde_json::json!({
                "location": "westus", "sku": { "name": "Standard" },
                "properties": { "publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4" }
            })
        );
    }

    #[test]
    fn an_answer_with_more_in_it_is_read() {
        let address: NetworkResource<PublicIp> = serde_json::from_value(serde_json::json!({
            "name": "ip", "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/publicIPAddresses/ip",
            "etag": "W/\"x\"", "location": "eastus2", "zones": ["1"],
            "properties": { "provisioningState": "Succeeded", "ipAddress": "20.157.64.35",
                "publicIPAllocationMethod": "Static", "ipTags": [], "ddosSettings": {"protectionMode": "VirtualNetworkInherited"} },
            "type": "Microsoft.Network/publicIPAddresses", "sku": { "name": "Standard", "tier": "Regional" }
        }))
        .unwrap();
        assert_eq!(
            address.properties.ip_address.as_deref(),
            Some("20.157.64.35")
        );
    }
}
