//! Starting, stopping and deallocating machines.

use serde_json::Value;
use uuid::Uuid;

use super::super::Context;
use super::super::answer::Result;
use super::super::disks::{self, gone};
use super::super::error::{ArmError, Origin};
use super::super::id::Kind;
use super::super::lro::{Dialect, Work};
use super::super::resources::set_state;
use super::{devices, diagnostics, disks_of, generalize, machine, spot};
use crate::state::{Inner, Power};

/// The power actions.
pub(crate) fn act(context: &mut Context<'_>, group: &str, name: &str, action: &str) -> Result {
    if action == "attachdetachdatadisks" {
        return devices::attach_detach(context, group, name);
    }
    let machine = context.existing(group, Kind::Vm, name)?.clone();
    let Inner::Vm(vm) = &machine.inner else {
        return Err(gone(&machine.id));
    };
    match action {
        "generalize" => return generalize::generalize(context, &machine),
        "simulateeviction" => return spot::evict(context, &machine),
        "retrievebootdiagnosticsdata" => return diagnostics::retrieve(context, &machine),
        _ => {}
    }
    let (during, after) = match action {
        "start" | "restart" | "redeploy" | "reapply" => (Power::Starting, Power::Running),
        "poweroff" => (Power::Stopping, Power::Stopped),
        "deallocate" => (Power::Deallocating, Power::Deallocated),
        other => {
            return Err(ArmError::not_implemented(format!(
                "the action '{other}' on virtual machines"
            )));
        }
    };
    context.refuse_while_busy(&machine.id, Origin::Provider)?;
    if matches!(action, "restart" | "poweroff") && vm.power == Power::Deallocated {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!("The VM '{name}' is deallocated: '{action}' needs one that is allocated."),
        ));
    }
    if matches!(action, "start" | "restart" | "redeploy" | "reapply") {
        generalize::refuse_start(vm, name, action)?;
    }
    if action == "start" {
        for (disk, _) in disks_of(&machine.body) {
            if let Some(disk) = disk.and_then(|disk| context.state.resource(&disk)) {
                disks::refuse_active_access(context, disk, "starting the virtual machine")?;
            }
        }
    }
    // Redeploying and reapplying leave a machine that is off as it is.
    let after = match action {
        "redeploy" | "reapply" if vm.power != Power::Running => vm.power,
        _ => after,
    };
    if vm.power != after {
        set_power(context, &machine.id, during);
    }
    if let Some(Inner::Vm(vm)) = context
        .state
        .resource_mut(&machine.id)
        .map(|machine| &mut machine.inner)
    {
        vm.guest.again = matches!(action, "restart" | "redeploy");
        vm.guest.cut_off = context.call.query("skipShutdown") == Some("true");
    }
    set_state(context.state.resource_mut(&machine.id), "Updating");
    let location = machine.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(
        Dialect::Compute,
        &location,
        &machine.id,
        Work::VmPower(after),
    );
    Ok(context.accepted(202, operation, None))
}

/// The end of a power action; `None` while the machine is not there yet.
pub(crate) fn powered(
    context: &mut Context<'_>,
    operation: Uuid,
    id: &str,
    power: Power,
) -> Option<Result<Option<Value>>> {
    let Some(machine) = context.state.resource(id).cloned() else {
        return Some(Err(gone(id)));
    };
    if let Err(error) = machine::power(context, operation, id, power)? {
        set_state(context.state.resource_mut(id), "Failed");
        return Some(Err(error));
    }
    set_power(context, id, power);
    for (disk, _) in disks_of(&machine.body) {
        if let Some(disk) = disk {
            disks::attach(context, &disk, Some((&machine.id, power)));
        }
    }
    set_state(context.state.resource_mut(id), "Succeeded");
    Some(Ok(None))
}

/// An operation failed before it did anything: a machine on its way to some state is not there.
pub(crate) fn power_failed(context: &mut Context<'_>, id: &str) {
    let Some(Inner::Vm(vm)) = context.state.resource(id).map(|machine| &machine.inner) else {
        return;
    };
    match vm.power {
        Power::Starting => set_power(context, id, Power::Deallocated),
        Power::Stopping | Power::Deallocating => set_power(context, id, Power::Running),
        Power::Running | Power::Stopped | Power::Deallocated => {}
    }
}

/// Sets what the instance view shows.
pub(super) fn set_power(context: &mut Context<'_>, id: &str, power: Power) {
    let now = context.now;
    if let Some(Inner::Vm(vm)) = context
        .state
        .resource_mut(id)
        .map(|machine| &mut machine.inner)
    {
        vm.power = power;
        vm.changed = now;
    }
}
