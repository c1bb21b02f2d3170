//! HTTP for everything: Resource Manager, logins and page blobs.
//!
//! The SDK's own transport gives up a request after 60 seconds without an answer, which also
//! covers the sending of the body: a 4 MiB page on a slow link could never finish. It also lets
//! the whole URL, signature included, into its errors. This one has no deadline of its own (the
//! callers have, scaled to what they send) and no URL in any error. Retrying is not done here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error as AzureError, ErrorKind as AzureErrorKind};
use azure_core::http::headers::{
    HeaderName, HeaderValue, Headers, USER_AGENT as USER_AGENT_HEADER,
};
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, Method, Request};
use futures::{StreamExt as _, TryStreamExt as _};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use url::{Host, Url};

use super::trust;
use crate::{Error, ErrorKind, Result};

/// What every request says it comes from.
const USER_AGENT: &str = concat!("azure-nixos/", env!("CARGO_PKG_VERSION"));

/// Time to a connection, TLS included. A host that takes longer is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that waits for an answer is probed after this much silence, and given up after
/// three unanswered probes: a minute in all. Without it a connection whose other end vanished (a
/// closed laptop, a NAT that forgot) looks alive for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// The same for a connection with unacknowledged data, where the kernel sends no probes but
/// repeats the data for a quarter of an hour. Acknowledgements on the most congested link that is
/// still usable take less than this.
const UNACKNOWLEDGED: Duration = Duration::from_secs(90);

/// Load balancers forget idle connections (Azure's after four minutes, others sooner). Letting go
/// first spares a request that is sent into the void.
const IDLE: Duration = Duration::from_secs(60);

/// Idle connections kept to one host. An upload uses at most this many at a time, and needs them
/// again at once.
const IDLE_PER_HOST: usize = 256;

/// An HTTP client that may be shared by any number of connections and uploads: cloning it shares
/// its pool of connections.
///
/// It honours `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, except for this machine
/// and for link-local addresses (Azure's metadata service), which no proxy can reach for us. It
/// trusts what the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace that.
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
    /// When TLS cannot be set up.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// A transport with other settings.
    ///
    /// ```no_run
    /// use azure_nixos::azure::Transport;
    ///
    /// let pem = std::fs::read("/etc/ssl/company-proxy.pem")?;
    /// let transport = Transport::builder().ca_certificates(&pem)?.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn builder() -> TransportBuilder {
        TransportBuilder::default()
    }

    /// A transport that reaches whatever a test wants, or answers by itself.
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

    /// Options for one of the SDK's pipelines. The SDK's retries are as the SDK has them; whoever
    /// retries by other rules replaces them.
    pub(crate) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            transport: Some(self.sdk()),
            ..ClientOptions::default()
        }
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
    /// [`ErrorKind::InvalidInput`] when there is no certificate in the text, or one that cannot be
    /// a trust anchor.
    pub fn ca_certificates(mut self, pem: &[u8]) -> Result<Self> {
        let refuse = |source: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::InvalidInput, "the CA certificate is not valid")
                .with_source(source)
        };
        let before = self.extra_roots.len();
        let mut usable = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| refuse(error.into()))?;
            usable
                .add(certificate.clone())
                .map_err(|error| refuse(error.into()))?;
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
    /// A machine without any CA certificates gets one too: it reaches whatever
    /// [`ca_certificates`](Self::ca_certificates) vouches for, and every other host is refused
    /// when it is tried, with the reason.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn build(self) -> Result<Transport> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = trust::verifier(self.extra_roots, &provider);
        log_proxies();
        Ok(Transport {
            client: Arc::new(Client {
                by_environment: client(&provider, &verifier, std::convert::identity)?,
                direct: client(&provider, &verifier, reqwest::ClientBuilder::no_proxy)?,
            }),
        })
    }
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<dyn ServerCertVerifier>,
    proxy: fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client> {
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Network, "cannot set up TLS").with_source(error)
    };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.into()))?
        .dangerous() // The name is rustls's for every verifier that is not its own.
        .with_custom_certificate_verifier(Arc::clone(verifier))
        .with_no_client_auth();
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
        .tcp_keepalive_retries(KEEPALIVE_PROBES)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        // HTTP/2 would put all page writes on one connection: one lost packet stops them all.
        .http1_only()
        // No Azure service redirects; following one would carry a signature elsewhere.
        .redirect(reqwest::redirect::Policy::none());
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
    let builder = builder.tcp_user_timeout(UNACKNOWLEDGED);
    proxy(builder)
        .build()
        .map_err(|error| unusable(error.without_url().into()))
}

/// Which proxies the environment names, without their user and password.
fn log_proxies() {
    for name in [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        if let Ok(value) = std::env::var(name)
            && !value.is_empty()
        {
            tracing::debug!(
                variable = name,
                proxy = proxy_without_login(&value),
                "a proxy is set"
            );
        }
    }
}

/// `http://user:secret@proxy:3128/x` is shown as `proxy:3128`. The cut is by characters, not by
/// URL rules: what is no URL may hold a password too.
fn proxy_without_login(text: &str) -> &str {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    text.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Two pools, because a client of reqwest either asks the environment for a proxy or does not.
#[derive(Debug)]
struct Client {
    by_environment: reqwest::Client,
    direct: reqwest::Client,
}

impl Client {
    fn to(&self, url: &Url) -> &reqwest::Client {
        if is_near(url) {
            &self.direct
        } else {
            &self.by_environment
        }
    }
}

/// Whether this is an address that a proxy would take for its own: this machine, or link-local.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || address
                    .to_ipv4_mapped()
                    .is_some_and(|address| address.is_loopback() || address.is_link_local())
        }
        None => false,
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut builder = self
            .to(request.url())
            .request(method(request.method())?, request.url().clone());
        for (name, value) in request.headers().iter() {
            builder = if *name == USER_AGENT_HEADER {
                // The SDK's pipelines have a name of their own. Ours is the product, so first.
                builder.header(name.as_str(), format!("{USER_AGENT} {}", value.as_str()))
            } else {
                builder.header(name.as_str(), value.as_str())
            };
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
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::child;
    use super::super::loopback::Loopback;
    use super::*;

    async fn send(transport: &Transport, url: &str) -> azure_core::Result<(u16, String)> {
        let request = Request::new(url.parse().unwrap(), Method::Get);
        let response = transport.http_client().execute_request(&request).await?;
        let status = u16::from(response.status());
        Ok((status, response.into_body().collect_string().await?))
    }

    #[tokio::test]
    async fn no_error_holds_the_signature() {
        let transport = Transport::new().unwrap();
        // Port 1 on loopback: refused at once.
        let error = send(&transport, "http://127.0.0.1:1/disk?sig=S3CRET")
            .await
            .unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(!text.contains("S3CRET"), "{text}");
        assert_eq!(*error.kind(), AzureErrorKind::Connection);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_does_not_show_the_signature() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            stream.write_all(head.as_bytes()).unwrap();
        });
        let transport = Transport::new().unwrap();
        let url = format!("http://127.0.0.1:{port}/disk?sig=S3CRET");
        let error = send(&transport, &url).await.unwrap_err();
        server.join().unwrap();
        let text = format!("{error:?} {error}");
        assert!(!text.contains("S3CRET"), "{text}");
        assert_eq!(*error.kind(), AzureErrorKind::Io);
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        for pem in [
            &b"nothing"[..],
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            let error = Transport::builder().ca_certificates(pem).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[tokio::test]
    async fn a_server_is_believed_only_with_its_ca() {
        let server = Loopback::start(|_, _| (200, "hello".into())).await;
        let url = format!("https://localhost:{}/", server.port);
        let builder = Transport::builder();
        let trusting = builder.ca_certificates(server.ca.as_bytes()).unwrap();
        let answer = send(&trusting.build().unwrap(), &url).await.unwrap();
        assert_eq!(answer, (200, "hello".to_owned()));
        let request = server.seen.lock().unwrap().remove(0);
        let agent = format!("user-agent: azure-nixos/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(request.contains(&agent), "{request}");
        let strict = Transport::new().unwrap();
        let error = send(&strict, &url).await.unwrap_err();
        assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    }

    #[test]
    fn this_machine_and_its_metadata_service_are_near() {
        for (near, hosts) in [
            (
                true,
                &[
                    "localhost",
                    "LOCALHOST.",
                    "a.localhost",
                    "127.0.0.1",
                    "127.9.9.9",
                    "[::1]",
                    "[::ffff:127.0.0.1]",
                    "169.254.169.254",
                    "[fe80::1]",
                ][..],
            ),
            (
                false,
                &[
                    "management.azure.com",
                    "localhost.example.com",
                    "10.0.0.1",
                    "[2001:db8::1]",
                ],
            ),
        ] {
            for host in hosts {
                let url = format!("https://{host}:8443/").parse().unwrap();
                assert_eq!(is_near(&url), near, "{host}");
            }
        }
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        for (text, shown) in [
            ("http://user:S3CRET@proxy:3128/", "proxy:3128"),
            ("user:S3CRET@proxy:3128", "proxy:3128"),
            ("http://user:S3@CRET@proxy", "proxy"),
            ("socks5h://proxy:1080?S3CRET", "proxy:1080"),
            ("http://u:a/S3CRET@proxy:1", "proxy:1"),
        ] {
            assert_eq!(proxy_without_login(text), shown);
        }
    }

    #[test]
    fn a_machine_without_certificates_reaches_a_local_azure() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let path = empty.path().to_str().unwrap();
        child::run(
            "transport::tests::without_certificates",
            &[("SSL_CERT_FILE", path)],
        );
        child::run(
            "transport::tests::without_certificates",
            &[("SSL_CERT_FILE", "/nonexistent")],
        );
    }

    #[tokio::test]
    #[ignore = "run by a_machine_without_certificates_reaches_a_local_azure"]
    async fn without_certificates() {
        if !child::is_child() {
            return;
        }
        let server = Loopback::start(|_, _| (200, "hello".into())).await;
        let url = format!("https://127.0.0.1:{}/", server.port);
        let builder = Transport::builder();
        let trusting = builder.ca_certificates(server.ca.as_bytes()).unwrap();
        assert_eq!(send(&trusting.build().unwrap(), &url).await.unwrap().0, 200);
        // No certificate and no CA: the reason is in the error, not in a panic or at the start.
        let error = send(&Transport::new().unwrap(), &url).await.unwrap_err();
        assert!(
            format!("{error:?}").contains("no usable CA certificates"),
            "{error:?}"
        );
    }

    #[test]
    fn proxies_are_used_but_for_what_is_near() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap();
            let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer);
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        });
        let address = format!("http://user:S3CRET@127.0.0.1:{port}");
        let variables = [("HTTPS_PROXY", address.as_str())];
        let text = child::run("transport::tests::through_a_proxy", &variables);
        // So that a proxy nobody asked does not wait for ever.
        drop(std::net::TcpStream::connect(("127.0.0.1", port)));
        let request = proxy.join().unwrap();
        assert!(request.starts_with("CONNECT far.invalid:443 "), "{request}");
        // base64 of user:S3CRET
        assert!(request.contains("Basic dXNlcjpTM0NSRVQ="), "{request}");
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        for secret in ["S3CRET", "dXNlcjpTM0NSRVQ"] {
            assert!(!text.contains(secret), "{text}");
        }
        // With the proxy gone, a host in NO_PROXY fails by its name and not by the proxy.
        let variables = [variables[0], ("NO_PROXY", "far.invalid")];
        let text = child::run("transport::tests::through_a_proxy", &variables);
        assert!(text.contains("dns error"), "{text}");
    }

    #[tokio::test]
    #[ignore = "run by proxies_are_used_but_for_what_is_near"]
    async fn through_a_proxy() {
        if !child::is_child() {
            return;
        }
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .init();
        let server = Loopback::start(|_, _| (200, "hello".into())).await;
        let builder = Transport::builder();
        let trusting = builder.ca_certificates(server.ca.as_bytes()).unwrap();
        let transport = trusting.build().unwrap();
        let near = format!("https://localhost:{}/", server.port);
        assert_eq!(send(&transport, &near).await.unwrap().0, 200);
        let error = send(&transport, "https://far.invalid/").await.unwrap_err();
        println!("{error:?}");
    }
}
