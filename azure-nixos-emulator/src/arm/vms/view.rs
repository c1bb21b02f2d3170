//! The instance view: how a machine is doing.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::clock_text::timestamp;
use super::super::id::Kind;
use super::super::lro::Status;
use super::{content, diagnostics};
use crate::ssh_at::Doors;
use crate::state::{Inner, Power, Resource};

/// `GET …/instanceView`
pub(crate) fn instance_view(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let machine = context.existing(group, Kind::Vm, name)?;
    Ok(Answer::json(200, of(context, machine)))
}

/// A power state, in the code and in the display of its status.
pub(crate) fn power_names(power: Power) -> (&'static str, &'static str) {
    match power {
        Power::Starting => ("starting", "VM starting"),
        Power::Running => ("running", "VM running"),
        Power::Stopping => ("stopping", "VM stopping"),
        Power::Stopped => ("stopped", "VM stopped"),
        Power::Deallocating => ("deallocating", "VM deallocating"),
        Power::Deallocated => ("deallocated", "VM deallocated"),
    }
}

/// How the last operation on a machine failed, as long as that is remembered.
fn failure<'a>(context: &'a Context<'_>, id: &str) -> Option<(&'a str, &'a str)> {
    let operations = context.state.operations.values();
    let last = operations
        .filter(|operation| operation.resource.eq_ignore_ascii_case(id))
        .max_by_key(|operation| operation.ended)?;
    match &last.status {
        Status::Failed { code, message, .. } => Some((code, message)),
        Status::Running | Status::Succeeded(_) => None,
    }
}

/// The view of one machine. The agent is not ready, as there is none.
pub(super) fn of(context: &Context<'_>, machine: &Resource) -> Value {
    let Inner::Vm(vm) = &machine.inner else {
        return json!({});
    };
    let properties = &machine.body["properties"];
    let time = timestamp(vm.changed);
    let provisioning = properties["provisioningState"].as_str().unwrap_or_default();
    let level = if provisioning == "Failed" {
        "Error"
    } else {
        "Info"
    };
    let (power, shown) = power_names(vm.power);
    let mut first = json!({
        "code": format!("ProvisioningState/{}", provisioning.to_ascii_lowercase()),
        "level": level,
        "displayStatus": format!("Provisioning {}", provisioning.to_ascii_lowercase()),
        "time": time,
    });
    if provisioning == "Failed"
        && let Some((code, message)) = failure(context, &machine.id)
    {
        first["code"] = json!(format!("ProvisioningState/failed/{code}"));
        first["message"] = json!(message);
    }
    let status =
        |code: &str, shown: &str| json!({ "code": code, "level": "Info", "displayStatus": shown });
    let mut statuses = Vec::new();
    // It was not made of a generalized image: nobody is provisioned in it.
    if properties.get("osProfile").is_none() {
        statuses.push(status("OSState/specialized", "VM specialized"));
    }
    statuses.push(first);
    statuses.push(status(&format!("PowerState/{power}"), shown));
    if vm.guest.generalized {
        statuses.push(status("OSState/generalized", "VM generalized"));
    }
    // Azure's ports are where they are; a host may have them taken.
    let settings = context.arm.settings();
    let of_machine = settings
        .machines
        .iter()
        .flat_map(|machines| machines.moved_ports(content::vm_id(&machine.body)));
    let of_others = settings
        .doors
        .iter()
        .flat_map(|doors| doors.moved_ports(&machine.id));
    for moved in of_machine.chain(of_others) {
        statuses.push(status("LocalAzure/portMoved", &moved));
    }
    let profile = &properties["storageProfile"];
    let disks: Vec<Value> = std::iter::once(&profile["osDisk"])
        .chain(profile["dataDisks"].as_array().into_iter().flatten())
        .filter(|disk| disk["name"].is_string())
        .map(|disk| {
            json!({
                "name": disk["name"],
                "statuses": [{
                    "code": "ProvisioningState/succeeded",
                    "level": "Info",
                    "displayStatus": "Provisioning succeeded",
                    "time": time,
                }],
            })
        })
        .collect();
    let generation = profile["osDisk"]["managedDisk"]["id"]
        .as_str()
        .and_then(|disk| context.state.resource(disk))
        .and_then(|disk| disk.body["properties"]["hyperVGeneration"].as_str())
        .unwrap_or("V1");
    let mut view = json!({
        "hyperVGeneration": generation,
        "disks": disks,
        "statuses": statuses,
    });
    if let Some(domain) = vm.guest.fault_domain {
        view["platformFaultDomain"] = json!(domain);
    }
    if let Some(shown) = diagnostics::view(machine) {
        view["bootDiagnostics"] = shown;
    }
    if vm.power == Power::Running {
        let mut statuses = vec![json!({
            "code": "ProvisioningState/Unavailable",
            "level": "Warning",
            "displayStatus": "Not Ready",
            "message": "VM status blob is found but not yet populated.",
            "time": timestamp(context.now),
        })];
        // Azure's machines boot; whoever waits for one of these to answer would wait for ever. Said here
        // because scripts take the first or the last of the machine's own statuses for its power.
        let name = machine.body["name"].as_str().unwrap_or_default();
        let has_server = |doors: &Doors| doors.answers(name);
        if settings.machines.is_none() && !settings.doors.as_ref().is_some_and(has_server) {
            let why = "nothing boots in this local Azure and no server stands for the machine";
            statuses.push(status("LocalAzure/answersNobody", why));
        }
        view["vmAgent"] = json!({ "vmAgentVersion": "Unknown", "statuses": statuses });
    }
    view
}
