//! Machines are made from everything and in every way that can be asked for, and what is asked of
//! Azure is what is meant.

use azure_nixos::vm::{FleetBuilder, Identity, ImageReference, SecurityType};
use azure_nixos::{Error, ErrorKind, ImageBuilder, VmBuilder};
use azure_nixos_tests::{State, within};
use serde_json::{Value, json};

use crate::place::{COMPUTE, NETWORK, Place, arm};

const GALLERY: &str = "2023-07-03";

impl Place {
    pub(crate) fn from(&self, image: &str, name: &str) -> VmBuilder {
        let image = ImageReference::parse(image).unwrap();
        VmBuilder::new(&self.local.azure, "vms", name, image)
            .admin_username("nixos")
            .key_directory(self.local.place().join("keys"))
            .allow_ssh_from("any")
    }

    /// A managed disk with the content of the image, in the group of the images.
    pub(crate) async fn disk(&self) -> String {
        let image = ImageBuilder::new(&self.local.azure, "images", "other")
            .source(azure_nixos::image::ImageSource::file(
                self.local.place().join("disk.raw"),
            ))
            .keep_disk(true)
            .await
            .unwrap();
        image.disk_id.unwrap().to_string()
    }

    /// A gallery with an image definition and versions of it, made of a disk. Returns the id of the
    /// definition.
    pub(crate) async fn gallery(
        &self,
        state: &str,
        features: Value,
        versions: &[(&str, &[&str])],
    ) -> String {
        let disk = self.disk().await;
        let gallery = self.id("/resourceGroups/images/providers/Microsoft.Compute/galleries/nix");
        let here = json!({ "location": "westus2" });
        self.ask("PUT", &gallery, GALLERY, here).await;
        let definition = format!("{gallery}/images/web");
        let body = json!({ "location": "westus2", "properties": {
            "osType": "Linux", "osState": state, "hyperVGeneration": "V2", "features": features,
            "identifier": { "publisher": "nixos", "offer": "web", "sku": "v2" },
        } });
        self.ask("PUT", &definition, GALLERY, body).await;
        for (version, regions) in versions {
            let regions: Vec<Value> = regions.iter().map(|name| json!({ "name": name })).collect();
            let id = format!("{definition}/versions/{version}");
            let body = json!({ "location": "westus2", "properties": {
                "publishingProfile": { "targetRegions": regions },
                "storageProfile": { "osDiskImage": { "source": { "id": disk } } },
            } });
            self.ask("PUT", &id, GALLERY, body).await;
            within(30, "a version", async {
                while self.read(&id, GALLERY).await["properties"]["provisioningState"] == "Creating"
                {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            })
            .await;
        }
        definition
    }

    /// The body of the newest PUT of a kind.
    pub(crate) fn sent(&self, path: &str) -> Value {
        let requests = self.local.emulator.requests();
        let found = requests
            .iter()
            .rev()
            .find(|request| request.method == "PUT" && request.path_and_query.contains(path));
        found.and_then(|request| request.body.clone()).unwrap()
    }

    pub(crate) async fn image(&self) -> String {
        self.id("/resourceGroups/images/providers/Microsoft.Compute/images/base")
    }

    /// Nothing but questions was asked since there were so many requests, and nothing was made.
    pub(crate) async fn assert_refused(&self, error: &Error, before: &State, requests: usize) {
        let asked = self.since(requests);
        let writes: Vec<_> = asked
            .iter()
            .filter(|one| !one.starts_with("GET "))
            .collect();
        assert!(writes.is_empty(), "{writes:?}: {}", error.report());
        assert!(self.local.state().await == *before, "{}", error.report());
        assert!(error.hint().is_some(), "{}", error.report());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gallery_gives_the_newest_version_that_is_there() {
    let place = Place::with(|builder| builder.versions_from_disks(true)).await;
    let features = json!([
        { "name": "SecurityType", "value": "TrustedLaunchSupported" },
        { "name": "DiskControllerTypes", "value": "SCSI, NVMe" },
    ]);
    let versions: [(&str, &[&str]); 2] =
        [("1.9.0", &["westus2", "eastus"]), ("1.10.0", &["westus2"])];
    let definition = place.gallery("Generalized", features, &versions).await;
    let vm = place.from(&definition, "new").await.unwrap();
    assert_eq!(vm.location.as_str(), "westus2");
    assert_eq!(vm.security_type, SecurityType::TrustedLaunch);
    let sent = place.sent("/virtualMachines/new?");
    let properties = &sent["properties"];
    assert_eq!(
        properties["storageProfile"]["imageReference"]["id"],
        format!("{definition}/versions/1.10.0")
    );
    assert_eq!(
        properties["securityProfile"],
        json!({
            "securityType": "TrustedLaunch",
            "uefiSettings": { "secureBootEnabled": false, "vTpmEnabled": true },
        })
    );

    // Elsewhere another one is the newest, and a size may have NVMe alone.
    let image = ImageReference::parse(&format!("{definition}/versions/latest")).unwrap();
    let vm = VmBuilder::new(&place.local.azure, "east", "old", image)
        .without_ssh_key()
        .location("eastus")
        .size("Standard_D2s_v6")
        .security_type(SecurityType::Standard)
        .await
        .unwrap();
    assert_eq!(vm.location.as_str(), "eastus");
    assert_eq!(vm.admin_username, None);
    let sent = place.sent("/virtualMachines/old?");
    let storage = &sent["properties"]["storageProfile"];
    assert_eq!(
        storage["imageReference"]["id"],
        format!("{definition}/versions/1.9.0")
    );
    assert_eq!(storage["diskControllerType"], "NVMe");
    assert_eq!(sent["properties"].get("securityProfile"), None);

    let (before, requests) = (place.local.state().await, place.requests());
    for (image, location) in [
        (format!("{definition}/versions/1.10.0"), "eastus"),
        (definition.clone(), "northeurope"),
        (format!("{definition}/versions/3.0.0"), "westus2"),
        (format!("{definition}2"), "westus2"),
    ] {
        let image = ImageReference::parse(&image).unwrap();
        let error = VmBuilder::new(&place.local.azure, "new", "none", image)
            .without_ssh_key()
            .location(location)
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput),
            "{}",
            error.report()
        );
        assert_eq!(place.local.state().await, before);
    }
    assert!(
        place
            .since(requests)
            .iter()
            .all(|one| one.starts_with("GET "))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specialized_version_has_its_own_users() {
    let place = Place::with(|builder| builder.versions_from_disks(true)).await;
    let versions: [(&str, &[&str]); 1] = [("1.0.0", &["westus2"])];
    let definition = place.gallery("Specialized", json!([]), &versions).await;
    let vm = place.from(&definition, "own").await.unwrap();
    assert_eq!(vm.ssh_private_key, None);
    assert!(vm.ssh_command.unwrap().starts_with("ssh nixos@"));
    let sent = place.sent("/virtualMachines/own?");
    assert_eq!(sent["properties"].get("osProfile"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_copied_and_stays() {
    let place = Place::new().await;
    let disk = place.disk().await;
    let before = place.local.state().await;
    let vm = place
        .from(&disk, "copy")
        .os_disk_size_gb(50)
        .zone("1")
        .user_data("S3CRET")
        .await
        .unwrap();
    assert_eq!(vm.zone.as_deref(), Some("1"));
    let copy = place.sent("/disks/copy-os?");
    assert_eq!(
        copy["properties"],
        json!({ "osType": "Linux", "diskSizeGB": 50,
            "creationData": { "createOption": "Copy", "sourceResourceId": disk } })
    );
    assert_eq!(
        (&copy["zones"], &copy["tags"]["azure-nixos-vm"]),
        (&json!(["1"]), &json!("copy"))
    );
    let sent = place.sent("/virtualMachines/copy?");
    let storage = &sent["properties"]["storageProfile"];
    assert_eq!(
        storage["osDisk"],
        json!({ "createOption": "Attach", "osType": "Linux", "caching": "ReadWrite",
            "deleteOption": "Delete",
            "managedDisk": { "id": place.part("Microsoft.Compute/disks", "copy-os") } })
    );
    assert_eq!(storage.get("imageReference"), None);
    assert_eq!(sent["properties"].get("osProfile"), None);
    // The machine goes, and the copy with it.
    place.machine("copy").delete().await.unwrap();
    assert!(place.local.state().await == before);

    let requests = place.requests();
    for builder in [
        place.from(&disk, "no").custom_data("x"),
        place.from(&disk, "no").shell_variable("a", "b"),
        place
            .from(&disk, "no")
            .ssh_key(azure_nixos::vm::SshKey::text(crate::place::KEY)),
        place
            .from(&disk, "no")
            .security_type(SecurityType::TrustedLaunch),
        place.from(&disk, "no").location("eastus"),
    ] {
        let error = builder.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}", error.report());
        place.assert_refused(&error, &before, requests).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_new_or_joined() {
    let place = Place::new().await;
    let image = place.image().await;
    let vm = place.from(&image, "six").ipv6(true).await.unwrap();
    let (four, six) = (vm.public_ip.unwrap(), vm.public_ipv6.unwrap());
    assert!(four.contains('.') && six.contains(':'), "{four} {six}");
    let network = place.sent("/virtualNetworks/");
    assert_eq!(
        network["properties"]["subnets"][0]["properties"],
        json!({ "addressPrefixes": ["10.0.0.0/24", "fd00:a2e5:4e15::/64"] })
    );
    let interface = place.sent("/networkInterfaces/");
    let addresses = interface["properties"]["ipConfigurations"]
        .as_array()
        .unwrap();
    let of = |at: usize| &addresses[at]["properties"];
    assert_eq!(
        (&of(0)["primary"], &of(1)["primary"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(of(1)["privateIPAddressVersion"], "IPv6");
    assert!(
        of(1)["publicIPAddress"]["id"]
            .as_str()
            .unwrap()
            .ends_with("six-ip6")
    );

    // Into that network, with nothing of its own but an interface and its rules.
    let subnet = format!(
        "{}/subnets/default",
        place.part("Microsoft.Network/virtualNetworks", "six-vnet")
    );
    let requests = place.requests();
    let vm = place
        .from(&image, "inside")
        .subnet(&subnet)
        .public_ip(false)
        .allow_ssh_from("10.0.0.0/8")
        .await
        .unwrap();
    assert_eq!((&vm.public_ip, &vm.ssh_command), (&None, &None));
    assert_eq!(vm.private_ip.as_deref(), Some("10.0.0.5"));
    assert!(vm.warnings.is_empty(), "{:?}", vm.warnings);
    let puts: Vec<String> = place
        .since(requests)
        .into_iter()
        .filter(|one| one.starts_with("PUT"))
        .collect();
    assert_eq!(puts.len(), 3, "{puts:?}");
    // Its network is not the first one's to lose.
    let before = place.local.state().await;
    place.machine("inside").delete().await.unwrap();
    assert!(
        place
            .local
            .state()
            .await
            .contains_key(&subnet[..subnet.len() - 16].to_ascii_lowercase())
    );
    drop(before);

    let (before, requests) = (place.local.state().await, place.requests());
    for (builder, part) in [
        (
            place.from(&image, "no").subnet(format!("{subnet}2")),
            "there is no subnet",
        ),
        (
            place
                .from(&image, "no")
                .subnet(subnet.replace("six", "ten")),
            "no virtual network",
        ),
        (place.from(&image, "no").subnet("default"), "id of a subnet"),
        (place.from(&image, "six"), "there is a machine six"),
        (
            place.from(&image, "no").allow_ssh_from("me"),
            "does not say",
        ),
    ] {
        let error = builder.await.unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        place.assert_refused(&error, &before, requests).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_will_not_do_is_refused_before_anything_is_made() {
    let place = Place::with(|builder| {
        builder
            .quota("standardBSFamily", 3)
            .restrict_size("Standard_F2s_v2")
    })
    .await;
    let image = place.image().await;
    let (before, requests) = (place.local.state().await, place.requests());
    let small = || place.from(&image, "no").size("Standard_B2s");
    for (builder, kind, part) in [
        (
            place.from(&image, "no").size("Standard_A1_v2"),
            ErrorKind::InvalidInput,
            "boots V1 alone",
        ),
        (
            place.from(&image, "no").size("Standard_D2ps_v5"),
            ErrorKind::InvalidInput,
            "Arm64",
        ),
        (
            place.from(&image, "no").size("Standard_D2s_v6"),
            ErrorKind::InvalidInput,
            "NVMe",
        ),
        (
            place.from(&image, "no").size("Standard_F2s_v2"),
            ErrorKind::InvalidInput,
            "NotAvailableForSubscription",
        ),
        (
            place.from(&image, "no").zone("4"),
            ErrorKind::InvalidInput,
            "not in 4",
        ),
        (
            place.from(&image, "no").accelerated_networking(true),
            ErrorKind::InvalidInput,
            "accelerated",
        ),
        (
            small()
                .data_disk_gb(1)
                .data_disk_gb(1)
                .data_disk_gb(1)
                .data_disk_gb(1)
                .data_disk_gb(1),
            ErrorKind::InvalidInput,
            "4 data disks",
        ),
    ] {
        let error = builder.await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.report());
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert!(error.hint().unwrap().contains("would do"), "{error:?}");
        place.assert_refused(&error, &before, requests).await;
    }
    let error = small().fleet(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota);
    assert!(
        error.to_string().contains("0 of 3 (standardBSFamily)"),
        "{error}"
    );
    place.assert_refused(&error, &before, requests).await;
    // One fits.
    small().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_at_sizes_is_judged_by_azure() {
    let place = Place::with(|builder| {
        builder
            .deny("Microsoft.Compute/skus/read")
            .deny("Microsoft.Compute/locations/usages/read")
    })
    .await;
    let image = place.image().await;
    let vm = place.from(&image, "web").await.unwrap();
    assert!(vm.warnings.is_empty(), "{:?}", vm.warnings);
    let before = place.local.state().await;
    let error = place
        .from(&image, "no")
        .size("Standard_A1_v2")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot boot Hypervisor Generation"),
        "{error}"
    );
    assert!(place.local.state().await == before, "{}", error.report());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_gets_its_roles_and_no_more() {
    let late = std::time::Duration::from_millis(1500);
    let place = Place::with(|builder| {
        builder
            .role_replication(late)
            .role_replication_despite_type(true)
    })
    .await;
    let image = place.image().await;
    let scope = place.id("/resourceGroups/images");
    let vm = place
        .from(&image, "own")
        .identity(Identity::System)
        .role("Reader", &scope)
        .await
        .unwrap();
    let principal = vm.principal_id.unwrap();
    let given = place.assignments().await;
    assert_eq!(given.len(), 1, "{given:?}");
    let given = &given[0]["properties"];
    assert_eq!(given["principalId"], principal);
    assert_eq!(given["scope"], scope);
    assert!(
        given["roleDefinitionId"]
            .as_str()
            .unwrap()
            .ends_with("acdd72a7-3385-48ef-bd42-f606fba81ae7")
    );

    let id = place.part("Microsoft.ManagedIdentity/userAssignedIdentities", "shared");
    let shared = place
        .ask("PUT", &id, "2023-01-31", json!({ "location": "westus2" }))
        .await;
    let owner = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635";
    for name in ["one", "two"] {
        // The second finds the role given.
        let vm = place
            .from(&image, name)
            .identity(Identity::parse("Shared").unwrap())
            .role(owner, &scope)
            .await
            .unwrap();
        assert_eq!(
            vm.principal_id.as_deref(),
            shared["properties"]["principalId"].as_str()
        );
        assert!(
            vm.warnings.iter().any(|said| said.contains("is Owner of")),
            "{:?}",
            vm.warnings
        );
        assert_eq!(place.assignments().await.len(), 2);
    }
    let sent = place.sent("/virtualMachines/two?");
    assert_eq!(sent["identity"]["type"], "UserAssigned");

    let (before, requests) = (place.local.state().await, place.requests());
    let reader = || place.from(&image, "no").identity(Identity::System);
    for (builder, kind) in [
        (reader().role("Sovereign", &scope), ErrorKind::NotFound),
        (
            reader().role("Reader", format!("{scope}2")),
            ErrorKind::NotFound,
        ),
        (reader().role("Reader", "images"), ErrorKind::InvalidInput),
        (
            place.from(&image, "no").role("Reader", &scope),
            ErrorKind::InvalidInput,
        ),
        (
            place
                .from(&image, "no")
                .identity(Identity::Name("none".into())),
            ErrorKind::NotFound,
        ),
    ] {
        let error = builder.await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.report());
        assert!(
            place
                .since(requests)
                .iter()
                .all(|one| one.starts_with("GET "))
        );
        assert!(place.local.state().await == before);
    }
    assert_eq!(place.assignments().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_goes_with_a_machine_that_is_not_made() {
    let place = Place::new().await;
    let image = place.image().await;
    let id = place.part("Microsoft.ManagedIdentity/userAssignedIdentities", "shared");
    place
        .ask("PUT", &id, "2023-01-31", json!({ "location": "westus2" }))
        .await;
    let before = place.local.state().await;
    place.fault(arm("PUT", "/virtualMachines/").respond(409, "AllocationFailed"));
    let error = place
        .from(&image, "web")
        .identity(Identity::parse(&id).unwrap())
        .role("Reader", place.id("/resourceGroups/images"))
        .await
        .unwrap_err();
    assert!(
        error.report().contains("the role Reader"),
        "{}",
        error.report()
    );
    place.local.emulator.faults().clear();
    assert!(place.assignments().await.is_empty());
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interface_that_is_reserved_is_waited_for() {
    let place = Place::new().await;
    let image = place.image().await;
    let fault = place.fault(
        arm("PUT", "/virtualMachines/")
            .times(2)
            .respond(400, "NicReservedForAnotherVm"),
    );
    place.from(&image, "web").await.unwrap();
    assert_eq!(place.local.emulator.faults().hits(fault), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_knows_what_else_there_is() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    for (code, parts) in [
        (
            "ZonalAllocationFailed",
            ["try zone 1 or 3", "Standard_D2as_v5"],
        ),
        (
            "SkuNotAvailable",
            ["has no room for Standard_D2s_v5", "another size"],
        ),
        // A disk that only boots as generation V1 and was registered as V2 ends like this, too.
        (
            "OSProvisioningTimedOut",
            [
                "needs an agent",
                "An image of generation V2 whose disk boots the other one",
            ],
        ),
    ] {
        // At once, or at the end of the operation.
        for rule in [
            arm("PUT", "/virtualMachines/").respond(409, code),
            arm("PUT", "/virtualMachines/").fail_operation(code),
        ] {
            place.fault(rule);
            let error = place
                .from(&image, "web")
                .size("Standard_D2s_v5")
                .zone("2")
                .await
                .unwrap_err();
            assert_eq!(error.code(), Some(code), "{}", error.report());
            for part in parts {
                assert!(
                    error.hint().unwrap().contains(part),
                    "{part}: {}",
                    error.report()
                );
            }
            place.local.emulator.faults().clear();
            assert!(place.local.state().await == before, "{}", error.report());
        }
    }
    // Without an agent nobody was to say that it is ready.
    place.fault(arm("PUT", "/virtualMachines/").fail_operation("OSProvisioningTimedOut"));
    let vm = place.from(&image, "web").agent(false).await.unwrap();
    assert!(vm.warnings[0].contains("no agent"), "{:?}", vm.warnings);
    place.local.emulator.faults().clear();
    assert!(
        place
            .local
            .state()
            .await
            .contains_key(&vm.id.as_str().to_ascii_lowercase())
    );
}

fn fleet(place: &Place, image: &str, count: u32) -> FleetBuilder {
    place.from(image, "node").data_disk_gb(4).fleet(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_shares_a_network_and_nothing_else() {
    let place = Place::new().await;
    let image = place.image().await;
    let before = place.local.state().await;
    let fleet = fleet(&place, &image, 11).await.unwrap();
    assert_eq!(fleet.machines.len(), 11);
    let mut addresses = Vec::new();
    for (number, vm) in fleet.machines.iter().enumerate() {
        assert_eq!(vm.name, format!("node-{}", number + 1));
        assert!(vm.ssh_private_key.as_ref().unwrap().exists());
        addresses.extend([
            vm.public_ip.clone().unwrap(),
            vm.private_ip.clone().unwrap(),
        ]);
        let made = place.local.get(vm.id.as_str()).await;
        assert_eq!(made["tags"]["azure-nixos-fleet"], "node");
        assert_eq!(made["properties"]["osProfile"]["computerName"], vm.name);
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 22);
    let after = place.local.state().await;
    let count = |kind: &str| after.keys().filter(|id| id.contains(kind)).count();
    assert_eq!(count("/virtualnetworks/"), 1);
    assert_eq!(count("/networksecuritygroups/"), 1);
    // One is deleted, the others stay; the last takes nothing of the network away.
    place.machine("node-11").delete().await.unwrap();
    let rest = place.machines().list(Some("vms")).await.unwrap();
    assert_eq!(rest.len(), 10);
    for vm in rest {
        place.machine(&vm.name).delete().await.unwrap();
    }
    // What they shared bears the name of the fleet.
    place.machine("node").delete().await.unwrap();
    assert!(place.local.state().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_which_one_fails_is_not_there() {
    let place = Place::new().await;
    let disk = place.disk().await;
    let before = place.local.state().await;
    for path in [
        "/virtualMachines/node-7?",
        "/disks/node-2-os?",
        "/networkSecurityGroups/",
        "/node-9-nic?",
    ] {
        let rule = arm("PUT", path).respond(409, "AllocationFailed");
        let fault = place.fault(rule);
        let error = fleet(&place, &disk, 9).await.unwrap_err();
        assert_eq!(place.local.emulator.faults().hits(fault), 1, "{path}");
        assert_eq!(error.code(), Some("AllocationFailed"), "{}", error.report());
        place.local.emulator.faults().clear();
        assert!(
            place.local.state().await == before,
            "{path}: {}",
            error.report()
        );
        let left = error.context().find(|(name, _)| *name == "left behind");
        assert_eq!(left, None);
    }
    for count in [0, 251] {
        let error = fleet(&place, &disk, count).await.unwrap_err();
        assert!(error.to_string().contains("fleet"), "{error}");
    }
    // Names of a fleet are taken as others are.
    let nic = place.part("Microsoft.Network/publicIPAddresses", "node-3-ip");
    let body = json!({ "location": "westus2", "sku": { "name": "Standard" },
        "properties": { "publicIPAllocationMethod": "Static" } });
    place.ask("PUT", &nic, NETWORK, body).await;
    let error = fleet(&place, &disk, 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("node-3-ip"), "{error}");
    let vms = place.id("/resourceGroups/vms/providers/Microsoft.Compute/virtualMachines");
    assert_eq!(place.read(&vms, COMPUTE).await["value"], json!([]));
}
