//! Virtual networks and their subnets.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::disks::{EXTENDED_LOCATION, gone};
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::lro::{Dialect, Work};
use super::super::names;
use super::super::resources::Put;
use super::super::route::nothing_there;
use super::super::shape::{REFERENCE, REFERENCES, Shape, TAGS, TEXTS};
use super::cidr::Cidr;
use super::prefixes::{check_subnets, require_v4};
use super::{ip_configurations, referenced};
use crate::state::{Resource, State};

const ADDRESS_SPACE: Shape = Shape::Object(&[
    ("addressPrefixes", TEXTS),
    ("ipamPoolPrefixAllocations", Shape::Any),
]);

const SUBNET_PROPERTIES: Shape = Shape::Object(&[
    ("addressPrefix", Shape::Text),
    ("addressPrefixes", TEXTS),
    ("networkSecurityGroup", REFERENCE),
    ("routeTable", REFERENCE),
    ("natGateway", REFERENCE),
    (
        "serviceEndpoints",
        Shape::List(&Shape::Object(&[
            ("service", Shape::Text),
            ("networkIdentifier", REFERENCE),
            ("locations", TEXTS),
            ("provisioningState", Shape::Text),
        ])),
    ),
    ("serviceEndpointPolicies", REFERENCES),
    ("privateEndpoints", REFERENCES),
    ("ipConfigurations", REFERENCES),
    ("ipConfigurationProfiles", REFERENCES),
    ("ipAllocations", REFERENCES),
    ("resourceNavigationLinks", REFERENCES),
    ("serviceAssociationLinks", REFERENCES),
    (
        "delegations",
        Shape::List(&Shape::Object(&[
            ("id", Shape::Text),
            ("name", Shape::Text),
            ("etag", Shape::Text),
            ("type", Shape::Text),
            (
                "properties",
                Shape::Object(&[
                    ("serviceName", Shape::Text),
                    ("actions", TEXTS),
                    ("provisioningState", Shape::Text),
                ]),
            ),
        ])),
    ),
    ("purpose", Shape::Text),
    ("provisioningState", Shape::Text),
    (
        "privateEndpointNetworkPolicies",
        Shape::OneOf(&[
            "Enabled",
            "Disabled",
            "NetworkSecurityGroupEnabled",
            "RouteTableEnabled",
        ]),
    ),
    (
        "privateLinkServiceNetworkPolicies",
        Shape::OneOf(&["Enabled", "Disabled"]),
    ),
    ("applicationGatewayIPConfigurations", REFERENCES),
    (
        "sharingScope",
        Shape::OneOf(&["Tenant", "DelegatedServices"]),
    ),
    ("defaultOutboundAccess", Shape::Flag),
    ("ipamPoolPrefixAllocations", Shape::Any),
    ("serviceGateway", REFERENCE),
]);

const SUBNET: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("properties", SUBNET_PROPERTIES),
]);

const VNET: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("extendedLocation", EXTENDED_LOCATION),
    (
        "properties",
        Shape::Object(&[
            ("addressSpace", ADDRESS_SPACE),
            ("dhcpOptions", Shape::Object(&[("dnsServers", TEXTS)])),
            ("flowTimeoutInMinutes", Shape::Number),
            ("subnets", Shape::List(&SUBNET)),
            // Peerings are another resource type, which is not here; what is read can be sent.
            ("virtualNetworkPeerings", REFERENCES),
            ("resourceGuid", Shape::Text),
            ("provisioningState", Shape::Text),
            ("enableDdosProtection", Shape::Flag),
            ("enableVmProtection", Shape::Flag),
            ("ddosProtectionPlan", REFERENCE),
            (
                "bgpCommunities",
                Shape::Object(&[
                    ("virtualNetworkCommunity!", Shape::Text),
                    ("regionalCommunity", Shape::Text),
                ]),
            ),
            (
                "encryption",
                Shape::Object(&[
                    ("enabled", Shape::Flag),
                    (
                        "enforcement",
                        Shape::OneOf(&["DropUnencrypted", "AllowUnencrypted"]),
                    ),
                ]),
            ),
            ("ipAllocations", REFERENCES),
            ("flowLogs", REFERENCES),
            (
                "privateEndpointVNetPolicies",
                Shape::OneOf(&["Disabled", "Basic"]),
            ),
            ("defaultPublicNatGateway", REFERENCE),
        ]),
    ),
]);

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Vnet, name, &VNET)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Network)?;
    let mut body = put.body.clone();
    let prefixes = body["properties"]["addressSpace"]["addressPrefixes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if prefixes.is_empty() {
        return Err(ArmError::network(
            400,
            "InvalidRequestFormat",
            format!(
                "Virtual network {id} has no address space: properties.addressSpace.addressPrefixes is required."
            ),
        ));
    }
    let space: Vec<Cidr> = prefixes
        .iter()
        .map(|prefix| Cidr::parse(prefix.as_str().unwrap_or_default(), &id))
        .collect::<Result<_>>()?;
    require_v4(&id, &space)?;
    let encryption = &body["properties"]["encryption"];
    if encryption.is_object()
        && (encryption["enabled"].is_null() || encryption["enforcement"].is_null())
    {
        return Err(ArmError::network(
            400,
            "MustSpecifyBothEncryptionIntentAndEnforcementPolicy",
            format!(
                "Cannot encrypt VirtualNetwork {id} unless both encryption intent (Enabled true or false) and enforcement policy (AllowUnencrypted or DropUnencrypted) are specified."
            ),
        ));
    }
    let mut subnets = match body["properties"]["subnets"].take() {
        Value::Array(subnets) => subnets,
        _ => Vec::new(),
    };
    for subnet in &mut subnets {
        finish_subnet(context, &put.id, &body["location"], subnet)?;
    }
    check_subnets(name, &space, &subnets)?;
    refuse_lost_subnets(context, &put, &subnets)?;
    body["properties"]["subnets"] = json!(subnets);
    for (field, value) in [
        ("virtualNetworkPeerings", json!([])),
        ("enableDdosProtection", json!(false)),
    ] {
        if body["properties"].get(field).is_none() {
            body["properties"][field] = value;
        }
    }
    if let Some(properties) = body["properties"].as_object_mut() {
        // It is taken and not given back.
        properties.remove("enableVmProtection");
    }
    super::store(context, &put, body, "Updating")
}

/// Fills in what the service adds to a subnet.
fn finish_subnet(
    context: &Context<'_>,
    network: &ResourceId,
    location: &Value,
    subnet: &mut Value,
) -> Result<()> {
    let name = subnet["name"].as_str().unwrap_or_default().to_owned();
    names::check_part("subnet", &name)?;
    if let Some(nsg) = subnet["properties"]["networkSecurityGroup"]["id"].as_str() {
        let nsg = referenced(context, nsg, Kind::Nsg, network, location)?
            .id
            .clone();
        subnet["properties"]["networkSecurityGroup"] = json!({ "id": nsg });
    }
    subnet["id"] = json!(format!("{network}/subnets/{name}"));
    subnet["type"] = json!("Microsoft.Network/virtualNetworks/subnets");
    if let Some(properties) = subnet["properties"].as_object_mut() {
        properties.remove("ipConfigurations");
        // One prefix that is given in both ways is kept in one.
        if let (Some(prefix), Some(prefixes)) = (
            properties.get("addressPrefix"),
            properties.get("addressPrefixes").and_then(Value::as_array),
        ) && *prefixes == [prefix.clone()]
        {
            properties.remove("addressPrefixes");
        }
    }
    for (field, value) in [
        ("delegations", json!([])),
        ("privateEndpointNetworkPolicies", json!("Disabled")),
        ("privateLinkServiceNetworkPolicies", json!("Enabled")),
    ] {
        if subnet["properties"].get(field).is_none() {
            subnet["properties"][field] = value;
        }
    }
    Ok(())
}

/// A PUT without a subnet that was there removes it, if nothing is in it.
fn refuse_lost_subnets(context: &Context<'_>, put: &Put, kept: &[Value]) -> Result<()> {
    let before = put
        .existing
        .iter()
        .flat_map(|network| network.body["properties"]["subnets"].as_array())
        .flatten();
    for subnet in before {
        let id = subnet["id"].as_str().unwrap_or_default();
        if !kept
            .iter()
            .any(|kept| same(kept["id"].as_str().unwrap_or_default(), id))
        {
            refuse_used_subnet(context, subnet)?;
        }
    }
    Ok(())
}

fn refuse_used_subnet(context: &Context<'_>, subnet: &Value) -> Result<()> {
    let id = subnet["id"].as_str().unwrap_or_default();
    // Interfaces, and scale sets, whose interfaces are no resources.
    let user = ip_configurations(context.state)
        .find(|(_, ip)| same(ip["subnet"]["id"].as_str().unwrap_or_default(), id))
        .map(|(user, _)| user.to_owned())
        .or_else(|| context.users_of(id).into_iter().next());
    match user {
        None => Ok(()),
        Some(user) => Err(ArmError::network(
            400,
            "InUseSubnetCannotBeDeleted",
            format!(
                "Subnet {} is in use by {user} and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.",
                subnet["name"].as_str().unwrap_or_default()
            ),
        )),
    }
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    super::delete(context, group, Kind::Vnet, name, |context, network| {
        network.body["properties"]["subnets"]
            .as_array()
            .into_iter()
            .flatten()
            .try_for_each(|subnet| refuse_used_subnet(context, subnet))
    })
}

/// `GET …/subnets`
pub(crate) fn list_subnets(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let network = context.existing(group, Kind::Vnet, name)?;
    let body = context.shown_resource(network);
    Ok(Answer::json(
        200,
        json!({ "value": body["properties"]["subnets"] }),
    ))
}

/// Everything on one subnet.
pub(crate) fn subnet(
    context: &mut Context<'_>,
    method: &str,
    group: &str,
    network_name: &str,
    name: &str,
) -> Result {
    let network = context.existing(group, Kind::Vnet, network_name)?.clone();
    match method {
        "GET" => {
            let body = context.shown_resource(&network);
            find(&body, name)
                .map(|subnet| {
                    let answer = Answer::json(200, subnet.clone());
                    match subnet["etag"].as_str() {
                        Some(etag) => answer.with_header("etag", etag),
                        None => answer,
                    }
                })
                .ok_or_else(|| {
                    ArmError::network(
                        404,
                        "NotFound",
                        format!("Resource {}/subnets/{name} not found.", network.id),
                    )
                })
        }
        "PUT" => put_subnet(context, network, name),
        "DELETE" => {
            let Some(subnet) = find(&network.body, name) else {
                return nothing_there();
            };
            refuse_used_subnet(context, subnet)?;
            begin(
                context,
                202,
                &network,
                Work::SubnetDeleted(name.to_owned()),
                None,
            )
        }
        _ => Err(ArmError::no_such_method(method)),
    }
}

fn find<'a>(network: &'a Value, name: &str) -> Option<&'a Value> {
    network["properties"]["subnets"]
        .as_array()?
        .iter()
        .find(|subnet| same(subnet["name"].as_str().unwrap_or_default(), name))
}

fn put_subnet(context: &mut Context<'_>, mut network: Resource, name: &str) -> Result {
    let mut subnet = context.call.json()?;
    SUBNET.check(&mut subnet)?;
    subnet["name"] = json!(name);
    let id = ResourceId::parse(&network.id).ok_or_else(|| gone(&network.id))?;
    let location = network.body["location"].clone();
    finish_subnet(context, &id, &location, &mut subnet)?;
    let space: Vec<Cidr> = network.body["properties"]["addressSpace"]["addressPrefixes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|prefix| Cidr::parse(prefix.as_str().unwrap_or_default(), &network.id))
        .collect::<Result<_>>()?;
    let is_new = find(&network.body, name).is_none();
    let Some(subnets) = network.body["properties"]["subnets"].as_array_mut() else {
        return Err(gone(&network.id));
    };
    subnets.retain(|other| !same(other["name"].as_str().unwrap_or_default(), name));
    subnets.push(subnet);
    check_subnets(&id.name, &space, subnets)?;
    super::stamp(&mut network.body, "Updating");
    let shown = find(&network.body, name).cloned();
    context.refuse_while_busy(&network.id, Origin::Network)?;
    context.state.insert(network.clone());
    let status = if is_new { 201 } else { 200 };
    begin(
        context,
        status,
        &network,
        Work::SubnetUpdated(name.to_owned()),
        shown,
    )
}

fn begin(
    context: &mut Context<'_>,
    status: u16,
    network: &Resource,
    work: Work,
    body: Option<Value>,
) -> Result {
    context.refuse_while_busy(&network.id, Origin::Network)?;
    let location = network.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(Dialect::Network, &location, &network.id, work);
    Ok(context.accepted(status, operation, body))
}

/// The end of the deletion of a subnet.
pub(crate) fn subnet_deleted(
    context: &mut Context<'_>,
    id: &str,
    name: &str,
) -> Result<Option<Value>> {
    let subnets = context
        .state
        .resource_mut(id)
        .and_then(|network| network.body["properties"]["subnets"].as_array_mut());
    if let Some(subnets) = subnets {
        subnets.retain(|subnet| !same(subnet["name"].as_str().unwrap_or_default(), name));
    }
    Ok(None)
}

/// Adds who is in which subnet.
pub(crate) fn show(state: &State, body: &mut Value) {
    let subnets = body["properties"]["subnets"].as_array_mut();
    for subnet in subnets.into_iter().flatten() {
        let id = subnet["id"].as_str().unwrap_or_default().to_owned();
        let inside: Vec<Value> = ip_configurations(state)
            .filter(|(_, ip)| same(ip["subnet"]["id"].as_str().unwrap_or_default(), &id))
            .map(|(user, _)| json!({ "id": user }))
            .collect();
        if !inside.is_empty() {
            subnet["properties"]["ipConfigurations"] = json!(inside);
        }
    }
}
