//! The NixOS module, the examples and the flake of this repository, evaluated by the real Nix.
//!
//! The nixpkgs under them is a small one of our own in two shapes, that of the oldest release that is meant to
//! work and that of the newest. With a real one in `AZURE_NIXOS_NIXPKGS`, or on `NIX_PATH` under the name
//! `nixpkgs`, machines are evaluated with that one too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use azure_nixos::nix::Installable;
use serde_json::{Value, json};

use nix_store::{Store, copy, label};

mod nix_store;

const KEY: &str = "ssh-ed25519 AAAA me@here";

/// A module that puts a user with a key into the image. The newline is that of a file.
const USER: &str = r#"{ azure-nixos.image.users.nixos = [ "ssh-ed25519 AAAA me@here\n" ]; }"#;

fn tree() -> PathBuf {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    tree.canonicalize().unwrap()
}

/// The path of a file of the tree as a Nix expression.
fn nix_path(name: &str) -> String {
    nix_string(tree().join(name).to_str().unwrap())
}

fn nix_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(errors)
    }
}

/// What `machine.nix` says of a machine made of these modules.
fn machine(store: &Store, nixpkgs: &Path, modules: &[&str], more: &[&str]) -> Value {
    let modules = format!("[ {} ]", modules.join(" "));
    let mut command = store.command("nix-instantiate");
    command
        .args(["--eval", "--strict", "--json"])
        .arg(store.file("machine.nix"))
        .args(["--arg", "nixpkgs", &nix_string(nixpkgs.to_str().unwrap())])
        .args(["--arg", "modules", &modules])
        .args(more);
    let text = run(&mut command).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).unwrap()
}

/// A machine with the module and these settings.
fn with_module(store: &Store, nixpkgs: &Path, settings: &str) -> Value {
    let module = nix_path("nix/module.nix");
    machine(store, nixpkgs, &[&module, settings], &[])
}

#[track_caller]
fn has(list: &Value, what: &[&str]) {
    for one in what {
        assert!(
            list.as_array().unwrap().contains(&json!(one)),
            "{one} in {list}"
        );
    }
}

/// The one reason for which a machine is refused.
#[track_caller]
fn refused(machine: &Value) -> String {
    let reasons = machine["refused"].as_array().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let reason = reasons[0].as_str().unwrap();
    eprintln!("{reason}");
    reason.to_owned()
}

fn nix_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                nix_files(&path, found);
            }
        } else if name.ends_with(".nix") && name != "syntax.nix" {
            found.push(path);
        }
    }
}

#[test]
fn every_nix_file_of_the_tree_is_nix() {
    let store = store_or_skip!();
    let mut files = Vec::new();
    nix_files(&tree(), &mut files);
    for name in ["flake.nix", "nix/module.nix", "examples/nix/agentless.nix"] {
        assert!(files.contains(&tree().join(name)), "{name} is not there");
    }
    for file in files {
        let parsed = run(store.command("nix-instantiate").arg("--parse").arg(&file));
        assert!(parsed.is_ok(), "{}: {parsed:?}", file.display());
    }
}

#[tokio::test]
async fn the_example_image_is_found_with_old_and_new_nixpkgs() {
    let store = store_or_skip!();
    copy(&tree().join("examples/nix"), &store.file("example"));
    let what = |nixpkgs: &str| {
        Installable::file("example/image.nix").include(format!("nixpkgs=./{nixpkgs}"))
    };
    let error = store.error(what("nixpkgs-new")).await;
    assert!(error.to_string().contains("Nobody could log in"), "{error}");

    fs::create_dir(store.root.path().join("home/.ssh")).unwrap();
    let key = store.root.path().join("home/.ssh/id_ed25519.pub");
    fs::write(key, format!("{KEY}\n")).unwrap();
    let system = format!("{}-linux", env::consts::ARCH);
    for (nixpkgs, generation, cloud) in [("nixpkgs-new", "v2", true), ("nixpkgs-old", "v1", false)]
    {
        let image = store.build(what(nixpkgs)).await.unwrap();
        let seen: Value = serde_json::from_str(&label(&image)).unwrap();
        assert_eq!(seen["system"], system, "{nixpkgs}");
        assert_eq!(seen["generation"], generation, "{nixpkgs}");
        assert_eq!(seen["diskSize"], 4096, "{nixpkgs}");
        assert_eq!(seen["keys"], json!({"nixos": [KEY]}), "{nixpkgs}");
        assert_eq!(seen["boot"]["growPartition"], true, "{nixpkgs}");
        has(
            &seen["boot"]["initrd"]["kernelModules"],
            &["nvme", "pci_hyperv"],
        );
        assert_eq!(seen["cloud"]["enable"], cloud, "{nixpkgs}");
        let settings = &seen["cloud"]["settings"];
        if cloud {
            assert_eq!(settings["datasource_list"], json!(["Azure"]));
            assert_eq!(settings["users"], json!(["default"]));
            assert_eq!(settings["system_info"]["distro"], "nixos");
        }

        let agentless = what(nixpkgs).arg("configuration", "./example/agentless.nix");
        let image = store.build(agentless).await.unwrap();
        let seen: Value = serde_json::from_str(&label(&image)).unwrap();
        assert_eq!(seen["cloud"]["enable"], false, "{nixpkgs}");
        assert_eq!(seen["agent"], false, "{nixpkgs}");
        assert_eq!(seen["keys"], json!({"nixos": [KEY]}), "{nixpkgs}");
    }
}

/// What the agent is told of who provisions, where a release lets it be told.
#[track_caller]
fn told(machine: &Value, who: &str) {
    let provisioner = &machine["provisioner"];
    assert!(provisioner.is_null() || provisioner == who, "{provisioner}");
}

/// What holds with every nixpkgs, real ones too.
fn good_defaults(store: &Store, nixpkgs: &Path) {
    let machine = with_module(store, nixpkgs, USER);
    assert_eq!(machine["refused"], json!([]));
    let drivers = ["hv_vmbus", "hv_storvsc", "hv_netvsc", "hv_utils"];
    has(&machine["drivers"], &drivers);
    has(&machine["drivers"], &["nvme", "pci_hyperv"]);
    let parameters = ["console=ttyS0", "nvme_core.io_timeout=240"];
    has(&machine["kernelParams"], &parameters);
    let rules = machine["udev"].as_str().unwrap();
    assert!(rules.contains(r#"ATTR{timeout}="300""#), "{rules}");
    assert_eq!(machine["growPartition"], true);
    assert_eq!(machine["root"], true);
    assert_eq!(machine["diskSize"], 4096);
    assert_eq!(machine["networkd"], true);
    has(&machine["unmanaged"], &["mana", "mlx5_core"]);
    assert!(
        machine["clock"]
            .as_str()
            .unwrap()
            .contains("/dev/ptp_hyperv")
    );

    assert_eq!(machine["cloudInit"], true);
    assert_eq!(machine["agent"], true);
    assert_eq!(machine["reports"], "");
    told(&machine, "cloud-init");
    let settings = &machine["settings"];
    assert_eq!(settings["datasource_list"], json!(["Azure"]));
    assert_eq!(settings["users"], json!(["default"]));
    assert_eq!(settings["disable_root"], true);
    assert_eq!(settings["preserve_hostname"], false);
    assert_eq!(settings["system_info"]["distro"], "nixos");
    let user = &settings["system_info"]["default_user"];
    assert_eq!(user["groups"], json!(["wheel", "azure-admins"]));
    has(&settings["cloud_init_modules"], &["users-groups", "ssh"]);
    let late = settings["cloud_config_modules"].as_array().unwrap();
    for module in ["set-passwords", "mounts", "disk_setup", "ssh"] {
        assert!(!late.contains(&json!(module)), "{module}");
    }

    let sshd = json!({"PasswordAuthentication": false, "PermitRootLogin": "prohibit-password"});
    assert_eq!(machine["sshd"], sshd);
    // One rule for the users of this image, and nothing said about the others.
    assert_eq!(machine["sudo"].as_array().unwrap().len(), 1);
    assert_eq!(machine["wheelNeedsPassword"], true);
    let nixos = json!({"extraGroups": ["wheel", "azure-admins"], "keys": [KEY]});
    assert_eq!(machine["users"], json!({ "nixos": nixos }));
}

fn without_an_agent(store: &Store, nixpkgs: &Path) {
    let none = r#"{ azure-nixos.image.provisioning = "none"; }"#;
    let machine = with_module(
        store,
        nixpkgs,
        &format!("{{ imports = [ {USER} {none} ]; }}"),
    );
    assert_eq!(machine["refused"], json!([]));
    assert_eq!(machine["cloudInit"], false);
    assert_eq!(machine["agent"], false);
    assert!(
        machine["reports"]
            .as_str()
            .unwrap()
            .contains("168.63.129.16")
    );

    // Not even an agent that is there for its extensions makes a user.
    let both = r#"{ azure-nixos.image = { provisioning = "none"; agent = true; }; }"#;
    let machine = with_module(
        store,
        nixpkgs,
        &format!("{{ imports = [ {USER} {both} ]; }}"),
    );
    assert_eq!(machine["agent"], true);
    assert_eq!(machine["networkd"], true);
    told(&machine, "disabled");

    let reason = refused(&with_module(store, nixpkgs, none));
    assert!(reason.contains("Nobody could log in"), "{reason}");
    assert!(reason.contains("azure-nixos.image.users"), "{reason}");
}

fn with_the_agent_alone(store: &Store, nixpkgs: &Path) {
    let machine = with_module(
        store,
        nixpkgs,
        r#"{ azure-nixos.image.provisioning = "agent"; }"#,
    );
    assert_eq!(machine["cloudInit"], false);
    assert_eq!(machine["agent"], true);
    assert_eq!(machine["reports"], "");
    told(&machine, "waagent");
    // Old ones have an agent that provisions nobody.
    if machine["refused"] != json!([]) {
        assert_eq!(machine["provisioner"], Value::Null);
        let reason = refused(&machine);
        assert!(reason.contains("NixOS 25.05"), "{reason}");
    }
}

fn what_a_user_may_change(store: &Store, nixpkgs: &Path) {
    let machine = with_module(
        store,
        nixpkgs,
        r#"{
          azure-nixos.image = {
            diskSize = 8192;
            generation = "v1";
            growPartition = false;
            nvme = false;
            acceleratedNetworking = false;
            sudoWithoutPassword = false;
            timeSync = "network";
            temporaryDisk.mountPoint = "/mnt/resource";
          };
          networking.hostName = "web";
          services.openssh.settings.PasswordAuthentication = true;
        }"#,
    );
    assert_eq!(machine["refused"], json!([]));
    assert_eq!(machine["diskSize"], 8192);
    assert_eq!(machine["generation"], "v1");
    assert_eq!(machine["growPartition"], false);
    assert_eq!(machine["root"], false);
    assert!(
        !machine["drivers"]
            .as_array()
            .unwrap()
            .contains(&json!("pci_hyperv"))
    );
    let parameters = machine["kernelParams"].to_string();
    assert!(!parameters.contains("nvme_core"), "{parameters}");
    assert_eq!(machine["unmanaged"], json!([]));
    assert_eq!(machine["sudo"], json!([]));
    assert_eq!(machine["clock"], "");
    assert_eq!(machine["sshd"]["PasswordAuthentication"], true);
    assert_eq!(machine["temporaryDisk"], true);

    // Leaves of what nixpkgs gives as a whole.
    let machine = with_module(
        store,
        nixpkgs,
        r#"{
          networking.hostName = "web";
          services.cloud-init.settings.system_info.default_user.name = "me";
          services.cloud-init.settings.disable_root = false;
        }"#,
    );
    let settings = &machine["settings"];
    assert_eq!(settings["preserve_hostname"], true);
    assert_eq!(settings["disable_root"], false);
    assert_eq!(settings["system_info"]["distro"], "nixos");
    assert_eq!(settings["system_info"]["default_user"]["name"], "me");
    has(
        &settings["system_info"]["default_user"]["groups"],
        &["wheel"],
    );
}

#[test]
fn machines_with_the_module() {
    let store = store_or_skip!();
    for name in ["nixpkgs-old", "nixpkgs-new"] {
        let nixpkgs = store.file(name);
        good_defaults(&store, &nixpkgs);
        without_an_agent(&store, &nixpkgs);
        with_the_agent_alone(&store, &nixpkgs);
        what_a_user_may_change(&store, &nixpkgs);
    }

    let machine = with_module(&store, &store.file("nixpkgs-new"), USER);
    assert_eq!(machine["generation"], "v2");
    assert_eq!(machine["name"], "nixos-azure");

    // The old name of the agent's options, which some still import, is not taken for an old release.
    // Those could not have swap.
    let alias = r#"{ lib, ... }: {
      options.virtualisation.azure.agent.enable = lib.mkOption { type = lib.types.bool; default = false; };
      config.azure-nixos.image.temporaryDisk = { mountPoint = "/scratch"; swapSize = 1024; };
    }"#;
    let machine = with_module(&store, &store.file("nixpkgs-new"), &format!("({alias})"));
    assert_eq!(machine["refused"], json!([]));
    told(&machine, "cloud-init");

    // The CD-ROM of the first boot is not waited for at the second.
    let machine = with_module(&store, &store.file("nixpkgs-old"), USER);
    assert_eq!(machine["generation"], "v1");
    has(&machine["cdrom"], &["nofail"]);
}

#[test]
fn what_cannot_work_is_refused() {
    let store = store_or_skip!();
    let reason = |nixpkgs: &str, settings: &str| {
        refused(&with_module(&store, &store.file(nixpkgs), settings))
    };
    let image = |setting: &str| format!("{{ azure-nixos.image.{setting}; }}");

    let text = reason("nixpkgs-old", &image(r#"generation = "v2""#));
    assert!(text.contains("24.11"), "{text}");
    let text = reason("nixpkgs-new", &image(r#"diskSize = "auto""#));
    assert!(text.contains("number of MiB"), "{text}");
    let text = reason("nixpkgs-new", "{ users.mutableUsers = false; }");
    assert!(text.contains("azure-nixos.image.users"), "{text}");
    let both = r#"provisioning = "agent"; azure-nixos.image.agent = false"#;
    let text = reason("nixpkgs-new", &image(both));
    assert!(text.contains("agent = true"), "{text}");
    let text = reason("nixpkgs-old", &image(r#"provisioning = "agent""#));
    assert!(text.contains("makes no users"), "{text}");
    let text = reason("nixpkgs-new", &image("temporaryDisk.swapSize = 1024"));
    assert!(text.contains("temporaryDisk.mountPoint"), "{text}");
    let elsewhere = r#"temporaryDisk.mountPoint = "/elsewhere""#;
    let text = reason("nixpkgs-old", &image(elsewhere));
    assert!(text.contains("/mnt/resource"), "{text}");
    let arm = r#"{ azure-nixos.image.generation = "v1"; nixpkgs.hostPlatform = "aarch64-linux"; }"#;
    let text = reason("nixpkgs-new", arm);
    assert!(text.contains("Arm"), "{text}");

    // The old one makes an image of any size.
    let auto = with_module(
        &store,
        &store.file("nixpkgs-old"),
        &image(r#"diskSize = "auto""#),
    );
    assert_eq!(auto["refused"], json!([]));
    assert_eq!(auto["diskSize"], "auto");
}

/// The little nixpkgs as a flake, and a copy of what is in this repository's that has it for its input: not
/// every command can be told to take another.
fn flakes(store: &Store) -> (String, String) {
    fs::copy(
        store.file("nixpkgs-common/flake.nix"),
        store.file("flake.nix"),
    )
    .unwrap();
    let root = store.root.path().join("azure-nixos");
    copy(&tree().join("nix"), &root.join("nix"));
    copy(&tree().join("examples/nix"), &root.join("examples/nix"));
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(tree().join(file), root.join(file)).unwrap();
    }
    let nixpkgs = format!("path:{}", store.work().display());
    let flake = fs::read_to_string(tree().join("flake.nix")).unwrap();
    let offline = flake.replace("github:NixOS/nixpkgs/nixos-unstable", &nixpkgs);
    assert_ne!(flake, offline);
    fs::write(root.join("flake.nix"), offline).unwrap();
    (nixpkgs, format!("path:{}", root.display()))
}

/// `nix` with flakes, which it must be told in one argument each.
fn flake_command(store: &Store, arguments: &[&str]) -> Command {
    let mut command = store.command("nix");
    command
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(arguments);
    command
}

#[test]
fn the_flake_of_the_repository_shows_and_checks() {
    let store = store_or_skip!();
    let (_, root) = flakes(&store);

    // From 2.9 on the outputs for other systems are shown on demand; before, there is no such word.
    let mut command = flake_command(&store, &["flake", "show", "--json", &root]);
    let shown = match run(command.arg("--all-systems")) {
        Err(error) if error.contains("unrecognised flag") => run(&mut flake_command(
            &store,
            &["flake", "show", "--json", &root],
        )),
        shown => shown,
    };
    let shown = shown.unwrap_or_else(|error| panic!("{error}"));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for (path, kind) in [
        ("/apps/aarch64-linux/azure-nixos", "app"),
        ("/apps/x86_64-linux/default", "app"),
        ("/checks/x86_64-linux/machines", "derivation"),
        ("/checks/aarch64-linux/machines", "derivation"),
        ("/devShells/aarch64-linux/default", "derivation"),
        ("/formatter/x86_64-linux", "derivation"),
        ("/nixosModules/azure-nixos", "nixos-module"),
        ("/nixosModules/default", "nixos-module"),
        ("/overlays/default", "nixpkgs-overlay"),
        ("/packages/x86_64-linux/azure-nixos", "derivation"),
        ("/packages/aarch64-linux/default", "derivation"),
        ("/templates/azure", "template"),
        ("/templates/default", "template"),
    ] {
        let seen = shown.pointer(path).map(|one| &one["type"]);
        assert_eq!(seen, Some(&json!(kind)), "{path} in {shown:#}");
    }

    let mut command = flake_command(&store, &["flake", "check", "--no-build", &root]);
    run(&mut command).unwrap_or_else(|error| panic!("{error}"));

    // Each way to be provisioned is another image; that of the example is no other than the module's.
    let name = format!("{root}#checks.x86_64-linux.machines.text");
    let mut command = flake_command(&store, &["eval", "--raw", &name]);
    let text = run(&mut command).unwrap_or_else(|error| panic!("{error}"));
    let machines: Value = serde_json::from_str(&text).unwrap();
    let names: Vec<_> = machines.as_object().unwrap().keys().collect();
    assert_eq!(names, ["agent", "agentless", "cloud-init", "none", "web"]);
    assert_eq!(machines["web"], machines["cloud-init"]);
    assert_ne!(machines["agent"], machines["cloud-init"]);
    assert_ne!(machines["none"], machines["cloud-init"]);
}

#[test]
fn the_template_is_a_flake_with_two_hosts() {
    let store = store_or_skip!();
    let (nixpkgs, root) = flakes(&store);
    let mine = store.root.path().join("mine");
    fs::create_dir(&mine).unwrap();
    let mut command = flake_command(&store, &["flake", "init", "-t", &root]);
    run(command.current_dir(&mine)).unwrap_or_else(|error| panic!("{error}"));

    let evaluate = |attribute: &str| {
        let name = format!("path:{}#{attribute}", mine.display());
        run(flake_command(&store, &["eval", "--json", &name]).args([
            "--no-write-lock-file",
            "--override-input",
            "nixpkgs",
            &nixpkgs,
            "--override-input",
            "azure-nixos",
            &root,
        ]))
    };
    // Azure's user gets into the one; nobody into the other, before there is a key.
    let image =
        |host: &str| format!("nixosConfigurations.{host}.config.system.build.azureImage.drvPath");
    evaluate(&image("web")).unwrap();
    let error = evaluate(&image("agentless")).unwrap_err();
    assert!(error.contains("Nobody could log in"), "{error}");

    fs::write(mine.join("id_ed25519.pub"), format!("{KEY}\n")).unwrap();
    evaluate(&image("agentless")).unwrap();
    let keys = evaluate(
        "nixosConfigurations.agentless.config.users.users.nixos.openssh.authorizedKeys.keys",
    );
    assert_eq!(keys.unwrap().trim(), format!("[\"{KEY}\"]"));
    evaluate("packages.x86_64-linux.azure-image.drvPath").unwrap();
}

/// One that somebody has: named, or on Nix's search path.
fn real_nixpkgs() -> Option<PathBuf> {
    let named = env::var_os("AZURE_NIXOS_NIXPKGS").filter(|path| !path.is_empty());
    let found = || {
        let path = env::var("NIX_PATH").ok()?;
        let entry = path
            .split(':')
            .find_map(|one| one.strip_prefix("nixpkgs="))?;
        Some(PathBuf::from(entry))
    };
    let path = named.map(PathBuf::from).or_else(found);
    if let Some(path) = &path {
        let file = path.join("nixos/lib/eval-config.nix");
        assert!(file.exists(), "{} is no nixpkgs", path.display());
    } else {
        eprintln!(
            "SKIPPED: there is no nixpkgs; AZURE_NIXOS_NIXPKGS or NIX_PATH names one (nixpkgs=/some/path)"
        );
    }
    path
}

#[test]
fn machines_with_a_real_nixpkgs() {
    let store = store_or_skip!();
    let Some(nixpkgs) = real_nixpkgs() else {
        return;
    };
    good_defaults(&store, &nixpkgs);
    without_an_agent(&store, &nixpkgs);
    with_the_agent_alone(&store, &nixpkgs);
    what_a_user_may_change(&store, &nixpkgs);

    fs::create_dir(store.root.path().join("home/.ssh")).unwrap();
    let key = store.root.path().join("home/.ssh/id_ed25519.pub");
    fs::write(key, format!("{KEY}\n")).unwrap();
    // All the way to the image, whose evaluation is far more than that of the settings.
    let module = nix_path("nix/module.nix");
    let whole = machine(
        &store,
        &nixpkgs,
        &[&module, USER],
        &["--arg", "image", "true"],
    );
    assert!(whole["image"].as_str().unwrap().ends_with(".drv"));
    for (example, agent) in [("system.nix", true), ("agentless.nix", false)] {
        let example = nix_path(&format!("examples/nix/{example}"));
        let seen = machine(&store, &nixpkgs, &[&example], &[]);
        assert_eq!(seen["refused"], json!([]));
        assert_eq!(seen["agent"], agent, "{example}");
        assert!(agent || seen["cloudInit"] == false, "{example}");
        assert_eq!(seen["users"]["nixos"]["keys"], json!([KEY]));
        has(&seen["drivers"], &["nvme", "pci_hyperv"]);
    }
}

/// The service of a machine without an agent, against a host that answers as Azure's does.
#[test]
fn a_machine_reports_that_it_is_ready() {
    let missing = env::var("AZURE_NIXOS_MISSING_TOOLS").unwrap_or_default();
    if missing.split_whitespace().any(|tool| tool == "curl") {
        eprintln!("SKIPPED: curl is not installed, so this test shows nothing");
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let serve = |answers: Vec<(&'static str, &'static str)>| {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            answers
                .into_iter()
                .map(|(status, body)| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let request = request(&mut stream);
                    let length = body.len();
                    write!(
                        stream,
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    )
                    .unwrap();
                    request
                })
                .collect::<Vec<_>>()
        })
    };
    let report = || {
        Command::new("bash")
            .arg("-e")
            .arg(tree().join("nix/report-ready.sh"))
            .env("AZURE_NIXOS_HOST", &host)
            .env("no_proxy", "127.0.0.1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };

    let goal = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<GoalState><Version>2012-11-30</Version>\
        <Incarnation>3</Incarnation><Machine><ExpectedState>Started</ExpectedState></Machine><Container>\
        <ContainerId>c-1</ContainerId><RoleInstanceList><RoleInstance><InstanceId>i.web_0</InstanceId>\
        <State>Started</State></RoleInstance></RoleInstanceList></Container></GoalState>";
    let server = serve(vec![("200 OK", goal), ("200 OK", "")]);
    let output = report();
    assert!(output.status.success(), "{output:?}");
    let requests = server.join().unwrap();
    assert!(requests[0].starts_with("GET /machine/?comp=goalstate HTTP/1.1"));
    assert!(requests[1].starts_with("POST /machine?comp=health HTTP/1.1"));
    for request in &requests {
        assert!(request.contains("x-ms-version: 2012-11-30"), "{request}");
    }
    let body: String = requests[1]
        .split_once("\r\n\r\n")
        .unwrap()
        .1
        .lines()
        .map(str::trim)
        .collect();
    assert_eq!(
        body,
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Health><GoalStateIncarnation>3</GoalStateIncarnation>\
         <Container><ContainerId>c-1</ContainerId><RoleInstanceList><Role><InstanceId>i.web_0</InstanceId>\
         <Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>"
    );

    // What goes wrong is a failure, which systemd tries again.
    let server = serve(vec![("503 Busy", "")]);
    assert!(!report().status.success());
    server.join().unwrap();
    let server = serve(vec![("200 OK", "<GoalState/>")]);
    let output = report();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("<Incarnation>"));
    server.join().unwrap();
    let server = serve(vec![("200 OK", goal), ("500 No", "")]);
    assert!(!report().status.success());
    server.join().unwrap();
}

/// A request with the body that it announces.
fn request(stream: &mut std::net::TcpStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the request ended early: {text}");
        seen.extend_from_slice(&buffer[..count]);
    }
}
