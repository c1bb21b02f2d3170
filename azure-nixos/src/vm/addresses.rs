//! The addresses of machines. They stand in what machines are connected to, not in the machines.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _};

use crate::arm::compute::Existing;
use crate::arm::{Client, Part, PartKind, ResourceId};
use crate::{ErrorKind, Result};

/// Requests at a time for what is not in a list.
pub(super) const AT_A_TIME: usize = 8;

/// The interfaces and the public addresses that are known.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    interfaces: HashMap<ResourceId, Part>,
    publics: HashMap<ResourceId, Part>,
}

impl Addresses {
    /// Those of one machine, by a request for each.
    pub(super) async fn of_one(client: &Client, machine: &Existing) -> Result<Self> {
        Self::default()
            .complete(client, std::slice::from_ref(machine))
            .await
    }

    /// Those of many machines, by two lists, and a request for each that is in another group.
    pub(super) async fn of_all(
        client: &Client,
        group: Option<&str>,
        machines: &[Existing],
    ) -> Result<Self> {
        if machines.is_empty() {
            return Ok(Self::default());
        }
        let (interfaces, publics) = futures::try_join!(
            listed(client, group, PartKind::Interface),
            listed(client, group, PartKind::PublicIp),
        )?;
        Self {
            interfaces,
            publics,
        }
        .complete(client, machines)
        .await
    }

    async fn complete(mut self, client: &Client, machines: &[Existing]) -> Result<Self> {
        let interfaces = machines.iter().flat_map(interfaces_of);
        let missing = interfaces.filter(|id| !self.interfaces.contains_key(*id));
        let missing: Vec<ResourceId> = missing.cloned().collect();
        let found = asked(client, missing, PartKind::Interface).await?;
        self.interfaces.extend(found);
        let publics = machines
            .iter()
            .flat_map(interfaces_of)
            .filter_map(|id| self.interfaces.get(id))
            .flat_map(publics_of);
        let missing: Vec<ResourceId> = publics
            .filter(|id| !self.publics.contains_key(id))
            .collect();
        let found = asked(client, missing, PartKind::PublicIp).await?;
        self.publics.extend(found);
        Ok(self)
    }

    /// The addresses inside of the network, that of the first interface first.
    pub(super) fn private(&self, machine: &Existing) -> Vec<String> {
        interfaces_of(machine)
            .filter_map(|id| self.interfaces.get(id))
            .flat_map(|interface| &interface.properties.ip_configurations)
            .filter_map(|ip| ip.properties.private_ip.clone())
            .collect()
    }

    /// The addresses that the world knows.
    pub(super) fn public(&self, machine: &Existing) -> Vec<String> {
        interfaces_of(machine)
            .filter_map(|id| self.interfaces.get(id))
            .flat_map(publics_of)
            .filter_map(|id| self.publics.get(&id)?.properties.ip_address.clone())
            .collect()
    }
}

fn interfaces_of(machine: &Existing) -> impl Iterator<Item = &ResourceId> {
    let interfaces = &machine.properties.network_profile.network_interfaces;
    interfaces.iter().map(|interface| &interface.id)
}

/// The public addresses of an interface.
pub(super) fn publics_of(interface: &Part) -> impl Iterator<Item = ResourceId> {
    let ips = interface.properties.ip_configurations.iter();
    ips.filter_map(|ip| ip.properties.public_ip.as_ref()?.id.parse().ok())
}

async fn listed(
    client: &Client,
    group: Option<&str>,
    kind: PartKind,
) -> Result<HashMap<ResourceId, Part>> {
    match client.parts(group, kind).await {
        Ok(parts) => Ok(parts
            .into_iter()
            .filter_map(|part| Some((part.id.clone()?, part)))
            .collect()),
        // A machine is worth showing without its address too.
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            tracing::info!("addresses are not shown: {error}");
            Ok(HashMap::new())
        }
        Err(error) => Err(error),
    }
}

async fn asked(
    client: &Client,
    ids: Vec<ResourceId>,
    kind: PartKind,
) -> Result<Vec<(ResourceId, Part)>> {
    let found: Vec<_> = futures::stream::iter(ids)
        .map(|id| async move {
            match client.part(&id, kind).await {
                Ok(part) => Ok(part.map(|part| (id, part))),
                Err(error) if error.kind() == ErrorKind::Forbidden => {
                    tracing::info!("an address is not shown: {error}");
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}
