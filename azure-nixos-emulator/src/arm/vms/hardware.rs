//! What a size has to offer for a machine: that it is to be had, boots the disk, and carries the disks
//! and interfaces.

use serde_json::Value;

use super::super::Context;
use super::super::answer::Result;
use super::super::error::{ArmError, Origin};
use super::super::id::leaf;
use super::super::quotas::{self, is_spot};
use super::super::sizes::{SIZES, Size};
use super::super::zones;
use super::check::Source;
use crate::state::{Inner, Resource};

/// What machines are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The name of the size.
    pub(crate) size: &'a str,
    pub(crate) location: &'a str,
    pub(crate) zones: &'a [&'a str],
    pub(crate) machines: u64,
    pub(crate) is_spot: bool,
    /// The id of the machine or of the scale set.
    pub(crate) id: &'a str,
    /// Whether they are instead of what it has now.
    pub(crate) replaces: bool,
}

/// The size of a machine, as there is one and enough of it is left.
pub(super) fn size(context: &Context<'_>, body: &Value) -> Result<&'static Size> {
    let properties = &body["properties"];
    let Some(name) = properties["hardwareProfile"]["vmSize"].as_str() else {
        return Err(ArmError::missing_parameter("vmSize"));
    };
    size_for(
        context,
        Wanted {
            size: name,
            location: body["location"].as_str().unwrap_or_default(),
            zones: &zones::of(body),
            machines: 1,
            is_spot: is_spot(&properties["priority"]),
            id: body["id"].as_str().unwrap_or_default(),
            replaces: true,
        },
    )
}

/// The size of machines that are wanted.
pub(crate) fn size_for(context: &Context<'_>, wanted: Wanted<'_>) -> Result<&'static Size> {
    let Wanted {
        size: name,
        location,
        id,
        ..
    } = wanted;
    let Some(size) = Size::find(name) else {
        return Err(zones::not_available(name, location));
    };
    zones::check_size(context, size, location, wanted.zones, id)?;
    let except = if wanted.replaces { id } else { "" };
    quotas::check(
        context,
        size,
        location,
        wanted.machines,
        wanted.is_spot,
        except,
    )?;
    Ok(size)
}

/// Whether a size boots this generation, architecture and disk controller. Codes and texts are those that
/// users report.
pub(super) fn check_boots(source: &Source, wanted: &Value, size: &Size) -> Result<()> {
    let generation = source.generation();
    if !size.generations.split(',').any(|one| one == generation) {
        let number = generation.trim_start_matches('V');
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "The selected VM size '{}' cannot boot Hypervisor Generation '{number}'. If this was a Create operation please check that the Hypervisor Generation of the Image matches the Hypervisor Generation of the selected VM Size. If this was an Update operation please select a Hypervisor Generation '{number}' VM Size. For more information, see https://aka.ms/azuregen2vm",
                size.name
            ),
        ));
    }
    let architecture = source.capability("architecture", "x64");
    if size.architecture != architecture {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "Cannot create a VM of size '{}' because this VM size only supports a CPU Architecture of '{}', but an image or disk with CPU Architecture '{architecture}' was given. Please check that the CPU Architecture of the image or disk is compatible with that of the VM size.",
                size.name, size.architecture
            ),
        ));
    }
    let controllers = source.capability("diskControllerTypes", "SCSI");
    let has = |list: &str, one: &str| list.split(',').any(|other| other.trim() == one);
    let more = "Please query sku api at https://aka.ms/azure-compute-skus  to determine supported disk controller types for the VM size.";
    let wanted = wanted.as_str();
    if let Some(wanted) = wanted.filter(|wanted| !has(size.controllers, wanted)) {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The VM size '{}' cannot boot with DiskControllerType '{wanted}'. Please check that the disk controller type provided is one of the supported disk controller types for the VM size '{}'. {more}",
                size.name, size.name
            ),
        )
        .with_target("storageProfile.diskControllerType"));
    }
    let can = |one: &str| has(controllers, one) && wanted.is_none_or(|wanted| wanted == one);
    if !size.controllers.split(',').any(|one| can(one.trim())) {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The VM size '{}' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size '{}'. {more}",
                size.name, size.name
            ),
        )
        .with_target("vmSize"));
    }
    Ok(())
}

/// Whether a size carries the disks: how many, which is in Microsoft's list of errors of machines; at
/// which places; and of which type, as users report it.
pub(super) fn check_disks(size: &Size, os_disk: &Value, data_disks: &[Value]) -> Result<()> {
    let most = size.data_disks;
    if u64::try_from(data_disks.len()).unwrap_or(u64::MAX) > most {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "The maximum number of data disks allowed to be attached to a VM of this size is {most}."
            ),
        )
        .with_target("dataDisks"));
    }
    for disk in data_disks {
        // LUNs are documented as 0 to 63; the text of the refusal is not known.
        if disk["lun"].as_u64().is_none_or(|lun| lun > 63) {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                format!(
                    "The value '{}' of parameter 'dataDisk.lun' is out of range. The value must be between '0' and '63', inclusive.",
                    disk["lun"]
                ),
            )
            .with_target("dataDisk.lun"));
        }
    }
    let os_disk = std::iter::once((os_disk, "osDisk"));
    let data_disks = data_disks.iter().map(|disk| (disk, "dataDisk"));
    for (disk, name) in os_disk.chain(data_disks) {
        let kind = disk["managedDisk"]["storageAccountType"]
            .as_str()
            .unwrap_or_default();
        if kind.starts_with("Premium") && !size.has_premium_storage() {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                format!(
                    "Requested operation cannot be performed because the VM size {} does not support the storage account type {kind} of disk '{}'. Consider updating the VM to a size that supports Premium storage.",
                    size.name,
                    disk["name"].as_str().unwrap_or_default()
                ),
            )
            .with_target(format!("{name}.managedDisk.storageAccountType")));
        }
    }
    Ok(())
}

/// Refuses more interfaces than a size has, as users report it. `machine` is its id.
pub(crate) fn check_interfaces(size: &Size, machine: &str, count: usize) -> Result<()> {
    let most = size.interfaces;
    if u64::try_from(count).is_ok_and(|count| count <= most) {
        return Ok(());
    }
    Err(of_network(
        "NetworkInterfaceCountExceeded",
        format!(
            "The number of network interfaces for virtual machine {} exceeds the maximum allowed for the virtual machine size {}. The number of network interfaces is {count} and the maximum allowed is {most}. ",
            leaf(machine),
            size.name
        ),
    ))
}

/// What the provider of networks refuses is answered in its own words, also for a machine.
fn of_network(code: &str, message: String) -> ArmError {
    let mut error = ArmError::compute(400, code, message);
    error.origin = Origin::Network;
    error
}

/// Refuses interfaces with accelerated networking on a size that has none, as users report it.
pub(crate) fn check_acceleration<'a>(
    size: &Size,
    machine: &str,
    interfaces: impl Iterator<Item = &'a Value>,
) -> Result<()> {
    let mut interfaces = interfaces;
    let is_wanted =
        interfaces.any(|interface| interface["properties"]["enableAcceleratedNetworking"] == true);
    if !is_wanted || size.has_accelerated_networking {
        return Ok(());
    }
    let allowed: Vec<&str> = SIZES
        .iter()
        .filter(|size| size.has_accelerated_networking)
        .map(|size| size.name)
        .collect();
    Err(of_network(
        "VMSizeIsNotPermittedToEnableAcceleratedNetworking",
        format!(
            "Virtual machine {machine} has size {}, which is not compatible with enabling accelerated networking on network interface(s) on the VM. Compatible VM sizes: {}.",
            size.name,
            allowed.join(", ")
        ),
    ))
}

/// The size that a machine has.
pub(crate) fn size_of(machine: &Resource) -> Option<&'static Size> {
    match machine.inner {
        Inner::Vm(_) => {
            let size = &machine.body["properties"]["hardwareProfile"]["vmSize"];
            size.as_str().and_then(Size::find)
        }
        _ => None,
    }
}
