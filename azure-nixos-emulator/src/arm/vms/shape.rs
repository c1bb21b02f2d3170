//! The body of a virtual machine.

use super::super::disks::{EXTENDED_LOCATION, STORAGE_TYPES};
use super::super::shape::{Shape, TAGS, TEXTS};

const SUB_RESOURCE: Shape = Shape::Object(&[("id", Shape::Text)]);
const SUB_RESOURCES: Shape = Shape::List(&SUB_RESOURCE);
const CACHING: Shape = Shape::OneOf(&["None", "ReadOnly", "ReadWrite"]);
const DELETE_OPTION: Shape = Shape::OneOf(&["Delete", "Detach"]);
const CREATE_OPTION: Shape = Shape::OneOf(&["FromImage", "Empty", "Attach", "Copy", "Restore"]);
const VHD: Shape = Shape::Object(&[("uri", Shape::Text)]);

const ENCRYPTION_SETTINGS: Shape = Shape::Object(&[
    (
        "diskEncryptionKey",
        Shape::Object(&[("secretUrl!", Shape::Text), ("sourceVault!", SUB_RESOURCE)]),
    ),
    (
        "keyEncryptionKey",
        Shape::Object(&[("keyUrl!", Shape::Text), ("sourceVault!", SUB_RESOURCE)]),
    ),
    ("enabled", Shape::Flag),
]);

const MANAGED_DISK: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("storageAccountType", Shape::OneOf(STORAGE_TYPES)),
    ("diskEncryptionSet", SUB_RESOURCE),
    (
        "securityProfile",
        Shape::Object(&[
            (
                "securityEncryptionType",
                Shape::OneOf(&[
                    "VMGuestStateOnly",
                    "DiskWithVMGuestState",
                    "NonPersistedTPM",
                ]),
            ),
            ("diskEncryptionSet", SUB_RESOURCE),
        ]),
    ),
]);

const STORAGE_PROFILE: Shape = Shape::Object(&[
    (
        "imageReference",
        Shape::Object(&[
            ("id", Shape::Text),
            ("publisher", Shape::Text),
            ("offer", Shape::Text),
            ("sku", Shape::Text),
            ("version", Shape::Text),
            ("exactVersion", Shape::Text),
            ("sharedGalleryImageId", Shape::Text),
            ("communityGalleryImageId", Shape::Text),
        ]),
    ),
    (
        "osDisk",
        Shape::Object(&[
            ("osType", Shape::OneOf(&["Windows", "Linux"])),
            ("encryptionSettings", ENCRYPTION_SETTINGS),
            ("name", Shape::Text),
            ("vhd", VHD),
            ("image", VHD),
            ("caching", CACHING),
            ("writeAcceleratorEnabled", Shape::Flag),
            (
                "diffDiskSettings",
                Shape::Object(&[
                    ("option", Shape::OneOf(&["Local"])),
                    (
                        "placement",
                        Shape::OneOf(&["CacheDisk", "ResourceDisk", "NvmeDisk"]),
                    ),
                ]),
            ),
            ("createOption!", CREATE_OPTION),
            ("diskSizeGB", Shape::Number),
            ("managedDisk", MANAGED_DISK),
            ("deleteOption", DELETE_OPTION),
        ]),
    ),
    (
        "dataDisks",
        Shape::List(&Shape::Object(&[
            ("lun!", Shape::Number),
            ("name", Shape::Text),
            ("vhd", VHD),
            ("image", VHD),
            ("caching", CACHING),
            ("writeAcceleratorEnabled", Shape::Flag),
            ("createOption!", CREATE_OPTION),
            ("diskSizeGB", Shape::Number),
            ("managedDisk", MANAGED_DISK),
            ("sourceResource", SUB_RESOURCE),
            ("toBeDetached", Shape::Flag),
            ("diskIOPSReadWrite", Shape::Number),
            ("diskMBpsReadWrite", Shape::Number),
            ("detachOption", Shape::OneOf(&["ForceDetach"])),
            ("deleteOption", DELETE_OPTION),
        ])),
    ),
    ("diskControllerType", Shape::OneOf(&["SCSI", "NVMe"])),
]);

const REBOOT_SETTINGS: Shape = Shape::Object(&[
    (
        "rebootSetting",
        Shape::OneOf(&["Unknown", "IfRequired", "Never", "Always"]),
    ),
    ("bypassPlatformSafetyChecksOnUserSchedule", Shape::Flag),
]);

const OS_PROFILE: Shape = Shape::Object(&[
    ("computerName", Shape::Text),
    ("adminUsername", Shape::Text),
    ("adminPassword", Shape::Text),
    ("customData", Shape::Text),
    (
        "windowsConfiguration",
        Shape::Object(&[
            ("provisionVMAgent", Shape::Flag),
            ("enableAutomaticUpdates", Shape::Flag),
            ("timeZone", Shape::Text),
            (
                "additionalUnattendContent",
                Shape::List(&Shape::Object(&[
                    ("passName", Shape::OneOf(&["OobeSystem"])),
                    (
                        "componentName",
                        Shape::OneOf(&["Microsoft-Windows-Shell-Setup"]),
                    ),
                    (
                        "settingName",
                        Shape::OneOf(&["AutoLogon", "FirstLogonCommands"]),
                    ),
                    ("content", Shape::Text),
                ])),
            ),
            (
                "patchSettings",
                Shape::Object(&[
                    (
                        "patchMode",
                        Shape::OneOf(&["Manual", "AutomaticByOS", "AutomaticByPlatform"]),
                    ),
                    ("enableHotpatching", Shape::Flag),
                    (
                        "assessmentMode",
                        Shape::OneOf(&["ImageDefault", "AutomaticByPlatform"]),
                    ),
                    ("automaticByPlatformSettings", REBOOT_SETTINGS),
                ]),
            ),
            (
                "winRM",
                Shape::Object(&[(
                    "listeners",
                    Shape::List(&Shape::Object(&[
                        ("protocol", Shape::OneOf(&["Http", "Https"])),
                        ("certificateUrl", Shape::Text),
                    ])),
                )]),
            ),
            ("enableVMAgentPlatformUpdates", Shape::Flag),
        ]),
    ),
    (
        "linuxConfiguration",
        Shape::Object(&[
            ("disablePasswordAuthentication", Shape::Flag),
            (
                "ssh",
                Shape::Object(&[(
                    "publicKeys",
                    Shape::List(&Shape::Object(&[
                        ("path", Shape::Text),
                        ("keyData", Shape::Text),
                    ])),
                )]),
            ),
            ("provisionVMAgent", Shape::Flag),
            (
                "patchSettings",
                Shape::Object(&[
                    (
                        "patchMode",
                        Shape::OneOf(&["ImageDefault", "AutomaticByPlatform"]),
                    ),
                    (
                        "assessmentMode",
                        Shape::OneOf(&["ImageDefault", "AutomaticByPlatform"]),
                    ),
                    ("automaticByPlatformSettings", REBOOT_SETTINGS),
                ]),
            ),
            ("enableVMAgentPlatformUpdates", Shape::Flag),
        ]),
    ),
    (
        "secrets",
        Shape::List(&Shape::Object(&[
            ("sourceVault", SUB_RESOURCE),
            (
                "vaultCertificates",
                Shape::List(&Shape::Object(&[
                    ("certificateUrl", Shape::Text),
                    ("certificateStore", Shape::Text),
                ])),
            ),
        ])),
    ),
    ("allowExtensionOperations", Shape::Flag),
    ("requireGuestProvisionSignal", Shape::Flag),
]);

const PUBLIC_IP_CONFIGURATION: Shape = Shape::Object(&[
    ("name!", Shape::Text),
    (
        "sku",
        Shape::Object(&[
            ("name", Shape::OneOf(&["Basic", "Standard"])),
            ("tier", Shape::OneOf(&["Regional", "Global"])),
        ]),
    ),
    ("tags", TAGS),
    (
        "properties",
        Shape::Object(&[
            ("idleTimeoutInMinutes", Shape::Number),
            ("deleteOption", DELETE_OPTION),
            (
                "dnsSettings",
                Shape::Object(&[
                    ("domainNameLabel!", Shape::Text),
                    (
                        "domainNameLabelScope",
                        Shape::OneOf(&[
                            "TenantReuse",
                            "SubscriptionReuse",
                            "ResourceGroupReuse",
                            "NoReuse",
                        ]),
                    ),
                ]),
            ),
            (
                "ipTags",
                Shape::List(&Shape::Object(&[
                    ("ipTagType", Shape::Text),
                    ("tag", Shape::Text),
                ])),
            ),
            ("publicIPPrefix", SUB_RESOURCE),
            ("publicIPAddressVersion", Shape::OneOf(&["IPv4", "IPv6"])),
            (
                "publicIPAllocationMethod",
                Shape::OneOf(&["Dynamic", "Static"]),
            ),
        ]),
    ),
]);

const NETWORK_PROFILE: Shape = Shape::Object(&[
    (
        "networkInterfaces",
        Shape::List(&Shape::Object(&[
            ("id", Shape::Text),
            (
                "properties",
                Shape::Object(&[("primary", Shape::Flag), ("deleteOption", DELETE_OPTION)]),
            ),
        ])),
    ),
    ("networkApiVersion", Shape::Text),
    (
        "networkInterfaceConfigurations",
        Shape::List(&Shape::Object(&[
            ("name!", Shape::Text),
            ("tags", TAGS),
            (
                "properties",
                Shape::Object(&[
                    ("primary", Shape::Flag),
                    ("deleteOption", DELETE_OPTION),
                    ("enableAcceleratedNetworking", Shape::Flag),
                    ("disableTcpStateTracking", Shape::Flag),
                    ("enableFpga", Shape::Flag),
                    ("enableIPForwarding", Shape::Flag),
                    ("networkSecurityGroup", SUB_RESOURCE),
                    ("dnsSettings", Shape::Object(&[("dnsServers", TEXTS)])),
                    (
                        "ipConfigurations!",
                        Shape::List(&Shape::Object(&[
                            ("name!", Shape::Text),
                            (
                                "properties",
                                Shape::Object(&[
                                    ("subnet", SUB_RESOURCE),
                                    ("primary", Shape::Flag),
                                    ("publicIPAddressConfiguration", PUBLIC_IP_CONFIGURATION),
                                    ("privateIPAddressVersion", Shape::OneOf(&["IPv4", "IPv6"])),
                                    ("applicationSecurityGroups", SUB_RESOURCES),
                                    ("applicationGatewayBackendAddressPools", SUB_RESOURCES),
                                    ("loadBalancerBackendAddressPools", SUB_RESOURCES),
                                ]),
                            ),
                        ])),
                    ),
                    ("dscpConfiguration", SUB_RESOURCE),
                    (
                        "auxiliaryMode",
                        Shape::OneOf(&["None", "AcceleratedConnections", "Floating"]),
                    ),
                    (
                        "auxiliarySku",
                        Shape::OneOf(&["None", "A1", "A2", "A4", "A8"]),
                    ),
                ]),
            ),
        ])),
    ),
]);

const NOTIFICATION: Shape =
    Shape::Object(&[("notBeforeTimeout", Shape::Text), ("enable", Shape::Flag)]);

pub(crate) const IDENTITY: Shape = Shape::Object(&[
    ("principalId", Shape::Text),
    ("tenantId", Shape::Text),
    (
        "type",
        Shape::OneOf(&[
            "SystemAssigned",
            "UserAssigned",
            "SystemAssigned, UserAssigned",
            "None",
        ]),
    ),
    (
        "userAssignedIdentities",
        Shape::Map(&Shape::Object(&[
            ("principalId", Shape::Text),
            ("clientId", Shape::Text),
        ])),
    ),
]);

const APPROVED: Shape = Shape::Object(&[("automaticallyApprove", Shape::Flag)]);

const PROPERTIES: Shape = Shape::Object(&[
    (
        "hardwareProfile",
        Shape::Object(&[
            ("vmSize", Shape::Text),
            (
                "vmSizeProperties",
                Shape::Object(&[
                    ("vCPUsAvailable", Shape::Number),
                    ("vCPUsPerCore", Shape::Number),
                ]),
            ),
        ]),
    ),
    (
        "scheduledEventsPolicy",
        Shape::Object(&[
            ("userInitiatedRedeploy", APPROVED),
            ("userInitiatedReboot", APPROVED),
            (
                "scheduledEventsAdditionalPublishingTargets",
                Shape::Object(&[(
                    "eventGridAndResourceGraph",
                    Shape::Object(&[
                        ("enable", Shape::Flag),
                        ("scheduledEventsApiVersion", Shape::Text),
                    ]),
                )]),
            ),
            ("allInstancesDown", APPROVED),
        ]),
    ),
    ("storageProfile", STORAGE_PROFILE),
    (
        "additionalCapabilities",
        Shape::Object(&[
            ("ultraSSDEnabled", Shape::Flag),
            ("hibernationEnabled", Shape::Flag),
            ("enableFips1403Encryption", Shape::Flag),
        ]),
    ),
    ("osProfile", OS_PROFILE),
    ("networkProfile", NETWORK_PROFILE),
    (
        "securityProfile",
        Shape::Object(&[
            (
                "uefiSettings",
                Shape::Object(&[
                    ("secureBootEnabled", Shape::Flag),
                    ("vTpmEnabled", Shape::Flag),
                ]),
            ),
            ("encryptionAtHost", Shape::Flag),
            (
                "securityType",
                Shape::OneOf(&["TrustedLaunch", "ConfidentialVM", "Standard"]),
            ),
            (
                "encryptionIdentity",
                Shape::Object(&[("userAssignedIdentityResourceId", Shape::Text)]),
            ),
            ("proxyAgentSettings", Shape::Any),
        ]),
    ),
    (
        "diagnosticsProfile",
        Shape::Object(&[(
            "bootDiagnostics",
            Shape::Object(&[("enabled", Shape::Flag), ("storageUri", Shape::Text)]),
        )]),
    ),
    ("availabilitySet", SUB_RESOURCE),
    ("virtualMachineScaleSet", SUB_RESOURCE),
    ("proximityPlacementGroup", SUB_RESOURCE),
    ("priority", Shape::OneOf(&["Regular", "Low", "Spot"])),
    ("evictionPolicy", Shape::OneOf(&["Deallocate", "Delete"])),
    (
        "billingProfile",
        Shape::Object(&[("maxPrice", Shape::Number)]),
    ),
    ("host", SUB_RESOURCE),
    ("hostGroup", SUB_RESOURCE),
    ("provisioningState", Shape::Text),
    ("instanceView", Shape::Any),
    ("licenseType", Shape::Text),
    ("vmId", Shape::Text),
    ("extensionsTimeBudget", Shape::Text),
    ("platformFaultDomain", Shape::Number),
    (
        "scheduledEventsProfile",
        Shape::Object(&[
            ("terminateNotificationProfile", NOTIFICATION),
            ("osImageNotificationProfile", NOTIFICATION),
        ]),
    ),
    ("userData", Shape::Text),
    (
        "capacityReservation",
        Shape::Object(&[("capacityReservationGroup", SUB_RESOURCE)]),
    ),
    (
        "applicationProfile",
        Shape::Object(&[(
            "galleryApplications",
            Shape::List(&Shape::Object(&[
                ("tags", Shape::Text),
                ("order", Shape::Number),
                ("packageReferenceId!", Shape::Text),
                ("configurationReference", Shape::Text),
                ("treatFailureAsDeploymentFailure", Shape::Flag),
                ("enableAutomaticUpgrade", Shape::Flag),
            ])),
        )]),
    ),
    ("timeCreated", Shape::Text),
]);

const PLAN: Shape = Shape::Object(&[
    ("name", Shape::Text),
    ("publisher", Shape::Text),
    ("product", Shape::Text),
    ("promotionCode", Shape::Text),
]);

pub(crate) const VM: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("plan", PLAN),
    ("identity", IDENTITY),
    ("zones", TEXTS),
    ("extendedLocation", EXTENDED_LOCATION),
    ("managedBy", Shape::Text),
    ("resources", Shape::Any),
    ("placement", Shape::Any),
    ("systemData", Shape::Any),
    ("properties", PROPERTIES),
]);

pub(crate) const VM_PATCH: Shape = Shape::Object(&[
    ("tags", TAGS),
    ("plan", PLAN),
    ("identity", IDENTITY),
    ("zones", TEXTS),
    ("properties", PROPERTIES),
]);
