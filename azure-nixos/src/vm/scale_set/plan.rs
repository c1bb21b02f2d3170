//! [`Plan`]: a scale set that can be made.

use super::super::identity;
use super::super::network::{NetworkOptions, SharedNetwork};
use super::super::owner::Owner;
use super::super::plan::{Plan as Machines, host_name};
use super::super::spec::{Shape, Spec};
use super::check;
use crate::arm::compute::{
    AddressConfiguration, AddressConfigurationProperties, InterfaceConfiguration,
    InterfaceConfigurationProperties, PublicIpConfiguration, PublicIpConfigurationProperties,
    ScaleSet, ScaleSetNetworkProfile, ScaleSetOsProfile, ScaleSetProfile, ScaleSetProperties,
    ScaleSetSku, SubResource,
};
use crate::arm::network::PublicIpSku;
use crate::arm::{Client, ResourceId};
use crate::{Error, ErrorKind, Result};

/// A scale set that can be made.
#[derive(Debug)]
pub(super) struct Plan {
    /// What its machines are like; it names none.
    pub(super) machines: Machines,
    pub(super) owner: Owner,
    pub(super) count: u32,
    network: NetworkOptions,
}

impl Plan {
    /// Everything that can be refused before anything exists.
    ///
    /// # Errors
    /// What no set can be made from, or like; what is there already.
    pub(super) async fn check(spec: Spec, client: &Client) -> Result<Self> {
        let Shape::ScaleSet(count) = spec.shape else {
            return Err(Error::new(
                ErrorKind::Internal,
                "machines are not planned as a scale set",
            ));
        };
        let mut ground = spec.ground(client).await?;
        let said = check::check_origin(&ground.origin, count, spec.provisioning.agent)?;
        ground.warnings.extend(said);
        let way_out = check::no_way_out(spec.network.public_ip);
        ground.warnings.extend(way_out);
        let owner = Owner::new(&spec.name);
        let shared = SharedNetwork::new(
            owner.clone(),
            ground.join.clone(),
            ground.allow.clone(),
            spec.network.ipv6,
        )
        .wide();
        check_absent(client, &spec.group, &spec.name, &shared).await?;
        let network = spec.network.clone();
        Ok(Self {
            machines: spec.plan(ground, shared, Vec::new())?,
            owner,
            count,
            network,
        })
    }

    /// The set as it is asked for.
    pub(super) fn describe(&self, client: &Client, keys: Vec<String>) -> ScaleSet {
        let machines = &self.machines;
        let spot = machines.machine.spot;
        let os_profile = machines
            .login
            .provisioned
            .as_ref()
            .map(|user| ScaleSetOsProfile {
                computer_name_prefix: host_name(&machines.name),
                admin_username: user.clone(),
                custom_data: machines.told.custom_data.clone(),
                linux_configuration: Some(machines.linux_configuration(user, keys)),
            });
        let profile = ScaleSetProfile {
            os_profile,
            storage_profile: machines.storage_profile(None),
            network_profile: ScaleSetNetworkProfile {
                network_interface_configurations: vec![self.interface(client)],
                ..ScaleSetNetworkProfile::default()
            },
            security_profile: machines.security_profile(),
            diagnostics_profile: machines.diagnostics_profile(),
            priority: spot.map(|_| "Spot".to_owned()),
            eviction_policy: spot.map(|spot| spot.eviction.as_str().to_owned()),
            billing_profile: machines.billing_profile(),
            user_data: machines.told.user_data.clone(),
        };
        ScaleSet {
            location: machines.place.location.to_string(),
            tags: machines.machine_tags(&self.owner),
            zones: machines.machine.zone.iter().cloned().collect(),
            identity: machines.identity.as_ref().map(identity::Plan::describe),
            sku: Some(ScaleSetSku {
                name: machines.chosen.size.clone(),
                capacity: self.count,
            }),
            properties: ScaleSetProperties {
                orchestration_mode: Some("Flexible".to_owned()),
                // Over as many as there are: only so may there be 1,000 machines of any size.
                platform_fault_domain_count: Some(1),
                single_placement_group: Some(false),
                virtual_machine_profile: Some(profile),
                ..ScaleSetProperties::default()
            },
            ..ScaleSet::default()
        }
    }

    /// The interface of each machine. The service puts something of its own behind the names.
    fn interface(&self, client: &Client) -> InterfaceConfiguration {
        let group = &self.machines.place.group;
        let (name, shared) = (&self.machines.name, &self.machines.network);
        let subnet = shared.subnet(client, group);
        let public = |name: String, version: &str| PublicIpConfiguration {
            name,
            sku: Some(PublicIpSku {
                name: "Standard".to_owned(),
            }),
            properties: PublicIpConfigurationProperties {
                version: Some(version.to_owned()),
                delete_option: Some("Delete".to_owned()),
            },
        };
        let address = |own: &str, version: &str, public_ip: String| AddressConfiguration {
            name: own.to_owned(),
            properties: AddressConfigurationProperties {
                subnet: Some(SubResource { id: subnet.clone() }),
                primary: Some(version == "IPv4"),
                version: Some(version.to_owned()),
                public_ip: self.network.public_ip.then(|| public(public_ip, version)),
            },
        };
        let mut addresses = vec![address("primary", "IPv4", format!("{name}-ip"))];
        if self.network.ipv6 {
            addresses.push(address("ipv6", "IPv6", format!("{name}-ip6")));
        }
        InterfaceConfiguration {
            name: format!("{name}-nic"),
            properties: InterfaceConfigurationProperties {
                primary: Some(true),
                // Left out, it is off; a size that cannot is then no matter.
                enable_accelerated_networking: self.network.accelerated.then_some(true),
                network_security_group: Some(SubResource {
                    id: shared.rules(client, group),
                }),
                ip_configurations: addresses,
                delete_option: Some("Delete".to_owned()),
            },
        }
    }

    /// The id that the set has.
    pub(super) fn id(&self, client: &Client) -> ResourceId {
        client.resource_id(
            &self.machines.place.group,
            crate::arm::compute::SCALE_SETS,
            &self.machines.name,
        )
    }
}

/// Fails when the name of the set or of what it needs is taken. A machine of its name is in the way,
/// too: what is made for the one would be taken for the other's.
async fn check_absent(
    client: &Client,
    group: &str,
    name: &str,
    shared: &SharedNetwork,
) -> Result<()> {
    let (set, machine, taken) = futures::try_join!(
        client.scale_set(group, name),
        client.virtual_machine(group, name),
        shared.taken(client, group),
    )?;
    let what = match (set, machine, taken.as_slice()) {
        (Some(_), _, _) => format!("a scale set {name}"),
        (None, Some(_), _) => format!("a machine {name}"),
        (None, None, []) => return Ok(()),
        (None, None, taken) => taken.join(", "),
    };
    Err(Error::new(
        ErrorKind::AlreadyExists,
        format!("there is {what} in {group} already"),
    )
    .with_hint("choose another name for the set, or delete what is left of the old one"))
}
