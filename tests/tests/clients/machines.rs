//! Virtual machines through `az`.

use azure_nixos::VmBuilder;
use azure_nixos::vm::SshKey;
use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::openapi::{Deviation, Rule, Side};
use azure_nixos_tests::{Local, within};
use serde_json::{Value, json};

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{KEY, MIB, image, key_file};

/// The life of a machine that the library made.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_library_booted_az_stops_and_starts() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, _) = image(&local, "images", "web").await;
    within(60, "the machine", async {
        VmBuilder::new(&local.azure, "machines", "web-1", &image)
            .admin_username("nixos")
            .ssh_key(SshKey::text(KEY))
            .await
    })
    .await
    .unwrap();
    let vm = "-g machines -n web-1";
    let power = async || {
        let view = az.ok(&format!("vm get-instance-view {vm}")).await;
        let statuses = view["instanceView"]["statuses"].as_array().unwrap().clone();
        let power = statuses
            .iter()
            .filter_map(|status| status["code"].as_str())
            .find_map(|code| code.strip_prefix("PowerState/"))
            .map(ToOwned::to_owned);
        power.unwrap_or_else(|| panic!("{statuses:?}"))
    };
    let disk = "disk list -g machines --query [0].diskState";

    let listed = az.ok("vm list -d").await;
    assert_eq!(listed[0]["name"], "web-1");
    assert_eq!(listed[0]["powerState"], "VM running");
    assert_eq!(az.ok(disk).await, "Attached");
    az.ok(&format!("vm stop {vm}")).await;
    assert_eq!(power().await, "stopped");
    az.ok(&format!("vm deallocate {vm}")).await;
    assert_eq!(power().await, "deallocated");
    assert_eq!(az.ok(disk).await, "Reserved");
    let resized = az
        .ok(&format!("vm resize {vm} --size Standard_D4s_v3"))
        .await;
    assert_eq!(resized["hardwareProfile"]["vmSize"], "Standard_D4s_v3");
    az.ok(&format!("vm start {vm}")).await;
    assert_eq!(power().await, "running");
    az.ok(&format!("vm restart {vm}")).await;
    assert_eq!(power().await, "running");
    let tagged = az
        .ok(&format!(
            "vm update {vm} --set tags.owner=me --query tags.owner"
        ))
        .await;
    assert_eq!(tagged, "me");
    az.ok("disk create -g machines -n data --size-gb 8").await;
    az.ok("vm disk attach -g machines --vm-name web-1 --name data")
        .await;
    let data = "disk show -g machines -n data --query diskState";
    assert_eq!(az.ok(data).await, "Attached");
    az.ok("vm disk detach -g machines --vm-name web-1 --name data")
        .await;
    assert_eq!(az.ok(data).await, "Unattached");
    let opened = az
        .ok("vm open-port -g machines -n web-1 --port 80 --query securityRules[].destinationPortRange")
        .await;
    assert!(
        opened.as_array().unwrap().contains(&json!("80")),
        "{opened}"
    );

    // What a machine uses stays.
    let name = az
        .ok(&format!("vm show {vm} --query storageProfile.osDisk.name"))
        .await;
    let name = name.as_str().unwrap();
    let (_, said) = az
        .refused(&format!("disk delete -g machines -n {name} --yes"))
        .await;
    assert!(said.contains("(OperationNotAllowed)"), "{said}");
    let nic = az.ok("network nic list -g machines --query [0].name").await;
    let nic = nic.as_str().unwrap();
    let (_, said) = az
        .refused(&format!("network nic delete -g machines -n {nic}"))
        .await;
    assert!(said.contains("(NicInUse)"), "{said}");

    az.ok(&format!("vm delete {vm} --yes")).await;
    let (status, said) = az.refused(&format!("vm show {vm}")).await;
    assert_eq!(status, 3, "{said}");
    assert_eq!(az.ok("vm list").await, json!([]));
    assert_by_the_documents(&local, &[]);
}

/// `az` puts back what it read, with the size that it takes by itself.
const NEWER_SIZE: Deviation = Deviation {
    operation: "VirtualMachines_CreateOrUpdate",
    side: Side::Request,
    rule: Rule::Enumeration,
    at: "properties.hardwareProfile.vmSize",
    why: "the list of sizes is an open one and years behind",
};

/// A machine becomes an image, and its disk is read, as templates are made by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_becomes_an_image() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, file) = image(&local, "images", "web").await;
    let key = key_file(&local);
    az.ok("group create -n machines -l westus2").await;
    let vm = "-g machines -n web-1";
    az.ok(&format!(
        "vm create {vm} --image {} --admin-username nixos --ssh-key-values {} \
         --public-ip-address \"\" --nsg \"\"",
        image.id,
        key.display()
    ))
    .await;
    let (_, said) = az
        .refused(&format!("vm boot-diagnostics get-boot-log {vm}"))
        .await;
    assert!(said.contains("enable boot diagnostics"), "{said}");
    az.ok(&format!("vm boot-diagnostics enable {vm}")).await;
    // The machine is a record and prints nothing, so that there is no log, as on Azure at first.
    let log = az
        .ok(&format!("vm boot-diagnostics get-boot-log {vm}"))
        .await;
    assert!(log.as_str().unwrap().contains("BlobNotFound"), "{log}");

    az.ok(&format!("vm deallocate {vm}")).await;
    az.ok(&format!("vm generalize {vm}")).await;
    let (_, said) = az.refused(&format!("vm start {vm}")).await;
    assert!(said.contains("generalized"), "{said}");
    let create = "image create -g machines -n template --source web-1";
    // Without the generation az says V1.
    let (_, said) = az.refused(create).await;
    assert!(said.contains("hyperVGeneration"), "{said}");
    az.ok(&format!("{create} --hyper-v-generation V2")).await;
    assert_uploaded(
        &file,
        24 * MIB,
        &local.emulator.image_file("machines", "template"),
    );
    az.ok(&format!("vm delete {vm} --yes")).await;
    assert_by_the_documents(&local, &[NEWER_SIZE]);
}

/// Machines of what the library uploaded: of the image, of a version of it in a gallery, of the
/// newest of those, and of a disk itself.
#[tokio::test(flavor = "multi_thread")]
async fn az_boots_what_the_library_uploaded() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, file) = image(&local, "images", "web").await;
    let key = key_file(&local);
    az.ok("group create -n machines -l westus2").await;
    az.ok("sig create -g images --gallery-name gallery").await;
    let definition = az
        .ok("sig image-definition create -g images --gallery-name gallery --gallery-image-definition web \
             -p nixos -f web -s v2 --os-type Linux --os-state Generalized --hyper-v-generation V2")
        .await;
    let definition = definition["id"].as_str().unwrap();
    az.ok(
        "sig image-version create -g images --gallery-name gallery --gallery-image-definition web \
           --gallery-image-version 1.0.0 --managed-image web",
    )
    .await;

    let login = format!("--admin-username nixos --ssh-key-values {}", key.display());
    let create = async |name: &str, source: &str| {
        let made = az
            .ok(&format!("vm create -g machines -n {name} {source}"))
            .await;
        assert_eq!(made["powerState"], "VM running", "{made}");
        let disk = az
            .ok(&format!(
                "vm show -g machines -n {name} --query storageProfile.osDisk.name"
            ))
            .await;
        (made, disk.as_str().unwrap().to_owned())
    };
    let version = format!("{definition}/versions/1.0.0");
    let mut addresses: Vec<Value> = Vec::new();
    for (name, image) in [
        ("of-image", image.id.as_str()),
        ("of-version", &version),
        ("of-newest", definition),
    ] {
        let (made, _) = create(name, &format!("--image {image} {login}")).await;
        assert!(made["publicIpAddress"].is_string(), "{made}");
        addresses.push(made["publicIpAddress"].clone());
    }
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "{addresses:?}");

    // A disk is booted as it is: no user is made, no key is put there.
    az.ok(&format!(
        "disk create -g machines -n own --gallery-image-reference {version}"
    ))
    .await;
    let (_, disk) = create("of-disk", "--attach-os-disk own --os-type Linux").await;
    assert_eq!(disk, "own");
    assert_uploaded(
        &file,
        24 * MIB,
        &local.emulator.disk_file("machines", "own"),
    );

    az.ok("group delete -n machines --yes").await;
    assert_eq!(az.ok("vm list").await, json!([]));
    assert_eq!(az.ok("group exists -n machines").await, false);
    assert_by_the_documents(&local, &[]);
}
