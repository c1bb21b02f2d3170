//! The regions that an image version is replicated to, and how far that has come.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::lro::{Operation, Work};
use super::super::subscriptions::{display_name, find_location};
use crate::state::Resource;

const REGIONS: &str = "galleryImageVersion.properties.publishingProfile.targetRegions";

/// The most replicas that a region has.
const MOST_REPLICAS: u64 = 100;

fn invalid(message: impl Into<String>) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target(REGIONS)
}

/// Fills in the publishing profile of a version in `location`. Regions come back under the names
/// that people read: `East US 2`.
pub(super) fn complete(profile: &mut Value, location: &str) -> Result<()> {
    if !profile["targetExtendedLocations"].is_null() {
        return Err(ArmError::not_implemented(
            "image versions in extended locations",
        ));
    }
    for (field, value) in [
        ("replicaCount", json!(1)),
        ("excludeFromLatest", json!(false)),
        ("storageAccountType", json!("Standard_LRS")),
    ] {
        if profile.get(field).is_none() {
            profile[field] = value;
        }
    }
    let (count, storage) = (
        profile["replicaCount"].clone(),
        profile["storageAccountType"].clone(),
    );
    check_count(&count)?;
    if profile["targetRegions"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        profile["targetRegions"] = json!([{ "name": location }]);
    }
    let mut seen = Vec::new();
    for region in profile["targetRegions"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let given = region["name"].as_str().unwrap_or_default();
        let Some(name) = find_location(given) else {
            return Err(invalid(format!(
                "The target region '{given}' is not a location of the subscription."
            )));
        };
        if seen.contains(&name) {
            return Err(invalid(
                "Duplicate regions are not allowed in target publishing regions.",
            ));
        }
        seen.push(name);
        region["name"] = json!(display_name(name));
        for (field, value) in [
            ("regionalReplicaCount", &count),
            ("storageAccountType", &storage),
        ] {
            if region.get(field).is_none() {
                region[field] = value.clone();
            }
        }
        check_count(&region["regionalReplicaCount"])?;
        // Azure adds it to what is encrypted with a key of the customer's.
        if let Some(disk) = region.pointer_mut("/encryption/osDiskImage")
            && disk.get("securityProfile").is_none()
        {
            disk["securityProfile"] = json!({});
        }
    }
    if !seen.contains(&location) {
        // The words are Azure's; code and status are a guess. It is said that it has begun to add
        // the location by itself since.
        return Err(invalid(format!(
            "Gallery image version publishing profile regions '{}' must contain the location of image version '{}'.",
            seen.join(","),
            display_name(location)
        )));
    }
    Ok(())
}

fn check_count(count: &Value) -> Result<()> {
    if count
        .as_u64()
        .is_some_and(|count| (1..=MOST_REPLICAS).contains(&count))
    {
        return Ok(());
    }
    Err(invalid(format!(
        "The value '{count}' of the replica count is out of range. The value must be between '1' and '{MOST_REPLICAS}', inclusive."
    )))
}

/// The locations of a version's document.
pub(super) fn of(version: &Value) -> Vec<&'static str> {
    version["properties"]["publishingProfile"]["targetRegions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|region| find_location(region["name"].as_str()?))
        .collect()
}

/// What is being done to a version.
fn under_way<'a>(context: &'a Context<'_>, version: &Resource) -> Option<&'a Operation> {
    context.state.operations.values().find(|operation| {
        operation.is_running() && operation.resource.eq_ignore_ascii_case(&version.id)
    })
}

/// Whether a region waits for this operation.
fn waits(operation: &Operation, region: &str) -> bool {
    match operation.work.seems() {
        Work::VersionCopied(..) => true,
        Work::VersionUpdated(added) => added.iter().any(|added| added == region),
        _ => false,
    }
}

/// Whether a machine in a location can be made of a version.
pub(super) fn is_in(context: &Context<'_>, version: &Resource, location: &str) -> bool {
    let has_failed = version.body["properties"]["provisioningState"] == "Failed"
        || version.body["properties"]["provisioningState"] == "Deleting";
    !has_failed
        && of(&version.body).contains(&location)
        && under_way(context, version).is_none_or(|operation| !waits(operation, location))
}

/// Whether the latest version for a location can be this one.
pub(super) fn can_be_latest(version: &Value, location: &str) -> bool {
    let profile = &version["properties"]["publishingProfile"];
    profile["excludeFromLatest"] != true
        && !profile["targetRegions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|region| {
                find_location(region["name"].as_str().unwrap_or_default()) == Some(location)
                    && region["excludeFromLatest"] == true
            })
}

/// `replicationStatus`: regions by their short names, and how far each is by the clock.
pub(super) fn status(context: &Context<'_>, version: &Resource) -> Value {
    let operation = under_way(context, version);
    let has_failed = version.body["properties"]["provisioningState"] == "Failed";
    let mut is_complete = true;
    let summary: Vec<Value> = of(&version.body)
        .into_iter()
        .map(|region| {
            let (state, progress) = match operation.filter(|operation| waits(operation, region)) {
                Some(operation) => ("Replicating", progress(operation, context.now)),
                None if has_failed => ("Failed", 0),
                None => ("Completed", 100),
            };
            is_complete &= state == "Completed";
            json!({ "region": region, "state": state, "progress": progress })
        })
        .collect();
    let state = match (has_failed, is_complete) {
        (true, _) => "Failed",
        (_, true) => "Completed",
        _ => "InProgress",
    };
    json!({ "aggregatedState": state, "summary": summary })
}

/// In percent, by the time that has passed; not complete before the operation is.
fn progress(operation: &Operation, now: SystemTime) -> u64 {
    let whole = operation
        .due
        .duration_since(operation.started)
        .unwrap_or_default()
        .as_millis();
    let passed = now
        .duration_since(operation.started)
        .unwrap_or_default()
        .as_millis();
    let percent = (passed * 100).checked_div(whole).unwrap_or(100);
    u64::try_from(percent).unwrap_or(99).min(99)
}
