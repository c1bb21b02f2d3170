//! What a machine itself is to be like: its size, its disks, its place, its price, its firmware.

use std::str::FromStr;

use super::origin::{Origin, OriginKind, Security};
use crate::{Error, ErrorKind, Generation, Result};

/// The default size of a machine.
pub const DEFAULT_SIZE: &str = "Standard_DS1_v2";

/// The default size of the disk that a machine boots from, in GiB.
pub const DEFAULT_OS_DISK_GB: u64 = 42;

/// The largest disk that Azure boots a machine from, in GiB.
pub const LARGEST_OS_DISK_GB: u64 = 4095;

/// The largest data disk of these kinds, in GiB.
const LARGEST_DATA_DISK_GB: u64 = 32_767;

/// What Azure boots machines from. Other kinds of storage are for data alone.
const OS_DISK_SKUS: [&str; 5] = [
    "Premium_LRS",
    "Premium_ZRS",
    "StandardSSD_LRS",
    "StandardSSD_ZRS",
    "Standard_LRS",
];

/// What becomes of a spot machine when Azure needs its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// It is stopped, and its disks stay and cost. It can be started again when there is room.
    #[default]
    Deallocate,
    /// It is deleted, with what goes with it.
    Delete,
}

impl EvictionPolicy {
    /// The policy in Azure's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deallocate => "Deallocate",
            Self::Delete => "Delete",
        }
    }
}

impl FromStr for EvictionPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "deallocate" => Ok(Self::Deallocate),
            "delete" => Ok(Self::Delete),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is no eviction policy"),
            )
            .with_hint("write deallocate or delete")),
        }
    }
}

/// A machine that costs less, and that Azure takes away when it needs the room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Spot {
    /// What becomes of it then.
    pub eviction: EvictionPolicy,
    /// What it may cost in dollars an hour, above which it is taken away too; nothing for up to the
    /// price of a regular machine.
    pub max_price: Option<f64>,
}

impl Spot {
    /// A spot machine with an eviction policy, up to the price of a regular one.
    #[must_use]
    pub fn new(eviction: EvictionPolicy) -> Self {
        Self {
            eviction,
            max_price: None,
        }
    }

    /// What it may cost, in dollars an hour.
    #[must_use]
    pub fn up_to(mut self, dollars: f64) -> Self {
        self.max_price = Some(dollars);
        self
    }
}

/// The security of a machine's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecurityType {
    /// Plain firmware.
    Standard,
    /// With a virtual TPM, and secure boot where that is asked for.
    TrustedLaunch,
}

impl SecurityType {
    /// The type in Azure's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::TrustedLaunch => "TrustedLaunch",
        }
    }
}

impl FromStr for SecurityType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().replace('-', "").as_str() {
            "standard" => Ok(Self::Standard),
            "trustedlaunch" => Ok(Self::TrustedLaunch),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is no security type"),
            )
            .with_hint("write standard or trusted-launch")),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct MachineOptions {
    pub(crate) size: String,
    pub(crate) os_disk_gb: Option<u64>,
    pub(crate) os_disk_sku: Option<String>,
    /// In GiB.
    pub(crate) data_disks: Vec<u64>,
    pub(crate) zone: Option<String>,
    pub(crate) spot: Option<Spot>,
    pub(crate) boot_diagnostics: bool,
    pub(crate) security: Option<SecurityType>,
    pub(crate) secure_boot: bool,
}

impl Default for MachineOptions {
    fn default() -> Self {
        Self {
            size: DEFAULT_SIZE.to_owned(),
            os_disk_gb: None,
            os_disk_sku: None,
            data_disks: Vec::new(),
            zone: None,
            spot: None,
            boot_diagnostics: true,
            security: None,
            secure_boot: false,
        }
    }
}

fn invalid(what: String, hint: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, what).with_hint(hint.into())
}

impl MachineOptions {
    /// Everything that needs no look at Azure.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub(crate) fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.size.is_empty() || !self.size.chars().all(plain) {
            return Err(invalid(
                format!("{:?} is not a machine size", self.size),
                "a size looks like Standard_DS1_v2",
            ));
        }
        if let Some(gb) = self.os_disk_gb.filter(|gb| *gb > LARGEST_OS_DISK_GB) {
            return Err(invalid(
                format!(
                    "an OS disk of {gb} GB is too large: Azure takes up to {LARGEST_OS_DISK_GB}"
                ),
                "put the data on a disk of its own (--data-disk)",
            ));
        }
        if let Some(sku) = &self.os_disk_sku
            && !OS_DISK_SKUS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(sku))
        {
            return Err(invalid(
                format!("{sku:?} is not a kind of disk that Azure boots machines from"),
                format!("pass one of {}", OS_DISK_SKUS.join(", ")),
            ));
        }
        for gb in &self.data_disks {
            if !(1..=LARGEST_DATA_DISK_GB).contains(gb) {
                return Err(invalid(
                    format!("a data disk cannot have {gb} GB"),
                    format!("pass 1 to {LARGEST_DATA_DISK_GB}"),
                ));
            }
        }
        if let Some(zone) = &self.zone
            && !(zone.len() == 1 && zone.chars().all(|c| ('1'..='9').contains(&c)))
        {
            return Err(invalid(
                format!("{zone:?} is not an availability zone"),
                "zones are 1, 2 and 3",
            ));
        }
        if let Some(price) = self.spot.and_then(|spot| spot.max_price)
            && !(price.is_finite() && price > 0.0)
        {
            return Err(invalid(
                format!("a spot machine cannot cost {price} dollars an hour"),
                "pass a price above zero, or none for up to the price of a regular machine",
            ));
        }
        if self.secure_boot && self.security == Some(SecurityType::Standard) {
            return Err(invalid(
                "a standard machine has no secure boot".to_owned(),
                "ask for the security type trusted-launch, or leave secure boot out",
            ));
        }
        Ok(())
    }

    /// The size of the disk that it boots from, in GiB.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is smaller than what is to be on it.
    pub(crate) fn os_disk_size(&self, origin: &Origin) -> Result<u64> {
        let least = origin.size_gb;
        match self.os_disk_gb {
            Some(gb) if gb < least => Err(invalid(
                format!(
                    "an OS disk of {gb} GB is too small for {}, which has {least} GB",
                    origin.called().trim_end_matches(',')
                ),
                format!("pass --os-disk-size-gb {least} or more"),
            )),
            Some(gb) => Ok(gb),
            None => Ok(DEFAULT_OS_DISK_GB.max(least)),
        }
    }

    /// The numbers of the data disks: the first that the origin's own do not have.
    pub(crate) fn luns(&self, origin: &Origin) -> Vec<u32> {
        (0..)
            .filter(|lun| !origin.luns.contains(lun))
            .take(self.data_disks.len())
            .collect()
    }

    /// Whether trusted launch is to be had: what was asked for, else whatever the origin can at most.
    /// `able` says whether the size can, where that is known.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the origin cannot what is asked for.
    pub(crate) fn trusted_launch(&self, origin: &Origin, able: Option<bool>) -> Result<bool> {
        let named = origin.called();
        let named = named.trim_end_matches(',');
        let wanted = self
            .security
            .or(self.secure_boot.then_some(SecurityType::TrustedLaunch));
        match (wanted, origin.security) {
            (Some(SecurityType::Standard), Security::TrustedLaunch) => Err(invalid(
                format!("{named} boots with trusted launch only"),
                "leave the security type out",
            )),
            (Some(SecurityType::TrustedLaunch), Security::Standard) => Err(invalid(
                format!("{named} does not boot with trusted launch"),
                match origin.kind {
                    OriginKind::ManagedImage => {
                        "Azure takes no managed image for it: put the image into a gallery, in a definition with the feature SecurityType=TrustedLaunchSupported"
                    }
                    OriginKind::GalleryVersion => {
                        "it needs an image definition with the feature SecurityType=TrustedLaunchSupported"
                    }
                    OriginKind::Disk => "leave the security type out",
                },
            )),
            (Some(SecurityType::TrustedLaunch), _) if origin.generation == Generation::V1 => {
                Err(invalid(
                    format!("{named} is of generation V1, which has no trusted launch"),
                    "make an image with UEFI, which is of generation V2",
                ))
            }
            (Some(SecurityType::Standard), _) | (None, Security::Standard) => Ok(false),
            (Some(SecurityType::TrustedLaunch), _) | (None, Security::TrustedLaunch) => Ok(true),
            (None, Security::TrustedLaunchSupported) => {
                Ok(able == Some(true) && origin.generation == Generation::V2)
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An image of generation 2 that is in `westus2`.
    pub(in crate::vm) fn origin(kind: OriginKind, security: Security) -> Origin {
        Origin {
            id: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/web"
                .parse()
                .unwrap(),
            kind,
            locations: vec!["westus2".parse().unwrap()],
            generalized: kind != OriginKind::Disk,
            generation: Generation::V2,
            architecture: "x64".to_owned(),
            controllers: vec!["SCSI".to_owned()],
            size_gb: 30,
            luns: vec![1],
            security,
        }
    }

    #[test]
    fn what_no_machine_can_be_like_is_refused() {
        MachineOptions::default().check().unwrap();
        let bad = |change: fn(&mut MachineOptions), part: &str| {
            let mut options = MachineOptions::default();
            change(&mut options);
            let error = options.check().unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.hint().is_some(), "{error}");
        };
        bad(|o| o.size = "a b".into(), "machine size");
        bad(|o| o.os_disk_gb = Some(4096), "too large");
        bad(
            |o| o.os_disk_sku = Some("UltraSSD_LRS".into()),
            "UltraSSD_LRS",
        );
        bad(|o| o.data_disks = vec![8, 0], "0 GB");
        bad(|o| o.data_disks = vec![32_768], "32768 GB");
        bad(|o| o.zone = Some("westus2-1".into()), "zone");
        bad(|o| o.zone = Some(String::new()), "zone");
        for price in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let options = MachineOptions {
                spot: Some(Spot::default().up_to(price)),
                ..MachineOptions::default()
            };
            assert!(options.check().is_err(), "{price}");
        }
        bad(
            |o| {
                o.secure_boot = true;
                o.security = Some(SecurityType::Standard);
            },
            "secure boot",
        );
    }

    #[test]
    fn an_os_disk_holds_its_image() {
        let origin = origin(OriginKind::ManagedImage, Security::Standard);
        let mut options = MachineOptions::default();
        assert_eq!(options.os_disk_size(&origin).unwrap(), 42);
        options.os_disk_gb = Some(30);
        assert_eq!(options.os_disk_size(&origin).unwrap(), 30);
        options.os_disk_gb = Some(29);
        let error = options.os_disk_size(&origin).unwrap_err();
        assert!(error.hint().unwrap().contains("30"), "{error:?}");
        options.data_disks = vec![4, 4];
        assert_eq!(options.luns(&origin), [0, 2]);
    }

    #[test]
    fn the_firmware_is_what_image_and_size_can() {
        use OriginKind::{Disk, GalleryVersion, ManagedImage};
        use Security::{Standard, TrustedLaunch, TrustedLaunchSupported};
        let chosen = |asked: Option<&str>, kind, security, able| {
            let options = MachineOptions {
                security: asked.map(|asked| asked.parse().unwrap()),
                ..MachineOptions::default()
            };
            options.trusted_launch(&origin(kind, security), able).ok()
        };
        let trusted = Some("trusted-launch");
        for (asked, kind, security, able, expected) in [
            (None, ManagedImage, Standard, Some(true), Some(false)),
            (
                None,
                GalleryVersion,
                TrustedLaunchSupported,
                Some(true),
                Some(true),
            ),
            (
                None,
                GalleryVersion,
                TrustedLaunchSupported,
                Some(false),
                Some(false),
            ),
            // Where it is not known what the size can, what every size can.
            (
                None,
                GalleryVersion,
                TrustedLaunchSupported,
                None,
                Some(false),
            ),
            (None, Disk, TrustedLaunch, None, Some(true)),
            (
                trusted,
                GalleryVersion,
                TrustedLaunchSupported,
                None,
                Some(true),
            ),
            (trusted, ManagedImage, Standard, Some(true), None),
            (Some("standard"), GalleryVersion, TrustedLaunch, None, None),
            (
                Some("Standard"),
                GalleryVersion,
                TrustedLaunchSupported,
                Some(true),
                Some(false),
            ),
        ] {
            assert_eq!(
                chosen(asked, kind, security, able),
                expected,
                "{asked:?} {kind:?} {security:?} {able:?}"
            );
        }
        let mut old = origin(GalleryVersion, TrustedLaunchSupported);
        old.generation = Generation::V1;
        assert!(
            !MachineOptions::default()
                .trusted_launch(&old, Some(true))
                .unwrap()
        );
        let secure = MachineOptions {
            secure_boot: true,
            ..MachineOptions::default()
        };
        assert!(secure.trusted_launch(&old, Some(true)).is_err());
    }
}
