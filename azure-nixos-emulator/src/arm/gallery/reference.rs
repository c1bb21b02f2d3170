//! References to images of galleries, by machines and disks: to a version, or to the latest of an
//! image definition.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::id::{Kind, ResourceId};
use super::{regions, versions};
use crate::state::{Resource, State};

/// Whether an id is one of a gallery's.
pub(crate) fn is_gallery_image(id: &str) -> bool {
    id.to_ascii_lowercase().contains("/galleries/")
}

/// A version by its id, which is not that of the latest.
pub(super) fn find_version<'a>(state: &'a State, id: &str) -> Option<&'a Resource> {
    let parsed = ResourceId::parse(id)?;
    (parsed.kind == Kind::GalleryVersion)
        .then(|| state.resource(&parsed.to_string()))
        .flatten()
}

/// The image that a machine in `location` is made of: the version of a reference to a version, or
/// the latest of a reference to a definition. It has the form of a managed image.
pub(crate) fn image(context: &Context<'_>, id: &str, location: &str) -> Result<Resource> {
    let parsed = ResourceId::parse(id).filter(|id| id.kind != Kind::Gallery);
    let Some(parsed) = parsed else {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!("The value '{id}' of parameter 'imageReference.id' is not allowed."),
        )
        .with_target("imageReference.id"));
    };
    let version = match wanted(&parsed) {
        Wanted::Version => find_version(context.state, id),
        Wanted::Latest(definition) => latest(context, &definition, location),
    };
    // A version that is not there and one that is elsewhere are told apart by nothing.
    version
        .filter(|version| regions::is_in(context, version, location))
        .and_then(|version| as_image(context.state, version))
        .ok_or_else(|| {
            ArmError::compute(
                404,
                "GalleryImageNotFound",
                format!(
                    "\"The gallery image {id} is not available in {location} region. Please contact image owner to replicate to this region, or change your requested region.\""
                ),
            )
            .with_target("imageReference")
        })
}

enum Wanted {
    Version,
    /// Of this definition.
    Latest(ResourceId),
}

fn wanted(id: &ResourceId) -> Wanted {
    match (id.kind, id.parent()) {
        (Kind::GalleryVersion, Some(definition)) if id.leaf().eq_ignore_ascii_case("latest") => {
            Wanted::Latest(definition)
        }
        (Kind::GalleryVersion, _) => Wanted::Version,
        _ => Wanted::Latest(id.clone()),
    }
}

/// The highest version that can be the latest and is in the location.
fn latest<'a>(
    context: &'a Context<'_>,
    definition: &ResourceId,
    location: &str,
) -> Option<&'a Resource> {
    let definition = definition.to_string();
    context
        .state
        .resources
        .values()
        .filter_map(|resource| {
            let id = ResourceId::parse(&resource.id)?;
            let is_of = id.kind == Kind::GalleryVersion
                && id
                    .parent()
                    .is_some_and(|parent| parent.to_string().eq_ignore_ascii_case(&definition));
            (is_of
                && regions::can_be_latest(&resource.body, location)
                && regions::is_in(context, resource, location))
            .then(|| (versions::numbers(&id), resource))
        })
        .max_by_key(|(numbers, _)| *numbers)
        .map(|(_, version)| version)
}

/// The version that a machine's document refers to, in the form of a managed image.
pub(crate) fn used_image(state: &State, reference: &Value) -> Option<Resource> {
    let id = ResourceId::parse(reference["id"].as_str()?)?;
    let version = match wanted(&id) {
        Wanted::Version => id,
        Wanted::Latest(definition) => ResourceId {
            kind: Kind::GalleryVersion,
            name: format!(
                "{}/{}",
                definition.name,
                reference["exactVersion"].as_str()?
            ),
            ..definition
        },
    };
    as_image(state, find_version(state, &version.to_string())?)
}

/// What a managed image says in its document, said of a version.
fn as_image(state: &State, version: &Resource) -> Option<Resource> {
    let definition = ResourceId::parse(&version.id)?.parent()?;
    let definition = &state.resource(&definition.to_string())?.body["properties"];
    let profile = &version.body["properties"]["storageProfile"];
    let os_disk = &profile["osDiskImage"];
    let data_disks: Vec<Value> = profile["dataDiskImages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|disk| {
            json!({
                "lun": disk["lun"],
                "diskSizeGB": disk["sizeInGB"],
                "caching": disk["hostCaching"],
            })
        })
        .collect();
    let feature = |name: &str| {
        definition["features"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|feature| {
                feature["name"]
                    .as_str()
                    .is_some_and(|given| given.eq_ignore_ascii_case(name))
            })
            .map(|feature| feature["value"].clone())
    };
    let mut capabilities = json!({ "architecture": definition["architecture"] });
    if let Some(controllers) = feature("DiskControllerTypes") {
        capabilities["diskControllerTypes"] = controllers;
    }
    Some(Resource {
        id: version.id.clone(),
        body: json!({
            "location": version.body["location"],
            "properties": {
                "provisioningState": version.body["properties"]["provisioningState"],
                "hyperVGeneration": definition["hyperVGeneration"],
                "supportedCapabilities": capabilities,
                "securityType": feature("SecurityType"),
                "storageProfile": {
                    "osDisk": {
                        "osType": definition["osType"],
                        "osState": definition["osState"],
                        "diskSizeGB": os_disk["sizeInGB"],
                    },
                    "dataDisks": data_disks,
                },
            },
        }),
        inner: version.inner.clone(),
    })
}

/// Whether the security type of a machine is one that its image is for. The first sentence is
/// Azure's; those for machines that want more than their image offers are a guess.
pub(crate) fn check_security(image: &Resource, machine: Option<&str>) -> Result<()> {
    let machine = machine.unwrap_or("Standard");
    let offered = image.body["properties"]["securityType"]
        .as_str()
        .unwrap_or("Standard");
    let refused = |message: String| Err(ArmError::compute(400, "BadRequest", message));
    let fits = match offered {
        "TrustedLaunch" | "ConfidentialVM" if machine != offered => {
            return refused(format!(
                "The provided gallery image only supports creation of VMs and VM Scale Sets with '{offered}' security type."
            ));
        }
        "TrustedLaunch" | "ConfidentialVM" | "TrustedLaunchAndConfidentialVmSupported" => true,
        "TrustedLaunchSupported" => machine != "ConfidentialVM",
        "ConfidentialVMSupported" => machine != "TrustedLaunch",
        _ => machine == "Standard",
    };
    if fits {
        return Ok(());
    }
    refused(format!(
        "The provided gallery image does not support creation of VMs and VM Scale Sets with '{machine}' security type."
    ))
}
