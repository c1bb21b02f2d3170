//! Requests to Azure Resource Manager: authorisation, retries, decoding.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{
    ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request, RetryOptions,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::error::ServiceError;
use super::operation::{Finish, Operation};
use super::{ResourceId, resources};
use crate::azure::{Azure, Transport};
use crate::backoff::{self, Backoff};
use crate::{Error, ErrorKind, Result};

/// Waits between tries of one request.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(30),
};

/// Tries of one request. With the waits above that outlives three quarters of a minute of a broken
/// service on average, and a minute and a half at most.
const MOST_TRIES: u32 = 8;

/// Says in the context of an error how often the request was sent, if more than once.
pub(crate) const TRIES: &str = "tries";

/// Time for one answer. The gateway itself gives up on a resource provider after 60 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(90);

/// Time for a request and all its tries; a throttled service may ask for minutes.
const REQUEST_BUDGET: Duration = Duration::from_secs(600);

/// A provider that says that it is registered may still be unknown in some region for so long.
const SPREADING: Duration = Duration::from_secs(60);

/// Pages of a list that are followed; one that has more has no end.
const LARGEST_PAGE_COUNT: usize = 10_000;

/// A client of Azure Resource Manager for one subscription. Cloning it is cheap.
///
/// Every request asks the credential for a token, so that none runs out in the middle of a long
/// upload; a request that is refused for its token is sent once more with a new one. Transient
/// failures (no connection, 408, 429, 5xx, a lock held by another operation) are tried again, with
/// `Retry-After` honoured.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    endpoint: Url,
    subscription: String,
    tokens: Arc<dyn Tokens>,
    pipeline: Pipeline,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.0.endpoint.as_str())
            .field("subscription", &self.0.subscription)
            .finish_non_exhaustive()
    }
}

/// Where the client gets the token of a request from.
#[async_trait]
pub(super) trait Tokens: Send + Sync {
    /// A token that is good now.
    async fn token(&self) -> Result<Secret>;
    /// Says that the service refused this one.
    fn forget(&self, refused: &Secret);
}

#[async_trait]
impl Tokens for Azure {
    async fn token(&self) -> Result<Secret> {
        Self::token(self).await
    }

    fn forget(&self, refused: &Secret) {
        self.forget_token(refused);
    }
}

/// An answer with a status below 400.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// Without the body, which may hold an access, and the headers, whose links are signed.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        self.headers
            .get_optional_str(&HeaderName::from_static(name))
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        backoff::retry_after(|name| self.header(name), SystemTime::now())
    }

    /// The body as JSON; an empty body is `null`, as which `()` and options decode.
    pub(crate) fn json<T: DeserializeOwned>(&self, doing: &str) -> Result<T> {
        let text: &[u8] = if self.body.iter().all(u8::is_ascii_whitespace) {
            b"null"
        } else {
            &self.body
        };
        decode(text, doing)
    }
}

/// Decodes JSON with an error that names the field.
pub(crate) fn decode<T: DeserializeOwned>(text: &[u8], doing: &str) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        Error::new(
            ErrorKind::Service,
            format!("cannot {doing}: the answer of the service is not what its contract says"),
        )
        // The error below quotes at most one value; no field that is decoded is a secret but the
        // access URL, and its own decoder does not quote.
        .with_source(error)
    })
}

impl Client {
    /// A client of a connection.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the cloud's endpoint is not an `https` URL: a token would
    /// travel in the clear.
    pub fn new(azure: &Azure) -> Result<Self> {
        Self::from_parts(
            azure.cloud().resource_manager(),
            azure.subscription_id(),
            Arc::new(azure.clone()),
            azure.transport(),
        )
    }

    pub(super) fn from_parts(
        endpoint: &str,
        subscription: &str,
        tokens: Arc<dyn Tokens>,
        transport: &Transport,
    ) -> Result<Self> {
        let refuse = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{endpoint:?} cannot be the endpoint of Resource Manager"),
            )
            .with_hint("it must be an https URL such as https://management.azure.com")
        };
        let url = Url::parse(endpoint).map_err(|_| refuse())?;
        if url.scheme() != "https" || url.host_str().is_none() {
            return Err(refuse());
        }
        let options = ClientOptions {
            transport: Some(transport.sdk()),
            // One retry layer: the one below, which knows operations and provider registration.
            retry: RetryOptions::none(),
            ..ClientOptions::default()
        };
        let pipeline = Pipeline::new(
            Some(env!("CARGO_PKG_NAME")),
            Some(env!("CARGO_PKG_VERSION")),
            options,
            Vec::new(),
            Vec::new(),
            None,
        );
        Ok(Self(Arc::new(Inner {
            endpoint: url,
            subscription: subscription.to_owned(),
            tokens,
            pipeline,
        })))
    }

    /// The subscription that names without one belong to.
    #[must_use]
    pub fn subscription_id(&self) -> &str {
        &self.0.subscription
    }

    /// The id of a resource of a full type (`Microsoft.Compute/disks`) in this subscription.
    #[must_use]
    pub fn resource_id(&self, group: &str, kind: &str, name: &str) -> ResourceId {
        ResourceId::new(self.subscription_id(), group, kind, name)
    }

    /// The address at which the login service saw the caller, where the token says it: those of
    /// people do.
    pub(crate) async fn caller_address(&self) -> Result<Option<IpAddr>> {
        let token = self.0.tokens.token().await?;
        Ok(address_in(token.secret()))
    }

    /// The URL of a path, with the version of the API and further query parameters.
    pub(crate) fn url(&self, path: &str, api_version: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.0.endpoint.clone();
        url.set_path(path);
        url.query_pairs_mut()
            .clear()
            .extend_pairs(query)
            .append_pair("api-version", api_version);
        url
    }

    /// Whether a URL from an answer may be sent the token: the endpoint's own host or one below it.
    fn trusts(&self, url: &Url) -> bool {
        let (Some(host), Some(own)) = (url.host_str(), self.0.endpoint.host_str()) else {
            return false;
        };
        let regional = host
            .strip_suffix(own)
            .is_some_and(|rest| rest.ends_with('.'));
        url.scheme() == "https"
            && (host.eq_ignore_ascii_case(own) || regional)
            && url.port_or_known_default() == self.0.endpoint.port_or_known_default()
    }

    /// A URL from an answer, absolute or relative.
    ///
    /// # Errors
    /// [`ErrorKind::Service`] when it leads to a host that must not see the token.
    pub(crate) fn follow(&self, base: &Url, link: &str, doing: &str) -> Result<Url> {
        let url = base.join(link).ok().filter(|url| self.trusts(url));
        url.ok_or_else(|| {
            Error::new(
                ErrorKind::Service,
                format!("cannot {doing}: the service refers to an address that is not its own"),
            )
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, url: Url, doing: &str) -> Result<T> {
        self.send(Method::Get, &url, None, doing).await?.json(doing)
    }

    /// `None` when it does not exist, or its group does not.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        url: Url,
        doing: &str,
    ) -> Result<Option<T>> {
        match self.get(url, doing).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All pages of a list.
    pub(crate) async fn list<T: DeserializeOwned>(&self, url: Url, doing: &str) -> Result<Vec<T>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
        struct Page<T> {
            #[serde(default = "Vec::new")]
            value: Vec<T>,
            next_link: Option<String>,
        }
        let mut items = Vec::new();
        let mut next = Some(url);
        let mut pages = 0;
        while let Some(url) = next {
            let page: Page<T> = self.get(url.clone(), doing).await?;
            items.extend(page.value);
            pages += 1;
            if pages == LARGEST_PAGE_COUNT {
                return Err(Error::new(
                    ErrorKind::Service,
                    format!("cannot {doing}: the list does not end"),
                ));
            }
            next = match page.next_link.as_deref() {
                None | Some("") => None,
                Some(link) => Some(self.follow(&url, link, doing)?),
            };
        }
        Ok(items)
    }

    /// Creates or replaces.
    pub(crate) async fn put<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: Url,
        body: &B,
        doing: String,
    ) -> Result<Operation<T>> {
        let body = encode(body, &doing)?;
        let reply = self.send(Method::Put, &url, Some(body), &doing).await?;
        Ok(Operation::new(
            self.clone(),
            doing,
            url,
            Finish::Resource,
            reply,
        ))
    }

    /// Changes a part of what exists.
    pub(crate) async fn patch<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: Url,
        body: &B,
        doing: String,
    ) -> Result<Operation<T>> {
        let body = encode(body, &doing)?;
        let reply = self.send(Method::Patch, &url, Some(body), &doing).await?;
        Ok(Operation::new(
            self.clone(),
            doing,
            url,
            Finish::Resource,
            reply,
        ))
    }

    /// Does something to a resource.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        url: Url,
        body: Option<Bytes>,
        finish: Finish,
        doing: String,
    ) -> Result<Operation<T>> {
        let reply = self.send(Method::Post, &url, body, &doing).await?;
        Ok(Operation::new(self.clone(), doing, url, finish, reply))
    }

    /// Deletes; that there is nothing to delete is a success.
    pub(crate) async fn delete(&self, url: Url, doing: String) -> Result<Operation<()>> {
        let reply = match self.send(Method::Delete, &url, None, &doing).await {
            Err(error) if error.status() == Some(404) => Reply {
                status: 204,
                headers: Headers::new(),
                body: Bytes::new(),
            },
            other => other?,
        };
        Ok(Operation::new(
            self.clone(),
            doing,
            url,
            Finish::Nothing,
            reply,
        ))
    }

    /// Sends a request until it is answered for good.
    ///
    /// An unregistered resource provider is registered, once, and the request sent again.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Option<Bytes>,
        doing: &str,
    ) -> Result<Reply> {
        let first = self.send_retrying(method, url, body.clone(), doing).await;
        let (Err(error), Some(namespace)) = (&first, resources::provider_of(url.path())) else {
            return first;
        };
        if !is_unregistered(error) {
            return first;
        }
        self.register_provider(namespace)
            .await
            .map_err(|failed| not_registered(doing, namespace, failed))?;
        let registered = Instant::now();
        loop {
            let reply = self.send_retrying(method, url, body.clone(), doing).await;
            match &reply {
                Err(error) if is_unregistered(error) && registered.elapsed() < SPREADING => {
                    tokio::time::sleep(SPREADING / 20).await;
                }
                _ => return reply,
            }
        }
    }

    /// [`send`](Self::send) for the requests that register a provider, which must not do so again.
    pub(crate) async fn send_retrying(
        &self,
        method: Method,
        url: &Url,
        body: Option<Bytes>,
        doing: &str,
    ) -> Result<Reply> {
        let started = Instant::now();
        let mut failed = 0;
        let mut token_refused = false;
        loop {
            let token = self.0.tokens.token().await?;
            let attempt = self.attempt(method, url, body.clone(), &token, doing);
            let (error, wanted) = match attempt.await {
                Ok(reply) if reply.status < 400 => return Ok(reply),
                Ok(reply) => {
                    let refusal = ServiceError::decode(reply.status, &reply.body);
                    let wanted = reply.retry_after();
                    let mut error = refusal.into_error(doing);
                    if let Some(id) = reply.header("x-ms-request-id") {
                        error = error.with_context("request id", id);
                    }
                    if reply.status == 401 && !token_refused {
                        token_refused = true;
                        self.0.tokens.forget(&token);
                        continue;
                    }
                    (error, wanted)
                }
                Err(error) => (error, None),
            };
            failed += 1;
            // A wait of nothing is no wish to be asked as fast as possible.
            let wanted = wanted.filter(|wait| !wait.is_zero());
            let wait = wanted.unwrap_or_else(|| BACKOFF.wait(failed));
            let enough = failed == MOST_TRIES || started.elapsed() + wait > REQUEST_BUDGET;
            if !error.is_retryable() || enough {
                return Err(if failed > 1 {
                    error.with_context(TRIES, failed)
                } else {
                    error
                });
            }
            tracing::info!(
                tries = failed,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "{error}; trying again"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// One request and its answer, whatever the status.
    async fn attempt(
        &self,
        method: Method,
        url: &Url,
        body: Option<Bytes>,
        token: &Secret,
        doing: &str,
    ) -> Result<Reply> {
        let started = Instant::now();
        let mut request = Request::new(url.clone(), method);
        request.insert_header("authorization", format!("Bearer {}", token.secret()));
        request.insert_header("accept", "application/json");
        if let Some(body) = body {
            request.insert_header("content-type", "application/json");
            request.set_body(body);
        }
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let context = Context::new();
        let sending = self.0.pipeline.send(&context, &mut request, Some(options));
        let response = tokio::time::timeout(ATTEMPT_TIMEOUT, sending)
            .await
            .map_err(|_| {
                Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "cannot {doing}: no answer within {} seconds",
                        ATTEMPT_TIMEOUT.as_secs()
                    ),
                )
            })?
            .map_err(|error| {
                Error::new(
                    ErrorKind::Network,
                    format!(
                        "cannot {doing}: {} does not answer",
                        self.0.endpoint.host_str().unwrap_or("the service")
                    ),
                )
                .with_source(error)
            })?;
        let (status, headers, body) = response.deconstruct();
        let status = u16::from(status);
        // The query of a poll URL is a signature; the path says enough.
        tracing::debug!(
            method = method.as_str(),
            path = url.path(),
            status,
            ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request"
        );
        Ok(Reply {
            status,
            headers,
            body: Bytes::from(body),
        })
    }
}

/// The claim `ipaddr` of a token, if that is one that can be read. The service is the one to check it.
fn address_in(token: &str) -> Option<IpAddr> {
    #[derive(Deserialize)]
    struct Claims {
        ipaddr: Option<IpAddr>,
    }
    let claims = token.split('.').nth(1)?.trim_end_matches('=');
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Claims>(&claims).ok()?.ipaddr
}

fn is_unregistered(error: &Error) -> bool {
    error.code() == Some("MissingSubscriptionRegistration")
}

/// A role on a resource group is enough for everything but this, so the hint that a refusal brings
/// along would mislead.
fn not_registered(doing: &str, namespace: &str, failed: Error) -> Error {
    let what = format!(
        "cannot {doing}: the subscription is not registered for {namespace}, and registering it failed"
    );
    Error::new(failed.kind(), what)
        .with_hint(format!(
            "have it registered once by somebody with a role on the subscription: az provider register -n {namespace}"
        ))
        .with_source(failed)
}

/// A body as JSON.
pub(crate) fn encode<B: Serialize>(body: &B, doing: &str) -> Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            format!("cannot {doing}: the request cannot be written as JSON"),
        )
        .with_source(error)
    })
}
