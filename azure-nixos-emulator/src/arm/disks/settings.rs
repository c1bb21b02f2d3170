//! Settings of disks that contradict each other, or that cannot change.

use serde_json::Value;

use super::super::answer::Result;
use super::super::error::ArmError;
use super::{disk_name, state_of};
use crate::state::Resource;

fn invalid(target: &str, message: impl Into<String>) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target(target)
}

fn has_sectors_of_its_own(sku: &str) -> bool {
    matches!(sku, "UltraSSD_LRS" | "PremiumV2_LRS")
}

/// Checks what a request sets. That these are refused is documented; the words are a guess.
pub(super) fn check(body: &Value) -> Result<()> {
    let properties = &body["properties"];
    match properties["networkAccessPolicy"].as_str() {
        Some("AllowPrivate") if properties["diskAccessId"].is_null() => {
            return Err(ArmError::missing_parameter("diskAccessId"));
        }
        Some("AllowPrivate") => {
            return Err(ArmError::not_implemented(
                "disk access resources and the private endpoints behind them",
            ));
        }
        Some(other) if !properties["diskAccessId"].is_null() => {
            return Err(invalid(
                "diskAccessId",
                format!(
                    "Parameter 'diskAccessId' is not allowed when 'networkAccessPolicy' is '{other}'."
                ),
            ));
        }
        _ => {}
    }
    if let Some(size) = properties["creationData"].get("logicalSectorSize") {
        let sku = body["sku"]["name"].as_str().unwrap_or("Standard_LRS");
        if !has_sectors_of_its_own(sku) {
            return Err(invalid(
                "creationData.logicalSectorSize",
                format!(
                    "Parameter 'creationData.logicalSectorSize' is not allowed for disks of type '{sku}'."
                ),
            ));
        }
        if !matches!(size.as_u64(), Some(512 | 4096)) {
            return Err(invalid(
                "creationData.logicalSectorSize",
                format!(
                    "The value '{size}' of parameter 'creationData.logicalSectorSize' must be 512 or 4096."
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses a change of the type of a disk that a running machine has, and one to or from a type
/// that keeps its content otherwise.
pub(super) fn refuse_sku_change(disk: &Resource, body: &Value) -> Result<()> {
    let (Some(from), Some(to)) = (
        disk.body["sku"]["name"].as_str(),
        body["sku"]["name"].as_str(),
    ) else {
        return Ok(());
    };
    if from == to {
        return Ok(());
    }
    let name = disk_name(&disk.id);
    let refused = |why: String| Err(ArmError::compute(409, "OperationNotAllowed", why));
    if has_sectors_of_its_own(from) || has_sectors_of_its_own(to) {
        return refused(format!(
            "The type of disk {name} cannot be changed from '{from}' to '{to}'. Make a snapshot and a new disk of it."
        ));
    }
    if state_of(disk) == "Attached" {
        return refused(format!(
            "Cannot change the type of disk {name} while it is attached to running VM {}. Please deallocate your VM and retry the operation.",
            disk.body["managedBy"].as_str().unwrap_or_default()
        ));
    }
    Ok(())
}
