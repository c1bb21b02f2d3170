//! Which Nix this is.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// Who made a Nix. They share their command lines, and differ in versions and bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NixFlavour {
    /// The original.
    Nix,
    /// The fork called Lix, from 2.90 on.
    Lix,
    /// The distribution by Determinate Systems.
    Determinate,
}

/// A version of Nix, as `nix --version` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NixVersion {
    /// Who made it.
    pub flavour: NixFlavour,
    /// The first number of the version of Nix it is or derives from.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The whole line.
    pub text: String,
}

impl NixVersion {
    /// Reads `nix (Nix) 2.8.0`, `nix (Lix, like Nix) 2.91.1`, `nix (Determinate Nix 3.6.2) 2.29.0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (maker, version) = text.strip_prefix("nix (")?.rsplit_once(") ")?;
        let flavour = if maker.starts_with("Lix") {
            NixFlavour::Lix
        } else if maker.starts_with("Determinate") {
            NixFlavour::Determinate
        } else {
            NixFlavour::Nix
        };
        let mut numbers = version
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        Some(Self {
            flavour,
            major: numbers.next()?.ok()?,
            minor: numbers.next()?.ok()?,
            text: text.to_owned(),
        })
    }

    /// Whether this library can drive it: 2.8 and newer.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        (self.major, self.minor) >= (2, 8)
    }

    /// # Errors
    /// [`ErrorKind::Build`] when it is too old.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_supported() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Build,
            format!("{self} is too old: 2.8 is the oldest that can be driven"),
        )
        .with_hint(
            "install a newer Nix from https://nixos.org/download, or put its bin directory on PATH",
        ))
    }
}

impl fmt::Display for NixVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_are_told_apart() {
        for (text, flavour, numbers, supported) in [
            ("nix (Nix) 2.8.0\n", NixFlavour::Nix, (2, 8), true),
            (
                "nix (Nix) 2.30pre20250601_abc",
                NixFlavour::Nix,
                (2, 30),
                true,
            ),
            ("nix (Lix, like Nix) 2.91.1", NixFlavour::Lix, (2, 91), true),
            (
                "nix (Determinate Nix 3.6.2) 2.29.0",
                NixFlavour::Determinate,
                (2, 29),
                true,
            ),
            ("nix (Nix) 2.3.16", NixFlavour::Nix, (2, 3), false),
        ] {
            let version = NixVersion::parse(text).unwrap();
            assert_eq!(version.flavour, flavour, "{text}");
            assert_eq!((version.major, version.minor), numbers, "{text}");
            assert_eq!(version.is_supported(), supported, "{text}");
        }
        assert_eq!(NixVersion::parse("bash 5"), None);
    }
}
