//! Set Blob Metadata, Set Blob Properties, Delete Blob.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;

use super::super::about::{About, BlobKind, ContentHeaders, Metadata, set as header};
use super::super::dates;
use super::super::lease::{Lease, Of};
use super::super::refusal::Refusal;
use super::super::store::PAGE;
use super::super::stored::StoredBlob;
use super::serve::{Ask, empty, versioned};

/// The largest page blob: 8 TiB.
const LARGEST: u64 = 8 << 40;

/// Gives the blob a new version, if the conditions and the lease allow a change.
fn begin(ask: &Ask, blob: &Arc<StoredBlob>) -> Result<u64, Refusal> {
    let conditions = ask.conditions()?;
    let lease = ask.lease_id()?;
    blob.store()?.touch(dates::ticks(ask.now), |version| {
        if blob.is_gone() {
            return Err(Refusal::blob_not_found());
        }
        blob.with_about(|about| {
            Lease::allows_writing(about.lease.as_ref(), Of::Blob, lease, ask.now)?;
            conditions.check_write(version, about.sequence_number)
        })
    })
}

/// A lease that has run out is forgotten with the first change after it.
fn forget_lost_lease(about: &mut About, ask: &Ask) {
    if Lease::state(about.lease.as_ref(), ask.now).status() == "unlocked" {
        about.lease = None;
    }
}

pub(super) fn set_metadata(ask: &Ask) -> Result<Response, Refusal> {
    let metadata = Metadata::of(&ask.parts.headers)?;
    let blob = ask.blob()?;
    let version = begin(ask, &blob)?;
    blob.change(|about| {
        about.metadata = metadata;
        forget_lost_lease(about, ask);
        Ok::<_, Refusal>(())
    })?;
    let mut response = versioned(StatusCode::OK, version);
    header(
        response.headers_mut(),
        "x-ms-request-server-encrypted",
        "true",
    );
    Ok(response)
}

/// The length that a request names for a page blob.
pub(super) fn content_length(ask: &Ask) -> Result<Option<u64>, Refusal> {
    let name = "x-ms-blob-content-length";
    let Some(text) = ask.header(name)? else {
        return Ok(None);
    };
    match text.parse::<u64>() {
        Ok(length) if length.is_multiple_of(PAGE) && length <= LARGEST => Ok(Some(length)),
        _ => Err(Refusal::invalid_header(name, text)),
    }
}

/// The number that a request gives a page blob.
pub(super) fn sequence_number(ask: &Ask) -> Result<Option<u64>, Refusal> {
    let name = "x-ms-blob-sequence-number";
    ask.header(name)?
        .map(|text| {
            text.parse::<u64>()
                .ok()
                .filter(|number| i64::try_from(*number).is_ok())
                .ok_or_else(|| Refusal::invalid_header(name, text))
        })
        .transpose()
}

/// What happens to the sequence number.
enum Number {
    Keep,
    Max(u64),
    Update(u64),
    Increment,
}

fn number(ask: &Ask) -> Result<Number, Refusal> {
    let name = "x-ms-sequence-number-action";
    let said = sequence_number(ask)?;
    let needed = || said.ok_or_else(|| Refusal::missing_header("x-ms-blob-sequence-number"));
    match ask.header(name)? {
        None => Ok(Number::Keep),
        Some(text) => match text.to_ascii_lowercase().as_str() {
            "max" => Ok(Number::Max(needed()?)),
            "update" => Ok(Number::Update(needed()?)),
            "increment" if said.is_some() => Err(Refusal::bad_request(
                "InvalidHeaderValue",
                "A sequence number cannot be given where it is to be incremented.",
            )),
            "increment" => Ok(Number::Increment),
            _ => Err(Refusal::invalid_header(name, text)),
        },
    }
}

/// Set Blob Properties: what is said of the content, the length, the sequence number. Properties
/// that one request leaves out are cleared together, unless it is about another thing.
pub(super) fn set(ask: &Ask) -> Result<Response, Refusal> {
    let content = ContentHeaders::of(&ask.parts.headers)?;
    let length = content_length(ask)?;
    let number = number(ask)?;
    let blob = ask.blob()?;
    if (length.is_some() || !matches!(number, Number::Keep))
        && blob.with_about(|about| about.kind) != BlobKind::Page
    {
        return Err(Refusal::blob_type());
    }
    let version = begin(ask, &blob)?;
    if let Some(length) = length {
        blob.resize(length)?;
    }
    let is_about_content = length.is_none() && matches!(number, Number::Keep);
    let sequence_number = blob.change(|about| {
        about.sequence_number = match number {
            Number::Keep => about.sequence_number,
            Number::Max(number) => about.sequence_number.max(number),
            Number::Update(number) => number,
            Number::Increment => about.sequence_number + 1,
        };
        if is_about_content || !content.is_empty() {
            about.content = content;
        }
        forget_lost_lease(about, ask);
        Ok::<_, Refusal>(about.sequence_number)
    })?;
    let mut response = versioned(StatusCode::OK, version);
    if blob.with_about(|about| about.kind) == BlobKind::Page {
        header(
            response.headers_mut(),
            "x-ms-blob-sequence-number",
            &sequence_number.to_string(),
        );
    }
    Ok(response)
}

/// The tier that a request names.
pub(super) fn tier(ask: &Ask, kind: BlobKind) -> Result<Option<String>, Refusal> {
    let name = "x-ms-access-tier";
    let Some(text) = ask.header(name)? else {
        return Ok(None);
    };
    if kind == BlobKind::Page {
        return Err(Refusal::not_implemented("tiers of page blobs"));
    }
    match ["Hot", "Cool", "Cold"]
        .into_iter()
        .find(|tier| tier.eq_ignore_ascii_case(text))
    {
        Some(tier) => Ok(Some(tier.to_owned())),
        None if text.eq_ignore_ascii_case("Archive") => {
            Err(Refusal::not_implemented("the tier Archive"))
        }
        None => Err(Refusal::invalid_header(name, text)),
    }
}

/// Set Blob Tier, which gives no new version.
pub(super) fn set_tier(ask: &Ask) -> Result<Response, Refusal> {
    let blob = ask.blob()?;
    let tier = tier(ask, blob.with_about(|about| about.kind))?
        .ok_or_else(|| Refusal::missing_header("x-ms-access-tier"))?;
    let lease = ask.lease_id()?;
    blob.change(|about| {
        Lease::allows_reading(about.lease.as_ref(), Of::Blob, lease, ask.now)?;
        about.tier = Some(tier);
        Ok::<_, Refusal>(())
    })?;
    Ok(empty(StatusCode::OK))
}

pub(super) fn delete(ask: &Ask) -> Result<Response, Refusal> {
    match ask.header("x-ms-delete-snapshots")? {
        None | Some("include") => {}
        Some("only") => {
            return Err(Refusal::not_implemented(
                "the deletion of snapshots, as there are none",
            ));
        }
        Some(other) => return Err(Refusal::invalid_header("x-ms-delete-snapshots", other)),
    }
    let conditions = ask.conditions()?;
    let lease = ask.lease_id()?;
    ask.address.container()?.delete(ask.name(), |blob| {
        let version = blob.store()?.version();
        blob.with_about(|about| {
            Lease::allows_writing(about.lease.as_ref(), Of::Blob, lease, ask.now)?;
            conditions.check_write(version, about.sequence_number)
        })
    })?;
    let mut response = empty(StatusCode::ACCEPTED);
    header(response.headers_mut(), "x-ms-delete-type-permanent", "true");
    Ok(response)
}
