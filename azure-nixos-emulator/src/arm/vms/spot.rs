//! Spot machines: their settings, and how they are evicted.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::error::{ArmError, Origin};
use super::super::lro::{Dialect, Work};
use super::super::quotas::is_spot;
use super::super::resources::set_state;
use super::super::sizes::Size;
use super::power::set_power;
use crate::state::{Inner, Power, Resource};

/// What all of these texts end with in the recording of one of them.
const MORE: &str = "For more information, see https://aka.ms/low-priority/errormessages.";

/// A refusal from the documentation's list of errors of Spot machines, in its words. Of the codes only
/// one is recorded, of a price that cannot change; the others are taken to be the same.
fn refused(message: &str) -> ArmError {
    ArmError::compute(409, "OperationNotAllowed", format!("{message} {MORE}"))
}

/// Checks what a machine says of its priority, and fills in what the service does.
pub(super) fn check(properties: &mut Value, size: &Size) -> Result<()> {
    check_price(properties)?;
    if !is_spot(&properties["priority"]) {
        if properties["evictionPolicy"].is_string() {
            return Err(refused(
                "Eviction policy can be set only on Azure Spot Virtual Machines.",
            ));
        }
        if properties["billingProfile"]["maxPrice"].is_number() {
            return Err(refused(PRICE_OF_OTHERS));
        }
        return Ok(());
    }
    check_size(&properties["priority"], size)?;
    if properties["availabilitySet"].is_object() {
        return Err(refused(
            "Azure Spot Virtual Machine is not supported in Availability Set.",
        ));
    }
    for (field, value) in [
        ("evictionPolicy", json!("Deallocate")),
        ("billingProfile", json!({ "maxPrice": -1.0 })),
    ] {
        if properties.get(field).is_none() {
            properties[field] = value;
        }
    }
    Ok(())
}

const PRICE_OF_OTHERS: &str = "Max price is supported only for Azure Spot Virtual Machines.";

/// Whether a size has Spot machines, where they are to be such.
pub(super) fn check_size(priority: &Value, size: &Size) -> Result<()> {
    if !is_spot(priority) || size.is_spot {
        return Ok(());
    }
    Err(refused(&format!(
        "Azure Spot is not supported for this VM size {}.",
        size.name
    )))
}

fn check_price(properties: &Value) -> Result<()> {
    let price = properties["billingProfile"]["maxPrice"].as_f64();
    if price.is_none_or(|price| price > 0.0 || (price + 1.0).abs() < f64::EPSILON) {
        return Ok(());
    }
    Err(refused(
        "Invalid max price value. The only supported values for max price are -1 or a decimal greater than zero. Max price value of -1 indicates the Azure Spot virtual machine will not be evicted for price reasons.",
    ))
}

/// Takes over another price, which a machine has to be deallocated for, as recorded.
pub(super) fn set_price(machine: &mut Resource, wanted: &Value) -> Result<()> {
    let is = &wanted["billingProfile"]["maxPrice"];
    let was = machine.body["properties"]["billingProfile"]["maxPrice"].as_f64();
    if is.is_null() || is.as_f64() == was {
        return Ok(());
    }
    check_price(wanted)?;
    if !is_spot(&machine.body["properties"]["priority"]) {
        return Err(refused(PRICE_OF_OTHERS));
    }
    let is_off = matches!(&machine.inner, Inner::Vm(vm) if vm.power == Power::Deallocated);
    if !is_off {
        let name = machine.body["name"].as_str().unwrap_or_default();
        return Err(
            refused("Billing Profile change is not allowed.").with_details(vec![json!({
                "code": "OperationNotAllowed",
                "message": format!(
                    "Billing Profile change is not allowed when the VM '{name}' is currently allocated. Please deallocate and try again. {MORE}"
                ),
                "target": name,
            })]),
        );
    }
    machine.body["properties"]["billingProfile"] = json!({ "maxPrice": is });
    Ok(())
}

/// `POST …/simulateEviction`: taken at once, and there is no operation to ask after. By its policy the
/// machine is deallocated, or deleted together with its disks, as the documentation says.
pub(super) fn evict(context: &mut Context<'_>, machine: &Resource) -> Result {
    let properties = &machine.body["properties"];
    if !is_spot(&properties["priority"]) {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            "Operation 'simulateEviction' is allowed only for Spot Virtual Machines",
        ));
    }
    context.refuse_while_busy(&machine.id, Origin::Provider)?;
    let id = machine.id.clone();
    let location = machine.body["location"].as_str().unwrap_or_default();
    let work = if properties["evictionPolicy"] == "Delete" {
        if let Some(machine) = context.state.resource_mut(&id) {
            let storage = &mut machine.body["properties"]["storageProfile"];
            storage["osDisk"]["deleteOption"] = json!("Delete");
            for disk in storage["dataDisks"].as_array_mut().into_iter().flatten() {
                disk["deleteOption"] = json!("Delete");
            }
            set_state(Some(machine), "Deleting");
        }
        Work::VmDeleted
    } else {
        set_power(context, &id, Power::Deallocating);
        set_state(context.state.resource_mut(&id), "Updating");
        Work::VmPower(Power::Deallocated)
    };
    context.begin(Dialect::Compute, location, &id, work);
    Ok(Answer::empty(204))
}
