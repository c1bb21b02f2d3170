//! Disks and interfaces that come to a machine, or go from it, while it exists.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::disks::{self, gone};
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::lro::{Dialect, Work};
use super::super::resources::set_state;
use super::super::shape::Shape;
use super::{check, create, hardware, user};
use crate::state::{Inner, Power, Resource};

const SUB_RESOURCE: Shape = Shape::Object(&[("id", Shape::Text)]);

const CHANGE: Shape = Shape::Object(&[
    (
        "dataDisksToAttach",
        Shape::List(&Shape::Object(&[
            ("diskId!", Shape::Text),
            ("lun", Shape::Number),
            ("caching", Shape::OneOf(&["None", "ReadOnly", "ReadWrite"])),
            ("deleteOption", Shape::OneOf(&["Delete", "Detach"])),
            ("diskEncryptionSet", SUB_RESOURCE),
            ("writeAcceleratorEnabled", Shape::Flag),
        ])),
    ),
    (
        "dataDisksToDetach",
        Shape::List(&Shape::Object(&[
            ("diskId!", Shape::Text),
            ("detachOption", Shape::OneOf(&["ForceDetach"])),
        ])),
    ),
]);

fn id_of(disk: &Value) -> &str {
    disk["managedDisk"]["id"].as_str().unwrap_or_default()
}

/// The data disks of a machine.
fn data_disks_of(machine: &Resource) -> Vec<Value> {
    machine.body["properties"]["storageProfile"]["dataDisks"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

/// Gives a machine the data disks of a PUT or a PATCH: what is not listed, or is marked, is
/// detached. Nothing is changed when something is refused.
pub(super) fn set_data_disks(
    context: &mut Context<'_>,
    machine: &mut Resource,
    wanted: &[Value],
) -> Result<()> {
    let old = data_disks_of(machine);
    let mut kept = Vec::new();
    let mut new = Vec::new();
    for disk in wanted.iter().filter(|disk| disk["toBeDetached"] != true) {
        let there = old.iter().find(|old| {
            old["lun"] == disk["lun"] && (id_of(disk).is_empty() || same(id_of(old), id_of(disk)))
        });
        let Some(there) = there else {
            new.push(disk.clone());
            continue;
        };
        if let (Some(is), Some(was)) = (disk["diskSizeGB"].as_u64(), there["diskSizeGB"].as_u64())
            && is != was
        {
            return Err(ArmError::not_implemented("the resizing of data disks"));
        }
        let mut there = there.clone();
        for field in ["caching", "deleteOption", "writeAcceleratorEnabled"] {
            if let Some(value) = disk.get(field) {
                there[field] = value.clone();
            }
        }
        kept.push(there);
    }
    if let Some(size) = hardware::size_of(machine) {
        let all: Vec<Value> = kept.iter().chain(&new).cloned().collect();
        hardware::check_disks(size, &Value::Null, &all)?;
    }
    let taken = kept
        .iter()
        .find(|kept| new.iter().any(|new| new["lun"] == kept["lun"]));
    if let Some(taken) = taken {
        return Err(lun_taken(&taken["lun"]));
    }
    let checked = create::data_disks(
        context,
        &json!({
            "location": machine.body["location"],
            "zones": machine.body["zones"],
            "properties": { "storageProfile": { "dataDisks": new } },
        }),
        None,
    )?;
    for disk in &old {
        if !kept.iter().any(|kept| kept["lun"] == disk["lun"]) {
            disks::attach(context, id_of(disk), None);
        }
    }
    let power = power_of(machine);
    for disk in &checked {
        disks::attach(context, id_of(disk), Some((&machine.id, power)));
    }
    kept.extend(checked);
    kept.sort_by_key(|disk| disk["lun"].as_u64());
    machine.body["properties"]["storageProfile"]["dataDisks"] = json!(kept);
    Ok(())
}

fn lun_taken(lun: &Value) -> ArmError {
    ArmError::compute(
        400,
        "InvalidParameter",
        format!("A disk at LUN {lun} already exists."),
    )
    .with_target("dataDisk.lun")
}

fn power_of(machine: &Resource) -> Power {
    match &machine.inner {
        Inner::Vm(vm) => vm.power,
        _ => Power::Deallocated,
    }
}

/// The end of a change: the disks that it asked for anew are there.
pub(super) fn make_data_disks(context: &mut Context<'_>, id: &str) -> Result<()> {
    let Some(machine) = context.state.resource(id).cloned() else {
        return Err(gone(id));
    };
    let vm = ResourceId::parse(&machine.id).ok_or_else(|| gone(id))?;
    let mut disks = data_disks_of(&machine);
    for disk in &mut disks {
        // The OS disk is number 1.
        let number = disk["lun"].as_u64().unwrap_or_default() + 2;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        create::make_disk(context, &vm, &machine.body, disk, number, None, Vec::new())?;
    }
    if let Some(machine) = context.state.resource_mut(id) {
        machine.body["properties"]["storageProfile"]["dataDisks"] = json!(disks);
    }
    Ok(())
}

/// Gives a machine the interfaces of a PUT or a PATCH. That they cannot come and go while it is
/// allocated is in the documentation; the code is a guess.
pub(super) fn set_interfaces(
    context: &Context<'_>,
    machine: &mut Resource,
    wanted: &Value,
) -> Result<()> {
    let ids = |list: &Value| -> Vec<String> {
        let mut ids: Vec<String> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some(one["id"].as_str()?.to_ascii_lowercase()))
            .collect();
        ids.sort_unstable();
        ids
    };
    let old = &machine.body["properties"]["networkProfile"]["networkInterfaces"];
    if ids(old) != ids(wanted) && power_of(machine) != Power::Deallocated {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            "Network interfaces can be added to or removed from a virtual machine only while it is deallocated.",
        ));
    }
    let body = json!({
        "id": machine.id,
        "location": machine.body["location"],
        "zones": machine.body["zones"],
        "properties": { "networkProfile": { "networkInterfaces": wanted } },
    });
    let found = check::interfaces(context, &body)?;
    if let Some(size) = hardware::size_of(machine) {
        hardware::check_interfaces(size, &machine.id, found.len())?;
        hardware::check_acceleration(size, &machine.id, documents(context, &found))?;
    }
    let mut interfaces = wanted.clone();
    for (interface, id) in interfaces.as_array_mut().into_iter().flatten().zip(found) {
        interface["id"] = json!(id);
    }
    machine.body["properties"]["networkProfile"]["networkInterfaces"] = interfaces;
    Ok(())
}

/// The documents of interfaces.
pub(super) fn documents<'a>(
    context: &'a Context<'_>,
    ids: &'a [String],
) -> impl Iterator<Item = &'a Value> {
    ids.iter()
        .filter_map(|id| context.state.resource(id))
        .map(|nic| &nic.body)
}

/// `POST …/attachDetachDataDisks`
pub(super) fn attach_detach(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut change = context.call.json()?;
    CHANGE.check(&mut change)?;
    let mut machine = context.existing(group, Kind::Vm, name)?.clone();
    context.refuse_while_busy(&machine.id, Origin::Provider)?;
    let mut disks = data_disks_of(&machine);
    for detach in change["dataDisksToDetach"].as_array().into_iter().flatten() {
        let id = detach["diskId"].as_str().unwrap_or_default();
        let before = disks.len();
        disks.retain(|disk| !same(id_of(disk), id));
        if disks.len() == before {
            return Err(ArmError::compute(
                400,
                "InvalidParameter",
                format!("The disk {id} is not attached to the virtual machine '{name}'."),
            )
            .with_target("dataDisksToDetach"));
        }
    }
    for attach in change["dataDisksToAttach"].as_array().into_iter().flatten() {
        let id = attach["diskId"].as_str().unwrap_or_default();
        if disks.iter().any(|disk| same(id_of(disk), id)) {
            return Err(ArmError::compute(
                409,
                "AttachDiskWhileBeingDetached",
                format!("The disk {id} is attached to the virtual machine '{name}' already."),
            ));
        }
        let lun = attach["lun"].as_u64().unwrap_or_else(|| {
            (0..)
                .find(|lun| !disks.iter().any(|disk| disk["lun"] == *lun))
                .unwrap_or_default()
        });
        if disks.iter().any(|disk| disk["lun"] == lun) {
            return Err(lun_taken(&json!(lun)));
        }
        let mut disk = json!({
            "lun": lun,
            "createOption": "Attach",
            "managedDisk": { "id": id },
        });
        for field in ["caching", "deleteOption", "writeAcceleratorEnabled"] {
            if let Some(value) = attach.get(field) {
                disk[field] = value.clone();
            }
        }
        if let Some(set) = attach.get("diskEncryptionSet") {
            disk["managedDisk"]["diskEncryptionSet"] = set.clone();
        }
        disks.push(disk);
    }
    set_data_disks(context, &mut machine, &disks)?;
    let (id, location) = (machine.id.clone(), machine.body["location"].clone());
    context.state.insert(machine);
    set_state(context.state.resource_mut(&id), "Updating");
    let location = location.as_str().unwrap_or_default();
    let operation = context.begin(Dialect::Compute, location, &id, Work::VmDisksChanged);
    Ok(context.accepted(202, operation, None))
}

/// The end of that: it answers with the storage of the machine.
pub(crate) fn disks_changed(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    make_data_disks(context, id)?;
    set_state(context.state.resource_mut(id), "Succeeded");
    Ok(context
        .state
        .resource(id)
        .map(|machine| machine.body["properties"]["storageProfile"].clone()))
}

/// Whether an interface is another machine's.
pub(super) fn is_anothers(context: &Context<'_>, nic: &str, machine: &str) -> bool {
    user(context.state, nic).is_some_and(|user| !same(&user.id, machine))
}
