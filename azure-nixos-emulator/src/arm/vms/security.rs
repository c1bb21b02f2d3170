//! The security profile of a machine: Trusted Launch, confidential machines, their firmware.

use serde_json::Value;

use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::gallery;
use super::super::sizes::Size;
use super::check::Source;

const MORE: &str = "For more information, see https://aka.ms/TrustedLaunch-FAQ";

fn refused(message: String) -> ArmError {
    ArmError::compute(400, "BadRequest", message)
}

/// Whether the size, the image or disk, and the profile of a machine fit. The texts are those that
/// users report, that of UEFI settings but its beginning.
pub(super) fn check(properties: &Value, source: &Source, size: &Size) -> Result<()> {
    let profile = &properties["securityProfile"];
    let wanted = profile["securityType"].as_str();
    let special = wanted.filter(|kind| *kind != "Standard");
    if !profile["uefiSettings"].is_null() && special.is_none() {
        return Err(refused(format!(
            "Use of UEFI settings is not supported when security type is '{}'.",
            wanted.unwrap_or("<NULL>")
        )));
    }
    let managed = match source {
        Source::Image(image) if gallery::is_gallery_image(&image.id) => {
            refuse_generation(source, special)?;
            gallery::check_security(image, wanted)?;
            false
        }
        Source::Image(_) => special.is_some(),
        Source::Disk(disk) => {
            refuse_generation(source, special)?;
            let of_disk = disk.body["properties"]["securityProfile"]["securityType"]
                .as_str()
                .unwrap_or("Standard");
            // A confidential disk has one of several words for itself.
            let of_disk = if of_disk.starts_with("ConfidentialVM") {
                "ConfidentialVM"
            } else {
                of_disk
            };
            if of_disk != wanted.unwrap_or("Standard") {
                return Err(refused(
                    "Security type of VM is not compatible with the security type of attached OS Disk."
                        .to_owned(),
                ));
            }
            false
        }
    };
    if managed {
        return Err(refused(
            "Managed Images are not supported for virtual machines with security type TrustedLaunch."
                .to_owned(),
        ));
    }
    check_size(&profile["securityType"], size)
}

/// Whether a size has machines of a security type. The text is reported of sizes for confidential
/// machines, which have no others.
pub(super) fn check_size(wanted: &Value, size: &Size) -> Result<()> {
    let fits = match wanted.as_str() {
        Some("TrustedLaunch") => size.has_trusted_launch && size.generations.contains("V2"),
        Some("ConfidentialVM") => size.is_confidential,
        _ => !size.is_confidential,
    };
    if fits {
        return Ok(());
    }
    Err(refused(format!(
        "The VM size '{}' is not supported for creation of VMs and Virtual Machine Scale Set with '{}' security type.",
        size.name,
        wanted.as_str().unwrap_or("<NULL>")
    )))
}

fn refuse_generation(source: &Source, special: Option<&str>) -> Result<()> {
    match special {
        Some(kind) if source.generation() == "V1" => Err(refused(format!(
            "Use of {kind} setting is not supported for the provided image. Please select Trusted Launch Supported Gen2 OS Image. {MORE}."
        ))),
        _ => Ok(()),
    }
}
