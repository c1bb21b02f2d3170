//! What Nix and OpenSSH say of the texts.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::vm::inventory::expression::{Expression, Name};

#[path = "../../../../tests/nix_store/relocated.rs"]
mod relocated;

/// Whether a program is there. Without it a test says that it skips; `tests/run` installs it.
fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    if !there {
        eprintln!("SKIPPED: {program} is not installed, so this test shows nothing");
    }
    there
}

/// What Nix makes of a file, or `None` where there is no Nix. Modules are given these options of
/// `deployment`.
fn evaluate(text: &str, options: &str) -> Option<Value> {
    if !have("nix-instantiate") {
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    let nix = relocated::Relocated::new(place.path(), relocated::SETTINGS);
    fs::write(nix.file("machines.nix"), text).unwrap();
    let output = nix
        .command("nix-instantiate")
        .args(["--eval", "--strict", "--json", "-E"])
        .arg(format!(
            "builtins.mapAttrs \
               (_: value: if builtins.isFunction value then value {{ options.deployment = {options}; }} else value) \
               (import ./machines.nix)"
        ))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}{text}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The options that decide what is in a module.
const SSH_OPTIONS: &str = "{ sshOptions = { }; }";

#[test]
fn an_older_colmena_gets_no_option_that_it_does_not_know() {
    let text = render(two(), InventoryFormat::Colmena);
    let Some(read) = evaluate(&text.text, "{ targetHost = { }; }") else {
        return;
    };
    assert_eq!(
        read["Db"],
        json!({ "deployment": {
            "targetHost": "20.0.0.2", "targetPort": 40022, "targetUser": null, "tags": ["a(b)", "westus2"],
        } })
    );
}

#[test]
fn nix_reads_what_was_meant() {
    let words = json!([
        "-o",
        "IdentityFile=/keys/web-1",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "HostKeyAlias=azure-nixos-web-1",
        "-o",
        "UserKnownHostsFile=/keys/known_hosts",
    ]);
    let db = json!([
        "-o",
        "HostKeyAlias=azure-nixos-Db",
        "-o",
        "UserKnownHostsFile=/keys/known_hosts"
    ]);
    let mut db_with_port = vec![json!("-p"), json!("40022")];
    db_with_port.extend(db.as_array().unwrap().clone());
    let mut with_port = vec![json!("-p"), json!("22")];
    with_port.extend(words.as_array().unwrap().clone());
    for (format, expected) in [
        (
            InventoryFormat::Colmena,
            json!({
                "Db": { "deployment": {
                    "targetHost": "20.0.0.2", "targetPort": 40022, "targetUser": null,
                    "sshOptions": db, "tags": ["a(b)", "westus2"],
                } },
                "web-1": { "deployment": {
                    "targetHost": "20.0.0.1", "targetPort": 22, "targetUser": "ada",
                    "sshOptions": words, "tags": ["vms", "westus2"],
                } },
            }),
        ),
        (
            InventoryFormat::DeployRs,
            json!({ "nodes": {
                "Db": { "hostname": "20.0.0.2", "sshOpts": db_with_port },
                "web-1": { "hostname": "20.0.0.1", "sshUser": "ada", "sshOpts": with_port },
            } }),
        ),
        (
            InventoryFormat::NixOps,
            json!({
                "Db": { "deployment": {
                    "targetEnv": "none", "targetHost": "20.0.0.2", "targetPort": 40022,
                    "sshOptions": db, "provisionSSHKey": false,
                } },
                "web-1": { "deployment": {
                    "targetEnv": "none", "targetHost": "20.0.0.1", "targetPort": 22,
                    "targetUser": "ada", "sshOptions": words, "provisionSSHKey": false,
                } },
            }),
        ),
    ] {
        let text = render(two(), format);
        // NixOps alone has no word for a user that is not known.
        let unknown = usize::from(format == InventoryFormat::NixOps);
        assert_eq!(text.warnings.len(), unknown, "{:?}", text.warnings);
        let Some(read) = evaluate(&text.text, SSH_OPTIONS) else {
            return;
        };
        assert_eq!(read, expected, "{format}");
        // No machines are a file as well.
        let nothing = evaluate(&render(Vec::new(), format).text, SSH_OPTIONS).unwrap();
        let none = if format == InventoryFormat::DeployRs {
            json!({ "nodes": {} })
        } else {
            json!({})
        };
        assert_eq!(nothing, none);
    }
}

/// Numbers that are another sequence each time, and the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

#[test]
fn no_text_is_anything_but_text_to_nix() {
    const PIECES: &[&str] = &[
        "$",
        "{",
        "}",
        "\"",
        "\\",
        "'",
        "''",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "#",
        "/*",
        "*/",
        " ",
        ";",
        "=",
        ".",
        "n",
        "r",
        "t",
        "${",
        "$$",
        "\\n",
        "\\${",
        "a",
        "ü",
        "\u{1f984}",
        "\u{1}",
        "\u{7f}",
        "\u{2028}",
        "or",
        "1",
        "~",
        "<x>",
    ];
    let seed = std::env::var("AZURE_NIXOS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| getrandom::u64().unwrap() | 1);
    println!("AZURE_NIXOS_SEED={seed}");
    let mut numbers = Numbers(seed);
    let texts: Vec<String> = (0..4000)
        .map(|_| {
            (0..numbers.below(9))
                .map(|_| PIECES[numbers.below(PIECES.len())])
                .collect()
        })
        .collect();
    let list = Expression::texts(&texts);
    let mut names = texts.clone();
    names.sort_unstable();
    names.dedup();
    let set = names
        .iter()
        .map(|name| (Name::Quoted(name.clone()), Expression::text(name)));
    let set = Expression::Set(set.collect());
    let both = Expression::options([("list", list), ("set", set)]);
    let Some(read) = evaluate(&both.to_string(), "{ }") else {
        return;
    };
    let set: serde_json::Map<String, Value> = names
        .into_iter()
        .map(|name| (name.clone(), json!(name)))
        .collect();
    assert_eq!(read, json!({ "list": texts, "set": set }));
}

/// What ssh would do for a name, as `ssh -G` says it: one value for each of these keywords.
fn ssh(config: &Path, name: &str, keywords: &[&str]) -> Vec<String> {
    let mut ssh = Command::new("ssh");
    let output = ssh
        .arg("-G")
        .arg("-F")
        .arg(config)
        .arg(name)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let value = |keyword: &&str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{keyword} ")));
        line.unwrap_or_else(|| panic!("{keyword}: {said}"))
            .to_owned()
    };
    keywords.iter().map(value).collect()
}

#[test]
fn ssh_reads_what_was_meant() {
    const KEYWORDS: &[&str] = &[
        "hostname",
        "port",
        "user",
        "identityfile",
        "identitiesonly",
        "hostkeyalias",
        "userknownhostsfile",
    ];
    if !have("ssh") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("hosts");
    let odd = with_files(
        machine("vms", "odd", Some("20.0.0.3")),
        "/my keys/100%\"\\ #'$x",
        "/known hosts/50%",
    );
    let mut machines = two();
    machines.extend([odd, machine("other", "WEB-1", Some("20.0.0.4"))]);
    let text = render(machines, InventoryFormat::SshConfig);
    assert_eq!(text.warnings.len(), 2, "{:?}", text.warnings);
    fs::write(&file, &text.text).unwrap();
    // Alone, and after other blocks in a configuration that includes it.
    let including = place.path().join("config");
    fs::write(
        &including,
        format!(
            "Include {}\nHost *\n    Port 2222\n    User eve\n",
            file.display()
        ),
    )
    .unwrap();
    for config in [&file, &including] {
        let odd = ssh(config, "odd", KEYWORDS);
        let expected = [
            "20.0.0.3",
            "22",
            "ada",
            // Its escape is resolved when the file is opened.
            "/my keys/100%%\"\\ #'$x",
            "yes",
            "azure-nixos-odd",
            "/known hosts/50%",
        ];
        assert_eq!(odd, expected);
        // Which file it opens it says before it connects, with a second backslash for each.
        let mut command = Command::new("ssh");
        let tried = command
            .args(["-v", "-o", "ProxyCommand=false", "-F"])
            .arg(config)
            .arg("odd")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(
            said.contains("identity file /my keys/100%\"\\\\ #'$x type -1"),
            "{said}"
        );
        // By its address it is the same machine.
        assert_eq!(ssh(config, "20.0.0.3", KEYWORDS), expected);
        for (name, address) in [
            ("web-1.vms", "20.0.0.1"),
            ("web-1.other", "20.0.0.4"),
            ("WEB-1.other", "20.0.0.4"),
            ("20.0.0.4", "20.0.0.4"),
            ("Db", "20.0.0.2"),
            ("db", "20.0.0.2"),
            ("Db.a-b-", "20.0.0.2"),
            // Two have it, so it is nobody's.
            ("web-1", "web-1"),
        ] {
            assert_eq!(ssh(config, name, &["hostname"]), [address], "{name}");
        }
    }
}
