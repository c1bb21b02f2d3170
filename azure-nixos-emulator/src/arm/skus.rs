//! The sizes of virtual machines as the service lists them, and how much of them is used.

use serde_json::{Value, json};

use super::answer::{Answer, Result};
use super::error::ArmError;
use super::quotas::{self, SPOT, TOTAL};
use super::sizes::{SIZES, Size};
use super::subscriptions::{find_location, has_zones, location_names};
use super::{Context, Offer};

impl Size {
    fn sku(&self, location: &str, offer: &Offer) -> Value {
        let short = self.name.trim_start_matches("Standard_");
        let has_premium_storage = self.has_premium_storage();
        let capabilities = [
            ("MaxResourceVolumeMB", "0".to_owned()),
            ("vCPUs", self.cores.to_string()),
            ("vCPUsAvailable", self.cores.to_string()),
            ("HyperVGenerations", self.generations.to_owned()),
            ("MemoryGB", trimmed(self.memory)),
            ("MaxDataDiskCount", self.data_disks.to_string()),
            ("CpuArchitectureType", self.architecture.to_owned()),
            ("DiskControllerTypes", self.controllers.to_owned()),
            ("LowPriorityCapable", capital(self.is_spot)),
            ("PremiumIO", capital(has_premium_storage)),
            ("EphemeralOSDiskSupported", "False".to_owned()),
            ("EncryptionAtHostSupported", "True".to_owned()),
            (
                "AcceleratedNetworkingEnabled",
                capital(self.has_accelerated_networking),
            ),
            ("MaxNetworkInterfaces", self.interfaces.to_string()),
        ];
        // Each is there only where it says something.
        let trusted =
            (!self.has_trusted_launch).then(|| ("TrustedLaunchDisabled", "True".to_owned()));
        let confidential = self
            .is_confidential
            .then(|| ("ConfidentialComputingType", "SNP".to_owned()));
        let capabilities: Vec<Value> = capabilities
            .into_iter()
            .chain(trusted)
            .chain(confidential)
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        json!({
            "resourceType": "virtualMachines",
            "name": self.name,
            "tier": "Standard",
            "size": short,
            "family": self.family,
            "locations": [location],
            "locationInfo": [{ "location": location, "zones": self.zones_in(location), "zoneDetails": [] }],
            "capabilities": capabilities,
            "restrictions": self.restrictions(location, offer),
        })
    }

    /// The zones of a location that have the size.
    pub(crate) fn zones_in(&self, location: &str) -> &'static [&'static str] {
        if has_zones(location) { self.zones } else { &[] }
    }

    fn restrictions(&self, location: &str, offer: &Offer) -> Vec<Value> {
        offer
            .restrictions(self.name)
            .filter(|restricted| restricted.zones.is_empty() || has_zones(location))
            .map(|restricted| {
                let mut info = json!({ "locations": [location] });
                if !restricted.zones.is_empty() {
                    info["zones"] = json!(restricted.zones);
                }
                json!({
                    "type": if restricted.zones.is_empty() { "Location" } else { "Zone" },
                    "values": [location],
                    "restrictionInfo": info,
                    "reasonCode": "NotAvailableForSubscription",
                })
            })
            .collect()
    }
}

/// MiB as GiB, without a needless fraction: `3.5`, `8`.
fn trimmed(memory: u64) -> String {
    let tenths = memory * 10 / 1024;
    if tenths.is_multiple_of(10) {
        (tenths / 10).to_string()
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

fn capital(flag: bool) -> String {
    if flag { "True" } else { "False" }.to_owned()
}

/// `GET …/skus`: of the location of the filter, or of all. `az` sends no filter and looks itself.
pub(crate) fn list(context: &Context<'_>) -> Result {
    let offer = &context.arm.settings().offer;
    let filter = context.call.query("$filter");
    let locations = match filter {
        None => location_names().collect(),
        Some(filter) => filter
            .split('\'')
            .nth(1)
            .filter(|_| filter.trim_start().starts_with("location eq"))
            .and_then(find_location)
            .map(|location| vec![location])
            .ok_or_else(|| {
                ArmError::compute(
                    400,
                    "InvalidParameter",
                    format!("The filter \"{filter}\" is not of the form location eq 'westus2'."),
                )
                .with_target("$filter")
            })?,
    };
    let all: Vec<Value> = locations
        .into_iter()
        .flat_map(|location| SIZES.iter().map(|size| size.sku(location, offer)))
        .collect();
    Ok(Answer::json(200, json!({ "value": all })))
}

/// `GET …/locations/{location}/vmSizes`
pub(crate) fn sizes(location: &str) -> Result {
    require_location(location)?;
    Ok(sizes_of(SIZES.iter()))
}

/// The list of these sizes.
pub(crate) fn sizes_of(sizes: impl Iterator<Item = &'static Size>) -> Answer {
    let all: Vec<Value> = sizes
        .map(|size| {
            json!({
                "name": size.name,
                "numberOfCores": size.cores,
                "osDiskSizeInMB": 1_047_552,
                "resourceDiskSizeInMB": 0,
                "memoryInMB": size.memory,
                "maxDataDiskCount": size.data_disks,
            })
        })
        .collect();
    Answer::json(200, json!({ "value": all }))
}

/// `GET …/locations/{location}/usages`
pub(crate) fn usages(context: &Context<'_>, location: &str) -> Result {
    let location = require_location(location)?;
    let entry = |name: &str, display: &str| {
        json!({
            "limit": quotas::limit(context, name),
            "unit": "Count",
            "currentValue": quotas::used(context, location, name, ""),
            "name": { "value": name, "localizedValue": display },
        })
    };
    let mut all = vec![
        entry(TOTAL, "Total Regional vCPUs"),
        entry(SPOT, "Total Regional Low-priority vCPUs"),
    ];
    let mut families: Vec<&str> = SIZES.iter().map(|size| size.family).collect();
    families.dedup();
    for family in families {
        all.push(entry(
            family,
            &format!("{} vCPUs", family.replacen("Family", " Family", 1)),
        ));
    }
    Ok(Answer::json(200, json!({ "value": all })))
}

pub(crate) fn require_location(location: &str) -> Result<&'static str> {
    find_location(location).ok_or_else(|| {
        ArmError::gateway(
            400,
            "NoRegisteredProviderFound",
            format!("No registered resource provider found for location '{location}'."),
        )
    })
}
