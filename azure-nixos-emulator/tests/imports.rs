//! Disks, images and image versions that are made of a VHD in a storage account.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use azure_nixos_emulator::Emulator;
use common::{COMPUTE, Client, DISKS, SMALLEST, account_sas, builder, disk, image, resource, with};
use serde_json::{Value, json};

const STORAGE: &str = "2023-01-01";
const GALLERIES: &str = "2023-07-03";

struct House {
    _dir: tempfile::TempDir,
    emulator: Emulator,
    client: Client,
    /// The URL of the container, and what may be done with it.
    container: String,
    sas: String,
    /// A VHD.
    original: Vec<u8>,
}

impl House {
    /// A VHD in a storage account.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let emulator = builder(dir.path()).start().await.unwrap();
        let client = Client::new(&emulator);
        client.make_group("rg").await;
        client.make_uploaded(&emulator, "rg", "template").await;
        let original = std::fs::read(emulator.disk_file("rg", "template")).unwrap();
        let path = resource("rg", "Microsoft.Storage/storageAccounts", "vhds1");
        let body = json!({ "location": "westus2", "sku": { "name": "Standard_LRS" }, "kind": "StorageV2" });
        let begun = client.put(&path, STORAGE, body).await;
        client.succeed(begun).await;
        let account = client.get(&path, STORAGE).await.body;
        let endpoint = account["properties"]["primaryEndpoints"]["blob"]
            .as_str()
            .unwrap();
        let keys = client
            .post(&format!("{path}/listKeys"), STORAGE, None)
            .await
            .body;
        let sas = account_sas("vhds1", keys["keys"][0]["value"].as_str().unwrap());
        let house = Self {
            container: format!("{endpoint}vhds"),
            _dir: dir,
            emulator,
            client,
            sas,
            original,
        };
        house
            .send(
                &format!("{}?restype=container", house.container),
                &[],
                Vec::new(),
            )
            .await;
        house.make_page_blob("os.vhd", &house.original).await;
        house
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.container)
    }

    fn account(&self) -> String {
        self.client
            .id("rg", "Microsoft.Storage/storageAccounts", "vhds1")
    }

    async fn send(&self, url: &str, headers: &[(&str, String)], body: Vec<u8>) {
        let query = if url.contains('?') { '&' } else { '?' };
        let mut request = self
            .client
            .http
            .put(format!("{url}{query}{}", self.sas))
            .header("content-length", body.len());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.body(body).send().await.unwrap();
        let status = response.status().as_u16();
        assert_eq!(status, 201, "{url}: {}", response.text().await.unwrap());
    }

    /// A page blob with these bytes, of which only what is not zero is sent.
    async fn make_page_blob(&self, name: &str, bytes: &[u8]) {
        let length = bytes.len().to_string();
        let kind = ("x-ms-blob-type", "PageBlob".to_owned());
        let version = ("x-ms-version", "2021-12-02".to_owned());
        let headers = [kind, ("x-ms-blob-content-length", length), version.clone()];
        self.send(&self.url(name), &headers, Vec::new()).await;
        for (at, pages) in bytes.chunks(1 << 20).enumerate() {
            if pages == vec![0; pages.len()] {
                continue;
            }
            let start = at << 20;
            let range = format!("bytes={start}-{}", start + pages.len() - 1);
            let headers = [
                ("x-ms-page-write", "update".to_owned()),
                ("x-ms-range", range),
                version.clone(),
            ];
            self.send(
                &format!("{}?comp=page", self.url(name)),
                &headers,
                pages.to_vec(),
            )
            .await;
        }
    }

    fn import(&self, name: &str) -> Value {
        json!({ "location": "westus2", "properties": { "osType": "Linux", "hyperVGeneration": "V2",
            "creationData": { "createOption": "Import", "sourceUri": self.url(name) } } })
    }
}

#[tokio::test]
async fn a_disk_is_imported_with_all_of_its_bytes() {
    let house = House::new().await;
    let client = &house.client;
    let body = with(
        house.import("os.vhd"),
        "/properties/creationData/storageAccountId",
        json!(house.account()),
    );
    let signed = format!("{}?{}", house.url("os.vhd"), house.sas);
    let body = with(body, "/properties/creationData/sourceUri", json!(signed));
    let begun = client.put(&disk("rg", "os"), DISKS, body).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    client.succeed(begun).await;
    let shown = client.get(&disk("rg", "os"), DISKS).await.body;
    let properties = &shown["properties"];
    assert_eq!(
        (
            &properties["diskState"],
            &properties["diskSizeGB"],
            &properties["diskSizeBytes"]
        ),
        (&json!("Unattached"), &json!(1), &json!(SMALLEST - 512))
    );
    // Without the signature that the client gave with it.
    assert_eq!(properties["creationData"]["sourceUri"], house.url("os.vhd"));
    assert!(std::fs::read(house.emulator.disk_file("rg", "os")).unwrap() == house.original);
    // The blob is its client's: what becomes of it is not the disk's.
    house.make_page_blob("os.vhd", &vec![7; 1 << 20]).await;
    assert!(std::fs::read(house.emulator.disk_file("rg", "os")).unwrap() == house.original);
    house.emulator.stop().await;
}

#[tokio::test]
async fn what_is_no_disk_of_the_region_is_not_imported() {
    let house = House::new().await;
    let client = &house.client;
    let mut damaged = house.original.clone();
    let end = damaged.len() - 512;
    damaged[end..end + 8].copy_from_slice(b"conectiX");
    house.make_page_blob("damaged.vhd", &damaged).await;
    let kind = [
        ("x-ms-blob-type", "BlockBlob".to_owned()),
        ("x-ms-version", "2021-12-02".to_owned()),
    ];
    house
        .send(&house.url("block.vhd"), &kind, vec![1; 1024])
        .await;
    let uri = "/properties/creationData/sourceUri";
    for (body, status, code, words) in [
        (
            with(house.import("os.vhd"), "/location", json!("eastus")),
            400,
            "BadRequest",
            "os.vhd does not belong to the same region as the disk.",
        ),
        (house.import("none.vhd"), 404, "NotFound", "is not found"),
        (house.import("damaged.vhd"), 400, "InvalidVhd", "'conectix'"),
        (house.import("block.vhd"), 404, "NotFound", "is not found"),
        (
            with(
                house.import("os.vhd"),
                uri,
                json!("https://elsewhere.example/a/b.vhd"),
            ),
            404,
            "NotFound",
            "is not found",
        ),
        (
            with(house.import("os.vhd"), uri, json!("os.vhd")),
            404,
            "NotFound",
            "is not found",
        ),
        (
            with(
                house.import("os.vhd"),
                "/properties/creationData/storageAccountId",
                json!(house.account().replace("vhds1", "other")),
            ),
            400,
            "InvalidParameter",
            "is not in the storage account",
        ),
    ] {
        let refused = client.put(&disk("rg", "bad"), DISKS, body).await;
        assert_eq!(refused.error(), (status, code), "{}", refused.body);
        let message = refused.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    // A signature that a client put into the URI is not given back.
    let signed = format!("{}?{}", house.url("none.vhd"), house.sas);
    let refused = client
        .put(
            &disk("rg", "bad"),
            DISKS,
            with(house.import("os.vhd"), uri, json!(signed)),
        )
        .await;
    assert!(
        !refused.body.to_string().contains("sig="),
        "{}",
        refused.body
    );
    house.emulator.stop().await;
}

#[tokio::test]
async fn images_and_versions_are_made_of_a_vhd() {
    let house = House::new().await;
    let client = &house.client;
    let body = json!({ "location": "westus2", "properties": { "hyperVGeneration": "V2", "storageProfile": {
        "osDisk": { "osType": "Linux", "osState": "Generalized", "blobUri": house.url("os.vhd") },
        "dataDisks": [{ "lun": 1, "blobUri": house.url("os.vhd"), "caching": "ReadOnly" }],
    }}});
    let begun = client.put(&image("rg", "of-vhd"), COMPUTE, body).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    client.succeed(begun).await;
    let shown = client.get(&image("rg", "of-vhd"), COMPUTE).await.body;
    assert_eq!(
        shown["properties"]["storageProfile"]["osDisk"],
        json!({ "osType": "Linux", "osState": "Generalized", "blobUri": house.url("os.vhd"),
            "caching": "None", "storageAccountType": "Standard_LRS", "diskSizeGB": 1 })
    );
    let file = house.emulator.image_file("rg", "of-vhd");
    assert!(std::fs::read(&file).unwrap() == house.original);
    assert!(std::fs::read(format!("{}.lun1", file.display())).unwrap() == house.original);

    let gallery = resource("rg", "Microsoft.Compute/galleries", "images");
    let definition = format!("{gallery}/images/d");
    for (path, body) in [
        (&gallery, json!({ "location": "westus2" })),
        (
            &definition,
            json!({ "location": "westus2", "properties": {
            "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
            "identifier": { "publisher": "a", "offer": "b", "sku": "c" } } }),
        ),
    ] {
        let begun = client.put(path, GALLERIES, body).await;
        client.succeed(begun).await;
    }
    // The account in its own field, and where older clients have it.
    for (name, field) in [("1.0.0", "storageAccountId"), ("1.0.1", "id")] {
        let path = format!("{definition}/versions/{name}");
        let source = json!({ "uri": house.url("os.vhd"), field: house.account() });
        let body = json!({ "location": "westus2", "properties": { "storageProfile": {
            "osDiskImage": { "source": source } } } });
        let begun = client.put(&path, GALLERIES, body).await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        client.succeed(begun).await;
        let shown = client.get(&path, GALLERIES).await.body;
        assert_eq!(
            shown["properties"]["storageProfile"]["osDiskImage"],
            json!({ "sizeInGB": 1, "hostCaching": "ReadWrite", "source": source })
        );
        let file = house.emulator.image_version_file("rg", "images", "d", name);
        assert!(std::fs::read(file).unwrap() == house.original, "{name}");
    }
    house.emulator.stop().await;
}
