//! Virtual networks, security groups, public addresses and interfaces.
//!
//! They exist as documents: no packet is routed. What refers to what is found by searching, so
//! that the back references in a GET cannot disagree with the references.

pub(crate) mod cidr;
pub(crate) mod nic;
pub(crate) mod nsg;
mod open_ports;
pub(crate) mod prefixes;
pub(crate) mod public_ip;
pub(crate) mod security_rule;
mod usages;
pub(crate) mod vnet;

pub(crate) use self::open_ports::open_ports;
pub(crate) use self::usages::usages;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use super::answer::{Answer, Result};
use super::disks::gone;
use super::error::{ArmError, Origin};
use super::id::{Kind, ResourceId, same};
use super::lro::{Dialect, Work};
use super::resources::{Put, check_tags, identify, set_state};
use super::route::nothing_there;
use super::shape::{Shape, TAGS};
use crate::state::{Inner, Resource, State};

/// The parts of a network resource that have a provisioning state of their own.
const PARTS: &[&str] = &[
    "subnets",
    "securityRules",
    "defaultSecurityRules",
    "ipConfigurations",
];

const TAGS_PATCH: Shape = Shape::Object(&[("tags", TAGS)]);

/// Stores a checked resource and answers its PUT. `state` is what the answer says, as interfaces
/// are `Succeeded` at once.
fn store(context: &mut Context<'_>, put: &Put, mut body: Value, state: &str) -> Result {
    let id = put.id.to_string();
    identify(&mut body, &put.id);
    body["properties"]["resourceGuid"] = put
        .existing
        .as_ref()
        .map(|existing| existing.body["properties"]["resourceGuid"].clone())
        .filter(Value::is_string)
        .unwrap_or_else(|| json!(Uuid::new_v4()));
    stamp(&mut body, state);
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    let resource = Resource {
        id: id.clone(),
        body,
        inner: Inner::Network,
    };
    let shown = context.shown_resource(&resource);
    context.state.insert(resource);
    let operation = context.begin(Dialect::Network, &location, &id, Work::NetworkUpdated);
    let status = if put.existing.is_some() { 200 } else { 201 };
    Ok(context.accepted(status, operation, Some(shown)))
}

/// Sets the provisioning state of a resource and its parts, under a new etag.
fn stamp(body: &mut Value, state: &str) {
    let etag = json!(format!("W/\"{}\"", Uuid::new_v4()));
    body["etag"] = etag.clone();
    body["properties"]["provisioningState"] = json!(state);
    for part in PARTS {
        let items = body["properties"]
            .get_mut(*part)
            .and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            item["etag"] = etag.clone();
            item["properties"]["provisioningState"] = json!(state);
        }
    }
}

/// The end of a PUT.
pub(crate) fn updated(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    public_ip::allocate(context.state, id);
    let Some(resource) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    stamp(&mut resource.body, "Succeeded");
    Ok(None)
}

/// The end of a DELETE.
pub(crate) fn deleted(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    context.state.remove(id);
    Ok(None)
}

/// A DELETE, once the type has no objection.
fn delete(
    context: &mut Context<'_>,
    group: &str,
    kind: Kind,
    name: &str,
    refuse: impl FnOnce(&Context<'_>, &Resource) -> Result<()>,
) -> Result {
    context.group(group)?;
    let Ok(resource) = context.existing(group, kind, name).cloned() else {
        return nothing_there();
    };
    refuse(context, &resource)?;
    context.refuse_while_busy(&resource.id, Origin::Network)?;
    set_state(context.state.resource_mut(&resource.id), "Deleting");
    let location = resource.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(
        Dialect::Network,
        &location,
        &resource.id,
        Work::NetworkDeleted,
    );
    Ok(context.accepted(202, operation, None))
}

/// PATCH of any network resource: its tags, at once.
pub(crate) fn patch_tags(context: &mut Context<'_>, group: &str, kind: Kind, name: &str) -> Result {
    let mut body = context.call.json()?;
    TAGS_PATCH.check(&mut body)?;
    check_tags(&body)?;
    let id = context.existing(group, kind, name)?.id.clone();
    if let (Some(resource), Some(tags)) = (context.state.resource_mut(&id), body.get("tags")) {
        resource.body["tags"] = tags.clone();
    }
    let resource = context.existing(group, kind, name)?;
    Ok(Answer::json(200, context.shown_resource(resource)))
}

/// The ids that a network resource refers to; of a subnet also its network's.
pub(crate) fn uses(body: &Value) -> Vec<String> {
    let properties = &body["properties"];
    let id_of = |reference: &Value| reference["id"].as_str().map(ToOwned::to_owned);
    let mut used: Vec<String> = Vec::new();
    used.extend(id_of(&properties["networkSecurityGroup"]));
    for subnet in properties["subnets"].as_array().into_iter().flatten() {
        used.extend(id_of(&subnet["properties"]["networkSecurityGroup"]));
    }
    for ip in properties["ipConfigurations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        used.extend(id_of(&ip["properties"]["publicIPAddress"]));
        if let Some(subnet) = id_of(&ip["properties"]["subnet"]) {
            used.extend(split_subnet(&subnet).map(|(network, _)| network.to_owned()));
            used.push(subnet);
        }
    }
    used
}

/// The network's id and the subnet's name of a subnet's id.
fn split_subnet(id: &str) -> Option<(&str, &str)> {
    let (before, name) = id.rsplit_once('/')?;
    let (network, subnets) = before.rsplit_once('/')?;
    subnets
        .eq_ignore_ascii_case("subnets")
        .then_some((network, name))
}

/// Every IP configuration of every interface: its id and its properties.
fn ip_configurations(state: &State) -> impl Iterator<Item = (&str, &Value)> {
    state
        .resources
        .values()
        .filter(|resource| matches!(resource.inner, Inner::Network))
        .flat_map(|resource| {
            resource.body["properties"]["ipConfigurations"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .map(|ip| (ip["id"].as_str().unwrap_or_default(), &ip["properties"]))
}

/// Adds the back references that a GET shows.
pub(crate) fn show(state: &State, id: &str, body: &mut Value) {
    match ResourceId::parse(id).map(|id| id.kind) {
        Some(Kind::Nic) => nic::show(state, id, body),
        Some(Kind::PublicIp) => public_ip::show(state, id, body),
        Some(Kind::Nsg) => nsg::show(state, id, body),
        Some(Kind::Vnet) => vnet::show(state, body),
        _ => {}
    }
}

/// A resource that another refers to: it has to exist, in the same location.
fn referenced<'a>(
    context: &'a Context<'_>,
    id: &str,
    kind: Kind,
    by: &ResourceId,
    location: &Value,
) -> Result<&'a Resource> {
    context
        .state
        .resource(id)
        .filter(|resource| {
            ResourceId::parse(&resource.id).is_some_and(|id| id.kind == kind)
                && resource.body["location"] == *location
        })
        .ok_or_else(|| not_referenced(id, &by.to_string()))
}

fn not_referenced(id: &str, by: &str) -> ArmError {
    ArmError::network(
        400,
        "InvalidResourceReference",
        format!(
            "Resource {id} referenced by resource {by} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."
        ),
    )
}

/// The same, for a subnet: its network has to have it.
fn referenced_subnet<'a>(
    context: &'a Context<'_>,
    id: &str,
    by: &ResourceId,
    location: &Value,
) -> Result<&'a Value> {
    let (network, name) = split_subnet(id).ok_or_else(|| not_referenced(id, &by.to_string()))?;
    let network = referenced(context, network, Kind::Vnet, by, location)?;
    network.body["properties"]["subnets"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|subnet| same(subnet["name"].as_str().unwrap_or_default(), name))
        .ok_or_else(|| not_referenced(id, &by.to_string()))
}
