//! The road from an upload to a machine and back, and over a restart.

mod common;

use std::time::Duration;

use azure_nixos_emulator::{Clock, Emulator};
use common::{
    COMPUTE, Client, DISKS, NETWORK, RESOURCES, SMALLEST, SUBSCRIPTIONS, builder, disk, group,
    image, resource, upload, vm,
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn from_an_upload_to_a_machine_and_back_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("Rg").await;

    let made = client.put(&disk("rg", "os"), DISKS, upload(SMALLEST)).await;
    assert_eq!(made.status, 202);
    assert_eq!(made.body["properties"]["provisioningState"], "Updating");
    assert!(made.body["properties"].get("diskState").is_none());
    assert!(made.body["sku"].get("tier").is_none());
    assert_eq!(made.header("retry-after"), Some("0"));
    let location = made.header("location").unwrap().to_owned();
    assert!(location.contains("&monitor=true&api-version=2023-04-02&t="));
    assert!((2500..3468).contains(&location.len()), "{}", location.len());
    let ended = client.succeed(made).await;
    assert!(ended["startTime"].is_string() && ended["endTime"].is_string());
    let output = &ended["properties"]["output"];
    assert_eq!(output["properties"]["diskState"], "ReadyToUpload");
    assert_eq!(
        output["sku"],
        json!({ "name": "Standard_LRS", "tier": "Standard" })
    );
    assert!(output["properties"].get("diskSizeGB").is_none());
    // The group answers in its own case, and any case finds it.
    let shown = client.get(&disk("RG", "OS"), DISKS).await;
    assert_eq!(shown.body, *output);
    assert!(
        shown.body["id"]
            .as_str()
            .unwrap()
            .contains("/resourceGroups/Rg/")
    );
    let monitored = client.send(Method::GET, &location, None).await;
    assert_eq!((monitored.status, &monitored.body), (200, output));

    let sas = client.grant("rg", "os", "Write").await;
    assert!(
        sas.starts_with(&format!("{}/", emulator.blob_url())),
        "{sas}"
    );
    assert!(sas.contains("/abcd?sv=2018-03-28&sr=b&si="));
    let state = |body: &Value| body["properties"]["diskState"].clone();
    assert_eq!(
        state(&client.get(&disk("rg", "os"), DISKS).await.body),
        "ActiveUpload"
    );

    // The footer is looked at when the access ends: without one the upload stays one.
    let refused = client.revoke("rg", "os").await;
    assert_eq!(refused.status, 200);
    assert_eq!(refused.body["status"], "Failed");
    assert_eq!(refused.body["error"]["code"], "InvalidVhd");
    assert!(
        refused.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("conectix")
    );
    assert_eq!(
        state(&client.get(&disk("rg", "os"), DISKS).await.body),
        "ActiveUpload"
    );
    client.grant("rg", "os", "Write").await;
    common::write_image(&emulator.disk_file("rg", "os"));
    let ended = client.revoke("rg", "os").await;
    assert_eq!(ended.body["status"], "Succeeded");
    assert!(ended.body.get("properties").is_none());
    let uploaded = client.get(&disk("rg", "os"), DISKS).await.body;
    assert_eq!(state(&uploaded), "Unattached");
    assert_eq!(uploaded["properties"]["diskSizeGB"], 1);
    assert_eq!(uploaded["properties"]["diskSizeBytes"], SMALLEST - 512);

    client.make_image("rg", "nixos", "os").await;
    let made = client.get(&image("rg", "nixos"), COMPUTE).await.body;
    let os_disk = &made["properties"]["storageProfile"]["osDisk"];
    assert_eq!(os_disk["diskSizeGB"], 1);
    assert_eq!(os_disk["storageAccountType"], "Standard_LRS");
    assert_eq!(os_disk["caching"], "None");
    assert_eq!(
        std::fs::read(emulator.image_file("rg", "nixos")).unwrap(),
        std::fs::read(emulator.disk_file("rg", "os")).unwrap()
    );
    let gone = client.delete(&disk("rg", "os"), DISKS).await;
    assert_eq!((gone.status, gone.body.clone()), (202, Value::Null));
    client.succeed(gone).await;
    assert!(!emulator.disk_file("rg", "os").exists());
    assert_eq!(client.delete(&disk("rg", "os"), DISKS).await.status, 204);

    client.make_network("rg", "web").await;
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "web");
    let ip = resource("rg", "Microsoft.Network/publicIPAddresses", "web");
    let before = client.get(&nic, NETWORK).await.body;
    let of = |nic: &Value| nic["properties"]["ipConfigurations"][0]["properties"].clone();
    assert_eq!(of(&before)["privateIPAddress"], "10.0.0.4");
    assert!(before["properties"].get("macAddress").is_none());
    let address = client.get(&ip, NETWORK).await.body;
    assert!(address["properties"]["ipAddress"].is_string());
    assert!(
        address["properties"]["ipConfiguration"]["id"]
            .as_str()
            .unwrap()
            .ends_with("/web/ipConfigurations/ipconfig")
    );

    let body = client.vm("rg", "web", "nixos");
    let made = client.put(&vm("rg", "web"), COMPUTE, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert!(made.header("location").is_none());
    assert_eq!(made.body["properties"]["provisioningState"], "Creating");
    let os_disk = &made.body["properties"]["storageProfile"]["osDisk"];
    assert!(os_disk["managedDisk"].get("id").is_none());
    assert_eq!(
        (&os_disk["osType"], &os_disk["deleteOption"]),
        (&json!("Linux"), &json!("Detach"))
    );
    let ended = client.succeed(made).await;
    assert!(ended.get("properties").is_none());
    let machine = client
        .get(
            &format!("{}?$expand=instanceView", vm("rg", "web")),
            COMPUTE,
        )
        .await
        .body;
    let properties = &machine["properties"];
    assert_eq!(properties["provisioningState"], "Succeeded");
    assert!(properties["osProfile"].get("customData").is_none());
    assert_eq!(
        properties["instanceView"]["statuses"][1]["code"],
        "PowerState/running"
    );
    let made_disk = properties["storageProfile"]["osDisk"]["name"]
        .as_str()
        .unwrap();
    assert!(made_disk.starts_with("web_disk1_"), "{made_disk}");
    let attached = client.get(&disk("rg", made_disk), DISKS).await.body;
    assert_eq!(state(&attached), "Attached");
    assert_eq!(attached["managedBy"], machine["id"]);
    let after = client.get(&nic, NETWORK).await.body;
    assert_eq!(after["properties"]["virtualMachine"]["id"], machine["id"]);
    assert!(
        after["properties"]["macAddress"]
            .as_str()
            .unwrap()
            .starts_with("00-0D-3A-")
    );
    // The same again changes nothing and is taken.
    let again = client.put(&vm("rg", "web"), COMPUTE, body).await;
    assert_eq!(again.status, 200, "{}", again.body);
    client.succeed(again).await;

    // What is in use stays.
    for (kind, code) in [
        ("networkInterfaces", "NicInUse"),
        ("publicIPAddresses", "PublicIPAddressCannotBeDeleted"),
        (
            "networkSecurityGroups",
            "InUseNetworkSecurityGroupCannotBeDeleted",
        ),
        ("virtualNetworks", "InUseSubnetCannotBeDeleted"),
    ] {
        let path = resource("rg", &format!("Microsoft.Network/{kind}"), "web");
        let refused = client.delete(&path, NETWORK).await;
        assert_eq!(refused.error(), (400, code));
        assert_eq!(refused.body["error"]["details"], json!([]));
    }
    let refused = client.delete(&disk("rg", made_disk), DISKS).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));

    for (action, power, disk_state) in [
        ("powerOff", "stopped", "Attached"),
        ("start", "running", "Attached"),
        ("restart", "running", "Attached"),
        ("deallocate", "deallocated", "Reserved"),
        ("start", "running", "Attached"),
    ] {
        let begun = client
            .post(&format!("{}/{action}", vm("rg", "web")), COMPUTE, None)
            .await;
        assert_eq!(begun.status, 202, "{action}: {}", begun.body);
        let location = begun.header("location").unwrap().to_owned();
        client.succeed(begun).await;
        assert_eq!(client.send(Method::GET, &location, None).await.status, 200);
        let view = client
            .get(&format!("{}/instanceView", vm("rg", "web")), COMPUTE)
            .await
            .body;
        assert_eq!(view["statuses"][1]["code"], format!("PowerState/{power}"));
        assert_eq!(
            state(&client.get(&disk("rg", made_disk), DISKS).await.body),
            disk_state
        );
    }

    let listed = client
        .get("/providers/Microsoft.Compute/virtualMachines", COMPUTE)
        .await
        .body;
    assert_eq!(listed["value"].as_array().unwrap().len(), 1);

    let begun = client.delete(&vm("rg", "web"), COMPUTE).await;
    client.succeed(begun).await;
    let missing = client.get(&vm("rg", "web"), COMPUTE).await;
    assert_eq!(missing.error(), (404, "ResourceNotFound"));
    assert_eq!(missing.header("x-ms-failure-cause"), Some("gateway"));
    // Detached, as nothing else was asked for.
    assert_eq!(
        state(&client.get(&disk("rg", made_disk), DISKS).await.body),
        "Unattached"
    );

    for kind in [
        "networkInterfaces",
        "publicIPAddresses",
        "networkSecurityGroups",
        "virtualNetworks",
    ] {
        let path = resource("rg", &format!("Microsoft.Network/{kind}"), "web");
        let begun = client.delete(&path, NETWORK).await;
        assert_eq!(begun.status, 202, "{kind}: {}", begun.body);
        let ended = client.follow(&begun).await;
        assert_eq!(ended.body, json!({ "status": "Succeeded" }));
        let result = client
            .send(Method::GET, begun.header("location").unwrap(), None)
            .await;
        assert_eq!(result.status, 204);
        assert!(result.header("azure-asyncoperation").is_some());
        assert_eq!(client.get(&path, NETWORK).await.status, 404);
    }

    let begun = client.delete(&group("rg"), RESOURCES).await;
    assert_eq!(begun.status, 202);
    assert!(begun.header("azure-asyncoperation").is_none());
    client.succeed(begun).await;
    assert_eq!(
        client.get(&group("rg"), RESOURCES).await.error(),
        (404, "ResourceGroupNotFound")
    );
    assert!(!emulator.image_file("rg", "nixos").exists());
    let recorded = emulator.requests();
    assert_eq!(recorded[0].method, "PUT");
    assert_eq!(recorded[0].body, Some(json!({ "location": "West US 2" })));
    assert_eq!(
        (recorded[0].status, recorded[0].api_version.as_deref()),
        (201, Some(RESOURCES))
    );
    emulator.stop().await;
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let start = || {
        builder(dir.path())
            .clock(clock.clone())
            .operation_delay(Duration::from_secs(60))
    };
    let first = start().start().await.unwrap();
    let client = Client::new(&first);
    client.make_group("rg").await;
    let begun = client.put(&disk("rg", "os"), DISKS, upload(SMALLEST)).await;
    assert_eq!(begun.header("retry-after"), Some("10"));
    let url = begun.header("azure-asyncoperation").unwrap().to_owned();
    let waiting = client.send(Method::GET, &url, None).await;
    assert_eq!(
        (waiting.status, &waiting.body["status"]),
        (200, &json!("InProgress"))
    );
    let monitor = begun.header("location").unwrap();
    assert_eq!(client.send(Method::GET, monitor, None).await.status, 202);
    let (ca, secret, old, token) = (
        first.ca_pem().to_owned(),
        first.client_secret(),
        first.arm_url().to_owned(),
        first.access_token(),
    );
    first.stop().await;

    let second = start().start().await.unwrap();
    assert_eq!((second.ca_pem(), second.client_secret()), (&*ca, secret));
    let mut client = Client::new(&second);
    // The token of before is as good.
    client.token = Some(token);
    clock.advance(Duration::from_secs(61));
    let url = url.replace(&old, second.arm_url());
    let ended = client.send(Method::GET, &url, None).await;
    assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
    let shown = client.get(&disk("rg", "os"), DISKS).await.body;
    assert_eq!(shown["properties"]["diskState"], "ReadyToUpload");
    assert_eq!(
        std::fs::metadata(second.disk_file("rg", "os"))
            .unwrap()
            .len(),
        SMALLEST
    );
    second.stop().await;
}

#[tokio::test]
async fn a_directory_and_a_port_have_one_user_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = builder(dir.path()).start().await.unwrap();
    let refused = builder(dir.path())
        .lock_patience(Duration::from_millis(50))
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("in use by process"), "{refused}");
    let port: u16 = first.arm_url().rsplit(':').next().unwrap().parse().unwrap();
    let other = tempfile::tempdir().unwrap();
    let refused = builder(other.path())
        .arm_port(port)
        .start()
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains(&format!("127.0.0.1:{port}")), "{refused}");
    first.stop().await;
    // Free again at once.
    builder(dir.path())
        .lock_patience(Duration::ZERO)
        .start()
        .await
        .unwrap()
        .stop()
        .await;
}

#[tokio::test]
async fn a_group_with_an_access_outstanding_is_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.grant("rg", "os", "Read").await;
    let refused = client.delete(&disk("rg", "os"), DISKS).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));
    assert!(
        refused.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("active shared access signature")
    );
    let begun = client.delete(&group("rg"), RESOURCES).await;
    let url = begun.header("location").unwrap();
    for _ in 0..3 {
        let waiting = client.send(Method::GET, url, None).await;
        assert_eq!(waiting.status, 202);
        assert_eq!(waiting.header("location"), Some(url));
    }
    let shown = client.get(&group("rg"), RESOURCES).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Deleting");
    let refused = client
        .put(&disk("rg", "more"), DISKS, upload(SMALLEST))
        .await;
    assert_eq!(refused.error(), (409, "ResourceGroupBeingDeleted"));
    client.revoke("rg", "os").await;
    assert_eq!(client.follow(&begun).await.status, 200);
    assert_eq!(client.get(&group("rg"), RESOURCES).await.status, 404);
    assert!(!emulator.disk_file("rg", "os").exists());
    emulator.stop().await;
}

#[tokio::test]
async fn what_goes_with_a_machine_goes() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;
    client.make_network("rg", "web").await;
    let mut body = client.vm("rg", "web", "nixos");
    body["properties"]["storageProfile"]["osDisk"]["deleteOption"] = json!("Delete");
    body["properties"]["storageProfile"]["osDisk"]["name"] = json!("web-os");
    body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] = json!(30);
    body["properties"]["networkProfile"]["networkInterfaces"][0]["properties"] =
        json!({ "deleteOption": "Delete" });
    let made = client.put(&vm("rg", "web"), COMPUTE, body).await;
    client.succeed(made).await;
    let os_disk = client.get(&disk("rg", "web-os"), DISKS).await.body;
    assert_eq!(os_disk["properties"]["diskSizeGB"], 30);
    assert_eq!(os_disk["properties"]["hyperVGeneration"], "V2");
    let begun = client.delete(&vm("rg", "web"), COMPUTE).await;
    client.succeed(begun).await;
    assert_eq!(client.get(&disk("rg", "web-os"), DISKS).await.status, 404);
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "web");
    assert_eq!(client.get(&nic, NETWORK).await.status, 404);
    emulator.stop().await;
}

#[tokio::test]
async fn disks_are_made_empty_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let empty = json!({ "location": "westus2", "sku": { "name": "Premium_LRS" },
        "properties": { "creationData": { "createOption": "Empty" }, "diskSizeGB": 4 } });
    let made = client.put(&disk("rg", "empty"), DISKS, empty).await;
    let made = client.succeed(made).await;
    let properties = &made["properties"]["output"]["properties"];
    assert_eq!(
        (&properties["diskState"], &properties["tier"]),
        (&json!("Unattached"), &json!("P1"))
    );
    let content = std::fs::metadata(emulator.disk_file("rg", "empty")).unwrap();
    assert_eq!(content.len(), (4 << 30) + 512);

    client.make_uploaded(&emulator, "rg", "os").await;
    let copy = json!({ "location": "westus2", "properties": { "creationData": {
        "createOption": "Copy", "sourceResourceId": client.id("rg", "Microsoft.Compute/disks", "os") } } });
    let made = client.put(&disk("rg", "copy"), DISKS, copy).await;
    client.succeed(made).await;
    assert_eq!(
        std::fs::read(emulator.disk_file("rg", "copy")).unwrap(),
        std::fs::read(emulator.disk_file("rg", "os")).unwrap()
    );
    let tagged = client
        .call(
            "PATCH",
            &disk("rg", "copy"),
            DISKS,
            Some(json!({ "tags": { "a": "b" } })),
        )
        .await;
    assert_eq!(tagged.status, 202);
    client.succeed(tagged).await;
    let shown = client.get(&disk("rg", "copy"), DISKS).await.body;
    assert_eq!(
        (
            &shown["tags"]["a"],
            &shown["properties"]["provisioningState"]
        ),
        (&json!("b"), &json!("Succeeded"))
    );
    emulator.stop().await;
}

#[tokio::test]
async fn a_service_principal_logs_in() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let emulator = builder(dir.path())
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let (base, tenant) = (emulator.arm_url().to_owned(), emulator.tenant_id());
    let mut client = Client::new(&emulator);
    client.token = None;
    let open = |path: String| format!("{base}{path}");
    let endpoints = client
        .send(
            Method::GET,
            &open("/metadata/endpoints?api-version=2022-09-01".into()),
            None,
        )
        .await;
    assert_eq!(endpoints.body["authentication"]["loginEndpoint"], base);
    let discovered = client
        .send(
            Method::GET,
            &open(format!("/{tenant}/v2.0/.well-known/openid-configuration")),
            None,
        )
        .await;
    let token_url = discovered.body["token_endpoint"]
        .as_str()
        .unwrap()
        .to_owned();

    let login = |secret: String, emulator: &Emulator| {
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={secret}&scope={base}/.default",
            emulator.client_id()
        );
        client
            .http
            .post(&token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
    };
    let wrong = login("wrong".to_owned(), &emulator).await.unwrap();
    assert_eq!(wrong.status(), 401);
    let wrong: Value = serde_json::from_str(&wrong.text().await.unwrap()).unwrap();
    assert_eq!(wrong["error"], "invalid_client");
    assert!(
        wrong["error_description"]
            .as_str()
            .unwrap()
            .starts_with("AADSTS7000215: ")
    );

    let good = login(emulator.client_secret(), &emulator).await.unwrap();
    assert_eq!(good.status(), 200);
    let good: Value = serde_json::from_str(&good.text().await.unwrap()).unwrap();
    let refused = client.get("", SUBSCRIPTIONS).await;
    assert_eq!(refused.error(), (401, "AuthenticationFailed"));
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .starts_with("Bearer authorization_uri=")
    );
    client.token = Some(good["access_token"].as_str().unwrap().to_owned());
    let subscription = client.get("", SUBSCRIPTIONS).await;
    assert_eq!(subscription.body["state"], "Enabled");
    let all = client
        .send(
            Method::GET,
            &open("/subscriptions?api-version=2022-12-01".into()),
            None,
        )
        .await;
    assert_eq!(
        all.body["value"][0]["subscriptionId"],
        emulator.subscription_id()
    );
    let locations = client.get("/locations", SUBSCRIPTIONS).await.body;
    assert!(
        locations["value"]
            .as_array()
            .unwrap()
            .iter()
            .any(|l| l["name"] == "westus2")
    );

    clock.advance(Duration::from_secs(3600));
    assert_eq!(
        client.get("", SUBSCRIPTIONS).await.error(),
        (401, "ExpiredAuthenticationToken")
    );
    client.token = Some(emulator.access_token());
    assert_eq!(client.get("", SUBSCRIPTIONS).await.status, 200);
    emulator.stop().await;
}
