//! Scale sets: what is asked of Azure is what is meant, all of it is there or nothing, and what no set
//! can have is refused before anything is made.

use azure_nixos::vm::{
    EvictionPolicy, Identity, ImageReference, ScaleSetBuilder, SecurityType, Spot, SshKey,
};
use azure_nixos::{ErrorKind, VmBuilder};
use azure_nixos_tests::within;
use serde_json::{Value, json};

use crate::place::{COMPUTE, KEY, NETWORK, Place, arm};

/// Where it is asked how far a set is.
const POLL: &str = "/providers/Microsoft.Compute/locations/westus2/operations/";

impl Place {
    fn set(&self, image: &str, count: u32) -> ScaleSetBuilder {
        self.from(image, "web").scale_set(count)
    }

    /// What there is of a kind in the group of the machines.
    async fn all(&self, kind: &str, version: &str) -> Vec<Value> {
        let list = self.id(&format!("/resourceGroups/vms/providers/{kind}"));
        let all = self.read(&list, version).await;
        all["value"].as_array().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_has_machines_that_can_be_logged_into() {
    let place = Place::new().await;
    let image = place.image().await;
    let set = place.set(&image, 3).await.unwrap();
    assert_eq!((set.name.as_str(), set.machines.len()), ("web", 3));
    assert_eq!(set.security_type, SecurityType::Standard);
    let key = set.ssh_private_key.clone().unwrap();
    assert!(key.exists() && key.ends_with("web"), "{}", key.display());
    let mut addresses = Vec::new();
    for vm in &set.machines {
        assert!(vm.name.starts_with("web_"), "{}", vm.name);
        assert_eq!(vm.ssh_private_key.as_ref(), Some(&key));
        let address = vm.public_ip.clone().unwrap();
        let command = format!("ssh -i {} nixos@{address}", key.display());
        assert_eq!(vm.ssh_command.as_deref(), Some(command.as_str()));
        addresses.extend([address, vm.private_ip.clone().unwrap()]);
        let made = place.local.get(vm.id.as_str()).await;
        assert_eq!(made["tags"]["azure-nixos-vm"], "web");
        assert_eq!(
            made["properties"]["virtualMachineScaleSet"]["id"],
            set.id.as_str()
        );
        let host = made["properties"]["osProfile"]["computerName"].as_str();
        assert!(host.unwrap().starts_with("web"), "{made}");
    }
    let names: Vec<&String> = set.machines.iter().map(|vm| &vm.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);

    // Room for as many as a set may have, not for as many as there are.
    let network = place.sent("/virtualNetworks/");
    assert_eq!(
        network["properties"]["subnets"][0]["properties"]["addressPrefix"],
        "10.0.0.0/22"
    );
    let made = place.local.get(set.id.as_str()).await;
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let profile = &made["properties"]["virtualMachineProfile"];
    assert_eq!(
        profile["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"],
        json!([{ "path": "/home/nixos/.ssh/authorized_keys", "keyData": public.trim() }])
    );
    assert_eq!(made["sku"]["capacity"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_azure_is_what_is_meant() {
    let place = Place::with(|builder| builder.versions_from_disks(true)).await;
    let features = json!([{ "name": "SecurityType", "value": "TrustedLaunchSupported" }]);
    let versions: [(&str, &[&str]); 1] = [("1.0.0", &["westus2"])];
    let definition = place.gallery("Generalized", features, &versions).await;
    let who = place.part("Microsoft.ManagedIdentity/userAssignedIdentities", "shared");
    let shared = place
        .ask("PUT", &who, "2023-01-31", json!({ "location": "westus2" }))
        .await;
    let scope = place.id("/resourceGroups/images");
    let set = place
        .from(&definition, "web.example")
        .size("Standard_D2s_v5")
        .os_disk_size_gb(64)
        .os_disk_sku("StandardSSD_LRS")
        .data_disk_gb(8)
        .zone("2")
        .spot(Spot::new(EvictionPolicy::Delete).up_to(0.5))
        .ipv6(true)
        .accelerated_networking(true)
        .identity(Identity::parse("shared").unwrap())
        .role("Reader", &scope)
        .custom_data("custom")
        .user_data("user")
        .ssh_key(SshKey::text(KEY))
        .scale_set(1)
        .await
        .unwrap();
    assert_eq!(set.security_type, SecurityType::TrustedLaunch);
    assert_eq!(
        set.principal_id.as_deref(),
        shared["properties"]["principalId"].as_str()
    );
    let vm = &set.machines[0];
    assert_eq!(vm.zone.as_deref(), Some("2"));
    assert!(vm.public_ipv6.as_ref().unwrap().contains(':'));
    assert!(vm.public_ip.as_ref().unwrap().contains('.'));
    assert_eq!(place.assignments().await.len(), 1);

    let mut sent = place.sent("/virtualMachineScaleSets/web.example?");
    let tags = sent["tags"].as_object_mut().unwrap();
    assert!(tags.remove("azure-nixos-run").is_some());
    let subnet = place.part("Microsoft.Network/virtualNetworks", "web.example-vnet");
    let rules = place.part("Microsoft.Network/networkSecurityGroups", "web.example-nsg");
    let address = |name: &str, version: &str, public: &str| {
        json!({ "name": name, "properties": {
            "subnet": { "id": format!("{subnet}/subnets/default") },
            "primary": version == "IPv4",
            "privateIPAddressVersion": version,
            "publicIPAddressConfiguration": {
                "name": public, "sku": { "name": "Standard" },
                "properties": { "publicIPAddressVersion": version, "deleteOption": "Delete" },
            },
        } })
    };
    assert_eq!(
        sent,
        json!({
            "location": "westus2",
            "tags": { "azure-nixos-vm": "web.example" },
            "zones": ["2"],
            "identity": { "type": "UserAssigned", "userAssignedIdentities": { (shared["id"].as_str().unwrap()): {} } },
            "sku": { "name": "Standard_D2s_v5", "capacity": 1 },
            "properties": {
                "orchestrationMode": "Flexible",
                "platformFaultDomainCount": 1,
                "singlePlacementGroup": false,
                "virtualMachineProfile": {
                    "osProfile": {
                        // A host name has no periods.
                        "computerNamePrefix": "web", "adminUsername": "nixos",
                        "customData": "Y3VzdG9t",
                        "linuxConfiguration": {
                            "disablePasswordAuthentication": true,
                            "ssh": { "publicKeys": [
                                { "path": "/home/nixos/.ssh/authorized_keys", "keyData": KEY },
                            ] },
                        },
                    },
                    "storageProfile": {
                        "imageReference": { "id": format!("{definition}/versions/1.0.0") },
                        "osDisk": {
                            "createOption": "FromImage", "caching": "ReadWrite",
                            "deleteOption": "Delete", "diskSizeGB": 64,
                            "managedDisk": { "storageAccountType": "StandardSSD_LRS" },
                        },
                        "dataDisks": [{
                            "lun": 0, "createOption": "Empty", "deleteOption": "Delete",
                            "diskSizeGB": 8,
                            "managedDisk": { "storageAccountType": "StandardSSD_LRS" },
                        }],
                    },
                    "networkProfile": {
                        "networkApiVersion": "2020-11-01",
                        "networkInterfaceConfigurations": [{
                            "name": "web.example-nic",
                            "properties": {
                                "primary": true, "deleteOption": "Delete",
                                "enableAcceleratedNetworking": true,
                                "networkSecurityGroup": { "id": rules },
                                "ipConfigurations": [
                                    address("primary", "IPv4", "web.example-ip"),
                                    address("ipv6", "IPv6", "web.example-ip6"),
                                ],
                            },
                        }],
                    },
                    "securityProfile": {
                        "securityType": "TrustedLaunch",
                        "uefiSettings": { "secureBootEnabled": false, "vTpmEnabled": true },
                    },
                    "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } },
                    "priority": "Spot", "evictionPolicy": "Delete",
                    "billingProfile": { "maxPrice": 0.5 },
                    "userData": "dXNlcg==",
                },
            },
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_joins_a_network_and_may_be_empty() {
    let place = Place::with(|builder| builder.versions_from_disks(true)).await;
    let versions: [(&str, &[&str]); 1] = [("1.0.0", &["westus2"])];
    // What is on it is not set up by anybody, so no agent is waited for.
    let definition = place.gallery("Specialized", json!([]), &versions).await;
    place.from(&definition, "first").await.unwrap();
    let network = place.part("Microsoft.Network/virtualNetworks", "first-vnet");
    let set = place
        .from(&definition, "web")
        .subnet(format!("{network}/subnets/default"))
        .public_ip(false)
        .agent(false)
        .scale_set(0)
        .await
        .unwrap();
    assert!(set.machines.is_empty());
    assert!(
        set.warnings.iter().any(|said| said.contains("NAT gateway")),
        "{:?}",
        set.warnings
    );
    assert_eq!(set.ssh_private_key, None);
    let sent = place.sent("/virtualMachineScaleSets/");
    let profile = &sent["properties"]["virtualMachineProfile"];
    assert_eq!(profile.get("osProfile"), None);
    let nic = &profile["networkProfile"]["networkInterfaceConfigurations"][0]["properties"];
    assert_eq!(
        nic["ipConfigurations"][0]["properties"]["subnet"]["id"],
        format!("{network}/subnets/default")
    );
    assert_eq!(
        place
            .all("Microsoft.Network/virtualNetworks", NETWORK)
            .await
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_not_made_whole_is_not_there() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    for (rule, what) in [
        (arm("PUT", "/web-nsg?").respond(409, "X"), "the rules"),
        (arm("PUT", "/web-vnet?").respond(409, "X"), "the network"),
        (
            arm("PUT", "/virtualMachineScaleSets/").respond(409, "AllocationFailed"),
            "the set",
        ),
        (
            arm("PUT", "/virtualMachineScaleSets/").fail_operation("AllocationFailed"),
            "a machine",
        ),
        (
            arm("PUT", "/virtualMachineScaleSets/")
                .times(1)
                .reset_after(),
            "x",
        ),
    ] {
        let fault = place.fault(rule);
        let made = place.set(&image, 3).await;
        assert!(place.local.emulator.faults().hits(fault) > 0, "{what}");
        place.local.emulator.faults().clear();
        let Err(error) = made else {
            // An answer that is lost is asked for again.
            assert_eq!(what, "x");
            continue;
        };
        if error.code() == Some("AllocationFailed") {
            let hint = error.hint().unwrap();
            assert!(hint.contains("has no room for"), "{hint}");
        }
        assert!(
            place.local.state().await == before,
            "{what}: {}",
            error.report()
        );
        let keys = place.local.place().join("keys");
        let left = std::fs::read_dir(keys).unwrap().count();
        assert_eq!(left, 0, "{what}");
        assert!(error.context().all(|(name, _)| name != "left behind"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_which_one_machine_fails_is_not_there() {
    // Enough for two machines of three.
    let place = Place::with(|builder| builder.quota("StandardSkuPublicIpAddresses", 2)).await;
    let image = place.image().await;
    let before = place.local.state().await;
    let error = place.set(&image, 3).await.unwrap_err();
    assert_eq!(error.code(), Some("PublicIPCountLimitReached"), "{error:?}");
    let report = error.report();
    assert!(report.contains("the scale set web"), "{report}");
    assert!(place.local.state().await == before, "{report}");
    assert_eq!(place.set(&image, 2).await.unwrap().machines.len(), 2);
}

/// The service may begin with a machine's addresses and give up on the machine.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_left_that_was_never_there_goes_too() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    place.fault(arm("PUT", "/virtualMachineScaleSets/").fail_operation("AllocationFailed"));
    let hold = place.fault(
        arm("GET", POLL)
            .times(1)
            .delay(std::time::Duration::from_millis(700)),
    );
    let handle = place.set(&image, 1).start();
    place.until_hit(hold, 1).await;
    let tags = place.sent("/networkSecurityGroups/web-nsg?")["tags"].clone();
    let address = |tags: &Value| {
        json!({ "location": "westus2", "sku": { "name": "Standard" }, "tags": tags,
            "properties": { "publicIPAllocationMethod": "Static" } })
    };
    let kind = "Microsoft.Network/publicIPAddresses";
    let (left, anothers) = (place.part(kind, "web-ip-1"), place.part(kind, "web-ip-2"));
    place.ask("PUT", &left, NETWORK, address(&tags)).await;
    let mut other = tags.clone();
    other["azure-nixos-run"] = json!("another");
    place.ask("PUT", &anothers, NETWORK, address(&other)).await;
    let error = within(60, "the set", handle.join()).await.unwrap_err();
    assert_eq!(error.code(), Some("AllocationFailed"), "{}", error.report());
    let (status, _) = place.local.request("GET", &left, NETWORK, None).await;
    assert_eq!(status, 404, "{}", error.report());
    // What is another attempt's stays.
    let (status, _) = place.local.request("GET", &anothers, NETWORK, None).await;
    assert_eq!(status, 200, "{}", error.report());
    place
        .local
        .request("DELETE", &anothers, NETWORK, None)
        .await;
    within(10, "the other address", async {
        while place.local.state().await != before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_cancelled_is_not_there() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    let fault = place.fault(
        arm("GET", POLL)
            .times(1)
            .delay(std::time::Duration::from_millis(300)),
    );
    let handle = place.set(&image, 2).start();
    place.until_hit(fault, 1).await;
    handle.cancel();
    let error = within(60, "the cancelled set", handle.join())
        .await
        .unwrap_err();
    assert!(error.is_cancelled(), "{}", error.report());
    assert!(
        error.report().contains("the scale set web"),
        "{}",
        error.report()
    );
    assert!(place.local.state().await == before, "{}", error.report());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_set_can_have_is_refused_before_anything_is_made() {
    let place = Place::with(|builder| builder.quota("standardBSFamily", 3)).await;
    let image = place.image().await;
    let disk = place.disk().await;
    let (before, requests) = (place.local.state().await, place.requests());
    let from = |image: &str| -> VmBuilder { place.from(image, "web") };
    for (builder, kind, part) in [
        (
            from(&image).identity(Identity::System).scale_set(1),
            ErrorKind::InvalidInput,
            "identities of their own",
        ),
        (
            from(&image).agent(false).scale_set(1),
            ErrorKind::InvalidInput,
            "must have an agent",
        ),
        (
            from(&disk).scale_set(1),
            ErrorKind::InvalidInput,
            "not from copies",
        ),
        (
            from(&image).scale_set(1001),
            ErrorKind::InvalidInput,
            "1001 machines",
        ),
        (
            place.from(&image, &"x".repeat(56)).scale_set(1),
            ErrorKind::InvalidInput,
            "too long",
        ),
        (
            from(&image).size("Standard_B2s").scale_set(2),
            ErrorKind::Quota,
            "0 of 3 (standardBSFamily)",
        ),
        (
            from(&image).zone("4").scale_set(1),
            ErrorKind::InvalidInput,
            "not in 4",
        ),
        (
            from(&image).size("Standard_A1_v2").scale_set(1),
            ErrorKind::InvalidInput,
            "boots V1 alone",
        ),
    ] {
        let error = builder.await.unwrap_err();
        assert_eq!(error.kind(), kind, "{part}: {}", error.report());
        assert!(error.to_string().contains(part), "{part}: {error}");
        place.assert_refused(&error, &before, requests).await;
    }
    // One fits.
    from(&image)
        .size("Standard_B2s")
        .scale_set(1)
        .await
        .unwrap();
    let (before, requests) = (place.local.state().await, place.requests());
    let again = VmBuilder::new(
        &place.local.azure,
        "vms",
        "web",
        ImageReference::parse(&image).unwrap(),
    )
    .without_ssh_key();
    let error = again.clone().scale_set(0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("a scale set web"), "{error}");
    place.assert_refused(&error, &before, requests).await;
    // What is made for a machine of that name would be taken for the set's.
    let error = again.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    place.assert_refused(&error, &before, requests).await;
    assert_eq!(
        place
            .all("Microsoft.Compute/virtualMachines", COMPUTE)
            .await
            .len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_goes_with_all_that_was_made_for_it() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    let set = place
        .from(&image, "web")
        .ipv6(true)
        .data_disk_gb(4)
        .scale_set(12)
        .await
        .unwrap();
    let beside = place.boot("vms", "web-1").await;

    // One machine goes by itself: what they share stays.
    let first = &set.machines[0].name;
    let plan = place.machine(first).delete().plan().await.unwrap();
    let note = &plan.notes()[0];
    assert!(
        note.contains("of the scale set web") && note.contains("stays with the others"),
        "{note}"
    );
    let goes: Vec<String> = plan.goes().map(|thing| thing.what.clone()).collect();
    assert_eq!(
        goes,
        [
            "machine",
            "disk",
            "disk",
            "network interface",
            "public address",
            "public address"
        ]
    );
    plan.await.unwrap();
    let made = place.local.get(set.id.as_str()).await;
    assert_eq!(made["sku"]["capacity"], 11);

    let requests = place.requests();
    let plan = place.machine("WEB").delete().plan().await.unwrap();
    assert_eq!(plan.name(), "web");
    assert!(plan.stays().is_empty(), "{:?}", plan.stays());
    // The set and its network with its rules; of each machine itself, two disks, the interface and two
    // addresses.
    assert_eq!(plan.goes().len(), 3 + 11 * 6);
    let gone = plan.await.unwrap();
    assert_eq!(gone.deleted.len(), 3 + 11 * 6);
    assert_eq!(gone.deleted[0].id, set.id);
    // What went with the set is not asked for again.
    let deletions: Vec<String> = place
        .since(requests)
        .into_iter()
        .filter(|one| one.starts_with("DELETE"))
        .collect();
    assert_eq!(deletions.len(), 3, "{deletions:?}");
    let left = place.machines().list(Some("vms")).await.unwrap();
    assert_eq!(left.len(), 1);
    place.machine(&beside.name).delete().await.unwrap();
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_set_of_the_name_is_not_deleted() {
    let place = Place::new().await;
    let image = place.image().await;
    let set = place.set(&image, 1).await.unwrap();
    let plan = place.machine("web").delete().plan().await.unwrap();
    let old = place.machine("web").delete().await.unwrap();
    assert_eq!(old.deleted[0].id, set.id);
    let keys = place.local.place().join("keys");
    std::fs::remove_dir_all(keys).unwrap();
    place.set(&image, 1).await.unwrap();
    let before = place.local.state().await;
    let error = plan.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("another one"), "{error}");
    assert!(place.local.state().await == before);
    let error = place.machine("web").power_on().await.unwrap_err();
    assert!(error.is_not_found());
    let hint = error.hint().unwrap();
    assert!(hint.contains("web_") && hint.contains("az vmss"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_of_a_set_that_stopped_half_way_is_gone_on_with() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    place.set(&image, 2).await.unwrap();
    place.fault(arm("DELETE", "/web-nsg?").respond(403, "AuthorizationFailed"));
    let error = place.machine("web").delete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(
        error.report().contains("the scale set web"),
        "{}",
        error.report()
    );
    place.local.emulator.faults().clear();
    place.machine("web").delete().await.unwrap();
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_at_sets_deletes_machines() {
    let place =
        Place::with(|builder| builder.deny("Microsoft.Compute/virtualMachineScaleSets/read")).await;
    let before = place.local.state().await;
    place.boot("vms", "web").await;
    place.machine("web").delete().await.unwrap();
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_and_a_machine_of_one_name_are_not_mixed_up() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    place.boot("vms", "web").await;
    let (with_machine, requests) = (place.local.state().await, place.requests());
    let error = place.set(&image, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("a machine web"), "{error}");
    place.assert_refused(&error, &with_machine, requests).await;

    // Sets that others made, for machines that are put into them by hand.
    let bare = json!({ "location": "westus2", "properties": {
        "orchestrationMode": "Flexible", "platformFaultDomainCount": 1,
    } });
    let kind = "Microsoft.Compute/virtualMachineScaleSets";
    for name in ["web", "theirs"] {
        place
            .ask("PUT", &place.part(kind, name), COMPUTE, bare.clone())
            .await;
    }
    let error = place.machine("web").delete().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous, "{}", error.report());
    let gone = place.machine("theirs").delete().await.unwrap();
    assert_eq!(gone.deleted.len(), 1);
    let set = place.part(kind, "web");
    let (status, _) = place.local.request("DELETE", &set, COMPUTE, None).await;
    assert_eq!(status, 202);
    within(10, "the set", async {
        while place.local.request("GET", &set, COMPUTE, None).await.0 != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    place.machine("web").delete().await.unwrap();
    assert!(place.local.state().await == before);
}
