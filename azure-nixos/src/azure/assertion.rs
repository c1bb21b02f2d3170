//! Where a federated login gets the statement of who it is: from a file that Kubernetes keeps
//! fresh, or from GitHub Actions. Both are short-lived, so they are fetched for every login.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use serde::Deserialize;
use url::Url;

use super::get::get_json;
use super::{Cloud, Transport};

pub(super) enum Assertion {
    File(PathBuf),
    GitHub {
        url: Url,
        token: Secret,
        transport: Transport,
    },
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::GitHub { .. } => f.write_str("GitHub"),
        }
    }
}

impl Assertion {
    /// GitHub's service, asked for a token that this cloud's login takes.
    pub(super) fn git_hub(
        url: &str,
        token: String,
        cloud: &Cloud,
        transport: &Transport,
    ) -> Option<Self> {
        let mut url = Url::parse(url).ok()?;
        if url.scheme() != "https" {
            return None;
        }
        let audience = match cloud.authority_host() {
            host if host.ends_with(".us") => "api://AzureADTokenExchangeUSGov",
            host if host.ends_with(".cn") => "api://AzureADTokenExchangeChina",
            _ => "api://AzureADTokenExchange",
        };
        url.query_pairs_mut().append_pair("audience", audience);
        Some(Self::GitHub {
            url,
            token: Secret::new(token),
            transport: transport.clone(),
        })
    }

    async fn fetch(&self) -> azure_core::Result<String> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>, what: String| {
            azure_core::Error::with_error(AzureErrorKind::Credential, error, what)
        };
        match self {
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    let what = format!("cannot read the federated token {}", path.display());
                    failed(error.into(), what)
                })?;
                Ok(text.trim().to_owned())
            }
            Self::GitHub {
                url,
                token,
                transport,
            } => {
                #[derive(Deserialize)]
                struct Answer {
                    value: String,
                }
                const WHAT: &str = "fetch the federated token";
                let answer: Answer = get_json(transport, url, Some(token), WHAT)
                    .await
                    .map_err(|error| failed(error.into(), "GitHub Actions gave no token".into()))?;
                Ok(answer.value)
            }
        }
    }
}

#[async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Box::pin(self.fetch()).await
    }
}
