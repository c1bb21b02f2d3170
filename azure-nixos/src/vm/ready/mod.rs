//! When a machine counts as ready, and waiting for that.

mod console;
mod host_keys;
mod probe;
mod wait;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

pub(super) use self::console::Console;
pub(super) use self::wait::{keep, wait};
use super::network::Asked;
use super::network::{Allow, NetworkOptions};
use crate::{Error, ErrorKind, Result};

/// How long is waited unless somebody says otherwise. A machine of any size has booted NixOS in three
/// minutes; one that grows a large file system at its first boot takes longer.
const LIMIT: Duration = Duration::from_secs(600);

/// When a machine counts as ready.
///
/// ```
/// use azure_nixos::vm::Readiness;
///
/// assert_eq!("ssh".parse::<Readiness>()?, Readiness::Ssh);
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Readiness {
    /// Azure has made it. Of one from a generalized image Azure has heard that its user is there; of
    /// any other one nothing is known but that its power was turned on.
    #[default]
    Created,
    /// Azure says that it runs.
    Running,
    /// An ssh server answers at its public address, or at the one in its network where it has no other.
    Ssh,
    /// [`Ssh`](Self::Ssh) where port 22 can be reached from here as far as is known beforehand, else
    /// [`Running`](Self::Running). It cannot when there is no public address, when nobody is let in, or
    /// a range of which it is not known that the caller is in it, and when the machine says by itself
    /// that it answers nobody, as those of a local Azure do that nothing boots. The notes of the machine
    /// say so.
    Auto,
}

impl Readiness {
    /// The word for it: `created`, `running`, `ssh`, `auto`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Ssh => "ssh",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Readiness {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Created, Self::Running, Self::Ssh, Self::Auto];
        all.into_iter()
            .find(|one| one.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    format!("{text:?} is nothing that can be waited for"),
                )
                .with_hint("pass created, running, ssh, or auto")
            })
    }
}

/// What is to be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitOptions {
    pub(crate) readiness: Readiness,
    pub(crate) limit: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            readiness: Readiness::default(),
            limit: LIMIT,
        }
    }
}

/// What is waited for, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Created,
    Running,
    Ssh,
}

#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub(super) until: Until,
    pub(super) limit: Duration,
    /// Whether nobody asked for ssh by its name: a machine that says that it answers nobody is then
    /// not waited for.
    pub(super) is_auto: bool,
    /// Why ssh is not waited for.
    pub(super) note: Option<String>,
    /// Who is let in at port 22, where that is a range.
    pub(super) range: Option<String>,
    /// Whether the rules of a subnet that was there count too.
    pub(super) joins: bool,
}

impl WaitOptions {
    /// Refuses to wait for what cannot come.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub(crate) fn check(&self, network: &NetworkOptions) -> Result<()> {
        if self.readiness != Readiness::Ssh {
            return Ok(());
        }
        let refuse = |why: &str| {
            Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the machine cannot be waited for until ssh answers: {why}"),
            )
            .with_hint("wait until it runs (--wait running), or let yourself in"))
        };
        if network.public_ip && network.asked()? == Asked::Nobody {
            return refuse("nobody is let in at port 22");
        }
        if !network.public_ip && network.subnet.is_none() {
            return refuse("it has no public address, and its network is a new one");
        }
        Ok(())
    }

    /// Decides, once it is known who is let in. The caller's address is the one at which the login
    /// service saw it.
    pub(super) fn decide(
        self,
        network: &NetworkOptions,
        allow: &Allow,
        is_me: bool,
        caller: Option<IpAddr>,
    ) -> Wait {
        let (until, note) = match self.readiness {
            Readiness::Created => (Until::Created, None),
            Readiness::Running => (Until::Running, None),
            Readiness::Ssh => (Until::Ssh, None),
            Readiness::Auto => {
                let why = match allow {
                    _ if !network.public_ip => Some("it has no public address".to_owned()),
                    Allow::Nobody => Some("nobody is let in at port 22".to_owned()),
                    Allow::Range(range) if !is_me && !is_in(range, caller) => Some(format!(
                        "port 22 is open to {range}, and it is not known that this computer is in there"
                    )),
                    Allow::Anyone | Allow::Range(_) => None,
                };
                match why {
                    None => (Until::Ssh, None),
                    Some(why) => (Until::Running, Some(not_waited(&why))),
                }
            }
        };
        Wait {
            until,
            limit: self.limit,
            is_auto: self.readiness == Readiness::Auto,
            note,
            range: match allow {
                Allow::Range(range) => Some(range.clone()),
                Allow::Anyone | Allow::Nobody => None,
            },
            joins: network.subnet.is_some(),
        }
    }
}

/// What is said where ssh is not waited for.
fn not_waited(why: &str) -> String {
    format!("the machine runs; whether ssh answers is not looked at: {why}")
}

/// Whether an address lies in a range, `203.0.113.0/24` or a single address.
fn is_in(range: &str, address: Option<IpAddr>) -> bool {
    let Some(address) = address else { return false };
    let (network, length) = match range.split_once('/') {
        Some((network, length)) => (network.parse().ok(), length.parse().ok()),
        None => (range.parse().ok(), None),
    };
    let common = |a: u128, b: u128, width: u32| {
        let length = length.unwrap_or(width);
        width.saturating_sub(length) >= 128 || (a ^ b) >> width.saturating_sub(length) == 0
    };
    match (network, address) {
        (Some(IpAddr::V4(network)), IpAddr::V4(address)) => {
            common(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (Some(IpAddr::V6(network)), IpAddr::V6(address)) => {
            common(network.to_bits(), address.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(public_ip: bool, from: &str) -> NetworkOptions {
        NetworkOptions {
            public_ip,
            allow_ssh_from: Some(from.to_owned()),
            ..NetworkOptions::default()
        }
    }

    fn wait(readiness: Readiness) -> WaitOptions {
        WaitOptions {
            readiness,
            limit: LIMIT,
        }
    }

    #[test]
    fn addresses_are_in_ranges() {
        for (range, address, is_inside) in [
            ("203.0.113.0/24", "203.0.113.9", true),
            ("203.0.113.0/24", "203.0.114.9", false),
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "203.0.113.8", false),
            ("0.0.0.0/0", "203.0.113.8", true),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("0.0.0.0/0", "2001:db8::1", false),
        ] {
            assert_eq!(
                is_in(range, address.parse().ok()),
                is_inside,
                "{range} {address}"
            );
        }
        assert!(!is_in("0.0.0.0/0", None));
    }

    #[test]
    fn ssh_is_waited_for_where_it_can_be_reached() {
        let decide = |public_ip, allow: Allow, is_me, caller: Option<&str>| {
            let caller = caller.and_then(|caller| caller.parse().ok());
            wait(Readiness::Auto).decide(&options(public_ip, "any"), &allow, is_me, caller)
        };
        let range = || Allow::Range("203.0.113.0/24".to_owned());
        for reached in [
            decide(true, Allow::Anyone, false, None),
            decide(true, range(), true, None),
            decide(true, range(), false, Some("203.0.113.7")),
        ] {
            assert_eq!((reached.until, reached.note), (Until::Ssh, None));
        }
        for (not_reached, why) in [
            (
                decide(false, Allow::Anyone, false, None),
                "no public address",
            ),
            (decide(true, Allow::Nobody, false, None), "nobody"),
            (decide(true, range(), false, None), "203.0.113.0/24"),
            (
                decide(true, range(), false, Some("192.0.2.1")),
                "203.0.113.0/24",
            ),
        ] {
            assert_eq!(not_reached.until, Until::Running);
            assert!(not_reached.note.unwrap().contains(why), "{why}");
        }
    }

    #[test]
    fn what_cannot_come_is_not_waited_for() {
        let ssh = wait(Readiness::Ssh);
        for (network, why) in [
            (options(true, "none"), "nobody"),
            (options(false, "any"), "no public address"),
        ] {
            let error = ssh.check(&network).unwrap_err();
            assert!(
                error.is_invalid_input() && error.to_string().contains(why),
                "{error}"
            );
            wait(Readiness::Auto).check(&network).unwrap();
            wait(Readiness::Running).check(&network).unwrap();
        }
        ssh.check(&options(true, "any")).unwrap();
        let joined = NetworkOptions {
            subnet: Some("/subnets/a".to_owned()),
            ..options(false, "none")
        };
        ssh.check(&joined).unwrap();
        for word in ["created", "running", "ssh", "auto"] {
            assert_eq!(word.parse::<Readiness>().unwrap().to_string(), word);
        }
        assert!("ready".parse::<Readiness>().is_err());
    }
}
