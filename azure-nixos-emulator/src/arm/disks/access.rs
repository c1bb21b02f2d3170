//! Access to the content of a disk, from grant to end. Ending the access to an upload is its commit.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::{ArmError, Origin};
use super::super::id::Kind;
use super::super::lro::{Dialect, Work};
use super::shape::GRANT;
use super::{
    disk_name, file_of, gone, guest_state, has_guest_state, set_disk_state, state_of, wrong_state,
};
use crate::assumption::Assumption;
use crate::azure_names::{AccessHost, locate};
use crate::blob::Access;
use crate::state::{Inner, Resource};

/// The longest access: 60 days.
const LONGEST_ACCESS: u64 = 5_184_000;

/// `POST …/beginGetAccess`
pub(crate) fn grant(context: &mut Context<'_>, kind: Kind, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    GRANT.check(&mut body)?;
    let disk = context.existing(group, kind, name)?.clone();
    let seconds = body["durationInSeconds"].as_u64().unwrap_or_default();
    if !(1..=LONGEST_ACCESS).contains(&seconds) {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The value '{}' of parameter 'durationInSeconds' is out of range. The value must be between '1' and '{LONGEST_ACCESS}', inclusive.",
                body["durationInSeconds"]
            ),
        )
        .with_target("durationInSeconds"));
    }
    let guest_state = body["getSecureVMGuestStateSAS"] == true;
    if guest_state && !has_guest_state(&disk) {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            "A shared access signature of the guest state can only be had for disks that were created with 'UploadPreparedSecure'.",
        ));
    }
    if body["fileFormat"] == "VHDX" {
        return Err(ArmError::not_implemented("access to disks as VHDX"));
    }
    context.refuse_while_busy(&disk.id, Origin::Provider)?;
    let write = match body["access"].as_str() {
        Some("Write") => true,
        Some("Read") => false,
        _ => {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                "The value of parameter 'access' must be 'Read' or 'Write'.",
            )
            .with_target("access"));
        }
    };
    // That this is refused is what the policy is for; the words are a guess.
    if disk.body["properties"]["networkAccessPolicy"] == "DenyAll" {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Access not permitted because the network access policy of disk {name} is 'DenyAll'."
            ),
        ));
    }
    if disk.body["properties"]["publicNetworkAccess"] == "Disabled" {
        return Err(ArmError::not_implemented(
            "access to disks from private networks alone",
        ));
    }
    let state = state_of(&disk);
    if state == "Attached" {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Access not permitted because disk {name} is currently attached to running VM {}.",
                disk.body["managedBy"].as_str().unwrap_or_default()
            ),
        ));
    }
    let allowed: &[&str] = if write {
        &["ReadyToUpload", "ActiveUpload"]
    } else {
        &["Unattached", "Reserved", "ActiveSAS"]
    };
    if !allowed.contains(&state) {
        return Err(wrong_state(
            &disk,
            if write {
                "given write access to"
            } else {
                "given read access to"
            },
        ));
    }
    if matches!(&disk.inner, Inner::Disk(inner) if inner.length == 0) {
        return Err(ArmError::not_implemented(
            "access to disks that were made before their content was kept",
        ));
    }
    let location = disk.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(
        Dialect::Disk,
        &location,
        &disk.id,
        Work::DiskGranted {
            write,
            seconds,
            guest_state,
        },
    );
    Ok(context.accepted(202, operation, None))
}

/// The end of a grant: the access itself.
pub(crate) fn granted(
    context: &mut Context<'_>,
    id: &str,
    write: bool,
    seconds: u64,
    with_guest_state: bool,
) -> Result<Option<Value>> {
    let (_, inner) = file_of(context, id)?;
    let access = if write { Access::Write } else { Access::Read };
    let ends = context.now + Duration::from_secs(seconds);
    let path = context
        .arm
        .blobs()
        .grant(inner.blob, access, ends)
        .map_err(|error| ArmError::internal("grant access to a disk", error))?;
    let mut host = AccessHost::Upload;
    let not_shown = context.assumes(Assumption::UploadIsNotShown);
    if let Some(disk) = context.state.resource_mut(id) {
        if !write {
            host = if disk.body["sku"]["name"] == "Standard_LRS" {
                AccessHost::ReadHdd
            } else {
                AccessHost::Read
            };
        }
        set_access(disk, Some(ends));
        match write {
            true if not_shown => {}
            true => disk.body["properties"]["diskState"] = json!("ActiveUpload"),
            false => disk.body["properties"]["diskState"] = json!("ActiveSAS"),
        }
    }
    let mut output = json!({ "accessSAS": locate(host, inner.blob, &path) });
    if with_guest_state {
        let blob = guest_state::blob(inner.blob);
        let path = context
            .arm
            .blobs()
            .grant(blob, access, ends)
            .map_err(|error| ArmError::internal("grant access to a guest state", error))?;
        output["securityDataAccessSAS"] = json!(locate(host, blob, &path));
    }
    Ok(Some(output))
}

/// `POST …/endGetAccess`
pub(crate) fn revoke(context: &mut Context<'_>, kind: Kind, group: &str, name: &str) -> Result {
    let disk = context.existing(group, kind, name)?.clone();
    context.refuse_while_busy(&disk.id, Origin::Provider)?;
    if context.assumes(Assumption::BadVhdIsRefusedAtOnce) {
        revoked(context, &disk.id)?;
    }
    let location = disk.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(Dialect::Disk, &location, &disk.id, Work::DiskRevoked);
    Ok(context.accepted(202, operation, None))
}

/// The end of an access. For an upload it is the commit: here, and only here, the footer is
/// looked at.
pub(crate) fn revoked(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    let (_, inner) = file_of(context, id)?;
    let mut state = context
        .state
        .resource(id)
        .map(|disk| state_of(disk).to_owned())
        .unwrap_or_default();
    if state == "ReadyToUpload" && context.assumes(Assumption::UploadIsNotShown) {
        state = "ActiveUpload".to_owned();
    }
    if !matches!(state.as_str(), "ActiveUpload" | "ActiveSAS") {
        // Nothing is granted: that is what was asked for.
        return Ok(None);
    }
    let blobs = context.arm.blobs();
    blobs
        .revoke(inner.blob)
        .and_then(|()| {
            if context.state.resource(id).is_some_and(has_guest_state) {
                blobs.revoke(guest_state::blob(inner.blob))
            } else {
                Ok(())
            }
        })
        .map_err(|error| ArmError::internal("end access to a disk", error))?;
    let problem = if state == "ActiveUpload" {
        blobs
            .footer_problem(inner.blob)
            .map_err(|error| ArmError::internal("read the footer of a disk", error))?
    } else {
        None
    };
    let Some(disk) = context.state.resource_mut(id) else {
        return Err(gone(id));
    };
    set_access(disk, None);
    if let Some(problem) = problem {
        return Err(ArmError::compute(400, "InvalidVhd", problem));
    }
    let state = if disk.body.get("managedBy").is_some() {
        "Reserved"
    } else {
        "Unattached"
    };
    set_disk_state(&mut disk.body, state, inner.length);
    Ok(None)
}

/// Ends read accesses that have run out. An upload whose access ran out stays an upload: only
/// ending it says that it is complete.
pub(crate) fn expire_accesses(context: &mut Context<'_>) -> bool {
    let now = context.now;
    let mut changed = false;
    for disk in context.state.resources.values_mut() {
        let Inner::Disk(inner) = &mut disk.inner else {
            continue;
        };
        if inner.access_ends.is_none_or(|ends| ends > now) {
            continue;
        }
        inner.access_ends = None;
        changed = true;
        if let Err(error) = context.arm.blobs().revoke(inner.blob) {
            // It ends by the clock of the data plane all the same.
            tracing::warn!(%error, "an access that ran out was not taken back");
        }
        if disk.body["properties"]["diskState"] == "ActiveSAS" {
            let state = if disk.body.get("managedBy").is_some() {
                "Reserved"
            } else {
                "Unattached"
            };
            disk.body["properties"]["diskState"] = json!(state);
        }
    }
    changed
}

/// Refuses what an access that somebody still has stands against.
pub(crate) fn refuse_active_access(
    context: &Context<'_>,
    disk: &Resource,
    before: &str,
) -> Result<()> {
    let (status, code) = if context.assumes(Assumption::ActiveAccessIsBadRequest) {
        (400, "BadRequest")
    } else {
        (409, "OperationNotAllowed")
    };
    match &disk.inner {
        Inner::Disk(inner) if inner.access_ends.is_some() => Err(ArmError::compute(
            status,
            code,
            format!(
                "There is an active shared access signature outstanding for disk {}. Call EndGetAccess before {before}.",
                disk_name(&disk.id)
            ),
        )),
        _ => Ok(()),
    }
}

fn set_access(disk: &mut Resource, ends: Option<SystemTime>) {
    if let Inner::Disk(inner) = &mut disk.inner {
        inner.access_ends = ends;
    }
}
