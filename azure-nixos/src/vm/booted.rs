//! [`BootedVm`] and [`BootedFleet`]: what there is when machines were made.

use std::path::PathBuf;

use super::machine::SecurityType;
use super::ready::Readiness;
use crate::arm::{Location, ResourceId};

/// A machine that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootedVm {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its region.
    pub location: Location,
    /// The availability zone that it is in, where one was asked for.
    pub zone: Option<String>,
    /// Its size.
    pub size: String,
    /// The security of its firmware.
    pub security_type: SecurityType,
    /// Its public address.
    pub public_ip: Option<String>,
    /// Its public address of IPv6.
    pub public_ipv6: Option<String>,
    /// Its address in its network.
    pub private_ip: Option<String>,
    /// The user that may log in. `None` where the image has users of its own and nobody named one.
    pub admin_username: Option<String>,
    /// The private key that was made for it, when no key was given.
    pub ssh_private_key: Option<PathBuf>,
    /// A command that logs in, where it can be reached from outside.
    pub ssh_command: Option<String>,
    /// Who it is to other services: a GUID of the directory, which roles are given to.
    pub principal_id: Option<String>,
    /// What it was waited for, and has reached: never [`Readiness::Auto`].
    pub ready: Readiness,
    /// Fingerprints of the keys by which it shows that it is the one, as `ssh-keygen -l` has them:
    /// `SHA256:… (ED25519)`. They are those of its serial log, read once when ssh answered; none when
    /// it was not waited for that, or the log does not show them.
    ///
    /// The log is read through Azure, so they are as certain as the login to Azure is: better than to
    /// believe the first answer from the network.
    pub host_key_fingerprints: Vec<String>,
    /// Lines of a `known_hosts` file with those keys, where the log shows them whole.
    pub known_hosts: Vec<String>,
    /// What was done in another way than one may think, and is no reason to worry.
    pub notes: Vec<String>,
    /// What should be known about it.
    pub warnings: Vec<String>,
}

impl BootedVm {
    /// The command that logs in, to another port.
    pub(super) fn set_ssh_port(&mut self, port: u16) {
        if let Some(command) = &mut self.ssh_command
            && let Some(rest) = command.strip_prefix("ssh ")
        {
            *command = format!("ssh -p {port} {rest}");
        }
    }

    /// One with nothing in it that matters.
    #[cfg(test)]
    pub(super) fn sample(name: &str, group: &str) -> Self {
        let id = format!(
            "/subscriptions/s/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
        );
        Self {
            id: id.parse().unwrap(),
            name: name.to_owned(),
            resource_group: group.to_owned(),
            location: "westus2".parse().unwrap(),
            zone: None,
            size: "Standard_DS1_v2".to_owned(),
            security_type: SecurityType::Standard,
            public_ip: None,
            public_ipv6: None,
            private_ip: None,
            admin_username: None,
            ssh_private_key: None,
            ssh_command: None,
            principal_id: None,
            ready: Readiness::Created,
            host_key_fingerprints: Vec::new(),
            known_hosts: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Machines that run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootedFleet {
    /// Its name.
    pub name: String,
    /// The machines, by their numbers.
    pub machines: Vec<BootedVm>,
    /// What should be known about all of them.
    pub warnings: Vec<String>,
}
