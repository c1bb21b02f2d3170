//! Put Blob: a page blob of zeros, or a block blob in one piece.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::super::about::{About, BlobKind, ContentHeaders, Metadata, set};
use super::super::lease::{Lease, Of};
use super::super::put_page::{
    Computed, SILENCE, announced, check, content_length, next_data, too_large,
};
use super::super::refusal::Refusal;
use super::super::request::{ApiVersion, blocking};
use super::super::store::PAGE;
use super::super::stored::StoredBlob;
use super::super::{checksum, dates};
use super::auth::Level;
use super::properties;
use super::serve::{Ask, versioned};

/// The largest block blob that comes in one piece, and the largest block: 5000 MiB and 4000 MiB.
const LARGEST_BLOB: u64 = 5000 << 20;
pub(super) const LARGEST_BLOCK: u64 = 4000 << 20;

/// Bytes of a body that are in memory at once.
const PIECE: u64 = 4 << 20;

pub(super) async fn put_blob(ask: Ask, body: &mut Body) -> Result<Response, Refusal> {
    // Whoever may neither create nor write need not send anything.
    ask.rights.require(Level::Object, "cw")?;
    ask.address.container()?;
    match ask.header("x-ms-blob-type")? {
        None => Err(Refusal::missing_header("x-ms-blob-type")),
        Some("PageBlob") => blocking(move || page_blob(&ask)).await,
        Some("BlockBlob") => block_blob(ask, body).await,
        Some("AppendBlob") => Err(Refusal::not_implemented("append blobs")),
        Some(other) => Err(Refusal::invalid_header("x-ms-blob-type", other)),
    }
}

/// What a blob that is put takes over from the one in its place.
pub(super) struct Place {
    /// Its first version is at least this.
    pub(super) version: u64,
    pub(super) lease: Option<Lease>,
}

/// Whether a request may put a blob in the place of another, or of none.
pub(super) fn may_put(ask: &Ask, there: Option<&Arc<StoredBlob>>) -> Result<Place, Refusal> {
    let conditions = ask.conditions()?;
    let lease = ask.lease_id()?;
    let now = dates::ticks(ask.now);
    let Some(there) = there else {
        ask.rights.require(Level::Object, "cw")?;
        Lease::allows_writing(None, Of::Blob, lease, ask.now)?;
        conditions.check_absent()?;
        return Ok(Place {
            version: now,
            lease: None,
        });
    };
    if conditions.wants_nothing_there() {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "BlobAlreadyExists",
            "The specified blob already exists.",
        ));
    }
    ask.rights.require(Level::Object, "w")?;
    let version = there.store()?.version();
    there.with_about(|about| {
        Lease::allows_writing(about.lease.as_ref(), Of::Blob, lease, ask.now)?;
        conditions.check_write(version, about.sequence_number)?;
        let held = Lease::state(about.lease.as_ref(), ask.now).status() == "locked";
        Ok(Place {
            version: now.max(version + 1),
            lease: about.lease.clone().filter(|_| held),
        })
    })
}

/// Puts a blob whose bytes, if it has any yet, are where the container has those of `id`.
pub(super) fn put(ask: &Ask, id: Uuid, length: u64, about: About) -> Result<u64, Refusal> {
    let container = ask.address.container()?;
    let put = container.put(
        ask.name(),
        |there| may_put(ask, there),
        |place| {
            let about = About {
                lease: place.lease,
                ..about
            };
            let own = &container.place;
            StoredBlob::create_named(own, id, length, ask.now, place.version, about)
        },
    );
    match put {
        Ok(blob) => Ok(blob.store()?.version()),
        Err(refusal) => {
            forget(&container.place.bytes(id));
            forget(&container.place.log(id));
            Err(refusal)
        }
    }
}

/// Deletes a file that nobody refers to. If it stays, the next start takes it away.
pub(super) fn forget(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a file that nobody needs stays");
    }
}

/// What the headers of a request say of a blob that it makes.
pub(super) fn described(ask: &Ask, kind: BlobKind) -> Result<About, Refusal> {
    Ok(About {
        name: ask.name().to_owned(),
        kind,
        metadata: Metadata::of(&ask.parts.headers)?,
        content: content(ask)?,
        tier: properties::tier(ask, kind)?,
        ..About::default()
    })
}

/// The type of the content can come without the prefix, as that of the body.
fn content(ask: &Ask) -> Result<ContentHeaders, Refusal> {
    let mut content = ContentHeaders::of(&ask.parts.headers)?;
    for name in [
        "content-type",
        "content-encoding",
        "content-language",
        "cache-control",
    ] {
        if content.get(name).is_none()
            && let Some(value) = ask.header(name)?.filter(|value| !value.is_empty())
        {
            content.set(name, value.to_owned());
        }
    }
    Ok(content)
}

fn page_blob(ask: &Ask) -> Result<Response, Refusal> {
    if content_length(&ask.parts.headers)? != 0 {
        return Err(Refusal::invalid_header(
            "Content-Length",
            ask.header("content-length")?.unwrap_or_default(),
        ));
    }
    let length = properties::content_length(ask)?
        .ok_or_else(|| Refusal::missing_header("x-ms-blob-content-length"))?;
    let about = About {
        sequence_number: properties::sequence_number(ask)?.unwrap_or_default(),
        ..described(ask, BlobKind::Page)?
    };
    let version = put(ask, Uuid::new_v4(), length, about)?;
    Ok(answer(version, &Computed::None))
}

pub(super) fn answer(version: u64, computed: &Computed) -> Response {
    let mut response = versioned(StatusCode::CREATED, version);
    let headers = response.headers_mut();
    set(headers, "x-ms-request-server-encrypted", "true");
    computed.describe(headers);
    response
}

async fn block_blob(ask: Ask, body: &mut Body) -> Result<Response, Refusal> {
    let length = content_length(&ask.parts.headers)?;
    if length > LARGEST_BLOB {
        return Err(too_large(LARGEST_BLOB));
    }
    let mut about = described(&ask, BlobKind::Block)?;
    let id = Uuid::new_v4();
    let path = ask.address.container()?.place.bytes(id);
    let received = receive(&ask, body, length, &path).await;
    let sums = match received {
        Ok(sums) => sums,
        Err(refusal) => {
            forget(&path);
            return Err(refusal);
        }
    };
    blocking(move || {
        let checked = sums.check(&ask).and_then(|computed| {
            // The MD5 that is to be kept has to be the body's; without one it is computed.
            let own = checksum::encode(&sums.md5);
            match about.content.get("content-md5") {
                Some(told) if told != own => Err(Refusal::bad_request(
                    "Md5Mismatch",
                    "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
                )
                .detail("UserSpecifiedChecksum", told)
                .detail("ServerCalculatedChecksum", own)),
                _ => {
                    about.content.set("content-md5", own);
                    Ok(computed)
                }
            }
        });
        let computed = checked.inspect_err(|_| forget(&path))?;
        let version = put(&ask, id, length, about)?;
        let mut response = answer(version, &computed);
        let own = checksum::encode(&sums.md5);
        set(response.headers_mut(), "content-md5", &own);
        Ok(response)
    })
    .await
}

/// The checksums of a body that was received.
pub(super) struct Sums {
    pub(super) md5: [u8; 16],
    pub(super) crc64: [u8; 8],
}

impl Sums {
    /// Compares them with what the request announced.
    pub(super) fn check(&self, ask: &Ask) -> Result<Computed, Refusal> {
        check(
            announced(&ask.parts.headers, ask.version)?,
            ask.version >= ApiVersion::CRC64,
            || self.md5,
            || self.crc64,
        )
    }
}

/// Writes a body of exactly `length` bytes to a file, a piece at a time.
pub(super) async fn receive(
    ask: &Ask,
    body: &mut Body,
    length: u64,
    path: &Path,
) -> Result<Sums, Refusal> {
    let blobs = &ask.blobs;
    let mut body = Pieces {
        body: std::mem::take(body),
        over: Bytes::new(),
    };
    let path = path.to_owned();
    let mut state = blocking(move || {
        let file = File::create(&path)?;
        Ok((file, Md5::new(), Crc::new(CrcAlgorithm::Crc64Nvme)))
    })
    .await?;
    let mut left = length;
    while left > 0 {
        let piece = left.min(PIECE);
        if !blobs.0.faults.admit_bytes(piece) {
            return Err(Refusal::busy("Ingress is over the account limit."));
        }
        // At most 8192 pages.
        let pages = piece.div_ceil(PAGE) as u32;
        let permit = Arc::clone(&blobs.0.body_memory)
            .acquire_many_owned(pages)
            .await
            .map_err(|_| Refusal::internal())?;
        let chunks = body.take(piece).await?;
        left -= piece;
        let (mut file, mut md5, mut crc64) = state;
        state = blocking(move || {
            for chunk in &chunks {
                md5.update(chunk);
                crc64.update(chunk);
                file.write_all(chunk)?;
            }
            drop(permit);
            Ok((file, md5, crc64))
        })
        .await?;
    }
    let (_, md5, crc64) = state;
    Ok(Sums {
        md5: md5.finalize().into(),
        crc64: crc64.finalize().to_le_bytes(),
    })
}

/// A body that is taken in parts.
struct Pieces {
    body: Body,
    /// What was received beyond the last part.
    over: Bytes,
}

impl Pieces {
    /// The next `length` bytes, in the pieces that arrived.
    async fn take(&mut self, length: u64) -> Result<Vec<Bytes>, Refusal> {
        let mut chunks = Vec::new();
        let mut left = length;
        while left > 0 {
            let mut data = std::mem::take(&mut self.over);
            if data.is_empty() {
                data = next_data(&mut self.body, SILENCE).await?;
            }
            if data.len() as u64 > left {
                // Less than the piece has, so it fits.
                self.over = data.split_off(left as usize);
            }
            left -= data.len() as u64;
            chunks.push(data);
        }
        Ok(chunks)
    }
}
