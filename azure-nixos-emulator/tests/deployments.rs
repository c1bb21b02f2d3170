//! Templates, from the request to what they made, and how they fail.

#![allow(
    clippy::unwrap_used,
    reason = "an answer without what it has to have is a test that fails"
)]

mod common;

use std::time::Duration;

use azure_nixos_emulator::Clock;
use common::{
    Answer, COMPUTE, Client, DISKS, NETWORK, RESOURCES, builder, disk, group, resource, vm, with,
};
use reqwest::Method;
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "2024-07-01";

fn deployment(group: &str, name: &str) -> String {
    resource(group, "Microsoft.Resources/deployments", name)
}

fn template(resources: Value) -> Value {
    json!({ "properties": { "mode": "Incremental", "template": {
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": resources,
    }}})
}

fn data_disk(name: &str) -> Value {
    json!({
        "type": "Microsoft.Compute/disks", "name": name, "apiVersion": DISKS, "location": "westus2",
        "properties": { "creationData": { "createOption": "Empty" }, "diskSizeGb": 1 },
    })
}

/// Asks until it has ended: the last answer, and all that it said before.
async fn follow(client: &Client, begun: &Answer) -> (Answer, Vec<String>) {
    let url = begun.header("azure-asyncoperation").unwrap().to_owned();
    let mut said = Vec::new();
    for _ in 0..500 {
        let answer = client.send(Method::GET, &url, None).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let status = answer.body["status"].as_str().unwrap().to_owned();
        if !["Accepted", "Running"].contains(&status.as_str()) {
            return (answer, said);
        }
        said.push(status);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the deployment does not end: {said:?}");
}

async fn deploy(client: &Client, name: &str, body: Value) -> Answer {
    let begun = client.put(&deployment("rg", name), DEPLOYMENTS, body).await;
    assert!(matches!(begun.status, 200 | 201), "{}", begun.body);
    assert_eq!(begun.body["properties"]["provisioningState"], "Accepted");
    follow(client, &begun).await.0
}

/// The template that `az vm create` makes: fields in its own case, nulls, references by type and
/// name in another case than the resource's.
fn machine(client: &Client) -> Value {
    let id = |kind: &str, name: &str| client.id("rg", &format!("Microsoft.Network/{kind}"), name);
    let machine = client.vm("rg", "web", "nixos");
    let mut properties = machine["properties"].clone();
    properties["networkProfile"] = json!({ "networkInterfaces": [{
        "id": id("networkInterfaces", "webVMNic"), "properties": { "deleteOption": null },
    }]});
    properties["storageProfile"]["osDisk"] = json!({
        "createOption": "fromImage", "name": null, "caching": "ReadWrite",
        "managedDisk": { "storageAccountType": null },
        "diskSizeGb": 2,
    });
    let principal = format!(
        "[reference('{}', '2019-07-01', 'Full').identity.principalId]",
        client.id("rg", "Microsoft.Compute/virtualMachines", "web")
    );
    template(json!([
        { "name": "webVNET", "type": "Microsoft.Network/virtualNetworks", "location": "westus2",
          "apiVersion": "2015-06-15", "dependsOn": [], "tags": {},
          "properties": { "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
            "subnets": [{ "name": "webSubnet", "properties": { "addressPrefix": "10.0.0.0/24" } }] } },
        { "type": "Microsoft.Network/networkSecurityGroups", "name": "webNSG", "apiVersion": "2015-06-15",
          "location": "westus2", "tags": {}, "dependsOn": [] },
        { "apiVersion": "2022-01-01", "type": "Microsoft.Network/publicIPAddresses", "name": "webPublicIP",
          "location": "westus2", "tags": {}, "dependsOn": [],
          "properties": { "publicIPAllocationMethod": "Static" }, "sku": { "name": "Standard" } },
        { "apiVersion": "2015-06-15", "type": "Microsoft.Network/networkInterfaces", "name": "webVMNic",
          "location": "westus2", "tags": {},
          "dependsOn": ["Microsoft.Network/virtualNetworks/webVNET",
            "Microsoft.Network/networkSecurityGroups/webNSG", "Microsoft.Network/publicIpAddresses/webPublicIP"],
          "properties": { "ipConfigurations": [{ "name": "ipconfigweb", "properties": {
            "privateIPAllocationMethod": "Dynamic",
            "subnet": { "id": format!("{}/subnets/webSubnet", id("virtualNetworks", "webVNET")) },
            "publicIPAddress": { "id": id("publicIPAddresses", "webPublicIP") } } }],
            "networkSecurityGroup": { "id": id("networkSecurityGroups", "webNSG") } } },
        { "apiVersion": "2026-04-01", "type": "Microsoft.Compute/virtualMachines", "name": "web",
          "location": "westus2", "tags": {}, "dependsOn": ["Microsoft.Network/networkInterfaces/webVMNic"],
          "identity": { "type": "SystemAssigned" }, "properties": properties },
        { "type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2015-07-01",
          "name": "11111111-0000-4000-8000-000000000001",
          "dependsOn": ["Microsoft.Compute/virtualMachines/web"],
          "properties": {
            "roleDefinitionId": "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'acdd72a7-3385-48ef-bd42-f606fba81ae7')]",
            "principalId": principal, "scope": "[resourceGroup().id]" } },
    ]))
}

#[tokio::test]
async fn a_machine_with_all_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let emulator = builder(dir.path())
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;

    let begun = client
        .put(
            &deployment("RG", "vm_deploy_1"),
            DEPLOYMENTS,
            machine(&client),
        )
        .await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    assert_eq!(begun.body["type"], "Microsoft.Resources/deployments");
    assert_eq!(begun.body["properties"]["provisioningState"], "Accepted");
    assert_eq!(
        begun.body["properties"]["dependencies"][0]["dependsOn"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    let url = begun.header("azure-asyncoperation").unwrap();
    assert!(
        url.contains("/resourcegroups/rg/providers/Microsoft.Resources/deployments/vm_deploy_1/operationStatuses/"),
        "{url}"
    );
    let (ended, _) = follow(&client, &begun).await;
    assert_eq!(ended.body, json!({ "status": "Succeeded" }));

    let machine = client.get(&vm("rg", "web"), COMPUTE).await.body;
    assert_eq!(machine["properties"]["provisioningState"], "Succeeded");
    assert_eq!(
        machine["properties"]["storageProfile"]["osDisk"]["diskSizeGB"],
        2
    );
    assert_eq!(machine["tags"], json!({}));
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "webVMNic");
    let nic = client.get(&nic, NETWORK).await.body;
    assert_eq!(nic["properties"]["virtualMachine"]["id"], machine["id"]);
    let assignments = "/resourceGroups/rg/providers/Microsoft.Authorization/roleAssignments";
    let assigned = client.get(assignments, "2022-04-01").await.body;
    assert_eq!(
        assigned["value"][0]["properties"]["principalId"],
        machine["identity"]["principalId"]
    );

    let path = deployment("rg", "vm_deploy_1");
    let shown = client.get(&path, DEPLOYMENTS).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Succeeded");
    assert_eq!(
        shown["properties"]["outputResources"]
            .as_array()
            .unwrap()
            .len(),
        6
    );
    let listed = client
        .get(
            "/resourceGroups/rg/providers/Microsoft.Resources/deployments/",
            DEPLOYMENTS,
        )
        .await;
    assert_eq!(listed.body["value"], json!([shown]));
    let operations = client
        .get(
            "/resourcegroups/rg/deployments/vm_deploy_1/operations",
            DEPLOYMENTS,
        )
        .await;
    let operations = operations.body["value"].as_array().unwrap().clone();
    assert_eq!(operations.len(), 7);
    assert_eq!(operations[0]["properties"]["statusCode"], "OK");
    assert_eq!(
        operations[6]["properties"]["provisioningOperation"],
        "EvaluateDeploymentOutput"
    );
    let exported = client
        .post(&format!("{path}/exportTemplate"), DEPLOYMENTS, None)
        .await;
    assert_eq!(exported.body["template"]["contentVersion"], "1.0.0.0");
    let cancelled = client
        .post(&format!("{path}/cancel"), DEPLOYMENTS, None)
        .await;
    assert_eq!(cancelled.error(), (409, "DeploymentCannotBeCancelled"));
    assert_eq!(
        client.call("HEAD", &path, DEPLOYMENTS, None).await.status,
        204
    );
    let deleted = client.delete(&path, DEPLOYMENTS).await;
    assert_eq!(deleted.status, 202);
    let location = deleted.header("location").unwrap().to_owned();
    assert_eq!(client.send(Method::GET, &location, None).await.status, 204);
    assert_eq!(
        client.get(&path, DEPLOYMENTS).await.error(),
        (404, "DeploymentNotFound")
    );
    assert_eq!(
        client.call("HEAD", &path, DEPLOYMENTS, None).await.status,
        404
    );
    assert_eq!(client.get(&vm("rg", "web"), COMPUTE).await.status, 200);
    emulator.stop().await;
}

#[tokio::test]
async fn parameters_outputs_and_what_is_there_already() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let mut body = template(json!([
        { "type": "Microsoft.Network/virtualNetworks", "apiVersion": NETWORK, "name": "[variables('net')]",
          "location": "[resourceGroup().location]",
          "properties": { "addressSpace": { "addressPrefixes": ["[parameters('space')]"] } },
          "resources": [{ "type": "subnets", "apiVersion": NETWORK, "name": "inner",
            "dependsOn": ["[variables('net')]"], "properties": { "addressPrefix": "10.0.1.0/24" } }] },
        data_disk("never"),
    ]));
    let inside = &mut body["properties"]["template"];
    inside["resources"][1]["condition"] =
        json!("[not(equals(parameters('space'), '10.0.0.0/16'))]");
    inside["variables"] = json!({ "net": "[concat('net-', toLower(parameters('Kind')))]" });
    inside["parameters"] = json!({
        "space": { "type": "string", "defaultValue": "10.0.0.0/16" },
        "kind": { "type": "string", "allowedValues": ["A", "B"] },
        "secret": { "type": "securestring" },
    });
    inside["outputs"] = json!({
        "subnet": { "type": "string", "value":
            "[reference(resourceId('Microsoft.Network/virtualNetworks/subnets', variables('net'), 'inner')).addressPrefix]" },
        "secret": { "type": "secureString", "value": "[parameters('secret')]" },
    });
    body["properties"]["parameters"] =
        json!({ "kind": { "value": "A" }, "secret": { "value": "geheim" } });

    let checked = client
        .post(
            &format!("{}/validate", deployment("rg", "one")),
            DEPLOYMENTS,
            Some(body.clone()),
        )
        .await;
    assert_eq!(checked.status, 200, "{}", checked.body);
    let ids = checked.body["properties"]["validatedResources"]
        .as_array()
        .unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(
        client
            .get(&deployment("rg", "one"), DEPLOYMENTS)
            .await
            .status,
        404
    );
    let ended = deploy(&client, "one", body.clone()).await;
    assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
    let shown = client.get(&deployment("rg", "one"), DEPLOYMENTS).await.body;
    assert_eq!(
        shown["properties"]["outputs"],
        json!({
            "subnet": { "type": "String", "value": "10.0.1.0/24" },
            "secret": { "type": "SecureString" },
        })
    );
    assert_eq!(
        shown["properties"]["parameters"],
        json!({
            "kind": { "type": "String", "value": "A" },
            "secret": { "type": "SecureString" },
            "space": { "type": "String", "value": "10.0.0.0/16" },
        })
    );
    assert!(!shown.to_string().contains("geheim"));
    assert_eq!(client.get(&disk("rg", "never"), DISKS).await.status, 404);
    // What is there is put again.
    let ended = deploy(&client, "two", body.clone()).await;
    assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);

    for (pointer, value, status, code) in [
        ("/properties/mode", json!("Complete"), 501, "NotImplemented"),
        (
            "/properties/mode",
            json!("Both"),
            400,
            "InvalidRequestContent",
        ),
        (
            "/properties/parameters/kind",
            json!({ "value": "C" }),
            400,
            "InvalidTemplate",
        ),
        (
            "/properties/parameters/more",
            json!({ "value": "C" }),
            400,
            "InvalidTemplate",
        ),
        (
            "/properties/templateLink",
            json!({ "uri": "https://x" }),
            501,
            "NotImplemented",
        ),
        (
            "/properties/template/variables/net",
            json!("[nonsense('x')]"),
            400,
            "InvalidTemplate",
        ),
        (
            "/properties/template/variables/more",
            json!("[listKeys('x', '2020-01-01')]"),
            501,
            "NotImplemented",
        ),
    ] {
        let refused = client
            .put(
                &deployment("rg", "bad"),
                DEPLOYMENTS,
                with(body.clone(), pointer, value),
            )
            .await;
        assert_eq!(
            refused.error(),
            (status, code),
            "{pointer}: {}",
            refused.body
        );
    }
    let elsewhere = client
        .put(
            "/providers/Microsoft.Resources/deployments/x",
            DEPLOYMENTS,
            body,
        )
        .await;
    assert_eq!(elsewhere.error(), (501, "NotImplemented"));
    emulator.stop().await;
}

#[tokio::test]
async fn what_takes_long_is_waited_for_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let build = || {
        builder(dir.path())
            .clock(clock.clone())
            .operation_delay(Duration::from_secs(60))
    };
    let emulator = build().start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let second = with(data_disk("second"), "/dependsOn", json!(["first"]));
    let third = with(data_disk("third"), "/dependsOn", json!(["second"]));
    let body = template(json!([third, second, data_disk("first")]));
    let path = deployment("rg", "slow");
    let begun = client.put(&path, DEPLOYMENTS, body.clone()).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let operation = begun.header("azure-asyncoperation").unwrap().to_owned();
    let said = async |client: &Client, url: &str| {
        client.send(Method::GET, url, None).await.body["status"].clone()
    };
    let there = async |client: &Client| {
        let mut there = Vec::new();
        for name in ["first", "second", "third"] {
            if client.get(&disk("rg", name), DISKS).await.status == 200 {
                there.push(name);
            }
        }
        there
    };
    assert_eq!(said(&client, &operation).await, "Running");
    assert_eq!(there(&client).await, ["first"]);
    clock.advance(Duration::from_secs(30));
    assert_eq!(there(&client).await, ["first"]);
    let active = client.put(&path, DEPLOYMENTS, body.clone()).await;
    assert_eq!(active.error(), (409, "DeploymentActive"));
    clock.advance(Duration::from_secs(31));
    assert_eq!(there(&client).await, ["first", "second"]);
    emulator.stop().await;

    // Another process goes on with it.
    let emulator = build().start().await.unwrap();
    let client = Client::new(&emulator);
    clock.advance(Duration::from_secs(61));
    assert_eq!(there(&client).await, ["first", "second", "third"]);
    let shown = client.get(&path, DEPLOYMENTS).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Running");
    clock.advance(Duration::from_secs(61));
    let shown = client.get(&path, DEPLOYMENTS).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Succeeded");

    // One that is cancelled begins nothing more.
    let body = template(json!([
        data_disk("fourth"),
        with(data_disk("fifth"), "/dependsOn", json!(["fourth"])),
    ]));
    let path = deployment("rg", "stopped");
    client.put(&path, DEPLOYMENTS, body).await;
    assert_eq!(client.get(&disk("rg", "fourth"), DISKS).await.status, 200);
    let cancelled = client
        .post(&format!("{path}/cancel"), DEPLOYMENTS, None)
        .await;
    assert_eq!(cancelled.status, 204);
    clock.advance(Duration::from_secs(200));
    assert_eq!(client.get(&disk("rg", "fifth"), DISKS).await.status, 404);
    let shown = client.get(&path, DEPLOYMENTS).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Canceled");
    let deleted = client.delete(&group("rg"), RESOURCES).await;
    assert_eq!(deleted.status, 202);
    emulator.stop().await;
}

#[tokio::test]
async fn a_failure_is_told_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .deny("Microsoft.Network/*/write")
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let wrong = with(data_disk("wrong"), "/properties/bogus", json!(1));
    let network = json!({
        "type": "Microsoft.Network/networkSecurityGroups", "name": "n", "apiVersion": NETWORK,
        "location": "westus2", "properties": {},
    });
    let ended = deploy(
        &client,
        "bad",
        template(json!([
            data_disk("good"),
            wrong,
            network,
            with(data_disk("after"), "/dependsOn", json!(["wrong"])),
        ])),
    )
    .await;
    assert_eq!(ended.body["status"], "Failed");
    let error = &ended.body["error"];
    assert_eq!(error["code"], "DeploymentFailed");
    let codes: Vec<&Value> = error["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| &detail["code"])
        .collect();
    assert_eq!(codes, ["InvalidRequestContent", "AuthorizationFailed"]);
    let shown = client.get(&deployment("rg", "bad"), DEPLOYMENTS).await.body;
    assert_eq!(shown["properties"]["error"], *error);
    assert_eq!(client.get(&disk("rg", "good"), DISKS).await.status, 200);
    assert_eq!(client.get(&disk("rg", "after"), DISKS).await.status, 404);
    let operations = client
        .get(
            &format!("{}/operations", deployment("rg", "bad")),
            DEPLOYMENTS,
        )
        .await
        .body;
    let failed = &operations["value"][1];
    assert_eq!(failed["properties"]["statusCode"], "BadRequest");
    assert_eq!(
        failed["properties"]["statusMessage"]["error"]["code"],
        "InvalidRequestContent"
    );
    let one = failed["id"].as_str().unwrap();
    let url = format!("{}{one}?api-version={DEPLOYMENTS}", client.base);
    assert_eq!(client.send(Method::GET, &url, None).await.body, *failed);

    // A circle by reference() is only found when nothing else is left to do.
    let refers = |name: &str, to: &str| {
        with(
            data_disk(name),
            "/tags",
            json!({ "x": format!("[reference('{to}').diskState]") }),
        )
    };
    let ended = deploy(
        &client,
        "circle",
        template(json!([refers("a", "b"), refers("b", "a")])),
    )
    .await;
    assert_eq!(ended.body["error"]["code"], "InvalidTemplate");
    emulator.stop().await;
}
