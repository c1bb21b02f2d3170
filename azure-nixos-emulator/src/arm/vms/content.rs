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

/// Where the content of a disk of the image waits: the OS disk's, or that of a data disk's LUN.
fn staged(context: &Context<'_>, body: &Value, lun: Option<u64>) -> PathBuf {
    let name = match lun {
        None => "os-disk.vhd".to_owned(),
        Some(lun) => format!("data-disk-{lun}.vhd"),
    };
    directory(&context.arm.settings().state_dir, vm_id(body)).join(name)
}

/// Takes the content of the disks from the image.
pub(super) fn take(context: &Context<'_>, body: &Value, source: &Source) -> Result<()> {
    let Source::Image(image) = source else {
        return Ok(());
    };
    if context.arm.is_losing() {
        return Ok(());
    }
    let Inner::Image(inner) = &image.inner else {
        return Err(ArmError::internal(
            "find the content of an image",
            &image.id,
        ));
    };
    let data_disks = image.body["properties"]["storageProfile"]["dataDisks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|disk| disk["lun"].as_u64());
    std::iter::once(None)
        .chain(data_disks)
        .zip(&inner.files)
        .try_for_each(|(lun, file)| {
            own_copy::share(
                file,
                &staged(context, body, lun),
                context.arm.settings().durable,
            )
        })
        .map_err(|error| ArmError::internal("take the content of an image", error))
}

/// Makes the content that was taken as large as the disks are to be, where that is larger than the
/// image's. Content that does not fill its last GiB stays as it is. `None` while it is being done.
pub(super) fn grow(context: &Context<'_>, operation: Uuid, body: &Value) -> Option<Result<()>> {
    let profile = &body["properties"]["storageProfile"];
    let data_disks = profile["dataDisks"].as_array().into_iter().flatten();
    let small: Vec<(PathBuf, u64)> = std::iter::once((None, &profile["osDisk"]))
        .chain(data_disks.map(|disk| (disk["lun"].as_u64(), disk)))
        .filter_map(|(lun, disk)| {
            let file = staged(context, body, lun);
            let gib = disk["diskSizeGB"].as_u64()?;
            // A disk that has its content already has it no longer here.
            let length = std::fs::metadata(&file).ok()?.len();
            (gib > length.saturating_sub(FOOTER).div_ceil(GIB)).then_some((file, gib * GIB))
        })
        .collect();
    if small.is_empty() {
        return Some(Ok(()));
    }
    let durable = context.arm.settings().durable;
    let grown = context.arm.job(operation, move || {
        small
            .iter()
            .try_for_each(|(file, size)| own_copy::lengthen(file, *size, Uuid::new_v4(), durable))
            .map_err(|error| error.to_string())
    })?;
    Some(grown.map_err(|error| ArmError::internal("make the disks of an image", error)))
}

/// What a new disk has in it.
pub(super) enum Made {
    /// What was taken of the image: of its OS disk, or of the data disk of a LUN.
    OfImage(Option<u64>),
    /// Nothing, of so many GiB.
    Empty(u64),
}

/// Makes the blob of a new disk.
pub(super) fn make(
    context: &Context<'_>,
    body: &Value,
    file: &Path,
    made: &Made,
) -> std::io::Result<DiskInner> {
    let blobs = context.arm.blobs();
    let blob = Uuid::new_v4();
    let length = match made {
        Made::Empty(gib) => {
            let size = gib * GIB;
            blobs.create(blob, file, size + FOOTER)?;
            footer::write(file, size, blob)?;
            blobs.rescan(blob)?;
            size + FOOTER
        }
        Made::OfImage(lun) => {
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::rename(staged(context, body, *lun), file)?;
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
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %directory.display(), "the files of a machine stay");
        }
        _ => {}
    }
}
