//! What stays different, and why.

use azure_nixos_tests::golden::Listed;
use azure_nixos_tests::openapi::Deviation;

/// Recordings of what the local Azure does not have, in the order of their names, and what it is. One
/// that it has by now makes the test fail, so that it is compared from then on.
pub(crate) const NOT_THERE: &[(&str, &str)] = &[
    ("boot_diagnostics", "boot diagnostics"),
    ("disk_begin_get_access_write", "disks with a guest state"),
    (
        "disk_create_upload_prepared_secure",
        "disks with a guest state",
    ),
    ("gallery_create", "Compute Galleries"),
    ("gallery_delete", "Compute Galleries"),
    ("gallery_image_definition_create", "Compute Galleries"),
    ("gallery_image_definition_delete", "Compute Galleries"),
    (
        "gallery_image_version_create_from_managed_image",
        "Compute Galleries",
    ),
    (
        "gallery_image_version_create_from_snapshot",
        "Compute Galleries",
    ),
    ("gallery_image_version_delete", "Compute Galleries"),
    ("identity_create", "managed identities"),
    ("identity_delete", "managed identities"),
    ("role_assignment_create", "role assignments"),
    ("role_assignment_delete", "role assignments"),
    ("role_assignment_exists", "role assignments"),
    ("role_assignment_forbidden", "role assignments"),
    ("role_assignment_principal_not_found", "role assignments"),
    ("snapshot_end_get_access_2024", "snapshots"),
    ("vm_create_net_linux_ssh", "images of the marketplace"),
    ("vm_create_py2022", "images of the marketplace"),
];

const fn listed(recording: &'static str, place: &'static str, why: &'static str) -> Listed {
    Listed {
        recording,
        place,
        why,
    }
}

/// Any version is answered alike here, and in the way of 2024. So are recordings of older versions,
/// which had less in them.
const OLDER: &str = "an older version, which had less";

/// Differences that stay.
pub(crate) const LISTED: &[Listed] = &[
    listed(
        "disk_begin_get_access_read_py2022",
        "*accessSAS",
        "the recorder took the URL out",
    ),
    listed(
        "disk_create_empty_retry_after",
        "body:properties.isArmResource",
        "of version 2019-03-01 alone",
    ),
    listed("disk_create_empty_retry_after", "body:id", OLDER),
    listed("disk_create_empty_retry_after", "body:type", OLDER),
    listed("disk_create_empty_retry_after", "body:sku", OLDER),
    listed(
        "disk_create_empty_retry_after",
        "*properties.encryption",
        OLDER,
    ),
    listed(
        "disk_create_empty_retry_after",
        "*properties.networkAccessPolicy",
        OLDER,
    ),
    listed(
        "disk_create_empty_retry_after",
        "*properties.publicNetworkAccess",
        OLDER,
    ),
    listed("nic_create", "header:azure-asyncnotification", OLDER),
    listed("nic_create", "body:kind", OLDER),
    listed("nic_create", "body:properties.allowPort25Out", OLDER),
    listed("nic_create", "body:properties.auxiliary*", OLDER),
    listed(
        "nic_create",
        "body:properties.disableTcpStateTracking",
        OLDER,
    ),
    listed("nic_create", "body:properties.nicType", OLDER),
    listed(
        "nic_create",
        "body:properties.vnetEncryptionSupported",
        OLDER,
    ),
    listed(
        "nic_create_2024",
        "*rovisioningState",
        "it is a backend of an application gateway, which is updated too; here no interface takes time",
    ),
    listed("nic_create_2024", "body:status", "the same"),
    listed("nic_delete", "header:azure-asyncnotification", OLDER),
    listed("nsg_create", "header:azure-asyncnotification", OLDER),
    listed("nsg_delete", "header:azure-asyncnotification", OLDER),
    listed(
        "public_ip_create_net",
        "header:azure-asyncnotification",
        OLDER,
    ),
    listed(
        "public_ip_create_net",
        "body:properties.ddosSettings",
        OLDER,
    ),
    listed("public_ip_create_net", "body:sku.tier", OLDER),
    listed("public_ip_delete", "header:azure-asyncnotification", OLDER),
    listed(
        "vm_create_attach_specialized_disk",
        "header:azure-asyncoperation",
        "partitions have names since 2021",
    ),
    listed("vm_create_attach_specialized_disk", "*.deleteOption", OLDER),
    listed(
        "vm_create_attach_specialized_disk",
        "body:properties.timeCreated",
        OLDER,
    ),
    listed(
        "vm_create_attach_specialized_disk",
        "header:retry-after",
        "the first poll of a machine says how long it will take, save of this one",
    ),
    listed(
        "vm_create_from_managed_image",
        "header:azure-asyncoperation",
        "partitions have names since 2021",
    ),
    listed("vm_create_from_managed_image", "*.patchSettings", OLDER),
    listed("vm_create_from_managed_image", "*.deleteOption", OLDER),
    listed(
        "vm_create_from_managed_image",
        "body:properties.timeCreated",
        OLDER,
    ),
    listed(
        "vm_deallocate",
        "header:azure-asyncnotification",
        "sent for actions since 2023",
    ),
    listed(
        "vm_delete_net",
        "header:azure-asyncoperation",
        "partitions have names since 2021",
    ),
    listed(
        "vm_delete_net",
        "header:location",
        "partitions have names since 2021",
    ),
    listed(
        "vm_poweroff",
        "header:azure-asyncnotification",
        "sent for actions since 2023",
    ),
    listed(
        "vm_quota_exceeded",
        "header:x-ms-ratelimit-remaining-resource",
        "errors of the compute provider have it in newer recordings",
    ),
    listed(
        "vm_start",
        "header:azure-asyncnotification",
        "sent for actions since 2023",
    ),
    listed("vnet_create", "header:azure-asyncnotification", OLDER),
    listed(
        "vnet_create",
        "body:properties.enableVmProtection",
        "given back until 2020",
    ),
    listed(
        "vnet_create",
        "*.privateEndpointNetworkPolicies",
        "the default was another one until 2022",
    ),
    listed("vnet_delete", "header:azure-asyncnotification", OLDER),
];

/// Where the answers do not keep to Microsoft's documents, and stay.
pub(crate) const DOCUMENTS: &[Deviation] = &[];
