//! Scale sets through `az`.

use azure_nixos_tests::Local;
use azure_nixos_tests::openapi::{Deviation, Rule, Side};
use serde_json::json;

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{image, key_file};

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
    // The mode that is not built says so; nothing is made of it.
    let (_, said) = az
        .refused(&format!("{create} -n flex --orchestration-mode Flexible"))
        .await;
    assert!(said.contains("NotImplemented"), "{said}");
    az.ok("vmss delete -g sets -n web").await;
    assert_eq!(az.ok("vmss list -g sets").await, json!([]));
    assert_by_the_documents(&local, &NO_DOCUMENT);
}
