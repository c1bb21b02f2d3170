//! The bodies of requests on disks.

use super::super::shape::{Shape, TAGS, TEXTS};

pub(crate) const STORAGE_TYPES: &[&str] = &[
    "Standard_LRS",
    "Premium_LRS",
    "StandardSSD_LRS",
    "UltraSSD_LRS",
    "Premium_ZRS",
    "StandardSSD_ZRS",
    "PremiumV2_LRS",
];

pub(crate) const EXTENDED_LOCATION: Shape =
    Shape::Object(&[("name", Shape::Text), ("type", Shape::OneOf(&["EdgeZone"]))]);

const SKU: Shape = Shape::Object(&[("name", Shape::OneOf(STORAGE_TYPES)), ("tier", Shape::Text)]);

const OS_TYPE: Shape = Shape::OneOf(&["Windows", "Linux"]);

const PURCHASE_PLAN: Shape = Shape::Object(&[
    ("name!", Shape::Text),
    ("publisher!", Shape::Text),
    ("product!", Shape::Text),
    ("promotionCode", Shape::Text),
]);

const CAPABILITIES: Shape = Shape::Object(&[
    ("diskControllerTypes", Shape::Text),
    ("acceleratedNetwork", Shape::Flag),
    ("architecture", Shape::OneOf(&["x64", "Arm64"])),
    ("supportedSecurityOption", Shape::Text),
]);

const IMAGE_REFERENCE: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("sharedGalleryImageId", Shape::Text),
    ("communityGalleryImageId", Shape::Text),
    ("lun", Shape::Number),
]);

const CREATION_DATA: Shape = Shape::Object(&[
    (
        "createOption!",
        Shape::OneOf(&[
            "Empty",
            "Attach",
            "FromImage",
            "Import",
            "Copy",
            "Restore",
            "Upload",
            "CopyStart",
            "ImportSecure",
            "UploadPreparedSecure",
            "CopyFromSanSnapshot",
        ]),
    ),
    ("storageAccountId", Shape::Text),
    ("imageReference", IMAGE_REFERENCE),
    ("galleryImageReference", IMAGE_REFERENCE),
    ("sourceUri", Shape::Text),
    ("sourceResourceId", Shape::Text),
    ("sourceUniqueId", Shape::Text),
    ("uploadSizeBytes", Shape::Number),
    ("logicalSectorSize", Shape::Number),
    ("securityDataUri", Shape::Text),
    ("securityMetadataUri", Shape::Text),
    ("performancePlus", Shape::Flag),
    ("elasticSanResourceId", Shape::Text),
    (
        "provisionedBandwidthCopySpeed",
        Shape::OneOf(&["None", "Enhanced"]),
    ),
    ("instantAccessDurationMinutes", Shape::Number),
]);

const ENCRYPTION_SETTINGS: Shape = Shape::Object(&[
    ("enabled!", Shape::Flag),
    (
        "encryptionSettings",
        Shape::List(&Shape::Object(&[
            (
                "diskEncryptionKey",
                Shape::Object(&[
                    ("sourceVault!", Shape::Object(&[("id", Shape::Text)])),
                    ("secretUrl!", Shape::Text),
                ]),
            ),
            (
                "keyEncryptionKey",
                Shape::Object(&[
                    ("sourceVault!", Shape::Object(&[("id", Shape::Text)])),
                    ("keyUrl!", Shape::Text),
                ]),
            ),
        ])),
    ),
    ("encryptionSettingsVersion", Shape::Text),
]);

const ENCRYPTION: Shape = Shape::Object(&[
    ("diskEncryptionSetId", Shape::Text),
    (
        "type",
        Shape::OneOf(&[
            "EncryptionAtRestWithPlatformKey",
            "EncryptionAtRestWithCustomerKey",
            "EncryptionAtRestWithPlatformAndCustomerKeys",
        ]),
    ),
]);

const NETWORK_ACCESS: Shape = Shape::OneOf(&["AllowAll", "AllowPrivate", "DenyAll"]);
const PUBLIC_ACCESS: Shape = Shape::OneOf(&["Enabled", "Disabled"]);
const DATA_ACCESS: Shape = Shape::OneOf(&["AzureActiveDirectory", "None"]);
const UPDATES: Shape = Shape::Object(&[("targetTier", Shape::Text)]);

const SECURITY: Shape = Shape::Object(&[
    (
        "securityType",
        Shape::OneOf(&[
            "TrustedLaunch",
            "ConfidentialVM_VMGuestStateOnlyEncryptedWithPlatformKey",
            "ConfidentialVM_DiskEncryptedWithPlatformKey",
            "ConfidentialVM_DiskEncryptedWithCustomerKey",
            "ConfidentialVM_NonPersistedTPM",
        ]),
    ),
    ("secureVMDiskEncryptionSetId", Shape::Text),
]);

pub(super) const DISK: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("managedBy", Shape::Text),
    ("managedByExtended", TEXTS),
    ("sku", SKU),
    ("zones", TEXTS),
    ("extendedLocation", EXTENDED_LOCATION),
    ("systemData", Shape::Any),
    (
        "properties!",
        Shape::Object(&[
            ("timeCreated", Shape::Text),
            ("osType", OS_TYPE),
            ("hyperVGeneration", Shape::OneOf(&["V1", "V2"])),
            ("purchasePlan", PURCHASE_PLAN),
            ("supportedCapabilities", CAPABILITIES),
            ("creationData!", CREATION_DATA),
            ("diskSizeGB", Shape::Number),
            ("diskSizeBytes", Shape::Number),
            ("uniqueId", Shape::Text),
            ("encryptionSettingsCollection", ENCRYPTION_SETTINGS),
            ("provisioningState", Shape::Text),
            ("diskIOPSReadWrite", Shape::Number),
            ("diskMBpsReadWrite", Shape::Number),
            ("diskIOPSReadOnly", Shape::Number),
            ("diskMBpsReadOnly", Shape::Number),
            ("diskState", Shape::Text),
            ("encryption", ENCRYPTION),
            ("maxShares", Shape::Number),
            ("shareInfo", Shape::Any),
            ("networkAccessPolicy", NETWORK_ACCESS),
            ("diskAccessId", Shape::Text),
            ("burstingEnabledTime", Shape::Text),
            ("tier", Shape::Text),
            ("burstingEnabled", Shape::Flag),
            ("propertyUpdatesInProgress", UPDATES),
            ("supportsHibernation", Shape::Flag),
            ("securityProfile", SECURITY),
            ("completionPercent", Shape::Number),
            ("publicNetworkAccess", PUBLIC_ACCESS),
            ("dataAccessAuthMode", DATA_ACCESS),
            ("optimizedForFrequentAttach", Shape::Flag),
            ("LastOwnershipUpdateTime", Shape::Text),
        ]),
    ),
]);

pub(super) const DISK_PATCH: Shape = Shape::Object(&[
    ("tags", TAGS),
    ("sku", SKU),
    (
        "properties",
        Shape::Object(&[
            ("osType", OS_TYPE),
            ("diskSizeGB", Shape::Number),
            ("encryptionSettingsCollection", ENCRYPTION_SETTINGS),
            ("diskIOPSReadWrite", Shape::Number),
            ("diskMBpsReadWrite", Shape::Number),
            ("diskIOPSReadOnly", Shape::Number),
            ("diskMBpsReadOnly", Shape::Number),
            ("maxShares", Shape::Number),
            ("encryption", ENCRYPTION),
            ("networkAccessPolicy", NETWORK_ACCESS),
            ("diskAccessId", Shape::Text),
            ("tier", Shape::Text),
            ("burstingEnabled", Shape::Flag),
            ("purchasePlan", PURCHASE_PLAN),
            ("supportedCapabilities", CAPABILITIES),
            ("propertyUpdatesInProgress", UPDATES),
            ("supportsHibernation", Shape::Flag),
            ("publicNetworkAccess", PUBLIC_ACCESS),
            ("dataAccessAuthMode", DATA_ACCESS),
            ("optimizedForFrequentAttach", Shape::Flag),
        ]),
    ),
]);

const SNAPSHOT_SKU: Shape = Shape::Object(&[
    (
        "name",
        Shape::OneOf(&["Standard_LRS", "Premium_LRS", "Standard_ZRS"]),
    ),
    ("tier", Shape::Text),
]);

pub(super) const SNAPSHOT: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("sku", SNAPSHOT_SKU),
    ("managedBy", Shape::Text),
    ("extendedLocation", EXTENDED_LOCATION),
    ("systemData", Shape::Any),
    (
        "properties",
        Shape::Object(&[
            ("timeCreated", Shape::Text),
            ("osType", OS_TYPE),
            ("hyperVGeneration", Shape::OneOf(&["V1", "V2"])),
            ("purchasePlan", PURCHASE_PLAN),
            ("supportedCapabilities", CAPABILITIES),
            ("creationData!", CREATION_DATA),
            ("diskSizeGB", Shape::Number),
            ("diskSizeBytes", Shape::Number),
            ("diskState", Shape::Text),
            ("uniqueId", Shape::Text),
            ("encryptionSettingsCollection", ENCRYPTION_SETTINGS),
            ("provisioningState", Shape::Text),
            ("incremental", Shape::Flag),
            ("incrementalSnapshotFamilyId", Shape::Text),
            ("encryption", ENCRYPTION),
            ("networkAccessPolicy", NETWORK_ACCESS),
            ("diskAccessId", Shape::Text),
            ("securityProfile", SECURITY),
            ("supportsHibernation", Shape::Flag),
            ("publicNetworkAccess", PUBLIC_ACCESS),
            ("completionPercent", Shape::Number),
            ("copyCompletionError", Shape::Any),
            ("dataAccessAuthMode", DATA_ACCESS),
            ("snapshotAccessState", Shape::Text),
        ]),
    ),
]);

pub(super) const SNAPSHOT_PATCH: Shape = Shape::Object(&[
    ("tags", TAGS),
    ("sku", SNAPSHOT_SKU),
    (
        "properties",
        Shape::Object(&[
            ("osType", OS_TYPE),
            ("diskSizeGB", Shape::Number),
            ("encryptionSettingsCollection", ENCRYPTION_SETTINGS),
            ("encryption", ENCRYPTION),
            ("networkAccessPolicy", NETWORK_ACCESS),
            ("diskAccessId", Shape::Text),
            ("supportsHibernation", Shape::Flag),
            ("publicNetworkAccess", PUBLIC_ACCESS),
            ("dataAccessAuthMode", DATA_ACCESS),
            ("supportedCapabilities", CAPABILITIES),
            ("snapshotAccessState", Shape::Text),
        ]),
    ),
]);

pub(super) const GRANT: Shape = Shape::Object(&[
    ("access!", Shape::OneOf(&["None", "Read", "Write"])),
    ("durationInSeconds!", Shape::Number),
    ("getSecureVMGuestStateSAS", Shape::Flag),
    ("fileFormat", Shape::OneOf(&["VHD", "VHDX"])),
]);
