//! The formats as texts, and what is in them. What Nix and OpenSSH say of them is in `judged`.

mod judged;

use super::select::select;
use super::*;
use crate::arm::Location;
use crate::vm::info::MachineInfo;

fn machine(group: &str, name: &str, address: Option<&str>) -> Login {
    let id = format!(
        "/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    );
    let info = MachineInfo {
        id: id.parse().unwrap(),
        name: name.to_owned(),
        resource_group: group.to_owned(),
        location: Location::new("westus2").unwrap(),
        zone: None,
        size: String::new(),
        provisioning_state: "Succeeded".to_owned(),
        power_state: PowerState::Running,
        public_ips: address
            .iter()
            .map(|address| (*address).to_owned())
            .collect(),
        private_ips: Vec::new(),
        os_type: Some("Linux".to_owned()),
        admin_username: Some("ada".to_owned()),
        ssh_public_keys: Vec::new(),
        ssh_port: Some(22),
        image_id: None,
        disks: Vec::new(),
        tags: std::collections::BTreeMap::new(),
        made_here: true,
        scale_set: None,
        boot_diagnostics: false,
        vm_id: None,
    };
    Login {
        host: address.map(|address| address.parse().unwrap()),
        is_public: address.is_some(),
        port: 22,
        user: info.admin_username.clone(),
        private_key: None,
        known_hosts: "/keys/known_hosts".into(),
        host_key_alias: format!("azure-nixos-{name}"),
        machine: info,
    }
}

fn with_files(login: Login, key: &str, known_hosts: &str) -> Login {
    Login {
        private_key: Some(PathBuf::from(key)),
        known_hosts: PathBuf::from(known_hosts),
        ..login
    }
}

fn stopped(mut login: Login) -> Login {
    login.machine.power_state = PowerState::Deallocated;
    login
}

fn inventory(machines: Vec<Login>) -> Inventory {
    select(machines, Scope::default()).unwrap()
}

fn render(machines: Vec<Login>, format: InventoryFormat) -> InventoryText {
    inventory(machines).render(format).unwrap()
}

/// Two machines: one with everything, one with little, in a group whose name ssh would refuse.
fn two() -> Vec<Login> {
    vec![
        Login {
            user: None,
            port: 40022,
            ..machine("a(b)", "Db", Some("20.0.0.2"))
        },
        with_files(
            machine("vms", "web-1", Some("20.0.0.1")),
            "/keys/web-1",
            "/keys/known_hosts",
        ),
    ]
}

#[test]
fn ssh_config() {
    let text = render(two(), InventoryFormat::SshConfig);
    assert_eq!(text.warnings, Vec::<String>::new());
    assert_eq!(
        text.text,
        "# Made by: azure-nixos inventory --format ssh-config
# It is made anew by that; what is changed by hand is lost then.
# ssh -F FILE NAME; or before the first Host of ~/.ssh/config: Include FILE
# Nix takes it too: NIX_SSHOPTS=\"-F FILE\" nixos-rebuild switch --target-host NAME

Host Db Db.a-b- db db.a-b- 20.0.0.2
    HostName 20.0.0.2
    Port 40022
    HostKeyAlias azure-nixos-Db
    UserKnownHostsFile /keys/known_hosts

Host web-1 web-1.vms 20.0.0.1
    HostName 20.0.0.1
    Port 22
    User ada
    IdentityFile /keys/web-1
    IdentitiesOnly yes
    HostKeyAlias azure-nixos-web-1
    UserKnownHostsFile /keys/known_hosts
"
    );
}

#[test]
fn colmena() {
    let text = render(two(), InventoryFormat::Colmena);
    let body: String = text
        .text
        .lines()
        .skip_while(|line| line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        body,
        r#"{
  "Db" = { options, ... }: {
    deployment = {
      targetHost = "20.0.0.2";
      targetPort = 40022;
      targetUser = null;
      tags = [ "a(b)" "westus2" ];
      ${if options.deployment ? sshOptions then "sshOptions" else null} = [ "-o" "HostKeyAlias=azure-nixos-Db" "-o" "UserKnownHostsFile=/keys/known_hosts" ];
    };
  };
  "web-1" = { options, ... }: {
    deployment = {
      targetHost = "20.0.0.1";
      targetPort = 22;
      targetUser = "ada";
      tags = [ "vms" "westus2" ];
      ${if options.deployment ? sshOptions then "sshOptions" else null} = [ "-o" "IdentityFile=/keys/web-1" "-o" "IdentitiesOnly=yes" "-o" "HostKeyAlias=azure-nixos-web-1" "-o" "UserKnownHostsFile=/keys/known_hosts" ];
    };
  };
}
"#
    );
}

#[test]
fn what_is_left_out_is_said() {
    let mut windows = machine("g", "win", Some("20.0.0.5"));
    windows.machine.os_type = Some("windows".to_owned());
    let inside = Login {
        is_public: false,
        ..machine("g", "inside", Some("10.0.0.4"))
    };
    let machines = vec![
        inside,
        machine("g", "nowhere", None),
        stopped(machine("g", "off", Some("20.0.0.7"))),
        windows,
        machine("g", "web", Some("20.0.0.8")),
    ];
    let text = render(machines.clone(), InventoryFormat::Colmena);
    assert_eq!(
        text.warnings,
        [
            "nowhere is left out: it has no address that this login sees",
            "off is left out: it is deallocated (--all takes it too)",
            "win is left out: it runs Windows",
            "inside has no public address; the one in its network needs a route",
        ]
    );
    assert!(
        text.text.contains("20.0.0.8") && !text.text.contains("20.0.0.7"),
        "{}",
        text.text
    );
    let all = Scope {
        stopped: true,
        ..Scope::default()
    };
    let text = select(machines.clone(), all)
        .unwrap()
        .render(InventoryFormat::DeployRs)
        .unwrap();
    assert_eq!(text.warnings.len(), 3);
    assert!(
        text.text.contains("20.0.0.7")
            && text.text.contains("inventory --format deploy-rs --all\n")
    );

    let named = |names: &[&str]| Scope {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..Scope::default()
    };
    // Whoever is named is not left out in silence.
    let error = select(machines.clone(), named(&["web", "OFF"]))
        .unwrap()
        .render(InventoryFormat::SshConfig)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error
            .to_string()
            .contains("off in g cannot be logged into: it is deallocated"),
        "{error}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("azure-nixos start -g g -n off"),
        "{error:?}"
    );
    let one = select(machines.clone(), named(&["WEB.G"])).unwrap();
    assert_eq!(one.machines.len(), 1);
    assert_eq!(
        one.render(InventoryFormat::SshConfig).unwrap().warnings,
        Vec::<String>::new()
    );
    let error = select(machines.clone(), named(&["web", "wbe"])).unwrap_err();
    assert_eq!(
        (error.kind(), error.hint()),
        (ErrorKind::NotFound, Some("did you mean web?"))
    );
    let error = select(machines, named(&["else"])).unwrap_err();
    assert_eq!(
        error.hint(),
        Some("there are inside, nowhere, off, web, win")
    );
}

#[test]
fn names_that_mean_something_else_get_their_group() {
    let machines =
        ["defaults", "network", "resources"].map(|name| machine("g", name, Some("20.0.0.1")));
    let text = |format| render(machines.to_vec(), format);
    let colmena = text(InventoryFormat::Colmena).text;
    for name in ["\"defaults.g\" =", "\"network.g\" =", "\"resources\" ="] {
        assert!(colmena.contains(name), "{name}: {colmena}");
    }
    let nixops = text(InventoryFormat::NixOps);
    assert!(nixops.text.contains("\"resources.g\" ="), "{}", nixops.text);
    assert_eq!(nixops.warnings.len(), 3);
    assert!(
        nixops.warnings[0].contains("networking.hostName"),
        "{:?}",
        nixops.warnings
    );
    assert!(
        text(InventoryFormat::DeployRs)
            .text
            .contains("\"defaults\" =")
    );
}

#[test]
fn a_path_that_cannot_be_said_is_left_out_aloud() {
    let odd = || {
        vec![with_files(
            machine("g", "web", Some("20.0.0.1")),
            "/my keys/web",
            "/${x}/known",
        )]
    };
    let text = render(odd(), InventoryFormat::Colmena);
    assert_eq!(text.warnings.len(), 2, "{:?}", text.warnings);
    assert!(
        text.warnings[0].contains("\"/my keys/web\""),
        "{:?}",
        text.warnings
    );
    assert!(
        !text.text.contains("/my keys") && text.text.contains("null} = [ ];"),
        "{}",
        text.text
    );
    let text = render(odd(), InventoryFormat::SshConfig);
    assert_eq!(text.warnings.len(), 1, "{:?}", text.warnings);
    assert!(
        text.text
            .contains("IdentityFile \"/my keys/web\"\n    IdentitiesOnly"),
        "{}",
        text.text
    );
}

#[test]
fn a_file_for_others_names_no_files_of_ours() {
    let scope = Scope {
        no_files: true,
        ..Scope::default()
    };
    let inventory = select(two(), scope).unwrap();
    for format in [
        InventoryFormat::SshConfig,
        InventoryFormat::Colmena,
        InventoryFormat::DeployRs,
        InventoryFormat::NixOps,
    ] {
        let text = inventory.render(format).unwrap().text;
        assert!(
            text.contains("20.0.0.1") && text.contains("--no-files\n"),
            "{text}"
        );
        for ours in ["/keys", "HostKeyAlias", "IdentitiesOnly"] {
            assert!(!text.contains(ours), "{ours}: {text}");
        }
    }
}

#[test]
fn an_address_of_ipv6_is_warned_of_where_it_does_not_work() {
    let machines = || vec![machine("g", "six", Some("2001:db8::1"))];
    assert_eq!(
        render(machines(), InventoryFormat::SshConfig)
            .warnings
            .len(),
        0
    );
    for format in [
        InventoryFormat::Colmena,
        InventoryFormat::DeployRs,
        InventoryFormat::NixOps,
    ] {
        let text = render(machines(), format);
        assert!(
            text.warnings[0].contains("six: ssh and Nix write"),
            "{:?}",
            text.warnings
        );
    }
}
