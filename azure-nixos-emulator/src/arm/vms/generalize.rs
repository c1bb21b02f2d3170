//! Machines that are turned into templates.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::disks::gone;
use super::super::error::{ArmError, Origin};
use super::super::id::leaf;
use crate::state::{Inner, Power, Resource, VmInner};

/// `POST …/generalize`: at once, and for good.
///
/// Azure's words for a machine that runs and for one that is to start again are from memory.
pub(super) fn generalize(context: &mut Context<'_>, machine: &Resource) -> Result {
    context.refuse_while_busy(&machine.id, Origin::Provider)?;
    let Some(Inner::Vm(vm)) = context
        .state
        .resource_mut(&machine.id)
        .map(|machine| &mut machine.inner)
    else {
        return Err(gone(&machine.id));
    };
    if !matches!(vm.power, Power::Stopped | Power::Deallocated) {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            "Please power off the virtual machine before setting OS state to Generalized.",
        ));
    }
    vm.guest.generalized = true;
    Ok(Answer::empty(200))
}

/// Refuses what would run a machine that is a template.
pub(super) fn refuse_start(vm: &VmInner, name: &str, action: &str) -> Result<()> {
    if !vm.guest.generalized {
        return Ok(());
    }
    Err(ArmError::compute(
        409,
        "OperationNotAllowed",
        format!("Operation '{action}' is not allowed on VM '{name}' since the VM is generalized."),
    ))
}

/// What an image is made of when it is made of a machine: the storage profile of the image.
///
/// `given` is what the request says of it beside the machine, which may be nothing.
pub(crate) fn storage_profile(
    context: &Context<'_>,
    machine: &str,
    given: &Value,
) -> Result<Value> {
    let Some((resource, vm)) = context
        .state
        .resource(machine)
        .and_then(|resource| match &resource.inner {
            Inner::Vm(vm) => Some((resource, vm)),
            _ => None,
        })
    else {
        return Err(ArmError::compute(
            404,
            "NotFound",
            format!("Resource {machine} is not found."),
        )
        .with_target("sourceVirtualMachine"));
    };
    context.refuse_while_busy(&resource.id, Origin::Provider)?;
    if !vm.guest.generalized {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Images can only be made of virtual machines that are generalized, and VM '{}' is not.",
                leaf(machine)
            ),
        ));
    }
    let of = |disk: &Value| {
        let mut image = json!({
            "managedDisk": { "id": disk["managedDisk"]["id"] },
            "caching": disk["caching"],
            "storageAccountType": disk["managedDisk"]["storageAccountType"],
        });
        for field in ["osType", "lun"] {
            if let Some(value) = disk.get(field) {
                image[field] = value.clone();
            }
        }
        image
    };
    let profile = &resource.body["properties"]["storageProfile"];
    let mut os_disk = of(&profile["osDisk"]);
    os_disk["osState"] = json!("Generalized");
    let data_disks: Vec<Value> = profile["dataDisks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(of)
        .collect();
    let mut made = json!({ "osDisk": os_disk, "dataDisks": data_disks });
    if let Some(resilient) = given.get("zoneResilient") {
        made["zoneResilient"] = resilient.clone();
    }
    Ok(made)
}
