//! Hyper-V generations: the firmware that a disk, an image and a machine must agree on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

/// The kind of virtual machine that boots a disk: with BIOS or with UEFI.
///
/// ```
/// use azure_nixos::Generation;
///
/// assert_eq!("v2".parse::<Generation>()?, Generation::V2);
/// assert_eq!(Generation::V2.to_string(), "V2");
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Generation {
    /// BIOS.
    V1,
    /// UEFI.
    V2,
}

impl Generation {
    /// The generation in Azure's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "V1",
            Self::V2 => "V2",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Generation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "v1" | "1" => Ok(Self::V1),
            "v2" | "2" => Ok(Self::V2),
            _ => Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a Hyper-V generation"),
            )
            .with_hint("write v1 (BIOS) or v2 (UEFI)")),
        }
    }
}
