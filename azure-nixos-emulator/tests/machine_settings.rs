//! What a machine may be: its size, disks, interfaces, zone, priority, security and user, each refused with
//! Azure's code and words where they do not fit.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be set up is a test that fails"
)]

mod common;

use azure_nixos_emulator::{Assumption, Emulator};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{
    Answer, COMPUTE, Client, DISKS, NETWORK, builder, disk, prepared, resource, vm, with,
};
use serde_json::{Value, json};

const SIZE: &str = "/properties/hardwareProfile/vmSize";

fn sized(client: &Client, size: &str) -> Value {
    with(client.vm("rg", "web", "nixos"), SIZE, json!(size))
}

async fn put(client: &Client, body: Value) -> Answer {
    client.put(&vm("rg", "web"), COMPUTE, body).await
}

/// Puts the machine, which has to be refused with this status, code and words; nothing is made of it.
async fn refused(client: &Client, body: Value, status: u16, code: &str, words: &str) -> Value {
    let answer = put(client, body).await;
    assert_eq!(answer.error(), (status, code), "{}", answer.body);
    let error = answer.body["error"].clone();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
    assert_eq!(client.get(&vm("rg", "web"), COMPUTE).await.status, 404);
    error
}

/// Makes the machine and deletes it, with its OS disk.
async fn accepted(client: &Client, body: Value) -> Value {
    let body = with(
        body,
        "/properties/storageProfile/osDisk/deleteOption",
        json!("Delete"),
    );
    let made = put(client, body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    let shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
    gone(client).await;
    shown
}

async fn gone(client: &Client) {
    let begun = client.delete(&vm("rg", "web"), COMPUTE).await;
    client.succeed(begun).await;
}

async fn act(client: &Client, action: &str) {
    let path = format!("{}/{action}", vm("rg", "web"));
    let begun = client.post(&path, COMPUTE, None).await;
    client.succeed(begun).await;
}

async fn patch(client: &Client, properties: Value) -> Answer {
    let body = json!({ "properties": properties });
    client
        .call("PATCH", &vm("rg", "web"), COMPUTE, Some(body))
        .await
}

async fn power_of(client: &Client) -> Value {
    let path = format!("{}/instanceView", vm("rg", "web"));
    let view = client.get(&path, COMPUTE).await.body;
    let all = view["statuses"].as_array().unwrap();
    all.last().unwrap()["code"].clone()
}

/// A gallery image of the disk `os`, with these features.
async fn gallery_image(
    client: &Client,
    name: &str,
    architecture: &str,
    features: &[(&str, &str)],
) -> String {
    let at = |kind: &str, name: &str| resource("rg", &format!("Microsoft.Compute/{kind}"), name);
    let gallery = at("galleries", "gallery");
    const GALLERY: &str = "2023-07-03";
    let made = client
        .put(&gallery, GALLERY, json!({ "location": "westus2" }))
        .await;
    client.follow(&made).await;
    let features: Vec<Value> = features
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let definition = format!("{gallery}/images/{name}");
    let body = json!({ "location": "westus2", "properties": {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
        "architecture": architecture, "features": features,
        "identifier": { "publisher": "p", "offer": "o", "sku": name },
    }});
    let made = client.put(&definition, GALLERY, body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.follow(&made).await;
    let version = format!("{definition}/versions/1.0.0");
    let body = json!({ "location": "westus2", "properties": {
        "publishingProfile": { "targetRegions": [{ "name": "westus2" }] },
        "storageProfile": { "osDiskImage": { "source": {
            "id": client.id("rg", "Microsoft.Compute/disks", "os"),
        }}},
    }});
    let made = client.put(&version, GALLERY, body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    format!("/subscriptions/{}{version}", client.subscription)
}

const IMAGE: &str = "/properties/storageProfile/imageReference/id";
const SECURITY: &str = "/properties/securityProfile";

#[tokio::test]
async fn a_size_is_where_it_is_and_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(
        builder(dir.path())
            .restrict_size("standard_f2s_v2")
            .restrict_size_in_zones("Standard_D2s_v3", ["1", "3"])
            .restrict_size_in_zones("Standard_D4s_v3", [""; 0]),
    )
    .await;
    for size in ["Standard_None", "Standard_F2s_v2"] {
        let words = format!(
            "Following SKUs have failed for Capacity Restrictions: {size}' is currently not available in location 'westus2'."
        );
        refused(
            &client,
            sized(&client, size),
            409,
            "SkuNotAvailable",
            &words,
        )
        .await;
    }
    // The interface's address is in no zone; without it the zone is the machine's own business.
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "web");
    let mut body = client.nic("rg", "web");
    body["properties"]["ipConfigurations"][0]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("publicIPAddress");
    let made = client.put(&nic, NETWORK, body).await;
    client.succeed(made).await;
    let zoned = |size: &str, zone: &str| with(sized(&client, size), "/zones", json!([zone]));
    let words = format!(
        "The requested size for resource '{}' is currently not available in location 'westus2' zones '3' for subscription '{}'.",
        client.id("rg", "Microsoft.Compute/virtualMachines", "web"),
        client.subscription
    );
    refused(
        &client,
        zoned("Standard_D2s_v3", "3"),
        409,
        "SkuNotAvailable",
        &words,
    )
    .await;
    let words = "The zone(s) '1' for resource 'Microsoft.Compute/virtualMachines/web' is not supported. The supported zones for location 'westus2' are '2'";
    let body = zoned("Standard_NV6ads_A10_v5", "1");
    refused(&client, body, 400, "AvailabilityZoneNotSupported", words).await;
    let words = "The supported zones for location 'westus2' are '1,2,3'";
    refused(
        &client,
        zoned("Standard_D2s_v5", "4"),
        400,
        "InvalidAvailabilityZone",
        words,
    )
    .await;
    let two = with(
        sized(&client, "Standard_D2s_v5"),
        "/zones",
        json!(["1", "2"]),
    );
    refused(&client, two, 400, "InvalidParameter", "in one zone only").await;

    let shown = accepted(&client, zoned("standard_d2s_v3", "2")).await;
    assert_eq!(shown["zones"], json!(["2"]));
    accepted(&client, sized(&client, "Standard_D2s_v3")).await;
    accepted(&client, sized(&client, "Standard_D4s_v3")).await;

    // What is refused is listed before.
    let url = "/providers/Microsoft.Compute/skus?$filter=location%20eq%20'westus2'";
    let skus = client.get(url, "2021-07-01").await.body;
    let find = |name: &str| -> Value {
        let all = skus["value"].as_array().unwrap();
        all.iter().find(|sku| sku["name"] == name).unwrap().clone()
    };
    assert_eq!(
        find("Standard_D2s_v3")["restrictions"],
        json!([{
            "type": "Zone", "values": ["westus2"], "reasonCode": "NotAvailableForSubscription",
            "restrictionInfo": { "locations": ["westus2"], "zones": ["1", "3"] },
        }])
    );
    assert_eq!(find("Standard_D4s_v3")["restrictions"], json!([]));
    assert_eq!(
        find("Standard_NV6ads_A10_v5")["locationInfo"][0]["zones"],
        json!(["2"])
    );
    emulator.stop().await;
}

#[tokio::test]
async fn a_location_without_zones_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let path = resource("rg", "Microsoft.Network/publicIPAddresses", "zoned");
    let body = |location: &str, sku: &str| {
        json!({ "location": location, "zones": ["1"], "sku": { "name": sku },
            "properties": { "publicIPAllocationMethod": "Static" } })
    };
    let answer = client.put(&path, NETWORK, body("westus", "Standard")).await;
    assert_eq!(answer.error(), (400, "InvalidAvailabilityZone"));
    let answer = client.put(&path, NETWORK, body("westus2", "Basic")).await;
    assert_eq!(answer.error(), (400, "ZonesNotAllowedInBasicSkuResource"));
    let made = client
        .put(&path, NETWORK, body("westus2", "Standard"))
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    let moved = with(body("westus2", "Standard"), "/zones", json!(["2"]));
    let answer = client.put(&path, NETWORK, moved).await;
    assert_eq!(
        answer.error(),
        (400, "ResourceAvailabilityZonesCannotBeModified")
    );
    emulator.stop().await;
}

#[tokio::test]
async fn what_belongs_together_is_in_one_zone() {
    for regional_fits in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (emulator, client) = prepared(match regional_fits {
            true => builder(dir.path()).assume(Assumption::RegionalAddressFitsZone),
            false => builder(dir.path()),
        })
        .await;
        let zoned = |zone: &str| with(sized(&client, "Standard_D2s_v5"), "/zones", json!([zone]));
        let code = "ComputeResourceZoneConstraintDoesNotMatchPublicIPAddressZoneConstraint";
        if regional_fits {
            accepted(&client, zoned("1")).await;
        } else {
            let words = "has a zone constraint 1 but the PublicIPAddress";
            let error = refused(&client, zoned("1"), 400, code, words).await;
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .ends_with("has a different zone constraint Regional.")
            );
            assert_eq!(error["details"], json!([]));
        }
        // An address of another zone is refused in any case, and one of the same is good.
        let address = resource("rg", "Microsoft.Network/publicIPAddresses", "one");
        let body = json!({ "location": "westus2", "zones": ["1"], "sku": { "name": "Standard" },
            "properties": { "publicIPAllocationMethod": "Static" } });
        let made = client.put(&address, NETWORK, body).await;
        client.succeed(made).await;
        let nic = resource("rg", "Microsoft.Network/networkInterfaces", "web");
        let mut body = client.nic("rg", "web");
        body["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"]["id"] =
            json!(client.id("rg", "Microsoft.Network/publicIPAddresses", "one"));
        let made = client.put(&nic, NETWORK, body.clone()).await;
        client.succeed(made).await;
        refused(
            &client,
            zoned("2"),
            400,
            code,
            "has a different zone constraint 1.",
        )
        .await;

        let made = put(&client, zoned("1")).await;
        assert_eq!(made.status, 201, "{}", made.body);
        client.succeed(made).await;
        // The disks that come with the machine are where it is, and only such can be attached.
        let shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
        let os_disk = shown["properties"]["storageProfile"]["osDisk"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            client.get(&disk("rg", &os_disk), DISKS).await.body["zones"],
            json!(["1"])
        );
        for (name, zones, sku, words) in [
            ("none", json!([]), "Standard_LRS", "it is not in zone '1'."),
            (
                "other",
                json!(["2"]),
                "Standard_LRS",
                "VM zone: '1'. Disk zone: '2'.",
            ),
            ("spread", json!([]), "StandardSSD_ZRS", ""),
            ("same", json!(["1"]), "Standard_LRS", ""),
        ] {
            let mut body = json!({ "location": "westus2", "sku": { "name": sku }, "properties": {
                "creationData": { "createOption": "Empty" }, "diskSizeGB": 1 } });
            if zones != json!([]) {
                body["zones"] = zones;
            }
            let made = client.put(&disk("rg", name), DISKS, body).await;
            client.succeed(made).await;
            let id = client.id("rg", "Microsoft.Compute/disks", name);
            let wanted = json!({ "storageProfile": { "dataDisks": [
                { "lun": 0, "createOption": "Attach", "managedDisk": { "id": id } } ] } });
            let answer = patch(&client, wanted).await;
            if words.is_empty() {
                assert_eq!(answer.status, 200, "{name}: {}", answer.body);
                client.succeed(answer).await;
            } else {
                assert_eq!(answer.error(), (400, "BadRequest"), "{name}");
                let message = answer.body["error"]["message"].as_str().unwrap();
                assert!(message.ends_with(words), "{message}");
            }
        }
        // The address of an interface that a machine has is held to the same.
        let regional = client.nic("rg", "web");
        let answer = client.put(&nic, NETWORK, regional).await;
        if regional_fits {
            assert_eq!(answer.status, 200, "{}", answer.body);
        } else {
            assert_eq!(answer.error(), (400, code));
        }
        let moved = client
            .call(
                "PATCH",
                &vm("rg", "web"),
                COMPUTE,
                Some(json!({ "zones": ["2"] })),
            )
            .await;
        assert_eq!(moved.error(), (409, "PropertyChangeNotAllowed"));
        gone(&client).await;
        // A machine that is in no zone has no disk of one.
        let made = client.nic("rg", "web");
        let made = client.put(&nic, NETWORK, made).await;
        assert_eq!(made.status, 200, "{}", made.body);
        client.succeed(made).await;
        let mut regional = sized(&client, "Standard_D2s_v5");
        regional["properties"]["storageProfile"]["dataDisks"] = json!([{ "lun": 0, "createOption": "Attach",
            "managedDisk": { "id": client.id("rg", "Microsoft.Compute/disks", "same") } }]);
        refused(
            &client,
            regional,
            400,
            "BadRequest",
            "it is in zone '1' and the VM is not in a zone.",
        )
        .await;
        emulator.stop().await;
    }
}

#[tokio::test]
async fn a_size_has_to_boot_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let nvme = gallery_image(
        &client,
        "nvme",
        "x64",
        &[("DiskControllerTypes", "SCSI, NVMe")],
    )
    .await;
    let arm = gallery_image(&client, "arm", "Arm64", &[]).await;
    let controller = "/properties/storageProfile/diskControllerType";
    refused(
        &client,
        sized(&client, "Standard_D2_v2"),
        400,
        "BadRequest",
        "The selected VM size 'Standard_D2_v2' cannot boot Hypervisor Generation '2'.",
    )
    .await;
    refused(
        &client,
        sized(&client, "Standard_D2ps_v5"),
        400,
        "BadRequest",
        "Cannot create a VM of size 'Standard_D2ps_v5' because this VM size only supports a CPU Architecture of 'Arm64', but an image or disk with CPU Architecture 'x64' was given.",
    )
    .await;
    let error = refused(
        &client,
        sized(&client, "Standard_D2s_v6"),
        400,
        "InvalidParameter",
        "The VM size 'Standard_D2s_v6' cannot boot with OS image or disk.",
    )
    .await;
    assert_eq!(error["target"], "vmSize");
    let of_nvme = |size: &str| with(sized(&client, size), IMAGE, json!(nvme));
    let error = refused(
        &client,
        with(of_nvme("Standard_D2s_v5"), controller, json!("NVMe")),
        400,
        "InvalidParameter",
        "The VM size 'Standard_D2s_v5' cannot boot with DiskControllerType 'NVMe'.",
    )
    .await;
    assert_eq!(error["target"], "storageProfile.diskControllerType");
    refused(
        &client,
        with(
            sized(&client, "Standard_E2bds_v5"),
            controller,
            json!("NVMe"),
        ),
        400,
        "InvalidParameter",
        "cannot boot with OS image or disk",
    )
    .await;
    accepted(&client, of_nvme("Standard_D2s_v6")).await;
    accepted(
        &client,
        with(of_nvme("Standard_E2bds_v5"), controller, json!("NVMe")),
    )
    .await;
    accepted(
        &client,
        with(sized(&client, "Standard_D2ps_v5"), IMAGE, json!(arm)),
    )
    .await;
    emulator.stop().await;
}

#[tokio::test]
async fn security_is_the_images_and_the_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let trusted = gallery_image(
        &client,
        "trusted",
        "x64",
        &[("SecurityType", "TrustedLaunchSupported")],
    )
    .await;
    let unmarked = gallery_image(&client, "unmarked", "x64", &[]).await;
    let launch = json!({ "securityType": "TrustedLaunch",
        "uefiSettings": { "secureBootEnabled": false, "vTpmEnabled": true } });
    let of = |image: &str, size: &str| with(sized(&client, size), IMAGE, json!(image));
    let secure = |body: Value| with(body, SECURITY, launch.clone());
    for (body, words) in [
        (
            secure(sized(&client, "Standard_D2s_v5")),
            "Managed Images are not supported for virtual machines with security type TrustedLaunch.",
        ),
        (
            secure(of(&unmarked, "Standard_D2s_v5")),
            "does not support creation of VMs and VM Scale Sets with 'TrustedLaunch' security type",
        ),
        (
            with(
                of(&trusted, "Standard_D2s_v5"),
                SECURITY,
                json!({ "uefiSettings": { "vTpmEnabled": true } }),
            ),
            "Use of UEFI settings is not supported",
        ),
        (
            of(&trusted, "Standard_DC2as_v5"),
            "The VM size 'Standard_DC2as_v5' is not supported for creation of VMs and Virtual Machine Scale Set with '<NULL>' security type.",
        ),
        (
            with(
                of(&unmarked, "Standard_DC2as_v5"),
                SECURITY,
                json!({ "securityType": "Standard" }),
            ),
            "with 'Standard' security type.",
        ),
    ] {
        refused(&client, body, 400, "BadRequest", words).await;
    }
    let shown = accepted(&client, secure(of(&trusted, "Standard_D2s_v5"))).await;
    assert_eq!(shown["properties"]["securityProfile"], launch);
    accepted(&client, of(&trusted, "Standard_D2s_v5")).await;

    // A disk keeps what its machine was, and an old size does not take it.
    let made = put(&client, secure(of(&trusted, "Standard_D2s_v5"))).await;
    client.succeed(made).await;
    let shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
    let os_disk = shown["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"].clone();
    gone(&client).await;
    let mut attached = sized(&client, "Standard_D2s_v5");
    attached["properties"]
        .as_object_mut()
        .unwrap()
        .remove("osProfile");
    attached["properties"]["storageProfile"] = json!({ "osDisk": {
        "createOption": "Attach", "osType": "Linux", "managedDisk": { "id": os_disk } } });
    let words = "Security type of VM is not compatible with the security type of attached OS Disk.";
    refused(&client, attached.clone(), 400, "BadRequest", words).await;
    accepted(&client, secure(attached)).await;
    emulator.stop().await;
}

#[tokio::test]
async fn a_size_carries_so_many_disks_and_interfaces() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let disks = |size: &str, disks: Value| {
        with(
            sized(&client, size),
            "/properties/storageProfile/dataDisks",
            disks,
        )
    };
    let empty = |lun: u64| json!({ "lun": lun, "createOption": "Empty", "diskSizeGB": 1 });
    let many = json!((0..5).map(empty).collect::<Vec<_>>());
    let words =
        "The maximum number of data disks allowed to be attached to a VM of this size is 4.";
    let error = refused(
        &client,
        disks("Standard_D2s_v5", many.clone()),
        409,
        "OperationNotAllowed",
        words,
    )
    .await;
    assert_eq!(error["target"], "dataDisks");
    let clash = disks("Standard_D2s_v5", json!([empty(1), empty(1)]));
    refused(
        &client,
        clash,
        400,
        "InvalidParameter",
        "A disk at LUN 1 already exists.",
    )
    .await;
    let error = refused(
        &client,
        disks("Standard_D2s_v5", json!([empty(64)])),
        400,
        "InvalidParameter",
        "out of range",
    )
    .await;
    assert_eq!(error["target"], "dataDisk.lun");
    let mut premium = empty(0);
    premium["managedDisk"] = json!({ "storageAccountType": "Premium_LRS" });
    let v1 = image_of_first_generation(&emulator, &client).await;
    let old = |body: Value| with(body, IMAGE, json!(v1));
    let words =
        "the VM size Standard_D2_v2 does not support the storage account type Premium_LRS of disk";
    let error = refused(
        &client,
        old(disks("Standard_D2_v2", json!([premium]))),
        400,
        "InvalidParameter",
        words,
    )
    .await;
    assert_eq!(error["target"], "dataDisk.managedDisk.storageAccountType");
    let os = with(
        old(sized(&client, "Standard_D2_v2")),
        "/properties/storageProfile/osDisk/managedDisk",
        json!({ "storageAccountType": "Premium_LRS" }),
    );
    let error = refused(&client, os, 400, "InvalidParameter", words).await;
    assert_eq!(error["target"], "osDisk.managedDisk.storageAccountType");
    // The same on a larger size of the same family.
    let shown = accepted(&client, old(disks("Standard_D2_v2", many))).await;
    assert_eq!(
        shown["properties"]["storageProfile"]["osDisk"]["managedDisk"]["storageAccountType"],
        "Standard_LRS"
    );

    let mut plain = client.nic("rg", "web");
    plain["properties"]["ipConfigurations"][0]["properties"]
        .as_object_mut()
        .unwrap()
        .remove("publicIPAddress");
    for name in ["second", "third"] {
        let path = resource("rg", "Microsoft.Network/networkInterfaces", name);
        let made = client.put(&path, NETWORK, plain.clone()).await;
        client.succeed(made).await;
    }
    let interfaces: Vec<Value> = ["web", "second", "third"]
        .iter()
        .map(|name| {
            json!({ "id": client.id("rg", "Microsoft.Network/networkInterfaces", name),
            "properties": { "primary": *name == "web" } })
        })
        .collect();
    let three = |size: &str| {
        with(
            sized(&client, size),
            "/properties/networkProfile/networkInterfaces",
            json!(interfaces),
        )
    };
    let words = "The number of network interfaces for virtual machine web exceeds the maximum allowed for the virtual machine size Standard_D2s_v5. The number of network interfaces is 3 and the maximum allowed is 2. ";
    let error = refused(
        &client,
        three("Standard_D2s_v5"),
        400,
        "NetworkInterfaceCountExceeded",
        words,
    )
    .await;
    assert_eq!(error["details"], json!([]));
    accepted(&client, three("Standard_D8s_v5")).await;

    // Accelerated networking: on the way to the machine, and on an interface that it has.
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "web");
    let fast = with(
        client.nic("rg", "web"),
        "/properties/enableAcceleratedNetworking",
        json!(true),
    );
    let made = client.put(&nic, NETWORK, fast.clone()).await;
    client.succeed(made).await;
    let code = "VMSizeIsNotPermittedToEnableAcceleratedNetworking";
    let words =
        "has size Standard_B2s, which is not compatible with enabling accelerated networking";
    refused(&client, sized(&client, "Standard_B2s"), 400, code, words).await;
    accepted(&client, sized(&client, "Standard_D2s_v5")).await;
    let made = client.put(&nic, NETWORK, client.nic("rg", "web")).await;
    client.succeed(made).await;
    let made = put(&client, sized(&client, "Standard_B2s")).await;
    client.succeed(made).await;
    assert_eq!(client.put(&nic, NETWORK, fast).await.error(), (400, code));
    emulator.stop().await;
}

/// A managed image that only old machines boot.
async fn image_of_first_generation(emulator: &Emulator, client: &Client) -> String {
    let mut body = common::upload(common::SMALLEST);
    body["properties"]["hyperVGeneration"] = json!("V1");
    let made = client.put(&disk("rg", "old"), DISKS, body).await;
    client.succeed(made).await;
    client.grant("rg", "old", "Write").await;
    common::write_image(&emulator.disk_file("rg", "old"));
    client.revoke("rg", "old").await;
    let mut body = common::image_of(&client.id("rg", "Microsoft.Compute/disks", "old"));
    body["properties"]["hyperVGeneration"] = json!("V1");
    let made = client.put(&common::image("rg", "old"), COMPUTE, body).await;
    client.succeed(made).await;
    client.id("rg", "Microsoft.Compute/images", "old")
}

#[tokio::test]
async fn spot_machines_have_rules_and_a_quota_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(
        builder(dir.path())
            .quota("lowPriorityCores", 4)
            .quota("cores", 3),
    )
    .await;
    let spot = |size: &str| with(sized(&client, size), "/properties/priority", json!("Spot"));
    let code = "OperationNotAllowed";
    for (body, words) in [
        (
            with(
                sized(&client, "Standard_D2s_v5"),
                "/properties/evictionPolicy",
                json!("Delete"),
            ),
            "Eviction policy can be set only on Azure Spot Virtual Machines.",
        ),
        (
            with(
                sized(&client, "Standard_D2s_v5"),
                "/properties/billingProfile",
                json!({ "maxPrice": 1 }),
            ),
            "Max price is supported only for Azure Spot Virtual Machines.",
        ),
        (
            spot("Standard_B2s"),
            "Azure Spot is not supported for this VM size Standard_B2s.",
        ),
        (
            with(
                spot("Standard_D2s_v5"),
                "/properties/billingProfile",
                json!({ "maxPrice": 0 }),
            ),
            "Invalid max price value.",
        ),
        (
            with(
                spot("Standard_D2s_v5"),
                "/properties/availabilitySet",
                json!({ "id": "/x" }),
            ),
            "Azure Spot Virtual Machine is not supported in Availability Set.",
        ),
        (
            spot("Standard_D8s_v5"),
            "exceeding approved LowPriorityCores quota. Additional details - Deployment Model: Resource Manager, Location: westus2, Current Limit: 4, Current Usage: 0, Additional Required: 8, (Minimum) New Limit Required: 8.",
        ),
        (
            sized(&client, "Standard_D4s_v5"),
            "quota limits of Core. Maximum allowed: 3, Current in use: 0, Additional requested: 4.",
        ),
    ] {
        refused(&client, body, 409, code, words).await;
    }
    // They count among their own and in no family.
    let made = put(&client, spot("Standard_D4s_v5")).await;
    client.succeed(made).await;
    let shown = client.get(&vm("rg", "web"), COMPUTE).await.body["properties"].clone();
    assert_eq!(shown["evictionPolicy"], "Deallocate");
    assert_eq!(shown["billingProfile"], json!({ "maxPrice": -1.0 }));
    let path = "/providers/Microsoft.Compute/locations/westus2/usages";
    let usages = client.get(path, COMPUTE).await.body;
    let used = |name: &str| -> Value {
        let all = usages["value"].as_array().unwrap();
        let found = all
            .iter()
            .find(|usage| usage["name"]["value"] == name)
            .unwrap();
        found["currentValue"].clone()
    };
    assert_eq!(
        [
            used("lowPriorityCores"),
            used("cores"),
            used("standardDSv5Family")
        ],
        [json!(4), json!(0), json!(0)]
    );

    let price = json!({ "billingProfile": { "maxPrice": 2.5 } });
    let answer = patch(&client, price.clone()).await;
    assert_eq!(answer.error(), (409, code));
    assert_eq!(answer.body["error"]["details"][0]["target"], "web");
    let answer = patch(&client, json!({ "priority": "Regular" })).await;
    assert_eq!(answer.error(), (409, "PropertyChangeNotAllowed"));
    act(&client, "deallocate").await;
    let begun = patch(&client, price).await;
    client.succeed(begun).await;
    act(&client, "start").await;

    // Evicted, it stops and keeps its disks.
    let evict = format!("{}/simulateEviction", vm("rg", "web"));
    assert_eq!(client.post(&evict, COMPUTE, None).await.status, 204);
    assert_eq!(power_of(&client).await, "PowerState/deallocated");
    gone(&client).await;
    // By the other policy it goes, and its disks with it.
    let body = with(
        spot("Standard_D2s_v5"),
        "/properties/evictionPolicy",
        json!("Delete"),
    );
    let made = put(&client, body).await;
    client.succeed(made).await;
    let shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
    let os_disk = shown["properties"]["storageProfile"]["osDisk"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(client.post(&evict, COMPUTE, None).await.status, 204);
    assert_eq!(client.get(&vm("rg", "web"), COMPUTE).await.status, 404);
    assert_eq!(client.get(&disk("rg", &os_disk), DISKS).await.status, 404);
    let made = put(&client, sized(&client, "Standard_D2s_v5")).await;
    client.succeed(made).await;
    assert_eq!(
        client.post(&evict, COMPUTE, None).await.error(),
        (409, code)
    );
    emulator.stop().await;
}

#[tokio::test]
async fn users_keys_and_data_have_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let good = sized(&client, "Standard_D2s_v5");
    let os = "/properties/osProfile";
    let bytes = |count: usize| json!(STANDARD.encode(vec![b'x'; count]));
    let custom = "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.";
    let host =
        "Linux host name cannot exceed 64 characters in length or contain the following characters";
    let user = "The Admin Username specified is not allowed.";
    for (pointer, value, target, words) in [
        ("customData", bytes(65_536), "customData", custom),
        ("customData", json!("not base64!"), "customData", custom),
        ("computerName", json!("a".repeat(65)), "computerName", host),
        ("computerName", json!("we_b"), "computerName", host),
        (
            "computerName",
            Value::Null,
            "computerName",
            "Required parameter 'computerName' is missing (null).",
        ),
        ("adminUsername", json!("Root"), "adminUsername", user),
        ("adminUsername", json!("me@home"), "adminUsername", user),
        (
            "adminUsername",
            json!("a".repeat(65)),
            "adminUsername",
            user,
        ),
        (
            "adminUsername",
            Value::Null,
            "adminUsername",
            "Required parameter 'adminUsername' is missing (null).",
        ),
    ] {
        let body = with(good.clone(), &format!("{os}/{pointer}"), value);
        let error = refused(&client, body, 400, "InvalidParameter", words).await;
        assert_eq!(error["target"], target);
    }
    // 512 bits of RSA are a key, but none that Azure takes.
    let weak = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQDB5gswVXqfxOkOM1h9osfsETZbgKXK7xQ5XoOozfIXPGGGq9D1Gj9kia7T+B1CZ4yx1vsgRWqPtNn+I0htkrfc";
    let key = "linuxConfiguration.ssh.publicKeys.keyData";
    for text in [weak, "ssh-dss AAAA", "-----BEGIN RSA PRIVATE KEY-----", ""] {
        let mut body = good.clone();
        body["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"] =
            json!(text);
        let words = format!("The value of parameter {key} is invalid.");
        let error = refused(&client, body, 400, "InvalidParameter", &words).await;
        assert_eq!(error["target"], key);
    }
    let long = with(good.clone(), "/properties/userData", bytes(65_537));
    let error = refused(&client, long, 400, "InvalidParameter", "User data").await;
    assert_eq!(error["target"], "userData");

    let full = with(good.clone(), &format!("{os}/customData"), bytes(65_535));
    let full = with(full, "/properties/userData", bytes(65_536));
    let shown = accepted(&client, full).await;
    assert!(shown["properties"].get("userData").is_none());
    assert!(shown["properties"]["osProfile"].get("customData").is_none());

    // User data is shown where it is asked for, and changes.
    let made = put(
        &client,
        with(good, "/properties/userData", json!("aGVsbG8=")),
    )
    .await;
    assert!(made.body["properties"].get("userData").is_none());
    client.succeed(made).await;
    let path = format!("{}?$expand=userData", vm("rg", "web"));
    let data = async || client.get(&path, COMPUTE).await.body["properties"]["userData"].clone();
    assert_eq!(data().await, "aGVsbG8=");
    assert_eq!(
        patch(&client, json!({ "userData": "?" })).await.error(),
        (400, "InvalidParameter")
    );
    let begun = patch(&client, json!({ "userData": "d29ybGQ=" })).await;
    client.succeed(begun).await;
    assert_eq!(data().await, "d29ybGQ=");
    emulator.stop().await;
}

#[tokio::test]
async fn a_machine_becomes_larger_where_it_is_or_deallocated() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path()).quota("cores", 8)).await;
    let made = put(&client, sized(&client, "Standard_D2s_v5")).await;
    client.succeed(made).await;
    let resize =
        async |size: &str| patch(&client, json!({ "hardwareProfile": { "vmSize": size } })).await;
    let size = async || {
        client.get(&vm("rg", "web"), COMPUTE).await.body["properties"]["hardwareProfile"]["vmSize"]
            .clone()
    };
    let sizes = async || -> Vec<Value> {
        let path = format!("{}/vmSizes", vm("rg", "web"));
        let listed = client.get(&path, COMPUTE).await.body;
        listed["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|size| size["name"].clone())
            .collect()
    };
    // The cores that it has are not counted again.
    let begun = resize("standard_d8s_v5").await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    assert_eq!(size().await, "Standard_D8s_v5");
    assert_eq!(power_of(&client).await, "PowerState/running");
    for (other, status, code, words) in [
        (
            "Standard_None",
            409,
            "SkuNotAvailable",
            "not available in location",
        ),
        (
            "Standard_D64s_v5",
            409,
            "OperationNotAllowed",
            "Maximum allowed: 8, Current in use: 0, Additional requested: 64.",
        ),
        (
            "Standard_D2_v2",
            400,
            "BadRequest",
            "cannot boot Hypervisor Generation '2'",
        ),
        (
            "Standard_D2ps_v5",
            400,
            "BadRequest",
            "Cannot resize a VM of size 'Standard_D8s_v5' with CPU Architecture 'x64' to a VM of size 'Standard_D2ps_v5'",
        ),
        (
            "Standard_D2s_v6",
            400,
            "InvalidParameter",
            "cannot boot with OS image or disk",
        ),
        (
            "Standard_DC2as_v5",
            400,
            "BadRequest",
            "'<NULL>' security type",
        ),
        (
            "Standard_D2as_v5",
            409,
            "OperationNotAllowed",
            "Unable to resize the VM 'web' because the requested size Standard_D2as_v5 is not available in the current hardware cluster. The available sizes in this cluster are: ",
        ),
    ] {
        let answer = resize(other).await;
        assert_eq!(answer.error(), (status, code), "{other}: {}", answer.body);
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(size().await, "Standard_D8s_v5");
    }
    assert!(sizes().await.contains(&json!("Standard_B1s")));
    assert!(!sizes().await.contains(&json!("Standard_D2as_v5")));
    act(&client, "deallocate").await;
    assert!(sizes().await.contains(&json!("Standard_D2as_v5")));
    let begun = resize("Standard_D2as_v5").await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    assert_eq!(size().await, "Standard_D2as_v5");
    assert_eq!(power_of(&client).await, "PowerState/deallocated");

    // What it has, it has to be able to have.
    let disks: Vec<Value> = (0..4)
        .map(|lun| json!({ "lun": lun, "createOption": "Empty", "diskSizeGB": 1 }))
        .collect();
    let begun = patch(&client, json!({ "storageProfile": { "dataDisks": disks } })).await;
    client.succeed(begun).await;
    let answer = resize("Standard_B1s").await;
    assert_eq!(answer.error(), (409, "OperationNotAllowed"));
    assert!(
        answer.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("of this size is 2.")
    );
    emulator.stop().await;
}
