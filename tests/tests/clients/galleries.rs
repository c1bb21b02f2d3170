//! Compute Galleries and snapshots through `az`.

use azure_nixos::ImageBuilder;
use azure_nixos::image::ImageSource;
use azure_nixos_tests::Local;
use azure_nixos_tests::content::assert_uploaded;
use serde_json::json;

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{MIB, raw};

/// From a disk that the library uploaded to versions of an image, and from those to disks again; the
/// content goes all the way.
#[tokio::test(flavor = "multi_thread")]
async fn versions_and_snapshots_carry_the_content() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let size = 27 * MIB;
    let file = raw(&local, "disk.raw", size, 17);
    ImageBuilder::new(&local.azure, "images", "web")
        .source(ImageSource::file(&file))
        .keep_disk(true)
        .await
        .unwrap();

    let gallery = az.ok("sig create -g images --gallery-name gallery").await;
    assert_eq!(gallery["provisioningState"], "Succeeded");
    let in_gallery = "-g images --gallery-name gallery --gallery-image-definition web";
    az.ok(&format!(
        "sig image-definition create {in_gallery} -p nixos -f web -s v2 --os-type Linux \
         --os-state Generalized --hyper-v-generation V2"
    ))
    .await;
    let version = az
        .ok(&format!(
            "sig image-version create {in_gallery} --gallery-image-version 1.0.0 --managed-image web \
             --target-regions westus2=1 eastus2=1=standard_lrs"
        ))
        .await;
    assert_eq!(version["provisioningState"], "Succeeded");
    let regions = &version["publishingProfile"]["targetRegions"];
    assert_eq!(regions[0]["name"], "West US 2");
    assert_eq!(regions[1]["name"], "East US 2");
    let replicated = az
        .ok(&format!(
            "sig image-version show {in_gallery} --gallery-image-version 1.0.0 --expand ReplicationStatus"
        ))
        .await;
    assert_eq!(
        replicated["replicationStatus"]["aggregatedState"],
        "Completed"
    );

    az.ok("snapshot create -g images -n snap --source web")
        .await;
    az.ok(&format!(
        "sig image-version create {in_gallery} --gallery-image-version 1.0.1 --os-snapshot snap"
    ))
    .await;
    let versions = az
        .ok(&format!(
            "sig image-version list {in_gallery} --query [].name"
        ))
        .await;
    assert_eq!(versions, json!(["1.0.0", "1.0.1"]));

    let gallery_path = format!(
        "/subscriptions/{}/resourceGroups/images/providers/Microsoft.Compute/galleries/gallery",
        local.emulator.subscription_id()
    );
    for (name, source) in [
        (
            "of-first",
            format!("--gallery-image-reference {gallery_path}/images/web/versions/1.0.0"),
        ),
        (
            "of-second",
            format!("--gallery-image-reference {gallery_path}/images/web/versions/1.0.1"),
        ),
        ("of-snapshot", "--source snap".to_owned()),
        ("of-disk", "--source web".to_owned()),
    ] {
        az.ok(&format!("disk create -g images -n {name} {source}"))
            .await;
        assert_uploaded(&file, size, &local.emulator.disk_file("images", name));
    }

    // What has something inside stays.
    for command in [
        format!("sig image-definition delete {in_gallery}"),
        "sig delete -g images --gallery-name gallery".to_owned(),
    ] {
        let (status, said) = az.refused(&command).await;
        assert_eq!(status, 1, "{said}");
        assert!(said.contains("nested resources"), "{said}");
    }
    for version in ["1.0.0", "1.0.1"] {
        az.ok(&format!(
            "sig image-version delete {in_gallery} --gallery-image-version {version}"
        ))
        .await;
    }
    az.ok(&format!("sig image-definition delete {in_gallery}"))
        .await;
    az.ok("sig delete -g images --gallery-name gallery").await;
    assert_eq!(az.ok("sig list -g images").await, json!([]));
    az.ok("snapshot delete -g images -n snap").await;
    assert_eq!(az.ok("snapshot list -g images").await, json!([]));
    assert_by_the_documents(&local, &[]);
}
