//! The subscription and its locations.

use serde_json::{Value, json};

use super::Context;
use super::answer::{Answer, Result};
use super::error::ArmError;

/// Name, display name, geography group.
const LOCATIONS: &[(&str, &str, &str)] = &[
    ("eastus", "East US", "US"),
    ("eastus2", "East US 2", "US"),
    ("centralus", "Central US", "US"),
    ("northcentralus", "North Central US", "US"),
    ("southcentralus", "South Central US", "US"),
    ("westcentralus", "West Central US", "US"),
    ("westus", "West US", "US"),
    ("westus2", "West US 2", "US"),
    ("westus3", "West US 3", "US"),
    ("canadacentral", "Canada Central", "Canada"),
    ("canadaeast", "Canada East", "Canada"),
    ("brazilsouth", "Brazil South", "South America"),
    ("mexicocentral", "Mexico Central", "Mexico"),
    ("northeurope", "North Europe", "Europe"),
    ("westeurope", "West Europe", "Europe"),
    ("uksouth", "UK South", "UK"),
    ("ukwest", "UK West", "UK"),
    ("francecentral", "France Central", "Europe"),
    ("germanywestcentral", "Germany West Central", "Europe"),
    ("italynorth", "Italy North", "Europe"),
    ("norwayeast", "Norway East", "Europe"),
    ("polandcentral", "Poland Central", "Europe"),
    ("spaincentral", "Spain Central", "Europe"),
    ("swedencentral", "Sweden Central", "Europe"),
    ("switzerlandnorth", "Switzerland North", "Europe"),
    ("israelcentral", "Israel Central", "Middle East"),
    ("qatarcentral", "Qatar Central", "Middle East"),
    ("uaenorth", "UAE North", "Middle East"),
    ("southafricanorth", "South Africa North", "Africa"),
    ("australiacentral", "Australia Central", "Asia Pacific"),
    ("australiaeast", "Australia East", "Asia Pacific"),
    ("australiasoutheast", "Australia Southeast", "Asia Pacific"),
    ("centralindia", "Central India", "Asia Pacific"),
    ("southindia", "South India", "Asia Pacific"),
    ("eastasia", "East Asia", "Asia Pacific"),
    ("southeastasia", "Southeast Asia", "Asia Pacific"),
    ("japaneast", "Japan East", "Asia Pacific"),
    ("japanwest", "Japan West", "Asia Pacific"),
    ("koreacentral", "Korea Central", "Asia Pacific"),
    ("newzealandnorth", "New Zealand North", "Asia Pacific"),
    ("centraluseuap", "Central US EUAP", "US"),
    ("eastus2euap", "East US 2 EUAP", "US"),
];

/// `GET /subscriptions`
pub(crate) fn list(context: &Context<'_>) -> Answer {
    Answer::json(
        200,
        json!({ "value": [body(context)], "count": { "type": "Total", "value": 1 } }),
    )
}

/// `GET /subscriptions/{id}`
pub(crate) fn get(context: &Context<'_>) -> Answer {
    Answer::json(200, body(context))
}

fn body(context: &Context<'_>) -> Value {
    let id = context.state.identity.subscription_id;
    json!({
        "id": format!("/subscriptions/{id}"),
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionId": id,
        "tenantId": context.state.identity.tenant_id,
        "displayName": "Local Azure",
        "state": context.arm.settings().offer.subscription_state(),
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    })
}

/// Refuses to change anything in a subscription that is not in use any more.
pub(crate) fn require_writable(context: &Context<'_>) -> Result<()> {
    let state = context.arm.settings().offer.subscription_state();
    let reads = matches!(context.call.method.as_str(), "GET" | "HEAD");
    if reads || !matches!(state, "Disabled" | "Deleted") {
        return Ok(());
    }
    Err(ArmError::gateway(
        409,
        "ReadOnlyDisabledSubscription",
        format!(
            "The subscription '{}' is disabled and therefore marked as read only. You cannot perform any write actions on this subscription until it is re-enabled.",
            context.state.identity.subscription_id
        ),
    ))
}

/// `GET /tenants`
pub(crate) fn tenants(context: &Context<'_>) -> Answer {
    let id = context.state.identity.tenant_id;
    Answer::json(
        200,
        json!({ "value": [{
            "id": format!("/tenants/{id}"),
            "tenantId": id,
            "countryCode": "US",
            "displayName": "Local Azure",
            "domains": ["local.onmicrosoft.com"],
            "tenantCategory": "Home",
            "defaultDomain": "local.onmicrosoft.com",
            "tenantType": "AAD",
        }]}),
    )
}

/// `GET /subscriptions/{id}/locations`
pub(crate) fn locations(context: &Context<'_>) -> Answer {
    let id = context.state.identity.subscription_id;
    let all: Vec<Value> = LOCATIONS
        .iter()
        .map(|(name, display, geography)| {
            json!({
                "id": format!("/subscriptions/{id}/locations/{name}"),
                "name": name,
                "type": "Region",
                "displayName": display,
                "regionalDisplayName": format!("({geography}) {display}"),
                "metadata": {
                    "regionType": "Physical",
                    "regionCategory": "Recommended",
                    "geographyGroup": geography,
                },
            })
        })
        .collect();
    Answer::json(200, json!({ "value": all }))
}

/// The locations without availability zones, by Microsoft's list of regions.
const WITHOUT_ZONES: &[&str] = &[
    "northcentralus",
    "westcentralus",
    "westus",
    "canadaeast",
    "ukwest",
    "australiacentral",
    "australiasoutheast",
    "southindia",
];

/// Whether a location has availability zones, which are three then: `1`, `2` and `3`.
pub(crate) fn has_zones(location: &str) -> bool {
    !WITHOUT_ZONES.contains(&location)
}

/// Every location by its name.
pub(crate) fn location_names() -> impl Iterator<Item = &'static str> {
    LOCATIONS.iter().map(|(name, ..)| *name)
}

/// Every location as it is shown to people.
pub(crate) fn display_names() -> impl Iterator<Item = &'static str> {
    LOCATIONS.iter().map(|(_, display, _)| *display)
}

/// The name of a location in any spelling, if there is such a location.
pub(crate) fn find_location(given: &str) -> Option<&'static str> {
    let folded = given.replace(' ', "").to_ascii_lowercase();
    LOCATIONS
        .iter()
        .map(|(name, ..)| *name)
        .find(|name| *name == folded)
}

/// How people read the name of a location: `East US 2`.
pub(crate) fn display_name(location: &str) -> &str {
    LOCATIONS
        .iter()
        .find(|(name, ..)| *name == location)
        .map_or(location, |(_, display, _)| display)
}

/// The location of a resource's body, normalised.
pub(crate) fn location_of(body: &Value, resource_type: &str) -> Result<&'static str> {
    let given = body["location"].as_str().unwrap_or_default();
    if given.is_empty() {
        return Err(ArmError::gateway(
            400,
            "LocationRequired",
            "The location property is required for this definition.",
        ));
    }
    find_location(given).ok_or_else(|| {
        ArmError::gateway(
            400,
            "LocationNotAvailableForResourceType",
            format!(
                "The provided location '{given}' is not available for resource type '{resource_type}'. List of available regions for the resource type is '{}'.",
                names()
            ),
        )
    })
}

/// All names, for messages.
pub(crate) fn names() -> String {
    LOCATIONS
        .iter()
        .map(|(name, ..)| *name)
        .collect::<Vec<_>>()
        .join(",")
}
