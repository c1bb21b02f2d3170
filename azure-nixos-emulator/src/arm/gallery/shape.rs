//! The bodies of requests on galleries, image definitions and image versions.

use super::super::shape::{REFERENCE, Shape, TAGS, TEXTS};

const REPLICA_STORAGE: Shape = Shape::OneOf(&[
    "Standard_LRS",
    "Standard_ZRS",
    "Premium_LRS",
    "PremiumV2_LRS",
]);
const CACHING: Shape = Shape::OneOf(&["None", "ReadOnly", "ReadWrite"]);
const OS_TYPE: Shape = Shape::OneOf(&["Windows", "Linux"]);
const OS_STATE: Shape = Shape::OneOf(&["Generalized", "Specialized"]);
const GENERATION: Shape = Shape::OneOf(&["V1", "V2"]);
const ARCHITECTURE: Shape = Shape::OneOf(&["x64", "Arm64"]);

const GALLERY_PROPERTIES: Shape = Shape::Object(&[
    ("description", Shape::Text),
    ("identifier", Shape::Object(&[("uniqueName", Shape::Text)])),
    ("provisioningState", Shape::Text),
    (
        "sharingProfile",
        Shape::Object(&[
            (
                "permissions",
                Shape::OneOf(&["Private", "Groups", "Community"]),
            ),
            ("groups", Shape::Any),
            ("communityGalleryInfo", Shape::Any),
        ]),
    ),
    (
        "softDeletePolicy",
        Shape::Object(&[("isSoftDeleteEnabled", Shape::Flag)]),
    ),
    ("sharingStatus", Shape::Any),
]);

const IDENTITY: Shape = Shape::Object(&[
    ("type", Shape::Text),
    ("principalId", Shape::Text),
    ("tenantId", Shape::Text),
    ("userAssignedIdentities", Shape::Map(&Shape::Any)),
]);

pub(super) const GALLERY: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("identity", IDENTITY),
    ("systemData", Shape::Any),
    ("properties", GALLERY_PROPERTIES),
]);

pub(super) const GALLERY_PATCH: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("tags", TAGS),
    ("identity", IDENTITY),
    ("properties", GALLERY_PROPERTIES),
]);

const IDENTIFIER: Shape = Shape::Object(&[
    ("publisher!", Shape::Text),
    ("offer!", Shape::Text),
    ("sku!", Shape::Text),
]);

const RANGE: Shape = Shape::Object(&[("min", Shape::Number), ("max", Shape::Number)]);

const FEATURES: Shape = Shape::List(&Shape::Object(&[
    ("name", Shape::Text),
    ("value", Shape::Text),
    ("startsAtVersion", Shape::Text),
]));

/// Required and not: a PATCH has the same properties.
const DEFINITION_PROPERTIES: Shape = Shape::Object(&[
    ("description", Shape::Text),
    ("eula", Shape::Text),
    ("privacyStatementUri", Shape::Text),
    ("releaseNoteUri", Shape::Text),
    ("osType", OS_TYPE),
    ("osState", OS_STATE),
    ("hyperVGeneration", GENERATION),
    ("endOfLifeDate", Shape::Text),
    ("identifier", IDENTIFIER),
    (
        "recommended",
        Shape::Object(&[("vCPUs", RANGE), ("memory", RANGE)]),
    ),
    ("disallowed", Shape::Object(&[("diskTypes", TEXTS)])),
    (
        "purchasePlan",
        Shape::Object(&[
            ("name", Shape::Text),
            ("publisher", Shape::Text),
            ("product", Shape::Text),
        ]),
    ),
    ("provisioningState", Shape::Text),
    ("features", FEATURES),
    ("architecture", ARCHITECTURE),
    ("allowUpdateImage", Shape::Flag),
]);

pub(super) const DEFINITION: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("systemData", Shape::Any),
    ("properties!", DEFINITION_PROPERTIES),
]);

pub(super) const DEFINITION_PATCH: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("tags", TAGS),
    ("properties", DEFINITION_PROPERTIES),
]);

const ENCRYPTION: Shape = Shape::Object(&[
    (
        "osDiskImage",
        Shape::Object(&[
            ("diskEncryptionSetId", Shape::Text),
            (
                "securityProfile",
                Shape::Object(&[
                    ("confidentialVMEncryptionType", Shape::Text),
                    ("secureVMDiskEncryptionSetId", Shape::Text),
                ]),
            ),
        ]),
    ),
    (
        "dataDiskImages",
        Shape::List(&Shape::Object(&[
            ("diskEncryptionSetId", Shape::Text),
            ("lun!", Shape::Number),
        ])),
    ),
]);

const PUBLISHING: Shape = Shape::Object(&[
    (
        "targetRegions",
        Shape::List(&Shape::Object(&[
            ("name!", Shape::Text),
            ("regionalReplicaCount", Shape::Number),
            ("storageAccountType", REPLICA_STORAGE),
            ("encryption", ENCRYPTION),
            ("excludeFromLatest", Shape::Flag),
            ("additionalReplicaSets", Shape::Any),
        ])),
    ),
    ("replicaCount", Shape::Number),
    ("excludeFromLatest", Shape::Flag),
    ("publishedDate", Shape::Text),
    ("endOfLifeDate", Shape::Text),
    ("storageAccountType", REPLICA_STORAGE),
    ("replicationMode", Shape::OneOf(&["Full", "Shallow"])),
    ("targetExtendedLocations", Shape::List(&REFERENCE)),
]);

const DISK_SOURCE: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("uri", Shape::Text),
    ("storageAccountId", Shape::Text),
]);

const STORAGE: Shape = Shape::Object(&[
    (
        "source",
        Shape::Object(&[
            ("id", Shape::Text),
            ("communityGalleryImageId", Shape::Text),
            ("virtualMachineId", Shape::Text),
        ]),
    ),
    (
        "osDiskImage",
        Shape::Object(&[
            ("sizeInGB", Shape::Number),
            ("hostCaching", CACHING),
            ("source", DISK_SOURCE),
        ]),
    ),
    (
        "dataDiskImages",
        Shape::List(&Shape::Object(&[
            ("sizeInGB", Shape::Number),
            ("hostCaching", CACHING),
            ("source", DISK_SOURCE),
            ("lun!", Shape::Number),
        ])),
    ),
]);

const VERSION_PROPERTIES: Shape = Shape::Object(&[
    ("publishingProfile", PUBLISHING),
    ("provisioningState", Shape::Text),
    ("storageProfile", STORAGE),
    (
        "safetyProfile",
        Shape::Object(&[
            ("allowDeletionOfReplicatedLocations", Shape::Flag),
            ("blockDeletionBeforeEndOfLife", Shape::Flag),
            ("reportedForPolicyViolation", Shape::Flag),
            ("policyViolations", Shape::Any),
        ]),
    ),
    ("replicationStatus", Shape::Any),
    (
        "securityProfile",
        Shape::Object(&[("uefiSettings", Shape::Any)]),
    ),
    ("restore", Shape::Flag),
    ("validationsProfile", Shape::Any),
]);

pub(super) const VERSION: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("systemData", Shape::Any),
    ("properties", VERSION_PROPERTIES),
]);

pub(super) const VERSION_PATCH: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("tags", TAGS),
    ("properties", VERSION_PROPERTIES),
]);
