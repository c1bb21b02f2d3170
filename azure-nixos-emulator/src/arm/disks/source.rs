//! Where the content of a new disk or snapshot comes from.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::answer::Result;
use super::super::error::{ArmError, Origin};
use super::super::gallery;
use super::super::id::{Kind, ResourceId};
use super::super::{Context, blob_source};
use super::{FOOTER, GIB, UPLOAD_SECURE, content, disk_name, state_of, wrong_state};
use crate::state::{Inner, Resource};

const MIB: u64 = 1 << 20;

/// The smallest and the largest upload, footer included.
const UPLOAD: std::ops::RangeInclusive<u64> = 20_972_032..=35_183_298_347_520;

/// Where the content of a new disk comes from.
pub(super) enum Content {
    /// An upload of this length.
    Upload(u64),
    /// Nothing, this long without the footer.
    Empty(u64),
    /// Something that is there.
    Copy(Copied),
}

/// Content that is there already.
pub(super) struct Copied {
    pub(super) file: PathBuf,
    /// Of the source's file, footer included.
    pub(super) length: u64,
    /// Whether the source is never written again, and the new disk does not need to be longer.
    pub(super) frozen: bool,
    /// What the new disk is, where its request does not say so.
    inherited: Value,
    /// What is added to `creationData`.
    creation: Value,
}

impl Copied {
    /// Completes the properties of the new disk.
    pub(super) fn describe(&self, properties: &mut Value) {
        for (name, value) in self.inherited.as_object().into_iter().flatten() {
            if properties.get(name).is_none() && !value.is_null() {
                properties[name] = value.clone();
            }
        }
        let Some(creation) = properties["creationData"].as_object_mut() else {
            return;
        };
        for (name, value) in self.creation.as_object().into_iter().flatten() {
            creation.insert(name.clone(), value.clone());
        }
        if creation.contains_key("sourceResourceId") {
            creation.remove("sourceUri");
        }
    }
}

fn out_of_range(
    name: &str,
    value: &Value,
    least: impl std::fmt::Display,
    most: impl std::fmt::Display,
) -> ArmError {
    ArmError::compute(
        400,
        "InvalidParameter",
        format!(
            "The value '{value}' of parameter '{name}' is out of range. The value must be between '{least}' and '{most}', inclusive."
        ),
    )
    .with_target(name)
}

/// Checks where the content of a new disk or snapshot in `location` comes from.
pub(super) fn find(
    context: &Context<'_>,
    kind: Kind,
    properties: &Value,
    location: &str,
) -> Result<Content> {
    let creation = &properties["creationData"];
    match creation["createOption"].as_str().unwrap_or_default() {
        option @ ("Upload" | UPLOAD_SECURE) => upload(option, properties),
        "Empty" => empty(properties),
        "Copy" => Ok(Content::Copy(resource(
            context, kind, properties, location,
        )?)),
        "FromImage" => Ok(Content::Copy(image(context, properties, location)?)),
        "Import" => Ok(Content::Copy(blob(context, properties, location)?)),
        other => Err(ArmError::not_implemented(format!(
            "{} with createOption '{other}'",
            kind.short()
        ))),
    }
}

fn upload(option: &str, properties: &Value) -> Result<Content> {
    const NAME: &str = "disk.creationData.uploadSizeBytes";
    let Some(given) = properties["creationData"].get("uploadSizeBytes") else {
        return Err(ArmError::missing_parameter(NAME));
    };
    let bytes = given.as_u64().unwrap_or_default();
    if !UPLOAD.contains(&bytes) {
        return Err(out_of_range(NAME, given, UPLOAD.start(), UPLOAD.end()));
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
            format!("Parameter 'diskSizeGB' is not allowed when 'creationData.createOption' is '{option}'."),
        )
        .with_target("diskSizeGB"));
    }
    if option == UPLOAD_SECURE && properties["securityProfile"]["securityType"].is_null() {
        return Err(ArmError::missing_parameter("disk.securityProfile"));
    }
    Ok(Content::Upload(bytes))
}

fn empty(properties: &Value) -> Result<Content> {
    let Some(given) = properties.get("diskSizeGB") else {
        return Err(ArmError::missing_parameter("disk.diskSizeGB"));
    };
    check_size(given)?;
    Ok(Content::Empty(given.as_u64().unwrap_or_default() * GIB))
}

/// Refuses a size in GiB that no disk has.
pub(super) fn check_size(given: &Value) -> Result<()> {
    if given
        .as_u64()
        .is_some_and(|size| (1..=65_536).contains(&size))
    {
        return Ok(());
    }
    Err(out_of_range("disk.diskSizeGB", given, 1, 65_536))
}

/// Refuses a size that is less than the content's. Says whether it is more.
fn grows(properties: &Value, least: u64) -> Result<bool> {
    let Some(given) = properties.get("diskSizeGB") else {
        return Ok(false);
    };
    check_size(given)?;
    let size = given.as_u64().unwrap_or_default();
    if size < least {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            "Disks or snapshot cannot be resized down.",
        )
        .with_target("diskSizeGB"));
    }
    Ok(size > least)
}

/// Another disk or snapshot.
fn resource(
    context: &Context<'_>,
    kind: Kind,
    properties: &Value,
    location: &str,
) -> Result<Copied> {
    let creation = &properties["creationData"];
    // Clients of before `sourceResourceId` give the id as a URI, which is taken still.
    let id = creation["sourceResourceId"].as_str().or_else(|| {
        creation["sourceUri"]
            .as_str()
            .filter(|uri| uri.starts_with('/'))
    });
    let Some(id) = id else {
        return Err(ArmError::missing_parameter(
            "disk.creationData.sourceResourceId",
        ));
    };
    let found = ResourceId::parse(id)
        .filter(|id| matches!(id.kind, Kind::Disk | Kind::Snapshot))
        .and_then(|id| context.state.resource(&id.to_string()));
    let Some(source) = found else {
        return Err(ArmError::compute(
            404,
            "NotFound",
            format!("Resource {} is not found.", disk_name(id)),
        ));
    };
    // A copy into another location is `CopyStart`. The words are a guess.
    if source.body["location"] != location {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "The source {} is in location '{}' and not in '{location}'. 'Copy' is within one location.",
                source.id,
                source.body["location"].as_str().unwrap_or_default()
            ),
        ));
    }
    context.refuse_while_busy(&source.id, Origin::Provider)?;
    // A snapshot can be taken of a disk that is in use.
    let state = state_of(source);
    let is_ready = matches!(state, "Unattached" | "Reserved" | "ActiveSAS")
        || (state == "Attached" && kind == Kind::Snapshot);
    if !is_ready {
        return Err(wrong_state(source, "copied"));
    }
    let is_snapshot = ResourceId::parse(&source.id).is_some_and(|id| id.kind == Kind::Snapshot);
    let file = content(context, source)?;
    let is = &source.body["properties"];
    let grows = grows(properties, is["diskSizeGB"].as_u64().unwrap_or_default())?;
    let mut inherited = json!({});
    for field in [
        "osType",
        "hyperVGeneration",
        "diskSizeGB",
        "supportedCapabilities",
        "securityProfile",
        "purchasePlan",
    ] {
        inherited[field] = is[field].clone();
    }
    Ok(Copied {
        file,
        length: length_of(source),
        frozen: is_snapshot && !grows,
        inherited,
        creation: json!({ "sourceResourceId": source.id, "sourceUniqueId": is["uniqueId"] }),
    })
}

/// A VHD in a storage account.
fn blob(context: &Context<'_>, properties: &Value, location: &str) -> Result<Copied> {
    let creation = &properties["creationData"];
    let Some(uri) = creation["sourceUri"].as_str() else {
        return Err(ArmError::missing_parameter("disk.creationData.sourceUri"));
    };
    let account = creation["storageAccountId"].as_str();
    let found = blob_source::find(context, uri, account, location)?;
    grows(properties, found.size())?;
    Ok(Copied {
        inherited: json!({ "diskSizeGB": found.size() }),
        file: found.file,
        length: found.length,
        // The blob is its client's, who may write it at any time.
        frozen: false,
        creation: json!({ "sourceUri": found.uri }),
    })
}

fn length_of(disk: &Resource) -> u64 {
    match &disk.inner {
        Inner::Disk(inner) => inner.length,
        _ => 0,
    }
}

/// A disk of an image version. Images of the marketplace are not here, and a managed image makes
/// disks only together with a machine.
fn image(context: &Context<'_>, properties: &Value, location: &str) -> Result<Copied> {
    let creation = &properties["creationData"];
    let reference = &creation["galleryImageReference"];
    if let Some(id) = creation["imageReference"]["id"].as_str() {
        return Err(match ResourceId::parse(id) {
            // That only images of the marketplace are taken here is documented; the words are a guess.
            Some(_) => ArmError::compute(
                400,
                "InvalidParameter",
                format!("The value '{id}' of parameter 'creationData.imageReference.id' is not allowed: it has to be the id of a platform image."),
            )
            .with_target("creationData.imageReference"),
            None => ArmError::compute(
                404,
                "PlatformImageNotFound",
                format!(
                    "The platform image '{id}' is not available. Verify that all fields in the storage profile are correct. For more details about storage profile information, please refer to https://aka.ms/storageprofile"
                ),
            )
            .with_target("imageReference"),
        });
    }
    if !reference["sharedGalleryImageId"].is_null()
        || !reference["communityGalleryImageId"].is_null()
    {
        return Err(ArmError::not_implemented(
            "images of shared and of community galleries",
        ));
    }
    let Some(id) = reference["id"].as_str() else {
        return Err(ArmError::missing_parameter(
            "disk.creationData.imageReference",
        ));
    };
    let image = gallery::image(context, id, location)?;
    let is = &image.body["properties"];
    let profile = &is["storageProfile"];
    let lun = reference["lun"].as_u64();
    let data_disks = profile["dataDisks"].as_array();
    let at = match lun {
        None => Some(0),
        Some(lun) => data_disks
            .into_iter()
            .flatten()
            .position(|disk| disk["lun"] == lun)
            .map(|at| at + 1),
    };
    let file = match (&image.inner, at) {
        (Inner::Image(inner), Some(at)) => inner.files.get(at).cloned(),
        _ => None,
    };
    let Some(file) = file else {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The image {} has no data disk at LUN {}.",
                image.id, reference["lun"]
            ),
        )
        .with_target("creationData.galleryImageReference.lun"));
    };
    let size = match at {
        Some(at) if at > 0 => &profile["dataDisks"][at - 1]["diskSizeGB"],
        _ => &profile["osDisk"]["diskSizeGB"],
    };
    let grows = grows(properties, size.as_u64().unwrap_or_default())?;
    let length = std::fs::metadata(&file)
        .map_err(|error| ArmError::internal("find the content of an image", error))?
        .len();
    let inherited = match lun {
        Some(_) => json!({ "diskSizeGB": size }),
        None => json!({
            "diskSizeGB": size,
            "osType": profile["osDisk"]["osType"],
            "hyperVGeneration": is["hyperVGeneration"],
            "supportedCapabilities": is["supportedCapabilities"],
        }),
    };
    Ok(Copied {
        file,
        length,
        frozen: !grows,
        inherited,
        creation: json!({}),
    })
}
