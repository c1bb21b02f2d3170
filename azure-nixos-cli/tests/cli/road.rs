//! The whole road: a disk image becomes an image, the image a machine.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;

use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::place::{Done, Place, other};
use crate::tools::have;

/// The fields of an upload that are promised, and those that came with it.
const UPLOAD: &[&str] = &[
    "bytes_logical",
    "bytes_resumed",
    "bytes_sent",
    "bytes_skipped",
    "disk_id",
    "generation",
    "image_id",
    "integrity",
    "location",
    "requests",
    "retries",
    "reused",
    "seconds",
    "verified",
    "warnings",
];

/// The same of a machine.
const MACHINE: &[&str] = &[
    "admin_username",
    "host_key_fingerprints",
    "known_hosts",
    "location",
    "name",
    "notes",
    "principal_id",
    "private_ip",
    "public_ip",
    "public_ipv6",
    "ready",
    "security_type",
    "size",
    "ssh_command",
    "ssh_private_key",
    "vm_id",
    "warnings",
    "zone",
];

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

/// Fails unless the resource exists in the local Azure, and returns it.
pub(crate) fn resource(place: &Place, id: &str) -> Value {
    let found = place.state()["resources"][id.to_ascii_lowercase()]["body"].clone();
    assert!(found.is_object(), "there is no {id}");
    found
}

fn ids_of_kind(place: &Place, kind: &str) -> Vec<String> {
    let state = place.state();
    let all = state["resources"].as_object().unwrap();
    let part = format!("/{kind}/");
    all.keys()
        .filter(|id| id.contains(&part))
        .cloned()
        .collect()
}

/// A file system as a machine has it: large files, many small ones, empty ones, links, holes.
fn fill(directory: &Path) {
    let mut bytes = vec![0; 40 << 20];
    for (number, name) in ["var.img", "usr.img", "lib.img", "nix.img"]
        .iter()
        .enumerate()
    {
        disks::noise(number as u64 + 7, &mut bytes);
        fs::write(directory.join(name), &bytes).unwrap();
    }
    for number in 0..1500_usize {
        let below = directory.join(format!("etc/{}", number % 40));
        fs::create_dir_all(&below).unwrap();
        let length = number * 37 % 9000;
        disks::noise(number as u64, &mut bytes[..length]);
        fs::write(below.join(number.to_string()), &bytes[..length]).unwrap();
    }
    let sparse = fs::File::create(directory.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 32 << 20).unwrap();
    std::os::unix::fs::symlink("/etc/0", directory.join("link")).unwrap();
}

#[test]
fn a_real_ext4_disk_becomes_a_machine() {
    if !have("mke2fs") || !have("qemu-img") || !have("ssh-keygen") {
        return;
    }
    let place = Place::new();
    let content = place.path("content");
    fs::create_dir(&content).unwrap();
    fill(&content);
    // Not a whole number of MiB, so that the end is padded.
    let disk = place.path("ext4.raw");
    let file = fs::File::create(&disk).unwrap();
    file.set_len((1280 << 20) + 4096).unwrap();
    other(
        "mke2fs",
        &[
            &"-q", &"-t", &"ext4", &"-b", &"4096", &"-d", &content, &disk,
        ],
    );

    let upload = [
        "--local",
        "-o",
        "json",
        "upload-image",
        "-g",
        "images-rg",
        "-n",
        "nixos-web",
        "--image-file",
        "ext4.raw",
    ];
    let done = place.good(&upload);
    let image = done.json();
    assert_eq!(keys(&image), UPLOAD);
    let id = image["image_id"].as_str().unwrap();
    assert!(
        id.ends_with("/resourceGroups/images-rg/providers/Microsoft.Compute/images/nixos-web"),
        "{id}"
    );
    assert_eq!(image["location"], "westus2");
    assert_eq!(image["reused"], false);
    assert_eq!(image["retries"], 0);
    assert_eq!(image["disk_id"], Value::Null);
    assert_eq!(image["integrity"], "crc64");
    let count = |name: &str| image[name].as_u64().unwrap();
    assert_eq!(count("bytes_logical"), (1281 << 20) + 512);
    assert_eq!(
        count("bytes_sent") + count("bytes_skipped"),
        count("bytes_logical")
    );
    // All of the content, and little more than that.
    let sent = count("bytes_sent") >> 20;
    assert!((160..230).contains(&sent), "{sent} MiB");
    assert!(count("requests") >= sent / 4);
    assert!(image["seconds"].as_f64().unwrap() > 0.0);
    // A file system without a partition table: said aloud, and the older generation.
    assert_eq!(image["generation"], "V1");
    assert!(done.stderr.contains("warning:") && done.stderr.contains("partition table"));
    assert!(
        image["warnings"][0]
            .as_str()
            .unwrap()
            .contains("partition table")
    );

    let stored = place.image("images-rg", "nixos-web");
    assert_holds(&stored, &disk);
    // QEMU agrees: what lies behind the shorter one must be zeros.
    other(
        "qemu-img",
        &[&"compare", &"-f", &"raw", &"-F", &"vpc", &disk, &stored],
    );
    assert_eq!(resource(&place, id)["properties"]["hyperVGeneration"], "V1");
    assert!(ids_of_kind(&place, "disks").is_empty(), "the disk stays");

    // The same again sends nothing.
    let again = place.good(&upload).json();
    assert_eq!(keys(&again), UPLOAD);
    assert_eq!(again["image_id"], image["image_id"]);
    assert_eq!(
        (&again["reused"], &again["bytes_sent"]),
        (&true.into(), &0.into())
    );
    assert_eq!(again["requests"], 0);

    let done = place.good(&[
        "--local",
        "-o",
        "json",
        "boot-vm",
        "-g",
        "vms-rg",
        "-i",
        "nixos-web",
        "-n",
        "web-1",
    ]);
    let machine = done.json();
    assert_eq!(keys(&machine), MACHINE);
    booted(&place, &machine);
}

/// What a machine with a key of its own is like.
fn booted(place: &Place, machine: &Value) {
    assert_eq!(machine["admin_username"], "ada");
    let id = machine["vm_id"].as_str().unwrap();
    let made = resource(place, id);
    assert_eq!(
        made["properties"]["hardwareProfile"]["vmSize"],
        "Standard_DS1_v2"
    );
    assert_eq!(
        made["properties"]["storageProfile"]["osDisk"]["diskSizeGB"],
        42
    );

    let key = Path::new(machine["ssh_private_key"].as_str().unwrap());
    assert_eq!(key, place.path("home/.ssh/azure-nixos/web-1"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(key), 0o600);
    assert_eq!(mode(key.parent().unwrap()), 0o700);
    // OpenSSH reads the private half, and its public half is what Azure was given.
    let public = other("ssh-keygen", &[&"-y", &"-f", &key]);
    assert!(public.starts_with("ssh-ed25519 "), "{public}");
    let linux = &made["properties"]["osProfile"]["linuxConfiguration"];
    assert_eq!(linux["disablePasswordAuthentication"], true);
    let given = &linux["ssh"]["publicKeys"][0];
    assert_eq!(given["path"], "/home/ada/.ssh/authorized_keys");
    let words = |line: &str| -> Vec<String> {
        line.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(words(given["keyData"].as_str().unwrap()), words(&public));

    let ip = machine["public_ip"].as_str().unwrap();
    ip.parse::<std::net::Ipv4Addr>().unwrap();
    assert_eq!(
        machine["ssh_command"],
        format!("ssh -i {} ada@{ip}", key.display())
    );
}

/// One line on standard output, an id; everything else on standard error.
fn bare_id<'a>(done: &'a Done, end: &str) -> &'a str {
    let id = done.stdout.strip_suffix('\n').unwrap();
    assert!(
        !id.contains('\n') && id.starts_with("/subscriptions/"),
        "{id}"
    );
    assert!(id.ends_with(end), "{id}");
    id
}

#[test]
fn text_is_the_bare_id_and_messages_go_to_standard_error() {
    let place = Place::new();
    disks::make(&place.path("esp.raw"), Table::Esp, 48, 8);
    let upload = [
        "upload-image",
        "--local",
        "--resource-group",
        "images",
        "--name",
        "web",
        "--image-file",
        "esp.raw",
        "--location",
        "West Europe",
        "--keep-disk",
    ];
    let done = place.good(&upload);
    let id = bare_id(&done, "/images/web").to_owned();
    for word in ["uploading", "creating image"] {
        assert!(done.stderr.contains(word), "{word}: {}", done.stderr);
    }
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    let image = resource(&place, &id);
    assert_eq!(image["location"], "westeurope");
    assert_eq!(image["properties"]["hyperVGeneration"], "V2");
    assert_eq!(ids_of_kind(&place, "disks").len(), 1, "--keep-disk");
    let disk = place.path("azure/disks/images/web.vhd");
    assert_holds(&disk, &place.path("esp.raw"));
    assert_holds(&place.image("images", "web"), &place.path("esp.raw"));

    // A key of the user's own, and every option by its letter.
    fs::write(
        place.path("key.pub"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me@host\n",
    )
    .unwrap();
    let done = place.good(&[
        "boot-vm",
        "--local",
        "-g",
        "vms",
        "-i",
        &id,
        "-n",
        "web",
        "-s",
        "Standard_B2s",
        "-d",
        "64",
        "-l",
        "westeurope",
        "-u",
        "nixos",
        "--ssh-key",
        "key.pub",
        "--allow-ssh-from",
        "203.0.113.0/24",
    ]);
    let machine = resource(&place, bare_id(&done, "/virtualMachines/web"));
    assert!(
        done.stderr.contains("log in: ssh nixos@"),
        "{}",
        done.stderr
    );
    let properties = &machine["properties"];
    assert_eq!(properties["hardwareProfile"]["vmSize"], "Standard_B2s");
    assert_eq!(properties["storageProfile"]["osDisk"]["diskSizeGB"], 64);
    assert_eq!(properties["osProfile"]["adminUsername"], "nixos");
    let given = &properties["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"];
    assert!(given.as_str().unwrap().ends_with("XFSqti me@host"));
    assert!(
        !place.path("home/.ssh").exists(),
        "a key was made all the same"
    );
    let rules = ids_of_kind(&place, "networksecuritygroups");
    let rule = &resource(&place, &rules[0])["properties"]["securityRules"][0]["properties"];
    assert_eq!(rule["sourceAddressPrefix"], "203.0.113.0/24");
    assert_eq!(rule["destinationPortRange"], "22");
}

#[test]
fn the_old_scripts_string_boots_a_machine_too() {
    let place = Place::new();
    disks::make(&place.path("mbr.raw"), Table::Mbr, 32, 8);
    let done = place.good(&[
        "upload-image",
        "--local",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "mbr.raw",
        "-b",
        "vm-name=web-1;resource-group=vms;vm-size=Standard_B1s",
    ]);
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{done:#?}");
    assert_eq!(
        resource(&place, lines[0])["properties"]["hyperVGeneration"],
        "V1"
    );
    assert!(
        lines[1].ends_with("/resourceGroups/vms/providers/Microsoft.Compute/virtualMachines/web-1")
    );
    let machine = resource(&place, lines[1]);
    assert_eq!(
        machine["properties"]["hardwareProfile"]["vmSize"],
        "Standard_B1s"
    );
    assert_eq!(
        machine["properties"]["storageProfile"]["imageReference"]["id"],
        lines[0]
    );

    // One-letter names; the image is there already, the machine goes into its group.
    let done = place.good(&[
        "-o",
        "json",
        "upload-image",
        "--local",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "mbr.raw",
        "--boot-sh-opts",
        "n=web-2;s=Standard_B2s;d=50;u=nixos",
    ]);
    let shown = done.json();
    assert_eq!(shown["reused"], true);
    assert_eq!(keys(&shown["vm"]), MACHINE);
    let machine = resource(&place, shown["vm"]["vm_id"].as_str().unwrap());
    assert!(
        machine["id"]
            .as_str()
            .unwrap()
            .contains("/resourceGroups/images/")
    );
    assert_eq!(
        machine["properties"]["hardwareProfile"]["vmSize"],
        "Standard_B2s"
    );
    assert_eq!(
        machine["properties"]["storageProfile"]["osDisk"]["diskSizeGB"],
        50
    );
    assert_eq!(shown["vm"]["admin_username"], "nixos");
}

#[test]
fn the_generation_is_what_the_disk_says_unless_it_says_nothing() {
    let place = Place::new();
    disks::make(&place.path("none.raw"), Table::None, 24, 8);
    disks::make(&place.path("mbr.raw"), Table::Mbr, 24, 8);
    disks::make(&place.path("esp.raw"), Table::Esp, 24, 8);
    let upload = |name: &str, file: &str, more: &[&str]| {
        let mut arguments = vec![
            "--local",
            "-o",
            "json",
            "upload-image",
            "-g",
            "g",
            "-n",
            name,
            "--image-file",
            file,
        ];
        arguments.extend(more);
        place.run(&arguments)
    };
    for (name, file, more, generation, warned) in [
        ("a", "none.raw", &[][..], "V1", true),
        ("b", "none.raw", &["--generation", "v2"], "V2", true),
        ("c", "mbr.raw", &[], "V1", false),
        ("d", "esp.raw", &[], "V2", false),
        ("e", "esp.raw", &["--generation", "V2"], "V2", false),
    ] {
        let done = upload(name, file, more);
        assert_eq!(done.code(), Some(0), "{name}: {done:#?}");
        let shown = done.json();
        assert_eq!(shown["generation"], generation, "{name}");
        assert_eq!(
            done.stderr.contains("warning:"),
            warned,
            "{name}: {}",
            done.stderr
        );
        let id = shown["image_id"].as_str().unwrap();
        assert_eq!(
            resource(&place, id)["properties"]["hyperVGeneration"],
            generation
        );
        assert_holds(&place.image("g", name), &place.path(file));
    }
    let before = place.traces();
    for (file, generation, why) in [
        ("esp.raw", "v1", "can only be booted by UEFI"),
        ("mbr.raw", "v2", "can only be booted by BIOS"),
    ] {
        let done = upload("z", file, &["--generation", generation]);
        assert_eq!((done.code(), done.stdout.as_str()), (Some(1), ""));
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
    assert_eq!(place.traces(), before);
}

#[test]
fn a_disk_alone() {
    if !have("qemu-img") {
        return;
    }
    let place = Place::new();
    disks::make(&place.path("data.raw"), Table::None, 40, 4);
    // A fixed VHD of QEMU's own making: its content goes, and a footer of ours.
    other(
        "qemu-img",
        &[
            &"convert",
            &"-f",
            &"raw",
            &"-O",
            &"vpc",
            &"-o",
            &"subformat=fixed,force_size=on",
            &place.path("data.raw"),
            &place.path("data.vhd"),
        ],
    );
    for (name, file) in [("raw", "data.raw"), ("vhd", "data.vhd")] {
        let upload = [
            "--local",
            "-o",
            "json",
            "upload-vhd",
            file,
            "-g",
            "disks",
            "-n",
            name,
        ];
        let shown = place.good(&upload).json();
        assert_eq!(
            keys(&shown),
            [
                "bytes_logical",
                "bytes_resumed",
                "bytes_sent",
                "bytes_skipped",
                "disk_id",
                "integrity",
                "requests",
                "retries",
                "reused",
                "seconds",
                "target",
                "verified",
            ]
        );
        assert_eq!(shown["bytes_sent"], (10 << 20) + 512);
        let disk = resource(&place, shown["disk_id"].as_str().unwrap());
        assert_eq!(disk["properties"]["diskState"], "Unattached");
        assert_holds(
            &place.path(&format!("azure/disks/disks/{name}.vhd")),
            &place.path("data.raw"),
        );
        let again = place.good(&upload).json();
        assert_eq!(
            (&again["reused"], &again["bytes_sent"]),
            (&true.into(), &0.into())
        );
    }
    let done = place.good(&[
        "upload-vhd",
        "--local",
        "data.raw",
        "-g",
        "disks",
        "-n",
        "third",
    ]);
    bare_id(&done, "/disks/third");
}
