//! What booting is set to.

use std::time::Duration;

use crate::builder::EmulatorBuilder;

/// What starting a virtual machine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Boot {
    /// It is written down: the machine says that it runs, and nothing does.
    #[default]
    Record,
    /// qemu boots the machine's OS disk, with KVM where this host has it.
    ///
    /// The serial console is in the boot diagnostics. The guest has its Azure address by DHCP, and
    /// the TCP ports that its security groups open are reached at its public address, which is one
    /// of this host's (127.32.0.1 to 127.63.255.254). The user's name, keys and custom data are on
    /// a CD as `ovf-env.xml`, where Azure's agent and cloud-init look for them. There is no wire
    /// server and no metadata service: a guest that waits for them starts as soon as it gives up,
    /// and an operation never waits for the guest.
    Qemu,
}

/// The limits of machines that boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) boot: Boot,
    /// A machine has no more cores and no more memory (in MiB) than this, whatever its size says.
    pub(crate) cores: u64,
    pub(crate) memory: u64,
    /// How long a guest may take to shut down.
    pub(crate) grace: Duration,
    /// Whether guests reach other hosts.
    pub(crate) outbound: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            boot: Boot::Record,
            cores: 2,
            memory: 2048,
            grace: Duration::from_secs(30),
            outbound: false,
        }
    }
}

impl EmulatorBuilder {
    /// What starting a virtual machine does. Default: it is written down.
    #[must_use]
    pub fn boot(mut self, boot: Boot) -> Self {
        self.machines.boot = boot;
        self
    }

    /// The most that a machine that boots gets of this host, whatever its size says: cores, and
    /// memory in MiB. Default 2 and 2048.
    #[must_use]
    pub fn machine_limits(mut self, cores: u64, memory: u64) -> Self {
        self.machines.cores = cores;
        self.machines.memory = memory;
        self
    }

    /// How long a guest may take to shut down before it is cut off. Default 30 s.
    #[must_use]
    pub fn machine_grace(mut self, grace: Duration) -> Self {
        self.machines.grace = grace;
        self
    }

    /// Whether guests reach the network of this host. Default false: they see only who connects to
    /// them, so that a test's machines depend on nothing outside.
    #[must_use]
    pub fn machine_outbound(mut self, outbound: bool) -> Self {
        self.machines.outbound = outbound;
        self
    }
}
