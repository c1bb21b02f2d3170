//! Storage accounts in Resource Manager, and that they are the data plane's.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use std::time::Duration;

use azure_nixos_emulator::{Clock, Emulator, Timing};
use common::{Client, RESOURCES, account_sas, builder, group, resource};
use reqwest::Method;
use serde_json::{Value, json};

const STORAGE: &str = "2023-01-01";

fn account(group: &str, name: &str) -> String {
    resource(group, "Microsoft.Storage/storageAccounts", name)
}

fn body() -> Value {
    json!({
        "location": "West US 2",
        "sku": { "name": "standard_lrs" },
        "kind": "StorageV2",
        "properties": { "allowBlobPublicAccess": false },
    })
}

async fn keys(client: &Client, group: &str, name: &str) -> Vec<String> {
    let path = format!("{}/listKeys", account(group, name));
    let listed = client.post(&path, STORAGE, None).await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    let keys = listed.body["keys"].as_array().unwrap();
    assert_eq!(keys[0]["keyName"], "key1");
    assert_eq!(keys[1]["permissions"], "FULL");
    keys.iter()
        .map(|key| key["value"].as_str().unwrap().to_owned())
        .collect()
}

/// The status of making a container with a key of the account.
async fn make_container(client: &Client, endpoint: &str, name: &str, key: &str) -> u16 {
    let account = endpoint.trim_end_matches('/').rsplit('/').next().unwrap();
    let url = format!(
        "{endpoint}{name}?restype=container&{}",
        account_sas(account, key)
    );
    let request = client.http.put(url).header("content-length", 0);
    request.send().await.unwrap().status().as_u16()
}

fn endpoint(account: &Value) -> String {
    account["properties"]["primaryEndpoints"]["blob"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_account_is_made_used_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let start = || {
        builder(dir.path())
            .clock(clock.clone())
            .timing(Timing::LikeAzure)
            .start()
    };
    let emulator = start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("Rg").await;
    let path = account("rg", "web1");
    let begun = client.put(&path, STORAGE, body()).await;
    assert_eq!((begun.status, &begun.body), (202, &Value::Null));
    assert_eq!(begun.header("azure-asyncoperation"), None);
    assert_eq!(begun.header("retry-after"), Some("17"));
    let location = begun.header("location").unwrap().to_owned();
    assert!(
        location.contains("/providers/Microsoft.Storage/locations/westus2/asyncoperations/"),
        "{location}"
    );
    let running = client.send(Method::GET, &location, None).await;
    assert_eq!(running.status, 202);
    clock.advance(Duration::from_secs(17));
    let made = client.send(Method::GET, &location, None).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(
        made.body["sku"],
        json!({ "name": "Standard_LRS", "tier": "Standard" })
    );
    assert_eq!(made.body["properties"]["provisioningState"], "Succeeded");
    assert_eq!(made.body["properties"]["accessTier"], "Hot");
    assert_eq!(client.get(&path, STORAGE).await.body, made.body);
    let listed = client
        .get("/providers/Microsoft.Storage/storageAccounts", STORAGE)
        .await;
    assert_eq!(listed.body["value"], json!([made.body]));

    let endpoint_before = endpoint(&made.body);
    assert_eq!(endpoint_before, format!("{}/web1/", emulator.blob_url()));
    let both = keys(&client, "rg", "web1").await;
    for (name, key) in [("one", &both[0]), ("two", &both[1])] {
        assert_eq!(
            make_container(&client, &endpoint_before, name, key).await,
            201
        );
    }
    let renewed = client
        .post(
            &format!("{path}/regenerateKey"),
            STORAGE,
            Some(json!({ "keyName": "key1" })),
        )
        .await;
    assert_eq!(renewed.body["keys"][1]["value"], both[1].as_str());
    assert_ne!(renewed.body["keys"][0]["value"], both[0].as_str());
    assert_eq!(
        make_container(&client, &endpoint_before, "three", &both[0]).await,
        403
    );

    // It is there after a restart, at the new port.
    emulator.stop().await;
    let emulator = start().await.unwrap();
    let client = Client::new(&emulator);
    let found = client.get(&path, STORAGE).await.body;
    let endpoint = endpoint(&found);
    assert_eq!(endpoint, format!("{}/web1/", emulator.blob_url()));
    assert_eq!(
        make_container(&client, &endpoint, "two", &both[1]).await,
        409
    );

    // Without its keys, it takes none.
    let patched = client
        .call(
            "PATCH",
            &path,
            STORAGE,
            Some(json!({ "tags": { "a": "b" }, "properties": { "allowSharedKeyAccess": false } })),
        )
        .await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    assert_eq!(patched.body["tags"], json!({ "a": "b" }));
    assert_eq!(
        make_container(&client, &endpoint, "four", &both[1]).await,
        403
    );

    assert_eq!(client.delete(&path, STORAGE).await.status, 200);
    assert_eq!(client.delete(&path, STORAGE).await.status, 204);
    assert_eq!(
        client.get(&path, STORAGE).await.error(),
        (404, "ResourceNotFound")
    );
    assert!(!dir.path().join("accounts/web1").exists());
}

async fn made(client: &Client, group: &str, name: &str) {
    let begun = client.put(&account(group, name), STORAGE, body()).await;
    client.succeed(begun).await;
}

#[tokio::test]
async fn a_name_is_taken_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_group("other").await;
    made(&client, "rg", "web1").await;
    let taken = client.put(&account("other", "web1"), STORAGE, body()).await;
    assert_eq!(taken.error(), (409, "StorageAccountAlreadyTaken"));
    // The same once more is the same account.
    let before = keys(&client, "rg", "web1").await;
    let again = client.put(&account("rg", "web1"), STORAGE, body()).await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!(keys(&client, "rg", "web1").await, before);
    let bad = client.put(&account("rg", "Web_1"), STORAGE, body()).await;
    assert_eq!(bad.error(), (400, "AccountNameInvalid"));
    let mut field = body();
    field["properties"]["colour"] = json!("red");
    let bad = client.put(&account("rg", "web2"), STORAGE, field).await;
    assert_eq!(bad.error(), (400, "InvalidRequestContent"));
    let mut directories = body();
    directories["properties"]["isHnsEnabled"] = json!(true);
    let bad = client
        .put(&account("rg", "web2"), STORAGE, directories)
        .await;
    assert_eq!(bad.error(), (501, "NotImplemented"));

    let check = async |name: &str| {
        let asked = json!({ "name": name, "type": "Microsoft.Storage/storageAccounts" });
        let path = "/providers/Microsoft.Storage/checkNameAvailability";
        client.post(path, STORAGE, Some(asked)).await.body
    };
    assert_eq!(check("free1").await, json!({ "nameAvailable": true }));
    assert_eq!(check("web1").await["reason"], "AlreadyExists");
    assert_eq!(check("X").await["reason"], "AccountNameInvalid");
    let unknown = json!({ "keyName": "key3" });
    let path = format!("{}/regenerateKey", account("rg", "web1"));
    let unknown = client.post(&path, STORAGE, Some(unknown)).await;
    assert_eq!(unknown.error(), (400, "KeyNotFound"));

    // A group takes its accounts with it.
    let gone = client.delete(&group("rg"), RESOURCES).await;
    client.follow(&gone).await;
    assert!(!dir.path().join("accounts/web1").exists());
    made(&client, "other", "web1").await;
}

#[tokio::test]
async fn an_account_has_azures_name_through_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let emulator: Emulator = builder(dir.path())
        .proxy_port(0)
        .blob_host("blob.core.windows.net")
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    made(&client, "rg", "web1").await;
    let shown = client.get(&account("rg", "web1"), STORAGE).await.body;
    assert_eq!(endpoint(&shown), "https://web1.blob.core.windows.net/");
    let key = keys(&client, "rg", "web1").await.remove(0);
    let http = common::proxied(&emulator);
    let sas = account_sas("web1", &key);
    let url = |path: &str| format!("https://web1.blob.core.windows.net{path}{sas}");
    let put = http
        .put(url("/vhds?restype=container&"))
        .header("content-length", 0);
    assert_eq!(put.send().await.unwrap().status(), 201);
    let put = http
        .put(url("/vhds/a/b?"))
        .header("x-ms-blob-type", "BlockBlob")
        .body("hello");
    assert_eq!(put.send().await.unwrap().status(), 201);
    let got = http.get(url("/vhds/a/b?")).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "hello");
    // The same account by its path.
    let path = format!("{}/web1/vhds/a/b?{sas}", emulator.blob_url());
    let got = client.http.get(path).send().await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "hello");
    // A name that no account has.
    let other = http
        .get("https://nobody.blob.core.windows.net/c/b")
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), 404);
}

/// Puts a page blob with the content of a file through the data plane.
async fn put_page_blob(client: &Client, url: &str, content: &[u8]) {
    let put = client
        .http
        .put(url)
        .header("x-ms-blob-type", "PageBlob")
        .header("x-ms-blob-content-length", content.len())
        .header("content-length", 0);
    assert_eq!(put.send().await.unwrap().status(), 201);
    for (at, piece) in content.chunks(4 << 20).enumerate() {
        let at = at * (4 << 20);
        let put = client
            .http
            .put(format!("{url}&comp=page"))
            .header("x-ms-page-write", "update")
            .header("x-ms-range", format!("bytes={at}-{}", at + piece.len() - 1))
            .body(piece.to_vec());
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
}

#[tokio::test]
async fn a_disk_is_made_of_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    made(&client, "rg", "web1").await;
    let key = keys(&client, "rg", "web1").await.remove(0);
    let base = format!("{}/web1/", emulator.blob_url());
    assert_eq!(make_container(&client, &base, "vhds", &key).await, 201);
    let image = dir.path().join("image");
    std::fs::File::create_new(&image)
        .unwrap()
        .set_len(common::SMALLEST)
        .unwrap();
    common::write_image(&image);
    let content = std::fs::read(&image).unwrap();
    let sas = account_sas("web1", &key);
    put_page_blob(&client, &format!("{base}vhds/a/d.vhd?{sas}"), &content).await;
    put_page_blob(&client, &format!("{base}vhds/zeros?{sas}"), &[0; 4096]).await;

    let import = |location: &str, uri: String| {
        json!({ "location": location, "properties": { "osType": "Linux", "creationData": {
            "createOption": "Import",
            "storageAccountId": client.id("rg", "Microsoft.Storage/storageAccounts", "web1"),
            "sourceUri": uri,
        }}})
    };
    // By its path here, or by its name in Azure: both lead to it.
    for (name, uri) in [
        ("d1", format!("{base}vhds/a/d.vhd")),
        (
            "d2",
            "https://web1.blob.core.windows.net/vhds/a/d.vhd".to_owned(),
        ),
    ] {
        let path = common::disk("rg", name);
        let begun = client
            .put(&path, common::DISKS, import("westus2", uri.clone()))
            .await;
        client.succeed(begun).await;
        let disk = client.get(&path, common::DISKS).await.body;
        assert_eq!(disk["properties"]["diskState"], "Unattached");
        assert_eq!(disk["properties"]["diskSizeBytes"], common::SMALLEST - 512);
        assert_eq!(disk["properties"]["creationData"]["sourceUri"], uri);
        assert!(std::fs::read(emulator.disk_file("rg", name)).unwrap() == content);
        let read = client.grant("rg", name, "Read").await;
        let got = client.http.get(read).send().await.unwrap();
        assert!(got.bytes().await.unwrap() == content);
    }
    let there = format!("{base}vhds/a/d.vhd");
    for (what, body, expected) in [
        (
            "region",
            import("eastus", there.clone()),
            (400, "BadRequest"),
        ),
        (
            "no blob",
            import("westus2", format!("{base}vhds/none")),
            (404, "NotFound"),
        ),
        (
            "elsewhere",
            import(
                "westus2",
                "https://example.com/web1/vhds/a/d.vhd".to_owned(),
            ),
            (404, "NotFound"),
        ),
        (
            "no footer",
            import("westus2", format!("{base}vhds/zeros")),
            (400, "InvalidVhd"),
        ),
        (
            "account",
            common::with(
                import("westus2", there),
                "/properties/creationData/storageAccountId",
                json!(client.id("rg", "Microsoft.Storage/storageAccounts", "web2")),
            ),
            (400, "InvalidParameter"),
        ),
    ] {
        let refused = client
            .put(&common::disk("rg", "bad"), common::DISKS, body)
            .await;
        assert_eq!(refused.error(), expected, "{what}: {}", refused.body);
    }
}
