//! Resource groups.

use serde_json::{Value, json};

use super::answer::{Answer, Result};
use super::copy::remove_if_there;
use super::error::ArmError;
use super::id::{Kind, ResourceId};
use super::lro::{Dialect, Work};
use super::resources::check_tags;
use super::shape::{Shape, TAGS};
use super::{Context, disks, names, storage, subscriptions, vms};
use crate::state::{Group, Inner};

const GROUP: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("managedBy", Shape::Text),
    ("tags", TAGS),
    (
        "properties",
        Shape::Object(&[("provisioningState", Shape::Text)]),
    ),
]);

const GROUP_PATCH: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("managedBy", Shape::Text),
    ("tags", TAGS),
    (
        "properties",
        Shape::Object(&[("provisioningState", Shape::Text)]),
    ),
]);

fn body(context: &Context<'_>, group: &Group) -> Value {
    let mut body = json!({
        "id": format!(
            "/subscriptions/{}/resourceGroups/{}",
            context.state.identity.subscription_id, group.name
        ),
        "name": group.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": group.location,
        "properties": {
            "provisioningState": if group.deleting { "Deleting" } else { "Succeeded" },
        },
    });
    if let Some(tags) = &group.tags {
        body["tags"] = tags.clone();
    }
    body
}

/// `GET …/resourcegroups`, with the filter by tag that clients use.
pub(crate) fn list(context: &Context<'_>) -> Answer {
    let wanted = context.call.query("$filter").and_then(tag_filter);
    let all: Vec<Value> = context
        .state
        .groups
        .values()
        .filter(|group| {
            wanted.as_ref().is_none_or(|(name, value)| {
                group
                    .tags
                    .as_ref()
                    .and_then(|tags| tags.get(name)?.as_str())
                    .is_some_and(|tag| value.as_ref().is_none_or(|value| tag == value))
            })
        })
        .map(|group| body(context, group))
        .collect();
    Answer::json(200, json!({ "value": all }))
}

/// `tagName eq 'a' and tagValue eq 'b'`
fn tag_filter(filter: &str) -> Option<(String, Option<String>)> {
    let mut texts = filter.split('\'').skip(1).step_by(2);
    filter.starts_with("tagName").then_some(())?;
    Some((
        texts.next()?.to_owned(),
        texts.next().map(ToOwned::to_owned),
    ))
}

/// Everything on one group.
pub(crate) fn answer(context: &mut Context<'_>, method: &str, name: &str) -> Result {
    match method {
        "GET" => {
            let group = context.group(name)?;
            Ok(Answer::json(200, body(context, group)))
        }
        "HEAD" => match context.group(name) {
            Ok(_) => Ok(Answer::empty(204)),
            // Answers to HEAD have no body, whatever they say.
            Err(error) => {
                Ok(Answer::empty(error.status).with_header("x-ms-failure-cause", "gateway"))
            }
        },
        "PUT" => put(context, name),
        "PATCH" => patch(context, name),
        "DELETE" => delete(context, name),
        _ => Err(ArmError::no_such_method(method)),
    }
}

fn put(context: &mut Context<'_>, name: &str) -> Result {
    names::check_group(name)?;
    let mut request = context.call.json()?;
    GROUP.check(&mut request)?;
    check_tags(&request)?;
    let given = request["location"].as_str().unwrap_or_default();
    if given.is_empty() {
        return Err(ArmError::gateway(
            400,
            "LocationRequired",
            "The location property is required for this definition.",
        ));
    }
    let location = subscriptions::find_location(given).ok_or_else(|| {
        ArmError::gateway(
            400,
            "LocationNotAvailableForResourceGroup",
            format!(
                "The provided location '{given}' is not available for resource group. List of available regions is '{}'.",
                subscriptions::names()
            ),
        )
    })?;
    let key = name.to_ascii_lowercase();
    let tags = request.get("tags").cloned();
    let (status, group) = match context.state.groups.get(&key) {
        Some(group) if group.deleting => return Err(being_deleted(name)),
        Some(group) if group.location != location => {
            return Err(ArmError::gateway(
                409,
                "InvalidResourceGroupLocation",
                format!(
                    "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
                    group.location
                ),
            ));
        }
        Some(group) => (
            200,
            Group {
                tags,
                ..group.clone()
            },
        ),
        None => (
            201,
            Group {
                name: name.to_owned(),
                location: location.to_owned(),
                tags,
                deleting: false,
            },
        ),
    };
    let shown = body(context, &group);
    context.state.groups.insert(key, group);
    Ok(Answer::json(status, shown))
}

fn patch(context: &mut Context<'_>, name: &str) -> Result {
    let mut request = context.call.json()?;
    GROUP_PATCH.check(&mut request)?;
    check_tags(&request)?;
    if context.group(name)?.deleting {
        return Err(being_deleted(name));
    }
    if let (Some(group), Some(tags)) = (
        context.state.groups.get_mut(&name.to_ascii_lowercase()),
        request.get("tags"),
    ) {
        group.tags = Some(tags.clone());
    }
    let group = context.group(name)?;
    Ok(Answer::json(200, body(context, group)))
}

/// Answers at once and goes on until everything inside is gone: only `Location` tells.
fn delete(context: &mut Context<'_>, name: &str) -> Result {
    let group = context.group(name)?.clone();
    if group.deleting {
        return Err(being_deleted(name));
    }
    if let Some(group) = context.state.groups.get_mut(&name.to_ascii_lowercase()) {
        group.deleting = true;
    }
    let operation = context.begin(
        Dialect::Group,
        &group.location,
        &group.name,
        Work::GroupDeleted,
    );
    Ok(context.accepted(202, operation, None))
}

/// Removes what is inside; `None` while something inside cannot go yet, which Azure says no more
/// about than that the deletion goes on.
pub(crate) fn deleted(context: &mut Context<'_>, name: &str) -> Option<Result<Option<Value>>> {
    let inside: Vec<String> = context
        .state
        .resources
        .values()
        .filter(|resource| {
            ResourceId::parse(&resource.id).is_some_and(|id| id.group.eq_ignore_ascii_case(name))
        })
        .map(|resource| resource.id.clone())
        .collect();
    let is_blocked = inside.iter().any(|id| {
        let has_access = context.state.resource(id).is_some_and(
            |resource| matches!(&resource.inner, Inner::Disk(disk) if disk.access_ends.is_some()),
        );
        let is_used_outside = context
            .users_of(id)
            .iter()
            .any(|user| !inside.iter().any(|id| id.eq_ignore_ascii_case(user)));
        let is_busy = context.state.operations.values().any(|operation| {
            operation.is_running()
                && operation.dialect != Dialect::Group
                && operation.resource.eq_ignore_ascii_case(id)
        });
        let is_copied = ResourceId::parse(id).is_some_and(|id| {
            matches!(id.kind, Kind::Disk | Kind::Snapshot)
                && context.is_being_copied(&context.arm.settings().content_file(&id))
        });
        has_access || is_used_outside || is_busy || is_copied
    });
    if is_blocked {
        return None;
    }
    for id in &inside {
        let Some(resource) = context.state.remove(id) else {
            continue;
        };
        if matches!(resource.inner, Inner::Vm(_)) {
            vms::release(context, &resource);
        }
        if resource.body["type"] == "Microsoft.Storage/storageAccounts"
            && let Err(error) = storage::removed(context, &resource)
        {
            return Some(Err(error));
        }
        let removed = match &resource.inner {
            Inner::Disk(_) => disks::remove_content(context.arm.blobs(), &resource),
            Inner::Image(image) => image
                .files
                .iter()
                .try_for_each(|file| remove_if_there(file)),
            _ => Ok(()),
        };
        if let Err(error) = removed {
            return Some(Err(ArmError::internal(
                "delete the content of a group",
                error,
            )));
        }
    }
    context.state.groups.remove(&name.to_ascii_lowercase());
    let group = format!(
        "/subscriptions/{}/resourceGroups/{name}",
        context.state.identity.subscription_id
    );
    context.state.forget_below(&group);
    Some(Ok(None))
}

fn being_deleted(name: &str) -> ArmError {
    ArmError::gateway(
        409,
        "ResourceGroupBeingDeleted",
        format!(
            "The resource group '{name}' is in deprovisioning state and cannot perform this operation."
        ),
    )
}
