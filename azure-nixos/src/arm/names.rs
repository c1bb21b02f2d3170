//! Which names Azure takes, so that a bad one is refused before anything exists.
//!
//! The rules are those of the resource providers' own documentation; the service checks again.

use crate::{Error, ErrorKind, Result};

/// A resource type as far as its name goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Named {
    /// 1–90 letters, digits, `-`, `_`, `.`, `(`, `)`; no period at the end.
    ResourceGroup,
    /// 1–80 letters, digits, `_`, `-`.
    Disk,
    /// 1–80 letters, digits, `_`, `.`, `-`; begins with a letter or digit, ends with one or `_`.
    Image,
    /// 1–80 letters, digits, `_`, `.`; begins and ends with a letter or digit. No hyphens.
    Gallery,
    /// 1–80 letters, digits, `_`, `.`, `-`; begins and ends with a letter or digit.
    ImageDefinition,
    /// 1–64; what a Linux host name can be made of.
    VirtualMachine,
    /// 2–64 as an image's.
    VirtualNetwork,
    /// Subnet, security group, rule, public address, interface: 1–80 as an image's.
    Network,
}

impl Named {
    fn what(self) -> &'static str {
        match self {
            Self::ResourceGroup => "resource group",
            Self::Disk => "disk",
            Self::Image => "image",
            Self::Gallery => "gallery",
            Self::ImageDefinition => "image definition",
            Self::VirtualMachine => "virtual machine",
            Self::VirtualNetwork => "virtual network",
            Self::Network => "network resource",
        }
    }

    /// What may be changed about a name that is refused.
    fn rule(self) -> &'static str {
        match self {
            Self::ResourceGroup => {
                "1 to 90 letters, digits, hyphens, underscores, periods and parentheses, with no period at the end"
            }
            Self::Disk => "1 to 80 letters, digits, underscores and hyphens",
            Self::Image | Self::Network => {
                "1 to 80 letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with one or with an underscore"
            }
            Self::Gallery => {
                "1 to 80 letters, digits, underscores and periods, beginning and ending with a letter or digit, and no hyphens"
            }
            Self::ImageDefinition => {
                "1 to 80 letters, digits, underscores, periods and hyphens, beginning and ending with a letter or digit"
            }
            Self::VirtualMachine => {
                "1 to 64 letters, digits, hyphens and periods, beginning and ending with a letter or digit"
            }
            Self::VirtualNetwork => {
                "2 to 64 letters, digits, underscores, periods and hyphens, beginning with a letter or digit and ending with one or with an underscore"
            }
        }
    }

    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], with the rule as the hint.
    pub fn check(self, name: &str) -> Result<()> {
        let length = name.chars().count();
        let first = name.chars().next();
        let last = name.chars().last();
        let all = |extra: &str| {
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
        let edges = |end: &str| {
            first.is_some_and(|c| c.is_ascii_alphanumeric())
                && last.is_some_and(|c| c.is_ascii_alphanumeric() || end.contains(c))
        };
        let good = match self {
            // The service takes letters of any alphabet here; they would need escaping in every
            // path, and nobody was seen to use them.
            Self::ResourceGroup => (1..=90).contains(&length) && all("-_.()") && last != Some('.'),
            Self::Disk => (1..=80).contains(&length) && all("_-"),
            Self::Image | Self::Network => (1..=80).contains(&length) && all("_.-") && edges("_"),
            Self::Gallery => (1..=80).contains(&length) && all("_.") && edges(""),
            Self::ImageDefinition => (1..=80).contains(&length) && all("_.-") && edges(""),
            Self::VirtualMachine => (1..=64).contains(&length) && all(".-") && edges(""),
            Self::VirtualNetwork => (2..=64).contains(&length) && all("_.-") && edges("_"),
        };
        if good {
            return Ok(());
        }
        let shown = if name.is_empty() {
            format!("the name of the {} is empty", self.what())
        } else {
            format!(
                "{name:?} cannot be the name of {} {}",
                if matches!(self, Self::Image | Self::ImageDefinition) {
                    "an"
                } else {
                    "a"
                },
                self.what()
            )
        };
        Err(Error::new(ErrorKind::InvalidInput, shown)
            .with_hint(format!("Azure takes {}", self.rule())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        for (named, name) in [
            (Named::ResourceGroup, "a(b)_c.d-e"),
            (Named::Disk, "nixos_web-1"),
            (Named::Image, "nixos-25.11_"),
            (Named::Gallery, "nixos_images.1"),
            (Named::ImageDefinition, "nixos-25.11"),
            (Named::VirtualMachine, "web-1.example"),
            (Named::VirtualNetwork, "v2"),
            (Named::Network, "x"),
        ] {
            named.check(name).unwrap();
        }
    }

    #[test]
    fn bad_names_name_the_rule() {
        for (named, name) in [
            (Named::ResourceGroup, "ends."),
            (Named::ResourceGroup, "a/b"),
            (Named::ResourceGroup, ""),
            (Named::Disk, "a.b"),
            (Named::Image, "-a"),
            (Named::Image, "a-"),
            (Named::Image, "a/../b"),
            (Named::Gallery, "nixos-images"),
            (Named::Gallery, "_a"),
            (Named::ImageDefinition, "a_"),
            (Named::VirtualMachine, "a_b"),
            (Named::VirtualMachine, "x-"),
            (Named::VirtualNetwork, "v"),
            (Named::Network, "a b"),
        ] {
            let error = named.check(name).unwrap_err();
            assert!(error.hint().unwrap().starts_with("Azure takes"), "{name}");
        }
        assert!(Named::Disk.check(&"x".repeat(81)).is_err());
    }
}
