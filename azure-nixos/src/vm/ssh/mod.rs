//! The command that logs into a machine: OpenSSH's `ssh`, with the key that opens it and the host keys
//! that the machine showed on its serial console.

pub(super) mod arguments;
pub(super) mod known_hosts;

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use self::arguments::file_argument;
use self::known_hosts::Known;
use super::info::{ANSWERS_NOBODY, PowerState};
use super::login::Login;
use super::ready::Console;
use crate::azure::Azure;
use crate::blocking::blocking;
use crate::quote::for_shell;
use crate::{Error, ErrorKind, Result};

/// By what it is known that a machine is the one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeyTrust {
    /// By keys that its serial log showed. They stand in [`Login::known_hosts`], and `ssh` refuses any
    /// other. The log is read through Azure, so this is as certain as the login to Azure.
    SerialLog,
    /// By a key that `ssh` believed at an earlier login; it refuses any other.
    Earlier,
    /// By nothing yet: `ssh` believes the key that comes first, and refuses any other from then on.
    FirstUse {
        /// Why the serial log does not say it.
        why: String,
        /// The fingerprints that the log has, to be compared by eye with what `ssh` shows.
        fingerprints: Vec<String>,
    },
}

/// The arguments of an `ssh` that logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshCommand {
    /// All up to and with the address; the words of a command come behind. Nothing in such a word is
    /// an option of `ssh` any more, which joins them with blanks for a shell on the machine.
    pub arguments: Vec<OsString>,
    /// What whoever logs in should know.
    pub notes: Vec<String>,
}

impl Login {
    /// Finds out by what the machine is known, and notes its host keys where its serial log shows them
    /// whole.
    ///
    /// The log is not asked again for a machine whose keys were in it once.
    ///
    /// # Errors
    /// When the file of the host keys can be neither read nor written. A log that cannot be read is
    /// none: it says why the first key is believed.
    ///
    /// # Cancellation
    /// Safe to drop: the file has the keys or has them not.
    pub async fn learn_host_keys(&self, azure: &Azure) -> Result<HostKeyTrust> {
        let (file, alias) = (self.known_hosts.clone(), self.host_key_alias.clone());
        let known = blocking(move || known_hosts::known(&file, &alias)).await?;
        if known == Known::FromLog {
            return Ok(HostKeyTrust::SerialLog);
        }
        let console = Console::new(azure, &self.machine.resource_group, &self.machine.name);
        let (why, fingerprints) = match console.host_keys().await {
            Ok(found) if !found.keys.is_empty() => {
                let (file, alias) = (self.known_hosts.clone(), self.host_key_alias.clone());
                blocking(move || known_hosts::remember(&file, &alias, &found.keys)).await?;
                return Ok(HostKeyTrust::SerialLog);
            }
            Ok(found) if found.fingerprints.is_empty() => (
                "its serial log shows no host keys".to_owned(),
                found.fingerprints,
            ),
            Ok(found) => (
                "its serial log shows fingerprints of its host keys only".to_owned(),
                found.fingerprints,
            ),
            Err(error) => (error.to_string(), Vec::new()),
        };
        Ok(match known {
            Known::Believed => HostKeyTrust::Earlier,
            Known::Nothing | Known::FromLog => HostKeyTrust::FirstUse { why, fingerprints },
        })
    }

    /// Takes a private key of the caller's choice.
    ///
    /// # Errors
    /// When there is no such file; [`ErrorKind::InvalidInput`] when it holds a public key, unless
    /// there is an agent that may have the private one.
    pub fn identity(mut self, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let mut begin = Vec::new();
        fs::File::open(&path)
            .and_then(|file| file.take(4096).read_to_end(&mut begin))
            .map_err(|error| Error::io("read the private key", &path, error))?;
        let begin = String::from_utf8_lossy(&begin);
        let is_public = begin.starts_with("ssh-") || begin.starts_with("ecdsa-");
        let has_agent = std::env::var_os("SSH_AUTH_SOCK").is_some_and(|path| !path.is_empty());
        if is_public && !has_agent {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{} holds a public key, which opens nothing", path.display()),
            )
            .with_hint("pass the file of the private key, which has the same name without .pub"));
        }
        self.private_key = Some(path);
        Ok(self)
    }

    /// Whether it can be logged into as far as is known: the machine runs and has an address.
    ///
    /// # Errors
    /// As [`ssh`](Self::ssh).
    pub fn check(&self) -> Result<()> {
        self.reachable().map(drop)
    }

    /// The arguments of `ssh` for this login.
    ///
    /// Host keys are always checked, against [`Login::known_hosts`] alone of the user's files; what else
    /// is set in `ssh`'s configuration counts, a jump host for one.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the machine does not run, has no address, or says that it answers
    /// nobody; [`ErrorKind::InvalidInput`] when a file has a name that `ssh` cannot be given. The hint says
    /// what to do.
    pub fn ssh(&self, trust: &HostKeyTrust) -> Result<SshCommand> {
        let host = self.reachable()?;
        let mut notes = Vec::new();
        if !self.is_public {
            notes.push(format!(
                "{host} is an address in the machine's network: this takes a way there, a VPN or a machine inside"
            ));
        }
        let checking = match trust {
            HostKeyTrust::SerialLog | HostKeyTrust::Earlier => "yes",
            HostKeyTrust::FirstUse { why, fingerprints } => {
                notes.push(match fingerprints.as_slice() {
                    [] => format!("the key that answers first is taken for the machine's: {why}"),
                    some => format!(
                        "the key that answers first is taken for the machine's: {why}; compare it with {}",
                        some.join(", ")
                    ),
                });
                "accept-new"
            }
        };
        let mut arguments: Vec<OsString> = Vec::new();
        let mut option = |text: OsString| {
            arguments.push("-o".into());
            arguments.push(text);
        };
        option(format!("HostKeyAlias={}", self.host_key_alias).into());
        option(setting("UserKnownHostsFile", &self.known_hosts)?);
        option(format!("StrictHostKeyChecking={checking}").into());
        // What it adds is looked for by its name.
        option("HashKnownHosts=no".into());
        if let Some(key) = &self.private_key {
            option(setting("IdentityFile", key)?);
            // A server hangs up after a few keys of an agent's.
            option("IdentitiesOnly=yes".into());
        }
        if let Some(user) = &self.user {
            arguments.extend(["-l".into(), user.into()]);
        }
        arguments.extend(["-p".into(), self.port.to_string().into()]);
        arguments.extend(["--".into(), host.to_string().into()]);
        Ok(SshCommand { arguments, notes })
    }

    /// What may be wrong when `ssh` fails by itself, which it says by the status 255.
    #[must_use]
    pub fn hint(&self) -> String {
        let which = self.which();
        let user = match &self.user {
            Some(user) => format!("it was tried as {user}"),
            None => "it was tried as the user that you are here".to_owned(),
        };
        let key = match &self.private_key {
            Some(key) => format!("with the key {}", key.display()),
            None => "with the keys that ssh finds by itself".to_owned(),
        };
        format!(
            "ssh failed, or what it ran did. If it said \"Permission denied (publickey)\": {user}, {key}. \
             An image without an agent has no user but its own (--user names it), and takes no key but its own (--identity). \
             If nothing answered: `azure-nixos serial-log {which}` shows how far the machine is"
        )
    }

    fn which(&self) -> String {
        format!(
            "-g {} -n {}",
            for_shell(&self.machine.resource_group),
            for_shell(&self.machine.name)
        )
    }

    fn reachable(&self) -> Result<std::net::IpAddr> {
        let (machine, which) = (&self.machine, self.which());
        let refuse =
            |what: String, hint: String| Err(Error::new(ErrorKind::Conflict, what).with_hint(hint));
        match machine.power_state {
            PowerState::Stopped | PowerState::Deallocated => {
                return refuse(
                    format!("the machine {} is {}", machine.name, machine.power_state),
                    format!("start it: azure-nixos start {which}"),
                );
            }
            PowerState::Stopping | PowerState::Deallocating => {
                return refuse(
                    format!("the machine {} is {}", machine.name, machine.power_state),
                    format!("wait for that, and start it: azure-nixos start {which}"),
                );
            }
            _ => {}
        }
        if machine.ssh_port.is_none() {
            return refuse(
                format!("the machine {} {ANSWERS_NOBODY}", machine.name),
                "machines boot in a local Azure that is served with `azure-nixos emulator --boot qemu`".to_owned(),
            );
        }
        match self.host {
            Some(host) => Ok(host),
            None => refuse(
                format!("no address of the machine {} is known", machine.name),
                format!(
                    "`azure-nixos show-vm {which}` shows those that this login may see; the role Reader on the group is enough for all"
                ),
            ),
        }
    }
}

/// A setting whose value is the name of a file.
fn setting(name: &str, file: &Path) -> Result<OsString> {
    let Some(argument) = file_argument(file) else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{file:?} is a name that ssh cannot be given"),
        )
        .with_hint("put it where no name has `${`, a line break or other than UTF-8 in it"));
    };
    Ok(format!("{name}={argument}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login() -> Login {
        Login::sample()
    }

    fn words(command: &SshCommand) -> Vec<&str> {
        command
            .arguments
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect()
    }

    #[test]
    fn ssh_is_given_what_is_known() {
        let mut login = login();
        login.private_key = Some("/home/my keys/100%/k".into());
        let command = login.ssh(&HostKeyTrust::SerialLog).unwrap();
        assert_eq!(
            words(&command),
            [
                "-o",
                "HostKeyAlias=azure-nixos-7",
                "-o",
                "UserKnownHostsFile=/home/ada/.ssh/azure-nixos/known_hosts",
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                "HashKnownHosts=no",
                "-o",
                "IdentityFile=\"/home/my keys/100%%/k\"",
                "-o",
                "IdentitiesOnly=yes",
                "-l",
                "ada",
                "-p",
                "22",
                "--",
                "20.1.2.3"
            ]
        );
        assert!(command.notes.is_empty());
        login.private_key = None;
        login.user = None;
        login.is_public = false;
        let first = HostKeyTrust::FirstUse {
            why: "nothing there".to_owned(),
            fingerprints: vec!["SHA256:abc".to_owned()],
        };
        let command = login.ssh(&first).unwrap();
        let shown = words(&command);
        assert!(shown.contains(&"StrictHostKeyChecking=accept-new"));
        assert!(!shown.contains(&"-l") && !shown.iter().any(|word| word.contains("Identit")));
        assert!(command.notes[0].contains("VPN"), "{command:?}");
        assert!(command.notes[1].contains("nothing there; compare it with SHA256:abc"));
        let earlier = login.ssh(&HostKeyTrust::Earlier).unwrap();
        assert!(words(&earlier).contains(&"StrictHostKeyChecking=yes"));
        // ssh would put something of the environment there.
        login.private_key = Some("/keys/${USER}".into());
        let error = login.ssh(&HostKeyTrust::Earlier).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_cannot_be_logged_into_says_what_to_do() {
        let refused = |change: fn(&mut Login)| {
            let mut login = login();
            change(&mut login);
            let error = login.ssh(&HostKeyTrust::Earlier).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            error.report()
        };
        let stopped = refused(|login| login.machine.power_state = PowerState::Deallocated);
        assert!(
            stopped.contains("azure-nixos start -g 'my(group)' -n web"),
            "{stopped}"
        );
        let stopping = refused(|login| login.machine.power_state = PowerState::Stopping);
        assert!(stopping.contains("is stopping"), "{stopping}");
        let nobody = refused(|login| login.machine.ssh_port = None);
        assert!(nobody.contains("--boot qemu"), "{nobody}");
        let lost = refused(|login| login.host = None);
        assert!(lost.contains("azure-nixos show-vm"), "{lost}");
    }

    #[test]
    fn a_key_that_opens_nothing_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let pair = crate::vm::keys::generate(place.path(), "web", "").unwrap();
        let good = login().identity(&pair.private).unwrap();
        assert_eq!(good.private_key, Some(pair.private));
        assert!(
            login()
                .identity(place.path().join("none"))
                .unwrap_err()
                .is_not_found()
        );
        if std::env::var_os("SSH_AUTH_SOCK").is_none_or(|path| path.is_empty()) {
            let public = login().identity(place.path().join("web.pub")).unwrap_err();
            assert!(public.is_invalid_input(), "{public}");
        }
    }
}
