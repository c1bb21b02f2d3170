//! What Azure says no to, with the status and the code it says it with.

mod common;

use std::time::Duration;

use azure_nixos_emulator::Clock;
use common::{
    COMPUTE, Client, DISKS, NETWORK, RESOURCES, SMALLEST, builder, disk, group, image, image_of,
    resource, upload, vm, with,
};
use serde_json::{Value, json};

#[tokio::test]
async fn requests_that_are_malformed() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let os = disk("rg", "os");
    assert_eq!(
        client.get(&os, "2023-04-03").await.error(),
        (404, "InvalidResourceType")
    );
    let bare = format!("{}/subscriptions/{}{os}", client.base, client.subscription);
    let answer = client.send(reqwest::Method::GET, &bare, None).await;
    assert_eq!(answer.error(), (400, "MissingApiVersionParameter"));
    let other = bare.replace(&client.subscription, "11111111-1111-1111-1111-111111111111");
    let answer = client.send(reqwest::Method::GET, &other, None).await;
    assert_eq!(answer.error(), (404, "SubscriptionNotFound"));
    let unknown = resource("rg", "Microsoft.Nowhere/things", "a");
    assert_eq!(
        client.get(&unknown, DISKS).await.error(),
        (404, "InvalidResourceNamespace")
    );

    let good = upload(SMALLEST);
    for (body, code, word) in [
        (
            with(good.clone(), "/properties/uploadSize", json!(1)),
            "InvalidRequestContent",
            "properties.uploadSize",
        ),
        (
            with(good.clone(), "/properties/OsType", json!("Linux")),
            "InvalidRequestContent",
            "properties.OsType",
        ),
        (
            with(good.clone(), "/properties/osType", json!("BeOS")),
            "InvalidRequestContent",
            "properties.osType",
        ),
        (
            with(good.clone(), "/tags", json!({ "a": 1 })),
            "InvalidRequestContent",
            "tags.a",
        ),
        (
            with(good.clone(), "/location", json!("moon")),
            "LocationNotAvailableForResourceType",
            "moon",
        ),
        (
            with(good.clone(), "/location", json!(null)),
            "LocationRequired",
            "location",
        ),
        (
            with(good.clone(), "/properties/creationData", json!({})),
            "InvalidParameter",
            "createOption",
        ),
        (
            with(
                good.clone(),
                "/properties/creationData/uploadSizeBytes",
                json!(20_971_520),
            ),
            "InvalidParameter",
            "out of range",
        ),
        (
            with(
                good.clone(),
                "/properties/creationData/uploadSizeBytes",
                json!(20_973_000),
            ),
            "BadRequest",
            "must be a multiple of MiB",
        ),
        (
            with(good.clone(), "/properties/diskSizeGB", json!(1)),
            "InvalidParameter",
            "diskSizeGB",
        ),
    ] {
        let answer = client.put(&os, DISKS, body).await;
        assert_eq!(answer.error(), (400, code), "{word}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    let bad_name = client.put(&disk("rg", "a.b"), DISKS, good.clone()).await;
    assert_eq!(bad_name.error(), (400, "InvalidParameter"));
    let no_group = client
        .put(&disk("nowhere", "os"), DISKS, good.clone())
        .await;
    assert_eq!(no_group.error(), (404, "ResourceGroupNotFound"));
    let moved = client
        .put(&group("rg"), RESOURCES, json!({ "location": "eastus" }))
        .await;
    assert_eq!(moved.error(), (409, "InvalidResourceGroupLocation"));
    let again = client
        .put(&group("RG"), RESOURCES, json!({ "location": "WESTUS2" }))
        .await;
    assert_eq!((again.status, &again.body["name"]), (200, &json!("rg")));
    let missing = client
        .call("HEAD", &group("nowhere"), RESOURCES, None)
        .await;
    assert_eq!((missing.status, missing.body), (404, Value::Null));
    emulator.stop().await;
}

#[tokio::test]
async fn disks_in_the_wrong_state() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let emulator = builder(dir.path())
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let mut client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_disk("rg", "os").await;
    let os = disk("rg", "os");
    let grant = format!("{os}/beginGetAccess");
    let ask = |access: &str, seconds: u64| {
        Some(json!({ "access": access, "durationInSeconds": seconds }))
    };
    for (body, status, code) in [
        (ask("Read", 60), 409, "OperationNotAllowed"),
        (ask("None", 60), 400, "InvalidParameter"),
        (ask("Write", 5_184_001), 400, "InvalidParameter"),
        (Some(json!({ "access": "Write" })), 400, "InvalidParameter"),
        (None, 400, "InvalidRequestContent"),
    ] {
        let answer = client.post(&grant, DISKS, body).await;
        assert_eq!(answer.error(), (status, code), "{}", answer.body);
    }
    let from = image_of(&client.id("rg", "Microsoft.Compute/disks", "os"));
    let early = client
        .put(&image("rg", "nixos"), COMPUTE, from.clone())
        .await;
    assert_eq!(early.error(), (409, "OperationNotAllowed"));
    client.grant("rg", "os", "Write").await;
    let early = client
        .put(&image("rg", "nixos"), COMPUTE, from.clone())
        .await;
    assert_eq!(early.error(), (409, "OperationNotAllowed"));
    common::write_image(&emulator.disk_file("rg", "os"));
    client.revoke("rg", "os").await;
    let late = client.post(&grant, DISKS, ask("Write", 60)).await;
    assert_eq!(late.error(), (409, "OperationNotAllowed"));
    for (pointer, value) in [
        (
            "/properties/creationData/uploadSizeBytes",
            json!(SMALLEST + (1 << 20)),
        ),
        ("/properties/hyperVGeneration", json!("V1")),
    ] {
        let changed = client
            .put(&os, DISKS, with(upload(SMALLEST), pointer, value))
            .await;
        assert_eq!(changed.error(), (409, "PropertyChangeNotAllowed"));
    }
    let moved = client
        .put(
            &os,
            DISKS,
            with(upload(SMALLEST), "/location", json!("eastus")),
        )
        .await;
    assert_eq!(moved.error(), (409, "InvalidResourceLocation"));

    for (body, status, code) in [
        (
            with(from.clone(), "/properties/hyperVGeneration", json!(null)),
            400,
            "InvalidParameter",
        ),
        (
            with(from.clone(), "/properties/hyperVGeneration", json!("V1")),
            400,
            "InvalidParameter",
        ),
        (
            with(
                from.clone(),
                "/properties/storageProfile/osDisk/managedDisk/id",
                json!("/nowhere"),
            ),
            404,
            "NotFound",
        ),
        (
            with(from.clone(), "/location", json!("eastus")),
            400,
            "InvalidParameter",
        ),
    ] {
        let answer = client.put(&image("rg", "nixos"), COMPUTE, body).await;
        assert_eq!(answer.error(), (status, code), "{}", answer.body);
    }
    // A read access ends by itself when its time is over.
    client.grant("rg", "os", "Read").await;
    let shown = client.get(&os, DISKS).await.body;
    assert_eq!(shown["properties"]["diskState"], "ActiveSAS");
    clock.advance(Duration::from_secs(3601));
    client.token = Some(emulator.access_token());
    let shown = client.get(&os, DISKS).await.body;
    assert_eq!(shown["properties"]["diskState"], "Unattached");
    emulator.stop().await;
}

#[tokio::test]
async fn networks_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let net = |kind: &str| resource("rg", &format!("Microsoft.Network/{kind}"), "n1");
    let vnet = |space: &str, subnets: &[&str]| {
        let subnets: Vec<Value> = subnets
            .iter()
            .enumerate()
            .map(|(n, prefix)| json!({ "name": format!("s{n}"), "properties": { "addressPrefix": prefix } }))
            .collect();
        json!({ "location": "westus2", "properties": {
            "addressSpace": { "addressPrefixes": [space] }, "subnets": subnets } })
    };
    for (body, code) in [
        (vnet("10.0.0.0", &[]), "InvalidAddressPrefixFormat"),
        (vnet("10.0.0.1/16", &[]), "InvalidCIDRNotation"),
        (
            vnet("10.0.0.0/16", &["10.1.0.0/24"]),
            "NetcfgSubnetRangeOutsideVnet",
        ),
        (
            vnet("10.0.0.0/16", &["10.0.0.0/24", "10.0.0.128/25"]),
            "NetcfgSubnetRangesOverlap",
        ),
    ] {
        let answer = client.put(&net("virtualNetworks"), NETWORK, body).await;
        assert_eq!(answer.error(), (400, code));
    }
    let rule = |priority: u32, port: &str| {
        json!({ "name": format!("r{priority}{port}").replace(['*', '-'], ""), "properties": {
        "protocol": "tcp", "access": "allow", "direction": "inbound", "priority": priority,
        "sourceAddressPrefix": "*", "sourcePortRange": "*",
        "destinationAddressPrefix": "*", "destinationPortRange": port } })
    };
    for (rules, code) in [
        (vec![rule(99, "22")], "SecurityRuleInvalidPriority"),
        (
            vec![rule(100, "22"), rule(100, "80")],
            "SecurityRuleConflict",
        ),
        (vec![rule(100, "90-80")], "SecurityRuleInvalidPortRange"),
        (
            vec![with(
                rule(100, "22"),
                "/properties/sourceAddressPrefix",
                json!(null),
            )],
            "SecurityRuleParameterNotSpecified",
        ),
    ] {
        let body = json!({ "location": "westus2", "properties": { "securityRules": rules } });
        let answer = client
            .put(&net("networkSecurityGroups"), NETWORK, body)
            .await;
        assert_eq!(answer.error(), (400, code));
    }
    let answer = client
        .put(&net("networkInterfaces"), NETWORK, client.nic("rg", "n1"))
        .await;
    assert_eq!(answer.error(), (400, "InvalidResourceReference"));
    client.make_network("rg", "n1").await;
    let second = resource("rg", "Microsoft.Network/networkInterfaces", "n2");
    let answer = client.put(&second, NETWORK, client.nic("rg", "n1")).await;
    assert_eq!(answer.error(), (400, "PublicIPAddressInUse"));
    let own = "/properties/ipConfigurations/0/properties/publicIPAddress";
    let without = with(client.nic("rg", "n1"), own, json!(null));
    let made = client.put(&second, NETWORK, without).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["properties"]["provisioningState"], "Succeeded");
    let ip = &made.body["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"];
    assert_eq!(ip, "10.0.0.5");
    // A network is not put again without the subnet its interfaces are in.
    let answer = client
        .put(&net("virtualNetworks"), NETWORK, vnet("10.0.0.0/16", &[]))
        .await;
    assert_eq!(answer.error(), (400, "InUseSubnetCannotBeDeleted"));
    let subnet = format!("{}/subnets/none", net("virtualNetworks"));
    assert_eq!(
        client.get(&subnet, NETWORK).await.error(),
        (404, "NotFound")
    );
    let made = client
        .put(
            &subnet,
            NETWORK,
            json!({ "properties": { "addressPrefix": "10.0.9.0/24" } }),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    assert_eq!(
        client.get(&subnet, NETWORK).await.body["properties"]["provisioningState"],
        "Succeeded"
    );
    let begun = client.delete(&subnet, NETWORK).await;
    client.succeed(begun).await;
    assert_eq!(client.get(&subnet, NETWORK).await.status, 404);
    emulator.stop().await;
}

#[tokio::test]
async fn machines_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;
    client.make_network("rg", "web").await;
    let web = vm("rg", "web");
    let good = client.vm("rg", "web", "nixos");
    let p =
        |pointer: &str, value: Value| with(good.clone(), &format!("/properties{pointer}"), value);
    let key = "/osProfile/linuxConfiguration/ssh/publicKeys/0";
    for (body, status, code, word) in [
        (
            p("/hardwareProfile/vmSize", json!("Standard_X1")),
            409,
            "SkuNotAvailable",
            "Standard_X1",
        ),
        (
            p("/hardwareProfile/vmSize", json!("Standard_A1_v2")),
            400,
            "BadRequest",
            "cannot boot Hypervisor Generation '2'",
        ),
        (
            p("/hardwareProfile/vmSize", json!("Standard_D2ps_v5")),
            400,
            "BadRequest",
            "Arm64",
        ),
        (
            p("/hardwareProfile/vmSize", json!("Standard_D2s_v6")),
            400,
            "InvalidParameter",
            "disk controller types",
        ),
        (
            p(
                "/securityProfile",
                json!({ "securityType": "TrustedLaunch" }),
            ),
            400,
            "BadRequest",
            "TrustedLaunch",
        ),
        (
            p(
                "/storageProfile/imageReference/id",
                json!(client.id("rg", "Microsoft.Compute/images", "none")),
            ),
            404,
            "NotFound",
            "none",
        ),
        (
            p("/osProfile/adminUsername", json!("root")),
            400,
            "InvalidParameter",
            "The Admin Username specified is not allowed.",
        ),
        (
            p("/osProfile/adminUsername", json!(null)),
            400,
            "InvalidParameter",
            "Required parameter 'adminUsername' is missing (null).",
        ),
        (
            p("/osProfile", json!(null)),
            400,
            "InvalidParameter",
            "osProfile",
        ),
        (
            p("/osProfile/customData", json!("not base64!")),
            400,
            "InvalidParameter",
            "Base64",
        ),
        (
            p(
                &format!("{key}/path"),
                json!("/home/other/.ssh/authorized_keys"),
            ),
            400,
            "InvalidParameter",
            "/home/nixos/.ssh/authorized_keys",
        ),
        (
            p(&format!("{key}/keyData"), json!("ssh-dss AAAA")),
            400,
            "InvalidParameter",
            "keyData",
        ),
        (
            p("/osProfile/linuxConfiguration/ssh", json!(null)),
            400,
            "InvalidParameter",
            "SSH",
        ),
        (
            p("/networkProfile/networkInterfaces/0/id", json!("/nowhere")),
            400,
            "InvalidResourceReference",
            "/nowhere",
        ),
        (
            p("/networkProfile", json!(null)),
            400,
            "InvalidParameter",
            "networkProfile",
        ),
        (
            p("/storageProfile/osDisk/name", json!("../os")),
            400,
            "InvalidParameter",
            "../os",
        ),
        (
            p("/storageProfile/osDisk/diskSizeGb", json!(30)),
            400,
            "InvalidRequestContent",
            "diskSizeGb",
        ),
    ] {
        let answer = client.put(&web, COMPUTE, body).await;
        assert_eq!(answer.error(), (status, code), "{word}: {}", answer.body);
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
    let attach = json!({ "createOption": "Attach", "osType": "Linux",
        "managedDisk": { "id": client.id("rg", "Microsoft.Compute/disks", "os") } });
    let with_profile = with(
        p("/storageProfile", json!({})),
        "/properties/storageProfile/osDisk",
        attach,
    );
    let answer = client.put(&web, COMPUTE, with_profile.clone()).await;
    assert_eq!(answer.error(), (400, "InvalidParameter"));
    let attached = with(with_profile, "/properties/osProfile", json!(null));
    let made = client.put(&web, COMPUTE, attached.clone()).await;
    assert_eq!(
        made.body["properties"]["storageProfile"]["osDisk"]["name"],
        "os"
    );
    client.succeed(made).await;
    let taken = client.put(&vm("rg", "two"), COMPUTE, attached).await;
    assert_eq!(taken.error(), (409, "ConflictingUserInput"));
    let taken = client.put(&vm("rg", "two"), COMPUTE, good.clone()).await;
    assert_eq!(taken.error(), (400, "NicInUse"));
    let granted = client
        .post(
            &format!("{}/beginGetAccess", disk("rg", "os")),
            DISKS,
            Some(json!({ "access": "Read", "durationInSeconds": 60 })),
        )
        .await;
    assert_eq!(granted.error(), (409, "OperationNotAllowed"));
    assert!(
        granted.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("attached to running VM")
    );
    emulator.stop().await;
}

#[tokio::test]
async fn providers_have_to_be_registered() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .unregistered(["Microsoft.Compute"])
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let answer = client.put(&disk("rg", "os"), DISKS, upload(SMALLEST)).await;
    assert_eq!(answer.error(), (409, "MissingSubscriptionRegistration"));
    assert_eq!(answer.header("x-ms-failure-cause"), Some("gateway"));
    let provider = "/providers/microsoft.compute";
    let shown = client.get(provider, RESOURCES).await.body;
    assert_eq!(shown["registrationState"], "NotRegistered");
    let begun = client
        .post(&format!("{provider}/register"), RESOURCES, None)
        .await;
    assert_eq!(begun.body["registrationState"], "Registering");
    assert_eq!(
        client.get(provider, RESOURCES).await.body["registrationState"],
        "Registered"
    );
    client.make_disk("rg", "os").await;
    emulator.stop().await;
}

#[tokio::test]
async fn urls_of_operations_are_used_verbatim() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let begun = client.put(&disk("rg", "os"), DISKS, upload(SMALLEST)).await;
    let url = begun.header("azure-asyncoperation").unwrap();
    let cut = &url[..url.find("&s=").unwrap()];
    for changed in [cut.to_owned(), url.replace("2023-04-02", "2024-03-02")] {
        let answer = client.send(reqwest::Method::GET, &changed, None).await;
        assert_eq!(answer.status, 403);
    }
    assert_eq!(client.follow(&begun).await.body["status"], "Succeeded");
    emulator.stop().await;
}
