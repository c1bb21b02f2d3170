//! The data plane as a client sees it, over real sockets.
//!
//! Here are the server and the client that the tests share.

// Lists of ranges are what is compared, and some have one.
#![allow(clippy::single_range_in_vec_init)]

mod accesses;
mod accounts;
mod faults;
mod page_lists;
mod reading;
mod refusals;
mod writers;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use reqwest::{Method, RequestBuilder, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::{Access, Options, PageBlobs};
use crate::clock::Clock;
use crate::fault::{FaultRule, Faults, Plane, deliver};
use crate::vhd::tests::fixed_footer;

const MIB: u64 = 1 << 20;
const SIZE: u64 = 20 * MIB;
const LENGTH: u64 = SIZE + 512;
const VERSION: &str = "2021-12-02";

/// A server on loopback with one disk that may be written.
struct Local {
    dir: tempfile::TempDir,
    clock: Clock,
    faults: Faults,
    blobs: PageBlobs,
    id: Uuid,
    path: String,
    address: SocketAddr,
    client: reqwest::Client,
}

async fn serve(blobs: &PageBlobs) -> SocketAddr {
    let router = blobs.router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let router = TowerToHyperService::new(router.clone());
            let service = hyper::service::service_fn(move |request| {
                let answer = hyper::service::Service::call(&router, request);
                async move { deliver(answer.await.unwrap_or_else(|never| match never {})) }
            });
            tokio::spawn(async move {
                // An error here is a reset on purpose or a client that went away.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    address
}

fn client() -> reqwest::Client {
    // The provider is named, so no global one needs to be installed; nothing here uses TLS.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap()
}

impl Local {
    async fn start() -> Self {
        Self::start_with(LENGTH).await
    }

    async fn start_with(length: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, faults) = (Clock::new(), Faults::new());
        let blobs = PageBlobs::open(
            dir.path(),
            clock.clone(),
            faults.clone(),
            Options::default(),
        )
        .unwrap();
        let id = Uuid::new_v4();
        let file = dir.path().join("disks/rg/d.vhd");
        blobs.create(id, &file, length).unwrap();
        let path = blobs
            .grant(id, Access::Write, clock.now() + Duration::from_secs(3600))
            .unwrap();
        let address = serve(&blobs).await;
        Self {
            dir,
            clock,
            faults,
            blobs,
            id,
            path,
            address,
            client: client(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("disks/rg/d.vhd")
    }

    fn url(&self, more: &str) -> String {
        format!("http://{}{}{more}", self.address, self.path)
    }

    fn request(&self, method: Method, more: &str) -> RequestBuilder {
        self.client
            .request(method, self.url(more))
            .header("x-ms-version", VERSION)
    }

    /// A Put Page that is right in every respect.
    fn put(&self, at: u64, data: Vec<u8>) -> RequestBuilder {
        self.request(Method::PUT, "&comp=page")
            .header("x-ms-page-write", "update")
            .header(
                "x-ms-range",
                format!("bytes={at}-{}", at + data.len() as u64 - 1),
            )
            .header("content-length", data.len())
            .body(data)
    }

    fn clear(&self, range: Range<u64>) -> RequestBuilder {
        self.request(Method::PUT, "&comp=page")
            .header("x-ms-page-write", "clear")
            .header(
                "x-ms-range",
                format!("bytes={}-{}", range.start, range.end - 1),
            )
            .header("content-length", 0)
    }

    async fn write(&self, at: u64, data: Vec<u8>) {
        let response = self.put(at, data).send().await.unwrap();
        let status = response.status();
        assert_eq!(status, 201, "{}", response.text().await.unwrap());
    }

    async fn ranges(&self) -> Vec<Range<u64>> {
        let response = self
            .request(Method::GET, "&comp=pagelist")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        parse_ranges(&response.text().await.unwrap()).0
    }

    /// Opens the same directory once more, as the next process would.
    fn reopen(&self) -> PageBlobs {
        PageBlobs::open(
            self.dir.path(),
            self.clock.clone(),
            self.faults.clone(),
            Options {
                durable: true,
                ..Options::default()
            },
        )
        .unwrap()
    }

    /// Sends bytes over a connection of its own and returns all that comes back.
    async fn raw(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    fn raw_put(&self, rest: &str) -> String {
        format!(
            "PUT {}&comp=page HTTP/1.1\r\nhost: x\r\nx-ms-version: {VERSION}\r\nconnection: close\r\n\
             x-ms-page-write: update\r\nx-ms-range: bytes=0-511\r\n{rest}",
            self.path
        )
    }
}

fn parse_ranges(xml: &str) -> (Vec<Range<u64>>, Option<String>) {
    let between = |text: &str, open: &str, close: &str| {
        let start = text.find(open)? + open.len();
        let end = start + text[start..].find(close)?;
        Some(text[start..end].to_owned())
    };
    let head = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><PageList>";
    assert!(xml.starts_with(head), "{xml}");
    let ranges = xml
        .split("<PageRange>")
        .skip(1)
        .map(|part| {
            let number = |open, close| between(part, open, close).unwrap().parse::<u64>().unwrap();
            number("<Start>", "</Start>")..number("<End>", "</End>") + 1
        })
        .collect();
    (ranges, between(xml, "<NextMarker>", "</NextMarker>"))
}

/// Checks status, header, body and standard headers of a refusal.
async fn refused(what: &str, response: Response, status: u16, code: &str) -> String {
    let found = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.text().await.unwrap();
    assert_eq!(found, status, "{what}: {body}");
    assert_eq!(headers["x-ms-error-code"], code, "{what}");
    assert_eq!(headers["content-type"], "application/xml", "{what}");
    assert!(
        body.starts_with("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>"),
        "{what}: {body}"
    );
    assert!(
        body.contains(&format!("<Code>{code}</Code>")),
        "{what}: {body}"
    );
    let id = headers["x-ms-request-id"].to_str().unwrap();
    assert!(
        body.contains(&format!("RequestId:{id}\n")),
        "{what}: {body}"
    );
    body
}

/// A small generator, so that a test's data is the same for the same seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64
            | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(count as usize)
            .collect()
    }
}
