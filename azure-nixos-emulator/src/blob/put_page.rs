//! Put Page: writing and clearing ranges.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;

use super::access::Access;
use super::conditions::Conditions;
use super::refusal::Refusal;
use super::request::{ApiVersion, Call, blocking};
use super::serve::version_headers;
use super::store::{PAGE, Write};
use super::{PageBlobs, checksum, dates};
use crate::fault::Harm;

/// The most that one update may write, in bytes.
pub(super) const LARGEST_UPDATE: u64 = 4 * 1024 * 1024;
/// How long the sender of a body may fall silent. The service was seen to give up after about
/// two minutes.
const SILENCE: Duration = Duration::from_secs(120);

/// The checksum that a request announces.
enum Announced {
    None,
    Md5([u8; 16]),
    Crc64([u8; 8]),
}

/// The checksum that goes into the answer.
enum Computed {
    None,
    Md5([u8; 16]),
    Crc64([u8; 8]),
}

pub(super) async fn put_page(
    blobs: &PageBlobs,
    call: &Call,
    body: &mut Body,
) -> Result<Response, Refusal> {
    if call.grant.access != Access::Write {
        return Err(Refusal::permission());
    }
    let content_length = content_length(call)?;
    let clear = match call.header("x-ms-page-write")? {
        None => return Err(Refusal::missing_header("x-ms-page-write")),
        Some(text) if text.eq_ignore_ascii_case("update") => false,
        Some(text) if text.eq_ignore_ascii_case("clear") => true,
        Some(other) => return Err(Refusal::invalid_header("x-ms-page-write", other)),
    };
    if call.header("x-ms-copy-source")?.is_some() {
        return Err(Refusal::unsupported_header("x-ms-copy-source"));
    }
    let range = call
        .range()?
        .ok_or_else(|| Refusal::missing_header("x-ms-range"))?
        .pages()?;
    let size = range.end - range.start;
    if !clear && size.max(content_length) > LARGEST_UPDATE {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestBodyTooLarge",
            "The request body is too large and exceeds the maximum permissible limit.",
        )
        .detail("MaxLimit", LARGEST_UPDATE.to_string()));
    }
    if content_length != if clear { 0 } else { size } {
        return Err(Refusal::invalid_header(
            "Content-Length",
            content_length.to_string(),
        ));
    }
    if range.end > call.blob.length {
        return Err(Refusal::page_range());
    }
    let conditions = Conditions::parse(&call.parts.headers)?;
    let announced = if clear {
        Announced::None
    } else {
        announced(call)?
    };
    let store = call.store().await?;
    conditions.check_write(store.version())?;

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
    let grant = call.grant.clone();
    let harm = call.parts.extensions.get::<Harm>().copied();
    let harm = harm.unwrap_or_default();
    let now = dates::ticks(blobs.now());
    let speaks_crc64 = call.version >= ApiVersion::CRC64;
    let (version, computed) = blocking(move || {
        let computed = if clear {
            Computed::None
        } else {
            check(&chunks, announced, speaks_crc64)?
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
        let version = store.write(range, write, now, alone, |version| {
            if !blob.still_granted(&grant) {
                return Err(Refusal::authentication(
                    "SAS identifier cannot be found for specified signed identifier",
                ));
            }
            conditions.check_write(version)
        })?;
        drop(memory);
        Ok((version, computed))
    })
    .await?;

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    version_headers(headers, version);
    headers.insert("x-ms-blob-sequence-number", HeaderValue::from_static("0"));
    headers.insert(
        "x-ms-request-server-encrypted",
        HeaderValue::from_static("true"),
    );
    match computed {
        Computed::None => {}
        Computed::Md5(sum) => insert(headers, "content-md5", &checksum::encode(&sum)),
        Computed::Crc64(sum) => insert(headers, "x-ms-content-crc64", &checksum::encode(&sum)),
    }
    Ok(response)
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn content_length(call: &Call) -> Result<u64, Refusal> {
    match call.header("content-length")? {
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
fn announced(call: &Call) -> Result<Announced, Refusal> {
    let md5 = call.header("content-md5")?;
    let crc64 = call
        .header("x-ms-content-crc64")?
        .filter(|_| call.version >= ApiVersion::CRC64);
    match (md5, crc64) {
        (None, None) => Ok(Announced::None),
        (Some(text), None) => match checksum::decode(text) {
            Some(sum) => Ok(Announced::Md5(sum)),
            None => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "InvalidMd5",
                "The MD5 value specified in the request is invalid. MD5 value must be 128 bits \
                 and base64 encoded.",
            )),
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
fn check(chunks: &[Bytes], announced: Announced, speaks_crc64: bool) -> Result<Computed, Refusal> {
    let mismatch = |code: &'static str, message: &'static str, told: &[u8], found: &[u8]| {
        Refusal::new(StatusCode::BAD_REQUEST, code, message)
            .detail("UserSpecifiedChecksum", checksum::encode(told))
            .detail("ServerCalculatedChecksum", checksum::encode(found))
    };
    match announced {
        Announced::None if !speaks_crc64 => Ok(Computed::Md5(checksum::md5_of(chunks))),
        Announced::None => Ok(Computed::Crc64(checksum::crc64_of(chunks))),
        Announced::Md5(told) => {
            let found = checksum::md5_of(chunks);
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
            let found = checksum::crc64_of(chunks);
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
async fn read_body(mut body: Body, length: u64, silence: Duration) -> Result<Vec<Bytes>, Refusal> {
    let mut chunks = Vec::new();
    let mut range: Range<u64> = 0..length;
    while !range.is_empty() {
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
            range.start += data.len() as u64;
            chunks.push(data);
        }
    }
    Ok(chunks)
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
