//! Disks and images through `az`.

use azure_nixos::SasUrl;
use azure_nixos::disk::DiskImage;
use azure_nixos::vm::{ImageReference, SshKey};
use azure_nixos::{VhdUploader, VmBuilder};
use azure_nixos_tests::content::{assert_uploaded, vhd_length};
use azure_nixos_tests::{Local, within};
use serde_json::{Value, json};

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{KEY, MIB, raw};

/// `az` makes the disk, the library fills it, `az` makes an image of it, the library boots from that.
#[tokio::test(flavor = "multi_thread")]
async fn what_az_made_the_library_fills_and_boots() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let size = 31 * MIB + 512;
    let file = raw(&local, "disk.raw", size, 3);
    let length = vhd_length(size);
    let group = az.ok("group create -n images -l westus2").await;
    assert_eq!(group["properties"]["provisioningState"], "Succeeded");
    let disk = az
        .ok(&format!(
            "disk create -g images -n web --upload-type Upload --upload-size-bytes {length} \
             --os-type Linux --hyper-v-generation V2 --sku StandardSSD_LRS --tags made-by=az"
        ))
        .await;
    assert_eq!(disk["diskState"], "ReadyToUpload");
    assert_eq!(disk["creationData"]["uploadSizeBytes"], length);
    assert_eq!(disk["tags"], json!({"made-by": "az"}));

    let access = az
        .ok("disk grant-access -g images -n web --access-level Write --duration-in-seconds 3600")
        .await;
    let state = az.ok("disk show -g images -n web").await["diskState"].clone();
    assert_eq!(state, "ActiveUpload");
    let sas: SasUrl = access["accessSAS"].as_str().unwrap().parse().unwrap();
    let report = within(60, "the upload", async {
        VhdUploader::new(DiskImage::open(&file).unwrap(), sas).await
    })
    .await
    .unwrap();
    assert_eq!(report.bytes_logical, length);
    az.ok("disk revoke-access -g images -n web").await;
    let disk = az.ok("disk show -g images -n web").await;
    assert_eq!(disk["diskState"], "Unattached");
    assert_eq!(disk["diskSizeGB"], 1);
    assert_eq!(disk["sku"]["name"], "StandardSSD_LRS");
    assert_uploaded(&file, size, &local.emulator.disk_file("images", "web"));

    let image = az
        .ok("image create -g images -n web --source web --os-type Linux --hyper-v-generation V2")
        .await;
    assert_eq!(image["hyperVGeneration"], "V2");
    assert_eq!(image["storageProfile"]["osDisk"]["osState"], "Generalized");
    assert_uploaded(&file, size, &local.emulator.image_file("images", "web"));
    az.ok("disk delete -g images -n web --yes").await;
    let listed = az.ok("disk list -g images").await;
    assert_eq!(listed, json!([]));

    let image = ImageReference::parse(image["id"].as_str().unwrap()).unwrap();
    let machine = within(60, "the machine", async {
        VmBuilder::new(&local.azure, "images", "web-1", image)
            .admin_username("nixos")
            .ssh_key(SshKey::text(KEY))
            .await
    })
    .await
    .unwrap();
    let shown = az.ok("vm show -g images -n web-1 -d").await;
    assert_eq!(shown["powerState"], "VM running");
    assert_eq!(
        shown["publicIps"].as_str(),
        machine.public_ip.map(|ip| ip.to_string()).as_deref()
    );
    assert_eq!(shown["osProfile"]["adminUsername"], "nixos");
    assert_by_the_documents(&local, &[]);
}

/// What `az` says where Azure refuses.
#[tokio::test(flavor = "multi_thread")]
async fn az_says_why_a_disk_is_refused() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let create = "disk create -n web --upload-type Upload --os-type Linux --hyper-v-generation V2";
    let length = vhd_length(20 * MIB);

    let (status, said) = az
        .refused(&format!("{create} -g none --upload-size-bytes {length}"))
        .await;
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("(ResourceGroupNotFound)"), "{said}");
    assert!(said.contains("'none' could not be found."), "{said}");

    az.ok("group create -n images -l westus2").await;
    let odd = length + 1024;
    let (status, said) = az
        .refused(&format!("{create} -g images --upload-size-bytes {odd}"))
        .await;
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("(BadRequest)"), "{said}");
    assert!(said.contains("must be a multiple of MiB"), "{said}");

    let (status, said) = az.refused("disk show -g images -n web").await;
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("(ResourceNotFound)"), "{said}");

    az.ok(&format!("{create} -g images --upload-size-bytes {length}"))
        .await;
    let grant = "disk grant-access -g images -n web --duration-in-seconds 3600 --access-level";
    let (_, said) = az.refused(&format!("{grant} Read")).await;
    assert!(said.contains("ReadyToUpload"), "{said}");
    az.ok(&format!("{grant} Write")).await;
    // A disk that somebody may write to stays.
    let (_, said) = az.refused("disk delete -g images -n web --yes").await;
    assert!(said.contains("active shared access signature"), "{said}");
    // Nothing was written, so there is no footer.
    let (_, said) = az.refused("disk revoke-access -g images -n web").await;
    assert!(said.contains("InvalidVhd"), "{said}");
    let (_, said) = az
        .refused(
            "image create -g images -n web --source web --os-type Linux --hyper-v-generation V2",
        )
        .await;
    assert!(said.contains("web"), "{said}");
    assert_eq!(az.ok("image list -g images").await, json!([]));
    let disk = az.ok("disk show -g images -n web").await;
    assert_ne!(disk["diskState"], Value::from("Unattached"));
    assert_by_the_documents(&local, &[]);
}
