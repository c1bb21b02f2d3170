//! Managed disks and the state machine of their upload.
//!
//! `ReadyToUpload` → (write access granted) → `ActiveUpload` → (access ended, footer good) →
//! `Unattached` → (attached to a machine) → `Attached` → (machine deallocated) → `Reserved`; and
//! `Unattached` → (read access granted) → `ActiveSAS` → (ended) → `Unattached`. The bytes are the
//! data plane's, in one page blob per disk. OS disks that were made for a virtual machine have no
//! content here, as nothing boots from them: they have a size and no blob.

mod access;
mod shape;

use serde_json::{Value, json};
use uuid::Uuid;

use self::shape::{DISK, DISK_PATCH};
use super::Context;
use super::answer::Result;
use super::clock_text::timestamp;
use super::error::{ArmError, Origin};
use super::footer;
use super::id::{Kind, ResourceId};
use super::lro::{Copying, Dialect, Work};
use super::resources::{check_tags, identify, set_state};
use super::route::nothing_there;
use crate::state::{DiskInner, Inner, Power, Resource};

pub(crate) use self::access::{
    expire_accesses, grant, granted, refuse_active_access, revoke, revoked,
};
pub(crate) use self::shape::{EXTENDED_LOCATION, STORAGE_TYPES};

/// A VHD's footer, which the sizes of uploads include.
const FOOTER: u64 = 512;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The smallest and the largest upload, footer included.
const UPLOAD: std::ops::RangeInclusive<u64> = 20_972_032..=35_183_298_347_520;

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
    "LastOwnershipUpdateTime",
];

/// Sizes in GiB, performance tier, operations and MB per second of premium disks.
const PREMIUM: &[(u64, &str, u64, u64)] = &[
    (4, "P1", 120, 25),
    (8, "P2", 120, 25),
    (16, "P3", 120, 25),
    (32, "P4", 120, 25),
    (64, "P6", 240, 50),
    (128, "P10", 500, 100),
    (256, "P15", 1100, 125),
    (512, "P20", 2300, 150),
    (1024, "P30", 5000, 200),
    (2048, "P40", 7500, 250),
    (4096, "P50", 7500, 250),
    (8192, "P60", 16000, 500),
    (16384, "P70", 18000, 750),
    (32768, "P80", 20000, 900),
];

/// Where the content of a new disk comes from.
enum Content {
    /// An upload of this length.
    Upload(u64),
    /// Nothing, this long without the footer.
    Empty(u64),
    /// Another disk.
    Copy(Box<Resource>),
}

/// The id of the image or disk file's own name in messages and files.
fn disk_name(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Disk, name, &DISK)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    for field in READ_ONLY {
        if let Some(properties) = body["properties"].as_object_mut() {
            properties.remove(*field);
        }
    }
    if let Some(existing) = put.existing {
        return update(context, &put.id, existing, body);
    }
    let content = content_of(context, &body["properties"])?;
    identify(&mut body, &put.id);
    if body.get("sku").is_none() {
        body["sku"] = json!({ "name": "Standard_LRS" });
    }
    let mut shown = body.clone();
    shown["properties"]["provisioningState"] = json!("Updating");
    body["properties"]["provisioningState"] = json!("Updating");
    let blob = Uuid::new_v4();
    let (length, work) = match content {
        Content::Upload(length) => (length, Work::DiskCreated),
        Content::Empty(size) => {
            body["properties"]["diskSizeGB"] = json!(size / GIB);
            (size + FOOTER, Work::DiskCreated)
        }
        Content::Copy(source) => {
            let Inner::Disk(inner) = &source.inner else {
                return Err(ArmError::internal("copy a disk", "the source is no disk"));
            };
            let from = ResourceId::parse(&source.id)
                .map(|id| context.arm.settings().disk_file(&id.group, &id.name));
            let Some(from) = from.filter(|_| inner.length > 0) else {
                return Err(ArmError::not_implemented(
                    "copying the OS disk of a virtual machine, as its content is not kept",
                ));
            };
            for field in ["osType", "hyperVGeneration", "diskSizeGB"] {
                if let (None, Some(value)) = (
                    body["properties"].get(field),
                    source.body["properties"].get(field),
                ) {
                    body["properties"][field] = value.clone();
                }
            }
            let to = context.arm.settings().disk_file(&put.id.group, name);
            let copying = Copying {
                files: vec![(from, to.clone())],
                frozen: false,
                in_place: true,
                result: None,
            };
            context
                .arm
                .blobs()
                .create(blob, &to, inner.length)
                .map_err(|error| ArmError::internal("create the file of a disk", error))?;
            (inner.length, Work::DiskCopied(copying))
        }
    };
    context.state.insert(Resource {
        id: id.clone(),
        body,
        inner: Inner::Disk(DiskInner {
            blob,
            length,
            access_ends: None,
        }),
    });
    let location = shown["location"].as_str().unwrap_or_default().to_owned();
    let operation = context.begin(Dialect::Disk, &location, &id, work.clone());
    if let Work::DiskCopied(copying) = &work {
        context.arm.start_copy(operation, copying);
    }
    Ok(context.accepted(202, operation, Some(shown)))
}

/// Checks where the content of a new disk comes from.
fn content_of(context: &Context<'_>, properties: &Value) -> Result<Content> {
    let creation = &properties["creationData"];
    let option = creation["createOption"].as_str().unwrap_or_default();
    match option {
        "Upload" => {
            let Some(bytes) = creation.get("uploadSizeBytes") else {
                return Err(ArmError::missing_parameter(
                    "disk.creationData.uploadSizeBytes",
                ));
            };
            let bytes = bytes.as_u64().unwrap_or_default();
            if !UPLOAD.contains(&bytes) {
                return Err(ArmError::compute(
                    400,
                    "InvalidParameter",
                    format!(
                        "The value '{}' of parameter 'disk.creationData.uploadSizeBytes' is out of range. The value must be between '{}' and '{}', inclusive.",
                        creation["uploadSizeBytes"],
                        UPLOAD.start(),
                        UPLOAD.end()
                    ),
                )
                .with_target("disk.creationData.uploadSizeBytes"));
            }
            let size = bytes - FOOTER;
            if !size.is_multiple_of(MIB) {
                return Err(ArmError::compute(
                    400,
                    "BadRequest",
                    format!(
                        "The upload size in bytes {bytes} - 512 bytes for the VHD footer ({size} in this case) must be a multiple of MiB."
                    ),
                ));
            }
            if properties.get("diskSizeGB").is_some() {
                return Err(ArmError::compute(
                    400,
                    "InvalidParameter",
                    "Parameter 'diskSizeGB' is not allowed when 'creationData.createOption' is 'Upload'.",
                )
                .with_target("diskSizeGB"));
            }
            Ok(Content::Upload(bytes))
        }
        "Empty" => {
            let Some(size) = properties.get("diskSizeGB") else {
                return Err(ArmError::missing_parameter("disk.diskSizeGB"));
            };
            let size = size.as_u64().unwrap_or_default();
            if !(1..=65_536).contains(&size) {
                return Err(ArmError::compute(
                    400,
                    "InvalidParameter",
                    format!(
                        "The value '{}' of parameter 'disk.diskSizeGB' is out of range. The value must be between '1' and '65536', inclusive.",
                        properties["diskSizeGB"]
                    ),
                )
                .with_target("disk.diskSizeGB"));
            }
            Ok(Content::Empty(size * GIB))
        }
        "Copy" => {
            let Some(source) = creation["sourceResourceId"].as_str() else {
                return Err(ArmError::missing_parameter(
                    "disk.creationData.sourceResourceId",
                ));
            };
            let Some(resource) = context.state.resource(source) else {
                return Err(ArmError::compute(
                    404,
                    "NotFound",
                    format!("Resource {} is not found.", disk_name(source)),
                ));
            };
            let state = state_of(resource);
            if !matches!(state, "Unattached" | "Reserved" | "ActiveSAS") {
                return Err(wrong_state(resource, "copied"));
            }
            Ok(Content::Copy(Box::new(resource.clone())))
        }
        other => Err(ArmError::not_implemented(format!(
            "disks with createOption '{other}'"
        ))),
    }
}

/// A PUT on a disk that exists.
fn update(
    context: &mut Context<'_>,
    id: &ResourceId,
    mut existing: Resource,
    body: Value,
) -> Result {
    let (old, new) = (&existing.body["properties"], &body["properties"]);
    for field in ["createOption", "uploadSizeBytes", "sourceResourceId"] {
        let pair = (&old["creationData"][field], &new["creationData"][field]);
        if !pair.1.is_null() && pair.0 != pair.1 {
            return Err(ArmError::property_change(&format!("creationData.{field}")));
        }
    }
    for field in ["hyperVGeneration", "osType"] {
        if !new[field].is_null() && !old[field].is_null() && old[field] != new[field] {
            return Err(ArmError::property_change(field));
        }
    }
    refuse_resize(old, new)?;
    if let Some(zones) = body.get("zones")
        && existing.body.get("zones") != Some(zones)
    {
        return Err(ArmError::property_change("zones"));
    }
    merge(&mut existing.body, &body);
    start_update(context, id, existing)
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    DISK_PATCH.check(&mut body)?;
    check_tags(&body)?;
    let mut existing = context.existing(group, Kind::Disk, name)?.clone();
    let id = ResourceId::parse(&existing.id)
        .ok_or_else(|| ArmError::internal("read the id of a disk", &existing.id))?;
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    refuse_resize(&existing.body["properties"], &body["properties"])?;
    if let Some(properties) = body["properties"].as_object_mut() {
        properties.remove("propertyUpdatesInProgress");
    }
    merge(&mut existing.body, &body);
    start_update(context, &id, existing)
}

/// Growing a disk would move its footer, and nothing on the road from an image to a machine does.
fn refuse_resize(old: &Value, new: &Value) -> Result<()> {
    let (Some(from), Some(to)) = (old["diskSizeGB"].as_u64(), new["diskSizeGB"].as_u64()) else {
        return Ok(());
    };
    match to.cmp(&from) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(ArmError::compute(
            400,
            "BadRequest",
            format!("Disks or snapshot cannot be resized down from {from} GB to {to} GB."),
        )
        .with_target("diskSizeGB")),
        std::cmp::Ordering::Greater if old["diskState"] == "ActiveSAS" => Err(ArmError::compute(
            409,
            "ChangeDiskSizeWhileActiveSasNotAllowed",
            "The size of a disk cannot be changed while there is an active shared access signature outstanding for it.",
        )),
        std::cmp::Ordering::Greater => Err(ArmError::not_implemented("the resizing of disks")),
    }
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

fn start_update(context: &mut Context<'_>, id: &ResourceId, mut disk: Resource) -> Result {
    disk.body["properties"]["provisioningState"] = json!("Updating");
    let shown = disk.body.clone();
    let location = shown["location"].as_str().unwrap_or_default().to_owned();
    context.state.insert(disk);
    let operation = context.begin(Dialect::Disk, &location, &id.to_string(), Work::DiskUpdated);
    Ok(context.accepted(202, operation, Some(shown)))
}

/// The end of the creation of a disk to upload to, or of an empty one.
pub(crate) fn created(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    let (file, inner) = file_of(context, id)?;
    let is_upload = context
        .state
        .resource(id)
        .is_some_and(|disk| disk.body["properties"]["creationData"]["createOption"] == "Upload");
    let made = context
        .arm
        .blobs()
        .create(inner.blob, &file, inner.length)
        .and_then(|()| {
            if is_upload {
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
    // The copy went past the blob, which has no page yet as far as it knows.
    let (_, inner) = file_of(context, id)?;
    if let Err(error) = context.arm.blobs().rescan(inner.blob) {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(ArmError::internal("list the pages of a disk", error));
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

/// The properties that the service adds to any disk.
pub(crate) fn fill_in(body: &mut Value, now: &str) {
    let sku = body["sku"]["name"]
        .as_str()
        .unwrap_or("Standard_LRS")
        .to_owned();
    let size = body["properties"]["diskSizeGB"]
        .as_u64()
        .unwrap_or_else(|| {
            body["properties"]["creationData"]["uploadSizeBytes"]
                .as_u64()
                .unwrap_or_default()
                .div_ceil(GIB)
        });
    let premium = sku.starts_with("Premium");
    let performance = PREMIUM
        .iter()
        .find(|(largest, ..)| premium && size <= *largest);
    body["sku"]["tier"] = json!(if premium {
        "Premium"
    } else if sku.starts_with("UltraSSD") {
        "Ultra"
    } else {
        "Standard"
    });
    let properties = &mut body["properties"];
    let (iops, throughput) = performance.map_or((500, 60), |(_, _, iops, mbps)| (*iops, *mbps));
    for (name, value) in [
        ("diskIOPSReadWrite", json!(iops)),
        ("diskMBpsReadWrite", json!(throughput)),
        (
            "encryption",
            json!({ "type": "EncryptionAtRestWithPlatformKey" }),
        ),
        ("networkAccessPolicy", json!("AllowAll")),
        ("publicNetworkAccess", json!("Enabled")),
        ("timeCreated", json!(now)),
        ("uniqueId", json!(Uuid::new_v4())),
    ] {
        if properties.get(name).is_none() {
            properties[name] = value;
        }
    }
    if let Some((_, tier, ..)) = performance
        && properties.get("tier").is_none()
    {
        properties["tier"] = json!(tier);
    }
    properties["provisioningState"] = json!("Succeeded");
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

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(disk) = context.existing(group, Kind::Disk, name).cloned() else {
        return nothing_there();
    };
    if let Some(machine) = disk.body["managedBy"].as_str() {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!("Disk {name} is attached to VM {machine}."),
        ));
    }
    refuse_active_access(&disk, "deleting the disk")?;
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
    if let Some(Inner::Disk(inner)) = context.state.resource(id).map(|disk| disk.inner.clone())
        && inner.length > 0
    {
        context
            .arm
            .blobs()
            .remove(inner.blob)
            .map_err(|error| ArmError::internal("delete the file of a disk", error))?;
    }
    context.state.remove(id);
    Ok(None)
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

fn file_of(context: &Context<'_>, id: &str) -> Result<(std::path::PathBuf, DiskInner)> {
    let parsed = ResourceId::parse(id).ok_or_else(|| gone(id))?;
    match context.state.resource(id).map(|disk| &disk.inner) {
        Some(Inner::Disk(inner)) => Ok((
            context
                .arm
                .settings()
                .disk_file(&parsed.group, &parsed.name),
            inner.clone(),
        )),
        _ => Err(gone(id)),
    }
}

/// The file with the content of a disk, which has to have one.
pub(crate) fn content(context: &Context<'_>, disk: &Resource) -> Result<std::path::PathBuf> {
    let (file, inner) = file_of(context, &disk.id)?;
    if inner.length == 0 {
        return Err(ArmError::not_implemented(
            "copies of the OS disk of a virtual machine, as its content is not kept",
        ));
    }
    Ok(file)
}

/// A resource that went while something was done to it.
pub(crate) fn gone(id: &str) -> ArmError {
    ArmError::compute(404, "NotFound", format!("Resource {id} is not found."))
}
