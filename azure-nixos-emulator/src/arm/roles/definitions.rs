//! The built-in roles that matter to images, disks and machines, with Azure's own GUIDs.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::error::ArmError;
use super::Scope;

/// A built-in role.
pub(super) struct Role {
    name: &'static str,
    pub(super) guid: &'static str,
    description: &'static str,
    actions: &'static [&'static str],
    not_actions: &'static [&'static str],
    data_actions: &'static [&'static str],
}

const fn role(
    name: &'static str,
    guid: &'static str,
    description: &'static str,
    actions: &'static [&'static str],
) -> Role {
    Role {
        name,
        guid,
        description,
        actions,
        not_actions: &[],
        data_actions: &[],
    }
}

/// The actions are those by which one role differs from the next; Azure's lists are longer.
const ROLES: &[Role] = &[
    role(
        "Owner",
        "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
        "Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.",
        &["*"],
    ),
    Role {
        not_actions: &[
            "Microsoft.Authorization/*/Delete",
            "Microsoft.Authorization/*/Write",
            "Microsoft.Authorization/elevateAccess/Action",
            "Microsoft.Compute/galleries/share/action",
        ],
        ..role(
            "Contributor",
            "b24988ac-6180-42a0-ab88-20f7382dd24c",
            "Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC, manage assignments in Azure Blueprints, or share image galleries.",
            &["*"],
        )
    },
    role(
        "Reader",
        "acdd72a7-3385-48ef-bd42-f606fba81ae7",
        "View all resources, but does not allow you to make any changes.",
        &["*/read"],
    ),
    role(
        "User Access Administrator",
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        "Lets you manage user access to Azure resources.",
        &["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
    ),
    role(
        "Role Based Access Control Administrator",
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        "Manage access to Azure resources by assigning roles using Azure RBAC.",
        &[
            "Microsoft.Authorization/roleAssignments/write",
            "Microsoft.Authorization/roleAssignments/delete",
            "*/read",
            "Microsoft.Support/*",
        ],
    ),
    role(
        "Virtual Machine Contributor",
        "9980e02c-c2be-4d73-94e8-173b1dc7cf3c",
        "Lets you manage virtual machines, but not access to them, and not the virtual network or storage account they're connected to.",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Compute/availabilitySets/*",
            "Microsoft.Compute/locations/*",
            "Microsoft.Compute/virtualMachines/*",
            "Microsoft.Compute/virtualMachineScaleSets/*",
            "Microsoft.Compute/disks/write",
            "Microsoft.Compute/disks/read",
            "Microsoft.Compute/disks/delete",
            "Microsoft.Network/networkInterfaces/*",
            "Microsoft.Network/networkSecurityGroups/join/action",
            "Microsoft.Network/networkSecurityGroups/read",
            "Microsoft.Network/publicIPAddresses/join/action",
            "Microsoft.Network/publicIPAddresses/read",
            "Microsoft.Network/virtualNetworks/read",
            "Microsoft.Network/virtualNetworks/subnets/join/action",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
        ],
    ),
    Role {
        data_actions: &[
            "Microsoft.Compute/virtualMachines/login/action",
            "Microsoft.Compute/virtualMachines/loginAsAdmin/action",
        ],
        ..role(
            "Virtual Machine Administrator Login",
            "1c0163c0-47e6-4577-8991-ea5c82e286e4",
            "View Virtual Machines in the portal and login as administrator",
            &[
                "Microsoft.Network/publicIPAddresses/read",
                "Microsoft.Network/virtualNetworks/read",
                "Microsoft.Network/networkInterfaces/read",
                "Microsoft.Compute/virtualMachines/*/read",
            ],
        )
    },
    Role {
        data_actions: &["Microsoft.Compute/virtualMachines/login/action"],
        ..role(
            "Virtual Machine User Login",
            "fb879df8-f326-4884-b1cf-06f3ad86be52",
            "View Virtual Machines in the portal and login as a regular user.",
            &[
                "Microsoft.Network/publicIPAddresses/read",
                "Microsoft.Network/virtualNetworks/read",
                "Microsoft.Network/networkInterfaces/read",
                "Microsoft.Compute/virtualMachines/*/read",
            ],
        )
    },
    Role {
        data_actions: &[
            "Microsoft.Compute/disks/download/action",
            "Microsoft.Compute/disks/upload/action",
            "Microsoft.Compute/snapshots/download/action",
            "Microsoft.Compute/snapshots/upload/action",
        ],
        ..role(
            "Data Operator for Managed Disks",
            "959f8984-c045-4866-89c7-12bf9737be2e",
            "Provides permissions to upload data to empty managed disks, read, or export data of managed disks (not attached to running VMs) and snapshots using SAS URIs and Azure AD authentication.",
            &[],
        )
    },
    role(
        "Disk Backup Reader",
        "3e5e47e6-65f7-47ef-90b5-e5dd4d455f24",
        "Provides permission to backup vault to perform disk backup.",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Compute/disks/read",
            "Microsoft.Compute/disks/beginGetAccess/action",
        ],
    ),
    role(
        "Disk Restore Operator",
        "b50d9833-a0cb-478e-945f-707fcc997c13",
        "Provides permission to backup vault to perform disk restore.",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Compute/disks/write",
            "Microsoft.Compute/disks/read",
        ],
    ),
    role(
        "Disk Snapshot Contributor",
        "7efff54f-a5b4-42b5-a1c5-5411624893ce",
        "Provides permission to backup vault to manage disk snapshots.",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Compute/snapshots/delete",
            "Microsoft.Compute/snapshots/write",
            "Microsoft.Compute/snapshots/read",
            "Microsoft.Compute/snapshots/beginGetAccess/action",
            "Microsoft.Compute/snapshots/endGetAccess/action",
            "Microsoft.Compute/disks/beginGetAccess/action",
        ],
    ),
    role(
        "Network Contributor",
        "4d97b98b-1d4f-4787-a291-c67834d212e7",
        "Lets you manage networks, but not access to them.",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Network/*",
            "Microsoft.Resources/deployments/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            "Microsoft.Support/*",
        ],
    ),
    role(
        "Managed Identity Operator",
        "f1a07417-d97a-45cb-824c-7a7467783830",
        "Read and Assign User Assigned Identity",
        &[
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ],
    ),
    role(
        "Managed Identity Contributor",
        "e40ec5ca-96e0-45a2-b4ff-59039f2c2b59",
        "Create, Read, Update, and Delete User Assigned Identity",
        &[
            "Microsoft.ManagedIdentity/userAssignedIdentities/read",
            "Microsoft.ManagedIdentity/userAssignedIdentities/write",
            "Microsoft.ManagedIdentity/userAssignedIdentities/delete",
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ],
    ),
    role(
        "Storage Account Contributor",
        "17d1049b-9a84-46fb-8f53-869881c3d3ab",
        "Lets you manage storage accounts, including accessing storage account keys which provide full access to storage account data.",
        &[
            "Microsoft.Authorization/*/read",
            "Microsoft.Storage/storageAccounts/*",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
        ],
    ),
    Role {
        data_actions: &[
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/move/action",
            "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/add/action",
        ],
        ..role(
            "Storage Blob Data Contributor",
            "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
            "Allows for read, write and delete access to Azure Storage blob containers and data",
            &[
                "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
                "Microsoft.Storage/storageAccounts/blobServices/containers/read",
                "Microsoft.Storage/storageAccounts/blobServices/containers/write",
                "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
            ],
        )
    },
    Role {
        data_actions: &["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"],
        ..role(
            "Storage Blob Data Reader",
            "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
            "Allows for read access to Azure Storage blob containers and data",
            &[
                "Microsoft.Storage/storageAccounts/blobServices/containers/read",
                "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
            ],
        )
    },
];

impl Role {
    /// The role of an id in any scope, or of a GUID.
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        let guid = id.rsplit('/').next().unwrap_or(id);
        ROLES
            .iter()
            .find(|role| role.guid.eq_ignore_ascii_case(guid))
    }

    /// The id: roles are shown in their subscription, in whichever scope they are asked for.
    pub(super) fn id(&self, context: &Context<'_>) -> String {
        format!(
            "/subscriptions/{}/providers/Microsoft.Authorization/roleDefinitions/{}",
            context.state.identity.subscription_id, self.guid
        )
    }

    fn shown(&self, context: &Context<'_>, scope: &Scope) -> Value {
        json!({
            "properties": {
                "roleName": self.name,
                "type": "BuiltInRole",
                "description": self.description,
                "assignableScopes": ["/"],
                "permissions": [{
                    "actions": self.actions,
                    "notActions": self.not_actions,
                    "dataActions": self.data_actions,
                    "notDataActions": [],
                }],
                "createdOn": "2015-02-02T21:55:09.8806423Z",
                "updatedOn": "2021-11-11T20:13:47.8628684Z",
                "createdBy": null,
                "updatedBy": null,
            },
            "id": if scope.id.is_empty() {
                scope.id_of("roleDefinitions", self.guid)
            } else {
                self.id(context)
            },
            "type": "Microsoft.Authorization/roleDefinitions",
            "name": self.guid,
        })
    }
}

/// With the filters that clients use: by name, by type, and by scope, which leaves none out here.
pub(super) fn list(context: &Context<'_>, scope: &Scope) -> Result {
    let mut name = None;
    let mut kind = None;
    for part in context
        .call
        .query("$filter")
        .into_iter()
        .flat_map(|filter| filter.split(" and "))
    {
        let part = part.trim();
        let value = part.split('\'').nth(1).map(ToOwned::to_owned);
        match (part.split([' ', '(']).next().unwrap_or_default(), value) {
            ("roleName", Some(value)) if part.contains(" eq ") => name = Some(value),
            ("type", Some(value)) if part.contains(" eq ") => kind = Some(value),
            ("atScope" | "atScopeAndBelow", None) => {}
            _ => {
                return Err(ArmError::not_implemented(format!(
                    "the filter \"{part}\" of role definitions"
                )));
            }
        }
    }
    let found: Vec<Value> = ROLES
        .iter()
        .filter(|role| {
            name.as_ref()
                .is_none_or(|name| role.name.eq_ignore_ascii_case(name))
                && kind
                    .as_ref()
                    .is_none_or(|kind| kind.eq_ignore_ascii_case("BuiltInRole"))
        })
        .map(|role| role.shown(context, scope))
        .collect();
    Ok(Answer::json(200, json!({ "value": found })))
}

pub(super) fn get(context: &Context<'_>, scope: &Scope, guid: &str) -> Result {
    Role::find(guid)
        .map(|role| Answer::json(200, role.shown(context, scope)))
        .ok_or_else(|| {
            ArmError::compute(
                404,
                "RoleDefinitionDoesNotExist",
                format!("The specified role definition with ID '{guid}' does not exist."),
            )
        })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn guids_are_good_and_differ() {
        let mut guids: Vec<Uuid> = ROLES
            .iter()
            .map(|role| Uuid::parse_str(role.guid).unwrap())
            .collect();
        guids.sort_unstable();
        guids.dedup();
        assert_eq!(guids.len(), ROLES.len());
        let id = "/providers/Microsoft.Authorization/roleDefinitions/ACDD72A7-3385-48ef-bd42-f606fba81ae7";
        assert_eq!(Role::find(id).unwrap().name, "Reader");
    }
}
