//! Compute Galleries: a gallery has image definitions, which say what an image is, and those have
//! image versions, which are its content, replicated to regions.
//!
//! Content is copied once, whatever the number of regions: a region is an entry in the version's
//! document, and its replication is a matter of time by the clock. What a version is made of does
//! not change once it is there, so that its file is another name of the source's where the source
//! does not change either (see `copy`).

mod definitions;
mod reference;
mod regions;
mod shape;
mod source;
pub(crate) mod versions;

use serde_json::{Value, json};

use self::shape::{GALLERY, GALLERY_PATCH};
use super::Context;
use super::answer::Result;
use super::disks::gone;
use super::error::{ArmError, Origin};
use super::id::{Kind, ResourceId};
use super::lro::{Dialect, Work};
use super::resources::{check_tags, identify, set_state};
use super::route::nothing_there;
use crate::state::{Inner, Resource};

pub(crate) use self::reference::{check_security, image, is_gallery_image, used_image};

/// Everything that changes a gallery, an image definition or an image version.
pub(crate) fn answer(
    context: &mut Context<'_>,
    kind: Kind,
    method: &str,
    group: &str,
    name: &str,
) -> Result {
    match (kind, method) {
        (Kind::Gallery, "PUT") => put(context, group, name),
        (Kind::Gallery, "PATCH") => patch(context, group, name),
        (Kind::GalleryImage, "PUT") => definitions::put(context, group, name),
        (Kind::GalleryImage, "PATCH") => definitions::patch(context, group, name),
        (Kind::GalleryVersion, "PUT") => versions::put(context, group, name),
        (Kind::GalleryVersion, "PATCH") => versions::patch(context, group, name),
        (Kind::GalleryVersion, "DELETE") => versions::delete(context, group, name),
        (_, "DELETE") => delete(context, kind, group, name),
        _ => Err(ArmError::no_such_method(method)),
    }
}

fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Gallery, name, &GALLERY)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    refuse_sharing(&body)?;
    let is_new = put.existing.is_none();
    if is_new {
        refuse_second(context, &put.id)?;
    }
    identify(&mut body, &put.id);
    body["properties"]["identifier"] = json!({
        "uniqueName": format!(
            "{}-{}",
            context.state.identity.subscription_id,
            put.id.name.to_uppercase()
        ),
    });
    // A change of a gallery is there at once, and has an operation all the same.
    let state = if is_new { "Creating" } else { "Succeeded" };
    body["properties"]["provisioningState"] = json!(state);
    begin(context, if is_new { 201 } else { 200 }, id, body)
}

fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut change = context.call.json()?;
    GALLERY_PATCH.check(&mut change)?;
    check_tags(&change)?;
    refuse_sharing(&change)?;
    let existing = context.existing(group, Kind::Gallery, name)?.clone();
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    let mut body = existing.body;
    merge(&mut body, &change, &["identifier", "provisioningState"]);
    begin(context, 200, existing.id, body)
}

/// Who may see a gallery is a matter of the one who is logged in, and here is only one.
fn refuse_sharing(body: &Value) -> Result<()> {
    let properties = &body["properties"];
    if !matches!(
        properties["sharingProfile"]["permissions"].as_str(),
        None | Some("Private")
    ) {
        return Err(ArmError::not_implemented(
            "galleries that are shared with others",
        ));
    }
    if properties["softDeletePolicy"]["isSoftDeleteEnabled"] == true {
        return Err(ArmError::not_implemented(
            "the soft deletion of image versions",
        ));
    }
    match body["identity"]["type"].as_str() {
        None | Some("None") => Ok(()),
        Some(_) => Err(ArmError::not_implemented("identities of galleries")),
    }
}

/// The unique name of a gallery is made of the subscription and its name. The documentation says
/// that there is one of a name in a subscription; the code and the words are a guess.
fn refuse_second(context: &Context<'_>, id: &ResourceId) -> Result<()> {
    let is_second = context.state.resources.values().any(|resource| {
        ResourceId::parse(&resource.id).is_some_and(|other| {
            other.kind == Kind::Gallery && other.name.eq_ignore_ascii_case(&id.name)
        })
    });
    if !is_second {
        return Ok(());
    }
    Err(ArmError::compute(
        409,
        "Conflict",
        format!(
            "A gallery with the name '{}' exists in another resource group of the subscription.",
            id.name
        ),
    ))
}

/// Takes over what a PATCH gives; what it leaves out stays.
fn merge(body: &mut Value, change: &Value, read_only: &[&str]) {
    if let Some(tags) = change.get("tags") {
        body["tags"] = tags.clone();
    }
    for (name, value) in change["properties"].as_object().into_iter().flatten() {
        if !read_only.contains(&name.as_str()) {
            body["properties"][name] = value.clone();
        }
    }
}

/// Keeps the new document of a gallery or an image definition and begins its operation.
fn begin(context: &mut Context<'_>, status: u16, id: String, body: Value) -> Result {
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    context.state.insert(Resource {
        id: id.clone(),
        body: body.clone(),
        inner: Inner::Plain,
    });
    let operation = context.begin(Dialect::Gallery, &location, &id, Work::GalleryUpdated);
    Ok(context.accepted(status, operation, Some(body)))
}

/// The end of a change of a gallery, an image definition or an image version.
pub(crate) fn updated(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    let Some(resource) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    set_state(Some(resource), "Succeeded");
    Ok(None)
}

fn delete(context: &mut Context<'_>, kind: Kind, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(existing) = context.existing(group, kind, name).cloned() else {
        return nothing_there();
    };
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    if has_nested(context, &existing) {
        return Err(ArmError::compute(
            409,
            "CannotDeleteResource",
            "Can not delete resource before nested resources are deleted.",
        ));
    }
    set_state(context.state.resource_mut(&existing.id), "Deleting");
    let location = existing.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(
        Dialect::Gallery,
        &location,
        &existing.id,
        Work::GalleryDeleted,
    );
    Ok(context.accepted(202, operation, None))
}

/// Whether something is inside of a gallery or a definition, or was until a moment ago.
fn has_nested(context: &Context<'_>, outer: &Resource) -> bool {
    let inside = format!("{}/", outer.id.to_ascii_lowercase());
    let is_inside = |id: &str| id.to_ascii_lowercase().starts_with(&inside);
    let lag = context.arm.settings().timing.gallery_lag();
    context.state.resources.keys().any(|id| is_inside(id))
        || context.state.operations.values().any(|operation| {
            operation.is_deletion()
                && is_inside(&operation.resource)
                && operation
                    .ended
                    .is_some_and(|ended| ended + lag > context.now)
        })
}

/// What there is below a gallery, a definition or a version in Azure, and not here.
pub(crate) fn not_here(part: &str) -> ArmError {
    ArmError::not_implemented(format!("'{part}' of galleries"))
}

/// The end of the deletion of a gallery or an image definition.
pub(crate) fn deleted(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    context.state.remove(id);
    Ok(None)
}
