//! Page blobs of storage accounts that disks, images and image versions are made of.

use std::path::PathBuf;

use super::Context;
use super::answer::Result;
use super::error::ArmError;
use super::id::{Kind, ResourceId, same};
use crate::vhd::FOOTER_LEN;

const GIB: u64 = 1 << 30;

/// The content of a VHD in a storage account.
#[derive(Debug)]
pub(crate) struct BlobSource {
    pub(crate) file: PathBuf,
    /// Footer included.
    pub(crate) length: u64,
    /// What documents show: without a query, in which a signature may be.
    pub(crate) uri: String,
}

impl BlobSource {
    /// The size of the disk in GiB, rounded up.
    pub(crate) fn size(&self) -> u64 {
        (self.length - FOOTER_LEN as u64).div_ceil(GIB)
    }
}

/// The smallest and the largest disk, in bytes and without the footer.
const SIZES: std::ops::RangeInclusive<u64> = 20 << 20..=32 << 40;

/// Finds the VHD that a URI names, for something in `location`. `account` is the id of its storage
/// account, where the client gives it. Only the words about the region are Azure's; the others, and
/// their codes, are a guess.
pub(crate) fn find(
    context: &Context<'_>,
    uri: &str,
    account: Option<&str>,
    location: &str,
) -> Result<BlobSource> {
    let uri = shown(uri);
    let not_found = || {
        ArmError::compute(
            404,
            "NotFound",
            format!("The source blob {uri} is not found."),
        )
        .with_target("sourceUri")
    };
    let blobs = context.arm.blobs();
    let blob = blobs
        .page_blob(uri)
        .map_err(|error| ArmError::internal("find a blob of a storage account", error))?
        .ok_or_else(not_found)?;
    let resource = context
        .state
        .resources
        .values()
        .find(|resource| {
            ResourceId::parse(&resource.id).is_some_and(|id| {
                id.kind == Kind::StorageAccount && id.name.eq_ignore_ascii_case(&blob.account)
            })
        })
        .ok_or_else(not_found)?;
    if resource.body["location"] != location {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!("The source blob {uri} does not belong to the same region as the disk."),
        ));
    }
    // Examples of Azure's give the id without the slash at its beginning.
    if let Some(account) = account
        && !same(
            account.trim_start_matches('/'),
            resource.id.trim_start_matches('/'),
        )
    {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The source blob {uri} is not in the storage account '{account}' but in '{}'.",
                resource.id
            ),
        )
        .with_target("storageAccountId"));
    }
    let invalid = |problem: String| ArmError::compute(400, "InvalidVhd", problem);
    if let Some(problem) = blob.footer_problem {
        return Err(invalid(problem));
    }
    let size = blob.length.saturating_sub(FOOTER_LEN as u64);
    if !SIZES.contains(&size) {
        return Err(invalid(format!(
            "The source blob {uri} has {size} bytes without its footer; a disk has {} to {}.",
            SIZES.start(),
            SIZES.end()
        )));
    }
    Ok(BlobSource {
        file: blob.file,
        length: blob.length,
        uri: uri.to_owned(),
    })
}

/// A URI without its query.
fn shown(uri: &str) -> &str {
    uri.split_once('?').map_or(uri, |(uri, _)| uri)
}
