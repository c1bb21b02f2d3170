//! The network of machines: a network, its rules, addresses and interfaces, named after them; or a
//! place in a network that is there.

mod part;
mod source;

use self::part::{make, still_ours, taken};
pub(crate) use self::source::{Allow, Asked};
use super::owner::Owner;
use crate::arm::network::{
    INTERFACES, Interface, NetworkProperties as _, NetworkResource, PUBLIC_IPS, PublicIp,
    SECURITY_GROUPS, SUBNETS, SecurityGroup, SecurityRule, VIRTUAL_NETWORKS, VirtualNetwork,
};
use crate::arm::{Client, Location, ResourceId};
use crate::group::Place;
use crate::handle::Work;
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result};

/// The subnet of a machine's own network, and its addresses. Azure keeps five of the 256 for itself.
const SUBNET: &str = "default";
const NETWORK_4: &str = "10.0.0.0/16";
const SUBNET_4: &str = "10.0.0.0/24";
/// The subnet of a scale set, which may have 1,000 machines.
const WIDE_SUBNET_4: &str = "10.0.0.0/22";
/// Of the range that anybody may use at home; Azure takes 64 bits for a subnet and no others.
const NETWORK_6: &str = "fd00:a2e5:4e15::/48";
const SUBNET_6: &str = "fd00:a2e5:4e15::/64";

/// What a network is to be like.
#[derive(Clone, Debug)]
pub(crate) struct NetworkOptions {
    /// A subnet that is there, by its id.
    pub(crate) subnet: Option<String>,
    pub(crate) public_ip: bool,
    /// Who may reach port 22; nothing where nobody said anything.
    pub(crate) allow_ssh_from: Option<String>,
    pub(crate) ipv6: bool,
    pub(crate) accelerated: bool,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            subnet: None,
            public_ip: true,
            allow_ssh_from: None,
            ipv6: false,
            accelerated: false,
        }
    }
}

impl NetworkOptions {
    /// The subnet to join.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub(crate) fn subnet(&self) -> Result<Option<ResourceId>> {
        let Some(text) = &self.subnet else {
            return Ok(None);
        };
        let hint = "the id of a subnet ends in …/providers/Microsoft.Network/virtualNetworks/NETWORK/subnets/SUBNET; `az network vnet subnet list -g GROUP --vnet-name NETWORK` lists them";
        let id: ResourceId = text.parse().map_err(|_| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not the id of a subnet"),
            )
            .with_hint(hint)
        })?;
        if !id.is_kind(SUBNETS) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{id} is not the id of a subnet"),
            )
            .with_hint(hint));
        }
        Ok(Some(id))
    }

    /// Who is let in, as it was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub(crate) fn asked(&self) -> Result<Asked> {
        self.allow_ssh_from
            .as_deref()
            .map_or(Ok(Asked::Anyone), Asked::parse)
    }

    /// What is said aloud, when nobody said who may reach port 22.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.allow_ssh_from.is_none() && self.public_ip).then(|| {
            "port 22 is open to the whole Internet; to open it to your address alone, ask for --allow-ssh-from me".to_owned()
        })
    }
}

/// Fails when a subnet cannot be joined. A login that may use it and not look at it joins it
/// unseen.
///
/// # Errors
/// [`ErrorKind::NotFound`], with the subnets that there are; [`ErrorKind::InvalidInput`] when it is
/// elsewhere, or has no addresses of IPv6 where those are wanted.
pub(crate) async fn check_subnet(
    client: &Client,
    subnet: &ResourceId,
    location: &Location,
    ipv6: bool,
) -> Result<()> {
    let network = match client.virtual_network_of(subnet).await {
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            tracing::debug!("the subnet is not looked at: {error}");
            return Ok(());
        }
        network => network?,
    };
    let Some(network) = network else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no virtual network of the subnet {subnet}"),
        )
        .with_hint("`az network vnet list -o table` lists the networks"));
    };
    if !location.is_named(&network.location) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "the subnet {} is in {}; a machine in {location} cannot join it",
                subnet.name(),
                network.location
            ),
        )
        .with_hint("pass a subnet in the region of the image"));
    }
    let subnets = network.properties.subnets;
    let Some(found) = subnets
        .iter()
        .find(|one| one.name.eq_ignore_ascii_case(subnet.name()))
    else {
        let names: Vec<&str> = subnets.iter().map(|one| one.name.as_str()).collect();
        let network = network.name.unwrap_or_default();
        let error = Error::new(
            ErrorKind::NotFound,
            format!("there is no subnet {} in {network}", subnet.name()),
        );
        return Err(if names.is_empty() {
            error.with_hint("it has none: make one with `az network vnet subnet create`")
        } else {
            error.with_hint(format!("it has {}", names.join(", ")))
        });
    };
    if ipv6 && !found.properties.prefixes().any(|range| range.contains(':')) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the subnet {} has no addresses of IPv6", subnet.name()),
        )
        .with_hint("leave --ipv6 out, or give the network and the subnet a range of IPv6 first"));
    }
    Ok(())
}

/// What the machines of a fleet share, and a single machine has for itself.
#[derive(Clone, Debug)]
pub(crate) struct SharedNetwork {
    pub(crate) owner: Owner,
    /// The subnet to join; nothing where one is made.
    pub(crate) join: Option<ResourceId>,
    pub(crate) allow: Allow,
    pub(crate) ipv6: bool,
    network: String,
    security_group: String,
    subnet_4: &'static str,
}

impl SharedNetwork {
    pub(crate) fn new(owner: Owner, join: Option<ResourceId>, allow: Allow, ipv6: bool) -> Self {
        let name = owner.name();
        Self {
            network: format!("{name}-vnet"),
            security_group: format!("{name}-nsg"),
            subnet_4: SUBNET_4,
            join,
            allow,
            ipv6,
            owner,
        }
    }

    /// The same with a subnet of 1,024 addresses.
    pub(crate) fn wide(mut self) -> Self {
        self.subnet_4 = WIDE_SUBNET_4;
        self
    }

    /// The names that a name leads to are longer than it.
    pub(crate) fn check_names(name: &str, joins: bool) -> Result<()> {
        if !joins {
            VirtualNetwork::NAMED.check(&format!("{name}-vnet"))?;
        }
        SecurityGroup::NAMED.check(&format!("{name}-nsg"))
    }

    /// The names that are taken: what another machine may use is not taken over.
    pub(crate) async fn taken(&self, client: &Client, group: &str) -> Result<Vec<String>> {
        let (network, rules) = tokio::try_join!(
            async {
                if self.join.is_some() {
                    return Ok(None);
                }
                taken::<VirtualNetwork>(client, group, &self.network).await
            },
            taken::<SecurityGroup>(client, group, &self.security_group),
        )?;
        Ok([network, rules].into_iter().flatten().collect())
    }

    /// Makes the network and its rules at the same time.
    pub(crate) async fn create(
        &self,
        client: &Client,
        place: &Place,
        undo: &mut Undo,
    ) -> Result<()> {
        let location = place.location.as_str();
        let group = &place.group;
        let mut network = VirtualNetwork::with_subnet(NETWORK_4, SUBNET, self.subnet_4);
        if self.ipv6 {
            network = network.and_ipv6(NETWORK_6, SUBNET_6);
        }
        let mut network = NetworkResource::new(location, network);
        network.tags = self.owner.tags();
        let mut rules = SecurityGroup::default();
        rules.security_rules.extend(
            self.allow
                .prefix()
                .map(|from| SecurityRule::allow_tcp_in("allow-ssh", 1000, from, 22)),
        );
        let mut rules = NetworkResource::new(location, rules);
        rules.tags = self.owner.tags();
        // Nothing drops these futures on their way, so what they made is noted behind them.
        let (network, rules) = futures::join!(
            async {
                match self.join {
                    Some(_) => None,
                    None => Some(make(client, group, &self.network, &network).await),
                }
            },
            make(client, group, &self.security_group, &rules),
        );
        let network =
            network.map(|made| made.noted(&self.owner, client, group, &self.network, undo));
        let rules = rules.noted(&self.owner, client, group, &self.security_group, undo);
        network.transpose()?;
        rules?;
        Ok(())
    }

    /// Fails when another attempt has written over what this one made.
    pub(crate) async fn still_ours(&self, client: &Client, group: &str) -> Result<()> {
        tokio::try_join!(
            async {
                if self.join.is_some() {
                    return Ok(());
                }
                still_ours::<VirtualNetwork>(&self.owner, client, group, &self.network).await
            },
            still_ours::<SecurityGroup>(&self.owner, client, group, &self.security_group),
        )?;
        Ok(())
    }

    /// The rules that were made.
    pub(crate) fn rules(&self, client: &Client, group: &str) -> ResourceId {
        client.resource_id(group, SECURITY_GROUPS, &self.security_group)
    }

    pub(crate) fn subnet(&self, client: &Client, group: &str) -> ResourceId {
        self.join.clone().unwrap_or_else(|| {
            client
                .resource_id(group, VIRTUAL_NETWORKS, &self.network)
                .child("subnets", SUBNET)
        })
    }
}

/// How one machine is connected.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    owner: Owner,
    public_ip: Option<String>,
    public_ip6: Option<String>,
    interface: String,
    accelerated: bool,
    zone: Option<String>,
}

/// The addresses of a machine, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) public_ip: Option<String>,
    pub(crate) public_ip6: Option<String>,
    pub(crate) private_ip: Option<String>,
}

impl Connection {
    pub(crate) fn new(owner: Owner, options: &NetworkOptions, zone: Option<&str>) -> Self {
        let name = owner.name();
        Self {
            public_ip: options.public_ip.then(|| format!("{name}-ip")),
            public_ip6: (options.public_ip && options.ipv6).then(|| format!("{name}-ip6")),
            interface: format!("{name}-nic"),
            accelerated: options.accelerated,
            zone: zone.map(str::to_owned),
            owner,
        }
    }

    /// The names that a name leads to are longer than it.
    pub(crate) fn check_names(name: &str, options: &NetworkOptions) -> Result<()> {
        if options.public_ip {
            PublicIp::NAMED.check(&format!("{name}-ip6"))?;
        }
        Interface::NAMED.check(&format!("{name}-nic"))
    }

    /// The names that are taken.
    pub(crate) async fn taken(&self, client: &Client, group: &str) -> Result<Vec<String>> {
        let address = |name: Option<&String>| {
            let name = name.cloned();
            async move {
                match name {
                    Some(name) => taken::<PublicIp>(client, group, &name).await,
                    None => Ok(None),
                }
            }
        };
        let (four, six, interface) = tokio::try_join!(
            address(self.public_ip.as_ref()),
            address(self.public_ip6.as_ref()),
            taken::<Interface>(client, group, &self.interface),
        )?;
        Ok([four, six, interface].into_iter().flatten().collect())
    }

    /// Makes the public addresses, which need nothing else.
    pub(crate) async fn create_addresses(
        &self,
        client: &Client,
        place: &Place,
        undo: &mut Undo,
    ) -> Result<Known> {
        let group = &place.group;
        let resource = |version| {
            let mut resource =
                NetworkResource::standard_public_address(place.location.as_str(), version);
            resource.tags = self.owner.tags();
            resource.zones.extend(self.zone.clone());
            // The machine's own description says the same of its interface.
            resource.properties.delete_option = Some("Delete".to_owned());
            resource
        };
        let (four, six) = (resource("IPv4"), resource("IPv6"));
        let made = |name: Option<&String>, resource: NetworkResource<PublicIp>| {
            let name = name.cloned();
            async move {
                let name = name?;
                Some((make(client, group, &name, &resource).await, name))
            }
        };
        let (four, six) = futures::join!(
            made(self.public_ip.as_ref(), four),
            made(self.public_ip6.as_ref(), six),
        );
        let [four, six] = [four, six].map(|made| {
            made.map(|(made, name)| made.noted(&self.owner, client, group, &name, undo))
                .transpose()
        });
        let address = |made: Option<NetworkResource<PublicIp>>| made?.properties.ip_address;
        Ok(Known {
            public_ip: address(four?),
            public_ip6: address(six?),
            private_ip: None,
        })
    }

    /// Makes the interface, once there is a subnet to put it into, and completes what is known.
    pub(crate) async fn create_interface(
        &self,
        client: &Client,
        place: &Place,
        shared: &SharedNetwork,
        known: &mut Known,
        undo: &mut Undo,
    ) -> Result<ResourceId> {
        let group = &place.group;
        let id = |kind, name: &str| client.resource_id(group, kind, name);
        let address = |name: Option<&String>| name.map(|name| id(PUBLIC_IPS, name));
        let mut interface = Interface::with_address(
            shared.subnet(client, group),
            address(self.public_ip.as_ref()),
            Some(id(SECURITY_GROUPS, &shared.security_group)),
        );
        if shared.ipv6 {
            interface = interface.and_ipv6(address(self.public_ip6.as_ref()));
        }
        // Left out, it is off; a machine of a size that cannot is then no matter.
        interface.enable_accelerated_networking = self.accelerated.then_some(true);
        let mut interface = NetworkResource::new(place.location.as_str(), interface);
        interface.tags = self.owner.tags();
        let made = make(client, group, &self.interface, &interface)
            .await
            .noted(&self.owner, client, group, &self.interface, undo)?;
        known.private_ip = made
            .properties
            .ip_configurations
            .into_iter()
            .next()
            .and_then(|first| first.properties.private_ip);
        Ok(id(INTERFACES, &self.interface))
    }

    /// Fails when another attempt to make a machine of this name has written over what this one made.
    pub(crate) async fn still_ours(
        &self,
        client: &Client,
        group: &str,
        shared: &SharedNetwork,
    ) -> Result<()> {
        let address = |name: Option<&String>| {
            let name = name.cloned();
            async move {
                match name {
                    Some(name) => still_ours::<PublicIp>(&self.owner, client, group, &name).await,
                    None => Ok(()),
                }
            }
        };
        tokio::try_join!(
            shared.still_ours(client, group),
            address(self.public_ip.as_ref()),
            address(self.public_ip6.as_ref()),
            still_ours::<Interface>(&self.owner, client, group, &self.interface),
        )?;
        Ok(())
    }

    /// Asks for the public addresses that were not known when they were made.
    pub(crate) async fn complete(
        &self,
        client: &Client,
        group: &str,
        work: &Work,
        known: &mut Known,
    ) -> Result<()> {
        for (name, address) in [
            (&self.public_ip, &mut known.public_ip),
            (&self.public_ip6, &mut known.public_ip6),
        ] {
            let (Some(name), None) = (name, &address) else {
                continue;
            };
            work.progress.phase(
                crate::progress::Phase::Waiting,
                self.owner.name().to_owned(),
            );
            let found = client.network_resource::<PublicIp>(group, name).await?;
            *address = found.and_then(|found| found.properties.ip_address);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::arm::replay::{Interaction, client};

    const NETWORK: &str =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/net";

    #[test]
    fn a_name_that_grows_too_long_is_refused() {
        let check = |name: &str, joins| {
            SharedNetwork::check_names(name, joins)
                .and_then(|()| Connection::check_names(name, &NetworkOptions::default()))
        };
        check("web", false).unwrap();
        let long = "x".repeat(62);
        assert!(check(&long, false).is_err());
        check(&long, true).unwrap();
    }

    #[test]
    fn a_subnet_is_named_by_its_id() {
        let subnet = |text: &str| {
            NetworkOptions {
                subnet: Some(text.to_owned()),
                ..NetworkOptions::default()
            }
            .subnet()
        };
        assert!(subnet(&format!("{NETWORK}/subnets/a")).unwrap().is_some());
        for bad in ["default", NETWORK, "/subnets/a", ""] {
            let error = subnet(bad).unwrap_err();
            assert!(error.hint().unwrap().contains("/subnets/SUBNET"), "{bad}");
        }
        assert_eq!(NetworkOptions::default().subnet().unwrap(), None);
    }

    #[test]
    fn only_an_open_port_that_nobody_asked_for_is_said_aloud() {
        let options = |from: Option<&str>, public_ip| NetworkOptions {
            allow_ssh_from: from.map(str::to_owned),
            public_ip,
            ..NetworkOptions::default()
        };
        assert!(options(None, true).warning().unwrap().contains("port 22"));
        for quiet in [
            options(Some("any"), true),
            options(Some("none"), true),
            options(None, false),
        ] {
            assert_eq!(quiet.warning(), None);
        }
    }

    #[tokio::test]
    async fn a_subnet_must_be_there_and_here() {
        let url = format!("https://management.azure.com{NETWORK}?api-version=2024-01-01");
        let network = json!({ "name": "net", "location": "westus2", "properties": { "subnets": [
            { "name": "a", "properties": { "addressPrefix": "10.0.0.0/24" } },
            { "name": "b", "properties": { "addressPrefixes": ["10.0.1.0/24", "fd00::/64"] } },
        ] } });
        let check = async |subnet: &str, location: &str, ipv6| {
            let (client, _) = client(vec![Interaction::new(
                "GET",
                &url,
                200,
                &[],
                network.clone(),
            )]);
            let id = format!("{NETWORK}/subnets/{subnet}").parse().unwrap();
            check_subnet(&client, &id, &location.parse().unwrap(), ipv6).await
        };
        check("A", "West US 2", false).await.unwrap();
        check("b", "westus2", true).await.unwrap();
        let missing = check("c", "westus2", false).await.unwrap_err();
        assert!(missing.is_not_found());
        assert_eq!(missing.hint(), Some("it has a, b"));
        let elsewhere = check("a", "eastus", false).await.unwrap_err();
        assert!(elsewhere.to_string().contains("cannot join"), "{elsewhere}");
        let four = check("a", "westus2", true).await.unwrap_err();
        assert!(four.to_string().contains("IPv6"), "{four}");

        let id = format!("{NETWORK}/subnets/a").parse().unwrap();
        for (status, code, good) in [(403, "AuthorizationFailed", true), (404, "NotFound", false)] {
            let refusal = json!({ "error": { "code": code, "message": "no" } });
            let (client, _) = client(vec![Interaction::new("GET", &url, status, &[], refusal)]);
            let checked = check_subnet(&client, &id, &"westus2".parse().unwrap(), false).await;
            assert_eq!(checked.is_ok(), good, "{code}");
        }
    }
}
