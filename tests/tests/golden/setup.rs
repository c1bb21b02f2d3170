//! What has to be there before a recording can be played.

use std::time::Duration;

use azure_nixos_emulator::{Clock, EmulatorBuilder, Timing};
use azure_nixos_tests::Local;
use azure_nixos_tests::golden::Recording;
use serde_json::{Value, json};

use super::maker::{COMPUTE, Made, Maker, NETWORK};

/// The location that a recording is about.
fn location(recording: &Recording) -> String {
    let first = &recording.interactions[0];
    if let Some(location) = first
        .request
        .as_ref()
        .and_then(|body| body["location"].as_str())
        // Where things are that are in no region.
        .filter(|location| *location != "global")
    {
        return location.to_owned();
    }
    let asked = first.headers.get("azure-asyncoperation");
    asked
        .and_then(|url| url.split("/locations/").nth(1)?.split('/').next())
        .unwrap_or("westcentralus")
        .to_owned()
}

/// The settings of the local Azure that a recording needs.
pub(crate) fn settings(
    recording: &Recording,
    clock: &Clock,
    builder: EmulatorBuilder,
) -> EmulatorBuilder {
    let name = recording.name.as_str();
    let builder = builder.clock(clock.clone()).timing(Timing::LikeAzure);
    if name.contains("MissingSubscriptionRegistration") {
        builder.unregistered(["Microsoft.Compute"])
    } else if name == "role_assignment_forbidden"
        || name == "403 AuthorizationFailed PUT Microsoft.Authorization/roleAssignments"
    {
        builder.deny("Microsoft.Authorization/roleAssignments/write")
    } else {
        builder
    }
}

/// Makes what a recording needs.
pub(crate) async fn prepare(local: &Local, clock: &Clock, recording: &mut Recording) -> Made {
    let group = recording.named("resourceGroups");
    let subscription = local.emulator.subscription_id();
    let maker = Maker {
        local,
        clock,
        group: format!("/subscriptions/{subscription}/resourceGroups/{group}"),
        location: location(recording),
    };
    if !["resource_group_create", "resource_group_not_found"].contains(&recording.name.as_str()) {
        maker.group().await?;
    }
    let named = |kind: &str| recording.named(kind);
    let network = |kind: &str| format!("Microsoft.Network/{kind}");
    match recording.name.as_str() {
        "disk_begin_get_access_read_py2022" => {
            maker.os_disk(&named("disks"), "V1").await?;
        }
        "disk_begin_get_access_write" => {
            let creation =
                json!({ "createOption": "UploadPreparedSecure", "uploadSizeBytes": 20_972_032 });
            let properties = json!({
                "osType": "Linux",
                "hyperVGeneration": "V2",
                "securityProfile": { "securityType": "TrustedLaunch" },
                "creationData": creation,
            });
            maker.disk(&named("disks"), properties).await?;
        }
        "disk_delete" | "disk_delete_py" => maker.os_disk(&named("disks"), "V1").await?,
        "disk_end_get_access" => {
            maker.os_disk(&named("disks"), "V1").await?;
            maker
                .access("Microsoft.Compute/disks", &named("disks"), "Read")
                .await;
        }
        name if name.starts_with("gallery_") => maker.for_gallery(recording).await?,
        "identity_delete" => {
            let kind = "Microsoft.ManagedIdentity/userAssignedIdentities";
            let body = json!({ "location": maker.location });
            let id = maker.id(kind, &named("userAssignedIdentities"));
            maker.put(&id, "2023-01-31", body).await?;
        }
        name if name.starts_with("role_") => maker.for_role(recording).await?,
        "snapshot_end_get_access_2024" => {
            let body = json!({ "location": maker.location, "tags": {}, "properties": {
                "creationData": { "createOption": "Empty" },
                "diskSizeGB": 1,
            }});
            let id = maker.id("Microsoft.Compute/snapshots", &named("snapshots"));
            maker.put(&id, "2023-04-02", body).await?;
            maker
                .access("Microsoft.Compute/snapshots", &named("snapshots"), "Read")
                .await;
        }
        "image_create_from_managed_disk" => maker.os_disk("test-vm", "V1").await?,
        "image_delete" => maker.image(&named("images"), &[]).await?,
        "nic_create" => {
            maker.network("vnetcdd23681bcae97", "Front-end").await?;
            maker
                .plain(&network("publicIPAddresses"), "pipd9a01048b9")
                .await?;
        }
        "nic_create_2024" => maker.network("vnet1", "subnet2").await?,
        "nic_delete" => {
            maker
                .nic(&named("networkInterfaces"), "net", "sub", json!({}))
                .await?;
        }
        "nsg_delete" => {
            let name = named("networkSecurityGroups");
            maker
                .plain(&network("networkSecurityGroups"), &name)
                .await?;
        }
        "public_ip_delete" => {
            let name = named("publicIPAddresses");
            maker.plain(&network("publicIPAddresses"), &name).await?;
        }
        "vnet_delete" => maker.network(&named("virtualNetworks"), "sub").await?,
        "nic_in_use" | "nsg_in_use" | "public_ip_in_use" | "vnet_in_use" => maker.in_use().await?,
        "subnet_create_2024" => {
            let body = json!({ "location": maker.location, "properties": {
                "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
            }});
            let id = maker.id("Microsoft.Network/virtualNetworks", "vnet1");
            maker.put(&id, NETWORK, body).await?;
        }
        "subnet_not_found" => maker.network("vnet1", "other").await?,
        "vm_create_attach_specialized_disk" => {
            maker
                .sized_disk("ds-os-0b516445498bb830", "V1", 100)
                .await?;
            for disk in ["ds-data-61f253918e6e92b-0", "ds-data-61f253918e6e92b-1"] {
                let creation = json!({ "createOption": "Empty" });
                maker
                    .disk(disk, json!({ "diskSizeGB": 150, "creationData": creation }))
                    .await?;
            }
            maker.nic("nic4404979fb03", "net", "sub", json!({})).await?;
        }
        "vm_create_from_managed_image" => {
            maker
                .image(
                    "img5ef25949faec34828",
                    &[(1, 100, "ReadWrite"), (2, 50, "ReadWrite")],
                )
                .await?;
            maker.nic("nic993989ffeef", "net", "sub", json!({})).await?;
        }
        "vm_delete" | "vm_delete_net" | "vm_deallocate" | "vm_poweroff" | "vm_start"
        | "boot_diagnostics" => {
            maker.nic("nic", "net", "sub", json!({})).await?;
            let name = named("virtualMachines");
            maker.machine(&name, "nic").await?;
            if recording.name == "vm_start" {
                let id = maker.id("Microsoft.Compute/virtualMachines", &name);
                let (status, _) = local
                    .request("POST", &format!("{id}/powerOff"), COMPUTE, None)
                    .await;
                assert_eq!(status, 202);
                clock.advance(Duration::from_secs(3600));
            }
        }
        "vm_quota_exceeded" => maker.quota(recording).await?,
        _ => {}
    }
    Ok(())
}

/// Makes what a recorded error needs to be provoked.
pub(crate) async fn provoke(local: &Local, clock: &Clock, recording: &mut Recording) -> Made {
    // Any provider is refused alike, and this is one that is here.
    let stranger = "Microsoft.DomainRegistration";
    if recording.name.contains(stranger) {
        recording.rename(&format!("{stranger}/domains"), "Microsoft.Compute/images");
        recording.rename(stranger, "Microsoft.Compute");
        recording.rename("api-version=2015-04-01", "api-version=2024-07-01");
    }
    let path = recording.interactions[0].path();
    let group = path
        .iter()
        .position(|part| part.eq_ignore_ascii_case("resourceGroups"))
        .and_then(|at| path.get(at + 1))
        .map_or("group", |group| *group);
    let subscription = local.emulator.subscription_id();
    let maker = Maker {
        local,
        clock,
        group: format!("/subscriptions/{subscription}/resourceGroups/{group}"),
        location: location(recording),
    };
    let name = recording.name.as_str();
    let is_elsewhere = name.ends_with("Microsoft.Resources/deployments");
    if name.contains("ResourceGroupNotFound") && !is_elsewhere || name == "404 (empty) HEAD rg" {
        return Ok(());
    }
    maker.group().await?;
    match name {
        "400 InvalidAddressPrefixFormat PUT Microsoft.Network/virtualNetworks" => {
            maker
                .network(&recording.named("virtualNetworks"), "other")
                .await?;
        }
        "404 NotFound GET Microsoft.Network/virtualNetworks" => {
            maker
                .network(&recording.named("virtualNetworks"), "other")
                .await?;
        }
        "400 NicInUse DELETE Microsoft.Network/networkInterfaces"
        | "400 PublicIPAddressCannotBeDeleted DELETE Microsoft.Network/publicIPAddresses"
        | "400 InUseNetworkSecurityGroupCannotBeDeleted DELETE Microsoft.Network/networkSecurityGroups"
        | "400 InUseSubnetCannotBeDeleted DELETE Microsoft.Network/virtualNetworks" => {
            maker.in_use().await?;
        }
        "409 OperationNotAllowed PUT Microsoft.Compute/virtualMachines" => {
            maker.quota(recording).await?;
        }
        "400 InvalidParameter PUT Microsoft.Compute/virtualMachines" => {
            maker.image("image", &[]).await?;
            maker.nic("nic", "net", "sub", json!({})).await?;
            let mut request = maker.generalized("Standard_D4s_v3", "image", "nic");
            request["properties"]["osProfile"]["adminUsername"] = Value::Null;
            recording.interactions[0].request = Some(request);
        }
        "409 PropertyChangeNotAllowed PATCH Microsoft.Compute/virtualMachines" => {
            maker.nic("nic", "net", "sub", json!({})).await?;
            maker
                .machine(&recording.named("virtualMachines"), "nic")
                .await?;
            // The rest of what was sent is about a machine of another kind.
            let change = json!({ "properties": { "priority": "Regular" } });
            recording.interactions[0].request = Some(change);
        }
        "400 BadRequest PUT Microsoft.Compute/virtualMachineScaleSets" => {
            // It is said of machines as well.
            recording.rename("/virtualMachineScaleSets/", "/virtualMachines/");
            recording.rename("CreateVMScaleSet", "PutVM");
            maker.image("image", &[]).await?;
            maker.nic("nic", "net", "sub", json!({})).await?;
            let mut request = maker.generalized("Standard_D4s_v3", "image", "nic");
            request["properties"]["securityProfile"] = json!({ "securityType": "TrustedLaunch" });
            recording.interactions[0].request = Some(request);
        }
        name if name.contains(" Microsoft.Authorization/roleAssignments") => {
            // As the recordings are called that are the same.
            if name.contains("RoleAssignmentExists") {
                recording.name = "role_assignment_exists".to_owned();
            }
            maker.for_role(recording).await?;
        }
        "400 InvalidTemplate PUT Microsoft.Resources/deployments" => {
            // The body was not recorded, but what is wrong with it is said.
            let text = json!({ "type": "string" });
            let template = json!({
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "parameters": {
                    "projectName": text,
                    "location": text,
                    "adminUsername": text,
                    "adminPublicKey": text,
                },
                "resources": [],
            });
            let value = json!({ "value": "x" });
            let parameters = json!({
                "projectName": value,
                "location": value,
                "adminUsername": value,
                "sshKeyData": value,
            });
            recording.interactions[0].request = Some(json!({ "properties": {
                "mode": "Incremental",
                "template": template,
                "parameters": parameters,
            }}));
        }
        "409 DeploymentCannotBeCancelled POST Microsoft.Resources/deployments" => {
            let template = json!({
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "resources": [],
            });
            let body = json!({ "properties": { "mode": "Incremental", "template": template } });
            let id = maker.id(
                "Microsoft.Resources/deployments",
                &recording.named("deployments"),
            );
            maker.put(&id, "2022-09-01", body).await?;
        }
        "200 InvalidParameter GET operation" => {
            maker.image("image", &[]).await?;
            maker.nic("nic", "net", "sub", json!({})).await?;
            let mut body = maker.generalized("Standard_D4s_v3", "image", "nic");
            body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] = json!(10);
            let id = maker.id("Microsoft.Compute/virtualMachines", "small");
            let url = format!("{}{id}?api-version={COMPUTE}", local.emulator.arm_url());
            let begun = local.exchange("PUT", &url, Some(&body)).await;
            clock.advance(Duration::from_secs(3600));
            let poll = begun.header("azure-asyncoperation").unwrap();
            recording.interactions[0].url = poll.to_owned();
        }
        _ => {}
    }
    Ok(())
}
