//! Put Page: writing and clearing ranges.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::about::{BlobKind, set};
use super::refusal::Refusal;
use super::request::{ApiVersion, Call, blocking, header};
use super::serve::version_headers;
use super::store::{PAGE, Write};
use super::{PageBlobs, checksum, dates};
use crate::fault::Harm;

/// The most that one update may write, in bytes.
pub(super) const LARGEST_UPDATE: u64 = 4 * 1024 * 1024;
/// How long the sender of a body may fall silent. The service was seen to give up after about
/// two minutes.
pub(super) const SILENCE: Duration = Duration::from_secs(120);

/// The checksum that a request announces.
pub(super) enum Announced {
    None,
    Md5([u8; 16]),
    Crc64([u8; 8]),
}

/// The checksum that goes into the answer.
pub(super) enum Computed {
    None,
    Md5([u8; 16]),
    Crc64([u8; 8]),
}

pub(super) async fn put_page(
    blobs: &PageBlobs,
    call: &Call,
    body: &mut Body,
) -> Result<Response, Refusal> {
    if !call.permit.may_write() {
        return Err(Refusal::permission());
    }
    if call.blob.with_about(|about| about.kind) != BlobKind::Page {
        return Err(Refusal::blob_type());
    }
    let content_length = content_length(&call.parts.headers)?;
    let clear = match call.header("x-ms-page-write")? {
        None => return Err(Refusal::missing_header("x-ms-page-write")),
        Some(text) if text.eq_ignore_ascii_case("update") => false,
        Some(text) if text.eq_ignore_ascii_case("clear") => true,
        Some(other) => return Err(Refusal::invalid_header("x-ms-page-write", other)),
    };
    let range = call
        .range()?
        .ok_or_else(|| Refusal::missing_header("x-ms-range"))?
        .pages()?;
    let size = range.end - range.start;
    if !clear && size.max(content_length) > LARGEST_UPDATE {
        return Err(too_large(LARGEST_UPDATE));
    }
    if content_length != if clear { 0 } else { size } {
        return Err(Refusal::invalid_header(
            "Content-Length",
            content_length.to_string(),
        ));
    }
    if range.end > call.blob.length() {
        return Err(Refusal::page_range());
    }
    let conditions = call.conditions()?;
    let announced = if clear {
        Announced::None
    } else {
        announced(&call.parts.headers, call.version)?
    };
    let store = call.store().await?;
    let sequence_number = call.blob.with_about(|about| about.sequence_number);
    conditions.check_write(store.version(), sequence_number)?;
    call.permit.check_write(&call.blob, blobs.now())?;

    let mut chunks = Vec::new();
    // Kept until the bytes are in the file.
    let mut memory = None;
    if !clear {
        if !blobs.0.faults.admit_bytes(size) {
            return Err(Refusal::busy("Ingress is over the account limit."));
        }
        // At most 8192 pages.
        let pages = (size / PAGE) as u32;
        let permit = Arc::clone(&blobs.0.body_memory)
            .acquire_many_owned(pages)
            .await
            .map_err(|_| Refusal::internal())?;
        memory = Some(permit);
        chunks = read_body(std::mem::take(body), size, SILENCE).await?;
    }
    let blob = Arc::clone(&call.blob);
    let permit = call.permit.clone();
    let harm = call.parts.extensions.get::<Harm>().copied();
    let harm = harm.unwrap_or_default();
    let time = blobs.now();
    let now = dates::ticks(time);
    let speaks_crc64 = call.version >= ApiVersion::CRC64;
    let (version, computed) = blocking(move || {
        let computed = if clear {
            Computed::None
        } else {
            check(
                announced,
                speaks_crc64,
                || checksum::md5_of(&chunks),
                || checksum::crc64_of(&chunks),
            )?
        };
        // The checksums are those of what was sent.
        let chunks = harm.apply(chunks);
        let write = if harm == Harm::Lost {
            Write::Lost
        } else if clear {
            Write::Clear
        } else {
            Write::Update(&chunks)
        };
        let alone = conditions.depends_on_version();
        let end = range.end;
        let version = store.write(range, write, now, alone, |version| {
            permit.check_write(&blob, time)?;
            // It can have been made shorter meanwhile.
            if end > blob.length() {
                return Err(Refusal::page_range());
            }
            conditions.check_write(version, blob.with_about(|about| about.sequence_number))
        })?;
        drop(memory);
        Ok((version, computed))
    })
    .await?;

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    version_headers(headers, version);
    headers.insert(
        "x-ms-blob-sequence-number",
        HeaderValue::from(sequence_number),
    );
    headers.insert(
        "x-ms-request-server-encrypted",
        HeaderValue::from_static("true"),
    );
    computed.describe(headers);
    Ok(response)
}

impl Computed {
    /// Writes it to an answer.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        match self {
            Self::None => {}
            Self::Md5(sum) => set(headers, "content-md5", &checksum::encode(sum)),
            Self::Crc64(sum) => set(headers, "x-ms-content-crc64", &checksum::encode(sum)),
        }
    }
}

/// Refuses a body, or a range, of more than `most` bytes.
pub(super) fn too_large(most: u64) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestBodyTooLarge",
        "The request body is too large and exceeds the maximum permissible limit.",
    )
    .detail("MaxLimit", most.to_string())
}

pub(super) fn content_length(headers: &HeaderMap) -> Result<u64, Refusal> {
    match header(headers, "content-length")? {
        None => Err(Refusal::new(
            StatusCode::LENGTH_REQUIRED,
            "MissingContentLengthHeader",
            "The Content-Length header was not specified.",
        )),
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::invalid_header("Content-Length", text)),
    }
}

/// Versions before CRC-64 do not know its header and ignore it, as they do any other.
pub(super) fn announced(headers: &HeaderMap, version: ApiVersion) -> Result<Announced, Refusal> {
    let md5 = header(headers, "content-md5")?;
    let crc64 = header(headers, "x-ms-content-crc64")?.filter(|_| version >= ApiVersion::CRC64);
    match (md5, crc64) {
        (None, None) => Ok(Announced::None),
        (Some(text), None) => match checksum::decode(text) {
            Some(sum) => Ok(Announced::Md5(sum)),
            None => Err(Refusal::invalid_md5()),
        },
        (None, Some(text)) => match checksum::decode(text) {
            Some(sum) => Ok(Announced::Crc64(sum)),
            None => Err(Refusal::invalid_header("x-ms-content-crc64", text)),
        },
        (Some(_), Some(text)) => Err(Refusal::invalid_header("x-ms-content-crc64", text)),
    }
}

/// Compares the checksum that was announced. What goes into the answer is what the service puts
/// there: since it knows CRC-64, MD5 if the request had it and CRC-64 otherwise; MD5 before.
pub(super) fn check(
    announced: Announced,
    speaks_crc64: bool,
    md5: impl FnOnce() -> [u8; 16],
    crc64: impl FnOnce() -> [u8; 8],
) -> Result<Computed, Refusal> {
    let mismatch = |code: &'static str, message: &'static str, told: &[u8], found: &[u8]| {
        Refusal::new(StatusCode::BAD_REQUEST, code, message)
            .detail("UserSpecifiedChecksum", checksum::encode(told))
            .detail("ServerCalculatedChecksum", checksum::encode(found))
    };
    match announced {
        Announced::None if !speaks_crc64 => Ok(Computed::Md5(md5())),
        Announced::None => Ok(Computed::Crc64(crc64())),
        Announced::Md5(told) => {
            let found = md5();
            if told == found {
                Ok(Computed::Md5(found))
            } else {
                Err(mismatch(
                    "Md5Mismatch",
                    "The MD5 value specified in the request did not match with the MD5 value \
                     calculated by the server.",
                    &told,
                    &found,
                ))
            }
        }
        Announced::Crc64(told) => {
            let found = crc64();
            if told == found {
                Ok(Computed::Crc64(found))
            } else {
                Err(mismatch(
                    "Crc64Mismatch",
                    "The CRC64 value specified in the request did not match with the CRC64 value \
                     calculated by the server.",
                    &told,
                    &found,
                ))
            }
        }
    }
}

/// Reads a body of exactly `length` bytes as the pieces that arrived.
pub(super) async fn read_body(
    mut body: Body,
    length: u64,
    silence: Duration,
) -> Result<Vec<Bytes>, Refusal> {
    let mut chunks = Vec::new();
    let mut range: Range<u64> = 0..length;
    while !range.is_empty() {
        let data = next_data(&mut body, silence).await?;
        range.start += data.len() as u64;
        chunks.push(data);
    }
    Ok(chunks)
}

/// The next piece of a body that has to have one.
pub(super) async fn next_data(body: &mut Body, silence: Duration) -> Result<Bytes, Refusal> {
    loop {
        let frame = tokio::time::timeout(silence, body.frame())
            .await
            .map_err(|_| {
                Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "OperationTimedOut",
                    "Operation could not be completed within the specified time.",
                )
            })?;
        let Some(Ok(frame)) = frame else {
            // The sender is gone; hardly anybody reads this.
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "IncompleteBody",
                "The request body ended before its announced length.",
            ));
        };
        if let Ok(data) = frame.into_data() {
            return Ok(data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_sender_that_falls_silent_is_told_so() {
        let some =
            futures::stream::once(async { Ok::<_, Infallible>(Bytes::from_static(&[1; 300])) });
        let body = Body::from_stream(some.chain(futures::stream::pending()));
        let refusal = read_body(body, 512, Duration::from_millis(20))
            .await
            .unwrap_err();
        let response = refusal.into_response("r", "t");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["x-ms-error-code"], "OperationTimedOut");
    }
}
