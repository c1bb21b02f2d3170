//! Managed identities, roles and template deployments through `az`.

use azure_nixos_tests::Local;
use azure_nixos_tests::openapi::{Deviation, Rule, Side};
use serde_json::{Value, json};

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{image, key_file};

const OWNER: &str = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";

/// `az` writes the two kinds of identity without the blank that the enumeration has between them.
const BOTH_IDENTITIES: Deviation = Deviation {
    operation: "VirtualMachines_Update",
    side: Side::Request,
    rule: Rule::Enumeration,
    at: "identity.type",
    why: "Azure reads it as flags, which may stand apart or not",
};

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_gets_roles_and_a_machine() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, _) = image(&local, "images", "web").await;
    let key = key_file(&local);
    az.ok("group create -n machines -l westus2").await;
    let identity = az.ok("identity create -g machines -n web").await;
    let principal = identity["principalId"].as_str().unwrap();
    assert_eq!(identity["tenantId"], local.emulator.tenant_id());
    let scope = format!(
        "/subscriptions/{}/resourceGroups/machines",
        local.emulator.subscription_id()
    );
    let create = format!("role assignment create --scope {scope}");
    let as_principal =
        format!("--assignee-object-id {principal} --assignee-principal-type ServicePrincipal");
    // By its id nothing has to be looked up, by its name the definitions are asked, and with
    // --assignee alone the directory is.
    let owner = az
        .ok(&format!("{create} {as_principal} --role {OWNER}"))
        .await;
    assert_eq!(owner["principalId"], principal);
    let again = az
        .ok(&format!("{create} {as_principal} --role {OWNER}"))
        .await;
    assert_eq!(again["id"], owner["id"], "the same role is given once");
    az.ok(&format!("{create} {as_principal} --role Reader"))
        .await;
    az.ok(&format!(
        "{create} --assignee {principal} --role Contributor"
    ))
    .await;
    let (_, said) = az
        .refused(&format!("{create} {as_principal} --role Admiral"))
        .await;
    assert!(said.contains("Admiral"), "{said}");
    let list = format!("role assignment list --scope {scope} --query [].roleDefinitionName");
    let mut roles: Vec<Value> = az.ok(&list).await.as_array().unwrap().clone();
    roles.sort_by_key(Value::to_string);
    assert_eq!(roles, ["Contributor", "Owner", "Reader"]);
    az.ok(&format!(
        "role assignment delete --assignee {principal} --role Reader --scope {scope}"
    ))
    .await;
    assert_eq!(az.ok(&list).await.as_array().unwrap().len(), 2);

    az.ok(&format!(
        "vm create -g machines -n web-1 --image {} --admin-username nixos --ssh-key-values {} \
         --assign-identity web --public-ip-address \"\" --nsg \"\"",
        image.id,
        key.display()
    ))
    .await;
    let shown = az.ok("vm identity show -g machines -n web-1").await;
    assert_eq!(shown["type"], "UserAssigned");
    let assigned = shown["userAssignedIdentities"].as_object().unwrap();
    assert_eq!(assigned.len(), 1);
    for one in assigned.values() {
        assert_eq!(one["principalId"], principal);
    }
    let own = az.ok("vm identity assign -g machines -n web-1").await;
    assert!(own["systemAssignedIdentity"].is_string(), "{own}");

    az.ok("vm delete -g machines -n web-1 --yes").await;
    az.ok("identity delete -g machines -n web").await;
    assert_eq!(az.ok("identity list -g machines").await, json!([]));
    assert_by_the_documents(&local, &[BOTH_IDENTITIES]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_deployed() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": { "name": { "type": "string", "defaultValue": "net" } },
        "variables": { "nsg": "[concat(parameters('name'), '-nsg')]" },
        "resources": [
            {
                "type": "Microsoft.Network/virtualNetworks",
                "apiVersion": "2023-04-01",
                "name": "[parameters('name')]",
                "location": "[resourceGroup().location]",
                "dependsOn": ["[resourceId('Microsoft.Network/networkSecurityGroups', variables('nsg'))]"],
                "properties": {
                    "addressSpace": { "addressPrefixes": ["10.9.0.0/16"] },
                    "subnets": [{
                        "name": "web",
                        "properties": {
                            "addressPrefix": "10.9.1.0/24",
                            "networkSecurityGroup": {
                                "id": "[resourceId('Microsoft.Network/networkSecurityGroups', variables('nsg'))]"
                            },
                        },
                    }],
                },
            },
            {
                "type": "Microsoft.Network/networkSecurityGroups",
                "apiVersion": "2023-04-01",
                "name": "[variables('nsg')]",
                "location": "[resourceGroup().location]",
            },
        ],
        "outputs": { "id": {
            "type": "string",
            "value": "[resourceId('Microsoft.Network/virtualNetworks', parameters('name'))]"
        } },
    });
    let file = local.place().join("network.json");
    std::fs::write(&file, template.to_string()).unwrap();
    az.ok("group create -n net -l westus2").await;
    let deploy = format!(
        "deployment group create -g net -n first --template-file {}",
        file.display()
    );
    let deployed = az.ok(&format!("{deploy} --parameters name=vnet")).await;
    assert_eq!(deployed["properties"]["provisioningState"], "Succeeded");
    let vnet = az.ok("network vnet show -g net -n vnet").await;
    assert_eq!(deployed["properties"]["outputs"]["id"]["value"], vnet["id"]);
    let nsg = vnet["subnets"][0]["networkSecurityGroup"]["id"].as_str();
    assert!(nsg.unwrap().ends_with("/vnet-nsg"), "{vnet}");

    // What cannot be is refused with the cause inside.
    let mut wrong = template;
    wrong["resources"][0]["properties"]["addressSpace"]["addressPrefixes"] = json!(["10.9/16"]);
    std::fs::write(&file, wrong.to_string()).unwrap();
    let (_, said) = az.refused(&deploy.replace("first", "second")).await;
    assert!(said.contains("InvalidAddressPrefixFormat"), "{said}");
    let states = az
        .ok("deployment group list -g net --query [].[name,properties.provisioningState]")
        .await;
    let states = states.as_array().unwrap();
    assert!(
        states.contains(&json!(["first", "Succeeded"])),
        "{states:?}"
    );
    assert!(states.contains(&json!(["second", "Failed"])), "{states:?}");
    assert_by_the_documents(&local, &[]);
}
