//! Microsoft.Compute: managed disks, images, virtual machines and their sizes.

mod disks;
mod images;
mod machines;
mod skus;
mod virtual_machines;

pub(super) use disks::API as DISKS_API;
pub use disks::{CreationData, Disk, DiskProperties, DiskSku, DiskState};
pub use images::{Image, ImageOsDisk, ImageProperties, ImageStorageProfile};
pub(crate) use machines::{Existing, PowerAction};
pub use skus::{Capability, Restriction, RestrictionInfo, VmSize};
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
