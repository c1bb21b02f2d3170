//! A disk made of a page blob in a storage account: `createOption` `Import`.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::id::{Kind, ResourceId, same};
use super::FOOTER;
use super::source::Copied;

/// The smallest and the largest disk, in bytes and without the footer.
const SIZES: std::ops::RangeInclusive<u64> = 20 << 20..=32 << 40;

/// The blob that the request names, which has to be a fixed VHD in an account of this location.
pub(super) fn blob(context: &Context<'_>, properties: &Value, location: &str) -> Result<Copied> {
    let creation = &properties["creationData"];
    let Some(uri) = creation["sourceUri"].as_str() else {
        return Err(ArmError::missing_parameter("disk.creationData.sourceUri"));
    };
    let blobs = context.arm.blobs();
    let found = blobs
        .page_blob(uri)
        .map_err(|error| ArmError::internal("find a blob of a storage account", error))?;
    // What Azure says to a blob that is not there is in no recording.
    let Some(blob) = found else {
        return Err(ArmError::compute(
            404,
            "NotFound",
            format!("The source blob {uri} is not found."),
        )
        .with_target("sourceUri"));
    };
    let account = context.state.resources.values().find(|resource| {
        ResourceId::parse(&resource.id)
            .is_some_and(|id| id.kind == Kind::StorageAccount && id.name == blob.account)
    });
    if let Some(account) = account {
        if account.body["location"] != location {
            return Err(ArmError::compute(
                400,
                "BadRequest",
                format!("The source blob {uri} does not belong to the same region as the disk."),
            ));
        }
        if let Some(given) = creation["storageAccountId"].as_str()
            && !same(given, &account.id)
        {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                format!(
                    "The source blob {uri} is not in the storage account '{given}' but in '{}'.",
                    account.id
                ),
            )
            .with_target("storageAccountId"));
        }
    }
    if let Some(problem) = &blob.footer_problem {
        return Err(ArmError::compute(400, "InvalidVhd", problem.clone()));
    }
    let size = blob.length.saturating_sub(FOOTER);
    if !SIZES.contains(&size) {
        return Err(ArmError::compute(
            400,
            "InvalidVhd",
            format!(
                "The source blob {uri} has {size} bytes without its footer; a disk has {} to {}.",
                SIZES.start(),
                SIZES.end()
            ),
        ));
    }
    super::source::grows(properties, size.div_ceil(super::GIB))?;
    Ok(Copied {
        file: blob.file,
        length: blob.length,
        frozen: false,
        inherited: json!({ "diskSizeGB": size.div_ceil(super::GIB) }),
        creation: json!({}),
    })
}
