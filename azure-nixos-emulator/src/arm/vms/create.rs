//! How a machine comes to be: what the service adds to its body, and the disks made with it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Context;
use super::super::answer::Result;
use super::super::clock_text::timestamp;
use super::super::disks::{self, gone};
use super::super::error::ArmError;
use super::super::gallery;
use super::super::id::{Kind, ResourceId, leaf};
use super::super::names;
use super::super::resources::{identify, set_state};
use super::super::sizes::Size;
use super::check::{self, Source};
use super::content::{self, Made};
use super::identity;
use super::machine;
use super::power::set_power;
use crate::state::{Inner, Power, Resource};

/// A VHD's footer, which the length of a disk's file includes.
const FOOTER: u64 = 512;

/// The data disks of a new machine, checked: the image's first, then the others. Without a source
/// they are those that a machine gets later.
pub(super) fn data_disks(
    context: &Context<'_>,
    body: &Value,
    source: Option<&Source>,
) -> Result<Vec<Value>> {
    let mut given = body["properties"]["storageProfile"]["dataDisks"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of_image = match source {
        Some(Source::Image(image)) => {
            image.body["properties"]["storageProfile"]["dataDisks"].as_array()
        }
        Some(Source::Disk(_)) | None => None,
    };
    // Every disk of the image is made, whether the machine says more about it or not.
    let mut own = Vec::new();
    for disk in of_image.into_iter().flatten() {
        let said = given
            .iter()
            .position(|other| other["lun"] == disk["lun"] && other["createOption"] == "FromImage")
            .map(|at| given.remove(at));
        let mut made = said.unwrap_or_else(|| json!({ "lun": disk["lun"] }));
        made["createOption"] = json!("FromImage");
        for field in ["caching", "diskSizeGB"] {
            if made.get(field).is_none() {
                made[field] = disk[field].clone();
            }
        }
        // A managed image knows it, one of a gallery does not.
        if let (None, Some(storage)) = (
            made.pointer("/managedDisk/storageAccountType"),
            disk.get("storageAccountType"),
        ) {
            made["managedDisk"]["storageAccountType"] = storage.clone();
        }
        own.push(made);
    }
    own.append(&mut given);
    let mut luns = Vec::new();
    let mut finished = Vec::new();
    for mut disk in own {
        let lun = disk["lun"].as_u64().unwrap_or_default();
        if luns.contains(&lun) {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                format!("A disk at LUN {lun} already exists."),
            )
            .with_target("dataDisk.lun"));
        }
        luns.push(lun);
        match disk["createOption"].as_str() {
            Some("Attach") => {
                let found = check::disk_to_attach(context, &disk, body, "dataDisk")?;
                disk["name"] = found.body["name"].clone();
                disk["managedDisk"]["id"] = json!(found.id);
                disk["managedDisk"]["storageAccountType"] = found.body["sku"]["name"].clone();
                disk["diskSizeGB"] = found.body["properties"]["diskSizeGB"].clone();
            }
            Some("Empty") if disk["diskSizeGB"].is_u64() => {
                if let Some(name) = disk["name"].as_str() {
                    names::check(Kind::Disk, name)?;
                }
            }
            Some("Empty") => return Err(ArmError::missing_parameter("dataDisk.diskSizeGB")),
            Some("FromImage") if disk["diskSizeGB"].is_u64() => {}
            other => {
                return Err(ArmError::not_implemented(format!(
                    "data disks with createOption '{}'",
                    other.unwrap_or_default()
                )));
            }
        }
        for (field, value) in [
            ("caching", json!("None")),
            ("deleteOption", json!("Detach")),
            ("toBeDetached", json!(false)),
        ] {
            if disk.get(field).is_none() {
                disk[field] = value;
            }
        }
        finished.push(disk);
    }
    Ok(finished)
}

/// What the service adds to a new machine, and what it never gives back.
pub(super) fn fill_in(
    context: &Context<'_>,
    body: &mut Value,
    size: &Size,
    source: &Source,
    interfaces: &[String],
    data_disks: Vec<Value>,
) {
    let now = timestamp(context.now);
    let properties = &mut body["properties"];
    properties["vmId"] = json!(Uuid::new_v4());
    properties["hardwareProfile"]["vmSize"] = json!(size.name);
    properties["timeCreated"] = json!(now);
    properties["provisioningState"] = json!("Creating");
    if let Some(properties) = properties.as_object_mut() {
        properties.remove("instanceView");
        properties.remove("userData");
    }
    let os_disk = &mut properties["storageProfile"]["osDisk"];
    match source {
        Source::Image(image) => {
            let of_image = &image.body["properties"]["storageProfile"]["osDisk"];
            os_disk["osType"] = of_image["osType"].clone();
            if os_disk["managedDisk"].get("storageAccountType").is_none() {
                os_disk["managedDisk"]["storageAccountType"] = of_image
                    .get("storageAccountType")
                    .cloned()
                    .unwrap_or_else(|| json!(size.best_storage()));
            }
            if os_disk.get("diskSizeGB").is_none() {
                os_disk["diskSizeGB"] = of_image["diskSizeGB"].clone();
            }
        }
        Source::Disk(disk) => {
            os_disk["name"] = disk.body["name"].clone();
            os_disk["managedDisk"]["id"] = json!(disk.id);
            os_disk["managedDisk"]["storageAccountType"] = disk.body["sku"]["name"].clone();
            os_disk["diskSizeGB"] = disk.body["properties"]["diskSizeGB"].clone();
        }
    }
    for (field, value) in [("caching", "None"), ("deleteOption", "Detach")] {
        if os_disk.get(field).is_none() {
            os_disk[field] = json!(value);
        }
    }
    let mut data_disks = data_disks;
    for disk in &mut data_disks {
        if disk["createOption"] == "FromImage"
            && disk.pointer("/managedDisk/storageAccountType").is_none()
        {
            disk["managedDisk"]["storageAccountType"] = json!(size.best_storage());
        }
    }
    properties["storageProfile"]["dataDisks"] = json!(data_disks);
    if let Source::Image(image) = source {
        let reference = &mut properties["storageProfile"]["imageReference"];
        if gallery::is_gallery_image(&image.id) {
            // The client's own id stays: it may be that of the definition.
            reference["exactVersion"] = json!(leaf(&image.id));
        } else {
            reference["id"] = json!(image.id);
        }
    }
    let profile = properties
        .get_mut("osProfile")
        .and_then(Value::as_object_mut);
    if let Some(profile) = profile {
        profile.remove("adminPassword");
        profile.remove("customData");
        for (field, value) in [
            ("secrets", json!([])),
            ("allowExtensionOperations", json!(true)),
            ("requireGuestProvisionSignal", json!(true)),
        ] {
            profile.entry(field).or_insert(value);
        }
        if let Some(linux) = profile
            .entry("linuxConfiguration")
            .or_insert_with(|| json!({ "disablePasswordAuthentication": false }))
            .as_object_mut()
        {
            linux.entry("provisionVMAgent").or_insert(json!(true));
            let patches = linux.entry("patchSettings").or_insert_with(|| json!({}));
            for field in ["patchMode", "assessmentMode"] {
                if patches.get(field).is_none() {
                    patches[field] = json!("ImageDefault");
                }
            }
        }
    }
    let given = properties["networkProfile"]["networkInterfaces"].as_array_mut();
    for (interface, id) in given.into_iter().flatten().zip(interfaces) {
        interface["id"] = json!(id);
    }
}

/// The end of the creation of a machine: its OS disk is there and it runs. `None` while it has to
/// wait.
pub(crate) fn created(
    context: &mut Context<'_>,
    operation: Uuid,
    id: &str,
) -> Option<Result<Option<Value>>> {
    let Some(machine) = context.state.resource(id).cloned() else {
        return Some(Err(gone(id)));
    };
    let made = match content::grow(context, operation, &machine.body)? {
        Ok(()) => make_disks(context, id, machine.body),
        Err(error) => Err(error),
    };
    let started = match made {
        Ok(()) => machine::power(context, operation, id, Power::Running)?,
        Err(error) => Err(error),
    };
    Some(match started {
        Ok(()) => {
            set_state(context.state.resource_mut(id), "Succeeded");
            identity::complete(context, id);
            set_power(context, id, Power::Running);
            Ok(None)
        }
        Err(error) => {
            set_state(context.state.resource_mut(id), "Failed");
            Err(error)
        }
    })
}

/// Makes the disks that come with a machine, unless they are there already.
fn make_disks(context: &mut Context<'_>, id: &str, mut body: Value) -> Result<()> {
    let vm = ResourceId::parse(id).ok_or_else(|| gone(id))?;
    refuse_shrinking(context, &body)?;
    let image = image_of(context, &body);
    // What an OS disk has from its image.
    let of_image: Vec<(&str, Value)> = ["hyperVGeneration", "supportedCapabilities"]
        .into_iter()
        .filter_map(|field| {
            let value = image.as_ref()?.body["properties"].get(field)?;
            (!value.is_null()).then(|| (field, value.clone()))
        })
        .collect();
    let image = image.map(|image| image.id);
    let mut number = 1;
    let profile = body["properties"]["storageProfile"].clone();
    let mut os_disk = profile["osDisk"].clone();
    make_disk(
        context,
        &vm,
        &body,
        &mut os_disk,
        number,
        image.as_deref(),
        of_image,
    )?;
    body["properties"]["storageProfile"]["osDisk"] = os_disk;
    let mut finished = Vec::new();
    for mut disk in profile["dataDisks"].as_array().cloned().unwrap_or_default() {
        number += 1;
        let image = image
            .as_deref()
            .filter(|_| disk["createOption"] == "FromImage");
        make_disk(context, &vm, &body, &mut disk, number, image, Vec::new())?;
        finished.push(disk);
    }
    body["properties"]["storageProfile"]["dataDisks"] = json!(finished);
    if let Some(machine) = context.state.resource_mut(id) {
        machine.body = body;
    }
    Ok(())
}

/// The image that a machine is made of: a managed one, or a gallery's in the form of one.
fn image_of(context: &Context<'_>, body: &Value) -> Option<Resource> {
    let reference = &body["properties"]["storageProfile"]["imageReference"];
    let id = reference["id"].as_str()?;
    if gallery::is_gallery_image(id) {
        return gallery::used_image(context.state, reference);
    }
    context.state.resource(id).cloned()
}

/// An OS disk cannot be smaller than its image. Azure finds out while it creates the machine.
fn refuse_shrinking(context: &Context<'_>, body: &Value) -> Result<()> {
    let profile = &body["properties"]["storageProfile"];
    let image = image_of(context, body);
    let of_image = image.and_then(|image| {
        image.body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"].as_u64()
    });
    match (of_image, profile["osDisk"]["diskSizeGB"].as_u64()) {
        (Some(least), Some(wanted)) if wanted < least => Err(ArmError::compute(
            409,
            "InvalidParameter",
            "Disks or snapshot cannot be resized down.",
        )),
        _ => Ok(()),
    }
}

/// Makes a disk that comes with its machine, if it is not an attached one.
pub(super) fn make_disk(
    context: &mut Context<'_>,
    vm: &ResourceId,
    body: &Value,
    disk: &mut Value,
    number: u32,
    image: Option<&str>,
    of_image: Vec<(&str, Value)>,
) -> Result<()> {
    if disk["managedDisk"]["id"].is_string() {
        return Ok(());
    }
    let name = match disk["name"].as_str() {
        Some(name) => name.to_owned(),
        None => format!("{}_disk{number}_{}", vm.name, Uuid::new_v4().simple()),
    };
    let id = ResourceId {
        kind: Kind::Disk,
        name: name.clone(),
        ..vm.clone()
    };
    if context.state.resource(&id.to_string()).is_some() {
        return Err(ArmError::compute(
            409,
            "ConflictingUserInput",
            format!(
                "Disk {name} already exists in resource group {}. Only CreateOption.Attach is supported.",
                vm.group
            ),
        ));
    }
    if disk["managedDisk"].get("storageAccountType").is_none() {
        disk["managedDisk"]["storageAccountType"] = json!("Standard_LRS");
    }
    let size = disk["diskSizeGB"].clone();
    let made = match image {
        Some(_) => Made::OfImage(disk["lun"].as_u64()),
        None => Made::Empty(size.as_u64().unwrap_or_default()),
    };
    let file = context.arm.settings().disk_file(&id.group, &name);
    let inner = content::make(context, body, &file, &made)
        .map_err(|error| ArmError::internal("make a disk of a virtual machine", error))?;
    let mut resource = json!({
        "location": body["location"],
        "sku": { "name": disk["managedDisk"]["storageAccountType"] },
        "properties": {
            "diskSizeGB": size,
            "diskSizeBytes": inner.length - FOOTER,
            "creationData": match image {
                Some(image) => {
                    let mut reference = json!({ "id": image });
                    if let Some(lun) = disk.get("lun") {
                        reference["lun"] = lun.clone();
                    }
                    let field = if gallery::is_gallery_image(image) {
                        "galleryImageReference"
                    } else {
                        "imageReference"
                    };
                    json!({ "createOption": "FromImage", field: reference })
                }
                None => json!({ "createOption": "Empty" }),
            },
        },
    });
    if let Some(os_type) = disk.get("osType") {
        resource["properties"]["osType"] = os_type.clone();
    }
    let is_of_image = image.is_some();
    for (field, value) in of_image {
        resource["properties"][field] = value;
    }
    if let Some(zones) = body.get("zones") {
        resource["zones"] = zones.clone();
    }
    let security = &body["properties"]["securityProfile"]["securityType"];
    if is_of_image && disk.get("lun").is_none() && *security == "TrustedLaunch" {
        resource["properties"]["securityProfile"] = json!({ "securityType": security });
    }
    identify(&mut resource, &id);
    disks::fill_in(&mut resource, &timestamp(context.now));
    context.state.insert(Resource {
        id: id.to_string(),
        body: resource,
        inner: Inner::Disk(inner),
    });
    disk["name"] = json!(name);
    disk["managedDisk"]["id"] = json!(id.to_string());
    disks::attach(
        context,
        &id.to_string(),
        Some((&vm.to_string(), Power::Running)),
    );
    Ok(())
}
