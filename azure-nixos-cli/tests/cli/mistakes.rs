//! Bad input: every mistake is one clear sentence, before anything is made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::disks::{self, Table};
use crate::machines::KEY;
use crate::place::{Done, Place};

/// Runs mistakes and keeps what was said, for the golden text.
struct Mistakes {
    place: Place,
    said: String,
}

impl Mistakes {
    fn new() -> Self {
        Self {
            place: Place::new(),
            said: String::new(),
        }
    }

    /// A command that must fail, with this status, and leave everything as it was.
    fn make(&mut self, status: i32, arguments: &[&str]) -> Done {
        let before = self.place.traces();
        // Without progress: which of its lines are seen is a matter of time.
        let silent: &[&str] = if status == 1 {
            &["--progress", "none"]
        } else {
            &[]
        };
        let done = self.place.run(&[arguments, silent].concat());
        assert_eq!(done.code(), Some(status), "{arguments:?}: {done:#?}");
        assert_eq!(done.stdout, "", "{arguments:?}");
        assert_eq!(
            self.place.traces(),
            before,
            "{arguments:?}: {}",
            done.stderr
        );
        assert!(!done.stderr.contains("panic"), "{}", done.stderr);
        // One error, and its sentence stands on one line.
        assert_eq!(done.stderr.matches("error: ").count(), 1, "{}", done.stderr);
        let subscription = self.place.state()["identity"]["subscription_id"].clone();
        let shown: Vec<_> = arguments
            .iter()
            .map(|word| {
                if word.contains(' ') || word.is_empty() {
                    format!("'{word}'")
                } else {
                    (*word).to_owned()
                }
            })
            .collect();
        let shown = format!(
            "$ azure-nixos {}
{}[{status}]

",
            shown.join(" "),
            done.stderr
        );
        let mut shown = shown.replace(self.place.root().to_str().unwrap(), "HERE");
        if let Some(id) = subscription.as_str() {
            shown = shown.replace(id, "SUBSCRIPTION");
        }
        self.said.push_str(&shown);
        done
    }

    fn upload(&mut self, more: &[&str]) {
        let mut arguments = vec!["upload-image", "--local", "-g", "new", "-n", "web"];
        arguments.extend(more);
        self.make(1, &arguments);
    }

    fn boot(&mut self, more: &[&str]) {
        let mut arguments = vec!["boot-vm", "--local", "-n", "web"];
        arguments.extend(more);
        self.make(1, &arguments);
    }
}

#[test]
fn files_that_are_no_disk_images() {
    let mut mistakes = Mistakes::new();
    let place = &mistakes.place;
    place.write("empty.raw", "");
    place.write("long.raw", vec![7; (24 << 20) + 1]);
    fs::create_dir(place.path("directory")).unwrap();
    let mut qcow = vec![0; 65536];
    qcow[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    place.write("disk.qcow2", qcow.clone());
    // A header that is right, of 20 MiB on another image.
    qcow[14..18].copy_from_slice(&[1, 0, 0, 0]);
    qcow[19] = 8;
    qcow[23] = 16;
    qcow[28..32].copy_from_slice(&(20_u32 << 20).to_be_bytes());
    qcow[39] = 1;
    qcow[45] = 1;
    qcow[103] = 104;
    qcow[256..264].copy_from_slice(b"base.raw");
    qcow.resize(2 << 16, 0);
    place.write("child.qcow2", qcow);
    let mut vhdx = vec![0; 2 << 20];
    vhdx[..8].copy_from_slice(b"vhdxfile");
    place.write("disk.vhdx", vhdx);
    let secret = place.write("secret.raw", vec![7; 1 << 20]);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    for file in [
        "missing.raw",
        "empty.raw",
        "directory",
        "long.raw",
        "disk.qcow2",
        "child.qcow2",
        "disk.vhdx",
    ] {
        mistakes.upload(&["--image-file", file]);
        mistakes.make(
            1,
            &["upload-vhd", "--local", file, "-g", "new", "-n", "disk"],
        );
    }
    mistakes.upload(&["--image-file", "disk.vhdx", "--backing-file", "missing.raw"]);
    mistakes.upload(&[
        "--image-file",
        "child.qcow2",
        "--backing-file",
        "missing.raw",
    ]);
    disks::make(&mistakes.place.path("disk.raw"), Table::Mbr, 24, 4);
    mistakes.upload(&["--image-file", "disk.raw", "--backing-file", "long.raw"]);
    if fs::File::open(&secret).is_ok() {
        eprintln!("SKIPPED as root, who may read every file: the unreadable file");
    } else {
        let done = mistakes.place.run(&[
            "upload-image",
            "--local",
            "-g",
            "new",
            "-n",
            "web",
            "--image-file",
            "secret.raw",
        ]);
        assert_eq!(done.code(), Some(1));
        assert!(
            done.stderr.contains("cannot open secret.raw"),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
        assert!(mistakes.place.traces().is_empty());
    }
    insta::assert_snapshot!(mistakes.said);
}

#[test]
fn names_and_places() {
    let mut mistakes = Mistakes::new();
    let place = &mistakes.place;
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    disks::make(&place.path("other.raw"), Table::Mbr, 24, 5);
    for group in ["one", "two"] {
        place.good(&[
            "upload-image",
            "--local",
            "-g",
            group,
            "-n",
            "twice",
            "--image-file",
            "disk.raw",
        ]);
    }
    place.good(&[
        "upload-vhd",
        "--local",
        "disk.raw",
        "-g",
        "one",
        "-n",
        "taken",
    ]);
    place.good(&[
        "boot-vm",
        "--local",
        "-g",
        "one",
        "-n",
        "there",
        "-i",
        &id(place, "one"),
    ]);

    let file = ["--image-file", "disk.raw"];
    let long = "x".repeat(81);
    for (group, name) in [
        ("a b", "web"),
        ("ends.", "web"),
        ("", "web"),
        ("new", "-web"),
        ("new", "a/b"),
        ("new", &long),
    ] {
        let name = format!("--name={name}");
        mistakes.make(
            1,
            &[
                "upload-image",
                "--local",
                "-g",
                group,
                &name,
                file[0],
                file[1],
            ],
        );
    }
    mistakes.make(
        1,
        &[
            "upload-vhd",
            "--local",
            "disk.raw",
            "-g",
            "new",
            "-n",
            "a.b",
        ],
    );
    mistakes.upload(&["--image-file", "disk.raw", "-l", "wetsus2"]);
    mistakes.upload(&["--image-file", "disk.raw", "-l", "the moon"]);
    mistakes.make(
        1,
        &[
            "upload-vhd",
            "--local",
            "disk.raw",
            "-g",
            "new",
            "-n",
            "d",
            "-l",
            "westus9",
        ],
    );
    // A group that exists elsewhere.
    mistakes.make(
        1,
        &[
            "upload-image",
            "--local",
            "-g",
            "one",
            "-n",
            "web",
            "-l",
            "westeurope",
            file[0],
            file[1],
        ],
    );
    mistakes.make(
        1,
        &[
            "upload-vhd",
            "--local",
            "disk.raw",
            "-g",
            "one",
            "-n",
            "d",
            "-l",
            "westeurope",
        ],
    );
    // Names that are taken by something else.
    mistakes.make(
        1,
        &[
            "upload-image",
            "--local",
            "-g",
            "one",
            "-n",
            "twice",
            "--image-file",
            "other.raw",
        ],
    );
    mistakes.make(
        1,
        &[
            "upload-vhd",
            "--local",
            "other.raw",
            "-g",
            "one",
            "-n",
            "taken",
        ],
    );
    mistakes.make(
        1,
        &[
            "upload-image",
            "--local",
            "-g",
            "one",
            "-n",
            "taken",
            "--image-file",
            "other.raw",
        ],
    );

    let image = id(&mistakes.place, "one");
    mistakes.boot(&["-g", "vms", "-i", "twice"]);
    mistakes.boot(&["-g", "vms", "-i", "none"]);
    mistakes.boot(&["-g", "vms", "-i", &image.replace("twice", "gone")]);
    mistakes.boot(&["-g", "vms", "-i", &image.replace("/images/", "/disks/")]);
    mistakes.boot(&["-g", "vms", "-i", "/twice"]);
    mistakes.boot(&["-g", "v/s", "-i", &image]);
    // A good name for a machine, of which the network's would be too long.
    let long = "x".repeat(60);
    for name in ["a_b", "a/b", "", &long] {
        mistakes.make(
            1,
            &["boot-vm", "--local", "-g", "vms", "-n", name, "-i", &image],
        );
    }
    mistakes.make(
        1,
        &[
            "boot-vm", "--local", "-g", "one", "-n", "there", "-i", &image,
        ],
    );
    mistakes.boot(&["-g", "vms", "-i", &image, "-l", "westeurope"]);
    mistakes.boot(&["-g", "vms", "-i", &image, "-l", "nowhere"]);
    insta::assert_snapshot!(mistakes.said);
}

fn id(place: &Place, group: &str) -> String {
    let subscription = place.state()["identity"]["subscription_id"].clone();
    format!(
        "/subscriptions/{}/resourceGroups/{group}/providers/Microsoft.Compute/images/twice",
        subscription.as_str().unwrap()
    )
}

#[test]
fn machines_that_cannot_be() {
    let mut mistakes = Mistakes::new();
    let place = &mistakes.place;
    // Larger than the disk that a machine gets by default.
    let big = fs::File::create(place.path("big.raw")).unwrap();
    big.set_len(50 << 30).unwrap();
    place.good(&[
        "upload-image",
        "--local",
        "-g",
        "one",
        "-n",
        "big",
        "--image-file",
        "big.raw",
    ]);
    place.write("text.pub", "hello\n");
    place.write("two.pub", KEY.repeat(2));
    let made = place.path("home/.ssh/azure-nixos/web");
    for (option, value) in [
        ("-d", "49"),
        ("-u", "root"),
        ("-u", "Ada Lovelace"),
        ("-s", "very big"),
        ("--allow-ssh-from", "everybody"),
        ("--ssh-key", "missing.pub"),
        ("--ssh-key", "text.pub"),
        ("--ssh-key", "two.pub"),
        ("--ssh-key", "-"),
        ("--ssh-key", "agent"),
        ("-s", "Standard_D2s_v6"),
        ("-s", "Standard_D2s_v4"),
        ("--os-disk-sku", "UltraSSD_LRS"),
        ("--zone", "westus2"),
        ("--zone", "9"),
        ("--allow-ssh-from", "me"),
        ("--subnet", "default"),
        ("--security-type", "trusted-launch"),
        ("--identity", "nobody"),
        ("--shell-var", "1=x"),
        ("--custom-data", "missing.yaml"),
        ("--user-data", "big.raw"),
        ("--count", "120"),
    ] {
        mistakes.boot(&["-g", "vms", "-i", "big", option, value]);
    }
    // A private key is never repeated.
    let private = [
        "-----BEGIN OPENSSH ",
        "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n",
    ]
    .concat();
    mistakes.place.write("id_ed25519", private);
    mistakes.boot(&["-g", "vms", "-i", "big", "--ssh-key", "id_ed25519"]);
    assert!(!mistakes.said.contains("b3Blbn"));
    assert!(!made.exists());
    insta::assert_snapshot!(mistakes.said);
}

#[test]
fn words_that_do_not_go_together() {
    let mut mistakes = Mistakes::new();
    disks::make(&mistakes.place.path("disk.raw"), Table::Mbr, 24, 4);
    let upload = ["upload-image", "--local", "-g", "new", "-n", "web"];
    for more in [
        &[][..],
        &["-i", "a.nix", "--flake", ".#x"],
        &["--flake", ".#x", "-A", "attr"],
        &["disk.raw", "-A", "attr"],
        &["disk.raw", "--option", "cores", "2"],
        &["disk.raw", "-i", "a.nix"],
        &["--image-file", "disk.raw", "--out-link", "result"],
        &["--flake", ".#x", "--backing-file", "base.raw"],
        &["--image-file", "disk.raw", "-b", "vm-name"],
        &["--image-file", "disk.raw", "-b", "vm-name=x;colour=red"],
        &["--image-file", "disk.raw", "-b", "resource-group=vms"],
        &["--image-file", "disk.raw", "-b", "n=x;image=y"],
        &["--image-file", "disk.raw", "-b", "n=x;d=big"],
        &["--image-file", "disk.raw", "--generation", "v3"],
    ] {
        let arguments: Vec<_> = upload.iter().chain(more).copied().collect();
        mistakes.make(2, &arguments);
    }
    for arguments in [
        &["upload-image", "--local", "--image-file", "disk.raw"][..],
        &["upload-vhd", "disk.raw"],
        &["upload-vhd", "missing.raw"],
        &["upload-vhd", "disk.raw", "-g", "new"],
        &["upload-vhd", "disk.raw", "-n", "disk"],
        &["boot-vm", "--local", "-g", "new", "-n", "web"],
        &[
            "boot-vm", "--local", "-g", "new", "-n", "web", "-i", "i", "-d", "0",
        ],
        &[
            "boot-vm",
            "--local",
            "-g",
            "g",
            "-n",
            "n",
            "-i",
            "i",
            "--shell-var",
            "secret",
        ],
        &[
            "boot-vm",
            "--local",
            "-g",
            "g",
            "-n",
            "n",
            "-i",
            "i",
            "--max-price",
            "1",
        ],
        &[
            "boot-vm",
            "--local",
            "-g",
            "g",
            "-n",
            "n",
            "-i",
            "i",
            "--identity",
            "system",
            "--role",
            "Reader",
            "--scope",
            "/subscriptions/s",
            "--scope",
            "/subscriptions/t",
        ],
        &[
            "boot-vm",
            "--local",
            "-g",
            "g",
            "-n",
            "n",
            "-i",
            "i",
            "--ssh-key",
            "-",
            "--ssh-key",
            "-",
        ],
        &[
            "boot-vm",
            "--local",
            "--subscription",
            "x",
            "-g",
            "g",
            "-n",
            "n",
            "-i",
            "i",
        ],
        &["inspect"],
        &["emulator", "--port", "70000"],
        &["-o", "yaml", "inspect", "disk.raw"],
        &["destroy-everything"],
    ] {
        mistakes.make(2, arguments);
    }
    insta::assert_snapshot!(mistakes.said);
}

#[test]
fn nobody_is_logged_in() {
    let mut mistakes = Mistakes::new();
    disks::make(&mistakes.place.path("disk.raw"), Table::Mbr, 24, 4);
    let mut command = mistakes.place.command(&[
        "upload-image",
        "-g",
        "new",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ]);
    // Nothing of this machine: no `az`, no `azd`.
    command.env("PATH", "");
    let done = crate::place::Running::start(command).finish();
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(1), ""),
        "{done:#?}"
    );
    let sentence = done.stderr.lines().next().unwrap();
    assert!(
        sentence.starts_with("error: not logged in to Azure ("),
        "{sentence}"
    );
    for tried in [
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "managed identity",
        "az:",
        "azd:",
    ] {
        assert!(sentence.contains(tried), "{tried} in {sentence}");
    }
    for sas in [
        "no url",
        "ftp://127.0.0.1/d?sig=eHg%3D",
        "http://127.0.0.1:1/d/abcd",
    ] {
        let done = mistakes.make(1, &["upload-vhd", "disk.raw", "--sas", sas]);
        assert!(!done.stderr.contains("eHg"), "{}", done.stderr);
    }
}

/// Without a login, and with an Azure that answers nobody: what is wrong with a file or an option is told
/// first, since it needs neither.
#[test]
fn what_is_wrong_here_is_told_before_anybody_logs_in() {
    let place = Place::new();
    disks::make(&place.path("mbr.raw"), Table::Mbr, 24, 4);
    disks::make(&place.path("arm.raw"), Table::Arm64, 24, 4);
    place.write("odd.raw", vec![7; (24 << 20) + 1]);
    let upload = ["upload-image", "-g", "new", "-n", "web", "--image-file"];
    let disk = ["-g", "new", "-n", "disk"];
    let boot = ["boot-vm", "-g", "new", "-n", "web", "-i", "image"];
    for (command, more, words) in [
        (&upload[..], &["missing.raw"][..], "cannot read missing.raw"),
        (&upload, &["odd.raw"], "whole number of 512-byte sectors"),
        (&upload, &["arm.raw"], "arm.raw is for Arm64"),
        (
            &upload,
            &["mbr.raw", "--generation", "v2"],
            "only be booted by BIOS",
        ),
        (
            &upload,
            &["mbr.raw", "--location", "no where!"],
            "no where!",
        ),
        (
            &upload,
            &["mbr.raw", "--boot-sh-opts", "vm-name=a_b"],
            "a_b",
        ),
        (
            &[
                "upload-image",
                "-g",
                "a b",
                "-n",
                "web",
                "--image-file",
                "mbr.raw",
            ],
            &[],
            "a b",
        ),
        (
            &["upload-vhd", "missing.raw"],
            &disk,
            "cannot read missing.raw",
        ),
        (
            &["upload-vhd", "odd.raw"],
            &disk,
            "whole number of 512-byte sectors",
        ),
        (
            &["upload-vhd", "mbr.raw", "--generation", "v2"],
            &disk,
            "only be booted by BIOS",
        ),
        (
            &["upload-vhd", "mbr.raw"],
            &["-g", "new", "-n", "a b"],
            "a b",
        ),
        (&boot, &["--admin-username", "root"], "root"),
        (&boot, &["--ssh-key", "missing.pub"], "missing.pub"),
        (&boot, &["--custom-data", "missing.yaml"], "missing.yaml"),
    ] {
        for variables in [
            &[("PATH", "")][..],
            // A service principal whose login service nobody runs.
            &[
                ("AZURE_TENANT_ID", "11111111-2222-3333-4444-555555555555"),
                ("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555"),
                ("AZURE_CLIENT_SECRET", "secret"),
                ("AZURE_AUTHORITY_HOST", "https://127.0.0.1:1/"),
            ],
        ] {
            let mut command = place.command(&[command, more].concat());
            command.envs(variables.iter().copied());
            let done = crate::place::Running::start(command).finish();
            assert_eq!(done.code(), Some(1), "{done:#?}");
            let sentence = done.stderr.lines().find(|line| line.starts_with("error: "));
            let sentence = sentence.unwrap_or_else(|| panic!("{done:#?}"));
            assert!(sentence.contains(words), "{words}: {sentence}");
            assert!(!sentence.contains("not logged in"), "{sentence}");
        }
    }
}
