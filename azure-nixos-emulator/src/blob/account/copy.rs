//! Copy Blob, Copy Blob From URL and Put Blob From URL: a new blob of another's content, made before
//! the answer.

use std::fs::File;
use std::io;
use std::path::Path;

use axum::http::StatusCode;
use axum::response::Response;
use uuid::Uuid;

use super::super::about::{About, BlobKind, ContentHeaders, Copied, Metadata, set};
use super::super::refusal::Refusal;
use super::super::request::blocking;
use super::super::store::{Store, Write};
use super::super::{checksum, dates};
use super::auth::Level;
use super::blocks::md5_of;
use super::properties;
use super::put_blob::{described, forget, put};
use super::serve::{Ask, versioned};
use super::source::{self, Source};

/// Bytes that are copied at a time.
const PIECE: u64 = 4 << 20;

pub(super) async fn copy(ask: Ask) -> Result<Response, Refusal> {
    ask.rights.require(Level::Object, "cw")?;
    ask.address.container()?;
    blocking(move || {
        // A type says that it is Put Blob From URL, which makes a block blob of whatever it is.
        match ask.header("x-ms-blob-type")? {
            None => whole(&ask),
            Some("BlockBlob") => as_block_blob(&ask),
            Some(other) => Err(Refusal::invalid_header("x-ms-blob-type", other)),
        }
    })
    .await
}

/// Copy Blob: the same blob once more, with its properties, and its metadata unless the request
/// has some.
fn whole(ask: &Ask) -> Result<Response, Refusal> {
    for unknown in ["x-ms-tags", "x-ms-seal-blob"] {
        if ask.header(unknown)?.is_some() {
            return Err(Refusal::not_implemented(format!("copies with {unknown}")));
        }
    }
    let source = source::find(ask)?;
    let metadata = Metadata::of(&ask.parts.headers)?;
    let id = Uuid::new_v4();
    let place = ask.address.container()?.place.clone();
    let about = About {
        name: ask.name().to_owned(),
        metadata: if metadata.0.is_empty() {
            source.about.metadata.clone()
        } else {
            metadata
        },
        lease: None,
        tier: properties::tier(ask, source.about.kind)?,
        copied: Some(copied(ask, &source)),
        ..source.about.clone()
    };
    let copy = match about.kind {
        BlobKind::Page => copy_pages(&source, &place.bytes(id), &place.log(id)),
        BlobKind::Block => copy_bytes(&source, &place.bytes(id)),
    };
    let length = copy.inspect_err(|_| {
        forget(&place.bytes(id));
        forget(&place.log(id));
    })?;
    finish(ask, id, length, about)
}

/// Put Blob From URL.
fn as_block_blob(ask: &Ask) -> Result<Response, Refusal> {
    let source = source::find(ask)?;
    let path_of = ask.address.container()?.place.clone();
    let id = Uuid::new_v4();
    let path = path_of.bytes(id);
    let mut about = described(ask, BlobKind::Block)?;
    let takes_over = ask
        .header("x-ms-copy-source-blob-properties")?
        .is_none_or(|text| text.eq_ignore_ascii_case("true"));
    if takes_over && ContentHeaders::of(&ask.parts.headers)?.is_empty() {
        about.content = source.about.content.clone();
    }
    let made = copy_bytes(&source, &path)
        .and_then(|length| Ok((length, md5_of(&path)?)))
        .inspect_err(|_| forget(&path))?;
    let (length, md5) = made;
    let md5 = checksum::encode(&md5);
    if let Some(told) = ask.header("x-ms-source-content-md5")?
        && told != md5
    {
        forget(&path);
        return Err(Refusal::bad_request(
            "Md5Mismatch",
            "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
        ));
    }
    about.content.set("content-md5", md5.clone());
    let version = put(ask, id, length, about)?;
    let mut response = versioned(StatusCode::CREATED, version);
    set(
        response.headers_mut(),
        "x-ms-request-server-encrypted",
        "true",
    );
    set(response.headers_mut(), "content-md5", &md5);
    Ok(response)
}

fn copied(ask: &Ask, source: &Source) -> Copied {
    Copied {
        id: Uuid::new_v4().to_string(),
        source: source.url.clone(),
        completed: dates::http_date(dates::ticks(ask.now)),
        length: source.blob.length(),
    }
}

fn finish(ask: &Ask, id: Uuid, length: u64, about: About) -> Result<Response, Refusal> {
    let copy_id = about
        .copied
        .as_ref()
        .map(|copied| copied.id.clone())
        .unwrap_or_default();
    let version = put(ask, id, length, about)?;
    let mut response = versioned(StatusCode::ACCEPTED, version);
    let headers = response.headers_mut();
    set(headers, "x-ms-copy-id", &copy_id);
    set(headers, "x-ms-copy-status", "success");
    Ok(response)
}

/// Copies the written pages, and that they are written.
fn copy_pages(source: &Source, bytes: &Path, log: &Path) -> io::Result<u64> {
    let length = source.blob.length();
    let version = source.store.version();
    Store::create(bytes, log, length, version)?;
    let store = Store::open(bytes, log, length)?;
    let mut from = 0;
    // A few ranges at a time, as a list can be long.
    loop {
        let ranges = source.store.written(from..length, 1000);
        let Some(last) = ranges.last() else {
            return Ok(length);
        };
        from = last.end;
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let piece = at..range.end.min(at + PIECE);
                at = piece.end;
                let bytes = [source::read(&source.store, piece.clone())?];
                store.write(piece, Write::Update(&bytes), version, false, |_| {
                    Ok::<_, io::Error>(())
                })?;
            }
        }
    }
}

fn copy_bytes(source: &Source, path: &Path) -> io::Result<u64> {
    io::copy(
        &mut File::open(&source.blob.file)?,
        &mut File::create(path)?,
    )
}
