//! Microsoft.Compute: managed disks, images, virtual machines.

mod disks;
mod images;
mod virtual_machines;

pub use disks::{CreationData, Disk, DiskProperties, DiskSku, DiskState};
pub use images::{Image, ImageOsDisk, ImageProperties, ImageStorageProfile};
pub use virtual_machines::{
    HardwareProfile, ImageReference, InterfaceReference, InterfaceReferenceProperties,
    LinuxConfiguration, ManagedDiskParameters, NetworkProfile, OsDisk, OsProfile, SshConfiguration,
    SshPublicKey, StorageProfile, VirtualMachine, VirtualMachineProperties,
};

use serde::{Deserialize, Serialize};

use super::ResourceId;

/// Full types of the resources here, as they stand in an id.
pub(crate) const DISKS: &str = "Microsoft.Compute/disks";
pub(crate) const IMAGES: &str = "Microsoft.Compute/images";
pub(crate) const VIRTUAL_MACHINES: &str = "Microsoft.Compute/virtualMachines";

/// A reference to another resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubResource {
    /// Its id.
    pub id: ResourceId,
}

/// Which firmware a machine made from a disk or an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum HyperVGeneration {
    /// BIOS, boots from an MBR or a BIOS boot partition.
    V1,
    /// UEFI, boots from an EFI system partition.
    V2,
}

impl HyperVGeneration {
    /// `V1` or `V2`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        }
    }
}

impl std::fmt::Display for HyperVGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for HyperVGeneration {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "v1" | "1" => Ok(Self::V1),
            "v2" | "2" => Ok(Self::V2),
            _ => Err(crate::Error::new(
                crate::ErrorKind::InvalidInput,
                format!("{text:?} is not a Hyper-V generation"),
            )
            .with_hint("it is v1 (BIOS) or v2 (UEFI)")),
        }
    }
}
