//! Scale sets of the mode `Flexible`: their machines, interfaces and addresses are resources of the group.

#![allow(
    clippy::unwrap_used,
    reason = "an answer without what it has to have is a test that fails"
)]

mod common;

use std::time::Duration;

use azure_nixos_emulator::Clock;
use azure_nixos_emulator::fault::FaultRule;
use common::{
    Answer, COMPUTE, Client, NETWORK, RESOURCES, builder, group, prepared, resource, vm, with,
};
use serde_json::{Value, json};

const KIND: &str = "Microsoft.Compute/virtualMachineScaleSets";

fn set() -> String {
    resource("rg", KIND, "set")
}

const PROFILE: &str = "/properties/virtualMachineProfile";
const INTERFACES: &str =
    "/properties/virtualMachineProfile/networkProfile/networkInterfaceConfigurations";

fn model(client: &Client, capacity: u64) -> Value {
    let machine = client.vm("rg", "web", "nixos")["properties"].clone();
    let mut os = machine["osProfile"].clone();
    os.as_object_mut().unwrap().remove("computerName");
    os["computerNamePrefix"] = json!("node-");
    let network = |kind: &str| client.id("rg", &format!("Microsoft.Network/{kind}"), "web");
    json!({
        "location": "West US 2",
        "tags": { "of": "the set" },
        "sku": { "name": "standard_d2s_v5", "capacity": capacity },
        "properties": {
            "orchestrationMode": "Flexible",
            "platformFaultDomainCount": 1,
            "virtualMachineProfile": {
                "storageProfile": machine["storageProfile"],
                "osProfile": os,
                "userData": "dXNlcg==",
                "networkProfile": { "networkInterfaceConfigurations": [{
                    "name": "nic", "properties": {
                        "networkSecurityGroup": { "id": network("networkSecurityGroups") },
                        "ipConfigurations": [{ "name": "ip", "properties": {
                            "subnet": { "id": format!("{}/subnets/default", network("virtualNetworks")) },
                            "publicIPAddressConfiguration": { "name": "public", "properties": { "deleteOption": "Delete" } },
                        }}],
                    },
                }]},
            },
        },
    })
}

async fn put(client: &Client, body: Value) -> Answer {
    client.put(&set(), COMPUTE, body).await
}

/// Makes the set, which has to succeed.
async fn made(client: &Client, body: Value) -> Value {
    let begun = put(client, body).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    client.succeed(begun).await;
    client.get(&set(), COMPUTE).await.body
}

async fn resize(client: &Client, capacity: u64) -> Answer {
    let body = json!({ "sku": { "capacity": capacity } });
    client.call("PATCH", &set(), COMPUTE, Some(body)).await
}

/// The machines of the set, with their instance views.
async fn machines(client: &Client) -> Vec<Value> {
    let path = format!(
        "/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines?$expand=instanceView&$filter='virtualMachineScaleSet/id'%20eq%20'{}'",
        client.id("rg", KIND, "SET")
    );
    let listed = client.get(&path, COMPUTE).await;
    assert_eq!(listed.status, 200, "{}", listed.body);
    listed.body["value"].as_array().unwrap().clone()
}

fn names(machines: &[Value]) -> Vec<String> {
    machines
        .iter()
        .map(|machine| machine["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The names of everything of a type that is in the group.
async fn all(client: &Client, kind: &str, version: &str) -> Vec<String> {
    let path = format!("{}/providers/{kind}", group("rg"));
    let listed = client.get(&path, version).await.body;
    names(listed["value"].as_array().unwrap())
}

/// How many machines, interfaces, addresses and disks there are in the group.
async fn counts(client: &Client) -> [usize; 4] {
    [
        all(client, "Microsoft.Compute/virtualMachines", COMPUTE)
            .await
            .len(),
        all(client, "Microsoft.Network/networkInterfaces", NETWORK)
            .await
            .len(),
        all(client, "Microsoft.Network/publicIPAddresses", NETWORK)
            .await
            .len(),
        all(client, "Microsoft.Compute/disks", common::DISKS)
            .await
            .len(),
    ]
}

async fn capacity(client: &Client) -> Value {
    client.get(&set(), COMPUTE).await.body["sku"]["capacity"].clone()
}

fn power(machine: &Value) -> &str {
    let statuses = machine["properties"]["instanceView"]["statuses"].as_array();
    statuses.unwrap().last().unwrap()["code"].as_str().unwrap()
}

#[tokio::test]
async fn the_machines_of_a_set_are_machines_of_the_group() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let before = counts(&client).await;
    let begun = put(&client, model(&client, 2)).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    assert!(begun.header("azure-asyncoperation").is_some() && begun.header("location").is_none());
    assert_eq!(begun.body["properties"]["provisioningState"], "Creating");
    client.succeed(begun).await;

    // As recorded of Azure.
    let shown = client.get(&set(), COMPUTE).await.body;
    assert_eq!(
        shown["sku"],
        json!({ "name": "Standard_D2s_v5", "tier": "Standard", "capacity": 2 })
    );
    let properties = &shown["properties"];
    assert_eq!(properties["provisioningState"], "Succeeded");
    assert_eq!(properties["orchestrationMode"], "Flexible");
    assert_eq!(properties["singlePlacementGroup"], false);
    assert_eq!(properties["constrainedMaximumCapacity"], false);
    assert_eq!(properties["upgradePolicy"], json!({ "mode": "Manual" }));
    assert!(properties.get("overprovision").is_none());
    let profile = &properties["virtualMachineProfile"];
    assert_eq!(
        profile["storageProfile"]["osDisk"]["deleteOption"],
        "Delete"
    );
    assert_eq!(profile["networkProfile"]["networkApiVersion"], "2020-11-01");
    let configuration = &profile["networkProfile"]["networkInterfaceConfigurations"][0];
    assert_eq!(configuration["properties"]["primary"], true);
    assert_eq!(configuration["properties"]["deleteOption"], "Delete");
    assert_eq!(profile["osProfile"]["computerNamePrefix"], "node-");
    assert!(profile["osProfile"].get("customData").is_none() && profile.get("userData").is_none());

    let found = machines(&client).await;
    assert_eq!(found.len(), 2);
    for machine in &found {
        let name = machine["name"].as_str().unwrap();
        let suffix = name.strip_prefix("set_").unwrap();
        assert!(
            suffix.len() == 8 && suffix.bytes().all(|digit| digit.is_ascii_hexdigit()),
            "{name}"
        );
        let properties = &machine["properties"];
        assert_eq!(
            properties["virtualMachineScaleSet"]["id"],
            client.id("rg", KIND, "set")
        );
        assert_eq!(machine["managedBy"], client.id("rg", KIND, "set"));
        assert_eq!(machine["tags"], json!({ "of": "the set" }));
        assert_eq!(properties["hardwareProfile"]["vmSize"], "Standard_D2s_v5");
        assert_eq!(properties["provisioningState"], "Succeeded");
        assert_eq!(power(machine), "PowerState/running");
        let host = properties["osProfile"]["computerName"].as_str().unwrap();
        assert!(
            host.len() == "node-".len() + 6 && host.starts_with("node-"),
            "{host}"
        );
        assert_eq!(properties["osProfile"]["adminUsername"], "nixos");
        // The same machine by its own path, and what it was given for its guest.
        let own = client
            .get(&format!("{}?$expand=userData", vm("rg", name)), COMPUTE)
            .await
            .body;
        assert_eq!(own["properties"]["vmId"], properties["vmId"]);
        assert_eq!(own["properties"]["userData"], "dXNlcg==");

        // What it is made of is named after the configurations and the machine.
        let interface = &properties["networkProfile"]["networkInterfaces"][0];
        assert_eq!(
            interface["properties"],
            json!({ "primary": true, "deleteOption": "Delete" })
        );
        let at =
            |kind: &str, name: &str| resource("rg", &format!("Microsoft.Network/{kind}"), name);
        let nic = client
            .get(&at("networkInterfaces", &format!("nic-{suffix}")), NETWORK)
            .await
            .body;
        assert_eq!(nic["id"], interface["id"]);
        assert_eq!(nic["properties"]["virtualMachine"]["id"], machine["id"]);
        assert!(nic["properties"]["networkSecurityGroup"]["id"].is_string());
        let public = client
            .get(
                &at("publicIPAddresses", &format!("public-{suffix}")),
                NETWORK,
            )
            .await
            .body;
        assert_eq!(public["sku"]["name"], "Standard");
        assert!(public["properties"]["ipAddress"].is_string(), "{public}");
        assert_eq!(
            nic["properties"]["ipConfigurations"][0]["properties"]["publicIPAddress"]["id"],
            public["id"]
        );
    }
    assert_eq!(
        counts(&client).await,
        [before[0] + 2, before[1] + 2, before[2] + 2, before[3] + 2]
    );

    // By way of the set.
    let through = client
        .get(&format!("{}/virtualMachines", set()), COMPUTE)
        .await
        .body;
    let through = through["value"].as_array().unwrap();
    assert_eq!(names(through), names(&found));
    assert_eq!(through[0]["instanceId"], found[0]["name"]);
    assert_eq!(
        through[0]["id"],
        format!(
            "{}/virtualMachines/{}",
            client.id("rg", KIND, "set"),
            names(&found)[0]
        )
    );
    assert!(through[0].get("tags").is_none());
    let one = format!("{}/virtualMachines/{}", set(), names(&found)[1]);
    assert_eq!(client.get(&one, COMPUTE).await.body, through[1]);
    assert_eq!(
        client
            .get(&format!("{}/virtualMachines/web", set()), COMPUTE)
            .await
            .error(),
        (404, "NotFound")
    );
    let view = client
        .get(&format!("{one}/instanceView"), COMPUTE)
        .await
        .body;
    assert_eq!(
        view["statuses"],
        found[1]["properties"]["instanceView"]["statuses"]
    );
    let view = client
        .get(&format!("{}/instanceView", set()), COMPUTE)
        .await
        .body;
    assert_eq!(
        view["virtualMachine"]["statusesSummary"],
        json!([
            { "code": "PowerState/running", "count": 2 },
            { "code": "ProvisioningState/succeeded", "count": 2 },
        ])
    );

    // Everything that was made for it goes with it, and nothing else.
    let network = resource("rg", "Microsoft.Network/virtualNetworks", "web");
    assert_eq!(
        client.delete(&network, NETWORK).await.error(),
        (400, "InUseSubnetCannotBeDeleted")
    );
    let begun = client.delete(&set(), COMPUTE).await;
    assert_eq!(begun.status, 202);
    assert!(begun.header("location").is_some());
    client.succeed(begun).await;
    assert_eq!(client.get(&set(), COMPUTE).await.status, 404);
    assert_eq!(counts(&client).await, before);
    emulator.stop().await;
}

#[tokio::test]
async fn a_set_grows_shrinks_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path()).quota("cores", 8)).await;
    let before = counts(&client).await;
    made(&client, model(&client, 1)).await;
    let first = names(&machines(&client).await);
    let begun = resize(&client, 3).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    assert_eq!(begun.body["properties"]["provisioningState"], "Updating");
    client.succeed(begun).await;
    let three = names(&machines(&client).await);
    assert!(three.len() == 3 && three.contains(&first[0]));
    // Their cores count once: four machines of two are eight.
    let usages = "/providers/Microsoft.Compute/locations/westus2/usages";
    let usages = client.get(usages, COMPUTE).await.body;
    assert_eq!(usages["value"][0]["currentValue"], 6);
    assert_eq!(
        resize(&client, 5).await.error(),
        (409, "OperationNotAllowed")
    );
    assert_eq!(
        resize(&client, 1001).await.error(),
        (400, "InvalidParameter")
    );
    assert_eq!(capacity(&client).await, 3);

    // A PUT of what a GET shows changes nothing; of another number, the number.
    let mut shown = client.get(&set(), COMPUTE).await.body;
    let again = put(&client, shown.clone()).await;
    assert_eq!(again.status, 200, "{}", again.body);
    client.succeed(again).await;
    assert_eq!(names(&machines(&client).await), three);
    shown["sku"]["capacity"] = json!(2);
    let begun = put(&client, shown).await;
    client.succeed(begun).await;
    let two = names(&machines(&client).await);
    assert!(
        two.len() == 2 && two.contains(&first[0]),
        "the newest goes: {two:?} of {three:?}"
    );
    assert_eq!(
        counts(&client).await,
        [before[0] + 2, before[1] + 2, before[2] + 2, before[3] + 2]
    );

    // One that goes by itself makes the set smaller, and none comes in its place.
    let begun = client.delete(&vm("rg", &first[0]), COMPUTE).await;
    client.succeed(begun).await;
    assert_eq!(capacity(&client).await, 1);
    let begun = client
        .call(
            "PATCH",
            &set(),
            COMPUTE,
            Some(json!({ "tags": { "a": "b" } })),
        )
        .await;
    client.succeed(begun).await;
    assert_eq!(machines(&client).await.len(), 1);
    // By way of the set it is the same.
    let last = names(&machines(&client).await);
    let begun = client
        .delete(&format!("{}/virtualMachines/{}", set(), last[0]), COMPUTE)
        .await;
    assert_eq!(begun.status, 202);
    assert!(begun.header("location").is_some());
    client.succeed(begun).await;
    assert_eq!(capacity(&client).await, 0);
    assert_eq!(counts(&client).await, before);
    let begun = client
        .delete(&format!("{}/virtualMachines/{}", set(), last[0]), COMPUTE)
        .await;
    assert_eq!(begun.status, 204);
    let begun = resize(&client, 1).await;
    client.succeed(begun).await;
    assert_eq!(machines(&client).await.len(), 1);
    emulator.stop().await;
}

#[tokio::test]
async fn machines_are_made_of_the_model_of_the_day() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let password = with(
        model(&client, 1),
        &format!("{PROFILE}/osProfile/adminPassword"),
        json!("Secret-1234"),
    );
    let password = with(
        password,
        &format!("{PROFILE}/osProfile/linuxConfiguration"),
        json!({ "disablePasswordAuthentication": false }),
    );
    made(&client, password).await;
    let old = names(&machines(&client).await);
    // Another size and a serial console, for those to come; the secrets are not sent again.
    let change = json!({ "sku": { "name": "Standard_B2s", "capacity": 2 }, "properties": { "virtualMachineProfile": {
        "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } } } } });
    let begun = client.call("PATCH", &set(), COMPUTE, Some(change)).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    client.succeed(begun).await;
    for machine in machines(&client).await {
        let properties = &machine["properties"];
        let is_old = machine["name"] == json!(old[0]);
        let size = if is_old {
            "Standard_D2s_v5"
        } else {
            "Standard_B2s"
        };
        assert_eq!(properties["hardwareProfile"]["vmSize"], size);
        assert_eq!(properties.get("diagnosticsProfile").is_none(), is_old);
        let own = format!(
            "{}?$expand=userData",
            vm("rg", machine["name"].as_str().unwrap())
        );
        let own = client.get(&own, COMPUTE).await.body;
        assert_eq!(own["properties"]["userData"], "dXNlcg==");
    }
    for (field, value) in [
        ("orchestrationMode", json!("Uniform")),
        ("platformFaultDomainCount", json!(2)),
        ("singlePlacementGroup", json!(true)),
    ] {
        let change = json!({ "properties": { field: value } });
        let refused = client.call("PATCH", &set(), COMPUTE, Some(change)).await;
        assert_eq!(
            refused.error(),
            (409, "PropertyChangeNotAllowed"),
            "{field}"
        );
    }
    // It is all there again after a restart, the secrets too.
    emulator.stop().await;
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    let begun = resize(&client, 3).await;
    client.succeed(begun).await;
    assert_eq!(machines(&client).await.len(), 3);
    emulator.stop().await;
}

#[tokio::test]
async fn several_are_stopped_and_started_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    made(&client, model(&client, 2)).await;
    let both = names(&machines(&client).await);
    let act = async |what: &str, body: Option<Value>| {
        client
            .post(&format!("{}/{what}", set()), COMPUTE, body)
            .await
    };
    let states = async || -> Vec<String> {
        machines(&client)
            .await
            .iter()
            .map(|machine| power(machine).replace("PowerState/", ""))
            .collect()
    };
    let one = json!({ "instanceIds": [both[1]] });
    for (what, body, expected) in [
        (
            "deallocate".to_owned(),
            None,
            ["deallocated", "deallocated"],
        ),
        (
            "start".to_owned(),
            Some(one.clone()),
            ["deallocated", "running"],
        ),
        (
            format!("virtualMachines/{}/start", both[0]),
            None,
            ["running", "running"],
        ),
        ("restart".to_owned(), None, ["running", "running"]),
        (
            format!("virtualMachines/{}/powerOff", both[1]),
            None,
            ["running", "stopped"],
        ),
        (
            "deallocate".to_owned(),
            Some(one),
            ["running", "deallocated"],
        ),
    ] {
        let begun = act(&what, body).await;
        assert_eq!(begun.status, 202, "{what}: {}", begun.body);
        assert!(begun.header("location").is_some());
        client.succeed(begun).await;
        assert_eq!(states().await, expected, "{what}");
    }
    // One of them cannot, so neither is touched.
    assert_eq!(
        act("restart", None).await.error(),
        (409, "OperationNotAllowed")
    );
    assert_eq!(states().await, ["running", "deallocated"]);
    assert_eq!(
        client.get(&set(), COMPUTE).await.body["properties"]["provisioningState"],
        "Succeeded"
    );
    assert_eq!(act("reimage", None).await.error(), (501, "NotImplemented"));
    assert_eq!(
        act("start", Some(json!({ "instanceIds": ["web"] })))
            .await
            .error(),
        (404, "NotFound")
    );
    assert_eq!(act("delete", None).await.error(), (400, "InvalidParameter"));
    let view = client
        .get(
            &format!("{}/virtualMachines?$expand=instanceView", set()),
            COMPUTE,
        )
        .await;
    assert_eq!(view.error(), (501, "NotImplemented"));
    let begun = act("delete", Some(json!({ "instanceIds": ["*"] }))).await;
    client.succeed(begun).await;
    assert!(machines(&client).await.is_empty());
    assert_eq!(capacity(&client).await, 0);
    emulator.stop().await;
}

#[tokio::test]
async fn machines_are_spread() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let spread = with(
        model(&client, 4),
        "/properties/platformFaultDomainCount",
        json!(2),
    );
    let spread = with(spread, "/zones", json!(["1", "2"]));
    let shown = made(&client, spread).await;
    assert_eq!(shown["zones"], json!(["1", "2"]));
    let places = async || -> Vec<(String, u64)> {
        let mut places: Vec<(String, u64)> = machines(&client)
            .await
            .iter()
            .map(|machine| {
                let domain = &machine["properties"]["instanceView"]["platformFaultDomain"];
                (
                    machine["zones"][0].as_str().unwrap().to_owned(),
                    domain.as_u64().unwrap(),
                )
            })
            .collect();
        places.sort();
        places
    };
    let of = |zone: &str, places: &[(String, u64)]| {
        places.iter().filter(|place| place.0 == zone).count()
    };
    let four = places().await;
    assert_eq!((of("1", &four), of("2", &four)), (2, 2), "{four:?}");
    assert_eq!(
        four.iter().filter(|place| place.1 == 0).count(),
        2,
        "{four:?}"
    );
    // Those of a zone have an address of it.
    let name = names(&machines(&client).await)[0].replace("set_", "public-");
    let public = resource("rg", "Microsoft.Network/publicIPAddresses", &name);
    let zone = machines(&client).await[0]["zones"].clone();
    assert_eq!(client.get(&public, NETWORK).await.body["zones"], zone);
    // It stays so when the set shrinks, although the newest machine is in the zone that has fewer.
    let begun = resize(&client, 0).await;
    client.succeed(begun).await;
    for capacity in 1..=4 {
        let begun = resize(&client, capacity).await;
        client.succeed(begun).await;
    }
    let mut by_time = machines(&client).await;
    by_time.sort_by_key(|machine| {
        let time = machine["properties"]["timeCreated"].as_str();
        time.unwrap().to_owned()
    });
    assert_eq!(by_time[1]["zones"], by_time[3]["zones"]);
    let second = vm("rg", &names(&by_time)[1]);
    let begun = client.delete(&second, COMPUTE).await;
    client.succeed(begun).await;
    let begun = resize(&client, 2).await;
    client.succeed(begun).await;
    let mut left = names(&machines(&client).await);
    left.sort();
    let mut expected = vec![names(&by_time)[0].clone(), names(&by_time)[3].clone()];
    expected.sort();
    assert_eq!(left, expected);
    // The states of all, as they are asked for of a set.
    let path = format!(
        "/providers/Microsoft.Compute/virtualMachines?statusOnly=true&$filter='virtualMachineScaleSet/id'%20eq%20{}",
        client.id("rg", KIND, "set")
    );
    let listed = client.get(&path, COMPUTE).await.body;
    let listed = listed["value"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed[0]["properties"]["instanceView"]["platformFaultDomain"].is_u64());
    emulator.stop().await;
}

#[tokio::test]
async fn machines_that_are_made_by_hand_belong_to_a_set() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let empty = json!({ "location": "westus2", "properties": {
        "orchestrationMode": "Flexible", "platformFaultDomainCount": 3 } });
    let shown = made(&client, empty).await;
    assert!(shown.get("sku").is_none(), "{shown}");
    assert!(shown["properties"].get("virtualMachineProfile").is_none());
    let of_set = |name: &str, domain: Value| {
        let id = json!({ "id": client.id("rg", KIND, name) });
        let body = with(
            client.vm("rg", "web", "nixos"),
            "/properties/virtualMachineScaleSet",
            id,
        );
        if domain.is_null() {
            body
        } else {
            with(body, "/properties/platformFaultDomain", domain)
        }
    };
    let uniform = with(
        model(&client, 0),
        "/properties/orchestrationMode",
        json!("Uniform"),
    );
    let begun = client
        .put(&resource("rg", KIND, "uniform"), COMPUTE, uniform)
        .await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    client.succeed(begun).await;
    let web = vm("rg", "web");
    for (body, status, code) in [
        (of_set("none", Value::Null), 404, "NotFound"),
        (of_set("uniform", Value::Null), 400, "BadRequest"),
        (of_set("set", json!(3)), 400, "BadRequest"),
    ] {
        assert_eq!(
            client.put(&web, COMPUTE, body).await.error(),
            (status, code)
        );
    }
    let begun = client.put(&web, COMPUTE, of_set("set", json!(2))).await;
    client.succeed(begun).await;
    let found = machines(&client).await;
    assert_eq!(names(&found), ["web"]);
    assert_eq!(
        found[0]["properties"]["instanceView"]["platformFaultDomain"],
        2
    );
    let moved = json!({ "properties": { "virtualMachineScaleSet": { "id": client.id("rg", KIND, "other") } } });
    assert_eq!(
        client
            .call("PATCH", &web, COMPUTE, Some(moved))
            .await
            .error(),
        (501, "NotImplemented")
    );
    // What a GET shows can be put again.
    let shown = client.get(&web, COMPUTE).await.body;
    let again = client.put(&web, COMPUTE, shown).await;
    assert_eq!(again.status, 200, "{}", again.body);
    client.succeed(again).await;

    // A set with a model grows by one that comes by hand.
    let second = with(
        model(&client, 1),
        "/properties/platformFaultDomainCount",
        json!(1),
    );
    let path = resource("rg", KIND, "second");
    let begun = client.put(&path, COMPUTE, second).await;
    client.succeed(begun).await;
    client.make_network("rg", "more").await;
    let mut body = of_set("second", Value::Null);
    body["properties"]["networkProfile"] =
        client.vm("rg", "more", "nixos")["properties"]["networkProfile"].clone();
    let begun = client.put(&vm("rg", "more"), COMPUTE, body).await;
    client.succeed(begun).await;
    assert_eq!(client.get(&path, COMPUTE).await.body["sku"]["capacity"], 2);
    emulator.stop().await;
}

#[tokio::test]
async fn a_model_has_to_be_good() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let before = counts(&client).await;
    let good = model(&client, 1);
    let name = "InvalidParameter";
    for (pointer, value, status, code, target) in [
        (
            "/properties/platformFaultDomainCount".to_owned(),
            Value::Null,
            400,
            name,
            "platformFaultDomainCount",
        ),
        (
            "/properties/platformFaultDomainCount".to_owned(),
            json!(4),
            400,
            name,
            "platformFaultDomainCount",
        ),
        ("/sku".to_owned(), Value::Null, 400, name, "sku.name"),
        (
            PROFILE.to_owned(),
            Value::Null,
            400,
            name,
            "virtualMachineProfile",
        ),
        (
            INTERFACES.to_owned(),
            json!([]),
            400,
            name,
            "networkProfile.networkInterfaceConfigurations",
        ),
        (
            format!("{PROFILE}/osProfile/adminUsername"),
            json!("root"),
            400,
            name,
            "adminUsername",
        ),
        (
            "/identity".to_owned(),
            json!({ "type": "SystemAssigned" }),
            400,
            name,
            "identity.type",
        ),
        (
            "/properties/upgradePolicy".to_owned(),
            json!({ "mode": "Automatic" }),
            501,
            "NotImplemented",
            "",
        ),
        (
            "/sku/name".to_owned(),
            json!("Standard_D2_v2"),
            400,
            "BadRequest",
            "",
        ),
        (
            "/zones".to_owned(),
            json!(["7"]),
            400,
            "InvalidAvailabilityZone",
            "",
        ),
    ] {
        let refused = put(&client, with(good.clone(), &pointer, value)).await;
        assert_eq!(
            refused.error(),
            (status, code),
            "{pointer}: {}",
            refused.body
        );
        let shown = refused.body["error"]["target"].as_str().unwrap_or_default();
        assert_eq!(shown, target, "{pointer}");
    }
    assert_eq!(client.get(&set(), COMPUTE).await.status, 404);
    assert_eq!(counts(&client).await, before);
    let bad = format!(
        "{}/providers/Microsoft.Compute/virtualMachines?$filter=name%20eq%20'x'",
        group("rg")
    );
    assert_eq!(client.get(&bad, COMPUTE).await.error(), (400, name));
    emulator.stop().await;
}

#[tokio::test]
async fn a_machine_that_cannot_be_made_fails_the_set() {
    let dir = tempfile::tempdir().unwrap();
    // There are addresses for the network and one machine.
    let (emulator, client) =
        prepared(builder(dir.path()).quota("StandardSkuPublicIpAddresses", 2)).await;
    let before = counts(&client).await;
    let begun = put(&client, model(&client, 3)).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let ended = client.follow(&begun).await;
    assert_eq!(ended.body["status"], "Failed", "{}", ended.body);
    assert_eq!(ended.body["error"]["code"], "PublicIPCountLimitReached");
    let shown = client.get(&set(), COMPUTE).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Failed");
    // What could be made is there, and of the rest nothing.
    assert_eq!(
        counts(&client).await,
        [before[0] + 1, before[1] + 1, before[2] + 1, before[3] + 1]
    );
    let begun = resize(&client, 1).await;
    client.succeed(begun).await;
    assert_eq!(
        client.get(&set(), COMPUTE).await.body["properties"]["provisioningState"],
        "Succeeded"
    );
    // The machine itself is refused, when its interface is there: that goes again.
    let begun = resize(&client, 0).await;
    client.succeed(begun).await;
    let image = common::image("rg", "nixos");
    let begun = client.delete(&image, COMPUTE).await;
    client.succeed(begun).await;
    let begun = resize(&client, 1).await;
    let ended = client.follow(&begun).await;
    assert_eq!(ended.body["error"]["code"], "NotFound", "{}", ended.body);
    assert_eq!(counts(&client).await, before);
    emulator.stop().await;
}

#[tokio::test]
async fn an_operation_waits_for_the_machines() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let (emulator, client) = prepared(builder(dir.path()).clock(clock.clone())).await;
    drop(client);
    emulator.stop().await;
    let emulator = builder(dir.path())
        .clock(clock.clone())
        .operation_delay(Duration::from_secs(60))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let begun = put(&client, model(&client, 2)).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    let url = begun.header("azure-asyncoperation").unwrap().to_owned();
    let status =
        async || client.send(reqwest::Method::GET, &url, None).await.body["status"].clone();
    assert_eq!(status().await, "InProgress");
    // They are there, and on their way.
    let states = |machines: &[Value]| -> Vec<Value> {
        machines
            .iter()
            .map(|machine| machine["properties"]["provisioningState"].clone())
            .collect()
    };
    assert_eq!(states(&machines(&client).await), ["Creating", "Creating"]);
    assert_eq!(
        resize(&client, 1).await.error(),
        (409, "AnotherOperationInProgress")
    );
    clock.advance(Duration::from_secs(61));
    assert_eq!(status().await, "Succeeded");
    assert_eq!(states(&machines(&client).await), ["Succeeded", "Succeeded"]);
    // One that goes while the set is being changed is made again, and waited for.
    let begun = client
        .call("PATCH", &set(), COMPUTE, Some(json!({ "tags": {} })))
        .await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let url = begun.header("azure-asyncoperation").unwrap().to_owned();
    let status =
        async || client.send(reqwest::Method::GET, &url, None).await.body["status"].clone();
    let one = names(&machines(&client).await)[0].clone();
    assert_eq!(client.delete(&vm("rg", &one), COMPUTE).await.status, 202);
    clock.advance(Duration::from_secs(61));
    assert_eq!(status().await, "InProgress");
    let found = machines(&client).await;
    assert!(
        found.len() == 2 && !names(&found).contains(&one),
        "{found:?}"
    );
    clock.advance(Duration::from_secs(61));
    assert_eq!(status().await, "Succeeded");
    // Deleted while it shrinks: nothing of it stays.
    let begun = resize(&client, 1).await;
    assert_eq!(begun.status, 200);
    let deletion = client.delete(&set(), COMPUTE).await;
    assert_eq!(deletion.status, 202);
    clock.advance(Duration::from_secs(61));
    let url = deletion.header("azure-asyncoperation").unwrap().to_owned();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(61));
        client.send(reqwest::Method::GET, &url, None).await;
    }
    assert_eq!(
        client.send(reqwest::Method::GET, &url, None).await.body["status"],
        "Succeeded"
    );
    assert_eq!(counts(&client).await, [0, 1, 1, 1]);

    // A whole group goes with a set in it.
    let begun = put(&client, model(&client, 1)).await;
    assert_eq!(begun.status, 201);
    let gone = client.delete(&group("rg"), RESOURCES).await;
    assert_eq!(gone.status, 202);
    for _ in 0..3 {
        clock.advance(Duration::from_secs(61));
        client.get(&set(), COMPUTE).await;
    }
    assert_eq!(client.get(&group("rg"), RESOURCES).await.status, 404);
    emulator.stop().await;
}

#[tokio::test]
async fn a_set_is_made_by_a_template_and_fails_by_rule() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = prepared(builder(dir.path())).await;
    let mut set_of_template = model(&client, 1);
    set_of_template["type"] = json!(KIND);
    set_of_template["name"] = json!("set");
    set_of_template["apiVersion"] = json!(COMPUTE);
    set_of_template["properties"]["upgradePolicy"] = json!({ "mode": "manual" });
    let template = json!({ "properties": { "mode": "Incremental", "template": {
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0", "resources": [set_of_template] } } });
    let path = resource("rg", "Microsoft.Resources/deployments", "d");
    let begun = client.put(&path, "2022-09-01", template).await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    client.succeed(begun).await;
    assert_eq!(machines(&client).await.len(), 1);

    let operation = "virtualMachineScaleSets.update".parse().unwrap();
    let rule = FaultRule::on(operation)
        .times(1)
        .fail_operation("AllocationFailed");
    emulator.faults().add(rule);
    let begun = resize(&client, 2).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let ended = client.follow(&begun).await;
    assert_eq!(ended.body["error"]["code"], "AllocationFailed");
    emulator.stop().await;
}
