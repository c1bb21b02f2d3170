//! The check before an upload, against the local Azure: everything that would stop one is seen, and
//! nothing is changed by looking.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use azure_nixos::azure::{Cloud, LoginMethod, Transport};
use azure_nixos::check::{CheckReport, Checkup, Outcome, Topic};
use azure_nixos::image::ImageSource;
use azure_nixos::vm::{DEFAULT_SIZE, ImageReference, SshKey};
use azure_nixos::{Azure, ErrorKind, ImageBuilder, VmBuilder};
use azure_nixos_emulator::EmulatorBuilder;
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_tests::Local;
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::openapi::{self, Judge};
use serde_json::json;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

/// What depends on Azure.
const AZURE: [Topic; 12] = [
    Topic::Login,
    Topic::Subscription,
    Topic::ResourceGroup,
    Topic::Location,
    Topic::ProviderCompute,
    Topic::ProviderNetwork,
    Topic::RightsUpload,
    Topic::RightsBoot,
    Topic::ImageName,
    Topic::VmSize,
    Topic::Quota,
    Topic::PublicAddresses,
];

fn checkup(local: &Local) -> Checkup {
    Checkup::new()
        .azure(&local.azure)
        .without_nix()
        .resource_group("g")
        .image_name("web")
        .system("x86_64-linux")
}

async fn group(local: &Local, location: &str) {
    let id = format!(
        "/subscriptions/{}/resourceGroups/g",
        local.emulator.subscription_id()
    );
    let body = json!({ "location": location });
    let (status, _) = local.request("PUT", &id, "2022-09-01", Some(&body)).await;
    assert_eq!(status, 201);
}

/// Checks that these topics have these outcomes and that all others passed, and returns what was found
/// and what to do on the first.
fn assert_only(report: &CheckReport, expected: &[(Topic, Outcome)]) -> (String, String) {
    for item in &report.items {
        let found = expected.iter().find(|(topic, _)| *topic == item.topic);
        let outcome = found.map_or(Outcome::Passed, |(_, outcome)| *outcome);
        assert_eq!(item.outcome, outcome, "{item:?}");
        assert_eq!(
            item.outcome == Outcome::Passed,
            item.to_do.is_none(),
            "{item:?}"
        );
    }
    let stops = expected
        .iter()
        .any(|(_, outcome)| *outcome == Outcome::Failed);
    assert_eq!(report.would_stop(), stops);
    let item = report.item(expected[0].0).unwrap();
    (item.found.clone(), item.to_do.clone().unwrap_or_default())
}

/// The check in a local Azure with other settings, where the group is there already.
async fn with(
    settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder,
    change: impl FnOnce(Checkup) -> Checkup,
) -> CheckReport {
    let local = Local::start_with(settings).await;
    group(&local, "westus2").await;
    change(checkup(&local)).await.unwrap()
}

fn plain(builder: EmulatorBuilder) -> EmulatorBuilder {
    builder
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_and_nothing_is_changed() {
    let local = Local::start().await;
    let before = local.state().await;
    let asked_before = local.emulator.requests().len();
    let mut handle = checkup(&local)
        .vm_size("standard_d2s_v5")
        .gallery_name("nixos_images")
        .image_definition("nixos-25.11")
        .start();
    let mut phases = BTreeSet::new();
    while let Some(progress) = handle.progress().changed().await {
        phases.insert(progress.phase.as_str());
    }
    assert!(phases.contains("done"), "{phases:?}");
    let report = handle.join().await.unwrap();
    assert_only(&report, &[(Topic::Login, Outcome::Passed)]);
    let mut expected = AZURE.to_vec();
    expected.push(Topic::GalleryNames);
    expected.sort_unstable();
    let topics: Vec<_> = report.items.iter().map(|item| item.topic).collect();
    assert_eq!(topics, expected);
    for (topic, words) in [
        (Topic::Login, local.emulator.tenant_id()),
        (Topic::Subscription, local.emulator.subscription_id()),
        (Topic::ResourceGroup, "g does not exist yet".to_owned()),
        (
            Topic::VmSize,
            "Standard_D2s_v5 in westus2: 2 vCPUs, x64".to_owned(),
        ),
        (Topic::Quota, "0 of 100 (standardDSv5Family)".to_owned()),
        (Topic::ImageName, "neither exists in g".to_owned()),
    ] {
        let found = &report.item(topic).unwrap().found;
        assert!(found.contains(&words), "{found}");
    }
    assert_eq!(local.state().await, before);
    let requests = local.emulator.requests();
    for request in &requests[asked_before..] {
        assert_eq!(request.method, "GET", "{}", request.path_and_query);
    }
    if let Some(judge) = Judge::find() {
        // The question about permissions is not among the documents at hand.
        let judged: Vec<_> = requests
            .into_iter()
            .filter(|request| !request.path_and_query.contains("/permissions?"))
            .collect();
        openapi::assert_explained(&judge.judge(&judged), &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_to_their_ends() {
    let pages = |builder: EmulatorBuilder| builder.page_size(NonZeroUsize::new(3).unwrap());
    let report = with(pages, |checkup| checkup.vm_size("Standard_F2s_v2")).await;
    assert_only(&report, &[(Topic::VmSize, Outcome::Passed)]);
    let found = &report.item(Topic::Quota).unwrap().found;
    assert!(found.ends_with("0 of 100 (standardFSv2Family)"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_name_already_is_told() {
    let local = Local::start().await;
    let file = local.place().join("disk.raw");
    disks::raw(&file, 21 << 20, Table::Efi, 1);
    let image = ImageBuilder::new(&local.azure, "g", "nixos-25.11")
        .source(ImageSource::file(&file))
        .keep_disk(true)
        .await
        .unwrap();
    let disk = image.disk_id.unwrap();
    let look = || async {
        let report = checkup(&local).image_name("nixos-25.11").await.unwrap();
        assert_only(&report, &[(Topic::ImageName, Outcome::Warning)])
    };
    let (found, _) = look().await;
    assert!(
        found.contains("there is an image nixos-25.11 in g already"),
        "{found}"
    );
    let deleted = local.request("DELETE", image.id.as_str(), "2024-07-01", None);
    assert_eq!(deleted.await.0, 202);
    // The disk is found under the name that the upload has given it.
    let (found, _) = look().await;
    assert!(
        found.contains(&format!("a disk {}", disk.name())),
        "{found}"
    );
    let body = json!({ "tags": { "azure-nixos-unfinished": "true" } });
    let tagged = local.request("PATCH", disk.as_str(), "2023-04-02", Some(&body));
    assert!(tagged.await.0 < 300);
    let (found, to_do) = look().await;
    assert!(
        found.contains("not finished") && to_do.contains("goes on"),
        "{found}"
    );
}

/// The actions of requests, by the rules of Azure's access control.
fn actions(local: &Local, from: usize) -> BTreeSet<String> {
    let requests = local.emulator.requests();
    let resources = requests[from..].iter().filter_map(|request| {
        let (path, _) = request.path_and_query.split_once('?')?;
        let (_, below) = path.split_once("/resourceGroups/")?;
        let mut parts = below.split('/').skip(1);
        (parts.next() == Some("providers")).then_some(())?;
        let (namespace, kind) = (parts.next()?, parts.next()?);
        let verb = match (request.method.as_str(), parts.nth(1)) {
            ("POST", Some(action)) => format!("{action}/action"),
            ("GET", _) => "read".to_owned(),
            ("DELETE", _) => "delete".to_owned(),
            _ => "write".to_owned(),
        };
        Some(format!("{namespace}/{kind}/{verb}"))
    });
    resources.collect()
}

/// Every action that an upload and a machine use is one whose lack is told: learnt from what they ask,
/// the undoing of both included.
#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_is_used_is_looked_for() {
    let local = Local::start().await;
    let file = local.place().join("disk.raw");
    disks::raw(&file, 21 << 20, Table::Efi, 1);
    let upload =
        |name: &str| ImageBuilder::new(&local.azure, "g", name).source(ImageSource::file(&file));
    let image = upload("web").await.unwrap();
    // The first answer leaves it open whether something was made, so that it is undone.
    let refuse = |kind: &str| {
        let rule = || FaultRule::new(Plane::Arm).method("PUT").path_contains(kind);
        let unclear = rule().times(1).respond(500, "InternalServerError");
        let faults = local.emulator.faults();
        faults.add(unclear.header("Retry-After", "0"));
        faults.add(rule().respond(409, "SkuNotAvailable"));
    };
    refuse("/images/");
    upload("undone").await.unwrap_err();
    local.emulator.faults().clear();
    let used = actions(&local, 0);
    let first = local.emulator.requests().len();
    let machine = |name: &str| {
        VmBuilder::new(&local.azure, "g", name, ImageReference::from(&image))
            .admin_username("nixos")
            .ssh_key(SshKey::text(KEY))
    };
    machine("one").await.unwrap();
    refuse("/virtualMachines/");
    machine("undone").await.unwrap_err();
    let boot_used = actions(&local, first);
    local.emulator.faults().clear();
    let second = local.emulator.requests().len();
    machine("set").scale_set(2).await.unwrap();
    // It is there, and not as it was wanted.
    let sets = FaultRule::new(Plane::Arm)
        .method("PUT")
        .path_contains("/virtualMachineScaleSets/");
    local
        .emulator
        .faults()
        .add(sets.fail_operation("AllocationFailed"));
    machine("set-undone").scale_set(2).await.unwrap_err();
    let set_used = actions(&local, second);
    assert!(used.contains("Microsoft.Compute/images/delete"), "{used:?}");
    assert!(
        boot_used.contains("Microsoft.Network/publicIPAddresses/delete"),
        "{boot_used:?}"
    );
    assert!(
        set_used.contains("Microsoft.Compute/virtualMachineScaleSets/delete"),
        "{set_used:?}"
    );
    for (topic, actions, is_set) in [
        (Topic::RightsUpload, used, false),
        (Topic::RightsBoot, boot_used, false),
        (Topic::RightsBoot, set_used, true),
    ] {
        for action in actions {
            let local = Local::start_with(|builder| builder.deny(&action)).await;
            group(&local, "westus2").await;
            let report = checkup(&local).vm_size(DEFAULT_SIZE).scale_set(is_set);
            let report = report.await.unwrap();
            let item = report.item(topic).unwrap();
            assert_eq!(item.outcome, Outcome::Failed, "{action}: {item:?}");
            assert!(item.found.contains(&action), "{action}: {item:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_for_machines_stop_only_who_wants_one() {
    let deny = |builder: EmulatorBuilder| builder.deny("Microsoft.Network/*/join/action");
    let report = with(deny, |checkup| checkup).await;
    let (found, to_do) = assert_only(&report, &[(Topic::RightsBoot, Outcome::Warning)]);
    assert!(found.contains("networkInterfaces/join/action"), "{found}");
    assert!(to_do.contains("Contributor"), "{to_do}");
    let report = with(deny, |checkup| checkup.vm_size("Standard_B1s")).await;
    assert_only(&report, &[(Topic::RightsBoot, Outcome::Failed)]);

    // A scale set is made with other rights, and asks for them whatever its size.
    let no_sets =
        |builder: EmulatorBuilder| builder.deny("Microsoft.Compute/virtualMachineScaleSets/write");
    let report = with(no_sets, |checkup| checkup.vm_size("Standard_B1s")).await;
    assert_only(&report, &[(Topic::RightsBoot, Outcome::Passed)]);
    let report = with(no_sets, |checkup| checkup.scale_set(true)).await;
    let (found, _) = assert_only(&report, &[(Topic::RightsBoot, Outcome::Failed)]);
    assert!(
        found.contains("virtualMachineScaleSets/write, which making a scale set needs"),
        "{found}"
    );
    let no_machines =
        |builder: EmulatorBuilder| builder.deny("Microsoft.Compute/virtualMachines/write");
    let report = with(no_machines, |checkup| checkup.scale_set(true)).await;
    assert_only(&report, &[(Topic::RightsBoot, Outcome::Passed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_ask_nothing_stops_nothing() {
    // As a role on the group alone: nothing of the subscription can be read.
    let report = with(
        |builder| {
            builder
                .deny("Microsoft.Resources/subscriptions/read")
                .deny("Microsoft.Resources/subscriptions/locations/read")
                .deny("Microsoft.Resources/subscriptions/resourceGroups/read")
                .deny("*/providers/read")
                .deny("Microsoft.Compute/skus/read")
                .deny("*/locations/usages/read")
                .deny("Microsoft.Authorization/*")
        },
        |checkup| checkup.location("westus2").vm_size(DEFAULT_SIZE),
    )
    .await;
    let expected: Vec<_> = AZURE
        .into_iter()
        .filter(|topic| !matches!(topic, Topic::Login | Topic::Location | Topic::ImageName))
        .map(|topic| match topic {
            Topic::ResourceGroup => (topic, Outcome::Warning),
            topic => (topic, Outcome::NotChecked),
        })
        .collect();
    for item in &report.items {
        let expected = expected.iter().find(|(topic, _)| *topic == item.topic);
        let outcome = expected.map_or(Outcome::Passed, |(_, outcome)| *outcome);
        assert_eq!(item.outcome, outcome, "{item:?}");
    }
    assert!(!report.would_stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_must_be_there_or_be_makable() {
    let make = "Microsoft.Resources/subscriptions/resourceGroups/write";
    let look = "Microsoft.Resources/subscriptions/resourceGroups/read";
    let local = Local::start_with(|builder| builder.deny(make)).await;
    let report = checkup(&local).await.unwrap();
    let (found, _) = assert_only(&report, &[(Topic::ResourceGroup, Outcome::Failed)]);
    assert!(found.contains("may not make groups"), "{found}");

    let local =
        Local::start_with(|builder| builder.deny("Microsoft.Authorization/permissions/read")).await;
    let report = checkup(&local).await.unwrap();
    let unknown = [
        (Topic::ResourceGroup, Outcome::Warning),
        (Topic::RightsUpload, Outcome::NotChecked),
        (Topic::RightsBoot, Outcome::NotChecked),
    ];
    assert_only(&report, &unknown);

    // A group that cannot be looked at does not say where it is.
    let unseen = |builder: EmulatorBuilder| builder.deny(look);
    let report = with(unseen, |checkup| checkup).await;
    let expected = [
        (Topic::ResourceGroup, Outcome::Failed),
        (Topic::Location, Outcome::NotChecked),
        (Topic::VmSize, Outcome::NotChecked),
        (Topic::Quota, Outcome::NotChecked),
        (Topic::PublicAddresses, Outcome::NotChecked),
    ];
    for item in &report.items {
        let expected = expected.iter().find(|(topic, _)| *topic == item.topic);
        let outcome = expected.map_or(Outcome::Passed, |(_, outcome)| *outcome);
        assert_eq!(item.outcome, outcome, "{item:?}");
    }
    let report = with(unseen, |checkup| checkup.location("West US 2")).await;
    assert_only(&report, &[(Topic::ResourceGroup, Outcome::Warning)]);

    let report = with(plain, |checkup| checkup.resource_group("ends.")).await;
    let (found, to_do) = assert_only(&report, &[(Topic::ResourceGroup, Outcome::Failed)]);
    assert!(found.contains("\"ends.\"") && to_do.starts_with("Azure takes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_are_registered_or_can_be() {
    let compute = "Microsoft.Compute";
    let network = "Microsoft.Network";
    let report = with(|builder| builder.unregistered([compute]), |checkup| checkup).await;
    let (found, _) = assert_only(&report, &[(Topic::ProviderCompute, Outcome::Warning)]);
    assert_eq!(found, "Microsoft.Compute is NotRegistered");

    let may_not = |namespace: &'static str| {
        move |builder: EmulatorBuilder| builder.unregistered([namespace]).deny("*/register/action")
    };
    let report = with(may_not(compute), |checkup| checkup).await;
    let (_, to_do) = assert_only(&report, &[(Topic::ProviderCompute, Outcome::Failed)]);
    assert!(to_do.contains("az provider register -n Microsoft.Compute"));
    // An upload does without networks.
    let report = with(may_not(network), |checkup| checkup).await;
    assert_only(&report, &[(Topic::ProviderNetwork, Outcome::Warning)]);
    let report = with(may_not(network), |checkup| checkup.vm_size(DEFAULT_SIZE)).await;
    assert_only(&report, &[(Topic::ProviderNetwork, Outcome::Failed)]);

    let unknown = |builder: EmulatorBuilder| {
        builder
            .unregistered([compute])
            .deny("Microsoft.Authorization/permissions/read")
    };
    let report = with(unknown, |checkup| checkup).await;
    let item = report.item(Topic::ProviderCompute).unwrap();
    assert_eq!(item.outcome, Outcome::Warning);
    assert!(item.found.contains("is not known"), "{}", item.found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_must_exist_and_be_that_of_the_group() {
    let nowhere = [
        (Topic::Location, Outcome::Failed),
        (Topic::VmSize, Outcome::NotChecked),
        (Topic::Quota, Outcome::NotChecked),
        (Topic::PublicAddresses, Outcome::NotChecked),
    ];
    let local = Local::start().await;
    for (location, to_do) in [
        ("westsu2", "did you mean westus2?"),
        ("atlantis", "az account list-locations"),
        ("west/us", ""),
    ] {
        let report = checkup(&local).location(location).await.unwrap();
        for item in &report.items {
            let expected = nowhere.iter().find(|(topic, _)| *topic == item.topic);
            let outcome = expected.map_or(Outcome::Passed, |(_, outcome)| *outcome);
            assert_eq!(item.outcome, outcome, "{item:?}");
        }
        let item = report.item(Topic::Location).unwrap();
        let said = item.to_do.clone().unwrap_or_default();
        assert!(said.contains(to_do), "{item:?}");
    }
    group(&local, "eastus").await;
    let report = checkup(&local).location("westus2").await.unwrap();
    let item = report.item(Topic::Location).unwrap();
    assert_eq!(item.outcome, Outcome::Failed);
    assert!(item.found.contains("exists in eastus, not in westus2"));
    let report = checkup(&local).await.unwrap();
    let (found, _) = assert_only(&report, &[(Topic::Location, Outcome::Passed)]);
    assert_eq!(found, "eastus, that of the group");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_must_exist_be_allowed_and_fit_the_image() {
    let unknown = |size: &'static str| with(plain, move |checkup| checkup.vm_size(size));
    let no_size = [
        (Topic::VmSize, Outcome::Failed),
        (Topic::Quota, Outcome::NotChecked),
    ];
    for (size, to_do) in [
        ("Standard_D2s_v55", "did you mean Standard_D2s_v5?"),
        ("Huge", "az vm list-skus -l westus2"),
    ] {
        let report = unknown(size).await;
        let item = report.item(Topic::VmSize).unwrap();
        assert_eq!(item.outcome, no_size[0].1);
        assert!(item.to_do.as_ref().unwrap().contains(to_do), "{item:?}");
        assert_eq!(report.item(Topic::Quota).unwrap().outcome, no_size[1].1);
        assert!(report.would_stop());
    }

    let restricted = |builder: EmulatorBuilder| builder.restrict_size(DEFAULT_SIZE);
    let report = with(restricted, |checkup| checkup.vm_size(DEFAULT_SIZE)).await;
    let (found, _) = assert_only(&report, &[(Topic::VmSize, Outcome::Failed)]);
    assert!(found.contains("NotAvailableForSubscription"), "{found}");
    // Nobody asked for that size; an upload does without.
    let report = with(restricted, |checkup| checkup).await;
    assert_only(&report, &[(Topic::VmSize, Outcome::Warning)]);

    for (size, system, outcome) in [
        ("Standard_D2ps_v5", "x86_64-linux", Outcome::Failed),
        ("Standard_D2ps_v5", "aarch64-linux", Outcome::Passed),
        ("Standard_B1s", "aarch64-linux", Outcome::Failed),
        ("Standard_A1_v2", "x86_64-linux", Outcome::Warning),
        ("Standard_D2s_v6", "x86_64-linux", Outcome::Warning),
    ] {
        let report = with(plain, |checkup| checkup.vm_size(size).system(system)).await;
        assert_only(&report, &[(Topic::VmSize, outcome)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_must_be_enough_for_all_machines() {
    let size = "Standard_D2s_v5";
    let report = with(plain, |checkup| checkup.vm_size(size).machines(50)).await;
    assert_only(&report, &[(Topic::Quota, Outcome::Passed)]);
    let report = with(plain, |checkup| checkup.vm_size(size).machines(51)).await;
    let (found, _) = assert_only(&report, &[(Topic::Quota, Outcome::Failed)]);
    assert!(
        found.contains("51 machines") && found.contains("0 of 100 (all sizes)"),
        "{found}"
    );

    let family = |builder: EmulatorBuilder| builder.quota("standarddsv5family", 1);
    let report = with(family, |checkup| checkup.vm_size(size)).await;
    let (found, to_do) = assert_only(&report, &[(Topic::Quota, Outcome::Failed)]);
    assert!(found.ends_with("0 of 1 (standardDSv5Family)"), "{found}");
    assert!(to_do.contains("more quota"), "{to_do}");
    let none = |builder: EmulatorBuilder| builder.quota("cores", 0);
    let report = with(none, |checkup| checkup).await;
    assert_only(&report, &[(Topic::Quota, Outcome::Warning)]);

    let addresses = |builder: EmulatorBuilder| builder.quota("StandardSkuPublicIpAddresses", 2);
    let report = with(addresses, |checkup| checkup.vm_size(size).machines(3)).await;
    let (found, _) = assert_only(&report, &[(Topic::PublicAddresses, Outcome::Failed)]);
    assert!(found.contains("3 more are needed"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_must_be_in_use() {
    for (state, outcome) in [("Disabled", Outcome::Failed), ("Warned", Outcome::Warning)] {
        let local = Local::start_with(|builder| builder.subscription_state(state)).await;
        let report = checkup(&local).await.unwrap();
        let (found, _) = assert_only(&report, &[(Topic::Subscription, outcome)]);
        assert!(found.contains(state), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_must_be_what_azure_takes() {
    let report = with(plain, |checkup| checkup.image_name("-web")).await;
    let (found, to_do) = assert_only(&report, &[(Topic::ImageName, Outcome::Failed)]);
    assert!(found.contains("\"-web\"") && to_do.starts_with("Azure takes"));
    let report = with(plain, |checkup| {
        checkup.gallery_name("nixos-images").image_definition("web")
    })
    .await;
    let (found, to_do) = assert_only(&report, &[(Topic::GalleryNames, Outcome::Failed)]);
    assert!(found.contains("gallery") && to_do.contains("no hyphens"));
    let report = with(plain, |checkup| checkup.image_definition("web_")).await;
    let (found, _) = assert_only(&report, &[(Topic::GalleryNames, Outcome::Failed)]);
    assert!(found.contains("image definition"), "{found}");
}

/// A question that is answered with an error leaves the others alone.
#[tokio::test(flavor = "multi_thread")]
async fn one_question_without_an_answer_is_one_item() {
    let local = Local::start().await;
    group(&local, "westus2").await;
    for (path, topics) in [
        ("/skus?", &[Topic::VmSize, Topic::Quota][..]),
        ("Microsoft.Compute/locations", &[Topic::Quota]),
        ("Microsoft.Network/locations", &[Topic::PublicAddresses]),
        ("/permissions?", &[Topic::RightsUpload, Topic::RightsBoot]),
        ("providers/Microsoft.Network?", &[Topic::ProviderNetwork]),
        ("/images/", &[Topic::ImageName]),
    ] {
        let rule = FaultRule::new(Plane::Arm).method("GET").path_contains(path);
        let rule = rule.respond(400, "InvalidParameter").message("not today");
        local.emulator.faults().add(rule);
        let report = checkup(&local).await.unwrap();
        local.emulator.faults().clear();
        for item in &report.items {
            let touched = topics.contains(&item.topic);
            let outcome = if touched {
                Outcome::NotChecked
            } else {
                Outcome::Passed
            };
            assert_eq!(item.outcome, outcome, "{path}: {item:?}");
        }
        let said = &report.item(topics[0]).unwrap().found;
        assert!(said.contains("not today"), "{said}");
        assert!(!report.would_stop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_nothing_of_azure_is_known() {
    let local = Local::start().await;
    let transport = Transport::builder()
        .ca_certificates(local.emulator.ca_pem().as_bytes())
        .unwrap()
        .build()
        .unwrap();
    let cloud = Cloud::custom(local.emulator.arm_url(), &transport)
        .await
        .unwrap();
    let settings = || {
        Azure::builder()
            .cloud(cloud.clone())
            .transport(transport.clone())
            .az_config_dir(local.place().join("no-az"))
            .subscription(local.emulator.subscription_id())
    };
    let with_secret = |secret: &'static str| {
        let (tenant, client) = (local.emulator.tenant_id(), local.emulator.client_id());
        settings()
            .environment(move |name| match name {
                "AZURE_TENANT_ID" => Some(tenant.clone()),
                "AZURE_CLIENT_ID" => Some(client.clone()),
                "AZURE_CLIENT_SECRET" => Some(secret.to_owned()),
                _ => None,
            })
            .login_with(LoginMethod::Environment)
    };
    let nobody = settings()
        .environment(|_| None)
        .login_with(LoginMethod::Environment);
    for (login, secret) in [
        (nobody, "nothing secret"),
        (with_secret("wrong-secret"), "wrong-secret"),
        (
            settings().environment(|_| None).access_token("bad-token"),
            "bad-token",
        ),
    ] {
        let report = Checkup::new()
            .login(login)
            .without_nix()
            .resource_group("g")
            .image_name("-web")
            .await
            .unwrap();
        let topics: Vec<_> = report.items.iter().map(|item| item.topic).collect();
        assert_eq!(topics, AZURE);
        for item in &report.items {
            let expected = match item.topic {
                // Names are good or bad whoever is logged in.
                Topic::Login | Topic::ImageName => Outcome::Failed,
                _ => Outcome::NotChecked,
            };
            assert_eq!(item.outcome, expected, "{item:?}");
            assert!(!format!("{item:?}").contains(secret), "{item:?}");
        }
        assert!(report.would_stop());
    }

    // A subscription that is not there is another matter than a login.
    let report = Checkup::new()
        .login(
            settings()
                .environment(|_| None)
                .access_token(local.emulator.access_token())
                .subscription("00000000-0000-4000-8000-000000000000"),
        )
        .without_nix()
        .await
        .unwrap();
    assert_eq!(report.item(Topic::Login).unwrap().outcome, Outcome::Passed);
    let item = report.item(Topic::Subscription).unwrap();
    assert_eq!(item.outcome, Outcome::Failed);
    assert!(item.to_do.as_ref().unwrap().contains("--subscription"));
    assert_eq!(report.failed().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_can_be_cancelled() {
    let local = Local::start().await;
    let handle = checkup(&local).start();
    handle.cancel();
    let error = handle.join().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
