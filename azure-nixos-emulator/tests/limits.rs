//! What the subscription may have: its state, quotas, sizes that it may not use, and the permissions
//! of the caller.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

mod common;

use azure_nixos_emulator::EmulatorBuilder;
use common::{COMPUTE, Client, NETWORK, RESOURCES, SUBSCRIPTIONS, builder, group, resource};
use reqwest::Method;
use serde_json::{Value, json};

const AUTHORIZATION: &str = "2022-04-01";
const SKUS: &str = "2021-07-01";

async fn start(
    settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder,
) -> (tempfile::TempDir, azure_nixos_emulator::Emulator, Client) {
    let dir = tempfile::tempdir().unwrap();
    let emulator = settings(builder(dir.path())).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    (dir, emulator, client)
}

fn address(name: &str) -> String {
    resource("rg", "Microsoft.Network/publicIPAddresses", name)
}

async fn usage(client: &Client, namespace: &str, version: &str, name: &str) -> Value {
    let path = format!("/providers/{namespace}/locations/WestUS2/usages");
    let answer = client.get(&path, version).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let all = answer.body["value"].as_array().unwrap();
    let found = all.iter().find(|usage| usage["name"]["value"] == name);
    found.unwrap_or_else(|| panic!("{all:?}")).clone()
}

#[tokio::test]
async fn permissions_are_everything_but_what_is_denied() {
    let (_dir, _emulator, client) = start(|builder| {
        builder
            .deny("Microsoft.Compute/disks/beginGetAccess/action")
            .deny("Microsoft.Network/*/write")
    })
    .await;
    for scope in [String::new(), group("RG")] {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        let answer = client.get(&path, AUTHORIZATION).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            answer.body["value"],
            json!([{
                "actions": ["*"],
                "notActions": [
                    "Microsoft.Compute/disks/beginGetAccess/action",
                    "Microsoft.Network/*/write",
                ],
                "dataActions": [],
                "notDataActions": [],
            }])
        );
    }
    let elsewhere = format!(
        "{}/providers/Microsoft.Authorization/permissions",
        group("no")
    );
    let answer = client.get(&elsewhere, AUTHORIZATION).await;
    assert_eq!(answer.error(), (404, "ResourceGroupNotFound"));
    let answer = client.get(&elsewhere, "2024-01-01").await;
    assert_eq!(answer.error(), (404, "InvalidResourceType"));
}

#[tokio::test]
async fn permissions_can_be_denied_too() {
    let (_dir, _emulator, client) =
        start(|builder| builder.deny("Microsoft.Authorization/permissions/read")).await;
    let path = format!(
        "{}/providers/Microsoft.Authorization/permissions",
        group("rg")
    );
    let answer = client.get(&path, AUTHORIZATION).await;
    assert_eq!(answer.error(), (403, "AuthorizationFailed"));
}

#[tokio::test]
async fn addresses_are_counted_and_limited() {
    let (_dir, _emulator, client) =
        start(|builder| builder.quota("standardskupublicipaddresses", 1)).await;
    let name = "StandardSkuPublicIpAddresses";
    let before = usage(&client, "Microsoft.Network", NETWORK, name).await;
    assert_eq!(
        (&before["currentValue"], &before["limit"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(before["unit"], "Count");
    let body = json!({
        "location": "westus2", "sku": { "name": "Standard" },
        "properties": { "publicIPAllocationMethod": "Static" },
    });
    let made = client.put(&address("a"), NETWORK, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let after = usage(&client, "Microsoft.Network", NETWORK, name).await;
    assert_eq!(after["currentValue"], 1);
    let all = usage(&client, "Microsoft.Network", NETWORK, "PublicIPAddresses").await;
    assert_eq!(
        (&all["currentValue"], &all["limit"]),
        (&json!(1), &json!(1000))
    );

    let refused = client.put(&address("b"), NETWORK, body.clone()).await;
    assert_eq!(refused.error(), (400, "PublicIPCountLimitReached"));
    // What is there can be changed, and another SKU or region counts by itself.
    assert_eq!(client.put(&address("a"), NETWORK, body).await.status, 200);
    let basic = json!({ "location": "westus2" });
    assert_eq!(client.put(&address("c"), NETWORK, basic).await.status, 201);
}

#[tokio::test]
async fn cores_are_limited_in_all_and_by_family() {
    let (_dir, _emulator, client) =
        start(|builder| builder.quota("cores", 50).quota("standardDSv5Family", 3)).await;
    let cores = usage(&client, "Microsoft.Compute", COMPUTE, "cores").await;
    assert_eq!(cores["limit"], 50);
    let family = usage(&client, "Microsoft.Compute", COMPUTE, "standardDSv5Family").await;
    assert_eq!(family["limit"], 3);
    let other = usage(&client, "Microsoft.Compute", COMPUTE, "standardDASv5Family").await;
    assert_eq!(other["limit"], 100);
    for (size, words) in [
        ("Standard_D4s_v5", "approved standardDSv5Family Cores quota"),
        (
            "Standard_D64s_v5",
            "quota limits of Core. Maximum allowed: 50",
        ),
    ] {
        let path = resource("rg", "Microsoft.Compute/virtualMachines", "vm");
        let body = json!({ "location": "westus2", "properties": { "hardwareProfile": { "vmSize": size } } });
        let answer = client.put(&path, COMPUTE, body).await;
        assert_eq!(answer.error(), (409, "OperationNotAllowed"), "{size}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn a_restricted_size_is_listed_as_such_and_refused() {
    let (_dir, _emulator, client) = start(|builder| builder.restrict_size("standard_b1s")).await;
    let url = format!(
        "{}/subscriptions/{}/providers/Microsoft.Compute/skus?api-version={SKUS}&$filter=location%20eq%20'westus2'",
        client.base, client.subscription
    );
    let answer = client.send(Method::GET, &url, None).await;
    let all = answer.body["value"].as_array().unwrap();
    for sku in all {
        let expected = if sku["name"] == "Standard_B1s" {
            json!([{
                "type": "Location", "values": ["westus2"],
                "restrictionInfo": { "locations": ["westus2"] },
                "reasonCode": "NotAvailableForSubscription",
            }])
        } else {
            json!([])
        };
        assert_eq!(sku["restrictions"], expected, "{}", sku["name"]);
    }
    let path = resource("rg", "Microsoft.Compute/virtualMachines", "vm");
    let body = json!({ "location": "westus2", "properties": { "hardwareProfile": { "vmSize": "Standard_B1s" } } });
    let answer = client.put(&path, COMPUTE, body).await;
    assert_eq!(answer.error(), (409, "SkuNotAvailable"));
}

#[tokio::test]
async fn a_disabled_subscription_can_only_be_read() {
    for (state, writes) in [("Disabled", false), ("Warned", true)] {
        let dir = tempfile::tempdir().unwrap();
        let emulator = builder(dir.path())
            .subscription_state(state)
            .start()
            .await
            .unwrap();
        let client = Client::new(&emulator);
        assert_eq!(client.get("", SUBSCRIPTIONS).await.body["state"], state);
        let answer = client
            .put(&group("rg"), RESOURCES, json!({ "location": "westus2" }))
            .await;
        if writes {
            assert_eq!(answer.status, 201);
        } else {
            assert_eq!(answer.error(), (409, "ReadOnlyDisabledSubscription"));
        }
    }
}
