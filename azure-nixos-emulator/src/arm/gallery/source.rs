//! What an image version is made of: an image, another version, a machine, or disks and snapshots.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::answer::Result;
use super::super::disks;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId};
use super::super::vms;
use super::super::{Context, blob_source};
use super::reference::find_version;
use super::regions;
use crate::state::{Inner, Resource};

const PROFILE: &str = "galleryImageVersion.properties.storageProfile";

/// One disk of the version.
struct Part {
    /// `None` is the OS disk.
    lun: Option<u64>,
    file: PathBuf,
    /// In GiB.
    size: Value,
    caching: Value,
    /// What the document says that it is made of.
    source: Option<Value>,
}

/// What a source says of itself, where it says it.
struct Nature {
    /// What messages call it.
    id: String,
    generation: Option<String>,
    os_type: Option<String>,
    os_state: Option<String>,
    architecture: Option<String>,
}

impl Nature {
    /// Of a VHD, which says nothing of itself.
    fn unknown(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            generation: None,
            os_type: None,
            os_state: None,
            architecture: None,
        }
    }
}

/// The content of a new version.
pub(super) struct Content {
    parts: Vec<Part>,
    /// Whether none of the files is ever written again.
    pub(super) frozen: bool,
    nature: Nature,
}

fn invalid(message: impl Into<String>) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target(PROFILE)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(ToOwned::to_owned)
}

/// Finds the content that a storage profile names, for a version in `location`.
pub(super) fn find(context: &Context<'_>, profile: &Value, location: &str) -> Result<Content> {
    let source = &profile["source"];
    let has_disks = !profile["osDiskImage"]["source"].is_null()
        || profile["dataDiskImages"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|disk| !disk["source"].is_null());
    let whole = ["id", "virtualMachineId", "communityGalleryImageId"]
        .iter()
        .find_map(|field| source[*field].as_str());
    match (whole, has_disks) {
        (Some(_), true) => Err(invalid(
            "The gallery artifact version source can only be specified either directly under storageProfile or within individual OS or data disks",
        )),
        (Some(_), _) if source["communityGalleryImageId"].is_string() => {
            Err(ArmError::not_implemented("images of community galleries"))
        }
        (Some(id), false) => of_whole(context, id, location),
        (None, true) => of_disks(context, profile, location),
        (None, false) => Err(ArmError::missing_parameter(&format!("{PROFILE}.source"))),
    }
}

/// Something that has all of the disks.
fn of_whole(context: &Context<'_>, id: &str, location: &str) -> Result<Content> {
    let parsed = ResourceId::parse(id);
    let content = match parsed.as_ref().map(|id| id.kind) {
        Some(Kind::Image) => of_image(existing(context, id)?)?,
        Some(Kind::GalleryVersion) => {
            let version = find_version(context.state, id).ok_or_else(|| not_found(id))?;
            if !regions::is_in(context, version, location) {
                return Err(invalid(format!(
                    "The source gallery image version '{}' is not replicated to '{location}', where the new version is to be.",
                    version.id
                )));
            }
            return of_version(context, version);
        }
        Some(Kind::Vm) => of_machine(context, existing(context, id)?)?,
        _ => {
            return Err(invalid(format!(
                "The source '{id}' is no image, no virtual machine and no gallery image version."
            )));
        }
    };
    require_location(context, id, location)?;
    Ok(content)
}

fn of_image(image: &Resource) -> Result<Content> {
    let Inner::Image(inner) = &image.inner else {
        return Err(not_found(&image.id));
    };
    require_succeeded(image)?;
    let properties = &image.body["properties"];
    let profile = &properties["storageProfile"];
    let disks = profile["dataDisks"].as_array();
    let parts = std::iter::once((None, &profile["osDisk"]))
        .chain(
            disks
                .into_iter()
                .flatten()
                .map(|disk| (disk["lun"].as_u64(), disk)),
        )
        .zip(&inner.files)
        .map(|((lun, disk), file)| Part {
            lun,
            file: file.clone(),
            size: disk["diskSizeGB"].clone(),
            caching: disk["caching"].clone(),
            // An image's version has an empty source at its OS disk and none at the others.
            source: lun.is_none().then(|| json!({})),
        })
        .collect();
    Ok(Content {
        parts,
        frozen: true,
        nature: Nature {
            id: image.id.clone(),
            generation: text(&properties["hyperVGeneration"]),
            os_type: text(&profile["osDisk"]["osType"]),
            os_state: text(&profile["osDisk"]["osState"]),
            // A managed image is never for Arm64.
            architecture: Some("x64".to_owned()),
        },
    })
}

fn of_version(context: &Context<'_>, version: &Resource) -> Result<Content> {
    let Inner::Image(inner) = &version.inner else {
        return Err(not_found(&version.id));
    };
    require_succeeded(version)?;
    let definition = ResourceId::parse(&version.id)
        .and_then(|id| id.parent())
        .and_then(|id| context.state.resource(&id.to_string()))
        .map(|definition| &definition.body["properties"])
        .ok_or_else(|| not_found(&version.id))?;
    let profile = &version.body["properties"]["storageProfile"];
    let parts = std::iter::once((None, &profile["osDiskImage"]))
        .chain(
            profile["dataDiskImages"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|disk| (disk["lun"].as_u64(), disk)),
        )
        .zip(&inner.files)
        .map(|((lun, disk), file)| Part {
            lun,
            file: file.clone(),
            size: disk["sizeInGB"].clone(),
            caching: disk["hostCaching"].clone(),
            source: lun.is_none().then(|| json!({})),
        })
        .collect();
    Ok(Content {
        parts,
        frozen: true,
        nature: Nature {
            id: version.id.clone(),
            generation: text(&definition["hyperVGeneration"]),
            os_type: text(&definition["osType"]),
            os_state: text(&definition["osState"]),
            architecture: text(&definition["architecture"]),
        },
    })
}

/// A machine gives the content of its disks as it is now.
fn of_machine(context: &Context<'_>, machine: &Resource) -> Result<Content> {
    let profile = &machine.body["properties"]["storageProfile"];
    let mut parts = Vec::new();
    let mut nature = None;
    let disks = std::iter::once((None, &profile["osDisk"])).chain(
        profile["dataDisks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|disk| (disk["lun"].as_u64(), disk)),
    );
    for (lun, disk) in disks {
        let id = disk["managedDisk"]["id"].as_str().unwrap_or_default();
        let found = existing(context, id)?;
        if lun.is_none() {
            let mut of_disk = disk_nature(found);
            of_disk.id.clone_from(&machine.id);
            of_disk.os_state = Some(
                if vms::is_generalized(machine) {
                    "Generalized"
                } else {
                    "Specialized"
                }
                .to_owned(),
            );
            nature = Some(of_disk);
        }
        parts.push(Part {
            lun,
            file: disks::content(context, found)?,
            size: found.body["properties"]["diskSizeGB"].clone(),
            caching: disk["caching"].clone(),
            source: lun.is_none().then(|| json!({})),
        });
    }
    Ok(Content {
        parts,
        frozen: false,
        nature: nature.ok_or_else(|| not_found(&machine.id))?,
    })
}

/// Disks and snapshots, each for its own disk of the version.
fn of_disks(context: &Context<'_>, profile: &Value, location: &str) -> Result<Content> {
    let mut parts = Vec::new();
    let mut nature = None;
    let mut frozen = true;
    let disks = std::iter::once((None, &profile["osDiskImage"])).chain(
        profile["dataDiskImages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|disk| (disk["lun"].as_u64(), disk)),
    );
    for (lun, disk) in disks {
        let source = &disk["source"];
        if parts.iter().any(|part: &Part| part.lun == lun) {
            return Err(invalid(format!(
                "The data disk images have more than one at LUN {}.",
                lun.unwrap_or_default()
            )));
        }
        if let Some(uri) = source["uri"].as_str() {
            // The account has been the `id` of the source before it had a field of its own.
            let account = source["storageAccountId"]
                .as_str()
                .or_else(|| source["id"].as_str());
            let found = blob_source::find(context, uri, account, location)?;
            frozen = false;
            if lun.is_none() {
                nature = Some(Nature::unknown(&found.uri));
            }
            let mut source = source.clone();
            source["uri"] = json!(found.uri);
            parts.push(Part {
                lun,
                size: json!(found.size()),
                file: found.file,
                caching: disk["hostCaching"].clone(),
                source: Some(source),
            });
            continue;
        }
        let Some(id) = source["id"].as_str() else {
            return Err(ArmError::missing_parameter(&match lun {
                None => format!("{PROFILE}.osDiskImage.source"),
                Some(lun) => format!("{PROFILE}.dataDiskImages[lun {lun}].source"),
            }));
        };
        let found = existing(context, id)?;
        let kind = ResourceId::parse(&found.id).map(|id| id.kind);
        match kind {
            Some(Kind::Snapshot) => {}
            // `az` takes disks for this as well; no recording shows what the service says.
            Some(Kind::Disk) if context.arm.settings().versions_from_disks => frozen = false,
            _ => {
                return Err(invalid(format!(
                    "The source '{id}' of a disk of a gallery image version is no snapshot."
                )));
            }
        }
        require_location(context, id, location)?;
        context.refuse_while_busy(&found.id, Origin::Provider)?;
        if !matches!(
            disks::state_of(found),
            "Unattached" | "Attached" | "Reserved" | "ActiveSAS"
        ) {
            return Err(disks::wrong_state(found, "made a gallery image version of"));
        }
        if lun.is_none() {
            nature = Some(disk_nature(found));
        }
        parts.push(Part {
            lun,
            file: disks::content(context, found)?,
            size: found.body["properties"]["diskSizeGB"].clone(),
            caching: disk["hostCaching"].clone(),
            source: Some(source.clone()),
        });
    }
    Ok(Content {
        parts,
        frozen,
        nature: nature
            .ok_or_else(|| ArmError::missing_parameter(&format!("{PROFILE}.osDiskImage.source")))?,
    })
}

fn disk_nature(disk: &Resource) -> Nature {
    let properties = &disk.body["properties"];
    Nature {
        id: disk.id.clone(),
        generation: text(&properties["hyperVGeneration"]),
        os_type: text(&properties["osType"]),
        // Nobody knows it of a disk: it is what the definition says.
        os_state: None,
        architecture: text(&properties["supportedCapabilities"]["architecture"]),
    }
}

impl Content {
    /// What keeps this from being a version of a definition. Azure looks when it has begun, so that
    /// the version is there and has failed. Conflict is the code for the generation, as reported,
    /// and BadRequest that for the state; those for the others are a guess.
    pub(super) fn mismatch(&self, definition: &Value) -> Option<(u16, &'static str, String)> {
        let nature = &self.nature;
        for (field, called, is, status, code) in [
            (
                "hyperVGeneration",
                "Hypervisor generation",
                &nature.generation,
                409,
                "Conflict",
            ),
            ("osState", "OS state", &nature.os_state, 400, "BadRequest"),
            ("osType", "OS type", &nature.os_type, 400, "BadRequest"),
            (
                "architecture",
                "architecture",
                &nature.architecture,
                400,
                "BadRequest",
            ),
        ] {
            let wanted = definition[field].as_str().unwrap_or_default();
            if let Some(is) = is
                && is != wanted
            {
                return Some((
                    status,
                    code,
                    format!(
                        "The resource with id '{}' has a different {called} ['{is}'] than the parent gallery image {called} ['{wanted}'].",
                        nature.id
                    ),
                ));
            }
        }
        None
    }

    /// The files in the order of an image's, and where they are to be for a version's `file`.
    pub(super) fn files(&self, file: &std::path::Path) -> Vec<(PathBuf, PathBuf)> {
        self.parts
            .iter()
            .map(|part| {
                let to = match part.lun {
                    None => file.to_owned(),
                    Some(lun) => super::super::images::lun_file(file, lun),
                };
                (part.file.clone(), to)
            })
            .collect()
    }

    /// The storage profile of the finished version. Its sizes and cachings are shown at the end
    /// only where the request did not name the disks.
    pub(super) fn profile(&self, given: &Value) -> Value {
        let mut profile = json!({});
        if let Some(source) = given.get("source") {
            profile["source"] = source.clone();
        }
        let mut data_disks = Vec::new();
        for part in &self.parts {
            let caching = match (&part.caching, part.lun) {
                (Value::Null, None) => json!("ReadWrite"),
                (Value::Null, Some(_)) => json!("ReadOnly"),
                (caching, _) => caching.clone(),
            };
            let mut disk = json!({ "sizeInGB": part.size, "hostCaching": caching });
            if let Some(source) = &part.source {
                disk["source"] = source.clone();
            }
            match part.lun {
                None => profile["osDiskImage"] = disk,
                Some(lun) => {
                    disk["lun"] = json!(lun);
                    data_disks.push(disk);
                }
            }
        }
        if !data_disks.is_empty() {
            profile["dataDiskImages"] = json!(data_disks);
        }
        profile
    }
}

fn existing<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Resource> {
    context.state.resource(id).ok_or_else(|| not_found(id))
}

fn not_found(id: &str) -> ArmError {
    ArmError::compute(
        404,
        "NotFound",
        format!("The resource '{id}' is not found."),
    )
    .with_target(PROFILE)
}

fn require_succeeded(source: &Resource) -> Result<()> {
    let state = &source.body["properties"]["provisioningState"];
    if matches!(state.as_str(), Some("Succeeded" | "Updating")) {
        return Ok(());
    }
    Err(ArmError::compute(
        409,
        "Conflict",
        format!(
            "The source '{}' is in provisioning state '{}'; a gallery image version can be made of it once it is 'Succeeded'.",
            source.id,
            state.as_str().unwrap_or_default()
        ),
    ))
}

/// A version is made where its source is. That it has to be is documented, the words are not.
fn require_location(context: &Context<'_>, id: &str, location: &str) -> Result<()> {
    let there = existing(context, id)?.body["location"]
        .as_str()
        .unwrap_or_default();
    if there == location {
        return Ok(());
    }
    Err(invalid(format!(
        "The source '{id}' is in location '{there}' and the gallery image version in '{location}'. They must be in the same location."
    )))
}
