//! Network interfaces.

use std::net::IpAddr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::Context;
use super::super::answer::Result;
use super::super::disks::EXTENDED_LOCATION;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::names;
use super::super::shape::{REFERENCE, REFERENCES, Shape, TAGS, TEXTS};
use super::super::vms;
use super::super::zones;
use super::{ip_configurations, prefixes, public_ip, referenced, referenced_subnet};
use crate::assumption::Assumption;
use crate::state::{Reservation, State};

const IP_CONFIGURATION: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    (
        "properties",
        Shape::Object(&[
            ("gatewayLoadBalancer", REFERENCE),
            ("virtualNetworkTaps", REFERENCES),
            ("applicationGatewayBackendAddressPools", REFERENCES),
            ("loadBalancerBackendAddressPools", REFERENCES),
            ("loadBalancerInboundNatRules", REFERENCES),
            ("privateIPAddress", Shape::Text),
            ("privateIPAddressPrefixLength", Shape::Number),
            (
                "privateIPAllocationMethod",
                Shape::OneOf(&["Static", "Dynamic"]),
            ),
            ("privateIPAddressVersion", Shape::OneOf(&["IPv4", "IPv6"])),
            ("subnet", REFERENCE),
            ("primary", Shape::Flag),
            ("publicIPAddress", REFERENCE),
            ("applicationSecurityGroups", REFERENCES),
            ("provisioningState", Shape::Text),
            ("privateLinkConnectionProperties", Shape::Any),
        ]),
    ),
]);

const NIC: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("kind", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("extendedLocation", EXTENDED_LOCATION),
    (
        "properties",
        Shape::Object(&[
            ("virtualMachine", REFERENCE),
            ("networkSecurityGroup", REFERENCE),
            ("privateEndpoint", REFERENCE),
            ("ipConfigurations", Shape::List(&IP_CONFIGURATION)),
            ("tapConfigurations", REFERENCES),
            (
                "dnsSettings",
                Shape::Object(&[
                    ("dnsServers", TEXTS),
                    ("appliedDnsServers", TEXTS),
                    ("internalDnsNameLabel", Shape::Text),
                    ("internalFqdn", Shape::Text),
                    ("internalDomainNameSuffix", Shape::Text),
                ]),
            ),
            ("macAddress", Shape::Text),
            ("primary", Shape::Flag),
            ("vnetEncryptionSupported", Shape::Flag),
            ("enableAcceleratedNetworking", Shape::Flag),
            ("disableTcpStateTracking", Shape::Flag),
            ("enableIPForwarding", Shape::Flag),
            ("hostedWorkloads", TEXTS),
            ("dscpConfiguration", REFERENCE),
            ("resourceGuid", Shape::Text),
            ("provisioningState", Shape::Text),
            ("workloadType", Shape::Text),
            ("nicType", Shape::OneOf(&["Standard", "Elastic"])),
            ("allowPort25Out", Shape::Flag),
            ("privateLinkService", REFERENCE),
            (
                "migrationPhase",
                Shape::OneOf(&["None", "Prepare", "Commit", "Abort", "Committed"]),
            ),
            (
                "auxiliaryMode",
                Shape::OneOf(&[
                    "None",
                    "MaxConnections",
                    "Floating",
                    "AcceleratedConnections",
                ]),
            ),
            (
                "auxiliarySku",
                Shape::OneOf(&["None", "A1", "A2", "A4", "A8"]),
            ),
        ]),
    ),
]);

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Nic, name, &NIC)?;
    context.refuse_while_busy(&put.id.to_string(), Origin::Network)?;
    let mut body = put.body.clone();
    let location = body["location"].clone();
    let mut configurations = match body["properties"]["ipConfigurations"].take() {
        Value::Array(configurations) if !configurations.is_empty() => configurations,
        _ => {
            return Err(ArmError::network(
                400,
                "NetworkInterfaceMustHaveAtLeastOneIpConfiguration",
                format!(
                    "Network interface {} must have one or more IP configurations.",
                    put.id
                ),
            ));
        }
    };
    if let Some(nsg) = body["properties"]["networkSecurityGroup"]["id"].as_str() {
        let nsg = referenced(context, nsg, Kind::Nsg, &put.id, &location)?
            .id
            .clone();
        body["properties"]["networkSecurityGroup"] = json!({ "id": nsg });
    }
    let before = put
        .existing
        .as_ref()
        .map(|existing| existing.body["properties"]["ipConfigurations"].clone());
    let several = configurations.len() > 1;
    let mut given = Vec::new();
    for configuration in &mut configurations {
        let old = before.as_ref().and_then(Value::as_array).and_then(|old| {
            old.iter().find(|old| {
                same(
                    old["name"].as_str().unwrap_or_default(),
                    configuration["name"].as_str().unwrap_or_default(),
                )
            })
        });
        finish_configuration(context, &put.id, &location, configuration, old, &mut given)?;
    }
    let primaries = configurations
        .iter()
        .filter(|configuration| configuration["properties"]["primary"] == true)
        .count();
    refuse_v6_first(&put.id, &configurations)?;
    match primaries {
        0 if !several => configurations[0]["properties"]["primary"] = json!(true),
        1 => {}
        _ => {
            return Err(ArmError::network(
                400,
                "NicMustHaveExactlyOnePrimaryIpConfiguration",
                format!(
                    "Network interface {} must have exactly one primary IP configuration.",
                    put.id
                ),
            ));
        }
    }
    for configuration in &mut configurations {
        if configuration["properties"].get("primary").is_none() {
            configuration["properties"]["primary"] = json!(false);
        }
    }
    body["properties"]["ipConfigurations"] = json!(configurations);
    if let Some(machine) = vms::user(context.state, &put.id.to_string()) {
        check_zones(context, &body, &machine.body)?;
        if let Some(size) = vms::size_of(machine) {
            vms::check_acceleration(size, &machine.id, std::iter::once(&body))?;
        }
    }
    finish(&mut body["properties"]);
    body["kind"] = json!("Regular");
    super::store(context, &put, body, "Succeeded")
}

/// What the documentation says of IPv6: beside an IPv4 configuration, which is the primary one. The
/// codes are guesses.
fn refuse_v6_first(nic: &ResourceId, configurations: &[Value]) -> Result<()> {
    let is_v6 = |one: &Value| one["properties"]["privateIPAddressVersion"] == "IPv6";
    if configurations.iter().all(is_v6) {
        return Err(ArmError::network(
            400,
            "NicMustHaveIPv4IpConfiguration",
            format!("Network interface {nic} must have at least one IPv4 IP configuration."),
        ));
    }
    let first = configurations
        .iter()
        .find(|one| is_v6(one) && one["properties"]["primary"] == true);
    match first {
        None => Ok(()),
        Some(first) => Err(ArmError::network(
            400,
            "IPv6IpConfigurationCannotBePrimary",
            format!(
                "IP configuration {} cannot be the primary one of network interface {nic}: it is of version IPv6.",
                first["id"].as_str().unwrap_or_default()
            ),
        )),
    }
}

/// Checks one IP configuration, gives it an address and the ids of what it refers to.
fn finish_configuration(
    context: &Context<'_>,
    nic: &ResourceId,
    location: &Value,
    configuration: &mut Value,
    old: Option<&Value>,
    given: &mut Vec<IpAddr>,
) -> Result<()> {
    let name = configuration["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    names::check_part("IP configuration", &name)?;
    let id = format!("{nic}/ipConfigurations/{name}");
    let properties = &mut configuration["properties"];
    let is_v6 = properties["privateIPAddressVersion"] == "IPv6";
    match properties["subnet"]["id"].as_str() {
        Some(subnet) => {
            let subnet = referenced_subnet(context, subnet, nic, location)?;
            let subnet_id = subnet["id"].clone();
            let address = address(context, properties, subnet, &id, old, given)?;
            given.push(address);
            properties["subnet"] = json!({ "id": subnet_id });
            properties["privateIPAddress"] = json!(address.to_string());
        }
        // As recorded: for a load balancer alone, without an address.
        None if is_v6 => {}
        None => {
            return Err(ArmError::network(
                400,
                "IpConfigurationMustHaveSubnet",
                format!("Subnet reference is required for the IP configuration {id}."),
            ));
        }
    }
    if let Some(public) = properties["publicIPAddress"]["id"].as_str() {
        let public = referenced(context, public, Kind::PublicIp, nic, location)?;
        if let Some(user) = public_ip::user(context.state, &public.id)
            && !same(user, &id)
        {
            return Err(ArmError::network(
                400,
                "PublicIPAddressInUse",
                format!(
                    "Resource {id} is referencing public IP address {} that is already allocated to resource {user}.",
                    public.id
                ),
            ));
        }
        let version = public.body["properties"]["publicIPAddressVersion"]
            .as_str()
            .unwrap_or("IPv4");
        let own = if is_v6 { "IPv6" } else { "IPv4" };
        if version != own {
            return Err(ArmError::network(
                400,
                "IPVersionForPublicIpAndNicIpConfigurationMustMatch",
                format!(
                    "IP version for publicIPAddress '{}', version '{version}' and network interface ipConfiguration '{id}', version '{own}' must match.",
                    public.id
                ),
            ));
        }
        properties["publicIPAddress"] = json!({ "id": public.id });
    }
    for (field, value) in [
        ("privateIPAllocationMethod", "Dynamic"),
        ("privateIPAddressVersion", "IPv4"),
    ] {
        if properties.get(field).is_none() {
            properties[field] = json!(value);
        }
    }
    configuration["id"] = json!(id);
    configuration["type"] = json!("Microsoft.Network/networkInterfaces/ipConfigurations");
    Ok(())
}

/// The private address: the one asked for, the one it has, or the lowest that is free.
fn address(
    context: &Context<'_>,
    properties: &Value,
    subnet: &Value,
    id: &str,
    old: Option<&Value>,
    given: &[IpAddr],
) -> Result<IpAddr> {
    let is_v6 = properties["privateIPAddressVersion"] == "IPv6";
    let (prefix, family) = if is_v6 {
        (prefixes::v6_prefix(subnet), "IPv6")
    } else {
        (prefixes::v4_prefix(subnet), "IPv4")
    };
    // That it is refused follows from there being no address to give; the code is a guess.
    let prefix = prefix.ok_or_else(|| {
        ArmError::network(
            400,
            "SubnetDoesNotHavePrefixOfIPVersion",
            format!(
                "IP configuration {id} is of version {family}, and subnet {} has no {family} address prefix.",
                subnet["id"].as_str().unwrap_or_default()
            ),
        )
    })?;
    // Addresses are one space per network: subnets do not overlap in it.
    let network = |subnet: &Value| {
        subnet["id"]
            .as_str()
            .and_then(super::split_subnet)
            .map(|(network, _)| network.to_ascii_lowercase())
    };
    let here = network(subnet);
    let taken: Vec<IpAddr> = ip_configurations(context.state)
        .filter(|(other, ip)| !same(other, id) && network(&ip["subnet"]) == here)
        .filter_map(|(_, ip)| ip["privateIPAddress"].as_str()?.parse().ok())
        .chain(given.iter().copied())
        .collect();
    if properties["privateIPAllocationMethod"] == "Static" {
        let wanted = properties["privateIPAddress"].as_str().unwrap_or_default();
        let refused = |code: &str, why: &str| {
            ArmError::network(
                400,
                code,
                format!("Private IP address {wanted} of {id} {why}."),
            )
        };
        let address: IpAddr = wanted
            .parse()
            .ok()
            .filter(|address: &IpAddr| address.is_ipv6() == is_v6)
            .ok_or_else(|| refused("InvalidIPAddressFormat", &format!("is no {family} address")))?;
        return if !prefix.contains(address) {
            Err(refused(
                "PrivateIPAddressNotInSubnet",
                "does not belong to the range of its subnet",
            ))
        } else if !prefix.is_usable(address) {
            Err(refused(
                "PrivateIPAddressInReservedRange",
                "is in the range that is reserved by Azure",
            ))
        } else if taken.contains(&address) {
            Err(refused(
                "PrivateIPAddressIsAllocated",
                "is already allocated",
            ))
        } else {
            Ok(address)
        };
    }
    let kept = old
        .and_then(|old| old["properties"]["privateIPAddress"].as_str()?.parse().ok())
        .filter(|address| prefix.contains(*address) && !taken.contains(address));
    kept.or_else(|| prefix.usable().find(|address| !taken.contains(address)))
        .ok_or_else(|| {
            ArmError::network(
                400,
                "SubnetIsFull",
                format!(
                    "Subnet {} with address prefix {prefix} does not have enough capacity for 1 IP addresses.",
                    subnet["name"].as_str().unwrap_or_default()
                ),
            )
        })
}

/// Refuses public addresses that are not where the machine is.
pub(crate) fn check_zones(context: &Context<'_>, nic: &Value, machine: &Value) -> Result<()> {
    let regional_fits = context.assumes(Assumption::RegionalAddressFitsZone);
    nic["properties"]["ipConfigurations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|ip| ip["properties"]["publicIPAddress"]["id"].as_str())
        .filter_map(|id| context.state.resource(id))
        .try_for_each(|address| {
            let id = machine["id"].as_str().unwrap_or_default();
            zones::check_address(address, id, machine, regional_fits)
        })
}

/// What the service adds.
fn finish(properties: &mut Value) {
    let suffix = name_suffix(properties);
    if let Some(properties) = properties.as_object_mut() {
        for field in ["virtualMachine", "macAddress", "primary"] {
            properties.remove(field);
        }
    }
    for (field, value) in [
        ("dnsSettings", json!({})),
        ("enableAcceleratedNetworking", json!(false)),
        ("vnetEncryptionSupported", json!(false)),
        ("enableIPForwarding", json!(false)),
        ("disableTcpStateTracking", json!(false)),
        ("hostedWorkloads", json!([])),
        ("tapConfigurations", json!([])),
        ("allowPort25Out", json!(true)),
        ("nicType", json!("Standard")),
        ("auxiliaryMode", json!("None")),
        ("auxiliarySku", json!("None")),
    ] {
        if properties.get(field).is_none() {
            properties[field] = value;
        }
    }
    for (field, value) in [
        ("dnsServers", json!([])),
        ("appliedDnsServers", json!([])),
        ("internalDomainNameSuffix", json!(suffix)),
    ] {
        if properties["dnsSettings"].get(field).is_none() {
            properties["dnsSettings"][field] = value;
        }
    }
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    super::delete(context, group, Kind::Nic, name, |context, nic| {
        refuse_used(context.state, &nic.id)?;
        refuse_reserved(context, &nic.id, None)
    })
}

/// Keeps an interface for the machine that was deleted, for as long as it is kept here.
pub(crate) fn reserve(context: &mut Context<'_>, id: &str, machine: &str) {
    let span = context.arm.settings().nic_reservation;
    let now = context.now;
    let reserved = &mut context.state.reserved_interfaces;
    reserved.retain(|_, reservation| reservation.until > now);
    if !span.is_zero() {
        let reservation = Reservation {
            machine: machine.to_owned(),
            until: now + span,
        };
        reserved.insert(id.to_ascii_lowercase(), reservation);
    }
}

/// Refuses an interface that is kept for another machine than this one.
pub(crate) fn refuse_reserved(
    context: &Context<'_>,
    id: &str,
    machine: Option<&str>,
) -> Result<()> {
    let reserved = &context.state.reserved_interfaces;
    match reserved.get(&id.to_ascii_lowercase()) {
        Some(reservation)
            if reservation.until > context.now
                && !machine.is_some_and(|machine| same(machine, &reservation.machine)) =>
        {
            let seconds = context.arm.settings().nic_reservation.as_secs();
            Err(ArmError::network(
                400,
                "NicReservedForAnotherVm",
                format!(
                    "Network Interface {id} is reserved for virtual machine {} for {seconds} seconds. Use another one, or try again after {seconds} seconds.",
                    reservation.machine
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses an interface that a virtual machine has.
pub(crate) fn refuse_used(state: &State, id: &str) -> Result<()> {
    match vms::user(state, id) {
        None => Ok(()),
        Some(machine) => Err(ArmError::network(
            400,
            "NicInUse",
            format!(
                "Network Interface {id} is used by existing resource {}. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.",
                machine.id
            ),
        )),
    }
}

/// Adds the machine, and the hardware address that an interface has with one.
pub(crate) fn show(state: &State, id: &str, body: &mut Value) {
    let Some(machine) = vms::user(state, id) else {
        return;
    };
    body["properties"]["virtualMachine"] = json!({ "id": machine.id });
    body["properties"]["primary"] = json!(vms::is_primary(machine, id));
    body["properties"]["macAddress"] = json!(mac_address(&body["properties"]));
}

/// The domain of the names that machines of one network have for each other: 26 letters and digits, the
/// same for all interfaces in it.
fn name_suffix(properties: &Value) -> String {
    let subnet = properties["ipConfigurations"][0]["properties"]["subnet"]["id"]
        .as_str()
        .unwrap_or_default();
    let network = super::split_subnet(subnet).map_or(subnet, |(network, _)| network);
    let label: String = Sha256::digest(network.to_ascii_lowercase().as_bytes())
        .iter()
        .take(26)
        .map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz012345"[usize::from(byte % 32)]))
        .collect();
    format!("{label}.bx.internal.cloudapp.net")
}

/// A hardware address of Microsoft's (00-0D-3A), out of the GUID of the interface.
pub(crate) fn mac_address(properties: &Value) -> String {
    let guid = properties["resourceGuid"].as_str().unwrap_or_default();
    let digest = Sha256::digest(guid.as_bytes());
    format!(
        "00-0D-3A-{:02X}-{:02X}-{:02X}",
        digest[0], digest[1], digest[2]
    )
}
