//! Makes what recordings are about: groups, disks, images, networks and machines.

use std::time::Duration;

use azure_nixos_emulator::Clock;
use azure_nixos_tests::Local;
use azure_nixos_tests::golden::{Recording, is_not_there};
use serde_json::{Value, json};

pub(crate) const COMPUTE: &str = "2024-07-01";
const DISKS: &str = "2023-04-02";
pub(crate) const NETWORK: &str = "2024-01-01";

/// Nothing, or the answer to what the local Azure does not have.
pub(crate) type Made = Result<(), String>;

/// Makes things in the group of a recording.
pub(crate) struct Maker<'a> {
    pub(crate) local: &'a Local,
    pub(crate) clock: &'a Clock,
    /// Its id.
    pub(crate) group: String,
    pub(crate) location: String,
}

impl Maker<'_> {
    pub(crate) fn id(&self, kind: &str, name: &str) -> String {
        format!("{}/providers/{kind}/{name}", self.group)
    }

    /// PUTs, and is done when the operation is.
    pub(crate) async fn put(&self, id: &str, version: &str, body: Value) -> Made {
        let (status, answer) = self.local.request("PUT", id, version, Some(&body)).await;
        if is_not_there(status, &answer) {
            return Err(answer.to_string());
        }
        assert!((200..203).contains(&status), "PUT {id}: {status} {answer}");
        self.settle(id, version).await;
        Ok(())
    }

    /// Waits until a resource is not being changed any more.
    pub(crate) async fn settle(&self, id: &str, version: &str) {
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

    pub(crate) async fn group(&self) -> Made {
        let body = json!({ "location": self.location });
        self.put(&self.group, "2022-09-01", body).await
    }

    pub(crate) async fn disk(&self, name: &str, properties: Value) -> Made {
        let body = json!({ "location": self.location, "properties": properties });
        self.put(&self.id("Microsoft.Compute/disks", name), DISKS, body)
            .await
    }

    /// A disk of zeros that an image or a machine can be made of.
    pub(crate) async fn os_disk(&self, name: &str, generation: &str) -> Made {
        self.sized_disk(name, generation, 30).await
    }

    pub(crate) async fn sized_disk(&self, name: &str, generation: &str, size: u64) -> Made {
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

    /// A snapshot of a disk of 200 GiB of its own.
    pub(crate) async fn snapshot(&self, name: &str) -> Made {
        let disk = format!("{name}-disk");
        self.sized_disk(&disk, "V1", 200).await?;
        let disk = self.id("Microsoft.Compute/disks", &disk);
        let creation = json!({ "createOption": "Copy", "sourceResourceId": disk });
        let body = json!({ "location": self.location, "properties": { "creationData": creation } });
        self.put(&self.id("Microsoft.Compute/snapshots", name), DISKS, body)
            .await
    }

    /// Gives access to a disk or a snapshot.
    pub(crate) async fn access(&self, kind: &str, name: &str, access: &str) {
        let id = self.id(kind, name);
        let body = json!({ "access": access, "durationInSeconds": 86_400 });
        let grant = format!("{id}/beginGetAccess");
        let (status, answer) = self.local.request("POST", &grant, DISKS, Some(&body)).await;
        assert_eq!(status, 202, "{answer}");
        self.clock.advance(Duration::from_secs(5));
        self.local.request("GET", &id, DISKS, None).await;
    }

    /// An image with an OS disk and data disks of these LUNs, sizes and caching.
    pub(crate) async fn image(&self, name: &str, data: &[(u64, u64, &str)]) -> Made {
        let disk = format!("{name}-disk");
        self.os_disk(&disk, "V1").await?;
        let mut disks = Vec::new();
        for (lun, size, caching) in data {
            let disk = format!("{name}-{lun}");
            let creation = json!({ "createOption": "Empty" });
            self.disk(
                &disk,
                json!({ "diskSizeGB": size, "creationData": creation }),
            )
            .await?;
            let id = self.id("Microsoft.Compute/disks", &disk);
            disks.push(json!({ "lun": lun, "caching": caching, "managedDisk": { "id": id } }));
        }
        let body = json!({ "location": self.location, "properties": {
            "hyperVGeneration": "V1",
            "storageProfile": { "osDisk": {
                "osType": "Linux",
                "osState": "Generalized",
                "caching": "ReadWrite",
                "managedDisk": { "id": self.id("Microsoft.Compute/disks", &disk) },
            }, "dataDisks": disks },
        }});
        self.put(&self.id("Microsoft.Compute/images", name), COMPUTE, body)
            .await
    }

    pub(crate) async fn network(&self, name: &str, subnet: &str) -> Made {
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

    pub(crate) async fn plain(&self, kind: &str, name: &str) -> Made {
        let body = json!({ "location": self.location });
        self.put(&self.id(kind, name), NETWORK, body).await
    }

    /// An interface with a network of its own.
    pub(crate) async fn nic(&self, name: &str, network: &str, subnet: &str, more: Value) -> Made {
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
    pub(crate) async fn for_gallery(&self, recording: &Recording) -> Made {
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
        self.image("managedImage1", &[(0, 10, "None")]).await?;
        if recording.name.ends_with("from_snapshot") {
            self.snapshot("snapshotname4a232cfa").await?;
        }
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
    pub(crate) async fn for_role(&self, recording: &mut Recording) -> Made {
        const ROLES: &str = "2022-04-01";
        for interaction in &mut recording.interactions {
            let url = &interaction.url;
            let group = url.find("/providers/").unwrap_or(url.len());
            let assignment = url
                .find("/providers/Microsoft.Authorization")
                .unwrap_or(group);
            interaction.url = format!("{}{}", &url[..group], &url[assignment..]);
        }
        // Pulling from a registry is no role here: any other is assigned alike.
        recording.rename(
            "7f951dda-4ed3-4680-a7ca-43fe172d538d",
            "acdd72a7-3385-48ef-bd42-f606fba81ae7",
        );
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

    /// A machine with everything that the command line makes with it.
    pub(crate) async fn in_use(&self) -> Made {
        let name = "cli-test-vm000002";
        let place = json!({ "location": self.location });
        let kind = "Microsoft.Network/networkSecurityGroups";
        let nsg = self.id(kind, &format!("{name}NSG"));
        let kind = "Microsoft.Network/publicIPAddresses";
        let address = self.id(kind, &format!("{name}PublicIP"));
        self.put(&nsg, NETWORK, place.clone()).await?;
        self.put(&address, NETWORK, place).await?;
        let nic = format!("{name}VMNic");
        let more = json!({
            "name": format!("ipconfig{name}"),
            "publicIPAddress": { "id": address },
            "networkSecurityGroup": { "id": nsg },
        });
        let network = format!("{name}VNET");
        self.nic(&nic, &network, &format!("{name}Subnet"), more)
            .await?;
        self.machine(name, &nic).await
    }

    /// Machines with 97 cores, and the request for one with four more: its body was not recorded.
    pub(crate) async fn quota(&self, recording: &mut Recording) -> Made {
        self.image("image", &[]).await?;
        let eights = std::iter::repeat_n("Standard_D8s_v5", 4);
        let sizes = ["Standard_D64s_v5", "Standard_A1_v2"];
        for (number, size) in sizes.into_iter().chain(eights).enumerate() {
            let name = format!("before-{number}");
            self.nic(&name, &name, "sub", json!({})).await?;
            let body = self.generalized(size, "image", &name);
            let id = self.id("Microsoft.Compute/virtualMachines", &name);
            self.put(&id, COMPUTE, body).await?;
        }
        self.nic("nic", "net", "sub", json!({})).await?;
        let request = self.generalized("Standard_D4s_v3", "image", "nic");
        recording.interactions[0].request = Some(request);
        Ok(())
    }

    /// What is sent to make a machine of an image.
    pub(crate) fn generalized(&self, size: &str, image: &str, nic: &str) -> Value {
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
    pub(crate) async fn machine(&self, name: &str, nic: &str) -> Made {
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
