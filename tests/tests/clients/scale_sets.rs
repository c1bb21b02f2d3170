//! Scale sets through `az`.

use azure_nixos::VmBuilder;
use azure_nixos::vm::{Machines, PowerState, SshKey};
use azure_nixos_tests::openapi::{Deviation, Rule, Side};
use azure_nixos_tests::{Local, within};
use serde_json::json;

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{KEY, image, key_file};

/// The documents at hand have machines, images and disks; scale sets are in one that is not.
const NO_DOCUMENT: [Deviation; 5] = [
    undocumented(
        "GET /subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/virtualMachineScaleSets*",
    ),
    undocumented(
        "PUT /subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/virtualMachineScaleSets*",
    ),
    undocumented(
        "POST /subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/virtualMachineScaleSets*",
    ),
    undocumented(
        "DELETE /subscriptions/*/resourceGroups/*/providers/Microsoft.Compute/virtualMachineScaleSets*",
    ),
    // Asking after an operation is judged by what began it.
    undocumented("GET /subscriptions/*/providers/Microsoft.Compute/locations/*/operations/*"),
];

const fn undocumented(operation: &'static str) -> Deviation {
    Deviation {
        operation,
        side: Side::Request,
        rule: Rule::Operation,
        at: "",
        why: "the documents of scale sets are not at hand",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_set_grows_and_shrinks() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, _) = image(&local, "images", "web").await;
    let key = key_file(&local);
    az.ok("group create -n sets -l westus2").await;
    let create = format!(
        "vmss create -g sets --image {} --admin-username nixos --ssh-key-values {} \
         --load-balancer \"\" --public-ip-address \"\" --instance-count 2",
        image.id,
        key.display()
    );
    let made = az
        .ok(&format!(
            "{create} -n web --orchestration-mode Uniform --upgrade-policy-mode manual"
        ))
        .await;
    assert_eq!(made["VMSS"]["provisioningState"], "Succeeded", "{made}");
    let instances = "vmss list-instances -g sets -n web --query [].name";
    assert_eq!(az.ok(instances).await, json!(["web_0", "web_1"]));
    az.ok("vmss scale -g sets -n web --new-capacity 3").await;
    let capacity = az.ok("vmss show -g sets -n web --query sku.capacity").await;
    assert_eq!(capacity, 3);
    az.ok("vmss delete-instances -g sets -n web --instance-ids 1")
        .await;
    assert_eq!(az.ok(instances).await, json!(["web_0", "web_2"]));
    az.ok("vmss deallocate -g sets -n web").await;
    let view = "vmss get-instance-view -g sets -n web --instance-id 0 --query statuses[].code";
    let statuses = az.ok(view).await;
    assert!(
        statuses
            .as_array()
            .unwrap()
            .contains(&json!("PowerState/deallocated")),
        "{statuses}"
    );
    az.ok("vmss delete -g sets -n web").await;
    assert_eq!(az.ok("vmss list -g sets").await, json!([]));
    assert_by_the_documents(&local, &NO_DOCUMENT);
}

/// The machines of a Flexible set are machines of the group for `az`, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_flexible_set_has_machines_of_its_own() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, _) = image(&local, "images", "web").await;
    let key = key_file(&local);
    az.ok("group create -n sets -l westus2").await;
    let made = az
        .ok(&format!(
            "vmss create -g sets -n web --orchestration-mode Flexible --image {} \
             --admin-username nixos --ssh-key-values {} --load-balancer \"\" \
             --public-ip-per-vm --instance-count 2",
            image.id,
            key.display()
        ))
        .await;
    assert_eq!(made["VMSS"]["provisioningState"], "Succeeded", "{made}");
    let own = async |query: &str| -> Vec<String> {
        let shown = az.ok(query).await;
        let mut names: Vec<String> = serde_json::from_value(shown).unwrap();
        names.sort();
        names
    };
    let machines = own("vm list -g sets --query [].name").await;
    assert_eq!(machines.len(), 2);
    assert_eq!(
        own("vmss list-instances -g sets -n web --query [].instanceId").await,
        machines
    );
    let set = az.ok("vmss show -g sets -n web --query id").await;
    let set = set.as_str().unwrap();
    assert_eq!(
        own(&format!("vm list --vmss {set} --query [].name")).await,
        machines
    );
    let address = format!(
        "vm list-ip-addresses -g sets -n {} --query [].virtualMachine.network.publicIpAddresses[].ipAddress",
        machines[0]
    );
    assert_eq!(own(&address).await.len(), 1);
    az.ok("vmss scale -g sets -n web --new-capacity 3").await;
    assert_eq!(own("vm list -g sets --query [].name").await.len(), 3);
    az.ok(&format!(
        "vmss delete-instances -g sets -n web --instance-ids {}",
        machines[0]
    ))
    .await;
    let left = own("vm list -g sets --query [].name").await;
    assert!(left.len() == 2 && !left.contains(&machines[0]), "{left:?}");
    az.ok("vmss deallocate -g sets -n web").await;
    assert_eq!(
        own("vm list -g sets -d --query [].powerState").await,
        ["VM deallocated", "VM deallocated"]
    );
    az.ok("vmss delete -g sets -n web").await;
    for kind in ["vm", "network nic", "network public-ip", "disk"] {
        assert_eq!(
            az.ok(&format!("{kind} list -g sets")).await,
            json!([]),
            "{kind}"
        );
    }
    assert_by_the_documents(&local, &NO_DOCUMENT);
}

/// What the library made is a set to `az`, which changes it; and what `az` changed the library finds
/// and deletes.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_library_made_az_scales() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, _) = image(&local, "images", "web").await;
    let before = local.state().await;
    let set = within(60, "the set", async {
        VmBuilder::new(&local.azure, "sets", "web", &image)
            .admin_username("nixos")
            .ssh_key(SshKey::text(KEY))
            .ipv6(true)
            .scale_set(2)
            .await
    })
    .await
    .unwrap();
    let shown = az.ok("vmss show -g sets -n web").await;
    assert_eq!(shown["id"], set.id.as_str());
    assert_eq!(shown["orchestrationMode"], "Flexible");
    assert_eq!(shown["provisioningState"], "Succeeded");
    assert_eq!(shown["sku"]["capacity"], 2);
    assert_eq!(shown["singlePlacementGroup"], false);
    let profile = &shown["virtualMachineProfile"];
    assert_eq!(profile["osProfile"]["computerNamePrefix"], "web");
    let nic = &profile["networkProfile"]["networkInterfaceConfigurations"][0];
    assert_eq!(nic["deleteOption"], "Delete");
    let public = &nic["ipConfigurations"][0]["publicIPAddressConfiguration"];
    let public = if public.is_null() {
        &nic["ipConfigurations"][0]["publicIpAddressConfiguration"]
    } else {
        public
    };
    assert_eq!(public["deleteOption"], "Delete", "{nic}");
    let mine: Vec<&str> = set.machines.iter().map(|vm| vm.name.as_str()).collect();
    let listed = az
        .ok(&format!(
            "vm list --vmss {} --query sort([].name)",
            shown["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(listed, json!(mine));
    let address = az
        .ok(&format!(
            "vm list-ip-addresses -g sets -n {} --query [0].virtualMachine.network.publicIpAddresses[].ipAddress",
            mine[0]
        ))
        .await;
    let addresses = address.as_array().unwrap();
    assert!(
        addresses.contains(&json!(set.machines[0].public_ip)),
        "{address}"
    );

    az.ok("vmss scale -g sets -n web --new-capacity 3").await;
    az.ok("vmss deallocate -g sets -n web").await;
    let machines = Machines::new(&local.azure);
    let all = machines.list(Some("sets")).await.unwrap();
    assert_eq!(all.len(), 3);
    for one in &all {
        let own = one.scale_set.as_ref().unwrap();
        assert!(one.made_here && own.name() == "web", "{one:?}");
        assert_eq!(one.power_state, PowerState::Deallocated);
    }
    machines.machine("sets", "web").delete().await.unwrap();
    assert_eq!(az.ok("vmss list -g sets").await, json!([]));
    for kind in [
        "vm",
        "network nic",
        "network public-ip",
        "disk",
        "network vnet",
    ] {
        assert_eq!(
            az.ok(&format!("{kind} list -g sets")).await,
            json!([]),
            "{kind}"
        );
    }
    az.ok("group delete -n sets --yes").await;
    assert!(local.state().await == before);
    assert_by_the_documents(&local, &NO_DOCUMENT);
}
