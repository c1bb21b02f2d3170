//! Uploads to a page blob in a storage account.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::azure::Azure;
use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::place::Place;

/// The URL of a blob in a new account with one container, with every right of the account.
async fn blob(azure: &Azure, name: &str) -> String {
    let group = "/resourcegroups/g?api-version=2022-09-01";
    azure
        .arm("PUT", group, Some(json!({ "location": "westus2" })))
        .await;
    let account = "/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/images";
    let body = json!({
        "location": "westus2",
        "kind": "StorageV2",
        "sku": { "name": "Standard_LRS" },
    });
    azure
        .arm(
            "PUT",
            &format!("{account}?api-version=2023-01-01"),
            Some(body),
        )
        .await;
    let path = format!("{account}/listKeys?api-version=2023-01-01");
    let keys = azure.arm("POST", &path, None).await;
    let key = STANDARD
        .decode(keys["keys"][0]["value"].as_str().unwrap())
        .unwrap();

    let (version, end) = ("2021-12-02", "2999-01-01T00:00:00Z");
    let signed = format!("images\nrwdlac\nb\nsco\n\n{end}\n\n\n{version}\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(signed.as_bytes());
    let signature = STANDARD
        .encode(mac.finalize().into_bytes())
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let sas = format!("sv={version}&ss=b&srt=sco&sp=rwdlac&se={end}&sig={signature}");
    let container = format!("{}/images/disks", azure.emulator.blob_url());
    let made = azure
        .http
        .put(format!("{container}?restype=container&{sas}"))
        .header("content-length", 0)
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    format!("{container}/{name}?{sas}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_blob_is_made_when_that_is_asked_for() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 96, 2);
    let azure = Azure::start(&place).await;
    let url = blob(&azure, "web.vhd").await;

    // A managed disk is never made by its URL, and what was not asked for is not made.
    let done = azure.run(&place, &["upload-vhd", "disk.raw", "--sas", &url]);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(done.stderr.contains("--page-blob"), "{done:#?}");

    let arguments = ["upload-vhd", "disk.raw", "--page-blob", "--sas", &url];
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert!(!done.stderr.contains("revoke-access"), "{done:#?}");
    assert_same(&azure, &place, &url).await;

    // What is there and is not wanted any more is cleared.
    std::fs::remove_file(place.path("disk.raw")).unwrap();
    disks::make(&place.path("disk.raw"), Table::Esp, 96, 5);
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_same(&azure, &place, &url).await;
}

/// Reads the blob and compares it with the disk image.
async fn assert_same(azure: &Azure, place: &Place, url: &str) {
    let answer = azure.http.get(url).send().await.unwrap();
    let file = place.write("blob.vhd", answer.bytes().await.unwrap());
    assert_holds(&file, &place.path("disk.raw"));
}
