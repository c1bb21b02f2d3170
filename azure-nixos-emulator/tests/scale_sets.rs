//! Scale sets: the model, its copies, and how they grow, shrink and change.

#![allow(
    clippy::unwrap_used,
    reason = "an answer without what it has to have is a test that fails"
)]

mod common;

use common::{COMPUTE, Client, NETWORK, builder, prepared, resource, with};
use serde_json::{Value, json};

fn set() -> String {
    resource("rg", "Microsoft.Compute/virtualMachineScaleSets", "set")
}

fn model(client: &Client, capacity: u64) -> Value {
    let machine = client.vm("rg", "web", "nixos")["properties"].clone();
    let mut os = machine["osProfile"].clone();
    let name = os.as_object_mut().unwrap().remove("computerName").unwrap();
    os["computerNamePrefix"] = name;
    let network = client.id("rg", "Microsoft.Network/virtualNetworks", "web");
    json!({
        "location": "West US 2",
        "sku": { "name": "standard_b1s", "capacity": capacity },
        "properties": {
            "orchestrationMode": "uniform",
            "upgradePolicy": { "mode": "Manual" },
            "virtualMachineProfile": {
                "storageProfile": machine["storageProfile"],
                "osProfile": os,
                "networkProfile": { "networkInterfaceConfigurations": [{
                    "name": "nic", "properties": { "primary": true, "ipConfigurations": [{
                        "name": "ip", "properties": { "subnet": { "id": format!("{network}/subnets/default") } },
                    }]},
                }]},
            },
        },
    })
}

async fn machines(client: &Client) -> Vec<Value> {
    let path = format!("{}/virtualMachines?$expand=instanceView", set());
    let listed = client.get(&path, COMPUTE).await.body;
    listed["value"].as_array().unwrap().clone()
}

fn names(machines: &[Value]) -> Vec<&str> {
    machines
        .iter()
        .map(|machine| machine["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_set_grows_and_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let made = client.put(&set(), COMPUTE, model(&client, 2)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["properties"]["provisioningState"], "Creating");
    assert_eq!(
        made.body["sku"],
        json!({ "name": "Standard_B1s", "tier": "Standard", "capacity": 2 })
    );
    let profile = &made.body["properties"]["virtualMachineProfile"];
    assert!(profile["osProfile"].get("customData").is_none());
    assert_eq!(profile["osProfile"]["computerNamePrefix"], "web");
    assert_eq!(profile["storageProfile"]["osDisk"]["osType"], "Linux");
    client.succeed(made).await;

    let all = machines(&client).await;
    assert_eq!(names(&all), ["set_0", "set_1"]);
    assert_eq!(all[1]["instanceId"], "1");
    assert_eq!(
        all[1]["properties"]["osProfile"]["computerName"],
        "web000001"
    );
    assert_eq!(all[1]["properties"]["latestModelApplied"], true);
    assert_eq!(
        all[1]["properties"]["instanceView"]["statuses"][1]["code"],
        "PowerState/running"
    );
    let one = client
        .get(&format!("{}/virtualMachines/1", set()), COMPUTE)
        .await;
    assert_eq!(one.body["name"], "set_1");
    let none = client
        .get(&format!("{}/virtualMachines/7", set()), COMPUTE)
        .await;
    assert_eq!(none.error(), (404, "NotFound"));
    let view = client
        .get(&format!("{}/instanceView", set()), COMPUTE)
        .await
        .body;
    assert_eq!(view["virtualMachine"]["statusesSummary"][0]["count"], 2);

    let resize = async |capacity: u64| {
        client
            .call(
                "PATCH",
                &set(),
                COMPUTE,
                Some(json!({ "sku": { "capacity": capacity } })),
            )
            .await
    };
    let begun = resize(3).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    assert_eq!(names(&machines(&client).await), ["set_0", "set_1", "set_2"]);
    let begun = client
        .delete(&format!("{}/virtualMachines/1", set()), COMPUTE)
        .await;
    assert_eq!(begun.status, 202);
    client.succeed(begun).await;
    assert_eq!(names(&machines(&client).await), ["set_0", "set_2"]);
    assert_eq!(client.get(&set(), COMPUTE).await.body["sku"]["capacity"], 2);
    // A number is not given again.
    let begun = resize(3).await;
    client.succeed(begun).await;
    assert_eq!(names(&machines(&client).await), ["set_0", "set_2", "set_3"]);
    let begun = resize(1).await;
    client.succeed(begun).await;
    assert_eq!(names(&machines(&client).await), ["set_0"]);
    assert_eq!(resize(101).await.error(), (409, "OperationNotAllowed"));
    assert_eq!(resize(1001).await.error(), (400, "InvalidParameter"));
    let usages = client
        .get(
            "/providers/Microsoft.Compute/locations/westus2/usages",
            COMPUTE,
        )
        .await
        .body;
    assert_eq!(usages["value"][0]["currentValue"], 1);

    let listed = client
        .get(
            "/providers/Microsoft.Compute/virtualMachineScaleSets",
            COMPUTE,
        )
        .await;
    assert_eq!(listed.body["value"].as_array().unwrap().len(), 1);
    let begun = client.delete(&set(), COMPUTE).await;
    assert_eq!(begun.status, 202);
    client.succeed(begun).await;
    assert_eq!(client.get(&set(), COMPUTE).await.status, 404);
    assert_eq!(client.delete(&set(), COMPUTE).await.status, 204);
    emulator.stop().await;
}

#[tokio::test]
async fn machines_of_a_set_are_started_stopped_and_upgraded() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let made = client.put(&set(), COMPUTE, model(&client, 2)).await;
    client.succeed(made).await;
    let act = async |what: &str, body: Option<Value>| {
        client
            .post(&format!("{}/{what}", set()), COMPUTE, body)
            .await
    };
    let states = async || -> Vec<String> {
        machines(&client)
            .await
            .iter()
            .map(|one| {
                let view = &one["properties"]["instanceView"];
                view["statuses"][1]["code"].as_str().unwrap().to_owned()
            })
            .collect()
    };
    for (what, body, expected) in [
        (
            "deallocate",
            None,
            ["PowerState/deallocated", "PowerState/deallocated"],
        ),
        (
            "start",
            Some(json!({ "instanceIds": ["1"] })),
            ["PowerState/deallocated", "PowerState/running"],
        ),
        (
            "virtualMachines/0/start",
            None,
            ["PowerState/running", "PowerState/running"],
        ),
        (
            "virtualMachines/1/powerOff",
            None,
            ["PowerState/running", "PowerState/stopped"],
        ),
    ] {
        let begun = act(what, body).await;
        assert_eq!(begun.status, 202, "{what}: {}", begun.body);
        assert!(begun.header("location").is_some());
        client.succeed(begun).await;
        assert_eq!(states().await, expected, "{what}");
    }
    assert_eq!(act("reimage", None).await.error(), (501, "NotImplemented"));
    assert_eq!(act("delete", None).await.error(), (400, "InvalidParameter"));
    let missing = act("start", Some(json!({ "instanceIds": ["9"] }))).await;
    assert_eq!(missing.error(), (404, "NotFound"));

    // A new model is the machines' own once they are upgraded.
    let changed = json!({ "properties": { "virtualMachineProfile": { "diagnosticsProfile": {
        "bootDiagnostics": { "enabled": true } } } } });
    let begun = client.call("PATCH", &set(), COMPUTE, Some(changed)).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    let latest = async || -> Vec<Value> {
        machines(&client)
            .await
            .iter()
            .map(|one| one["properties"]["latestModelApplied"].clone())
            .collect()
    };
    assert_eq!(latest().await, [false, false]);
    let begun = act("manualupgrade", Some(json!({ "instanceIds": ["0"] }))).await;
    client.succeed(begun).await;
    assert_eq!(latest().await, [true, false]);
    // What a GET shows can be put again, and changes nothing.
    let shown = client.get(&set(), COMPUTE).await.body;
    let again = client.put(&set(), COMPUTE, shown).await;
    assert_eq!(again.status, 200, "{}", again.body);
    client.succeed(again).await;
    assert_eq!(latest().await, [true, false]);

    let network = resource("rg", "Microsoft.Network/virtualNetworks", "web");
    let refused = client.delete(&network, NETWORK).await;
    assert_eq!(refused.error(), (400, "InUseSubnetCannotBeDeleted"));
    let begun = act("delete", Some(json!({ "instanceIds": ["*"] }))).await;
    client.succeed(begun).await;
    assert!(machines(&client).await.is_empty());
    emulator.stop().await;
}

#[tokio::test]
async fn a_model_has_to_be_good() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let good = model(&client, 1);
    let profile = "/properties/virtualMachineProfile";
    for (pointer, value, status, code) in [
        (
            "/properties/orchestrationMode".to_owned(),
            json!("Flexible"),
            400,
            "InvalidParameter",
        ),
        (
            "/sku/name".to_owned(),
            json!("Standard_None"),
            409,
            "SkuNotAvailable",
        ),
        (
            "/sku/capacity".to_owned(),
            Value::Null,
            400,
            "InvalidParameter",
        ),
        (profile.to_owned(), Value::Null, 400, "InvalidParameter"),
        (
            format!("{profile}/bogus"),
            json!(1),
            400,
            "InvalidRequestContent",
        ),
        (
            format!("{profile}/storageProfile/osDisk/bogus"),
            json!(1),
            400,
            "InvalidRequestContent",
        ),
        (
            format!("{profile}/storageProfile/imageReference/id"),
            json!(client.id("rg", "Microsoft.Compute/images", "none")),
            404,
            "NotFound",
        ),
        (
            format!("{profile}/osProfile/adminUsername"),
            json!("root"),
            400,
            "InvalidParameter",
        ),
        (
            format!("{profile}/osProfile/computerNamePrefix"),
            json!("a".repeat(59)),
            400,
            "InvalidParameter",
        ),
        (
            format!("{profile}/networkProfile/networkInterfaceConfigurations"),
            json!([]),
            400,
            "InvalidParameter",
        ),
        (
            format!(
                "{profile}/networkProfile/networkInterfaceConfigurations/0/properties/ipConfigurations/0/properties/subnet/id"
            ),
            json!(format!(
                "{}/subnets/none",
                client.id("rg", "Microsoft.Network/virtualNetworks", "web")
            )),
            400,
            "InvalidResourceReference",
        ),
        (
            format!("{profile}/extensionProfile"),
            json!({ "extensions": [{ "name": "x" }] }),
            501,
            "NotImplemented",
        ),
    ] {
        let body = if pointer.contains("/0/") {
            let mut body = good.clone();
            *body.pointer_mut(&pointer).unwrap() = value;
            body
        } else {
            with(good.clone(), &pointer, value)
        };
        let refused = client.put(&set(), COMPUTE, body).await;
        assert_eq!(
            refused.error(),
            (status, code),
            "{pointer}: {}",
            refused.body
        );
    }
    assert_eq!(client.get(&set(), COMPUTE).await.status, 404);
    emulator.stop().await;
}
