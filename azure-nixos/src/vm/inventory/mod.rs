//! [`Inventory`]: how to log into the machines that there are, for the tools that manage them.
//!
//! Who is asked for what is in this file and `select`; what machines are called in `names`. The formats
//! are pure: they make the same text of the same machines, so that a file in a repository changes only
//! when machines do.

mod expression;
mod format;
mod hives;
mod names;
mod options;
mod select;
mod ssh_config;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::future::IntoFuture;
use std::net::IpAddr;
use std::path::PathBuf;

use futures::future::BoxFuture;

use super::info::PowerState;
use super::login::Login;
use super::machines::Machines;
use crate::blocking::blocking;
use crate::quote::for_shell;
use crate::{Error, ErrorKind, Result};

pub use format::{InventoryFormat, InventoryText};
pub(in crate::vm) use names::qualified;

/// Which machines an inventory is to have. Await it.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct InventoryBuilder {
    machines: Machines,
    group: Option<String>,
    names: Vec<String>,
    stopped: bool,
    files: bool,
    key_directory: Option<PathBuf>,
}

/// The machines that there are, and how to log into them.
///
/// ```no_run
/// use azure_nixos::Azure;
/// use azure_nixos::vm::{InventoryFormat, Machines};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let inventory = Machines::new(&azure).inventory().group("vms-rg").await?;
/// let hosts = inventory.render(InventoryFormat::SshConfig)?;
/// for warning in &hosts.warnings {
///     eprintln!("{warning}");
/// }
/// // ssh -F hosts web-1; NIX_SSHOPTS="-F hosts" nixos-rebuild switch --target-host web-1
/// hosts.replace("hosts").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inventory {
    /// The machines, by group and name.
    pub machines: Vec<InventoryMachine>,
    scope: Scope,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scope {
    group: Option<String>,
    names: Vec<String>,
    stopped: bool,
    no_files: bool,
}

/// A machine of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InventoryMachine {
    /// What it is called there: its name, or `NAME.GROUP` when another machine has its name.
    pub name: String,
    /// What ssh finds it by as well: `NAME.GROUP`, when that is not its name already.
    pub aliases: Vec<String>,
    /// How to log in, with all that is known of the machine.
    pub login: Login,
    /// Why no [format](InventoryFormat) has it.
    pub left_out: Option<LeftOut>,
}

/// Why a machine is in no file for those who log in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftOut {
    /// It runs Windows, which Nix manages nothing on.
    Windows,
    /// It has no address, or this login may not look at it.
    NoAddress,
    /// It does not run. [`InventoryBuilder::stopped`] takes it all the same.
    Stopped(PowerState),
}

/// A machine that can be logged into.
#[derive(Clone, Copy, Debug)]
struct Host<'a> {
    machine: &'a InventoryMachine,
    login: &'a Login,
    address: IpAddr,
    /// Whether files of this host may be named.
    files: bool,
}

impl<'a> Host<'a> {
    fn new(machine: &'a InventoryMachine, files: bool) -> Option<Self> {
        let login = &machine.login;
        Some(Self {
            machine,
            login,
            address: login.host?,
            files,
        })
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Windows => f.write_str("it runs Windows"),
            Self::NoAddress => f.write_str("it has no address that this login sees"),
            Self::Stopped(state) => write!(f, "it is {state}"),
        }
    }
}

impl Machines {
    /// The machines as an inventory for the tools that manage them.
    pub fn inventory(&self) -> InventoryBuilder {
        InventoryBuilder {
            machines: self.clone(),
            group: None,
            names: Vec::new(),
            stopped: false,
            files: true,
            key_directory: None,
        }
    }
}

impl InventoryBuilder {
    /// Only machines of this group. Default: all of the subscription.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Only these machines: `NAME`, which may be several in different groups, or `NAME.GROUP`, in any
    /// case. Default: all.
    pub fn names<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.names.extend(names.into_iter().map(Into::into));
        self
    }

    /// Takes machines too that do not run, as long as they have their address. Default: no.
    pub fn stopped(mut self, stopped: bool) -> Self {
        self.stopped = stopped;
        self
    }

    /// Whether formats name files of this host: private keys and known hosts. Without, whoever uses the
    /// text brings a key and trusts host keys as ssh is set up there. Default: yes.
    pub fn files(mut self, files: bool) -> Self {
        self.files = files;
        self
    }

    /// Where keys are looked for, and host keys are kept, as with
    /// [`LoginBuilder::key_directory`](super::LoginBuilder::key_directory).
    pub fn key_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.key_directory = Some(directory.into());
        self
    }
}

impl IntoFuture for InventoryBuilder {
    type Output = Result<Inventory>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such group or machine, with the names
    /// that there are; [`Ambiguous`](crate::ErrorKind::Ambiguous) when dots in their names make two
    /// machines alike.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let logins = self.machines.logins(self.group.as_deref());
            let logins = match self.key_directory {
                Some(directory) => logins.key_directory(directory),
                None => logins,
            };
            let logins = logins.await?;
            let scope = Scope {
                group: self.group,
                names: self.names,
                stopped: self.stopped,
                no_files: !self.files,
            };
            select::select(logins, scope)
        })
    }
}

impl Inventory {
    /// The inventory in a format. Machines that are left out are in the warnings.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when one that was named cannot be logged into.
    pub fn render(&self, format: InventoryFormat) -> Result<InventoryText> {
        if !self.scope.names.is_empty() {
            for machine in &self.machines {
                if let Some(reason) = &machine.left_out {
                    return Err(refused(machine, reason));
                }
            }
        }
        let machines = self.machines.iter();
        let reachable: Vec<Host<'_>> = machines
            .filter(|machine| machine.left_out.is_none())
            .filter_map(|machine| Host::new(machine, !self.scope.no_files))
            .collect();
        let mut text = format::render(&reachable, format, &self.command(format));
        let mut warnings = self.warnings();
        warnings.append(&mut text.warnings);
        text.warnings = warnings;
        Ok(text)
    }

    /// What every format leaves out or calls otherwise.
    fn warnings(&self) -> Vec<String> {
        let left_out = self.machines.iter().filter_map(|machine| {
            let reason = machine.left_out.as_ref()?;
            let hint = match reason {
                LeftOut::Stopped(_) => " (--all takes it too)",
                _ => "",
            };
            Some(format!("{} is left out: {reason}{hint}", machine.name))
        });
        let others = self
            .machines
            .iter()
            .filter(|machine| machine.left_out.is_none());
        let others = others.flat_map(|machine| {
            let (name, info) = (&machine.name, &machine.login.machine);
            let renamed = (*name != info.name).then(|| {
                format!(
                    "{} in {} is called {name}: its name is not its own",
                    info.name, info.resource_group
                )
            });
            let inside = (!machine.login.is_public).then(|| {
                format!("{name} has no public address; the one in its network needs a route")
            });
            renamed.into_iter().chain(inside)
        });
        left_out.chain(others).collect()
    }

    /// The command that makes it again.
    fn command(&self, format: InventoryFormat) -> String {
        let mut command = format!("azure-nixos inventory --format {format}");
        let scope = &self.scope;
        if let Some(group) = &scope.group {
            command.push_str(&format!(" -g {}", for_shell(group)));
        }
        if scope.stopped {
            command.push_str(" --all");
        }
        if scope.no_files {
            command.push_str(" --no-files");
        }
        for name in &scope.names {
            command.push_str(&format!(" {}", for_shell(name)));
        }
        command
    }
}

/// That a machine cannot be in what it was named for.
fn refused(machine: &InventoryMachine, reason: &LeftOut) -> Error {
    let info = &machine.login.machine;
    let (name, group) = (&info.name, &info.resource_group);
    let message = format!("{name} in {group} cannot be logged into: {reason}");
    let error = Error::new(ErrorKind::Conflict, message);
    match reason {
        LeftOut::Stopped(_) => error.with_hint(format!(
            "start it (azure-nixos start -g {} -n {}), or pass --all for machines that do not run",
            for_shell(group),
            for_shell(name)
        )),
        _ => error,
    }
}

impl InventoryText {
    /// Makes it the content of a file, in one step: who reads the file sees the old text or this one, and
    /// an error leaves the old one. A file with this content already is not touched. Returns whether it
    /// was written.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    ///
    /// # Cancellation
    /// Once begun it is finished, also when this is dropped.
    pub async fn replace(&self, file: impl Into<PathBuf>) -> Result<bool> {
        let (file, text) = (file.into(), self.text.clone());
        blocking(move || write::replace(&file, &text)).await
    }
}
