//! Whether machines of a size can be had where they are wanted, and which other sizes would do.

use std::cmp::Reverse;

use crate::arm::compute::VmSize;
use crate::arm::{ALL_CORES, Client, Location, Usage, nearest};
use crate::{Error, ErrorKind, Generation, Result};

/// The cores of spot machines of all sizes together, among the usages of Microsoft.Compute.
const SPOT_CORES: &str = "lowPriorityCores";

/// Sizes that an error proposes at most.
const MOST_PROPOSED: usize = 5;

/// What machines need of their size.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// Who has the needs that cannot be changed, in a message: `the image`.
    pub(crate) whose: &'static str,
    pub(crate) location: Location,
    pub(crate) generation: Generation,
    pub(crate) architecture: String,
    /// How the disk that they boot from can be attached; one of them is enough.
    pub(crate) controllers: Vec<String>,
    pub(crate) zone: Option<String>,
    pub(crate) spot: bool,
    pub(crate) accelerated: bool,
    /// Of each, those of the image included.
    pub(crate) data_disks: usize,
    /// Whether somebody asked for disks that not every size can have.
    pub(crate) premium: bool,
    pub(crate) trusted_launch: bool,
    pub(crate) count: u64,
}

/// The sizes of a region, and what is used of its quotas where that is known.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    pub(crate) sizes: Vec<VmSize>,
    pub(crate) usages: Vec<Usage>,
}

impl Catalogue {
    /// Asks for it. `None` when the login may not ask: the service then judges by itself.
    ///
    /// # Errors
    /// When it cannot be read for another reason.
    pub(crate) async fn read(client: &Client, location: &Location) -> Result<Option<Self>> {
        let may = |asked: Result<_>| match asked {
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                tracing::debug!("the size is not checked: {error}");
                Ok(None)
            }
            asked => asked.map(Some),
        };
        let (sizes, usages) =
            futures::join!(client.vm_sizes(location), client.compute_usages(location));
        let Some(sizes) = may(sizes)? else {
            return Ok(None);
        };
        let usages = match usages {
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                tracing::debug!("the quotas are not checked: {error}");
                Vec::new()
            }
            usages => usages?,
        };
        Ok(Some(Self { sizes, usages }))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&VmSize> {
        VmSize::find(&self.sizes, name)
    }

    /// Fails unless machines of a size can be had, as far as that can be known beforehand.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with the sizes that would do, or [`ErrorKind::Quota`] with what is
    /// used.
    pub(crate) fn check(&self, name: &str, needs: &Needs) -> Result<&VmSize> {
        let location = &needs.location;
        let Some(size) = self.find(name) else {
            let names = self.sizes.iter().map(|size| size.name.as_str());
            let error = Error::new(
                ErrorKind::InvalidInput,
                format!("there is no size {name} in {location}"),
            );
            return Err(match nearest(name, names) {
                Some(other) => error.with_hint(format!("did you mean {other}?")),
                None => error.with_hint(
                    self.proposal(None, needs)
                        .unwrap_or_else(|| VmSize::how_to_list(location)),
                ),
            });
        };
        let misfits = misfits(size, needs);
        if !misfits.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the size {} will not do: {}", size.name, misfits.join("; ")),
            )
            .with_hint(self.proposal(Some(size), needs).unwrap_or_else(|| {
                self.without_the_zone(needs).unwrap_or_else(|| {
                    format!("no size in {location} would do; take another region or another image")
                })
            })));
        }
        if let Some(lacking) = self.lacking(size, needs) {
            return Err(Error::new(ErrorKind::Quota, lacking).with_hint(
                self.proposal(Some(size), needs).map_or_else(
                    || "delete machines, take another region, or ask for more quota (Azure portal, Quotas)".to_owned(),
                    |proposal| format!("{proposal}; or ask for more quota (Azure portal, Quotas)"),
                ),
            ));
        }
        Ok(size)
    }

    /// As it will be when a machine has this size no more: a quota counts its processors whether or not it
    /// is deallocated.
    pub(crate) fn without(mut self, name: &str, spot: bool) -> Self {
        if let Some(size) = VmSize::find(&self.sizes, name)
            && let Some(cores) = size.cores().and_then(|cores| i64::try_from(cores).ok())
        {
            for usage in &mut self.usages {
                if counted(size, spot).into_iter().any(|name| usage.is(name)) {
                    usage.current_value = usage.current_value.saturating_sub(cores).max(0);
                }
            }
        }
        self
    }

    /// What the quota is short of, in a sentence.
    pub(crate) fn lacking(&self, size: &VmSize, needs: &Needs) -> Option<String> {
        let cores = size.cores()?.saturating_mul(needs.count);
        let counted = counted(size, needs.spot);
        let short: Vec<String> = counted
            .iter()
            .filter_map(|name| self.usages.iter().find(|usage| usage.is(name)))
            .filter(|usage| usage.lacks(cores))
            .map(|usage| {
                format!(
                    "{} of {} ({})",
                    usage.current_value, usage.limit, usage.name.value
                )
            })
            .collect();
        let machines = size.machines_need(needs.count);
        (!short.is_empty()).then(|| {
            format!(
                "{machines} {cores} vCPUs, for which the quota of {} has no room: in use are {}",
                needs.location,
                short.join(" and ")
            )
        })
    }

    /// Sizes that would do, those most like `near` first.
    pub(crate) fn proposal(&self, near: Option<&VmSize>, needs: &Needs) -> Option<String> {
        let mut found: Vec<&VmSize> = self
            .sizes
            .iter()
            .filter(|size| near.is_none_or(|near| near.name != size.name))
            .filter(|size| misfits(size, needs).is_empty() && self.lacking(size, needs).is_none())
            .collect();
        if found.is_empty() {
            return None;
        }
        let of = |size: &VmSize| (size.cores().unwrap_or(u64::MAX), memory(size));
        let (cores, gb) = near.map_or((0, 0), of);
        let premium = |size: &VmSize| size.flag("PremiumIO") == Some(true);
        found.sort_by_key(|size| {
            let (own_cores, own_gb) = of(size);
            (
                own_cores.abs_diff(cores),
                own_gb.abs_diff(gb),
                Reverse(premium(size)),
                size.name.clone(),
            )
        });
        let names: Vec<String> = found
            .iter()
            .take(MOST_PROPOSED)
            .map(|size| {
                size.said_cores().map_or_else(
                    || size.name.clone(),
                    |cores| {
                        let gb = size.capability("MemoryGB").unwrap_or("?").trim();
                        format!("{} ({cores}, {gb} GB)", size.name)
                    },
                )
            })
            .collect();
        Some(format!("these would do: {}", names.join(", ")))
    }

    /// What is left where no size would do in the zone, and some would in others.
    fn without_the_zone(&self, needs: &Needs) -> Option<String> {
        let zone = needs.zone.as_ref()?;
        let anywhere = Needs {
            zone: None,
            ..needs.clone()
        };
        let proposal = self.proposal(None, &anywhere)?;
        Some(format!(
            "no size in zone {zone} of {} would do; in another zone, or in none, so that Azure chooses, {proposal}",
            needs.location
        ))
    }

    /// Other zones that have the size.
    pub(crate) fn other_zones(&self, name: &str, needs: &Needs) -> Vec<&str> {
        let zones = self
            .find(name)
            .map(|size| size.zones_in(&needs.location))
            .unwrap_or_default();
        zones
            .into_iter()
            .filter(|zone| needs.zone.as_deref() != Some(*zone))
            .collect()
    }
}

/// The usages that count the processors of a machine.
fn counted(size: &VmSize, spot: bool) -> Vec<&str> {
    if spot {
        vec![SPOT_CORES]
    } else {
        vec![ALL_CORES, &size.family]
    }
}

/// In thousandths of a GiB: some sizes have half a one.
fn memory(size: &VmSize) -> u64 {
    let gb = size
        .capability("MemoryGB")
        .and_then(|text| text.trim().parse::<f64>().ok())
        .unwrap_or(0.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float becomes the nearest number there is, and this only orders"
    )]
    let thousandths = (gb * 1000.0).round() as u64;
    thousandths
}

/// How disks are attached: what the size and the origin have in common. `None` is what Azure takes by
/// itself.
pub(crate) fn controller(size: &VmSize, supported: &[String]) -> Option<&'static str> {
    let own = size.disk_controllers();
    let both = |one: &str| {
        own.iter().any(|other| other.eq_ignore_ascii_case(one))
            && supported
                .iter()
                .any(|other| other.eq_ignore_ascii_case(one))
    };
    // Images that say both are for either; a size with both takes SCSI unless told otherwise.
    (!both("SCSI") && both("NVMe")).then_some("NVMe")
}

/// Whether disks of this kind need a size that takes them.
pub(crate) fn is_premium(sku: &str) -> bool {
    sku.to_ascii_lowercase().starts_with("premium")
}

/// Whether a size can boot with trusted launch. The capability is the other way round.
pub(crate) fn trusted_launch(size: &VmSize) -> bool {
    size.boots(Generation::V2) && size.flag("TrustedLaunchDisabled") != Some(true)
}

/// Why a size will not do, each a clause.
fn misfits(size: &VmSize, needs: &Needs) -> Vec<String> {
    let mut why = Vec::new();
    let location = &needs.location;
    if let Some(restriction) = size.restriction_in(location) {
        why.push(format!(
            "this subscription may not use it in {location} ({})",
            restriction.reason()
        ));
    }
    if !size.boots(needs.generation) {
        let other = match needs.generation {
            Generation::V1 => Generation::V2,
            Generation::V2 => Generation::V1,
        };
        why.push(format!(
            "it boots {other} alone, and {} is of generation {}",
            needs.whose, needs.generation
        ));
    }
    if !size
        .architecture()
        .eq_ignore_ascii_case(&needs.architecture)
    {
        why.push(format!(
            "its processors are {}, and {} is for {}",
            size.architecture(),
            needs.whose,
            needs.architecture
        ));
    }
    let controllers = size.disk_controllers();
    let common = controllers.iter().any(|one| {
        needs
            .controllers
            .iter()
            .any(|other| other.eq_ignore_ascii_case(one))
    });
    if !common {
        why.push(format!(
            "its disks are attached by {}, and {} is for {}",
            controllers.join(" or "),
            needs.whose,
            needs.controllers.join(" or ")
        ));
    }
    if let Some(zone) = &needs.zone {
        let zones = size.zones_in(location);
        if zones.is_empty() {
            why.push(format!("it is in no availability zone of {location}"));
        } else if !zones.contains(&zone.as_str()) {
            why.push(format!(
                "it is in zone {} of {location}, not in {zone}",
                zones.join(", ")
            ));
        }
    }
    if needs.spot && size.flag("LowPriorityCapable") == Some(false) {
        why.push("it cannot be a spot machine".to_owned());
    }
    if needs.accelerated && size.flag("AcceleratedNetworkingEnabled") == Some(false) {
        why.push("it has no accelerated networking".to_owned());
    }
    if needs.premium && size.flag("PremiumIO") == Some(false) {
        why.push("it has no premium disks".to_owned());
    }
    if needs.trusted_launch && !trusted_launch(size) {
        why.push("it has no trusted launch".to_owned());
    }
    let most = size
        .capability("MaxDataDiskCount")
        .and_then(|text| text.trim().parse::<usize>().ok());
    if let Some(most) = most.filter(|most| *most < needs.data_disks) {
        why.push(format!(
            "it can have {most} data disks, and {} are wanted",
            needs.data_disks
        ));
    }
    why
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn size(name: &str, pairs: &[(&str, &str)]) -> VmSize {
        let mut all = vec![
            ("vCPUs", "2"),
            ("MemoryGB", "8"),
            ("HyperVGenerations", "V1,V2"),
            ("CpuArchitectureType", "x64"),
            ("MaxDataDiskCount", "4"),
        ];
        all.retain(|(name, _)| !pairs.iter().any(|(other, _)| other == name));
        all.extend(pairs);
        let capabilities: Vec<Value> = all
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        serde_json::from_value(json!({
            "resourceType": "virtualMachines", "name": name, "family": "familyOne",
            "locations": ["westus2"], "capabilities": capabilities,
            "locationInfo": [{ "location": "westus2", "zones": ["1", "2"] }],
        }))
        .unwrap()
    }

    fn usage(name: &str, used: i64, limit: i64) -> Usage {
        serde_json::from_value(json!({
            "currentValue": used, "limit": limit, "name": { "value": name, "localizedValue": name },
        }))
        .unwrap()
    }

    fn needs() -> Needs {
        Needs {
            whose: "the image",
            location: "westus2".parse().unwrap(),
            generation: Generation::V2,
            architecture: "x64".to_owned(),
            controllers: vec!["SCSI".to_owned()],
            zone: None,
            spot: false,
            accelerated: false,
            data_disks: 0,
            premium: false,
            trusted_launch: false,
            count: 1,
        }
    }

    #[test]
    fn every_reason_is_told_and_others_are_proposed() {
        let good = size("Standard_Good", &[]);
        let change = |change: fn(&mut Needs)| {
            let mut needs = needs();
            change(&mut needs);
            needs
        };
        for (pairs, needs, part) in [
            (("HyperVGenerations", "V1"), needs(), "boots V1 alone"),
            (("CpuArchitectureType", "Arm64"), needs(), "Arm64"),
            (("DiskControllerTypes", "NVMe"), needs(), "NVMe"),
            (
                ("LowPriorityCapable", "False"),
                change(|n| n.spot = true),
                "spot",
            ),
            (
                ("AcceleratedNetworkingEnabled", "False"),
                change(|n| n.accelerated = true),
                "accelerated",
            ),
            (
                ("PremiumIO", "False"),
                change(|n| n.premium = true),
                "premium",
            ),
            (
                ("TrustedLaunchDisabled", "True"),
                change(|n| n.trusted_launch = true),
                "trusted launch",
            ),
            (
                ("MaxDataDiskCount", "1"),
                change(|n| n.data_disks = 2),
                "1 data disks",
            ),
        ] {
            let catalogue = Catalogue {
                sizes: vec![size("Standard_Bad", &[pairs]), good.clone()],
                usages: Vec::new(),
            };
            let error = catalogue.check("standard_bad", &needs).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(part), "{part}: {error}");
            assert_eq!(
                error.hint(),
                Some("these would do: Standard_Good (2 vCPUs, 8 GB)"),
                "{part}"
            );
            assert_eq!(
                catalogue.check("Standard_good", &needs).unwrap().name,
                "Standard_Good"
            );
        }
    }

    #[test]
    fn zones_and_restrictions_count() {
        let mut here = needs();
        here.zone = Some("2".to_owned());
        let mut catalogue = Catalogue {
            sizes: vec![size("A", &[])],
            usages: Vec::new(),
        };
        catalogue.check("A", &here).unwrap();
        assert_eq!(catalogue.other_zones("A", &here), ["1"]);
        here.zone = Some("3".to_owned());
        let error = catalogue.check("A", &here).unwrap_err();
        assert!(
            error.to_string().contains("zone 1, 2 of westus2, not in 3"),
            "{error}"
        );
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("no size in zone 3") && hint.contains("these would do: A"),
            "{hint}"
        );
        catalogue.sizes[0].location_info.clear();
        let error = catalogue.check("A", &here).unwrap_err();
        assert!(
            error.to_string().contains("no availability zone"),
            "{error}"
        );
        catalogue.sizes[0].restrictions = serde_json::from_value(json!([
            { "type": "Location", "values": ["westus2"], "reasonCode": "QuotaId" },
        ]))
        .unwrap();
        let error = catalogue.check("A", &needs()).unwrap_err();
        assert!(error.to_string().contains("QuotaId"), "{error}");
    }

    #[test]
    fn a_quota_names_what_is_used_and_what_would_fit() {
        let mut small = size("Small", &[("vCPUs", "1")]);
        small.family = "familyTwo".to_owned();
        let catalogue = Catalogue {
            sizes: vec![size("Large", &[("vCPUs", "4")]), small],
            usages: vec![
                usage("cores", 7, 10),
                usage("FamilyOne", 2, 100),
                usage("lowPriorityCores", 0, 3),
            ],
        };
        let error = catalogue.check("Large", &needs()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota);
        assert_eq!(
            error.to_string(),
            "a machine of Large needs 4 vCPUs, for which the quota of westus2 has no room: in use are 7 of 10 (cores)"
        );
        assert!(
            error.hint().unwrap().contains("Small (1 vCPU, 8 GB)"),
            "{error:?}"
        );
        // A machine that is there already gives back what it has.
        let resized = |from: &str| {
            catalogue
                .clone()
                .without(from, false)
                .check("Large", &needs())
                .is_ok()
        };
        assert!(resized("Small") && resized("large") && !resized("Medium"));
        let mut many = needs();
        many.count = 4;
        let error = catalogue.check("Small", &many).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("4 machines of Small need 4 vCPUs"),
            "{error}"
        );
        many.count = 3;
        catalogue.check("Small", &many).unwrap();
        // A spot machine counts elsewhere.
        many.spot = true;
        many.count = 1;
        let error = catalogue.check("Large", &many).unwrap_err();
        assert!(
            error.to_string().ends_with("0 of 3 (lowPriorityCores)"),
            "{error}"
        );
    }

    #[test]
    fn a_size_that_there_is_not_is_corrected() {
        let catalogue = Catalogue {
            sizes: vec![
                size("Standard_D2s_v5", &[]),
                size("Standard_B1s", &[("vCPUs", "1")]),
            ],
            usages: Vec::new(),
        };
        let error = catalogue.check("Standard_D2s_v4", &needs()).unwrap_err();
        assert_eq!(error.hint(), Some("did you mean Standard_D2s_v5?"));
        let error = catalogue.check("Huge", &needs()).unwrap_err();
        assert_eq!(
            error.hint(),
            Some("these would do: Standard_B1s (1 vCPU, 8 GB), Standard_D2s_v5 (2 vCPUs, 8 GB)")
        );
    }

    #[test]
    fn disks_are_attached_by_what_both_have() {
        let by = |own: &str, image: &[&str]| {
            let image: Vec<String> = image.iter().map(ToString::to_string).collect();
            controller(&size("A", &[("DiskControllerTypes", own)]), &image)
        };
        assert_eq!(by("SCSI", &["SCSI"]), None);
        assert_eq!(by("SCSI, NVMe", &["SCSI", "NVMe"]), None);
        assert_eq!(by("NVMe", &["SCSI", "NVMe"]), Some("NVMe"));
        assert_eq!(by("SCSI, NVMe", &["nvme"]), Some("NVMe"));
    }
}
