//! Microsoft.ManagedIdentity: identities that exist beside the machines that have them.

use serde::Deserialize;

use super::{Client, ResourceId};
use crate::Result;

const API: &str = "2023-01-31";

/// Full type, as it stands in an id.
pub(crate) const IDENTITIES: &str = "Microsoft.ManagedIdentity/userAssignedIdentities";

/// A user-assigned identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ManagedIdentity {
    /// Its id.
    pub id: Option<ResourceId>,
    /// Its name.
    pub name: Option<String>,
    /// Who it is.
    #[serde(deserialize_with = "super::null_is_default")]
    pub properties: ManagedIdentityProperties,
}

/// Who an identity is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ManagedIdentityProperties {
    /// Its GUID in the directory, which roles are given to.
    pub principal_id: Option<String>,
    /// Its GUID as an application, by which a machine with several identities names one.
    pub client_id: Option<String>,
}

impl Client {
    /// A user-assigned identity, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn managed_identity(&self, id: &ResourceId) -> Result<Option<ManagedIdentity>> {
        self.find(
            self.url(id.as_str(), API, &[]),
            &format!("look for the identity {}", id.name()),
        )
        .await
    }

    /// All user-assigned identities of the subscription.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn managed_identities(&self) -> Result<Vec<ManagedIdentity>> {
        let path = self.list_path(None, IDENTITIES);
        self.list(self.url(&path, API, &[]), "list the identities")
            .await
    }
}
