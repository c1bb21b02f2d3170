//! The chain of logins: which of them applies here, and the first that works.
//!
//! In this order: a secret in the environment, a federated token, the managed identity (when
//! asked for, or on a machine in Azure), `az login`, `azd auth login`. A login that somebody
//! configured on purpose is final: when it is refused the others are not tried, for they would
//! be somebody else. Nothing here waits for the network to find out whether it is in Azure.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::ClientOptions;
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, AzureDeveloperCliCredential,
    AzureDeveloperCliCredentialOptions, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    Executor, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};

use super::assertion::Assertion;
use super::environment::Environment;
use super::get::patience;
use super::login::{self, How, Login, LoginMethod};
use super::profile::{Entry, Profile};
use super::refusal::Refusal;
use super::token_cache::TokenCache;
use super::{Cloud, Transport};
use crate::{Error, ErrorKind, Result};

/// For one login. `az` needs a few seconds when it has to renew its own token.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// For a managed identity that nobody asked for: the metadata service of Azure answers at once,
/// or is firewalled off and never does.
const UNASKED_LIMIT: Duration = Duration::from_secs(10);

/// What every machine in Azure says of its chassis.
const AZURE_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// A login that works, and where its tokens come from.
pub(super) struct SignedIn {
    pub(super) login: Login,
    pub(super) tokens: Arc<TokenCache>,
}

/// What the chain looks at.
pub(super) struct Chain<'a> {
    pub(super) environment: &'a Environment,
    pub(super) cloud: &'a Cloud,
    pub(super) transport: &'a Transport,
    pub(super) profile: Option<&'a Profile>,
    /// Where `az` is to look, when it is not its default.
    pub(super) az_config_dir: Option<&'a Path>,
    /// The wanted subscription, where `az` knows it.
    pub(super) wanted: Option<&'a Entry>,
    pub(super) asset_tag: &'a Path,
}

/// A login that applies here.
struct Candidate {
    login: Login,
    tokens: TokenCache,
    /// Configured on purpose: its refusal is the end of the chain.
    is_final: bool,
}

impl Chain<'_> {
    /// Logs in by this way only, or by the first that works.
    pub(super) async fn sign_in(&self, method: Option<LoginMethod>) -> Result<SignedIn> {
        if let Some(method) = method {
            let candidate = self.candidate(&method, true).await.map_err(|why| {
                Error::new(
                    ErrorKind::Unauthenticated,
                    format!("cannot log in by {}: {why}", method.label()),
                )
                .with_operation("log in")
            })?;
            return self
                .prove(candidate)
                .await
                .map_err(|(login, error)| login::failed(&login, &error));
        }
        let mut tried = Vec::new();
        for (method, asked) in self.methods()? {
            let candidate = match self.candidate(&method, asked).await {
                Ok(candidate) => candidate,
                Err(why) => {
                    tracing::debug!(method = method.label(), why, "this login does not apply");
                    tried.push(format!("{}: {why}", method.label()));
                    continue;
                }
            };
            let is_final = candidate.is_final;
            match self.prove(candidate).await {
                Ok(signed_in) => {
                    self.warn_of_half_a_login(&signed_in.login);
                    return Ok(signed_in);
                }
                Err((login, error)) if is_final => return Err(login::failed(&login, &error)),
                Err((_, error)) => {
                    let why = login::cause(&error);
                    tracing::debug!(method = method.label(), why, "this login does not work");
                    tried.push(format!("{}: {why}", method.label()));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Unauthenticated,
            format!("not logged in to Azure ({})", tried.join("; ")),
        )
        .with_operation("log in")
        .with_hint(
            "run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
        ))
    }

    /// The ways to try, and whether each was asked for. `AZURE_TOKEN_CREDENTIALS` narrows them as
    /// it does in the Azure SDKs: `dev`, `prod`, or the name of one.
    fn methods(&self) -> Result<Vec<(LoginMethod, bool)>> {
        let managed = || LoginMethod::ManagedIdentity { client_id: None };
        let asked = self.environment.is_on("AZURE_NIXOS_USE_MANAGED_IDENTITY");
        let mut prod = vec![
            (LoginMethod::Environment, false),
            (LoginMethod::WorkloadIdentity, false),
            (managed(), asked),
        ];
        let dev = [
            (LoginMethod::AzureCli, false),
            (LoginMethod::AzureDeveloperCli, false),
        ];
        let narrowed = self.environment.get("AZURE_TOKEN_CREDENTIALS");
        match narrowed.as_deref().map(str::trim) {
            None => {
                prod.extend(dev);
                Ok(prod)
            }
            Some(name) if name.eq_ignore_ascii_case("prod") => Ok(prod),
            Some(name) if name.eq_ignore_ascii_case("dev") => Ok(dev.into()),
            Some(name) => {
                let method = name.parse().map_err(|error: Error| {
                    Error::new(
                        ErrorKind::InvalidInput,
                        format!("AZURE_TOKEN_CREDENTIALS is {name}, which is no login"),
                    )
                    .with_source(error)
                })?;
                Ok(vec![(method, true)])
            }
        }
    }

    /// Fetches the first token: only that shows whether a login works.
    async fn prove(
        &self,
        candidate: Candidate,
    ) -> std::result::Result<SignedIn, (Login, azure_core::Error)> {
        let Candidate {
            mut login, tokens, ..
        } = candidate;
        match Box::pin(tokens.get_token(&[self.cloud.scope()], None)).await {
            Ok(token) => {
                login.learn(token.token.secret());
                Ok(SignedIn {
                    login,
                    tokens: Arc::new(tokens),
                })
            }
            Err(error) => Err((login, error)),
        }
    }

    /// The login of this kind, or why there is none.
    async fn candidate(
        &self,
        method: &LoginMethod,
        asked: bool,
    ) -> std::result::Result<Candidate, String> {
        match method {
            LoginMethod::Environment => self.environment_secret(),
            LoginMethod::WorkloadIdentity => self.federated(),
            LoginMethod::ManagedIdentity { client_id } => {
                self.managed(client_id.clone(), asked).await
            }
            LoginMethod::AzureCli => self.az(asked),
            LoginMethod::AzureDeveloperCli => self.azd(asked),
        }
    }

    fn environment_secret(&self) -> std::result::Result<Candidate, String> {
        let [tenant, client, secret] =
            self.variables(["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"])?;
        let mut login = Login::new(How::Method(LoginMethod::Environment));
        login.who = Some(client.clone());
        login.tenant = Some(tenant.clone());
        let options = self.client_options();
        let secret = Secret::new(secret);
        let tokens = TokenCache::new(LIMIT, move || {
            let options = ClientSecretCredentialOptions {
                client_options: options.clone(),
            };
            Ok(ClientSecretCredential::new(
                &tenant,
                client.clone(),
                secret.clone(),
                Some(options),
            )?)
        });
        Ok(Candidate {
            login,
            tokens,
            is_final: true,
        })
    }

    fn federated(&self) -> std::result::Result<Candidate, String> {
        const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
        const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
        let file = self.environment.get("AZURE_FEDERATED_TOKEN_FILE");
        let git_hub = self.environment.get(URL).zip(self.environment.get(TOKEN));
        if file.is_none() && git_hub.is_none() {
            return Err("AZURE_FEDERATED_TOKEN_FILE is not set".into());
        }
        let [tenant, client] = self.variables(["AZURE_TENANT_ID", "AZURE_CLIENT_ID"])?;
        if let Some((url, token)) = &git_hub
            && file.is_none()
            && Assertion::git_hub(url, token.clone(), self.cloud, self.transport).is_none()
        {
            return Err(format!("{URL} is not an https address"));
        }
        let mut login = Login::new(How::Method(LoginMethod::WorkloadIdentity));
        login.who = Some(client.clone());
        login.tenant = Some(tenant.clone());
        let options = self.client_options();
        let (cloud, transport) = (self.cloud.clone(), self.transport.clone());
        let tokens = TokenCache::new(LIMIT, move || {
            let assertion = match (&file, &git_hub) {
                (Some(file), _) => Some(Assertion::File(PathBuf::from(file))),
                (None, Some((url, token))) => {
                    Assertion::git_hub(url, token.clone(), &cloud, &transport)
                }
                (None, None) => None,
            };
            let assertion = assertion.ok_or_else(|| {
                azure_core::Error::with_message(
                    azure_core::error::ErrorKind::Credential,
                    "there is no federated token",
                )
            })?;
            let options = ClientAssertionCredentialOptions {
                client_options: options.clone(),
            };
            Ok(ClientAssertionCredential::new(
                tenant.clone(),
                client.clone(),
                assertion,
                Some(options),
            )?)
        });
        Ok(Candidate {
            login,
            tokens,
            is_final: true,
        })
    }

    async fn managed(
        &self,
        client_id: Option<String>,
        asked: bool,
    ) -> std::result::Result<Candidate, String> {
        let near = ["IDENTITY_ENDPOINT", "MSI_ENDPOINT"]
            .iter()
            .any(|name| self.environment.is_set(name));
        if !asked && !near && !self.is_in_azure().await {
            return Err("this machine is not in Azure".into());
        }
        let client_id = client_id.or_else(|| self.environment.get("AZURE_CLIENT_ID"));
        let mut login = Login::new(How::Method(LoginMethod::ManagedIdentity {
            client_id: client_id.clone(),
        }));
        login.who = client_id.clone();
        let options = self.transport.client_options();
        let limit = if asked { LIMIT } else { UNASKED_LIMIT };
        let tokens = TokenCache::new(limit, move || {
            Ok(ManagedIdentityCredential::new(Some(
                ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options: options.clone(),
                },
            ))?)
        });
        Ok(Candidate {
            login,
            tokens,
            is_final: asked,
        })
    }

    fn az(&self, asked: bool) -> std::result::Result<Candidate, String> {
        let tool = self.tool("az")?;
        let mut login = Login::new(How::Method(LoginMethod::AzureCli));
        let default = self.profile.and_then(|p| p.default_of(self.cloud.name()));
        let account = self.wanted.or(default);
        login.who = account.and_then(Entry::user).map(str::to_owned);
        // One `az` can hold several people and tenants; this says which without our knowing.
        let elsewhere = self.wanted.filter(|entry| !entry.is_default);
        let subscription = elsewhere.map(|entry| entry.id.clone());
        let tokens = TokenCache::new(LIMIT, move || {
            Ok(AzureCliCredential::new(Some(AzureCliCredentialOptions {
                executor: Some(Arc::clone(&tool)),
                subscription: subscription.clone(),
                ..AzureCliCredentialOptions::default()
            }))?)
        });
        Ok(Candidate {
            login,
            tokens,
            is_final: asked,
        })
    }

    fn azd(&self, asked: bool) -> std::result::Result<Candidate, String> {
        let tool = self.tool("azd")?;
        let tenant_id = self
            .wanted
            .map(|entry| entry.tenant_id.clone())
            .filter(|tenant| !tenant.is_empty());
        let tokens = TokenCache::new(LIMIT, move || {
            Ok(AzureDeveloperCliCredential::new(Some(
                AzureDeveloperCliCredentialOptions {
                    executor: Some(Arc::clone(&tool)),
                    tenant_id: tenant_id.clone(),
                },
            ))?)
        });
        Ok(Candidate {
            login: Login::new(How::Method(LoginMethod::AzureDeveloperCli)),
            tokens,
            is_final: asked,
        })
    }

    /// All of these variables, or a sentence about those that are missing.
    fn variables<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> std::result::Result<[String; N], String> {
        let values = names.map(|name| self.environment.get(name));
        if values.iter().all(Option::is_some) {
            return Ok(values.map(|value| value.unwrap_or_default().trim().to_owned()));
        }
        let (set, missing): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| self.environment.is_set(name));
        let missing = format!("{} not set", sentence(&missing));
        if self.environment.is_set("AZURE_CLIENT_CERTIFICATE_PATH") {
            return Err(format!("{missing}, and certificates are not supported"));
        }
        Err(if set.is_empty() {
            missing
        } else {
            format!("{missing}, though {} set", sentence(&set))
        })
    }

    /// Half a configuration is most likely a mistake, and the login that is used instead is
    /// another identity: worth a line even when all goes well.
    fn warn_of_half_a_login(&self, login: &Login) {
        let used = login.method();
        let is_set = |name: &str| self.environment.is_set(name);
        let half = is_set("AZURE_CLIENT_SECRET")
            || is_set("AZURE_FEDERATED_TOKEN_FILE")
            || (is_set("AZURE_CLIENT_ID") && is_set("AZURE_TENANT_ID"));
        if half
            && matches!(
                used,
                Some(LoginMethod::AzureCli | LoginMethod::AzureDeveloperCli)
            )
            && let Err(why) = self.environment_secret()
        {
            tracing::warn!("the environment holds half a login ({why}); using the {login}");
        }
    }

    async fn is_in_azure(&self) -> bool {
        // Absent on other machines, in containers and on other systems: all of them mean no.
        tokio::fs::read_to_string(self.asset_tag)
            .await
            .is_ok_and(|tag| tag.trim() == AZURE_ASSET_TAG)
    }

    /// For the credentials that log in at Entra.
    fn client_options(&self) -> ClientOptions {
        let mut login = CustomConfiguration::default();
        self.cloud
            .authority_host()
            .clone_into(&mut login.authority_host);
        ClientOptions {
            cloud: Some(Arc::new(CloudConfiguration::Custom(login))),
            per_call_policies: vec![Arc::new(Refusal)],
            retry: patience(),
            ..self.transport.client_options()
        }
    }

    fn tool(&self, name: &'static str) -> std::result::Result<Arc<dyn Executor>, String> {
        if !self.environment.has_program(name) {
            return Err("not on the PATH".into());
        }
        let mut variables = Vec::new();
        for name in ["PATH", "HOME"] {
            if let Some(value) = self.environment.get(name) {
                variables.push((name, OsString::from(value)));
            }
        }
        if let Some(dir) = self.az_config_dir {
            variables.push(("AZURE_CONFIG_DIR", dir.as_os_str().to_owned()));
        }
        Ok(Arc::new(Tool { variables }))
    }
}

/// `A, B and C are`, `A is`.
fn sentence(names: &[&str]) -> String {
    match names {
        [] => "nothing is".to_owned(),
        [one] => format!("{one} is"),
        [rest @ .., last] => format!("{} and {last} are", rest.join(", ")),
    }
}

/// Runs `az` and `azd`. They are never asked anything: a tool that wants to know something fails
/// instead of waiting for an answer nobody sees the question of.
#[derive(Debug)]
struct Tool {
    variables: Vec<(&'static str, OsString)>,
}

#[async_trait]
impl Executor for Tool {
    async fn run(&self, program: &OsStr, args: &[&OsStr]) -> std::io::Result<Output> {
        tokio::process::Command::new(program)
            .args(args)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
    }
}
