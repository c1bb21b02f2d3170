//! Machines are logged into: OpenSSH's own client, through the public address that the local Azure gave a
//! machine, to OpenSSH's own server, which stands for it.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use azure_nixos_emulator::SshServer;
use rustix::process::Signal;
use serde_json::Value;

use crate::azure::Azure;
use crate::disks::{self, Table};
use crate::place::{Done, Place, Running, other};
use crate::tools::have;

/// A server of another kind, which stands for machines that are still booting.
fn no_ssh() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"220 mail\r\n");
        }
    });
    address
}

/// Makes a pair and returns its public key, without a comment.
fn new_key(file: &Path) -> String {
    other(
        "ssh-keygen",
        &[&"-q", &"-t", &"ed25519", &"-N", &"", &"-f", &file],
    );
    let line = fs::read_to_string(file.with_extension("pub")).unwrap();
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    words.join(" ")
}

/// The id of a machine, as soon as there is one, and the file that its console writes to.
async fn console(place: &Place, azure: &Azure, name: &str) -> PathBuf {
    let url = format!(
        "{}/subscriptions/{}/resourceGroups/vms/providers/Microsoft.Compute/virtualMachines/{name}?api-version=2024-07-01",
        azure.emulator.arm_url(),
        azure.emulator.subscription_id()
    );
    let started = Instant::now();
    let id = loop {
        let request = azure
            .http
            .get(&url)
            .bearer_auth(azure.emulator.access_token());
        let text = request.send().await.unwrap().text().await.unwrap();
        let machine: Value = serde_json::from_str(&text).unwrap();
        if let Some(id) = machine["properties"]["vmId"].as_str() {
            break id.to_owned();
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let directory = place.path("azure/machines").join(id);
    fs::create_dir_all(&directory).unwrap();
    directory.join("serialconsole.log")
}

fn shows(key: &str) -> String {
    format!(
        "[   20.1] systemd[1]: Started.\r\n-----BEGIN SSH HOST KEY KEYS-----\r\n{key} root@web\r\n-----END SSH HOST KEY KEYS-----\r\n"
    )
}

const WEB: [&str; 5] = ["ssh", "-g", "vms", "-n", "web"];

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_logged_into() {
    if !have("sshd") || !have("ssh-keygen") {
        return;
    }
    let place = Place::new();
    let made = place.path("home/.ssh/azure-nixos");
    let sshd = SshServer::start(place.path("sshd")).unwrap();
    let host_key = sshd.host_key().unwrap();
    let shown = other("ssh-keygen", &[&"-l", &"-f", &sshd.host_key_file()]);
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let fingerprint = format!("{} {}", shown[1], shown[shown.len() - 1]);
    let other_server = no_ssh();
    let azure = Azure::start_with(&place, |builder| {
        builder.ssh_at(move |_| Some(other_server))
    })
    .await;
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
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

    // It is there when ssh answers, and not before.
    let boot = [
        "-o", "json", "boot-vm", "-g", "vms", "-i", "web", "-n", "web", "--wait", "ssh",
    ];
    let booting = azure.begin(&place, &boot);
    let log = console(&place, &azure, "web").await;
    fs::write(&log, shows(&host_key)).unwrap();
    azure
        .emulator
        .set_ssh_at("web", Some(sshd.address()))
        .unwrap();
    let done = booting.finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let vm = done.json();
    assert_eq!(vm["ready"], "ssh");
    assert_eq!(vm["host_key_fingerprints"][0], fingerprint);
    let line = vm["known_hosts"][0].as_str().unwrap();
    let address = vm["public_ip"].as_str().unwrap();
    assert!(
        line.contains(address) && line.ends_with(&host_key),
        "{line}"
    );
    for said in [
        format!("host key: {fingerprint}"),
        format!("for known_hosts: {line}"),
    ] {
        assert!(done.stderr.contains(&said), "{said}: {}", done.stderr);
    }

    // As an agent does.
    sshd.authorize(&made.join("web.pub")).unwrap();
    let me = other("id", &[&"-un"]);
    let me = me.trim();
    let ssh = |more: &[&str]| azure.run(&place, &[&WEB[..], more].concat());
    let good = |more: &[&str]| -> Done {
        let done = ssh(&[&["-u", me], more].concat());
        assert_eq!(done.code(), Some(0), "{done:#?} {}", sshd.log());
        done
    };
    let done = good(&["--", "echo", "hello"]);
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("hello\n", "")
    );
    let known = fs::read_to_string(made.join("known_hosts")).unwrap();
    assert!(
        known.contains(&format!(" {host_key} serial-log")),
        "{known}"
    );
    // Words are joined and read by a shell over there, and none is an option of ssh here.
    let done = good(&["--", "printf", "'%s|'", "a  b", "-V", "\"c  d\"", "-o", "x"]);
    assert_eq!(done.stdout, "a|b|-V|c  d|-o|x|");
    assert_eq!(ssh(&["-u", me, "--", "exit", "7"]).code(), Some(7));

    // What asks this program to end ends ssh.
    let arguments = [
        &WEB[..],
        &["-u", me, "--", "echo", "there;", "exec", "sleep", "600"],
    ]
    .concat();
    let mut sleeping = azure.begin(&place, &arguments);
    assert_eq!(sleeping.first_line(), "there");
    sleeping.signal(Signal::TERM);
    let done = sleeping.finish();
    assert!(!matches!(done.code(), Some(0) | None), "{done:#?}");

    // Nobody made the user here that the agent of an image makes.
    let denied = ssh(&["--", "echo", "hello"]);
    assert_eq!((denied.code(), denied.stdout.as_str()), (Some(255), ""));
    for part in [
        "Permission denied (publickey)",
        "it was tried as ada",
        "--user",
    ] {
        assert!(denied.stderr.contains(part), "{part}: {}", denied.stderr);
    }
    let wrong = new_key(&place.path("wrong"));
    let refused = ssh(&["-u", me, "-i", "wrong", "--", "echo", "hello"]);
    assert_eq!((refused.code(), refused.stdout.as_str()), (Some(255), ""));

    // The log shows another key than the one that answers: this is not the machine.
    fs::remove_file(made.join("known_hosts")).unwrap();
    fs::write(&log, shows(&wrong)).unwrap();
    let refused = ssh(&["-u", me, "--", "echo", "hello"]);
    assert_eq!((refused.code(), refused.stdout.as_str()), (Some(255), ""));
    assert!(
        refused.stderr.contains("Host key verification failed"),
        "{refused:#?}"
    );

    // It shows none: the first is believed aloud, and only the first.
    fs::remove_file(made.join("known_hosts")).unwrap();
    fs::write(&log, "nothing of the kind\r\n").unwrap();
    let first = good(&["--", "echo", "hello"]);
    assert!(
        first.stderr.contains("the key that answers first is taken"),
        "{first:#?}"
    );
    let second = good(&["--", "echo", "hello"]);
    assert_eq!(second.stderr, "");
    let file = made.join("known_hosts");
    let believed = fs::read_to_string(&file).unwrap();
    assert!(believed.contains(&host_key), "{believed}");
    fs::write(&file, believed.replace(&host_key, &wrong)).unwrap();
    assert_eq!(ssh(&["-u", me, "--", "echo", "hello"]).code(), Some(255));

    let mut none = azure.command(&place, &[&WEB[..], &["-u", me]].concat());
    none.env("PATH", place.path("home"));
    let none = Running::start(none).finish();
    assert_eq!(none.code(), Some(1), "{none:#?}");
    assert!(none.stderr.contains("ssh is not installed"), "{none:#?}");
    let stop = azure.run(&place, &["stop", "-g", "vms", "-n", "web"]);
    assert_eq!(stop.code(), Some(0), "{stop:#?}");
    let stopped = ssh(&["-u", me]);
    assert_eq!(stopped.code(), Some(1));
    assert!(
        stopped
            .stderr
            .contains("start it: azure-nixos start -g vms -n web"),
        "{stopped:#?}"
    );

    // With the machine goes what was believed of it, and of nobody else.
    let elses = format!("azure-nixos-other {wrong}\n");
    let known = fs::read_to_string(&file).unwrap() + &elses;
    assert!(known.lines().count() > 1, "{known}");
    fs::write(&file, known).unwrap();
    let gone = azure.run(&place, &["delete-vm", "-g", "vms", "-n", "web", "--yes"]);
    assert_eq!(gone.code(), Some(0), "{gone:#?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), elses);
}

#[test]
fn what_nobody_answers_for_is_not_waited_for() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    place.good(&[
        "--local",
        "upload-image",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ]);
    let boot = ["--local", "boot-vm", "-g", "vms", "-i", "web", "-n"];
    let done = place.good(&[&boot[..], &["web"]].concat());
    assert!(done.stderr.contains("answers nobody"), "{done:#?}");
    let asked = place.run(&[&boot[..], &["db", "--wait", "ssh"]].concat());
    assert_eq!(
        (asked.code(), asked.stdout.as_str()),
        (Some(1), ""),
        "{asked:#?}"
    );
    for part in ["answers nobody", "azure-nixos delete-vm -g vms -n db"] {
        assert!(asked.stderr.contains(part), "{part}: {}", asked.stderr);
    }
    let ssh = place.run(&["--local", "ssh", "-g", "vms", "-n", "web", "--", "true"]);
    assert_eq!(ssh.code(), Some(1));
    assert!(ssh.stderr.contains("--boot qemu"), "{ssh:#?}");
    let before = place.traces();
    let closed = place.run(
        &[
            &boot[..],
            &["shut", "--allow-ssh-from", "none", "--wait", "ssh"],
        ]
        .concat(),
    );
    assert!(
        closed.stderr.contains("nobody is let in at port 22"),
        "{closed:#?}"
    );
    assert!(place.traces() == before);
}
