//! What a machine boots from: a managed image, a version of a gallery's image, or a copy of a disk.

use super::image::ImageReference;
use crate::arm::compute::{
    DISKS, Disk, DiskState, GALLERY_IMAGES, GALLERY_VERSIONS, GalleryImage, GalleryVersion, Image,
};
use crate::arm::{Client, Location, ResourceId};
use crate::image::UNFINISHED_TAG;
use crate::{Error, ErrorKind, Generation, Result};

/// What a machine boots from, as far as it matters to the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// What the machine is made of: of a gallery always a version.
    pub(crate) id: ResourceId,
    pub(crate) kind: OriginKind,
    /// Where it is; at least one. The first is its home.
    pub(crate) locations: Vec<Location>,
    /// Whether a machine gets its name, user and keys at its first boot. Otherwise it has those of
    /// the disk.
    pub(crate) generalized: bool,
    pub(crate) generation: Generation,
    /// `x64` or `Arm64`.
    pub(crate) architecture: String,
    /// `SCSI`, `NVMe`.
    pub(crate) controllers: Vec<String>,
    /// In GiB; 0 where it is not known.
    pub(crate) size_gb: u64,
    /// The numbers of the data disks that come with it.
    pub(crate) luns: Vec<u32>,
    pub(crate) security: Security,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginKind {
    /// Of this one Azure takes no machine but a standard one.
    ManagedImage,
    GalleryVersion,
    Disk,
}

/// What firmware an origin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Standard,
    /// It boots with trusted launch, and without.
    TrustedLaunchSupported,
    /// It boots with trusted launch only.
    TrustedLaunch,
}

/// Where a machine may want to be, to choose among the regions that an origin is in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'a> {
    /// What the caller asked for.
    pub(crate) asked: Option<&'a Location>,
    /// Where its resource group is.
    pub(crate) group: Option<&'a Location>,
}

impl Origin {
    /// Finds it, and the region where a machine of it is to be.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Ambiguous`], [`ErrorKind::InvalidInput`] when no machine
    /// can be made of it, or none where it is wanted.
    pub(crate) async fn find(
        client: &Client,
        image: &ImageReference,
        wish: Wish<'_>,
    ) -> Result<(Self, Location)> {
        let origin = match image {
            ImageReference::Id(id) if id.is_kind(DISKS) => of_disk(find_disk(client, id).await?)?,
            ImageReference::Id(id) if id.is_kind(GALLERY_VERSIONS) && !is_latest(id) => {
                let version = client.gallery_version(id).await?;
                let version = version.ok_or_else(|| missing("image version", id))?;
                let definition = parent(id)?;
                of_version(find_definition(client, &definition).await?, version)?
            }
            ImageReference::Id(id)
                if id.is_kind(GALLERY_IMAGES) || id.is_kind(GALLERY_VERSIONS) =>
            {
                let definition = if is_latest(id) {
                    parent(id)?
                } else {
                    id.clone()
                };
                let (image, versions) = futures::try_join!(
                    find_definition(client, &definition),
                    client.gallery_versions(&definition),
                )?;
                let version = latest(versions, wish).ok_or_else(|| {
                    let place = wish
                        .asked
                        .map_or_else(String::new, |location| format!(" in {location}"));
                    Error::new(
                        ErrorKind::NotFound,
                        format!("the image definition {definition} has no version{place} that could be the latest"),
                    )
                    .with_hint("`az sig image-version list` lists the versions; pass the id of one")
                })?;
                of_version(image, version)?
            }
            other => of_image(other.find(client).await?)?,
        };
        match (origin.place(wish).cloned(), wish.asked) {
            (Ok(location), _) => Ok((origin, location)),
            (Err(elsewhere), None) => Err(elsewhere),
            // A region that there is not at all is the greater mistake.
            (Err(elsewhere), Some(asked)) => {
                client.check_location(asked).await?;
                Err(elsewhere)
            }
        }
    }

    /// The region: the one asked for, else that of the group where the origin is there too, else its
    /// home.
    fn place<'a>(&'a self, wish: Wish<'a>) -> Result<&'a Location> {
        // There is always one; a second look costs nothing.
        let home = self.locations.first().ok_or_else(no_location)?;
        match (wish.asked, wish.group) {
            (Some(asked), _) if self.locations.contains(asked) => Ok(asked),
            (Some(asked), _) => {
                let places: Vec<&str> = self.locations.iter().map(Location::as_str).collect();
                Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!(
                        "{} is in {}; a machine in {asked} cannot be made from it",
                        self.called(),
                        places.join(", ")
                    ),
                )
                .with_hint(match self.kind {
                    OriginKind::ManagedImage => {
                        format!("leave the location out, or upload the image to {asked} too")
                    }
                    OriginKind::GalleryVersion => {
                        format!("leave the location out, or replicate the version to {asked} too")
                    }
                    OriginKind::Disk => "leave the location out".to_owned(),
                }))
            }
            (None, Some(group)) if self.locations.contains(group) => Ok(group),
            (None, _) => Ok(home),
        }
    }

    /// It, in a sentence.
    pub(crate) fn called(&self) -> String {
        let name = self.id.name();
        match self.kind {
            OriginKind::ManagedImage => format!("the image {name}"),
            OriginKind::GalleryVersion => {
                let parts: Vec<&str> = self.id.as_str().rsplit('/').collect();
                let definition = parts.get(2).copied().unwrap_or_default();
                format!("the image {definition}, version {name},")
            }
            OriginKind::Disk => format!("the disk {name}"),
        }
    }
}

fn missing(what: &str, id: &ResourceId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {what} {id}"))
}

fn no_location() -> Error {
    Error::new(
        ErrorKind::Service,
        "the service describes an image without a location",
    )
}

fn no_id() -> Error {
    Error::new(
        ErrorKind::Service,
        "the service describes an image without its id",
    )
}

fn refused(what: impl std::fmt::Display, why: &str, hint: &'static str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("no machine can be made from {what}: {why}"),
    )
    .with_hint(hint)
}

/// Whether an id of a version stands for the newest of them.
fn is_latest(id: &ResourceId) -> bool {
    id.is_kind(GALLERY_VERSIONS) && id.name().eq_ignore_ascii_case("latest")
}

/// The definition of a version.
fn parent(version: &ResourceId) -> Result<ResourceId> {
    let text = version.as_str();
    let lower = text.to_ascii_lowercase();
    let at = lower.rfind("/versions/").unwrap_or(text.len());
    text[..at].parse()
}

async fn find_definition(client: &Client, id: &ResourceId) -> Result<GalleryImage> {
    client
        .gallery_image(id)
        .await?
        .ok_or_else(|| missing("image definition", id))
}

async fn find_disk(client: &Client, id: &ResourceId) -> Result<Disk> {
    client
        .disk_by_id(id)
        .await?
        .ok_or_else(|| missing("disk", id).with_hint("`az disk list -o table` lists the disks"))
}

/// The version with the highest number among those that can be used where the machine may be.
fn latest(versions: Vec<GalleryVersion>, wish: Wish<'_>) -> Option<GalleryVersion> {
    let newest = |location: Option<&Location>| {
        versions
            .iter()
            .filter(|version| match location {
                Some(location) => version.can_be_latest(location),
                None => {
                    Location::new(&version.location).is_ok_and(|home| version.can_be_latest(&home))
                }
            })
            .max_by_key(|version| version.numbers())
            .cloned()
    };
    match (wish.asked, wish.group) {
        (Some(asked), _) => newest(Some(asked)),
        // Without a word about the place, a version beside the group is meant if there is any.
        (None, group) => group
            .and_then(|group| newest(Some(group)))
            .or_else(|| newest(None)),
    }
}

fn of_image(image: Image) -> Result<Origin> {
    let id = image.id.ok_or_else(no_id)?;
    let disk = image.properties.storage_profile.os_disk;
    check_linux(&id, &disk.os_type)?;
    Ok(Origin {
        locations: vec![Location::new(&image.location)?],
        // One that says nothing is of the time when there was nothing to say.
        generalized: !disk.os_state.eq_ignore_ascii_case("Specialized"),
        generation: image
            .properties
            .hyper_v_generation
            .unwrap_or(Generation::V1),
        // Azure refuses managed images of the other architecture, and knows no other controller for
        // them.
        architecture: "x64".to_owned(),
        controllers: vec!["SCSI".to_owned()],
        size_gb: disk.disk_size_gb.unwrap_or(0),
        luns: image
            .properties
            .storage_profile
            .data_disks
            .iter()
            .map(|disk| disk.lun)
            .collect(),
        security: Security::Standard,
        kind: OriginKind::ManagedImage,
        id,
    })
}

fn of_version(definition: GalleryImage, version: GalleryVersion) -> Result<Origin> {
    let id = version.id.clone().ok_or_else(no_id)?;
    let like = definition.properties;
    check_linux(&id, like.os_type.as_deref().unwrap_or("Linux"))?;
    let state = version.properties.provisioning_state.as_deref();
    if let Some(state) = state.filter(|state| !state.eq_ignore_ascii_case("Succeeded")) {
        return Err(refused(
            &id,
            &format!("it is {state}"),
            "wait until it has succeeded, or pass another version",
        ));
    }
    let security = match like.feature("SecurityType").map(str::to_ascii_lowercase) {
        None => Security::Standard,
        Some(kind) => match kind.as_str() {
            "trustedlaunch" => Security::TrustedLaunch,
            "trustedlaunchsupported" | "trustedlaunchandconfidentialvmsupported" => {
                Security::TrustedLaunchSupported
            }
            "confidentialvm" => {
                return Err(refused(
                    &id,
                    "it is for confidential machines only",
                    "pass an image of a definition without the feature SecurityType=ConfidentialVM",
                ));
            }
            _ => Security::Standard,
        },
    };
    let mut locations = vec![Location::new(&version.location)?];
    for region in &version.properties.publishing_profile.target_regions {
        let location = Location::new(&region.name)?;
        if !locations.contains(&location) {
            locations.push(location);
        }
    }
    // Its home is where its metadata is; its content may be elsewhere only.
    if locations.len() > 1 && !version.is_in(&locations[0]) {
        locations.remove(0);
    }
    let storage = &version.properties.storage_profile;
    Ok(Origin {
        id,
        kind: OriginKind::GalleryVersion,
        locations,
        generalized: !like
            .os_state
            .as_deref()
            .is_some_and(|state| state.eq_ignore_ascii_case("Specialized")),
        generation: like.hyper_v_generation.unwrap_or(Generation::V1),
        architecture: like
            .architecture
            .clone()
            .unwrap_or_else(|| "x64".to_owned()),
        controllers: controllers(like.feature("DiskControllerTypes")),
        size_gb: storage.os_disk_image.size_gb.unwrap_or(0),
        luns: storage
            .data_disk_images
            .iter()
            .filter_map(|disk| disk.lun)
            .collect(),
        security,
    })
}

fn of_disk(disk: Disk) -> Result<Origin> {
    let id = disk.id.ok_or_else(no_id)?;
    let properties = disk.properties;
    match &properties.os_type {
        Some(kind) => check_linux(&id, kind)?,
        None => {
            return Err(refused(
                &id,
                "it is a data disk",
                "a disk to boot from says Linux as its osType; `az disk update --set osType=Linux` makes it one",
            ));
        }
    }
    let whole = !disk.tags.contains_key(UNFINISHED_TAG);
    match &properties.disk_state {
        Some(DiskState::ReadyToUpload | DiskState::ActiveUpload) => {
            return Err(refused(
                &id,
                "its upload is not finished",
                "run the upload again; it goes on where it was",
            ));
        }
        _ if !whole => {
            return Err(refused(
                &id,
                "its upload was cut off",
                "delete it, and run the upload again",
            ));
        }
        Some(DiskState::Attached) => {
            return Err(refused(
                &id,
                "a machine that runs writes to it",
                "stop that machine first (`azure-nixos stop`)",
            ));
        }
        _ => {}
    }
    let security = properties
        .security_profile
        .and_then(|profile| profile.security_type);
    let Some(security) = security_of(security.as_deref()) else {
        return Err(refused(
            &id,
            "it is of a confidential machine",
            "pass a disk of a standard machine",
        ));
    };
    let can = properties.supported_capabilities.unwrap_or_default();
    Ok(Origin {
        id,
        kind: OriginKind::Disk,
        locations: vec![Location::new(&disk.location)?],
        generalized: false,
        generation: properties.hyper_v_generation.unwrap_or(Generation::V1),
        architecture: can.architecture.unwrap_or_else(|| "x64".to_owned()),
        controllers: controllers(can.disk_controller_types.as_deref()),
        size_gb: properties.disk_size_gb.unwrap_or(0),
        luns: Vec::new(),
        security,
    })
}

fn check_linux(id: &ResourceId, os_type: &str) -> Result<()> {
    if os_type.eq_ignore_ascii_case("Windows") {
        return Err(refused(
            id,
            "Azure has it for Windows",
            "upload it again: `azure-nixos upload-image` says Linux",
        ));
    }
    Ok(())
}

/// The security type of a disk or a machine; `None` for the confidential ones.
pub(super) fn security_of(text: Option<&str>) -> Option<Security> {
    let text = text.unwrap_or_default();
    if text.is_empty() || text.eq_ignore_ascii_case("Standard") {
        Some(Security::Standard)
    } else if text.eq_ignore_ascii_case("TrustedLaunch") {
        Some(Security::TrustedLaunch)
    } else {
        None
    }
}

/// `SCSI, NVMe`; who says nothing has the first.
pub(super) fn controllers(listed: Option<&str>) -> Vec<String> {
    let found: Vec<String> = listed
        .unwrap_or_default()
        .split(',')
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect();
    if found.is_empty() {
        return vec!["SCSI".to_owned()];
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::arm::replay::{Interaction, client};
    use super::*;

    const COMPUTE: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute";

    fn definition(features: Value) -> GalleryImage {
        serde_json::from_value(json!({
            "id": format!("{COMPUTE}/galleries/nix/images/web"), "location": "westus2",
            "properties": {
                "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
                "architecture": "Arm64", "features": features,
            },
        }))
        .unwrap()
    }

    fn version(name: &str, home: &str, regions: &[&str]) -> GalleryVersion {
        let regions: Vec<Value> = regions.iter().map(|name| json!({ "name": name })).collect();
        serde_json::from_value(json!({
            "id": format!("{COMPUTE}/galleries/nix/images/web/versions/{name}"),
            "name": name, "location": home,
            "properties": {
                "provisioningState": "Succeeded",
                "publishingProfile": { "targetRegions": regions },
                "storageProfile": {
                    "osDiskImage": { "sizeInGB": 30 },
                    "dataDiskImages": [{ "lun": 1, "sizeInGB": 4 }],
                },
            },
        }))
        .unwrap()
    }

    fn disk(more: Value) -> Disk {
        let mut properties = json!({
            "osType": "Linux", "hyperVGeneration": "V2", "diskSizeGB": 8, "diskState": "Unattached",
            "creationData": { "createOption": "Upload" },
        });
        for (name, value) in more.as_object().unwrap() {
            properties[name] = value.clone();
        }
        serde_json::from_value(json!({
            "id": format!("{COMPUTE}/disks/d"), "location": "westus2", "properties": properties,
        }))
        .unwrap()
    }

    fn at(location: &str) -> Location {
        location.parse().unwrap()
    }

    #[test]
    fn a_version_is_what_its_definition_says() {
        let features = json!([
            { "name": "SecurityType", "value": "TrustedLaunchSupported" },
            { "name": "DiskControllerTypes", "value": "SCSI, NVMe" },
        ]);
        let origin = of_version(
            definition(features),
            version("1.0.0", "westus2", &["West US 2", "East US"]),
        )
        .unwrap();
        assert_eq!(origin.locations, [at("westus2"), at("eastus")]);
        assert_eq!(origin.architecture, "Arm64");
        assert_eq!(origin.controllers, ["SCSI", "NVMe"]);
        assert_eq!((origin.size_gb, origin.luns.as_slice()), (30, &[1][..]));
        assert_eq!(origin.security, Security::TrustedLaunchSupported);
        assert!(origin.generalized);
        assert_eq!(origin.called(), "the image web, version 1.0.0,");
        // Its metadata is elsewhere than its content.
        let away = of_version(
            definition(json!([])),
            version("1.0.0", "westus2", &["eastus"]),
        );
        assert_eq!(away.unwrap().locations, [at("eastus")]);
        let confidential = json!([{ "name": "SecurityType", "value": "ConfidentialVM" }]);
        let error = of_version(definition(confidential), version("1.0.0", "x", &["x"]));
        assert!(error.unwrap_err().to_string().contains("confidential"));
    }

    #[test]
    fn the_region_is_asked_for_or_that_of_the_group_or_home() {
        let origin = of_version(
            definition(json!([])),
            version("1.0.0", "westus2", &["westus2", "eastus"]),
        )
        .unwrap();
        let place = |asked: Option<&str>, group: Option<&str>| {
            let (asked, group) = (asked.map(at), group.map(at));
            let wish = Wish {
                asked: asked.as_ref(),
                group: group.as_ref(),
            };
            origin.place(wish).cloned()
        };
        assert_eq!(place(None, None).unwrap(), at("westus2"));
        assert_eq!(place(None, Some("eastus")).unwrap(), at("eastus"));
        assert_eq!(place(None, Some("northeurope")).unwrap(), at("westus2"));
        assert_eq!(
            place(Some("eastus"), Some("westus2")).unwrap(),
            at("eastus")
        );
        let error = place(Some("northeurope"), None).unwrap_err();
        assert!(error.hint().unwrap().contains("replicate"), "{error:?}");
    }

    #[test]
    fn the_latest_version_is_one_that_is_there() {
        let versions = || {
            vec![
                version("1.9.0", "westus2", &["westus2", "eastus"]),
                version("1.10.0", "westus2", &["westus2"]),
                version("2.0.0", "northeurope", &["northeurope"]),
            ]
        };
        let newest = |asked: Option<&str>, group: Option<&str>| {
            let (asked, group) = (asked.map(at), group.map(at));
            let wish = Wish {
                asked: asked.as_ref(),
                group: group.as_ref(),
            };
            latest(versions(), wish).and_then(|version| version.name)
        };
        assert_eq!(newest(Some("eastus"), None).as_deref(), Some("1.9.0"));
        assert_eq!(newest(None, Some("westus2")).as_deref(), Some("1.10.0"));
        assert_eq!(newest(None, Some("japaneast")).as_deref(), Some("2.0.0"));
        assert_eq!(newest(Some("japaneast"), None), None);
    }

    #[test]
    fn a_disk_must_be_whole_and_bootable() {
        let origin = of_disk(disk(json!({
            "supportedCapabilities": { "architecture": "x64", "diskControllerTypes": "NVMe" },
        })))
        .unwrap();
        assert!(!origin.generalized);
        assert_eq!(origin.controllers, ["NVMe"]);
        for (more, why) in [
            (json!({ "osType": null }), "data disk"),
            (json!({ "osType": "Windows" }), "Windows"),
            (json!({ "diskState": "ActiveUpload" }), "not finished"),
            (json!({ "diskState": "Attached" }), "runs"),
            (
                json!({ "securityProfile": { "securityType": "ConfidentialVM_VMGuestStateOnlyEncryptedWithPlatformKey" } }),
                "confidential",
            ),
        ] {
            let error = of_disk(disk(more)).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(error.hint().is_some());
        }
        let mut cut = disk(json!({}));
        cut.tags.insert(UNFINISHED_TAG.to_owned(), "1".to_owned());
        assert!(of_disk(cut).unwrap_err().to_string().contains("cut off"));
    }

    #[tokio::test]
    async fn latest_asks_the_definition_and_its_versions() {
        let url = |rest: &str| {
            format!(
                "https://management.azure.com{COMPUTE}/galleries/nix/images/web{rest}?api-version=2023-07-03"
            )
        };
        let own = json!({
            "id": format!("{COMPUTE}/galleries/nix/images/web"), "location": "westus2",
            "properties": { "osType": "Linux", "osState": "Specialized", "hyperVGeneration": "V1" },
        });
        let one = json!({
            "id": format!("{COMPUTE}/galleries/nix/images/web/versions/1.0.0"), "name": "1.0.0",
            "location": "westus2", "properties": {
                "publishingProfile": { "targetRegions": [{ "name": "westus2" }] },
            },
        });
        for end in ["", "/versions/latest"] {
            let (client, _) = client(vec![
                Interaction::new("GET", &url(""), 200, &[], own.clone()),
                Interaction::new(
                    "GET",
                    &url("/versions"),
                    200,
                    &[],
                    json!({ "value": [one] }),
                ),
            ]);
            let id = format!("{COMPUTE}/galleries/nix/images/web{end}");
            let image = ImageReference::parse(&id).unwrap();
            let (origin, location) = Origin::find(&client, &image, Wish::default())
                .await
                .unwrap();
            assert_eq!(location, at("westus2"));
            assert!(origin.id.as_str().ends_with("/versions/1.0.0"));
            assert!(!origin.generalized);
            assert_eq!(origin.generation, Generation::V1);
        }
    }
}
