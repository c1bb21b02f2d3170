//! Machines for those who manage them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::azure::Azure;
use crate::disks::{self, Table};
use crate::place::{Done, Place};
use crate::relocated::{Relocated, SETTINGS};
use crate::tools::have;

/// Machines of these groups and names, each with a key of its own.
fn prepare(place: &Place, machines: &[(&str, &str)], run: impl Fn(&[&str]) -> Done) {
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let good = |arguments: &[&str]| {
        let done = run(arguments);
        assert_eq!(done.code(), Some(0), "{done:#?}");
    };
    good(&[
        "upload-image",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ]);
    for (group, name) in machines {
        good(&["boot-vm", "-g", group, "-i", "web", "-n", name]);
    }
}

/// Runs the command on the local Azure of a place.
fn inventory(place: &Place, arguments: &[&str]) -> Done {
    let mut all = vec!["--local", "inventory"];
    all.extend(arguments);
    place.run(&all)
}

fn good(place: &Place, arguments: &[&str]) -> Done {
    let done = inventory(place, arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    done
}

/// The value that ssh has for a keyword and a machine.
fn ssh(file: &Path, name: &str, keyword: &str) -> String {
    let output = Command::new("ssh")
        .arg("-GF")
        .arg(file)
        .arg(name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let mut values = said
        .lines()
        .filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '));
    values.next().unwrap().to_owned()
}

#[test]
fn one_list_for_everybody() {
    let place = Place::new();
    let local = |arguments: &[&str]| place.local(arguments);
    let none = good(&place, &[]);
    assert_eq!(none.stderr, "there are no machines\n");
    assert!(
        none.stdout.lines().all(|line| line.starts_with('#')),
        "{none:#?}"
    );

    prepare(&place, &[("a", "web"), ("b", "Web"), ("b", "db")], local);
    let shown = good(&place, &["-o", "json"]).json();
    assert_eq!(good(&place, &["--format", "json"]).json(), shown);
    let machines = shown["machines"].as_array().unwrap();
    let names: Vec<_> = machines.iter().map(|one| &one["inventory_name"]).collect();
    assert_eq!(names, ["web.a", "db", "Web.b"]);
    let db = &machines[1];
    assert_eq!(
        (
            &db["name"],
            &db["resource_group"],
            &db["port"],
            &db["user"],
            &db["left_out"]
        ),
        (
            &json!("db"),
            &json!("b"),
            &json!(22),
            &json!("ada"),
            &json!(null)
        )
    );
    assert_eq!(
        (&db["aliases"], &db["host"], &db["is_public"]),
        (&json!(["db.b"]), &db["public_ips"][0], &json!(true))
    );
    let key = Path::new(db["private_key"].as_str().unwrap());
    assert!(
        fs::read_to_string(key).unwrap().contains("PRIVATE KEY"),
        "{db}"
    );
    // All that show-vm has is in it, and nothing that scripts would not expect.
    let one = local(&["-o", "json", "show-vm", "-g", "b", "-n", "db"]).json();
    let (one, all) = (one.as_object().unwrap(), db.as_object().unwrap());
    for (name, value) in one {
        assert_eq!(&db[name], value, "{name}");
    }
    let more: Vec<&String> = all.keys().filter(|name| !one.contains_key(*name)).collect();
    assert_eq!(
        more,
        [
            "aliases",
            "host",
            "host_key_alias",
            "inventory_name",
            "is_public",
            "known_hosts",
            "left_out",
            "port",
            "private_key",
            "user",
        ]
    );

    let hosts = place.path("hosts");
    let written = good(&place, &["--write", "hosts"]);
    assert_eq!(written.stdout, "");
    for line in [
        "warning: web in a is called web.a: its name is not its own",
        "wrote hosts",
    ] {
        assert!(
            written.stderr.lines().any(|said| said == line),
            "{line}: {}",
            written.stderr
        );
    }
    let text = good(&place, &[]).stdout;
    assert_eq!(fs::read_to_string(&hosts).unwrap(), text);
    if have("ssh") {
        for name in ["db", "db.b"] {
            assert_eq!(ssh(&hosts, name, "hostname"), db["host"].as_str().unwrap());
            assert_eq!(ssh(&hosts, name, "user"), "ada");
            assert_eq!(Path::new(&ssh(&hosts, name, "identityfile")), key);
        }
        assert_eq!(
            ssh(&hosts, "web.a", "hostname"),
            machines[0]["host"].as_str().unwrap()
        );
        assert_eq!(ssh(&hosts, "web", "hostname"), "web");
    }

    // A machine that does not run, and a file that knows it.
    assert_eq!(
        local(&["stop", "-g", "b", "-n", "db", "--keep-allocated"]).code(),
        Some(0)
    );
    let again = good(&place, &["--write", "hosts", "--all"]);
    assert!(again.stderr.contains("wrote hosts"), "{}", again.stderr);
    let again = good(&place, &["--write", "hosts", "--all"]);
    assert!(
        again.stderr.contains("nothing is new in hosts"),
        "{}",
        again.stderr
    );
    let without = good(&place, &["-g", "B"]);
    assert_eq!(
        without.stderr,
        "warning: db is left out: it is stopped (--all takes it too)\n"
    );
    assert!(!without.stdout.contains("Host db"), "{}", without.stdout);
    let json = good(&place, &["-o", "json", "DB"]).json();
    assert_eq!(json["machines"][0]["left_out"], "it is stopped");
    let refused = inventory(&place, &["db", "--write", "hosts"]);
    assert_eq!((refused.code(), refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.contains("azure-nixos start -g b -n db"),
        "{}",
        refused.stderr
    );
    // A command that fails leaves what was there.
    assert!(
        fs::read_to_string(&hosts)
            .unwrap()
            .contains("Host db db.b ")
    );
}

#[test]
fn nix_reads_it() {
    if !have("nix-instantiate") {
        return;
    }
    let place = Place::new();
    let local = |arguments: &[&str]| place.local(arguments);
    prepare(&place, &[("a", "web")], local);
    let shown = good(&place, &["-o", "json"]).json();
    let web = &shown["machines"][0];
    let nix = Relocated::new(place.root(), SETTINGS);
    let read = |format: &str, expression: &str| {
        let text = good(&place, &["--format", format]).stdout;
        fs::write(nix.file("machines.nix"), text).unwrap();
        let mut evaluate = nix.command("nix-instantiate");
        let output = evaluate
            .args(["--eval", "--strict", "--json", "-E", expression])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let module = "(import ./machines.nix).web";
    let colmena = format!("({module} {{ options.deployment.sshOptions = {{ }}; }}).deployment");
    let nixops = format!("{module}.deployment");
    for (format, machine) in [("colmena", &colmena), ("nixops", &nixops)] {
        let deployment = read(format, machine);
        assert_eq!(
            (
                &deployment["targetHost"],
                &deployment["targetUser"],
                &deployment["targetPort"]
            ),
            (&web["host"], &web["user"], &web["port"])
        );
        let key = format!("IdentityFile={}", web["private_key"].as_str().unwrap());
        let options = deployment["sshOptions"].as_array().unwrap();
        assert!(options.contains(&json!(key)), "{deployment}");
    }
    // As the text says that it is used; `lib.recursiveUpdate` merges as deeply as this does.
    let merged = "let nodes = (import ./machines.nix).nodes; in \
                  { nodes.web = nodes.web // { profiles.system.path = \"p\"; }; }";
    let node = &read("deploy-rs", merged)["nodes"]["web"];
    assert_eq!(
        (&node["hostname"], &node["sshUser"], &node["profiles"]),
        (
            &web["host"],
            &web["user"],
            &json!({ "system": { "path": "p" } })
        )
    );
    assert_eq!(
        (&node["sshOpts"][0], &node["sshOpts"][1]),
        (&json!("-p"), &json!("22"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_must_be_there() {
    let place = Place::new();
    let azure = Azure::start(&place).await;
    prepare(&place, &[("a", "web-1"), ("a", "db")], |arguments| {
        azure.run(&place, arguments)
    });
    for (arguments, code, said) in [
        (&["wbe-1"][..], 1, "hint: did you mean web-1?"),
        (&["web-1", "elsewhere"], 1, "hint: there are db, web-1"),
        (&["-g", "none"], 1, "none"),
        (
            &["--format", "yaml"],
            2,
            "ssh-config, colmena, deploy-rs, nixops, json",
        ),
        (&["--format", "colmena", "-o", "json"], 2, "contradict"),
        (&["--write", "hosts", "-o", "json"], 2, "--write"),
        (&["--write", "none/hosts"], 1, "none/hosts"),
    ] {
        let mut all = vec!["inventory"];
        all.extend(arguments);
        let done = azure.run(&place, &all);
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(code), ""),
            "{done:#?}"
        );
        assert!(done.stderr.contains(said), "{arguments:?}: {}", done.stderr);
    }
    assert!(!place.path("hosts").exists());
}
