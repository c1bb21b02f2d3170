//! The sizes of virtual machines, and how much of them is used.

use serde_json::{Value, json};

use super::Context;
use super::answer::{Answer, Result};
use super::error::ArmError;
use super::subscriptions::{find_location, location_names};
use crate::state::Inner;

/// Cores of all families together, and of each, per location, unless a quota says otherwise.
pub(crate) const CORES: u64 = 100;

/// A size of virtual machines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    pub(crate) cores: u64,
    /// In MiB.
    pub(crate) memory: u64,
    /// The Hyper-V generations that it can boot: `V1,V2`.
    pub(crate) generations: &'static str,
    /// How it attaches its disks: `SCSI`, `NVMe` or both.
    pub(crate) controllers: &'static str,
    pub(crate) architecture: &'static str,
}

const fn size(
    name: &'static str,
    family: &'static str,
    cores: u64,
    memory: u64,
    generations: &'static str,
    controllers: &'static str,
    architecture: &'static str,
) -> Size {
    Size {
        name,
        family,
        cores,
        memory,
        generations,
        controllers,
        architecture,
    }
}

/// One or two of each kind that matters to an image: both generations, either alone, NVMe, Arm64.
const SIZES: &[Size] = &[
    size(
        "Standard_A1_v2",
        "standardAv2Family",
        1,
        2048,
        "V1",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_B1s",
        "standardBSFamily",
        1,
        1024,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_B1ms",
        "standardBSFamily",
        1,
        2048,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_B2s",
        "standardBSFamily",
        2,
        4096,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_B2ms",
        "standardBSFamily",
        2,
        8192,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D2_v2",
        "standardDv2Family",
        2,
        7168,
        "V1",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D3_v2",
        "standardDv2Family",
        4,
        14336,
        "V1",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_DS1_v2",
        "standardDSv2Family",
        1,
        3584,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_DS2_v2",
        "standardDSv2Family",
        2,
        7168,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D2s_v3",
        "standardDSv3Family",
        2,
        8192,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D4s_v3",
        "standardDSv3Family",
        4,
        16384,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D2s_v5",
        "standardDSv5Family",
        2,
        8192,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D4s_v5",
        "standardDSv5Family",
        4,
        16384,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D8s_v5",
        "standardDSv5Family",
        8,
        32768,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D64s_v5",
        "standardDSv5Family",
        64,
        262_144,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D2as_v5",
        "standardDASv5Family",
        2,
        8192,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_E2bds_v5",
        "standardEBDSv5Family",
        2,
        16384,
        "V1,V2",
        "SCSI, NVMe",
        "x64",
    ),
    size(
        "Standard_F2s_v2",
        "standardFSv2Family",
        2,
        4096,
        "V1,V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_DC2s_v3",
        "standardDCSv3Family",
        2,
        16384,
        "V2",
        "SCSI",
        "x64",
    ),
    size(
        "Standard_D2s_v6",
        "StandardDsv6Family",
        2,
        8192,
        "V2",
        "NVMe",
        "x64",
    ),
    size(
        "Standard_D2ps_v5",
        "standardDPSv5Family",
        2,
        8192,
        "V2",
        "SCSI",
        "Arm64",
    ),
    size(
        "Standard_D2ps_v6",
        "StandardDpsv6Family",
        2,
        8192,
        "V2",
        "NVMe",
        "Arm64",
    ),
];

impl Size {
    /// The size of a name in any case.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        SIZES
            .iter()
            .find(|size| size.name.eq_ignore_ascii_case(name))
    }

    /// The names of all sizes.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        SIZES.iter().map(|size| size.name)
    }

    /// Whether its disks can be premium ones; its name says so.
    fn has_premium_storage(&self) -> bool {
        let short = self.name.trim_start_matches("Standard_");
        short
            .split('_')
            .next()
            .is_some_and(|name| name.contains('S') || name.contains('s'))
    }

    /// The type of disk that is made with a machine where nothing else says it.
    pub(crate) fn best_storage(&self) -> &'static str {
        if self.has_premium_storage() {
            "Premium_LRS"
        } else {
            "Standard_LRS"
        }
    }

    fn sku(&self, location: &str, restricted: bool) -> Value {
        let short = self.name.trim_start_matches("Standard_");
        let has_premium_storage = self.has_premium_storage();
        let capabilities = [
            ("MaxResourceVolumeMB", "0".to_owned()),
            ("vCPUs", self.cores.to_string()),
            ("vCPUsAvailable", self.cores.to_string()),
            ("HyperVGenerations", self.generations.to_owned()),
            ("MemoryGB", trimmed(self.memory)),
            ("MaxDataDiskCount", (self.cores * 2).to_string()),
            ("CpuArchitectureType", self.architecture.to_owned()),
            ("DiskControllerTypes", self.controllers.to_owned()),
            ("LowPriorityCapable", "True".to_owned()),
            ("PremiumIO", capital(has_premium_storage)),
            ("EphemeralOSDiskSupported", "False".to_owned()),
            ("EncryptionAtHostSupported", "True".to_owned()),
            ("AcceleratedNetworkingEnabled", capital(self.cores > 1)),
            ("MaxNetworkInterfaces", "2".to_owned()),
        ];
        let capabilities: Vec<Value> = capabilities
            .into_iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let restrictions = if restricted {
            json!([{
                "type": "Location",
                "values": [location],
                "restrictionInfo": { "locations": [location] },
                "reasonCode": "NotAvailableForSubscription",
            }])
        } else {
            json!([])
        };
        json!({
            "resourceType": "virtualMachines",
            "name": self.name,
            "tier": "Standard",
            "size": short,
            "family": self.family,
            "locations": [location],
            "locationInfo": [{ "location": location, "zones": ["1", "2", "3"], "zoneDetails": [] }],
            "capabilities": capabilities,
            "restrictions": restrictions,
        })
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
        .flat_map(|location| {
            SIZES
                .iter()
                .map(|size| size.sku(location, offer.is_restricted(size.name)))
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": all })))
}

/// `GET …/locations/{location}/vmSizes`
pub(crate) fn sizes(location: &str) -> Result {
    require_location(location)?;
    let all: Vec<Value> = SIZES
        .iter()
        .map(|size| {
            json!({
                "name": size.name,
                "numberOfCores": size.cores,
                "osDiskSizeInMB": 1_047_552,
                "resourceDiskSizeInMB": 0,
                "memoryInMB": size.memory,
                "maxDataDiskCount": size.cores * 2,
            })
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": all })))
}

/// The cores that machines have in a location, those of scale sets included; of one family, or of
/// all.
pub(crate) fn cores_used(context: &Context<'_>, location: &str, family: Option<&str>) -> u64 {
    context
        .state
        .resources
        .values()
        .filter(|resource| resource.body["location"] == location)
        .filter_map(|resource| {
            let (size, count) = match resource.inner {
                Inner::Vm(_) => (&resource.body["properties"]["hardwareProfile"]["vmSize"], 1),
                Inner::ScaleSet(_) => (
                    &resource.body["sku"]["name"],
                    resource.body["sku"]["capacity"]
                        .as_u64()
                        .unwrap_or_default(),
                ),
                _ => return None,
            };
            Some((Size::find(size.as_str()?)?, count))
        })
        .filter(|(size, _)| family.is_none_or(|family| size.family == family))
        .map(|(size, count)| size.cores * count)
        .sum()
}

/// `GET …/locations/{location}/usages`
pub(crate) fn usages(context: &Context<'_>, location: &str) -> Result {
    let location = require_location(location)?;
    let offer = &context.arm.settings().offer;
    let entry = |name: &str, display: &str, used: u64| {
        json!({
            "limit": offer.limit(name, CORES),
            "unit": "Count",
            "currentValue": used,
            "name": { "value": name, "localizedValue": display },
        })
    };
    let mut all = vec![entry(
        "cores",
        "Total Regional vCPUs",
        cores_used(context, location, None),
    )];
    let mut families: Vec<&str> = SIZES.iter().map(|size| size.family).collect();
    families.dedup();
    for family in families {
        all.push(entry(
            family,
            &format!("{} vCPUs", family.replacen("Family", " Family", 1)),
            cores_used(context, location, Some(family)),
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
