//! Managed disks and snapshots, and the state machine of their upload.
//!
//! `ReadyToUpload` → (write access granted) → `ActiveUpload` → (access ended, footer good) →
//! `Unattached` → (attached to a machine) → `Attached` → (machine deallocated) → `Reserved`; and
//! `Unattached` → (read access granted) → `ActiveSAS` → (ended) → `Unattached`. The bytes are the
//! data plane's, in one page blob per disk.

mod access;
mod guest_state;
mod performance;
mod resize;
mod settings;
mod shape;
mod source;

use serde_json::{Value, json};
use uuid::Uuid;

use self::shape::{DISK, DISK_PATCH, SNAPSHOT, SNAPSHOT_PATCH};
use self::source::Content;
use super::answer::Result;
use super::clock_text::timestamp;
use super::error::{ArmError, Origin};
use super::footer;
use super::id::{Kind, ResourceId, same};
use super::lro::{Copying, Dialect, Work};
use super::resources::{check_tags, identify, set_state};
use super::route::nothing_there;
use super::{Context, Settings};
use crate::assumption::Assumption;
use crate::blob::PageBlobs;
use crate::state::{DiskInner, Inner, Power, Resource};

pub(crate) use self::access::{
    expire_accesses, grant, granted, refuse_active_access, revoke, revoked,
};
pub(crate) use self::performance::fill_in;
pub(crate) use self::resize::resized;
pub(crate) use self::shape::{EXTENDED_LOCATION, STORAGE_TYPES};

/// A VHD's footer, which the sizes of uploads include.
const FOOTER: u64 = 512;
const GIB: u64 = 1 << 30;

/// How a disk is made that comes with the state of a guest which trusts what it is started by.
const UPLOAD_SECURE: &str = "UploadPreparedSecure";

/// Properties that only the service sets: what a client sends for them is not kept.
const READ_ONLY: &[&str] = &[
    "timeCreated",
    "diskSizeBytes",
    "uniqueId",
    "provisioningState",
    "diskState",
    "shareInfo",
    "burstingEnabledTime",
    "propertyUpdatesInProgress",
    "completionPercent",
    "incrementalSnapshotFamilyId",
    "copyCompletionError",
    "snapshotAccessState",
    "LastOwnershipUpdateTime",
];

/// The id of the image or disk file's own name in messages and files.
fn disk_name(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

pub(crate) fn put(context: &mut Context<'_>, kind: Kind, group: &str, name: &str) -> Result {
    let shape = if kind == Kind::Snapshot {
        &SNAPSHOT
    } else {
        &DISK
    };
    let put = context.begin_put(group, kind, name, shape)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    for field in READ_ONLY {
        if let Some(properties) = body["properties"].as_object_mut() {
            properties.remove(*field);
        }
    }
    settings::check(&body)?;
    if let Some(existing) = put.existing {
        return update(context, existing, &body);
    }
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    let content = source::find(context, kind, &body["properties"], &location)?;
    identify(&mut body, &put.id);
    if body.get("sku").is_none() {
        body["sku"] = json!({ "name": "Standard_LRS" });
    }
    body["properties"]["provisioningState"] = json!("Updating");
    let shown = body.clone();
    let (length, work) = match content {
        Content::Upload(length) => (length, Work::DiskCreated),
        Content::Empty(size) => (size + FOOTER, Work::DiskCreated),
        Content::Copy(copied) => {
            copied.describe(&mut body["properties"]);
            let to = context.arm.settings().content_file(&put.id);
            let copying = Copying {
                files: vec![(copied.file, to)],
                frozen: copied.frozen,
                result: None,
            };
            (copied.length, Work::DiskCopied(copying))
        }
    };
    context.state.insert(Resource {
        id: id.clone(),
        body,
        inner: Inner::Disk(DiskInner {
            blob: Uuid::new_v4(),
            length,
            access_ends: None,
        }),
    });
    let operation = context.begin(Dialect::Disk, &location, &id, work.clone());
    if let Work::DiskCopied(copying) = &work {
        context.arm.start_copy(operation, copying);
    }
    Ok(context.accepted(202, operation, Some(shown)))
}

/// A PUT on a disk that exists.
fn update(context: &mut Context<'_>, existing: Resource, body: &Value) -> Result {
    let (old, new) = (&existing.body["properties"], &body["properties"]);
    for field in ["createOption", "uploadSizeBytes", "sourceResourceId"] {
        let (was, is) = (&old["creationData"][field], &new["creationData"][field]);
        let is_same = match (was.as_str(), is.as_str()) {
            (Some(was), Some(is)) => same(was, is),
            _ => was == is,
        };
        if !is.is_null() && !is_same {
            return Err(ArmError::property_change(&format!("creationData.{field}")));
        }
    }
    for field in ["hyperVGeneration", "osType", "incremental"] {
        if !new[field].is_null() && !old[field].is_null() && old[field] != new[field] {
            return Err(ArmError::property_change(field));
        }
    }
    if let Some(zones) = body.get("zones")
        && existing.body.get("zones") != Some(zones)
    {
        return Err(ArmError::property_change("zones"));
    }
    start_update(context, existing, body)
}

pub(crate) fn patch(context: &mut Context<'_>, kind: Kind, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    if kind == Kind::Snapshot {
        SNAPSHOT_PATCH.check(&mut body)?;
    } else {
        DISK_PATCH.check(&mut body)?;
    }
    check_tags(&body)?;
    settings::check(&body)?;
    let existing = context.existing(group, kind, name)?.clone();
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    if let Some(properties) = body["properties"].as_object_mut() {
        properties.remove("propertyUpdatesInProgress");
    }
    start_update(context, existing, &body)
}

/// Takes over what a client sets; what it leaves out stays.
fn merge(existing: &mut Value, body: &Value) {
    for field in ["tags", "sku"] {
        if let Some(value) = body.get(field) {
            existing[field] = value.clone();
        }
    }
    for (name, value) in body["properties"].as_object().into_iter().flatten() {
        if name != "creationData" {
            existing["properties"][name] = value.clone();
        }
    }
}

/// Begins a change of a disk, which may make it larger.
fn start_update(context: &mut Context<'_>, mut disk: Resource, body: &Value) -> Result {
    let size = resize::wanted(&disk, &body["properties"])?;
    settings::refuse_sku_change(&disk, body)?;
    let work = match size {
        None => Work::DiskUpdated,
        Some(size) => Work::DiskResized(resize::plan(context, &disk)?, size),
    };
    let old = disk.body.clone();
    merge(&mut disk.body, body);
    performance::update(&mut disk.body, &old, body)?;
    disk.body["properties"]["provisioningState"] = json!("Updating");
    let (id, shown) = (disk.id.clone(), disk.body.clone());
    let location = shown["location"].as_str().unwrap_or_default().to_owned();
    context.state.insert(disk);
    let operation = context.begin(Dialect::Disk, &location, &id, work.clone());
    if let Work::DiskResized(copying, _) = &work {
        context.arm.start_copy(operation, copying);
    }
    Ok(context.accepted(202, operation, Some(shown)))
}

/// The end of the creation of a disk to upload to, or of an empty one.
pub(crate) fn created(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    let (file, inner) = file_of(context, id)?;
    let option = context
        .state
        .resource(id)
        .map(|disk| disk.body["properties"]["creationData"]["createOption"].clone());
    let option = option.as_ref().and_then(Value::as_str).unwrap_or_default();
    let is_upload = matches!(option, "Upload" | UPLOAD_SECURE);
    let made = context
        .arm
        .blobs()
        .create(inner.blob, &file, inner.length)
        .and_then(|()| {
            if option == UPLOAD_SECURE {
                guest_state::create(context.arm.blobs(), &file, inner.blob)
            } else if is_upload {
                Ok(())
            } else {
                footer::write(&file, inner.length - FOOTER, inner.blob)?;
                context.arm.blobs().rescan(inner.blob)
            }
        });
    if let Err(error) = made {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(ArmError::internal("create the file of a disk", error));
    }
    let state = if is_upload {
        "ReadyToUpload"
    } else {
        "Unattached"
    };
    complete(context, id, state)
}

/// The end of the creation of a disk from another.
pub(crate) fn copied(
    context: &mut Context<'_>,
    id: &str,
    problem: Option<&String>,
) -> Result<Option<Value>> {
    if let Some(problem) = problem {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(ArmError::internal("copy a disk", problem));
    }
    let made = file_of(context, id).and_then(|(file, inner)| {
        resize::finish_copy(context, id, &file, &inner)
            .map_err(|error| ArmError::internal("make a disk of a copy", error))
    });
    if let Err(error) = made {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(error);
    }
    complete(context, id, "Unattached")
}

/// Fills in what a disk has once it is there.
fn complete(context: &mut Context<'_>, id: &str, state: &str) -> Result<Option<Value>> {
    let now = timestamp(context.now);
    let Some(disk) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    let length = match &disk.inner {
        Inner::Disk(inner) => inner.length,
        _ => 0,
    };
    fill_in(&mut disk.body, &now);
    set_disk_state(&mut disk.body, state, length);
    Ok(Some(disk.body.clone()))
}

/// Sets the state of a disk and, once there is content, its size.
fn set_disk_state(body: &mut Value, state: &str, length: u64) {
    let properties = &mut body["properties"];
    properties["diskState"] = json!(state);
    if !matches!(state, "ReadyToUpload" | "ActiveUpload") && length > FOOTER {
        let size = length - FOOTER;
        properties["diskSizeBytes"] = json!(size);
        if properties.get("diskSizeGB").is_none() {
            properties["diskSizeGB"] = json!(size.div_ceil(GIB));
        }
    }
}

pub(crate) fn updated(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    let now = timestamp(context.now);
    let Some(disk) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    fill_in(&mut disk.body, &now);
    Ok(Some(disk.body.clone()))
}

pub(crate) fn delete(context: &mut Context<'_>, kind: Kind, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(disk) = context.existing(group, kind, name).cloned() else {
        return nothing_there();
    };
    if let Some(machine) = disk.body["managedBy"].as_str() {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!("Disk {name} is attached to VM {machine}."),
        ));
    }
    if !context.assumes(Assumption::AccessEndsWithDisk) {
        refuse_active_access(context, &disk, "deleting the disk")?;
    }
    let (file, _) = file_of(context, &disk.id)?;
    if context.is_being_copied(&file) {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!("Disk {name} is being copied. Wait until that has ended and try again."),
        ));
    }
    context.refuse_while_busy(&disk.id, Origin::Provider)?;
    let location = disk.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(Dialect::Disk, &location, &disk.id, Work::DiskDeleted);
    Ok(context.accepted(202, operation, None))
}

pub(crate) fn deleted(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    if let Some(disk) = context.state.resource(id) {
        remove_content(context.arm.blobs(), disk)
            .map_err(|error| ArmError::internal("delete the file of a disk", error))?;
    }
    context.state.remove(id);
    Ok(None)
}

/// Deletes the blobs of a disk, where it has some.
pub(crate) fn remove_content(blobs: &PageBlobs, disk: &Resource) -> std::io::Result<()> {
    let Inner::Disk(inner) = &disk.inner else {
        return Ok(());
    };
    if inner.length == 0 {
        return Ok(());
    }
    if has_guest_state(disk) {
        missing_is_good(blobs.remove(guest_state::blob(inner.blob)))?;
    }
    missing_is_good(blobs.remove(inner.blob))
}

/// A disk whose creation failed may have no blob.
fn missing_is_good(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a guest state is uploaded with the disk.
fn has_guest_state(disk: &Resource) -> bool {
    disk.body["properties"]["creationData"]["createOption"] == UPLOAD_SECURE
}

/// A disk, or a snapshot, by its id.
pub(crate) fn find<'a>(context: &'a Context<'_>, kind: Kind, id: &str) -> Option<&'a Resource> {
    let parsed = ResourceId::parse(id).filter(|id| id.kind == kind)?;
    context.state.resource(&parsed.to_string())
}

/// The state machine's state.
pub(crate) fn state_of(disk: &Resource) -> &str {
    disk.body["properties"]["diskState"]
        .as_str()
        .unwrap_or_default()
}

/// What a disk in this state cannot be.
pub(crate) fn wrong_state(disk: &Resource, done: &str) -> ArmError {
    ArmError::compute(
        409,
        "OperationNotAllowed",
        format!(
            "The disk {} cannot be {done} while it is in state '{}'.",
            disk_name(&disk.id),
            state_of(disk)
        ),
    )
}

/// Attaches a disk to a virtual machine, or lets go of it with `None`.
pub(crate) fn attach(context: &mut Context<'_>, id: &str, machine: Option<(&str, Power)>) {
    let Some(disk) = context.state.resource_mut(id) else {
        return;
    };
    let state = match machine {
        Some((machine, power)) => {
            disk.body["managedBy"] = json!(machine);
            if power == Power::Deallocated {
                "Reserved"
            } else {
                "Attached"
            }
        }
        None => {
            if let Some(body) = disk.body.as_object_mut() {
                body.remove("managedBy");
            }
            "Unattached"
        }
    };
    if state_of(disk) != "ActiveSAS" {
        disk.body["properties"]["diskState"] = json!(state);
    }
}

/// The file of a disk, by its id.
pub(crate) fn file(settings: &Settings, id: &str) -> Option<std::path::PathBuf> {
    let id = ResourceId::parse(id)?;
    Some(settings.disk_file(&id.group, &id.name))
}

fn file_of(context: &Context<'_>, id: &str) -> Result<(std::path::PathBuf, DiskInner)> {
    let parsed = ResourceId::parse(id).ok_or_else(|| gone(id))?;
    match context.state.resource(id).map(|disk| &disk.inner) {
        Some(Inner::Disk(inner)) => {
            Ok((context.arm.settings().content_file(&parsed), inner.clone()))
        }
        _ => Err(gone(id)),
    }
}

/// The file with the content of a disk, which has to have one.
pub(crate) fn content(context: &Context<'_>, disk: &Resource) -> Result<std::path::PathBuf> {
    let (file, inner) = file_of(context, &disk.id)?;
    if inner.length == 0 {
        return Err(ArmError::not_implemented(
            "copies of disks that were made before their content was kept",
        ));
    }
    Ok(file)
}

/// A resource that went while something was done to it.
pub(crate) fn gone(id: &str) -> ArmError {
    ArmError::compute(404, "NotFound", format!("Resource {id} is not found."))
}
