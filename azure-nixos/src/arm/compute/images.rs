//! Managed images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::names::Named;
use super::super::{Client, Operation, ResourceId};
use super::{IMAGES, SubResource};
use crate::{Generation, Result};

const API: &str = "2024-07-01";

/// A managed image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Image {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// Its name, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its region; machines can be made from it there only.
    pub location: String,
    /// Tags.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
    /// Everything else.
    pub properties: ImageProperties,
}

/// Properties of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ImageProperties {
    /// Firmware of the machines made from it. Azure refuses an image without.
    #[serde(rename = "hyperVGeneration", skip_serializing_if = "Option::is_none")]
    pub hyper_v_generation: Option<Generation>,
    /// Its disks.
    pub storage_profile: ImageStorageProfile,
    /// State of the last operation on it. Never sent.
    #[serde(skip_serializing)]
    pub provisioning_state: Option<String>,
}

/// The disks of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ImageStorageProfile {
    /// The disk that machines boot from.
    pub os_disk: ImageOsDisk,
    /// The others that a machine gets.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub data_disks: Vec<ImageDataDisk>,
}

/// A disk of an image that machines do not boot from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ImageDataDisk {
    /// Its number.
    pub lun: u32,
    /// Size in GiB.
    #[serde(rename = "diskSizeGB", skip_serializing_if = "Option::is_none")]
    pub disk_size_gb: Option<u64>,
}

/// The disk that machines boot from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ImageOsDisk {
    /// `Linux`.
    pub os_type: String,
    /// `Generalized`: a machine gets its name, user and keys at its first boot.
    pub os_state: String,
    /// The disk that was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_disk: Option<SubResource>,
    /// Size in GiB.
    #[serde(rename = "diskSizeGB", skip_serializing_if = "Option::is_none")]
    pub disk_size_gb: Option<u64>,
}

impl Image {
    /// An image of a disk with Linux on it.
    #[must_use]
    pub fn of_disk(location: &str, generation: Generation, disk: ResourceId) -> Self {
        Self {
            location: location.to_owned(),
            properties: ImageProperties {
                hyper_v_generation: Some(generation),
                storage_profile: ImageStorageProfile {
                    os_disk: ImageOsDisk {
                        os_type: "Linux".to_owned(),
                        os_state: "Generalized".to_owned(),
                        managed_disk: Some(SubResource { id: disk }),
                        disk_size_gb: None,
                    },
                    data_disks: Vec::new(),
                },
                ..ImageProperties::default()
            },
            ..Self::default()
        }
    }
}

impl Client {
    fn image_url(&self, id: &ResourceId) -> url::Url {
        self.url(id.as_str(), API, &[])
    }

    /// An image, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn image(&self, id: &ResourceId) -> Result<Option<Image>> {
        self.find(
            self.image_url(id),
            &format!("look for the image {}", id.name()),
        )
        .await
    }

    /// All images of the subscription.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn images(&self) -> Result<Vec<Image>> {
        let path = format!(
            "/subscriptions/{}/providers/{IMAGES}",
            self.subscription_id()
        );
        self.list(self.url(&path, API, &[]), "list the images")
            .await
    }

    /// Makes an image.
    ///
    /// # Errors
    /// When the name is refused, or the disk is not a whole one.
    pub async fn create_image(
        &self,
        group: &str,
        name: &str,
        image: &Image,
    ) -> Result<Operation<Image>> {
        Named::Image.check(name)?;
        self.put(
            self.image_url(&self.resource_id(group, IMAGES, name)),
            image,
            format!("create the image {name} in {group}"),
        )
        .await
    }

    /// Deletes an image; one that does not exist is deleted already.
    ///
    /// # Errors
    /// When it may not be deleted.
    pub async fn delete_image(&self, group: &str, name: &str) -> Result<Operation<()>> {
        self.delete(
            self.image_url(&self.resource_id(group, IMAGES, name)),
            format!("delete the image {name}"),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_that_was_recorded() {
        let disk: ResourceId =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d"
                .parse()
                .unwrap();
        let image = Image::of_disk("westus", Generation::V1, disk.clone());
        assert_eq!(
            serde_json::to_value(&image).unwrap(),
            serde_json::json!({
                "location": "westus",
                "properties": {
                    "hyperVGeneration": "V1",
                    "storageProfile": { "osDisk": {
                        "osType": "Linux", "osState": "Generalized",
                        "managedDisk": { "id": disk.as_str() }
                    } }
                }
            })
        );
    }
}
