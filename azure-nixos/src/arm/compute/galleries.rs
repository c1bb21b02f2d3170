//! Images of Azure Compute Galleries, as far as machines are made from them.
//!
//! A definition says what all of its versions are like; a version is the content, in some regions.

use serde::Deserialize;

use super::super::{Client, Location, ResourceId};
use super::{GALLERY_IMAGES, GALLERY_VERSIONS};
use crate::{Generation, Result};

const API: &str = "2023-07-03";

/// An image definition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct GalleryImage {
    /// Its id.
    pub id: Option<ResourceId>,
    /// Where its metadata is kept.
    pub location: String,
    /// Everything else.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub properties: GalleryImageProperties,
}

/// What all versions of an image definition are like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct GalleryImageProperties {
    /// `Linux` or `Windows`.
    pub os_type: Option<String>,
    /// `Generalized`, or `Specialized`: a machine has the users and keys of its image.
    pub os_state: Option<String>,
    /// Firmware of the machines made from it; left out, it is `V1`.
    #[serde(rename = "hyperVGeneration")]
    pub hyper_v_generation: Option<Generation>,
    /// `x64` or `Arm64`; left out, it is the first.
    pub architecture: Option<String>,
    /// What else the images can, as pairs.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub features: Vec<GalleryFeature>,
}

/// One thing that images can: `SecurityType`, `DiskControllerTypes`, `IsAcceleratedNetworkSupported`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct GalleryFeature {
    /// Its name.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

impl GalleryImageProperties {
    /// The value of a feature, by its name in any case.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&str> {
        self.features
            .iter()
            .find(|one| one.name.eq_ignore_ascii_case(name))
            .map(|one| one.value.as_str())
    }
}

/// A version of an image definition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct GalleryVersion {
    /// Its id.
    pub id: Option<ResourceId>,
    /// Its name: three numbers with periods between.
    pub name: Option<String>,
    /// The region that it was made in.
    pub location: String,
    /// Everything else.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub properties: GalleryVersionProperties,
}

/// Properties of a version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct GalleryVersionProperties {
    /// State of the last operation on it.
    pub provisioning_state: Option<String>,
    /// Where it is.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub publishing_profile: PublishingProfile,
    /// Its disks.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub storage_profile: GalleryStorageProfile,
}

/// Where a version is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct PublishingProfile {
    /// The regions, as people read them.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub target_regions: Vec<TargetRegion>,
    /// Whether it is passed over when the latest version is wanted.
    pub exclude_from_latest: Option<bool>,
}

/// A region that a version is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct TargetRegion {
    /// Its name: `East US 2`.
    pub name: String,
    /// Whether it is passed over when the latest version is wanted there.
    pub exclude_from_latest: Option<bool>,
}

/// The disks of a version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct GalleryStorageProfile {
    /// The disk that machines boot from.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub os_disk_image: GalleryDiskImage,
    /// The others.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub data_disk_images: Vec<GalleryDiskImage>,
}

/// A disk of a version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GalleryDiskImage {
    /// Its number; the disk that machines boot from has none.
    pub lun: Option<u32>,
    /// Size in GiB.
    #[serde(rename = "sizeInGB")]
    pub size_gb: Option<u64>,
}

impl GalleryVersion {
    /// The numbers of its name, by which versions are ordered.
    #[must_use]
    pub fn numbers(&self) -> Option<[u32; 3]> {
        let mut parts = self.name.as_deref()?.split('.');
        let mut next = || parts.next()?.parse().ok();
        let numbers = [next()?, next()?, next()?];
        parts.next().is_none().then_some(numbers)
    }

    /// Whether it can be used in a region.
    #[must_use]
    pub fn is_in(&self, location: &Location) -> bool {
        self.properties
            .publishing_profile
            .target_regions
            .iter()
            .any(|region| location.is_named(&region.name))
    }

    /// Whether it may be what somebody means who wants the latest, in this region.
    #[must_use]
    pub fn can_be_latest(&self, location: &Location) -> bool {
        let profile = &self.properties.publishing_profile;
        let whole = self.properties.provisioning_state.as_deref();
        let passed_over = profile
            .target_regions
            .iter()
            .filter(|region| location.is_named(&region.name))
            .any(|region| region.exclude_from_latest == Some(true));
        self.is_in(location)
            && !passed_over
            && profile.exclude_from_latest != Some(true)
            && whole.is_none_or(|state| state.eq_ignore_ascii_case("Succeeded"))
    }
}

impl Client {
    /// An image definition, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn gallery_image(&self, id: &ResourceId) -> Result<Option<GalleryImage>> {
        debug_assert!(id.is_kind(GALLERY_IMAGES), "{id}");
        self.find(
            self.url(id.as_str(), API, &[]),
            &format!("look for the image definition {}", id.name()),
        )
        .await
    }

    /// A version of an image definition, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn gallery_version(&self, id: &ResourceId) -> Result<Option<GalleryVersion>> {
        debug_assert!(id.is_kind(GALLERY_VERSIONS), "{id}");
        self.find(
            self.url(id.as_str(), API, &[]),
            &format!("look for the image version {}", id.name()),
        )
        .await
    }

    /// All versions of an image definition.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn gallery_versions(&self, definition: &ResourceId) -> Result<Vec<GalleryVersion>> {
        let path = format!("{definition}/versions");
        self.list(
            self.url(&path, API, &[]),
            &format!("list the versions of {}", definition.name()),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version(name: &str, state: &str, regions: serde_json::Value) -> GalleryVersion {
        serde_json::from_value(json!({
            "name": name, "location": "eastus",
            "properties": { "provisioningState": state, "publishingProfile": { "targetRegions": regions } },
        }))
        .unwrap()
    }

    #[test]
    fn versions_are_ordered_by_numbers() {
        let numbers = |name| version(name, "Succeeded", json!(null)).numbers();
        assert!(numbers("1.10.0") > numbers("1.9.9"));
        for bad in ["1.2", "1.2.3.4", "latest", "1.2.x"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_latest_is_whole_and_there() {
        let here: Location = "eastus2".parse().unwrap();
        let good = version("1.0.0", "Succeeded", json!([{ "name": "East US 2" }]));
        assert!(good.is_in(&here) && good.can_be_latest(&here));
        let elsewhere = version("1.0.0", "Succeeded", json!([{ "name": "East US" }]));
        assert!(!elsewhere.is_in(&here) && !elsewhere.can_be_latest(&here));
        let passed = json!([{ "name": "East US 2", "excludeFromLatest": true }]);
        assert!(!version("1.0.0", "Succeeded", passed).can_be_latest(&here));
        let growing = version("1.0.0", "Creating", json!([{ "name": "eastus2" }]));
        assert!(!growing.can_be_latest(&here));
    }
}
