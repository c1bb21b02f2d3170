//! Scale sets of the mode `Flexible`: their machines are virtual machines of the group like all others,
//! with interfaces, addresses and disks that are resources too.
//!
//! Which machines a set has is found by looking: those that refer to it. An operation on a set begins
//! what is missing on machines and ends when nothing is under way on any of them. So it goes on where it
//! was after a restart, and sees what was done to the machines meanwhile.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::disks::gone;
use super::super::error::ArmError;
use super::super::id::same;
use super::super::lro::{Operation, Status};
use super::super::resources::set_state;
use super::super::vms;
use super::super::zones;
use crate::state::{Inner, Resource, ScaleSetInner, Secrets, State};

/// The fault domains that a set can be spread over, by the documentation.
const FAULT_DOMAINS: std::ops::RangeInclusive<u64> = 1..=3;

/// The parts of a set's virtual machine profile that are not its machines' by the same name.
const OWN: &[&str] = &[
    "networkProfile",
    "osProfile",
    "extensionProfile",
    "timeCreated",
];

pub(crate) fn is_flexible(set: &Value) -> bool {
    set["properties"]["orchestrationMode"] == "Flexible"
}

/// The set that a machine belongs to, if it does.
pub(super) fn set_of(machine: &Value) -> Option<&str> {
    machine["properties"]["virtualMachineScaleSet"]["id"].as_str()
}

/// The machines of a set.
pub(super) fn machines<'a>(state: &'a State, set: &str) -> impl Iterator<Item = &'a Resource> {
    state.resources.values().filter(move |resource| {
        matches!(resource.inner, Inner::Vm(_))
            && set_of(&resource.body).is_some_and(|id| same(id, set))
    })
}

fn is_going(machine: &Resource) -> bool {
    machine.body["properties"]["provisioningState"] == "Deleting"
}

/// How many machines of a set stay.
pub(super) fn count(state: &State, set: &str) -> u64 {
    let staying = machines(state, set).filter(|machine| !is_going(machine));
    staying.map(|_| 1).sum()
}

/// Checks a new set, and fills in what the service does of it, the profile apart. What is required is
/// recorded; the range of fault domains is documented with its text.
pub(super) fn prepare(body: &mut Value) -> Result<()> {
    check(body)?;
    let properties = &mut body["properties"];
    let domains = &properties["platformFaultDomainCount"];
    if domains.is_null() {
        return Err(ArmError::missing_parameter("platformFaultDomainCount"));
    }
    if !domains
        .as_u64()
        .is_some_and(|count| FAULT_DOMAINS.contains(&count))
    {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The specified fault domain count {domains} must fall in the range {} to {}.",
                FAULT_DOMAINS.start(),
                FAULT_DOMAINS.end()
            ),
        )
        .with_target("platformFaultDomainCount"));
    }
    for (field, value) in [
        ("singlePlacementGroup", json!(false)),
        ("upgradePolicy", json!({ "mode": "Manual" })),
        ("constrainedMaximumCapacity", json!(false)),
    ] {
        if properties.get(field).is_none() {
            properties[field] = value;
        }
    }
    Ok(())
}

/// What a set cannot have. That it has assigned identities only is documented, the text is not known.
pub(super) fn check(body: &Value) -> Result<()> {
    let mode = body["properties"]["upgradePolicy"]["mode"].as_str();
    if mode.is_some_and(|mode| mode != "Manual") {
        return Err(ArmError::not_implemented(
            "the upgrade policies 'Automatic' and 'Rolling' of Flexible scale sets",
        ));
    }
    let identity = body["identity"]["type"].as_str().unwrap_or_default();
    if identity.contains("SystemAssigned") {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            "Virtual Machine Scale Sets with Flexible Orchestration Mode support the identity type 'UserAssigned' only.",
        )
        .with_target("identity.type"));
    }
    Ok(())
}

/// Fills in what the service does of a profile, as recorded. The disks of data are not in the
/// recording; they are taken to go with their machine like the others.
pub(super) fn fill_in(profile: &mut Value) {
    let storage = &mut profile["storageProfile"];
    default(&mut storage["osDisk"], "deleteOption", json!("Delete"));
    for disk in storage["dataDisks"].as_array_mut().into_iter().flatten() {
        default(disk, "deleteOption", json!("Delete"));
    }
    let network = &mut profile["networkProfile"];
    default(network, "networkApiVersion", json!("2020-11-01"));
    let all = network["networkInterfaceConfigurations"].as_array_mut();
    let is_alone = all.as_ref().is_some_and(|all| all.len() == 1);
    for interface in all.into_iter().flatten() {
        let properties = &mut interface["properties"];
        for (field, value) in [
            ("primary", json!(is_alone)),
            ("disableTcpStateTracking", json!(false)),
            ("enableIPForwarding", json!(false)),
            ("auxiliaryMode", json!("None")),
            ("auxiliarySku", json!("None")),
            ("deleteOption", json!("Delete")),
            ("dnsSettings", json!({ "dnsServers": [] })),
        ] {
            default(properties, field, value);
        }
        for ip in properties["ipConfigurations"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            let ip = &mut ip["properties"];
            for (field, value) in [
                ("privateIPAddressVersion", json!("IPv4")),
                ("applicationSecurityGroups", json!([])),
                ("loadBalancerBackendAddressPools", json!([])),
                ("applicationGatewayBackendAddressPools", json!([])),
            ] {
                default(ip, field, value);
            }
        }
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object.get(field).is_none() {
        object[field] = value;
    }
}

/// Where a machine that refers to a set is put: the fault domain, of those that are used the least. The
/// texts of the refusals are not known but for the first, which is that of availability sets.
pub(crate) fn place(context: &Context<'_>, machine: &Value) -> Result<Option<u64>> {
    let Some(id) = set_of(machine) else {
        return Ok(None);
    };
    let refused = |message: String| {
        Err(ArmError::compute(400, "BadRequest", message).with_target("virtualMachineScaleSet"))
    };
    let Some(set) = context
        .state
        .resource(id)
        .filter(|set| matches!(set.inner, Inner::ScaleSet(_)))
    else {
        return Err(ArmError::compute(
            404,
            "NotFound",
            format!("The Virtual Machine Scale Set {id} cannot be found."),
        ));
    };
    if !is_flexible(&set.body) {
        return refused(format!(
            "The Virtual Machine Scale Set {id} is of the orchestration mode 'Uniform': virtual machines can be in those of the mode 'Flexible' only."
        ));
    }
    if set.body["location"] != machine["location"] {
        return refused(format!(
            "The virtual machine is in location '{}' and the Virtual Machine Scale Set {id} in '{}'.",
            machine["location"].as_str().unwrap_or_default(),
            set.body["location"].as_str().unwrap_or_default()
        ));
    }
    if set.body["properties"]["provisioningState"] == "Deleting" {
        return refused(format!(
            "The Virtual Machine Scale Set {id} is being deleted."
        ));
    }
    let domains = set.body["properties"]["platformFaultDomainCount"]
        .as_u64()
        .unwrap_or(1);
    match machine["properties"]["platformFaultDomain"].as_u64() {
        Some(domain) if domain >= domains => refused(format!(
            "The fault domain {domain} is not one of the {domains} of the Virtual Machine Scale Set {id}."
        )),
        Some(domain) => Ok(Some(domain)),
        None if domains < 2 => Ok(None),
        None => Ok((0..domains).min_by_key(|domain| {
            machines(context.state, id)
                .filter(|other| domain_of(other) == Some(*domain))
                .count()
        })),
    }
}

fn domain_of(machine: &Resource) -> Option<u64> {
    match &machine.inner {
        Inner::Vm(vm) => vm.guest.fault_domain,
        _ => None,
    }
}

/// A machine came to a set, or left it, by itself: the set is as much larger or smaller, unless it is
/// just being changed.
pub(crate) fn recount(context: &mut Context<'_>, machine: &Value) {
    let Some(id) = set_of(machine) else {
        return;
    };
    let is_busy = context
        .state
        .operations
        .values()
        .any(|operation| operation.is_running() && operation.resource.eq_ignore_ascii_case(id));
    let now = count(context.state, id);
    if let Some(set) = context.state.resource_mut(id)
        && !is_busy
        && set.body["sku"]["capacity"].is_u64()
    {
        set.body["sku"]["capacity"] = json!(now);
    }
}

/// Makes the machines that a set is short of, or begins to delete those that it has too many of.
pub(super) fn fit(context: &mut Context<'_>, id: &str) -> Result<()> {
    let Some(set) = context.state.resource(id).cloned() else {
        return Err(gone(id));
    };
    let Some(capacity) = set.body["sku"]["capacity"].as_u64() else {
        return Ok(());
    };
    let there = count(context.state, id);
    for _ in there..capacity {
        super::instance::make(context, &set)?;
    }
    let mut staying: Vec<&Resource> = machines(context.state, id)
        .filter(|machine| !is_going(machine))
        .collect();
    // Azure's default keeps zones and fault domains even, and takes the newest first.
    staying.sort_by_key(|machine| {
        let time = machine.body["properties"]["timeCreated"].as_str();
        (time.unwrap_or_default().to_owned(), machine.id.clone())
    });
    if set.body["properties"]["scaleInPolicy"]["rules"][0] == "OldestVM" {
        staying.reverse();
    }
    let mut going = Vec::new();
    for _ in capacity..there {
        let Some(at) = next_to_go(&staying) else {
            break;
        };
        going.push(staying.remove(at).id.clone());
    }
    for machine in going {
        vms::begin_deletion(context, &machine);
    }
    Ok(())
}

/// The last of those in the zone that has the most, and there in the fault domain that has the most.
fn next_to_go(staying: &[&Resource]) -> Option<usize> {
    let place = |machine: &Resource| {
        let zone = zones::one_of(&machine.body).map(ToOwned::to_owned);
        (zone, domain_of(machine))
    };
    let crowd = |at: usize| {
        let (zone, domain) = place(staying[at]);
        let in_zone = staying.iter().filter(|other| place(other).0 == zone);
        let in_domain = in_zone.clone().filter(|other| place(other).1 == domain);
        (in_zone.count(), in_domain.count(), at)
    };
    (0..staying.len()).max_by_key(|at| crowd(*at))
}

/// The end of an operation on a set: `None` while something is being done to its machines, and the
/// error of one that failed since the operation began.
pub(super) fn settle(
    context: &mut Context<'_>,
    operation: &Operation,
) -> Option<Result<Option<Value>>> {
    let id = operation.resource.as_str();
    if let Err(error) = fit(context, id) {
        set_state(context.state.resource_mut(id), "Failed");
        return Some(Err(error));
    }
    let mine: Vec<&str> = machines(context.state, id)
        .map(|machine| machine.id.as_str())
        .collect();
    let mut failed = None;
    for other in context.state.operations.values() {
        if !mine.iter().any(|machine| same(machine, &other.resource)) {
            continue;
        }
        match &other.status {
            Status::Running => return None,
            Status::Failed {
                status,
                code,
                message,
            } if other.started >= operation.started && code != "OperationPreempted" => {
                failed = Some(ArmError::compute(*status, code, message));
            }
            Status::Failed { .. } | Status::Succeeded(_) => {}
        }
    }
    vms::identity::complete(context, id);
    let state = if failed.is_some() {
        "Failed"
    } else {
        "Succeeded"
    };
    set_state(context.state.resource_mut(id), state);
    Some(failed.map_or(Ok(None), Err))
}

/// The end of the deletion of a set: its machines go before it, with what goes with them. `None` until
/// they have.
pub(super) fn deleted(context: &mut Context<'_>, id: &str) -> Option<Result<Option<Value>>> {
    let staying: Vec<String> = machines(context.state, id)
        .filter(|machine| !is_going(machine))
        .map(|machine| machine.id.clone())
        .collect();
    for machine in staying {
        vms::begin_deletion(context, &machine);
    }
    if machines(context.state, id).next().is_some() {
        return None;
    }
    context.state.remove(id);
    Some(Ok(None))
}

/// Puts secrets that were kept where a profile does not bring others.
pub(super) fn put_back(inner: &ScaleSetInner, profile: &mut Value) {
    let kept = &inner.secrets;
    for (pointer, field, value) in [
        ("/osProfile", "adminPassword", &kept.admin_password),
        ("/osProfile", "customData", &kept.custom_data),
        ("", "userData", &kept.user_data),
    ] {
        if let (Some(value), Some(object)) = (value, profile.pointer_mut(pointer))
            && object.is_object()
            && object.get(field).is_none()
        {
            object[field] = json!(value);
        }
    }
}

/// What no GET shows of a profile, and machines that are made later need.
pub(super) fn secrets(profile: &Value) -> Secrets {
    let text = |pointer: &str| profile.pointer(pointer)?.as_str().map(ToOwned::to_owned);
    Secrets {
        admin_password: text("/osProfile/adminPassword"),
        custom_data: text("/osProfile/customData"),
        user_data: text("/userData"),
    }
}

/// The fields of a profile that a machine has under the same name.
pub(super) fn shared(profile: &Value) -> impl Iterator<Item = (&String, &Value)> {
    profile
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| !OWN.contains(&field.as_str()))
}
