//! The machines of a scale set: what is shown of them, and what can be done to them.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::clock_text::timestamp;
use super::super::disks::gone;
use super::super::error::{ArmError, Origin};
use super::super::id::Kind;
use super::super::lro::{Dialect, Work};
use super::super::resources::set_state;
use super::super::shape::{Shape, TEXTS};
use super::super::vms;
use crate::state::{Inner, Instance, Power, Resource, ScaleSetInner};

const CHOSEN: Shape = Shape::Object(&[("instanceIds", TEXTS)]);

/// Everything below a set: `below` in lower case, `parts` as it was written.
pub(crate) fn answer(
    context: &mut Context<'_>,
    group: &str,
    name: &str,
    below: &[&str],
    parts: &[&str],
) -> Result {
    let method = context.call.method.as_str();
    match (method, below) {
        ("GET", ["skus"]) => return super::skus_of(context, group, name),
        ("GET", ["extensions"]) => {
            context.existing(group, Kind::ScaleSet, name)?;
            return Ok(Answer::json(200, json!({ "value": [] })));
        }
        _ => {}
    }
    let set = context.existing(group, Kind::ScaleSet, name)?;
    if super::is_flexible(&set.body) {
        let set = set.clone();
        return super::flexible_instances::answer(context, group, &set, below, parts);
    }
    match (method, below) {
        ("GET", ["instanceview"]) => {
            let set = context.existing(group, Kind::ScaleSet, name)?;
            Ok(Answer::json(200, view_of_set(set)))
        }
        ("GET", ["virtualmachines"]) => {
            let set = context.existing(group, Kind::ScaleSet, name)?;
            let all: Vec<Value> = inner(set)?
                .instances
                .iter()
                .map(|instance| shown(context, set, instance))
                .collect();
            Ok(Answer::json(200, json!({ "value": all })))
        }
        ("GET", ["virtualmachines", _]) => {
            let set = context.existing(group, Kind::ScaleSet, name)?;
            let instance = find(set, parts[1])?;
            Ok(Answer::json(200, shown(context, set, instance)))
        }
        ("GET", ["virtualmachines", _, "instanceview"]) => {
            let set = context.existing(group, Kind::ScaleSet, name)?;
            Ok(Answer::json(200, view(set, find(set, parts[1])?)))
        }
        ("DELETE", ["virtualmachines", _]) => {
            let set = context.existing(group, Kind::ScaleSet, name)?;
            let Ok(number) = find(set, parts[1]).map(|instance| instance.number) else {
                return Ok(Answer::empty(204));
            };
            begin(context, group, name, Work::InstancesDeleted(vec![number]))
        }
        ("POST", ["virtualmachines", _, action]) => {
            let set = context.existing(group, Kind::ScaleSet, name)?;
            let numbers = vec![find(set, parts[1])?.number];
            act(context, group, name, action, numbers)
        }
        ("POST", [action]) => {
            let numbers = chosen(context, group, name, action)?;
            act(context, group, name, action, numbers)
        }
        _ => Err(ArmError::not_implemented(format!(
            "'{}' of scale sets",
            below.join("/")
        ))),
    }
}

fn inner(set: &Resource) -> Result<&ScaleSetInner> {
    match &set.inner {
        Inner::ScaleSet(inner) => Ok(inner),
        _ => Err(gone(&set.id)),
    }
}

fn find<'a>(set: &'a Resource, number: &str) -> Result<&'a Instance> {
    inner(set)?
        .instances
        .iter()
        .find(|instance| instance.number.to_string() == number)
        .ok_or_else(|| not_found(number))
}

/// There is no such machine in the set.
pub(super) fn not_found(machine: &str) -> ArmError {
    ArmError::compute(
        404,
        "NotFound",
        format!(
            "The entity was not found in this Azure location: the virtual machine '{machine}' of the scale set."
        ),
    )
}

/// The machines that an action names: `instanceIds` in the body; all without it, save where that
/// would be a slip of the pen.
fn chosen(context: &Context<'_>, group: &str, name: &str, action: &str) -> Result<Vec<u32>> {
    let set = context.existing(group, Kind::ScaleSet, name)?;
    let Some(ids) = chosen_ids(context, action)? else {
        return Ok(inner(set)?
            .instances
            .iter()
            .map(|instance| instance.number)
            .collect());
    };
    let mut numbers = Vec::new();
    for id in &ids {
        match id.as_str() {
            "*" => numbers.extend(inner(set)?.instances.iter().map(|one| one.number)),
            id => numbers.push(find(set, id)?.number),
        }
    }
    Ok(numbers)
}

/// The `instanceIds` of the body; `None` for all.
pub(super) fn chosen_ids(context: &Context<'_>, action: &str) -> Result<Option<Vec<String>>> {
    let mut body = if context.call.body.is_empty() {
        json!({})
    } else {
        context.call.json()?
    };
    CHOSEN.check(&mut body)?;
    let Some(ids) = body["instanceIds"].as_array() else {
        if matches!(action, "delete" | "manualupgrade") {
            return Err(ArmError::missing_parameter("instanceIds"));
        }
        return Ok(None);
    };
    let ids = ids.iter().filter_map(Value::as_str);
    Ok(Some(ids.map(ToOwned::to_owned).collect()))
}

fn act(
    context: &mut Context<'_>,
    group: &str,
    name: &str,
    action: &str,
    numbers: Vec<u32>,
) -> Result {
    let work = match action {
        "start" | "restart" => Work::InstancesPower(numbers, Power::Running),
        "poweroff" => Work::InstancesPower(numbers, Power::Stopped),
        "deallocate" => Work::InstancesPower(numbers, Power::Deallocated),
        "delete" => Work::InstancesDeleted(numbers),
        "manualupgrade" => Work::InstancesUpgraded(numbers),
        other => {
            return Err(ArmError::not_implemented(format!(
                "the action '{other}' on scale sets"
            )));
        }
    };
    begin(context, group, name, work)
}

fn begin(context: &mut Context<'_>, group: &str, name: &str, work: Work) -> Result {
    let set = context.existing(group, Kind::ScaleSet, name)?;
    let (id, location) = (set.id.clone(), set.body["location"].clone());
    context.refuse_while_busy(&id, Origin::Provider)?;
    set_state(context.state.resource_mut(&id), "Updating");
    let location = location.as_str().unwrap_or_default();
    let operation = context.begin(Dialect::Compute, location, &id, work);
    Ok(context.accepted(202, operation, None))
}

/// Does something to each of the machines, and completes the set's operation.
fn change(
    context: &mut Context<'_>,
    id: &str,
    numbers: &[u32],
    change: impl Fn(&mut Instance, u64),
) -> Result<Option<Value>> {
    let set = context.state.resource_mut(id).ok_or_else(|| gone(id))?;
    if let Inner::ScaleSet(inner) = &mut set.inner {
        let model = inner.model;
        for instance in &mut inner.instances {
            if numbers.contains(&instance.number) {
                change(instance, model);
            }
        }
    }
    set_state(Some(set), "Succeeded");
    Ok(None)
}

/// The end of a power action.
pub(crate) fn powered(
    context: &mut Context<'_>,
    id: &str,
    numbers: &[u32],
    power: Power,
) -> Result<Option<Value>> {
    let now = context.now;
    change(context, id, numbers, |instance, _| {
        instance.power = power;
        instance.changed = now;
    })
}

/// The end of an upgrade to the latest model.
pub(crate) fn upgraded(
    context: &mut Context<'_>,
    id: &str,
    numbers: &[u32],
) -> Result<Option<Value>> {
    change(context, id, numbers, |instance, model| {
        instance.model = model;
    })
}

/// The end of a deletion of machines: the set is as much smaller.
pub(crate) fn removed(
    context: &mut Context<'_>,
    id: &str,
    numbers: &[u32],
) -> Result<Option<Value>> {
    let set = context.state.resource_mut(id).ok_or_else(|| gone(id))?;
    if let Inner::ScaleSet(inner) = &mut set.inner {
        inner
            .instances
            .retain(|instance| !numbers.contains(&instance.number));
        set.body["sku"]["capacity"] = json!(inner.instances.len());
    }
    set_state(Some(set), "Succeeded");
    Ok(None)
}

/// The document of a machine.
fn shown(context: &Context<'_>, set: &Resource, instance: &Instance) -> Value {
    let body = &set.body;
    let set_name = body["name"].as_str().unwrap_or_default();
    let number = instance.number;
    let id = format!("{}/virtualMachines/{number}", set.id);
    let profile = &body["properties"]["virtualMachineProfile"];
    let latest = inner(set).map_or(0, |inner| inner.model);
    let mut properties = json!({
        "latestModelApplied": instance.model == latest,
        "modelDefinitionApplied": "VirtualMachineScaleSet",
        "hardwareProfile": { "vmSize": body["sku"]["name"] },
        "networkProfileConfiguration": {
            "networkInterfaceConfigurations": profile["networkProfile"]["networkInterfaceConfigurations"],
        },
        "provisioningState": "Succeeded",
        "vmId": instance.vm_id,
        "timeCreated": timestamp(instance.created),
    });
    for field in [
        "storageProfile",
        "securityProfile",
        "diagnosticsProfile",
        "priority",
    ] {
        if let Some(value) = profile.get(field) {
            properties[field] = value.clone();
        }
    }
    if let Some(os) = profile["osProfile"].as_object() {
        let mut os = os.clone();
        let prefix = os.remove("computerNamePrefix").unwrap_or_default();
        // Azure counts in letters and digits: base 36.
        os.insert(
            "computerName".to_owned(),
            json!(format!(
                "{}{}",
                prefix.as_str().unwrap_or_default(),
                base36(number)
            )),
        );
        properties["osProfile"] = Value::Object(os);
    }
    let interfaces: Vec<Value> = profile["networkProfile"]["networkInterfaceConfigurations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .map(|name| json!({ "id": format!("{id}/networkInterfaces/{name}") }))
        .collect();
    properties["networkProfile"] = json!({ "networkInterfaces": interfaces });
    let expand = context.call.query("$expand").unwrap_or_default();
    if expand.to_ascii_lowercase().contains("instanceview") {
        properties["instanceView"] = view(set, instance);
    }
    let mut shown = json!({
        "name": format!("{set_name}_{number}"),
        "id": id,
        "type": "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
        "location": body["location"],
        "instanceId": number.to_string(),
        "sku": { "name": body["sku"]["name"], "tier": body["sku"]["tier"] },
        "properties": properties,
    });
    if let Some(tags) = body.get("tags") {
        shown["tags"] = tags.clone();
    }
    shown
}

/// Six digits of the base 36: `00000A`.
pub(super) fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    for _ in 0..6 {
        digits.push(
            char::from_digit(number % 36, 36)
                .unwrap_or('0')
                .to_ascii_uppercase(),
        );
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// The instance view of a machine.
fn view(set: &Resource, instance: &Instance) -> Value {
    let time = timestamp(instance.changed);
    let (power, display) = vms::power_names(instance.power);
    json!({
        "computerName": format!(
            "{}{}",
            set.body["properties"]["virtualMachineProfile"]["osProfile"]["computerNamePrefix"]
                .as_str()
                .unwrap_or_default(),
            base36(instance.number)
        ),
        "statuses": [
            {
                "code": "ProvisioningState/succeeded",
                "level": "Info",
                "displayStatus": "Provisioning succeeded",
                "time": time,
            },
            { "code": format!("PowerState/{power}"), "level": "Info", "displayStatus": display },
        ],
    })
}

/// The instance view of a set: how many machines are how.
fn view_of_set(set: &Resource) -> Value {
    let count = inner(set).map_or(0, |inner| inner.instances.len());
    let summary = if count == 0 {
        json!([])
    } else {
        json!([{ "code": "ProvisioningState/succeeded", "count": count }])
    };
    set_view(set, &summary)
}

/// The same, with the summary of any mode.
pub(super) fn set_view(set: &Resource, summary: &Value) -> Value {
    let state = set.body["properties"]["provisioningState"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_lowercase();
    json!({
        "virtualMachine": { "statusesSummary": summary },
        "statuses": [{
            "code": format!("ProvisioningState/{state}"),
            "level": "Info",
            "displayStatus": format!("Provisioning {state}"),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_count_in_letters() {
        assert_eq!(base36(0), "000000");
        assert_eq!(base36(35), "00000Z");
        assert_eq!(base36(36), "000010");
    }
}
