//! Listing, starting, stopping, resizing.

use std::num::NonZeroUsize;
use std::time::Duration;

use azure_nixos::ErrorKind;
use azure_nixos::vm::PowerState;
use azure_nixos_emulator::Assumption;
use azure_nixos_tests::within;
use serde_json::json;

use crate::place::{COMPUTE, Place, arm};

const SIZE: &str = "Standard_B2s";

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_life() {
    let place = Place::new().await;
    assert!(place.machines().list(None).await.unwrap().is_empty());
    let before = place.local.state().await;
    let booted = place.boot("vms", "web-1").await;

    // Found in any case, in the spelling of its maker.
    let found = place.machines().get("VMS", "WEB-1").await.unwrap();
    assert_eq!(found.id, booted.id);
    assert_eq!(
        (found.name.as_str(), found.resource_group.as_str()),
        ("web-1", "vms")
    );
    assert_eq!(found.location.as_str(), "westus2");
    assert_eq!(found.size, "Standard_DS1_v2");
    assert_eq!(found.power_state, PowerState::Running);
    assert_eq!(found.provisioning_state, "Succeeded");
    assert_eq!(found.public_ips, [booted.public_ip.clone().unwrap()]);
    assert_eq!(found.private_ips.len(), 1);
    assert!(found.private_ips[0].starts_with("10.0.0."), "{found:?}");
    assert_eq!(found.admin_username.as_deref(), Some("nixos"));
    assert!(
        found
            .image_id
            .as_ref()
            .unwrap()
            .as_str()
            .ends_with("/images/base")
    );
    assert!(found.made_here && !found.boot_diagnostics);
    assert_eq!(found.tags["azure-nixos-vm"], "web-1");
    let [disk] = &found.disks[..] else {
        panic!("{found:?}")
    };
    assert!(disk.is_os && disk.goes_with_machine && disk.id.is_some());
    assert_eq!(disk.size_gb, Some(42));
    assert_eq!(found.ssh_command(), booted.ssh_command);
    assert_eq!(place.machines().list(None).await.unwrap(), [found]);

    let machine = place.machine("Web-1");
    let off = machine.power_off().await.unwrap();
    assert_eq!(off.machine.power_state, PowerState::Stopped);
    assert!(
        off.notes[0].contains("costs as if it ran"),
        "{:?}",
        off.notes
    );
    let refused = machine.restart().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(
        refused
            .hint()
            .unwrap()
            .contains("azure-nixos start -g vms -n web-1")
    );
    let free = machine.deallocate().await.unwrap();
    assert_eq!(free.machine.power_state, PowerState::Deallocated);
    assert!(free.notes[0].contains("cost nothing"), "{:?}", free.notes);

    // What is so already is not done again.
    let asked = place.requests();
    let again = machine.deallocate().await.unwrap();
    assert_eq!(again.notes, ["web-1 is deallocated already"]);
    let again = machine.power_off().await.unwrap();
    assert_eq!(again.machine.power_state, PowerState::Deallocated);
    let posts = place.since(asked);
    assert!(
        posts.iter().all(|request| request.starts_with("GET")),
        "{posts:?}"
    );

    let on = machine.power_on().await.unwrap();
    assert_eq!(on.machine.power_state, PowerState::Running);
    assert!(on.notes.is_empty());
    assert_eq!(
        machine.power_on().await.unwrap().notes,
        ["web-1 runs already"]
    );
    let restarted = machine.restart().await.unwrap();
    assert_eq!(restarted.machine.power_state, PowerState::Running);
    let resized = machine.resize(SIZE).await.unwrap();
    assert_eq!(resized.machine.size, SIZE);
    assert!(resized.notes.is_empty(), "{:?}", resized.notes);
    let resized = machine.resize(SIZE.to_uppercase()).await.unwrap();
    assert_eq!(resized.notes, ["web-1 has this size already"]);

    let deleted = machine.delete().await.unwrap();
    assert_eq!(
        (deleted.deleted.len(), deleted.stays.len()),
        (6, 0),
        "{deleted:?}"
    );
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_takes_as_many_requests_for_many_machines_as_for_few() {
    let place = Place::new().await;
    for (group, name) in [("vms", "b"), ("vms", "a"), ("more", "c")] {
        place.boot(group, name).await;
    }
    place.machine("a").deallocate().await.unwrap();
    let asked = place.requests();
    let all = place.machines().list(None).await.unwrap();
    let names: Vec<(&str, &str)> = all
        .iter()
        .map(|machine| (machine.resource_group.as_str(), machine.name.as_str()))
        .collect();
    assert_eq!(names, [("more", "c"), ("vms", "a"), ("vms", "b")]);
    let states: Vec<&str> = all.iter().map(|one| one.power_state.as_str()).collect();
    assert_eq!(states, ["running", "deallocated", "running"]);
    assert!(all.iter().all(|one| one.public_ips.len() == 1));
    assert_eq!(place.since(asked).len(), 4, "{:?}", place.since(asked));

    let asked = place.requests();
    let some = place.machines().list(Some("VMS")).await.unwrap();
    assert_eq!(some, all[1..]);
    assert_eq!(place.since(asked).len(), 4, "{:?}", place.since(asked));
    let asked = place.requests();
    let one = place.machines().list(Some("more")).await.unwrap();
    assert_eq!(one, all[..1]);
    let requests = place.since(asked);
    assert!(
        !requests
            .iter()
            .any(|request| request.contains("statusOnly")),
        "{requests:?}"
    );
    let error = place.machines().list(Some("none")).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_read_and_what_may_not_be_seen_is_done_without() {
    let place = Place::with(|builder| builder.page_size(NonZeroUsize::MIN)).await;
    for name in ["a", "b", "c"] {
        place.boot("vms", name).await;
    }
    let all = place.machines().list(Some("vms")).await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|one| one.power_state == PowerState::Running));

    place.fault(arm("GET", "statusOnly").respond(403, "AuthorizationFailed"));
    assert_eq!(place.machines().list(None).await.unwrap(), all);
    place.fault(arm("GET", "publicIPAddresses").respond(403, "AuthorizationFailed"));
    place.fault(arm("GET", "/networkInterfaces").respond(403, "AuthorizationFailed"));
    place.fault(arm("GET", "instanceView").respond(403, "AuthorizationFailed"));
    let bare = place.machines().list(None).await.unwrap();
    assert_eq!(bare.len(), 3);
    assert!(bare.iter().all(|one| one.power_state == PowerState::Unknown
        && one.public_ips.is_empty()
        && one.private_ips.is_empty()));
    place.fault(arm("GET", "/virtualMachines?").respond(403, "AuthorizationFailed"));
    let error = place.machines().list(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_with_what_there_is() {
    let place = Place::new().await;
    let error = place.machine("web").info().await.unwrap_err();
    assert!(error.is_not_found());
    assert!(
        error.hint().unwrap().contains("no machine in this group"),
        "{error:?}"
    );
    place.boot("vms", "web-1").await;
    for error in [
        place.machine("wbe-1").info().await.unwrap_err(),
        place.machine("wbe-1").power_on().await.unwrap_err(),
        place.machine("wbe-1").delete().await.unwrap_err(),
        place.machine("wbe-1").serial_log().await.unwrap_err(),
    ] {
        assert!(error.is_not_found());
        assert_eq!(error.to_string(), "there is no machine wbe-1 in vms");
        assert_eq!(error.hint(), Some("did you mean web-1?"));
    }
    for wanted in ["WEB-1", "web-1.vms"] {
        let found = place.machines().find(wanted).await.unwrap();
        assert_eq!(found.info().await.unwrap().name, "web-1");
    }
    let error = place.machines().find("wbe-1").await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.hint(), Some("did you mean web-1?"));
    assert!(
        place
            .machines()
            .find("a/b")
            .await
            .unwrap_err()
            .is_invalid_input()
    );
    let error = place.machines().get("none", "web-1").await.unwrap_err();
    assert!(error.is_not_found());
    assert!(
        error.to_string().contains("no resource group none"),
        "{error}"
    );
    let error = place
        .machines()
        .machine("none", "x")
        .delete()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no resource group none"),
        "{error}"
    );
    let error = place.machine("a/../b").delete().await.unwrap_err();
    assert!(error.is_invalid_input());
    let error = place.machine("web-1").resize("big one").await.unwrap_err();
    assert!(error.is_invalid_input());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_busy_is_waited_for() {
    let place = Place::new().await;
    place.boot("vms", "web-1").await;
    let busy = place.fault(arm("POST", "/deallocate").times(2).respond(409, "Conflict"));
    let free = place.machine("web-1").deallocate().await.unwrap();
    assert_eq!(free.machine.power_state, PowerState::Deallocated);
    assert_eq!(place.local.emulator.faults().hits(busy), 2);

    // And the wait ends when it is not wanted any more.
    let busy = place.fault(arm("POST", "/start").respond(409, "Conflict"));
    let handle = place.machine("web-1").power_on().start();
    place.until_hit(busy, 1).await;
    handle.cancel();
    let error = handle.join().await.unwrap_err();
    assert!(error.is_cancelled());
    assert!(
        error
            .context()
            .any(|(key, what)| key == "may go on by itself" && what == "start web-1"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_is_not_where_the_machine_is_deallocates_it() {
    let place = Place::new().await;
    place.boot("vms", "web-1").await;
    let machine = place.machine("web-1");
    let refusal = |times| {
        arm("PATCH", "/virtualMachines/web-1")
            .times(times)
            .respond(409, "OperationNotAllowed")
            .message("Unable to resize the VM 'web-1' because the requested size is not available in the current hardware cluster. The available sizes are: Standard_DS1_v2.")
    };
    place.fault(refusal(1));
    let resized = machine.resize(SIZE).await.unwrap();
    assert_eq!(
        (resized.machine.size.as_str(), &resized.machine.power_state),
        (SIZE, &PowerState::Running)
    );
    assert!(
        resized.notes[0].contains("started again"),
        "{:?}",
        resized.notes
    );
    place.local.emulator.faults().clear();

    // In vain: it runs again as it did.
    place.fault(refusal(2));
    let error = machine.resize("Standard_B1s").await.unwrap_err();
    assert_eq!(error.code(), Some("OperationNotAllowed"));
    assert!(
        error
            .context()
            .any(|(_, what)| what == "it was deallocated and started again"),
        "{error:?}"
    );
    let now = machine.info().await.unwrap();
    assert_eq!(
        (now.size.as_str(), &now.power_state),
        (SIZE, &PowerState::Running)
    );
    place.local.emulator.faults().clear();

    // A quota does not pass by that.
    let quota = arm("PATCH", "/virtualMachines/web-1").respond(409, "OperationNotAllowed");
    let quota =
        quota.message("Operation results in exceeding quota limits of Core. Maximum allowed: 4");
    place.fault(quota);
    let asked = place.requests();
    let error = machine.resize("Standard_B1s").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota);
    let requests = place.since(asked);
    assert!(
        !requests.iter().any(|request| request.starts_with("POST")),
        "{requests:?}"
    );
    place.local.emulator.faults().clear();

    // One that is off stays off.
    machine.power_off().await.unwrap();
    place.fault(refusal(1));
    let resized = machine.resize("Standard_B1s").await.unwrap();
    assert_eq!(resized.machine.power_state, PowerState::Deallocated);
    assert!(
        resized.notes[0].contains("is so now"),
        "{:?}",
        resized.notes
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_the_machine_cannot_have_is_refused_while_it_runs() {
    let place = Place::with(|builder| {
        builder
            .quota("standardBSFamily", 3)
            .quota("standardDSv3Family", 3)
    })
    .await;
    place.boot("vms", "web-1").await;
    let machine = place.machine("web-1");
    for (size, kind, said, hint) in [
        (
            "Standard_D2ps_v5",
            ErrorKind::InvalidInput,
            "its processors are Arm64, and its disk is for x64",
            "Standard_D2s_v5 (2 vCPUs, 8 GB)",
        ),
        (
            "Standard_A1_v2",
            ErrorKind::InvalidInput,
            "it boots V1 alone, and its disk is of generation V2",
            "these would do: ",
        ),
        (
            "Standard_D2s_v6",
            ErrorKind::InvalidInput,
            "its disks are attached by NVMe, and its disk is for SCSI",
            "these would do: ",
        ),
        (
            "Standard_B2z",
            ErrorKind::InvalidInput,
            "there is no size Standard_B2z in westus2",
            "did you mean Standard_B2",
        ),
        (
            "Standard_D4s_v3",
            ErrorKind::Quota,
            "in use are 0 of 3 (standardDSv3Family)",
            "these would do: ",
        ),
    ] {
        let asked = place.requests();
        let error = machine.resize(size).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{said}: {error}");
        assert!(error.hint().unwrap().contains(hint), "{hint}: {error:?}");
        let requests = place.since(asked);
        assert!(
            requests.iter().all(|request| request.starts_with("GET")),
            "{requests:?}"
        );
    }
    let now = machine.info().await.unwrap();
    assert_eq!(now.power_state, PowerState::Running);
    // What the machine has already does not count twice.
    for size in [SIZE, "Standard_B2ms"] {
        let resized = machine.resize(size).await.unwrap();
        assert_eq!(resized.machine.size, size);
    }
    // Where this login may not look, Azure says it.
    for unseen in ["/skus", "/disks/"] {
        place.fault(arm("GET", unseen).respond(403, "AuthorizationFailed"));
        let asked = place.requests();
        let error = machine.resize("Standard_D2ps_v5").await.unwrap_err();
        assert!(
            error.to_string().contains("Cannot resize a VM"),
            "{unseen}: {error}"
        );
        let requests = place.since(asked);
        assert!(
            requests.iter().any(|request| request.starts_with("PATCH")),
            "{requests:?}"
        );
        place.local.emulator.faults().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_of_others_is_shown_too() {
    let place = Place::new().await;
    let booted = place.boot("vms", "web-1").await;
    let body = json!({ "tags": { "owner": "ops" } });
    place.ask("PATCH", booted.id.as_str(), COMPUTE, body).await;
    let found = place.machine("web-1").info().await.unwrap();
    assert!(!found.made_here);
    assert_eq!(found.tags.len(), 1);
}

/// Whatever Azure does where nobody knows it, and while operations take their time.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_under_every_assumption() {
    for assumption in Assumption::ALL {
        let place = Place::with(|builder| {
            builder
                .assume(*assumption)
                .operation_delay(Duration::from_millis(40))
        })
        .await;
        let before = place.local.state().await;
        let life = async {
            place.boot("vms", "web-1").await;
            let machine = place.machine("web-1");
            machine.deallocate().await?;
            machine.resize(SIZE).await?;
            // Two at a time: one waits for the other.
            let (first, second) = futures::join!(
                machine.power_on().into_future(),
                machine.enable_boot_diagnostics().into_future(),
            );
            assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
            machine.delete().await
        };
        let what = format!("a life under {assumption:?}");
        let deleted = within(120, &what, life).await.unwrap();
        assert_eq!(deleted.deleted.len(), 6, "{assumption:?}");
        assert!(place.local.state().await == before, "{assumption:?}");
    }
}
