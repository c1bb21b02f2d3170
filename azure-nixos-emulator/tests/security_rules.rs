//! The rules of a network security group, one by one, as clients write them.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

mod common;

use azure_nixos_emulator::Emulator;
use common::{Client, NETWORK, builder};
use serde_json::{Value, json};

const NSG: &str = "/resourceGroups/net/providers/Microsoft.Network/networkSecurityGroups/nsg";

fn rule(priority: u32, ports: &str) -> Value {
    json!({ "properties": {
        "protocol": "tcp", "access": "Allow", "direction": "Inbound", "priority": priority,
        "sourcePortRange": "*", "destinationPortRange": ports,
        "sourceAddressPrefix": "*", "destinationAddressPrefix": "*",
    } })
}

async fn start(place: &std::path::Path) -> (Emulator, Client) {
    let emulator = builder(place).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("net").await;
    let made = client
        .put(NSG, NETWORK, json!({ "location": "westus2" }))
        .await;
    client.succeed(made).await;
    (emulator, client)
}

#[tokio::test]
async fn a_rule_is_made_changed_and_taken_away() {
    let place = tempfile::tempdir().unwrap();
    let (_emulator, client) = start(place.path()).await;
    let path = format!("{NSG}/securityRules/ssh");

    let made = client.put(&path, NETWORK, rule(1000, "22")).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["properties"]["provisioningState"], "Updating");
    assert_eq!(
        made.body["id"],
        format!("/subscriptions/{}{path}", client.subscription)
    );
    client.succeed(made).await;
    let got = client.get(&path, NETWORK).await;
    assert_eq!(got.body["properties"]["provisioningState"], "Succeeded");
    assert_eq!(got.body["properties"]["protocol"], "Tcp");
    assert_eq!(got.body["properties"]["sourcePortRanges"], json!([]));
    // The group shows it, and it is in the list.
    let nsg = client.get(NSG, NETWORK).await.body;
    assert_eq!(nsg["properties"]["securityRules"], json!([got.body]));
    let list = client.get(&format!("{NSG}/securityRules"), NETWORK).await;
    assert_eq!(list.body, json!({ "value": [got.body] }));

    let changed = client.put(&path, NETWORK, rule(1000, "22-23")).await;
    assert_eq!(changed.status, 200);
    client.succeed(changed).await;
    let got = client.get(&path, NETWORK).await;
    assert_eq!(got.body["properties"]["destinationPortRange"], "22-23");

    let deleted = client.delete(&path, NETWORK).await;
    assert_eq!(deleted.status, 202);
    let location = deleted.header("location").unwrap().to_owned();
    client.succeed(deleted).await;
    let ended = client.send(reqwest::Method::GET, &location, None).await;
    assert_eq!(ended.status, 204);
    assert_eq!(client.get(&path, NETWORK).await.error(), (404, "NotFound"));
    assert_eq!(client.delete(&path, NETWORK).await.status, 204);
}

#[tokio::test]
async fn a_rule_that_cannot_be_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (_emulator, client) = start(place.path()).await;
    let path = format!("{NSG}/securityRules/ssh");
    let made = client.put(&path, NETWORK, rule(1000, "22")).await;
    client.succeed(made).await;

    let other = format!("{NSG}/securityRules/web");
    for (body, code) in [
        (rule(1000, "80"), "SecurityRuleConflict"),
        (rule(99, "80"), "SecurityRuleInvalidPriority"),
        (rule(1001, "80-79"), "SecurityRuleInvalidPortRange"),
    ] {
        let refused = client.put(&other, NETWORK, body).await;
        assert_eq!(refused.error(), (400, code));
    }
    assert_eq!(client.get(&other, NETWORK).await.status, 404);
    let nsg = client.get(NSG, NETWORK).await.body;
    assert_eq!(
        nsg["properties"]["securityRules"].as_array().unwrap().len(),
        1
    );
    let missing = other.replace("/nsg/", "/none/");
    let refused = client.put(&missing, NETWORK, rule(1001, "80")).await;
    assert_eq!(refused.error(), (404, "ResourceNotFound"));
}

#[tokio::test]
async fn the_rules_that_every_group_ends_with_can_be_read() {
    let place = tempfile::tempdir().unwrap();
    let (_emulator, client) = start(place.path()).await;
    let path = format!("{NSG}/defaultSecurityRules");
    let list = client.get(&path, NETWORK).await;
    assert_eq!(list.body["value"].as_array().unwrap().len(), 6);
    let one = client.get(&format!("{path}/DenyAllInBound"), NETWORK).await;
    assert_eq!(one.body["properties"]["priority"], 65500);
    let none = client.get(&format!("{path}/none"), NETWORK).await;
    assert_eq!(none.error(), (404, "NotFound"));
    let fixed = client
        .delete(&format!("{path}/DenyAllInBound"), NETWORK)
        .await;
    assert_eq!(fixed.status, 404);
}
