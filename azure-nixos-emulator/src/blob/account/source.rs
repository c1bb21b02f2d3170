//! What a request is to copy from, and the operations that copy a part of it: Put Page From URL and
//! Put Block From URL. The source is the local Azure itself, a blob of an account or a disk.

use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest as _, Md5};
use url::Url;

use super::super::about::{About, BlobKind, set};
use super::super::access::Signature;
use super::super::conditions::Conditions;
use super::super::put_page::{
    Announced, Computed, LARGEST_UPDATE, check, content_length, too_large,
};
use super::super::refusal::Refusal;
use super::super::request::{ApiVersion, ByteRange, Call, blocking, header};
use super::super::serve::addressed;
use super::super::store::{Store, Write};
use super::super::stored::StoredBlob;
use super::super::{PageBlobs, Secure, checksum, dates};
use super::Account;
use super::auth::{self, Level};
use super::put_blob::Sums;
use super::serve::{Ask, versioned};
use super::target;
use crate::azure_names::without_port;
use crate::fault::Harm;

/// Bytes that are copied at a time.
const PIECE: u64 = 4 << 20;

/// A blob that may be read.
pub(super) struct Source {
    pub(super) blob: Arc<StoredBlob>,
    pub(super) store: Arc<Store>,
    pub(super) about: About,
    /// Without the query, in which a signature may be.
    pub(super) url: String,
}

/// Who asks for a source, and by which request.
pub(super) struct Reader<'a> {
    pub(super) blobs: &'a PageBlobs,
    pub(super) parts: &'a Parts,
    pub(super) version: ApiVersion,
    pub(super) now: SystemTime,
    /// The account whose key the request is signed with.
    pub(super) owner_of: Option<&'a Arc<Account>>,
}

impl Reader<'_> {
    fn header(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        header(&self.parts.headers, name)
    }
}

impl Ask {
    fn reader(&self) -> Reader<'_> {
        Reader {
            blobs: &self.blobs,
            parts: &self.parts,
            version: self.version,
            now: self.now,
            owner_of: (self.rights == auth::Rights::Owner).then_some(&self.address.account),
        }
    }
}

fn cannot_verify(status: StatusCode, why: impl Into<String>) -> Refusal {
    Refusal::new(
        status,
        "CannotVerifyCopySource",
        "Could not verify the copy source within the specified time.",
    )
    .detail("CopySourceErrorMessage", why)
}

/// Finds the source that a request names and looks whether it may be read. Blocks.
pub(super) fn find(ask: &Ask) -> Result<Source, Refusal> {
    find_for(&ask.reader())
}

fn find_for(ask: &Reader<'_>) -> Result<Source, Refusal> {
    let name = "x-ms-copy-source";
    let text = ask
        .header(name)?
        .ok_or_else(|| Refusal::missing_header(name))?;
    // Whoever names a source by its path means the same account.
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(_) => return Err(Refusal::invalid_header(name, "")),
    };
    let host = url
        .host_str()
        .ok_or_else(|| Refusal::invalid_header(name, ""))?
        .to_owned();
    if !is_own(ask.blobs, ask.parts, &url, &host) {
        return Err(cannot_verify(
            StatusCode::BAD_REQUEST,
            format!("The local Azure copies from itself only, and '{host}' is not it."),
        ));
    }
    let query: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let blobs = ask.blobs;
    let blob = match target::find(blobs, Some(&host), url.path(), false)? {
        None => {
            let missing =
                || cannot_verify(StatusCode::NOT_FOUND, "The specified blob does not exist.");
            let disk = addressed(blobs, url.path()).ok_or_else(missing)?;
            let signature = Signature::from_query(&query).map_err(source_refused)?;
            disk.verify(&signature, ask.now).map_err(source_refused)?;
            disk
        }
        Some(address) => {
            let mut request = Request::get(url.as_str());
            if let Some(token) = ask.header("x-ms-copy-source-authorization")? {
                request = request.header("authorization", token);
            }
            let (mut parts, ()) = request
                .body(())
                .map_err(|_| Refusal::invalid_header(name, ""))?
                .into_parts();
            if url.scheme() == "https" {
                parts.extensions.insert(Secure);
            }
            let has_nothing = !parts.headers.contains_key("authorization")
                && !query.iter().any(|(name, _)| name == "sig");
            // The right of a key is good for the whole account, its sources included.
            let by_key = has_nothing
                && ask
                    .owner_of
                    .is_some_and(|account| Arc::ptr_eq(&address.account, account));
            if !by_key {
                auth::authorize(blobs, &address, &parts, &query, ask.version)
                    .and_then(|rights| rights.require(Level::Object, "r"))
                    .map_err(source_refused)?;
            }
            address
                .container()
                .ok()
                .and_then(|container| container.blob(address.blob.as_deref().unwrap_or_default()))
                .ok_or_else(|| {
                    cannot_verify(StatusCode::NOT_FOUND, "The specified blob does not exist.")
                })?
        }
    };
    let store = blob.store()?;
    conditions(&ask.parts.headers)?
        .check_write(store.version(), 0)
        .map_err(|_| {
            Refusal::new(
                StatusCode::PRECONDITION_FAILED,
                "SourceConditionNotMet",
                "The source condition specified using HTTP conditional header(s) is not met.",
            )
        })?;
    let mut shown = url;
    shown.set_query(None);
    Ok(Source {
        about: blob.about(),
        blob,
        store,
        url: shown.to_string(),
    })
}

/// Whether a host is one under which the local Azure is: one of Azure's, or the loopback that this
/// request came to.
fn is_own(blobs: &PageBlobs, parts: &Parts, url: &Url, host: &str) -> bool {
    if blobs.0.names.service(host).is_some() {
        return true;
    }
    let loopback = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let came_to = parts
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let own = without_port(came_to);
    let port = came_to
        .strip_prefix(own)
        .and_then(|port| port.strip_prefix(':'));
    loopback(host)
        && loopback(own)
        && url
            .port_or_known_default()
            .map(|port| port.to_string())
            .as_deref()
            == port
}

/// What stands against reading the source is the requester's to know.
fn source_refused(refusal: Refusal) -> Refusal {
    cannot_verify(refusal.status(), refusal.message().to_owned())
}

/// The conditions on the source, whose headers have a name of their own.
fn conditions(headers: &HeaderMap) -> Result<Conditions, Refusal> {
    let mut own = HeaderMap::new();
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix("x-ms-source-")
            && name.starts_with("if-")
            && let Ok(name) = name.parse::<HeaderName>()
        {
            own.insert(name, value.clone());
        }
    }
    Conditions::parse(&own)
}

/// The range of the source that a request names, inside of it.
fn range(ask: &Reader<'_>, source: &Source) -> Result<Range<u64>, Refusal> {
    let name = "x-ms-source-range";
    let length = source.blob.length();
    let Some(text) = ask.header(name)? else {
        return Ok(0..length);
    };
    let range = ByteRange::parse(name, text)?;
    let end = range.end.unwrap_or(length);
    if range.start >= length || end > length {
        return Err(Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "InvalidRange",
            "The range specified is invalid for the current size of the resource.",
        ));
    }
    Ok(range.start..end)
}

/// The checksum that the source's range has to have.
fn announced(ask: &Reader<'_>) -> Result<Announced, Refusal> {
    let decoded = |name: &'static str, text: &str| Refusal::invalid_header(name, text);
    let (md5, crc64) = ("x-ms-source-content-md5", "x-ms-source-content-crc64");
    match (ask.header(md5)?, ask.header(crc64)?) {
        (None, None) => Ok(Announced::None),
        (Some(text), None) => checksum::decode(text)
            .map(Announced::Md5)
            .ok_or_else(|| decoded(md5, text)),
        (None, Some(text)) => checksum::decode(text)
            .map(Announced::Crc64)
            .ok_or_else(|| decoded(crc64, text)),
        (Some(_), Some(text)) => Err(decoded(crc64, text)),
    }
}

/// Put Page From URL, to a blob of an account.
pub(super) async fn put_page(ask: Ask) -> Result<Response, Refusal> {
    let owner_of = (ask.rights == auth::Rights::Owner).then(|| Arc::clone(&ask.address.account));
    put_page_from(ask.blobs.clone(), ask.call(true)?, owner_of).await
}

/// Put Page From URL. It is how AzCopy copies a disk to another disk.
pub(in super::super) async fn put_page_from(
    blobs: PageBlobs,
    call: Call,
    owner_of: Option<Arc<Account>>,
) -> Result<Response, Refusal> {
    if !call.permit.may_write() {
        return Err(Refusal::permission());
    }
    if content_length(&call.parts.headers)? != 0 {
        return Err(Refusal::invalid_header(
            "Content-Length",
            call.header("content-length")?.unwrap_or_default(),
        ));
    }
    match call.header("x-ms-page-write")? {
        Some(text) if text.eq_ignore_ascii_case("update") => {}
        Some(other) => return Err(Refusal::invalid_header("x-ms-page-write", other)),
        None => return Err(Refusal::missing_header("x-ms-page-write")),
    }
    if call.header("x-ms-source-range")?.is_none() {
        return Err(Refusal::missing_header("x-ms-source-range"));
    }
    let harm = call
        .parts
        .extensions
        .get::<Harm>()
        .copied()
        .unwrap_or_default();
    blocking(move || {
        let reader = Reader {
            blobs: &blobs,
            parts: &call.parts,
            version: call.version,
            now: blobs.now(),
            owner_of: owner_of.as_ref(),
        };
        let source = find_for(&reader)?;
        let from = range(&reader, &source)?;
        let announced = announced(&reader)?;
        let speaks_crc64 = call.version >= ApiVersion::CRC64;
        if call.blob.with_about(|about| about.kind) != BlobKind::Page {
            return Err(Refusal::blob_type());
        }
        let to = call
            .range()?
            .ok_or_else(|| Refusal::missing_header("x-ms-range"))?
            .pages()?;
        if to.end - to.start > LARGEST_UPDATE {
            return Err(too_large(LARGEST_UPDATE));
        }
        if to.end - to.start != from.end - from.start {
            return Err(Refusal::invalid_header(
                "x-ms-source-range",
                call.header("x-ms-source-range")?.unwrap_or_default(),
            ));
        }
        if to.end > call.blob.length() {
            return Err(Refusal::page_range());
        }
        let conditions = call.conditions()?;
        let bytes = [read(&source.store, from)?];
        let computed = check(
            announced,
            speaks_crc64,
            || checksum::md5_of(&bytes),
            || checksum::crc64_of(&bytes),
        )?;
        let write = if harm == Harm::Lost {
            Write::Lost
        } else {
            Write::Update(&bytes)
        };
        let store = call.blob.store()?;
        let (now, alone) = (blobs.now(), conditions.depends_on_version());
        let end = to.end;
        let version = store.write(to, write, dates::ticks(now), alone, |version| {
            call.permit.check_write(&call.blob, now)?;
            if end > call.blob.length() {
                return Err(Refusal::page_range());
            }
            let number = call.blob.with_about(|about| about.sequence_number);
            conditions.check_write(version, number)
        })?;
        let mut response = versioned(StatusCode::CREATED, version);
        let headers = response.headers_mut();
        let number = call.blob.with_about(|about| about.sequence_number);
        set(headers, "x-ms-blob-sequence-number", &number.to_string());
        set(headers, "x-ms-request-server-encrypted", "true");
        computed.describe(headers);
        Ok(response)
    })
    .await
}

pub(super) fn read(store: &Store, range: Range<u64>) -> std::io::Result<Bytes> {
    // Never more than a piece.
    let mut buffer = vec![0; (range.end - range.start) as usize];
    store.read_at(&mut buffer, range.start)?;
    Ok(buffer.into())
}

/// Writes the range of the source that a request names to a file.
pub(super) async fn receive(ask: &Ask, path: &Path) -> Result<Sums, Refusal> {
    let (source, path) = (find(ask)?, path.to_owned());
    let from = range(&ask.reader(), &source)?;
    let announced = announced(&ask.reader())?;
    blocking(move || {
        let mut file = File::create(&path)?;
        let (mut md5, mut crc64) = (Md5::new(), Crc::new(CrcAlgorithm::Crc64Nvme));
        let mut at = from.start;
        while at < from.end {
            let piece = at..from.end.min(at + PIECE);
            at = piece.end;
            let bytes = read(&source.store, piece)?;
            md5.update(&bytes);
            crc64.update(&bytes);
            file.write_all(&bytes)?;
        }
        let sums = Sums {
            md5: md5.finalize().into(),
            crc64: crc64.finalize().to_le_bytes(),
        };
        check(announced, true, || sums.md5, || sums.crc64).map(|_: Computed| sums)
    })
    .await
}
