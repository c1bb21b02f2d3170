//! Virtual machines through `az`.

use azure_nixos::VmBuilder;
use azure_nixos::vm::SshKey;
use azure_nixos_tests::{Local, within};
use serde_json::json;

use crate::az::Az;
use crate::judged::{COUNT, NIC_KIND, NIC_MAIL, NO_MORE, assert_judged};
use crate::made::{KEY, image};

/// The life of a machine that the library made.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_library_booted_az_stops_and_starts() {
    let local = Local::start().await;
    let Some(az) = Az::log_in(&local).await else {
        return;
    };
    let (image, _) = image(&local, "images", "web").await;
    within(60, "the machine", async {
        VmBuilder::new(&local.azure, "machines", "web-1", &image)
            .admin_username("nixos")
            .ssh_key(SshKey::text(KEY))
            .await
    })
    .await
    .unwrap();
    let vm = "-g machines -n web-1";
    let power = async || {
        let view = az.ok(&format!("vm get-instance-view {vm}")).await;
        let statuses = view["instanceView"]["statuses"].as_array().unwrap().clone();
        let power = statuses
            .iter()
            .filter_map(|status| status["code"].as_str())
            .find_map(|code| code.strip_prefix("PowerState/"))
            .map(ToOwned::to_owned);
        power.unwrap_or_else(|| panic!("{statuses:?}"))
    };
    let disk = "disk list -g machines --query [0].diskState";

    let listed = az.ok("vm list -d").await;
    assert_eq!(listed[0]["name"], "web-1");
    assert_eq!(listed[0]["powerState"], "VM running");
    assert_eq!(az.ok(disk).await, "Attached");
    az.ok(&format!("vm stop {vm}")).await;
    assert_eq!(power().await, "stopped");
    az.ok(&format!("vm deallocate {vm}")).await;
    assert_eq!(power().await, "deallocated");
    assert_eq!(az.ok(disk).await, "Reserved");
    let resized = az
        .ok(&format!("vm resize {vm} --size Standard_D4s_v3"))
        .await;
    assert_eq!(resized["hardwareProfile"]["vmSize"], "Standard_D4s_v3");
    az.ok(&format!("vm start {vm}")).await;
    assert_eq!(power().await, "running");
    az.ok(&format!("vm restart {vm}")).await;
    assert_eq!(power().await, "running");
    let opened = az
        .ok("vm open-port -g machines -n web-1 --port 80 --query securityRules[].destinationPortRange")
        .await;
    assert!(
        opened.as_array().unwrap().contains(&json!("80")),
        "{opened}"
    );

    // What a machine uses stays.
    let name = az.ok("disk list -g machines --query [0].name").await;
    let name = name.as_str().unwrap();
    let (_, said) = az
        .refused(&format!("disk delete -g machines -n {name} --yes"))
        .await;
    assert!(said.contains("(OperationNotAllowed)"), "{said}");
    let nic = az.ok("network nic list -g machines --query [0].name").await;
    let nic = nic.as_str().unwrap();
    let (_, said) = az
        .refused(&format!("network nic delete -g machines -n {nic}"))
        .await;
    assert!(said.contains("(NicInUse)"), "{said}");

    az.ok(&format!("vm delete {vm} --yes")).await;
    let (status, said) = az.refused(&format!("vm show {vm}")).await;
    assert_eq!(status, 3, "{said}");
    assert_eq!(az.ok("vm list").await, json!([]));
    assert_judged(&local, &[COUNT, NO_MORE, NIC_KIND, NIC_MAIL]);
}
