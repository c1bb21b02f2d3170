//! Managed disks, and the way to write into one directly.
//!
//! `ReadyToUpload` → grant → `ActiveUpload` → pages → end access → `Unattached`. Ending the access
//! is the commit: only then does the service look at the footer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::client::encode;
use super::super::names::Named;
use super::super::operation::Finish;
use super::super::{Client, Operation, ResourceId};
use super::DISKS;
use crate::{Generation, Result, SasUrl};

pub(in crate::arm) const API: &str = "2023-10-02";

/// A managed disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Disk {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// Its name, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its region.
    pub location: String,
    /// Tags.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
    /// The availability zone that it is in, `1`; at most one.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::super::null_is_default"
    )]
    pub zones: Vec<String>,
    /// What it is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku: Option<DiskSku>,
    /// The virtual machine that has it.
    #[serde(skip_serializing)]
    pub managed_by: Option<ResourceId>,
    /// Everything else.
    pub properties: DiskProperties,
}

/// The kind of storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiskSku {
    /// `Standard_LRS`, `StandardSSD_LRS`, `Premium_LRS`, …
    pub name: String,
}

impl DiskSku {
    /// A kind of storage by its name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

/// Properties of a disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DiskProperties {
    /// `Linux` or `Windows`; left out, a disk counts as a data disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    /// Firmware of the machines that boot from it; left out, `V1` is assumed.
    #[serde(rename = "hyperVGeneration", skip_serializing_if = "Option::is_none")]
    pub hyper_v_generation: Option<Generation>,
    /// Where its content comes from.
    pub creation_data: CreationData,
    /// Size in GiB; unknown until an upload is committed. `diskSizeGB`, not `Gb`.
    #[serde(rename = "diskSizeGB", skip_serializing_if = "Option::is_none")]
    pub disk_size_gb: Option<u64>,
    /// What a machine that boots from it has to have. A copy has that of its source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported_capabilities: Option<DiskCapabilities>,
    /// The security of the firmware that it was made for. Never sent.
    #[serde(skip_serializing)]
    pub security_profile: Option<DiskSecurity>,
    /// Where it stands between upload and machine. Never sent.
    #[serde(skip_serializing)]
    pub disk_state: Option<DiskState>,
    /// State of the last operation on it. Never sent.
    #[serde(skip_serializing)]
    pub provisioning_state: Option<String>,
    /// An id that no other disk of the same name ever had. Never sent.
    #[serde(skip_serializing)]
    pub unique_id: Option<String>,
}

/// What a machine that boots from a disk has to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DiskCapabilities {
    /// `x64` or `Arm64`; left out, it is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// How it can be attached: `SCSI`, `SCSI, NVMe`; left out, it is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_controller_types: Option<String>,
}

/// The security of the firmware that a disk was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct DiskSecurity {
    /// `TrustedLaunch`, or one of several confidential ones.
    pub security_type: Option<String>,
}

/// Where the content of a disk comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct CreationData {
    /// `Upload`, `Empty`, `Copy`, `FromImage`, …
    pub create_option: String,
    /// What a copy is made of: a disk or a snapshot in the same region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_resource_id: Option<ResourceId>,
    /// Length of the VHD that will be uploaded, its 512 bytes of footer included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_size_bytes: Option<u64>,
}

/// States of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum DiskState {
    /// Made for an upload that has not begun.
    ReadyToUpload,
    /// Write access is granted.
    ActiveUpload,
    /// Whole, and nobody uses it.
    Unattached,
    /// A running machine uses it.
    Attached,
    /// A deallocated machine uses it.
    Reserved,
    /// Read access is granted.
    ActiveSas,
    /// Anything else; the service adds states.
    Other(String),
}

impl From<String> for DiskState {
    fn from(text: String) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "readytoupload" => Self::ReadyToUpload,
            "activeupload" => Self::ActiveUpload,
            "unattached" => Self::Unattached,
            "attached" => Self::Attached,
            "reserved" => Self::Reserved,
            "activesas" => Self::ActiveSas,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadyToUpload => "ReadyToUpload",
            Self::ActiveUpload => "ActiveUpload",
            Self::Unattached => "Unattached",
            Self::Attached => "Attached",
            Self::Reserved => "Reserved",
            Self::ActiveSas => "ActiveSAS",
            Self::Other(text) => text,
        })
    }
}

impl Disk {
    /// A copy of a disk in the same region, to boot from.
    #[must_use]
    pub fn copy_of(location: &str, sku: &str, source: ResourceId) -> Self {
        Self {
            location: location.to_owned(),
            sku: Some(DiskSku::new(sku)),
            properties: DiskProperties {
                os_type: Some("Linux".to_owned()),
                creation_data: CreationData {
                    create_option: "Copy".to_owned(),
                    source_resource_id: Some(source),
                    ..CreationData::default()
                },
                ..DiskProperties::default()
            },
            ..Self::default()
        }
    }

    /// A disk to upload a VHD of this length into (footer included).
    #[must_use]
    pub fn for_upload(location: &str, sku: &str, upload_bytes: u64) -> Self {
        Self {
            location: location.to_owned(),
            sku: Some(DiskSku::new(sku)),
            properties: DiskProperties {
                os_type: Some("Linux".to_owned()),
                creation_data: CreationData {
                    create_option: "Upload".to_owned(),
                    upload_size_bytes: Some(upload_bytes),
                    ..CreationData::default()
                },
                ..DiskProperties::default()
            },
            ..Self::default()
        }
    }
}

/// The answer to a grant. Two shapes exist: this one, and this one as the output of the operation.
struct AccessUri(String);

/// By hand, because serde's own error for another shape quotes it, signature included.
impl<'de> Deserialize<'de> for AccessUri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answer = serde_json::Value::deserialize(deserializer)?;
        ["accessSAS", "accessSas"]
            .iter()
            .find_map(|name| answer.get(name)?.as_str())
            .map(|url| Self(url.to_owned()))
            .ok_or_else(|| serde::de::Error::custom("there is no accessSAS in it"))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GrantAccess {
    access: &'static str,
    duration_in_seconds: u64,
}

/// What is changed of a disk that exists.
#[derive(Serialize)]
struct DiskUpdate<'a> {
    tags: &'a BTreeMap<String, String>,
}

impl Client {
    fn disk_url(&self, group: &str, name: &str, action: &str) -> url::Url {
        let id = self.resource_id(group, DISKS, name);
        self.url(&format!("{id}{action}"), API, &[])
    }

    /// A disk, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn disk(&self, group: &str, name: &str) -> Result<Option<Disk>> {
        self.find(
            self.disk_url(group, name, ""),
            &format!("look for the disk {name}"),
        )
        .await
    }

    /// A disk by its id, which may be of another subscription, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn disk_by_id(&self, id: &ResourceId) -> Result<Option<Disk>> {
        self.find(
            self.url(id.as_str(), API, &[]),
            &format!("look for the disk {}", id.name()),
        )
        .await
    }

    /// Makes a disk.
    ///
    /// # Errors
    /// When the name or the description is refused.
    pub async fn create_disk(
        &self,
        group: &str,
        name: &str,
        disk: &Disk,
    ) -> Result<Operation<Disk>> {
        Named::Disk.check(name)?;
        self.put(
            self.disk_url(group, name, ""),
            disk,
            format!("create the disk {name} in {group}"),
        )
        .await
    }

    /// Grants write access to the pages of a disk that was made for an upload. Granting it again
    /// replaces the access. At most 60 days.
    ///
    /// # Errors
    /// When the disk is in another state, or the login may not.
    pub async fn begin_disk_access(
        &self,
        group: &str,
        name: &str,
        duration: Duration,
    ) -> Result<SasUrl> {
        let doing = format!("get write access to the disk {name}");
        let body = encode(
            &GrantAccess {
                access: "Write",
                duration_in_seconds: duration.as_secs(),
            },
            &doing,
        )?;
        let url = self.disk_url(group, name, "/beginGetAccess");
        let access: AccessUri = self
            .post(url, Some(body), Finish::Output, doing)
            .await?
            .wait()
            .await?;
        SasUrl::parse(&access.0)
    }

    /// Ends the access to a disk. After an upload this is the commit: the service checks the footer
    /// and the disk becomes a whole one.
    ///
    /// # Errors
    /// [`InvalidImage`](crate::ErrorKind::InvalidImage) when the footer is refused; the disk then stays as it was.
    pub async fn end_disk_access(&self, group: &str, name: &str) -> Result<()> {
        self.post::<()>(
            self.disk_url(group, name, "/endGetAccess"),
            None,
            Finish::Nothing,
            format!("end the access to the disk {name}"),
        )
        .await?
        .wait()
        .await
    }

    /// Replaces the tags of a disk.
    ///
    /// # Errors
    /// When it may not be changed.
    pub async fn set_disk_tags(
        &self,
        group: &str,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<Disk> {
        self.patch(
            self.disk_url(group, name, ""),
            &DiskUpdate { tags },
            format!("mark the disk {name}"),
        )
        .await?
        .wait()
        .await
    }

    /// Deletes a disk; one that does not exist is deleted already.
    ///
    /// # Errors
    /// When a machine has it, or an access to it is open.
    pub async fn delete_disk(&self, group: &str, name: &str) -> Result<Operation<()>> {
        self.delete(
            self.disk_url(group, name, ""),
            format!("delete the disk {name}"),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_one_that_was_recorded() {
        let mut disk = Disk::for_upload("westus", "Premium_LRS", 21_474_836_992);
        disk.properties.hyper_v_generation = Some(Generation::V2);
        assert_eq!(
            serde_json::to_value(&disk).unwrap(),
            serde_json::json!({
                "location": "westus",
                "sku": { "name": "Premium_LRS" },
                "properties": {
                    "osType": "Linux",
                    "hyperVGeneration": "V2",
                    "creationData": { "createOption": "Upload", "uploadSizeBytes": 21_474_836_992_u64 }
                }
            })
        );
        disk.properties.supported_capabilities = Some(DiskCapabilities {
            architecture: Some("Arm64".to_owned()),
            ..DiskCapabilities::default()
        });
        assert_eq!(
            serde_json::to_value(&disk).unwrap()["properties"]["supportedCapabilities"],
            serde_json::json!({ "architecture": "Arm64" })
        );
    }

    #[test]
    fn an_answer_is_read_whatever_is_missing_or_null() {
        let disk: Disk = serde_json::from_value(serde_json::json!({
            "name": "d", "location": "westus", "tags": null, "zones": ["1"],
            "properties": { "creationData": { "createOption": "Upload" }, "diskState": "ActiveSAS",
                            "diskSizeGB": 30, "hyperVGeneration": "V1", "new": {} }
        }))
        .unwrap();
        assert_eq!(disk.properties.disk_state, Some(DiskState::ActiveSas));
        assert_eq!(disk.properties.disk_size_gb, Some(30));
        let state: DiskState = serde_json::from_value("Frozen".into()).unwrap();
        assert_eq!(state, DiskState::Other("Frozen".into()));
    }

    #[test]
    fn an_access_in_another_shape_is_not_quoted() {
        let access: AccessUri =
            serde_json::from_value(serde_json::json!({"accessSAS": "https://h/d?sig=a"})).unwrap();
        assert_eq!(access.0, "https://h/d?sig=a");
        for other in [
            serde_json::json!("https://h/d?sig=S3CRET"),
            serde_json::json!(["https://h/d?sig=S3CRET"]),
            serde_json::json!({"accessSAS": ["https://h/d?sig=S3CRET"]}),
        ] {
            let text = other.to_string();
            let error = super::super::super::client::decode::<AccessUri>(text.as_bytes(), "ask")
                .err()
                .unwrap();
            let text = format!("{error:?} {}", error.report());
            assert!(!text.contains("S3CRET"), "{text}");
        }
    }
}
