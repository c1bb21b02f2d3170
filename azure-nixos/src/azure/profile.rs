//! What `az` left on the disk: its subscriptions (`azureProfile.json`) and its choice of a cloud
//! (`config`, `clouds.config`). Only read, never written.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, ErrorKind, Result};

/// The subscriptions that `az login` saw.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Profile {
    #[serde(default)]
    subscriptions: Vec<Entry>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) is_default: bool,
    #[serde(default)]
    pub(super) tenant_id: String,
    #[serde(default)]
    pub(super) environment_name: String,
    #[serde(default)]
    user: User,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct User {
    #[serde(default)]
    name: String,
}

impl Entry {
    /// Who `az` is for this subscription.
    pub(super) fn user(&self) -> Option<&str> {
        Some(self.user.name.as_str()).filter(|name| !name.is_empty())
    }

    /// `az login --allow-no-subscriptions` lists a tenant as if it were one.
    fn is_tenant_only(&self) -> bool {
        self.id.eq_ignore_ascii_case(&self.tenant_id)
    }
}

impl Profile {
    /// The profile in this directory; none when nobody ever logged in.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub(super) async fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("azureProfile.json");
        let Some(text) = read(&path).await? else {
            return Ok(None);
        };
        // `az` writes it as utf-8-sig, with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let mut profile: Self = serde_json::from_str(text).map_err(|error| {
            Error::new(
                ErrorKind::Io,
                format!("the profile of az {} is damaged", path.display()),
            )
            .with_source(error)
            .with_hint("`az account clear` and `az login` write a new one")
        })?;
        profile
            .subscriptions
            .retain(|entry| !entry.is_tenant_only());
        Ok(Some(profile))
    }

    /// The subscriptions of one cloud.
    pub(super) fn of_cloud<'a>(&'a self, cloud: &str) -> impl Iterator<Item = &'a Entry> {
        self.subscriptions
            .iter()
            .filter(move |entry| entry.environment_name.eq_ignore_ascii_case(cloud))
    }

    /// The one that `az account set` chose.
    pub(super) fn default_of<'a>(&'a self, cloud: &str) -> Option<&'a Entry> {
        self.of_cloud(cloud).find(|entry| entry.is_default)
    }
}

/// The cloud that `az cloud set` chose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AzCloud {
    pub(super) name: String,
    /// Known for a cloud that `az cloud register` made.
    pub(super) resource_manager: Option<String>,
}

/// The cloud chosen in this directory.
///
/// # Errors
/// When a file is there and cannot be read.
pub(super) async fn chosen_cloud(dir: &Path) -> Result<Option<AzCloud>> {
    let Some(text) = read(&dir.join("config")).await? else {
        return Ok(None);
    };
    match ini_value(&text, "cloud", "name") {
        Some(name) => registered_cloud(dir, &name).await.map(Some),
        None => Ok(None),
    }
}

/// What is known of a cloud by its name.
pub(super) async fn registered_cloud(dir: &Path, name: &str) -> Result<AzCloud> {
    let text = read(&dir.join("clouds.config")).await?.unwrap_or_default();
    Ok(AzCloud {
        resource_manager: ini_value(&text, name, "endpoint_resource_manager"),
        name: name.to_owned(),
    })
}

async fn read(path: &PathBuf) -> Result<Option<String>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// A value of an INI file as Python's configparser reads it, without interpolation and
/// continuation lines: `az` writes neither here.
fn ini_value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            inside = name.eq_ignore_ascii_case(section);
        } else if inside
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().eq_ignore_ascii_case(key)
        {
            let value = value.trim();
            return (!value.is_empty()).then(|| value.to_owned());
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::azure) const PROFILE: &str = r#"{"installationId":"i","subscriptions":[
        {"id":"aaaaaaaa-0000-0000-0000-000000000001","name":"First","state":"Enabled",
         "user":{"name":"ann@example.com","type":"user"},"isDefault":false,
         "tenantId":"bbbbbbbb-0000-0000-0000-000000000001","environmentName":"AzureCloud",
         "homeTenantId":"x","managedByTenants":[]},
        {"id":"aaaaaaaa-0000-0000-0000-000000000002","name":"Second","state":"Enabled",
         "user":{"name":"ann@example.com","type":"user"},"isDefault":true,
         "tenantId":"bbbbbbbb-0000-0000-0000-000000000002","environmentName":"AzureCloud"},
        {"id":"aaaaaaaa-0000-0000-0000-000000000003","name":"Gov",
         "user":{"name":"ann@example.us","type":"user"},"isDefault":true,
         "tenantId":"bbbbbbbb-0000-0000-0000-000000000003","environmentName":"AzureUSGovernment"},
        {"id":"bbbbbbbb-0000-0000-0000-000000000004","name":"N/A(tenant level account)",
         "user":{"name":"ann@example.com","type":"user"},"isDefault":false,
         "tenantId":"bbbbbbbb-0000-0000-0000-000000000004","environmentName":"AzureCloud"}]}"#;

    /// A directory as `az` leaves it, byte order mark included.
    pub(in crate::azure) fn az_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("\u{feff}{PROFILE}");
        std::fs::write(dir.path().join("azureProfile.json"), text).unwrap();
        dir
    }

    #[tokio::test]
    async fn the_profile_of_az_is_read() {
        let dir = az_dir();
        let profile = Profile::read(dir.path()).await.unwrap().unwrap();
        let names: Vec<_> = profile.of_cloud("azurecloud").map(|s| &s.name).collect();
        assert_eq!(names, ["First", "Second"]);
        let default = profile.default_of("AzureCloud").unwrap();
        assert_eq!(default.id, "aaaaaaaa-0000-0000-0000-000000000002");
        assert_eq!(default.user(), Some("ann@example.com"));
        let gov = profile.default_of("AzureUSGovernment").unwrap();
        assert_eq!(gov.name, "Gov");
        assert!(profile.default_of("AzureChinaCloud").is_none());
    }

    #[tokio::test]
    async fn no_profile_is_none_and_a_damaged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Profile::read(dir.path()).await.unwrap().is_none());
        let path = dir.path().join("azureProfile.json");
        std::fs::write(&path, "{\"subscriptions\":[{").unwrap();
        let error = Profile::read(dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }

    #[tokio::test]
    async fn the_chosen_cloud_is_found_with_its_address() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(chosen_cloud(dir.path()).await.unwrap(), None);
        let config = dir.path().join("config");
        std::fs::write(
            &config,
            "[core]\nname = x\n# [cloud]\n[cloud]\nname = probe\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("clouds.config"),
            "[AzureCloud]\nsubscription = s\n\n[probe]\nendpoint_resource_manager = https://a:1/b\n",
        )
        .unwrap();
        assert_eq!(
            chosen_cloud(dir.path()).await.unwrap(),
            Some(AzCloud {
                name: "probe".into(),
                resource_manager: Some("https://a:1/b".into())
            })
        );
        std::fs::write(&config, "[cloud]\nname =\n").unwrap();
        assert_eq!(chosen_cloud(dir.path()).await.unwrap(), None);
    }
}
