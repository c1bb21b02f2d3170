//! Networks, security groups, addresses and interfaces through `az`.

use azure_nixos_tests::Local;
use serde_json::json;

use crate::az::Az;
use crate::judged::assert_by_the_documents;

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_built_and_taken_apart() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    az.ok("group create -n net -l westus2").await;
    let made = az
        .ok("network vnet create -g net -n vnet --address-prefix 10.1.0.0/16 --subnet-name web --subnet-prefix 10.1.0.0/24")
        .await;
    assert_eq!(made["newVNet"]["provisioningState"], "Succeeded");
    az.ok(
        "network vnet subnet create -g net --vnet-name vnet -n db --address-prefixes 10.1.1.0/24",
    )
    .await;
    let subnets = az
        .ok("network vnet subnet list -g net --vnet-name vnet --query [].[name,addressPrefix]")
        .await;
    assert_eq!(
        subnets,
        json!([["web", "10.1.0.0/24"], ["db", "10.1.1.0/24"]])
    );
    let (_, said) = az
        .refused("network vnet subnet create -g net --vnet-name vnet -n far --address-prefixes 10.2.0.0/24")
        .await;
    assert!(said.contains("(NetcfgSubnetRangeOutsideVnet)"), "{said}");

    az.ok("network nsg create -g net -n nsg").await;
    az.ok("network nsg rule create -g net --nsg-name nsg -n ssh --priority 1000 --destination-port-ranges 22 --access Allow --protocol Tcp")
        .await;
    az.ok("network nsg rule update -g net --nsg-name nsg -n ssh --priority 1001 --source-address-prefixes 203.0.113.0/24")
        .await;
    let rule = az
        .ok("network nsg rule show -g net --nsg-name nsg -n ssh")
        .await;
    assert_eq!(rule["priority"], 1001);
    assert_eq!(rule["sourceAddressPrefix"], "203.0.113.0/24");
    assert_eq!(rule["destinationPortRange"], "22");
    let (_, said) = az
        .refused("network nsg rule create -g net --nsg-name nsg -n web --priority 1001 --destination-port-ranges 80 --access Allow --protocol Tcp")
        .await;
    assert!(said.contains("(SecurityRuleConflict)"), "{said}");
    let rules = az
        .ok("network nsg rule list -g net --nsg-name nsg --include-default --query [].name")
        .await;
    assert_eq!(rules.as_array().unwrap().len(), 7, "{rules}");

    let address = az
        .ok("network public-ip create -g net -n ip --sku Standard")
        .await;
    assert_eq!(address["publicIp"]["publicIPAllocationMethod"], "Static");
    let address = address["publicIp"]["ipAddress"].clone();
    assert!(address.is_string(), "{address}");
    let nic = az
        .ok("network nic create -g net -n nic --vnet-name vnet --subnet web --network-security-group nsg --public-ip-address ip")
        .await;
    let ip = &nic["NewNIC"]["ipConfigurations"][0];
    assert_eq!(ip["privateIPAddress"], "10.1.0.4");

    // What is in use stays.
    for (command, code) in [
        (
            "network nsg delete -g net -n nsg",
            "(InUseNetworkSecurityGroupCannotBeDeleted)",
        ),
        (
            "network vnet delete -g net -n vnet",
            "(InUseSubnetCannotBeDeleted)",
        ),
        (
            "network public-ip delete -g net -n ip",
            "(PublicIPAddressCannotBeDeleted)",
        ),
    ] {
        let (status, said) = az.refused(command).await;
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(code), "{said}");
    }
    let listed = az.ok("resource list -g net --query [].name").await;
    assert_eq!(listed.as_array().unwrap().len(), 4, "{listed}");
    let of_type =
        "resource list --resource-type Microsoft.Network/networkInterfaces --query [].name";
    assert_eq!(az.ok(of_type).await, json!(["nic"]));

    az.ok("network nic delete -g net -n nic").await;
    az.ok("network public-ip delete -g net -n ip").await;
    az.ok("network nsg rule delete -g net --nsg-name nsg -n ssh")
        .await;
    az.ok("network nsg delete -g net -n nsg").await;
    az.ok("network vnet subnet delete -g net --vnet-name vnet -n db")
        .await;
    az.ok("network vnet delete -g net -n vnet").await;
    assert_eq!(az.ok("resource list -g net").await, json!([]));
    az.ok("group delete -n net --yes --no-wait").await;
    az.ok("group wait -n net --deleted").await;
    assert_eq!(az.ok("group exists -n net").await, false);
    assert_by_the_documents(&local, &[]);
}
