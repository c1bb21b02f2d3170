//! [`InventoryFormat`] and [`InventoryText`]: an inventory in the words of those who log in.

use std::fmt;

use super::expression::Expression;
use super::{Host, InventoryMachine, hives, ssh_config};

/// Who is to read an inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InventoryFormat {
    /// OpenSSH, and whatever calls it: `nixos-rebuild --target-host`, `nix copy`, `scp`. Blocks of
    /// `Host` for `ssh -F` or `Include`.
    SshConfig,
    /// Colmena 0.4 and later: a module for each machine, with `deployment.targetHost` and the like.
    Colmena,
    /// deploy-rs: `nodes` without profiles.
    DeployRs,
    /// NixOps 2.0: a network of modules for machines that exist. NixOps 1 has no `sshOptions`; NixOps 4
    /// wants the host's public key in its expressions, and is no reader of these.
    NixOps,
}

impl InventoryFormat {
    /// As the command line names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SshConfig => "ssh-config",
            Self::Colmena => "colmena",
            Self::DeployRs => "deploy-rs",
            Self::NixOps => "nixops",
        }
    }
}

impl fmt::Display for InventoryFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An inventory in one format.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InventoryText {
    /// The text, with a line feed at its end. It is the same for the same machines.
    pub text: String,
    /// What is not in it, and why.
    pub warnings: Vec<String>,
}

/// A text that comes about.
pub(super) struct Text {
    pub(super) text: String,
    warnings: Vec<String>,
}

impl Text {
    pub(super) fn expression(&mut self, expression: &Expression) {
        self.text.push_str(&format!("{expression}\n"));
    }

    pub(super) fn problems(
        &mut self,
        machine: &InventoryMachine,
        problems: impl IntoIterator<Item = String>,
    ) {
        let problems = problems.into_iter();
        self.warnings
            .extend(problems.map(|problem| format!("{}: {problem}", machine.name)));
    }
}

/// The machines that can be logged into, in a format; `command` makes it again.
pub(super) fn render(hosts: &[Host<'_>], format: InventoryFormat, command: &str) -> InventoryText {
    let lines = match format {
        InventoryFormat::SshConfig => ssh_config::USE,
        InventoryFormat::Colmena => hives::COLMENA_USE,
        InventoryFormat::DeployRs => hives::DEPLOY_RS_USE,
        InventoryFormat::NixOps => hives::NIXOPS_USE,
    };
    let mut text = Text {
        text: format!(
            "# Made by: {command}\n# It is made anew by that; what is changed by hand is lost then.\n"
        ),
        warnings: Vec::new(),
    };
    for line in lines {
        text.text.push_str(&format!("# {line}\n"));
    }
    match format {
        InventoryFormat::SshConfig => ssh_config::write(hosts, &mut text),
        InventoryFormat::Colmena => hives::colmena(hosts, &mut text),
        InventoryFormat::DeployRs => hives::deploy_rs(hosts, &mut text),
        InventoryFormat::NixOps => hives::nixops(hosts, &mut text),
    }
    InventoryText {
        text: text.text,
        warnings: text.warnings,
    }
}
