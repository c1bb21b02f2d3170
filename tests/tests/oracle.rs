//! Microsoft's own generated models as the judge of our requests to the compute provider, and golden
//! copies of the requests to the others.
//!
//! `azure_mgmt_compute` is the client that Microsoft generated from the same specification and does
//! not make any more for this generation of the SDK. What we send must be read by it with nothing
//! lost, and what it writes must be taken by the local Azure and read by us.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use azure_mgmt_compute::package_2024_07_01::models;
use azure_nixos::arm::Client;
use azure_nixos::arm::compute::{Disk, Image, VirtualMachine};
use azure_nixos::image::ImageSource;
use azure_nixos::vm::{EvictionPolicy, Identity, ImageReference, Machines, Spot, SshKey};
use azure_nixos::{Generation, ImageBuilder, VmBuilder};
use azure_nixos_emulator::RecordedRequest;
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::{Local, within};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SIZE: u64 = 20 << 20;
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

/// Runs the road with every option at more than one value, and returns everything that was asked.
async fn requests(local: &Local) -> Vec<RecordedRequest> {
    let disk = |name: &str, table| -> PathBuf {
        let path = local.place().join(name);
        disks::raw(&path, SIZE, table, 1);
        path
    };
    let (both, plain) = (
        disk("both.raw", Table::Both),
        disk("plain.raw", Table::None),
    );
    let azure = &local.azure;
    let image = |name: &str, file: &PathBuf| {
        ImageBuilder::new(azure, "images", name).source(ImageSource::file(file))
    };
    image("plain", &plain).await.unwrap();
    image("both", &both).location("westus2").await.unwrap();
    image("v1.of-both", &both)
        .generation(Generation::V1)
        .keep_disk(true)
        .disk_sku("Premium_LRS")
        .await
        .unwrap();
    ImageBuilder::new(azure, "images-eu", "both")
        .location("West Europe")
        .disk_sku("StandardSSD_LRS")
        .source(ImageSource::file(&both))
        .await
        .unwrap();
    let machine = |name: &str, image: &str| {
        let image = format!(
            "/subscriptions/{}/resourceGroups/{image}",
            local.emulator.subscription_id()
        );
        VmBuilder::new(
            azure,
            "machines",
            name,
            ImageReference::parse(&image).unwrap(),
        )
        .admin_username("nixos")
    };
    let images = "images/providers/Microsoft.Compute/images";
    machine("default", &format!("{images}/both"))
        .key_directory(local.place().join("keys"))
        .await
        .unwrap();
    machine("all", &format!("{images}/v1.of-both"))
        .size("Standard_D2s_v3")
        .os_disk_size_gb(64)
        .os_disk_sku("StandardSSD_LRS")
        .allow_ssh_from("203.0.113.0/24")
        .boot_diagnostics(false)
        .ssh_key(SshKey::text(KEY))
        .ssh_key(SshKey::text(KEY.replace("me@here", "you@there")))
        .await
        .unwrap();
    machine("more", &format!("{images}/both"))
        .size("Standard_D2s_v5")
        .zone("2")
        .spot(Spot::new(EvictionPolicy::Delete).up_to(0.5))
        .data_disk_gb(8)
        .data_disk_gb(16)
        .ipv6(true)
        .accelerated_networking(true)
        .allow_ssh_from("none")
        .identity(Identity::System)
        .custom_data("#cloud-config\n")
        .user_data("data")
        .agent(false)
        .ssh_key(SshKey::text(KEY))
        .await
        .unwrap();
    machine(
        "copy",
        "images/providers/Microsoft.Compute/disks/v1-of-both",
    )
    .os_disk_size_gb(50)
    .public_ip(false)
    .await
    .unwrap();
    machine("set", &format!("{images}/both"))
        .size("Standard_D2s_v5")
        .os_disk_size_gb(64)
        .zone("2")
        .spot(Spot::new(EvictionPolicy::Delete).up_to(0.5))
        .data_disk_gb(8)
        .ipv6(true)
        .accelerated_networking(true)
        .custom_data("#cloud-config\n")
        .user_data("data")
        .ssh_key(SshKey::text(KEY))
        .scale_set(2)
        .await
        .unwrap();
    local.emulator.requests()
}

/// Without what means nothing: nulls and empty lists and objects.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), pruned(value)))
            .filter(|(_, value)| !is_nothing(value))
            .collect(),
        Value::Array(items) => items.iter().map(pruned).collect(),
        other => other.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Reads a body into a model of Microsoft's, writes it again, and compares.
fn judge<M: DeserializeOwned + Serialize>(body: &Value) {
    let model: M =
        serde_json::from_value(body.clone()).unwrap_or_else(|error| panic!("{error}: {body:#}"));
    let again = serde_json::to_value(&model).unwrap();
    assert_eq!(pruned(&again), *body, "not all of it was read");
    // We send nothing that means nothing, either.
    assert_eq!(pruned(body), *body, "it has empty fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_for_compute_is_read_without_loss() {
    let local = Local::start().await;
    let requests = within(100, "the road", requests(&local)).await;
    let mut judged = BTreeMap::new();
    for request in &requests {
        let path = request.path_and_query.split('?').next().unwrap();
        let Some((_, rest)) = path.split_once("/providers/Microsoft.Compute/") else {
            continue;
        };
        let Some(body) = &request.body else {
            assert!(
                request.method != "PUT",
                "a PUT without a body: {}",
                request.path_and_query
            );
            continue;
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let kind = match parts[..] {
            ["disks", _] if request.method == "PATCH" => {
                judge::<models::DiskUpdate>(body);
                "disk update"
            }
            ["disks", _] => {
                judge::<models::Disk>(body);
                "disk"
            }
            ["disks", _, "beginGetAccess"] => {
                judge::<models::GrantAccessData>(body);
                "grant"
            }
            ["images", _] => {
                judge::<models::Image>(body);
                "image"
            }
            ["virtualMachines", _] => {
                judge::<models::VirtualMachine>(body);
                "machine"
            }
            ["virtualMachineScaleSets", _] => {
                judge::<models::VirtualMachineScaleSet>(body);
                "scale set"
            }
            _ => panic!("nobody judges {}", request.path_and_query),
        };
        *judged.entry(kind).or_insert(0) += 1;
    }
    let expected = BTreeMap::from([
        ("disk", 5),
        ("disk update", 4),
        ("grant", 4),
        ("image", 4),
        ("machine", 4),
        ("scale set", 1),
    ]);
    assert_eq!(judged, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_machine_is_read_without_loss() {
    let local = Local::start().await;
    let before = within(100, "the road", requests(&local)).await.len();
    let machine = Machines::new(&local.azure).machine("machines", "all");
    machine.resize("Standard_B2s").await.unwrap();
    machine.enable_boot_diagnostics().await.unwrap();
    let requests = local.emulator.requests();
    let bodies: Vec<&Value> = requests[before..]
        .iter()
        .filter_map(|request| request.body.as_ref())
        .collect();
    for body in &bodies {
        judge::<models::VirtualMachineUpdate>(body);
    }
    assert_eq!(
        bodies,
        [
            &json!({ "properties": { "hardwareProfile": { "vmSize": "Standard_B2s" } } }),
            &json!({ "properties": { "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } } } }),
        ]
    );
}

/// The judge can say no: a field that Microsoft's model does not know is lost in it.
#[test]
#[should_panic(expected = "not all of it was read")]
fn a_misspelt_field_is_found() {
    judge::<models::Disk>(&json!({
        "location": "westus2",
        "properties": { "creationData": { "createOption": "Upload" }, "diskSizeGb": 30 }
    }));
}

/// Every body of the road for the other providers, as it is sent. Ids are shortened, since the
/// subscription is another one in every run.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_bodies_are_the_golden_ones() {
    let local = Local::start().await;
    let requests = within(100, "the road", requests(&local)).await;
    let subscription = local.emulator.subscription_id();
    let bodies: Vec<Value> = requests
        .iter()
        .filter(|request| !request.path_and_query.contains("Microsoft.Compute"))
        .filter_map(|request| Some((request, request.body.as_ref()?)))
        .map(|(request, body)| {
            json!({
                "request": format!("{} {}", request.method, request.path_and_query),
                "body": body,
            })
        })
        .collect();
    let text = serde_json::to_string(&bodies)
        .unwrap()
        .replace(&subscription, "SUBSCRIPTION");
    let mut bodies: Vec<Value> = serde_json::from_str(&text).unwrap();
    bodies
        .iter_mut()
        .for_each(|sent| hide_run(&mut sent["body"]));
    // Some are on their way at the same time.
    bodies.sort_by_key(|body| body["request"].as_str().unwrap().to_owned());
    insta::assert_json_snapshot!("other_bodies", bodies);
}

/// The tag that tells one attempt from another is another one every time.
fn hide_run(body: &mut Value) {
    if let Some(run) = body.pointer_mut("/tags/azure-nixos-run") {
        assert_eq!(run.as_str().unwrap().len(), 36, "{run}");
        *run = json!("RUN");
    }
}

/// And those for the compute provider: the judge says that they are well formed, this that they are
/// what they were.
#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_for_compute_are_the_golden_ones() {
    let local = Local::start().await;
    let requests = within(100, "the road", requests(&local)).await;
    let subscription = local.emulator.subscription_id();
    let key = std::fs::read_to_string(local.place().join("keys/default.pub")).unwrap();
    let key = key.trim();
    let mut bodies = Vec::new();
    for request in &requests {
        let (true, Some(body)) = (
            request.path_and_query.contains("Microsoft.Compute"),
            &request.body,
        ) else {
            continue;
        };
        let text = body
            .to_string()
            .replace(&subscription, "SUBSCRIPTION")
            .replace(key, "NEW KEY");
        let path = request
            .path_and_query
            .replace(&subscription, "SUBSCRIPTION");
        let mut body = serde_json::from_str::<Value>(&text).unwrap();
        hide_run(&mut body);
        bodies.push(json!({
            "request": format!("{} {path}", request.method),
            "body": body,
        }));
    }
    insta::assert_json_snapshot!("compute_bodies", bodies);
}

/// What Microsoft's models write, with the nulls that they write, is taken and read back.
#[tokio::test(flavor = "multi_thread")]
async fn their_bodies_are_taken_and_read_by_ours() {
    let local = Local::start().await;
    let other_way_round = Box::pin(async {
        requests(&local).await;
        let put = async |kind: &str, name: &str, version: &str, body: Value| {
            let id = format!(
                "/subscriptions/{}/resourceGroups/machines/providers/Microsoft.Compute/{kind}/{name}",
                local.emulator.subscription_id()
            );
            let (status, answer) = local.request("PUT", &id, version, Some(&body)).await;
            assert!(
                (200..=202).contains(&status),
                "{status}: {answer:#}\n{body:#}"
            );
            // The end of an operation is reached when it is asked for, and a machine's disk is made
            // beside the requests.
            within(30, "the end of the operation", async {
                while local.get(&id).await["properties"]["provisioningState"] == "Creating" {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            id
        };
        let client = Client::new(&local.azure).unwrap();

        let mut creation = models::CreationData::new(models::creation_data::CreateOption::Upload);
        creation.upload_size_bytes = Some(20_972_032);
        let mut properties = models::DiskProperties::new(creation);
        properties.os_type = Some(models::disk_properties::OsType::Linux);
        properties.hyper_v_generation = Some(models::disk_properties::HyperVGeneration::V2);
        let mut disk = models::Disk::new(models::Resource::new("westus2".to_owned()));
        disk.properties = Some(properties);
        let sent = serde_json::to_value(&disk).unwrap();
        put("disks", "theirs", "2023-10-02", sent.clone()).await;
        let ours: Disk = serde_json::from_value(sent).unwrap();
        let read = client.disk("machines", "theirs").await.unwrap().unwrap();
        assert_eq!(ours.properties.creation_data, read.properties.creation_data);
        assert_eq!(read.properties.hyper_v_generation, Some(Generation::V2));
        assert_eq!(read.properties.os_type.as_deref(), Some("Linux"));

        let base = format!(
            "/subscriptions/{}/resourceGroups/images/providers/Microsoft.Compute",
            local.emulator.subscription_id()
        );
        let mut os_disk = models::ImageOsDisk::new(
            models::image_os_disk::OsType::Linux,
            models::image_os_disk::OsState::Generalized,
        );
        os_disk.image_disk.managed_disk = Some(models::SubResource {
            id: Some(format!("{base}/disks/v1-of-both")),
        });
        let mut image = models::Image::new(models::Resource::new("westus2".to_owned()));
        image.properties = Some(models::ImageProperties {
            storage_profile: Some(models::ImageStorageProfile {
                os_disk: Some(os_disk),
                ..models::ImageStorageProfile::default()
            }),
            hyper_v_generation: Some(models::HyperVGenerationType::V1),
            ..models::ImageProperties::default()
        });
        let sent = serde_json::to_value(&image).unwrap();
        let id = put("images", "theirs", "2024-07-01", sent.clone()).await;
        let ours: Image = serde_json::from_value(sent).unwrap();
        let read = client.image(&id.parse().unwrap()).await.unwrap().unwrap();
        let managed = |image: &Image| {
            image
                .properties
                .storage_profile
                .os_disk
                .managed_disk
                .clone()
        };
        assert_eq!(managed(&ours), managed(&read));
        assert_eq!(read.properties.hyper_v_generation, Some(Generation::V1));

        // A machine as ours is, but written by them.
        let made = local
            .emulator
            .requests()
            .into_iter()
            .filter(|request| request.method == "PUT")
            .find(|request| request.path_and_query.contains("/virtualMachines/all?"))
            .unwrap();
        let mut body = made.body.unwrap();
        let (nic, subnet) = interface(&local).await;
        assert!(subnet.contains("/subnets/"));
        body["properties"]["networkProfile"]["networkInterfaces"][0]["id"] = json!(nic);
        let theirs: models::VirtualMachine = serde_json::from_value(body.clone()).unwrap();
        let sent = serde_json::to_value(&theirs).unwrap();
        let ours: VirtualMachine = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(
            ours,
            serde_json::from_value::<VirtualMachine>(body).unwrap()
        );
        put("virtualMachines", "theirs", "2024-07-01", sent).await;
        let read = client
            .virtual_machine("machines", "theirs")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            ours.properties.hardware_profile,
            read.properties.hardware_profile
        );
        assert_eq!(
            read.properties.provisioning_state.as_deref(),
            Some("Succeeded")
        );
    });
    within(100, "the other way round", other_way_round).await;
}

/// An interface that no machine has: the ids of it and of its subnet.
async fn interface(local: &Local) -> (String, String) {
    let base = format!(
        "/subscriptions/{}/resourceGroups/machines/providers/Microsoft.Network",
        local.emulator.subscription_id()
    );
    let subnet = format!("{base}/virtualNetworks/all-vnet/subnets/default");
    let nic = format!("{base}/networkInterfaces/theirs");
    let body = json!({ "location": "westus2", "properties": { "ipConfigurations": [
        { "name": "one", "properties": { "subnet": { "id": subnet } } }
    ]}});
    let (status, answer) = local.request("PUT", &nic, "2024-01-01", Some(&body)).await;
    assert_eq!(status, 201, "{answer:#}");
    (nic, subnet)
}
