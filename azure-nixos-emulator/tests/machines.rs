//! What changes on a machine that exists: disks, interfaces, sizes.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be set up is a test that fails"
)]

mod common;

use azure_nixos_emulator::Emulator;
use common::{Answer, COMPUTE, Client, DISKS, NETWORK, builder, disk, prepared, resource, vm};
use serde_json::{Value, json};

/// A machine `web` with everything below it.
async fn started(dir: &std::path::Path) -> (Emulator, Client) {
    let (emulator, client) = prepared(builder(dir)).await;
    let made = client
        .put(&vm("rg", "web"), COMPUTE, client.vm("rg", "web", "nixos"))
        .await;
    client.succeed(made).await;
    (emulator, client)
}

async fn empty_disk(client: &Client, name: &str) {
    let made = client
        .put(
            &disk("rg", name),
            DISKS,
            json!({ "location": "westus2", "properties": {
                "creationData": { "createOption": "Empty" }, "diskSizeGB": 1,
            }}),
        )
        .await;
    client.succeed(made).await;
}

async fn patch(client: &Client, properties: Value) -> Answer {
    client
        .call(
            "PATCH",
            &vm("rg", "web"),
            COMPUTE,
            Some(json!({ "properties": properties })),
        )
        .await
}

async fn state_of(client: &Client, name: &str) -> (Value, bool) {
    let body = client.get(&disk("rg", name), DISKS).await.body;
    (
        body["properties"]["diskState"].clone(),
        body["managedBy"].is_string(),
    )
}

#[tokio::test]
async fn data_disks_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    for name in ["one", "two"] {
        empty_disk(&client, name).await;
    }
    let attached = json!("Attached");
    let free = (json!("Unattached"), false);
    let id = |name: &str| client.id("rg", "Microsoft.Compute/disks", name);
    let attach = |lun: u64, name: &str| json!({ "lun": lun, "createOption": "Attach", "managedDisk": { "id": id(name) } });
    let disks = |list: Value| json!({ "storageProfile": { "dataDisks": list } });
    let luns = async || -> Vec<Value> {
        let body = client.get(&vm("rg", "web"), COMPUTE).await.body;
        body["properties"]["storageProfile"]["dataDisks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|disk| json!([disk["lun"], disk["name"], disk["caching"]]))
            .collect()
    };

    let begun = patch(
        &client,
        disks(json!([attach(0, "one"), { "lun": 3, "name": "made", "createOption": "Empty", "diskSizeGB": 2 }])),
    )
    .await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    assert_eq!(
        luns().await,
        [json!([0, "one", "None"]), json!([3, "made", "None"])]
    );
    assert_eq!(state_of(&client, "one").await, (attached.clone(), true));
    assert_eq!(state_of(&client, "made").await, (attached.clone(), true));
    let refused = client.delete(&disk("rg", "one"), DISKS).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));

    // A PUT of what a GET showed changes nothing; less of it detaches.
    let mut shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
    let again = client.put(&vm("rg", "web"), COMPUTE, shown.clone()).await;
    assert_eq!(again.status, 200, "{}", again.body);
    client.succeed(again).await;
    assert_eq!(luns().await.len(), 2);
    let list = &mut shown["properties"]["storageProfile"]["dataDisks"];
    list[0]["toBeDetached"] = json!(true);
    list[1]["caching"] = json!("ReadOnly");
    let begun = client.put(&vm("rg", "web"), COMPUTE, shown).await;
    client.succeed(begun).await;
    assert_eq!(luns().await, [json!([3, "made", "ReadOnly"])]);
    assert_eq!(state_of(&client, "one").await, free);

    for (list, status, code) in [
        (json!([attach(3, "one")]), 200, ""),
        (
            json!([attach(0, "two"), { "lun": 0, "createOption": "Empty", "diskSizeGB": 1 }]),
            400,
            "InvalidParameter",
        ),
        (json!([attach(0, "none")]), 404, "NotFound"),
        (
            json!(
                [0, 1, 2, 3, 4]
                    .map(|lun| json!({ "lun": lun, "createOption": "Empty", "diskSizeGB": 1 }))
            ),
            409,
            "OperationNotAllowed",
        ),
    ] {
        let answer = patch(&client, disks(list)).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        if status == 200 {
            // Another disk at the same place takes it.
            client.succeed(answer).await;
            assert_eq!(luns().await, [json!([3, "one", "None"])]);
            assert_eq!(state_of(&client, "made").await, free);
        } else {
            assert_eq!(answer.error().1, code);
            assert_eq!(luns().await, [json!([3, "one", "None"])]);
            assert_eq!(state_of(&client, "two").await, free);
        }
    }

    let change = format!("{}/attachDetachDataDisks", vm("rg", "web"));
    let act = async |body: Value| client.post(&change, COMPUTE, Some(body)).await;
    let begun = act(json!({
        "dataDisksToAttach": [{ "diskId": id("two") }],
        "dataDisksToDetach": [{ "diskId": id("one") }],
    }))
    .await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let location = begun.header("location").unwrap().to_owned();
    client.succeed(begun).await;
    let profile = client
        .send(reqwest::Method::GET, &location, None)
        .await
        .body;
    assert_eq!(profile["dataDisks"][0]["name"], "two");
    assert_eq!(luns().await, [json!([0, "two", "None"])]);
    assert_eq!(state_of(&client, "one").await, free);
    for (body, status) in [
        (
            json!({ "dataDisksToDetach": [{ "diskId": id("one") }] }),
            400,
        ),
        (
            json!({ "dataDisksToAttach": [{ "diskId": id("two") }] }),
            409,
        ),
        (
            json!({ "dataDisksToAttach": [{ "diskId": id("one"), "lun": 0 }] }),
            400,
        ),
        (json!({ "dataDisksToAttach": [{}] }), 400),
    ] {
        let refused = act(body).await;
        assert_eq!(refused.status, status, "{}", refused.body);
    }
    emulator.stop().await;
}

#[tokio::test]
async fn interfaces_change_while_the_machine_is_deallocated() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    let nic = |name: &str| client.id("rg", "Microsoft.Network/networkInterfaces", name);
    let mut second = client.nic("rg", "web");
    let configuration = second["properties"]["ipConfigurations"][0]["properties"]
        .as_object_mut()
        .unwrap();
    configuration.remove("publicIPAddress");
    let path = resource("rg", "Microsoft.Network/networkInterfaces", "second");
    let made = client.put(&path, NETWORK, second).await;
    client.succeed(made).await;
    let both = json!({ "networkProfile": { "networkInterfaces": [
        { "id": nic("web"), "properties": { "primary": true } },
        { "id": nic("second"), "properties": { "primary": false } },
    ]}});
    let refused = patch(&client, both.clone()).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));
    let stopped = client
        .post(&format!("{}/deallocate", vm("rg", "web")), COMPUTE, None)
        .await;
    client.succeed(stopped).await;
    let begun = patch(&client, both).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    let shown = client.get(&path, NETWORK).await.body;
    assert!(shown["properties"]["virtualMachine"]["id"].is_string());
    assert_eq!(shown["properties"]["primary"], false);
    let refused = client.delete(&path, NETWORK).await;
    assert_eq!(refused.error(), (400, "NicInUse"));
    let one = json!({ "networkProfile": { "networkInterfaces": [{ "id": nic("second") }] } });
    let begun = patch(&client, one).await;
    client.succeed(begun).await;
    let web = resource("rg", "Microsoft.Network/networkInterfaces", "web");
    let shown = client.get(&web, NETWORK).await.body;
    assert!(shown["properties"].get("virtualMachine").is_none());
    let none = json!({ "networkProfile": { "networkInterfaces": [] } });
    assert_eq!(patch(&client, none).await.status, 400);

    let sizes = client
        .get(&format!("{}/vmSizes", vm("rg", "web")), COMPUTE)
        .await
        .body;
    assert!(sizes["value"].as_array().unwrap().len() > 10);
    let extensions = format!("{}/extensions", vm("rg", "web"));
    assert_eq!(
        client.get(&extensions, COMPUTE).await.body,
        json!({ "value": [] })
    );
    let refused = client
        .put(&format!("{extensions}/x"), COMPUTE, json!({}))
        .await;
    assert_eq!(refused.error(), (501, "NotImplemented"));
    emulator.stop().await;
}

#[tokio::test]
async fn a_key_pair_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let path = resource("rg", "Microsoft.Compute/sshPublicKeys", "key");
    let at = json!({ "location": "westus2" });
    let made = client.put(&path, COMPUTE, at.clone()).await;
    assert_eq!((made.status, &made.body["properties"]), (201, &json!({})));
    let generate = format!("{path}/generateKeyPair");
    let refused = client.post(&generate, COMPUTE, None).await;
    assert_eq!(refused.error(), (501, "NotImplemented"));
    let kind = json!({ "encryptionType": "ed25519" });
    let made = client.post(&generate, COMPUTE, Some(kind.clone())).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let private = made.body["privateKey"].as_str().unwrap();
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    let public = made.body["publicKey"].clone();
    assert!(public.as_str().unwrap().starts_with("ssh-ed25519 "));
    assert_eq!(
        client.get(&path, COMPUTE).await.body["properties"]["publicKey"],
        public
    );
    let again = client.post(&generate, COMPUTE, Some(kind)).await;
    assert_eq!(again.error(), (409, "OperationNotAllowed"));
    let bad = json!({ "properties": { "publicKey": "ssh-rsa nonsense" } });
    let refused = client.call("PATCH", &path, COMPUTE, Some(bad)).await;
    assert_eq!(refused.error(), (400, "InvalidParameter"));
    let tagged = json!({ "location": "westus2", "tags": { "a": "b" } });
    let updated = client.put(&path, COMPUTE, tagged).await;
    assert_eq!(
        (updated.status, &updated.body["properties"]["publicKey"]),
        (200, &public)
    );
    let listed = client
        .get("/providers/Microsoft.Compute/sshPublicKeys", COMPUTE)
        .await;
    assert_eq!(listed.body["value"], json!([updated.body]));
    assert_eq!(client.delete(&path, COMPUTE).await.status, 200);
    assert_eq!(client.delete(&path, COMPUTE).await.status, 204);
    emulator.stop().await;
}

#[tokio::test]
async fn rules_of_a_security_group_are_set_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    let nsg = resource("rg", "Microsoft.Network/networkSecurityGroups", "web");
    let rules = format!("{nsg}/securityRules");
    let rule = |priority: u64, port: &str| {
        json!({ "properties": {
            "protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": priority,
            "sourceAddressPrefix": "*", "sourcePortRange": "*",
            "destinationAddressPrefix": "*", "destinationPortRange": port,
        }})
    };
    let web = format!("{rules}/web");
    let made = client.put(&web, NETWORK, rule(200, "80")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["properties"]["provisioningState"], "Updating");
    client.succeed(made).await;
    let shown = client.get(&web, NETWORK).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Succeeded");
    assert_eq!(shown["properties"]["destinationPortRange"], "80");
    let again = client.put(&web, NETWORK, rule(201, "81")).await;
    assert_eq!(again.status, 200, "{}", again.body);
    client.succeed(again).await;
    let listed = client.get(&rules, NETWORK).await.body;
    let names: Vec<&Value> = listed["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["name"])
        .collect();
    assert_eq!(names, ["ssh", "web"]);
    let defaults = client
        .get(&format!("{nsg}/defaultSecurityRules"), NETWORK)
        .await
        .body;
    assert_eq!(defaults["value"].as_array().map(Vec::len), Some(6));
    for (name, body, code) in [
        ("more", rule(201, "82"), "SecurityRuleConflict"),
        ("more", rule(5, "82"), "SecurityRuleInvalidPriority"),
        ("more", rule(300, "x"), "SecurityRuleInvalidPortRange"),
        ("-more", rule(300, "82"), "InvalidResourceName"),
    ] {
        let refused = client.put(&format!("{rules}/{name}"), NETWORK, body).await;
        assert_eq!(refused.error(), (400, code), "{}", refused.body);
    }
    let gone = client.delete(&web, NETWORK).await;
    assert_eq!(gone.status, 202);
    client.follow(&gone).await;
    assert_eq!(client.get(&web, NETWORK).await.error(), (404, "NotFound"));
    assert_eq!(client.delete(&web, NETWORK).await.status, 204);
    // Who knows no version of a type finds one with its provider.
    let provider = client
        .get("/providers/microsoft.network", "2022-09-01")
        .await
        .body;
    let kinds = provider["resourceTypes"].as_array().unwrap();
    let kind = kinds
        .iter()
        .find(|kind| kind["resourceType"] == "networkSecurityGroups")
        .unwrap();
    let newest = kind["apiVersions"][0].as_str().unwrap();
    assert_eq!(client.get(&nsg, newest).await.status, 200);
    emulator.stop().await;
}

#[tokio::test]
async fn the_states_of_all_machines_come_in_one_list() {
    let dir = tempfile::tempdir().unwrap();
    let (_emulator, client) = started(dir.path()).await;
    client.make_network("rg", "db").await;
    let body = client.vm("rg", "db", "nixos");
    let made = client.put(&vm("rg", "db"), COMPUTE, body).await;
    client.succeed(made).await;
    let stopped = client
        .call(
            "POST",
            &format!("{}/deallocate", vm("rg", "db")),
            COMPUTE,
            None,
        )
        .await;
    assert_eq!(stopped.status, 202, "{}", stopped.body);
    client.follow(&stopped).await;

    let all = "/providers/Microsoft.Compute/virtualMachines";
    let list = client.get(&format!("{all}?statusOnly=true"), COMPUTE).await;
    assert_eq!(list.status, 200, "{}", list.body);
    let states: Vec<Value> = list.body["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let statuses = &one["properties"]["instanceView"]["statuses"];
            json!([one["name"], statuses[1]["code"]])
        })
        .collect();
    assert_eq!(
        states,
        [
            json!(["db", "PowerState/deallocated"]),
            json!(["web", "PowerState/running"])
        ]
    );
    // It is no description, and the description has no status.
    assert!(list.body["value"][0]["properties"]["hardwareProfile"].is_null());
    for query in ["", "?statusOnly=false"] {
        let list = client.get(&format!("{all}{query}"), COMPUTE).await;
        let first = &list.body["value"][0]["properties"];
        assert!(first["hardwareProfile"].is_object() && first["instanceView"].is_null());
    }
}
