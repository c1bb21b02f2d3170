//! The ways in which disks and images come to be: snapshots, copies, image versions, secure uploads;
//! and disks that become larger.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use azure_nixos_emulator::Emulator;
use reqwest::Method;
use serde_json::{Value, json};

use common::{
    Answer, COMPUTE, Client, DISKS, SMALLEST, builder, disk, image, image_of, resource, upload, vm,
    with,
};

const GALLERIES: &str = "2023-07-03";
const GIB: u64 = 1 << 30;

fn snapshot(name: &str) -> String {
    resource("rg", "Microsoft.Compute/snapshots", name)
}

fn definition(name: &str) -> String {
    resource(
        "rg",
        "Microsoft.Compute/galleries",
        &format!("images/images/{name}"),
    )
}

struct House {
    _dir: tempfile::TempDir,
    emulator: Emulator,
    client: Client,
}

impl House {
    /// A group with a disk that was uploaded.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let emulator = builder(dir.path()).start().await.unwrap();
        let client = Client::new(&emulator);
        client.make_group("rg").await;
        client.make_uploaded(&emulator, "rg", "os").await;
        Self {
            _dir: dir,
            emulator,
            client,
        }
    }

    fn id(&self, path: &str) -> String {
        format!("/subscriptions/{}{path}", self.client.subscription)
    }

    fn original(&self) -> Vec<u8> {
        std::fs::read(self.emulator.disk_file("rg", "os")).unwrap()
    }

    fn copy_of(&self, path: &str) -> Value {
        json!({ "location": "westus2", "properties": {
            "creationData": { "createOption": "Copy", "sourceResourceId": self.id(path) },
        }})
    }

    async fn change(&self, method: &str, path: &str, body: Value) -> Answer {
        self.client.call(method, path, DISKS, Some(body)).await
    }

    /// A request on a disk or snapshot, to its end: what a GET shows then.
    async fn make(&self, method: &str, path: &str, body: Value) -> Value {
        let begun = self.change(method, path, body).await;
        assert_eq!(begun.status, 202, "{path}: {}", begun.body);
        assert!(begun.header("location").is_some());
        let ended = self.client.succeed(begun).await;
        let shown = self.client.get(path, DISKS).await.body;
        assert_eq!(ended["properties"]["output"], shown);
        shown
    }

    async fn make_gallery_image(&self, path: &str, body: Value) -> Value {
        let begun = self.client.put(path, GALLERIES, body).await;
        assert_eq!(begun.status, 201, "{path}: {}", begun.body);
        self.client.succeed(begun).await;
        self.client.get(path, GALLERIES).await.body
    }

    async fn access(&self, path: &str, body: Value) -> Value {
        let begun = self
            .client
            .post(&format!("{path}/beginGetAccess"), DISKS, Some(body))
            .await;
        self.client.succeed(begun).await["properties"]["output"].clone()
    }

    async fn revoke(&self, path: &str) {
        let begun = self
            .client
            .post(&format!("{path}/endGetAccess"), DISKS, None)
            .await;
        self.client.succeed(begun).await;
    }

    /// The content by way of the data plane, and the list of its pages.
    async fn read(&self, path: &str) -> (Vec<u8>, String) {
        let output = self
            .access(path, json!({ "access": "Read", "durationInSeconds": 600 }))
            .await;
        let sas = output["accessSAS"].as_str().unwrap().to_owned();
        let shown = self.client.get(path, DISKS).await.body;
        assert_eq!(shown["properties"]["diskState"], "ActiveSAS");
        let get = async |url: &str| {
            let response = self
                .client
                .http
                .get(url)
                .header("x-ms-version", "2020-10-02");
            let response = response.send().await.unwrap();
            assert!(response.status().is_success(), "{}", response.status());
            response.bytes().await.unwrap().to_vec()
        };
        let bytes = get(&sas).await;
        let pages = get(&format!("{sas}&comp=pagelist")).await;
        self.revoke(path).await;
        (bytes, String::from_utf8(pages).unwrap())
    }

    /// The content is the original's, and its pages are listed.
    async fn assert_same(&self, path: &str) {
        let (bytes, pages) = self.read(path).await;
        assert!(bytes == self.original(), "{path} has other bytes");
        assert!(pages.contains("<PageRange>"), "{pages}");
    }

    async fn refused(&self, method: &str, path: &str, body: Value, status: u16, code: &str) {
        let refused = self.change(method, path, body).await;
        assert_eq!(refused.error(), (status, code), "{}", refused.body);
    }
}

#[tokio::test]
async fn a_snapshot_keeps_the_bytes_of_its_disk() {
    let house = House::new().await;
    let client = &house.client;
    let path = snapshot("s1");
    let body = with(house.copy_of(&disk("rg", "os")), "/tags", json!({}));
    let begun = house
        .change(
            "PUT",
            &path,
            with(body, "/sku", json!({ "name": "Standard_LRS" })),
        )
        .await;
    let creation =
        json!({ "createOption": "Copy", "sourceResourceId": house.id(&disk("rg", "os")) });
    assert_eq!(
        (begun.status, &begun.body),
        (
            202,
            &json!({
                "name": "s1", "id": house.id(&path), "type": "Microsoft.Compute/snapshots",
                "location": "westus2", "tags": {}, "sku": { "name": "Standard_LRS" },
                "properties": { "creationData": creation, "provisioningState": "Updating" },
            })
        )
    );
    client.succeed(begun).await;
    let shown = client.get(&path, DISKS).await.body;
    let source = client.get(&disk("rg", "os"), DISKS).await.body;
    let properties = &shown["properties"];
    assert_eq!(
        shown,
        json!({
            "name": "s1", "id": house.id(&path), "type": "Microsoft.Compute/snapshots",
            "location": "westus2", "tags": {}, "sku": { "name": "Standard_LRS", "tier": "Standard" },
            "properties": {
                "creationData": { "createOption": "Copy",
                    "sourceResourceId": house.id(&disk("rg", "os")),
                    "sourceUniqueId": source["properties"]["uniqueId"] },
                "osType": "Linux", "hyperVGeneration": "V2",
                "diskSizeGB": 1, "diskSizeBytes": SMALLEST - 512,
                "encryption": { "type": "EncryptionAtRestWithPlatformKey" },
                "incremental": false, "networkAccessPolicy": "AllowAll",
                "publicNetworkAccess": "Enabled", "provisioningState": "Succeeded",
                "diskState": "Unattached",
                "timeCreated": properties["timeCreated"], "uniqueId": properties["uniqueId"],
            },
        })
    );
    house.assert_same(&path).await;

    // Incremental ones of one disk are a family; a snapshot of a snapshot; older clients' field.
    let mut incremental = house.copy_of(&disk("rg", "os"));
    incremental["properties"]["incremental"] = json!(true);
    let shown = house.make("PUT", &snapshot("s2"), incremental).await;
    assert_eq!(
        (
            &shown["properties"]["incremental"],
            &shown["properties"]["incrementalSnapshotFamilyId"]
        ),
        (&json!(true), &source["properties"]["uniqueId"])
    );
    let older = json!({ "location": "westus2", "properties": { "creationData": {
        "createOption": "Copy", "sourceUri": house.id(&path) } } });
    let shown = house.make("PUT", &snapshot("s3"), older).await;
    assert_eq!(
        shown["properties"]["creationData"]["sourceResourceId"],
        house.id(&path)
    );
    let patched = house
        .make("PATCH", &snapshot("s3"), json!({ "tags": { "a": "b" } }))
        .await;
    assert_eq!(patched["tags"]["a"], "b");
    let listed = client
        .get(
            "/resourceGroups/rg/providers/Microsoft.Compute/snapshots",
            DISKS,
        )
        .await;
    assert_eq!(listed.body["value"].as_array().unwrap().len(), 3);

    // Disks and images of it stay as they are when it and its disk are gone.
    house
        .make("PUT", &disk("rg", "copy"), house.copy_of(&path))
        .await;
    let mut body = image_of("");
    body["properties"]["storageProfile"]["osDisk"] = json!({
        "osType": "Linux", "osState": "Generalized", "snapshot": { "id": house.id(&path) } });
    body["properties"]["storageProfile"]["dataDisks"] = json!([
        { "lun": 3, "snapshot": { "id": house.id(&snapshot("s3")) } },
        { "lun": 4, "managedDisk": { "id": house.id(&disk("rg", "copy")) } },
    ]);
    let made = client.put(&image("rg", "of-snapshot"), COMPUTE, body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    let shown = client.get(&image("rg", "of-snapshot"), COMPUTE).await.body;
    let profile = &shown["properties"]["storageProfile"];
    assert_eq!(profile["osDisk"]["snapshot"]["id"], house.id(&path));
    assert!(profile["osDisk"].get("managedDisk").is_none());
    assert_eq!(profile["dataDisks"][0]["diskSizeGB"], 1);
    let original = house.original();
    let made = house.emulator.image_file("rg", "of-snapshot");
    for name in ["s1", "s2", "s3"] {
        let begun = client.delete(&snapshot(name), DISKS).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        client.succeed(begun).await;
        assert_eq!(client.get(&snapshot(name), DISKS).await.status, 404);
    }
    assert_eq!(client.delete(&path, DISKS).await.status, 204);
    assert_eq!(std::fs::read(&made).unwrap(), original);
    for lun in [3, 4] {
        let file = format!("{}.lun{lun}", made.display());
        assert_eq!(std::fs::read(file).unwrap(), original, "lun {lun}");
    }
    house.assert_same(&disk("rg", "copy")).await;

    for (body, status, code) in [
        (house.copy_of(&disk("rg", "none")), 404, "NotFound"),
        (
            with(
                house.copy_of(&disk("rg", "os")),
                "/location",
                json!("eastus"),
            ),
            400,
            "BadRequest",
        ),
        (
            with(
                house.copy_of(&disk("rg", "os")),
                "/properties/creationData/createOption",
                json!("CopyStart"),
            ),
            501,
            "NotImplemented",
        ),
        (
            json!({ "location": "westus2", "properties": {} }),
            400,
            "InvalidParameter",
        ),
    ] {
        house
            .refused("PUT", &snapshot("s9"), body, status, code)
            .await;
    }
    // A snapshot is not a disk to attach.
    house
        .make("PUT", &snapshot("s4"), house.copy_of(&disk("rg", "os")))
        .await;
    client.make_network("rg", "web").await;
    let mut body = client.vm("rg", "web", "none");
    body["properties"]["storageProfile"] = json!({ "osDisk": { "createOption": "Attach",
        "osType": "Linux", "managedDisk": { "id": house.id(&snapshot("s4")) } } });
    body["properties"]
        .as_object_mut()
        .unwrap()
        .remove("osProfile");
    let refused = client.put(&vm("rg", "web"), COMPUTE, body).await;
    assert_eq!(refused.error(), (404, "NotFound"));
    house.emulator.stop().await;
}

#[tokio::test]
async fn image_versions_are_made_of_snapshots_and_disks_of_them() {
    let house = House::new().await;
    let client = &house.client;
    house
        .make("PUT", &snapshot("s1"), house.copy_of(&disk("rg", "os")))
        .await;
    let empty = json!({ "location": "westus2", "properties": {
        "creationData": { "createOption": "Empty" }, "diskSizeGB": 2 } });
    house.make("PUT", &snapshot("s2"), empty).await;
    let gallery = resource("rg", "Microsoft.Compute/galleries", "images");
    house
        .make_gallery_image(&gallery, json!({ "location": "westus2" }))
        .await;
    let body = json!({ "location": "westus2", "properties": {
        "osType": "Linux", "osState": "Specialized", "hyperVGeneration": "V2",
        "identifier": { "publisher": "a", "offer": "b", "sku": "c" } } });
    house.make_gallery_image(&definition("d"), body).await;
    let version = format!("{}/versions/1.0.0", definition("d"));
    let body = json!({ "location": "westus2", "tags": {}, "properties": {
        "publishingProfile": { "targetRegions": [{ "name": "westus2" }] },
        "storageProfile": {
            "osDiskImage": { "source": { "id": house.id(&snapshot("s1")) } },
            "dataDiskImages": [{ "source": { "id": house.id(&snapshot("s2")) }, "lun": 2 }],
        },
    }});
    let begun = client.put(&version, GALLERIES, body).await;
    assert_eq!(
        begun.body["properties"]["storageProfile"],
        json!({
            "osDiskImage": { "hostCaching": "ReadWrite", "source": { "id": house.id(&snapshot("s1")) } },
            "dataDiskImages": [{ "lun": 2, "hostCaching": "ReadOnly",
                "source": { "id": house.id(&snapshot("s2")) } }],
        })
    );
    client.succeed(begun).await;
    let shown = client.get(&version, GALLERIES).await.body;
    assert_eq!(
        shown["properties"]["storageProfile"],
        json!({
            "osDiskImage": { "sizeInGB": 1, "hostCaching": "ReadWrite",
                "source": { "id": house.id(&snapshot("s1")) } },
            "dataDiskImages": [{ "lun": 2, "sizeInGB": 2, "hostCaching": "ReadOnly",
                "source": { "id": house.id(&snapshot("s2")) } }],
        })
    );
    let file = house
        .emulator
        .image_version_file("rg", "images", "d", "1.0.0");
    assert_eq!(std::fs::read(file).unwrap(), house.original());

    let of_version = |reference: Value| {
        json!({ "location": "westus2", "properties": {
        "creationData": { "createOption": "FromImage", "galleryImageReference": reference } } })
    };
    let shown = house
        .make(
            "PUT",
            &disk("rg", "from"),
            of_version(json!({ "id": house.id(&version) })),
        )
        .await;
    let properties = &shown["properties"];
    assert_eq!(
        (
            &properties["osType"],
            &properties["hyperVGeneration"],
            &properties["diskSizeGB"]
        ),
        (&json!("Linux"), &json!("V2"), &json!(1))
    );
    assert_eq!(properties["supportedCapabilities"]["architecture"], "x64");
    house.assert_same(&disk("rg", "from")).await;
    let shown = house
        .make(
            "PUT",
            &disk("rg", "data"),
            of_version(json!({ "id": house.id(&version), "lun": 2 })),
        )
        .await;
    assert_eq!(shown["properties"]["diskSizeBytes"], 2 * GIB);
    assert!(shown["properties"].get("osType").is_none());
    // Larger than its image.
    let larger = with(
        of_version(json!({ "id": house.id(&definition("d")) })),
        "/properties/diskSizeGB",
        json!(2),
    );
    let shown = house.make("PUT", &disk("rg", "large"), larger).await;
    assert_eq!(shown["properties"]["diskSizeBytes"], 2 * GIB);
    house.assert_same(&disk("rg", "from")).await;

    let platform = "/Subscriptions/s/Providers/Microsoft.Compute/Locations/westus2/Publishers/p/ArtifactTypes/VMImage/Offers/o/Skus/s/Versions/1.0.0";
    for (creation, status, code) in [
        (
            json!({ "galleryImageReference": { "id": house.id(&version), "lun": 9 } }),
            400,
            "InvalidParameter",
        ),
        (
            json!({ "galleryImageReference": { "id": house.id(&version).replace("1.0.0", "2.0.0") } }),
            404,
            "GalleryImageNotFound",
        ),
        (
            json!({ "imageReference": { "id": platform } }),
            404,
            "PlatformImageNotFound",
        ),
        (
            json!({ "imageReference": { "id": house.id(&image("rg", "x")) } }),
            400,
            "InvalidParameter",
        ),
        (json!({}), 400, "InvalidParameter"),
    ] {
        let mut body = json!({ "location": "westus2", "properties": { "creationData": creation } });
        body["properties"]["creationData"]["createOption"] = json!("FromImage");
        house
            .refused("PUT", &disk("rg", "bad"), body, status, code)
            .await;
    }

    // A specialised image has users already: a machine of it gets none.
    client.make_network("rg", "web").await;
    let mut body = client.vm("rg", "web", "none");
    body["properties"]["storageProfile"]["imageReference"]["id"] = json!(house.id(&version));
    let refused = client.put(&vm("rg", "web"), COMPUTE, body.clone()).await;
    assert_eq!(refused.error(), (400, "InvalidParameter"));
    assert_eq!(refused.body["error"]["target"], "osProfile");
    body["properties"]
        .as_object_mut()
        .unwrap()
        .remove("osProfile");
    let made = client.put(&vm("rg", "web"), COMPUTE, body).await;
    client.succeed(made).await;
    // The data disks of the image are made with the machine.
    let machine = client.get(&vm("rg", "web"), COMPUTE).await.body;
    let profile = &machine["properties"]["storageProfile"];
    let data_disk = &profile["dataDisks"][0];
    assert_eq!(
        (
            &data_disk["lun"],
            &data_disk["createOption"],
            &data_disk["diskSizeGB"]
        ),
        (&json!(2), &json!("FromImage"), &json!(2))
    );
    let shown = client
        .get(&disk("rg", data_disk["name"].as_str().unwrap()), DISKS)
        .await
        .body;
    assert_eq!(shown["sku"]["name"], "Premium_LRS");
    assert_eq!(
        shown["properties"]["creationData"]["galleryImageReference"],
        json!({ "id": house.id(&version), "lun": 2 })
    );
    house.emulator.stop().await;
}

/// A file of 2 GiB and a footer: the original's content, and holes up to the footer.
fn assert_grown(file: &std::path::Path, original: &[u8]) {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let opened = std::fs::File::open(file).unwrap();
    let metadata = opened.metadata().unwrap();
    assert_eq!(metadata.len(), 2 * GIB + 512);
    // What is written is the content and two pages; the rest is holes, and those are zeros.
    assert!(
        metadata.blocks() * 512 < 128 << 10,
        "{} blocks",
        metadata.blocks()
    );
    let content = original.len() - 512;
    let mut bytes = vec![0; content + (1 << 20)];
    opened.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes[..content] == original[..content]);
    assert!(bytes[content..] == vec![0; 1 << 20]);
    let mut footer = [0; 512];
    opened.read_exact_at(&mut footer, 2 * GIB).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[48..56], (2 * GIB).to_be_bytes());
}

#[tokio::test]
async fn disks_become_larger_and_never_smaller() {
    let house = House::new().await;
    let client = &house.client;
    let path = disk("rg", "os");
    let original = house.original();
    // A copy shares its bytes with the snapshot until it grows.
    house
        .make("PUT", &snapshot("s1"), house.copy_of(&path))
        .await;
    house
        .make("PUT", &disk("rg", "copy"), house.copy_of(&snapshot("s1")))
        .await;
    for name in ["os", "copy"] {
        let path = disk("rg", name);
        let shown = house
            .make("PATCH", &path, json!({ "properties": { "diskSizeGB": 2 } }))
            .await;
        assert_eq!(
            (
                &shown["properties"]["diskSizeGB"],
                &shown["properties"]["diskSizeBytes"]
            ),
            (&json!(2), &json!(2 * GIB))
        );
        assert_grown(&house.emulator.disk_file("rg", name), &original);
        // The data plane has the new length.
        let output = house
            .access(&path, json!({ "access": "Read", "durationInSeconds": 600 }))
            .await;
        let head = client
            .http
            .head(output["accessSAS"].as_str().unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(
            head.headers()["content-length"],
            (2 * GIB + 512).to_string()
        );
        let busy = json!({ "properties": { "diskSizeGB": 3 } });
        house
            .refused(
                "PATCH",
                &path,
                busy,
                409,
                "ChangeDiskSizeWhileActiveSasNotAllowed",
            )
            .await;
        house.revoke(&path).await;
    }
    let (bytes, _) = house.read(&snapshot("s1")).await;
    assert!(bytes == original, "the snapshot has changed");
    // A whole PUT does it too, and what was larger stays so.
    let body = with(
        house.copy_of(&snapshot("s1")),
        "/properties/diskSizeGB",
        json!(3),
    );
    let shown = house.make("PUT", &disk("rg", "copy"), body).await;
    assert_eq!(shown["properties"]["diskSizeBytes"], 3 * GIB);

    for (size, code) in [
        (1, "BadRequest"),
        (0, "InvalidParameter"),
        (70_000, "InvalidParameter"),
    ] {
        let body = json!({ "properties": { "diskSizeGB": size } });
        house.refused("PATCH", &path, body, 400, code).await;
    }
    client.make_disk("rg", "upload").await;
    let body = json!({ "properties": { "diskSizeGB": 5 } });
    house
        .refused(
            "PATCH",
            &disk("rg", "upload"),
            body.clone(),
            409,
            "OperationNotAllowed",
        )
        .await;

    // Not while its machine runs; when it is deallocated, it can.
    client.make_network("rg", "web").await;
    let mut machine = client.vm("rg", "web", "none");
    machine["properties"]["storageProfile"] = json!({ "osDisk": { "createOption": "Attach",
        "osType": "Linux", "managedDisk": { "id": house.id(&path) } } });
    machine["properties"]
        .as_object_mut()
        .unwrap()
        .remove("osProfile");
    let made = client.put(&vm("rg", "web"), COMPUTE, machine).await;
    client.succeed(made).await;
    let refused = house.change("PATCH", &path, body.clone()).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "Cannot resize disk os while it is attached to running VM /subscriptions/"
        ),
        "{message}"
    );
    house
        .refused(
            "PATCH",
            &path,
            json!({ "sku": { "name": "Premium_LRS" } }),
            409,
            "OperationNotAllowed",
        )
        .await;
    let stopped = client
        .post(&format!("{}/deallocate", vm("rg", "web")), COMPUTE, None)
        .await;
    client.succeed(stopped).await;
    let shown = house.make("PATCH", &path, body).await;
    assert_eq!(
        (
            &shown["properties"]["diskState"],
            &shown["properties"]["diskSizeGB"]
        ),
        (&json!("Reserved"), &json!(5))
    );
    house.emulator.stop().await;
}

#[tokio::test]
async fn image_versions_are_made_of_machines() {
    let house = House::new().await;
    let client = &house.client;
    client.make_image("rg", "nixos", "os").await;
    client.make_network("rg", "web").await;
    let made = client
        .put(&vm("rg", "web"), COMPUTE, client.vm("rg", "web", "nixos"))
        .await;
    client.succeed(made).await;
    let gallery = resource("rg", "Microsoft.Compute/galleries", "images");
    house
        .make_gallery_image(&gallery, json!({ "location": "westus2" }))
        .await;
    for state in ["Specialized", "Generalized"] {
        let body = json!({ "location": "westus2", "properties": {
            "osType": "Linux", "osState": state, "hyperVGeneration": "V2",
            "identifier": { "publisher": "a", "offer": "b", "sku": state } } });
        house.make_gallery_image(&definition(state), body).await;
    }
    let of_machine = |field: &str| {
        json!({ "location": "westus2", "properties": { "storageProfile": {
            "source": { field: house.id(&vm("rg", "web")) } } } })
    };
    // The machine is what it is: one of a kind at first, then a template.
    for (name, state, other, field) in [
        ("1.0.0", "Specialized", "Generalized", "virtualMachineId"),
        ("1.0.1", "Generalized", "Specialized", "id"),
    ] {
        if state == "Generalized" {
            for action in ["deallocate", "generalize"] {
                let path = format!("{}/{action}", vm("rg", "web"));
                let done = client.post(&path, COMPUTE, None).await;
                if done.status == 202 {
                    client.succeed(done).await;
                } else {
                    assert_eq!(done.status, 200, "{}", done.body);
                }
            }
        }
        let path = format!("{}/versions/{name}", definition(state));
        house.make_gallery_image(&path, of_machine(field)).await;
        let file = house
            .emulator
            .image_version_file("rg", "images", state, name);
        assert!(std::fs::read(file).unwrap() == house.original(), "{state}");
        let path = format!("{}/versions/{name}", definition(other));
        let begun = client.put(&path, GALLERIES, of_machine(field)).await;
        let ended = client.follow(&begun).await;
        assert_eq!(ended.body["error"]["code"], "BadRequest", "{}", ended.body);
    }
    house.emulator.stop().await;
}

#[tokio::test]
async fn a_larger_disk_survives_a_restart() {
    let house = House::new().await;
    let path = disk("rg", "os");
    let original = house.original();
    house
        .make("PATCH", &path, json!({ "properties": { "diskSizeGB": 2 } }))
        .await;
    let House {
        _dir: dir,
        emulator,
        client,
    } = house;
    let token = emulator.access_token();
    emulator.stop().await;
    drop(client);
    let emulator = builder(dir.path()).start().await.unwrap();
    let mut client = Client::new(&emulator);
    client.token = Some(token);
    let house = House {
        _dir: dir,
        emulator,
        client,
    };
    assert_grown(&house.emulator.disk_file("rg", "os"), &original);
    let output = house
        .access(&path, json!({ "access": "Read", "durationInSeconds": 600 }))
        .await;
    let url = format!("{}&comp=pagelist", output["accessSAS"].as_str().unwrap());
    let list = house
        .client
        .http
        .get(url)
        .header("x-ms-version", "2020-10-02");
    let list = list.send().await.unwrap().text().await.unwrap();
    // The content, where its footer was, and the footer.
    assert_eq!(list.matches("<PageRange>").count(), 3, "{list}");
    let end = format!("<Start>{}</Start><End>{}</End>", 2 * GIB, 2 * GIB + 511);
    assert!(list.contains(&end), "{list}");
    house.emulator.stop().await;
}

#[tokio::test]
async fn a_secure_upload_has_a_second_access() {
    let house = House::new().await;
    let client = &house.client;
    let path = disk("rg", "secure");
    let mut body = upload(SMALLEST);
    body["properties"]["creationData"]["createOption"] = json!("UploadPreparedSecure");
    house
        .refused("PUT", &path, body.clone(), 400, "InvalidParameter")
        .await;
    body["properties"]["securityProfile"] = json!({ "securityType": "TrustedLaunch" });
    let shown = house.make("PUT", &path, body).await;
    assert_eq!(shown["properties"]["diskState"], "ReadyToUpload");
    assert_eq!(
        shown["properties"]["securityProfile"]["securityType"],
        "TrustedLaunch"
    );
    assert!(shown["properties"].get("diskSizeGB").is_none());
    let write = json!({ "access": "Write", "durationInSeconds": 600 });
    let output = house.access(&path, write.clone()).await;
    assert!(output.get("securityDataAccessSAS").is_none());
    let both = with(write.clone(), "/getSecureVMGuestStateSAS", json!(true));
    let begun = client
        .post(&format!("{path}/beginGetAccess"), DISKS, Some(both.clone()))
        .await;
    let monitor = begun.header("location").unwrap().to_owned();
    client.succeed(begun).await;
    let output = client.send(Method::GET, &monitor, None).await.body;
    let sas = |name: &str| output[name].as_str().unwrap().to_owned();
    assert_ne!(sas("accessSAS"), sas("securityDataAccessSAS"));
    let put = async |url: String| {
        let request = client.http.put(format!("{url}&comp=page"));
        let request = request
            .header("x-ms-version", "2020-10-02")
            .header("x-ms-page-write", "update");
        let request = request
            .header("x-ms-range", "bytes=0-511")
            .body(vec![7_u8; 512]);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(put(sas("accessSAS")).await, 201);
    assert_eq!(put(sas("securityDataAccessSAS")).await, 201);
    common::write_image(&house.emulator.disk_file("rg", "secure"));
    house.revoke(&path).await;
    assert_eq!(put(sas("securityDataAccessSAS")).await, 403);
    let shown = client.get(&path, DISKS).await.body;
    assert_eq!(shown["properties"]["diskState"], "Unattached");
    let begun = client.delete(&path, DISKS).await;
    client.succeed(begun).await;
    // Another disk has no guest state.
    house
        .refused(
            "POST",
            &format!("{}/beginGetAccess", disk("rg", "os")),
            both,
            400,
            "BadRequest",
        )
        .await;
    house.emulator.stop().await;
}

#[tokio::test]
async fn settings_of_disks_that_cannot_be_are_refused() {
    let house = House::new().await;
    let empty = |sku: &str| {
        json!({ "location": "westus2", "sku": { "name": sku },
        "properties": { "creationData": { "createOption": "Empty" }, "diskSizeGB": 4 } })
    };
    for (sku, pointer, value, status, code) in [
        (
            "Standard_LRS",
            "/properties/networkAccessPolicy",
            json!("AllowPrivate"),
            400,
            "InvalidParameter",
        ),
        (
            "Standard_LRS",
            "/properties/diskAccessId",
            json!("/x"),
            202,
            "",
        ),
        (
            "Standard_LRS",
            "/properties/creationData/logicalSectorSize",
            json!(512),
            400,
            "InvalidParameter",
        ),
        (
            "PremiumV2_LRS",
            "/properties/creationData/logicalSectorSize",
            json!(1024),
            400,
            "InvalidParameter",
        ),
        (
            "PremiumV2_LRS",
            "/properties/creationData/logicalSectorSize",
            json!(512),
            202,
            "",
        ),
        (
            "Standard_LRS",
            "/properties/creationData/createOption",
            json!("Restore"),
            501,
            "NotImplemented",
        ),
        (
            "Standard_LRS",
            "/properties/creationData/createOption",
            json!("Import"),
            400,
            "InvalidParameter",
        ),
        (
            "Standard_LRS",
            "/properties/creationData/createOption",
            json!("Copy"),
            400,
            "InvalidParameter",
        ),
    ] {
        let answer = house
            .change("PUT", &disk("rg", "set"), with(empty(sku), pointer, value))
            .await;
        if status == 202 {
            assert_eq!(answer.status, 202, "{pointer}: {}", answer.body);
            house.client.succeed(answer).await;
            let gone = house.client.delete(&disk("rg", "set"), DISKS).await;
            house.client.succeed(gone).await;
        } else {
            assert_eq!(answer.error(), (status, code), "{pointer}: {}", answer.body);
        }
    }
    let path = disk("rg", "os");
    let shown = house
        .make("PATCH", &path, json!({ "sku": { "name": "Premium_LRS" } }))
        .await;
    assert_eq!(
        (&shown["sku"]["tier"], &shown["properties"]["tier"]),
        (&json!("Premium"), &json!("P1"))
    );
    let shown = house
        .make("PATCH", &path, json!({ "properties": { "tier": "P10" } }))
        .await;
    assert_eq!(
        (
            &shown["properties"]["tier"],
            &shown["properties"]["diskIOPSReadWrite"]
        ),
        (&json!("P10"), &json!(500))
    );
    let ultra = json!({ "sku": { "name": "UltraSSD_LRS" } });
    house
        .refused("PATCH", &path, ultra, 409, "OperationNotAllowed")
        .await;
    house
        .make(
            "PATCH",
            &path,
            json!({ "properties": { "networkAccessPolicy": "DenyAll" } }),
        )
        .await;
    let read = json!({ "access": "Read", "durationInSeconds": 600 });
    house
        .refused(
            "POST",
            &format!("{path}/beginGetAccess"),
            read,
            409,
            "OperationNotAllowed",
        )
        .await;
    house.emulator.stop().await;
}
