//! Virtual machines: a state, disks and interfaces, which change as told. Whether anything boots is
//! a setting of the emulator (see `machine`).

mod check;
mod content;
mod create;
mod devices;
mod diagnostics;
mod generalize;
mod hardware;
pub(crate) mod identity;
mod machine;
mod power;
mod resize;
mod security;
mod shape;
mod spot;
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
use super::scale_sets;
use super::sizes::Size;
use super::skus;
use crate::state::{Guest, Inner, Power, Resource, State, VmInner};

pub(crate) use self::create::created;
pub(crate) use self::devices::disks_changed;
pub(crate) use self::generalize::storage_profile;
pub(crate) use self::hardware::{Wanted, check_acceleration, size_for, size_of};
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
    let size = hardware::size(context, &body)?;
    let fault_domain = scale_sets::place(context, &body)?;
    spot::check(&mut body["properties"], size)?;
    let source = check::source(context, &body, size)?;
    check::os_profile(&body, &source)?;
    check::user_data(&body["properties"])?;
    let interfaces = check::interfaces(context, &body)?;
    hardware::check_interfaces(size, &id, interfaces.len())?;
    check_acceleration(size, &id, devices::documents(context, &interfaces))?;
    let data_disks = create::data_disks(context, &body, Some(&source))?;
    let os_disk = &body["properties"]["storageProfile"]["osDisk"];
    hardware::check_disks(size, os_disk, &data_disks)?;
    let text = |pointer: &str| body.pointer(pointer)?.as_str().map(ToOwned::to_owned);
    let custom_data = text("/properties/osProfile/customData");
    let guest = Guest {
        admin_password: text("/properties/osProfile/adminPassword"),
        user_data: text("/properties/userData"),
        fault_domain,
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
    scale_sets::recount(context, &body);
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
    if let Some(zones) = body.get("zones")
        && machine.body.get("zones") != Some(zones)
    {
        return Err(ArmError::property_change("zones"));
    }
    let size = &new["hardwareProfile"]["vmSize"];
    if !size.is_null() {
        resize::change(context, &mut machine, size)?;
    }
    if let Some(diagnostics) = new.get("diagnosticsProfile") {
        machine.body["properties"]["diagnosticsProfile"] = diagnostics.clone();
    }
    if let Some(tags) = body.get("tags") {
        machine.body["tags"] = tags.clone();
    }
    spot::set_price(&mut machine, new)?;
    check::user_data(new)?;
    if let (Some(data), Inner::Vm(vm)) = (new["userData"].as_str(), &mut machine.inner) {
        vm.guest.user_data = Some(data.to_owned());
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
    let (was, is) = (
        old["virtualMachineScaleSet"]["id"].as_str(),
        new["virtualMachineScaleSet"]["id"].as_str(),
    );
    if let Some(is) = is
        && !was.is_some_and(|was| same(was, is))
    {
        return Err(ArmError::not_implemented(
            "virtual machines that come to a scale set after they were made",
        ));
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

/// The end of a change; `None` while the machine is not there again, as it is with another size.
pub(crate) fn updated(
    context: &mut Context<'_>,
    operation: Uuid,
    id: &str,
) -> Option<Result<Option<Value>>> {
    if let Err(error) = devices::make_data_disks(context, id) {
        return Some(Err(error));
    }
    let starts_again = matches!(
        context.state.resource(id).map(|machine| &machine.inner),
        Some(Inner::Vm(vm)) if vm.power == Power::Running && vm.guest.again
    );
    if starts_again {
        if let Err(error) = machine::power(context, operation, id, Power::Running)? {
            set_state(context.state.resource_mut(id), "Failed");
            return Some(Err(error));
        }
        if let Some(Inner::Vm(vm)) = context.state.resource_mut(id).map(|one| &mut one.inner) {
            vm.guest.again = false;
        }
        power::set_power(context, id, Power::Running);
    }
    identity::complete(context, id);
    set_state(context.state.resource_mut(id), "Succeeded");
    Some(Ok(None))
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
    spot::check(&mut machine["properties"], size)?;
    let source = check::source(context, machine, size)?;
    check::os_profile(machine, &source)?;
    let networks = machine["properties"]["networkProfile"].clone();
    let hardware = machine["properties"].get("hardwareProfile").cloned();
    check::user_data(&machine["properties"])?;
    let data_disks = create::data_disks(context, machine, Some(&source))?;
    let os_disk = &machine["properties"]["storageProfile"]["osDisk"];
    hardware::check_disks(size, os_disk, &data_disks)?;
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

/// The sizes that a machine can be given as it is.
pub(crate) fn available_sizes(context: &Context<'_>, group: &str, name: &str) -> Result {
    let machine = context.existing(group, Kind::Vm, name)?;
    Ok(skus::sizes_of(resize::options(machine)))
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
        return list(context, None);
    }
    let set = set_of_filter(context)?;
    let machines = context.state.resources.values();
    let found: Vec<Value> = machines
        .filter(|resource| matches!(resource.inner, Inner::Vm(_)))
        .filter(|machine| set.as_deref().is_none_or(|set| is_in(machine, set)))
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

/// The machines of a group or of the subscription; with a filter those of a Flexible scale set, then
/// also with their instance views.
pub(crate) fn list(context: &Context<'_>, group: Option<&str>) -> Result {
    let Some(set) = set_of_filter(context)? else {
        return context.list(group, Kind::Vm, "");
    };
    if let Some(group) = group {
        context.group(group)?;
    }
    let expand = context.call.query("$expand").unwrap_or_default();
    let has_views = expand.eq_ignore_ascii_case("instanceView");
    let machines = context.state.resources.values();
    let found: Vec<Value> = machines
        .filter(|resource| matches!(resource.inner, Inner::Vm(_)) && is_in(resource, &set))
        .filter(|machine| {
            let id = ResourceId::parse(&machine.id);
            id.is_some_and(|id| group.is_none_or(|group| id.group.eq_ignore_ascii_case(group)))
        })
        .map(|machine| {
            let mut body = machine.body.clone();
            if has_views {
                body["properties"]["instanceView"] = view::of(context, machine);
            }
            body
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": found })))
}

fn is_in(machine: &Resource, set: &str) -> bool {
    let own = machine.body["properties"]["virtualMachineScaleSet"]["id"].as_str();
    own.is_some_and(|own| same(own, set))
}

/// The scale set of a filter, which is the only thing that machines are filtered by:
/// `'virtualMachineScaleSet/id' eq '/subscriptions/…'`. Clients quote the id, the documentation does not.
fn set_of_filter(context: &Context<'_>) -> Result<Option<String>> {
    let Some(filter) = context.call.query("$filter") else {
        return Ok(None);
    };
    let mut words = filter.split_whitespace();
    let parts = [words.next(), words.next(), words.next(), words.next()];
    match parts.map(|part| part.map(|part| part.trim_matches('\''))) {
        [Some(field), Some(operator), Some(id), None]
            if field.eq_ignore_ascii_case("virtualMachineScaleSet/id")
                && operator.eq_ignore_ascii_case("eq") =>
        {
            Ok(Some(id.to_owned()))
        }
        _ => Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The filter \"{filter}\" is not of the form 'virtualMachineScaleSet/id' eq '/subscriptions/…'."
            ),
        )
        .with_target("$filter")),
    }
}

/// GET of a machine, with its instance view where `$expand` asks for it.
pub(crate) fn get(context: &Context<'_>, group: &str, name: &str) -> Result {
    let machine = context.existing(group, Kind::Vm, name)?;
    let mut body = machine.body.clone();
    let expand = context.call.query("$expand").unwrap_or_default();
    if expand.to_ascii_lowercase().contains("instanceview") {
        body["properties"]["instanceView"] = view::of(context, machine);
    }
    if let (true, Inner::Vm(vm)) = (
        expand.to_ascii_lowercase().contains("userdata"),
        &machine.inner,
    ) && let Some(data) = &vm.guest.user_data
    {
        body["properties"]["userData"] = json!(data);
    }
    Ok(Answer::json(200, body))
}

/// Also ends what is being done to the machine, its creation included, as Azure does.
pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(machine) = context.existing(group, Kind::Vm, name).cloned() else {
        return nothing_there();
    };
    let operation = begin_deletion(context, &machine.id);
    Ok(context.accepted(202, operation, None))
}

/// The same of a machine by its id.
pub(crate) fn begin_deletion(context: &mut Context<'_>, id: &str) -> Uuid {
    context.preempt(id);
    set_state(context.state.resource_mut(id), "Deleting");
    let location = context
        .state
        .resource(id)
        .and_then(|machine| machine.body["location"].as_str())
        .unwrap_or_default()
        .to_owned();
    context.begin(Dialect::Compute, &location, id, Work::VmDeleted)
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
        Some(machine) => {
            scale_sets::recount(context, &machine.body);
            delete_with(context, machine)
        }
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
