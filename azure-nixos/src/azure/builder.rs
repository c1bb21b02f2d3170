//! From settings and surroundings to a connection.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use zeroize::Zeroizing;

use super::credential::{Chain, SignedIn};
use super::environment::Environment;
use super::given;
use super::login::LoginMethod;
use super::profile::{self, AzCloud, Profile};
use super::subscription::{Chooser, Wanted};
use super::{Azure, Cloud, Inner, Transport};
use crate::{Error, ErrorKind, Result};

/// Where Linux shows what the firmware says of the machine.
const ASSET_TAG: &str = "/sys/class/dmi/id/chassis_asset_tag";

/// Settings of a connection; what is not set is found in the surroundings.
///
/// ```no_run
/// # async fn example() -> azure_nixos::Result<()> {
/// use azure_nixos::azure::{Azure, LoginMethod};
///
/// let azure = Azure::builder()
///     .subscription("Visual Studio")
///     .login_with(LoginMethod::ManagedIdentity { client_id: None })
///     .build()
///     .await?;
/// println!("{azure}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "nothing happens before build"]
pub struct AzureBuilder {
    subscription: Option<String>,
    cloud: CloudChoice,
    credential: Option<Arc<dyn TokenCredential>>,
    access_token: Option<Zeroizing<String>>,
    login: Option<LoginMethod>,
    transport: Option<Transport>,
    environment: Environment,
    az_config_dir: Option<PathBuf>,
    asset_tag: PathBuf,
}

#[derive(Clone)]
enum CloudChoice {
    Surroundings,
    Given(Cloud),
    Named(String),
}

impl fmt::Debug for AzureBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureBuilder")
            .field("subscription", &self.subscription)
            .field("login", &self.login)
            .field("az_config_dir", &self.az_config_dir)
            .finish_non_exhaustive()
    }
}

impl Default for AzureBuilder {
    fn default() -> Self {
        Self {
            subscription: None,
            cloud: CloudChoice::Surroundings,
            credential: None,
            access_token: None,
            login: None,
            transport: None,
            environment: Environment::default(),
            az_config_dir: None,
            asset_tag: PathBuf::from(ASSET_TAG),
        }
    }
}

impl AzureBuilder {
    /// The subscription, by id or by name.
    ///
    /// Without it: `AZURE_SUBSCRIPTION_ID`, else the default of `az` (when `az` is the login, or
    /// the login is of the same tenant), else the only one the login sees. The variables of other
    /// tools (`ARM_SUBSCRIPTION_ID`) are not read: they belong to other logins.
    pub fn subscription(mut self, id_or_name: impl Into<String>) -> Self {
        self.subscription = Some(id_or_name.into());
        self
    }

    /// The cloud. Without it: `AZURE_CLOUD` (a name, or the `https` address of a Resource
    /// Manager), else the one chosen with `az cloud set`, else the public one. A cloud that is
    /// not given here gets its login service from `AZURE_AUTHORITY_HOST`, if that is set.
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = CloudChoice::Given(cloud);
        self
    }

    /// The cloud by name, as `AZURE_CLOUD` has it: one of the known names, a cloud made with `az
    /// cloud register`, or the `https` address of a Resource Manager.
    pub fn cloud_named(mut self, name: impl Into<String>) -> Self {
        self.cloud = CloudChoice::Named(name.into());
        self
    }

    /// A credential of the caller's; no other login is looked for. It is asked for a token of
    /// [`Cloud::scope`]; its tokens are cached.
    pub fn credential(mut self, credential: Arc<dyn TokenCredential>) -> Self {
        self.credential = Some(credential);
        self
    }

    /// A ready access token, for pipelines that have one; no other login is looked for. It
    /// cannot be renewed, so work that outlives it fails.
    pub fn access_token(mut self, token: impl Into<String>) -> Self {
        self.access_token = Some(Zeroizing::new(token.into()));
        self
    }

    /// This login only. Without it the first that works is taken: a secret in the environment, a
    /// federated token, the managed identity (with `AZURE_NIXOS_USE_MANAGED_IDENTITY=1`, or on a
    /// machine in Azure), `az login`, `azd auth login`. `AZURE_TOKEN_CREDENTIALS` narrows the
    /// list as it does for the Azure SDKs.
    pub fn login_with(mut self, method: LoginMethod) -> Self {
        self.login = Some(method);
        self
    }

    /// The transport for this connection and all that is done with it, logins included.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Environment variables from somewhere else than the process. Two things look past it: the
    /// proxies of the transport, and where an App Service keeps its managed identity.
    pub fn environment(
        mut self,
        lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.environment = Environment::new(lookup);
        self
    }

    /// The directory of `az`. Without it: `AZURE_CONFIG_DIR`, else `~/.azure`.
    pub fn az_config_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.az_config_dir = Some(dir.into());
        self
    }

    #[cfg(test)]
    pub(super) fn asset_tag(mut self, path: impl Into<PathBuf>) -> Self {
        self.asset_tag = path.into();
        self
    }

    /// Logs in and finds the subscription.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`] when there is no login (the message says what was tried) or
    /// it is refused; [`ErrorKind::Ambiguous`] when there are several subscriptions and none is
    /// named; [`ErrorKind::NotFound`] when there is none; [`ErrorKind::InvalidInput`] for a
    /// setting that cannot be; [`ErrorKind::Network`] and [`ErrorKind::Timeout`].
    ///
    /// # Cancellation
    /// Safe: nothing is changed anywhere.
    pub async fn build(self) -> Result<Azure> {
        // Large, and built once per program: it lives on the heap.
        Box::pin(self.connect()).await
    }

    async fn connect(self) -> Result<Azure> {
        let transport = match &self.transport {
            Some(transport) => transport.clone(),
            // It reads the system's certificates.
            None => tokio::task::spawn_blocking(Transport::new)
                .await
                .map_err(|error| {
                    Error::new(ErrorKind::Internal, "the transport was not built")
                        .with_source(error)
                })??,
        };
        let az_dir = self
            .az_config_dir
            .clone()
            .or_else(|| self.environment.az_config_dir());
        let cloud = self.find_cloud(&transport, az_dir.as_deref()).await?;
        let profile = match &az_dir {
            Some(dir) => Profile::read(dir).await.unwrap_or_else(|error| {
                tracing::warn!("{error}; going on without it");
                None
            }),
            None => None,
        };
        let wanted = self
            .subscription
            .clone()
            .or_else(|| self.environment.get("AZURE_SUBSCRIPTION_ID"))
            .map(|text| Wanted::parse(&text))
            .transpose()?;
        let SignedIn { mut login, tokens } = if let Some(credential) = &self.credential {
            given::with_credential(Arc::clone(credential))
        } else if let Some(token) = &self.access_token {
            given::with_token(token.as_str().to_owned())?
        } else {
            let chain = Chain {
                environment: &self.environment,
                cloud: &cloud,
                transport: &transport,
                profile: profile.as_ref(),
                az_config_dir: az_dir.as_deref(),
                wanted: wanted.as_ref().and_then(|wanted| {
                    let mut known = profile.as_ref()?.of_cloud(cloud.name());
                    known.find(|entry| wanted.is(entry))
                }),
                asset_tag: &self.asset_tag,
            };
            Box::pin(chain.sign_in(self.login.clone())).await?
        };
        let chooser = Chooser {
            cloud: &cloud,
            transport: &transport,
            login: &login,
            profile: profile.as_ref(),
        };
        let subscription = match chooser.without_asking(wanted.as_ref())? {
            Some(subscription) => subscription,
            None => {
                let token = super::token(&cloud, &login, &tokens).await?;
                let chosen = match chooser.ask(wanted.as_ref(), &token).await {
                    // The token of a tool may have been revoked since it was cached.
                    Err(error) if error.kind() == ErrorKind::Unauthenticated => {
                        tokens.forget(&token);
                        let token = super::token(&cloud, &login, &tokens).await?;
                        chooser.ask(wanted.as_ref(), &token).await?
                    }
                    chosen => chosen?,
                };
                login.learn(token.secret());
                chosen
            }
        };
        let azure = Azure(Arc::new(Inner {
            cloud,
            transport,
            login,
            tokens,
            subscription,
        }));
        tracing::info!("connected: {azure}");
        Ok(azure)
    }

    async fn find_cloud(&self, transport: &Transport, az_dir: Option<&Path>) -> Result<Cloud> {
        let cloud = match &self.cloud {
            CloudChoice::Given(cloud) => return Ok(cloud.clone()),
            CloudChoice::Named(name) => named(name, transport, az_dir).await?,
            CloudChoice::Surroundings => match (self.environment.get("AZURE_CLOUD"), az_dir) {
                (Some(name), _) => named(&name, transport, az_dir).await?,
                (None, Some(dir)) => match profile::chosen_cloud(dir).await? {
                    Some(chosen) => known(chosen, transport).await?,
                    None => Cloud::public(),
                },
                (None, None) => Cloud::public(),
            },
        };
        match self.environment.get("AZURE_AUTHORITY_HOST") {
            Some(host) => cloud.with_authority_host(&host),
            None => Ok(cloud),
        }
    }
}

async fn named(name: &str, transport: &Transport, az_dir: Option<&Path>) -> Result<Cloud> {
    let name = name.trim();
    if name.contains("://") {
        return Cloud::custom(name, transport).await;
    }
    match az_dir {
        Some(dir) => known(profile::registered_cloud(dir, name).await?, transport).await,
        None => name.parse(),
    }
}

/// A cloud of `az`: a built-in one, or one that has to be asked for its endpoints.
async fn known(cloud: AzCloud, transport: &Transport) -> Result<Cloud> {
    match (cloud.name.parse::<Cloud>(), cloud.resource_manager) {
        (Ok(built_in), _) => Ok(built_in),
        // Its subscriptions in the profile are under the name that it was registered with.
        (Err(_), Some(endpoint)) => Ok(Cloud::custom(&endpoint, transport)
            .await?
            .with_name(cloud.name)),
        (Err(error), None) => Err(error),
    }
}
