//! `boot-vm` with everything that can be asked for.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::azure::Azure;
use crate::disks::{self, Table};
use crate::place::{Place, Running};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// A place with an image, and a local Azure that remembers what it was asked.
async fn with_image() -> (Place, Azure) {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Esp, 24, 4);
    let azure = Azure::start(&place).await;
    let upload = [
        "upload-image",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let done = azure.run(&place, &upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    (place, azure)
}

/// The body of the newest request of a kind.
fn sent(azure: &Azure, path: &str) -> Value {
    let requests = azure.emulator.requests();
    let found = requests
        .iter()
        .rev()
        .find(|request| request.method == "PUT" && request.path_and_query.contains(path));
    found.and_then(|request| request.body.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_does_what_it_says() {
    let (place, azure) = with_image().await;
    place.write("key.pub", KEY);
    place.write("data", "user data");
    place.write("host_key", "line 1\nit's line 2\n");
    let scope = format!(
        "/subscriptions/{}/resourceGroups/images",
        azure.emulator.subscription_id()
    );
    let arguments = [
        "-o",
        "json",
        "boot-vm",
        "-g",
        "vms",
        "-i",
        "web",
        "-n",
        "web-1",
        "-u",
        "nixos",
        "--ssh-key",
        "key.pub",
        "-s",
        "standard_d4s_v5",
        "-d",
        "64",
        "--os-disk-sku",
        "StandardSSD_LRS",
        "--data-disk",
        "8",
        "--data-disk",
        "16",
        "--zone",
        "2",
        "--spot",
        "--eviction-policy",
        "delete",
        "--max-price",
        "0.25",
        "--allow-ssh-from",
        "2001:db8::/32",
        "--ipv6",
        "--accelerated-networking",
        "--identity",
        "system",
        "--role",
        "Reader",
        "--scope",
        &scope,
        "--shell-var",
        "ssh_root_auth_key=it's mine",
        "--shell-var",
        "host=@host_key",
        "--user-data",
        "data",
        "--no-agent",
    ];
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let shown = done.json();
    assert_eq!(
        (&shown["zone"], &shown["size"], &shown["security_type"]),
        (&json!("2"), &json!("Standard_D4s_v5"), &json!("Standard"))
    );
    assert!(
        shown["public_ipv6"].as_str().unwrap().contains(':'),
        "{shown}"
    );
    assert_eq!(shown["private_ip"], "10.0.0.4");
    assert_eq!(shown["warnings"], json!([]));
    let principal = shown["principal_id"].as_str().unwrap();

    let machine = sent(&azure, "/virtualMachines/web-1?");
    assert_eq!(machine["zones"], json!(["2"]));
    assert_eq!(machine["identity"], json!({ "type": "SystemAssigned" }));
    let properties = &machine["properties"];
    assert_eq!(properties["priority"], "Spot");
    assert_eq!(properties["evictionPolicy"], "Delete");
    assert_eq!(properties["billingProfile"], json!({ "maxPrice": 0.25 }));
    assert_eq!(
        properties["diagnosticsProfile"],
        json!({ "bootDiagnostics": { "enabled": true } })
    );
    let storage = &properties["storageProfile"];
    assert_eq!(storage["osDisk"]["diskSizeGB"], 64);
    let disk = |lun: u32, gb: u32| {
        json!({ "lun": lun, "createOption": "Empty", "deleteOption": "Delete", "diskSizeGB": gb,
            "managedDisk": { "storageAccountType": "StandardSSD_LRS" } })
    };
    assert_eq!(storage["dataDisks"], json!([disk(0, 8), disk(1, 16)]));
    let profile = &properties["osProfile"];
    assert_eq!(profile["allowExtensionOperations"], false);
    assert_eq!(profile["linuxConfiguration"]["provisionVMAgent"], false);
    let decoded =
        |text: &Value| String::from_utf8(STANDARD.decode(text.as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(
        decoded(&profile["customData"]),
        "ssh_root_auth_key='it'\\''s mine'\nhost='line 1\nit'\\''s line 2\n'\n"
    );
    assert_eq!(decoded(&properties["userData"]), "user data");
    let rules = sent(&azure, "/networkSecurityGroups/");
    assert_eq!(
        rules["properties"]["securityRules"][0]["properties"]["sourceAddressPrefix"],
        "2001:db8::/32"
    );
    let interface = sent(&azure, "/networkInterfaces/");
    assert_eq!(interface["properties"]["enableAcceleratedNetworking"], true);
    assert_eq!(
        sent(&azure, "/publicIPAddresses/web-1-ip6?")["zones"],
        json!(["2"])
    );
    let role = sent(&azure, "/roleAssignments/");
    assert_eq!(role["properties"]["principalId"], principal);
    // What is secret is not told to whoever listens to the loudest.
    let loud = azure.run(&place, &[&["-vvv"], &arguments[..]].concat());
    assert!(
        !loud.stderr.contains("it's mine") && !loud.stderr.contains("aXQ"),
        "{}",
        loud.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_anywhere() {
    let (place, azure) = with_image().await;
    let keys = |name: &str| -> Vec<String> {
        let machine = sent(&azure, &format!("/virtualMachines/{name}?"));
        let keys = &machine["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"];
        let keys = keys.as_array().unwrap().iter();
        keys.map(|key| key["keyData"].as_str().unwrap().to_owned())
            .collect()
    };
    let boot = |name: &str, more: &[&str]| {
        let arguments = [
            &["boot-vm", "-g", "vms", "-i", "web", "-n", name, "--ssh-key"],
            more,
        ];
        azure.command(&place, &arguments.concat())
    };
    // Standard input.
    let file = place.write("key.pub", format!("{KEY} in\n"));
    let mut command = boot("from-stdin", &["-"]);
    command.stdin(fs::File::open(&file).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(keys("from-stdin"), [format!("{KEY} in")]);

    // An agent, beside a file with the same key under another name.
    let socket = place.path("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let blob = STANDARD.decode(KEY.split(' ').nth(1).unwrap()).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = [0; 5];
        stream.read_exact(&mut question).unwrap();
        let text = |bytes: &[u8]| {
            [
                &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..],
                bytes,
            ]
            .concat()
        };
        let body = [&[12, 0, 0, 0, 1][..], &text(&blob), &text(b"agent")].concat();
        stream.write_all(&text(&body)).unwrap();
    });
    let mut command = boot("from-agent", &["agent", "--ssh-key", "key.pub"]);
    command.env("SSH_AUTH_SOCK", &socket);
    let done = Running::start(command).finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    serving.join().unwrap();
    assert_eq!(
        keys("from-agent"),
        [format!("{KEY} agent"), format!("{KEY} in")]
    );

    // A pipe, as shells make them: `--ssh-key <(command)`. It can be read once.
    let pipe = place.path("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let running = Running::start(boot("from-pipe", &["pipe"]));
    fs::write(&pipe, format!("{KEY} pipe\n")).unwrap();
    let done = running.finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_eq!(keys("from-pipe"), [format!("{KEY} pipe")]);

    // None: Azure gets one that nobody has.
    let done = Running::start(boot("none", &["none"])).finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_eq!(keys("none").len(), 1);
    assert!(!place.path("home/.ssh").exists());
    assert!(!done.stderr.contains("private key"), "{done:#?}");
    // As whom is not known.
    let command = done
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("log in: ssh "));
    command.unwrap().parse::<std::net::Ipv4Addr>().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_one_object_or_one_id_a_line() {
    let (place, azure) = with_image().await;
    let boot = [
        "boot-vm",
        "-g",
        "vms",
        "-i",
        "web",
        "--allow-ssh-from",
        "none",
    ];
    let done = azure.run(&place, &[&boot[..], &["-n", "a", "--count", "2"]].concat());
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let ids: Vec<&str> = done.stdout.lines().collect();
    assert!(
        ids.len() == 2 && ids[0].ends_with("/a-1") && ids[1].ends_with("/a-2"),
        "{done:#?}"
    );
    assert!(!done.stderr.contains("log in"), "{}", done.stderr);
    // What is so of all is said once.
    let said = "of each: the machine runs; whether ssh answers is not looked at: nobody is let in";
    assert_eq!(done.stderr.matches("is not looked at").count(), 1);
    assert!(done.stderr.contains(said), "{}", done.stderr);
    for key in ["a-1", "a-2"] {
        assert!(place.path(&format!("home/.ssh/azure-nixos/{key}")).exists());
    }
    let done = azure.run(
        &place,
        &[
            &["-o", "json"],
            &boot[..],
            &["-n", "b", "--count", "1", "--public-ip", "none"],
        ]
        .concat(),
    );
    let shown = done.json();
    assert_eq!(shown["machines"][0]["name"], "b-1");
    assert_eq!(shown["machines"][0]["public_ip"], Value::Null);
    assert_eq!(shown["warnings"], json!([]));

    // And with an image before them.
    let options = "vm-name=c;count=2;resource-group=vms;ssh-key=none";
    let upload = [
        "-o",
        "json",
        "upload-image",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
        "-b",
        options,
    ];
    let shown = azure.run(&place, &upload).json();
    assert_eq!(shown["reused"], true);
    assert_eq!(shown["vm"]["machines"].as_array().unwrap().len(), 2);
}
