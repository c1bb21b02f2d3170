//! Blocks: uploaded one by one, and made a blob by the list of them.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use md5::{Digest as _, Md5};
use uuid::Uuid;

use super::super::about::{About, BlobKind, set};
use super::super::put_page::{content_length, too_large};
use super::super::refusal::{Refusal, escape};
use super::super::request::blocking;
use super::super::stored::StoredBlob;
use super::auth::Level;
use super::put_blob::{self, LARGEST_BLOCK, described, forget, receive};
use super::serve::{Ask, empty, xml};
use super::source;
use super::xml::elements;

/// The most blocks in a blob.
const MOST_BLOCKS: usize = 50_000;

/// Checks the id of a block, which is base64 of at most 64 bytes.
fn check_id(id: &str) -> Result<(), Refusal> {
    match STANDARD.decode(id) {
        Ok(bytes) if (1..=64).contains(&bytes.len()) => Ok(()),
        _ => Err(Refusal::invalid_query("blockid", id)),
    }
}

/// The file of an uncommitted block: ids have characters that names of files have not.
fn file_of(directory: &Path, id: &str) -> PathBuf {
    directory.join(URL_SAFE_NO_PAD.encode(id))
}

/// The ids and sizes of the uncommitted blocks of a blob.
fn uncommitted(directory: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| URL_SAFE_NO_PAD.decode(name).ok())
            .and_then(|id| String::from_utf8(id).ok());
        // Others are being received.
        if let Some(id) = id {
            found.push((id, entry.metadata()?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Put Block, and Put Block From URL.
pub(super) async fn put_block(ask: Ask, body: &mut Body) -> Result<Response, Refusal> {
    let id = ask
        .query("blockid")
        .ok_or_else(|| {
            Refusal::bad_request(
                "MissingRequiredQueryParameter",
                "A query parameter that's mandatory for this request is not specified.",
            )
            .detail("QueryParameterName", "blockid")
        })?
        .to_owned();
    check_id(&id)?;
    let length = content_length(&ask.parts.headers)?;
    if length > LARGEST_BLOCK {
        return Err(too_large(LARGEST_BLOCK));
    }
    let container = ask.address.container()?;
    if let Some(there) = container.blob(ask.name()) {
        if there.with_about(|about| about.kind) != BlobKind::Block {
            return Err(Refusal::blob_type());
        }
        let lease = ask.lease_id()?;
        there.with_about(|about| {
            use super::super::lease::{Lease, Of};
            Lease::allows_writing(about.lease.as_ref(), Of::Blob, lease, ask.now)
        })?;
    }
    let directory = container.blocks(ask.name());
    let target = file_of(&directory, &id);
    // A dot is in no name of a block.
    let partial = directory.join(format!("{}.part", Uuid::new_v4()));
    let of_same_length = directory.clone();
    blocking(move || {
        fs::create_dir_all(&of_same_length)?;
        let odd = uncommitted(&of_same_length)?
            .iter()
            .any(|(other, _)| other.len() != id.len());
        if odd {
            return Err(Refusal::bad_request(
                "InvalidBlobOrBlock",
                "The specified blob or block content is invalid.",
            ));
        }
        Ok(())
    })
    .await?;
    let sums = if ask.header("x-ms-copy-source")?.is_some() {
        source::receive(&ask, &partial).await
    } else {
        receive(&ask, body, length, &partial).await
    };
    blocking(move || {
        let computed = sums
            .and_then(|sums| sums.check(&ask))
            .inspect_err(|_| forget(&partial))?;
        fs::rename(&partial, &target)?;
        let mut response = empty(StatusCode::CREATED);
        let headers = response.headers_mut();
        set(headers, "x-ms-request-server-encrypted", "true");
        computed.describe(headers);
        Ok(response)
    })
    .await
}

/// Where the bytes of a block are.
enum Block {
    Uncommitted(PathBuf),
    /// In the blob that is there, from this offset on.
    Committed(u64),
}

/// Put Block List.
pub(super) fn put_list(ask: &Ask, document: &str) -> Result<Response, Refusal> {
    ask.rights.require(Level::Object, "cw")?;
    let container = ask.address.container()?;
    let there = container.blob(ask.name());
    let before = there.as_ref().map(|blob| blob.about());
    if before
        .as_ref()
        .is_some_and(|about| about.kind != BlobKind::Block)
    {
        return Err(Refusal::blob_type());
    }
    let directory = container.blocks(ask.name());
    let uncommitted = uncommitted(&directory)?;
    let committed = |id: &str| {
        let mut at = 0;
        before
            .iter()
            .flat_map(|about| &about.blocks)
            .find_map(|(own, size)| {
                let start = at;
                at += size;
                (own == id).then_some((Block::Committed(start), *size))
            })
    };
    let fresh = |id: &str| {
        uncommitted
            .iter()
            .find(|(own, _)| own == id)
            .map(|(_, size)| (Block::Uncommitted(file_of(&directory, id)), *size))
    };
    let missing =
        || Refusal::bad_request("InvalidBlockList", "The specified block list is invalid.");
    let mut blocks = Vec::new();
    for (path, id) in elements(document)? {
        let kind = match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["BlockList"] => continue,
            ["BlockList", kind] => kind.to_owned(),
            _ => return Err(super::xml::invalid()),
        };
        let found = match kind.as_str() {
            "Latest" => fresh(&id).or_else(|| committed(&id)),
            "Uncommitted" => fresh(&id),
            "Committed" => committed(&id),
            _ => return Err(super::xml::invalid()),
        };
        let (block, size) = found.ok_or_else(missing)?;
        blocks.push((id, block, size));
    }
    if blocks.len() > MOST_BLOCKS {
        return Err(missing());
    }
    let about = About {
        blocks: blocks
            .iter()
            .map(|(id, _, size)| (id.clone(), *size))
            .collect(),
        ..described(ask, BlobKind::Block)?
    };
    let id = Uuid::new_v4();
    let path = container.place.bytes(id);
    let length = assemble(&path, there.as_deref(), &blocks).inspect_err(|_| forget(&path))?;
    let version = put_blob::put(ask, id, length, about)?;
    // What was not used is gone with it.
    if let Err(error) = fs::remove_dir_all(&directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %directory.display(), "blocks that nobody needs stay");
    }
    Ok(put_blob::answer(
        version,
        &super::super::put_page::Computed::None,
    ))
}

/// Writes the blocks one behind the other. The kernel copies where it can.
fn assemble(
    path: &Path,
    there: Option<&StoredBlob>,
    blocks: &[(String, Block, u64)],
) -> io::Result<u64> {
    let mut target = File::create(path)?;
    let mut old = there.map(|blob| File::open(&blob.file)).transpose()?;
    let mut length = 0;
    for (id, block, size) in blocks {
        let copied = match block {
            Block::Uncommitted(path) => io::copy(&mut File::open(path)?, &mut target)?,
            Block::Committed(start) => {
                let old = old.as_mut().ok_or(io::ErrorKind::NotFound)?;
                old.seek(SeekFrom::Start(*start))?;
                io::copy(&mut old.by_ref().take(*size), &mut target)?
            }
        };
        if copied != *size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("block {id} has {copied} bytes and should have {size}"),
            ));
        }
        length += size;
    }
    Ok(length)
}

/// Get Block List.
pub(super) fn list(ask: &Ask) -> Result<Response, Refusal> {
    let kind = ask.query("blocklisttype").unwrap_or("committed");
    if !["committed", "uncommitted", "all"].contains(&kind) {
        return Err(Refusal::invalid_query("blocklisttype", kind));
    }
    let container = ask.address.container()?;
    let there = container.blob(ask.name());
    let fresh = uncommitted(&container.blocks(ask.name()))?;
    if there.is_none() && fresh.is_empty() {
        return Err(Refusal::blob_not_found());
    }
    if there
        .as_ref()
        .is_some_and(|blob| blob.with_about(|about| about.kind) != BlobKind::Block)
    {
        return Err(Refusal::blob_type());
    }
    let mut document = "<BlockList>".to_owned();
    let mut section = |name: &str, blocks: &[(String, u64)]| {
        document.push_str(&format!("<{name}>"));
        for (id, size) in blocks {
            document.push_str(&format!(
                "<Block><Name>{}</Name><Size>{size}</Size></Block>",
                escape(id)
            ));
        }
        document.push_str(&format!("</{name}>"));
    };
    let committed = there
        .as_ref()
        .map(|blob| blob.about().blocks)
        .unwrap_or_default();
    if kind != "uncommitted" {
        section("CommittedBlocks", &committed);
    }
    if kind != "committed" {
        section("UncommittedBlocks", &fresh);
    }
    document.push_str("</BlockList>");
    let mut response = xml(&document);
    if let Some(blob) = there {
        let version = blob.store()?.version();
        super::super::serve::version_headers(response.headers_mut(), version);
        set(
            response.headers_mut(),
            "x-ms-blob-content-length",
            &blob.length().to_string(),
        );
    }
    Ok(response)
}

/// The MD5 of the content of a file.
pub(super) fn md5_of(path: &Path) -> io::Result<[u8; 16]> {
    let mut digest = Md5::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(digest.finalize().into())
}
