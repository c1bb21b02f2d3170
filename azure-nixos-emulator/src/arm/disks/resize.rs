//! Disks that become longer: the footer of a VHD is at its end and moves.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::footer;
use super::super::lro::Copying;
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
            // A process that was stopped may have come further than this.
            if !beside.exists() && fs::metadata(&file)?.len() < size * GIB + FOOTER {
                fs::rename(&file, &beside)?;
            }
            if beside.exists() {
                lengthen(&beside, size * GIB, inner.blob)?;
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
        lengthen(file, size * GIB, inner.blob)?;
    }
    context.arm.blobs().adopt(inner.blob, file)?;
    if let Some(disk) = context.state.resource_mut(id) {
        set_length(disk, length);
    }
    Ok(())
}

/// Makes the file of a disk, which has no other names, `size` bytes long without the footer.
fn lengthen(file: &Path, size: u64, disk: Uuid) -> io::Result<()> {
    let opened = OpenOptions::new().write(true).open(file)?;
    let before = opened.metadata()?.len();
    if before >= size + FOOTER {
        return Ok(());
    }
    // A process that is stopped before the new footer is there begins here again.
    opened.write_all_at(&[0; FOOTER as usize], before - FOOTER)?;
    footer::write(file, size, disk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vhd::{FOOTER_LEN, footer_problem};

    #[test]
    fn a_longer_disk_has_its_content_zeros_and_a_good_footer() {
        const SIZE: usize = 3 << 20;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk.vhd");
        let content: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
        fs::write(&file, &content).unwrap();
        footer::write(&file, SIZE as u64, Uuid::nil()).unwrap();
        for _ in 0..2 {
            lengthen(&file, 2 * SIZE as u64, Uuid::nil()).unwrap();
            let bytes = fs::read(&file).unwrap();
            assert!(bytes[..SIZE] == content);
            assert!(bytes[SIZE..2 * SIZE].iter().all(|byte| *byte == 0));
            let end: &[u8; FOOTER_LEN] = bytes[2 * SIZE..].try_into().unwrap();
            assert_eq!(footer_problem(end, 2 * SIZE as u64 + FOOTER, "disk"), None);
        }
    }
}
