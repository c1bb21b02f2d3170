//! Another size for a machine that exists.

use serde_json::Value;

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::sizes::{SIZES, Size};
use super::check::Source;
use super::{devices, hardware, interfaces_of, security, size_of, spot};
use crate::state::{Inner, Power, Resource};

/// The sizes that a machine can be given: those of the hardware that it is on, or all where it is on none.
pub(super) fn options(machine: &Resource) -> impl Iterator<Item = &'static Size> {
    let there = size_of(machine).filter(|_| !is_deallocated(machine));
    SIZES
        .iter()
        .filter(move |size| there.is_none_or(|there| there.hardware == size.hardware))
}

fn is_deallocated(machine: &Resource) -> bool {
    matches!(&machine.inner, Inner::Vm(vm) if vm.power == Power::Deallocated)
}

/// Gives a machine the size of this name, where that can carry what the machine has. One that runs is
/// started again with it when the operation ends, as the documentation says. That the hosts do not have
/// the size is refused in the words that users report.
pub(super) fn change(context: &Context<'_>, machine: &mut Resource, name: &Value) -> Result<()> {
    let mut wanted = machine.body.clone();
    wanted["properties"]["hardwareProfile"]["vmSize"] = name.clone();
    let size = hardware::size(context, &wanted)?;
    let Some(old) = size_of(machine).filter(|old| old.name != size.name) else {
        return Ok(());
    };
    if old.architecture != size.architecture {
        // The first half of the text is reported, its status and code are not.
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "Cannot resize a VM of size '{}' with CPU Architecture '{}' to a VM of size '{}' with CPU Architecture '{}'.",
                old.name, old.architecture, size.name, size.architecture
            ),
        ));
    }
    check_carries(context, machine, size)?;
    if !options(machine).any(|option| option.name == size.name) {
        let there: Vec<&str> = options(machine).map(|option| option.name).collect();
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Unable to resize the VM '{}' because the requested size {} is not available in the current hardware cluster. The available sizes in this cluster are: {}. The requested size might be available in other clusters of this region. Read more on VM resizing strategy at https://aka.ms/azure-resizevm.",
                machine.body["name"].as_str().unwrap_or_default(),
                size.name,
                there.join(",")
            ),
        )
        .with_target("vmSize"));
    }
    machine.body["properties"]["hardwareProfile"]["vmSize"] = Value::from(size.name);
    if let Inner::Vm(vm) = &mut machine.inner
        && vm.power == Power::Running
    {
        vm.guest.again = true;
    }
    Ok(())
}

/// Whether a size boots the disk of a machine, and carries its disks and interfaces.
fn check_carries(context: &Context<'_>, machine: &Resource, size: &Size) -> Result<()> {
    let properties = &machine.body["properties"];
    let storage = &properties["storageProfile"];
    let disk = storage["osDisk"]["managedDisk"]["id"]
        .as_str()
        .and_then(|id| context.state.resource(id));
    if let Some(disk) = disk {
        let source = Source::Disk(Box::new(disk.clone()));
        hardware::check_boots(&source, &storage["diskControllerType"], size)?;
    }
    security::check_size(&properties["securityProfile"]["securityType"], size)?;
    spot::check_size(&properties["priority"], size)?;
    let data_disks = storage["dataDisks"].as_array();
    hardware::check_disks(
        size,
        &storage["osDisk"],
        data_disks.map_or(&[], Vec::as_slice),
    )?;
    let nics: Vec<String> = interfaces_of(&machine.body)
        .filter_map(|(id, _)| id)
        .collect();
    hardware::check_interfaces(size, &machine.id, nics.len())?;
    hardware::check_acceleration(size, &machine.id, devices::documents(context, &nics))
}
