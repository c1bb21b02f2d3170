//! Whether a machine of a size can be had: the size, the cores, the addresses.

use super::Topic;
use super::report::{CheckItem, Outcome};
use crate::arm::compute::VmSize;
use crate::arm::{ALL_CORES, Location, Usage, nearest};
use crate::{Error, ErrorKind, Generation, Result};

/// Microsoft.Network counts the same address under several names; not every region has all of them.
const ADDRESSES: [&str; 3] = [
    "PublicIPAddresses",
    "StandardSkuPublicIpAddresses",
    "IPv4StandardSkuPublicIpAddresses",
];

/// The machines that are wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) size: &'a str,
    /// Whether somebody asked for that size. An upload needs none.
    pub(super) asked: bool,
    pub(super) count: u32,
    pub(super) location: &'a Location,
    /// The system of the image, where somebody said it.
    pub(super) system: Option<&'a str>,
}

/// What may not be asked is left to the service to judge.
pub(super) fn not_answered(topic: Topic, what: &str, error: &Error) -> CheckItem {
    if error.kind() == ErrorKind::Forbidden {
        return CheckItem::not_checked(topic, format!("this login may not ask for {what}"))
            .with_advice("a role on the subscription, such as Reader, allows to ask; Azure judges when the machine is made");
    }
    CheckItem::from_error(topic, Outcome::NotChecked, error)
}

impl Wanted<'_> {
    fn stops(&self, topic: Topic, found: String) -> CheckItem {
        CheckItem::stops(topic, self.asked, found)
    }

    /// The size itself.
    pub(super) fn size(&self, sizes: &Result<Vec<VmSize>>) -> CheckItem {
        let (topic, location) = (Topic::VmSize, self.location);
        let sizes = match sizes {
            Ok(sizes) => sizes,
            Err(error) => return not_answered(topic, "the sizes of machines", error),
        };
        let Some(size) = VmSize::find(sizes, self.size) else {
            let names = sizes.iter().map(|size| size.name.as_str());
            let to_do = nearest(self.size, names).map_or_else(
                || VmSize::how_to_list(location),
                |name| format!("did you mean {name}?"),
            );
            return self
                .stops(
                    topic,
                    format!("there is no size {} in {location}", self.size),
                )
                .with_advice(to_do);
        };
        let name = &size.name;
        if let Some(restriction) = size.restriction_in(location) {
            return self
                .stops(
                    topic,
                    format!(
                        "the size {name} is in {location}, but not for this subscription ({})",
                        restriction.reason()
                    ),
                )
                .with_advice("take another size or another region, or ask Azure's support to lift the restriction");
        }
        let cores = size
            .said_cores()
            .map_or_else(String::new, |cores| format!("{cores}, "));
        let generations: Vec<_> = [Generation::V1, Generation::V2]
            .into_iter()
            .filter(|generation| size.boots(*generation))
            .map(Generation::as_str)
            .collect();
        let controllers = size.disk_controllers();
        let zones = size.restricted_zones();
        let zones = if zones.is_empty() {
            String::new()
        } else {
            format!(", not in zone {}", zones.join(", "))
        };
        let found = format!(
            "{name} in {location}: {cores}{}, boots {}, disks by {}{zones}",
            size.architecture(),
            generations.join(" and "),
            controllers.join(" or "),
        );
        if let Some(item) = self.other_architecture(size, &found) {
            return item;
        }
        if !size.boots(Generation::V2) {
            return CheckItem::warning(topic, found).with_advice(
                "images with UEFI are of generation V2: make one with BIOS, or take a newer size",
            );
        }
        if controllers
            .iter()
            .all(|name| !name.eq_ignore_ascii_case("SCSI"))
        {
            return CheckItem::warning(topic, found).with_advice("Azure may refuse a managed image for a size with NVMe alone, and the image needs that driver early: take a size with SCSI if it does");
        }
        CheckItem::passed(topic, found)
    }

    /// An image that the size cannot run.
    fn other_architecture(&self, size: &VmSize, found: &str) -> Option<CheckItem> {
        let own = format!("{}-linux", std::env::consts::ARCH);
        let system = self.system.unwrap_or(&own);
        let needs = if size.architecture().eq_ignore_ascii_case("Arm64") {
            "aarch64-linux"
        } else {
            "x86_64-linux"
        };
        if needs == system {
            return None;
        }
        // Where nobody said what the image is for, it is a guess.
        let stops = self.asked && self.system.is_some();
        let item = CheckItem::stops(
            Topic::VmSize,
            stops,
            format!("{found}; an image for {system} does not run on it"),
        );
        Some(item.with_advice(format!(
            "build the image for {needs}, or take a size of the other architecture"
        )))
    }

    /// The cores of all sizes and of the family.
    pub(super) fn quota(
        &self,
        sizes: &Result<Vec<VmSize>>,
        usages: &Result<Vec<Usage>>,
    ) -> CheckItem {
        let (topic, location) = (Topic::Quota, self.location);
        let usages = match usages {
            Ok(usages) => usages,
            Err(error) => return not_answered(topic, "the quotas", error),
        };
        let size = sizes
            .as_ref()
            .ok()
            .and_then(|sizes| VmSize::find(sizes, self.size));
        let Some((size, cores)) = size.and_then(|size| Some((size, size.cores()?))) else {
            return CheckItem::not_checked(
                topic,
                format!(
                    "how many cores {} has is not known, so neither is whether the quota is enough",
                    self.size
                ),
            );
        };
        let needed = cores.saturating_mul(u64::from(self.count));
        let mut said = Vec::new();
        let mut lacking = Vec::new();
        for name in [ALL_CORES, &size.family] {
            let Some(usage) = usages.iter().find(|usage| usage.is(name)) else {
                continue;
            };
            let what = if name == ALL_CORES { "all sizes" } else { name };
            let line = format!("{} of {} ({what})", usage.current_value, usage.limit);
            if usage.lacks(needed) {
                lacking.push(line);
            } else {
                said.push(line);
            }
        }
        let needs = format!(
            "{} {needed} vCPUs",
            size.machines_need(u64::from(self.count))
        );
        if !lacking.is_empty() {
            return self
                .stops(
                    topic,
                    format!("{needs}; in use in {location}: {}", lacking.join(" and ")),
                )
                .with_advice("take a smaller size, fewer machines or another region, delete machines, or ask for more quota (Azure portal, Quotas)");
        }
        if said.is_empty() {
            return CheckItem::not_checked(
                topic,
                format!("{needs}; no quota of {location} is about them"),
            );
        }
        CheckItem::passed(
            topic,
            format!("{needs}; in use in {location}: {}", said.join(" and ")),
        )
    }

    /// The public addresses.
    pub(super) fn addresses(&self, usages: &Result<Vec<Usage>>) -> CheckItem {
        let (topic, location) = (Topic::PublicAddresses, self.location);
        let usages = match usages {
            Ok(usages) => usages,
            Err(error) => return not_answered(topic, "the quotas of networks", error),
        };
        let counted = usages
            .iter()
            .filter(|usage| ADDRESSES.iter().any(|name| usage.is(name)));
        // The nearest to its limit is the one that counts.
        let Some(usage) = counted.min_by_key(|usage| usage.left().unwrap_or(u64::MAX)) else {
            return CheckItem::not_checked(
                topic,
                format!("no quota of {location} is about public addresses"),
            );
        };
        let found = format!(
            "{} public addresses are in use in {location}, of {} ({})",
            usage.current_value, usage.limit, usage.name.value
        );
        if usage.lacks(u64::from(self.count)) {
            return self
                .stops(topic, format!("{found}; {} more are needed", self.count))
                .with_advice("delete addresses that nothing uses, take another region, or ask for more quota (Azure portal, Quotas)");
        }
        CheckItem::passed(topic, found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn size(more: &[(&str, &str)]) -> VmSize {
        let mut pairs = vec![("vCPUs", "4"), ("CpuArchitectureType", "x64")];
        pairs.extend(more);
        let capabilities: Vec<_> = pairs
            .iter()
            .rev()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        serde_json::from_value(json!({
            "resourceType": "virtualMachines", "name": "Standard_D4s_v5",
            "family": "standardDSv5Family", "locations": ["westus2"], "capabilities": capabilities,
        }))
        .unwrap()
    }

    fn usage(name: &str, used: i64, limit: i64) -> Usage {
        serde_json::from_value(json!({
            "currentValue": used, "limit": limit, "name": { "value": name, "localizedValue": name },
        }))
        .unwrap()
    }

    fn wanted(location: &Location) -> Wanted<'_> {
        Wanted {
            size: "standard_d4s_v5",
            asked: true,
            count: 2,
            location,
            system: Some("x86_64-linux"),
        }
    }

    #[test]
    fn a_size_that_boots_something_else_is_a_warning() {
        let location = "westus2".parse().unwrap();
        let check = |more: &[(&str, &str)]| wanted(&location).size(&Ok(vec![size(more)]));
        let good = check(&[
            ("HyperVGenerations", "V1,V2"),
            ("DiskControllerTypes", "SCSI, NVMe"),
        ]);
        assert_eq!(good.outcome, Outcome::Passed);
        assert_eq!(
            good.found,
            "Standard_D4s_v5 in westus2: 4 vCPUs, x64, boots V1 and V2, disks by SCSI or NVMe"
        );
        for (capability, to_do) in [
            (("HyperVGenerations", "V1"), "BIOS"),
            (("DiskControllerTypes", "NVMe"), "NVMe"),
        ] {
            let item = check(&[capability]);
            assert_eq!(item.outcome, Outcome::Warning, "{item:?}");
            assert!(item.to_do.unwrap().contains(to_do));
        }
        let arm = check(&[("CpuArchitectureType", "Arm64")]);
        assert_eq!(arm.outcome, Outcome::Failed);
        assert!(arm.to_do.unwrap().contains("aarch64-linux"));
        let mut guessed = wanted(&location);
        guessed.asked = false;
        let item = guessed.size(&Ok(vec![size(&[("CpuArchitectureType", "Arm64")])]));
        assert_eq!(item.outcome, Outcome::Warning);
    }

    #[test]
    fn zones_that_are_closed_are_told() {
        let location = "westus2".parse().unwrap();
        let mut size = size(&[]);
        size.restrictions = serde_json::from_value(json!([
            { "type": "Zone", "values": ["westus2"], "restrictionInfo": { "zones": ["2"] } },
        ]))
        .unwrap();
        let item = wanted(&location).size(&Ok(vec![size]));
        assert_eq!(item.outcome, Outcome::Passed);
        assert!(item.found.ends_with("not in zone 2"), "{}", item.found);
    }

    #[test]
    fn both_quotas_must_be_enough() {
        let location = "westus2".parse().unwrap();
        let sizes = Ok(vec![size(&[])]);
        let check = |all: (i64, i64), family: (i64, i64)| {
            let usages = vec![
                usage("cores", all.0, all.1),
                usage("StandardDSv5Family", family.0, family.1),
            ];
            wanted(&location).quota(&sizes, &Ok(usages))
        };
        let good = check((2, 10), (0, 8));
        assert_eq!(good.outcome, Outcome::Passed);
        assert_eq!(
            good.found,
            "2 machines of Standard_D4s_v5 need 8 vCPUs; in use in westus2: 2 of 10 (all sizes) and 0 of 8 (standardDSv5Family)"
        );
        for (all, family, named) in [
            ((3, 10), (0, 8), "3 of 10 (all sizes)"),
            ((0, 100), (1, 8), "1 of 8 (standardDSv5Family)"),
            ((0, 100), (0, 0), "0 of 0 (standardDSv5Family)"),
        ] {
            let item = check(all, family);
            assert_eq!(item.outcome, Outcome::Failed);
            assert!(item.found.ends_with(named), "{}", item.found);
        }
        // No limit.
        assert_eq!(check((9, -1), (9, -1)).outcome, Outcome::Passed);
        let none = wanted(&location).quota(&sizes, &Ok(vec![usage("other", 1, 1)]));
        assert_eq!(none.outcome, Outcome::NotChecked);
    }

    #[test]
    fn the_address_nearest_to_its_limit_counts() {
        let location = "westus2".parse().unwrap();
        let usages = |standard: i64| {
            Ok(vec![
                usage("PublicIPAddresses", 0, 1000),
                usage("StandardSkuPublicIpAddresses", standard, 20),
                usage("VirtualNetworks", 50, 50),
            ])
        };
        assert_eq!(
            wanted(&location).addresses(&usages(18)).outcome,
            Outcome::Passed
        );
        let item = wanted(&location).addresses(&usages(19));
        assert_eq!(item.outcome, Outcome::Failed);
        assert!(item.found.contains("19 public addresses"), "{}", item.found);
    }
}
