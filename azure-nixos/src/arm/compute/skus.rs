//! Sizes of virtual machines: which there are in a region, which of them a subscription may use, and
//! what they can boot.

use serde::Deserialize;

use super::super::{Client, Location};
use crate::{Generation, Result};

const API: &str = "2021-07-01";

/// A size of virtual machines in a region, as the service lists it.
///
/// Everything about it is a list of pairs of texts; the methods read those that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct VmSize {
    /// Its name: `Standard_D2s_v5`.
    pub name: String,
    /// `virtualMachines`; disks and other things are in the same list.
    pub resource_type: String,
    /// The family whose [quota](super::super::Usage) it counts against: `standardDSv5Family`.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub family: String,
    /// Where it is.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub locations: Vec<String>,
    /// In which zones it is.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub location_info: Vec<ZoneInfo>,
    /// What it can, as pairs.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub capabilities: Vec<Capability>,
    /// Why and where it cannot be used.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub restrictions: Vec<Restriction>,
}

/// The zones of a region that a size is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct ZoneInfo {
    /// The region.
    pub location: String,
    /// Names of zones: `1`. None where the region has none, or the size is not in any.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub zones: Vec<String>,
}

/// One thing that a size can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Capability {
    /// Its name: `vCPUs`.
    pub name: String,
    /// Its value as text: `2`, `True`, `V1,V2`.
    pub value: String,
}

/// A place where a size cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Restriction {
    /// `Location` for the whole region, `Zone` for some of its zones.
    #[serde(rename = "type")]
    pub kind: String,
    /// The locations, where it is of whole regions.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub values: Vec<String>,
    /// The zones, where it is of zones.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub restriction_info: RestrictionInfo,
    /// `NotAvailableForSubscription`, or `QuotaId` where the offer does not include it.
    pub reason_code: Option<String>,
}

/// The zones of a restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct RestrictionInfo {
    /// Names of zones: `1`.
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub zones: Vec<String>,
}

impl Restriction {
    /// Why, in one word of the service's.
    pub(crate) fn reason(&self) -> &str {
        self.reason_code.as_deref().unwrap_or("no reason is given")
    }
}

impl VmSize {
    /// The size of a name, in any case.
    pub(crate) fn find<'a>(sizes: &'a [Self], name: &str) -> Option<&'a Self> {
        sizes
            .iter()
            .find(|size| size.name.eq_ignore_ascii_case(name))
    }

    /// The [`cores`](Self::cores) in words: `1 vCPU`.
    pub(crate) fn said_cores(&self) -> Option<String> {
        let cores = self.cores()?;
        let plural = if cores == 1 { "" } else { "s" };
        Some(format!("{cores} vCPU{plural}"))
    }

    /// What so many machines of the size need, to be followed by a number of cores.
    pub(crate) fn machines_need(&self, count: u64) -> String {
        match count {
            1 => format!("a machine of {} needs", self.name),
            more => format!("{more} machines of {} need", self.name),
        }
    }

    /// How to see which sizes there are.
    pub(crate) fn how_to_list(location: &Location) -> String {
        format!("`az vm list-skus -l {location} -r virtualMachines -o table` lists what there is")
    }
    /// The value of a capability, by its name in any case.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<&str> {
        self.capabilities
            .iter()
            .find(|one| one.name.eq_ignore_ascii_case(name))
            .map(|one| one.value.as_str())
    }

    fn listed(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.capability(name).unwrap_or_default().split(',');
        values.map(str::trim).filter(|value| !value.is_empty())
    }

    /// Virtual processors, which is what quotas count.
    #[must_use]
    pub fn cores(&self) -> Option<u64> {
        self.capability("vCPUs")?.trim().parse().ok()
    }

    /// `x64` or `Arm64`. A size that does not say it is of the first kind.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.capability("CpuArchitectureType").unwrap_or("x64")
    }

    /// Whether it boots images of a generation. A size that does not say it boots both.
    #[must_use]
    pub fn boots(&self, generation: Generation) -> bool {
        let mut listed = self.listed("HyperVGenerations").peekable();
        listed.peek().is_none() || listed.any(|one| one.eq_ignore_ascii_case(generation.as_str()))
    }

    /// How its disks are attached: `SCSI`, `NVMe`, or both. A size that does not say it has SCSI.
    #[must_use]
    pub fn disk_controllers(&self) -> Vec<&str> {
        let listed: Vec<_> = self.listed("DiskControllerTypes").collect();
        if listed.is_empty() {
            vec!["SCSI"]
        } else {
            listed
        }
    }

    /// The zones that it can be used in.
    #[must_use]
    pub fn zones_in(&self, location: &Location) -> Vec<&str> {
        let closed = self.restricted_zones();
        let mut zones: Vec<&str> = self
            .location_info
            .iter()
            .filter(|info| location.is_named(&info.location))
            .flat_map(|info| &info.zones)
            .map(String::as_str)
            .filter(|zone| !closed.contains(zone))
            .collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    /// Whether a capability is said to be there (`True`) or not to be (`False`).
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.capability(name)?.trim() {
            yes if yes.eq_ignore_ascii_case("true") => Some(true),
            no if no.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// The restriction by which the subscription cannot use it in a region at all.
    #[must_use]
    pub fn restriction_in(&self, location: &Location) -> Option<&Restriction> {
        self.restrictions.iter().find(|restriction| {
            restriction.kind.eq_ignore_ascii_case("Location")
                && location.is_among(&restriction.values)
        })
    }

    /// The zones that it cannot be used in.
    #[must_use]
    pub fn restricted_zones(&self) -> Vec<&str> {
        let mut zones: Vec<&str> = self
            .restrictions
            .iter()
            .filter(|restriction| restriction.kind.eq_ignore_ascii_case("Zone"))
            .flat_map(|restriction| &restriction.restriction_info.zones)
            .map(String::as_str)
            .collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }
}

impl Client {
    /// The sizes of virtual machines in a region, those that the subscription may not use included.
    /// The answer is some megabytes.
    ///
    /// # Errors
    /// When it cannot be read: it is asked of the subscription.
    pub async fn vm_sizes(&self, location: &Location) -> Result<Vec<VmSize>> {
        let path = format!(
            "/subscriptions/{}/providers/Microsoft.Compute/skus",
            self.subscription_id()
        );
        let filter = format!("location eq '{location}'");
        let url = self.url(&path, API, &[("$filter", &filter)]);
        let mut all: Vec<VmSize> = self
            .list(url, &format!("list the sizes of machines in {location}"))
            .await?;
        all.retain(|size| {
            size.resource_type.eq_ignore_ascii_case("virtualMachines")
                && location.is_among(&size.locations)
        });
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::replay::{Interaction, client};
    use super::*;

    fn size(name: &str, more: Value) -> Value {
        let mut size = json!({
            "resourceType": "virtualMachines", "name": name, "tier": "Standard",
            "size": "x", "family": "standardDSv5Family", "locations": ["WestUS2"],
            "locationInfo": [{ "location": "WestUS2", "zones": ["1"], "zoneDetails": [] }],
            "capabilities": [], "restrictions": [],
        });
        for (key, value) in more.as_object().unwrap() {
            size[key] = value.clone();
        }
        size
    }

    #[tokio::test]
    async fn sizes_come_in_pages_among_other_things() {
        let url = "https://management.azure.com/subscriptions/s/providers/Microsoft.Compute/skus?%24filter=location+eq+%27westus2%27&api-version=2021-07-01";
        let next = "https://management.azure.com/subscriptions/s/providers/Microsoft.Compute/skus?api-version=2021-07-01&$skiptoken=x";
        let disk =
            json!({ "resourceType": "disks", "name": "Premium_LRS", "locations": ["westus2"] });
        let first =
            json!({ "value": [disk, size("Standard_D2s_v5", json!({}))], "nextLink": next });
        let elsewhere = size("Standard_A0", json!({ "locations": ["eastus"] }));
        let empty = size(
            "Standard_New",
            json!({ "family": null, "locations": null, "capabilities": null, "restrictions": null }),
        );
        let (client, _) = client(vec![
            Interaction::new("GET", url, 200, &[], first),
            Interaction::new(
                "GET",
                next,
                200,
                &[],
                json!({ "value": [elsewhere, empty] }),
            ),
        ]);
        let all = client.vm_sizes(&"westus2".parse().unwrap()).await.unwrap();
        let names: Vec<_> = all.iter().map(|size| size.name.as_str()).collect();
        assert_eq!(names, ["Standard_D2s_v5", "Standard_New"]);
        let new = &all[1];
        assert_eq!(new.cores(), None);
        assert_eq!(new.architecture(), "x64");
        assert!(new.boots(Generation::V1) && new.boots(Generation::V2));
        assert_eq!(new.disk_controllers(), ["SCSI"]);
    }

    #[test]
    fn capabilities_are_texts() {
        let size: VmSize = serde_json::from_value(size(
            "Standard_E2bds_v5",
            json!({ "capabilities": [
                { "name": "vCPUs", "value": "2" },
                { "name": "HyperVGenerations", "value": "V2" },
                { "name": "CpuArchitectureType", "value": "Arm64" },
                { "name": "DiskControllerTypes", "value": "SCSI, NVMe" },
            ] }),
        ))
        .unwrap();
        assert_eq!(size.cores(), Some(2));
        assert!(!size.boots(Generation::V1) && size.boots(Generation::V2));
        assert_eq!(size.architecture(), "Arm64");
        assert_eq!(size.disk_controllers(), ["SCSI", "NVMe"]);
        assert_eq!(size.capability("hypervgenerations"), Some("V2"));
        assert_eq!(size.zones_in(&"westus2".parse().unwrap()), ["1"]);
        assert_eq!(size.zones_in(&"eastus".parse().unwrap()), [""; 0]);
        assert_eq!(size.flag("vCPUs"), None);
    }

    #[test]
    fn restrictions_are_of_regions_or_of_zones() {
        let size: VmSize = serde_json::from_value(size(
            "Standard_M8ms",
            json!({ "restrictions": [
                { "type": "Zone", "values": ["westus2"], "reasonCode": "NotAvailableForSubscription",
                  "restrictionInfo": { "locations": ["westus2"], "zones": ["3", "1"] } },
                { "type": "Location", "values": ["West US 2"], "reasonCode": "QuotaId",
                  "restrictionInfo": { "locations": ["West US 2"] } },
            ] }),
        ))
        .unwrap();
        assert_eq!(size.restricted_zones(), ["1", "3"]);
        assert_eq!(size.zones_in(&"westus2".parse().unwrap()), [""; 0]);
        let restriction = size.restriction_in(&"westus2".parse().unwrap()).unwrap();
        assert_eq!(restriction.reason_code.as_deref(), Some("QuotaId"));
        assert_eq!(size.restriction_in(&"eastus".parse().unwrap()), None);
    }
}
