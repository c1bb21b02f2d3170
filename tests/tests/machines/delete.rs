//! Deletion: what goes, what stays, and what is left when it fails half way.

use std::fs;
use std::time::Duration;

use azure_nixos::vm::{BootedVm, DeletedMachine, Identity, ImageReference, Login, SshKey, Stays};
use azure_nixos::{ErrorKind, VmBuilder};
use azure_nixos_emulator::Clock;
use azure_nixos_emulator::fault::{FaultId, FaultRule, Plane};
use azure_nixos_tests::within;
use serde_json::json;

use crate::place::{COMPUTE, KEY, NETWORK, Place, arm};

fn names(deleted: &DeletedMachine) -> Vec<&str> {
    deleted
        .deleted
        .iter()
        .map(|thing| thing.id.name())
        .collect()
}

fn said(stays: &[Stays]) -> Vec<String> {
    stays
        .iter()
        .map(|stays| format!("{}: {}", stays.thing, stays.reason))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_is_as_it_was_and_other_machines_keep_what_is_theirs() {
    let place = Place::new().await;
    place.boot("vms", "web-2").await;
    let before = place.local.state().await;
    place.boot("vms", "web-1").await;

    // A plan shows everything and does nothing.
    let plan = place.machine("WEB-1").delete().plan().await.unwrap();
    let goes: Vec<String> = plan.goes().map(ToString::to_string).collect();
    assert_eq!(goes[0], "the machine web-1");
    assert!(goes[1].starts_with("the disk web-1_"), "{goes:?}");
    assert_eq!(
        goes[2..],
        [
            "the network interface web-1-nic",
            "the public address web-1-ip",
            "the network security group web-1-nsg",
            "the virtual network web-1-vnet",
        ]
    );
    assert!(plan.stays().is_empty());
    assert_eq!(plan.name(), "web-1");
    drop(plan);
    assert_eq!(place.machines().list(Some("vms")).await.unwrap().len(), 2);

    let asked = place.requests();
    let deleted = place.machine("web-1").delete().await.unwrap();
    assert_eq!(
        (deleted.name.as_str(), deleted.resource_group.as_str()),
        ("web-1", "vms")
    );
    assert_eq!(deleted.deleted.len(), 6);
    assert!(place.local.state().await == before);
    let requests = place.since(asked);
    let order: Vec<&String> = requests
        .iter()
        .filter(|one| one.starts_with("DELETE"))
        .collect();
    assert_eq!(order.len(), 6, "{order:?}");
    assert!(order[0].contains("/virtualMachines/"), "{order:?}");
    assert!(order[5].contains("/virtualNetworks/"), "{order:?}");
    assert!(
        place
            .machine("web-1")
            .delete()
            .await
            .unwrap_err()
            .is_not_found()
    );
}

/// A machine with everything that one can be asked for, and two roles.
async fn rich(place: &Place) -> BootedVm {
    let image = place.id("/resourceGroups/images/providers/Microsoft.Compute/images/base");
    VmBuilder::new(
        &place.local.azure,
        "vms",
        "rich",
        ImageReference::parse(&image).unwrap(),
    )
    .admin_username("nixos")
    .ssh_key(SshKey::text(KEY))
    .allow_ssh_from("any")
    .ipv6(true)
    .data_disk_gb(4)
    .data_disk_gb(8)
    .user_data("x")
    .identity(Identity::System)
    .role("Reader", place.id("/resourceGroups/images"))
    .role("Contributor", &image)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_richest_machine_leaves_nothing_and_no_role_of_nobody() {
    let place = Place::new().await;
    let identity = place.part("Microsoft.ManagedIdentity/userAssignedIdentities", "shared");
    let location = json!({ "location": "westus2" });
    let shared = place.ask("PUT", &identity, "2023-01-31", location).await;
    let scope = place.id("/resourceGroups/vms");
    let others = format!(
        "{scope}/providers/Microsoft.Authorization/roleAssignments/5ea6cbd3-9d0c-4a31-9f13-6b0d7cbd2fd1"
    );
    let role = place.id(
        "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7",
    );
    let given = json!({ "properties": {
        "roleDefinitionId": role, "principalId": shared["properties"]["principalId"], "principalType": "ServicePrincipal",
    } });
    place.ask("PUT", &others, "2022-04-01", given).await;
    let before = place.local.state().await;
    let roles = place.assignments().await;
    assert_eq!(roles.len(), 1);
    assert!(before.contains_key(&others.to_ascii_lowercase()));

    rich(&place).await;
    assert_eq!(place.assignments().await.len(), 3);
    let plan = place.machine("rich").delete().plan().await.unwrap();
    let said: Vec<String> = plan.goes().map(ToString::to_string).collect();
    let image = place.id("/resourceGroups/images/providers/Microsoft.Compute/images/base");
    for role in [
        format!("(Reader in {})", place.id("/resourceGroups/images")),
        format!("(Contributor in {image})"),
    ] {
        let found = said
            .iter()
            .any(|one| one.starts_with("the role assignment ") && one.ends_with(&role));
        assert!(found, "{role}: {said:?}");
    }
    let deleted = plan.await.unwrap();
    assert!(deleted.stays.is_empty(), "{:?}", deleted.stays);
    assert!(place.local.state().await == before);

    // A machine that cannot be deleted keeps what it may do.
    rich(&place).await;
    place.fault(arm("DELETE", "/virtualMachines/").respond(409, "ScopeLocked"));
    place.machine("rich").delete().await.unwrap_err();
    assert_eq!(place.assignments().await.len(), 3);
    place.local.emulator.faults().clear();

    // When the deletion stops after the machine, what nobody finds any more is named.
    place.fault(arm("DELETE", "/roleAssignments/").respond(409, "ScopeLocked"));
    let error = place.machine("rich").delete().await.unwrap_err();
    let report = error.report();
    let lost = place.assignments().await;
    let lost = lost.iter().filter(|one| !roles.contains(one));
    let lost: Vec<&str> = lost.map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(lost.len(), 2);
    place.local.emulator.faults().clear();
    place.machine("rich").delete().await.unwrap();
    for id in lost {
        assert!(report.contains("--ids ") && report.contains(id), "{report}");
        place.ask("DELETE", id, "2022-04-01", json!(null)).await;
    }
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_touch_roles_deletes_the_rest_and_is_told() {
    for (method, path, expected) in [
        ("GET", "/roleAssignments", "may not look for them"),
        ("DELETE", "/roleAssignments/", "may not take it away"),
    ] {
        let place = Place::new().await;
        let before = place.local.state().await;
        let vm = rich(&place).await;
        place.fault(arm(method, path).respond(403, "AuthorizationFailed"));
        let deleted = place.machine("rich").delete().await.unwrap();
        place.local.emulator.faults().clear();
        let all = said(&deleted.stays).join(" ");
        assert!(all.contains(expected), "{all}");
        let left = place.assignments().await;
        assert_eq!(left.len(), 2);
        for one in &left {
            let id = one["id"].as_str().unwrap();
            place.ask("DELETE", id, "2022-04-01", json!(null)).await;
            let named = [one["id"].as_str(), vm.principal_id.as_deref()];
            assert!(
                named.iter().flatten().any(|name| all.contains(name)),
                "{all}"
            );
        }
        assert!(place.local.state().await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_use_by_now_stays_until_they_do_not() {
    let place = Place::new().await;
    let before = place.local.state().await;
    place.boot("vms", "web-1").await;
    let guest = place.part("Microsoft.Network/networkInterfaces", "guest");
    let network = place.part("Microsoft.Network/virtualNetworks", "web-1-vnet");
    let rules = place.part("Microsoft.Network/networkSecurityGroups", "web-1-nsg");
    let body = json!({ "location": "westus2", "properties": {
        "networkSecurityGroup": { "id": rules },
        "ipConfigurations": [{ "name": "x", "properties": { "subnet": { "id": format!("{network}/subnets/default") } } }],
    } });
    place.ask("PUT", &guest, NETWORK, body).await;

    let deleted = place.machine("web-1").delete().await.unwrap();
    assert_eq!(names(&deleted)[2..], ["web-1-nic", "web-1-ip"]);
    assert_eq!(
        said(&deleted.stays),
        [
            "the network security group web-1-nsg: the network interface guest uses it",
            "the virtual network web-1-vnet: the network interface guest uses it",
        ]
    );
    // Nothing more to do, and no failure.
    let again = place.machine("web-1").delete().await.unwrap();
    assert_eq!((again.deleted.len(), again.stays.len()), (0, 2));

    let (status, _) = place.local.request("DELETE", &guest, NETWORK, None).await;
    assert_eq!(status, 202);
    let rest = place.machine("web-1").delete().await.unwrap();
    assert_eq!(names(&rest), ["web-1-nsg", "web-1-vnet"]);
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_made_for_it_is_named_and_stays() {
    let place = Place::new().await;
    place.boot("vms", "web-1").await;
    let network = place.part("Microsoft.Network/virtualNetworks", "web-1-vnet");
    let tags = json!({ "tags": { "owner": "ops" } });
    place.ask("PATCH", &network, NETWORK, tags).await;
    let identity = place.part(
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "web-1-id",
    );
    let body = json!({ "location": "westus2", "tags": { "azure-nixos-vm": "web-1" } });
    place.ask("PUT", &identity, "2023-01-31", body).await;
    let deleted = place.machine("web-1").delete().await.unwrap();
    assert_eq!(
        said(&deleted.stays),
        [
            "the resource web-1-id: things of its type are not deleted here",
            "the virtual network web-1-vnet: it was not made for web-1",
        ]
    );
    place.local.get(&network).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_as_used_is_looked_into() {
    let place = Place::new().await;
    let before = place.local.state().await;
    // Nobody is seen to use it: a moment later it is free.
    place.boot("vms", "web-1").await;
    let refusal = arm("DELETE", "/virtualNetworks/").times(1);
    place.fault(refusal.respond(400, "InUseSubnetCannotBeDeleted"));
    let deleted = place.machine("web-1").delete().await.unwrap();
    assert!(deleted.stays.is_empty(), "{deleted:?}");
    assert!(place.local.state().await == before);
    place.local.emulator.faults().clear();

    // Somebody took it after the plan was made.
    place.boot("vms", "web-1").await;
    let plan = place.machine("web-1").delete().plan().await.unwrap();
    let network = place.part("Microsoft.Network/virtualNetworks", "web-1-vnet");
    let guest = place.part("Microsoft.Network/networkInterfaces", "guest");
    let body = json!({ "location": "westus2", "properties": {
        "ipConfigurations": [{ "name": "x", "properties": { "subnet": { "id": format!("{network}/subnets/default") } } }],
    } });
    place.ask("PUT", &guest, NETWORK, body).await;
    let deleted = plan.await.unwrap();
    assert_eq!(
        said(&deleted.stays),
        ["the virtual network web-1-vnet: the network interface guest uses it"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_made_anew_is_not_the_one_of_the_plan() {
    let place = Place::new().await;
    place.boot("vms", "web-1").await;
    let plan = place.machine("web-1").delete().plan().await.unwrap();
    place.machine("web-1").delete().await.unwrap();
    place.boot("vms", "web-1").await;
    let before = place.local.state().await;
    let error = plan.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("another one"), "{error}");
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_is_waited_for_as_long_as_it_is_kept() {
    let clock = Clock::new();
    let settings = clock.clone();
    let place = Place::with(|builder| {
        builder
            .clock(settings)
            .nic_reservation(Duration::from_secs(180))
    })
    .await;
    let before = place.local.state().await;
    let booted = place.boot("vms", "web-1").await;
    let nic = place.part("Microsoft.Network/networkInterfaces", "web-1-nic");
    // So that it does not go with the machine, and is kept.
    let body = json!({ "properties": { "networkProfile": { "networkInterfaces": [
        { "id": nic, "properties": { "primary": true, "deleteOption": "Detach" } },
    ] } } });
    place.ask("PATCH", booted.id.as_str(), COMPUTE, body).await;

    let tries = place.fault(arm("DELETE", "/networkInterfaces/"));
    let handle = place.machine("web-1").delete().start();
    place.until_hit(tries, 2).await;
    clock.advance(Duration::from_secs(180));
    let deleted = within(60, "the deletion", handle.join()).await.unwrap();
    assert_eq!(deleted.deleted.len(), 6);
    assert!(place.local.state().await == before);

    // The wait can be ended.
    let booted = place.boot("vms", "web-1").await;
    let body = json!({ "properties": { "networkProfile": { "networkInterfaces": [
        { "id": nic, "properties": { "primary": true, "deleteOption": "Detach" } },
    ] } } });
    place.ask("PATCH", booted.id.as_str(), COMPUTE, body).await;
    place.local.emulator.faults().clear();
    let tries = place.fault(arm("DELETE", "/networkInterfaces/"));
    let handle = place.machine("web-1").delete().start();
    place.until_hit(tries, 1).await;
    handle.cancel();
    let error = within(20, "the cancelled deletion", handle.join())
        .await
        .unwrap_err();
    assert!(error.is_cancelled());
    let left = error.context().find(|(key, _)| *key == "left").unwrap().1;
    assert!(left.contains("the network interface web-1-nic"), "{left}");
    clock.advance(Duration::from_secs(180));
    place.machine("web-1").delete().await.unwrap();
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_deletion_says_what_is_left_and_the_next_finishes() {
    let place = Place::new().await;
    let before = place.local.state().await;
    for path in [
        "/virtualMachines/",
        "/publicIPAddresses/",
        "/virtualNetworks/",
    ] {
        place.boot("vms", "web-1").await;
        let slow = place.fault(arm("DELETE", path).delay(Duration::from_secs(120)));
        let handle = place.machine("web-1").delete().start();
        place.until_hit(slow, 1).await;
        handle.cancel();
        let error = within(20, "a cancelled deletion", handle.join())
            .await
            .unwrap_err();
        assert!(error.is_cancelled());
        let context = |wanted: &str| {
            let found = error.context().find(|(key, _)| *key == wanted);
            found.map(|(_, what)| what.to_owned()).unwrap_or_default()
        };
        let (gone, left) = (context("deleted"), context("left"));
        assert!(
            left.ends_with("the virtual network web-1-vnet"),
            "{path}: {left}"
        );
        let is_first = path == "/virtualMachines/";
        assert_eq!(gone.is_empty(), is_first, "{path}: {gone}");
        assert_eq!(left.contains("the machine"), is_first, "{path}: {left}");
        assert!(error.hint().unwrap().contains("run the same again"));
        place.local.emulator.faults().clear();
        place.machine("web-1").delete().await.unwrap();
        assert!(place.local.state().await == before, "{path}");
    }
}

/// Runs a deletion once for every request of it, with a fault there, until one has no such request any
/// more; and after each that failed another, which finishes. Returns how many requests there were.
async fn each_request(fault: impl Fn(FaultRule) -> FaultRule) -> u64 {
    let place = Place::new().await;
    let before = place.local.state().await;
    let faults = place.local.emulator.faults();
    for n in 0..100 {
        place.boot("vms", "web-1").await;
        let rule = FaultRule::new(Plane::Arm).after(n).times(1);
        let id: FaultId = place.fault(fault(rule));
        let result = within(
            90,
            "a deletion",
            place.machine("web-1").delete().into_future(),
        )
        .await;
        let hit = faults.hits(id) > 0;
        faults.clear();
        if let Err(error) = result {
            eprintln!("{n}: {}", error.report());
            // Where only the last answer was lost, there is nothing any more.
            let again = place.machine("web-1").delete().await;
            assert!(
                again.as_ref().is_ok()
                    || again.as_ref().is_err_and(azure_nixos::Error::is_not_found),
                "{n}: {again:?}"
            );
        }
        let after = place.local.state().await;
        let news: Vec<&String> = after
            .keys()
            .filter(|key| !before.contains_key(*key))
            .collect();
        assert!(after == before, "request {n} left {news:?}");
        if !hit {
            return n;
        }
    }
    panic!("the deletion does not get past its first requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_any_request_leaves_what_the_next_deletes() {
    let requests = each_request(|rule| rule.respond(403, "AuthorizationFailed")).await;
    assert!(requests > 15, "only {requests} requests were met");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_before_or_after_it_is_carried_out_is_repeated() {
    let requests = each_request(FaultRule::reset_before).await;
    assert!(requests > 15, "only {requests} requests were met");
    let requests = each_request(FaultRule::reset_after).await;
    assert!(requests > 15, "only {requests} requests were met");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_deletion_that_fails_leaves_what_the_next_deletes() {
    let place = Place::new().await;
    let before = place.local.state().await;
    for path in [
        "/virtualMachines/",
        "/networkInterfaces/",
        "/publicIPAddresses/",
        "/networkSecurityGroups/",
        "/virtualNetworks/",
    ] {
        place.boot("vms", "web-1").await;
        let rule = arm("DELETE", path).times(1);
        let id = place.fault(rule.fail_operation("InternalExecutionError"));
        let result = place.machine("web-1").delete().await;
        assert!(place.local.emulator.faults().hits(id) > 0, "{path}");
        place.local.emulator.faults().clear();
        if let Err(error) = result {
            assert_eq!(
                error.code(),
                Some("InternalExecutionError"),
                "{}",
                error.report()
            );
            place.machine("web-1").delete().await.unwrap();
        }
        assert!(place.local.state().await == before, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_keys_of_what_is_gone_are_forgotten() {
    let place = Place::new().await;
    let image = place.image().await;
    place.boot("vms", "web").await;
    place.boot("vms", "db").await;
    place.from(&image, "set").scale_set(3).await.unwrap();
    let directory = place.local.place().join("known");
    fs::create_dir(&directory).unwrap();
    let logins = place.machines().logins(Some("vms"));
    let logins = logins.key_directory(&directory).await.unwrap();
    assert_eq!(logins.len(), 5);
    let file = &logins[0].known_hosts;
    let line = |login: &Login| format!("{} ssh-ed25519 AAAA\n", login.host_key_alias);
    // What the file has of these machines, beside what it has of others.
    let of = |names: &[&str]| -> String {
        let is_one = |login: &&Login| {
            names
                .iter()
                .any(|name| login.machine.name.starts_with(name))
        };
        let lines: String = logins.iter().filter(is_one).map(line).collect();
        format!("github.com ssh-rsa BBBB\n{lines}")
    };
    let all = of(&["web", "db", "set"]);
    assert_eq!(all.lines().count(), 6);
    fs::write(file, &all).unwrap();
    let delete = |name: &'static str| place.machine(name).delete().key_directory(&directory);

    // A deletion that is refused, or only planned, forgets nothing.
    place.fault(arm("DELETE", "/virtualMachines/").respond(409, "ScopeLocked"));
    delete("web").await.unwrap_err();
    place.local.emulator.faults().clear();
    drop(delete("web").plan().await.unwrap());
    assert_eq!(fs::read_to_string(file).unwrap(), all);
    // One that stops half way does: later nobody knows what the machine was called in there.
    place.fault(arm("DELETE", "/publicIPAddresses/").respond(409, "ScopeLocked"));
    delete("WEB").await.unwrap_err();
    place.local.emulator.faults().clear();
    assert_eq!(fs::read_to_string(file).unwrap(), of(&["db", "set"]));
    assert!(delete("web").await.unwrap().warnings.is_empty());
    delete("set").await.unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), of(&["db"]));

    // What keeps it from that keeps nothing from being deleted.
    fs::remove_file(file).unwrap();
    fs::create_dir(file).unwrap();
    let gone = delete("db").await.unwrap();
    assert!(
        gone.warnings[0].contains("its host keys stay in"),
        "{gone:?}"
    );
    assert!(place.machines().list(Some("vms")).await.unwrap().is_empty());
}
