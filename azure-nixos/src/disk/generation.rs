//! Hyper-V generations and processor architectures, as far as a disk tells them.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::Generation;

/// The generations that can boot a disk: none, one, or both. Serialised as a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Generations {
    v1: bool,
    v2: bool,
}

impl Generations {
    /// Neither, as far as the partition table tells.
    pub const NONE: Self = Self::new(false, false);
    /// BIOS only.
    pub const V1: Self = Self::new(true, false);
    /// UEFI only.
    pub const V2: Self = Self::new(false, true);
    /// Both.
    pub const BOTH: Self = Self::new(true, true);

    const fn new(v1: bool, v2: bool) -> Self {
        Self { v1, v2 }
    }

    pub(super) const fn of(bios: bool, uefi: bool) -> Self {
        Self::new(bios, uefi)
    }

    /// Whether that generation can boot the disk.
    #[must_use]
    pub fn supports(self, generation: Generation) -> bool {
        match generation {
            Generation::V1 => self.v1,
            Generation::V2 => self.v2,
        }
    }

    /// Whether it is not known that any can.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// The one to choose: V2 where both can, since all newer machine sizes have it and some have
    /// nothing else; `None` when no generation is known to boot the disk.
    #[must_use]
    pub fn preferred(self) -> Option<Generation> {
        match self {
            Self { v2: true, .. } => Some(Generation::V2),
            Self { v1: true, .. } => Some(Generation::V1),
            _ => None,
        }
    }

    /// Those that can boot the disk, V1 first.
    pub fn iter(self) -> impl Iterator<Item = Generation> {
        [Generation::V1, Generation::V2]
            .into_iter()
            .filter(move |generation| self.supports(*generation))
    }
}

impl fmt::Display for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.v1, self.v2) {
            (false, false) => "none",
            (true, false) => "V1",
            (false, true) => "V2",
            (true, true) => "V1 and V2",
        })
    }
}

impl Serialize for Generations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// The processor a disk is made for, in Azure's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Architecture {
    /// x86-64.
    #[serde(rename = "x64")]
    X64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// The architecture in Azure's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X64 => "x64",
            Self::Arm64 => "Arm64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefer_uefi_and_none_prefers_nothing() {
        assert_eq!(Generations::BOTH.preferred(), Some(Generation::V2));
        assert_eq!(Generations::V1.preferred(), Some(Generation::V1));
        assert_eq!(Generations::NONE.preferred(), None);
        assert!("v3".parse::<Generation>().is_err());
        let json = serde_json::to_string(&[Generations::NONE, Generations::BOTH]).unwrap();
        assert_eq!(json, r#"[[],["V1","V2"]]"#);
    }
}
