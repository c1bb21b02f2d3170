//! The way of a request to an account to its operation.

use std::time::SystemTime;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::super::about::{BlobKind, set};
use super::super::conditions::Conditions;
use super::super::put_page;
use super::super::refusal::Refusal;
use super::super::request::{self, ApiVersion, Call, Permit, blocking};
use super::super::serve::version_headers;
use super::super::stored::StoredBlob;
use super::super::{PageBlobs, page_list, read};
use super::auth::{Level, Rights};
use super::target::Address;
use super::{auth, blocks, containers, copy, leases, list, properties, put_blob, source};

use std::sync::Arc;

/// The most that the XML of a request may have.
const LARGEST_XML: u64 = 4 * 1024 * 1024;

/// A request to an account that says who it is from.
pub(super) struct Ask {
    pub(super) blobs: PageBlobs,
    pub(super) parts: Parts,
    pub(super) query: Vec<(String, String)>,
    pub(super) version: ApiVersion,
    pub(super) address: Address,
    pub(super) rights: Rights,
    pub(super) now: SystemTime,
}

impl Ask {
    pub(super) fn header(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        request::header(&self.parts.headers, name)
    }

    pub(super) fn query(&self, name: &str) -> Option<&str> {
        request::query(&self.query, name)
    }

    pub(super) fn lease_id(&self) -> Result<Option<&str>, Refusal> {
        self.header("x-ms-lease-id")
    }

    pub(super) fn conditions(&self) -> Result<Conditions, Refusal> {
        Conditions::parse(&self.parts.headers)
    }

    /// The name of the blob; a request that has none is not sent here.
    pub(super) fn name(&self) -> &str {
        self.address.blob.as_deref().unwrap_or_default()
    }

    /// The blob, which has to exist.
    pub(super) fn blob(&self) -> Result<Arc<StoredBlob>, Refusal> {
        self.address
            .container()?
            .blob(self.name())
            .ok_or_else(Refusal::blob_not_found)
    }

    /// The same request as one to that blob.
    pub(super) fn call(self, write: bool) -> Result<Call, Refusal> {
        let blob = self.blob()?;
        let lease = self.lease_id()?.map(ToOwned::to_owned);
        Ok(Call {
            parts: self.parts,
            query: self.query,
            version: self.version,
            blob,
            permit: Permit::Account { write, lease },
        })
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer without a body that names a version of a blob or container.
pub(super) fn versioned(status: StatusCode, version: u64) -> Response {
    let mut response = empty(status);
    version_headers(response.headers_mut(), version);
    response
}

/// An answer with XML, to which the byte order mark and the declaration are added.
pub(super) fn xml(document: &str) -> Response {
    let mut response = Response::new(Body::from(format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>{document}"
    )));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/xml"),
    );
    response
}

/// Serves a request. Takes the body out only when it is read to its end.
pub(in super::super) async fn answer(
    blobs: &PageBlobs,
    address: Address,
    parts: Parts,
    query: Vec<(String, String)>,
    version: ApiVersion,
    body: &mut Body,
) -> Result<Response, Refusal> {
    let rights = auth::authorize(blobs, &address, &parts, &query, version)?;
    let ask = Ask {
        blobs: blobs.clone(),
        parts,
        query,
        version,
        address,
        rights,
        now: blobs.now(),
    };
    match (&ask.address.container, &ask.address.blob) {
        (_, Some(_)) => blob(ask, body).await,
        (Some(_), None) => {
            let document = document(&ask.parts.headers, body).await?;
            blocking(move || container(&ask, &document)).await
        }
        (None, None) => blocking(move || service(&ask)).await,
    }
}

/// The body of a request whose body is XML, if it has one.
async fn document(headers: &HeaderMap, body: &mut Body) -> Result<String, Refusal> {
    let length = match request::header(headers, "content-length")? {
        None => 0,
        Some(_) => put_page::content_length(headers)?,
    };
    if length > LARGEST_XML {
        return Err(put_page::too_large(LARGEST_XML));
    }
    let chunks = put_page::read_body(std::mem::take(body), length, put_page::SILENCE).await?;
    String::from_utf8(chunks.concat()).map_err(|_| super::xml::invalid())
}

fn no_such_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "UnsupportedHttpVerb",
        "The resource doesn't support specified Http Verb.",
    )
}

fn service(ask: &Ask) -> Result<Response, Refusal> {
    let operation = (&ask.parts.method, ask.query("restype"), ask.query("comp"));
    match operation {
        (&Method::GET, None, Some("list")) => {
            ask.rights.require(Level::Service, "l")?;
            list::containers(ask)
        }
        (&Method::GET | &Method::HEAD, Some("account"), Some("properties")) => {
            let mut response = empty(StatusCode::OK);
            let headers = response.headers_mut();
            set(headers, "x-ms-sku-name", "Standard_LRS");
            set(headers, "x-ms-account-kind", "StorageV2");
            set(headers, "x-ms-is-hns-enabled", "false");
            Ok(response)
        }
        (&Method::GET, Some("service"), Some("properties")) => {
            ask.rights.require(Level::Service, "r")?;
            Ok(xml(
                "<StorageServiceProperties><Logging><Version>1.0</Version><Read>false</Read><Write>false</Write><Delete>false</Delete><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></Logging><HourMetrics><Version>1.0</Version><Enabled>false</Enabled><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></HourMetrics><MinuteMetrics><Version>1.0</Version><Enabled>false</Enabled><RetentionPolicy><Enabled>false</Enabled></RetentionPolicy></MinuteMetrics><Cors /><DeleteRetentionPolicy><Enabled>false</Enabled></DeleteRetentionPolicy><StaticWebsite><Enabled>false</Enabled></StaticWebsite></StorageServiceProperties>",
            ))
        }
        (&Method::POST, Some("service"), Some("userdelegationkey")) => {
            Err(Refusal::not_implemented("keys of a user's delegation"))
        }
        (method, restype, comp) => Err(Refusal::not_implemented(format!(
            "{method} of an account with restype={} and comp={}",
            restype.unwrap_or_default(),
            comp.unwrap_or_default()
        ))),
    }
}

fn container(ask: &Ask, document: &str) -> Result<Response, Refusal> {
    let (method, comp) = (&ask.parts.method, ask.query("comp"));
    let level = Level::Container;
    // What the account is can be asked at any path of it.
    if ask.query("restype") == Some("account") {
        return service(ask);
    }
    match (method, comp) {
        (&Method::PUT, None) => containers::create(ask),
        (&Method::GET | &Method::HEAD, None | Some("metadata")) => {
            ask.rights.require(level, "r")?;
            containers::properties(ask)
        }
        (&Method::PUT, Some("metadata")) => {
            ask.rights.require(level, "w")?;
            containers::set_metadata(ask)
        }
        (&Method::GET | &Method::HEAD, Some("acl")) => {
            owner(ask)?;
            containers::acl(ask)
        }
        (&Method::PUT, Some("acl")) => {
            owner(ask)?;
            containers::set_acl(ask, document)
        }
        (&Method::PUT, Some("lease")) => {
            ask.rights.require(level, "wd")?;
            leases::container(ask)
        }
        (&Method::DELETE, None) => {
            ask.rights.require(level, "d")?;
            containers::delete(ask)
        }
        (&Method::GET, Some("list")) => {
            ask.rights.require(level, "l")?;
            list::blobs(ask)
        }
        (&Method::GET | &Method::PUT | &Method::HEAD | &Method::DELETE, Some(comp)) => Err(
            Refusal::not_implemented(format!("{method} of a container with comp={comp}")),
        ),
        _ => Err(no_such_method()),
    }
}

/// No signature allows what is said of who may do what.
fn owner(ask: &Ask) -> Result<(), Refusal> {
    if ask.rights == Rights::Owner {
        Ok(())
    } else {
        Err(Refusal::permission())
    }
}

async fn blob(ask: Ask, body: &mut Body) -> Result<Response, Refusal> {
    let level = Level::Object;
    let blobs = ask.blobs.clone();
    for unknown in ["snapshot", "versionid"] {
        if ask.query(unknown).is_some() {
            return Err(Refusal::not_implemented(format!(
                "the parameter {unknown}: there are neither snapshots nor versions"
            )));
        }
    }
    if ask.query("restype") == Some("account") {
        return service(&ask);
    }
    let operation = (
        ask.parts.method.clone(),
        ask.query("comp").map(ToOwned::to_owned),
    );
    match (&operation.0, operation.1.as_deref()) {
        (&Method::GET, None) => {
            ask.rights.require(level, "r")?;
            read::content(&blobs, &ask.call(false)?).await
        }
        (&Method::HEAD, None) | (&Method::GET | &Method::HEAD, Some("metadata")) => {
            ask.rights.require(level, "r")?;
            read::properties(&blobs, &ask.call(false)?).await
        }
        (&Method::GET, Some("pagelist")) => {
            ask.rights.require(level, "r")?;
            let call = ask.call(false)?;
            if call.blob.with_about(|about| about.kind) != BlobKind::Page {
                return Err(Refusal::blob_type());
            }
            page_list::page_list(&blobs, &call).await
        }
        (&Method::GET, Some("blocklist")) => {
            ask.rights.require(level, "r")?;
            blocking(move || blocks::list(&ask)).await
        }
        (&Method::PUT, Some("page")) => {
            ask.rights.require(level, "w")?;
            if ask.header("x-ms-copy-source")?.is_some() {
                source::put_page(ask).await
            } else {
                put_page::put_page(&blobs, &ask.call(true)?, body).await
            }
        }
        (&Method::PUT, Some("block")) => {
            ask.rights.require(level, "w")?;
            blocks::put_block(ask, body).await
        }
        (&Method::PUT, Some("blocklist")) => {
            let document = document(&ask.parts.headers, body).await?;
            blocking(move || blocks::put_list(&ask, &document)).await
        }
        (&Method::PUT, None) => match ask.header("x-ms-copy-source")? {
            Some(_) => copy::copy(ask).await,
            None => put_blob::put_blob(ask, body).await,
        },
        (&Method::PUT, Some("metadata")) => {
            ask.rights.require(level, "w")?;
            blocking(move || properties::set_metadata(&ask)).await
        }
        (&Method::PUT, Some("properties")) => {
            ask.rights.require(level, "w")?;
            blocking(move || properties::set(&ask)).await
        }
        (&Method::PUT, Some("tier")) => {
            ask.rights.require(level, "w")?;
            blocking(move || properties::set_tier(&ask)).await
        }
        (&Method::PUT, Some("lease")) => {
            ask.rights.require(level, "wd")?;
            blocking(move || leases::blob(&ask)).await
        }
        (&Method::PUT, Some("copy")) => {
            ask.rights.require(level, "w")?;
            ask.blob()?;
            Err(Refusal::new(
                StatusCode::CONFLICT,
                "NoPendingCopyOperation",
                "There is currently no pending copy operation.",
            ))
        }
        (&Method::DELETE, None) => {
            ask.rights.require(level, "d")?;
            blocking(move || properties::delete(&ask)).await
        }
        (method @ (&Method::GET | &Method::PUT | &Method::HEAD | &Method::DELETE), Some(comp)) => {
            Err(Refusal::not_implemented(format!(
                "{method} of a blob with comp={comp}"
            )))
        }
        _ => Err(no_such_method()),
    }
}
