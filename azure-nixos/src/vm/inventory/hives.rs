//! What tools that deploy NixOS take: modules with `deployment.*` for Colmena and NixOps, nodes for
//! deploy-rs.
//!
//! Names and types are those that the tools declare: Colmena 0.4 and 0.5 (`src/nix/hive/options.nix`),
//! NixOps 2.0 (`nix/options.nix`), deploy-rs of December 2025 (`interface.json`).

use super::expression::{Expression, Name};
use super::format::Text;
use super::options::Options;
use super::{InventoryMachine, Login};

pub(super) const COLMENA_USE: &[&str] = &[
    "One module for each machine, for hive.nix:",
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

pub(super) fn colmena(machines: &[(&InventoryMachine, &Login)], text: &mut Text) {
    let modules = machines.iter().map(|(machine, login)| {
        let options = options(machine, login, text);
        let deployment = Expression::options([
            ("targetHost", Expression::text(&login.host)),
            ("targetPort", Expression::Number(login.port)),
            ("targetUser", Expression::text(&login.user)),
            ("sshOptions", Expression::texts(options)),
            ("tags", Expression::texts(tags(machine))),
        ]);
        let name = name(machine, COLMENA_RESERVED);
        (name, Expression::options([("deployment", deployment)]))
    });
    let modules = modules.collect();
    text.expression(&Expression::Set(modules));
}

pub(super) fn deploy_rs(machines: &[(&InventoryMachine, &Login)], text: &mut Text) {
    let nodes = machines.iter().map(|(machine, login)| {
        let mut words = vec!["-p".to_owned(), login.port.to_string()];
        words.extend(options(machine, login, text));
        let node = Expression::options([
            ("hostname", Expression::text(&login.host)),
            ("sshUser", Expression::text(&login.user)),
            ("sshOpts", Expression::texts(words)),
        ]);
        (name(machine, &[]), node)
    });
    let nodes = Expression::Set(nodes.collect());
    text.expression(&Expression::options([("nodes", nodes)]));
}

pub(super) fn nixops(machines: &[(&InventoryMachine, &Login)], text: &mut Text) {
    let mut modules = Vec::new();
    for (machine, login) in machines {
        let words = options(machine, login, text);
        let deployment = Expression::options([
            ("targetEnv", Expression::text("none")),
            ("targetHost", Expression::text(&login.host)),
            ("targetPort", Expression::Number(login.port)),
            ("targetUser", Expression::text(&login.user)),
            ("sshOptions", Expression::texts(words)),
            // It would make a key of its own for root and keep it in its state.
            ("provisionSSHKey", Expression::Truth(false)),
        ]);
        let name = name(machine, NIXOPS_RESERVED);
        if matches!(&name, Name::Quoted(name) if name.contains('.')) {
            text.problems(
                machine,
                ["NixOps takes this name for the name of the host, which can have no dot: set networking.hostName".to_owned()],
            );
        }
        modules.push((name, Expression::options([("deployment", deployment)])));
    }
    text.expression(&Expression::Set(modules));
}

fn options(machine: &InventoryMachine, login: &Login, text: &mut Text) -> Vec<String> {
    let options = Options::new(login);
    text.problems(machine, options.problems);
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
    [&machine.info.resource_group, machine.info.location.as_str()]
}
