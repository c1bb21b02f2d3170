//! [`BootedVm`] and [`BootedFleet`]: what there is when machines were made.

use std::path::PathBuf;

use super::machine::SecurityType;
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
    /// What should be known about it.
    pub warnings: Vec<String>,
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
