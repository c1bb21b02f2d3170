//! How many network resources there are in a location, and how many there may be.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::error::ArmError;
use super::super::id::{Kind, ResourceId};
use super::super::skus::require_location;
use crate::state::Resource;

/// What is counted: its name in the list, the name for people, the type, the SKU if only one counts.
const COUNTED: [(&str, &str, Kind, Option<&str>); 5] = [
    ("VirtualNetworks", "Virtual Networks", Kind::Vnet, None),
    (
        "NetworkSecurityGroups",
        "Network Security Groups",
        Kind::Nsg,
        None,
    ),
    (
        "PublicIPAddresses",
        "Public IP Addresses",
        Kind::PublicIp,
        None,
    ),
    (
        "StandardSkuPublicIpAddresses",
        "Public IP Addresses - Standard",
        Kind::PublicIp,
        Some("Standard"),
    ),
    ("NetworkInterfaces", "Network Interfaces", Kind::Nic, None),
];

/// The limit of each, unless a quota says otherwise.
const LIMIT: u64 = 1000;

fn used(context: &Context<'_>, location: &str, kind: Kind, sku: Option<&str>) -> usize {
    let counts = |resource: &&Resource| {
        resource.body["location"] == location
            && ResourceId::parse(&resource.id).is_some_and(|id| id.kind == kind)
            && sku.is_none_or(|sku| resource.body["sku"]["name"] == sku)
    };
    context.state.resources.values().filter(counts).count()
}

/// `GET …/Microsoft.Network/locations/{location}/usages`
pub(crate) fn usages(context: &Context<'_>, location: &str) -> Result {
    let location = require_location(location)?;
    let offer = &context.arm.settings().offer;
    let subscription = context.state.identity.subscription_id;
    let all: Vec<Value> = COUNTED
        .iter()
        .map(|(name, display, kind, sku)| {
            json!({
                "id": format!(
                    "/subscriptions/{subscription}/providers/Microsoft.Network/locations/{location}/usages/{name}"
                ),
                "unit": "Count",
                "currentValue": used(context, location, *kind, *sku),
                "limit": offer.limit(name, LIMIT),
                "name": { "value": name, "localizedValue": display },
            })
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": all })))
}

/// Refuses one public address too many.
pub(super) fn require_address(context: &Context<'_>, location: &str, sku: &str) -> Result<()> {
    for (name, _, kind, of) in COUNTED {
        if kind != Kind::PublicIp || of.is_some_and(|of| of != sku) {
            continue;
        }
        let limit = context.arm.settings().offer.limit(name, LIMIT);
        if used(context, location, kind, of) as u64 >= limit {
            return Err(ArmError::network(
                400,
                "PublicIPCountLimitReached",
                format!(
                    "Cannot create more than {limit} public IP addresses for this subscription in this region."
                ),
            ));
        }
    }
    Ok(())
}
