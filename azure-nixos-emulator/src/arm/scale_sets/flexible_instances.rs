//! The machines of a Flexible scale set by way of the set: shown, and changed several at once.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::error::{ArmError, Origin};
use super::super::id::Kind;
use super::super::lro::{Dialect, Work};
use super::super::resources::set_state;
use super::super::vms;
use super::flexible;
use crate::state::{Inner, Resource};

/// Everything below a set: `below` in lower case, `parts` as it was written. The id of a machine is its
/// name, as documented.
pub(super) fn answer(
    context: &mut Context<'_>,
    group: &str,
    set: &Resource,
    below: &[&str],
    parts: &[&str],
) -> Result {
    let method = context.call.method.as_str();
    match (method, below) {
        ("GET", ["instanceview"]) => Ok(Answer::json(200, view_of_set(context, set))),
        ("GET", ["virtualmachines"]) => {
            refuse_view(context)?;
            let all: Vec<Value> = flexible::machines(context.state, &set.id)
                .map(|machine| shown(set, machine))
                .collect();
            Ok(Answer::json(200, json!({ "value": all })))
        }
        ("GET", ["virtualmachines", _]) => {
            refuse_view(context)?;
            let machine = find(context, set, parts[1])?;
            Ok(Answer::json(200, shown(set, machine)))
        }
        ("GET", ["virtualmachines", _, "instanceview"]) => {
            let name = name_of(find(context, set, parts[1])?);
            vms::instance_view(context, group, &name)
        }
        ("DELETE", ["virtualmachines", _]) => match find(context, set, parts[1]) {
            Ok(machine) => {
                let name = name_of(machine);
                act(context, group, set, "delete", &[name])
            }
            Err(_) => Ok(Answer::empty(204)),
        },
        ("POST", ["virtualmachines", _, action]) => {
            let name = name_of(find(context, set, parts[1])?);
            act(context, group, set, action, &[name])
        }
        ("POST", [action]) => {
            let names = chosen(context, set, action)?;
            act(context, group, set, action, &names)
        }
        _ => Err(ArmError::not_implemented(format!(
            "'{}' of Flexible scale sets",
            below.join("/")
        ))),
    }
}

fn name_of(machine: &Resource) -> String {
    machine.body["name"].as_str().unwrap_or_default().to_owned()
}

/// Microsoft's support says that there is no instance view in these lists.
fn refuse_view(context: &Context<'_>) -> Result<()> {
    match context.call.query("$expand") {
        None => Ok(()),
        Some(_) => Err(ArmError::not_implemented(
            "instance views in the list of the machines of a Flexible scale set; each virtual machine has its own",
        )),
    }
}

fn find<'a>(context: &'a Context<'_>, set: &Resource, name: &str) -> Result<&'a Resource> {
    flexible::machines(context.state, &set.id)
        .find(|machine| name_of(machine).eq_ignore_ascii_case(name))
        .ok_or_else(|| super::instances::not_found(name))
}

/// The machines that an action names: `instanceIds` in the body; all without it, save where that
/// would be a slip of the pen.
fn chosen(context: &Context<'_>, set: &Resource, action: &str) -> Result<Vec<String>> {
    let all = || -> Vec<String> {
        flexible::machines(context.state, &set.id)
            .map(name_of)
            .collect()
    };
    let Some(ids) = super::instances::chosen_ids(context, action)? else {
        return Ok(all());
    };
    let mut names = Vec::new();
    for id in &ids {
        if id == "*" {
            names.extend(all());
        } else {
            names.push(name_of(find(context, set, id)?));
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Does something to machines. Where one of them refuses, nothing is done to any.
fn act(
    context: &mut Context<'_>,
    group: &str,
    set: &Resource,
    action: &str,
    names: &[String],
) -> Result {
    if !matches!(
        action,
        "start" | "restart" | "poweroff" | "deallocate" | "delete"
    ) {
        return Err(ArmError::not_implemented(format!(
            "the action '{action}' on Flexible scale sets"
        )));
    }
    context.refuse_while_busy(&set.id, Origin::Provider)?;
    let location = set.body["location"].as_str().unwrap_or_default();
    let work = if action == "delete" {
        for name in names {
            let id = context.id(group, Kind::Vm, name)?.to_string();
            vms::begin_deletion(context, &id);
        }
        let left = flexible::count(context.state, &set.id);
        if let Some(set) = context.state.resource_mut(&set.id)
            && set.body["sku"]["capacity"].is_u64()
        {
            set.body["sku"]["capacity"] = json!(left);
        }
        Work::MachinesDeleted
    } else {
        let before = context.state.clone();
        for name in names {
            if let Err(error) = vms::act(context, group, name, action) {
                *context.state = before;
                return Err(error);
            }
        }
        Work::MachinesPowered
    };
    set_state(context.state.resource_mut(&set.id), "Updating");
    let operation = context.begin(Dialect::Compute, location, &set.id, work);
    Ok(context.accepted(202, operation, None))
}

/// A machine in the list of its set. That tags are not there is reported; what else is in it is not
/// known, and taken to be what the machine says of itself.
fn shown(set: &Resource, machine: &Resource) -> Value {
    let name = name_of(machine);
    let mut shown = json!({
        "id": format!("{}/virtualMachines/{name}", set.id),
        "name": name,
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "location": machine.body["location"],
        "instanceId": name,
        "sku": {
            "name": machine.body["properties"]["hardwareProfile"]["vmSize"],
            "tier": "Standard",
        },
        "properties": machine.body["properties"],
    });
    if let Some(zones) = machine.body.get("zones") {
        shown["zones"] = zones.clone();
    }
    shown
}

/// The instance view of a set: how many machines are how.
fn view_of_set(context: &Context<'_>, set: &Resource) -> Value {
    let mut states: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for machine in flexible::machines(context.state, &set.id) {
        let state = machine.body["properties"]["provisioningState"].as_str();
        let state = state.unwrap_or_default().to_ascii_lowercase();
        *states
            .entry(format!("ProvisioningState/{state}"))
            .or_default() += 1;
        if let Inner::Vm(vm) = &machine.inner {
            let (power, _) = vms::power_names(vm.power);
            *states.entry(format!("PowerState/{power}")).or_default() += 1;
        }
    }
    let summary: Vec<Value> = states
        .iter()
        .map(|(code, count)| json!({ "code": code, "count": count }))
        .collect();
    super::instances::set_view(set, &json!(summary))
}
