//! Machines that boot: a disk of a few bytes of code, from its upload to its own words on the
//! serial console.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper that fails is a test that fails, and one that is skipped says so aloud"
)]

#[path = "common/bootable.rs"]
mod bootable;
mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use azure_nixos_emulator::{Boot, Emulator};
use bootable::{LINE, boot_sector, efi_system};
use common::*;
use serde_json::{Value, json};

/// How long a machine may take to say something. Without KVM and with others at work, firmware
/// alone takes most of a minute.
const PATIENCE: Duration = Duration::from_secs(240);

const MIB: usize = 1 << 20;

/// Whether a program is installed. Its absence is an error unless the test command knows of it.
fn has(program: &str, places: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|place| place.join(program).is_file())
        || places.iter().any(|place| Path::new(place).exists());
    if !found {
        if let Ok(missing) = std::env::var("AZURE_NIXOS_MISSING_TOOLS") {
            assert!(
                missing.split_whitespace().any(|one| one == program),
                "{program} is not installed, and AZURE_NIXOS_MISSING_TOOLS does not name it"
            );
        }
        eprintln!("SKIPPED: {program} is not installed, so this test shows nothing");
    }
    found
}

/// The bytes of a fixed VHD of 20 MiB that begins like this.
fn vhd(content: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.vhd");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(SMALLEST)
        .unwrap();
    write_image(&file);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..20 * MIB].fill(0);
    bytes[..content.len()].copy_from_slice(content);
    bytes
}

/// Uploads a disk over HTTP, as a client does, and makes the image `image` of it.
async fn make_image(client: &Client, generation: &str, disk: &[u8]) {
    client.make_group("rg").await;
    let body = with(
        upload(SMALLEST),
        "/properties/hyperVGeneration",
        json!(generation),
    );
    let begun = client.put(&common::disk("rg", "disk"), DISKS, body).await;
    client.succeed(begun).await;
    let sas = client.grant("rg", "disk", "Write").await;
    for (number, piece) in disk.chunks(4 * MIB).enumerate() {
        if piece.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = number * 4 * MIB;
        let put = client
            .http
            .put(format!("{sas}&comp=page"))
            .header("x-ms-version", "2020-10-02")
            .header("x-ms-page-write", "update")
            .header(
                "x-ms-range",
                format!("bytes={start}-{}", start + piece.len() - 1),
            )
            .body(piece.to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(put.status(), 201);
    }
    let ended = client.revoke("rg", "disk").await;
    assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
    let body = with(
        image_of(&client.id("rg", "Microsoft.Compute/disks", "disk")),
        "/properties/hyperVGeneration",
        json!(generation),
    );
    let begun = client.put(&image("rg", "image"), COMPUTE, body).await;
    client.succeed(begun).await;
}

/// The same as `Client::follow` with more patience.
async fn patiently(client: &Client, begun: Answer) -> Value {
    assert!(matches!(begun.status, 200..=202), "{}", begun.body);
    let url = begun.header("azure-asyncoperation").unwrap().to_owned();
    let started = Instant::now();
    loop {
        let answer = client.send(reqwest::Method::GET, &url, None).await;
        if answer.body["status"] != "InProgress" {
            return answer.body;
        }
        assert!(started.elapsed() < PATIENCE, "the operation does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn act(client: &Client, action: &str) {
    let begun = client
        .post(&format!("{}/{action}", vm("rg", "web")), COMPUTE, None)
        .await;
    let ended = patiently(client, begun).await;
    assert_eq!(ended["status"], "Succeeded", "{action}: {ended}");
}

async fn make_machine(client: &Client) {
    client.make_network("rg", "web").await;
    let body = with(
        client.vm("rg", "web", "image"),
        "/properties/diagnosticsProfile",
        json!({ "bootDiagnostics": { "enabled": true } }),
    );
    let begun = client.put(&vm("rg", "web"), COMPUTE, body).await;
    let ended = patiently(client, begun).await;
    assert_eq!(ended["status"], "Succeeded", "{ended}");
}

async fn power(client: &Client) -> String {
    let view = client
        .get(&format!("{}/instanceView", vm("rg", "web")), COMPUTE)
        .await
        .body;
    view["statuses"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|status| status["code"].as_str()?.strip_prefix("PowerState/"))
        .unwrap()
        .to_owned()
}

/// A boot diagnostics blob, once it is there.
async fn diagnostics(client: &Client, field: &str) -> Option<Vec<u8>> {
    diagnostics_of(client, "web", field).await
}

/// The same, of any machine.
async fn diagnostics_of(client: &Client, name: &str, field: &str) -> Option<Vec<u8>> {
    let path = format!("{}/retrieveBootDiagnosticsData", vm("rg", name));
    let given = client.post(&path, COMPUTE, None).await;
    assert_eq!(given.status, 200, "{}", given.body);
    let url = given.body[field].as_str().unwrap().to_owned();
    let answer = client.http.get(url).send().await.unwrap();
    match answer.status().as_u16() {
        200 => Some(answer.bytes().await.unwrap().to_vec()),
        404 => None,
        other => panic!("{field}: {other}"),
    }
}

/// Waits until the serial log has `LINE` so many times.
async fn wait_for_lines(client: &Client, times: usize) {
    wait_for_lines_of(client, "web", times).await;
}

async fn wait_for_lines_of(client: &Client, name: &str, times: usize) {
    let started = Instant::now();
    loop {
        let log = diagnostics_of(client, name, "serialConsoleLogBlobUri").await;
        let log = String::from_utf8_lossy(&log.unwrap_or_default()).into_owned();
        // A console in between may break lines where it likes.
        if log.replace(['\r', '\n'], "").matches(LINE).count() >= times {
            return;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "not {times} times in the serial log: {log}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The processes that have a directory's name in their arguments or as their working directory.
fn processes_of(directory: &Path) -> Vec<String> {
    let name = directory.to_str().unwrap().as_bytes();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let arguments = std::fs::read(path.join("cmdline")).unwrap_or_default();
            let place = std::fs::read_link(path.join("cwd")).unwrap_or_default();
            arguments.windows(name.len()).any(|part| part == name) || place.starts_with(directory)
        })
        .map(|path| path.display().to_string())
        .collect()
}

async fn wait_until_gone(directory: &Path) {
    let started = Instant::now();
    loop {
        let left = processes_of(directory);
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn started(dir: &Path) -> Emulator {
    builder(dir)
        .boot(Boot::Qemu)
        .machine_limits(1, 256)
        // The code does not know what a power button is.
        .machine_grace(Duration::from_millis(300))
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_generation_one_boots_and_stops() {
    if !has("qemu-system-x86_64", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let azure = started(dir.path()).await;
    let client = Client::new(&azure);
    let disk = vhd(&boot_sector());
    make_image(&client, "V1", &disk).await;
    make_machine(&client).await;
    assert_eq!(power(&client).await, "running");
    wait_for_lines(&client, 1).await;

    // Its address is this host's, and what its security group lets in is listened on.
    let address = client
        .get(
            &resource("rg", "Microsoft.Network/publicIPAddresses", "web"),
            NETWORK,
        )
        .await
        .body["properties"]["ipAddress"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(address.starts_with("127."), "{address}");
    let view = client
        .get(&format!("{}/instanceView", vm("rg", "web")), COMPUTE)
        .await
        .body;
    let moved = view["statuses"]
        .as_array()
        .unwrap()
        .iter()
        .find(|status| status["code"] == "LocalAzure/portMoved");
    let reached = match moved {
        None => format!("{address}:22"),
        Some(moved) => {
            let words = moved["displayStatus"].as_str().unwrap();
            words.rsplit(' ').next().unwrap().to_owned()
        }
    };
    tokio::net::TcpStream::connect(&reached).await.unwrap();

    // The picture comes soon after it is asked for.
    let begun = Instant::now();
    let screen = loop {
        if let Some(screen) = diagnostics(&client, "consoleScreenshotBlobUri").await {
            break screen;
        }
        assert!(begun.elapsed() < PATIENCE, "no picture");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(&screen[..2], b"BM");
    assert_eq!(
        screen[2..6],
        u32::try_from(screen.len()).unwrap().to_le_bytes()
    );

    // From the beginning, then off.
    act(&client, "restart").await;
    wait_for_lines(&client, 2).await;
    // A machine that becomes larger is started again, too.
    let larger = json!({ "properties": { "hardwareProfile": { "vmSize": "Standard_D4s_v5" } } });
    let begun = client
        .call("PATCH", &vm("rg", "web"), COMPUTE, Some(larger))
        .await;
    assert_eq!(patiently(&client, begun).await["status"], "Succeeded");
    wait_for_lines(&client, 3).await;
    act(&client, "powerOff").await;
    assert_eq!(power(&client).await, "stopped");
    wait_until_gone(dir.path()).await;

    // The image has not changed by it.
    let content = std::fs::read(azure.image_file("rg", "image")).unwrap();
    assert!(content == disk, "the image is not what was uploaded");

    // What ran when the local Azure was stopped runs again when it is started.
    act(&client, "start").await;
    wait_for_lines(&client, 4).await;
    azure.stop().await;
    wait_until_gone(dir.path()).await;
    let azure = started(dir.path()).await;
    let client = Client::new(&azure);
    wait_for_lines(&client, 5).await;
    assert_eq!(power(&client).await, "running");

    let begun = client.delete(&vm("rg", "web"), COMPUTE).await;
    let ended = patiently(&client, begun).await;
    assert_eq!(ended["status"], "Succeeded", "{ended}");
    wait_until_gone(dir.path()).await;
    azure.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_of_a_flexible_scale_set_boot() {
    if !has("qemu-system-x86_64", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let azure = started(dir.path()).await;
    let client = Client::new(&azure);
    make_image(&client, "V1", &vhd(&boot_sector())).await;
    client.make_network("rg", "web").await;
    let machine = client.vm("rg", "web", "image")["properties"].clone();
    let mut os = machine["osProfile"].clone();
    let name = os.as_object_mut().unwrap().remove("computerName").unwrap();
    os["computerNamePrefix"] = name;
    let subnet = client.id("rg", "Microsoft.Network/virtualNetworks", "web");
    let subnet = json!({ "id": format!("{subnet}/subnets/default") });
    let set = resource("rg", "Microsoft.Compute/virtualMachineScaleSets", "set");
    let body = json!({ "location": "westus2", "sku": { "name": "Standard_D2s_v5", "capacity": 2 },
        "properties": { "orchestrationMode": "Flexible", "platformFaultDomainCount": 1,
            "virtualMachineProfile": {
                "storageProfile": machine["storageProfile"],
                "osProfile": os,
                "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } },
                "networkProfile": { "networkInterfaceConfigurations": [{ "name": "nic", "properties": {
                    "ipConfigurations": [{ "name": "ip", "properties": { "subnet": subnet } }] } }] },
            } } });
    let begun = client.put(&set, COMPUTE, body).await;
    let ended = patiently(&client, begun).await;
    assert_eq!(ended["status"], "Succeeded", "{ended}");
    let machines = client
        .get(&format!("{set}/virtualMachines"), COMPUTE)
        .await
        .body;
    for machine in machines["value"].as_array().unwrap() {
        wait_for_lines_of(&client, machine["name"].as_str().unwrap(), 1).await;
    }
    assert!(!processes_of(dir.path()).is_empty());
    let begun = client.delete(&set, COMPUTE).await;
    let ended = patiently(&client, begun).await;
    assert_eq!(ended["status"], "Succeeded", "{ended}");
    wait_until_gone(dir.path()).await;
    azure.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_end_with_the_local_azure_however_that_ends() {
    if !has("qemu-system-x86_64", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let azure = started(dir.path()).await;
    let client = Client::new(&azure);
    make_image(&client, "V1", &vhd(&boot_sector())).await;
    make_machine(&client).await;
    wait_for_lines(&client, 1).await;
    assert!(!processes_of(dir.path()).is_empty());
    drop(azure);
    wait_until_gone(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_cannot_start_says_why() {
    if !has("qemu-system-x86_64", &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let azure = started(dir.path()).await;
    let client = Client::new(&azure);
    make_image(&client, "V1", &vhd(&boot_sector())).await;
    client.make_network("rg", "web").await;
    let body = client.vm("rg", "web", "image");
    let begun = client.put(&vm("rg", "web"), COMPUTE, body).await;
    let id = begun.body["properties"]["vmId"].as_str().unwrap();
    // No log can be written where a directory is.
    let own = dir.path().join("machines").join(id);
    std::fs::create_dir(own.join("serialconsole.log")).unwrap();
    let ended = patiently(&client, begun).await;
    assert_eq!(ended["status"], "Failed", "{ended}");
    let message = ended["error"]["message"].as_str().unwrap();
    assert!(message.contains("did not start"), "{message}");
    let shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
    assert_eq!(shown["properties"]["provisioningState"], "Failed");
    azure.stop().await;
    wait_until_gone(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_generation_two_boots() {
    // Where the firmware is, by distribution.
    let firmware = [
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/qemu/edk2-x86_64-code.fd",
    ];
    if !has("qemu-system-x86_64", &[]) || !has("ovmf", &firmware) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let azure = started(dir.path()).await;
    let client = Client::new(&azure);
    make_image(&client, "V2", &vhd(&efi_system())).await;
    make_machine(&client).await;
    wait_for_lines(&client, 1).await;
    act(&client, "deallocate").await;
    assert_eq!(power(&client).await, "deallocated");
    wait_until_gone(dir.path()).await;
    azure.stop().await;
}
