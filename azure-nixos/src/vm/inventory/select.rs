//! From what there is to what was asked for.

use super::names::{distinguish, qualified};
use super::{Inventory, InventoryMachine, LeftOut, Login, Scope};
use crate::vm::info::{MachineInfo, PowerState};
use crate::vm::machines::hint;
use crate::{Error, ErrorKind, Result};

/// The machines that were asked for, with their names.
///
/// # Errors
/// When one that was named is not there, or cannot be logged into; when names cannot be told apart.
pub(super) fn select(logins: Vec<Login>, scope: Scope) -> Result<Inventory> {
    let machines: Vec<&MachineInfo> = logins.iter().map(|login| &login.machine).collect();
    let wanted = wanted(&machines, &scope.names)?;
    let places: Vec<(&str, &str)> = machines
        .iter()
        .map(|info| (info.name.as_str(), info.resource_group.as_str()))
        .collect();
    // Of all that were looked at, so that a name does not depend on who else is asked for.
    let names = distinguish(&places)?;
    let machines: Vec<_> = logins
        .into_iter()
        .zip(names)
        .zip(wanted)
        .filter(|(_, wanted)| *wanted)
        .map(|((login, names), _)| InventoryMachine {
            left_out: left_out(&login, scope.stopped),
            name: names.name,
            aliases: names.aliases,
            login,
        })
        .collect();
    Ok(Inventory { machines, scope })
}

fn left_out(login: &Login, stopped: bool) -> Option<LeftOut> {
    use PowerState as State;
    let info = &login.machine;
    if info
        .os_type
        .as_deref()
        .is_some_and(|os| os.eq_ignore_ascii_case("Windows"))
    {
        return Some(LeftOut::Windows);
    }
    let off = matches!(
        info.power_state,
        State::Stopping | State::Stopped | State::Deallocating | State::Deallocated
    );
    if off && !stopped {
        return Some(LeftOut::Stopped(info.power_state.clone()));
    }
    login.host.is_none().then_some(LeftOut::NoAddress)
}

/// Which machines are asked for.
fn wanted(machines: &[&MachineInfo], names: &[String]) -> Result<Vec<bool>> {
    if names.is_empty() {
        return Ok(vec![true; machines.len()]);
    }
    let mut wanted = vec![false; machines.len()];
    for name in names {
        let mut found = false;
        for (machine, wanted) in machines.iter().zip(&mut wanted) {
            let full = format!("{}.{}", machine.name, machine.resource_group);
            let forms = [
                &machine.name,
                &full,
                &qualified(&machine.name, &machine.resource_group),
            ];
            if forms
                .iter()
                .any(|form| form.to_lowercase() == name.to_lowercase())
            {
                (found, *wanted) = (true, true);
            }
        }
        if !found {
            return Err(unknown(name, machines));
        }
    }
    Ok(wanted)
}

fn unknown(name: &str, machines: &[&MachineInfo]) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no machine {name}"));
    if machines.is_empty() {
        return error.with_hint(
            "there are no machines at all; `azure-nixos list-vms` lists those that this login sees",
        );
    }
    let names = machines.iter().map(|machine| machine.name.as_str());
    error.with_hint(hint(name, names.collect(), "there are"))
}
