//! What tools that deploy NixOS take: modules with `deployment.*` for Colmena and NixOps, nodes for
//! deploy-rs.
//!
//! Names and types are those that the tools declare: Colmena 0.4.0 and what becomes 0.5 (`src/nix/hive/options.nix`),
//! NixOps 2.0 (`nix/options.nix`), deploy-rs of December 2025 (`interface.json`).

use super::expression::{Expression, Name};
use super::format::Text;
use super::options::Options;
use super::{Host, InventoryMachine};

pub(super) const COLMENA_USE: &[&str] = &[
    "One module for each machine, for hive.nix. Colmena 0.4 knows no sshOptions and takes keys and known hosts",
    "from what --format ssh-config makes: SSH_CONFIG_FILE=HOSTS colmena apply",
    "  let machines = import ./FILE; in { NAME.imports = [ machines.NAME ./web.nix ]; … }",
];

pub(super) const DEPLOY_RS_USE: &[&str] = &[
    "The nodes without their profiles, for flake.nix:",
    "  deploy = lib.recursiveUpdate (import ./FILE) { nodes.NAME.profiles.system = …; };",
];

pub(super) const NIXOPS_USE: &[&str] = &[
    "One module for each machine, for NixOps 2: a network file besides those that say what is on them,",
    "  nixops modify -d DEPLOYMENT nixops.nix FILE; or in one: NAME.imports = [ machines.NAME ./web.nix ];",
];

/// Attributes of a hive that are no machines.
const COLMENA_RESERVED: &[&str] = &["defaults", "meta", "network"];

/// Attributes of a network that are no machines.
const NIXOPS_RESERVED: &[&str] = &[
    "_file",
    "defaults",
    "network",
    "nixpkgs",
    "require",
    "resources",
];

pub(super) fn colmena(hosts: &[Host<'_>], text: &mut Text) {
    let mut modules = Vec::new();
    for host in hosts {
        let mut deployment = target(host);
        // Null leaves it to ssh; left out, it is root.
        let user = host.login.user.as_ref();
        deployment.push((
            Name::Option("targetUser"),
            user.map_or(Expression::Null, Expression::text),
        ));
        deployment.push((Name::Option("tags"), Expression::texts(tags(host.machine))));
        // The last release, 0.4.0, has no such option. It reads ssh's configuration all the same.
        let options = Expression::texts(options(host, text));
        deployment.push((Name::WhereDeclared("sshOptions"), options));
        let module = Expression::Module(Box::new(module(deployment)));
        modules.push((name(host.machine, COLMENA_RESERVED), module));
    }
    text.expression(&Expression::Set(modules));
}

pub(super) fn deploy_rs(hosts: &[Host<'_>], text: &mut Text) {
    let mut nodes = Vec::new();
    for host in hosts {
        let mut node = vec![("hostname", Expression::text(host.address.to_string()))];
        // Left out, it is whoever runs deploy-rs.
        if let Some(user) = &host.login.user {
            node.push(("sshUser", Expression::text(user)));
        }
        let mut words = vec!["-p".to_owned(), host.login.port.to_string()];
        words.extend(options(host, text));
        node.push(("sshOpts", Expression::texts(words)));
        nodes.push((name(host.machine, &[]), Expression::options(node)));
    }
    let nodes = Expression::Set(nodes);
    text.expression(&Expression::options([("nodes", nodes)]));
}

pub(super) fn nixops(hosts: &[Host<'_>], text: &mut Text) {
    let mut modules = Vec::new();
    for host in hosts {
        let mut deployment = vec![(Name::Option("targetEnv"), Expression::text("none"))];
        deployment.extend(target(host));
        match &host.login.user {
            Some(user) => deployment.push((Name::Option("targetUser"), Expression::text(user))),
            None => text.problems(
                host.machine,
                [
                    "its user is not known, and NixOps takes root: set deployment.targetUser"
                        .to_owned(),
                ],
            ),
        }
        deployment.push((
            Name::Option("sshOptions"),
            Expression::texts(options(host, text)),
        ));
        // It would make a key of its own for root and keep it in its state.
        deployment.push((Name::Option("provisionSSHKey"), Expression::Truth(false)));
        let name = name(host.machine, NIXOPS_RESERVED);
        if matches!(&name, Name::Quoted(name) if name.contains('.')) {
            text.problems(
                host.machine,
                ["NixOps takes this name for the name of the host, which can have no dot: set networking.hostName".to_owned()],
            );
        }
        modules.push((name, module(deployment)));
    }
    text.expression(&Expression::Set(modules));
}

/// What Colmena and NixOps call alike.
fn target(host: &Host<'_>) -> Vec<(Name, Expression)> {
    vec![
        (
            Name::Option("targetHost"),
            Expression::text(host.address.to_string()),
        ),
        (
            Name::Option("targetPort"),
            Expression::Number(host.login.port),
        ),
    ]
}

fn module(deployment: Vec<(Name, Expression)>) -> Expression {
    Expression::options([("deployment", Expression::Set(deployment))])
}

fn options(host: &Host<'_>, text: &mut Text) -> Vec<String> {
    let mut options = if host.files {
        Options::new(host.login)
    } else {
        Options::default()
    };
    if host.address.is_ipv6() {
        options.problems.push(
            "ssh and Nix write an address of IPv6 in different ways: give the tool the name that --format ssh-config has for it"
                .to_owned(),
        );
    }
    text.problems(host.machine, options.problems);
    options.words
}

/// The name, with the group where the tool means something else by it.
fn name(machine: &InventoryMachine, reserved: &[&str]) -> Name {
    let qualified = machine.aliases.first();
    let name = match qualified {
        Some(qualified) if reserved.contains(&machine.name.as_str()) => qualified,
        _ => &machine.name,
    };
    Name::Quoted(name.clone())
}

/// Where the machine is, to choose machines by.
fn tags(machine: &InventoryMachine) -> [&str; 2] {
    let info = &machine.login.machine;
    [&info.resource_group, info.location.as_str()]
}
