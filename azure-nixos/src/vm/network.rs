//! The network of one machine: everything that it needs to be reached, named after it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::builder::{RUN_TAG, VM_TAG};
use crate::arm::network::{
    INTERFACES, Interface, NetworkProperties, NetworkResource, PUBLIC_IPS, PublicIp,
    SECURITY_GROUPS, SecurityGroup, SecurityRule, VIRTUAL_NETWORKS, VirtualNetwork,
};
use crate::arm::{Client, ResourceId};
use crate::group::Place;
use crate::handle::Work;
use crate::undo::{self, Undo};
use crate::{Error, ErrorKind, Result};

/// The subnet of a machine's own network.
const SUBNET: &str = "default";

/// Azure keeps an interface reserved for its machine for three minutes after that is gone.
const RESERVED: Duration = Duration::from_secs(240);

/// The names of a machine's network resources, and whose they are.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    machine: String,
    /// Names this attempt to make the machine. Azure takes a PUT on what exists as an update, so two
    /// attempts that begin at the same time can only tell by it who made what.
    run: String,
    network: String,
    security_group: String,
    public_ip: String,
    interface: String,
}

/// What was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) interface: ResourceId,
    /// A static address is known as soon as it is made.
    pub(crate) public_ip: Option<String>,
}

impl Network {
    pub(crate) fn named_after(machine: &str) -> Self {
        Self {
            machine: machine.to_owned(),
            run: Uuid::new_v4().to_string(),
            network: format!("{machine}-vnet"),
            security_group: format!("{machine}-nsg"),
            public_ip: format!("{machine}-ip"),
            interface: format!("{machine}-nic"),
        }
    }

    /// The names that a machine's name leads to are longer than it.
    pub(crate) fn check(&self) -> Result<()> {
        VirtualNetwork::NAMED.check(&self.network)?;
        SecurityGroup::NAMED.check(&self.security_group)?;
        PublicIp::NAMED.check(&self.public_ip)?;
        Interface::NAMED.check(&self.interface)
    }

    /// Fails when any of the names is taken: what another machine may use is not taken over.
    pub(crate) async fn check_absent(&self, client: &Client, group: &str) -> Result<()> {
        let (network, security_group, public_ip, interface) = tokio::try_join!(
            client.network_resource::<VirtualNetwork>(group, &self.network),
            client.network_resource::<SecurityGroup>(group, &self.security_group),
            client.network_resource::<PublicIp>(group, &self.public_ip),
            client.network_resource::<Interface>(group, &self.interface),
        )?;
        let taken: Vec<&str> = [
            network.is_some().then_some(self.network.as_str()),
            security_group
                .is_some()
                .then_some(self.security_group.as_str()),
            public_ip.is_some().then_some(self.public_ip.as_str()),
            interface.is_some().then_some(self.interface.as_str()),
        ]
        .into_iter()
        .flatten()
        .collect();
        if taken.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("there is {} in {group} already", taken.join(", ")),
        )
        .with_hint("choose another name for the machine, or delete what is left of the old one"))
    }

    /// Makes the three things that do not depend on each other at the same time, then the interface.
    pub(crate) async fn create(
        &self,
        client: &Client,
        place: &Place,
        allow_ssh_from: &str,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<Made> {
        let location = place.location.as_str();
        let network = self.tagged(NetworkResource::new(
            location,
            VirtualNetwork::with_subnet("10.0.0.0/16", SUBNET, "10.0.0.0/24"),
        ));
        let mut rules = SecurityGroup::default();
        rules.security_rules.push(SecurityRule::allow_tcp_in(
            "allow-ssh",
            1000,
            allow_ssh_from,
            22,
        ));
        let rules = self.tagged(NetworkResource::new(location, rules));
        let address = self.tagged(NetworkResource::standard_public_ip(location));

        // Nothing drops these futures on their way, so what they made is noted behind them.
        let (network, rules, address) = futures::join!(
            make(client, &place.group, &self.network, &network),
            make(client, &place.group, &self.security_group, &rules),
            make(client, &place.group, &self.public_ip, &address),
        );
        let network = network.noted(self, client, &place.group, &self.network, undo);
        let rules = rules.noted(self, client, &place.group, &self.security_group, undo);
        let address = address.noted(self, client, &place.group, &self.public_ip, undo);
        network?;
        rules?;
        let public_ip = address?.properties.ip_address;
        work.check()?;

        let id = |kind, name: &str| client.resource_id(&place.group, kind, name);
        let subnet = id(VIRTUAL_NETWORKS, &self.network).child("subnets", SUBNET);
        let interface = self.tagged(NetworkResource::new(
            location,
            Interface::with_address(
                subnet,
                Some(id(PUBLIC_IPS, &self.public_ip)),
                Some(id(SECURITY_GROUPS, &self.security_group)),
            ),
        ));
        make(client, &place.group, &self.interface, &interface)
            .await
            .noted(self, client, &place.group, &self.interface, undo)?;
        work.check()?;
        Ok(Made {
            interface: id(INTERFACES, &self.interface),
            public_ip,
        })
    }

    /// Fails when another attempt to make a machine of this name has written over what this one made.
    pub(crate) async fn still_ours(&self, client: &Client, group: &str) -> Result<()> {
        let (network, security_group, public_ip, interface) = tokio::try_join!(
            client.network_resource::<VirtualNetwork>(group, &self.network),
            client.network_resource::<SecurityGroup>(group, &self.security_group),
            client.network_resource::<PublicIp>(group, &self.public_ip),
            client.network_resource::<Interface>(group, &self.interface),
        )?;
        let tags = [
            (
                VirtualNetwork::WHAT,
                &self.network,
                network.map(|it| it.tags),
            ),
            (
                SecurityGroup::WHAT,
                &self.security_group,
                security_group.map(|it| it.tags),
            ),
            (PublicIp::WHAT, &self.public_ip, public_ip.map(|it| it.tags)),
            (
                Interface::WHAT,
                &self.interface,
                interface.map(|it| it.tags),
            ),
        ];
        for (what, name, tags) in tags {
            self.check_ours(&tags.unwrap_or_default(), what, name)?;
        }
        Ok(())
    }

    /// Fails when a resource is not tagged with this attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`].
    pub(crate) fn check_ours(
        &self,
        tags: &BTreeMap<String, String>,
        what: &str,
        name: &str,
    ) -> Result<()> {
        if tags.get(RUN_TAG).is_some_and(|run| *run == self.run) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the {what} {name} belongs to another machine of this name that is being made at the same time"),
        )
        .with_hint("choose another name, or wait for the other one"))
    }

    /// The tags of everything that is made for the machine.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (VM_TAG.to_owned(), self.machine.clone()),
            (RUN_TAG.to_owned(), self.run.clone()),
        ])
    }

    fn tagged<P>(&self, mut resource: NetworkResource<P>) -> NetworkResource<P> {
        resource.tags = self.tags();
        resource
    }

    fn note<P: NetworkProperties>(
        &self,
        client: &Client,
        group: &str,
        name: &str,
        undo: &mut Undo,
    ) {
        let (network, client) = (self.clone(), client.clone());
        let (group, name) = (group.to_owned(), name.to_owned());
        undo.push(format!("the {} {name}", P::WHAT), move || async move {
            discard::<P>(&network, &client, &group, &name).await
        });
    }

    /// The public address, once there is one.
    pub(crate) async fn public_ip(&self, client: &Client, group: &str) -> Result<Option<String>> {
        let found = client
            .network_resource::<PublicIp>(group, &self.public_ip)
            .await?;
        Ok(found.and_then(|found| found.properties.ip_address))
    }
}

/// What became of a request to make something.
struct Attempt<P> {
    /// Whether there may be something now.
    may_exist: bool,
    result: Result<NetworkResource<P>>,
}

impl<P: NetworkProperties> Attempt<P> {
    /// Notes how to take it away, unless there is nothing.
    fn noted(
        self,
        of: &Network,
        client: &Client,
        group: &str,
        name: &str,
        undo: &mut Undo,
    ) -> Result<NetworkResource<P>> {
        if self.may_exist {
            of.note::<P>(client, group, name, undo);
        }
        self.result
    }
}

async fn make<P: NetworkProperties>(
    client: &Client,
    group: &str,
    name: &str,
    resource: &NetworkResource<P>,
) -> Attempt<P> {
    match client.create_network_resource(group, name, resource).await {
        Ok(creating) => Attempt {
            may_exist: true,
            result: creating.wait().await,
        },
        Err(error) => Attempt {
            may_exist: !undo::made_nothing(&error),
            result: Err(error),
        },
    }
}

/// Deletes a resource unless another attempt has made it its own.
async fn discard<P: NetworkProperties>(
    network: &Network,
    client: &Client,
    group: &str,
    name: &str,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let Some(found) = client.network_resource::<P>(group, name).await? else {
            return Ok(());
        };
        network.check_ours(&found.tags, P::WHAT, name)?;
        let deleted = async {
            client
                .delete_network_resource::<P>(group, name)
                .await?
                .wait()
                .await
        };
        match deleted.await {
            // Our own machine is gone by now; one that is there is somebody else's and stays.
            Err(error)
                if is_in_use(&error)
                    && started.elapsed() < RESERVED
                    && client
                        .virtual_machine(group, &network.machine)
                        .await?
                        .is_none() =>
            {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            other => return other,
        }
    }
}

/// What is in use may be so for a moment only: its user has just been deleted.
fn is_in_use(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        code == "NicReservedForAnotherVm"
            || code.contains("InUse")
            || code.contains("CannotBeDeleted")
    })
}

/// Checks who is to be let in.
pub(crate) fn check_source(source: &str) -> Result<()> {
    let good = match source.split_once('/') {
        _ if source == "*" => true,
        None => source.parse::<IpAddr>().is_ok(),
        Some((address, bits)) => match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
            (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
            (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
            _ => false,
        },
    };
    if good {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("{source:?} is not an address or a range to let SSH in from"),
    )
    .with_hint("pass an address, a range such as 203.0.113.0/24, or * for everybody"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_addresses_ranges_or_everybody() {
        for good in ["*", "203.0.113.7", "203.0.113.0/24", "2001:db8::/32"] {
            check_source(good).unwrap();
        }
        for bad in [
            "",
            "me",
            "203.0.113.0/33",
            "203.0.113.0/x",
            "10.0.0.0/-1",
            "a/8",
        ] {
            assert!(check_source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_grows_too_long_is_refused() {
        Network::named_after("web").check().unwrap();
        assert!(Network::named_after(&"x".repeat(62)).check().is_err());
    }
}
