//! How many cores machines may have, and how many they have.
//!
//! There is a limit for all families together in a location, one for each family, and one for the
//! Spot machines, which count in no other. Machines count whether they run or not.

use super::Context;
use super::answer::Result;
use super::error::ArmError;
use super::scale_sets::is_flexible;
use super::sizes::Size;
use crate::state::{Inner, Resource};

/// The name of the limit of all families together, and of that of Spot machines.
pub(crate) const TOTAL: &str = "cores";
pub(crate) const SPOT: &str = "lowPriorityCores";

/// Each limit, unless a quota says otherwise.
const CORES: u64 = 100;

/// What a limit is, by the name that it has among the usages.
pub(crate) fn limit(context: &Context<'_>, name: &str) -> u64 {
    context.arm.settings().offer.limit(name, CORES)
}

/// The cores that count against a limit in a location, without those of the resource `except`.
pub(crate) fn used(context: &Context<'_>, location: &str, name: &str, except: &str) -> u64 {
    context
        .state
        .resources
        .values()
        .filter(|resource| {
            resource.body["location"] == location && !resource.id.eq_ignore_ascii_case(except)
        })
        .filter_map(|resource| {
            let (size, count, is_spot) = counted(resource)?;
            let counts = match name {
                SPOT => is_spot,
                TOTAL => !is_spot,
                family => !is_spot && size.family.eq_ignore_ascii_case(family),
            };
            counts.then_some(size.cores * count)
        })
        .sum()
}

/// The size of the machines of a resource, how many there are, and whether they are Spot machines.
fn counted(resource: &Resource) -> Option<(&'static Size, u64, bool)> {
    let properties = &resource.body["properties"];
    match &resource.inner {
        Inner::Vm(_) => Some((
            Size::find(properties["hardwareProfile"]["vmSize"].as_str()?)?,
            1,
            is_spot(&properties["priority"]),
        )),
        // The machines of a Flexible set are machines by themselves.
        Inner::ScaleSet(_) if is_flexible(&resource.body) => None,
        Inner::ScaleSet(_) => Some((
            Size::find(resource.body["sku"]["name"].as_str()?)?,
            resource.body["sku"]["capacity"].as_u64()?,
            is_spot(&properties["virtualMachineProfile"]["priority"]),
        )),
        _ => None,
    }
}

/// Whether a priority is that of Spot machines, by either of its names.
pub(crate) fn is_spot(priority: &serde_json::Value) -> bool {
    matches!(priority.as_str(), Some("Spot" | "Low"))
}

/// Refuses so many machines more where there are not cores enough. What the resource `except` has
/// is not counted, as these are in its place.
pub(crate) fn check(
    context: &Context<'_>,
    size: &Size,
    location: &str,
    machines: u64,
    is_spot: bool,
    except: &str,
) -> Result<()> {
    let wanted = size.cores * machines;
    let names: &[&str] = if is_spot {
        &[SPOT]
    } else {
        &[TOTAL, size.family]
    };
    for name in names {
        let (limit, used) = (limit(context, name), used(context, location, name, except));
        if used + wanted <= limit {
            continue;
        }
        let message = match *name {
            // As recorded.
            TOTAL => format!(
                "Operation results in exceeding quota limits of Core. Maximum allowed: {limit}, Current in use: {used}, Additional requested: {wanted}."
            ),
            // As users report it, up to the parameters of the link.
            name => format!(
                "Operation could not be completed as it results in exceeding approved {} quota. Additional details - Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used}, Additional Required: {wanted}, (Minimum) New Limit Required: {}. Submit a request for Quota increase at https://aka.ms/ProdportalCRP/ by specifying parameters listed in the \u{2018}Details\u{2019} section for deployment to succeed. Please read more about quota limits at https://docs.microsoft.com/en-us/azure/azure-supportability/per-vm-quota-requests",
                if name == SPOT {
                    "LowPriorityCores".to_owned()
                } else {
                    format!("{name} Cores")
                },
                used + wanted
            ),
        };
        return Err(ArmError::compute(409, "OperationNotAllowed", message));
    }
    Ok(())
}
