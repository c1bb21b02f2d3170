//! Microsoft.Compute: managed disks, images and those of galleries, virtual machines and their sizes,
//! and scale sets.

mod disks;
mod galleries;
mod images;
mod machines;
mod scale_sets;
mod skus;
mod virtual_machines;

pub(super) use disks::API as DISKS_API;
pub use disks::{
    CreationData, Disk, DiskCapabilities, DiskProperties, DiskSecurity, DiskSku, DiskState,
};
pub use galleries::{
    GalleryDiskImage, GalleryFeature, GalleryImage, GalleryImageProperties, GalleryStorageProfile,
    GalleryVersion, GalleryVersionProperties, PublishingProfile, TargetRegion,
};
pub use images::{Image, ImageDataDisk, ImageOsDisk, ImageProperties, ImageStorageProfile};
pub(crate) use machines::{Existing, PowerAction};
pub use scale_sets::{
    AddressConfiguration, AddressConfigurationProperties, InterfaceConfiguration,
    InterfaceConfigurationProperties, PublicIpConfiguration, PublicIpConfigurationProperties,
    ScaleSet, ScaleSetNetworkProfile, ScaleSetOsProfile, ScaleSetProfile, ScaleSetProperties,
    ScaleSetSku,
};
pub use skus::{Capability, Restriction, RestrictionInfo, VmSize, ZoneInfo};
pub use virtual_machines::{
    AssignedIdentity, BillingProfile, BootDiagnostics, DataDisk, DiagnosticsProfile,
    HardwareProfile, ImageReference, InterfaceReference, InterfaceReferenceProperties,
    LinuxConfiguration, MachineIdentity, ManagedDiskParameters, NetworkProfile, OsDisk, OsProfile,
    SecurityProfile, SshConfiguration, SshPublicKey, StorageProfile, UefiSettings, VirtualMachine,
    VirtualMachineProperties, Withheld,
};

use serde::{Deserialize, Serialize};

use super::ResourceId;

/// Full types of the resources here, as they stand in an id.
pub(crate) const DISKS: &str = "Microsoft.Compute/disks";
pub(crate) const IMAGES: &str = "Microsoft.Compute/images";
pub(crate) const GALLERY_IMAGES: &str = "Microsoft.Compute/galleries/images";
pub(crate) const GALLERY_VERSIONS: &str = "Microsoft.Compute/galleries/images/versions";
pub(crate) const SCALE_SETS: &str = "Microsoft.Compute/virtualMachineScaleSets";
pub(crate) const VIRTUAL_MACHINES: &str = "Microsoft.Compute/virtualMachines";

/// A reference to another resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubResource {
    /// Its id.
    pub id: ResourceId,
}
