//! Page blobs of storage accounts that disks, images and image versions are made of.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use url::Url;

use super::Context;
use super::answer::Result;
use super::error::ArmError;
use super::id::{Kind, ResourceId, same};
use crate::vhd::{FOOTER_LEN, footer_problem};

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

/// Finds the VHD that a URI names, for something in `location`. `account` is the id of its storage
/// account, where the client gives it. Only the words about the region are Azure's; the others, and
/// their codes, are a guess.
pub(crate) fn find(
    context: &Context<'_>,
    uri: &str,
    account: Option<&str>,
    location: &str,
) -> Result<BlobSource> {
    let invalid = |message: String| ArmError::compute(400, "InvalidParameter", message);
    let url = Url::parse(uri).map_err(|error| {
        invalid(format!(
            "The source uri '{}' is no URI: {error}.",
            shown(uri)
        ))
    })?;
    let blobs = context.arm.blobs();
    let named = blobs.account_blob(&url);
    let resource = named.as_ref().and_then(|(name, _)| {
        context.state.resources.values().find(|resource| {
            ResourceId::parse(&resource.id).is_some_and(|id| {
                id.kind == Kind::StorageAccount && id.name.eq_ignore_ascii_case(name)
            })
        })
    });
    let Some(resource) = resource else {
        return Err(invalid(format!(
            "The source uri '{}' is none of a storage account of the subscription.",
            shown(uri)
        )));
    };
    if let Some(account) = account
        && !same(
            account.trim_start_matches('/'),
            resource.id.trim_start_matches('/'),
        )
    {
        return Err(invalid(format!(
            "The source uri '{}' is not one of the storage account '{account}'.",
            shown(uri)
        )));
    }
    if resource.body["location"] != location {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "The source blob {} does not belong to the same region as the disk.",
                shown(uri)
            ),
        ));
    }
    let Some(blob) = named.and_then(|(_, blob)| blob) else {
        return Err(ArmError::compute(
            404,
            "NotFound",
            format!("The source blob {} is not found.", shown(uri)),
        ));
    };
    if !blob.is_page_blob || blob.length <= FOOTER_LEN as u64 {
        return Err(invalid(format!(
            "The source blob {} is no page blob with a VHD in it.",
            shown(uri)
        )));
    }
    let mut footer = [0; FOOTER_LEN];
    File::open(&blob.file)
        .and_then(|file| file.read_exact_at(&mut footer, blob.length - FOOTER_LEN as u64))
        .map_err(|error| ArmError::internal("read a blob", error))?;
    if let Some(problem) = footer_problem(&footer, blob.length, shown(uri)) {
        return Err(ArmError::compute(400, "InvalidVhd", problem));
    }
    Ok(BlobSource {
        file: blob.file,
        length: blob.length,
        uri: shown(uri).to_owned(),
    })
}

/// A URI without its query.
fn shown(uri: &str) -> &str {
    uri.split_once('?').map_or(uri, |(uri, _)| uri)
}
