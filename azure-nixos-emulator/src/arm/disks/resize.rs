//! Disks that become longer: the footer of a VHD is at its end and moves.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::lro::Copying;
use super::super::own_copy;
use super::super::resources::set_state;
use super::{FOOTER, GIB, content, disk_name, file_of, gone, performance, state_of, wrong_state};
use crate::arm::clock_text::timestamp;
use crate::state::{DiskInner, Inner, Resource};

/// The size in GiB that a change asks for, where it is larger than the disk is.
pub(super) fn wanted(disk: &Resource, change: &Value) -> Result<Option<u64>> {
    let Some(given) = change.get("diskSizeGB") else {
        return Ok(None);
    };
    super::source::check_size(given)?;
    let to = given.as_u64().unwrap_or_default();
    let Some(from) = disk.body["properties"]["diskSizeGB"].as_u64() else {
        return Err(wrong_state(disk, "resized"));
    };
    if to == from {
        return Ok(None);
    }
    if to < from {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "The disk/snapshot resource with id {} cannot be resized down. Reducing disk/snapshot size is not supported in Azure to prevent data loss. If you do need to reduce the size of the disk, please create new snapshot/disks with the appropriate size. More information is available at https://aka.ms/AzureDisksFAQ",
                disk.id
            ),
        )
        .with_target("diskSizeGB"));
    }
    match state_of(disk) {
        "Unattached" | "Reserved" => Ok(Some(to)),
        "ActiveSAS" => Err(ArmError::compute(
            409,
            "ChangeDiskSizeWhileActiveSasNotAllowed",
            "The size of a disk cannot be changed while there is an active shared access signature outstanding for it.",
        )),
        "Attached" => Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Cannot resize disk {} while it is attached to running VM {}. Resizing a disk of an Azure Virtual Machine requires the virtual machine to be deallocated. Please stop your VM and retry the operation.",
                disk_name(&disk.id),
                disk.body["managedBy"].as_str().unwrap_or_default()
            ),
        )),
        _ => Err(wrong_state(disk, "resized")),
    }
}

/// What has to be copied first: a file that has further names has to become one of its own.
pub(super) fn plan(context: &Context<'_>, disk: &Resource) -> Result<Copying> {
    let file = content(context, disk)?;
    let is_shared = fs::metadata(&file)
        .map_err(|error| ArmError::internal("find the file of a disk", error))?
        .nlink()
        > 1;
    Ok(Copying {
        files: if is_shared {
            vec![(file.clone(), beside(&file))]
        } else {
            Vec::new()
        },
        frozen: false,
        result: None,
    })
}

/// Where the longer file is until the blob has its new length.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".longer");
    PathBuf::from(name)
}

/// The end of a resize.
pub(crate) fn resized(
    context: &mut Context<'_>,
    id: &str,
    size: u64,
    problem: Option<&String>,
) -> Result<Option<Value>> {
    let done = match problem {
        Some(problem) => Err(io::Error::other(problem.clone())),
        None => file_of(context, id).map(|(file, inner)| {
            let beside = beside(&file);
            let durable = context.arm.settings().durable;
            // A process that was stopped may have come further than this.
            if !beside.exists() && fs::metadata(&file)?.len() < size * GIB + FOOTER {
                fs::rename(&file, &beside)?;
            }
            if beside.exists() {
                own_copy::lengthen(&beside, size * GIB, inner.blob, durable)?;
                let removed = context.arm.blobs().remove(inner.blob);
                super::missing_is_good(removed)?;
                fs::rename(&beside, &file)?;
            }
            context.arm.blobs().adopt(inner.blob, &file)
        })?,
    };
    if let Err(error) = done {
        set_state(context.state.resource_mut(id), "Failed");
        return Err(ArmError::internal("resize a disk", error));
    }
    let now = timestamp(context.now);
    let Some(disk) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    set_length(disk, size * GIB + FOOTER);
    performance::fill_in(&mut disk.body, &now);
    Ok(Some(disk.body.clone()))
}

fn set_length(disk: &mut Resource, length: u64) {
    if let Inner::Disk(inner) = &mut disk.inner {
        inner.length = length;
    }
    disk.body["properties"]["diskSizeBytes"] = json!(length - FOOTER);
}

/// Makes the blob of a disk whose file was copied, and the file as long as the disk is to be.
pub(super) fn finish_copy(
    context: &mut Context<'_>,
    id: &str,
    file: &Path,
    inner: &DiskInner,
) -> io::Result<()> {
    let size = context
        .state
        .resource(id)
        .and_then(|disk| disk.body["properties"]["diskSizeGB"].as_u64())
        .unwrap_or_default();
    // Content that does not fill its last GiB stays as it is.
    let mut length = inner.length;
    if size > (length - FOOTER).div_ceil(GIB) {
        length = size * GIB + FOOTER;
        let durable = context.arm.settings().durable;
        own_copy::lengthen(file, size * GIB, inner.blob, durable)?;
    }
    context.arm.blobs().adopt(inner.blob, file)?;
    if let Some(disk) = context.state.resource_mut(id) {
        set_length(disk, length);
    }
    Ok(())
}
