//! What an image is made from.

use std::path::{Path, PathBuf};

use crate::nix::Installable;

/// What an image is made from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImageSource {
    /// Something that Nix builds, or has built.
    Nix(Installable),
    /// A disk image file.
    File(PathBuf),
}

impl ImageSource {
    /// What a user means who types this: something for Nix as [`Installable::parse`] has it, or else a
    /// disk image file. Looks at the file system: blocking.
    #[must_use]
    pub fn parse(text: &str, base: &Path) -> Self {
        match Installable::parse(text, base) {
            Some(installable) => Self::Nix(installable),
            None => Self::File(base.join(text)),
        }
    }

    /// A flake reference: `.#web` (as nixos-rebuild reads it), `github:me/machines#web`, or a whole
    /// attribute path, `.#packages.x86_64-linux.azure-image`.
    #[must_use]
    pub fn flake(reference: impl Into<String>) -> Self {
        Self::Nix(Installable::flake(reference))
    }

    /// A Nix file whose value is an image, or a system that has one.
    #[must_use]
    pub fn nix_file(path: impl Into<PathBuf>) -> Self {
        Self::Nix(Installable::file(path))
    }

    /// A path in the Nix store with an image in it.
    #[must_use]
    pub fn store_path(path: impl Into<PathBuf>) -> Self {
        Self::Nix(Installable::store_path(path))
    }

    /// A disk image of any format that is read, see [`disk`](crate::disk). What it is is read from
    /// its content, not from its name.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }
}

impl From<Installable> for ImageSource {
    fn from(installable: Installable) -> Self {
        Self::Nix(installable)
    }
}
