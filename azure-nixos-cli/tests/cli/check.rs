//! `check`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::azure::Azure;
use crate::place::{Done, Place, Running};
use crate::relocated::Relocated;
use crate::tools::have;

/// A Nix with a daemon on a machine that has everything, but for what is replaced in its answers.
const GOOD: &str = r#"#!/bin/sh
case "$*" in
  --version) echo 'nix (Nix) 2.24.10' ;;
  *" config show --json "*) echo '{
    "system": {"value": "x86_64-linux"},
    "system-features": {"value": ["kvm"], "defaultValue": []},
    "experimental-features": {"value": ["flakes", "nix-command"]},
    "extra-platforms": {"value": []},
    "max-jobs": {"value": 2},
    "max-silent-time": {"value": 0},
    "build-users-group": {"value": "nixbld"},
    "builders": {"value": ""}
  }' ;;
  *" store ping "*) echo '@nix {"action":"msg","level":2,"msg":"Store URL: daemon"}' >&2 ;;
  *) exit 1 ;;
esac
"#;

/// The items of a topic: its outcome and what was found.
fn item<'a>(shown: &'a Value, topic: &str) -> &'a Value {
    let items = shown["items"].as_array().unwrap();
    let found: Vec<_> = items.iter().filter(|item| item["topic"] == topic).collect();
    assert_eq!(found.len(), 1, "{topic} in {shown}");
    found[0]
}

fn failed(shown: &Value) -> Vec<&str> {
    let items = shown["items"].as_array().unwrap().iter();
    items
        .filter(|item| item["outcome"] == "failed")
        .map(|item| item["topic"].as_str().unwrap())
        .collect()
}

/// Checks with a Nix of this script, and nothing else on `PATH`.
fn with_nix(place: &Place, script: &str, arguments: &[&str]) -> Done {
    let programs = place.path("programs");
    fs::create_dir_all(&programs).unwrap();
    let program = programs.join("nix");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place.command(&["check", "--no-azure"]);
    command.args(arguments).env("PATH", &programs);
    Running::start(command).finish()
}

#[test]
fn a_table_that_fits_a_terminal() {
    let place = Place::new();
    let done = place.good(&[
        "check",
        "--local",
        "--no-nix",
        "--progress",
        "none",
        "-g",
        "images",
        "-n",
        "nixos-25.11",
        "--system",
        "x86_64-linux",
        "-s",
        "Standard_D2s_v6",
    ]);
    assert_eq!(done.stderr, "");
    let state = place.state();
    // Only the directory of the local Azure itself was made.
    assert!(place.traces().is_empty(), "{:?}", place.traces());
    for line in done.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let mut shown = done.stdout;
    for name in ["subscription_id", "tenant_id", "client_id"] {
        let id = state["identity"][name].as_str().unwrap();
        // As long as what it stands for, so that the lines are the same.
        let label = format!("{:-<36}", name.to_ascii_uppercase());
        shown = shown.replace(id, &label);
    }
    insta::assert_snapshot!(shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_stop_an_upload_is_status_1() {
    let place = Place::new();
    let azure = Azure::start_with(&place, |builder| {
        builder
            .unregistered(["Microsoft.Compute"])
            .deny("*/register/action")
            .deny("Microsoft.Compute/disks/beginGetAccess/action")
            .quota("standardDSv5Family", 3)
    })
    .await;
    let group = "/resourcegroups/g?api-version=2022-09-01";
    azure
        .arm("PUT", group, Some(json!({ "location": "westus2" })))
        .await;
    let check = [
        "check",
        "--no-nix",
        "-g",
        "g",
        "-n",
        "web",
        "-s",
        "Standard_D2s_v5",
        "--count",
        "2",
        "--system",
        "x86_64-linux",
    ];
    let done = azure.run(&place, &[&check[..], &["-o", "json"]].concat());
    assert_eq!(done.code(), Some(1), "{done:#?}");
    let shown = done.json();
    assert_eq!(shown["would_stop"], true);
    assert_eq!(
        failed(&shown),
        ["provider-compute", "rights-upload", "quota"]
    );
    let rights = item(&shown, "rights-upload");
    let found = rights["found"].as_str().unwrap();
    assert!(found.contains("disks/beginGetAccess/action"), "{found}");
    assert!(rights["to_do"].as_str().unwrap().contains("Contributor"));
    let login = item(&shown, "login");
    assert_eq!(
        (&login["outcome"], &login["to_do"]),
        (&json!("passed"), &Value::Null)
    );
    assert!(
        login["found"]
            .as_str()
            .unwrap()
            .starts_with("service principal ")
    );

    let done = azure.run(&place, &check);
    assert_eq!(done.code(), Some(1));
    let last = done.stdout.lines().last().unwrap();
    assert_eq!(
        last,
        "this would stop an upload: provider-compute, rights-upload, quota"
    );
    assert!(done.stdout.contains("\nFAIL  quota "), "{}", done.stdout);
    assert!(!done.stderr.contains("error"), "{}", done.stderr);
    // An upload is refused for the first of these.
    place.write("disk.raw", vec![1; 21 << 20]);
    let upload = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
        "--generation",
        "v2",
    ];
    let done = azure.run(&place, &upload);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(done.stderr.contains("Microsoft.Compute"), "{}", done.stderr);
}

#[test]
fn without_a_login_the_rest_is_looked_at() {
    let place = Place::new();
    let mut command = place.command(&["check", "-g", "g", "-o", "json"]);
    command
        .env("PATH", place.path("nowhere"))
        .env("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential");
    let done = Running::start(command).finish();
    assert_eq!(done.code(), Some(1), "{done:#?}");
    let shown = done.json();
    assert_eq!(failed(&shown), ["login", "nix"]);
    assert_eq!(item(&shown, "quota")["outcome"], "not-checked");
    assert_eq!(item(&shown, "kvm")["outcome"], "not-checked");
    let nix = item(&shown, "nix");
    assert!(
        nix["found"]
            .as_str()
            .unwrap()
            .starts_with("nix is not installed")
    );
    assert!(
        nix["to_do"]
            .as_str()
            .unwrap()
            .contains("nixos.org/download")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_a_failure_and_never_shown() {
    let place = Place::new();
    let azure = Azure::start(&place).await;
    for more in [&["-vvv"][..], &["-o", "json"]] {
        let mut command = azure.command(&place, &["check", "--no-nix", "-g", "g"]);
        command
            .args(more)
            .env("AZURE_CLIENT_SECRET", "a-wrong-secret");
        let done = Running::start(command).finish();
        assert_eq!(done.code(), Some(1), "{done:#?}");
        assert!(done.stdout.contains("login"), "{done:#?}");
        assert!(!format!("{done:?}").contains("a-wrong-secret"), "{done:#?}");
    }
    let done = azure.run(&place, &["check", "--no-nix", "-g", "g", "-vvv"]);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    for secret in [
        azure.emulator.client_secret(),
        azure.emulator.access_token(),
    ] {
        assert!(!format!("{done:?}").contains(&secret), "{done:#?}");
    }
}

#[test]
fn nix_is_looked_at_alone() {
    let place = Place::new();
    let check = |script: &str, arguments: &[&str]| {
        let done = with_nix(&place, script, &[&["-o", "json"], arguments].concat());
        let shown = done.json();
        let stops = shown["would_stop"].as_bool().unwrap();
        assert_eq!(done.code(), Some(i32::from(stops)), "{done:#?}");
        shown
    };
    let shown = check(GOOD, &["--system", "x86_64-linux"]);
    assert_eq!(failed(&shown), Vec::<&str>::new(), "{shown}");
    let topics = shown["items"].as_array().unwrap().iter();
    let topics: Vec<_> = topics.map(|item| item["topic"].as_str().unwrap()).collect();
    assert_eq!(
        topics,
        [
            "nix",
            "flakes",
            "nix-store",
            "system",
            "kvm",
            "store-space",
            "build-space",
            "silent-builds"
        ]
    );

    let shown = check(&GOOD.replace("2.24.10", "2.3.16"), &[]);
    assert_eq!(failed(&shown), ["nix"]);
    let shown = check(GOOD, &["--system", "aarch64-linux"]);
    assert_eq!(failed(&shown), ["system", "kvm"]);
    let shown = check(
        &GOOD.replace("[\"kvm\"]", "[\"other\"]"),
        &["--system", "x86_64-linux"],
    );
    assert_eq!(failed(&shown), ["kvm"]);
    let silent = GOOD.replace(
        "\"max-silent-time\": {\"value\": 0}",
        "\"max-silent-time\": {\"value\": 30}",
    );
    let shown = check(&silent, &["--system", "x86_64-linux"]);
    assert_eq!(item(&shown, "silent-builds")["outcome"], "warning");
    // More than any disk has.
    let shown = check(
        GOOD,
        &["--system", "x86_64-linux", "--image-size", "1000000 TiB"],
    );
    assert_eq!(failed(&shown), ["store-space", "build-space"]);
    let found = item(&shown, "store-space")["found"].as_str().unwrap();
    assert!(found.contains("free; an image takes about"), "{found}");
}

#[test]
fn more_machines_than_boot_vm_takes_are_a_mistake() {
    let place = Place::new();
    let check = ["--local", "check", "--no-nix", "--count"];
    let done = place.run(&[&check[..], &["251"]].concat());
    assert_eq!(done.code(), Some(2), "{done:#?}");
    assert!(
        done.stderr.contains("is for a scale set only"),
        "{}",
        done.stderr
    );
    let done = place.run(&[&check[..], &["251", "--scale-set", "-o", "json"]].concat());
    assert_ne!(done.code(), Some(2), "{done:#?}");
    assert!(done.json()["items"].is_array(), "{done:#?}");
}

#[test]
fn the_real_nix_is_asked_too() {
    if !have("nix") {
        return;
    }
    let place = Place::new();
    let settings = "build-users-group =\nsystem-features = kvm\n";
    let nix = Relocated::new(place.root(), settings);
    let mut command = place.command(&["check", "--no-azure", "-o", "json"]);
    command.envs(nix.environment());
    let done = Running::start(command).finish();
    let shown = done.json();
    for topic in ["nix", "flakes", "nix-store", "system", "silent-builds"] {
        assert_eq!(item(&shown, topic)["outcome"], "passed", "{shown}");
    }
    let found = item(&shown, "store-space")["found"].as_str().unwrap();
    assert!(
        found.contains(place.path("store").to_str().unwrap()),
        "{found}"
    );
}
