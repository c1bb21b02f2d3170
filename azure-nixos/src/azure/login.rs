//! Who is logged in, and what a failed login says.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use azure_core::error::ErrorKind as AzureErrorKind;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::get::one_line;
use crate::{Error, ErrorKind};

/// A way to log in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginMethod {
    /// A service principal with a secret: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and
    /// `AZURE_CLIENT_SECRET`.
    Environment,
    /// A federated token: `AZURE_TENANT_ID` and `AZURE_CLIENT_ID`, with the token in the file
    /// `AZURE_FEDERATED_TOKEN_FILE` (Kubernetes), or from GitHub Actions in a job with the
    /// permission `id-token: write`.
    WorkloadIdentity,
    /// The managed identity of the machine.
    ManagedIdentity {
        /// The client id of a user-assigned identity; the system-assigned one without it.
        client_id: Option<String>,
    },
    /// `az login`.
    AzureCli,
    /// `azd auth login`.
    AzureDeveloperCli,
}

impl LoginMethod {
    /// The name in messages about what was tried.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Environment => "environment secret",
            Self::WorkloadIdentity => "federated token",
            Self::ManagedIdentity { .. } => "managed identity",
            Self::AzureCli => "az",
            Self::AzureDeveloperCli => "azd",
        }
    }
}

/// The names that the Azure SDKs take in `AZURE_TOKEN_CREDENTIALS`, such as
/// `ManagedIdentityCredential`.
impl FromStr for LoginMethod {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text.trim().to_ascii_lowercase().as_str() {
            "environmentcredential" => Self::Environment,
            "workloadidentitycredential" => Self::WorkloadIdentity,
            "managedidentitycredential" => Self::ManagedIdentity { client_id: None },
            "azureclicredential" => Self::AzureCli,
            "azuredeveloperclicredential" => Self::AzureDeveloperCli,
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("there is no way to log in called {text}"),
                )
                .with_hint(
                    "known are EnvironmentCredential, WorkloadIdentityCredential, \
                     ManagedIdentityCredential, AzureCliCredential and \
                     AzureDeveloperCliCredential",
                ));
            }
        })
    }
}

/// Who is logged in, and how. `Display` is for people: `az login as ann@example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub(super) how: How,
    pub(super) who: Option<String>,
    pub(super) tenant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    Method(LoginMethod),
    Credential,
    AccessToken,
}

impl Login {
    pub(super) fn new(how: How) -> Self {
        Self {
            how,
            who: None,
            tenant: None,
        }
    }

    /// How the login was found; nothing when the caller brought the credential or a token.
    #[must_use]
    pub fn method(&self) -> Option<&LoginMethod> {
        match &self.how {
            How::Method(method) => Some(method),
            How::Credential | How::AccessToken => None,
        }
    }

    /// The user's name or the client id, where the login says so.
    #[must_use]
    pub fn who(&self) -> Option<&str> {
        self.who.as_deref()
    }

    /// The tenant (directory) the login belongs to, where it is known.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Adds what the token says, where nothing better is known. The token is only read, not
    /// verified: the names are shown and compared, nothing is decided on them.
    pub(super) fn learn(&mut self, token: &str) {
        let claims = Claims::of(token);
        if self.who.is_none() {
            self.who = claims.who();
        }
        // The token's tenant is an id; a configured one may be a domain name.
        self.tenant = claims.tid.or_else(|| self.tenant.take());
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, join) = match &self.how {
            How::Method(LoginMethod::Environment) => ("service principal", " "),
            How::Method(LoginMethod::WorkloadIdentity) => ("federated identity", " "),
            How::Method(LoginMethod::ManagedIdentity { .. }) => ("managed identity", " "),
            How::Method(LoginMethod::AzureCli) => ("az login", " as "),
            How::Method(LoginMethod::AzureDeveloperCli) => ("azd login", " as "),
            How::Credential => ("given credential", " of "),
            How::AccessToken => ("given access token", " of "),
        };
        f.write_str(what)?;
        match &self.who {
            Some(who) => write!(f, "{join}{who}"),
            None => Ok(()),
        }
    }
}

/// The parts of a token that say whose it is. Azure's tokens are JWTs, though nobody promises so.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Claims {
    pub(super) tid: Option<String>,
    pub(super) exp: Option<i64>,
    upn: Option<String>,
    unique_name: Option<String>,
    appid: Option<String>,
}

impl Claims {
    /// Nothing for a token that cannot be read.
    pub(super) fn of(token: &str) -> Self {
        token
            .split('.')
            .nth(1)
            .and_then(|part| {
                BASE64_URL_SAFE_NO_PAD
                    .decode(part.trim_end_matches('='))
                    .ok()
            })
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default()
    }

    fn who(&self) -> Option<String> {
        let who = self.upn.as_ref().or(self.unique_name.as_ref());
        who.or(self.appid.as_ref()).map(|who| one_line(who))
    }
}

/// The error of a login that was found and did not work. It takes only words from the foreign
/// error: that one holds the whole answer of the service.
pub(super) fn failed(login: &Login, error: &azure_core::Error) -> Error {
    let kind = kind(error);
    let message = match kind {
        ErrorKind::Unauthenticated => format!("the {login} is refused: {}", cause(error)),
        _ => format!("the {login} cannot be used now: {}", cause(error)),
    };
    let error = Error::new(kind, message).with_operation("log in");
    match (kind, &login.how) {
        (ErrorKind::Unauthenticated, How::Method(LoginMethod::AzureCli)) => {
            error.with_hint("run `az login`")
        }
        (ErrorKind::Unauthenticated, How::Method(LoginMethod::AzureDeveloperCli)) => {
            error.with_hint("run `azd auth login`")
        }
        (ErrorKind::Unauthenticated, How::Method(LoginMethod::Environment)) => error.with_hint(
            "look at AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; unset them to use \
             another login",
        ),
        (ErrorKind::Unauthenticated, How::Method(LoginMethod::WorkloadIdentity)) => error
            .with_hint(
                "the application needs a federated credential for this issuer and subject; look \
                 at AZURE_TENANT_ID and AZURE_CLIENT_ID",
            ),
        (ErrorKind::Unauthenticated, How::Method(LoginMethod::ManagedIdentity { .. })) => {
            error.with_hint("assign an identity to this machine, or set AZURE_CLIENT_ID to its id")
        }
        _ => error,
    }
}

fn kind(error: &azure_core::Error) -> ErrorKind {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<tokio::time::error::Elapsed>() {
            return ErrorKind::Timeout;
        }
        if let Some(error) = error.downcast_ref::<azure_core::Error>() {
            match error.kind() {
                AzureErrorKind::Io | AzureErrorKind::Connection => return ErrorKind::Network,
                AzureErrorKind::DataConversion => return ErrorKind::Service,
                AzureErrorKind::HttpResponse { status, .. } => match u16::from(*status) {
                    429 => return ErrorKind::Throttled,
                    500.. => return ErrorKind::Service,
                    _ => {}
                },
                _ => {}
            }
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            return error.kind();
        }
        next = error.source();
    }
    ErrorKind::Unauthenticated
}

/// What the SDK's error comes down to: its own wrappings and advertisements cut away, one line.
pub(super) fn cause(error: &azure_core::Error) -> String {
    const WRAPPINGS: [&str; 2] = [
        "retry policy expired and the request will no longer be retried",
        "non-transport error occurred which will not be retried",
    ];
    let mut text = String::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        let whole = error.to_string();
        let said = whole.split("\nTo troubleshoot, visit").next().unwrap_or("");
        let said = match said.split_once("authentication failed.") {
            Some((name, rest)) if !name.trim().contains(' ') => rest,
            _ => said,
        };
        let said = one_line(said);
        let said = said.trim_start_matches("ERROR: ");
        if !said.is_empty() && !WRAPPINGS.contains(&said) && !text.contains(said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(said);
        }
        next = error.source();
    }
    if text.is_empty() {
        text.push_str("no reason was given");
    }
    one_line(&text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A token with these claims and no signature.
    pub(in crate::azure) fn jwt(claims: &serde_json::Value) -> String {
        let part = |value: &str| BASE64_URL_SAFE_NO_PAD.encode(value);
        format!(
            "{}.{}.{}",
            part(r#"{"alg":"none"}"#),
            part(&claims.to_string()),
            part("S3CRET")
        )
    }

    #[test]
    fn the_sdks_wrappings_are_cut_away() {
        let below = azure_core::Error::with_message(AzureErrorKind::Connection, "refused");
        let error = below
            .with_context("retry policy expired and the request will no longer be retried")
            .with_context(
                "ClientSecretCredential authentication failed. retry policy expired and the \
                 request will no longer be retried\nTo troubleshoot, visit https://x",
            );
        assert_eq!(cause(&error), "refused");
        let mut login = Login::new(How::Method(LoginMethod::Environment));
        login.who = Some("app".into());
        let error = failed(&login, &error);
        assert_eq!(error.kind(), ErrorKind::Network);
        assert_eq!(
            error.to_string(),
            "the service principal app cannot be used now: refused"
        );
    }

    #[test]
    fn a_token_tells_whose_it_is() {
        let mut login = Login::new(How::AccessToken);
        login.learn(&jwt(
            &serde_json::json!({"upn": "ann@example.com", "tid": "t-1"}),
        ));
        assert_eq!(login.to_string(), "given access token of ann@example.com");
        assert_eq!(login.tenant(), Some("t-1"));
        let mut login = Login::new(How::Credential);
        login.learn("opaque");
        assert_eq!(login.to_string(), "given credential");
    }

    #[test]
    fn names_of_the_sdks_are_known() {
        assert_eq!(
            "AzureCliCredential".parse::<LoginMethod>().unwrap(),
            LoginMethod::AzureCli
        );
        assert!("Azure".parse::<LoginMethod>().is_err());
    }
}
