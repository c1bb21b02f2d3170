//! Where it is not known what Azure does, the library must survive whatever it does: its roads against
//! every alternative of the local Azure.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

use std::path::PathBuf;
use std::time::Duration;

use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos::vm::{BootedVm, ImageReference};
use azure_nixos::{Error, ImageBuilder, Result, VmBuilder};
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_emulator::{Assumption, Clock, EmulatorBuilder};
use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::{Local, State, within};
use futures::future::join_all;
use serde_json::json;

const SIZE: u64 = 20 << 20;

/// Long enough for every operation to be seen while it runs.
const DELAY: Duration = Duration::from_millis(40);
/// The same where no time passes but by the clock.
const LONG: Duration = Duration::from_secs(600);

struct Place {
    assumption: Assumption,
    local: Local,
    file: PathBuf,
}

impl Place {
    async fn new(assumption: Assumption) -> Self {
        let local =
            Local::start_with(|builder| builder.operation_delay(DELAY).assume(assumption)).await;
        let file = local.place().join("disk.raw");
        disks::raw(&file, SIZE, Table::Efi, 1);
        Self {
            assumption,
            local,
            file,
        }
    }

    async fn image(&self, group: &str) -> Result<UploadedImage> {
        ImageBuilder::new(&self.local.azure, group, "image")
            .source(ImageSource::file(&self.file))
            .await
    }

    async fn machine(&self, group: &str, image: &UploadedImage) -> Result<BootedVm> {
        VmBuilder::new(&self.local.azure, group, "web", ImageReference::from(image))
            .admin_username("nixos")
            .key_directory(self.local.place().join("keys").join(group))
            .await
    }

    /// Refuses requests of a kind for good.
    fn refuse(&self, plane: Plane, method: &str, path: &str) {
        let rule = FaultRule::new(plane).method(method).path_contains(path);
        let rule = rule.respond(403, "AuthorizationFailed");
        self.local.emulator.faults().add(rule);
    }

    /// Checks that a run that failed left nothing.
    async fn assert_undone(&self, what: &str, error: &Error, before: &State) {
        self.local.emulator.faults().clear();
        // What was still going on has ended by now.
        tokio::time::sleep(DELAY * 2).await;
        let after = self.local.state().await;
        let names: Vec<&String> = after.keys().collect();
        let what = format!("{:?}, {what}: {}", self.assumption, error.report());
        assert!(after == *before, "{what}: there is {names:?}");
        let left = error.context().find(|(name, _)| *name == "left behind");
        assert_eq!(left, None, "{what}");
    }
}

#[allow(clippy::future_not_send, reason = "it is waited for where it is made")]
async fn for_each(road: impl AsyncFn(Place)) {
    join_all(Assumption::ALL.iter().map(async |assumption| {
        let place = Place::new(*assumption).await;
        within(120, &format!("{assumption:?}"), road(place)).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_and_machines_are_made_whatever_azure_does() {
    for_each(async |place| {
        let what = format!("{:?}", place.assumption);
        let image = place.image("group").await;
        let image = image.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        assert_eq!(image.warnings, Vec::<String>::new(), "{what}");
        let uploaded = place.local.emulator.image_file("group", "image");
        assert_uploaded(&place.file, SIZE, &uploaded);
        let machine = place.machine("group", &image).await;
        let machine = machine.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        let made = place.local.get(machine.id.as_str()).await;
        assert_eq!(
            made["properties"]["provisioningState"], "Succeeded",
            "{what}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_undone_whatever_azure_does() {
    for_each(async |place| {
        for (what, plane, method, path) in [
            ("no page is taken", Plane::Blob, "PUT", ""),
            ("no access is given", Plane::Arm, "POST", "/beginGetAccess"),
            ("no image is made", Plane::Arm, "PUT", "/images/"),
        ] {
            let before = place.local.state().await;
            place.refuse(plane, method, path);
            let error = place.image("undone").await.unwrap_err();
            place.assert_undone(what, &error, &before).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_undone_whatever_azure_does() {
    for_each(async |place| {
        let image = place.image("images").await.unwrap();
        for path in ["/virtualMachines/", "/networkInterfaces/"] {
            let before = place.local.state().await;
            place.refuse(Plane::Arm, "PUT", path);
            let error = place.machine("undone", &image).await.unwrap_err();
            place.assert_undone(path, &error, &before).await;
        }
    })
    .await;
}

/// Each alternative is one: the same request is answered in another way than by default.
#[tokio::test(flavor = "multi_thread")]
async fn every_alternative_is_another() {
    // Time passes by this clock alone, as good as: a busy machine sees the same.
    let clock = Clock::new();
    let slow = |builder: EmulatorBuilder| builder.operation_delay(LONG).clock(clock.clone());
    let by_default = Local::start_with(slow).await;
    for assumption in Assumption::ALL {
        let other = Local::start_with(|builder| slow(builder).assume(*assumption)).await;
        let usual = seen(&by_default, &clock, *assumption).await;
        let unusual = seen(&other, &clock, *assumption).await;
        assert_ne!(usual, unusual, "{assumption:?}");
    }
}

/// What is seen of what an assumption is about.
async fn seen(local: &Local, clock: &Clock, assumption: Assumption) -> String {
    const DISKS: &str = "2023-04-02";
    let group = format!(
        "/subscriptions/{}/resourceGroups/{assumption:?}",
        local.emulator.subscription_id()
    );
    let place = json!({ "location": "westus2" });
    local
        .request("PUT", &group, "2022-09-01", Some(&place))
        .await;
    let disk = format!("{group}/providers/Microsoft.Compute/disks/d");
    let upload = json!({ "createOption": "Upload", "uploadSizeBytes": 20_972_032 });
    let body = json!({ "location": "westus2", "properties": { "creationData": upload } });
    local.request("PUT", &disk, DISKS, Some(&body)).await;
    clock.advance(LONG);
    let access = json!({ "access": "Write", "durationInSeconds": 3600 });
    let url = format!(
        "{}{disk}/beginGetAccess?api-version={DISKS}",
        local.emulator.arm_url()
    );
    let granted = local.exchange("POST", &url, Some(&access)).await;
    let running = local
        .exchange("GET", granted.header("location").unwrap(), None)
        .await;
    clock.advance(LONG);
    let (_, shown) = local.request("GET", &disk, DISKS, None).await;
    let network = format!("{group}/providers/Microsoft.Network/virtualNetworks/net");
    let body = json!({ "location": "westus2", "properties": {
        "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
    }});
    local
        .request("PUT", &network, "2024-01-01", Some(&body))
        .await;
    let busy = local
        .request("PUT", &network, "2024-01-01", Some(&body))
        .await
        .0;
    let deletion = local.request("DELETE", &disk, DISKS, None).await;
    let going = local.request("GET", &disk, DISKS, None).await.0;
    let revoke = format!("{disk}/endGetAccess");
    let ended = local.request("POST", &revoke, DISKS, None).await.0;
    clock.advance(LONG);
    // There is nothing against it now.
    local.request("DELETE", &network, "2024-01-01", None).await;
    let gone = local.request("GET", &network, "2024-01-01", None).await.0;
    let of_it = match assumption {
        Assumption::AccessEndsWithDisk | Assumption::ActiveAccessIsBadRequest => {
            json!([deletion.0, deletion.1["error"]["code"], going])
        }
        Assumption::BadVhdIsRefusedAtOnce => json!(ended),
        Assumption::ResultIsEmptyWhileRunning => json!(running.status),
        Assumption::UploadIsNotShown => json!(shown["properties"]["diskState"]),
        Assumption::BusyNetworkIsConflict => json!(busy),
        Assumption::DeletingIsGone => json!(gone),
        Assumption::RegionalAddressFitsZone => json!(zonal_machine(local, clock, &group).await),
        _ => panic!("nothing is looked at for {assumption:?}"),
    };
    of_it.to_string()
}

/// What is answered to a machine in a zone, whose public address is in none.
async fn zonal_machine(local: &Local, clock: &Clock, group: &str) -> u16 {
    const NETWORK: &str = "2024-01-01";
    let at = |kind: &str| format!("{group}/providers/{kind}/zonal");
    let (network, address) = (
        at("Microsoft.Network/virtualNetworks"),
        at("Microsoft.Network/publicIPAddresses"),
    );
    let (nic, disk) = (
        at("Microsoft.Network/networkInterfaces"),
        at("Microsoft.Compute/disks"),
    );
    let parts = [
        (
            &network,
            NETWORK,
            json!({ "addressSpace": { "addressPrefixes": ["10.1.0.0/16"] }, "subnets": [
                { "name": "one", "properties": { "addressPrefix": "10.1.0.0/24" } } ] }),
        ),
        (
            &address,
            NETWORK,
            json!({ "publicIPAllocationMethod": "Static" }),
        ),
        (
            &nic,
            NETWORK,
            json!({ "ipConfigurations": [{ "name": "ip", "properties": {
                "subnet": { "id": format!("{network}/subnets/one") },
                "publicIPAddress": { "id": address },
            }}]}),
        ),
        (
            &disk,
            "2023-04-02",
            json!({ "creationData": { "createOption": "Empty" }, "diskSizeGB": 1,
                "osType": "Linux", "hyperVGeneration": "V2" }),
        ),
    ];
    for (path, version, properties) in parts {
        let mut body = json!({ "location": "westus2", "properties": properties });
        if path == &address {
            body["sku"] = json!({ "name": "Standard" });
        }
        if path == &disk {
            body["zones"] = json!(["1"]);
        }
        let (status, answer) = local.request("PUT", path, version, Some(&body)).await;
        assert!(status < 300, "{path}: {answer}");
        clock.advance(LONG);
    }
    let machine = json!({ "location": "westus2", "zones": ["1"], "properties": {
        "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
        "storageProfile": { "osDisk": {
            "createOption": "Attach", "osType": "Linux", "managedDisk": { "id": disk } } },
        "networkProfile": { "networkInterfaces": [{ "id": nic }] },
    }});
    let path = at("Microsoft.Compute/virtualMachines");
    let answer = local
        .request("PUT", &path, "2024-07-01", Some(&machine))
        .await;
    answer.0
}
