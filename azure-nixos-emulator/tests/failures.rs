//! Operations that are accepted and fail, and what is left of them; interfaces that are kept for a
//! machine that is gone.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

mod common;

use std::time::Duration;

use azure_nixos_emulator::fault::FaultRule;
use azure_nixos_emulator::{Clock, Emulator};
use common::*;
use serde_json::{Value, json};
use tempfile::tempdir;

fn failing(operation: &str, code: &str) -> FaultRule {
    let rule = FaultRule::on(operation.parse().unwrap());
    rule.times(1).fail_operation(code)
}

/// A group with an image `image` and the network of a machine `vm`.
async fn prepared(azure: &Emulator) -> Client {
    let client = Client::new(azure);
    client.make_group("rg").await;
    client.make_uploaded(azure, "rg", "disk").await;
    client.make_image("rg", "image", "disk").await;
    client.make_network("rg", "vm").await;
    client
}

/// The end of an operation that fails: its error's code.
async fn fails(client: &Client, begun: Answer) -> Value {
    assert!((200..300).contains(&begun.status), "{}", begun.body);
    let ended = client.follow(&begun).await;
    assert_eq!(ended.body["status"], "Failed", "{}", ended.body);
    ended.body["error"]["code"].clone()
}

async fn state(client: &Client, path: &str, version: &str) -> Value {
    client.get(path, version).await.body["properties"]["provisioningState"].clone()
}

async fn statuses(client: &Client) -> Vec<String> {
    let path = format!("{}/instanceView", vm("rg", "vm"));
    let view = client.get(&path, COMPUTE).await.body;
    let statuses = view["statuses"].as_array().unwrap().iter();
    statuses
        .map(|status| status["code"].as_str().unwrap().to_owned())
        .collect()
}

async fn disks(client: &Client) -> usize {
    let path = "/resourceGroups/rg/providers/Microsoft.Compute/disks";
    let all = client.get(path, DISKS).await.body;
    all["value"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_machine_that_finds_no_room_is_there_and_has_nothing() {
    let dir = tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure).await;
    let rule = azure
        .faults()
        .add(failing("virtualMachines.createOrUpdate", "AllocationFailed").message("No room."));
    let body = client.vm("rg", "vm", "image");
    let begun = client.put(&vm("rg", "vm"), COMPUTE, body.clone()).await;
    assert_eq!(begun.body["properties"]["provisioningState"], "Creating");
    assert_eq!(fails(&client, begun).await, "AllocationFailed");
    assert_eq!(azure.faults().hits(rule), 1);
    assert_eq!(state(&client, &vm("rg", "vm"), COMPUTE).await, "Failed");
    assert_eq!(
        statuses(&client).await,
        [
            "ProvisioningState/failed/AllocationFailed",
            "PowerState/deallocated"
        ]
    );
    assert_eq!(disks(&client).await, 1);
    // Its interface is the machine's until that is deleted, and then the same again works.
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "vm");
    let kept = client.delete(&nic, NETWORK).await;
    assert_eq!(kept.error(), (400, "NicInUse"));
    let gone = client.delete(&vm("rg", "vm"), COMPUTE).await;
    client.follow(&gone).await;
    let begun = client.put(&vm("rg", "vm"), COMPUTE, body).await;
    client.succeed(begun).await;
    assert_eq!(
        statuses(&client).await,
        ["ProvisioningState/succeeded", "PowerState/running"]
    );
}

#[tokio::test]
async fn a_machine_whose_guest_never_reports_runs_all_the_same() {
    let dir = tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure).await;
    let code = "OSProvisioningTimedOut";
    azure
        .faults()
        .add(failing("virtualMachines.createOrUpdate", code));
    let body = client.vm("rg", "vm", "image");
    let begun = client.put(&vm("rg", "vm"), COMPUTE, body).await;
    assert_eq!(fails(&client, begun).await, code);
    assert_eq!(
        statuses(&client).await,
        [
            "ProvisioningState/failed/OSProvisioningTimedOut",
            "PowerState/running"
        ]
    );
    assert_eq!(disks(&client).await, 2);

    // Started again it is as good as any, unless there is no room for it.
    let act = async |action: &str| {
        let path = format!("{}/{action}", vm("rg", "vm"));
        client.post(&path, COMPUTE, None).await
    };
    client.succeed(act("deallocate").await).await;
    azure
        .faults()
        .add(failing("virtualMachines.start", "ZonalAllocationFailed"));
    assert_eq!(
        fails(&client, act("start").await).await,
        "ZonalAllocationFailed"
    );
    assert_eq!(
        statuses(&client).await,
        [
            "ProvisioningState/failed/ZonalAllocationFailed",
            "PowerState/deallocated"
        ]
    );
    client.succeed(act("start").await).await;
    assert_eq!(
        statuses(&client).await,
        ["ProvisioningState/succeeded", "PowerState/running"]
    );
}

#[tokio::test]
async fn what_fails_to_be_made_is_failed_and_what_fails_to_be_deleted_stays() {
    let dir = tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure).await;
    // An image is a copy, which goes with it.
    let code = "InternalExecutionError";
    azure.faults().add(failing("images.createOrUpdate", code));
    let id = client.id("rg", "Microsoft.Compute/disks", "disk");
    let begun = client
        .put(&image("rg", "two"), COMPUTE, image_of(&id))
        .await;
    assert_eq!(fails(&client, begun).await, code);
    assert_eq!(state(&client, &image("rg", "two"), COMPUTE).await, "Failed");
    assert!(!azure.image_file("rg", "two").exists());
    let begun = client.delete(&image("rg", "two"), COMPUTE).await;
    client.succeed(begun).await;
    let begun = client
        .put(&image("rg", "two"), COMPUTE, image_of(&id))
        .await;
    client.succeed(begun).await;
    assert_eq!(
        std::fs::read(azure.image_file("rg", "two")).unwrap(),
        std::fs::read(azure.disk_file("rg", "disk")).unwrap()
    );

    azure.faults().add(failing("disks.delete", code));
    let begun = client.delete(&disk("rg", "disk"), DISKS).await;
    assert_eq!(fails(&client, begun).await, code);
    assert_eq!(state(&client, &disk("rg", "disk"), DISKS).await, "Failed");
    assert!(azure.disk_file("rg", "disk").exists());

    // The deletion of a group speaks through its location alone.
    azure.faults().add(failing("resourceGroups.delete", code));
    let begun = client.delete(&group("rg"), RESOURCES).await;
    assert_eq!(client.follow(&begun).await.error(), (409, code));
    assert_eq!(state(&client, &group("rg"), RESOURCES).await, "Succeeded");
    assert!(azure.image_file("rg", "two").exists());

    // What has no operation is served as ever.
    let rule = azure
        .faults()
        .add(failing("resourceGroups.createOrUpdate", code));
    client.make_group("other").await;
    assert_eq!(azure.faults().hits(rule), 1);
    assert_eq!(client.get(&group("other"), RESOURCES).await.status, 200);
    let begun = client.delete(&group("rg"), RESOURCES).await;
    client.follow(&begun).await;
    assert_eq!(client.get(&group("rg"), RESOURCES).await.status, 404);
}

/// The failure waits for its time, in the state of a service that was started anew as well.
#[tokio::test]
async fn an_operation_fails_when_it_is_due() {
    let dir = tempdir().unwrap();
    let clock = Clock::new();
    let start = || {
        let builder = builder(dir.path()).clock(clock.clone());
        builder.operation_delay(Duration::from_secs(60)).start()
    };
    let azure = start().await.unwrap();
    let client = Client::new(&azure);
    client.make_group("rg").await;
    azure
        .faults()
        .add(failing("disks.createOrUpdate", "AllocationFailed"));
    let begun = client.put(&disk("rg", "d"), DISKS, upload(SMALLEST)).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let running = state(&client, &disk("rg", "d"), DISKS).await;
    assert_ne!(running, "Failed");
    azure.stop().await;
    let azure = start().await.unwrap();
    let client = Client::new(&azure);
    clock.advance(Duration::from_secs(30));
    assert_eq!(state(&client, &disk("rg", "d"), DISKS).await, running);
    clock.advance(Duration::from_secs(30));
    assert_eq!(state(&client, &disk("rg", "d"), DISKS).await, "Failed");
}

#[tokio::test]
async fn a_machine_of_a_disk_is_specialized() {
    let dir = tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure).await;
    let mut body = client.vm("rg", "vm", "image");
    let disk = client.id("rg", "Microsoft.Compute/disks", "disk");
    body["properties"]["storageProfile"] = json!({ "osDisk": {
        "createOption": "Attach", "osType": "Linux", "managedDisk": { "id": disk },
    }});
    body["properties"]
        .as_object_mut()
        .unwrap()
        .remove("osProfile");
    let begun = client.put(&vm("rg", "vm"), COMPUTE, body).await;
    client.succeed(begun).await;
    assert_eq!(
        statuses(&client).await,
        [
            "OSState/specialized",
            "ProvisioningState/succeeded",
            "PowerState/running"
        ]
    );
}

#[tokio::test]
async fn an_interface_is_kept_for_a_deleted_machine() {
    let dir = tempdir().unwrap();
    let clock = Clock::new();
    let azure = builder(dir.path())
        .clock(clock.clone())
        .nic_reservation(Duration::from_secs(180))
        .start()
        .await
        .unwrap();
    let client = prepared(&azure).await;
    let delete_machine = async || {
        let begun = client.delete(&vm("rg", "vm"), COMPUTE).await;
        client.follow(&begun).await;
        assert_eq!(client.get(&vm("rg", "vm"), COMPUTE).await.status, 404);
    };
    let body = client.vm("rg", "vm", "image");
    let make = async |name: &str| client.put(&vm("rg", name), COMPUTE, body.clone()).await;
    client.succeed(make("vm").await).await;
    delete_machine().await;
    let nic = resource("rg", "Microsoft.Network/networkInterfaces", "vm");
    clock.advance(Duration::from_secs(100));
    let refused = client.delete(&nic, NETWORK).await;
    assert_eq!(refused.error(), (400, "NicReservedForAnotherVm"));
    let refused = make("other").await;
    assert_eq!(refused.error(), (400, "NicReservedForAnotherVm"));
    // The machine itself may have it.
    client.succeed(make("vm").await).await;
    delete_machine().await;
    clock.advance(Duration::from_secs(180));
    client.succeed(make("other").await).await;
    let begun = client.delete(&vm("rg", "other"), COMPUTE).await;
    client.follow(&begun).await;
    clock.advance(Duration::from_secs(180));
    let begun = client.delete(&nic, NETWORK).await;
    client.follow(&begun).await;
    assert_eq!(client.get(&nic, NETWORK).await.status, 404);
}
