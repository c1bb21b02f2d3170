//! Virtual machines: a state, disks and interfaces, which change as told. Whether anything boots is
//! a setting of the emulator (see `machine`).

mod check;
mod content;
mod create;
mod devices;
mod diagnostics;
mod generalize;
pub(crate) mod identity;
mod machine;
mod power;
mod shape;
mod view;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use super::answer::{Answer, Result};
use super::disks;
use super::error::{ArmError, Origin};
use super::id::{Kind, ResourceId, same};
use super::lro::{Dialect, Work};
use super::network::nic;
use super::resources::{check_tags, identify, set_state};
use super::route::nothing_there;
use super::skus::{self, Size};
use crate::state::{Guest, Inner, Power, Resource, State, VmInner};

pub(crate) use self::check::size_for;
pub(crate) use self::create::created;
pub(crate) use self::devices::disks_changed;
pub(crate) use self::generalize::storage_profile;
pub(crate) use self::machine::{follow as follow_machines, reachable};
pub(crate) use self::power::{act, power_failed, powered};
pub(crate) use self::shape::IDENTITY;
pub(crate) use self::view::{instance_view, power_names};

/// The machine that uses a disk or an interface.
pub(crate) fn user<'a>(state: &'a State, id: &str) -> Option<&'a Resource> {
    state.resources.values().find(|resource| {
        matches!(resource.inner, Inner::Vm(_))
            && uses(&resource.body).iter().any(|used| same(used, id))
    })
}

/// Whether what makes a machine one of a kind was taken off its disks.
pub(crate) fn is_generalized(machine: &Resource) -> bool {
    matches!(&machine.inner, Inner::Vm(vm) if vm.guest.generalized)
}

/// The power state of the machine that uses an interface.
pub(crate) fn power_of_user(state: &State, id: &str) -> Option<Power> {
    user(state, id).and_then(|machine| match &machine.inner {
        Inner::Vm(vm) => Some(vm.power),
        _ => None,
    })
}

/// Whether an interface is the machine's first.
pub(crate) fn is_primary(machine: &Resource, nic: &str) -> bool {
    let interfaces = machine.body["properties"]["networkProfile"]["networkInterfaces"].as_array();
    let Some(interfaces) = interfaces else {
        return false;
    };
    interfaces.len() == 1
        || interfaces.iter().any(|interface| {
            same(interface["id"].as_str().unwrap_or_default(), nic)
                && interface["properties"]["primary"] == true
        })
}

/// The ids of a machine's disks and interfaces.
pub(crate) fn uses(body: &Value) -> Vec<String> {
    disks_of(body)
        .chain(interfaces_of(body))
        .filter_map(|(id, _)| id)
        .collect()
}

/// The disks of a machine: the id, once there is one, and whether it goes with the machine.
fn disks_of(body: &Value) -> impl Iterator<Item = (Option<String>, bool)> {
    let profile = &body["properties"]["storageProfile"];
    std::iter::once(&profile["osDisk"])
        .chain(profile["dataDisks"].as_array().into_iter().flatten())
        .map(|disk| {
            (
                disk["managedDisk"]["id"].as_str().map(ToOwned::to_owned),
                disk["deleteOption"] == "Delete",
            )
        })
}

/// The same of its interfaces.
fn interfaces_of(body: &Value) -> impl Iterator<Item = (Option<String>, bool)> {
    body["properties"]["networkProfile"]["networkInterfaces"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|interface| {
            (
                interface["id"].as_str().map(ToOwned::to_owned),
                interface["properties"]["deleteOption"] == "Delete",
            )
        })
}

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Vm, name, &shape::VM)?;
    let id = put.id.to_string();
    context.refuse_while_busy(&id, Origin::Provider)?;
    let mut body = put.body;
    if let Some(existing) = put.existing {
        return update(context, existing, &body, true);
    }
    identify(&mut body, &put.id);
    let size = check::size(context, &body, 0)?;
    let source = check::source(context, &body, size)?;
    check::os_profile(&body, &source)?;
    let interfaces = check::interfaces(context, &body)?;
    let data_disks = create::data_disks(context, &body, Some(&source))?;
    let text = |pointer: &str| body.pointer(pointer)?.as_str().map(ToOwned::to_owned);
    let custom_data = text("/properties/osProfile/customData");
    let guest = Guest {
        admin_password: text("/properties/osProfile/adminPassword"),
        ..Guest::default()
    };
    if let Some(given) = body.get("identity") {
        let plan = identity::plan(context, &id, None, given, true)?;
        identity::apply(context, plan, &id, name, &mut body);
    }
    create::fill_in(context, &mut body, size, &source, &interfaces, data_disks);
    content::take(context, &body, &source)?;
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    // An attached disk is the machine's from here on, so that no second one takes it.
    for (disk, _) in disks_of(&body) {
        if let Some(disk) = disk {
            disks::attach(context, &disk, Some((&id, Power::Starting)));
        }
    }
    context.state.insert(Resource {
        id: id.clone(),
        body: body.clone(),
        inner: Inner::Vm(VmInner {
            power: Power::Starting,
            changed: context.now,
            custom_data,
            guest,
        }),
    });
    let operation = context.begin(Dialect::Compute, &location, &id, Work::VmCreated);
    Ok(context.accepted(201, operation, Some(body)))
}

/// A PUT (`replaces`) or PATCH of a machine that exists: its tags, size, diagnostics, identities,
/// data disks and interfaces can change.
fn update(
    context: &mut Context<'_>,
    mut machine: Resource,
    body: &Value,
    replaces: bool,
) -> Result {
    let custom_data = match &machine.inner {
        Inner::Vm(vm) => vm.custom_data.clone(),
        _ => None,
    };
    let (old, new) = (&machine.body["properties"], &body["properties"]);
    refuse_changes(old, new, custom_data.as_deref())?;
    if !new["hardwareProfile"]["vmSize"].is_null() {
        let before = old["hardwareProfile"]["vmSize"]
            .as_str()
            .and_then(Size::find)
            .map_or(0, |size| size.cores);
        let mut wanted = body.clone();
        wanted["location"] = machine.body["location"].clone();
        let size = check::size(context, &wanted, before)?;
        machine.body["properties"]["hardwareProfile"]["vmSize"] = json!(size.name);
    }
    if let Some(diagnostics) = new.get("diagnosticsProfile") {
        machine.body["properties"]["diagnosticsProfile"] = diagnostics.clone();
    }
    if let Some(tags) = body.get("tags") {
        machine.body["tags"] = tags.clone();
    }
    let interfaces = &new["networkProfile"]["networkInterfaces"];
    if interfaces.is_array() {
        devices::set_interfaces(context, &mut machine, interfaces)?;
    }
    let identity = match body.get("identity") {
        Some(given) => {
            let before = machine.body.get("identity");
            Some(identity::plan(
                context,
                &machine.id,
                before,
                given,
                replaces,
            )?)
        }
        None => None,
    };
    // From here on things change outside of the machine; a refusal leaves them as they are.
    if let Some(wanted) = new["storageProfile"]["dataDisks"].as_array() {
        devices::set_data_disks(context, &mut machine, wanted)?;
    }
    if let Some(plan) = identity {
        let (id, name) = (machine.id.clone(), machine.body["name"].clone());
        let name = name.as_str().unwrap_or_default();
        identity::apply(context, plan, &id, name, &mut machine.body);
    }
    machine.body["properties"]["provisioningState"] = json!("Updating");
    let (id, shown) = (machine.id.clone(), machine.body.clone());
    context.state.insert(machine);
    let location = shown["location"].as_str().unwrap_or_default().to_owned();
    let operation = context.begin(Dialect::Compute, &location, &id, Work::VmUpdated);
    Ok(context.accepted(200, operation, Some(shown)))
}

/// Refuses what cannot change; what the new body leaves out does not.
fn refuse_changes(old: &Value, new: &Value, custom_data: Option<&str>) -> Result<()> {
    for (path, name) in [
        ("/osProfile/computerName", "osProfile.computerName"),
        ("/osProfile/adminUsername", "osProfile.adminUsername"),
        (
            "/osProfile/linuxConfiguration/ssh",
            "linuxConfiguration.ssh.publicKeys",
        ),
        (
            "/osProfile/linuxConfiguration/disablePasswordAuthentication",
            "linuxConfiguration.disablePasswordAuthentication",
        ),
        ("/storageProfile/imageReference/id", "imageReference"),
        ("/storageProfile/osDisk/name", "osDisk.name"),
        ("/storageProfile/osDisk/createOption", "osDisk.createOption"),
        (
            "/storageProfile/osDisk/managedDisk/id",
            "osDisk.managedDisk.id",
        ),
        ("/storageProfile/osDisk/osType", "osDisk.osType"),
        ("/priority", "priority"),
        (
            "/securityProfile/securityType",
            "securityProfile.securityType",
        ),
    ] {
        let (Some(is), was) = (new.pointer(path), old.pointer(path)) else {
            continue;
        };
        let is_same = match (was.and_then(Value::as_str), is.as_str()) {
            (Some(was), Some(is)) if name.ends_with("id") || name == "imageReference" => {
                same(was, is)
            }
            _ => was == Some(is),
        };
        if !is_same {
            return Err(ArmError::property_change(name));
        }
    }
    if let Some(data) = new["osProfile"]["customData"].as_str()
        && Some(data) != custom_data
    {
        return Err(ArmError::property_change("customData"));
    }
    let size = &new["storageProfile"]["osDisk"]["diskSizeGB"];
    if !size.is_null() && *size != old["storageProfile"]["osDisk"]["diskSizeGB"] {
        return Err(ArmError::not_implemented("the resizing of OS disks"));
    }
    Ok(())
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    shape::VM_PATCH.check(&mut body)?;
    check_tags(&body)?;
    let machine = context.existing(group, Kind::Vm, name)?.clone();
    context.refuse_while_busy(&machine.id, Origin::Provider)?;
    update(context, machine, &body, false)
}

pub(crate) fn updated(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    devices::make_data_disks(context, id)?;
    identity::complete(context, id);
    set_state(context.state.resource_mut(id), "Succeeded");
    Ok(None)
}

/// Checks the model of a scale set, written as the machine that it describes. What the service adds
/// to the OS disk and the user is in it afterwards.
pub(crate) fn check_model(context: &Context<'_>, machine: &mut Value, size: &str) -> Result<()> {
    if context.call.is_of_template {
        shape::VM.fold(machine);
    }
    shape::VM.check(machine)?;
    let Some(size) = Size::find(size) else {
        return Err(ArmError::missing_parameter("sku.name"));
    };
    let source = check::source(context, machine, size)?;
    check::os_profile(machine, &source)?;
    let networks = machine["properties"]["networkProfile"].clone();
    let hardware = machine["properties"].get("hardwareProfile").cloned();
    let data_disks = create::data_disks(context, machine, Some(&source))?;
    create::fill_in(context, machine, size, &source, &[], data_disks);
    // Those are a machine's own.
    if let Some(properties) = machine["properties"].as_object_mut() {
        for field in [
            "vmId",
            "timeCreated",
            "provisioningState",
            "hardwareProfile",
        ] {
            properties.remove(field);
        }
    }
    machine["properties"]["networkProfile"] = networks;
    if let Some(hardware) = hardware {
        machine["properties"]["hardwareProfile"] = hardware;
    }
    Ok(())
}

/// The sizes that a machine can be given: all, as a local cluster has room for any.
pub(crate) fn available_sizes(context: &Context<'_>, group: &str, name: &str) -> Result {
    let machine = context.existing(group, Kind::Vm, name)?;
    skus::sizes(machine.body["location"].as_str().unwrap_or_default())
}

/// The extensions of a machine: there are none.
pub(crate) fn extensions(context: &Context<'_>, group: &str, name: &str) -> Result {
    context.existing(group, Kind::Vm, name)?;
    Ok(Answer::json(200, json!({ "value": [] })))
}

/// All machines of the subscription, or with `statusOnly` how each of them is doing.
///
/// The documentation says of that no more than that it fetches the run time status. So what else there
/// is of a machine is left out, but for what says which one it is.
pub(crate) fn list_all(context: &Context<'_>) -> Result {
    let status_only = context.call.query("statusOnly").unwrap_or_default();
    if !status_only.eq_ignore_ascii_case("true") {
        return context.list(None, Kind::Vm, "");
    }
    let machines = context.state.resources.values();
    let found: Vec<Value> = machines
        .filter(|resource| matches!(resource.inner, Inner::Vm(_)))
        .filter(|resource| ResourceId::parse(&resource.id).is_some_and(|id| id.kind == Kind::Vm))
        .map(|machine| {
            let body = &machine.body;
            json!({
                "id": machine.id,
                "name": body["name"],
                "type": body["type"],
                "location": body["location"],
                "properties": {
                    "vmId": body["properties"]["vmId"],
                    "provisioningState": body["properties"]["provisioningState"],
                    "instanceView": view::of(context, machine),
                },
            })
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": found })))
}

/// GET of a machine, with its instance view where `$expand` asks for it.
pub(crate) fn get(context: &Context<'_>, group: &str, name: &str) -> Result {
    let machine = context.existing(group, Kind::Vm, name)?;
    let mut body = machine.body.clone();
    let expand = context.call.query("$expand").unwrap_or_default();
    if expand.to_ascii_lowercase().contains("instanceview") {
        body["properties"]["instanceView"] = view::of(context, machine);
    }
    Ok(Answer::json(200, body))
}

/// Also ends what is being done to the machine, its creation included, as Azure does.
pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(machine) = context.existing(group, Kind::Vm, name).cloned() else {
        return nothing_there();
    };
    context.preempt(&machine.id);
    set_state(context.state.resource_mut(&machine.id), "Deleting");
    let location = machine.body["location"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let operation = context.begin(Dialect::Compute, &location, &machine.id, Work::VmDeleted);
    Ok(context.accepted(202, operation, None))
}

/// The end of the deletion: what goes with the machine goes, the rest is free. `None` while the
/// machine still runs.
pub(crate) fn deleted(
    context: &mut Context<'_>,
    operation: Uuid,
    id: &str,
) -> Option<Result<Option<Value>>> {
    if context.state.resource(id).is_some() {
        // A machine that does not stop is as gone as one that does.
        let _ = machine::pull_plug(context, operation, id)?;
    }
    Some(match context.state.remove(id) {
        Some(machine) => delete_with(context, machine),
        None => Ok(None),
    })
}

fn delete_with(context: &mut Context<'_>, machine: Resource) -> Result<Option<Value>> {
    release(context, &machine);
    for (disk, goes) in disks_of(&machine.body) {
        if let (Some(disk), true) = (disk, goes) {
            disks::deleted(context, &disk)?;
        }
    }
    for (interface, goes) in interfaces_of(&machine.body) {
        let Some(interface) = interface else {
            continue;
        };
        if !goes {
            nic::reserve(context, &interface, &machine.id);
            continue;
        }
        let removed = context.state.remove(&interface);
        let configurations = removed
            .iter()
            .flat_map(|nic| nic.body["properties"]["ipConfigurations"].as_array())
            .flatten();
        for configuration in configurations {
            let Some(public) = configuration["properties"]["publicIPAddress"]["id"].as_str() else {
                continue;
            };
            let goes = context
                .state
                .resource(public)
                .is_some_and(|public| public.body["properties"]["deleteOption"] == "Delete");
            if goes {
                context.state.remove(public);
            }
        }
    }
    Ok(None)
}

/// Lets go of the disks of a machine that is gone. Interfaces are free by themselves, as whose
/// they are is found by searching.
pub(crate) fn release(context: &mut Context<'_>, machine: &Resource) {
    for (disk, _) in disks_of(&machine.body) {
        if let Some(disk) = disk {
            disks::attach(context, &disk, None);
        }
    }
    machine::discard(context, machine);
    content::discard(context, &machine.body);
}
