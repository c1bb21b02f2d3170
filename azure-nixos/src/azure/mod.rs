//! The connection: credentials, subscription, clouds, transport.
//!
//! [`Azure`] is what everything else of the library is given. It knows who is logged in, to which
//! cloud and subscription, and hands out tokens that are fresh at every call. What is done in
//! Azure is not known here.
//!
//! ```no_run
//! # async fn example() -> azure_nixos::Result<()> {
//! use azure_nixos::azure::Azure;
//!
//! // A service principal in the environment, a federated token, a managed identity, or `az login`.
//! let azure = Azure::from_environment().await?;
//! // az login as ann@example.com, subscription Web (aaaaaaaa-…)
//! println!("{azure}");
//! # Ok(())
//! # }
//! ```

mod assertion;
mod builder;
#[cfg(test)]
mod child;
mod cloud;
mod credential;
mod environment;
mod get;
mod given;
mod login;
#[cfg(test)]
mod loopback;
mod profile;
mod refusal;
mod subscription;
#[cfg(test)]
mod tests;
mod token_cache;
mod transport;
mod trust;

use std::fmt;
use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};

pub use builder::AzureBuilder;
pub use cloud::Cloud;
pub use login::{Login, LoginMethod};
pub use transport::{Transport, TransportBuilder};

use crate::{Error, ErrorKind, Result};
use subscription::Subscription;
use token_cache::TokenCache;

/// A connection to one subscription of one cloud. Cloning is cheap and shares everything.
#[derive(Clone)]
pub struct Azure(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    transport: Transport,
    login: Login,
    tokens: Arc<TokenCache>,
    subscription: Subscription,
}

/// The connection of a builder, which may be made before there is one.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when it never got one.
pub(crate) fn connected(azure: Option<Azure>) -> Result<Azure> {
    azure.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidInput,
            "there is no connection to Azure to make this with",
        )
        .with_hint("call `connect` before it is started")
    })
}

impl Azure {
    /// A connection with whatever the environment, `az` or the machine offers; see
    /// [`AzureBuilder`] for the order.
    ///
    /// # Errors
    /// As [`AzureBuilder::build`].
    ///
    /// # Cancellation
    /// Safe: nothing is changed anywhere.
    pub async fn from_environment() -> Result<Self> {
        Self::builder().build().await
    }

    /// A connection with settings of its own.
    pub fn builder() -> AzureBuilder {
        AzureBuilder::default()
    }

    /// The id of the subscription: a GUID in lower case.
    #[must_use]
    pub fn subscription_id(&self) -> &str {
        &self.0.subscription.id
    }

    /// The name of the subscription, where it was met on the way.
    #[must_use]
    pub fn subscription_name(&self) -> Option<&str> {
        self.0.subscription.name.as_deref()
    }

    /// The cloud.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// Who is logged in.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.0.login
    }

    /// A token for Resource Manager that is good for this request. Not to be kept.
    pub(crate) async fn token(&self) -> Result<Secret> {
        token(&self.0.cloud, &self.0.login, &self.0.tokens).await
    }

    /// Says that a service answered 401 to this token: the next [`token`](Self::token) is another
    /// one. Saying it again changes nothing.
    pub(crate) fn forget_token(&self, refused: &Secret) {
        self.0.tokens.forget(refused);
    }
}

async fn token(cloud: &Cloud, login: &Login, tokens: &TokenCache) -> Result<Secret> {
    match tokens.get_token(&[cloud.scope()], None).await {
        Ok(token) => Ok(token.token),
        Err(error) => Err(login::failed(login, &error)),
    }
}

/// Who and where, in one line.
impl fmt::Display for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, subscription ", self.0.login)?;
        match self.subscription_name() {
            Some(name) => write!(f, "{name} ({})", self.subscription_id())?,
            None => f.write_str(self.subscription_id())?,
        }
        if self.0.cloud == Cloud::public() {
            return Ok(());
        }
        write!(f, " in {}", self.0.cloud)
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("login", &self.0.login)
            .field("subscription", &self.0.subscription.id)
            .field("cloud", &self.0.cloud.name())
            .finish_non_exhaustive()
    }
}
