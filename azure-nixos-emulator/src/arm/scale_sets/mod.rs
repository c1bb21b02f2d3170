//! Scale sets: a model, and machines that are made of it.
//!
//! Those of the mode `Uniform` have numbered copies, which exist inside of their set alone: neither their
//! disks nor their interfaces are resources here, and nothing boots. The machines of those of the mode
//! `Flexible` are resources of their own (see `flexible`).

mod flexible;
mod flexible_instances;
mod instance;
mod instances;
mod model;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use super::answer::{Answer, Result};
use super::clock_text::timestamp;
use super::disks::gone;
use super::error::{ArmError, Origin};
use super::id::Kind;
use super::lro::{Dialect, Operation, Work};
use super::quotas::is_spot;
use super::resources::{check_tags, identify, set_state};
use super::route::nothing_there;
use super::shape::{Shape, TAGS, TEXTS};
use super::sizes::Size;
use super::vms;
use super::zones;
use crate::state::{Inner, Instance, Power, Resource, ScaleSetInner};

pub(crate) use self::flexible::{is_flexible, place, recount};
pub(crate) use self::instances::{answer, powered, removed, upgraded};
pub(crate) use self::model::uses;

const SKU: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("tier", Shape::Text),
    ("capacity", Shape::Number),
]);

const PROPERTIES: Shape = Shape::Object(&[
    (
        "upgradePolicy",
        Shape::Object(&[
            ("mode", Shape::OneOf(&["Automatic", "Manual", "Rolling"])),
            ("rollingUpgradePolicy", Shape::Any),
            ("automaticOSUpgradePolicy", Shape::Any),
        ]),
    ),
    ("automaticRepairsPolicy", Shape::Any),
    // Checked by the table of virtual machines.
    ("virtualMachineProfile", Shape::Any),
    ("provisioningState", Shape::Text),
    ("overprovision", Shape::Flag),
    ("doNotRunExtensionsOnOverprovisionedVMs", Shape::Flag),
    ("uniqueId", Shape::Text),
    ("singlePlacementGroup", Shape::Flag),
    ("zoneBalance", Shape::Flag),
    ("platformFaultDomainCount", Shape::Number),
    ("proximityPlacementGroup", Shape::Any),
    ("hostGroup", Shape::Any),
    ("additionalCapabilities", Shape::Any),
    ("scaleInPolicy", Shape::Any),
    ("orchestrationMode", Shape::OneOf(&["Uniform", "Flexible"])),
    ("spotRestorePolicy", Shape::Any),
    ("priorityMixPolicy", Shape::Any),
    ("timeCreated", Shape::Text),
    ("constrainedMaximumCapacity", Shape::Flag),
    ("resiliencyPolicy", Shape::Any),
    ("zonalPlatformFaultDomainAlignMode", Shape::Text),
    ("skuProfile", Shape::Any),
]);

const SET: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("sku", SKU),
    ("plan", Shape::Any),
    ("identity", vms::IDENTITY),
    ("zones", TEXTS),
    ("extendedLocation", Shape::Any),
    ("placement", Shape::Any),
    ("systemData", Shape::Any),
    ("properties", PROPERTIES),
]);

const SET_PATCH: Shape = Shape::Object(&[
    ("tags", TAGS),
    ("sku", SKU),
    ("plan", Shape::Any),
    ("identity", vms::IDENTITY),
    ("zones", TEXTS),
    ("properties", PROPERTIES),
]);

/// The most machines of a set.
const MOST: u64 = 1000;

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::ScaleSet, name, &SET)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    if let Some(existing) = put.existing {
        return update(context, existing, &body, true);
    }
    identify(&mut body, &put.id);
    let secrets = flexible::secrets(&body["properties"]["virtualMachineProfile"]);
    if is_flexible(&body) {
        flexible::prepare(&mut body)?;
        // Without a model, it is a place for machines that are made by others.
        if !body["properties"]["virtualMachineProfile"].is_null() || !body["sku"].is_null() {
            model(context, &mut body)?;
            flexible::fill_in(&mut body["properties"]["virtualMachineProfile"]);
        }
    } else {
        refuse_rolling(&body)?;
        model(context, &mut body)?;
        for (field, value) in [
            ("singlePlacementGroup", json!(true)),
            ("orchestrationMode", json!("Uniform")),
            ("upgradePolicy", json!({ "mode": "Manual" })),
            ("overprovision", json!(true)),
            ("doNotRunExtensionsOnOverprovisionedVMs", json!(false)),
            ("platformFaultDomainCount", json!(5)),
        ] {
            if body["properties"].get(field).is_none() {
                body["properties"][field] = value;
            }
        }
    }
    let properties = &mut body["properties"];
    properties["uniqueId"] = json!(Uuid::new_v4());
    properties["timeCreated"] = json!(timestamp(context.now));
    properties["provisioningState"] = json!("Creating");
    if let Some(given) = body.get("identity") {
        let plan = vms::identity::plan(context, &id, None, given, true)?;
        vms::identity::apply(context, plan, &id, name, &mut body);
    }
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    context.state.insert(Resource {
        id: id.clone(),
        body: body.clone(),
        inner: Inner::ScaleSet(ScaleSetInner {
            secrets,
            ..ScaleSetInner::default()
        }),
    });
    let operation = begin(context, &location, &id);
    Ok(context.accepted(201, operation, Some(body)))
}

/// Begins the operation that gives a set its machines. Those of a Flexible one begin at once, as the
/// operation waits for them.
fn begin(context: &mut Context<'_>, location: &str, id: &str) -> Uuid {
    let operation = context.begin(Dialect::Compute, location, id, Work::ScaleSetUpdated);
    let is_flexible = context
        .state
        .resource(id)
        .is_some_and(|set| is_flexible(&set.body));
    if is_flexible && let Err(error) = flexible::fit(context, id) {
        // It is refused again when the operation ends, which is then its error.
        tracing::debug!(
            set = id,
            problem = error.message,
            "a machine cannot be made"
        );
    }
    operation
}

/// Checks the model of a new set, and how many machines are wanted of it.
fn model(context: &Context<'_>, body: &mut Value) -> Result<()> {
    for field in ["name", "capacity"] {
        if body["sku"].get(field).is_none() {
            return Err(ArmError::missing_parameter(&format!("sku.{field}")));
        }
    }
    let capacity = capacity(body)?;
    let size = size(context, body, capacity)?;
    model::check(context, body)?;
    body["sku"]["name"] = json!(size.name);
    if body["sku"].get("tier").is_none() {
        body["sku"]["tier"] = json!("Standard");
    }
    Ok(())
}

fn refuse_rolling(body: &Value) -> Result<()> {
    if body["properties"]["upgradePolicy"]["mode"] == "Rolling" {
        return Err(ArmError::not_implemented("rolling upgrades of scale sets"));
    }
    Ok(())
}

/// The size of the machines, of which there have to be enough cores, those of the set included. The
/// machines of a Flexible set are counted by themselves, once they are there.
fn size(context: &Context<'_>, body: &Value, capacity: u64) -> Result<&'static Size> {
    let id = body["id"].as_str().unwrap_or_default();
    let there = flexible::count(context.state, id);
    vms::size_for(
        context,
        vms::Wanted {
            size: body["sku"]["name"].as_str().unwrap_or_default(),
            location: body["location"].as_str().unwrap_or_default(),
            zones: &zones::of(body),
            machines: capacity.saturating_sub(there),
            is_spot: is_spot(&body["properties"]["virtualMachineProfile"]["priority"]),
            id,
            replaces: true,
        },
    )
}

fn capacity(body: &Value) -> Result<u64> {
    body["sku"]["capacity"]
        .as_u64()
        .filter(|capacity| *capacity <= MOST)
        .ok_or_else(|| {
            ArmError::compute(
                400,
                "InvalidParameter",
                format!(
                    "The value {} of parameter 'sku.capacity' is out of range. The value must be between '0' and '{MOST}', inclusive.",
                    body["sku"]["capacity"]
                ),
            )
            .with_target("sku.capacity")
        })
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    SET_PATCH.check(&mut body)?;
    check_tags(&body)?;
    let set = context.existing(group, Kind::ScaleSet, name)?.clone();
    context.refuse_while_busy(&set.id, Origin::Provider)?;
    update(context, set, &body, false)
}

/// A PUT (`replaces`) or a PATCH of a set that exists. What is left out stays.
fn update(context: &mut Context<'_>, mut set: Resource, body: &Value, replaces: bool) -> Result {
    let old = set.body.clone();
    if is_flexible(&old) {
        flexible::check(body)?;
    } else {
        refuse_rolling(body)?;
    }
    for field in [
        "singlePlacementGroup",
        "orchestrationMode",
        "platformFaultDomainCount",
    ] {
        let new = &body["properties"][field];
        if !new.is_null() && *new != old["properties"][field] {
            return Err(ArmError::property_change(field));
        }
    }
    let mut new = old.clone();
    if let Some(sku) = body.get("sku") {
        merge(&mut new["sku"], sku);
    }
    if let Some(tags) = body.get("tags") {
        new["tags"] = tags.clone();
    }
    for (field, value) in body["properties"].as_object().into_iter().flatten() {
        if !["provisioningState", "uniqueId", "timeCreated"].contains(&field.as_str()) {
            merge(&mut new["properties"][field], value);
        }
    }
    let has_model = !new["properties"]["virtualMachineProfile"].is_null() || !new["sku"].is_null();
    if has_model {
        let capacity = capacity(&new)?;
        let size = size(context, &new, capacity)?;
        new["sku"]["name"] = json!(size.name);
    }
    let has_new_profile =
        new["properties"]["virtualMachineProfile"] != old["properties"]["virtualMachineProfile"];
    if has_new_profile && let Inner::ScaleSet(inner) = &mut set.inner {
        flexible::put_back(inner, &mut new["properties"]["virtualMachineProfile"]);
        inner.secrets = flexible::secrets(&new["properties"]["virtualMachineProfile"]);
        model::check(context, &mut new)?;
        if is_flexible(&new) {
            flexible::fill_in(&mut new["properties"]["virtualMachineProfile"]);
        }
    }
    let identity = match body.get("identity") {
        Some(given) => Some(vms::identity::plan(
            context,
            &set.id,
            old.get("identity"),
            given,
            replaces,
        )?),
        None => None,
    };
    if let Some(plan) = identity {
        let name = new["name"].as_str().unwrap_or_default().to_owned();
        vms::identity::apply(context, plan, &set.id, &name, &mut new);
    }
    if let Inner::ScaleSet(inner) = &mut set.inner {
        let is_new_model = has_new_profile || new["sku"]["name"] != old["sku"]["name"];
        inner.model += u64::from(is_new_model);
    }
    new["properties"]["provisioningState"] = json!("Updating");
    set.body = new.clone();
    let (id, location) = (set.id.clone(), new["location"].clone());
    context.state.insert(set);
    let operation = begin(context, location.as_str().unwrap_or_default(), &id);
    Ok(context.accepted(200, operation, Some(new)))
}

/// Lays one document over another; lists are replaced.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                merge(under.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over.clone(),
    }
}

/// The end of a PUT or a PATCH: there are as many machines as there are to be.
/// `None` while those of a Flexible set are being made.
pub(crate) fn updated(
    context: &mut Context<'_>,
    operation: &Operation,
) -> Option<Result<Option<Value>>> {
    let id = operation.resource.as_str();
    match context.state.resource(id) {
        Some(set) if is_flexible(&set.body) => flexible::settle(context, operation),
        _ => Some(uniform_updated(context, id)),
    }
}

fn uniform_updated(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    vms::identity::complete(context, id);
    let now = context.now;
    let Some(set) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    let capacity = usize::try_from(capacity(&set.body)?).unwrap_or(0);
    let is_automatic = set.body["properties"]["upgradePolicy"]["mode"] == "Automatic";
    if let Inner::ScaleSet(inner) = &mut set.inner {
        // The newest go first, as by Azure's default policy where there are no zones.
        inner.instances.truncate(capacity);
        while inner.instances.len() < capacity {
            inner.instances.push(Instance {
                number: inner.next,
                vm_id: Uuid::new_v4(),
                power: Power::Running,
                created: now,
                changed: now,
                model: inner.model,
            });
            inner.next += 1;
        }
        if is_automatic {
            for instance in &mut inner.instances {
                instance.model = inner.model;
            }
        }
    }
    set_state(Some(set), "Succeeded");
    Ok(None)
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(set) = context.existing(group, Kind::ScaleSet, name).cloned() else {
        return nothing_there();
    };
    context.preempt(&set.id);
    set_state(context.state.resource_mut(&set.id), "Deleting");
    let location = set.body["location"].as_str().unwrap_or_default().to_owned();
    let operation = context.begin(Dialect::Compute, &location, &set.id, Work::ScaleSetDeleted);
    Ok(context.accepted(202, operation, None))
}

/// The end of the deletion; `None` while machines of a Flexible set are still there.
pub(crate) fn deleted(context: &mut Context<'_>, id: &str) -> Option<Result<Option<Value>>> {
    flexible::deleted(context, id)
}

/// `GET …/skus`: what the set could be changed to.
fn skus_of(context: &Context<'_>, group: &str, name: &str) -> Result {
    context.existing(group, Kind::ScaleSet, name)?;
    let all: Vec<Value> = Size::names()
        .map(|name| {
            json!({
                "resourceType": "Microsoft.Compute/virtualMachineScaleSets",
                "sku": { "name": name, "tier": "Standard" },
                "capacity": {
                    "minimum": 0,
                    "maximum": MOST,
                    "defaultCapacity": 1,
                    "scaleType": "Automatic",
                },
            })
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": all })))
}
