//! Get Blob and Get Blob Properties.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::about::{BlobKind, set};
use super::lease::{self, Lease};
use super::put_page::LARGEST_UPDATE;
use super::refusal::Refusal;
use super::request::{ApiVersion, Call, Permit, blocking};
use super::serve::version_headers;
use super::store::Store;
use super::{PageBlobs, checksum, dates};

/// Bytes read from the file at a time, and held in memory for one answer.
const PIECE: u64 = 1024 * 1024;

/// The properties, without the content.
pub(super) async fn properties(blobs: &PageBlobs, call: &Call) -> Result<Response, Refusal> {
    let store = call.store().await?;
    let version = store.version();
    call.check_read(version, blobs.now())?;
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), blobs, call, version, false);
    let length = HeaderValue::from(call.blob.length());
    // Get Blob Metadata by GET has an empty body; the length of one that HEAD names is the blob's.
    if call.parts.method == Method::HEAD {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    Ok(response)
}

/// The content, or a range of it.
pub(super) async fn content(blobs: &PageBlobs, call: &Call) -> Result<Response, Refusal> {
    let range = call.range()?;
    let store = call.store().await?;
    let version = store.version();
    call.check_read(version, blobs.now())?;
    let length = call.blob.length();
    let (status, window) = match range {
        None => (StatusCode::OK, 0..length),
        Some(range) if range.start < length => (
            StatusCode::PARTIAL_CONTENT,
            range.start..range.end.unwrap_or(length).min(length),
        ),
        Some(_) => {
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "InvalidRange",
                "The range specified is invalid for the current size of the resource.",
            )
            .header("content-range", &format!("bytes */{length}")));
        }
    };
    let sum = range_checksum(call, &store, &window, status).await?;
    let mut response = Response::new(Body::from_stream(pieces(store, window.clone())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    describe(
        headers,
        blobs,
        call,
        version,
        status == StatusCode::PARTIAL_CONTENT,
    );
    headers.insert(
        header::CONTENT_LENGTH,
        HeaderValue::from(window.end - window.start),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{length}", window.start, window.end - 1);
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(header::CONTENT_RANGE, range);
        }
    }
    if let Some((name, value)) = sum
        && let Ok(value) = HeaderValue::from_str(&value)
    {
        headers.insert(name, value);
    }
    Ok(response)
}

/// The checksum of a range, if the request asks for one.
async fn range_checksum(
    call: &Call,
    store: &Arc<Store>,
    window: &Range<u64>,
    status: StatusCode,
) -> Result<Option<(&'static str, String)>, Refusal> {
    let mut wanted = None;
    for (name, answer) in [
        ("x-ms-range-get-content-md5", "content-md5"),
        ("x-ms-range-get-content-crc64", "x-ms-content-crc64"),
    ] {
        let Some(text) = call.header(name)? else {
            continue;
        };
        let known = answer == "content-md5" || call.version >= ApiVersion::CRC64;
        if !known || text.eq_ignore_ascii_case("false") {
            continue;
        }
        // One checksum, of a range, and of no more than the service computes on the way.
        if !text.eq_ignore_ascii_case("true")
            || wanted.is_some()
            || status != StatusCode::PARTIAL_CONTENT
        {
            return Err(Refusal::invalid_header(name, text));
        }
        if window.end - window.start > LARGEST_UPDATE {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "OutOfRangeInput",
                "One of the request inputs is out of range.",
            ));
        }
        wanted = Some(answer);
    }
    let Some(answer) = wanted else {
        return Ok(None);
    };
    let (store, window) = (Arc::clone(store), window.clone());
    blocking(move || {
        let bytes = [read(&store, window)?];
        let sum = match answer {
            "content-md5" => checksum::encode(&checksum::md5_of(&bytes)),
            _ => checksum::encode(&checksum::crc64_of(&bytes)),
        };
        Ok(Some((answer, sum)))
    })
    .await
}

fn read(store: &Store, range: Range<u64>) -> io::Result<Bytes> {
    // Never more than a piece or one range with a checksum.
    let mut buffer = vec![0; (range.end - range.start) as usize];
    store.read_at(&mut buffer, range.start)?;
    Ok(buffer.into())
}

/// The bytes of a range, read as the client takes them.
fn pieces(
    store: Arc<Store>,
    window: Range<u64>,
) -> impl futures::Stream<Item = io::Result<Bytes>> + Send {
    futures::stream::try_unfold((store, window), |(store, window)| async move {
        if window.is_empty() {
            return Ok(None);
        }
        let end = window.end.min(window.start + PIECE);
        let piece = window.start..end;
        let reader = Arc::clone(&store);
        let bytes = tokio::task::spawn_blocking(move || read(&reader, piece))
            .await
            .map_err(io::Error::other)??;
        Ok(Some((bytes, (store, end..window.end))))
    })
}

/// The headers that say what the blob is.
fn describe(headers: &mut HeaderMap, blobs: &PageBlobs, call: &Call, version: u64, is_range: bool) {
    version_headers(headers, version);
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("x-ms-server-encrypted", "true"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let created = dates::http_date(dates::ticks(call.blob.created));
    set(headers, "x-ms-creation-time", &created);
    let about = call.blob.about();
    set(headers, "x-ms-blob-type", about.kind.as_str());
    match about.kind {
        BlobKind::Page => {
            let number = about.sequence_number.to_string();
            set(headers, "x-ms-blob-sequence-number", &number);
        }
        BlobKind::Block => {
            set(
                headers,
                "x-ms-access-tier",
                about.tier.as_deref().unwrap_or("Hot"),
            );
            if about.tier.is_none() {
                set(headers, "x-ms-access-tier-inferred", "true");
            }
        }
    }
    let lease = Lease::state(about.lease.as_ref(), blobs.now());
    set(headers, "x-ms-lease-status", lease.status());
    set(headers, "x-ms-lease-state", lease.as_str());
    if let (lease::State::Leased, Some(held)) = (lease, &about.lease) {
        set(headers, "x-ms-lease-duration", held.duration());
    }
    about.content.describe(headers, is_range);
    about.metadata.describe(headers);
    if let Some(copied) = &about.copied {
        set(headers, "x-ms-copy-id", &copied.id);
        set(headers, "x-ms-copy-source", &copied.source);
        set(headers, "x-ms-copy-status", "success");
        set(headers, "x-ms-copy-completion-time", &copied.completed);
        let progress = format!("{0}/{0}", copied.length);
        set(headers, "x-ms-copy-progress", &progress);
    }
    // A signature can say how the content is to be taken.
    if let Permit::Account { .. } = call.permit {
        for (parameter, name) in [
            ("rscc", "cache-control"),
            ("rscd", "content-disposition"),
            ("rsce", "content-encoding"),
            ("rscl", "content-language"),
            ("rsct", "content-type"),
        ] {
            if let Some(value) = call.query(parameter) {
                set(headers, name, value);
            }
        }
    }
}
