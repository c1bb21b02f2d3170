//! Image versions: made, changed, shown and deleted.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::clock_text::timestamp;
use super::super::disks::gone;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::images;
use super::super::lro::{Copying, Dialect, Work};
use super::super::resources::{check_tags, identify, set_state};
use super::super::route::nothing_there;
use super::shape::{VERSION, VERSION_PATCH};
use super::{regions, source};
use crate::state::{ImageInner, Inner, Resource};

/// The first api-version in which taking a region away has to be asked for.
const GUARDED: &str = "2022-03-03";

pub(super) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::GalleryVersion, name, &VERSION)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    refuse_unknown(&body)?;
    if let Some(existing) = put.existing {
        return update(context, existing, &body);
    }
    let definition = put
        .id
        .parent()
        .and_then(|id| context.state.resource(&id.to_string()))
        .map(|definition| definition.body["properties"].clone())
        .ok_or_else(|| gone(&id))?;
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    let properties = &mut body["properties"];
    regions::complete(&mut properties["publishingProfile"], &location)?;
    properties["publishingProfile"]["publishedDate"] = json!(timestamp(context.now));
    let content = source::find(context, &properties["storageProfile"], &location)?;
    let profile = content.profile(&properties["storageProfile"]);
    properties["storageProfile"] = first_profile(&properties["storageProfile"], &profile);
    properties["safetyProfile"] = safety(&properties["safetyProfile"]);
    properties["provisioningState"] = json!("Creating");
    if let Some(properties) = properties.as_object_mut() {
        for read_only in ["replicationStatus", "restore"] {
            properties.remove(read_only);
        }
    }
    identify(&mut body, &put.id);
    let file = context
        .arm
        .settings()
        .version_file(&put.id.group, &put.id.name);
    let files = content.files(&file);
    context.state.insert(Resource {
        id: id.clone(),
        body: body.clone(),
        inner: Inner::Image(ImageInner {
            files: files.iter().map(|(_, to)| to.clone()).collect(),
        }),
    });
    let shown = Some(shown(&body));
    if let Some((status, code, message)) = content.mismatch(&definition) {
        let work = Work::VersionRefused {
            status,
            code: code.to_owned(),
            message,
        };
        let operation = context.begin(Dialect::Gallery, &location, &id, work);
        return Ok(context.accepted(201, operation, shown));
    }
    let copying = Copying {
        files,
        frozen: content.frozen,
        result: None,
    };
    let operation = context.begin(
        Dialect::Gallery,
        &location,
        &id,
        Work::VersionCopied(copying.clone(), profile),
    );
    context.arm.start_copy(operation, &copying);
    Ok(context.accepted(201, operation, shown))
}

fn refuse_unknown(body: &Value) -> Result<()> {
    let properties = &body["properties"];
    if properties["safetyProfile"]["blockDeletionBeforeEndOfLife"] == true {
        return Err(ArmError::not_implemented(
            "image versions that cannot be deleted before the end of their life",
        ));
    }
    if properties["restore"] == true {
        return Err(ArmError::not_implemented(
            "the soft deletion of image versions",
        ));
    }
    if !properties["validationsProfile"].is_null() {
        return Err(ArmError::not_implemented(
            "the validation of image versions",
        ));
    }
    Ok(())
}

/// The storage profile while the version is being made: sizes are not known yet, and of a source
/// with all disks, nothing of them is.
fn first_profile(given: &Value, finished: &Value) -> Value {
    if given["source"].is_object() {
        return json!({ "source": given["source"] });
    }
    let mut profile = finished.clone();
    let forget = |disk: &mut Value| {
        if let Some(disk) = disk.as_object_mut() {
            disk.remove("sizeInGB");
        }
    };
    // Indexing would add what is not there.
    if let Some(disk) = profile.get_mut("osDiskImage") {
        forget(disk);
    }
    let data = profile
        .get_mut("dataDiskImages")
        .and_then(Value::as_array_mut);
    data.into_iter().flatten().for_each(forget);
    profile
}

fn safety(given: &Value) -> Value {
    json!({
        "reportedForPolicyViolation": false,
        "allowDeletionOfReplicatedLocations":
            given["allowDeletionOfReplicatedLocations"] == true,
    })
}

pub(super) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut change = context.call.json()?;
    VERSION_PATCH.check(&mut change)?;
    check_tags(&change)?;
    refuse_unknown(&change)?;
    let existing = context.existing(group, Kind::GalleryVersion, name)?.clone();
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    update(context, existing, &change)
}

/// A PUT or PATCH of a version that exists: its regions and what is said of it can change.
fn update(context: &mut Context<'_>, mut version: Resource, change: &Value) -> Result {
    let location = version.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let before = regions::of(&version.body);
    let new = &change["properties"];
    let mut body = version.body.clone();
    if let Some(tags) = change.get("tags") {
        body["tags"] = tags.clone();
    }
    let profile = &mut body["properties"]["publishingProfile"];
    for (field, value) in new["publishingProfile"].as_object().into_iter().flatten() {
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if field != "publishedDate" && !is_empty {
            profile[field] = value.clone();
        }
    }
    regions::complete(profile, &location)?;
    if let Some(allowed) = new["safetyProfile"].get("allowDeletionOfReplicatedLocations") {
        body["properties"]["safetyProfile"]["allowDeletionOfReplicatedLocations"] = allowed.clone();
    }
    if let Some(uefi) = new.get("securityProfile")
        && version.body["properties"].get("securityProfile") != Some(uefi)
    {
        return Err(ArmError::property_change(
            "galleryImageVersion.properties.securityProfile",
        ));
    }
    let after = regions::of(&body);
    let added = after
        .iter()
        .filter(|region| !before.contains(region))
        .map(|region| (*region).to_owned())
        .collect();
    let refusal = changed_source(&version.body, new).or_else(|| {
        let is_allowed = context.api_version < GUARDED
            || body["properties"]["safetyProfile"]["allowDeletionOfReplicatedLocations"] == true;
        let is_removed = before.iter().any(|region| !after.contains(region));
        (is_removed && !is_allowed).then(|| (400, "BadRequest", incomplete(&version)))
    });
    let work = match refusal {
        // Both are reported as failures of the operation, after a good answer to the request.
        Some((status, code, message)) => Work::VersionRefused {
            status,
            code: code.to_owned(),
            message,
        },
        None => {
            version.body = body;
            Work::VersionUpdated(added)
        }
    };
    version.body["properties"]["provisioningState"] = json!("Updating");
    let (id, answer) = (version.id.clone(), shown(&version.body));
    context.state.insert(version);
    let operation = context.begin(Dialect::Gallery, &location, &id, work);
    Ok(context.accepted(200, operation, Some(answer)))
}

fn incomplete(version: &Resource) -> String {
    format!(
        "Complete set of target locations not specified while updating gallery artifact '{}' and type 'GalleryImageVersion'. Deletion of previously replicated locations is not allowed, and you need to specify a complete set of target locations in the update request or specify null or empty set for target regions in the update request or set allow deletion of replicated locations under safety profile property. To figure out complete set of target locations, you can perform a get first on gallery artifact",
        version.body["name"].as_str().unwrap_or_default()
    )
}

/// The failure of an update that names another source.
fn changed_source(version: &Value, new: &Value) -> Option<(u16, &'static str, String)> {
    let (old, new) = (
        &version["properties"]["storageProfile"],
        &new["storageProfile"],
    );
    for (pointer, name) in [
        ("/source/id", "source.id"),
        ("/source/virtualMachineId", "source.virtualMachineId"),
        ("/osDiskImage/source/id", "osDiskImage.source.id"),
        ("/osDiskImage/source/uri", "osDiskImage.source.uri"),
    ] {
        let Some(is) = new.pointer(pointer).and_then(Value::as_str) else {
            continue;
        };
        let was = old
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !same(was, is) {
            return Some((
                409,
                "PropertyChangeNotAllowed",
                format!(
                    "Changing property 'galleryImageVersion.properties.storageProfile.{name}' is not allowed."
                ),
            ));
        }
    }
    None
}

/// The document without what is only shown when it is asked for.
fn shown(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(properties) = body["properties"].as_object_mut() {
        properties.remove("securityProfile");
    }
    body
}

/// GET of a version, with `$expand=ReplicationStatus` and `UefiSettings`.
pub(crate) fn get(context: &Context<'_>, group: &str, name: &str) -> Result {
    let version = context.existing(group, Kind::GalleryVersion, name)?;
    let mut body = shown(&version.body);
    let expand = context.call.query("$expand").unwrap_or_default();
    for wanted in expand.split(',').filter(|wanted| !wanted.is_empty()) {
        match wanted.trim().to_ascii_lowercase().as_str() {
            "replicationstatus" => {
                body["properties"]["replicationStatus"] = regions::status(context, version);
            }
            "uefisettings" => {
                if let Some(uefi) = version.body["properties"].get("securityProfile") {
                    body["properties"]["securityProfile"] = uefi.clone();
                }
            }
            _ => {
                return Err(ArmError::compute(
                    400,
                    "InvalidParameter",
                    format!("The value '{wanted}' of parameter '$expand' is not allowed."),
                )
                .with_target("$expand"));
            }
        }
    }
    Ok(Answer::json(200, body))
}

/// The end of the creation of a version: it is in all of its regions.
pub(crate) fn copied(
    context: &mut Context<'_>,
    id: &str,
    profile: &Value,
    problem: Option<&String>,
) -> Result<Option<Value>> {
    if let Some(problem) = problem {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(ArmError::internal(
            "copy the disks of an image version",
            problem,
        ));
    }
    let Some(version) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    version.body["properties"]["storageProfile"] = profile.clone();
    set_state(Some(version), "Succeeded");
    Ok(None)
}

/// The end of a request that cannot be. A version that was there before stays as it was.
pub(crate) fn refused(
    context: &mut Context<'_>,
    id: &str,
    status: u16,
    code: &str,
    message: &str,
) -> Result<Option<Value>> {
    if let Some(version) = context.state.resource_mut(id) {
        let is_new = version.body["properties"]["provisioningState"] == "Creating";
        set_state(Some(version), if is_new { "Failed" } else { "Succeeded" });
    }
    Err(ArmError::compute(status, code, message))
}

/// Also ends a creation that is under way. What was made of the version stays: it has a copy.
pub(super) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(version) = context.existing(group, Kind::GalleryVersion, name).cloned() else {
        return nothing_there();
    };
    images::refuse_while_copied(context, &version)?;
    context.preempt(&version.id);
    set_state(context.state.resource_mut(&version.id), "Deleting");
    let location = version.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(
        Dialect::Gallery,
        &location,
        &version.id,
        Work::VersionDeleted,
    );
    Ok(context.accepted(202, operation, None))
}

/// The three numbers of a version's name.
pub(super) fn numbers(id: &ResourceId) -> (u64, u64, u64) {
    let mut numbers = id
        .leaf()
        .split('.')
        .map(|number| number.parse().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    (next(), next(), next())
}
