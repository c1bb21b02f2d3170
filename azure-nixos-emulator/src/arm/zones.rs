//! Availability zones: which there are, and that what belongs together is in the same one.

use serde_json::Value;

use super::Context;
use super::answer::Result;
use super::error::{ArmError, Origin};
use super::id::{Kind, ResourceId};
use super::sizes::Size;
use super::subscriptions::has_zones;
use crate::state::Resource;

/// The zones of a document.
pub(crate) fn of(body: &Value) -> Vec<&str> {
    body["zones"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The zone of a machine or a disk, which has one at most.
pub(crate) fn one_of(body: &Value) -> Option<&str> {
    of(body).first().copied()
}

/// Refuses zones that the location does not have: code and text are those that users report of public
/// addresses. That a machine and a disk have one at most is documented; code and text of that refusal
/// are not known.
pub(crate) fn check(id: &ResourceId, body: &Value) -> Result<()> {
    let zones = of(body);
    let location = body["location"].as_str().unwrap_or_default();
    let supported: &[&str] = if has_zones(location) {
        &["1", "2", "3"]
    } else {
        &[]
    };
    let resource = format!("{}/{}", id.kind.full(), id.name);
    if !zones.iter().all(|zone| supported.contains(zone)) {
        return Err(not_supported(
            "InvalidAvailabilityZone",
            &zones,
            &resource,
            location,
            supported,
        ));
    }
    if zones.len() > 1 && matches!(id.kind, Kind::Vm | Kind::Disk) {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!("The resource '{resource}' can be in one zone only."),
        )
        .with_target("zones"));
    }
    Ok(())
}

fn not_supported(
    code: &str,
    zones: &[&str],
    resource: &str,
    location: &str,
    supported: &[&str],
) -> ArmError {
    ArmError::compute(
        400,
        code,
        format!(
            "The zone(s) '{}' for resource '{resource}' is not supported. The supported zones for location '{location}' are '{}'",
            zones.join(","),
            supported.join(",")
        ),
    )
}

/// Refuses a size that the location or the zones do not have for the subscription, as users report it.
/// `id` is the machine's, or that of its scale set.
pub(crate) fn check_size(
    context: &Context<'_>,
    size: &Size,
    location: &str,
    zones: &[&str],
    id: &str,
) -> Result<()> {
    let supported = size.zones_in(location);
    if !zones.iter().all(|zone| supported.contains(zone)) {
        let resource = ResourceId::parse(id).map_or_else(
            || id.to_owned(),
            |id| format!("{}/{}", id.kind.full(), id.name),
        );
        return Err(not_supported(
            "AvailabilityZoneNotSupported",
            zones,
            &resource,
            location,
            supported,
        ));
    }
    let restricted = context
        .arm
        .settings()
        .offer
        .restrictions(size.name)
        .find(|restricted| {
            let hit = |zone: &&str| restricted.zones.iter().any(|one| one == zone);
            restricted.zones.is_empty() || zones.iter().any(hit)
        });
    match restricted {
        None => Ok(()),
        Some(restricted) if restricted.zones.is_empty() => Err(not_available(size.name, location)),
        Some(_) => Err(ArmError::compute(
            409,
            "SkuNotAvailable",
            format!(
                "The requested size for resource '{id}' is currently not available in location '{location}' zones '{}' for subscription '{}'. Please try another size or deploy to a different location or zones. See https://aka.ms/azureskunotavailable for details.",
                zones.join(","),
                context.state.identity.subscription_id
            ),
        )),
    }
}

/// A size that the location does not have, or not for the subscription.
pub(crate) fn not_available(size: &str, location: &str) -> ArmError {
    ArmError::compute(
        409,
        "SkuNotAvailable",
        format!(
            "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {size}' is currently not available in location '{location}'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details."
        ),
    )
}

/// Refuses a disk that is not where its machine is. Those of zone-redundant storage are everywhere.
/// The first two texts are reported. That a machine without a zone has no disk of one is documented; the
/// text of that refusal is not known.
pub(crate) fn check_disk(disk: &Resource, machine: &Value) -> Result<()> {
    let redundant = disk.body["sku"]["name"]
        .as_str()
        .is_some_and(|sku| sku.ends_with("_ZRS"));
    let why = match (one_of(machine), one_of(&disk.body)) {
        (Some(_), None) if redundant => return Ok(()),
        (Some(machine), None) => format!("it is not in zone '{machine}'."),
        (Some(machine), Some(disk)) if machine != disk => format!(
            "it is not in the same zone as the VM. VM zone: '{machine}'. Disk zone: '{disk}'."
        ),
        (None, Some(disk)) => {
            format!("it is in zone '{disk}' and the VM is not in a zone.")
        }
        _ => return Ok(()),
    };
    Err(ArmError::compute(
        400,
        "BadRequest",
        format!(
            "Disk {} cannot be attached to the VM because {why}",
            disk.id
        ),
    ))
}

/// Refuses a public address that is not where its machine is, as users report it; one of several zones is
/// in each.
/// Whether one of none is, is assumed (see `Assumption::RegionalAddressFitsZone`).
pub(crate) fn check_address(
    address: &Resource,
    machine: &str,
    body: &Value,
    regional_fits: bool,
) -> Result<()> {
    let zones = of(&address.body);
    let is_standard = address.body["sku"]["name"] != "Basic";
    let Some(zone) = one_of(body) else {
        return Ok(());
    };
    if zones.contains(&zone) || (zones.is_empty() && is_standard && regional_fits) {
        return Ok(());
    }
    let other = if zones.is_empty() {
        "Regional".to_owned()
    } else {
        zones.join(", ")
    };
    let mut error = ArmError::compute(
        400,
        "ComputeResourceZoneConstraintDoesNotMatchPublicIPAddressZoneConstraint",
        format!(
            "Compute resource {machine} has a zone constraint {zone} but the PublicIPAddress {} used by the compute resource via NetworkInterface or LoadBalancer has a different zone constraint {other}.",
            address.id
        ),
    );
    // It comes from the provider of networks, also in the answer for a machine.
    error.origin = Origin::Network;
    Err(error)
}
