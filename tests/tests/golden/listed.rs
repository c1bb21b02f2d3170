//! What stays different, and why.

use azure_nixos_tests::golden::Listed;
use azure_nixos_tests::openapi::Deviation;

/// Recordings of what the local Azure does not have, in the order of their names, and what it is. One
/// that it has by now makes the test fail, so that it is compared from then on.
pub(crate) const NOT_THERE: &[(&str, &str)] = &[
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
    listed(
        "gallery_image_version_create_from_snapshot",
        "*.allowDeletionOfReplicatedLocations",
        OLDER,
    ),
    listed(
        "gallery_create",
        "*.uniqueName",
        "the recorder gave the gallery another name",
    ),
    listed(
        "role_assignment_forbidden",
        "body:error.message",
        "the caller is another one",
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

/// Recorded errors that cannot be provoked here; a `*` at the beginning stands for anything before, and
/// then for anything after. One that can be by now makes the test fail.
pub(crate) const NOT_PROVOKED: &[(&str, &str)] = &[
    ("200 BadRequest GET operation", "logs of a provider's use"),
    (
        "200 InternalExecutionError GET operation",
        "a fault of the service",
    ),
    (
        "200 InitiatingCircuitNotProvisioned GET operation",
        "express routes",
    ),
    (
        "200 NoPacketCaptureResponseDataFound GET operation",
        "network watchers",
    ),
    (
        "200 ServiceProviderNotProvisioned GET operation",
        "express routes",
    ),
    (
        "200 VMAgentStatusCommunicationError GET operation",
        "the agent inside of a machine",
    ),
    (
        "200 VMExtensionProvisioningError GET operation",
        "extensions of machines",
    ),
    (
        "400 ApplicationGatewayLoadBalancingNotSupportedOnSecondaryIpConfigurations PUT Microsoft.Network/networkInterfaces",
        "application gateways",
    ),
    (
        "400 InvalidParameter POST Microsoft.Compute/virtualMachines",
        "patches of machines",
    ),
    (
        "403 (empty) HEAD Microsoft.Resources/deployments",
        "deployments of a tenant, and who may make them",
    ),
    (
        "404 NotFound GET Microsoft.Compute/virtualMachines",
        "a machine that Resource Manager knows and its provider does not",
    ),
    (
        "409 OperationNotAllowed PATCH Microsoft.Compute/virtualMachines",
        "prices of spot machines",
    ),
    (
        "409 OperationNotAllowed POST Microsoft.Compute/virtualMachines",
        "evictions of spot machines",
    ),
    (
        "500 MultipleErrorsOccurred GET Microsoft.Compute/locations",
        "a fault of the service",
    ),
    (
        "504 ResourceReadFailed PUT Microsoft.Compute/virtualMachines",
        "policies",
    ),
    ("200 DeploymentFailed GET operation", "deployments"),
    ("200 GatewayError GET operation", "network appliances"),
    (
        "404 ResourceGroupNotFound POST Microsoft.Resources/deployments",
        "deployments inside of deployments",
    ),
    (
        "400 InvalidTemplateDeployment PUT Microsoft.Resources/deployments",
        "templates by a link",
    ),
    ("200 PreconditionFailed GET operation", "DNS zones"),
    (
        "400 BadRequest PUT Microsoft.Compute/disks",
        "disks made of blobs",
    ),
    (
        "400 InvalidTemplate GET Microsoft.Resources/locations",
        "deployments",
    ),
    (
        "404 NotFound GET Microsoft.Compute/locations",
        "images of the marketplace",
    ),
    (
        "400 PrivateIPAddressNotInAnySubnet GET Microsoft.Network/virtualNetworks",
        "the question for a free address",
    ),
    (
        "404 text GET Microsoft.Network/virtualNetworks",
        "a page of HTML, below a network, of a web server that had lost its way",
    ),
    ("404 (empty) HEAD Microsoft.Network/", "express routes"),
    (
        "404 InvalidResourceType POST Microsoft.Network/expressRoutePorts",
        "it is what is said of all that is not here",
    ),
    ("* Microsoft.Resources/deploymentStacks", "deployments"),
    ("* Microsoft.Resources/templateSpecs", "deployments"),
    ("* Microsoft.Resources/dataBoundaries", "data boundaries"),
    ("* Microsoft.Compute/virtualMachineScaleSets", "scale sets"),
    (
        "* Microsoft.Network/applicationGateways",
        "application gateways",
    ),
    (
        "* Microsoft.Network/ddosProtectionPlans",
        "protection against denial of service",
    ),
    ("* Microsoft.Network/dnsZones", "DNS zones"),
    ("* Microsoft.Network/privateDnsZones", "DNS zones"),
    ("* Microsoft.Network/expressRouteCircuits", "express routes"),
    (
        "* Microsoft.Network/interfaceEndpoints",
        "private endpoints",
    ),
    ("* Microsoft.Network/loadBalancers", "load balancers"),
    ("* Microsoft.Network/networkProfiles", "containers"),
    ("* Microsoft.Network/networkWatchers", "network watchers"),
    ("* Microsoft.Network/privateLinkServices", "private links"),
    (
        "* Microsoft.Network/virtualNetworkGateways",
        "gateways of networks",
    ),
    ("* Microsoft.Authorization/policy", "policies"),
    ("* Microsoft.Features/featureProviders", "features"),
    ("*icrosoft.Insights/", "monitoring"),
    ("*icrosoft.insights/", "monitoring"),
    (
        "* Microsoft.ContainerInstance/containerGroups",
        "containers",
    ),
];

/// Differences of errors that stay.
pub(crate) const ERRORS: &[Listed] = &[
    listed(
        "400 InvalidTemplate*",
        "body:error.additionalInfo",
        "a template is read before it is judged, and where in its text something stood is not known then",
    ),
    listed(
        "400 InvalidTemplate POST Microsoft.Resources/deployments",
        "body:error.message",
        "the same: it names line and column",
    ),
    listed(
        "400 InvalidTemplate PUT Microsoft.Resources/deployments",
        "body:error.message",
        "it names the parameters of the template, here in the order of the alphabet",
    ),
    listed(
        "409 DeploymentCannotBeCancelled POST Microsoft.Resources/deployments",
        "body:error.message",
        "deployments do not expire here",
    ),
    listed(
        "403 AuthorizationFailed PUT Microsoft.Authorization/roleAssignments",
        "body:error.message",
        "the caller is another one",
    ),
    listed(
        "400 InvalidParameter PUT Microsoft.Compute/virtualMachines",
        "header:x-ms-ratelimit-remaining-resource",
        "errors of the compute provider have it in newer recordings",
    ),
    listed(
        "409 OperationNotAllowed PUT Microsoft.Compute/virtualMachines",
        "header:x-ms-ratelimit-remaining-resource",
        "errors of the compute provider have it in newer recordings",
    ),
    listed(
        "409 PropertyChangeNotAllowed PATCH Microsoft.Compute/virtualMachines",
        "header:x-ms-ratelimit-remaining-resource",
        "updates were counted with creations until 2021",
    ),
    listed(
        "404 ResourceNotFound GET Microsoft.Network/networkInterfaces",
        "body:error.message",
        "the link was not in it until 2020",
    ),
];
