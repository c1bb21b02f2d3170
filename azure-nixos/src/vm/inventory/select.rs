//! From what there is to what was asked for.

use super::names::distinguish;
use super::{Inventory, InventoryMachine, LeftOut, Login, Scope};
use crate::Result;
use crate::vm::find::{is_called, unknown};
use crate::vm::info::PowerState;

/// The machines that were asked for, with their names.
///
/// # Errors
/// When one that was named is not there, or cannot be logged into; when names cannot be told apart.
pub(super) fn select(logins: Vec<Login>, scope: Scope) -> Result<Inventory> {
    let places: Vec<(&str, &str)> = logins
        .iter()
        .map(|login| &login.machine)
        .map(|info| (info.name.as_str(), info.resource_group.as_str()))
        .collect();
    let wanted = wanted(&places, &scope.names)?;
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
fn wanted(machines: &[(&str, &str)], names: &[String]) -> Result<Vec<bool>> {
    if names.is_empty() {
        return Ok(vec![true; machines.len()]);
    }
    let mut wanted = vec![false; machines.len()];
    for name in names {
        let mut found = false;
        for (machine, wanted) in machines.iter().zip(&mut wanted) {
            if is_called(*machine, name) {
                (found, *wanted) = (true, true);
            }
        }
        if !found {
            return Err(unknown(machines, name));
        }
    }
    Ok(wanted)
}
