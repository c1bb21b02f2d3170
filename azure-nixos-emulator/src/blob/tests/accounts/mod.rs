//! Storage accounts as a client sees them, over real sockets.
//!
//! Requests are signed here by code of the tests' own, after the service's documentation.

mod blocks;
mod containers;
mod copies;
mod faults;
mod kept;
mod leases;
mod pages;
mod signatures;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use reqwest::{Method, RequestBuilder, Response};
use sha2::Sha256;

use super::{Local, MIB, Random, VERSION, refused};

/// A server with the account `web1` and the container `vhds` in it.
struct Account {
    local: Local,
    keys: [String; 2],
    /// A signature of the account that allows everything.
    sas: String,
}

const ACCOUNT: &str = "web1";

fn hmac(key: &str, text: &str) -> String {
    let key = STANDARD.decode(key).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn query(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// A signature of the account until the year 2999.
fn account_sas(
    key: &str,
    permissions: &str,
    services: &str,
    types: &str,
    more: [&str; 2],
) -> String {
    let [start, protocol] = more;
    let end = "2999-01-01T00:00:00Z";
    let signed = format!(
        "{ACCOUNT}\n{permissions}\n{services}\n{types}\n{start}\n{end}\n\n{protocol}\n{VERSION}\n\n"
    );
    let signature = hmac(key, &signed);
    let all = [
        ("sv", VERSION),
        ("ss", services),
        ("srt", types),
        ("sp", permissions),
        ("st", start),
        ("se", end),
        ("spr", protocol),
        ("sig", &signature),
    ];
    let given: Vec<_> = all
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    query(&given)
}

impl Account {
    async fn start() -> Self {
        let local = Local::start().await;
        let keys = local.blobs.create_account(ACCOUNT).unwrap();
        let sas = account_sas(&keys[0], "rwdlacup", "b", "sco", ["", ""]);
        let account = Self { local, keys, sas };
        let made = account
            .container(Method::PUT, "vhds", "")
            .send()
            .await
            .unwrap();
        assert_eq!(made.status(), 201);
        account
    }

    fn url(&self, path: &str, query: &str) -> String {
        format!("http://{}/{ACCOUNT}{path}?{query}", self.local.address)
    }

    /// A request with the signature of the account.
    fn request(&self, method: Method, path: &str, more: &str) -> RequestBuilder {
        let query = if more.is_empty() {
            self.sas.clone()
        } else {
            format!("{}&{more}", self.sas)
        };
        self.local
            .client
            .request(method, self.url(path, &query))
            .header("x-ms-version", VERSION)
    }

    fn container(&self, method: Method, name: &str, more: &str) -> RequestBuilder {
        let more = if more.is_empty() {
            "restype=container".to_owned()
        } else {
            format!("restype=container&{more}")
        };
        self.request(method, &format!("/{name}"), &more)
            .header("content-length", 0)
    }

    /// Put Blob: a page blob of zeros.
    fn create(&self, path: &str, length: u64) -> RequestBuilder {
        self.request(Method::PUT, path, "")
            .header("x-ms-blob-type", "PageBlob")
            .header("x-ms-blob-content-length", length)
            .header("content-length", 0)
    }

    fn put_page(&self, path: &str, at: u64, data: Vec<u8>) -> RequestBuilder {
        self.request(Method::PUT, path, "comp=page")
            .header("x-ms-page-write", "update")
            .header(
                "x-ms-range",
                format!("bytes={at}-{}", at + data.len() as u64 - 1),
            )
            .body(data)
    }

    async fn done(&self, request: RequestBuilder, status: u16) -> Response {
        let response = request.send().await.unwrap();
        let found = response.status().as_u16();
        if found != status {
            panic!("{found}: {}", response.text().await.unwrap());
        }
        response
    }

    async fn content(&self, path: &str) -> Vec<u8> {
        let got = self.done(self.request(Method::GET, path, ""), 200).await;
        got.bytes().await.unwrap().to_vec()
    }

    async fn refused(
        &self,
        what: &str,
        request: RequestBuilder,
        status: u16,
        code: &str,
    ) -> String {
        refused(what, request.send().await.unwrap(), status, code).await
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map(|value| value.to_str().unwrap())
        .unwrap_or_default()
}

/// The texts of all elements of a name.
fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open)
        .skip(1)
        .map(|part| part.split(&close).next().unwrap().to_owned())
        .collect()
}
