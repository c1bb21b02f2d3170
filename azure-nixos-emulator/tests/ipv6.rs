//! Networks with IPv6 beside IPv4: prefixes, private and public addresses, rules.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

mod common;

use azure_nixos_emulator::Emulator;
use common::{COMPUTE, Client, NETWORK, builder, resource, vm};
use serde_json::{Value, json};

const AT: &str = "westus2";

fn path(kind: &str, name: &str) -> String {
    resource("rg", &format!("Microsoft.Network/{kind}"), name)
}

fn network(space: &[&str], subnet: &[&str]) -> Value {
    json!({ "location": AT, "properties": {
        "addressSpace": { "addressPrefixes": space },
        "subnets": [{ "name": "default", "properties": { "addressPrefixes": subnet } }],
    }})
}

fn public(version: &str, sku: &str, method: &str) -> Value {
    json!({ "location": AT, "sku": { "name": sku }, "properties": {
        "publicIPAllocationMethod": method, "publicIPAddressVersion": version,
    }})
}

async fn started(dir: &std::path::Path) -> (Emulator, Client) {
    let emulator = builder(dir).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let both = network(
        &["10.0.0.0/16", "fd00:db8::/48"],
        &["10.0.0.0/24", "fd00:db8:0:1::/64"],
    );
    for (kind, name, body) in [
        ("virtualNetworks", "both", both),
        (
            "virtualNetworks",
            "four",
            network(&["10.1.0.0/16"], &["10.1.0.0/24"]),
        ),
        (
            "publicIPAddresses",
            "v4",
            public("IPv4", "Standard", "Static"),
        ),
        (
            "publicIPAddresses",
            "v6",
            public("IPv6", "Standard", "Static"),
        ),
    ] {
        let made = client.put(&path(kind, name), NETWORK, body).await;
        assert_eq!(made.status, 201, "{kind}: {}", made.body);
        client.succeed(made).await;
    }
    (emulator, client)
}

/// An IP configuration: name, version, whether it is the primary one, network.
fn ip(client: &Client, name: &str, version: &str, primary: bool, network: &str) -> Value {
    let network = client.id("rg", "Microsoft.Network/virtualNetworks", network);
    json!({ "name": name, "properties": {
        "privateIPAddressVersion": version, "primary": primary,
        "subnet": { "id": format!("{network}/subnets/default") },
    }})
}

fn with_public(client: &Client, mut ip: Value, name: &str) -> Value {
    let id = client.id("rg", "Microsoft.Network/publicIPAddresses", name);
    ip["properties"]["publicIPAddress"] = json!({ "id": id });
    ip
}

fn nic(configurations: &[Value]) -> Value {
    json!({ "location": AT, "properties": { "ipConfigurations": configurations } })
}

#[tokio::test]
async fn a_machine_has_addresses_of_both_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    let shown = client.get(&path("publicIPAddresses", "v6"), NETWORK).await;
    let address = &shown.body["properties"]["ipAddress"];
    assert!(
        address.as_str().unwrap().starts_with("2001:db8:"),
        "{address}"
    );

    let four = with_public(&client, ip(&client, "four", "IPv4", true, "both"), "v4");
    let six = with_public(&client, ip(&client, "six", "IPv6", false, "both"), "v6");
    // The order does not matter.
    let body = nic(&[six.clone(), four.clone()]);
    let made = client
        .put(&path("networkInterfaces", "web"), NETWORK, body)
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    let shown = client
        .get(&path("networkInterfaces", "web"), NETWORK)
        .await
        .body;
    let addresses: Vec<&Value> = shown["properties"]["ipConfigurations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["properties"]["privateIPAddress"])
        .collect();
    assert_eq!(addresses, ["fd00:db8:0:1::4", "10.0.0.4"]);
    let used = client
        .delete(&path("publicIPAddresses", "v6"), NETWORK)
        .await;
    assert_eq!(used.error(), (400, "PublicIPAddressCannotBeDeleted"));

    // A static address, and the next one that is free.
    let mut fixed = ip(&client, "six", "IPv6", false, "both");
    fixed["properties"]["privateIPAllocationMethod"] = json!("Static");
    fixed["properties"]["privateIPAddress"] = json!("fd00:db8:0:1::5");
    let other = ip(&client, "four", "IPv4", true, "both");
    let made = client
        .put(
            &path("networkInterfaces", "two"),
            NETWORK,
            nic(&[other.clone(), fixed]),
        )
        .await;
    client.succeed(made).await;
    let next = ip(&client, "six", "IPv6", false, "both");
    let made = client
        .put(
            &path("networkInterfaces", "three"),
            NETWORK,
            nic(&[other, next]),
        )
        .await;
    let second = &made.body["properties"]["ipConfigurations"][1]["properties"];
    assert_eq!(second["privateIPAddress"], "fd00:db8:0:1::6");

    // A machine is made with it.
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;
    let made = client
        .put(&vm("rg", "web"), COMPUTE, client.vm("rg", "web", "nixos"))
        .await;
    client.succeed(made).await;
    emulator.stop().await;
}

#[tokio::test]
async fn an_interface_begins_with_ipv4() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    let four = ip(&client, "four", "IPv4", true, "both");
    let six = ip(&client, "six", "IPv6", false, "both");
    let mut fixed = six.clone();
    fixed["properties"]["privateIPAllocationMethod"] = json!("Static");
    fixed["properties"]["privateIPAddress"] = json!("10.0.0.9");
    for (configurations, code) in [
        (vec![six.clone()], "NicMustHaveIPv4IpConfiguration"),
        (
            vec![ip(&client, "six", "IPv6", true, "both")],
            "NicMustHaveIPv4IpConfiguration",
        ),
        (
            vec![
                ip(&client, "four", "IPv4", false, "both"),
                ip(&client, "six", "IPv6", true, "both"),
            ],
            "IPv6IpConfigurationCannotBePrimary",
        ),
        (
            vec![
                ip(&client, "four", "IPv4", true, "four"),
                ip(&client, "six", "IPv6", false, "four"),
            ],
            "SubnetDoesNotHavePrefixOfIPVersion",
        ),
        (
            vec![four.clone(), with_public(&client, six.clone(), "v4")],
            "IPVersionForPublicIpAndNicIpConfigurationMustMatch",
        ),
        (
            vec![with_public(&client, four.clone(), "v6"), six.clone()],
            "IPVersionForPublicIpAndNicIpConfigurationMustMatch",
        ),
        (vec![four.clone(), fixed], "InvalidIPAddressFormat"),
    ] {
        let refused = client
            .put(
                &path("networkInterfaces", "web"),
                NETWORK,
                nic(&configurations),
            )
            .await;
        assert_eq!(refused.error(), (400, code), "{}", refused.body);
    }
    // As recorded: one without a subnet, and then without an address.
    let bare = json!({ "name": "six", "properties": { "privateIPAddressVersion": "IPv6" } });
    let made = client
        .put(
            &path("networkInterfaces", "web"),
            NETWORK,
            nic(&[four, bare]),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    let second = &made.body["properties"]["ipConfigurations"][1]["properties"];
    assert_eq!(second["privateIPAllocationMethod"], "Dynamic");
    assert!(second.get("privateIPAddress").is_none());
    emulator.stop().await;
}

#[tokio::test]
async fn networks_and_public_addresses_have_azures_limits() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    let both = ["10.0.0.0/16", "fd00:db8::/48"];
    for (space, subnet, code) in [
        (
            &["fd00:db8::/48"][..],
            &["fd00:db8::/64"][..],
            "VnetAddressSpaceMustHaveIPv4Prefix",
        ),
        (
            &both,
            &["10.0.0.0/24", "fd00:db8::/96"],
            "InvalidIPv6SubnetPrefixLength",
        ),
        (
            &both,
            &["10.0.0.0/24", "fd00:db8::/64", "fd00:db8:0:1::/64"],
            "SubnetHasMultipleIPv6Prefixes",
        ),
        (&both, &["fd00:db8::/64"], "SubnetMustHaveIPv4Prefix"),
        (
            &both,
            &["10.0.0.0/24", "fd01::/64"],
            "NetcfgSubnetRangeOutsideVnet",
        ),
        (
            &both,
            &["10.0.0.0/24", "fd00:db8::1/64"],
            "InvalidCIDRNotation",
        ),
    ] {
        let refused = client
            .put(
                &path("virtualNetworks", "bad"),
                NETWORK,
                network(space, subnet),
            )
            .await;
        assert_eq!(refused.error(), (400, code), "{}", refused.body);
    }
    for (name, body, code) in [
        (
            "new",
            public("IPv6", "Basic", "Dynamic"),
            "BasicSkuPublicIPAddressDoesNotSupportIPv6",
        ),
        (
            "new",
            public("IPv6", "Standard", "Dynamic"),
            "StandardSkuPublicIPAddressMustBeStatic",
        ),
        (
            "v4",
            public("IPv6", "Standard", "Static"),
            "PublicIPAddressVersionCannotBeChanged",
        ),
    ] {
        let refused = client
            .put(&path("publicIPAddresses", name), NETWORK, body)
            .await;
        assert_eq!(refused.error(), (400, code), "{}", refused.body);
    }
    emulator.stop().await;
}

#[tokio::test]
async fn rules_are_of_one_version_of_ip() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, client) = started(dir.path()).await;
    let group = |source: &str, destination: Value| {
        json!({ "location": AT, "properties": { "securityRules": [{ "name": "ssh", "properties": {
            "protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": 1000,
            "sourceAddressPrefix": source, "sourcePortRange": "*",
            "destinationAddressPrefixes": destination, "destinationPortRange": "22",
        }}]}})
    };
    let nsg = path("networkSecurityGroups", "nsg");
    for (source, destination, code) in [
        ("::/0", json!(["fd00:db8::/64"]), ""),
        ("2001:db8::1", json!(["VirtualNetwork"]), ""),
        ("Storage.WestUS2", json!(["10.0.0.0/24"]), ""),
        (
            "::/0",
            json!(["10.0.0.0/24"]),
            "SecurityRuleAddressPrefixesMustBeOfSameIPVersion",
        ),
        (
            "2001:db8::/129",
            json!(["*"]),
            "SecurityRuleInvalidAddressPrefix",
        ),
        ("10.0.0", json!(["*"]), "SecurityRuleInvalidAddressPrefix"),
    ] {
        let answer = client.put(&nsg, NETWORK, group(source, destination)).await;
        if code.is_empty() {
            client.succeed(answer).await;
        } else {
            assert_eq!(answer.error(), (400, code), "{}", answer.body);
        }
    }
    emulator.stop().await;
}
