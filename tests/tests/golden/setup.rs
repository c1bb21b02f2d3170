//! What has to be there before a recording can be played.

use std::time::Duration;

use azure_nixos_emulator::Clock;
use azure_nixos_tests::Local;
use azure_nixos_tests::golden::{Recording, is_not_there};
use serde_json::{Value, json};

const COMPUTE: &str = "2024-07-01";
const DISKS: &str = "2023-04-02";
const NETWORK: &str = "2024-01-01";

/// Nothing, or the answer to what the local Azure does not have.
pub(crate) type Made = Result<(), String>;

/// Makes things in the group of a recording.
struct Maker<'a> {
    local: &'a Local,
    clock: &'a Clock,
    group: String,
    location: String,
}

impl Maker<'_> {
    fn id(&self, kind: &str, name: &str) -> String {
        format!("{}/providers/{kind}/{name}", self.group)
    }

    /// PUTs, and is done when the operation is.
    async fn put(&self, id: &str, version: &str, body: Value) -> Made {
        let (status, answer) = self.local.request("PUT", id, version, Some(&body)).await;
        if is_not_there(status, &answer) {
            return Err(answer.to_string());
        }
        assert!((200..203).contains(&status), "PUT {id}: {status} {answer}");
        self.settle(id, version).await;
        Ok(())
    }

    /// Waits until a resource is not being changed any more.
    async fn settle(&self, id: &str, version: &str) {
        self.clock.advance(Duration::from_secs(3600));
        for _ in 0..200 {
            let (_, resource) = self.local.request("GET", id, version, None).await;
            let state = &resource["properties"]["provisioningState"];
            if state == "Succeeded" || state.is_null() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{id} is not done");
    }

    async fn group(&self) -> Made {
        let body = json!({ "location": self.location });
        self.put(&self.group, "2022-09-01", body).await
    }

    async fn disk(&self, name: &str, properties: Value) -> Made {
        let body = json!({ "location": self.location, "properties": properties });
        self.put(&self.id("Microsoft.Compute/disks", name), DISKS, body)
            .await
    }

    /// A disk of zeros that an image or a machine can be made of.
    async fn os_disk(&self, name: &str, generation: &str) -> Made {
        self.sized_disk(name, generation, 30).await
    }

    async fn sized_disk(&self, name: &str, generation: &str, size: u64) -> Made {
        self.disk(
            name,
            json!({
                "osType": "Linux",
                "hyperVGeneration": generation,
                "diskSizeGB": size,
                "creationData": { "createOption": "Empty" },
            }),
        )
        .await
    }

    async fn access(&self, disk: &str, access: &str) {
        let id = self.id("Microsoft.Compute/disks", disk);
        let body = json!({ "access": access, "durationInSeconds": 86_400 });
        let grant = format!("{id}/beginGetAccess");
        let (status, answer) = self.local.request("POST", &grant, DISKS, Some(&body)).await;
        assert_eq!(status, 202, "{answer}");
        self.clock.advance(Duration::from_secs(5));
        self.local.request("GET", &id, DISKS, None).await;
    }

    /// An image with an OS disk and data disks of these LUNs and sizes.
    async fn image(&self, name: &str, data: &[(u64, u64)]) -> Made {
        let disk = format!("{name}-disk");
        self.os_disk(&disk, "V1").await?;
        let mut disks = Vec::new();
        for (lun, size) in data {
            let disk = format!("{name}-{lun}");
            let creation = json!({ "createOption": "Empty" });
            self.disk(
                &disk,
                json!({ "diskSizeGB": size, "creationData": creation }),
            )
            .await?;
            let id = self.id("Microsoft.Compute/disks", &disk);
            disks.push(json!({ "lun": lun, "caching": "ReadWrite", "managedDisk": { "id": id } }));
        }
        let body = json!({ "location": self.location, "properties": {
            "hyperVGeneration": "V1",
            "storageProfile": { "osDisk": {
                "osType": "Linux",
                "osState": "Generalized",
                "managedDisk": { "id": self.id("Microsoft.Compute/disks", &disk) },
            }, "dataDisks": disks },
        }});
        self.put(&self.id("Microsoft.Compute/images", name), COMPUTE, body)
            .await
    }

    async fn network(&self, name: &str, subnet: &str) -> Made {
        let body = json!({ "location": self.location, "properties": {
            "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
            "subnets": [{ "name": subnet, "properties": { "addressPrefix": "10.0.1.0/24" } }],
        }});
        self.put(
            &self.id("Microsoft.Network/virtualNetworks", name),
            NETWORK,
            body,
        )
        .await
    }

    async fn plain(&self, kind: &str, name: &str) -> Made {
        let body = json!({ "location": self.location });
        self.put(&self.id(kind, name), NETWORK, body).await
    }

    /// An interface with a network of its own.
    async fn nic(&self, name: &str, network: &str, subnet: &str, more: Value) -> Made {
        self.network(network, subnet).await?;
        let subnet = self.id("Microsoft.Network/virtualNetworks", network) + "/subnets/" + subnet;
        let mut ip = json!({ "subnet": { "id": subnet } });
        if let Some(address) = more.get("publicIPAddress") {
            ip["publicIPAddress"] = address.clone();
        }
        let mut properties = json!({ "ipConfigurations": [
            { "name": more["name"].as_str().unwrap_or("one"), "properties": ip }
        ]});
        if let Some(nsg) = more.get("networkSecurityGroup") {
            properties["networkSecurityGroup"] = nsg.clone();
        }
        let body = json!({ "location": self.location, "properties": properties });
        self.put(
            &self.id("Microsoft.Network/networkInterfaces", name),
            NETWORK,
            body,
        )
        .await
    }

    /// A gallery and what is inside of it, down to what is above the subject of the recording, or
    /// the subject itself where it is deleted.
    async fn for_gallery(&self, recording: &Recording) -> Made {
        const GALLERIES: &str = "2023-07-03";
        let deletes = recording.interactions[0].method == "DELETE";
        let depth = ["galleries", "images", "versions"]
            .iter()
            .filter(|part| recording.interactions[0].path().contains(*part))
            .count();
        let depth = if deletes { depth } else { depth - 1 };
        if depth == 0 {
            return Ok(());
        }
        let gallery = self.id("Microsoft.Compute/galleries", &recording.named("galleries"));
        let place = json!({ "location": self.location });
        self.put(&gallery, GALLERIES, place).await?;
        if depth == 1 {
            return Ok(());
        }
        let definition = format!("{gallery}/images/{}", recording.named("images"));
        let body = json!({ "location": self.location, "properties": {
            "osType": "Linux",
            "osState": "Generalized",
            "hyperVGeneration": "V1",
            "identifier": { "publisher": "p", "offer": "o", "sku": "s" },
        }});
        self.put(&definition, GALLERIES, body).await?;
        self.image("managedImage1", &[]).await?;
        if depth == 2 {
            return Ok(());
        }
        let version = format!("{definition}/versions/{}", recording.named("versions"));
        let body = json!({ "location": self.location, "properties": { "storageProfile": {
            "source": { "id": self.id("Microsoft.Compute/images", "managedImage1") },
        }}});
        self.put(&version, GALLERIES, body).await
    }

    /// The scopes of some recordings are resources of other providers: the group stands for them. What
    /// is deleted, or there already, is assigned before.
    async fn for_role(&self, recording: &mut Recording) -> Made {
        const ROLES: &str = "2022-04-01";
        for interaction in &mut recording.interactions {
            let url = &interaction.url;
            let group = url.find("/providers/").unwrap_or(url.len());
            let assignment = url
                .find("/providers/Microsoft.Authorization")
                .unwrap_or(group);
            interaction.url = format!("{}{}", &url[..group], &url[assignment..]);
        }
        let first = &recording.interactions[0];
        let name = match recording.name.as_str() {
            "role_assignment_delete" => recording.named("roleAssignments"),
            "role_assignment_exists" => "6d1c2cd6-7f1a-4dd8-8f3e-5c1f5f6c3a11".to_owned(),
            _ => return Ok(()),
        };
        // What is deleted is answered as it was.
        let known = first.request.as_ref().or(first.body.as_ref()).unwrap();
        let mut body = json!({ "properties": {} });
        for field in [
            "roleDefinitionId",
            "principalId",
            "principalType",
            "description",
            "condition",
            "conditionVersion",
        ] {
            let value = &known["properties"][field];
            if !value.is_null() {
                body["properties"][field] = value.clone();
            }
        }
        let id = self.id("Microsoft.Authorization/roleAssignments", &name);
        self.put(&id, ROLES, body).await
    }

    /// What is sent to make a machine of an image.
    fn generalized(&self, size: &str, image: &str, nic: &str) -> Value {
        json!({ "location": self.location, "properties": {
            "hardwareProfile": { "vmSize": size },
            "storageProfile": {
                "imageReference": { "id": self.id("Microsoft.Compute/images", image) },
                "osDisk": { "createOption": "FromImage" },
            },
            "osProfile": {
                "computerName": "web",
                "adminUsername": "nixos",
                "adminPassword": "correct Horse 1",
            },
            "networkProfile": { "networkInterfaces": [
                { "id": self.id("Microsoft.Network/networkInterfaces", nic) }
            ]},
        }})
    }

    /// A machine with an OS disk and an interface of its own.
    async fn machine(&self, name: &str, nic: &str) -> Made {
        self.os_disk("machine-disk", "V1").await?;
        let body = json!({ "location": self.location, "properties": {
            "hardwareProfile": { "vmSize": "Standard_D2s_v3" },
            "storageProfile": { "osDisk": {
                "createOption": "Attach",
                "osType": "Linux",
                "managedDisk": { "id": self.id("Microsoft.Compute/disks", "machine-disk") },
            }},
            "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } },
            "networkProfile": { "networkInterfaces": [
                { "id": self.id("Microsoft.Network/networkInterfaces", nic) }
            ]},
        }});
        self.put(
            &self.id("Microsoft.Compute/virtualMachines", name),
            COMPUTE,
            body,
        )
        .await
    }
}

/// The location that a recording is about.
fn location(recording: &Recording) -> String {
    let first = &recording.interactions[0];
    if let Some(location) = first
        .request
        .as_ref()
        .and_then(|body| body["location"].as_str())
    {
        return location.to_owned();
    }
    let asked = first.headers.get("azure-asyncoperation");
    asked
        .and_then(|url| url.split("/locations/").nth(1)?.split('/').next())
        .unwrap_or("westcentralus")
        .to_owned()
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
            maker.access(&named("disks"), "Read").await;
        }
        name if name.starts_with("gallery_") => maker.for_gallery(recording).await?,
        "identity_delete" => {
            let kind = "Microsoft.ManagedIdentity/userAssignedIdentities";
            let body = json!({ "location": maker.location });
            let id = maker.id(kind, &named("userAssignedIdentities"));
            maker.put(&id, "2023-01-31", body).await?;
        }
        name if name.starts_with("role_") => maker.for_role(recording).await?,
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
        "nic_in_use" | "nsg_in_use" | "public_ip_in_use" | "vnet_in_use" => {
            let name = "cli-test-vm000002";
            let nsg = maker.id(
                "Microsoft.Network/networkSecurityGroups",
                &format!("{name}NSG"),
            );
            let address = maker.id(
                "Microsoft.Network/publicIPAddresses",
                &format!("{name}PublicIP"),
            );
            maker
                .put(&nsg, NETWORK, json!({ "location": maker.location }))
                .await?;
            maker
                .put(&address, NETWORK, json!({ "location": maker.location }))
                .await?;
            let nic = format!("{name}VMNic");
            let more = json!({
                "name": format!("ipconfig{name}"),
                "publicIPAddress": { "id": address },
                "networkSecurityGroup": { "id": nsg },
            });
            maker
                .nic(&nic, &format!("{name}VNET"), &format!("{name}Subnet"), more)
                .await?;
            maker.machine(name, &nic).await?;
        }
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
                .image("img5ef25949faec34828", &[(1, 100), (2, 50)])
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
        "vm_quota_exceeded" => {
            maker.image("image", &[]).await?;
            // 97 cores, as it was recorded.
            let eights = std::iter::repeat_n("Standard_D8s_v5", 4);
            let sizes = ["Standard_D64s_v5", "Standard_A1_v2"];
            for (number, size) in sizes.into_iter().chain(eights).enumerate() {
                let name = format!("before-{number}");
                maker.nic(&name, &name, "sub", json!({})).await?;
                let body = maker.generalized(size, "image", &name);
                let id = maker.id("Microsoft.Compute/virtualMachines", &name);
                maker.put(&id, COMPUTE, body).await?;
            }
            // The body was not recorded: a machine of four cores was asked for.
            maker.nic("nic", "net", "sub", json!({})).await?;
            recording.interactions[0].request =
                Some(maker.generalized("Standard_D4s_v3", "image", "nic"));
        }
        _ => {}
    }
    Ok(())
}
