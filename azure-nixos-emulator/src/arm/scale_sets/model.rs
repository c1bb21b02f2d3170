//! The model of a scale set's machines.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::id::same;
use super::super::vms;

/// The parts of a model that a machine has under the same name.
const SHARED: &[&str] = &[
    "storageProfile",
    "networkProfile",
    "securityProfile",
    "diagnosticsProfile",
    "licenseType",
    "priority",
    "evictionPolicy",
    "billingProfile",
    "scheduledEventsProfile",
    "userData",
    "capacityReservation",
    "applicationProfile",
    "hardwareProfile",
];

/// What comes behind the prefix of a host name: six digits or letters.
const LATER: &str = "000000";

fn invalid(target: &str, message: &str) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target(target)
}

/// Checks the model as the machine that it describes, and fills in what the service adds.
pub(super) fn check(context: &Context<'_>, body: &mut Value) -> Result<()> {
    let profile = body["properties"]["virtualMachineProfile"].clone();
    let Some(fields) = profile.as_object() else {
        return Err(ArmError::missing_parameter("virtualMachineProfile"));
    };
    let mut machine = json!({
        "location": body["location"],
        "id": body["id"],
        "properties": {},
    });
    let mut finished = json!({});
    for (field, value) in fields {
        match field.as_str() {
            "osProfile" => {
                let mut os = value.clone();
                if let Some(os) = os.as_object_mut()
                    && let Some(prefix) = os.remove("computerNamePrefix")
                {
                    // As a machine would be called: a prefix may end as a name may not.
                    let name = prefix.as_str().filter(|prefix| !prefix.is_empty());
                    let name = name.map_or(prefix.clone(), |name| json!(format!("{name}{LATER}")));
                    os.insert("computerName".to_owned(), name);
                }
                machine["properties"]["osProfile"] = os;
            }
            "extensionProfile" => {
                let has_some = value["extensions"]
                    .as_array()
                    .is_some_and(|extensions| !extensions.is_empty());
                if has_some {
                    return Err(ArmError::not_implemented("extensions of scale sets"));
                }
                finished["extensionProfile"] = value.clone();
            }
            "timeCreated" => finished[field] = value.clone(),
            name if SHARED.contains(&name) => machine["properties"][name] = value.clone(),
            name => {
                return Err(ArmError::gateway(
                    400,
                    "InvalidRequestContent",
                    format!(
                        "The request content was invalid and could not be deserialized: 'Could not find member '{name}' on object. Path 'properties.virtualMachineProfile.{name}'.'."
                    ),
                ));
            }
        }
    }
    let given = machine["properties"]["storageProfile"].clone();
    let has_attached = given["dataDisks"]
        .as_array()
        .into_iter()
        .flatten()
        .chain([&given["osDisk"]])
        .any(|disk| {
            disk["createOption"]
                .as_str()
                .is_some_and(|option| option.eq_ignore_ascii_case("Attach"))
        });
    if has_attached {
        return Err(invalid(
            "storageProfile",
            "The disks of a scale set cannot have the createOption 'Attach'.",
        ));
    }
    let prefix = profile["osProfile"]["computerNamePrefix"].as_str();
    if prefix.is_some_and(|prefix| prefix.len() > 58) {
        return Err(invalid(
            "computerNamePrefix",
            "Linux host name prefix cannot exceed 58 characters in length.",
        ));
    }
    vms::check_model(
        context,
        &mut machine,
        body["sku"]["name"].as_str().unwrap_or_default(),
    )?;
    interfaces(
        context,
        &machine["properties"]["networkProfile"],
        &body["location"],
    )?;
    // A machine's disks say what becomes of them; those of a set go with it, unless it says so.
    let disks = machine["properties"]["storageProfile"]
        .as_object_mut()
        .into_iter()
        .flat_map(|profile| profile.iter_mut());
    for (field, value) in disks {
        let own = |disk: &mut Value, given: &Value| {
            if let Some(disk) = disk.as_object_mut() {
                disk.remove("toBeDetached");
                if given.get("deleteOption").is_none() {
                    disk.remove("deleteOption");
                }
            }
        };
        match value {
            Value::Array(disks) => disks
                .iter_mut()
                .enumerate()
                .for_each(|(at, disk)| own(disk, &given[field][at])),
            disk if field == "osDisk" => own(disk, &given[field]),
            _ => {}
        }
    }
    for field in SHARED {
        if let Some(value) = machine["properties"].get(*field) {
            finished[*field] = value.clone();
        }
    }
    if let Some(os) = machine["properties"]["osProfile"].as_object() {
        let mut os = os.clone();
        let name = os.remove("computerName").unwrap_or_default();
        let prefix = name.as_str().and_then(|name| name.strip_suffix(LATER));
        let prefix = json!(prefix.unwrap_or_default());
        os.insert("computerNamePrefix".to_owned(), prefix);
        for secret in ["adminPassword", "customData"] {
            os.remove(secret);
        }
        finished["osProfile"] = Value::Object(os);
    }
    body["properties"]["virtualMachineProfile"] = finished;
    Ok(())
}

/// Interfaces are made of the model: each needs an IP configuration in a subnet that is there.
fn interfaces(context: &Context<'_>, profile: &Value, location: &Value) -> Result<()> {
    let configurations = profile["networkInterfaceConfigurations"].as_array();
    let Some(configurations) = configurations.filter(|list| !list.is_empty()) else {
        return Err(ArmError::missing_parameter(
            "networkProfile.networkInterfaceConfigurations",
        ));
    };
    let primaries = configurations
        .iter()
        .filter(|one| one["properties"]["primary"] == true)
        .count();
    if configurations.len() > 1 && primaries != 1 {
        return Err(ArmError::compute(
            400,
            "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary",
            "Virtual machine must have one network interface set as the primary.",
        ));
    }
    for subnet in subnets(profile) {
        let Some(subnet) = subnet else {
            return Err(invalid(
                "ipConfigurations.subnet",
                "Subnet reference is required for each IP configuration.",
            ));
        };
        let is_there = subnet
            .rsplit_once("/subnets/")
            .or_else(|| subnet.rsplit_once("/Subnets/"))
            .and_then(|(network, _)| context.state.resource(network))
            .filter(|network| network.body["location"] == *location)
            .and_then(|network| network.body["properties"]["subnets"].as_array())
            .into_iter()
            .flatten()
            .any(|one| same(one["id"].as_str().unwrap_or_default(), &subnet));
        if !is_there {
            return Err(ArmError::compute(
                400,
                "InvalidResourceReference",
                format!(
                    "Resource {subnet} referenced by the scale set was not found. Please make sure that the referenced resource exists, and that both resources are in the same region."
                ),
            ));
        }
    }
    Ok(())
}

/// The subnet of each IP configuration of a network profile.
fn subnets(profile: &Value) -> impl Iterator<Item = Option<String>> {
    profile["networkInterfaceConfigurations"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| {
            one["properties"]["ipConfigurations"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .map(|ip| {
            ip["properties"]["subnet"]["id"]
                .as_str()
                .map(ToOwned::to_owned)
        })
}

/// The ids that a set refers to and cannot be without: its networks.
pub(crate) fn uses(body: &Value) -> Vec<String> {
    subnets(&body["properties"]["virtualMachineProfile"]["networkProfile"])
        .flatten()
        .flat_map(|subnet| {
            let network = subnet
                .to_ascii_lowercase()
                .rfind("/subnets/")
                .map(|at| subnet[..at].to_owned());
            [Some(subnet), network].into_iter().flatten()
        })
        .collect()
}
