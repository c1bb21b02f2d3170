//! Microsoft.Resources: subscriptions, locations, resource groups, providers.

use std::collections::BTreeMap;
use std::time::Duration;

use azure_core::http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::names::Named;
use super::{Client, Location, Operation, ResourceId};
use crate::{Error, ErrorKind, Result};

const GROUPS: &str = "2022-09-01";
const SUBSCRIPTIONS: &str = "2022-12-01";

/// Registering a provider takes minutes at the worst.
const REGISTRATION: Duration = Duration::from_secs(600);

/// A resource group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ResourceGroup {
    /// Its id, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ResourceId>,
    /// Its name, once it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where its metadata is kept.
    pub location: String,
    /// Tags.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::null_is_default"
    )]
    pub tags: BTreeMap<String, String>,
}

/// A region of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Region {
    /// The normalised name: `westus2`.
    pub name: String,
    /// The name for people: `West US 2`.
    #[serde(default)]
    pub display_name: String,
}

/// A subscription, as far as it is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct SubscriptionInfo {
    /// The name for people.
    pub display_name: String,
    /// `Enabled`, `Warned`, `PastDue`, `Disabled` or `Deleted`.
    pub state: String,
}

/// A resource provider, as a subscription sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Provider {
    /// Its namespace: `Microsoft.Compute`.
    pub namespace: String,
    /// `Registered`, `Registering`, `NotRegistered` or `Unregistering`.
    #[serde(deserialize_with = "super::null_is_default")]
    pub registration_state: String,
    /// What it offers.
    #[serde(deserialize_with = "super::null_is_default")]
    pub resource_types: Vec<ProviderType>,
}

/// A type of resource, and where there is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ProviderType {
    /// Its name without the namespace: `disks`.
    pub resource_type: String,
    /// Regions, as people read them: `West US 2`. Empty for what belongs to no region.
    #[serde(deserialize_with = "super::null_is_default")]
    pub locations: Vec<String>,
}

impl Provider {
    /// Whether the subscription can use it.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registration_state.eq_ignore_ascii_case("Registered")
    }

    /// Whether there is a type in a region. One that is not listed, or whose regions are not, counts
    /// as being everywhere: the service is the judge.
    #[must_use]
    pub fn offers(&self, kind: &str, location: &Location) -> bool {
        self.resource_types
            .iter()
            .filter(|known| known.resource_type.eq_ignore_ascii_case(kind))
            .all(|known| location.is_among(&known.locations))
    }
}

/// Anything in a resource group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AnyResource {
    /// Its id.
    pub id: ResourceId,
}

/// The namespace in the path of a resource: `Microsoft.Compute`.
pub(crate) fn provider_of(path: &str) -> Option<&str> {
    let mut parts = path.split('/');
    parts.find(|part| part.eq_ignore_ascii_case("providers"))?;
    // `/providers/NS/register` itself must not be registered first.
    let namespace = parts.next()?;
    (parts.next() != Some("register") && !namespace.is_empty()).then_some(namespace)
}

impl Client {
    /// The subscription itself.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn subscription(&self) -> Result<SubscriptionInfo> {
        let path = format!("/subscriptions/{}", self.subscription_id());
        self.get(
            self.url(&path, SUBSCRIPTIONS, &[]),
            "look at the subscription",
        )
        .await
    }

    /// A resource provider, by its namespace.
    ///
    /// # Errors
    /// When it cannot be read, or there is no such provider.
    pub async fn provider(&self, namespace: &str) -> Result<Provider> {
        let path = format!(
            "/subscriptions/{}/providers/{namespace}",
            self.subscription_id()
        );
        self.get(
            self.url(&path, GROUPS, &[]),
            &format!("look at the resource provider {namespace}"),
        )
        .await
    }

    /// The regions of the subscription.
    ///
    /// # Errors
    /// When the subscription cannot be read.
    pub async fn locations(&self) -> Result<Vec<Region>> {
        let path = format!("/subscriptions/{}/locations", self.subscription_id());
        self.list(self.url(&path, SUBSCRIPTIONS, &[]), "list the locations")
            .await
    }

    /// Fails when the subscription has no such region. A login with a role on a resource group
    /// alone may not ask; the location is then for the service to judge.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], with the nearest name as the hint.
    pub async fn check_location(&self, location: &Location) -> Result<()> {
        let regions = match self.locations().await {
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                tracing::debug!(%location, "the location is not checked: {error}");
                return Ok(());
            }
            regions => regions?,
        };
        let known = |region: &Region| location.is_named(&region.name);
        // A login that may read the group, but not the subscription, sees an empty list.
        if regions.is_empty() || regions.iter().any(known) {
            return Ok(());
        }
        let hint = nearest(
            location.as_str(),
            regions.iter().map(|region| region.name.as_str()),
        )
        .map_or_else(
            || "`az account list-locations -o table` lists them".to_owned(),
            |name| format!("did you mean {name}?"),
        );
        Err(Error::new(
            ErrorKind::InvalidInput,
            format!("there is no location {location} in this subscription"),
        )
        .with_hint(hint))
    }

    /// A resource group, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn resource_group(&self, name: &str) -> Result<Option<ResourceGroup>> {
        let id = ResourceId::group(self.subscription_id(), name);
        self.find(
            self.url(id.as_str(), GROUPS, &[]),
            &format!("look for the resource group {name}"),
        )
        .await
    }

    /// Makes a resource group.
    ///
    /// # Errors
    /// When it exists in another location, or may not be made.
    pub async fn create_resource_group(
        &self,
        name: &str,
        group: &ResourceGroup,
    ) -> Result<ResourceGroup> {
        Named::ResourceGroup.check(name)?;
        let id = ResourceId::group(self.subscription_id(), name);
        self.put(
            self.url(id.as_str(), GROUPS, &[]),
            group,
            format!("create the resource group {name}"),
        )
        .await?
        .wait()
        .await
    }

    /// Deletes a resource group and everything in it.
    ///
    /// # Errors
    /// When it may not be deleted.
    pub async fn delete_resource_group(&self, name: &str) -> Result<Operation<()>> {
        let id = ResourceId::group(self.subscription_id(), name);
        self.delete(
            self.url(id.as_str(), GROUPS, &[]),
            format!("delete the resource group {name}"),
        )
        .await
    }

    /// What is in a resource group.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn resources_in(&self, group: &str) -> Result<Vec<AnyResource>> {
        let id = ResourceId::group(self.subscription_id(), group);
        self.list(
            self.url(&format!("{id}/resources"), GROUPS, &[]),
            &format!("list what is in the resource group {group}"),
        )
        .await
    }

    /// What is in a resource group and bears a tag with this value.
    pub(crate) async fn tagged_in(
        &self,
        group: &str,
        tag: &str,
        value: &str,
    ) -> Result<Vec<AnyResource>> {
        let id = ResourceId::group(self.subscription_id(), group);
        // A quote in a text of a filter is written twice.
        let value = value.replace('\'', "''");
        let filter = format!("tagName eq '{tag}' and tagValue eq '{value}'");
        self.list(
            self.url(&format!("{id}/resources"), GROUPS, &[("$filter", &filter)]),
            &format!("list what is in the resource group {group}"),
        )
        .await
    }

    /// Registers a resource provider with the subscription and waits until that is done.
    ///
    /// # Errors
    /// When the login may not, or it takes longer than ten minutes.
    pub async fn register_provider(&self, namespace: &str) -> Result<()> {
        let doing = format!("register the resource provider {namespace}");
        tracing::info!(namespace, "registering a resource provider");
        let path = format!(
            "/subscriptions/{}/providers/{namespace}",
            self.subscription_id()
        );
        let register = self.url(&format!("{path}/register"), GROUPS, &[]);
        let mut provider: Provider = self
            .send_retrying(Method::Post, &register, None, &doing)
            .await?
            .json(&doing)?;
        let started = Instant::now();
        let mut wait = Duration::from_millis(250);
        loop {
            if provider.is_registered() {
                return Ok(());
            }
            if started.elapsed() + wait > REGISTRATION {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "cannot {doing}: it is still {:?} after ten minutes",
                        provider.registration_state
                    ),
                ));
            }
            tokio::time::sleep(wait).await;
            wait = wait.mul_f64(1.5).min(Duration::from_secs(10));
            let url = self.url(&path, GROUPS, &[]);
            provider = self
                .send_retrying(Method::Get, &url, None, &doing)
                .await?
                .json(&doing)?;
        }
    }
}

/// The name that is at most two edits away, if there is one.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (edits(wanted, name), name.len().abs_diff(wanted.len()), name))
        .filter(|(edits, ..)| *edits <= 2)
        .min()
        .map(|(.., name)| name)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(a != *b))
                .min(above + 1)
                .min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_the_one_of_the_resource() {
        let path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d";
        assert_eq!(provider_of(path), Some("Microsoft.Compute"));
        assert_eq!(provider_of("/subscriptions/s/resourceGroups/g"), None);
        assert_eq!(
            provider_of("/subscriptions/s/providers/Microsoft.Compute/register"),
            None
        );
    }

    #[test]
    fn a_provider_says_where_its_types_are() {
        let provider: Provider = serde_json::from_value(serde_json::json!({
            "namespace": "Microsoft.Compute", "registrationState": "Registered",
            "resourceTypes": [
                { "resourceType": "disks", "locations": ["West US 2"], "apiVersions": ["2023-04-02"] },
                { "resourceType": "operations", "locations": [] },
            ],
        }))
        .unwrap();
        assert!(provider.is_registered());
        let (here, there) = ("westus2".parse().unwrap(), "eastus".parse().unwrap());
        assert!(provider.offers("Disks", &here) && !provider.offers("disks", &there));
        assert!(provider.offers("operations", &there) && provider.offers("new", &there));
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let names = ["westus", "westus2", "westeurope"];
        assert_eq!(nearest("westsu2", names.into_iter()), Some("westus2"));
        assert_eq!(nearest("mars", names.into_iter()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
