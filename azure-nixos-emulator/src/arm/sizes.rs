//! The sizes of virtual machines, as data: what each can do, and where it is to be had.
//!
//! They are one or two of each kind that matters to a machine: either generation alone and both,
//! SCSI, NVMe and both, Arm64, no Spot, no accelerated networking, no Trusted Launch, in one zone
//! only. Which zones have a size, and which sizes are on the same hosts, is this file's own choice.

/// A size of virtual machines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    pub(crate) cores: u64,
    /// In MiB.
    pub(crate) memory: u64,
    /// The Hyper-V generations that it can boot: `V1,V2`.
    pub(crate) generations: &'static str,
    /// How it attaches its disks: `SCSI`, `NVMe` or both.
    pub(crate) controllers: &'static str,
    pub(crate) architecture: &'static str,
    /// How many data disks and interfaces a machine has at most.
    pub(crate) data_disks: u64,
    pub(crate) interfaces: u64,
    pub(crate) has_accelerated_networking: bool,
    /// Whether machines can be Spot machines.
    pub(crate) is_spot: bool,
    pub(crate) has_trusted_launch: bool,
    pub(crate) is_confidential: bool,
    /// The kind of hosts that have it: a machine that is on one can become another of its sizes.
    pub(crate) hardware: &'static str,
    /// The zones that have it, in a location with zones.
    pub(crate) zones: &'static [&'static str],
}

/// A size like most: of both generations, with SCSI disks, x64.
const fn size(name: &'static str, family: &'static str, cores: u64, memory: u64) -> Size {
    Size {
        name,
        family,
        cores,
        memory,
        generations: "V1,V2",
        controllers: "SCSI",
        architecture: "x64",
        data_disks: if cores > 16 { 32 } else { cores * 2 },
        interfaces: if cores > 8 {
            8
        } else if cores > 4 {
            4
        } else {
            2
        },
        has_accelerated_networking: cores > 1,
        is_spot: true,
        has_trusted_launch: true,
        is_confidential: false,
        hardware: "x64",
        zones: &["1", "2", "3"],
    }
}

impl Size {
    /// Before Trusted Launch and generation 2.
    const fn old(self) -> Self {
        Self {
            generations: "V1",
            has_trusted_launch: false,
            hardware: "old",
            ..self
        }
    }

    /// Of the B series, which has neither Spot nor accelerated networking.
    const fn burstable(self) -> Self {
        Self {
            has_accelerated_networking: false,
            is_spot: false,
            ..self
        }
    }

    const fn generation_two(self, controllers: &'static str) -> Self {
        Self {
            generations: "V2",
            controllers,
            ..self
        }
    }

    const fn arm(self) -> Self {
        Self {
            architecture: "Arm64",
            hardware: "Arm64",
            ..self
        }
    }

    const fn on(self, hardware: &'static str) -> Self {
        Self { hardware, ..self }
    }

    const fn with_disks(self, data_disks: u64) -> Self {
        Self { data_disks, ..self }
    }
}

pub(super) const SIZES: &[Size] = &[
    Size {
        has_accelerated_networking: false,
        ..size("Standard_A1_v2", "standardAv2Family", 1, 2048).old()
    },
    size("Standard_B1s", "standardBSFamily", 1, 1024).burstable(),
    size("Standard_B1ms", "standardBSFamily", 1, 2048).burstable(),
    size("Standard_B2s", "standardBSFamily", 2, 4096).burstable(),
    size("Standard_B2ms", "standardBSFamily", 2, 8192).burstable(),
    size("Standard_D2_v2", "standardDv2Family", 2, 7168)
        .old()
        .with_disks(8),
    size("Standard_D3_v2", "standardDv2Family", 4, 14336)
        .old()
        .with_disks(16),
    size("Standard_DS1_v2", "standardDSv2Family", 1, 3584).with_disks(4),
    size("Standard_DS2_v2", "standardDSv2Family", 2, 7168).with_disks(8),
    size("Standard_D2s_v3", "standardDSv3Family", 2, 8192),
    size("Standard_D4s_v3", "standardDSv3Family", 4, 16384),
    size("Standard_D2s_v5", "standardDSv5Family", 2, 8192),
    size("Standard_D4s_v5", "standardDSv5Family", 4, 16384),
    size("Standard_D8s_v5", "standardDSv5Family", 8, 32768),
    size("Standard_D64s_v5", "standardDSv5Family", 64, 262_144),
    size("Standard_D2as_v5", "standardDASv5Family", 2, 8192).on("AMD"),
    Size {
        controllers: "SCSI, NVMe",
        ..size("Standard_E2bds_v5", "standardEBDSv5Family", 2, 16384)
    },
    size("Standard_F2s_v2", "standardFSv2Family", 2, 4096),
    size("Standard_DC2s_v3", "standardDCSv3Family", 2, 16384)
        .generation_two("SCSI")
        .on("SGX"),
    Size {
        is_confidential: true,
        ..size("Standard_DC2as_v5", "standardDCASv5Family", 2, 8192)
            .generation_two("SCSI")
            .on("AMD")
    },
    size("Standard_D2s_v6", "StandardDsv6Family", 2, 8192)
        .generation_two("NVMe")
        .on("x64 v6"),
    Size {
        has_trusted_launch: false,
        ..size("Standard_D2ps_v5", "standardDPSv5Family", 2, 8192)
            .generation_two("SCSI")
            .arm()
    },
    size("Standard_D2ps_v6", "StandardDpsv6Family", 2, 8192)
        .generation_two("NVMe")
        .arm()
        .on("Arm64 v6"),
    Size {
        zones: &["2"],
        ..size(
            "Standard_NV6ads_A10_v5",
            "StandardNVADSA10v5Family",
            6,
            56320,
        )
        .on("A10")
    },
];

impl Size {
    /// The size of a name in any case.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        SIZES
            .iter()
            .find(|size| size.name.eq_ignore_ascii_case(name))
    }

    /// The names of all sizes.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        SIZES.iter().map(|size| size.name)
    }

    /// Whether its disks can be premium ones; its name says so.
    pub(crate) fn has_premium_storage(&self) -> bool {
        let short = self.name.trim_start_matches("Standard_");
        short
            .split('_')
            .next()
            .is_some_and(|name| name.contains('S') || name.contains('s'))
    }

    /// The type of disk that is made with a machine where nothing else says it.
    pub(crate) fn best_storage(&self) -> &'static str {
        if self.has_premium_storage() {
            "Premium_LRS"
        } else {
            "Standard_LRS"
        }
    }
}
