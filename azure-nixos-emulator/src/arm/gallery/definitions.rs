//! Image definitions: what all versions of an image have in common, fixed when it is made.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId};
use super::super::resources::{check_tags, identify};
use super::shape::{DEFINITION, DEFINITION_PATCH};
use super::{begin, merge};

/// What cannot change, as its versions and the machines made of them rely on it.
const FIXED: &[(&str, &str)] = &[
    ("/osType", "osType"),
    ("/osState", "osState"),
    ("/hyperVGeneration", "hyperVGeneration"),
    ("/architecture", "architecture"),
    ("/identifier/publisher", "identifier.publisher"),
    ("/identifier/offer", "identifier.offer"),
    ("/identifier/sku", "identifier.sku"),
    ("/purchasePlan", "purchasePlan"),
];

pub(super) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::GalleryImage, name, &DEFINITION)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    let properties = &mut body["properties"];
    for required in ["osType", "osState", "identifier"] {
        if properties.get(required).is_none() {
            return Err(ArmError::missing_parameter(&format!(
                "galleryImage.properties.{required}"
            )));
        }
    }
    for (field, value) in [("hyperVGeneration", "V1"), ("architecture", "x64")] {
        if properties.get(field).is_none() {
            properties[field] = json!(value);
        }
    }
    tidy(properties);
    if let Some(existing) = &put.existing {
        refuse_changes(&existing.body["properties"], properties)?;
        // Features are set once; a body that leaves them out does not take them away.
        for kept in ["features", "purchasePlan"] {
            if let (None, Some(value)) = (
                properties.get(kept),
                existing.body["properties"].get(kept).cloned(),
            ) {
                properties[kept] = value;
            }
        }
    } else {
        refuse_same_identifier(context, &put.id, &properties["identifier"])?;
    }
    let is_new = put.existing.is_none();
    let state = if is_new { "Creating" } else { "Updating" };
    properties["provisioningState"] = json!(state);
    identify(&mut body, &put.id);
    begin(context, if is_new { 201 } else { 200 }, id, body)
}

pub(super) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut change = context.call.json()?;
    DEFINITION_PATCH.check(&mut change)?;
    check_tags(&change)?;
    let existing = context.existing(group, Kind::GalleryImage, name)?.clone();
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    if let Some(properties) = change.get_mut("properties") {
        tidy(properties);
        refuse_changes(&existing.body["properties"], properties)?;
    }
    let mut body = existing.body;
    merge(&mut body, &change, &["provisioningState"]);
    body["properties"]["provisioningState"] = json!("Updating");
    begin(context, 200, existing.id, body)
}

/// `az` sends `"disallowed": {}`, which no answer shows. `allowUpdateImage` is about the request.
fn tidy(properties: &mut Value) {
    let Some(fields) = properties.as_object_mut() else {
        return;
    };
    let is_empty = |value: Option<&Value>| {
        value
            .and_then(Value::as_object)
            .is_some_and(|value| value.is_empty())
    };
    if is_empty(fields.get("disallowed")) {
        fields.remove("disallowed");
    }
}

fn refuse_changes(old: &Value, new: &Value) -> Result<()> {
    for (pointer, name) in FIXED {
        let (was, is) = (old.pointer(pointer), new.pointer(pointer));
        if is.is_some() && is != was {
            return Err(ArmError::property_change(&format!(
                "galleryImage.properties.{name}"
            )));
        }
    }
    if let Some(features) = new.get("features")
        && Some(features) != old.get("features")
    {
        if new["allowUpdateImage"] == true {
            return Err(ArmError::not_implemented(
                "the change of the features of an image definition",
            ));
        }
        return Err(ArmError::property_change(
            "galleryImage.properties.features",
        ));
    }
    Ok(())
}

/// Publisher, offer and SKU name a definition in its gallery. The documentation says that no two
/// have all three in common; the code and the words are a guess.
fn refuse_same_identifier(
    context: &Context<'_>,
    id: &ResourceId,
    identifier: &Value,
) -> Result<()> {
    let text = |identifier: &Value| -> Vec<String> {
        ["publisher", "offer", "sku"]
            .iter()
            .map(|field| {
                identifier[*field]
                    .as_str()
                    .unwrap_or_default()
                    .to_lowercase()
            })
            .collect()
    };
    let wanted = text(identifier);
    if wanted.iter().any(String::is_empty) {
        return Err(ArmError::missing_parameter(
            "galleryImage.properties.identifier",
        ));
    }
    let gallery = id.parent().map(|gallery| gallery.to_string());
    let same = context.state.resources.values().find(|other| {
        ResourceId::parse(&other.id).is_some_and(|other| {
            other.kind == Kind::GalleryImage
                && other.parent().map(|parent| parent.to_string()) == gallery
        }) && text(&other.body["properties"]["identifier"]) == wanted
    });
    match same {
        None => Ok(()),
        Some(same) => Err(ArmError::compute(
            409,
            "Conflict",
            format!(
                "The publisher, offer and sku of the gallery image are those of the gallery image '{}'. They must be unique in a gallery.",
                same.id
            ),
        )),
    }
}
