//! Managed images: a copy of a disk's content, and what it says of itself.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Context;
use super::answer::Result;
use super::blob_source;
use super::copy::remove_if_there;
use super::disks::{self, EXTENDED_LOCATION, STORAGE_TYPES, gone};
use super::error::{ArmError, Origin};
use super::id::{Kind, ResourceId};
use super::lro::{Copying, Dialect, Work};
use super::resources::{check_tags, identify, set_state};
use super::route::nothing_there;
use super::shape::{Shape, TAGS};
use super::vms;
use crate::state::{ImageInner, Inner, Resource};

const GIB: u64 = 1 << 30;

const SUB_RESOURCE: Shape = Shape::Object(&[("id", Shape::Text)]);
const CACHING: Shape = Shape::OneOf(&["None", "ReadOnly", "ReadWrite"]);

const STORAGE_PROFILE: Shape = Shape::Object(&[
    (
        "osDisk",
        Shape::Object(&[
            ("snapshot", SUB_RESOURCE),
            ("managedDisk", SUB_RESOURCE),
            ("blobUri", Shape::Text),
            ("caching", CACHING),
            ("diskSizeGB", Shape::Number),
            ("storageAccountType", Shape::OneOf(STORAGE_TYPES)),
            ("diskEncryptionSet", SUB_RESOURCE),
            ("osType!", Shape::OneOf(&["Windows", "Linux"])),
            ("osState!", Shape::OneOf(&["Generalized", "Specialized"])),
        ]),
    ),
    (
        "dataDisks",
        Shape::List(&Shape::Object(&[
            ("snapshot", SUB_RESOURCE),
            ("managedDisk", SUB_RESOURCE),
            ("blobUri", Shape::Text),
            ("caching", CACHING),
            ("diskSizeGB", Shape::Number),
            ("storageAccountType", Shape::OneOf(STORAGE_TYPES)),
            ("diskEncryptionSet", SUB_RESOURCE),
            ("lun!", Shape::Number),
        ])),
    ),
    ("zoneResilient", Shape::Flag),
]);

const PROPERTIES: Shape = Shape::Object(&[
    ("sourceVirtualMachine", SUB_RESOURCE),
    ("storageProfile", STORAGE_PROFILE),
    ("provisioningState", Shape::Text),
    ("hyperVGeneration", Shape::OneOf(&["V1", "V2"])),
]);

const IMAGE: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("extendedLocation", EXTENDED_LOCATION),
    ("systemData", Shape::Any),
    ("properties", PROPERTIES),
]);

const IMAGE_PATCH: Shape = Shape::Object(&[("tags", TAGS), ("properties", PROPERTIES)]);

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Image, name, &IMAGE)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    if let Some(existing) = put.existing {
        return update(context, existing, &put.body);
    }
    let mut body = put.body;
    let properties = &body["properties"];
    let of_machine = match properties["sourceVirtualMachine"]["id"].as_str() {
        Some(machine) => Some(vms::storage_profile(
            context,
            machine,
            &properties["storageProfile"],
        )?),
        None => None,
    };
    if properties.get("hyperVGeneration").is_none() {
        return Err(ArmError::missing_parameter("hyperVGeneration"));
    }
    let is_of_machine = of_machine.is_some();
    let profile = of_machine.as_ref().unwrap_or(&properties["storageProfile"]);
    if profile["osDisk"].is_null() {
        return Err(ArmError::missing_parameter("storageProfile.osDisk"));
    }
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    let generation = properties["hyperVGeneration"].clone();
    let mut profile = profile.clone();
    let file = context.arm.settings().image_file(&put.id.group, name);
    let mut frozen = true;
    let mut files = Vec::new();
    if let Some(blob) = blob(context, &mut profile["osDisk"], &location)? {
        frozen = false;
        files.push((blob, file.clone()));
    } else {
        let os_disk = source(context, &profile["osDisk"], "osDisk", &location)?;
        check_os_disk(
            context,
            &os_disk,
            &generation,
            &profile["osDisk"],
            is_of_machine,
        )?;
        frozen &= is_snapshot(&os_disk);
        files.push((file_of(context, &os_disk)?, file.clone()));
        describe(&mut profile["osDisk"], &os_disk);
    }
    for disk in profile
        .get_mut("dataDisks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let lun = disk["lun"].as_u64().unwrap_or_default();
        let target = format!("dataDisks[lun {lun}]");
        if let Some(blob) = blob(context, disk, &location)? {
            frozen = false;
            files.push((blob, lun_file(&file, lun)));
            continue;
        }
        let found = source(context, disk, &target, &location)?;
        let is_ready = matches!(
            disks::state_of(&found),
            "Unattached" | "Reserved" | "ActiveSAS"
        );
        if !is_ready && !is_of_machine {
            return Err(disks::wrong_state(&found, "made an image of"));
        }
        frozen &= is_snapshot(&found);
        files.push((file_of(context, &found)?, lun_file(&file, lun)));
        describe(disk, &found);
    }
    if profile.get("dataDisks").is_none() {
        profile["dataDisks"] = json!([]);
    }
    body["properties"]["storageProfile"] = profile;
    body["properties"]["provisioningState"] = json!("Creating");
    identify(&mut body, &put.id);
    let copied: Vec<PathBuf> = files.iter().map(|(_, to)| to.clone()).collect();
    context.state.insert(Resource {
        id: id.clone(),
        body: body.clone(),
        inner: Inner::Image(ImageInner { files: copied }),
    });
    let copying = Copying {
        files,
        frozen,
        result: None,
    };
    let operation = context.begin(
        Dialect::Compute,
        &location,
        &id,
        Work::ImageCopied(copying.clone()),
    );
    context.arm.start_copy(operation, &copying);
    Ok(context.accepted(201, operation, Some(body)))
}

/// The file of a data disk. No image is named like it, as names end in `.vhd` in files.
pub(crate) fn lun_file(file: &Path, lun: u64) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".lun{lun}"));
    PathBuf::from(name)
}

/// What an image's disk is made of: its field, the type, and the id.
fn source_id(disk: &Value) -> Option<(&'static str, Kind, &str)> {
    [("managedDisk", Kind::Disk), ("snapshot", Kind::Snapshot)]
        .into_iter()
        .find_map(|(field, kind)| Some((field, kind, disk[field]["id"].as_str()?)))
}

/// The file of the VHD in a storage account that an image's disk is made of, where it is made of
/// one; its size is known at once.
fn blob(context: &Context<'_>, disk: &mut Value, location: &str) -> Result<Option<PathBuf>> {
    let Some(uri) = disk["blobUri"].as_str() else {
        return Ok(None);
    };
    if source_id(disk).is_some() {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            "The parameter 'blobUri' excludes 'managedDisk' and 'snapshot'.",
        )
        .with_target("blobUri"));
    }
    let found = blob_source::find(context, uri, None, location)?;
    if disk["diskSizeGB"]
        .as_u64()
        .is_some_and(|size| size < found.size())
    {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            "Disks or snapshot cannot be resized down.",
        )
        .with_target("diskSizeGB"));
    }
    disk["blobUri"] = json!(found.uri);
    for (field, value) in [
        ("caching", json!("None")),
        ("storageAccountType", json!("Standard_LRS")),
        ("diskSizeGB", json!(found.size())),
    ] {
        if disk.get(field).is_none() {
            disk[field] = value;
        }
    }
    Ok(Some(found.file))
}

/// The disk or snapshot an image's disk is made of.
fn source(context: &Context<'_>, disk: &Value, target: &str, location: &str) -> Result<Resource> {
    let Some((field, kind, id)) = source_id(disk) else {
        return Err(ArmError::missing_parameter(&format!(
            "{target}.managedDisk.id"
        )));
    };
    if field == "managedDisk" && disk.get("snapshot").is_some() {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The parameters '{target}.managedDisk' and '{target}.snapshot' exclude each other."
            ),
        )
        .with_target(target));
    }
    let Some(found) = disks::find(context, kind, id) else {
        return Err(
            ArmError::compute(404, "NotFound", format!("Resource {id} is not found."))
                .with_target(target),
        );
    };
    if found.body["location"] != location {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The disk {id} is in location '{}' and the image in '{location}'. They must be in the same location.",
                found.body["location"].as_str().unwrap_or_default()
            ),
        )
        .with_target(target));
    }
    context.refuse_while_busy(&found.id, Origin::Provider)?;
    Ok(found.clone())
}

/// Refuses a disk that is not ready, or that contradicts what the image is said to be. A machine
/// that is a template does not run, so the disk that it has is ready.
fn check_os_disk(
    context: &Context<'_>,
    disk: &Resource,
    generation: &Value,
    image: &Value,
    is_of_machine: bool,
) -> Result<()> {
    disks::refuse_active_access(context, disk, "creating an image from it")?;
    if !is_of_machine && !matches!(disks::state_of(disk), "Unattached" | "Reserved") {
        return Err(disks::wrong_state(disk, "made an image of"));
    }
    let properties = &disk.body["properties"];
    for (what, of_disk, of_image) in [
        (
            "hyperVGeneration",
            &properties["hyperVGeneration"],
            generation,
        ),
        ("osType", &properties["osType"], &image["osType"]),
    ] {
        if !of_disk.is_null() && of_disk != of_image {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                format!(
                    "The {what} of the image ({of_image}) is not the {what} of its disk {} ({of_disk}).",
                    disk.id
                ),
            )
            .with_target(what));
        }
    }
    if properties["supportedCapabilities"]["architecture"] == "Arm64" {
        let kind = if is_snapshot(disk) {
            "snapshot"
        } else {
            "disk"
        };
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Creating an image with {kind} source that has CPU Architecture 'Arm64' is not supported. Please select a source resource with a supported CPU Architecture: 'x64'."
            ),
        ));
    }
    if let Some(size) = image["diskSizeGB"].as_u64()
        && size * GIB < properties["diskSizeBytes"].as_u64().unwrap_or_default()
    {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            "Disks or snapshot cannot be resized down.",
        )
        .with_target("osDisk.diskSizeGB"));
    }
    Ok(())
}

/// A snapshot is never written again.
fn is_snapshot(source: &Resource) -> bool {
    ResourceId::parse(&source.id).is_some_and(|id| id.kind == Kind::Snapshot)
}

/// What the service takes from the disk, other than its size, which is known at the end.
fn describe(disk: &mut Value, source: &Resource) {
    let field = source_id(disk).map_or("managedDisk", |(field, ..)| field);
    disk[field]["id"] = json!(source.id);
    if disk.get("caching").is_none() {
        disk["caching"] = json!("None");
    }
    if disk.get("storageAccountType").is_none() {
        disk["storageAccountType"] = source.body["sku"]["name"].clone();
    }
}

fn file_of(context: &Context<'_>, disk: &Resource) -> Result<PathBuf> {
    match (&disk.inner, ResourceId::parse(&disk.id)) {
        (Inner::Disk(inner), Some(id)) if inner.length > 0 => {
            Ok(context.arm.settings().content_file(&id))
        }
        _ => Err(ArmError::not_implemented(
            "images of disks that were made before their content was kept",
        )),
    }
}

/// A PUT on an image that exists: only its tags can change.
fn update(context: &mut Context<'_>, existing: Resource, body: &Value) -> Result {
    let (old, new) = (&existing.body["properties"], &body["properties"]);
    let generation = &new["hyperVGeneration"];
    if !generation.is_null() && *generation != old["hyperVGeneration"] {
        return Err(ArmError::property_change("hyperVGeneration"));
    }
    let (was, is) = (
        &old["storageProfile"]["osDisk"],
        &new["storageProfile"]["osDisk"],
    );
    let id = |disk: &Value| source_id(disk).map(|(.., id)| id.to_ascii_lowercase());
    let is_changed = !is.is_null()
        && (id(was) != id(is)
            || ["osType", "osState"]
                .iter()
                .any(|field| was[*field] != is[*field]));
    if is_changed {
        return Err(ArmError::property_change("storageProfile"));
    }
    retag(context, existing, body)
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    IMAGE_PATCH.check(&mut body)?;
    check_tags(&body)?;
    let existing = context.existing(group, Kind::Image, name)?.clone();
    context.refuse_while_busy(&existing.id, Origin::Provider)?;
    update(context, existing, &body)
}

fn retag(context: &mut Context<'_>, mut image: Resource, body: &Value) -> Result {
    if let Some(tags) = body.get("tags") {
        image.body["tags"] = tags.clone();
    }
    image.body["properties"]["provisioningState"] = json!("Updating");
    let (id, shown) = (image.id.clone(), image.body.clone());
    context.state.insert(image);
    let location = shown["location"].as_str().unwrap_or_default().to_owned();
    let operation = context.begin(Dialect::Compute, &location, &id, Work::ImageUpdated);
    Ok(context.accepted(200, operation, Some(shown)))
}

/// The end of the creation of an image.
pub(crate) fn copied(
    context: &mut Context<'_>,
    id: &str,
    problem: Option<&String>,
) -> Result<Option<Value>> {
    if let Some(problem) = problem {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(ArmError::internal("copy the disks of an image", problem));
    }
    let Some(image) = context.state.resource(id).cloned() else {
        return Err(gone(id));
    };
    let mut profile = image.body["properties"]["storageProfile"].clone();
    let size = |disk: &Value| {
        source_id(disk)
            .and_then(|(.., id)| context.state.resource(id))
            .map(|disk| disk.body["properties"]["diskSizeGB"].clone())
    };
    if profile["osDisk"].get("diskSizeGB").is_none()
        && let Some(size) = size(&profile["osDisk"])
    {
        profile["osDisk"]["diskSizeGB"] = size;
    }
    for disk in profile
        .get_mut("dataDisks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if disk.get("diskSizeGB").is_none()
            && let Some(size) = size(disk)
        {
            disk["diskSizeGB"] = size;
        }
    }
    if let Some(image) = context.state.resource_mut(id) {
        image.body["properties"]["storageProfile"] = profile;
    }
    set_state(context.state.resource_mut(id), "Succeeded");
    Ok(None)
}

pub(crate) fn updated(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    set_state(context.state.resource_mut(id), "Succeeded");
    Ok(None)
}

/// Also ends a creation that is under way, as an undo does.
pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(image) = context.existing(group, Kind::Image, name).cloned() else {
        return nothing_there();
    };
    refuse_while_copied(context, &image)?;
    context.preempt(&image.id);
    set_state(context.state.resource_mut(&image.id), "Deleting");
    let location = image.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(Dialect::Compute, &location, &image.id, Work::ImageDeleted);
    Ok(context.accepted(202, operation, None))
}

/// Refuses to delete an image, or an image version, that another is being made of.
pub(crate) fn refuse_while_copied(context: &Context<'_>, image: &Resource) -> Result<()> {
    let Inner::Image(inner) = &image.inner else {
        return Ok(());
    };
    if !inner.files.iter().any(|file| context.is_being_copied(file)) {
        return Ok(());
    }
    Err(ArmError::compute(
        409,
        "OperationNotAllowed",
        format!(
            "The image {} is being copied. Wait until that has ended and try again.",
            image.id
        ),
    ))
}

pub(crate) fn deleted(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    if let Some(Inner::Image(image)) = context.state.remove(id).map(|image| image.inner) {
        image
            .files
            .iter()
            .try_for_each(|file| remove_if_there(file))
            .map_err(|error| ArmError::internal("delete the files of an image", error))?;
    }
    Ok(None)
}
