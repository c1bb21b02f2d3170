//! The clouds: where Resource Manager, the login and storage are.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use url::Url;

use super::Transport;
use super::get::get_json;
use crate::{Error, ErrorKind, Result};

/// One of the Azure clouds, or an endpoint that behaves like one.
///
/// ```
/// use azure_nixos::azure::Cloud;
///
/// let cloud: Cloud = "usgov".parse()?;
/// assert_eq!(cloud, Cloud::us_government());
/// assert_eq!(cloud.resource_manager(), "https://management.usgovcloudapi.net");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    name: String,
    resource_manager: String,
    scope: String,
    authority_host: String,
    storage_suffix: String,
}

impl Cloud {
    /// The public cloud, `AzureCloud`.
    #[must_use]
    pub fn public() -> Self {
        Self {
            name: "AzureCloud".into(),
            resource_manager: "https://management.azure.com".into(),
            scope: "https://management.azure.com/.default".into(),
            authority_host: "https://login.microsoftonline.com".into(),
            storage_suffix: "core.windows.net".into(),
        }
    }

    /// The cloud of the US Government, `AzureUSGovernment`.
    #[must_use]
    pub fn us_government() -> Self {
        Self {
            name: "AzureUSGovernment".into(),
            resource_manager: "https://management.usgovcloudapi.net".into(),
            // The audience of this cloud's Resource Manager is not its address.
            scope: "https://management.core.usgovcloudapi.net/.default".into(),
            authority_host: "https://login.microsoftonline.us".into(),
            storage_suffix: "core.usgovcloudapi.net".into(),
        }
    }

    /// The cloud in China, `AzureChinaCloud`.
    #[must_use]
    pub fn china() -> Self {
        Self {
            name: "AzureChinaCloud".into(),
            resource_manager: "https://management.chinacloudapi.cn".into(),
            scope: "https://management.chinacloudapi.cn/.default".into(),
            authority_host: "https://login.chinacloudapi.cn".into(),
            storage_suffix: "core.chinacloudapi.cn".into(),
        }
    }

    /// Asks a Resource Manager at another address (Azure Stack, a local Azure) for its endpoints.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the address is not `https`: no token is ever sent in the
    /// clear. [`ErrorKind::Service`] when the answer is not that of a Resource Manager.
    ///
    /// # Cancellation
    /// Safe: nothing is changed.
    ///
    /// ```no_run
    /// # async fn example() -> azure_nixos::Result<()> {
    /// use azure_nixos::azure::{Azure, Cloud, Transport};
    ///
    /// let transport = Transport::new()?;
    /// let cloud = Cloud::custom("https://management.local.azurestack.external", &transport).await?;
    /// let azure = Azure::builder().cloud(cloud).transport(transport).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn custom(endpoint: &str, transport: &Transport) -> Result<Self> {
        let base = https(endpoint.trim(), "the Resource Manager endpoint")?;
        let mut url = Url::parse(&base).map_err(|error| unusable(endpoint).with_source(error))?;
        url.path_segments_mut()
            .map_err(|()| unusable(endpoint))?
            .pop_if_empty()
            .extend(["metadata", "endpoints"]);
        url.set_query(Some("api-version=2022-09-01"));
        let answer: Answer =
            get_json(transport, &url, None, "fetch the endpoints of the cloud").await?;
        let metadata = match answer {
            Answer::One(metadata) => *metadata,
            Answer::Several(list) => choose(list, &base)?,
        };
        let named = |name: &str| {
            Error::new(
                ErrorKind::Service,
                format!("the cloud at {base} does not say its {name}"),
            )
        };
        let login = metadata.authentication.login_endpoint;
        let login = login.ok_or_else(|| named("login endpoint"))?;
        let audience = metadata.authentication.audiences.into_iter().next();
        let audience = audience.unwrap_or_else(|| base.clone());
        Ok(Self {
            name: metadata.name.unwrap_or_else(|| base.clone()),
            // A slash at the end is part of the audience, so it is kept: that makes two.
            scope: format!("{audience}/.default"),
            authority_host: https(&login, "the login endpoint of the cloud")?,
            storage_suffix: metadata.suffixes.storage.unwrap_or_default(),
            resource_manager: base,
        })
    }

    /// The name, as `az cloud list` has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of Resource Manager, without a slash at the end.
    #[must_use]
    pub fn resource_manager(&self) -> &str {
        &self.resource_manager
    }

    /// The scope of a token for Resource Manager: its audience with `/.default`.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The address of the login service, without a slash at the end.
    #[must_use]
    pub fn authority_host(&self) -> &str {
        &self.authority_host
    }

    /// What the host names of storage accounts end in, such as `core.windows.net`. Empty where
    /// a custom cloud does not say.
    #[must_use]
    pub fn storage_suffix(&self) -> &str {
        &self.storage_suffix
    }

    pub(super) fn with_name(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// Another login service for the same cloud (`AZURE_AUTHORITY_HOST`).
    pub(super) fn with_authority_host(mut self, host: &str) -> Result<Self> {
        self.authority_host = https(host.trim(), "AZURE_AUTHORITY_HOST")?;
        Ok(self)
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The names of `az` and those of older tools, in any case, and short ones. An address is not
/// taken here, because it has to be asked: see [`Cloud::custom`].
impl FromStr for Cloud {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "azurecloud" | "azurepubliccloud" | "azurepublic" | "public" => Ok(Self::public()),
            "azureusgovernment" | "azureusgovernmentcloud" | "usgovernment" | "usgov" => {
                Ok(Self::us_government())
            }
            "azurechinacloud" | "azurechina" | "china" => Ok(Self::china()),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("there is no cloud called {text}"),
            )
            .with_hint(
                "known are AzureCloud, AzureUSGovernment and AzureChinaCloud (public, usgov, \
                 china), the clouds of `az cloud register`, and https://… of a Resource Manager",
            )),
        }
    }
}

fn unusable(endpoint: &str) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{endpoint} is not the address of a Resource Manager"),
    )
}

/// An address without the slash at its end.
fn https(text: &str, what: &str) -> Result<String> {
    // People write AZURE_AUTHORITY_HOST=login.microsoftonline.us, and the SDKs take it.
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let refuse = |why: &str| {
        Error::new(ErrorKind::InvalidInput, format!("{what} {why}: {text}"))
            .with_hint("write it like https://management.azure.com")
    };
    let url = Url::parse(&whole).map_err(|_| refuse("is not an address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{what} must not hold a user name or a password"),
        ));
    }
    if url.scheme() != "https" {
        return Err(refuse(
            "must begin with https://, tokens are not sent in the clear",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must be an address without a query"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn choose(list: Vec<Metadata>, base: &str) -> Result<Metadata> {
    let count = list.len();
    let same = |metadata: &Metadata| {
        let address = metadata.resource_manager.as_deref().unwrap_or_default();
        address.trim_end_matches('/').eq_ignore_ascii_case(base)
    };
    list.into_iter()
        .find(|metadata| count == 1 || same(metadata))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Service,
                format!("{base} names {count} clouds and none of them is at that address"),
            )
        })
}

/// Public Azure has answered with a list at some api-versions; a local one gives one object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Several(Vec<Metadata>),
    One(Box<Metadata>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    resource_manager: Option<String>,
    authentication: Authentication,
    #[serde(default)]
    suffixes: Suffixes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authentication {
    login_endpoint: Option<String>,
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Suffixes {
    storage: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::super::get::fake::Service;
    use super::*;

    const ONE: &str = r#"{"name":"Local","resourceManager":"https://127.0.0.1:8443/",
        "portal":null,
        "authentication":{"loginEndpoint":"https://127.0.0.1:8443/","audiences":
        ["https://management.core.windows.net/","https://management.azure.com/"],"tenant":"common",
        "identityProvider":"AAD"},"suffixes":{"storage":"local.test","keyVaultDns":"x"}}"#;

    async fn custom(endpoint: &str, body: &str) -> Result<Cloud> {
        let body = body.to_owned();
        let service = Service::new(move |_| (200, body.clone()));
        let cloud = Cloud::custom(endpoint, &service.transport()).await;
        if cloud.is_ok() {
            assert_eq!(
                service.urls(),
                ["https://127.0.0.1:8443/metadata/endpoints?api-version=2022-09-01"]
            );
        }
        cloud
    }

    #[tokio::test]
    async fn one_object_and_a_list_are_both_taken() {
        let cloud = custom("https://127.0.0.1:8443/", ONE).await.unwrap();
        assert_eq!(cloud.name(), "Local");
        assert_eq!(cloud.resource_manager(), "https://127.0.0.1:8443");
        assert_eq!(cloud.authority_host(), "https://127.0.0.1:8443");
        assert_eq!(
            cloud.scope(),
            "https://management.core.windows.net//.default"
        );
        assert_eq!(cloud.storage_suffix(), "local.test");
        let other = ONE.replace("8443", "9999").replace("Local", "Other");
        for list in [format!("[{ONE}]"), format!("[{other},{ONE}]")] {
            assert_eq!(
                custom("https://127.0.0.1:8443", &list).await.unwrap(),
                cloud
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_cloud_is_an_error() {
        for (endpoint, body, kind) in [
            ("http://127.0.0.1:8443", ONE, ErrorKind::InvalidInput),
            ("https://u:p@127.0.0.1", ONE, ErrorKind::InvalidInput),
            ("not an address", ONE, ErrorKind::InvalidInput),
            ("https://127.0.0.1:8443", "[]", ErrorKind::Service),
            ("https://127.0.0.1:8443", "<html>", ErrorKind::Service),
            (
                "https://127.0.0.1:8443",
                r#"{"authentication":{}}"#,
                ErrorKind::Service,
            ),
            (
                "https://127.0.0.1:8443",
                r#"{"authentication":{"loginEndpoint":"http://x"}}"#,
                ErrorKind::InvalidInput,
            ),
        ] {
            let error = custom(endpoint, body).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{endpoint} {body}: {error}");
        }
    }

    #[test]
    fn names_of_all_ages_are_known() {
        for (names, cloud) in [
            (
                ["AzureCloud", "AzurePublicCloud", "PUBLIC"],
                Cloud::public(),
            ),
            (
                ["AzureUSGovernment", "AZUREUSGOVERNMENTCLOUD", "usgov"],
                Cloud::us_government(),
            ),
            (["AzureChinaCloud", "AzureChina", "china"], Cloud::china()),
        ] {
            for name in names {
                assert_eq!(name.parse::<Cloud>().unwrap(), cloud);
            }
        }
        assert!("AzureGermanCloud".parse::<Cloud>().is_err());
    }

    #[test]
    fn an_authority_host_may_lack_its_scheme() {
        let cloud = Cloud::public()
            .with_authority_host("login.microsoftonline.us/")
            .unwrap();
        assert_eq!(cloud.authority_host(), "https://login.microsoftonline.us");
        assert!(Cloud::public().with_authority_host("http://x").is_err());
    }
}
