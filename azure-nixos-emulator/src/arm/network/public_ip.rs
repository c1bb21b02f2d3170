//! Public IP addresses. Nothing answers at them unless machines boot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::Context;
use super::super::answer::Result;
use super::super::disks::EXTENDED_LOCATION;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, same};
use super::super::shape::{REFERENCE, Shape, TAGS, TEXTS};
use super::super::vms;
use super::super::zones;
use super::ip_configurations;
use crate::state::{Power, State};

const PUBLIC_IP: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("zones", TEXTS),
    ("extendedLocation", EXTENDED_LOCATION),
    (
        "sku",
        Shape::Object(&[
            ("name", Shape::OneOf(&["Basic", "Standard", "StandardV2"])),
            ("tier", Shape::OneOf(&["Regional", "Global"])),
        ]),
    ),
    (
        "properties",
        Shape::Object(&[
            (
                "publicIPAllocationMethod",
                Shape::OneOf(&["Static", "Dynamic"]),
            ),
            ("publicIPAddressVersion", Shape::OneOf(&["IPv4", "IPv6"])),
            ("ipConfiguration", REFERENCE),
            (
                "dnsSettings",
                Shape::Object(&[
                    ("domainNameLabel", Shape::Text),
                    (
                        "domainNameLabelScope",
                        Shape::OneOf(&[
                            "TenantReuse",
                            "SubscriptionReuse",
                            "ResourceGroupReuse",
                            "NoReuse",
                        ]),
                    ),
                    ("fqdn", Shape::Text),
                    ("reverseFqdn", Shape::Text),
                ]),
            ),
            (
                "ddosSettings",
                Shape::Object(&[
                    (
                        "protectionMode",
                        Shape::OneOf(&["VirtualNetworkInherited", "Enabled", "Disabled"]),
                    ),
                    ("ddosProtectionPlan", REFERENCE),
                ]),
            ),
            (
                "ipTags",
                Shape::List(&Shape::Object(&[
                    ("ipTagType", Shape::Text),
                    ("tag", Shape::Text),
                ])),
            ),
            ("ipAddress", Shape::Text),
            ("publicIPPrefix", REFERENCE),
            ("idleTimeoutInMinutes", Shape::Number),
            ("resourceGuid", Shape::Text),
            ("provisioningState", Shape::Text),
            ("servicePublicIPAddress", REFERENCE),
            ("natGateway", REFERENCE),
            (
                "migrationPhase",
                Shape::OneOf(&["None", "Prepare", "Commit", "Abort", "Committed"]),
            ),
            ("linkedPublicIPAddress", REFERENCE),
            ("deleteOption", Shape::OneOf(&["Delete", "Detach"])),
        ]),
    ),
]);

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::PublicIp, name, &PUBLIC_IP)?;
    context.refuse_while_busy(&put.id.to_string(), Origin::Network)?;
    let mut body = put.body.clone();
    if body["properties"].is_null() {
        body["properties"] = json!({});
    }
    if body.get("sku").is_none() {
        // What the service takes when none is named.
        body["sku"] = json!({ "name": "Basic" });
    }
    if body["sku"].get("tier").is_none() {
        body["sku"]["tier"] = json!("Regional");
    }
    let is_standard = body["sku"]["name"] != "Basic";
    if !is_standard && body["sku"]["tier"] == "Global" {
        return Err(ArmError::network(
            400,
            "GlobalPublicIPAddressNotSupportedForBasicPublicIpAddress",
            format!(
                "Global publicIP addresses are only supported for standard SKU public IP addresses. Public IP address {} is not standard SKU.",
                put.id
            ),
        ));
    }
    if !is_standard && body.get("zones").is_some() {
        return Err(ArmError::network(
            400,
            "ZonesNotAllowedInBasicSkuResource",
            format!(
                "Zones not allowed in basic SKU resource {} in this region. Please use standard SKU.",
                put.id
            ),
        ));
    }
    let properties = &mut body["properties"];
    for field in ["ipAddress", "ipConfiguration"] {
        if let Some(properties) = properties.as_object_mut() {
            properties.remove(field);
        }
    }
    for (field, value) in [
        ("publicIPAddressVersion", json!("IPv4")),
        ("publicIPAllocationMethod", json!("Dynamic")),
        ("idleTimeoutInMinutes", json!(4)),
        ("ipTags", json!([])),
        (
            "ddosSettings",
            json!({ "protectionMode": "VirtualNetworkInherited" }),
        ),
    ] {
        if properties.get(field).is_none() {
            properties[field] = value;
        }
    }
    // For what a machine has, the documentation names the Standard SKU only; the code is a guess.
    if !is_standard && properties["publicIPAddressVersion"] == "IPv6" {
        return Err(ArmError::network(
            400,
            "BasicSkuPublicIPAddressDoesNotSupportIPv6",
            format!(
                "Public IP address {} is of version IPv6, which takes the Standard SKU.",
                put.id
            ),
        ));
    }
    if is_standard && properties["publicIPAllocationMethod"] != "Static" {
        return Err(ArmError::network(
            400,
            "StandardSkuPublicIPAddressMustBeStatic",
            format!(
                "Standard sku publicIp {} must have AllocationMethod set to Static.",
                put.id
            ),
        ));
    }
    if let Some(label) = properties["dnsSettings"]["domainNameLabel"].as_str() {
        let fqdn = format!(
            "{label}.{}.cloudapp.azure.com",
            put.body["location"].as_str().unwrap_or_default()
        );
        properties["dnsSettings"]["fqdn"] = json!(fqdn);
    }
    if put.existing.is_none() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (location, sku) = (text(&body["location"]), text(&body["sku"]["name"]));
        super::usages::require_address(context, &location, &sku)?;
    }
    if let Some(existing) = &put.existing {
        if existing.body["sku"] != body["sku"] {
            return Err(ArmError::network(
                400,
                "PublicIPAddressSkuCannotBeChanged",
                format!("The SKU of public IP address {} cannot be changed.", put.id),
            ));
        }
        let zones = |body: &Value| match zones::of(body).join(", ") {
            zones if zones.is_empty() => "NoZone".to_owned(),
            zones => zones,
        };
        let (is, was) = (zones(&body), zones(&existing.body));
        if is != was {
            return Err(ArmError::network(
                400,
                "ResourceAvailabilityZonesCannotBeModified",
                format!(
                    "Resource {} has an existing availability zone constraint {was} and the request has availability zone constraint {is}, which do not match. Zones cannot be added/updated/removed once the resource is created. The resource cannot be updated from regional to zonal or vice-versa.",
                    put.id
                ),
            ));
        }
        let version = |body: &Value| body["properties"]["publicIPAddressVersion"].clone();
        if version(&existing.body) != version(&body) {
            // The words are a guess.
            return Err(ArmError::network(
                400,
                "PublicIPAddressVersionCannotBeChanged",
                format!(
                    "The version of public IP address {} cannot be changed.",
                    put.id
                ),
            ));
        }
        // An address that was given out stays.
        if let Some(address) = existing.body["properties"].get("ipAddress") {
            body["properties"]["ipAddress"] = address.clone();
        }
    }
    super::store(context, &put, body, "Updating")
}

/// Gives a static address, at the end of the first PUT.
pub(crate) fn allocate(state: &mut State, id: &str) {
    let Some(properties) = state.resource(id).map(|ip| &ip.body["properties"]) else {
        return;
    };
    if properties["publicIPAllocationMethod"] != "Static" || properties["ipAddress"].is_string() {
        return;
    }
    let address = json!(address_of(state, properties).to_string());
    if let Some(resource) = state.resource_mut(id) {
        resource.body["properties"]["ipAddress"] = address;
    }
}

/// An address out of the GUID of the resource.
fn address_of(state: &State, properties: &Value) -> IpAddr {
    let guid = properties["resourceGuid"].as_str().unwrap_or_default();
    if properties["publicIPAddressVersion"] == "IPv6" {
        // Kept for documentation too (RFC 3849): of IPv6 a host has one address of its own only.
        let digest = Sha256::digest(guid.as_bytes());
        let group = |at: usize| u16::from_be_bytes([digest[at], digest[at + 1]]);
        return Ipv6Addr::new(0x2001, 0xdb8, group(0), group(2), 0, 0, 0, group(4)).into();
    }
    v4_address_of(state, guid).into()
}

/// Where machines are reached it is one of this host's, and nobody else's here: 127.32.0.1 to
/// 127.63.255.254. Else it is in a range kept for documentation (RFC 5737), so that a client which
/// does connect reaches nobody.
fn v4_address_of(state: &State, guid: &str) -> Ipv4Addr {
    let taken: Vec<&str> = state
        .resources
        .values()
        .filter_map(|resource| resource.body["properties"]["ipAddress"].as_str())
        .collect();
    let mut address = Ipv4Addr::UNSPECIFIED;
    // Of the first there are two million, of the others 762; the last attempt is as good as any.
    for attempt in 0..100_u32 {
        let mut digest = Sha256::new();
        digest.update(guid.as_bytes());
        digest.update(attempt.to_be_bytes());
        let digest = digest.finalize();
        address = if state.has_own_addresses {
            Ipv4Addr::new(127, 32 + digest[0] % 32, digest[1], 1 + digest[2] % 254)
        } else {
            let network = [[192, 0, 2], [198, 51, 100], [203, 0, 113]][usize::from(digest[0] % 3)];
            Ipv4Addr::new(network[0], network[1], network[2], 1 + digest[1] % 254)
        };
        if !taken.contains(&address.to_string().as_str()) {
            break;
        }
    }
    address
}

/// The address that a resource has while its machine is allocated.
pub(crate) fn address(state: &State, id: &str) -> Option<String> {
    let properties = &state.resource(id)?.body["properties"];
    match properties["ipAddress"].as_str() {
        Some(address) => Some(address.to_owned()),
        None => Some(address_of(state, properties).to_string()),
    }
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    super::delete(
        context,
        group,
        Kind::PublicIp,
        name,
        |context, ip| match user(context.state, &ip.id) {
            None => Ok(()),
            Some(user) => Err(ArmError::network(
                400,
                "PublicIPAddressCannotBeDeleted",
                format!(
                    "Public IP address {} can not be deleted since it is still allocated to resource {user}. In order to delete the public IP, disassociate/detach the Public IP address from the resource.  To learn how to do this, see aka.ms/deletepublicip.",
                    ip.id
                ),
            )),
        },
    )
}

/// The id of the IP configuration that has an address.
pub(crate) fn user<'a>(state: &'a State, id: &str) -> Option<&'a str> {
    ip_configurations(state)
        .find(|(_, ip)| same(ip["publicIPAddress"]["id"].as_str().unwrap_or_default(), id))
        .map(|(user, _)| user)
}

/// Adds whose it is, and a dynamic address while the machine is allocated.
pub(crate) fn show(state: &State, id: &str, body: &mut Value) {
    let Some(user) = user(state, id) else {
        return;
    };
    body["properties"]["ipConfiguration"] = json!({ "id": user });
    let is_allocated = user
        .split_once("/ipConfigurations/")
        .and_then(|(interface, _)| vms::power_of_user(state, interface))
        .is_some_and(|power| power != Power::Deallocated);
    if body["properties"]["publicIPAllocationMethod"] == "Dynamic" && is_allocated {
        body["properties"]["ipAddress"] = json!(address_of(state, &body["properties"]).to_string());
    }
}
