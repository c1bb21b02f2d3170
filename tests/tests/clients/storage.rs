//! Storage accounts: `az` makes them, AzCopy fills them, and what is in a disk goes to a blob and back.

use azure_nixos_tests::Local;
use azure_nixos_tests::content::{assert_uploaded, vhd_length};

use crate::az::Az;
use crate::azcopy::AzCopy;
use crate::made::{MIB, raw, text, vhd};

#[tokio::test(flavor = "multi_thread")]
async fn azcopy_moves_a_disk_through_a_storage_account() {
    let local = Local::start_at_azures_names().await;
    let (Some(az), Some(azcopy)) = (Az::log_in(&local).await, AzCopy::new(&local)) else {
        return;
    };
    let size = 26 * MIB;
    let source = raw(&local, "disk.raw", size, 19);
    let file = vhd(&source, size);
    az.ok("group create -n storage -l westus2").await;
    let account = az
        .ok("storage account create -g storage -n blobs --sku Standard_LRS")
        .await;
    let endpoint = account["primaryEndpoints"]["blob"].as_str().unwrap();
    let connection = az
        .ok("storage account show-connection-string -g storage -n blobs")
        .await;
    let connection = connection["connectionString"].as_str().unwrap();
    az.ok(&format!(
        "storage container create -n vhds --connection-string {connection}"
    ))
    .await;
    let sas = az
        .ok(&format!(
            "storage container generate-sas -n vhds --permissions rcwdl --expiry 2099-01-01 \
             --connection-string {connection}"
        ))
        .await;
    let sas = sas.as_str().unwrap();
    let blob = |name: &str| format!("{endpoint}vhds/{name}?{sas}");

    azcopy
        .copy(
            text(&file),
            &blob("web.vhd"),
            &["--blob-type", "PageBlob", "--from-to", "LocalBlob"],
        )
        .await;
    // Within the service, page by page from the other blob's URL.
    azcopy
        .copy(
            &blob("web.vhd"),
            &blob("copy.vhd"),
            &["--blob-type", "PageBlob", "--from-to", "BlobBlob"],
        )
        .await;
    let back = local.place().join("back.vhd");
    azcopy
        .copy(&blob("copy.vhd"), text(&back), &["--from-to", "BlobLocal"])
        .await;
    assert_uploaded(&source, size, &back);

    // A disk's content, straight from the account to the disk's own access.
    az.ok(&format!(
        "disk create -g storage -n web --upload-type Upload --upload-size-bytes {} \
         --os-type Linux --hyper-v-generation V2",
        vhd_length(size)
    ))
    .await;
    let write = az
        .ok("disk grant-access -g storage -n web --access-level Write --duration-in-seconds 3600")
        .await;
    azcopy
        .copy(
            &blob("web.vhd"),
            write["accessSAS"].as_str().unwrap(),
            &["--blob-type", "PageBlob", "--from-to", "BlobBlob"],
        )
        .await;
    az.ok("disk revoke-access -g storage -n web").await;
    assert_uploaded(&source, size, &local.emulator.disk_file("storage", "web"));

    let listed = az
        .ok(&format!(
            "storage blob list -c vhds --query [].name --connection-string {connection}"
        ))
        .await;
    assert_eq!(listed, serde_json::json!(["copy.vhd", "web.vhd"]));
    az.ok("storage account delete -g storage -n blobs --yes")
        .await;
}
