//! The address prefixes of virtual networks and of their subnets: what they may be, and which of them
//! interfaces get their addresses from.

use serde_json::Value;

use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::id::same;
use super::cidr::Cidr;

/// The prefixes of a subnet, in either of the two fields.
fn prefixes_of(subnet: &Value) -> Vec<&str> {
    let properties = &subnet["properties"];
    match properties["addressPrefix"].as_str() {
        Some(prefix) => vec![prefix],
        None => properties["addressPrefixes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect(),
    }
}

/// The IPv4 prefix that interfaces get their addresses from.
pub(crate) fn v4_prefix(subnet: &Value) -> Option<Cidr> {
    prefixes(subnet).find(|prefix| prefix.is_v4())
}

/// The same of IPv6, in a subnet that has both.
pub(super) fn v6_prefix(subnet: &Value) -> Option<Cidr> {
    prefixes(subnet).find(|prefix| !prefix.is_v4())
}

fn prefixes(subnet: &Value) -> impl Iterator<Item = Cidr> {
    prefixes_of(subnet)
        .into_iter()
        .filter_map(|prefix| Cidr::parse(prefix, "subnet").ok())
}

/// A network has IPv4 addresses, and IPv6 ones beside them if it likes: the documentation has no
/// network of IPv6 alone. The code is a guess.
pub(super) fn require_v4(id: &str, space: &[Cidr]) -> Result<()> {
    if space.iter().any(|prefix| prefix.is_v4()) {
        return Ok(());
    }
    Err(ArmError::network(
        400,
        "VnetAddressSpaceMustHaveIPv4Prefix",
        format!(
            "The address space of virtual network {id} has IPv6 prefixes only. It must have at least one IPv4 prefix."
        ),
    ))
}

/// What the documentation says of subnets with IPv6: exactly /64, beside an IPv4 prefix. The codes
/// are guesses.
fn check_v6(name: &str, prefixes: &[Cidr]) -> Result<()> {
    let refused = |code: &str, why: &str| {
        Err(ArmError::network(
            400,
            code,
            format!("Subnet '{name}' is not valid because {why}."),
        ))
    };
    let mut v6 = prefixes.iter().filter(|prefix| !prefix.is_v4());
    let Some(prefix) = v6.next() else {
        return Ok(());
    };
    if prefix.length() != 64 {
        return refused(
            "InvalidIPv6SubnetPrefixLength",
            &format!("its IPv6 prefix {prefix} is not of length 64"),
        );
    }
    if v6.next().is_some() {
        return refused(
            "SubnetHasMultipleIPv6Prefixes",
            "it has more than one IPv6 prefix",
        );
    }
    if prefixes.len() == 1 {
        return refused(
            "SubnetMustHaveIPv4Prefix",
            "it has an IPv6 prefix and no IPv4 prefix",
        );
    }
    Ok(())
}

/// Subnets are inside the network, apart from each other, and named once.
pub(super) fn check_subnets(network: &str, space: &[Cidr], subnets: &[Value]) -> Result<()> {
    let mut taken: Vec<(&str, Cidr)> = Vec::new();
    for (index, subnet) in subnets.iter().enumerate() {
        let name = subnet["name"].as_str().unwrap_or_default();
        let again = subnets[..index]
            .iter()
            .any(|other| same(other["name"].as_str().unwrap_or_default(), name));
        if again {
            return Err(ArmError::network(
                400,
                "InvalidRequestFormat",
                format!("The subnet name {name} is given twice."),
            ));
        }
        let prefixes = prefixes_of(subnet);
        if prefixes.is_empty() {
            return Err(ArmError::network(
                400,
                "InvalidAddressPrefixFormat",
                format!(
                    "Address prefix  of resource {} is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.",
                    subnet["id"].as_str().unwrap_or(name)
                ),
            ));
        }
        let prefixes: Vec<Cidr> = prefixes
            .into_iter()
            .map(|prefix| Cidr::parse(prefix, subnet["id"].as_str().unwrap_or(name)))
            .collect::<Result<_>>()?;
        check_v6(name, &prefixes)?;
        for prefix in prefixes {
            if !space.iter().any(|space| space.covers(prefix)) {
                return Err(ArmError::network(
                    400,
                    "NetcfgSubnetRangeOutsideVnet",
                    format!(
                        "Subnet '{name}' is not valid because its IP address range is outside the IP address range of virtual network '{network}'."
                    ),
                ));
            }
            if taken
                .iter()
                .any(|(other, range)| *other != name && range.overlaps(prefix))
            {
                return Err(ArmError::network(
                    400,
                    "NetcfgSubnetRangesOverlap",
                    format!(
                        "Subnet '{name}' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '{network}'."
                    ),
                ));
            }
            taken.push((name, prefix));
        }
    }
    Ok(())
}
