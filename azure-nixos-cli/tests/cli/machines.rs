//! What is done with machines after they were made.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use azure_nixos_emulator::fault::{FaultRule, Plane};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::azure::Azure;
use crate::disks::{self, Table};
use crate::place::{Done, Place};
use crate::tools::have;

pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti me@host\n";

/// The arguments that name the machine of these tests.
const WEB_1: [&str; 4] = ["-g", "g", "-n", "web-1"];

/// An image in a group that the machines go into too.
fn prepare(place: &Place, run: impl Fn(&[&str]) -> Done) {
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    place.write("key.pub", KEY);
    let upload = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let done = run(&upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
}

const BOOT: [&str; 10] = [
    "boot-vm",
    "-g",
    "g",
    "-i",
    "web",
    "-n",
    "web-1",
    "--ssh-key",
    "key.pub",
    // To be turned on later.
    "--no-boot-diagnostics",
];

fn with<'a>(command: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let mut all = command.to_vec();
    all.extend(WEB_1);
    all.extend(more);
    all
}

/// Where the console of a machine writes to.
fn log_file(place: &Place) -> PathBuf {
    let state = place.state();
    let machines = state["resources"].as_object().unwrap();
    let machine = machines
        .iter()
        .find(|(id, _)| id.ends_with("/virtualmachines/web-1"));
    let id = machine.unwrap().1["body"]["properties"]["vmId"]
        .as_str()
        .unwrap();
    let directory = place.path("azure/machines").join(id);
    fs::create_dir_all(&directory).unwrap();
    directory.join("serialconsole.log")
}

#[test]
fn a_whole_life() {
    let place = Place::new();
    let local = |arguments: &[&str]| place.local(arguments);
    let good = |arguments: &[&str]| {
        let done = local(arguments);
        assert_eq!(done.code(), Some(0), "{arguments:?}: {done:#?}");
        done
    };
    prepare(&place, local);
    let before = place.traces();
    let none = good(&["list-vms"]);
    assert_eq!(
        (none.stdout.as_str(), none.stderr.as_str()),
        ("", "there are no machines\n")
    );
    assert_eq!(
        good(&["-o", "json", "list-vms"]).json(),
        json!({ "machines": [] })
    );
    let id = good(&BOOT).stdout;

    let shown = good(&with(&["-o", "json", "show-vm"], &[])).json();
    assert_eq!(shown["vm_id"], id.trim());
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "admin_username",
            "boot_diagnostics",
            "disks",
            "image_id",
            "location",
            "made_here",
            "name",
            "power_state",
            "private_ips",
            "provisioning_state",
            "public_ips",
            "resource_group",
            "scale_set_id",
            "size",
            "tags",
            "vm_id",
            "zone",
        ]
    );
    let address = shown["public_ips"][0].as_str().unwrap();
    let list = good(&["list-vms", "-g", "G"]);
    assert_eq!(
        list.stdout,
        format!("web-1\tg\twestus2\tStandard_DS1_v2\trunning\t{address}\t-\n")
    );
    assert_eq!(
        good(&["-o", "json", "list-vms"]).json()["machines"],
        json!([shown])
    );
    let text = good(&with(&["show-vm"], &[])).stdout;
    for line in [
        "name         web-1",
        "state        running",
        &format!("public IP    {address}"),
        &format!("log in       ssh ada@{address}"),
        "tag          azure-nixos-vm=web-1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }

    let stopped = good(&with(&["stop"], &["--keep-allocated"]));
    assert_eq!(stopped.stdout, id);
    assert!(
        stopped.stderr.contains("costs as if it ran"),
        "{}",
        stopped.stderr
    );
    let stopped = good(&with(&["-o", "json", "stop"], &[]));
    assert!(
        stopped.stderr.contains("web-1 is deallocated"),
        "{}",
        stopped.stderr
    );
    let json = stopped.json();
    assert_eq!(json["power_state"], "deallocated");
    assert!(
        json["notes"][0].as_str().unwrap().contains("cost nothing"),
        "{json}"
    );
    let refused = local(&with(&["restart"], &[]));
    assert_eq!((refused.code(), refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused
            .stderr
            .contains("hint: start it: azure-nixos start -g g -n web-1")
    );
    good(&with(&["start"], &[]));
    good(&with(&["restart"], &[]));
    let resized = good(&with(&["-o", "json", "resize"], &["-s", "Standard_B2s"])).json();
    assert_eq!(
        (&resized["size"], &resized["power_state"]),
        (&json!("Standard_B2s"), &json!("running"))
    );

    serial_log(&place, &good, &local);

    // Nobody can be asked here.
    let state = place.traces();
    let refused = local(&with(&["delete-vm"], &[]));
    assert_eq!(
        (refused.code(), refused.stdout.as_str()),
        (Some(2), ""),
        "{refused:#?}"
    );
    assert!(refused.stderr.contains("pass --yes"), "{}", refused.stderr);
    assert_eq!(place.traces(), state);
    let deleted = good(&with(&["delete-vm"], &["--yes"]));
    assert_eq!(deleted.stdout.lines().next(), Some(id.trim()));
    assert_eq!(deleted.stdout.lines().count(), 6);
    for line in [
        "goes:  the machine web-1",
        "goes:  the virtual network web-1-vnet",
    ] {
        assert!(
            deleted.stderr.lines().any(|said| said == line),
            "{}",
            deleted.stderr
        );
    }
    assert_eq!(place.traces(), before);
    let gone = local(&with(&["delete-vm"], &["--yes"]));
    assert_eq!(gone.code(), Some(1));
    assert!(
        gone.stderr.contains("there is no machine web-1 in g"),
        "{}",
        gone.stderr
    );
}

/// A scale set from its making to its end. Its machines are machines like others; what is asked of its
/// own name is refused with theirs.
#[test]
fn a_scale_set_lives_and_goes() {
    let place = Place::new();
    let local = |arguments: &[&str]| place.run(&[&["--local"], arguments].concat());
    prepare(&place, local);
    let good = |arguments: &[&str]| {
        let done = local(arguments);
        assert_eq!(done.code(), Some(0), "{done:#?}");
        done
    };
    let before = place.traces();
    let boot = ["boot-vm", "-g", "g", "-i", "web", "-n", "set"];
    for (more, code, part) in [
        (&["--count", "0"][..], 2, "for a scale set only"),
        (&["--count", "251"], 2, "for a scale set only"),
        (&["--scale-set"], 2, "--count"),
        (
            &["--scale-set", "--count", "2", "--no-agent"],
            1,
            "must have an agent",
        ),
        (
            &["--scale-set", "--count", "2", "--identity", "system"],
            1,
            "user-assigned identities only",
        ),
    ] {
        let done = local(&[&boot[..], more].concat());
        assert_eq!(done.code(), Some(code), "{done:#?}");
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
        assert_eq!(place.traces(), before);
    }
    let two = [&boot[..], &["--scale-set", "--count", "2"]].concat();
    let made = good(&[&["-o", "json"], &two[..]].concat());
    let shown = made.json();
    let id = shown["scale_set_id"].as_str().unwrap();
    assert!(id.ends_with("/virtualMachineScaleSets/set"), "{id}");
    assert_eq!(
        made.stderr.matches("answers nobody").count(),
        1,
        "{made:#?}"
    );
    let machines = shown["machines"].as_array().unwrap();
    let names: Vec<&str> = machines
        .iter()
        .map(|machine| machine["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), 2);
    let key = place.path("home/.ssh/azure-nixos/set");
    assert_eq!(shown["ssh_private_key"], key.to_str().unwrap());
    assert!(key.exists());
    for (name, machine) in names.iter().zip(machines) {
        let command = machine["ssh_command"].as_str().unwrap();
        let said = format!("{name}: log in: {command}");
        assert!(made.stderr.contains(&said), "{said}: {}", made.stderr);
    }

    let list = good(&["list-vms", "-g", "g"]).stdout;
    let rows: Vec<Vec<&str>> = list.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), names);
    assert!(rows.iter().all(|row| row[6] == "set"), "{list}");
    let member = good(&["-o", "json", "show-vm", "-g", "g", "-n", names[0]]).json();
    assert_eq!(member["scale_set_id"], id);
    assert_eq!(member["made_here"], true);
    let text = good(&["show-vm", "-g", "g", "-n", names[0]]).stdout;
    assert!(
        text.lines().any(|line| line == "scale set    set"),
        "{text}"
    );

    // A machine of it can be stopped; all of them at once is not for these commands.
    good(&["stop", "-g", "g", "-n", names[0]]);
    for command in [
        &["start"][..],
        &["stop"],
        &["restart"],
        &["resize", "-s", "Standard_B2s"],
        &["show-vm"],
        &["serial-log"],
    ] {
        let done = local(&[command, &["-g", "g", "-n", "set"]].concat());
        assert_eq!(done.code(), Some(1), "{done:#?}");
        for part in [
            "set is a scale set in g, not a machine",
            names[0],
            "az vmss scale",
        ] {
            assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
        }
    }
    let gone = good(&["delete-vm", "-g", "g", "-n", names[0], "--yes"]);
    let note = format!("{} is one of the machines of the scale set set", names[0]);
    assert!(gone.stderr.contains(&note), "{}", gone.stderr);
    assert!(
        gone.stderr.contains("stays: the virtual network set-vnet"),
        "{}",
        gone.stderr
    );
    let list = good(&["list-vms", "-g", "g"]).stdout;
    assert!(
        list.starts_with(names[1]) && list.lines().count() == 1,
        "{list}"
    );

    let gone = good(&["delete-vm", "-g", "g", "-n", "set", "--yes"]);
    assert_eq!(gone.stdout.lines().next(), Some(id));
    for part in [
        "goes:  the scale set set".to_owned(),
        format!("goes:  the machine {}", names[1]),
        "goes:  the virtual network set-vnet".to_owned(),
        "goes:  the network security group set-nsg".to_owned(),
    ] {
        assert!(
            gone.stderr.lines().any(|line| line == part),
            "{part}: {}",
            gone.stderr
        );
    }
    // A key is nobody's to delete.
    for half in [key.clone(), key.with_extension("pub")] {
        fs::remove_file(half).unwrap();
    }
    assert_eq!(place.traces(), before);
}

fn serial_log(place: &Place, good: &impl Fn(&[&str]) -> Done, local: &impl Fn(&[&str]) -> Done) {
    let off = local(&with(&["serial-log"], &[]));
    assert_eq!((off.code(), off.stdout.as_str()), (Some(1), ""));
    assert!(
        off.stderr
            .contains("azure-nixos serial-log --enable -g g -n web-1"),
        "{}",
        off.stderr
    );
    let empty = good(&with(&["serial-log"], &["--enable"]));
    assert_eq!(empty.stdout, "");
    assert!(
        empty
            .stderr
            .contains("there is nothing in the serial log of web-1 yet"),
        "{}",
        empty.stderr
    );
    // No terminal: every byte as it was said.
    let said = b"one\n\x1b[31mtwo\x1b[0m\x1b[2J\xff\nthree";
    fs::write(log_file(place), said).unwrap();
    let done = good(&with(&["serial-log"], &[]));
    assert_eq!(done.stdout, String::from_utf8_lossy(said));
    assert_eq!(
        good(&with(&["serial-log"], &["--tail", "1"])).stdout,
        "three"
    );
    let json = good(&with(&["-o", "json", "serial-log"], &["--tail", "2"])).json();
    assert_eq!(
        json,
        json!({ "text": "\u{1b}[31mtwo\u{1b}[0m\u{1b}[2J\u{fffd}\nthree" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_until_ctrl_c() {
    let place = Place::new();
    let azure = Azure::start(&place).await;
    prepare(&place, |arguments| azure.run(&place, arguments));
    azure.run(&place, &BOOT);
    let done = azure.run(&place, &with(&["serial-log"], &["--enable"]));
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let file = log_file(&place);
    let mut following = azure.begin(&place, &with(&["serial-log"], &["--follow"]));
    // It waits for a log that is not there yet.
    let looked = azure.emulator.faults().add(FaultRule::new(Plane::Blob));
    azure.until_hit(looked, 1);
    fs::write(&file, "it boots\n").unwrap();
    assert_eq!(following.first_line(), "it boots");
    fs::write(&file, "anew\n").unwrap();
    following.until_it_says("began anew");
    following.signal(Signal::INT);
    let done = following.finish();
    assert_eq!(done.code(), Some(130), "{done:#?}");
    assert!(done.stdout.starts_with("it boots\n"), "{done:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_a_deletion_says_what_is_left_and_the_next_finishes() {
    let place = Place::new();
    let azure = Azure::start(&place).await;
    prepare(&place, |arguments| azure.run(&place, arguments));
    let before = place.traces();
    azure.run(&place, &BOOT);
    let delete = with(&["delete-vm"], &["--yes"]);
    let slow = FaultRule::new(Plane::Arm)
        .method("DELETE")
        .path_contains("/publicIPAddresses/");
    let slow = azure
        .emulator
        .faults()
        .add(slow.delay(Duration::from_secs(120)));
    let running = azure.begin(&place, &delete);
    azure.until_hit(slow, 1);
    let stopped = Instant::now();
    running.signal(Signal::INT);
    let done = running.finish();
    assert!(
        stopped.elapsed() < Duration::from_secs(20),
        "{:?}",
        stopped.elapsed()
    );
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(130), ""),
        "{done:#?}"
    );
    assert!(
        done.stderr.contains("what is gone stays gone"),
        "{}",
        done.stderr
    );
    let line = |start: &str| {
        let found = done.stderr.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("{start}: {}", done.stderr))
    };
    assert!(line("  deleted: ").contains("the machine web-1"));
    assert!(line("  left: ").contains("the virtual network web-1-vnet"));
    azure.emulator.faults().clear();
    let done = azure.run(&place, &delete);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert!(
        !done.stderr.contains("goes:  the machine"),
        "{}",
        done.stderr
    );
    assert_eq!(place.traces(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_said_with_the_reason() {
    let place = Place::new();
    let azure = Azure::start(&place).await;
    prepare(&place, |arguments| azure.run(&place, arguments));
    azure.run(&place, &BOOT);
    let network = format!(
        "/subscriptions/{}/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/web-1-vnet",
        azure.emulator.subscription_id()
    );
    let body = json!({ "location": "westus2", "properties": { "ipConfigurations": [
        { "name": "x", "properties": { "subnet": { "id": format!("{network}/subnets/default") } } },
    ] } });
    let guest = "/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/guest";
    let path = format!("{guest}?api-version=2024-01-01");
    azure.arm("PUT", &path, Some(body)).await;
    let done = azure.run(&place, &with(&["-o", "json", "delete-vm"], &["-y"]));
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let json = done.json();
    assert_eq!(
        json["stays"],
        json!([{ "id": network, "reason": "the network interface guest uses it" }])
    );
    assert_eq!(json["deleted"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&json["name"], &json["resource_group"]),
        (&json!("web-1"), &json!("g"))
    );
    let line = "stays: the virtual network web-1-vnet: the network interface guest uses it";
    assert!(
        done.stderr.lines().any(|said| said == line),
        "{}",
        done.stderr
    );
}

#[test]
fn a_machine_that_is_not_there() {
    let place = Place::new();
    let local = |arguments: &[&str]| place.local(arguments);
    prepare(&place, local);
    local(&BOOT);
    for command in [
        &["show-vm"][..],
        &["start"],
        &["stop"],
        &["restart"],
        &["resize", "-s", "Standard_B2s"],
        &["serial-log"],
        &["delete-vm", "--yes"],
    ] {
        let mut arguments = command.to_vec();
        arguments.extend(["-g", "g", "-n", "wbe-1"]);
        let done = local(&arguments);
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(1), ""),
            "{done:#?}"
        );
        assert!(
            done.stderr.contains("there is no machine wbe-1 in g"),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr.contains("did you mean web-1?"),
            "{}",
            done.stderr
        );
    }
    let done = local(&["list-vms", "-g", "none"]);
    assert_eq!(done.code(), Some(1));
}

#[test]
fn a_machine_is_known_by_its_name_alone_where_only_one_has_it() {
    let place = Place::new();
    let local = |arguments: &[&str]| place.local(arguments);
    prepare(&place, local);
    local(&BOOT);
    for command in [
        &["stop", "web-1"][..],
        &["start", "Web-1"],
        &["restart", "web-1.g"],
        &["resize", "web-1", "-s", "Standard_B2s"],
        &["show-vm", "web-1", "-g", "g"],
        &["serial-log", "web-1", "--enable"],
    ] {
        let done = local(command);
        assert_eq!(done.code(), Some(0), "{command:?}: {done:#?}");
    }
    let shown = local(&["show-vm", "web-1", "-o", "json"]).json();
    assert_eq!(shown["size"], "Standard_B2s");
    let ssh = local(&["ssh", "web-2", "--", "true"]);
    let said = "there is no machine web-2\n  hint: did you mean web-1?";
    assert_eq!(ssh.code(), Some(1), "{ssh:#?}");
    assert!(ssh.stderr.contains(said), "{}", ssh.stderr);

    let booted = local(&BOOT.map(|word| if word == "g" { "other" } else { word }));
    assert_eq!(booted.code(), Some(0), "{booted:#?}");
    let done = local(&["stop", "web-1"]);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    for words in [
        "web-1 may be any of 2 machines",
        "say which: -g g -n web-1, or -g other -n web-1",
    ] {
        assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
    }
    assert_eq!(local(&["stop", "web-1.other"]).code(), Some(0));
    let state = |group| {
        local(&["show-vm", "web-1", "-g", group, "-o", "json"]).json()["power_state"].clone()
    };
    assert_eq!(
        (state("g"), state("other")),
        (json!("running"), json!("deallocated"))
    );

    // What is deleted is not guessed.
    for arguments in [
        &["delete-vm", "web-1", "--yes"][..],
        &["stop"],
        &["stop", "web-1", "-n", "web-1"],
        &["stop", "-g", "g"],
    ] {
        assert_eq!(local(arguments).code(), Some(2), "{arguments:?}");
    }
}

/// Runs the program on a terminal, with this typed.
fn on_a_terminal(place: &Place, arguments: &[&str], typed: &str) -> (Option<i32>, String) {
    let program = place.command(arguments);
    let words: Vec<String> = std::iter::once(program.get_program())
        .chain(program.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-q", "-e", "-c", &words.join(" "), "/dev/null"])
        .current_dir(place.root())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = script.spawn().unwrap();
    // It stays open: the end of what is typed would be an answer too.
    let mut stdin = child.stdin.take().unwrap();
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    let mut output = child.stdout.take().unwrap();
    let mut typed = Some(typed).filter(|typed| !typed.is_empty());
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
        // Not before it is asked for: a terminal forgets what nobody reads yet.
        if String::from_utf8_lossy(&shown).contains("[y/N] ")
            && let Some(typed) = typed.take()
        {
            stdin.write_all(typed.as_bytes()).unwrap();
        }
    }
    let status = child.wait().unwrap();
    drop(stdin);
    let text = String::from_utf8_lossy(&shown).replace('\r', "");
    (status.code(), text)
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[test]
fn on_a_terminal_it_asks_and_shows_a_table() {
    if !have("script") {
        return;
    }
    let place = Place::new();
    let local = |arguments: &[&str]| place.local(arguments);
    prepare(&place, local);
    let before = place.traces();
    local(&BOOT);
    let (code, text) = on_a_terminal(&place, &["--local", "list-vms"], "");
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].starts_with("NAME   GROUP  LOCATION  SIZE"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("web-1  g      westus2   Standard_DS1_v2  running"),
        "{text}"
    );

    let made = place.traces();
    let delete = with(&["--local", "delete-vm"], &[]);
    for no in ["n\n", "\n", "maybe\n"] {
        let (code, text) = on_a_terminal(&place, &delete, no);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("Delete these 6 things? [y/N]"), "{text}");
        assert!(text.contains("nothing was deleted"), "{text}");
        assert_eq!(place.traces(), made);
    }
    let (code, text) = on_a_terminal(&place, &delete, "\u{3}");
    assert_eq!(code, Some(130), "{text}");
    assert_eq!(place.traces(), made);

    // What a machine says does not move the cursor.
    local(&with(&["serial-log"], &["--enable"]));
    fs::write(log_file(&place), "\u{1b}[32mok\u{1b}[0m \u{1b}[2J\u{7}\n").unwrap();
    let (_, text) = on_a_terminal(&place, &with(&["--local", "serial-log"], &[]), "");
    assert!(text.contains("\u{1b}[32mok\u{1b}[0m ␛[2J␇"), "{text:?}");
    assert!(!text.contains("\u{1b}[2J"), "{text:?}");

    let (code, text) = on_a_terminal(&place, &delete, "yes\n");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(place.traces(), before);
}

#[test]
fn lists_are_one_object_for_programs() {
    let place = Place::new();
    let done = place.good(&["--local", "-o", "json", "list-vms"]);
    assert_eq!(done.json()["machines"], Value::Array(Vec::new()));
}
