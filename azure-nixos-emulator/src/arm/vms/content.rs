//! The bytes of the disks that come with a machine.
//!
//! An OS disk is its image's file under another name until somebody writes to it (see
//! `own_copy`). It is taken when the machine is asked for, so that the image may go while the
//! machine is being made, and waits among the machine's own files until its disk is there.

use std::path::{Path, PathBuf};

use serde_json::Value;
use uuid::Uuid;

use super::super::Context;
use super::super::answer::Result;
use super::super::copy::remove_if_there;
use super::super::error::ArmError;
use super::super::{footer, own_copy};
use super::check::Source;
use crate::state::{DiskInner, Inner};

const FOOTER: u64 = 512;
const GIB: u64 = 1 << 30;

/// Where the files of a machine are that are nobody else's business.
pub(crate) fn directory(state_dir: &Path, vm_id: &str) -> PathBuf {
    state_dir.join("machines").join(vm_id)
}

/// The identity of a machine, which is the name of its directory.
pub(crate) fn vm_id(body: &Value) -> &str {
    body["properties"]["vmId"].as_str().unwrap_or_default()
}

/// Where the content of an OS disk waits.
fn staged(context: &Context<'_>, body: &Value) -> PathBuf {
    directory(&context.arm.settings().state_dir, vm_id(body)).join("os-disk.vhd")
}

/// Takes the content of the OS disk from the image.
pub(super) fn take(context: &Context<'_>, body: &Value, source: &Source) -> Result<()> {
    let Source::Image(image) = source else {
        return Ok(());
    };
    let file = match &image.inner {
        Inner::Image(image) => image.files.first(),
        _ => None,
    };
    let file = file.ok_or_else(|| ArmError::internal("find the content of an image", &image.id))?;
    own_copy::share(file, &staged(context, body), context.arm.settings().durable)
        .map_err(|error| ArmError::internal("take the content of an image", error))
}

/// Makes the content that was taken as large as the disk is to be, if that is larger than the
/// image. `None` while it is being done.
pub(super) fn grow(
    context: &Context<'_>,
    operation: Uuid,
    body: &Value,
    size: Option<u64>,
) -> Option<Result<()>> {
    let Some(size) = size.map(|gib| gib * GIB) else {
        return Some(Ok(()));
    };
    let file = staged(context, body);
    match std::fs::metadata(&file) {
        Ok(found) if found.len() >= size + FOOTER => return Some(Ok(())),
        Ok(_) => {}
        // The disk has it already.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Ok(())),
        Err(error) => return Some(Err(ArmError::internal("read the size of a disk", error))),
    }
    let durable = context.arm.settings().durable;
    let grown = context.arm.job(operation, move || {
        own_copy::lengthen(&file, size, Uuid::new_v4(), durable).map_err(|error| error.to_string())
    })?;
    Some(grown.map_err(|error| ArmError::internal("make the OS disk of its image", error)))
}

/// Makes the blob of a new disk: from the content that was taken, or empty.
pub(super) fn make(
    context: &Context<'_>,
    body: &Value,
    file: &Path,
    empty: Option<u64>,
) -> std::io::Result<DiskInner> {
    let blobs = context.arm.blobs();
    let blob = Uuid::new_v4();
    let length = match empty {
        Some(gib) => {
            let size = gib * GIB;
            blobs.create(blob, file, size + FOOTER)?;
            footer::write(file, size, blob)?;
            blobs.rescan(blob)?;
            size + FOOTER
        }
        None => {
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::rename(staged(context, body), file)?;
            blobs.adopt(blob, file)?;
            std::fs::metadata(file)?.len()
        }
    };
    Ok(DiskInner {
        blob,
        length,
        access_ends: None,
    })
}

/// Deletes the files of a machine that is gone.
pub(super) fn discard(context: &Context<'_>, body: &Value) {
    let id = vm_id(body);
    // Never more than the machine's own directory.
    if Uuid::parse_str(id).is_err() {
        return;
    }
    let directory = directory(&context.arm.settings().state_dir, id);
    let removed =
        remove_if_there(&directory.join("os-disk.vhd")).and_then(
            |()| match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        );
    if let Err(error) = removed {
        tracing::warn!(%error, path = %directory.display(), "the files of a machine stay");
    }
}
