//! A configuration of OpenSSH (ssh_config(5)): a `Host` block for each machine.

use std::fmt::Write as _;
use std::path::Path;

use super::Host;
use super::format::Text;
use crate::vm::ssh::arguments::{file_argument, quoted};

pub(super) const USE: &[&str] = &[
    "ssh -F FILE NAME; or before the first Host of ~/.ssh/config: Include FILE",
    "Nix takes it too: NIX_SSHOPTS=\"-F FILE\" nixos-rebuild switch --target-host NAME",
];

pub(super) fn write(hosts: &[Host<'_>], text: &mut Text) {
    for host in hosts {
        block(host, text);
    }
}

fn block(host: &Host<'_>, text: &mut Text) {
    let &Host {
        machine,
        login,
        address,
        files,
    } = host;
    let mut lines = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(lines, "    {name} {value}");
    };
    line("HostName", &address.to_string());
    line("Port", &login.port.to_string());
    if let Some(user) = &login.user {
        line("User", &quoted(user));
    }
    let mut problems = Vec::new();
    let mut file = |name: &str, path: &Path| {
        let argument = file_argument(path);
        if argument.is_none() {
            problems.push(format!(
                "{name} is left out: {path:?} cannot be written in ssh's configuration"
            ));
        }
        argument
    };
    let key = login.private_key.as_ref().filter(|_| files);
    if let Some(key) = key.and_then(|key| file("IdentityFile", key)) {
        line("IdentityFile", &key);
        // Else every key of an agent comes first, and a server hangs up after a few.
        line("IdentitiesOnly", "yes");
    }
    // The name is that in the file: one without the other is of no use.
    if files && let Some(known) = file("UserKnownHostsFile", &login.known_hosts) {
        line("HostKeyAlias", &login.host_key_alias);
        line("UserKnownHostsFile", &known);
    }
    let mut names = vec![machine.name.clone()];
    names.extend(machine.aliases.iter().cloned());
    // `Host` distinguishes cases; Azure does not, and neither do some of those who call ssh.
    for name in names.clone() {
        let lower = name.to_lowercase();
        if lower != name {
            names.push(lower);
        }
    }
    // Some are given the address: Colmena 0.4, and whoever copies it. One inside of a network may be
    // that of another machine in another network.
    if login.is_public {
        names.push(address.to_string());
    }
    let _ = write!(text.text, "\nHost {}\n{lines}", names.join(" "));
    text.problems(machine, problems);
}
