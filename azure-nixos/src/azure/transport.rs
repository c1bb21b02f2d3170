//! HTTP for everything: Resource Manager, logins and page blobs.
//!
//! The SDK's own transport gives up a request after 60 seconds without an answer, which also
//! covers the sending of the body: a 4 MiB page on a slow link could never finish. It also lets
//! the whole URL, signature included, into its errors. This one has no deadline of its own (the
//! callers have, scaled to what they send) and no URL in any error.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error as AzureError, ErrorKind as AzureErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use futures::{StreamExt as _, TryStreamExt as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::{Error, ErrorKind, Result};

/// Time to a connection, TLS included. A host that takes longer is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// An HTTP client that may be shared by any number of connections and uploads: cloning it shares
/// its pool of connections. It honours `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`,
/// and trusts what the system trusts.
#[derive(Clone)]
pub struct Transport {
    client: Arc<dyn HttpClient>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// A transport with the defaults.
    ///
    /// # Errors
    /// When the system's trusted certificates cannot be used.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A transport with other settings.
    #[must_use]
    pub fn builder() -> TransportBuilder {
        TransportBuilder::default()
    }

    /// A transport that is somebody else's client: a recording, a stand-in.
    #[cfg(test)]
    pub(crate) fn from_client(client: Arc<dyn HttpClient>) -> Self {
        Self { client }
    }

    /// The client for the SDK's pipelines.
    pub(crate) fn http_client(&self) -> Arc<dyn HttpClient> {
        Arc::clone(&self.client)
    }

    /// The SDK's wrapper of the same.
    pub(crate) fn sdk(&self) -> azure_core::http::Transport {
        azure_core::http::Transport::new(self.http_client())
    }
}

/// Settings of a [`Transport`].
#[derive(Clone, Debug, Default)]
pub struct TransportBuilder {
    extra_roots: Vec<CertificateDer<'static>>,
}

impl TransportBuilder {
    /// Trusts these certificates too, given as PEM text: those of a proxy that inspects TLS, or of
    /// a local Azure.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when there is no certificate in the text.
    pub fn ca_certificates(mut self, pem: &[u8]) -> Result<Self> {
        let before = self.extra_roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the CA certificate is not valid PEM",
                )
                .with_source(error)
            })?;
            self.extra_roots.push(certificate);
        }
        if self.extra_roots.len() == before {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "there is no certificate in the CA file",
            )
            .with_hint("it must hold at least one -----BEGIN CERTIFICATE----- block"));
        }
        Ok(self)
    }

    /// Builds the transport.
    ///
    /// # Errors
    /// When the system's trusted certificates cannot be used.
    pub fn build(self) -> Result<Transport> {
        let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Network, "cannot set up TLS").with_source(error)
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(
            self.extra_roots,
            Arc::clone(&provider),
        )
        .map_err(|error| unusable(error.into()))?;
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.into()))?
            .dangerous() // The name is rustls's for every verifier that is not its own.
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            // HTTP/2 would put all page writes on one connection: one lost packet stops them all.
            .http1_only()
            // No Azure service redirects; following one would carry a signature elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| unusable(error.into()))?;
        Ok(Transport {
            client: Arc::new(Client(client)),
        })
    }
}

#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpClient for Client {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut builder = self
            .0
            .request(method(request.method())?, request.url().clone());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let builder = match request.body().clone() {
            Body::Bytes(bytes) => builder.body(bytes),
            Body::SeekableStream(stream) => builder.body(reqwest::Body::wrap_stream(stream)),
        };
        let response = builder.send().await.map_err(without_url)?;
        let status = response.status().as_u16();
        let headers = headers(response.headers());
        let body = response.bytes_stream().map_err(without_url).boxed();
        Ok(AsyncRawResponse::new(status.into(), headers, body))
    }
}

/// The URL of a failed request may hold a signature.
fn without_url(error: reqwest::Error) -> AzureError {
    let (kind, message) = if error.is_connect() {
        (AzureErrorKind::Connection, "cannot connect")
    } else if error.is_builder() {
        (AzureErrorKind::Other, "the request cannot be sent")
    } else {
        (AzureErrorKind::Io, "the connection broke")
    };
    AzureError::with_error(kind, error.without_url(), message)
}

fn method(method: Method) -> azure_core::Result<reqwest::Method> {
    reqwest::Method::from_bytes(method.as_str().as_bytes())
        .map_err(|error| AzureError::new(AzureErrorKind::Other, error))
}

/// Values that are not text are dropped: no header that this library reads has one.
fn headers(map: &reqwest::header::HeaderMap) -> Headers {
    let map: HashMap<_, _> = map
        .iter()
        .filter_map(|(name, value)| {
            let value = value.to_str().ok()?;
            Some((
                HeaderName::from(name.as_str().to_owned()),
                HeaderValue::from(value.to_owned()),
            ))
        })
        .collect();
    Headers::from(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_error_holds_the_signature() {
        let transport = Transport::new().unwrap();
        // Port 1 on loopback: refused at once.
        let url = "http://127.0.0.1:1/disk?sig=S3CRET".parse().unwrap();
        let error = transport
            .http_client()
            .execute_request(&Request::new(url, Method::Put))
            .await
            .unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(!text.contains("S3CRET"), "{text}");
        assert_eq!(*error.kind(), AzureErrorKind::Connection);
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        assert!(Transport::builder().ca_certificates(b"nothing").is_err());
    }
}
